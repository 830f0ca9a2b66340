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

/* All that is known without asking what fired. */
static void fill(const struct plugin_vcpu *c, enum taint_detector detector, const struct plugin_site *site,
		 struct taint_msg_detect *d)
{
	*d = (struct taint_msg_detect){
		.detector = detector,
		.vcpu = c->index,
		.pc = site->pc,
		.code_offset = site->code_offset,
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
}

static void send(const struct plugin_vcpu *c, struct taint_msg *m, uint64_t vaddr, struct gpa at,
		 const struct taint_label *labels, unsigned n)
{
	m->detect.object_gva = vaddr;
	m->detect.object_gpa = at.v;
	m->detect.object_len = n;
	memcpy(m->detect.label, labels, n * sizeof(*labels));
	/* As they are in memory. */
	for (unsigned i = 0; i < n; i++)
		if (labels[i].flags & TAINT_LABEL_BY_ADDRESS)
			m->detect.label[i].origin &= TAINT_POSITION;
	__atomic_fetch_add(&plugin.shm->detections, 1, __ATOMIC_RELAXED);
	link_send(m, -1);
	link_wait_go(c->index);
}

void detect_report(const struct plugin_vcpu *c, enum taint_detector detector, const struct plugin_site *site,
		   uint64_t vaddr, struct gpa at, const struct taint_label *labels, unsigned n)
{
	struct taint_msg m = {.type = TAINT_MSG_DETECT};

	if (detector != TAINT_DETECT_WATCH && !plugin_detects(detector))
		return;
	fill(c, detector, site, &m.detect);
	send(c, &m, vaddr, at, labels, n);
}

void detect_report_access(const struct plugin_vcpu *c, enum taint_detector detector, const struct plugin_site *site,
			  struct detect_access access, uint64_t vaddr, struct gpa at, const struct taint_label *labels,
			  unsigned n)
{
	struct taint_msg m = {.type = TAINT_MSG_DETECT};

	if (!plugin_detects(detector))
		return;
	fill(c, detector, site, &m.detect);
	m.detect.access = access.address;
	m.detect.access_error = access.error;
	send(c, &m, vaddr, at, labels, n);
}
