/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The kernel of the guest that a VM runs now: found before it is needed, and forgotten when it is another. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "daemon/vm_internal.h"

static bool parse_register(const char *text, const char *name, uint64_t *ret)
{
	const char *p = strstr(text, name);

	if (!p)
		return false;
	*ret = strtoull(p + strlen(name), NULL, 16);
	return true;
}

static bool parse_space(const char *text, struct gmem *gm, struct vmi_space *ret)
{
	uint64_t cr0, cr3, cr4, efer;

	if (!text || !parse_register(text, "CR0=", &cr0) || !parse_register(text, "CR3=", &cr3) ||
	    !parse_register(text, "CR4=", &cr4) || !parse_register(text, "EFER=", &efer))
		return false;
	vmi_space_init(ret, gm, cr0, cr3, cr4, efer);
	return true;
}

static void forget_kernel(struct vm *vm)
{
	vmi_destroy(vm->vmi);
	vm->vmi = NULL;
	vm->vmi_stale = false;
}

void vm_guest_resets(struct vm *vm)
{
	vm->reset_ns = loop_now_ns();
	vm->next_look_ns = 0;
	/* Else it may be in use just now, below us. */
	vm->vmi_stale = true;
	if (vm->state == VM_RUNNING && !vm->detect_pending && !vm->trace)
		forget_kernel(vm);
}

void vm_kernel_at(struct vm *vm, uint64_t time_ns)
{
	if (!vm->vmi_stale && time_ns >= vm->reset_ns)
		return;
	forget_kernel(vm);
	if (time_ns < vm->reset_ns)
		vm->reset_ns = 0;
	loop_timer_set(vm->vmi_timer, VM_KERNEL_MS);
}

int vm_find_kernel(struct vm *vm, struct err *e)
{
	struct vmi_space space;
	json_t *text = NULL;
	int rc;

	if (vm->vmi_stale)
		forget_kernel(vm);
	if (vm->vmi)
		return 0;
	if (vm->state != VM_RUNNING || vm->detect_pending)
		return err_set(e, ERR_STATE, "the guest's kernel has not been found yet, and cannot be looked for now");
	if (qmp_call(engine_qmp(vm->active.en), "human-monitor-command",
		     json_pack("{s:s}", "command-line", "info registers"), 5000, &text, e) < 0)
		return -1;
	if (parse_space(json_string_value(text), vm->gmem, &space))
		rc = vmi_create(&space, &vm->vmi, e);
	else
		rc = err_set(e, ERR_PROTOCOL, "QEMU does not tell the guest's control registers");
	json_decref(text);
	return rc;
}

void vm_prepare_kernel(void *arg, uint32_t events)
{
	struct err e;

	(void)events;
	if (vm_find_kernel(arg, &e) < 0)
		log_debug("introspection: %s (tried again at a detection, or when it is asked for)", e.text);
}
