/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The run around a corrupted byte, from labels made by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "locate/run.h"

#define BASE 0x1000u
#define SIZE 512u
#define COPY 1
#define END 2

static struct taint_label memory[SIZE];

static bool get(void *arg, struct gva at, struct taint_label *ret, size_t n)
{
	(void)arg;
	if (at.v < BASE || at.v + n > BASE + SIZE)
		return false;
	memcpy(ret, memory + (at.v - BASE), n * sizeof(*ret));
	return true;
}

/* n bytes of input from origin on, written at BASE + at. */
static void put(unsigned at, unsigned n, uint32_t origin)
{
	for (unsigned i = 0; i < n; i++)
		memory[at + i] = (struct taint_label){.origin = origin + i, .writer = COPY};
}

static void put_end(unsigned at, uint32_t origin)
{
	memory[at] = (struct taint_label){.origin = origin, .writer = END, .flags = TAINT_LABEL_BY_ADDRESS};
}

static struct run find(unsigned at)
{
	const struct label_reader lr = {get, NULL};
	struct run r;

	run_find(&lr, gva(BASE + at), memory[at].origin, memory[at].writer, &r);
	return r;
}

static int clear(void **state)
{
	(void)state;
	memset(memory, 0, sizeof(memory));
	return 0;
}

static void test_run(void **state)
{
	struct run r;

	(void)state;
	put(100, 80, 1000);
	r = find(170);
	assert_int_equal(r.start.v, BASE + 100);
	assert_int_equal(r.length, 80);
	assert_int_equal(r.first_origin, 1000);
}

/* A byte of the input for four of memory: wide characters. */
static void test_wide(void **state)
{
	struct run r;

	(void)state;
	for (unsigned k = 0; k < 20; k++)
		put(100 + 4 * k, 1, 1000 + k);
	r = find(176);
	assert_int_equal(r.start.v, BASE + 100);
	assert_int_equal(r.length, 77);
	assert_int_equal(r.first_origin, 1000);
}

/* What ends the run belongs to it. */
static void test_end(void **state)
{
	struct run r;

	(void)state;
	put(100, 80, 1000);
	put_end(180, 1079);
	r = find(180);
	assert_int_equal(r.start.v, BASE + 100);
	assert_int_equal(r.length, 81);
	assert_int_equal(r.first_origin, 1000);
	put_end(181, 1079);
	put_end(182, 1079);
	assert_int_equal(find(182).start.v, BASE + 100);
	assert_int_equal(find(182).length, 83);
}

/* What is at an index from the input has nothing before it that it ends. */
static void test_index(void **state)
{
	(void)state;
	put(100, 80, 1000);
	put_end(200, 1079);
	assert_int_equal(find(200).start.v, BASE + 200);
	put_end(180, 7);
	assert_int_equal(find(180).start.v, BASE + 180);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_run, clear),
		cmocka_unit_test_setup(test_wide, clear),
		cmocka_unit_test_setup(test_end, clear),
		cmocka_unit_test_setup(test_index, clear),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
