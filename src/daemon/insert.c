/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Putting patches into a guest that was brought back to a checkpoint.
 *
 * Not every moment is good for it: a thread may stand inside the bytes to displace, none may wait where it can be led to map
 * a page, or the culprit's call may be under way already, and would run over once more before its guard is reached. Such
 * moments pass, so an older checkpoint is tried then.
 */
#include <stdlib.h>

#include "base/log.h"
#include "daemon/respond_internal.h"

#define TASKS_MAX 1024u
#define THREADS_MAX 256u
/* Of a thread's stack, where the return address of a call that waits is looked for. */
#define STACK_WORDS 2048u

/* A reason that passes is the one to know. */
static void keep_reason(struct err *e, const struct err *now)
{
	if (e->code != ERR_STATE)
		*e = *now;
}

/*
 * A process that has the patch's module mapped: the one attacked, or, if it did not exist yet at the checkpoint, another. If
 * none has: the file itself. A private patch, and one whose file has copies: all that have. ERR_STATE: another moment may do.
 */
static int apply_to_some_task(struct response *r, const struct patch *p, bool in_copies, struct err *e)
{
	static struct vmi_task tasks[TASKS_MAX];
	bool to_all = p->is_private || in_copies;
	bool concerns_some = false, taken = false;
	struct err now = {0};
	int n, last = -1;

	*e = (struct err){0};
	if (!to_all && r->have_task && patch_apply(p, r->vm->vmi, &r->task, e) == 0)
		return 0;
	n = vmi_tasks(r->vm->vmi, tasks, TASKS_MAX, &now);
	for (int i = 0; i < n; i++) {
		if (!tasks[i].mm.v)
			continue;
		if (patch_apply(p, r->vm->vmi, &tasks[i], &now) == 0) {
			if (!to_all)
				return 0;
			taken = true;
		} else {
			keep_reason(e, &now);
		}
		concerns_some |= patch_concerns(p, r->vm->vmi, &tasks[i]);
		last = i;
	}
	if (taken)
		return 0;
	if (last >= 0 && !concerns_some && patch_apply_to_file(p, r->vm->vmi, &tasks[last], &now) == 0)
		return 0;
	keep_reason(e, &now);
	return err_prefix(e, "no process at the checkpoint takes the patch");
}

/* Whether the thread waits in a call that returns to this address. */
static bool returns_to(struct response *r, const struct vmi_task *t, const struct vmi_thread *th, struct gva to)
{
	uint64_t word, len = th->is_32bit ? 4 : 8;

	for (unsigned i = 0; i < STACK_WORDS; i++) {
		word = 0;
		if (!vmi_task_read(r->vm->vmi, t, gva(th->gpr[4] + i * len), &word, len))
			return false;
		if (word == to.v)
			return true;
	}
	return false;
}

/* Whether the culprit is a call that the attacked process waits in: it was made without the guard. */
static bool under_way(struct response *r)
{
	struct gva to = gva_add(r->finding.culprit, r->finding.culprit_len);
	struct vmi_thread *th;
	bool found = false;
	size_t others;
	int n;

	if (!r->have_patch || !r->have_task || r->finding.kind != FINDING_CALL)
		return false;
	th = calloc(THREADS_MAX, sizeof(*th));
	n = th ? vmi_threads_waiting(r->vm->vmi, &r->task, th, THREADS_MAX, &others, NULL) : 0;
	for (int i = 0; i < n && !found; i++)
		found = returns_to(r, &r->task, &th[i], to);
	free(th);
	return found;
}

/* Those that were reverted, the newest first: another may be below it. */
static void take_out(struct response *r)
{
	static struct vmi_task tasks[TASKS_MAX];
	struct vm *vm = r->vm;
	struct err e;
	int n = -1;

	for (unsigned i = vm->n_patches; i-- > 0;) {
		if (!vm->patch[i].unwanted || vm->patch[i].dormant)
			continue;
		if (n < 0)
			n = vmi_tasks(vm->vmi, tasks, TASKS_MAX, &e);
		for (int k = 0; k < n; k++)
			if (tasks[k].mm.v && patch_remove(&vm->patch[i].patch, vm->vmi, &tasks[k], &e) < 0 &&
			    e.code != ERR_REFUSED)
				log_debug("patch of incident %lld is not taken out: %s",
					  (long long)vm->patch[i].incident, e.text);
	}
}

bool insert_patches(struct response *r, struct err *ret_e)
{
	struct vm *vm = r->vm;
	struct err e;
	bool good;

	*ret_e = (struct err){0};
	r->missing = 0;
	vm_kernel_at(vm, r->checkpoint.time_ns);
	if (!vm->vmi) {
		r->missing = vm->n_patches;
		if (r->have_patch)
			err_set(ret_e, ERR_STATE, "the checkpoint is of an earlier boot of the guest");
		return !r->have_patch;
	}
	good = !under_way(r);
	take_out(r);
	for (unsigned i = 0; i < vm->n_patches; i++) {
		const struct vm_patch *vp = &vm->patch[i];

		if (vp->dormant || vp->unwanted || apply_to_some_task(r, &vp->patch, vp->in_copies, &e) == 0 ||
		    ladder_superseded(vm, i))
			continue;
		good &= e.code != ERR_STATE;
		r->missing++;
		log_debug("patch of incident %lld is not in place: %s", (long long)vp->incident, e.text);
	}
	if (r->have_patch && apply_to_some_task(r, &r->patch, false, ret_e) < 0)
		good &= ret_e->code != ERR_STATE;
	else
		*ret_e = (struct err){0};
	return good;
}

static void remember_patch(struct response *r, const struct patch *p, const struct finding *f)
{
	struct vm *vm = r->vm;

	vm->patch[vm->n_patches++] = (struct vm_patch){
		.patch = *p, .finding = *f, .culprit_offset = f->culprit_file_offset, .incident = r->in.id};
	keep_patch(vm, &r->in);
}

/* Whether the process has the code where the attacked one had it. */
static bool has_code(const struct response *r, const struct vmi_task *t)
{
	struct gva site, guard;

	return t->mm.v && patch_place(&r->patch, r->vm->vmi, t, &site, &guard, NULL) == 0 && site.v == r->patch.site.v;
}

/* The process attacked may not exist yet: then one that it will be forked from. */
static void find_task(struct response *r)
{
	static struct vmi_task tasks[TASKS_MAX];
	int n;

	if (has_code(r, &r->task))
		return;
	n = vmi_tasks(r->vm->vmi, tasks, TASKS_MAX, NULL);
	for (int i = 0; i < n; i++)
		if (has_code(r, &tasks[i])) {
			r->task = tasks[i];
			return;
		}
}

void insert_keep(struct response *r)
{
	struct err e = {0};
	struct patch p;

	remember_patch(r, &r->patch, &r->finding);
	if (r->n_siblings)
		find_task(r);
	/* Their guards can be made only now: the code cave must show what the first one takes. */
	for (size_t i = 0; i < r->n_siblings && r->vm->n_patches < VM_PATCHES_MAX; i++) {
		if (ladder_generate(r->vm, &r->task, &r->sibling[i], &p, &e) < 0 ||
		    apply_to_some_task(r, &p, false, &e) < 0) {
			log_debug("%s at 0x%llx is not guarded: %s", r->sibling[i].culprit_text,
				  (unsigned long long)r->sibling[i].culprit.v, e.text);
			continue;
		}
		remember_patch(r, &p, &r->sibling[i]);
		r->in.also_guarded++;
	}
}
