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

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_two_threads)};

	return cmocka_run_group_tests_name("shadow_threads", tests, NULL, NULL);
}
