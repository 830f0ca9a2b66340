/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The processor's state between registers and memory (fxsave, xsave and their likes): tasks are switched and signals
 * delivered with them. QEMU moves these areas without telling any access, so the callback before the
 * instruction does the whole of it: finds the area by the registers, and moves the labels.
 */
#include <string.h>

#include "plugin/memory.h"
#include "vmi/vmi.h"

#define HEADER 512u /* where an xsave area says which components it holds */
#define SSE_AND_X87 3u
#define FOLLOWED 7u /* components: x87, xmm, upper halves of ymm */
#define PIECE_MAX 256u
/* Segments in encoding order. */
#define SEG_FS 4u
#define SEG_GS 5u

struct area {
	struct plugin_vcpu *c;
	struct plugin_site *site;
	const struct taint_insn *in;
	uint64_t vaddr;
};

static uint64_t gpr(uint8_t number)
{
	return number < TAINT_GPRS ? regs_read((enum plugin_reg)number) : 0;
}

/* Address of the operand; false: not known (relative to the instruction: the compiler of a state area never does that). */
static bool area_address(const struct taint_insn *in, uint64_t *ret)
{
	const struct taint_mem *m = &in->mem[0];
	uint64_t base = 0, a;

	if (!in->n_mem || m->base == TAINT_GPR_RIP)
		return false;
	if (m->seg == SEG_FS)
		base = regs_read(PLUGIN_REG_FS_BASE);
	else if (m->seg == SEG_GS)
		base = regs_read(PLUGIN_REG_GS_BASE);
	a = gpr(m->base) + gpr(m->index) * m->scale + (uint64_t)m->disp;
	*ret = base + (in->addr32 ? (uint32_t)a : a);
	return true;
}

/* Calls fn for the parts of n bytes at offset `at` of the area that lie in one page each. */
typedef void part_fn(struct plugin_vcpu *c, struct gpa at, struct taint_label *labels, size_t n);

static void each_part(const struct area *a, unsigned at, struct taint_label *labels, size_t n, part_fn *fn)
{
	while (n) {
		uint64_t vaddr = a->vaddr + at;
		size_t room = GUEST_PAGE_SIZE - (vaddr & GUEST_PAGE_MASK), part = n < room ? n : room;
		struct vmi_page page;

		if (guest_translate(a->c, vaddr, &page))
			fn(a->c, page.at, labels, part);
		else
			memset(labels, 0, part * sizeof(*labels));
		labels += part;
		at += (unsigned)part;
		n -= part;
	}
}

static void get_part(struct plugin_vcpu *c, struct gpa at, struct taint_label *labels, size_t n)
{
	uint8_t bytes[PIECE_MAX];

	if (shadow_get(plugin.shadow, at, labels, n) && n <= sizeof(bytes) && guest_read(c, at, bytes, n))
		taint_labels_drop_stale(labels, bytes, n);
}

static void set_part(struct plugin_vcpu *c, struct gpa at, struct taint_label *labels, size_t n)
{
	(void)c;
	shadow_set(plugin.shadow, at, labels, n);
}

/* Of a component that the guest may not have, and whose place another object may take: only what was ours goes. */
static void clear_own_part(struct plugin_vcpu *c, struct gpa at, struct taint_label *labels, size_t n)
{
	(void)c;
	if (!shadow_get(plugin.shadow, at, labels, n))
		return;
	for (size_t i = 0; i < n; i++)
		if (labels[i].flags & TAINT_LABEL_ANY_VALUE)
			shadow_clear(plugin.shadow, gpa_add(at, i), 1);
}

static void save(const struct area *a, uint64_t rfbm)
{
	struct taint_area_piece piece[TAINT_AREA_PIECES];
	unsigned n = taint_insn_area(a->in, rfbm, piece);
	struct taint_label labels[PIECE_MAX];

	for (unsigned i = 0; i < n; i++) {
		bool any = taint_insn_area_save(a->c->regs, &piece[i], labels);

		/* What the bytes will hold is not known yet. */
		for (unsigned k = 0; any && k < piece[i].len; k++)
			if (labels[k].origin)
				labels[k] = (struct taint_label){.origin = labels[k].origin,
								 .writer = memory_writer(a->site),
								 .flags = TAINT_LABEL_ANY_VALUE};
		each_part(a, piece[i].at, labels, piece[i].len,
			  any || piece[i].at < HEADER ? set_part : clear_own_part);
	}
}

/* Components that an xsave area holds, by its header; the others are set to their first state. */
static uint64_t components(const struct area *a)
{
	struct vmi_page page;
	uint64_t held = 0;

	if (a->in->area_form != TAINT_AREA_X)
		return SSE_AND_X87;
	if (!guest_translate(a->c, a->vaddr + HEADER, &page) || !guest_read(a->c, page.at, &held, sizeof(held)))
		return 0;
	return held;
}

static void restore(const struct area *a, uint64_t rfbm)
{
	struct taint_area_piece piece[TAINT_AREA_PIECES];
	unsigned n = taint_insn_area(a->in, rfbm & components(a), piece);
	struct taint_label labels[PIECE_MAX];

	taint_insn_area_clear(a->c->regs, a->in, rfbm);
	for (unsigned i = 0; i < n; i++) {
		each_part(a, piece[i].at, labels, piece[i].len, get_part);
		taint_insn_area_load(a->c->regs, &piece[i], labels);
	}
}

/* Whether the area's pages hold tainted bytes; an area begins and ends in two pages at most. */
static bool memory_tainted(const struct area *a)
{
	struct vmi_page page;

	for (unsigned at = 0; at <= HEADER + PIECE_MAX; at += HEADER + PIECE_MAX)
		if (guest_translate(a->c, a->vaddr + at, &page) && shadow_page_tainted(plugin.shadow, page.at))
			return true;
	return false;
}

void area_follow(struct plugin_vcpu *c, struct plugin_site *s)
{
	const struct taint_insn *in = s->in;
	struct area a = {.c = c, .site = s, .in = in};
	uint64_t rfbm = FOLLOWED;

	if (!area_address(in, &a.vaddr) || (!c->regs->tainted && !memory_tainted(&a)))
		return;
	if (in->area_form == TAINT_AREA_X)
		rfbm &= regs_read(PLUGIN_REG_RAX);
	if (in->area == TAINT_AREA_SAVE)
		save(&a, rfbm);
	else
		restore(&a, rfbm);
}
