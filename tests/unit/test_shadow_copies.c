/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The budget of undo copies: labels never lack room because of them, and no epoch is offered whose copies are gone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "test_shadow.h"

/* A shadow of this many pages, with this many copies. */
static void open_small(struct fixture *f, uint32_t pages, uint32_t copies)
{
	struct err e;

	assert_int_equal(shadow_create(pages * GUEST_PAGE_SIZE, copies, &f->fd, &f->sh, &e), 0);
}

static void close_small(struct fixture *f)
{
	shadow_destroy(f->sh);
	close(f->fd);
}

static void taint_pages(struct shadow *sh, uint32_t pages, uint32_t origin)
{
	for (uint32_t i = 0; i < pages; i++)
		set1(sh, (uint64_t)i * GUEST_PAGE_SIZE, origin, 0);
}

static void expect_pages(const struct shadow *sh, uint32_t pages, uint32_t origin)
{
	for (uint32_t i = 0; i < pages; i++)
		assert_int_equal(get1(sh, (uint64_t)i * GUEST_PAGE_SIZE).origin, origin);
	expect_count(sh, pages, pages);
}

/* However many checkpoints keep copies, every page can be tainted. */
static void test_all_pages_tainted(void **state)
{
	struct fixture f;
	struct err e;
	uint32_t epoch = 0;

	(void)state;
	open_small(&f, 64, 8);
	for (uint32_t round = 1; round <= 40; round++) {
		taint_pages(f.sh, 32, round); /* four times the copies there may be, in each epoch */
		epoch = shadow_epoch_begin(f.sh);
	}
	taint_pages(f.sh, 64, 100);
	expect_pages(f.sh, 64, 100);
	assert_int_equal(shadow_header(f.sh)->slots_exhausted, 0);
	assert_int_equal(shadow_header(f.sh)->copies_used, 8);
	assert_true(shadow_header(f.sh)->labels_lost > 0);
	assert_false(shadow_can_roll_back(f.sh, epoch)); /* more was changed in it than there may be copies */
	assert_int_equal(shadow_rollback(f.sh, epoch, &e), -1);
	assert_int_equal(e.code, ERR_STATE);
	expect_pages(f.sh, 64, 100); /* not half way back */
	epoch = shadow_epoch_begin(f.sh);
	set1(f.sh, 0, 101, 0);
	assert_int_equal(shadow_rollback(f.sh, epoch, &e), 0);
	expect_pages(f.sh, 64, 100);
	close_small(&f);
}

/* The oldest copies make room; with one for each page those of the newest epoch are never given up. */
static void test_oldest_copies_go(void **state)
{
	struct fixture f;
	struct err e;
	uint32_t oldest, middle, newest;

	(void)state;
	open_small(&f, 16, 16);
	taint_pages(f.sh, 16, 1);
	oldest = shadow_epoch_begin(f.sh);
	taint_pages(f.sh, 8, 2);
	middle = shadow_epoch_begin(f.sh);
	taint_pages(f.sh, 8, 3);
	assert_true(shadow_can_roll_back(f.sh, oldest));
	newest = shadow_epoch_begin(f.sh);
	set1(f.sh, 0, 4, 0); /* one more than there may be */
	assert_false(shadow_can_roll_back(f.sh, oldest));
	assert_true(shadow_can_roll_back(f.sh, middle));
	taint_pages(f.sh, 16, 4);
	assert_false(shadow_can_roll_back(f.sh, middle));
	assert_true(shadow_can_roll_back(f.sh, newest));
	assert_int_equal(shadow_rollback(f.sh, middle, &e), -1);
	expect_pages(f.sh, 16, 4);
	assert_int_equal(shadow_rollback(f.sh, newest, &e), 0);
	for (uint32_t i = 0; i < 16; i++)
		assert_int_equal(get1(f.sh, (uint64_t)i * GUEST_PAGE_SIZE).origin, i < 8 ? 3 : 1);
	assert_int_equal(shadow_header(f.sh)->copies_used, 0);
	assert_int_equal(shadow_header(f.sh)->slots_exhausted, 0);
	close_small(&f);
}

/* A copy in a slot that held another one has nothing of it. */
static void test_copy_in_used_slot(void **state)
{
	struct fixture f;
	struct err e;
	uint32_t epoch;

	(void)state;
	open_small(&f, 4, 1);
	for (uint64_t at = 0; at < GUEST_PAGE_SIZE; at++)
		set1(f.sh, at, 1, 0);
	set1(f.sh, 0x1004, 2, 0);
	shadow_epoch_begin(f.sh);
	set1(f.sh, 0x10, 3, 0); /* the copy of a full page */
	epoch = shadow_epoch_begin(f.sh);
	set1(f.sh, 0x1004, 4, 0); /* takes its place */
	assert_int_equal(shadow_rollback(f.sh, epoch, &e), 0);
	assert_int_equal(get1(f.sh, 0x1004).origin, 2);
	assert_int_equal(get1(f.sh, 0x1010).origin, 0);
	expect_count(f.sh, 2, GUEST_PAGE_SIZE + 1);
	close_small(&f);
}

/* Records of pages that were clean need no copy, but room too. */
static void test_records_full(void **state)
{
	struct fixture f;
	uint32_t epoch = 1, max;
	struct err e;

	(void)state;
	open_small(&f, 4, 4);
	max = shadow_header(f.sh)->max_undo;
	for (uint32_t i = 0; i < 3 * max; i++) {
		set1(f.sh, 0, 1, 0);
		shadow_clear(f.sh, gpa(0), 1);
		shadow_sweep(f.sh);
		epoch = shadow_epoch_begin(f.sh);
	}
	assert_int_equal(records(f.sh), max);
	assert_false(shadow_can_roll_back(f.sh, epoch - max - 1));
	assert_true(shadow_can_roll_back(f.sh, epoch - max));
	set1(f.sh, 0, 2, 0);
	assert_int_equal(shadow_rollback(f.sh, epoch, &e), 0);
	assert_int_equal(get1(f.sh, 0).origin, 0);
	assert_int_equal(shadow_header(f.sh)->slots_exhausted, 0);
	close_small(&f);
}

/* It died when it had a slot for a copy, but no record yet. */
static void test_dead_engine_slots(void **state)
{
	struct fixture f;
	struct err e;

	(void)state;
	open_small(&f, 4, 2);
	taint_pages(f.sh, 4, 1);
	for (uint32_t i = 0; i < 10; i++) {
		uint32_t epoch = shadow_epoch_begin(f.sh);

		set1(f.sh, 0, i + 2, 0);
		shadow_header(f.sh)->undo_end--;
		shadow_header(f.sh)->lock = 1;
		shadow_unlock_dead(f.sh);
		assert_int_equal(shadow_header(f.sh)->copies_used, 0);
		set1(f.sh, GUEST_PAGE_SIZE, 9, 0);
		assert_int_equal(shadow_header(f.sh)->slots_used, 6); /* the same slot again */
		assert_int_equal(shadow_rollback(f.sh, epoch, &e), 0);
		assert_int_equal(get1(f.sh, GUEST_PAGE_SIZE).origin, 1);
	}
	close_small(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_pages_tainted), cmocka_unit_test(test_oldest_copies_go),
		cmocka_unit_test(test_copy_in_used_slot), cmocka_unit_test(test_records_full),
		cmocka_unit_test(test_dead_engine_slots),
	};

	return cmocka_run_group_tests_name("shadow_copies", tests, NULL, NULL);
}
