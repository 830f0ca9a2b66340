/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Processes and their threads, from the init task's list. */
#include "vmi/vmi_internal.h"

#include <string.h>

#define PF_KTHREAD 0x00200000u
#define KERNEL_STACK_SIZE 16384u /* where BTF does not tell */
#define PTI_USER_HALF 0x1000ull
#define MM_THREADS_MAX                                                                                                 \
	64u /* that are asked for their process's memory; hostile processes may all have the same long list */

/* Frame of the top table that a CR3 value names: without PCID and flags. */
static uint64_t root_frame(uint64_t cr3)
{
	return cr3 & 0x000ffffffffff000ull;
}

struct gva vmi_task_of(const struct vmi *v, struct gva node, enum vmi_field_id member)
{
	return gva(node.v - v->layout.f[member].offset);
}

struct mm_search {
	const struct vmi *v;
	struct gva mm;
};

static bool thread_has_mm(void *arg, struct gva node)
{
	struct mm_search *s = arg;

	return !vmi_get_ptr(s->v, vmi_task_of(s->v, node, TASK_THREAD_NODE), TASK_MM, &s->mm);
}

/* A leader that has exited before its threads has none: then one of theirs. */
struct gva vmi_task_mm(const struct vmi *v, struct gva leader)
{
	struct mm_search s = {.v = v};
	struct gva signal;
	uint64_t flags;

	if (!vmi_get(v, leader, TASK_FLAGS, &flags) || (flags & PF_KTHREAD))
		return gva(0);
	if (!vmi_get_ptr(v, leader, TASK_MM, &s.mm) && vmi_get_ptr(v, leader, TASK_SIGNAL, &signal))
		vmi_list_each(v, vmi_member(v, signal, SIGNAL_THREAD_HEAD), MM_THREADS_MAX, thread_has_mm, &s);
	return s.mm;
}

static bool space_of_mm(const struct vmi *v, struct gva mm, struct vmi_space *ret)
{
	struct vmi_page page;
	struct gva pgd;

	if (!vmi_get_ptr(v, mm, MM_PGD, &pgd) || !vmi_translate(&v->kernel, pgd, &page))
		return false;
	*ret = v->kernel;
	ret->cr3 = root_frame(page.at.v);
	return true;
}

void vmi_task_comm(const struct vmi *v, struct gva task, char ret[VMI_COMM_MAX + 1])
{
	uint32_t size = v->layout.f[TASK_COMM].size;

	memset(ret, 0, VMI_COMM_MAX + 1);
	if (!vmi_read(&v->kernel, vmi_member(v, task, TASK_COMM), ret, size < VMI_COMM_MAX ? size : VMI_COMM_MAX))
		return;
	for (char *c = ret; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
}

static bool fill_task(const struct vmi *v, struct gva task, struct vmi_task *ret)
{
	uint64_t pid, tgid;

	*ret = (struct vmi_task){.task = task};
	if (!vmi_get(v, task, TASK_PID, &pid) || !vmi_get(v, task, TASK_TGID, &tgid) ||
	    !vmi_get(v, task, TASK_START_TIME, &ret->start_time_ns))
		return false;
	ret->pid = (int32_t)pid;
	ret->tgid = (int32_t)tgid;
	vmi_task_comm(v, task, ret->comm);
	ret->mm = vmi_task_mm(v, task);
	if (ret->mm.v && !space_of_mm(v, ret->mm, &ret->space))
		ret->mm = gva(0);
	return true;
}

static void each_leader(const struct vmi *v, vmi_node_fn *fn, void *arg)
{
	vmi_list_each(v, vmi_member(v, v->init_task, TASK_TASKS), VMI_TASKS_MAX, fn, arg);
}

struct task_list {
	const struct vmi *v;
	struct vmi_task *tasks;
	size_t n, max;
};

static bool add_task(void *arg, struct gva node)
{
	struct task_list *l = arg;

	if (l->n < l->max && fill_task(l->v, vmi_task_of(l->v, node, TASK_TASKS), &l->tasks[l->n]))
		l->n++;
	return l->n < l->max;
}

int vmi_tasks(struct vmi *v, struct vmi_task *ret, size_t max, struct err *e)
{
	struct task_list l = {v, ret, 0, max < VMI_TASKS_MAX ? max : VMI_TASKS_MAX};

	each_leader(v, add_task, &l);
	if (!l.n && max)
		return err_set_addr(e, ERR_GUEST, v->init_task.v, "the guest's task list cannot be read");
	return (int)l.n;
}

struct pid_search {
	const struct vmi *v;
	int32_t pid;
	bool found;
	struct vmi_task task;
};

static bool match_pid(void *arg, struct gva node)
{
	struct pid_search *s = arg;
	struct gva task = vmi_task_of(s->v, node, TASK_TASKS);
	uint64_t pid;

	if (!vmi_get(s->v, task, TASK_PID, &pid) || (int32_t)pid != s->pid)
		return true;
	s->found = fill_task(s->v, task, &s->task);
	return !s->found;
}

int vmi_task_by_pid(struct vmi *v, int32_t pid, struct vmi_task *ret, struct err *e)
{
	struct pid_search s = {.v = v, .pid = pid};

	each_leader(v, match_pid, &s);
	if (!s.found)
		return err_set(e, ERR_MISSING, "the guest has no process %d", pid);
	*ret = s.task;
	return 0;
}

struct cr3_search {
	const struct vmi *v;
	uint64_t frame;
	bool exact; /* false: frame may be the user half of a pair */
	bool found;
	struct vmi_task task;
};

/* Whether frame is the user half of the pair that starts at root: same tables below for user addresses. */
static bool is_user_half(const struct vmi *v, uint64_t root, uint64_t frame)
{
	if (frame != (root | PTI_USER_HALF) || frame == root)
		return false;
	for (uint64_t at = 0; at < GUEST_PAGE_SIZE / 2; at += 8) {
		uint64_t k, u;

		if (!gmem_read(v->kernel.gm, gpa(root + at), &k, 8) || !gmem_read(v->kernel.gm, gpa(frame + at), &u, 8))
			return false;
		if ((k & 1) && root_frame(k) != root_frame(u))
			return false;
	}
	return true;
}

static bool match_cr3(void *arg, struct gva node)
{
	struct cr3_search *s = arg;
	struct gva task = vmi_task_of(s->v, node, TASK_TASKS);
	struct gva mm = vmi_task_mm(s->v, task);
	struct vmi_space space;

	if (!mm.v || !space_of_mm(s->v, mm, &space))
		return true;
	s->found = s->exact ? space.cr3 == s->frame : is_user_half(s->v, space.cr3, s->frame);
	return !(s->found && fill_task(s->v, task, &s->task));
}

/* Two processes share page tables only between vfork and exec: then it is the older one. */
int vmi_task_by_cr3(struct vmi *v, uint64_t cr3, struct vmi_task *ret, struct err *e)
{
	struct cr3_search s = {.v = v, .frame = root_frame(cr3), .exact = true};

	each_leader(v, match_cr3, &s);
	if (!s.found) {
		s.exact = false;
		each_leader(v, match_cr3, &s);
	}
	if (!s.found || !s.task.mm.v)
		return err_set_addr(e, ERR_GUEST, cr3, "no process of the guest has the page tables 0x%llx",
				    (unsigned long long)cr3);
	*ret = s.task;
	return 0;
}

struct ip_list {
	const struct vmi *v;
	struct gva *ips;
	size_t n, max;
};

static uint32_t kernel_stack_size(const struct vmi *v)
{
	uint32_t size = v->layout.f[THREAD_UNION_SIZE].size;

	return size ? size : KERNEL_STACK_SIZE;
}

/* The registers saved at the top of the stack; kernels with FRED keep 16 bytes above them. */
static bool saved_regs(const struct vmi *v, struct gva stack, struct gva *ret)
{
	static const uint64_t padding[] = {0, 16};

	for (size_t i = 0; i < sizeof(padding) / sizeof(padding[0]); i++) {
		struct gva regs = gva(stack.v + kernel_stack_size(v) - v->layout.f[REGS_SIZE].size - padding[i]);
		uint64_t cs, ss;

		if (vmi_get(v, regs, REGS_CS, &cs) && vmi_get(v, regs, REGS_SS, &ss) && (cs & 3) == 3 &&
		    (ss & 3) == 3) {
			*ret = regs;
			return true;
		}
	}
	return false;
}

static bool saved_ip(const struct vmi *v, struct gva task, uint64_t *ret)
{
	struct gva stack, regs;

	return vmi_get_ptr(v, task, TASK_STACK, &stack) && saved_regs(v, stack, &regs) &&
	       vmi_get(v, regs, REGS_IP, ret);
}

static bool add_ip(void *arg, struct gva node)
{
	struct ip_list *l = arg;
	uint64_t ip;

	if (l->n < l->max && saved_ip(l->v, vmi_task_of(l->v, node, TASK_THREAD_NODE), &ip))
		l->ips[l->n++] = gva(ip);
	return l->n < l->max;
}

int vmi_thread_ips(struct vmi *v, const struct vmi_task *t, struct gva *ret_ip, size_t max, struct err *e)
{
	struct ip_list l = {v, ret_ip, 0, max < VMI_THREADS_MAX ? max : VMI_THREADS_MAX};
	struct gva signal;

	if (!vmi_get_ptr(v, t->task, TASK_SIGNAL, &signal))
		return err_set_addr(e, ERR_GUEST, t->task.v, "process %d of the guest has no list of threads", t->pid);
	vmi_list_each(v, vmi_member(v, signal, SIGNAL_THREAD_HEAD), VMI_THREADS_MAX, add_ip, &l);
	return (int)l.n;
}

/* What a handler is that is no function: SIG_DFL and SIG_IGN. */
#define HANDLER_NONE_MAX 1u

/* On x86 the handler is the first member of an action. */
bool vmi_task_handles(const struct vmi *v, const struct vmi_task *t, unsigned sig)
{
	uint32_t size = v->layout.f[KSIGACTION_SIZE].size;
	struct gva sighand, action;
	uint64_t handler;

	if (!size || !sig || sig > 64 || !v->layout.f[TASK_SIGHAND].size || !v->layout.f[SIGHAND_ACTION].size ||
	    !vmi_get_ptr(v, t->task, TASK_SIGHAND, &sighand))
		return true;
	action = gva_add(vmi_member(v, sighand, SIGHAND_ACTION), (uint64_t)(sig - 1) * size);
	return !vmi_read(&v->kernel, action, &handler, sizeof(handler)) || handler > HANDLER_NONE_MAX;
}

#define USER32_CS 0x23u

/* Where each register is saved, in x86 encoding order. */
static const enum vmi_field_id saved_gpr[16] = {
	REGS_AX, REGS_CX, REGS_DX,  REGS_BX,  REGS_SP,	REGS_BP,  REGS_SI,  REGS_DI,
	REGS_R8, REGS_R9, REGS_R10, REGS_R11, REGS_R12, REGS_R13, REGS_R14, REGS_R15,
};

static bool read_saved(const struct vmi *v, struct gva regs, struct vmi_thread *ret)
{
	uint64_t cs, mask = UINT64_MAX;

	if (!vmi_get(v, regs, REGS_CS, &cs) || !vmi_get(v, regs, REGS_IP, &ret->ip.v) ||
	    !vmi_get(v, regs, REGS_ORIG_AX, &ret->number))
		return false;
	ret->is_32bit = (cs & 0xffff) == USER32_CS;
	if (ret->is_32bit)
		mask = UINT32_MAX;
	for (unsigned k = 0; k < 16; k++) {
		if (!vmi_get(v, regs, saved_gpr[k], &ret->gpr[k]))
			return false;
		ret->gpr[k] &= mask;
	}
	ret->ip.v &= mask;
	return true;
}

bool vmi_thread_saved(const struct vmi *v, struct gva task, struct vmi_thread *ret, struct gva *ret_regs)
{
	struct vmi_thread th = {.task = task, .stack_size = kernel_stack_size(v)};
	struct gva regs;
	uint64_t pid;

	if (!vmi_get(v, task, TASK_PID, &pid) || !vmi_get_ptr(v, task, TASK_STACK, &th.stack) ||
	    !saved_regs(v, th.stack, &regs) || !read_saved(v, regs, &th))
		return false;
	th.pid = (int32_t)pid;
	*ret = th;
	*ret_regs = regs;
	return true;
}

struct stack_search {
	const struct vmi *v;
	uint64_t rsp;
	bool found;
	struct vmi_thread thread;
};

static bool match_stack(void *arg, struct gva node)
{
	struct stack_search *s = arg;
	struct gva task = vmi_task_of(s->v, node, TASK_THREAD_NODE), stack;
	uint64_t pid;

	if (!vmi_get_ptr(s->v, task, TASK_STACK, &stack) || s->rsp - stack.v >= kernel_stack_size(s->v) ||
	    !vmi_get(s->v, task, TASK_PID, &pid))
		return true;
	s->found = true;
	s->thread.task = task;
	s->thread.pid = (int32_t)pid;
	s->thread.stack = stack;
	s->thread.stack_size = kernel_stack_size(s->v);
	return false;
}

int vmi_thread_at(struct vmi *v, const struct vmi_task *t, uint64_t rsp, struct vmi_thread *ret, struct err *e)
{
	struct stack_search s = {.v = v, .rsp = rsp};
	struct gva signal, regs;

	if (!vmi_get_ptr(v, t->task, TASK_SIGNAL, &signal))
		return err_set_addr(e, ERR_GUEST, t->task.v, "process %d of the guest has no list of threads", t->pid);
	vmi_list_each(v, vmi_member(v, signal, SIGNAL_THREAD_HEAD), VMI_THREADS_MAX, match_stack, &s);
	if (!s.found)
		return err_set_addr(e, ERR_GUEST, rsp, "no thread of process %d has its kernel stack at 0x%llx", t->pid,
				    (unsigned long long)rsp);
	if (!saved_regs(v, s.thread.stack, &regs) || !read_saved(v, regs, &s.thread))
		return err_set_addr(e, ERR_GUEST, s.thread.stack.v,
				    "thread %d of the guest has no user-mode registers saved", s.thread.pid);
	*ret = s.thread;
	return 0;
}

struct waiting_list {
	const struct vmi *v;
	struct vmi_thread *threads;
	size_t n, max, n_other;
};

/* Asleep, so in the kernel; struct seccomp begins with its mode. */
static bool is_waiting(const struct vmi *v, struct gva task)
{
	uint32_t state, mode;

	return v->layout.f[TASK_STATE].size && v->layout.f[TASK_SECCOMP].size &&
	       vmi_read(&v->kernel, vmi_member(v, task, TASK_STATE), &state, sizeof(state)) && state != 0 &&
	       vmi_read(&v->kernel, vmi_member(v, task, TASK_SECCOMP), &mode, sizeof(mode)) && mode == 0;
}

static bool add_waiting(void *arg, struct gva node)
{
	struct waiting_list *l = arg;
	struct gva task = vmi_task_of(l->v, node, TASK_THREAD_NODE), regs;
	struct vmi_thread th;

	if (!is_waiting(l->v, task) || !vmi_thread_saved(l->v, task, &th, &regs) || (int64_t)th.number < 0) {
		l->n_other++;
		return true;
	}
	l->threads[l->n++] = th;
	return l->n < l->max;
}

int vmi_threads_waiting(struct vmi *v, const struct vmi_task *t, struct vmi_thread *ret, size_t max,
			size_t *ret_n_other, struct err *e)
{
	struct waiting_list l = {v, ret, 0, max, 0};
	struct gva signal;

	if (!vmi_get_ptr(v, t->task, TASK_SIGNAL, &signal))
		return err_set_addr(e, ERR_GUEST, t->task.v, "process %d of the guest has no list of threads", t->pid);
	if (max)
		vmi_list_each(v, vmi_member(v, signal, SIGNAL_THREAD_HEAD), VMI_THREADS_MAX, add_waiting, &l);
	*ret_n_other = l.n_other;
	return (int)l.n;
}

bool vmi_thread_redirect(struct vmi *v, const struct vmi_thread *th, struct gva ip, struct gva sp)
{
	struct gva regs;

	return saved_regs(v, th->stack, &regs) &&
	       vmi_write(&v->kernel, vmi_member(v, regs, REGS_IP), &ip.v, sizeof(ip.v)) &&
	       vmi_write(&v->kernel, vmi_member(v, regs, REGS_SP), &sp.v, sizeof(sp.v));
}
