/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The list of processes and threads that an operator sees. */
#include "vmi/vmi_internal.h"

#define PF_KTHREAD 0x00200000u
/* Bits of a task's state, beside those of the table below. */
#define STATE_NOLOAD 0x400u
#define STATE_REPORTED 0x7fu

struct process_list {
	const struct vmi *v;
	bool threads;
	size_t skip;
	struct vmi_process *ret;
	size_t n, max, seen;
	bool whole;
};

/* The kernel's letters: the first for none of the bits, then one for each, the lowest first. */
char vmi_task_state(const struct vmi *v, struct gva task)
{
	static const char letters[] = "RSDTtXZP";
	uint64_t state, ended = 0;
	unsigned i = 0;

	if (!vmi_get(v, task, TASK_STATE, &state) ||
	    (vmi_has(v, TASK_EXIT_STATE) && !vmi_get(v, task, TASK_EXIT_STATE, &ended)))
		return '?';
	if (!ended && (state & (STATE_NOLOAD | 2)) == (STATE_NOLOAD | 2))
		return 'I';
	for (state = (state | ended) & STATE_REPORTED; state; state >>= 1)
		i++;
	return letters[i];
}

static uint32_t user_of(const struct vmi *v, struct gva task)
{
	struct gva cred;
	uint64_t uid;

	return vmi_get_ptr(v, task, TASK_CRED, &cred) && vmi_get(v, cred, CRED_UID, &uid) ? (uint32_t)uid : UINT32_MAX;
}

static int32_t parent_of(const struct vmi *v, struct gva task)
{
	struct gva parent;
	uint64_t pid;

	return vmi_get_ptr(v, task, TASK_PARENT, &parent) && vmi_get(v, parent, TASK_TGID, &pid) ? (int32_t)pid : 0;
}

static void find_program(const struct vmi *v, struct gva leader, struct vmi_process *ret)
{
	struct gva mm = vmi_task_mm(v, leader), file;

	if (!mm.v || !vmi_get_ptr(v, mm, MM_EXE_FILE, &file))
		return;
	vmi_file_path(v, file, ret->program);
	ret->deleted = vmi_file_deleted(v, file);
}

static bool fill_process(const struct vmi *v, struct gva task, struct vmi_process *ret)
{
	uint64_t tid, pid, flags;
	struct gva leader;

	*ret = (struct vmi_process){0};
	if (!vmi_get(v, task, TASK_PID, &tid) || !vmi_get(v, task, TASK_TGID, &pid) ||
	    !vmi_get(v, task, TASK_FLAGS, &flags) || !vmi_get(v, task, TASK_START_TIME, &ret->start_time_ns) ||
	    !vmi_get_ptr(v, task, TASK_GROUP_LEADER, &leader))
		return false;
	ret->pid = (int32_t)pid;
	ret->tid = (int32_t)tid;
	ret->parent = parent_of(v, task);
	ret->uid = user_of(v, task);
	ret->state = vmi_task_state(v, task);
	ret->is_kernel = flags & PF_KTHREAD;
	vmi_task_comm(v, task, ret->comm);
	find_program(v, leader, ret);
	return true;
}

static bool add_process(struct process_list *l, struct gva task)
{
	if (l->n == l->max)
		return false;
	if (l->seen++ < l->skip)
		return true;
	if (fill_process(l->v, task, &l->ret[l->n]))
		l->n++;
	else
		l->whole = false;
	return true;
}

static bool add_thread(void *arg, struct gva node)
{
	struct process_list *l = arg;

	return add_process(l, vmi_task_of(l->v, node, TASK_THREAD_NODE));
}

static bool add_leader(void *arg, struct gva node)
{
	struct process_list *l = arg;
	struct gva task = vmi_task_of(l->v, node, TASK_TASKS), signal;

	if (!l->threads)
		return add_process(l, task);
	if (!vmi_get_ptr(l->v, task, TASK_SIGNAL, &signal) ||
	    !vmi_list_each(l->v, vmi_member(l->v, signal, SIGNAL_THREAD_HEAD), VMI_THREADS_MAX, add_thread, l))
		l->whole = false;
	return l->n < l->max && l->seen < VMI_TASKS_MAX;
}

int vmi_processes(struct vmi *v, bool threads, size_t first, struct vmi_process *ret, size_t max, bool *ret_whole,
		  struct err *e)
{
	struct process_list l = {v, threads, first, ret, 0, max, 0, true};
	bool ended = vmi_list_each(v, vmi_member(v, v->init_task, TASK_TASKS), VMI_TASKS_MAX, add_leader, &l);

	if (!l.n && !(l.whole && ended))
		return err_set_addr(e, ERR_GUEST, v->init_task.v, "the guest's task list cannot be read");
	*ret_whole = l.whole && ended && l.seen < VMI_TASKS_MAX;
	return (int)l.n;
}
