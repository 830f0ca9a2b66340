/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Two threads on one shadow: counts stay exact, slots and writers are made once, an undo copy is whole. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "plugin/core/shadow.h"

#define PAGES 8u
#define HOT_AT 0x1ff0u /* where both write all the time, over a page boundary */
#define ROUNDS 40000u
#define CODES 100u

struct worker {
	struct shadow *sh;
	uint32_t seed;
	uint32_t ids[CODES];
	bool stop;
};

static uint32_t next(uint32_t *seed)
{
	return *seed = *seed * 1664525u + 1013904223u;
}

/* Origin and writer of a label that this test writes are always equal. */
static void hammer(struct worker *w)
{
	struct taint_label labels[16], back[16];
	struct taint_writer code = {.len = 1};

	for (unsigned i = 0; i < ROUNDS; i++) {
		uint32_t r = next(&w->seed) >> 8, n = r % 16 + 1;
		uint32_t where = next(&w->seed) >> 8;
		struct gpa at = gpa(i % 4 ? HOT_AT + where % 32 : where % (PAGES * GUEST_PAGE_SIZE - 16));

		for (uint32_t k = 0; k < n; k++)
			labels[k].origin = labels[k].writer = r % 3 ? r + 1 : 0;
		shadow_set(w->sh, at, labels, n);
		shadow_get(w->sh, at, back, n);
		for (uint32_t k = 0; k < n; k++)
			if (back[k].origin != back[k].writer)
				abort();
		code.code_offset = r % CODES;
		w->ids[r % CODES] = shadow_writer_intern(w->sh, &code);
	}
}

static void *run_worker(void *arg)
{
	hammer(arg);
	return NULL;
}

static void run_both(struct worker *a, struct worker *b)
{
	pthread_t other;

	assert_int_equal(pthread_create(&other, NULL, run_worker, b), 0);
	hammer(a);
	assert_int_equal(pthread_join(other, NULL), 0);
}

static void snapshot(const struct shadow *sh, struct taint_label *ret)
{
	shadow_get(sh, gpa(0), ret, PAGES * GUEST_PAGE_SIZE);
}

static void expect_exact_count(const struct shadow *sh, const struct taint_label *labels)
{
	uint64_t pages, bytes, want = 0;

	for (unsigned i = 0; i < PAGES * GUEST_PAGE_SIZE; i++)
		want += labels[i].origin != 0;
	shadow_count(sh, &pages, &bytes);
	assert_int_equal(bytes, want);
}

/* No tainted byte lies in a line that is said to be clean; once looked at, no clean line is said to be tainted. */
static void expect_lines(struct shadow *sh, const struct taint_label *labels)
{
	for (unsigned page = 0; page < PAGES; page++) {
		uint64_t lines = shadow_lines(sh, gpa(page * GUEST_PAGE_SIZE)), want = 0;

		for (unsigned i = 0; i < GUEST_PAGE_SIZE; i++)
			if (labels[page * GUEST_PAGE_SIZE + i].origin)
				want |= 1ull << (i / SHADOW_LINE);
		assert_int_equal(want & ~lines, 0);
		shadow_clear(sh, gpa(page * GUEST_PAGE_SIZE), GUEST_PAGE_SIZE);
		assert_int_equal(shadow_lines(sh, gpa(page * GUEST_PAGE_SIZE)), 0);
	}
}

static const uint8_t *other_ram(void *arg, struct gpa page)
{
	(void)page;
	return arg;
}

static void *run_sweeper(void *arg)
{
	static uint8_t ram[GUEST_PAGE_SIZE];
	struct worker *w = arg;

	memset(ram, 1, sizeof(ram)); /* the labels say 0: all are stale */
	while (!__atomic_load_n(&w->stop, __ATOMIC_ACQUIRE))
		w->seed += shadow_sweep_stale(w->sh, other_ram, ram, 4) != 0;
	return NULL;
}

/* The supervisor drops stale labels while vCPUs write: counts stay exact, lines are never said to be clean wrongly. */
static void test_sweep_beside(void **state)
{
	static struct taint_label labels[PAGES * GUEST_PAGE_SIZE];
	struct worker a = {.seed = 1}, b = {.seed = 2}, c = {0};
	struct shadow *sh;
	pthread_t sweeper;
	struct err e;
	int fd;

	(void)state;
	assert_int_equal(shadow_create(1 << 20, 64, &fd, &sh, &e), 0);
	shadow_header(sh)->n_vcpus = 2;
	a.sh = b.sh = c.sh = sh;
	assert_int_equal(pthread_create(&sweeper, NULL, run_sweeper, &c), 0);
	run_both(&a, &b);
	__atomic_store_n(&c.stop, true, __ATOMIC_RELEASE);
	assert_int_equal(pthread_join(sweeper, NULL), 0);
	assert_true(c.seed > 0);
	snapshot(sh, labels);
	expect_exact_count(sh, labels);
	expect_lines(sh, labels);
	shadow_destroy(sh);
	close(fd);
}

static void test_two_threads(void **state)
{
	static struct taint_label before[PAGES * GUEST_PAGE_SIZE], after[PAGES * GUEST_PAGE_SIZE];
	struct worker a = {.seed = 1}, b = {.seed = 2};
	struct shadow *mine;
	struct err e;
	int fd;

	(void)state;
	assert_int_equal(shadow_create(1 << 20, 64, &fd, &mine, &e), 0);
	a.sh = b.sh = mine; /* one mapping: else a race detector sees two memories */
	run_both(&a, &b);
	snapshot(mine, before);
	expect_exact_count(mine, before);
	for (unsigned round = 0; round < 3; round++) {
		uint32_t epoch = shadow_epoch_begin(mine);

		run_both(&a, &b);
		assert_int_equal(shadow_rollback(mine, epoch, &e), 0);
		snapshot(mine, after);
		assert_memory_equal(before, after, sizeof(before));
		expect_exact_count(mine, after);
	}
	for (unsigned i = 0; i < CODES; i++)
		if (a.ids[i] && b.ids[i])
			assert_int_equal(a.ids[i], b.ids[i]);
	assert_int_equal(shadow_header(mine)->slots_exhausted, 0);
	assert_int_equal(shadow_header(mine)->writers_used, CODES + 1);
	shadow_destroy(mine);
	close(fd);
}

/* Both need copies of every page in each epoch, and the oldest go for it: the newest epoch's are all there. */
static void test_few_copies(void **state)
{
	static struct taint_label before[PAGES * GUEST_PAGE_SIZE], after[PAGES * GUEST_PAGE_SIZE];
	struct worker a = {.seed = 3}, b = {.seed = 4};
	struct shadow *sh;
	uint32_t epoch = 0;
	struct err e;
	int fd;

	(void)state;
	assert_int_equal(shadow_create(1 << 20, PAGES, &fd, &sh, &e), 0);
	a.sh = b.sh = sh;
	for (unsigned round = 0; round < 3; round++) {
		run_both(&a, &b);
		snapshot(sh, before);
		epoch = shadow_epoch_begin(sh);
	}
	run_both(&a, &b);
	assert_false(shadow_can_roll_back(sh, epoch - 1));
	assert_int_equal(shadow_rollback(sh, epoch, &e), 0);
	snapshot(sh, after);
	assert_memory_equal(before, after, sizeof(before));
	expect_exact_count(sh, after);
	assert_int_equal(shadow_header(sh)->slots_exhausted, 0);
	shadow_destroy(sh);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_two_threads), cmocka_unit_test(test_few_copies),
					   cmocka_unit_test(test_sweep_beside)};

	return cmocka_run_group_tests_name("shadow_threads", tests, NULL, NULL);
}
