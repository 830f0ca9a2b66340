/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzzes the lists of processes, threads and modules: input is what to change in their structures. */
#include "vmi_words.h"

#define LISTED 6

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct guest_prog p;
static struct words area;
static uint64_t modules;

static uint64_t new_task(uint32_t pid, uint64_t mm)
{
	return guest_add_task(&p.g, guest_alloc(&p.g, 256), pid, "task", mm);
}

static void prepare(void)
{
	uint64_t start;

	guest_prog_init(&p);
	guest_prog_cache(&p);
	start = guest_alloc(&p.g, 64);
	new_task(50, p.mm);
	new_task(51, 0);
	modules = guest_alloc(&p.g, 64);
	guest_list_init(&p.g, modules);
	guest_add_module(&p.g, modules, "first", 0xffffffffc0100000);
	guest_add_module(&p.g, modules, "second", 0xffffffffc0200000);
	words_init(&area, &p.g, start);
}

static void look_at_threads(struct vmi *v, const struct vmi_task *t)
{
	struct vmi_thread_state states[LISTED];
	struct vmi_thread waiting[LISTED];
	struct gva ip[LISTED];
	struct err e;
	size_t other;
	bool whole;
	int n = vmi_thread_states(v, t, 0, states, LISTED, &whole, &e);

	for (int i = 0; i < n; i++)
		assert(strnlen(states[i].comm, sizeof(states[i].comm)) < sizeof(states[i].comm) && states[i].state);
	n = vmi_threads_waiting(v, t, waiting, LISTED, &other, &e);
	for (int i = 0; i < n; i++)
		(void)!vmi_thread_at(v, t, waiting[i].stack.v + 8, &waiting[i], &e);
	(void)!vmi_thread_ips(v, t, ip, LISTED, &e);
	(void)vmi_task_handles(v, t, 11);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vmi_process listed[LISTED];
	struct vmi_kmodule m[LISTED];
	struct vmi_task t[LISTED];
	struct err e;
	bool whole;
	int n;

	if (!area.before)
		prepare();
	words_change(&area, &p.g, data, size);
	n = vmi_processes(p.g.vmi, size & 1, size & 2, listed, LISTED, &whole, &e);
	for (int i = 0; i < n; i++)
		assert(listed[i].state && strnlen(listed[i].program, VMI_PATH_MAX) < VMI_PATH_MAX);
	n = vmi_tasks(p.g.vmi, t, LISTED, &e);
	for (int i = 0; i < n; i++)
		look_at_threads(p.g.vmi, &t[i]);
	(void)!vmi_task_by_cr3(p.g.vmi, p.t.space.cr3, t, &e);
	n = vmi_kmodules_of(p.g.vmi, gva(guest_kva(modules)), 0, m, LISTED, &whole, &e);
	for (int i = 0; i < n; i++)
		assert(strnlen(m[i].name, sizeof(m[i].name)) < sizeof(m[i].name) && m[i].state);
	words_undo(&area, &p.g);
	return 0;
}
