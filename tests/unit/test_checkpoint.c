/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which checkpoints are offered: those whose RAM and labels can both be brought back. The engine and the network
 * are played by this file; RAM, undo log and shadow are real.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "recover/checkpoint.h"

#define PAGES 16u
#define SIZE ((uint64_t)PAGES * GUEST_PAGE_SIZE)
#define RING 8u

struct fixture {
	struct gmem *gm;
	struct undo *undo;
	struct disks disks; /* none */
	struct shadow *shadow;
	struct checkpoint_ring *ring;
	struct checkpoint_info last;
	int ram_fd, shadow_fd;
};

static uint64_t position; /* of the network: frames delivered */

int engine_stop(struct engine *en, struct err *e)
{
	(void)en;
	(void)e;
	return 0;
}

int engine_continue(struct engine *en, struct err *e)
{
	return engine_stop(en, e);
}

int engine_save(struct engine *en, int state_fd, struct err *e)
{
	(void)state_fd;
	return engine_stop(en, e);
}

int engine_load(struct engine *en, int state_fd, struct err *e)
{
	return engine_save(en, state_fd, e);
}

int engine_uffd(const struct engine *en)
{
	(void)en;
	return -1;
}

const struct taint_msg_ram *engine_ram(const struct engine *en)
{
	(void)en;
	return NULL;
}

void net_freeze(struct net *n)
{
	(void)n;
}

void net_thaw(struct net *n)
{
	(void)n;
}

uint64_t net_cursor(const struct net *n)
{
	(void)n;
	return position;
}

struct net_moment *net_moment_create(const struct net *n, struct err *e)
{
	(void)n;
	(void)e;
	return malloc(1);
}

void net_moment_destroy(struct net_moment *m)
{
	free(m);
}

int net_replay(struct net *n, const struct net_moment *m, struct err *e)
{
	(void)n;
	(void)m;
	(void)e;
	return 0;
}

int net_drop(struct net *n, const struct net_moment *m, unsigned *ret_reset, struct err *e)
{
	*ret_reset = 0;
	return net_replay(n, m, e);
}

void net_trim(struct net *n, uint64_t seq)
{
	(void)n;
	(void)seq;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	const struct gmem_region all = {gpa(0), SIZE, 0};
	struct checkpoint_parts parts;
	struct err e;

	*state = f;
	position = 0;
	f->ram_fd = memfd_create("test", MFD_CLOEXEC);
	if (f->ram_fd < 0 || ftruncate(f->ram_fd, (off_t)SIZE) < 0)
		return -1;
	if (gmem_create(f->ram_fd, SIZE, &f->gm, &e) < 0 || gmem_set_regions(f->gm, &all, 1, &e) < 0 ||
	    undo_create(f->gm, SIZE, &f->undo, &e) < 0 || shadow_create(SIZE, PAGES, &f->shadow_fd, &f->shadow, &e) < 0)
		return -1;
	parts = (struct checkpoint_parts){.shadow = f->shadow, .disks = &f->disks, .undo = f->undo, .n_vcpus = 1};
	return checkpoint_ring_create(&parts, RING, &f->ring, &e);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	checkpoint_ring_destroy(f->ring);
	undo_destroy(f->undo);
	shadow_destroy(f->shadow);
	gmem_destroy(f->gm);
	close(f->shadow_fd);
	close(f->ram_fd);
	free(f);
	return 0;
}

/* Taken when frames up to here were delivered. Returns its number. */
static uint64_t take(struct fixture *f, uint64_t seq)
{
	struct err e;

	position = seq;
	assert_int_equal(checkpoint_take(f->ring, NULL, CHECKPOINT_INPUT, &f->last, &e), 0);
	return f->last.id;
}

static void taint_pages(struct fixture *f, unsigned n, uint32_t origin)
{
	const struct taint_label label = {.origin = origin};

	for (uint64_t i = 0; i < n; i++)
		shadow_set(f->shadow, gpa(i * GUEST_PAGE_SIZE), &label, 1);
}

static uint32_t origin_of(const struct fixture *f, unsigned page)
{
	struct taint_label label;

	shadow_get(f->shadow, gpa(page * GUEST_PAGE_SIZE), &label, 1);
	return label.origin;
}

/* Those whose labels are gone are not offered, not gone back to, and go. */
static void test_labels_lost(void **state)
{
	struct fixture *f = *state;
	struct checkpoint_info c;
	uint64_t first, second, pages;
	struct err e;

	taint_pages(f, PAGES, 1);
	first = take(f, 10);
	taint_pages(f, 1, 2);
	second = take(f, 20);
	assert_int_equal(checkpoint_before(f->ring, 10, &c, &e), 0);
	assert_int_equal(c.id, first);
	taint_pages(f, PAGES, 3); /* one copy more than there may be */
	assert_int_equal(checkpoint_before(f->ring, 10, &c, &e), -1);
	assert_int_equal(e.code, ERR_LIMIT);
	assert_int_equal(checkpoint_older(f->ring, second, &c, &e), -1);
	assert_int_equal(checkpoint_oldest(f->ring, &c, &e), 0);
	assert_int_equal(c.id, second);
	assert_int_equal(checkpoint_restore_memory(f->ring, first, &pages, &e), -1);
	assert_int_equal(checkpoint_count(f->ring), 2);
	assert_int_equal(checkpoint_restore_memory(f->ring, second, &pages, &e), 0);
	assert_int_equal(origin_of(f, 0), 2);
	assert_int_equal(origin_of(f, 1), 1);
	take(f, 30);
	assert_int_equal(checkpoint_count(f->ring), 2); /* the first is gone */
}

static void write_pages(struct fixture *f, unsigned n, uint8_t byte)
{
	for (uint64_t i = 0; i < n; i++)
		assert_true(gmem_write(f->gm, gpa(i * GUEST_PAGE_SIZE), &byte, 1));
}

/* The same for RAM: the oldest make room for the newest. */
static void test_pages_lost(void **state)
{
	struct fixture *f = *state;
	struct checkpoint_info c;
	uint64_t first, second, pages;
	uint8_t byte;
	struct err e;

	first = take(f, 10);
	write_pages(f, PAGES, 1);
	second = take(f, 20);
	assert_int_equal(checkpoint_entry(f->ring, 0).pages, PAGES);
	write_pages(f, 1, 2); /* one page more than may be kept */
	assert_int_equal(checkpoint_oldest(f->ring, &c, &e), 0);
	assert_int_equal(c.id, second);
	assert_false(checkpoint_entry(f->ring, 0).usable);
	assert_int_equal(checkpoint_entry(f->ring, 0).pages, 0);
	assert_true(checkpoint_entry(f->ring, 1).usable);
	assert_int_equal(checkpoint_entry(f->ring, 1).pages, 1);
	assert_int_equal(checkpoint_find(f->ring, first, &c, &e), -1);
	assert_non_null(strstr(e.text, "cannot be gone back to"));
	take(f, 30);
	assert_int_equal(checkpoint_count(f->ring), 2);
	write_pages(f, PAGES, 3);
	assert_int_equal(checkpoint_oldest(f->ring, &c, &e), 0);
	assert_int_equal(c.seq, 30);
	assert_int_equal(checkpoint_restore_memory(f->ring, c.id, &pages, &e), 0);
	assert_int_equal(pages, PAGES);
	assert_true(gmem_read(f->gm, gpa(0), &byte, 1));
	assert_int_equal(byte, 2);
}

/* The newest one from before a frame is offered; those that are asked for by number. */
static void test_choice(void **state)
{
	static const struct {
		uint64_t frame;
		unsigned wanted; /* which one, from 0; 9: none */
	} rows[] = {{9, 9}, {10, 0}, {19, 0}, {20, 1}, {29, 1}, {30, 3}, {1000, 3}};
	struct fixture *f = *state;
	struct checkpoint_info c;
	uint64_t id[4];
	struct err e;

	assert_int_equal(checkpoint_newest(f->ring, &c, &e), -1);
	assert_non_null(strstr(e.text, "there is no checkpoint"));
	for (unsigned i = 0; i < 4; i++)
		id[i] = take(f, i < 3 ? 10 + i * 10 : 30); /* two with nothing between them */
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(checkpoint_before(f->ring, rows[i].frame, &c, &e), rows[i].wanted == 9 ? -1 : 0);
		if (rows[i].wanted != 9)
			assert_int_equal(c.id, id[rows[i].wanted]);
	}
	assert_int_equal(checkpoint_newest(f->ring, &c, &e), 0);
	assert_int_equal(c.id, id[3]);
	assert_int_equal(checkpoint_find(f->ring, id[1], &c, &e), 0);
	assert_int_equal(c.seq, 20);
	assert_int_equal(c.why, CHECKPOINT_INPUT);
	assert_int_equal(checkpoint_find(f->ring, id[3] + 1, &c, &e), -1);
	assert_int_equal(e.code, ERR_LIMIT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_labels_lost, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pages_lost, setup, teardown),
		cmocka_unit_test_setup_teardown(test_choice, setup, teardown),
	};

	return cmocka_run_group_tests_name("checkpoint", tests, NULL, NULL);
}
