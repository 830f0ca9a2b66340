/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whether what a detector saw is an attack. Most detectors know; some can only suspect, and what the guest's memory says
 * decides: a fault is fatal if nothing is mapped there, a return is if no code is, and a program that ends itself does so
 * for a reason.
 */
#include <signal.h>
#include <stdlib.h>

#include "daemon/vm_internal.h"
#include "locate/locate.h"

#define VM_ANY (VMI_VM_READ | VMI_VM_WRITE | VMI_VM_EXEC)

/* Of a page fault's error code. */
#define ERROR_WRITE 0x02u
#define ERROR_FETCH 0x10u

/* What is mapped at an address. */
enum mapped { MAPPED_UNKNOWN, MAPPED_NOTHING, MAPPED_BARRED, MAPPED_ALLOWED };

/* permissions: one of them the access needs. */
static enum mapped find_mapping(struct vm *vm, const struct vmi_task *t, uint64_t at, uint64_t permissions)
{
	uint64_t flags;

	switch (vmi_mapped_at(vm->vmi, t, gva(at), &flags)) {
	case VMI_MAPPED:
		return flags & permissions ? MAPPED_ALLOWED : MAPPED_BARRED;
	case VMI_NOT_MAPPED:
		return MAPPED_NOTHING;
	case VMI_MAPPED_UNKNOWN:
		break;
	}
	return MAPPED_UNKNOWN;
}

/* In doubt it is an ordinary page fault. */
static bool is_fatal(enum mapped m)
{
	return m == MAPPED_NOTHING || m == MAPPED_BARRED;
}

/* Whether the access at d->access fails for good. */
static bool access_is_fatal(struct vm *vm, const struct taint_msg_detect *d, uint64_t permissions)
{
	struct vmi_task task;

	return vm->vmi && vmi_task_by_cr3(vm->vmi, d->cr3, &task, NULL) == 0 &&
	       is_fatal(find_mapping(vm, &task, d->access, permissions));
}

static uint64_t needed(uint32_t error)
{
	if (error & ERROR_FETCH)
		return VMI_VM_EXEC;
	return error & ERROR_WRITE ? VMI_VM_WRITE : VM_ANY;
}

/* Whether the program ends of what happened, unless it has a handler; barred: by a page that is there, but not for this. */
static bool ends(struct vm *vm, const struct vmi_task *t, const struct taint_msg_detect *d, unsigned *ret_signal,
		 bool *ret_barred)
{
	enum mapped m;

	*ret_signal = d->access_error & TAINT_ERROR_SIGNAL ? d->access_error & ~TAINT_ERROR_SIGNAL : SIGSEGV;
	*ret_barred = false;
	if (d->access_error & TAINT_ERROR_SIGNAL)
		return true;
	m = find_mapping(vm, t, d->access, needed(d->access_error));
	*ret_barred = m == MAPPED_BARRED;
	return is_fatal(m);
}

/* The address was computed from the input, as an array's element is: no pointer came from there. */
static bool is_at_index(const struct taint_msg_detect *d)
{
	bool placed = false;

	for (uint32_t i = 0; i < d->object_len && i < sizeof(d->label) / sizeof(d->label[0]); i++)
		placed |= d->label[i].flags & TAINT_LABEL_BY_ADDRESS;
	return placed && !d->object_gva;
}

/*
 * Input is being handled, or the fault would not have been reported. It is an attack if the address came from the outside, if
 * the program ends of it, or if it can be told what went wrong. A program with a handler may well mean to fault: where it has
 * put a barrier, running into it is no overrun.
 */
static bool fault_is_attack(struct vm *vm, struct taint_msg_detect *d)
{
	struct locate_input in = {.vmi = vm->vmi, .shadow = vm->shadow, .detect = d};
	const struct finding nothing = {0};
	bool barred, handled;
	struct vmi_task task;
	struct finding f;
	unsigned sig;
	struct err e;

	if (!vm->vmi || vmi_task_by_cr3(vm->vmi, d->cr3, &task, NULL) < 0 || !ends(vm, &task, d, &sig, &barred))
		return false;
	handled = vmi_task_handles(vm->vmi, &task, sig);
	ladder_hide_patches(vm, &in);
	if (!(handled && barred) &&
	    (locate_overrun(&in, d, &e) == 0 || (!d->object_gva && locate_heap(&in, d, &e) == 0)))
		return true;
	if (!handled)
		return true;
	return !is_at_index(d) && (d->object_len || locate_live(&in, &nothing, &f, &e) == 0);
}

/* A function that checks a bound ends the program: the call that led there would have broken it. Or the heap is broken. */
static bool ends_for_a_check(struct vm *vm, struct taint_msg_detect *d)
{
	struct locate_input in = {.vmi = vm->vmi, .shadow = vm->shadow, .detect = d};
	const struct finding nothing = {0};
	struct finding f;
	struct err e;

	ladder_hide_patches(vm, &in);
	return vm->vmi && (locate_live(&in, &nothing, &f, &e) == 0 || locate_overrun(&in, d, &e) == 0 ||
			   locate_heap(&in, d, &e) == 0 || locate_fails_bound(&in));
}

bool judge(struct vm *vm, struct taint_msg_detect *d)
{
	switch ((enum taint_detector)d->detector) {
	case TAINT_DETECT_FAULT:
		return fault_is_attack(vm, d);
	case TAINT_DETECT_STRAY:
		return !d->access || access_is_fatal(vm, d, VMI_VM_EXEC);
	case TAINT_DETECT_ABORT:
		return ends_for_a_check(vm, d);
	default:
		return true;
	}
}

bool judge_again(const struct vm *vm, const struct taint_msg_detect *d)
{
	struct vmi_task task;

	return (d->detector == TAINT_DETECT_FAULT || d->detector == TAINT_DETECT_STRAY) && vm->vmi &&
	       vmi_task_by_cr3(vm->vmi, d->cr3, &task, NULL) == 0 && vmi_maps_change(vm->vmi, &task);
}
