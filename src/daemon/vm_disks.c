/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The disks of a VM, and what is done to all its devices at once. */
#include "base/log.h"
#include "daemon/vm_internal.h"

/* Nothing of what a disk has is input from outside. */
static void wrote(void *arg, struct gpa at, size_t len)
{
	const struct vm *vm = arg;

	shadow_clear(vm->shadow, at, len);
}

static void regions(void *arg, const struct gmem_region *r, size_t n)
{
	vm_set_regions(arg, r, n);
}

static void session_lost(void *arg, struct vhost_session *s, const struct err *why)
{
	const struct vm *vm = arg;

	/* When QEMU is gone that is said where it is found to have ended. */
	for (unsigned i = 0; i < vm->disks.n; i++)
		if (s == vm->active.disk[i] && vm->state == VM_RUNNING && why->code != ERR_GONE)
			log_error("disk %u of the guest failed: %s", i, why->text);
}

int vm_create_disks(struct vm *vm, struct err *e)
{
	static const struct disk_ops ops = {wrote, regions, session_lost};

	for (unsigned i = 0; i < vm->cfg->n_disks; i++) {
		if (disk_create(vm->loop, vm->gmem, &vm->cfg->disk[i], &ops, vm, &vm->disks.disk[i], e) < 0)
			return -1;
		vm->disks.n++;
	}
	return 0;
}

void vm_freeze_devices(struct vm *vm)
{
	net_freeze(vm->net);
	disks_freeze(&vm->disks);
}

void vm_thaw_devices(struct vm *vm)
{
	net_thaw(vm->net);
	disks_thaw(&vm->disks);
}
