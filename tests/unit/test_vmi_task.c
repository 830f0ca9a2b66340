/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Processes, threads and memory maps of a make-believe guest, honest and hostile. */
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
	static struct guest g;

	guest_init(&g);
	*state = &g;
	return 0;
}

static int teardown(void **state)
{
	guest_deinit(*state);
	return 0;
}

static uint64_t new_task(struct guest *g, uint32_t pid, const char *comm, uint64_t mm)
{
	return guest_add_task(g, guest_alloc(g, 256), pid, comm, mm);
}

static void lists_tasks(void **state)
{
	struct guest *g = *state;
	struct vmi_task t[8];
	struct err e = {0};

	new_task(g, 1, "init", guest_add_mm(g));
	new_task(g, 2, "k\x1b[2J", 0);
	new_task(g, 300, "exactly16bytes!!", guest_add_mm(g));
	assert_int_equal(vmi_tasks(g->vmi, t, 8, &e), 3);
	assert_string_equal(t[0].comm, "init");
	assert_int_equal(t[0].start_time_ns, 1000);
	assert_true(t[0].mm.v && t[0].space.long_mode);
	assert_string_equal(t[1].comm, "k?[2J");
	assert_int_equal(t[1].mm.v, 0);
	assert_string_equal(t[2].comm, "exactly16bytes!!");
	assert_int_equal(t[2].tgid, 300);
	assert_int_equal(vmi_tasks(g->vmi, t, 2, &e), 2);
	assert_int_equal(vmi_tasks(g->vmi, t, 0, &e), 0);
}

static void finds_task_by_cr3(void **state)
{
	struct guest *g = *state;
	uint64_t a = guest_add_mm(g), b = guest_add_mm(g), root = guest_mm_pgd(g, b);
	struct vmi_task t;
	struct err e = {0};

	new_task(g, 1, "a", a);
	new_task(g, 2, "b", b);
	guest_map_user(g, b, 0x400000, 0x7000);
	assert_int_equal(vmi_task_by_cr3(g->vmi, root | 1ull << 63 | 0x801, &t, &e), 0);
	assert_int_equal(t.pid, 2);
	assert_int_equal(t.space.cr3, root);
	/* The page beside it is its user half only if it says so. */
	assert_int_equal(vmi_task_by_cr3(g->vmi, root | 0x1000, &t, &e), -1);
	assert_int_equal(e.code, ERR_GUEST);
	memcpy(g->ram + root + 0x1000, g->ram + root, 2048);
	assert_int_equal(vmi_task_by_cr3(g->vmi, root | 0x1801, &t, &e), 0);
	assert_int_equal(t.pid, 2);
	assert_int_equal(t.space.cr3, root);
	assert_int_equal(vmi_task_by_cr3(g->vmi, 0x7f0000, &t, &e), -1);
}

static uint64_t add_thread(struct guest *g, uint64_t leader, uint64_t mm)
{
	uint64_t thread = guest_alloc(g, 256), signal;

	memcpy(&signal, g->ram + guest_member(leader, TASK_SIGNAL), 8);
	guest_set(g, thread, TASK_MM, guest_kva(mm));
	guest_set(g, thread, TASK_STACK, guest_kva(guest_alloc(g, 16384)));
	guest_list_add_tail(g, guest_member(guest_phys(signal), SIGNAL_THREAD_HEAD),
			    guest_member(thread, TASK_THREAD_NODE));
	return thread;
}

static void leader_without_mm(void **state)
{
	struct guest *g = *state;
	uint64_t mm = guest_add_mm(g), zombie = new_task(g, 1, "zombie", 0), kthread = new_task(g, 2, "io", mm);
	struct vmi_task t;
	struct err e = {0};

	guest_set(g, kthread, TASK_FLAGS, PF_KTHREAD); /* uses a process's mm for a while */
	assert_int_equal(vmi_task_by_cr3(g->vmi, guest_mm_pgd(g, mm), &t, &e), -1);
	add_thread(g, zombie, mm);
	assert_int_equal(vmi_task_by_cr3(g->vmi, guest_mm_pgd(g, mm), &t, &e), 0);
	assert_int_equal(t.pid, 1);
}

static void hostile_task_lists_end(void **state)
{
	struct guest *g = *state;
	uint64_t a = new_task(g, 1, "a", 0), b = new_task(g, 2, "b", 0), next = guest_member(b, TASK_TASKS);
	struct vmi_task *t = calloc(70000, sizeof(*t));
	struct err e = {0};

	guest_put64(g, next, guest_kva(guest_member(a, TASK_TASKS))); /* a cycle without its head */
	assert_in_range(vmi_tasks(g->vmi, t, 70000, &e), 2, 8);
	guest_put64(g, next, guest_kva(next));
	assert_in_range(vmi_tasks(g->vmi, t, 70000, &e), 2, 8);
	guest_put64(g, next, 0xffffffffffffffffull);
	assert_in_range(vmi_tasks(g->vmi, t, 70000, &e), 2, 3);
	guest_put64(g, next, 0x1234);
	assert_in_range(vmi_tasks(g->vmi, t, 70000, &e), 2, 3);
	guest_put64(g, guest_member(GUEST_INIT_TASK, TASK_TASKS), 0xffff900000000000ull);
	assert_int_equal(vmi_tasks(g->vmi, t, 70000, &e), -1);
	assert_int_equal(e.code, ERR_GUEST);
	free(t);
}

/* padding: bytes above the saved registers. */
static void save_regs(struct guest *g, uint64_t task, uint64_t padding, uint64_t ip, uint64_t cs)
{
	uint64_t stack, regs;

	memcpy(&stack, g->ram + guest_member(task, TASK_STACK), 8);
	regs = guest_phys(stack) + 16384 - guest_layout[REGS_SIZE].size - padding;
	guest_set(g, regs, REGS_IP, ip);
	guest_set(g, regs, REGS_CS, cs);
	guest_set(g, regs, REGS_SS, 0x2b);
}

static void thread_ips(void **state)
{
	struct guest *g = *state;
	uint64_t mm = guest_add_mm(g), leader = new_task(g, 1, "a", mm);
	struct vmi_task t;
	struct gva ip[4];
	struct err e = {0};

	save_regs(g, leader, 0, 0x401000, 0x33);
	save_regs(g, add_thread(g, leader, mm), 16, 0x402000, 0x23);
	save_regs(g, add_thread(g, leader, mm), 0, 0x403000, 0x10); /* kernel code: not a user entry */
	assert_int_equal(vmi_tasks(g->vmi, &t, 1, &e), 1);
	assert_int_equal(vmi_thread_ips(g->vmi, &t, ip, 4, &e), 2);
	assert_int_equal(ip[0].v, 0x401000);
	assert_int_equal(ip[1].v, 0x402000);
	assert_int_equal(vmi_thread_ips(g->vmi, &t, ip, 1, &e), 1);
	t.task = gva(0x1000);
	assert_int_equal(vmi_thread_ips(g->vmi, &t, ip, 4, &e), -1);
}

/* The thread is told by the stack that the kernel runs on. */
static void thread_in_the_kernel(void **state)
{
	struct guest *g = *state;
	uint64_t mm = guest_add_mm(g), leader = new_task(g, 1, "a", mm), thread[2], stack[2];
	struct vmi_thread th;
	struct vmi_task t;
	struct err e = {0};

	for (unsigned k = 0; k < 2; k++) {
		thread[k] = add_thread(g, leader, mm);
		guest_set(g, thread[k], TASK_PID, 10 + k);
		memcpy(&stack[k], g->ram + guest_member(thread[k], TASK_STACK), 8);
		/* member n of the saved registers holds 0x1111000000000000 + n */
		for (uint64_t n = 0; n < 21; n++)
			guest_put64(g, guest_phys(stack[k]) + 16384 - 168 - (k ? 16 : 0) + 8 * n,
				    0x1111000000000000 * (k + 1) + n);
		save_regs(g, thread[k], k ? 16 : 0, 0x1000ffff00401000ull, k ? 0x23 : 0x33);
	}
	assert_int_equal(vmi_tasks(g->vmi, &t, 1, &e), 1);
	assert_int_equal(vmi_thread_at(g->vmi, &t, stack[0] + 8192, &th, &e), 0);
	assert_int_equal(th.pid, 10);
	assert_false(th.is_32bit);
	assert_int_equal(th.ip.v, 0x1000ffff00401000ull);
	assert_int_equal(th.number, 0x111100000000000full);
	assert_int_equal(th.gpr[0], 0x111100000000000aull); /* rax */
	assert_int_equal(th.gpr[3], 0x1111000000000005ull); /* rbx */
	assert_int_equal(th.gpr[4], 0x1111000000000013ull); /* rsp */
	assert_int_equal(th.gpr[7], 0x111100000000000eull); /* rdi */
	assert_int_equal(th.gpr[15], 0x1111000000000000ull);
	assert_int_equal(vmi_thread_at(g->vmi, &t, stack[1] + 16383, &th, &e), 0);
	assert_int_equal(th.pid, 11);
	assert_true(th.is_32bit);
	assert_int_equal(th.ip.v, 0x401000);
	assert_int_equal(th.gpr[5], 4); /* ebp */
	assert_int_equal(vmi_thread_at(g->vmi, &t, stack[1] + 16384, &th, &e), -1);
	assert_int_equal(e.code, ERR_GUEST);
	save_regs(g, thread[0], 0, 0x401000, 0x10); /* came from the kernel: a worker */
	assert_int_equal(vmi_thread_at(g->vmi, &t, stack[0], &th, &e), -1);
}

/* Asleep in a system call, with nobody who filters those: they can be sent elsewhere. */
static void threads_that_wait(void **state)
{
	struct guest *g = *state;
	uint64_t mm = guest_add_mm(g), leader = new_task(g, 1, "a", mm), thread[5], stack;
	static const struct {
		uint64_t sleep, seccomp, call;
		uint16_t cs;
	} rows[5] = {
		{1, 0, 45, 0x33},	  {0, 0, 45, 0x33}, /* running */
		{1, 2, 45, 0x33}, /* filtered */
		{1, 0, UINT64_MAX, 0x33}, /* not by a system call */
		{1, 0, 45, 0x10}, /* a kernel thread's */
	};
	struct vmi_thread th[8];
	struct vmi_task t;
	size_t others = 0;
	struct gva ip[8];
	struct err e = {0};

	for (unsigned k = 0; k < 5; k++) {
		thread[k] = add_thread(g, leader, mm);
		guest_set(g, thread[k], TASK_STATE, rows[k].sleep);
		guest_set(g, thread[k], TASK_SECCOMP, rows[k].seccomp);
		save_regs(g, thread[k], 0, 0x401000 + k, rows[k].cs);
		memcpy(&stack, g->ram + guest_member(thread[k], TASK_STACK), 8);
		guest_set(g, guest_phys(stack) + 16384 - 168, REGS_ORIG_AX, rows[k].call);
	}
	assert_int_equal(vmi_tasks(g->vmi, &t, 1, &e), 1);
	assert_int_equal(vmi_threads_waiting(g->vmi, &t, th, 8, &others, &e), 1);
	assert_in_range(others, 4, 5); /* the leader too, if it is in the list */
	assert_int_equal(th[0].ip.v, 0x401000);
	assert_int_equal(th[0].number, 45);
	assert_int_equal(vmi_threads_waiting(g->vmi, &t, th, 0, &others, &e), 0);
	assert_true(vmi_thread_redirect(g->vmi, &th[0], gva(0x7000), gva(0x8000)));
	assert_int_equal(vmi_threads_waiting(g->vmi, &t, th, 8, &others, &e), 1);
	assert_int_equal(th[0].ip.v, 0x7000);
	assert_int_equal(th[0].gpr[4], 0x8000);
	assert_true(vmi_thread_ips(g->vmi, &t, ip, 8, &e) >= 4);
	t.task = gva(0x1000);
	assert_int_equal(vmi_threads_waiting(g->vmi, &t, th, 8, &others, &e), -1);
}

static struct vmi_task task_of_mm(struct guest *g, uint64_t mm)
{
	struct vmi_task t;
	struct err e;

	new_task(g, 5, "p", mm);
	assert_int_equal(vmi_task_by_cr3(g->vmi, guest_mm_pgd(g, mm), &t, &e), 0);
	return t;
}

/* The kernel's code in a process: executable, of no file, an ELF image. Its second page need not be mapped to be reached. */
static void vdso(void **state)
{
	struct guest *g = *state;
	uint64_t mm = guest_add_mm(g), memory = guest_alloc(g, 8192), other = guest_alloc(g, 4096);
	uint64_t vma[3] = {guest_add_vma(g, 0x10000, 0x11000, 5, 0, 0), guest_add_vma(g, 0x20000, 0x22000, 1, 0, 0),
			   guest_add_vma(g, 0x30000, 0x32000, 5, 0, 0)};
	struct vmi_task t = task_of_mm(g, mm);
	struct vmi_vdso d;
	struct err e = {0};
	char word[5] = "";

	guest_set_maps(g, mm, vma, 3);
	guest_map_user(g, mm, 0x10000, other); /* somebody's own code */
	guest_map_user(g, mm, 0x20000, memory); /* cannot be executed */
	memcpy(g->ram + memory, ELFMAG, SELFMAG);
	assert_int_equal(vmi_vdso_find(g->vmi, &t, &d, &e), -1);
	guest_map_user(g, mm, 0x30000, memory);
	assert_int_equal(vmi_vdso_find(g->vmi, &t, &d, &e), 0);
	assert_int_equal(d.at.v, 0x30000);
	assert_int_equal(d.size, 8192);
	assert_true(vmi_vdso_write(g->vmi, &d, 8188, "word", 4));
	assert_memory_equal(g->ram + memory + 8188, "word", 4);
	assert_true(vmi_vdso_read(g->vmi, &d, 8188, word, 4));
	assert_string_equal(word, "word");
	assert_false(vmi_vdso_write(g->vmi, &d, 8189, "word", 4));
	assert_false(vmi_vdso_read(g->vmi, &d, UINT64_MAX - 1, word, 4));
}

static void set_root(struct guest *g, uint64_t mm, uint64_t value)
{
	guest_put64(g, guest_member(mm, MM_MT) + guest_layout[MT_ROOT].offset, value);
}

static void maps_in_address_order(void **state)
{
	struct guest *g = *state;
	uint64_t mm = guest_add_mm(g), root = guest_add_dentry(g, "/", 0), mnt = guest_add_mount(g, root, 0, 0);
	uint64_t file = guest_add_file(g, guest_add_dentry(g, "prog", guest_add_dentry(g, "bin", root)), mnt, 0x9000);
	uint64_t vma[] = {guest_add_vma(g, 0x400000, 0x402000, 5, 3, file),
			  guest_add_vma(g, 0x402000, 0x403000, 3, 0x402, 0),
			  guest_add_vma(g, 0x7ff000, 0x800000, 7, 0, 0)};
	struct vmi_task t = task_of_mm(g, mm);
	struct vmi_vma m[4];
	struct err e = {0};

	guest_set_maps(g, mm, vma, 3);
	assert_int_equal(vmi_maps(g->vmi, &t, m, 4, &e), 3);
	assert_int_equal(m[0].start.v, 0x400000);
	assert_int_equal(m[0].end.v, 0x402000);
	assert_int_equal(m[0].file_offset, 0x3000);
	assert_string_equal(m[0].path, "/bin/prog");
	assert_int_equal(m[1].file_offset, 0);
	assert_string_equal(m[1].path, "");
	assert_int_equal(m[2].flags, 7);
	assert_int_equal(vmi_maps(g->vmi, &t, m, 2, &e), 2);
	set_root(g, mm, guest_kva(vma[1])); /* a single VMA may stand in place of the tree */
	assert_int_equal(vmi_maps(g->vmi, &t, m, 4, &e), 1);
}

/* An inner node of type arange_64 over two leaves. The second leaf's last pivot is the limit from above. */
static void two_level_tree(void **state)
{
	struct guest *g = *state;
	uint64_t mm = guest_add_mm(g), top = guest_alloc(g, 256), leaf[2];
	uint64_t vma[] = {guest_add_vma(g, 0x1000, 0x2000, 1, 0, 0), guest_add_vma(g, 0x8000, 0x9000, 1, 0, 0)};
	struct vmi_task t = task_of_mm(g, mm);
	struct vmi_vma m[4];
	struct err e = {0};

	for (int i = 0; i < 2; i++) {
		leaf[i] = guest_alloc(g, 256);
		guest_put64(g, guest_member(leaf[i], RANGE64_PIVOT), i ? 0x7fff : 0xfff);
		guest_put64(g, guest_member(leaf[i], RANGE64_SLOT) + 8, guest_kva(vma[i]));
		guest_put64(g, guest_member(top, ARANGE64_SLOT) + 8 * (unsigned)i, guest_kva(leaf[i]) | 1 << 3 | 4);
	}
	guest_put64(g, guest_member(leaf[0], RANGE64_PIVOT) + 8, 0x1fff);
	guest_put64(g, guest_member(leaf[0], RANGE64_SLOT) + 16, guest_kva(vma[1])); /* stale: above the limit */
	guest_put64(g, guest_member(top, ARANGE64_PIVOT), 0x1fff);
	set_root(g, mm, guest_kva(top) | 3 << 3 | 2);
	assert_int_equal(vmi_maps(g->vmi, &t, m, 4, &e), 2);
	assert_int_equal(m[0].start.v, 0x1000);
	assert_int_equal(m[1].start.v, 0x8000);
	guest_put64(g, guest_member(leaf[1], RANGE64_SLOT) + 8, 0);
	assert_int_equal(vmi_maps(g->vmi, &t, m, 4, &e), 1);
}

static void hostile_trees_end(void **state)
{
	struct guest *g = *state;
	uint64_t mm = guest_add_mm(g), node = guest_alloc(g, 256);
	uint64_t vma = guest_add_vma(g, 0x1000, 0x2000, 1, 0, 0);
	struct vmi_task t = task_of_mm(g, mm);
	struct vmi_vma m[4];
	struct err e = {0};

	for (unsigned i = 0; i < 16; i++) {
		guest_put64(g, guest_member(node, RANGE64_SLOT) + 8 * i, guest_kva(node) | 2 << 3 | 4);
		if (i < 15)
			guest_put64(g, guest_member(node, RANGE64_PIVOT) + 8 * i, 0x1000 * (i + 1));
	}
	set_root(g, mm, guest_kva(node) | 2 << 3 | 2); /* every slot of the node is the node itself */
	assert_int_equal(vmi_maps(g->vmi, &t, m, 4, &e), -1);
	assert_int_equal(e.code, ERR_GUEST);
	set_root(g, mm, guest_kva(node) | 9 << 3 | 2);
	assert_int_equal(vmi_maps(g->vmi, &t, m, 4, &e), -1);
	set_root(g, mm, 0xffffa00000000000ull | 2 << 3 | 2);
	assert_int_equal(vmi_maps(g->vmi, &t, m, 4, &e), -1);
	guest_set(g, vma, VMA_END, 0x1000);
	set_root(g, mm, guest_kva(vma));
	assert_int_equal(vmi_maps(g->vmi, &t, m, 4, &e), -1);
	guest_set(g, vma, VMA_END, 0xfffffffffffff000ull);
	assert_int_equal(vmi_maps(g->vmi, &t, m, 4, &e), -1);
	for (unsigned i = 0; i < 16; i++) /* the same VMA again and again */
		guest_put64(g, guest_member(node, RANGE64_SLOT) + 8 * i, guest_kva(vma));
	guest_set(g, vma, VMA_END, 0x2000);
	set_root(g, mm, guest_kva(node) | 1 << 3 | 2);
	assert_int_equal(vmi_maps(g->vmi, &t, m, 4, &e), 1);
}

#define GROWS_DOWN 0x100

static void what_is_mapped_where(void **state)
{
	struct guest *g = *state;
	uint64_t mm = guest_add_mm(g);
	uint64_t vma[] = {guest_add_vma(g, 0x400000, 0x402000, 5, 0, 0),
			  guest_add_vma(g, 0x7fff00000000, 0x7fff00021000, 3 | GROWS_DOWN, 0, 0)};
	const uint64_t stack = 0x7fff00000000, most = 8 << 20;
	struct vmi_task t = task_of_mm(g, mm), kernel_thread = {0};
	uint64_t flags = 0;

	guest_set_maps(g, mm, vma, 2);
	assert_int_equal(vmi_mapped_at(g->vmi, &t, gva(0x3fffff), &flags), VMI_NOT_MAPPED);
	assert_int_equal(vmi_mapped_at(g->vmi, &t, gva(0x401fff), &flags), VMI_MAPPED);
	assert_int_equal(flags, 5);
	assert_int_equal(vmi_mapped_at(g->vmi, &t, gva(0x402000), &flags), VMI_NOT_MAPPED);
	assert_int_equal(vmi_mapped_at(g->vmi, &t, gva(stack - most - 1), &flags), VMI_NOT_MAPPED);
	assert_int_equal(vmi_mapped_at(g->vmi, &t, gva(stack - most), &flags), VMI_MAPPED);
	assert_int_equal(flags, 3 | GROWS_DOWN);
	assert_int_equal(vmi_mapped_at(g->vmi, &t, gva(stack + 0x21000), &flags), VMI_NOT_MAPPED);
	assert_int_equal(vmi_mapped_at(g->vmi, &kernel_thread, gva(0x401000), &flags), VMI_MAPPED_UNKNOWN);
	guest_set(g, vma[0], VMA_END, 0x1000); /* before its beginning */
	assert_int_equal(vmi_mapped_at(g->vmi, &t, gva(0x500000), &flags), VMI_MAPPED_UNKNOWN);
	set_root(g, mm, 0xffffa00000000000ull | 2 << 3 | 2);
	assert_int_equal(vmi_mapped_at(g->vmi, &t, gva(0x401000), &flags), VMI_MAPPED_UNKNOWN);
}

static void who_changes_the_map_is_seen(void **state)
{
	struct guest *g = *state;
	uint64_t mm = guest_add_mm(g), count = guest_member(mm, MM_LOCK) + guest_layout[RWSEM_COUNT].offset;
	struct vmi_task t = task_of_mm(g, mm), kernel_thread = {0};

	assert_false(vmi_maps_change(g->vmi, &t));
	guest_put64(g, count, 3 << 8); /* three read */
	assert_false(vmi_maps_change(g->vmi, &t));
	guest_put64(g, count, 2 | 4 | 1 << 8); /* one reads, others wait to write */
	assert_false(vmi_maps_change(g->vmi, &t));
	guest_put64(g, count, 1 | 2); /* one writes, others wait */
	assert_true(vmi_maps_change(g->vmi, &t));
	assert_false(vmi_maps_change(g->vmi, &kernel_thread));
	g->vmi->layout.f[RWSEM_COUNT].size = 0; /* a lock of another kind */
	assert_false(vmi_maps_change(g->vmi, &t));
}

static void maps_of_older_kernels(void **state)
{
	struct guest *g = *state;
	struct vmi_layout l = g->vmi->layout;
	uint64_t mm = guest_add_mm(g);
	uint64_t a = guest_add_vma(g, 0x1000, 0x2000, 1, 0, 0), b = guest_add_vma(g, 0x3000, 0x4000, 1, 0, 0);
	struct vmi_task t = task_of_mm(g, mm);
	struct vmi_vma m[4];
	struct err e = {0};

	l.f[MM_MT].size = 0;
	l.f[MM_MMAP] = (struct vmi_field){0, 8};
	l.f[VMA_NEXT] = (struct vmi_field){40, 8};
	g->vmi->layout = l;
	guest_put64(g, mm, guest_kva(a));
	guest_put64(g, a + 40, guest_kva(b));
	assert_int_equal(vmi_maps(g->vmi, &t, m, 4, &e), 2);
	assert_int_equal(m[1].start.v, 0x3000);
	guest_put64(g, b + 40, guest_kva(a)); /* a cycle */
	assert_int_equal(vmi_maps(g->vmi, &t, m, 4, &e), 2);
}

static void path_of(struct guest *g, uint64_t dentry, uint64_t mnt, char *ret)
{
	vmi_file_path(g->vmi, gva(guest_kva(guest_add_file(g, dentry, mnt, 0x9000))), ret);
}

static void paths(void **state)
{
	struct guest *g = *state;
	uint64_t root = guest_add_dentry(g, "/", 0), top = guest_add_mount(g, root, 0, 0);
	uint64_t sub = guest_add_dentry(g, "/", 0), loop = guest_add_dentry(g, "x", 0), d = root;
	uint64_t mnt = guest_add_mount(g, sub, top, guest_add_dentry(g, "mnt", root));
	char p[VMI_PATH_MAX], name[101] = "";

	path_of(g, guest_add_dentry(g, "a\nb", sub), mnt, p);
	assert_string_equal(p, "/mnt/a?b");
	memset(name, 'n', 100);
	for (int i = 0; i < 3; i++)
		d = guest_add_dentry(g, name, d);
	path_of(g, guest_add_dentry(g, "end", d), top, p);
	assert_int_equal(strlen(p), VMI_PATH_MAX - 1);
	assert_string_equal(p + VMI_PATH_MAX - 5, "/end");
	guest_set(g, loop, DENTRY_PARENT, guest_kva(guest_add_dentry(g, "y", loop)));
	path_of(g, loop, top, p);
	assert_int_equal(strlen(p), 2 * VMI_PATH_DEPTH_MAX);
	guest_set(g, guest_member(loop, DENTRY_NAME), QSTR_LEN, 256);
	path_of(g, loop, top, p);
	assert_string_equal(p, "");
}

static void finds_code_by_ram_page(void **state)
{
	struct guest *g = *state;
	uint64_t mm = guest_add_mm(g);
	uint64_t vma[] = {guest_add_vma(g, 0x400000, 0x500000, 1, 0, 0), guest_add_vma(g, 0x600000, 0x700000, 5, 0, 0)};
	struct vmi_task t = task_of_mm(g, mm);
	struct gva at;
	struct err e = {0};

	guest_set_maps(g, mm, vma, 2);
	guest_map_user(g, mm, 0x401000, 0x333000); /* not executable by its VMA */
	guest_map_user(g, mm, 0x6ff000, 0x333000);
	assert_int_equal(vmi_find_code(g->vmi, &t, 0x333abc, &at, &e), 0);
	assert_int_equal(at.v, 0x6ffabc);
	assert_int_equal(vmi_find_code(g->vmi, &t, 0x334abc, &at, &e), -1);
	assert_int_equal(e.code, ERR_GUEST);
}

static void handlers_of_signals(void **state)
{
	struct guest *g = *state;
	uint64_t task = guest_add_task(g, guest_alloc(g, 256), 7, "server", guest_add_mm(g)),
		 hand = guest_alloc(g, 4096);
	struct vmi_task t = {.pid = 7, .tgid = 7, .task = gva(guest_kva(task))};

	assert_true(vmi_task_handles(g->vmi, &t, 11)); /* not known */
	guest_set(g, task, TASK_SIGHAND, guest_kva(hand));
	assert_false(vmi_task_handles(g->vmi, &t, 11));
	guest_put64(g, guest_member(hand, SIGHAND_ACTION) + 10 * 32, 1); /* ignored: the kernel does not */
	assert_false(vmi_task_handles(g->vmi, &t, 11));
	guest_put64(g, guest_member(hand, SIGHAND_ACTION) + 10 * 32, 0x401000);
	assert_true(vmi_task_handles(g->vmi, &t, 11));
	assert_false(vmi_task_handles(g->vmi, &t, 10));
	assert_false(vmi_task_handles(g->vmi, &t, 12));
	assert_true(vmi_task_handles(g->vmi, &t, 0));
	assert_true(vmi_task_handles(g->vmi, &t, 65));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(lists_tasks, setup, teardown),
		cmocka_unit_test_setup_teardown(finds_task_by_cr3, setup, teardown),
		cmocka_unit_test_setup_teardown(leader_without_mm, setup, teardown),
		cmocka_unit_test_setup_teardown(hostile_task_lists_end, setup, teardown),
		cmocka_unit_test_setup_teardown(thread_ips, setup, teardown),
		cmocka_unit_test_setup_teardown(thread_in_the_kernel, setup, teardown),
		cmocka_unit_test_setup_teardown(threads_that_wait, setup, teardown),
		cmocka_unit_test_setup_teardown(vdso, setup, teardown),
		cmocka_unit_test_setup_teardown(maps_in_address_order, setup, teardown),
		cmocka_unit_test_setup_teardown(two_level_tree, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_mapped_where, setup, teardown),
		cmocka_unit_test_setup_teardown(who_changes_the_map_is_seen, setup, teardown),
		cmocka_unit_test_setup_teardown(hostile_trees_end, setup, teardown),
		cmocka_unit_test_setup_teardown(maps_of_older_kernels, setup, teardown),
		cmocka_unit_test_setup_teardown(paths, setup, teardown),
		cmocka_unit_test_setup_teardown(finds_code_by_ram_page, setup, teardown),
		cmocka_unit_test_setup_teardown(handlers_of_signals, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
