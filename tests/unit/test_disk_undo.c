/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disk images: what --disk takes, locks, and the undo log against a model that keeps a copy for every mark. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "disk/blocklog.h"

#define SIZE (40 * BLOCKLOG_BLOCK + 1536u) /* the last block is not a whole one */
#define MARKS 200u

static char path[] = "/tmp/clouder-test-image-XXXXXX";

static int setup(void **state)
{
	int fd;

	(void)state;
	strcpy(path + sizeof(path) - 7, "XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0 && ftruncate(fd, SIZE) == 0);
	close(fd);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	return unlink(path);
}

/* ---- specifications ---- */

static void test_spec(void **state)
{
	static const struct {
		const char *text;
		bool good, readonly;
		enum image_format format;
		const char *file, *id;
		unsigned undo;
	} rows[] = {
		{"a.img", true, false, IMAGE_UNSAID, "a.img", "", 1024},
		{"/x/a b.img,format=raw,readonly=on,id=d-1.x_Y,undo=7", true, true, IMAGE_RAW, "/x/a b.img", "d-1.x_Y",
		 7},
		{"a,format=qcow2", true, false, IMAGE_QCOW2, "a", "", 1024},
		{"a,readonly=off", true, false, IMAGE_UNSAID, "a", "", 1024},
		{"a,id=12345678901234567890", true, false, IMAGE_UNSAID, "a", "12345678901234567890", 1024},
		{"a,undo=1048576", true, false, IMAGE_UNSAID, "a", "", 1048576},
		{.text = ""},
		{.text = ",readonly=on"},
		{.text = "a,"},
		{.text = "a,readonly"},
		{.text = "a,readonly=maybe"},
		{.text = "a,format=vmdk"},
		{.text = "a,id="},
		{.text = "a,id=123456789012345678901"},
		{.text = "a,id=a b"},
		{.text = "a,undo=0"},
		{.text = "a,undo=1048577"},
		{.text = "a,undo=1x"},
		{.text = "a,undo=-1"},
		{.text = "a,undo="},
		{.text = "a,snapshot=on"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct image_spec s;
		struct err e = {0};
		int rc = image_spec_parse(rows[i].text, &s, &e);

		assert_int_equal(rc, rows[i].good ? 0 : -1);
		if (rc < 0) {
			assert_int_equal(e.code, ERR_USAGE);
			continue;
		}
		assert_string_equal(s.file, rows[i].file);
		assert_string_equal(s.id, rows[i].id);
		assert_int_equal(s.readonly, rows[i].readonly);
		assert_int_equal(s.format, rows[i].format);
		assert_int_equal(s.undo_mib, rows[i].undo);
		image_spec_deinit(&s);
	}
}

/* ---- files ---- */

static void test_locks(void **state)
{
	/* Whether the second may be opened beside the first. */
	static const bool rows[][3] = {
		{true, true, true}, {true, false, false}, {false, true, false}, {false, false, false}};

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		struct image_spec first = {.file = path, .readonly = rows[i][0]},
				  second = {.file = path, .readonly = rows[i][1]};
		struct image a, b;
		struct err e;

		assert_int_equal(image_open(&first, &a, &e), 0);
		assert_int_equal(image_open(&second, &b, &e), rows[i][2] ? 0 : -1);
		if (rows[i][2])
			image_close(&b);
		else
			assert_int_equal(e.code, ERR_STATE);
		image_close(&a);
		assert_int_equal(image_open(&second, &b, &e), 0);
		image_close(&b);
	}
}

/* What QEMU does to an image that it writes to: it locks byte 101 for reading. */
static void test_locked_by_qemu(void **state)
{
	struct flock l = {.l_type = F_RDLCK, .l_start = 101, .l_len = 1};
	int fd = open(path, O_RDWR | O_CLOEXEC);
	struct err e;

	(void)state;
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &l), 0);
	for (int readonly = 0; readonly < 2; readonly++) {
		struct image_spec s = {.file = path, .readonly = readonly};
		struct image i;

		assert_int_equal(image_open(&s, &i, &e), -1);
		assert_int_equal(e.code, ERR_STATE);
	}
	close(fd);
}

static void test_files(void **state)
{
	struct image_spec s = {.file = path}, none = {.file = (char *)(uintptr_t) "/nonexistent/x"},
			  dir = {.file = (char *)(uintptr_t) "/tmp", .readonly = true};
	int fd = open(path, O_RDWR | O_CLOEXEC);
	struct image i;
	struct err e;

	(void)state;
	assert_int_equal(image_open(&none, &i, &e), -1);
	assert_int_equal(image_open(&dir, &i, &e), -1);
	assert_int_equal(e.code, ERR_USAGE);
	assert_int_equal(pwrite(fd, "QFI\xfb", 4, 0), 4);
	assert_int_equal(image_open(&s, &i, &e), 0);
	assert_int_equal(image_check_format(&i, &s, &e), -1);
	assert_int_equal(e.code, ERR_REFUSED);
	image_close(&i);
	s.format = IMAGE_RAW; /* said so: no matter what it looks like */
	assert_int_equal(image_open(&s, &i, &e), 0);
	assert_int_equal(i.size, SIZE);
	image_close(&i);
	assert_int_equal(ftruncate(fd, 1023), 0); /* half a sector is none */
	assert_int_equal(image_open(&s, &i, &e), 0);
	assert_int_equal(i.size, 512);
	image_close(&i);
	assert_int_equal(ftruncate(fd, 511), 0);
	assert_int_equal(image_open(&s, &i, &e), -1);
	assert_int_equal(e.code, ERR_USAGE);
	close(fd);
}

/* ---- the undo log ---- */

static struct {
	struct image image;
	struct blocklog *log;
	uint8_t now[SIZE];
	uint8_t copy[MARKS + 1][SIZE]; /* at each mark */
	bool exists[MARKS + 1]; /* not forgotten, not undone */
	uint64_t newest;
	uint64_t seed;
} m;

static unsigned chance(unsigned n)
{
	m.seed ^= m.seed << 13;
	m.seed ^= m.seed >> 7;
	m.seed ^= m.seed << 17;
	return (unsigned)(m.seed >> 33) % n;
}

static void start(uint64_t limit)
{
	const struct image_spec s = {.file = path};
	struct err e;

	memset(&m, 0, sizeof(m));
	m.seed = 88172645463325252ull;
	assert_int_equal(image_open(&s, &m.image, &e), 0);
	assert_int_equal(image_write(&m.image, m.now, SIZE, 0), 0);
	assert_int_equal(blocklog_create(&m.image, "/tmp", limit, &m.log, &e), 0);
}

static void end(void)
{
	blocklog_destroy(m.log);
	image_close(&m.image);
}

static void mark(void)
{
	struct err e;

	m.newest++;
	assert_int_equal(blocklog_begin(m.log, m.newest, &e), 0);
	memcpy(m.copy[m.newest], m.now, SIZE);
	m.exists[m.newest] = true;
}

static void put(uint32_t off, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		m.now[off + i] = (uint8_t)chance(256);
	blocklog_before_write(m.log, off, len);
	assert_int_equal(image_write(&m.image, m.now + off, len, off), 0);
}

static void put_anywhere(void)
{
	uint32_t len = 1 + chance(chance(4) ? 3000 : 30000), off = chance(SIZE);

	put(off, len < SIZE - off ? len : SIZE - off);
}

static void check_content(void)
{
	static uint8_t bytes[SIZE];

	assert_int_equal(image_read(&m.image, bytes, SIZE, 0), 0);
	assert_memory_equal(bytes, m.now, SIZE);
}

/* Goes back to it if the log says that it can; that is never wrong. */
static bool go_back(uint64_t to)
{
	uint64_t blocks;
	struct err e;

	if (!blocklog_can_roll_back(m.log, to)) {
		assert_int_equal(blocklog_roll_back(m.log, to, &blocks, &e), -1);
		assert_int_equal(e.code, ERR_LIMIT);
		check_content();
		return false;
	}
	assert_true(to <= m.newest && m.exists[to]);
	assert_int_equal(blocklog_roll_back(m.log, to, &blocks, &e), 0);
	memcpy(m.now, m.copy[to], SIZE);
	for (uint64_t i = to + 1; i <= m.newest; i++)
		m.exists[i] = false;
	check_content();
	return true;
}

static void test_undo_plain(void **state)
{
	struct blocklog_stats s;

	(void)state;
	start(1 << 20);
	put(0, SIZE); /* before the first mark nothing is kept */
	blocklog_get_stats(m.log, &s);
	assert_int_equal(s.blocks, 0);
	mark();
	put(100, 8192); /* blocks 0 to 2 */
	put(200, 100);
	put(SIZE - 1, 1);
	blocklog_get_stats(m.log, &s);
	assert_int_equal(s.blocks, 4);
	mark();
	put(4096, 4096);
	assert_true(go_back(2));
	assert_true(go_back(1));
	assert_false(go_back(2)); /* undone */
	put(0, SIZE); /* kept again after going back */
	assert_true(go_back(1));
	blocklog_forget(m.log, 2);
	assert_false(go_back(1));
	blocklog_get_stats(m.log, &s);
	assert_int_equal(s.blocks, 0);
	end();
}

/* Random writes, marks and ways back; with a limit the oldest marks are given up, and the others hold. */
static unsigned random_run(uint64_t limit, bool must_hold)
{
	unsigned back = 0;

	start(limit);
	while (m.newest < MARKS) {
		unsigned what = chance(10);

		if (what == 0) {
			uint64_t to = m.newest > 6 ? m.newest + 1 - chance(7) : 1;
			bool known = to <= m.newest && m.exists[to], done = go_back(to);

			if (must_hold)
				assert_int_equal(done, known);
			back += done;
		} else if (what == 1 && m.newest > 5) {
			blocklog_forget(m.log, m.newest - 4);
			for (uint64_t i = 0; i < m.newest - 4; i++)
				m.exists[i] = false;
		} else if (what < 4) {
			mark();
		} else {
			put_anywhere();
		}
	}
	end();
	return back;
}

static void test_undo_random(void **state)
{
	(void)state;
	assert_true(random_run(64 << 20, true) > 20);
}

static void test_undo_full(void **state)
{
	(void)state;
	assert_true(random_run(30 * BLOCKLOG_BLOCK, false) > 5);
	random_run(0, false);
}

static void test_undo_given_up(void **state)
{
	struct blocklog_stats s;

	(void)state;
	start(10 * BLOCKLOG_BLOCK);
	mark();
	put(0, 6 * BLOCKLOG_BLOCK);
	mark();
	put(0, 6 * BLOCKLOG_BLOCK); /* no room: the first goes */
	assert_false(blocklog_can_roll_back(m.log, 1));
	blocklog_get_stats(m.log, &s);
	assert_int_equal(s.given_up, 1);
	assert_int_equal(s.blocks, 6);
	assert_true(go_back(2));
	put(0, 20 * BLOCKLOG_BLOCK); /* more than there is room for */
	assert_false(go_back(2));
	mark();
	put(0, 5 * BLOCKLOG_BLOCK);
	assert_true(go_back(3));
	end();
}

/* The file system of the log is full: as if the log were. */
static void test_undo_no_space(void **state)
{
	struct rlimit before, low;

	(void)state;
	start(64 << 20);
	mark();
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	low = (struct rlimit){SIZE, before.rlim_max};
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
	put(0, 30 * BLOCKLOG_BLOCK);
	mark();
	put(0, 30 * BLOCKLOG_BLOCK);
	assert_false(blocklog_can_roll_back(m.log, 1));
	assert_true(go_back(2));
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	end();
}

/* Nothing is seen of the log in its directory. */
static void test_undo_unnamed(void **state)
{
	char dir[] = "/tmp/clouder-test-undo-XXXXXX";
	const struct image_spec s = {.file = path};
	struct blocklog *log;
	struct image image;
	struct err e;

	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(image_open(&s, &image, &e), 0);
	assert_int_equal(blocklog_create(&image, dir, 1 << 20, &log, &e), 0);
	assert_int_equal(blocklog_begin(log, 1, &e), 0);
	blocklog_before_write(log, 0, SIZE);
	assert_int_equal(rmdir(dir), 0); /* is empty */
	blocklog_destroy(log);
	image_close(&image);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_spec),
		cmocka_unit_test_setup_teardown(test_locks, setup, teardown),
		cmocka_unit_test_setup_teardown(test_locked_by_qemu, setup, teardown),
		cmocka_unit_test_setup_teardown(test_files, setup, teardown),
		cmocka_unit_test_setup_teardown(test_undo_plain, setup, teardown),
		cmocka_unit_test_setup_teardown(test_undo_random, setup, teardown),
		cmocka_unit_test_setup_teardown(test_undo_full, setup, teardown),
		cmocka_unit_test_setup_teardown(test_undo_given_up, setup, teardown),
		cmocka_unit_test_setup_teardown(test_undo_no_space, setup, teardown),
		cmocka_unit_test_setup_teardown(test_undo_unnamed, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
