/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whether what a detector saw is an attack. Most detectors know; some can only suspect, and what the guest's memory says
 * decides: a fault is fatal if nothing is mapped there, a return is if no code is, and a program that ends itself does so
 * for a reason.
 */
#include <stdlib.h>

#include "daemon/vm_internal.h"
#include "locate/locate.h"

#define MAPS_MAX 4096u
#define VM_EXEC 0x4u
#define VM_GROWSDOWN 0x100u
/* How far below its mapping a stack may be touched: the default limit. */
#define STACK_MAX (8ull << 20)

static bool is_mapped(const struct vmi_vma *vma, int n, uint64_t at)
{
	for (int i = 0; i < n; i++) {
		uint64_t start = vma[i].start.v;

		if (vma[i].flags & VM_GROWSDOWN)
			start = start > STACK_MAX ? start - STACK_MAX : 0;
		if (at >= start && at < vma[i].end.v)
			return true;
	}
	return false;
}

/* Whether code can be there. */
static bool is_code(const struct vmi_vma *vma, int n, uint64_t at)
{
	for (int i = 0; i < n; i++)
		if (at >= vma[i].start.v && at < vma[i].end.v)
			return vma[i].flags & VM_EXEC;
	return false;
}

/* In doubt it is an ordinary page fault. fits: what can be at the address. */
static bool is_fatal(struct vm *vm, const struct taint_msg_detect *d,
		     bool (*fits)(const struct vmi_vma *vma, int n, uint64_t at))
{
	struct vmi_vma *vma = calloc(MAPS_MAX, sizeof(*vma));
	struct vmi_task task;
	bool fatal = false;
	int n;

	if (vma && vm->vmi && vmi_task_by_cr3(vm->vmi, d->cr3, &task, NULL) == 0) {
		n = vmi_maps(vm->vmi, &task, vma, MAPS_MAX, NULL);
		fatal = n > 0 && n < (int)MAPS_MAX && !fits(vma, n, d->access);
	}
	free(vma);
	return fatal;
}

/* The access is at an address from the outside, or in the midst of printing by a format from there. */
static bool comes_from_outside(struct vm *vm, const struct taint_msg_detect *d)
{
	const struct locate_input in = {.vmi = vm->vmi, .shadow = vm->shadow, .detect = d};
	const struct finding nothing = {0};
	struct finding f;
	struct err e;

	return d->object_len || locate_live(&in, &nothing, &f, &e) == 0;
}

/* A function that checks a bound ends the program: the call that led there would have broken it. Or the heap is broken. */
static bool ends_for_a_check(struct vm *vm, struct taint_msg_detect *d)
{
	struct locate_input in = {.vmi = vm->vmi, .shadow = vm->shadow, .detect = d};
	const struct finding nothing = {0};
	struct finding f;
	struct err e;

	ladder_hide_patches(vm, &in);
	return vm->vmi && (locate_live(&in, &nothing, &f, &e) == 0 || locate_heap(&in, d, &e) == 0);
}

bool judge(struct vm *vm, struct taint_msg_detect *d)
{
	switch ((enum taint_detector)d->detector) {
	case TAINT_DETECT_FAULT:
		return is_fatal(vm, d, is_mapped) && comes_from_outside(vm, d);
	case TAINT_DETECT_STRAY:
		return !d->access || is_fatal(vm, d, is_code);
	case TAINT_DETECT_ABORT:
		return ends_for_a_check(vm, d);
	default:
		return true;
	}
}
