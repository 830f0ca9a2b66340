/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A detector fired: tell the supervisor all that only this process knows, and hold the vCPU. */
#include <string.h>
#include <time.h>

#include "plugin/plugin_internal.h"

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void detect_report(const struct plugin_vcpu *c, enum taint_detector detector, const struct plugin_site *site,
		   uint64_t vaddr, struct gpa at, const struct taint_label *labels, unsigned n)
{
	struct taint_msg m = {.type = TAINT_MSG_DETECT};
	struct taint_msg_detect *d = &m.detect;

	*d = (struct taint_msg_detect){
		.detector = detector,
		.vcpu = c->index,
		.pc = site->pc,
		.code_offset = site->code_offset,
		.object_gva = vaddr,
		.object_gpa = at.v,
		.object_len = n,
		.time_ns = now_ns(),
	};
	for (unsigned i = 0; i < TAINT_GPRS; i++)
		d->gpr[i] = regs_read((enum plugin_reg)i);
	d->cr0 = regs_read(PLUGIN_REG_CR0);
	d->cr3 = regs_read(PLUGIN_REG_CR3);
	d->cr4 = regs_read(PLUGIN_REG_CR4);
	d->efer = regs_read(PLUGIN_REG_EFER);
	d->fs_base = regs_read(PLUGIN_REG_FS_BASE);
	d->gs_base = regs_read(PLUGIN_REG_GS_BASE);
	d->kernel_gs_base = regs_read(PLUGIN_REG_KERNEL_GS_BASE);
	d->cs = regs_read(PLUGIN_REG_CS);
	memcpy(d->label, labels, n * sizeof(*labels));
	__atomic_fetch_add(&plugin.shm->detections, 1, __ATOMIC_RELAXED);
	link_send(&m, -1);
	link_wait_go(c->index);
}
