/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Disks that go back in a process that is killed: before and after each of its system calls, in turn. What is found when
 * the images are opened again is one moment of both disks, and nothing is left beside them. Raw images, and qcow2 ones at
 * fewer places: each is opened by a process of its own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "disk/disk_internal.h"
#include "disk/journal.h"
#include "qcow2_image.h"

#define N 2u
#define SIZE (40 * BLOCKLOG_BLOCK + 1536u) /* the last block is not a whole one */
#define STOPS_MAX 5000u
/* What the byte of a block is at a moment. */
#define THEN(disk, block) ((uint8_t)(0x10 + (disk)*64 + (block)))
#define NOW(disk, block) ((uint8_t)~THEN(disk, block))

static char dir[64], name[N][80];
static struct image_spec spec[N];

#define IMAGE_FILE_MAX 0x80000u

/* A qcow2 image as make_images() makes it, for each disk. */
static struct {
	uint8_t bytes[IMAGE_FILE_MAX];
	size_t len;
} made[N];

static bool is_qcow2(void)
{
	return spec[0].format == IMAGE_QCOW2;
}

static int set_up(enum image_format format)
{
	log_set_level(LOG_LEVEL_ERROR);
	/* In memory if possible: what is durable is not asked here, and takes long. */
	snprintf(dir, sizeof(dir), "%s/clouder-test-journal-XXXXXX",
		 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	assert_non_null(mkdtemp(dir));
	for (unsigned d = 0; d < N; d++) {
		snprintf(name[d], sizeof(name[d]), "%s/disk%u", dir, d);
		spec[d] = (struct image_spec){.file = name[d], .format = format, .undo_mib = 1};
	}
	return 0;
}

static int setup(void **state)
{
	(void)state;
	return set_up(IMAGE_RAW);
}

static int setup_qcow2(void **state)
{
	(void)state;
	return set_up(IMAGE_QCOW2);
}

/* Removes what is in the directory; how many files there were. */
static unsigned clear(void)
{
	const struct dirent *entry;
	unsigned n = 0;
	DIR *d = opendir(dir);

	assert_non_null(d);
	while ((entry = readdir(d))) {
		if (*entry->d_name == '.')
			continue;
		assert_int_equal(unlinkat(dirfd(d), entry->d_name, 0), 0);
		n++;
	}
	closedir(d);
	return n;
}

static int teardown(void **state)
{
	(void)state;
	clear();
	return rmdir(dir);
}

/* ---- the images ---- */

static void fill_raw(unsigned d, uint8_t bytes[SIZE])
{
	for (uint32_t i = 0; i < SIZE; i++)
		bytes[i] = THEN(d, i / BLOCKLOG_BLOCK);
}

static void write_file(const char *path, const void *bytes, size_t len)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0 && write(fd, bytes, len) == (ssize_t)len);
	close(fd);
}

static size_t read_file(const char *path, void *bytes, size_t max)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, bytes, max);

	assert_true(fd >= 0 && n > 0 && (size_t)n < max);
	close(fd);
	return (size_t)n;
}

/* Made once; then it is written as it was. */
static void make_qcow2(unsigned d, const uint8_t bytes[SIZE])
{
	struct image i;
	struct err e;

	if (!made[d].len) {
		assert_int_equal(qcow2_create(name[d], SIZE, ""), 0);
		assert_int_equal(image_open(&spec[d], &i, &e), 0);
		assert_int_equal(image_write(&i, bytes, SIZE, 0), 0);
		image_close(&i);
		made[d].len = read_file(name[d], made[d].bytes, IMAGE_FILE_MAX);
	}
	write_file(name[d], made[d].bytes, made[d].len);
}

static void make_images(void)
{
	static uint8_t bytes[SIZE];

	clear();
	for (unsigned d = 0; d < N; d++) {
		fill_raw(d, bytes);
		if (is_qcow2())
			make_qcow2(d, bytes);
		else
			write_file(name[d], bytes, SIZE);
	}
}

static bool is_changed(uint32_t block)
{
	return block % 8 == 0 || block == SIZE / BLOCKLOG_BLOCK;
}

enum moment { AT_CHECKPOINT, AT_PRESENT, BETWEEN };

static void read_qcow2(unsigned d, uint8_t bytes[SIZE])
{
	struct image i;
	struct err e;

	assert_int_equal(image_open(&spec[d], &i, &e), 0);
	assert_int_equal(image_read(&i, bytes, SIZE, 0), 0);
	image_close(&i);
	assert_int_equal(qcow2_check_whole(name[d]), 0);
}

static enum moment moment_of(unsigned d)
{
	static uint8_t bytes[SIZE + 1];
	bool then = true, now = true;

	if (is_qcow2())
		read_qcow2(d, bytes);
	else
		assert_int_equal(read_file(name[d], bytes, sizeof(bytes)), SIZE);
	for (uint32_t i = 0; i < SIZE; i++) {
		uint32_t block = i / BLOCKLOG_BLOCK;

		then &= bytes[i] == THEN(d, block);
		now &= bytes[i] == (is_changed(block) ? NOW(d, block) : THEN(d, block));
	}
	return then ? AT_CHECKPOINT : now ? AT_PRESENT : BETWEEN;
}

/* ---- the process that is killed ---- */

struct world {
	struct loop *loop;
	struct disks disks;
	uint64_t mark;
};

static void change(const struct disk *d, unsigned number, uint32_t block, bool twice)
{
	uint32_t off = block * BLOCKLOG_BLOCK, len = SIZE - off < BLOCKLOG_BLOCK ? SIZE - off : BLOCKLOG_BLOCK;
	uint8_t bytes[BLOCKLOG_BLOCK];

	memset(bytes, twice ? NOW(number, block) : 0, len);
	blocklog_before_write(d->undo, off, len);
	assert_int_equal(image_write(&d->image, bytes, len, off), 0);
}

/* Disks that were written to since a mark, with another mark between. */
static void prepare(struct world *w)
{
	static const struct disk_ops ops;
	uint64_t later;
	struct err e;

	memset(w, 0, sizeof(*w));
	w->loop = loop_create(&e);
	for (unsigned d = 0; d < N; d++)
		assert_int_equal(disk_create(w->loop, NULL, &spec[d], &ops, NULL, &w->disks.disk[w->disks.n++], &e), 0);
	assert_int_equal(disks_mark(&w->disks, &w->mark, &e), 0);
	for (unsigned twice = 0; twice < 2; twice++) {
		for (unsigned d = 0; d < N; d++)
			for (uint32_t block = 0; block <= SIZE / BLOCKLOG_BLOCK; block++)
				if (is_changed(block))
					change(w->disks.disk[d], d, block, twice);
		assert_int_equal(disks_mark(&w->disks, &later, &e), 0);
	}
}

static void finish_world(struct world *w)
{
	disks_destroy(&w->disks);
	loop_destroy(w->loop);
}

/* From here on the parent sees each system call. */
static void be_watched(void)
{
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
		_exit(2);
	raise(SIGSTOP);
}

static void child_rolls_back(void)
{
	struct world w;
	struct err e;

	prepare(&w);
	be_watched();
	_exit(disks_roll_back(&w.disks, w.mark, &e) < 0);
}

static void child_finishes(void)
{
	struct image i;
	uint64_t blocks;
	struct err e;

	be_watched();
	_exit(image_open(&spec[0], &i, &e) < 0 || journal_finish(&i, &blocks, &e) < 0);
}

/* Runs a child that is killed at its stop number `stop`, from 1. False: it ended before. */
static bool killed_at(void (*child)(void), unsigned stop)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (!pid)
		child();
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
	for (unsigned i = 0; i < stop; i++) {
		assert_int_equal(ptrace(PTRACE_SYSCALL, pid, NULL, NULL), 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		if (WIFEXITED(status)) {
			assert_int_equal(WEXITSTATUS(status), 0);
			return false;
		}
		assert_true(WIFSTOPPED(status));
	}
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	return true;
}

/* Opens the images as a VM does, those from the first on or the other way around; the blocks written. */
static uint64_t open_again(bool last_first)
{
	uint64_t blocks = 0;

	for (unsigned k = 0; k < N; k++) {
		struct image i;
		uint64_t n;
		struct err e = {0};

		assert_int_equal(image_open(&spec[last_first ? N - 1 - k : k], &i, &e), 0);
		if (journal_finish(&i, &n, &e) < 0)
			fail_msg("%s", e.text);
		blocks += n;
		image_close(&i);
	}
	return blocks;
}

/* ---- tests ---- */

static void test_killed(void **state)
{
	unsigned seen[2] = {0}, finished = 0;
	unsigned step = is_qcow2() ? 7 : 1;
	bool more = true;

	(void)state;
	for (unsigned stop = 1; more; stop += step) {
		enum moment moment;

		assert_in_range(stop, 1, STOPS_MAX);
		make_images();
		more = killed_at(child_rolls_back, stop);
		finished += open_again(stop % 2) > 0;
		moment = moment_of(0);
		assert_int_not_equal(moment, BETWEEN);
		assert_int_equal(moment_of(1), moment);
		seen[moment]++;
		assert_int_equal(clear(), N); /* the images, and nothing else */
	}
	print_message("killed at %u places before going back began, at %u later, of which %u were finished\n",
		      seen[AT_PRESENT], seen[AT_CHECKPOINT], finished);
	assert_true(seen[AT_PRESENT] > 10 / step && seen[AT_CHECKPOINT] > 10 / step && finished > 10 / step);
}

/* Leaves both images half way, with all journals. */
static void be_half_way(void)
{
	static unsigned raw_stop = 1, qcow2_stop = 1; /* where it was so last */
	unsigned *stop = is_qcow2() ? &qcow2_stop : &raw_stop;

	for (;; *stop += is_qcow2() ? 5 : 1) {
		make_images();
		assert_true(killed_at(child_rolls_back, *stop));
		if (moment_of(0) == AT_CHECKPOINT && moment_of(1) == BETWEEN)
			return;
	}
}

#define FILE_MAX 0x40000u

/* Reads the images and their journals, or writes them as they were read. */
static void keep_copies(uint8_t copy[2 * N][FILE_MAX], size_t len[2 * N], bool restore)
{
	for (unsigned i = 0; i < 2 * N; i++) {
		char path[128];
		int fd;

		snprintf(path, sizeof(path), "%s%s", name[i % N], i < N ? "" : JOURNAL_SUFFIX);
		fd = open(path, restore ? O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC : O_RDONLY | O_CLOEXEC, 0600);
		assert_true(fd >= 0);
		if (restore)
			assert_int_equal(write(fd, copy[i], len[i]), len[i]);
		else
			len[i] = (size_t)read(fd, copy[i], FILE_MAX);
		assert_true(len[i] > 0 && len[i] < FILE_MAX);
		close(fd);
	}
}

/* Who finishes it is killed, too. */
static void test_killed_again(void **state)
{
	static uint8_t copy[2 * N][FILE_MAX];
	size_t len[2 * N];
	bool more = true;

	(void)state;
	be_half_way();
	keep_copies(copy, len, false);
	for (unsigned stop = 1; more; stop++) {
		assert_in_range(stop, 1, STOPS_MAX);
		clear();
		keep_copies(copy, len, true);
		more = killed_at(child_finishes, stop);
		open_again(stop % 2);
		for (unsigned d = 0; d < N; d++)
			assert_int_equal(moment_of(d), AT_CHECKPOINT);
		assert_int_equal(clear(), N);
	}
}

static int finish_one(unsigned d, bool readonly, struct err *e)
{
	struct image_spec s = spec[d];
	struct image i;
	uint64_t blocks;
	int rc;

	s.readonly = readonly;
	assert_int_equal(image_open(&s, &i, e), 0);
	rc = journal_finish(&i, &blocks, e);
	image_close(&i);
	return rc;
}

/* One of the disks is enough, if the other can be had. */
static void test_one_of_two(void **state)
{
	struct image other;
	struct err e;

	(void)state;
	be_half_way();
	assert_int_equal(finish_one(0, true, &e), -1);
	assert_int_equal(e.code, ERR_STATE);
	assert_non_null(strstr(e.text, "write"));
	assert_int_equal(image_open(&spec[1], &other, &e), 0);
	assert_int_equal(finish_one(0, false, &e), -1);
	assert_non_null(strstr(e.text, "in use"));
	image_close(&other);
	assert_int_equal(moment_of(1), BETWEEN);
	assert_int_equal(finish_one(0, false, &e), 0);
	assert_int_equal(moment_of(0), AT_CHECKPOINT);
	assert_int_equal(moment_of(1), AT_CHECKPOINT);
}

static void test_moved(void **state)
{
	char to[2][128], from[128];
	struct err e;

	(void)state;
	be_half_way();
	snprintf(to[0], sizeof(to[0]), "%s/elsewhere", dir);
	snprintf(to[1], sizeof(to[1]), "%s/elsewhere" JOURNAL_SUFFIX, dir);
	snprintf(from, sizeof(from), "%s" JOURNAL_SUFFIX, name[1]);
	assert_int_equal(rename(name[1], to[0]), 0);
	assert_int_equal(rename(from, to[1]), 0);
	spec[1].file = to[0];
	assert_int_equal(finish_one(1, false, &e), -1);
	assert_int_equal(e.code, ERR_STATE);
	assert_non_null(strstr(e.text, name[0]));
	spec[1].file = name[1];
	assert_int_equal(rename(to[0], name[1]), 0);
	assert_int_equal(rename(to[1], from), 0);
	assert_int_equal(finish_one(1, false, &e), 0);
	assert_int_equal(moment_of(0), AT_CHECKPOINT);
	assert_int_equal(moment_of(1), AT_CHECKPOINT);
}

/* A journal with any byte of its head changed, of any other length, or no file: refused, and nothing is written. */
static void test_damaged(void **state)
{
	struct journal_head h;
	char path[128];
	struct err e;
	off_t size;
	int fd;

	(void)state;
	be_half_way();
	snprintf(path, sizeof(path), "%s" JOURNAL_SUFFIX, name[1]);
	fd = open(path, O_RDWR | O_CLOEXEC);
	size = lseek(fd, 0, SEEK_END);
	assert_int_equal(pread(fd, &h, sizeof(h), 0), sizeof(h));
	for (size_t at = 0; at < sizeof(h) + h.names_len; at++) {
		uint8_t byte, other;

		assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
		other = byte ^ (uint8_t)(1u << at % 8);
		assert_int_equal(pwrite(fd, &other, 1, (off_t)at), 1);
		assert_int_equal(finish_one(1, false, &e), -1);
		assert_int_equal(e.code, ERR_STATE);
		assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
	}
	for (off_t len = 0; len < size + 5000; len += 997) {
		assert_int_equal(ftruncate(fd, len), 0);
		assert_int_equal(finish_one(1, false, &e), -1);
		assert_int_equal(e.code, ERR_STATE);
	}
	close(fd);
	unlink(path);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(finish_one(1, false, &e), -1);
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(moment_of(1), BETWEEN);
}

/* The images may not be written so far, as with a disk of the host's that does not work: it can be tried again. */
static void test_tried_again(void **state)
{
	struct rlimit before, little = {.rlim_cur = BLOCKLOG_BLOCK * 20};
	struct world w;
	struct err e;
	int rc;

	(void)state;
	make_images();
	prepare(&w);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	little.rlim_max = before.rlim_max;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
	rc = disks_roll_back(&w.disks, w.mark, &e);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_int_equal(rc, -1);
	assert_int_equal(moment_of(0), BETWEEN);
	assert_int_equal(disks_roll_back(&w.disks, w.mark, &e), 0);
	finish_world(&w);
	assert_int_equal(moment_of(0), AT_CHECKPOINT);
	assert_int_equal(moment_of(1), AT_CHECKPOINT);
	assert_int_equal(clear(), N);
}

/* If it is not, who opens the images next does it. */
static void test_given_up(void **state)
{
	struct rlimit before, little = {.rlim_cur = BLOCKLOG_BLOCK * 20};
	struct world w;
	struct err e;

	(void)state;
	make_images();
	prepare(&w);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	little.rlim_max = before.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
	assert_int_equal(disks_roll_back(&w.disks, w.mark, &e), -1);
	finish_world(&w);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_int_equal(moment_of(0), BETWEEN);
	assert_true(open_again(false) > 0);
	assert_int_equal(moment_of(0), AT_CHECKPOINT);
	assert_int_equal(moment_of(1), AT_CHECKPOINT);
	assert_int_equal(clear(), N);
}

/* Where no journal can be made the disks go back all the same. */
static void test_no_journal(void **state)
{
	char in_the_way[128];
	struct world w;
	struct err e;

	(void)state;
	make_images();
	prepare(&w);
	snprintf(in_the_way, sizeof(in_the_way), "%s" JOURNAL_SUFFIX ".new", name[1]);
	assert_int_equal(mkdir(in_the_way, 0700), 0);
	assert_int_equal(disks_roll_back(&w.disks, w.mark, &e), 0);
	finish_world(&w);
	assert_int_equal(rmdir(in_the_way), 0);
	assert_int_equal(moment_of(0), AT_CHECKPOINT);
	assert_int_equal(moment_of(1), AT_CHECKPOINT);
	assert_int_equal(clear(), N);
}

/* Opened as a file, the blocks of a qcow2 image's content would be written over its metadata. */
static void test_format(void **state)
{
	struct image_spec right = spec[0];
	struct err e;

	(void)state;
	be_half_way();
	for (int said = 0; said < 2; said++) {
		spec[0].format = said ? IMAGE_RAW : IMAGE_UNSAID;
		assert_int_equal(finish_one(0, false, &e), -1);
		assert_int_equal(e.code, ERR_STATE);
		assert_non_null(strstr(e.text, "say format=qcow2"));
	}
	spec[0] = right;
	assert_int_equal(moment_of(0), AT_CHECKPOINT);
	assert_int_equal(moment_of(1), BETWEEN);
	assert_int_equal(finish_one(0, false, &e), 0);
	assert_int_equal(moment_of(1), AT_CHECKPOINT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_killed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_killed_again, setup, teardown),
		cmocka_unit_test_setup_teardown(test_one_of_two, setup, teardown),
		cmocka_unit_test_setup_teardown(test_moved, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damaged, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tried_again, setup, teardown),
		cmocka_unit_test_setup_teardown(test_given_up, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_journal, setup, teardown),
		cmocka_unit_test_setup_teardown(test_killed, setup_qcow2, teardown),
		cmocka_unit_test_setup_teardown(test_one_of_two, setup_qcow2, teardown),
		cmocka_unit_test_setup_teardown(test_moved, setup_qcow2, teardown),
		cmocka_unit_test_setup_teardown(test_format, setup_qcow2, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
