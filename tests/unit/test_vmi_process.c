/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The lists of processes, threads and mappings that an operator sees. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "test_vmi_guest.h"

#define PF_KTHREAD 0x200000u

static int setup(void **state)
{
	static struct guest_prog p;

	guest_prog_init(&p);
	*state = &p;
	return 0;
}

static int teardown(void **state)
{
	guest_deinit(&((struct guest_prog *)*state)->g);
	return 0;
}

static uint64_t new_task(struct guest *g, uint32_t pid, const char *comm, uint64_t mm)
{
	return guest_add_task(g, guest_alloc(g, 256), pid, comm, mm);
}

static uint64_t add_thread(struct guest *g, uint64_t leader, uint32_t tid)
{
	uint64_t thread = guest_alloc(g, 256), signal;

	memcpy(&signal, g->ram + guest_member(leader, TASK_SIGNAL), 8);
	memcpy(g->ram + thread, g->ram + leader, 256);
	guest_set(g, thread, TASK_PID, tid);
	guest_list_add_tail(g, guest_member(guest_phys(signal), SIGNAL_THREAD_HEAD),
			    guest_member(thread, TASK_THREAD_NODE));
	return thread;
}

static void one_process(void **state)
{
	struct guest_prog *p = *state;
	struct guest *g = &p->g;
	uint64_t cred = guest_alloc(g, 64), task = guest_phys(p->t.task.v), child = new_task(g, 43, "child", p->mm);
	uint64_t dentry;
	struct vmi_process got[4];
	struct err e = {0};
	bool whole;

	guest_set(g, cred, CRED_UID, 1000);
	guest_set(g, child, TASK_CRED, guest_kva(cred));
	guest_set(g, child, TASK_PARENT, p->t.task.v);
	guest_set(g, p->mm, MM_EXE_FILE, guest_kva(p->file));
	guest_set(g, task, TASK_FLAGS, PF_KTHREAD);
	assert_int_equal(vmi_processes(g->vmi, false, 0, got, 4, &whole, &e), 2);
	assert_true(whole);
	assert_true(got[0].is_kernel);
	assert_string_equal(got[0].program, "");
	assert_int_equal(got[0].uid, UINT32_MAX);
	assert_int_equal(got[1].pid, 43);
	assert_int_equal(got[1].tid, 43);
	assert_int_equal(got[1].parent, 42);
	assert_int_equal(got[1].uid, 1000);
	assert_int_equal(got[1].start_time_ns, 43000);
	assert_false(got[1].is_kernel);
	assert_string_equal(got[1].comm, "child");
	assert_string_equal(got[1].program, "/prog");
	assert_true(got[1].deleted);
	memcpy(&dentry, g->ram + guest_member(guest_member(p->file, FILE_PATH), PATH_DENTRY), 8);
	guest_put64(g, guest_member(guest_phys(dentry), DENTRY_HASH) + 8, guest_kva(0x9000));
	assert_int_equal(vmi_processes(g->vmi, false, 1, got, 4, &whole, &e), 1);
	assert_int_equal(got[0].pid, 43);
	assert_false(got[0].deleted);
}

static void states(void **state)
{
	static const struct {
		uint32_t state, ended;
		char letter;
	} rows[] = {{0, 0, 'R'},    {1, 0, 'S'},       {2, 0, 'D'},    {0x402, 0, 'I'},	 {4, 0, 'T'},	    {8, 0, 't'},
		    {0, 0x20, 'Z'}, {0x80, 0x10, 'X'}, {0x40, 0, 'P'}, {0x2001, 0, 'S'}, {0x402, 0x20, 'Z'}};
	struct guest_prog *p = *state;
	uint64_t task = guest_phys(p->t.task.v);
	struct vmi_process got;
	struct err e = {0};
	bool whole;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		guest_set(&p->g, task, TASK_STATE, rows[i].state);
		guest_set(&p->g, task, TASK_EXIT_STATE, rows[i].ended);
		assert_int_equal(vmi_processes(p->g.vmi, false, 0, &got, 1, &whole, &e), 1);
		assert_int_equal(got.state, rows[i].letter);
	}
	p->g.vmi->layout.f[TASK_STATE].size = 0;
	assert_int_equal(vmi_processes(p->g.vmi, false, 0, &got, 1, &whole, &e), 1);
	assert_int_equal(got.state, '?');
}

static void threads_of_all(void **state)
{
	struct guest_prog *p = *state;
	struct guest *g = &p->g;
	struct vmi_process got[8];
	struct err e = {0};
	bool whole;

	add_thread(g, guest_phys(p->t.task.v), 100);
	add_thread(g, guest_phys(p->t.task.v), 101);
	new_task(g, 50, "next", 0);
	assert_int_equal(vmi_processes(g->vmi, false, 0, got, 8, &whole, &e), 2);
	assert_int_equal(vmi_processes(g->vmi, true, 0, got, 8, &whole, &e), 4);
	assert_true(whole);
	assert_int_equal(got[2].pid, 42);
	assert_int_equal(got[2].tid, 101);
	assert_int_equal(got[3].pid, 50);
	/* In parts. */
	assert_int_equal(vmi_processes(g->vmi, true, 0, got, 2, &whole, &e), 2);
	assert_true(whole);
	assert_int_equal(vmi_processes(g->vmi, true, 2, got, 2, &whole, &e), 2);
	assert_int_equal(got[0].tid, 101);
	assert_int_equal(got[1].pid, 50);
	assert_int_equal(vmi_processes(g->vmi, true, 4, got, 2, &whole, &e), 0);
}

static void hostile_lists_are_not_whole(void **state)
{
	struct guest_prog *p = *state;
	struct guest *g = &p->g;
	uint64_t a = new_task(g, 1, "a", 0), b = new_task(g, 2, "b", 0), next = guest_member(b, TASK_TASKS);
	struct vmi_process *got = calloc(70000, sizeof(*got));
	struct err e = {0};
	bool whole = true;

	guest_put64(g, next, guest_kva(guest_member(a, TASK_TASKS))); /* a cycle without its head */
	assert_in_range(vmi_processes(g->vmi, false, 0, got, 70000, &whole, &e), 3, 8);
	assert_false(whole);
	guest_put64(g, next, 0x1234);
	assert_int_equal(vmi_processes(g->vmi, false, 0, got, 70000, &whole, &e), 3);
	assert_false(whole);
	guest_put64(g, next, guest_kva(guest_member(GUEST_INIT_TASK, TASK_TASKS)));
	assert_int_equal(vmi_processes(g->vmi, true, 0, got, 70000, &whole, &e), 3);
	assert_true(whole);
	guest_set(g, b, TASK_SIGNAL, 0x10);
	assert_int_equal(vmi_processes(g->vmi, true, 0, got, 70000, &whole, &e), 2);
	assert_false(whole);
	guest_put64(g, guest_member(GUEST_INIT_TASK, TASK_TASKS), 0xffff900000000000ull);
	assert_int_equal(vmi_processes(g->vmi, false, 0, got, 70000, &whole, &e), -1);
	assert_int_equal(e.code, ERR_GUEST);
	free(got);
}

static void by_pid(void **state)
{
	struct guest_prog *p = *state;
	struct vmi_task t;
	struct err e = {0};

	assert_int_equal(vmi_task_by_pid(p->g.vmi, 42, &t, &e), 0);
	assert_int_equal(t.task.v, p->t.task.v);
	assert_int_equal(vmi_task_by_pid(p->g.vmi, 43, &t, &e), -1);
	assert_int_equal(e.code, ERR_MISSING);
}

static void mappings(void **state)
{
	struct guest_prog *p = *state;
	struct vmi_mapping m[8];
	struct err e = {0};
	bool whole;

	guest_prog_cache(p);
	p->g.vmi->vmemmap = GUEST_VMEMMAP;
	assert_int_equal(vmi_mappings(p->g.vmi, &p->t, 0, m, 8, &whole, &e), 4);
	assert_true(whole);
	assert_int_equal(m[2].start.v, PROG_BASE + 0x3000);
	assert_int_equal(m[2].end.v, PROG_BASE + 0x4000);
	assert_int_equal(m[2].file_offset, 0x2000);
	assert_int_equal(m[2].flags, 3);
	assert_string_equal(m[2].name, "/prog");
	assert_int_equal(m[2].build_id_len, 20);
	assert_memory_equal(m[2].build_id, "build-id-of-20-bytes", 20);
	assert_string_equal(m[3].name, "");
	assert_int_equal(m[3].build_id_len, 0);
	assert_int_equal(vmi_mappings(p->g.vmi, &p->t, 2, m, 1, &whole, &e), 1);
	assert_int_equal(m[0].start.v, PROG_BASE + 0x3000);
	assert_int_equal(m[0].build_id_len, 20);
	assert_int_equal(vmi_mappings(p->g.vmi, &p->t, 4, m, 1, &whole, &e), 0);
	memset(p->g.ram + p->page[0], 0, 4); /* no ELF file any more */
	assert_int_equal(vmi_mappings(p->g.vmi, &p->t, 0, m, 8, &whole, &e), 4);
	assert_int_equal(m[0].build_id_len, 0);
}

static void mappings_with_a_purpose(void **state)
{
	struct guest_prog *p = *state;
	struct guest *g = &p->g;
	uint64_t special = guest_alloc(g, 64), name = guest_alloc(g, 64);
	struct vmi_mapping m[8];
	struct err e = {0};
	bool whole;

	guest_set(g, p->mm, MM_START_BRK, PROG_BASE + 0x4100);
	guest_set(g, p->mm, MM_BRK, PROG_BASE + 0x4200);
	assert_int_equal(vmi_mappings(g->vmi, &p->t, 0, m, 8, &whole, &e), 4);
	assert_string_equal(m[3].name, "[heap]");
	guest_set(g, p->mm, MM_START_BRK, 0);
	guest_set(g, p->mm, MM_START_STACK, PROG_BASE + 0x4ff0);
	assert_int_equal(vmi_mappings(g->vmi, &p->t, 0, m, 8, &whole, &e), 4);
	assert_string_equal(m[3].name, "[stack]");
	guest_put(g, name, "[vdso]", 7);
	guest_set(g, special, SPECIAL_NAME, guest_kva(name));
	guest_set(g, p->vma[3], VMA_PRIVATE, guest_kva(special));
	assert_int_equal(vmi_mappings(g->vmi, &p->t, 0, m, 8, &whole, &e), 4);
	assert_string_equal(m[3].name, "[vdso]");
	guest_put(g, name, "driver", 7); /* another's data */
	assert_int_equal(vmi_mappings(g->vmi, &p->t, 0, m, 8, &whole, &e), 4);
	assert_string_equal(m[3].name, "[stack]");
	guest_put(g, name, "[v\033[2J]", 8); /* not for a terminal */
	assert_int_equal(vmi_mappings(g->vmi, &p->t, 0, m, 8, &whole, &e), 4);
	assert_string_equal(m[3].name, "[stack]");
}

/* Registers of user mode at the top of the task's kernel stack. Register k of the kernel's order has the value 0x100 + k. */
static uint64_t save_registers(struct guest *g, uint64_t task, uint64_t cs)
{
	uint64_t stack, regs;

	memcpy(&stack, g->ram + guest_member(task, TASK_STACK), 8);
	regs = guest_phys(stack) + 16384 - guest_layout[REGS_SIZE].size;
	for (uint64_t k = 0; k < guest_layout[REGS_SIZE].size / 8; k++)
		guest_put64(g, regs + 8 * k, 0x100 + k);
	guest_set(g, regs, REGS_CS, cs);
	guest_set(g, regs, REGS_SS, 0x2b);
	return regs;
}

static void registers_of_threads(void **state)
{
	struct guest_prog *p = *state;
	struct guest *g = &p->g;
	struct vmi_thread_state got[4];
	struct err e = {0};
	uint64_t regs;
	bool whole;

	regs = save_registers(g, guest_phys(p->t.task.v), 0x33);
	guest_set(g, add_thread(g, guest_phys(p->t.task.v), 100), TASK_ON_CPU, 1);
	assert_int_equal(vmi_thread_states(g->vmi, &p->t, 0, got, 4, &whole, &e), 2);
	assert_true(whole);
	assert_true(got[0].has_user);
	assert_false(got[0].on_processor);
	assert_true(got[1].on_processor);
	assert_int_equal(got[1].tid, 100);
	assert_string_equal(got[0].comm, "prog");
	assert_int_equal(got[0].user.ip.v, 0x110);
	assert_int_equal(got[0].flags, 0x112);
	assert_int_equal(got[0].user.gpr[4], 0x113); /* rsp */
	assert_int_equal(got[0].user.gpr[7], 0x10e); /* rdi */
	assert_int_equal(got[0].user.gpr[15], 0x100);
	assert_int_equal(got[0].user.number, 0x10f);
	guest_put64(g, regs, 0x1234567890); /* r15, of which 32-bit code has the lower half */
	guest_set(g, regs, REGS_CS, 0x23);
	assert_int_equal(vmi_thread_states(g->vmi, &p->t, 0, got, 1, &whole, &e), 1);
	assert_true(got[0].user.is_32bit);
	assert_int_equal(got[0].user.gpr[15], 0x34567890);
	guest_set(g, regs, REGS_CS, 0x10); /* the kernel's */
	assert_int_equal(vmi_thread_states(g->vmi, &p->t, 0, got, 4, &whole, &e), 2);
	assert_false(got[0].has_user);
	assert_int_equal(vmi_thread_states(g->vmi, &p->t, 1, got, 4, &whole, &e), 1);
	assert_int_equal(got[0].tid, 100);
}

static void hostile_threads(void **state)
{
	struct guest_prog *p = *state;
	struct guest *g = &p->g;
	uint64_t task = guest_phys(p->t.task.v), thread = add_thread(g, task, 100);
	struct vmi_thread_state got[4];
	struct err e = {0};
	bool whole;

	guest_put64(g, guest_member(thread, TASK_THREAD_NODE), guest_kva(guest_member(thread, TASK_THREAD_NODE)));
	assert_in_range(vmi_thread_states(g->vmi, &p->t, 0, got, 4, &whole, &e), 2, 4);
	assert_false(whole);
	guest_set(g, task, TASK_STACK, 0xffffffffffffe000); /* its end is past the last address */
	assert_in_range(vmi_thread_states(g->vmi, &p->t, 0, got, 4, &whole, &e), 2, 4);
	assert_false(got[0].has_user);
	guest_set(g, task, TASK_SIGNAL, 0x1000);
	assert_int_equal(vmi_thread_states(g->vmi, &p->t, 0, got, 4, &whole, &e), -1);
	assert_int_equal(e.code, ERR_GUEST);
}

static void hostile_maps_are_not_whole(void **state)
{
	struct guest_prog *p = *state;
	struct guest *g = &p->g;
	uint64_t root = guest_member(p->mm, MM_MT) + guest_layout[MT_ROOT].offset;
	struct vmi_mapping m[8];
	struct vmi_task kernel = p->t;
	struct err e = {0};
	bool whole;

	guest_set(g, p->vma[1], VMA_END, PROG_BASE); /* ends before it starts */
	assert_int_equal(vmi_mappings(g->vmi, &p->t, 0, m, 8, &whole, &e), 3);
	assert_false(whole);
	guest_put64(g, root, guest_kva(p->vma[0]) | 7 << 3 | 2); /* a kind of node that there is not */
	assert_int_equal(vmi_mappings(g->vmi, &p->t, 0, m, 8, &whole, &e), -1);
	assert_int_equal(e.code, ERR_GUEST);
	kernel.mm = gva(0);
	assert_int_equal(vmi_mappings(g->vmi, &kernel, 0, m, 8, &whole, &e), -1);
	assert_non_null(strstr(e.text, "no memory of its own"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(one_process, setup, teardown),
		cmocka_unit_test_setup_teardown(states, setup, teardown),
		cmocka_unit_test_setup_teardown(threads_of_all, setup, teardown),
		cmocka_unit_test_setup_teardown(hostile_lists_are_not_whole, setup, teardown),
		cmocka_unit_test_setup_teardown(by_pid, setup, teardown),
		cmocka_unit_test_setup_teardown(registers_of_threads, setup, teardown),
		cmocka_unit_test_setup_teardown(hostile_threads, setup, teardown),
		cmocka_unit_test_setup_teardown(mappings, setup, teardown),
		cmocka_unit_test_setup_teardown(mappings_with_a_purpose, setup, teardown),
		cmocka_unit_test_setup_teardown(hostile_maps_are_not_whole, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
