/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The list of a process's threads that an operator sees: with the registers that each had in user mode. */
#include "vmi/vmi_internal.h"

struct thread_list {
	const struct vmi *v;
	size_t skip;
	struct vmi_thread_state *ret;
	size_t n, max, seen;
	bool whole;
};

/* A kernel for one processor does not say who is on it: who could be is taken for it. */
static bool is_on_processor(const struct vmi *v, struct gva task)
{
	uint64_t on, state;

	if (vmi_has(v, TASK_ON_CPU))
		return !vmi_get(v, task, TASK_ON_CPU, &on) || on;
	return !vmi_get(v, task, TASK_STATE, &state) || !state;
}

static bool fill_thread(const struct vmi *v, struct gva task, struct vmi_thread_state *ret)
{
	struct gva regs;
	uint64_t tid;

	*ret = (struct vmi_thread_state){0};
	if (!vmi_get(v, task, TASK_PID, &tid))
		return false;
	ret->tid = (int32_t)tid;
	ret->state = vmi_task_state(v, task);
	ret->on_processor = is_on_processor(v, task);
	vmi_task_comm(v, task, ret->comm);
	ret->has_user = vmi_thread_saved(v, task, &ret->user, &regs) && vmi_get(v, regs, REGS_FLAGS, &ret->flags);
	return true;
}

static bool add_thread(void *arg, struct gva node)
{
	struct thread_list *l = arg;

	if (l->n == l->max)
		return false;
	if (l->seen++ < l->skip)
		return true;
	if (fill_thread(l->v, vmi_task_of(l->v, node, TASK_THREAD_NODE), &l->ret[l->n]))
		l->n++;
	else
		l->whole = false;
	return true;
}

int vmi_thread_states(struct vmi *v, const struct vmi_task *t, size_t first, struct vmi_thread_state *ret, size_t max,
		      bool *ret_whole, struct err *e)
{
	struct thread_list l = {v, first, ret, 0, max, 0, true};
	struct gva signal;
	bool ended;

	if (!vmi_get_ptr(v, t->task, TASK_SIGNAL, &signal))
		return err_set_addr(e, ERR_GUEST, t->task.v, "process %d of the guest has no list of threads", t->pid);
	ended = vmi_list_each(v, vmi_member(v, signal, SIGNAL_THREAD_HEAD), VMI_THREADS_MAX, add_thread, &l);
	if (!l.n && !(l.whole && ended))
		return err_set_addr(e, ERR_GUEST, signal.v, "the threads of process %d (%s) cannot be read", t->pid,
				    t->comm);
	*ret_whole = l.whole && ended;
	return (int)l.n;
}
