/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The patches of a VM: those of one culprit, and what the program was like without them. */
#include <string.h>

#include "daemon/vm_internal.h"
#include "patch/ladder.h"

static bool is_at(const struct vm_patch *p, const struct finding *f)
{
	return !p->dormant && !p->unwanted && p->culprit_offset == f->culprit_file_offset &&
	       p->patch.build_id_len == f->module.build_id_len &&
	       !memcmp(p->patch.build_id, f->module.build_id, p->patch.build_id_len);
}

unsigned ladder_known(const struct vm *vm, const struct finding *f, const struct vm_patch *ret[LADDER_MAX])
{
	unsigned n = 0;

	for (unsigned i = vm->n_patches; i-- > 0 && n < LADDER_MAX;)
		if (is_at(&vm->patch[i], f))
			ret[n++] = &vm->patch[i];
	return n;
}

bool ladder_may_go_on(const struct vm *vm, const struct finding *f)
{
	const struct vm_patch *known[LADDER_MAX];

	return ladder_known(vm, f, known) < LADDER_MAX;
}

bool ladder_superseded(const struct vm *vm, unsigned i)
{
	const struct patch *p = &vm->patch[i].patch;

	for (unsigned k = i + 1; k < vm->n_patches; k++) {
		const struct patch *later = &vm->patch[k].patch;

		if (!vm->patch[k].dormant && !vm->patch[k].unwanted && later->site_offset == p->site_offset &&
		    later->build_id_len == p->build_id_len && !memcmp(later->build_id, p->build_id, p->build_id_len))
			return true;
	}
	return false;
}

int ladder_generate(struct vm *vm, const struct vmi_task *t, struct finding *f, struct patch *ret, struct err *e)
{
	const struct vm_patch *known[LADDER_MAX];
	const struct finding *old[LADDER_MAX];
	unsigned n = ladder_known(vm, f, known);
	enum ladder_step next;

	if (!n)
		return patch_generate(f, vm->vmi, t, ret, e);
	for (unsigned k = 0; k < n; k++)
		old[k] = &known[k]->finding;
	next = ladder_next(old, n, f);
	if (next == LADDER_NONE)
		return err_set(e, ERR_REFUSED, "the culprit got a patch in incident %lld and was reached again",
			       (long long)known[0]->incident);
	return patch_generate_over(&known[0]->patch, next == LADDER_CHAIN, f, vm->vmi, t, ret, e);
}

/* false: the process does not run what the patch is for. */
static bool place(struct vm *vm, const struct vmi_task *t, const struct vm_patch *vp, struct locate_patch *ret)
{
	const struct patch *p = &vp->patch;
	const struct finding *f = &vp->finding;
	struct locate_patch lp = {.site_len = p->site_len,
				  .culprit_len = f->culprit_len,
				  .guard_len = p->guard_len,
				  .callee = f->callee,
				  .culprit_at = p->culprit_at,
				  .lower = p->lower};

	if (patch_place(p, vm->vmi, t, &lp.site, &lp.guard, NULL))
		return false;
	lp.culprit = gva_add(lp.site, f->culprit.v - f->bug.v);
	memcpy(lp.before, p->site_original, p->site_len);
	*ret = lp;
	return true;
}

void ladder_hide_patches(struct vm *vm, struct locate_input *in)
{
	struct vmi_task t;

	in->patches = vm->placed;
	in->n_patches = 0;
	if (!vm->vmi || vmi_task_by_cr3(vm->vmi, in->detect->cr3, &t, NULL))
		return;
	for (unsigned i = 0; i < vm->n_patches; i++)
		in->n_patches += !vm->patch[i].dormant && place(vm, &t, &vm->patch[i], &vm->placed[in->n_patches]);
}
