/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The guest-memory accessor: regions, bounds, the before-write hook. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "qemu/gmem.h"

#define MIB (1u << 20)

static uint64_t noted[16];
static unsigned n_noted;

static void note(void *arg, uint64_t page)
{
	(void)arg;
	if (n_noted < 16)
		noted[n_noted] = page;
	n_noted++;
}

/* 2 MiB of RAM: the lower half at 0, the upper half at 4 GiB. */
static int setup(void **state)
{
	const struct gmem_region r[] = {{gpa(4ull << 30), MIB, MIB}, {gpa(0), MIB, 0}};
	int fd = memfd_create("test", MFD_CLOEXEC);
	struct gmem *gm = NULL;
	struct err e;

	if (fd < 0 || ftruncate(fd, 2 * MIB) < 0 || gmem_create(fd, 2 * MIB, &gm, &e) < 0 ||
	    gmem_set_regions(gm, r, 2, &e) < 0)
		return -1;
	close(fd);
	n_noted = 0;
	*state = gm;
	return 0;
}

static int teardown(void **state)
{
	gmem_destroy(*state);
	return 0;
}

static void test_bounds(void **state)
{
	struct gmem *gm = *state;
	const struct {
		uint64_t at;
		size_t len;
		bool ok;
	} rows[] = {
		{0, 16, true},
		{MIB - 16, 16, true},
		{MIB - 16, 17, false},
		{MIB, 1, false},
		{4ull << 30, MIB, true},
		{4ull << 30, MIB + 1, false},
		{(4ull << 30) - 1, 2, false},
		{UINT64_MAX, 2, false},
		{UINT64_MAX - 1, 1, false},
		{0, 0, true},
	};
	static uint8_t buf[MIB + 1];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(gmem_read(gm, gpa(rows[i].at), buf, rows[i].len), rows[i].ok);
		assert_int_equal(gmem_write(gm, gpa(rows[i].at), buf, rows[i].len), rows[i].ok);
	}
}

static void test_content_and_hook(void **state)
{
	struct gmem *gm = *state;
	char out[8] = {0};
	uint64_t offset;
	struct gpa at;

	gmem_set_before_write(gm, note, NULL);
	assert_true(gmem_write(gm, gpa((4ull << 30) + 4092), "abcdefg", 8));
	assert_int_equal(n_noted, 2);
	assert_int_equal(noted[0], MIB / 4096);
	assert_int_equal(noted[1], MIB / 4096 + 1);
	assert_true(gmem_read(gm, gpa((4ull << 30) + 4092), out, 8));
	assert_string_equal(out, "abcdefg");
	assert_memory_equal(gmem_base(gm) + MIB + 4092, "abcdefg", 8);
	assert_true(gmem_to_offset(gm, gpa((4ull << 30) + 5), &offset));
	assert_int_equal(offset, MIB + 5);
	assert_true(gmem_from_offset(gm, offset, &at));
	assert_int_equal(at.v, (4ull << 30) + 5);
	assert_false(gmem_to_offset(gm, gpa(MIB), &offset));
}

static void test_ring_index(void **state)
{
	struct gmem *gm = *state;
	uint16_t v = 0;

	assert_true(gmem_store16(gm, gpa(MIB - 2), 0x1234));
	assert_true(gmem_load16(gm, gpa(MIB - 2), &v));
	assert_int_equal(v, 0x1234);
	assert_false(gmem_load16(gm, gpa(MIB - 1), &v)); /* misaligned */
	assert_false(gmem_store16(gm, gpa(MIB), 1));
}

static void test_bad_regions(void **state)
{
	struct gmem *gm = *state;
	const struct gmem_region overlap[] = {{gpa(0), MIB, 0}, {gpa(MIB - 4096), MIB, MIB}};
	const struct gmem_region outside[] = {{gpa(0), 2 * MIB, 4096}};
	const struct gmem_region wraps[] = {{gpa(UINT64_MAX - 4095), 8192, 0}};
	const struct gmem_region far[] = {{gpa(0), 4096, UINT64_MAX - 4095}};
	struct gmem_region many[GMEM_REGION_MAX + 1] = {0};
	uint8_t b;
	struct err e;

	assert_int_equal(gmem_set_regions(gm, overlap, 2, &e), -1);
	assert_int_equal(gmem_set_regions(gm, outside, 1, &e), -1);
	assert_int_equal(gmem_set_regions(gm, wraps, 1, &e), -1);
	assert_int_equal(gmem_set_regions(gm, far, 1, &e), -1);
	assert_int_equal(gmem_set_regions(gm, many, GMEM_REGION_MAX + 1, &e), -1);
	assert_true(gmem_read(gm, gpa(0), &b, 1)); /* a refused table changes nothing */
	assert_int_equal(gmem_set_regions(gm, NULL, 0, &e), 0);
	assert_false(gmem_read(gm, gpa(0), &b, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_bounds, setup, teardown),
		cmocka_unit_test_setup_teardown(test_content_and_hook, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ring_index, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_regions, setup, teardown),
	};

	return cmocka_run_group_tests_name("gmem", tests, NULL, NULL);
}
