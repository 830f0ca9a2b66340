/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The shadow file: labels, counts, epochs and rollback, damaged files, writer records. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "test_shadow.h"

#define GPA_LIMIT (64ull << 20)
#define COPIES 32u

static int setup(void **state)
{
	return shadow_setup(state, GPA_LIMIT, COPIES);
}

static void test_labels(void **state)
{
	struct shadow *sh = ((struct fixture *)*state)->sh;
	struct taint_label in[4] = {{.origin = 1, .writer = 10}, {.writer = 99}, {.origin = 3, .writer = 30}}, out[6];

	assert_false(shadow_get(sh, gpa(0x5000), out, 6));
	shadow_set(sh, gpa(0x5001), in, 4);
	assert_true(shadow_get(sh, gpa(0x5000), out, 6));
	assert_int_equal(out[0].origin, 0);
	assert_int_equal(out[1].origin, 1);
	assert_int_equal(out[1].writer, 10);
	assert_int_equal(out[2].writer, 0); /* a clean byte has no writer */
	assert_int_equal(out[3].writer, 30);
	expect_count(sh, 1, 2);
	shadow_clear(sh, gpa(0x5000), 3);
	assert_int_equal(get1(sh, 0x5001).origin, 0);
	assert_int_equal(get1(sh, 0x5003).origin, 3);
	expect_count(sh, 1, 1);
}

static void test_page_crossing(void **state)
{
	struct shadow *sh = ((struct fixture *)*state)->sh;
	struct taint_label in[8], out[8];

	for (uint32_t i = 0; i < 8; i++)
		in[i] = (struct taint_label){.origin = i + 1, .writer = (uint16_t)(100 + i)};
	shadow_set(sh, gpa(0x1ffd), in, 8);
	assert_true(shadow_get(sh, gpa(0x1ffd), out, 8));
	assert_memory_equal(in, out, sizeof(in));
	assert_int_equal(get1(sh, 0x2000).origin, 4);
	expect_count(sh, 2, 8);
	assert_true(shadow_page_tainted(sh, gpa(0x1000)));
	assert_true(shadow_page_tainted(sh, gpa(0x2fff)));
	assert_false(shadow_page_tainted(sh, gpa(0x3000)));
	shadow_clear(sh, gpa(0x1000), 0x2000);
	expect_count(sh, 0, 0);
	assert_false(shadow_page_tainted(sh, gpa(0x1000)));
}

static void test_limits(void **state)
{
	struct shadow *sh = ((struct fixture *)*state)->sh;
	struct taint_label in[4] = {{.origin = 1}, {.origin = 2}, {.origin = 3}, {.origin = 4}}, out[4];

	shadow_set(sh, gpa(GPA_LIMIT - 2), in, 4);
	assert_true(shadow_get(sh, gpa(GPA_LIMIT - 2), out, 4));
	assert_int_equal(out[1].origin, 2);
	assert_int_equal(out[2].origin, 0);
	assert_false(shadow_page_tainted(sh, gpa(GPA_LIMIT)));
	assert_false(shadow_page_tainted(sh, gpa(UINT64_MAX)));
	shadow_set(sh, gpa(UINT64_MAX - 1), in, 2);
	expect_count(sh, 1, 2);
}

/* The keys of the vCPUs in use change whenever a page without tainted bytes becomes tainted, and only then. */
static void test_keys(void **state)
{
	struct shadow *sh = ((struct fixture *)*state)->sh;
	uint64_t *key = &shadow_line(sh, 1)->key, before = *key;

	shadow_header(sh)->n_vcpus = 2;
	set1(sh, 0x7fff, 0, 5);
	assert_int_equal(*key, before); /* clean labels taint no page */
	set1(sh, 0x7fff, 1, 5);
	assert_int_not_equal(*key, before);
	assert_int_not_equal(shadow_line(sh, 0)->key, before);
	assert_int_equal(shadow_line(sh, 2)->key, before);
	before = *key;
	set1(sh, 0x7ffe, 1, 5);
	set1(sh, 0x7fff, 0, 0);
	assert_int_equal(*key, before);
	set1(sh, 0x7ffe, 0, 0);
	assert_false(shadow_page_tainted(sh, gpa(0x7123)));
	set1(sh, 0x7ffe, 1, 5); /* the page has its slot still */
	assert_int_not_equal(*key, before);
	set1(sh, 0x7ffe, 0, 0);
	shadow_sweep(sh);
	assert_false(shadow_page_tainted(sh, gpa(0x7123)));
}

/* A key has only bits that a page's address does not have, or has all alike; never 0; all different for long. */
static void test_key_values(void **state)
{
	enum { VALUES = (1 << 19) - 1 };
	uint64_t key = 0, first;
	unsigned n = 0;

	(void)state;
	shadow_key_renew(&key);
	first = key;
	do {
		assert_int_equal(key & 0x01fffffffffff000ull, 0);
		assert_true(key != 0);
		shadow_key_renew(&key);
		n++;
	} while (key != first && n <= VALUES);
	assert_int_equal(n, VALUES);
}

struct ram {
	uint8_t page[2][GUEST_PAGE_SIZE]; /* guest pages 1 and 2 */
	unsigned asked;
};

static const uint8_t *ram_page(void *arg, struct gpa page)
{
	struct ram *r = arg;

	r->asked++;
	return page.v == 0x1000 || page.v == 0x2000 ? r->page[page.v / 0x1000 - 1] : NULL;
}

/* What was overwritten without a word is dropped, with what by chance is the same; the rest stays. */
static void test_stale(void **state)
{
	struct shadow *sh = ((struct fixture *)*state)->sh;
	struct taint_label any = {.origin = 7, .value = 1, .flags = TAINT_LABEL_ANY_VALUE};
	static struct ram r;
	struct err e;

	memset(r.page, 'x', sizeof(r.page));
	shadow_taint_input(sh, gpa(0x1000), r.page[0], 2 * GUEST_PAGE_SIZE, 1);
	shadow_set(sh, gpa(0x1100), &any, 1);
	shadow_taint_input(sh, gpa(0x9000), r.page[0], 16, 1); /* no RAM: left alone */
	assert_int_equal(shadow_sweep_stale(sh, ram_page, &r, 100), 0);
	assert_int_equal(r.asked, 3);
	memset(r.page[0] + 64, 'y', 128);
	r.page[0][70] = 'x'; /* chance */
	r.page[0][0x100] = 'z'; /* any value fits */
	r.page[1][5] = 'z'; /* one byte alone */
	shadow_epoch_begin(sh);
	assert_int_equal(shadow_sweep_stale(sh, ram_page, &r, 100), 129);
	expect_count(sh, 3, 2 * GUEST_PAGE_SIZE + 16 - 129);
	assert_int_equal(get1(sh, 0x1000 + 63).origin, 64);
	assert_int_equal(get1(sh, 0x1000 + 70).origin, 0);
	assert_int_equal(get1(sh, 0x1100).origin, 7);
	assert_int_equal(get1(sh, 0x2005).origin, 0);
	assert_int_equal(get1(sh, 0x2006).origin, GUEST_PAGE_SIZE + 7);
	assert_int_equal(shadow_rollback(sh, 2, &e), 0);
	expect_count(sh, 3, 2 * GUEST_PAGE_SIZE + 16);
}

static void test_stale_line(void **state)
{
	struct shadow *sh = ((struct fixture *)*state)->sh;
	uint8_t was[3 * SHADOW_LINE], now[SHADOW_LINE];

	memset(was, 'x', sizeof(was));
	memset(now, 'y', sizeof(now));
	shadow_taint_input(sh, gpa(0x1000), was, sizeof(was), 1);
	assert_false(shadow_drop_stale_line(sh, gpa(0x1040), was));
	assert_false(shadow_drop_stale_line(sh, gpa(0x2000), now)); /* no taint there */
	assert_false(shadow_drop_stale_line(sh, gpa(UINT64_MAX & ~63ull), now));
	memcpy(now, was, SHADOW_LINE / 2); /* half is not most */
	assert_true(shadow_drop_stale_line(sh, gpa(0x1040), now));
	expect_count(sh, 1, sizeof(was) - SHADOW_LINE / 2);
	now[0] = 'y';
	assert_true(shadow_drop_stale_line(sh, gpa(0x1080), now));
	expect_count(sh, 1, SHADOW_LINE + SHADOW_LINE / 2);
	assert_int_equal(get1(sh, 0x103f).origin, SHADOW_LINE);
	assert_int_equal(shadow_lines(sh, gpa(0x1000)), 3);
}

static void test_stale_in_turns(void **state)
{
	struct shadow *sh = ((struct fixture *)*state)->sh;
	static struct ram r;

	shadow_taint_input(sh, gpa(0x1000), r.page[0], 2 * GUEST_PAGE_SIZE, 1);
	memset(r.page, 1, sizeof(r.page));
	r.asked = 0;
	assert_int_equal(shadow_sweep_stale(sh, ram_page, &r, 1), GUEST_PAGE_SIZE);
	assert_int_equal(shadow_sweep_stale(sh, ram_page, &r, 1), GUEST_PAGE_SIZE);
	assert_int_equal(shadow_sweep_stale(sh, ram_page, &r, 1), 0);
	assert_int_equal(r.asked, 2);
}

/* Of some bytes: exactly those that do not fit, and of these only what is still as it was seen. */
static void test_drop_stale(void **state)
{
	struct shadow *sh = ((struct fixture *)*state)->sh;
	struct taint_label seen[8];
	uint8_t bytes[8] = "aXcXeXgh";
	struct err e;

	shadow_taint_input(sh, gpa(0x1ffc), (const uint8_t *)"12345678", 8, 50);
	shadow_taint_input(sh, gpa(0x1040), (const uint8_t *)"abcdefgh", 8, 1);
	assert_int_equal(shadow_drop_stale(sh, gpa(0x5000), seen, bytes, 8), 0);
	assert_true(shadow_get(sh, gpa(0x1040), seen, 8));
	set1(sh, 0x1043, 99, 0);
	shadow_epoch_begin(sh);
	assert_int_equal(shadow_drop_stale(sh, gpa(0x1040), seen, bytes, 8), 2);
	assert_int_equal(get1(sh, 0x1040).origin, 1);
	assert_int_equal(get1(sh, 0x1041).origin, 0);
	assert_int_equal(get1(sh, 0x1043).origin, 99);
	assert_int_equal(get1(sh, 0x1045).origin, 0);
	expect_count(sh, 2, 14);
	memset(bytes, 'X', sizeof(bytes));
	assert_true(shadow_get(sh, gpa(0x1040), seen, 8));
	assert_int_equal(shadow_drop_stale(sh, gpa(0x1040), seen, bytes, 8), 6);
	assert_int_equal(shadow_lines(sh, gpa(0x1000)) & 2, 0);
	assert_int_equal(shadow_rollback(sh, 2, &e), 0);
	assert_int_equal(get1(sh, 0x1041).origin, 2);
	expect_count(sh, 2, 16);
}

static void test_input(void **state)
{
	struct shadow *sh = ((struct fixture *)*state)->sh;
	uint8_t bytes[200];

	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 3);

	shadow_taint_input(sh, gpa(0x1ff0), bytes, 200, TAINT_POSITION - 1);
	assert_int_equal(get1(sh, 0x1ff0).origin, TAINT_POSITION - 1);
	assert_int_equal(get1(sh, 0x1ff1).origin, TAINT_POSITION);
	assert_int_equal(get1(sh, 0x1ff2).origin, 1); /* 0 is skipped */
	assert_int_equal(get1(sh, 0x1ff0 + 199).origin, 198);
	assert_int_equal(get1(sh, 0x1ff0).writer, 0);
	assert_int_equal(get1(sh, 0x1ff0 + 100).value, bytes[100]);
	expect_count(sh, 2, 200);
	shadow_taint_input(sh, gpa(0x9000), bytes, 1, 0);
	assert_int_equal(get1(sh, 0x9000).origin, 1);
}

static void test_rollback(void **state)
{
	struct shadow *sh = ((struct fixture *)*state)->sh;
	struct err e;
	uint32_t second, third;

	set1(sh, 0x1000, 1, 1);
	second = shadow_epoch_begin(sh);
	assert_int_equal(second, 2);
	set1(sh, 0x1000, 2, 2);
	set1(sh, 0x1001, 3, 3);
	set1(sh, 0x2000, 4, 4); /* a page that was clean */
	third = shadow_epoch_begin(sh);
	set1(sh, 0x1000, 0, 0);
	set1(sh, 0x2000, 5, 5);
	set1(sh, 0x3000, 6, 6);

	assert_int_equal(shadow_rollback(sh, third, &e), 0);
	assert_int_equal(get1(sh, 0x1000).origin, 2);
	assert_int_equal(get1(sh, 0x2000).writer, 4);
	expect_count(sh, 2, 3);
	assert_false(shadow_page_tainted(sh, gpa(0x3000)));

	set1(sh, 0x1000, 7, 7); /* epoch 3 again: must be undone again */
	set1(sh, 0x3000, 8, 8);
	assert_int_equal(shadow_rollback(sh, third, &e), 0);
	assert_int_equal(get1(sh, 0x1000).origin, 2);
	expect_count(sh, 2, 3);

	assert_int_equal(shadow_rollback(sh, second, &e), 0);
	assert_int_equal(get1(sh, 0x1000).origin, 1);
	assert_int_equal(get1(sh, 0x1001).origin, 0);
	assert_int_equal(get1(sh, 0x2000).origin, 0);
	expect_count(sh, 1, 1);
	assert_int_equal(shadow_header(sh)->epoch, 2);
	assert_int_equal(records(sh), 1); /* that of epoch 1 */
}

/* From several epochs at once, twice over, with the slots coming and going. */
static void test_rollback_deep(void **state)
{
	struct shadow *sh = ((struct fixture *)*state)->sh;
	struct err e;

	set1(sh, 0x1000, 1, 0);
	for (unsigned round = 0; round < 20; round++) {
		uint32_t epoch = shadow_epoch_begin(sh);

		for (uint32_t i = 0; i < 3; i++) {
			set1(sh, 0x1000, 10 + i, 0);
			set1(sh, 0x2000 + 0x1000 * i, 20 + i, 0);
			shadow_epoch_begin(sh);
		}
		shadow_clear(sh, gpa(0x1000), 0x8000);
		shadow_sweep(sh);
		set1(sh, 0x1000, 99, 0);
		assert_int_equal(shadow_rollback(sh, epoch, &e), 0);
		assert_int_equal(get1(sh, 0x1000).origin, 1);
		expect_count(sh, 1, 1);
	}
	assert_int_equal(shadow_header(sh)->copies_used, 0); /* no slot leaked */
	assert_int_equal(shadow_header(sh)->labels_lost, 0);
}

static void test_forget(void **state)
{
	struct shadow *sh = ((struct fixture *)*state)->sh;
	struct err e;
	uint32_t epoch = 1;

	for (uint32_t i = 0; i < 200; i++) {
		set1(sh, 0x1000, i + 1, 0);
		set1(sh, 0x2000, i + 1, 0);
		epoch = shadow_epoch_begin(sh);
		shadow_epoch_forget(sh, epoch > 3 ? epoch - 3 : 1);
	}
	assert_int_equal(shadow_header(sh)->labels_lost, 0);
	assert_int_equal(shadow_header(sh)->copies_used, 2 * 3);
	assert_int_equal(records(sh), 2 * 3);
	assert_int_equal(shadow_rollback(sh, epoch - 4, &e), -1);
	assert_int_equal(e.code, ERR_STATE);
	assert_int_equal(shadow_rollback(sh, epoch + 1, &e), -1);
	assert_int_equal(shadow_rollback(sh, epoch - 3, &e), 0);
	assert_int_equal(get1(sh, 0x1000).origin, 197);
	assert_int_equal(get1(sh, 0x2000).origin, 197);
}

/* What QEMU could write into the file must not make us go outside it. */
static void test_hostile_indexes(void **state)
{
	struct shadow *sh = ((struct fixture *)*state)->sh;
	struct taint_shm *h = shadow_header(sh);
	struct taint_undo *undo = (struct taint_undo *)((char *)h + h->off_undo);
	uint32_t *page_slot = (uint32_t *)((char *)h + h->off_page_slot);
	struct taint_label out;
	struct err e;

	page_slot[1] = 0xfffffff0u;
	assert_false(shadow_get(sh, gpa(0x1000), &out, 1));
	assert_false(shadow_page_tainted(sh, gpa(0x1000)));
	shadow_clear(sh, gpa(0x1000), 8);
	h->slot_free = 0x80000000u;
	h->slots_used = 0xffffffffu;
	set1(sh, 0x2000, 1, 0);
	expect_count(sh, 0, 0);
	undo[0] = (struct taint_undo){0xffffffffu, 1, 1, 1};
	undo[1] = (struct taint_undo){1, 0xffffffffu, 1, 0xffffffffu};
	h->undo_end = 2;
	assert_int_equal(shadow_rollback(sh, 1, &e), 0);
	h->undo_end = UINT64_MAX;
	h->copies_used = 0xffffffffu;
	h->slots_used = 2;
	h->slot_free = 0;
	page_slot[1] = 1;
	set1(sh, 0x1000, 2, 0);
	shadow_epoch_begin(sh);
	set1(sh, 0x1000, 3, 0); /* gives up all that is said to be there */
	assert_int_equal(records(sh), 0);
	assert_int_equal(get1(sh, 0x1000).origin, 3);
	h->undo_first = 7;
	h->undo_end = 3;
	h->slots_used = 0xffffffffu;
	h->slot_free = 0xfffffff0u;
	shadow_unlock_dead(sh);
	assert_false(shadow_can_roll_back(sh, h->epoch));
	shadow_epoch_forget(sh, 5);
	shadow_sweep(sh);
}

static void test_attach(void **state)
{
	struct fixture *f = *state;
	struct shadow *other;
	struct err e;

	assert_int_equal(shadow_attach(f->fd, &other, &e), 0);
	set1(other, 0x1234, 77, 8);
	assert_int_equal(get1(f->sh, 0x1234).origin, 77);
	shadow_vcpu(other, TAINT_VCPU_MAX - 1)->reg[3] = 5;
	assert_int_equal(shadow_vcpu(f->sh, TAINT_VCPU_MAX - 1)->reg[3], 5);
	shadow_destroy(other);
}

static void refuse(struct fixture *f, const struct taint_shm *h)
{
	struct shadow *other;
	struct err e;

	assert_int_equal(pwrite(f->fd, h, sizeof(*h), 0), sizeof(*h));
	assert_int_equal(shadow_attach(f->fd, &other, &e), -1);
	assert_int_equal(e.code, ERR_PROTOCOL);
}

static void test_attach_damaged(void **state)
{
	struct fixture *f = *state;
	struct taint_shm good = *shadow_header(f->sh), h;
	int pipes[2], small = memfd_create("small", MFD_CLOEXEC);
	struct shadow *other;
	struct err e;

	h = good, h.magic ^= 1, refuse(f, &h);
	h = good, h.version++, refuse(f, &h);
	h = good, h.header_size--, refuse(f, &h);
	h = good, h.gpa_limit += 1, refuse(f, &h);
	h = good, h.gpa_limit *= 2, refuse(f, &h);
	h = good, h.max_slots *= 2, refuse(f, &h);
	h = good, h.max_slots = UINT32_MAX, refuse(f, &h);
	h = good, h.max_copies++, refuse(f, &h);
	h = good, h.max_undo++, refuse(f, &h);
	h = good, h.max_writers = UINT32_MAX, refuse(f, &h);
	h = good, h.off_data += 4096, refuse(f, &h);
	h = good, h.off_vcpu = UINT64_MAX - 4095, refuse(f, &h);
	h = good, h.file_size = 4096, refuse(f, &h);
	assert_int_equal(write(small, &good, sizeof(good)), sizeof(good)); /* right header, short file */
	assert_int_equal(shadow_attach(small, &other, &e), -1);
	assert_int_equal(ftruncate(small, 10), 0);
	assert_int_equal(shadow_attach(small, &other, &e), -1);
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(shadow_attach(pipes[0], &other, &e), -1);
	close(small);
	close(pipes[0]);
	close(pipes[1]);
}

static void test_create_refused(void **state)
{
	struct shadow *sh;
	struct err e;
	int fd;

	(void)state;
	assert_int_equal(shadow_create(0, COPIES, &fd, &sh, &e), -1);
	assert_int_equal(shadow_create(4097, COPIES, &fd, &sh, &e), -1);
	assert_int_equal(shadow_create(1ull << 60, COPIES, &fd, &sh, &e), -1);
	assert_int_equal(shadow_create(GPA_LIMIT, 0, &fd, &sh, &e), -1);
	assert_int_equal(shadow_create(GPA_LIMIT, UINT32_MAX, &fd, &sh, &e), -1);
	assert_int_equal(e.code, ERR_USAGE);
}

static void test_dead_engine(void **state)
{
	struct shadow *sh = ((struct fixture *)*state)->sh;
	struct taint_shm *h = shadow_header(sh);
	struct taint_slot *slot = (struct taint_slot *)((char *)h + h->off_slot);

	set1(sh, 0x1000, 1, 0);
	slot[1].count = 0; /* it died before it counted, and with the lock */
	h->lock = 1;
	shadow_unlock_dead(sh);
	shadow_sweep(sh);
	assert_int_equal(get1(sh, 0x1000).origin, 1);
	expect_count(sh, 1, 1);
}

static void test_writers(void **state)
{
	struct shadow *sh = ((struct fixture *)*state)->sh;
	struct taint_writer w = {.code_offset = 0x1000, .pc = 0x401000, .len = 3, .bytes = {0x88, 0x04, 0x17}}, out;
	uint32_t a = shadow_writer_intern(sh, &w), b;

	assert_int_not_equal(a, 0);
	w.pc = 0x7f0000401000; /* the same code at another address */
	assert_int_equal(shadow_writer_intern(sh, &w), a);
	w.bytes[0] = 0x89;
	b = shadow_writer_intern(sh, &w);
	assert_int_not_equal(b, a);
	assert_true(shadow_writer_get(sh, a, &out));
	assert_int_equal(out.pc, 0x401000);
	assert_int_equal(out.bytes[0], 0x88);
	assert_false(shadow_writer_get(sh, 0, &out));
	assert_false(shadow_writer_get(sh, b + 1, &out));
	assert_false(shadow_writer_get(sh, UINT32_MAX, &out));
}

static void test_writers_full(void **state)
{
	struct shadow *sh = ((struct fixture *)*state)->sh;
	struct taint_writer w = {.len = 1};
	uint32_t max = shadow_header(sh)->max_writers;

	for (uint32_t i = 1; i < max; i++) {
		w.code_offset = i;
		assert_int_equal(shadow_writer_intern(sh, &w), i);
	}
	w.code_offset = max;
	assert_int_equal(shadow_writer_intern(sh, &w), 0);
	w.code_offset = 5;
	assert_int_equal(shadow_writer_intern(sh, &w), 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_labels, setup, shadow_teardown),
		cmocka_unit_test_setup_teardown(test_page_crossing, setup, shadow_teardown),
		cmocka_unit_test_setup_teardown(test_limits, setup, shadow_teardown),
		cmocka_unit_test_setup_teardown(test_keys, setup, shadow_teardown),
		cmocka_unit_test(test_key_values),
		cmocka_unit_test_setup_teardown(test_stale, setup, shadow_teardown),
		cmocka_unit_test_setup_teardown(test_stale_line, setup, shadow_teardown),
		cmocka_unit_test_setup_teardown(test_stale_in_turns, setup, shadow_teardown),
		cmocka_unit_test_setup_teardown(test_drop_stale, setup, shadow_teardown),
		cmocka_unit_test_setup_teardown(test_input, setup, shadow_teardown),
		cmocka_unit_test_setup_teardown(test_rollback, setup, shadow_teardown),
		cmocka_unit_test_setup_teardown(test_rollback_deep, setup, shadow_teardown),
		cmocka_unit_test_setup_teardown(test_forget, setup, shadow_teardown),
		cmocka_unit_test_setup_teardown(test_hostile_indexes, setup, shadow_teardown),
		cmocka_unit_test_setup_teardown(test_attach, setup, shadow_teardown),
		cmocka_unit_test_setup_teardown(test_attach_damaged, setup, shadow_teardown),
		cmocka_unit_test(test_create_refused),
		cmocka_unit_test_setup_teardown(test_dead_engine, setup, shadow_teardown),
		cmocka_unit_test_setup_teardown(test_writers, setup, shadow_teardown),
		cmocka_unit_test_setup_teardown(test_writers_full, setup, shadow_teardown),
	};

	return cmocka_run_group_tests_name("shadow", tests, NULL, NULL);
}
