/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The engine's side: taints one byte, tells the accesses, looks what is tainted. */
#include "engine.h"

#include <string.h>

/* The status word has no place of its own in the shadow: it is in all of the x87 state, for good here. */
#define FSW_SHADOW (TAINT_REG_MM + 127u)
#define X87_BYTES 128u

static struct taint_vcpu vcpu;
static struct taint_label mem[WINDOW_MAX];

static bool is_flags(unsigned at)
{
	return at >= TAINT_REG_FLAGS && at < TAINT_REG_YMM;
}

static void set_input(unsigned from)
{
	if (from >= REGS)
		mem[from - REGS].origin = MARK;
	else if (from >= IMAGE_FSW)
		vcpu.reg[FSW_SHADOW] = MARK;
	else
		vcpu.reg[is_flags(from) ? TAINT_REG_FLAGS : from] = MARK;
}

static void area_restore(const struct trial *t, const struct taint_insn *in)
{
	struct taint_area_piece piece[TAINT_AREA_PIECES];
	uint64_t held = in->area_form == TAINT_AREA_X ? t->rfbm & t->held : 7;
	unsigned n = taint_insn_area(in, held, piece);

	taint_insn_area_clear(&vcpu, in, t->rfbm);
	for (unsigned i = 0; i < n; i++)
		taint_insn_area_load(&vcpu, &piece[i], mem + piece[i].at);
}

static void area_save(const struct trial *t, const struct taint_insn *in)
{
	struct taint_area_piece piece[TAINT_AREA_PIECES];
	unsigned n = taint_insn_area(in, t->rfbm, piece);

	for (unsigned i = 0; i < n; i++)
		taint_insn_area_save(&vcpu, &piece[i], mem + piece[i].at);
}

static bool is_clean(const struct event *e)
{
	for (unsigned k = 0; k < e->len; k++)
		if (mem[e->at + k].origin)
			return false;
	return true;
}

static void tell_accesses(const struct trial *t, const struct taint_insn *in, struct taint_run *run)
{
	for (unsigned i = 0; i < t->events; i++) {
		const struct event *e = &t->event[i];
		bool skip = t->lazy && !(vcpu.tainted & in->touches) && !in->needs_begin && is_clean(e);

		if (skip && !e->store && in->has_store)
			run->loaded = NULL; /* as a caller that leaves out a load must */
		if (e->store && in->has_store)
			taint_insn_store(&vcpu, run, in, WINDOW_AT + e->at, mem + e->at, e->len);
		else if (!e->store && in->has_load && !skip)
			taint_insn_load(&vcpu, run, in, WINDOW_AT + e->at, mem + e->at, e->len);
	}
}

static uint32_t x87_label(void)
{
	for (unsigned i = 0; i < X87_BYTES; i++)
		if (vcpu.reg[TAINT_REG_MM + i])
			return vcpu.reg[TAINT_REG_MM + i];
	return 0;
}

static bool read_out(const struct trial *t, uint32_t *ret)
{
	uint64_t told;

	memcpy(ret, vcpu.reg, TAINT_REG_TMP * sizeof(*ret));
	for (unsigned i = 0; i < 8; i++) {
		ret[TAINT_REG_FLAGS + i] = vcpu.reg[TAINT_REG_FLAGS];
		ret[IMAGE_FSW + i] = t->x87 ? x87_label() : 0;
	}
	for (unsigned i = 0; i < t->window; i++)
		ret[REGS + i] = mem[i].origin;
	/* What the engine believes to be tainted must be what is. */
	told = vcpu.tainted;
	taint_vcpu_any(&vcpu);
	return told == vcpu.tainted;
}

bool engine_run(const struct trial *t, const struct taint_insn *in, unsigned from, bool flags_too, uint32_t *ret)
{
	struct taint_run run = {0};

	memset(&vcpu, 0, sizeof(vcpu));
	memset(mem, 0, t->window * sizeof(mem[0]));
	if (flags_too)
		vcpu.reg[TAINT_REG_FLAGS] = FLAGS_MARK;
	set_input(from);
	taint_vcpu_any(&vcpu);
	if (in->needs_begin)
		taint_insn_begin(&run);
	if (in->n_ops && !in->has_load && (in->has_store || !t->lazy || (vcpu.tainted & in->touches)))
		taint_insn_exec(&vcpu, in);
	if (in->area == TAINT_AREA_SAVE)
		area_save(t, in);
	else if (in->area == TAINT_AREA_RESTORE)
		area_restore(t, in);
	else
		tell_accesses(t, in, &run);
	return read_out(t, ret);
}
