/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest that changes its structures while they are read: each read may give another answer. Whatever it is, every look ends,
 * after so many reads. Guest memory is read through the function below: see the Makefile.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "test_vmi_guest.h"

#define ROUNDS 2000u
#define READS_MAX 20000000u /* of one look */
#define LISTED 8

bool __real_gmem_read(const struct gmem *gm, struct gpa at, void *ret_buf, size_t len);
bool __wrap_gmem_read(const struct gmem *gm, struct gpa at, void *ret_buf, size_t len);

static struct guest_prog p;
static uint64_t modules;
static uint64_t reads, seed;
static unsigned one_in; /* so many reads are changed; 0: none */

static uint64_t next_random(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

/* What could be there: another structure, a user's address, a node of a tree, a small number, anything. */
static uint64_t another_value(void)
{
	uint64_t r = next_random(), in_heap = guest_kva(GUEST_HEAP + (r >> 8) % (p.g.heap - GUEST_HEAP));

	switch (r & 7) {
	case 0:
		return r >> 8;
	case 1:
		return PROG_BASE + ((r >> 8) & 0x7fff);
	case 2:
		return (in_heap & ~0xffull) | 2 | (r >> 40 & 0xf) << 3;
	case 3:
		return r >> 60;
	case 4:
		return guest_kva(GUEST_INIT_TASK + (r >> 8) % 256);
	default:
		return in_heap & ~7ull;
	}
}

bool __wrap_gmem_read(const struct gmem *gm, struct gpa at, void *ret_buf, size_t len)
{
	bool good = __real_gmem_read(gm, at, ret_buf, len);
	uint64_t value;

	if (++reads > READS_MAX)
		fail_msg("a look does not end, seed %llu", (unsigned long long)seed);
	if (!one_in || next_random() % one_in)
		return good;
	value = another_value();
	for (size_t i = 0; i < len; i += 8)
		memcpy((uint8_t *)ret_buf + i, &value, len - i < 8 ? len - i : 8);
	return good;
}

static int setup(void **state)
{
	(void)state;
	guest_prog_init(&p);
	guest_prog_cache(&p);
	modules = guest_alloc(&p.g, 64);
	guest_list_init(&p.g, modules);
	guest_add_module(&p.g, modules, "first", 0xffffffffc0100000);
	guest_add_module(&p.g, modules, "second", 0xffffffffc0200000);
	one_in = 0;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	one_in = 0;
	guest_deinit(&p.g);
	return 0;
}

static void look_at_processes(struct vmi *v)
{
	struct vmi_process processes[LISTED];
	struct vmi_task tasks[LISTED];
	struct err e;
	bool whole;
	int n = vmi_processes(v, true, 0, processes, LISTED, &whole, &e);

	for (int i = 0; i < n; i++)
		assert_true(strnlen(processes[i].program, VMI_PATH_MAX) < VMI_PATH_MAX);
	assert_in_range(vmi_tasks(v, tasks, LISTED, &e) + 1, 0, LISTED + 1);
	(void)!vmi_task_by_cr3(v, p.t.space.cr3, tasks, &e);
	(void)!vmi_task_by_pid(v, 42, tasks, &e);
}

static void look_at_threads(struct vmi *v)
{
	struct vmi_thread_state states[LISTED];
	struct vmi_thread waiting[LISTED];
	struct gva ip[LISTED];
	struct err e;
	size_t other;
	bool whole;

	assert_in_range(vmi_thread_states(v, &p.t, 0, states, LISTED, &whole, &e) + 1, 0, LISTED + 1);
	assert_in_range(vmi_thread_ips(v, &p.t, ip, LISTED, &e) + 1, 0, LISTED + 1);
	assert_in_range(vmi_threads_waiting(v, &p.t, waiting, LISTED, &other, &e) + 1, 0, LISTED + 1);
}

static void look_at_memory(struct vmi *v)
{
	struct vmi_mapping m[LISTED];
	struct vmi_module module;
	char bytes[64];
	struct gva at;
	struct err e;
	bool whole;
	int n = vmi_mappings(v, &p.t, 0, m, LISTED, &whole, &e);

	for (int i = 0; i < n; i++) {
		assert_true(m[i].start.v < m[i].end.v && m[i].build_id_len <= VMI_BUILD_ID_MAX);
		assert_true(i == 0 || m[i - 1].end.v <= m[i].start.v);
		assert_true(strnlen(m[i].name, VMI_PATH_MAX) < VMI_PATH_MAX);
	}
	if (!vmi_module_at(v, &p.t, gva(PROG_BASE + 0x1000), &module, &e))
		assert_true(module.build_id_len <= VMI_BUILD_ID_MAX);
	(void)!vmi_find_code(v, &p.t, p.page[1], &at, &e);
	(void)vmi_task_peek(v, &p.t, gva(PROG_BASE + 0x3fe0), bytes, sizeof(bytes) / 2);
}

static void look_at_modules(struct vmi *v)
{
	struct vmi_kmodule m[LISTED];
	struct err e;
	bool whole;
	int n = vmi_kmodules_of(v, gva(guest_kva(modules)), 0, m, LISTED, &whole, &e);

	for (int i = 0; i < n; i++)
		assert_true(strnlen(m[i].name, sizeof(m[i].name)) < sizeof(m[i].name));
}

static void every_look_ends(void **state)
{
	static void (*const looks[])(struct vmi * v) = {look_at_processes, look_at_threads, look_at_memory,
							look_at_modules};
	static const unsigned rates[] = {2, 8, 32, 128, 1024};

	(void)state;
	for (unsigned round = 0; round < ROUNDS; round++) {
		seed = 0x9e3779b97f4a7c15ull * (round + 1);
		one_in = rates[round % (sizeof(rates) / sizeof(rates[0]))];
		for (size_t i = 0; i < sizeof(looks) / sizeof(looks[0]); i++) {
			reads = 0;
			looks[i](p.g.vmi);
		}
	}
}

#define ENDED 60u /* processes whose first thread has ended */
#define THREADS 4000u
#define READS_EACH 2000u

/* They all have the same list of threads, none of which has memory: what that costs is bounded for each process. */
static void shared_threads_cost_little(void **state)
{
	struct guest *g = &p.g;
	uint64_t signal = guest_alloc(g, 64), head = guest_member(signal, SIGNAL_THREAD_HEAD);
	struct vmi_task task;
	struct err e;

	(void)state;
	guest_list_init(g, head);
	for (unsigned i = 0; i < THREADS; i++)
		guest_list_add_tail(g, head, guest_member(guest_alloc(g, 256), TASK_THREAD_NODE));
	for (unsigned i = 0; i < ENDED; i++)
		guest_set(g, guest_add_task(g, guest_alloc(g, 256), 100 + i, "ended", 0), TASK_SIGNAL,
			  guest_kva(signal));
	reads = 0;
	assert_int_equal(vmi_task_by_cr3(g->vmi, 0x7ff000, &task, &e), -1);
	assert_in_range(reads, ENDED, ENDED * READS_EACH);
}

#define NODES 8u
#define TREE_READS 50000u

/* Each slot of each node of a process's tree leads to another one. */
static void nodes_in_a_circle_cost_little(void **state)
{
	struct guest *g = &p.g;
	uint64_t nodes = guest_alloc(g, NODES * 256), at, to;
	struct vmi_mapping m[LISTED];
	struct err e;
	bool whole;

	(void)state;
	for (uint64_t i = 0; i < NODES; i++) {
		at = nodes + 256 * i;
		for (uint64_t k = 0; k < 16; k++) {
			to = nodes + 256 * ((i + k) % NODES);
			guest_put64(g, guest_member(at, RANGE64_SLOT) + 8 * k, guest_kva(to) | 2 << 3 | 2);
			if (k < 15)
				guest_put64(g, guest_member(at, RANGE64_PIVOT) + 8 * k, PROG_BASE + (k << 12) - 1);
		}
	}
	guest_put64(g, guest_member(p.mm, MM_MT) + guest_layout[MT_ROOT].offset, guest_kva(nodes) | 2 << 3 | 2);
	reads = 0;
	assert_int_equal(vmi_mappings(g->vmi, &p.t, 0, m, LISTED, &whole, &e), -1);
	assert_int_equal(e.code, ERR_GUEST);
	assert_in_range(reads, NODES, TREE_READS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(every_look_ends, setup, teardown),
		cmocka_unit_test_setup_teardown(nodes_in_a_circle_cost_little, setup, teardown),
		cmocka_unit_test_setup_teardown(shared_threads_cost_little, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
