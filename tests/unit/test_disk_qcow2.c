/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2 images: what is written is there, whoever ends first, and what leads to other files is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "disk/blocklog.h"
#include "qcow2_image.h"

#define SIZE (40 * BLOCKLOG_BLOCK + 1536u) /* the last block is not a whole one */

/* No character of a name means anything to QEMU. */
static char dir[] = "/tmp/clouder-test-qcow2-XXXXXX", path[80], other[80];
static struct image_spec spec = {.file = path, .format = IMAGE_QCOW2};

static int setup(void **state)
{
	(void)state;
	strcpy(dir + sizeof(dir) - 7, "XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/a,,b=\"c\" {d}:%%x.img", dir);
	snprintf(other, sizeof(other), "%s/other", dir);
	assert_int_equal(qcow2_create(path, SIZE, ""), 0);
	return 0;
}

/* Nothing is beside the image, and no process of ours is left. */
static int teardown(void **state)
{
	(void)state;
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
	unlink(other);
	assert_int_equal(unlink(path), 0);
	return rmdir(dir);
}

static void fill(uint8_t bytes[SIZE], unsigned seed)
{
	for (uint32_t i = 0; i < SIZE; i++)
		bytes[i] = (uint8_t)(i * 7 + i / BLOCKLOG_BLOCK + seed);
}

/* What is in the image once it was closed, by whoever. */
static void check_content(const uint8_t bytes[SIZE])
{
	static uint8_t seen[SIZE];
	struct image i;
	struct err e = {0};

	if (image_open(&spec, &i, &e) < 0)
		fail_msg("%s", e.text);
	assert_int_equal(i.size, SIZE);
	assert_int_equal(image_read(&i, seen, SIZE, 0), 0);
	assert_memory_equal(seen, bytes, SIZE);
	image_close(&i);
	assert_int_equal(qcow2_check_whole(path), 0);
}

static void test_content(void **state)
{
	static uint8_t now[SIZE], seen[SIZE];
	struct image i;
	struct err e;

	(void)state;
	check_content(now);
	assert_int_equal(image_open(&spec, &i, &e), 0);
	assert_string_equal(i.path, path);
	for (uint32_t off = 0, len = 1; off + len <= SIZE; off += len + 4000, len = len * 2 % 30011) {
		memset(now + off, (int)(off % 251) + 1, len);
		assert_int_equal(image_write(&i, now + off, len, off), 0);
		assert_int_equal(image_read(&i, seen, SIZE, 0), 0);
		assert_memory_equal(seen, now, SIZE);
	}
	assert_int_equal(image_flush(&i), 0);
	memset(now + SIZE - 512, 0xee, 512); /* to the end, not flushed */
	assert_int_equal(image_write(&i, now + SIZE - 512, 512, SIZE - 512), 0);
	image_close(&i);
	image_close(&i); /* is not open: fine */
	check_content(now);
}

static void test_readonly(void **state)
{
	static const uint8_t zeros[SIZE];
	struct image_spec s = spec;
	struct image i;
	struct err e;

	(void)state;
	s.readonly = true;
	assert_int_equal(image_open(&s, &i, &e), 0);
	assert_int_equal(image_write(&i, path, 1, 0), -1);
	assert_int_equal(errno, EPERM);
	image_close(&i);
	check_content(zeros);
}

/* A block that was never written, one that was, and the last: all go back. */
static void test_undo(void **state)
{
	static uint8_t then[SIZE], now[SIZE];
	struct blocklog *log;
	struct image i;
	uint64_t blocks;
	struct err e;

	(void)state;
	memset(then + 8192, 7, 4096);
	fill(now, 1);
	assert_int_equal(image_open(&spec, &i, &e), 0);
	assert_int_equal(image_write(&i, then + 8192, 4096, 8192), 0);
	assert_int_equal(blocklog_create(&i, dir, 1 << 20, &log, &e), 0);
	assert_int_equal(blocklog_begin(log, 1, &e), 0);
	blocklog_before_write(log, 0, SIZE);
	assert_int_equal(image_write(&i, now, SIZE, 0), 0);
	assert_int_equal(blocklog_roll_back(log, 1, &blocks, &e), 0);
	assert_int_equal(blocks, 41);
	blocklog_destroy(log);
	image_close(&i);
	check_content(then);
}

/* ---- ends that are not in order ---- */

/* Its death is an error of each request from then on; what was flushed is there. */
static void test_daemon_killed(void **state)
{
	static uint8_t now[SIZE];
	struct image i;
	struct err e;

	(void)state;
	fill(now, 2);
	assert_int_equal(image_open(&spec, &i, &e), 0);
	assert_int_equal(image_write(&i, now, SIZE, 0), 0);
	assert_int_equal(image_flush(&i), 0);
	image_why(&i, ENOSPC, &e);
	assert_non_null(strstr(e.text, "No space"));
	kill(only_child(), SIGKILL);
	for (int n = 0; n < 2; n++) {
		uint8_t byte = 0;

		assert_int_equal(image_read(&i, &byte, 1, 0), -1);
		assert_int_equal(errno, EIO);
		assert_int_equal(image_write(&i, &byte, 1, 0), -1);
		assert_int_equal(errno, EIO);
		assert_int_equal(image_flush(&i), -1);
		assert_int_equal(errno, EIO);
	}
	image_why(&i, EIO, &e);
	assert_int_equal(e.code, ERR_GONE);
	assert_non_null(strstr(e.text, "qemu-storage-daemon has ended"));
	image_close(&i);
	check_content(now);
}

/* What was answered is there after our own death, though nothing was flushed. */
static void test_supervisor_killed(void **state)
{
	static uint8_t now[SIZE];
	int status;
	pid_t pid;

	(void)state;
	fill(now, 3);
	pid = fork();
	if (!pid) {
		struct image i;
		struct err e;

		if (image_open(&spec, &i, &e) < 0)
			_exit(1);
		for (uint32_t off = 0; off < SIZE; off += 512)
			if (image_write(&i, now + off, 512, off) < 0)
				_exit(2);
		raise(SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	check_content(now);
}

/* ---- what is refused ---- */

static void refused(const struct image_spec *s, enum err_code code, const char *why)
{
	struct image i;
	struct err e;

	assert_int_equal(image_open(s, &i, &e), -1);
	if (e.code != code || !strstr(e.text, why) || !strstr(e.text, s->file))
		fail_msg("%s: %s, wanted %s: %s", err_code_name(e.code), e.text, err_code_name(code), why);
}

static void test_locked(void **state)
{
	struct image_spec raw = {.file = path, .format = IMAGE_RAW}, reader = spec;
	struct image i, second;
	struct err e;

	(void)state;
	reader.readonly = true;
	assert_int_equal(image_open(&spec, &i, &e), 0);
	refused(&spec, ERR_STATE, "is in use by another VM or program");
	refused(&raw, ERR_STATE, "is in use by another VM or program");
	assert_int_equal(qcow2_check_whole(path), 1); /* by QEMU's programs, too */
	image_close(&i);
	assert_int_equal(image_open(&reader, &i, &e), 0);
	assert_int_equal(image_open(&reader, &second, &e), 0);
	image_close(&second);
	refused(&raw, ERR_STATE, "is in use by another VM or program");
	image_close(&i);
}

/* Without being told nobody follows a header: a guest could have written it. */
static void test_unsaid(void **state)
{
	struct image_spec s = {.file = path};
	struct image i;
	struct err e;

	(void)state;
	assert_int_equal(image_open(&s, &i, &e), 0);
	assert_int_equal(image_check_format(&i, &s, &e), -1);
	assert_int_equal(e.code, ERR_REFUSED);
	assert_non_null(strstr(e.text, "say format=qcow2"));
	image_close(&i);
	assert_int_equal(image_open(&spec, &i, &e), 0);
	assert_int_equal(image_write(&i, "QFI\xfb", 4, 0), 0); /* a guest that uses a file in its disk as a disk */
	assert_int_equal(image_check_format(&i, &spec, &e), 0);
	image_close(&i);
}

static void test_header(void **state)
{
	static const struct {
		off_t at;
		uint8_t byte;
		const char *why;
	} rows[] = {
		{0, 'q', "is no qcow2 image"},
		{7, 9, "Unsupported qcow2 version 9"},
		{14, 8, "has a backing file"},
		{35, 2, "is encrypted"},
		{40, 0xff, "qemu-storage-daemon cannot use it (Active L1 table"},
		{79, 4, "has its data in another file"},
		{79, 2, "corrupt"},
		{72, 1, "nsupported"},
	};
	int fd = open(path, O_RDWR | O_CLOEXEC);

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint8_t byte;

		assert_int_equal(pread(fd, &byte, 1, rows[i].at), 1);
		assert_int_equal(pwrite(fd, &rows[i].byte, 1, rows[i].at), 1);
		refused(&spec, ERR_REFUSED, rows[i].why);
		assert_int_equal(pwrite(fd, &byte, 1, rows[i].at), 1);
	}
	close(fd);
}

/* As qemu-img makes them: the other file is not even opened. */
static void test_other_files(void **state)
{
	char options[128];

	(void)state;
	assert_int_equal(qcow2_create(other, SIZE, ""), 0);
	assert_int_equal(
		qemu_img((const char *[]){"qemu-img", "create", "-f", "qcow2", "-F", "qcow2", "-b", other, path, NULL}),
		0);
	refused(&spec, ERR_REFUSED, "has a backing file");
	unlink(other);
	snprintf(options, sizeof(options), ",data_file=%s", other);
	assert_int_equal(qcow2_create(path, SIZE, options), 0);
	refused(&spec, ERR_REFUSED, "has its data in another file");
}

static void test_empty(void **state)
{
	(void)state;
	assert_int_equal(qcow2_create(path, 0, ""), 0);
	refused(&spec, ERR_USAGE, "0 bytes");
	assert_int_equal(truncate(path, 0), 0);
	refused(&spec, ERR_USAGE, "empty");
}

static void test_no_daemon(void **state)
{
	char *before = strdup(getenv("PATH"));

	(void)state;
	setenv("PATH", dir, 1);
	refused(&spec, ERR_MISSING, "install Debian's package qemu-utils");
	setenv("PATH", before, 1);
	free(before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_content, setup, teardown),
		cmocka_unit_test_setup_teardown(test_readonly, setup, teardown),
		cmocka_unit_test_setup_teardown(test_undo, setup, teardown),
		cmocka_unit_test_setup_teardown(test_daemon_killed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_supervisor_killed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_locked, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unsaid, setup, teardown),
		cmocka_unit_test_setup_teardown(test_header, setup, teardown),
		cmocka_unit_test_setup_teardown(test_other_files, setup, teardown),
		cmocka_unit_test_setup_teardown(test_empty, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_daemon, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
