/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The undo log, in criu's manner: prepare, checkpoint, spoil, restore, verify. The engine is played by a thread
 * that writes through a mapping of its own with a real userfaultfd on it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "recover/undo.h"

#define PAGES 1024u
#define SIZE ((uint64_t)PAGES * 4096)

struct fixture {
	struct loop *l;
	struct gmem *gm;
	struct undo *u;
	int ram_fd, uffd;
	uint8_t *engine; /* the engine's mapping */
	struct taint_msg_ram ram;
	/* what the writer thread does */
	unsigned first, count, step;
	uint8_t value;
	bool done;
};

static int open_uffd(struct fixture *f)
{
	struct uffdio_api api = {.api = UFFD_API,
				 .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM};
	struct uffdio_register reg = {.range = {.start = (uintptr_t)f->engine, .len = SIZE},
				      .mode = UFFDIO_REGISTER_MODE_WP};

	f->uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	return f->uffd >= 0 && ioctl(f->uffd, UFFDIO_API, &api) == 0 && ioctl(f->uffd, UFFDIO_REGISTER, &reg) == 0 ? 0
														   : -1;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	const struct gmem_region all = {gpa(0), SIZE, 0};
	struct err e;

	*state = f;
	f->ram_fd = memfd_create("test", MFD_CLOEXEC);
	if (f->ram_fd < 0 || ftruncate(f->ram_fd, (off_t)SIZE) < 0)
		return -1;
	f->engine = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, f->ram_fd, 0);
	f->l = loop_create(&e);
	if (!f->l || gmem_create(f->ram_fd, SIZE, &f->gm, &e) < 0 || gmem_set_regions(f->gm, &all, 1, &e) < 0 ||
	    undo_create(f->gm, 64u << 20, &f->u, &e) < 0 || open_uffd(f) < 0)
		return -1;
	f->ram.count = 1;
	f->ram.map[0].hva = (uintptr_t)f->engine;
	f->ram.map[0].size = SIZE;
	for (uint64_t i = 0; i < SIZE; i++)
		f->engine[i] = (uint8_t)(i / 4096 + i);
	return undo_attach(f->u, f->l, f->uffd, &f->ram, &e);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	undo_destroy(f->u);
	gmem_destroy(f->gm);
	loop_destroy(f->l);
	munmap(f->engine, SIZE);
	close(f->uffd);
	close(f->ram_fd);
	free(f);
	return 0;
}

static void *writer(void *arg)
{
	struct fixture *f = arg;

	for (unsigned i = 0; i < f->count; i++)
		memset(f->engine + (size_t)(f->first + i * f->step) * 4096, f->value, 4096);
	__atomic_store_n(&f->done, true, __ATOMIC_SEQ_CST);
	return NULL;
}

/* The engine writes count pages while we serve its traps. */
static void engine_writes(struct fixture *f, unsigned first, unsigned count, unsigned step, uint8_t value)
{
	pthread_t t;

	f->first = first;
	f->count = count;
	f->step = step;
	f->value = value;
	f->done = false;
	assert_int_equal(pthread_create(&t, NULL, writer, f), 0);
	while (!loop_run_until(f->l, &f->done, 10))
		;
	pthread_join(t, NULL);
}

static uint8_t *copy_of(const struct fixture *f)
{
	uint8_t *p = malloc(SIZE);

	memcpy(p, gmem_base(f->gm), SIZE);
	return p;
}

static void test_go_back(void **state)
{
	struct fixture *f = *state;
	uint8_t *before = copy_of(f);
	struct undo_stats s;
	uint64_t id, pages;
	struct err e;

	assert_int_equal(undo_begin(f->u, &id, &e), 0);
	engine_writes(f, 3, 100, 5, 0xee);
	engine_writes(f, 3, 100, 5, 0xef); /* the second write of a page traps no more */
	assert_true(gmem_write(f->gm, gpa(4096 * 3), "x", 1)); /* kept already */
	assert_true(gmem_write(f->gm, gpa(4096 * 4 + 4095), "yz", 2));
	undo_get_stats(f->u, &s);
	assert_int_equal(s.faults, 100);
	assert_int_equal(s.own_writes, 2);
	assert_memory_not_equal(before, gmem_base(f->gm), SIZE);
	undo_detach(f->u);
	assert_int_equal(undo_roll_back(f->u, id, &pages, &e), 0);
	assert_int_equal(pages, 102);
	assert_memory_equal(before, gmem_base(f->gm), SIZE);
	free(before);
}

static void test_several_logs(void **state)
{
	struct fixture *f = *state;
	uint8_t *at[4];
	uint64_t id[4], pages;
	struct err e;

	for (unsigned i = 0; i < 4; i++) {
		at[i] = copy_of(f);
		assert_int_equal(undo_begin(f->u, &id[i], &e), 0);
		engine_writes(f, i * 50, 300 - 40 * i, 2, (uint8_t)(0x10 + i)); /* ranges overlap */
	}
	undo_detach(f->u);
	assert_int_equal(undo_roll_back(f->u, id[2], &pages, &e), 0);
	assert_memory_equal(at[2], gmem_base(f->gm), SIZE);
	assert_false(undo_can_roll_back(f->u, id[3]));
	/* the log of id[2] goes on: spoil again, now with our own writes, and go back further */
	assert_true(gmem_write(f->gm, gpa(0), "spoiled", 7));
	assert_int_equal(undo_roll_back(f->u, id[2], &pages, &e), 0);
	assert_memory_equal(at[2], gmem_base(f->gm), SIZE);
	assert_int_equal(undo_roll_back(f->u, id[0], &pages, &e), 0);
	assert_memory_equal(at[0], gmem_base(f->gm), SIZE);
	for (unsigned i = 0; i < 4; i++)
		free(at[i]);
}

static void test_protected_again_after_roll_back(void **state)
{
	struct fixture *f = *state;
	uint8_t *before = copy_of(f);
	uint64_t id, pages;
	struct err e;

	assert_int_equal(undo_begin(f->u, &id, &e), 0);
	for (unsigned round = 0; round < 3; round++) {
		engine_writes(f, 0, 20, 7, (uint8_t)(0x40 + round));
		undo_detach(f->u);
		assert_int_equal(undo_roll_back(f->u, id, &pages, &e), 0);
		assert_int_equal(pages, 20);
		assert_memory_equal(before, gmem_base(f->gm), SIZE);
		assert_int_equal(undo_attach(f->u, f->l, f->uffd, &f->ram, &e), 0);
		assert_int_equal(undo_protect(f->u, 0, &e), 0);
	}
	free(before);
}

/* An engine that waits is protected bit by bit, across its mappings, and the rest of it when it takes over. */
static void test_protected_ahead(void **state)
{
	struct fixture *f = *state;
	struct undo_stats before, after;
	uint64_t id, pages, at, parts;
	struct err e;
	int rc;

	f->ram.count = 2;
	f->ram.map[0].size = SIZE / 4;
	f->ram.map[1].hva = (uintptr_t)f->engine + SIZE / 4;
	f->ram.map[1].size = SIZE - SIZE / 4;
	f->ram.map[1].offset = SIZE / 4;
	undo_detach(f->u);
	assert_int_equal(undo_attach(f->u, f->l, f->uffd, &f->ram, &e), 0);
	assert_int_equal(undo_begin(f->u, &id, &e), 0);
	for (uint64_t most = 4096 * 7; most <= SIZE * 2; most *= 5) {
		for (unsigned stop_early = 0; stop_early < 2; stop_early++) {
			engine_writes(f, 0, PAGES, 1, (uint8_t)most);
			undo_detach(f->u);
			assert_int_equal(undo_roll_back(f->u, id, &pages, &e), 0);
			at = parts = 0;
			while ((rc = undo_protect_ahead(f->uffd, &f->ram, &at, most, &e)) == 0 && !stop_early)
				parts++;
			assert_true(rc >= 0);
			assert_int_equal(parts, stop_early ? 0 : SIZE / most);
			assert_int_equal(at, stop_early && most < SIZE ? most : SIZE);
			assert_int_equal(undo_attach(f->u, f->l, f->uffd, &f->ram, &e), 0);
			/* What is said to be protected is not protected again. */
			assert_int_equal(undo_protect(f->u, at, &e), 0);
			undo_get_stats(f->u, &before);
			engine_writes(f, 0, PAGES, 1, 1);
			undo_get_stats(f->u, &after);
			assert_int_equal(after.faults - before.faults, PAGES);
		}
	}
	assert_int_equal(undo_protect_ahead(-1, &f->ram, &(uint64_t){0}, 4096, &e), -1);
}

static void test_forget_and_limit(void **state)
{
	struct fixture *f = *state;
	uint64_t a, b, c, pages;
	struct err e;

	assert_int_equal(undo_begin(f->u, &a, &e), 0);
	engine_writes(f, 0, 10, 1, 1);
	assert_int_equal(undo_begin(f->u, &b, &e), 0);
	engine_writes(f, 0, 10, 1, 2);
	undo_forget(f->u, b);
	assert_int_equal(undo_bytes(f->u), 10 * 4096);
	assert_false(undo_can_roll_back(f->u, a));
	assert_true(undo_can_roll_back(f->u, b));
	undo_destroy(f->u);
	/* A limit of one chunk's pages: what does not fit makes the checkpoint void, not the VM. */
	assert_int_equal(undo_create(f->gm, 4096, &f->u, &e), 0);
	assert_int_equal(undo_attach(f->u, f->l, f->uffd, &f->ram, &e), 0);
	assert_int_equal(undo_begin(f->u, &c, &e), 0);
	engine_writes(f, 0, 1000, 1, 3);
	assert_false(undo_can_roll_back(f->u, c));
	undo_detach(f->u);
	assert_int_equal(undo_roll_back(f->u, c, &pages, &e), -1);
	assert_int_equal(f->engine[999 * 4096], 3);
}

/* What was written is protected again, wherever it lies, and all else stays so. */
static void test_protected_again(void **state)
{
	static const struct {
		unsigned first, count, step;
	} rows[] = {{0, 1, 1},	{63, 1, 1},  {64, 1, 1},   {1023, 1, 1}, {62, 4, 1},
		    {0, 64, 1}, {0, 16, 64}, {63, 16, 64}, {1, 500, 2},	 {0, PAGES, 1}};
	struct fixture *f = *state;
	struct undo_stats before, after;
	uint64_t id;
	struct err e;

	undo_destroy(f->u);
	assert_int_equal(undo_create(f->gm, 4 * SIZE, &f->u, &e), 0);
	assert_int_equal(undo_attach(f->u, f->l, f->uffd, &f->ram, &e), 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(undo_begin(f->u, &id, &e), 0);
		engine_writes(f, rows[i].first, rows[i].count, rows[i].step, (uint8_t)i);
		assert_int_equal(undo_begin(f->u, &id, &e), 0);
		undo_get_stats(f->u, &before);
		engine_writes(f, rows[i].first, rows[i].count, rows[i].step, (uint8_t)i);
		undo_get_stats(f->u, &after);
		assert_int_equal(after.faults - before.faults, rows[i].count);
		engine_writes(f, 0, PAGES, 1, (uint8_t)i);
		undo_get_stats(f->u, &after);
		assert_int_equal(after.faults - before.faults, PAGES);
		undo_forget(f->u, id);
	}
}

/* What is over the limit costs the oldest logs, and only as many as it must. */
static void test_oldest_given_up(void **state)
{
	struct fixture *f = *state;
	struct undo_stats st;
	uint64_t id[4], pages;
	struct err e;

	undo_destroy(f->u);
	assert_int_equal(undo_create(f->gm, 100 * 4096, &f->u, &e), 0);
	assert_int_equal(undo_attach(f->u, f->l, f->uffd, &f->ram, &e), 0);
	for (uint8_t i = 0; i < 3; i++) {
		assert_int_equal(undo_begin(f->u, &id[i], &e), 0);
		engine_writes(f, 0, 30, 1, (uint8_t)(i + 1));
	}
	assert_int_equal(undo_begin(f->u, &id[3], &e), 0);
	engine_writes(f, 100, 50, 1, 9);
	assert_false(undo_can_roll_back(f->u, id[0]));
	assert_false(undo_can_roll_back(f->u, id[1]));
	assert_true(undo_can_roll_back(f->u, id[2]));
	assert_int_equal(undo_log_pages(f->u, id[2]), 30);
	assert_int_equal(undo_log_pages(f->u, id[3]), 50);
	undo_get_stats(f->u, &st);
	assert_int_equal(st.lost, 60);
	undo_detach(f->u);
	assert_int_equal(undo_roll_back(f->u, id[2], &pages, &e), 0);
	assert_int_equal(pages, 80);
	assert_int_equal(f->engine[0], 2);
	assert_int_equal(f->engine[29 * 4096], 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_go_back, setup, teardown),
		cmocka_unit_test_setup_teardown(test_several_logs, setup, teardown),
		cmocka_unit_test_setup_teardown(test_protected_again_after_roll_back, setup, teardown),
		cmocka_unit_test_setup_teardown(test_protected_ahead, setup, teardown),
		cmocka_unit_test_setup_teardown(test_forget_and_limit, setup, teardown),
		cmocka_unit_test_setup_teardown(test_protected_again, setup, teardown),
		cmocka_unit_test_setup_teardown(test_oldest_given_up, setup, teardown),
	};

	return cmocka_run_group_tests_name("undo", tests, NULL, NULL);
}
