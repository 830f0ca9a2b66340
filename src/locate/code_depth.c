/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How deep the stack is at each instruction of a function: a data-flow walk over rsp and rbp. */
#include <stdlib.h>
#include <string.h>

#include "locate/code_internal.h"

struct walk {
	const struct code_fn *fn;
	struct code_depth *depth;
	uint32_t *todo; /* stack of instruction numbers; each at most once */
	bool *queued;
	uint32_t n_todo;
};

static void forget(struct code_depth *d, uint8_t gpr)
{
	if (gpr == X86_RSP)
		d->rsp_known = false;
	if (gpr == X86_RBP)
		d->rbp_known = false;
}

/* Bytes of an address in the code that the instruction is of. */
static int64_t word(const struct x86_insn *in)
{
	return in->i.machine_mode == ZYDIS_MACHINE_MODE_LONG_64 ? 8 : 4;
}

static void do_push(struct code_depth *d, const struct x86_insn *in)
{
	d->rsp += in->i.operand_width == 16 ? 2 : word(in);
}

static void do_pop(struct code_depth *d, const struct x86_insn *in)
{
	d->rsp -= in->i.operand_width == 16 ? 2 : word(in);
	if (in->op[0].type == ZYDIS_OPERAND_TYPE_REGISTER)
		forget(d, x86_gpr(in->op[0].reg.value));
}

static void do_leave(struct code_depth *d, const struct x86_insn *in)
{
	d->rsp = d->rbp - word(in);
	d->rsp_known = d->rbp_known;
	d->rbp_known = false;
}

/* add and sub of a constant; anything else in that place makes the register unknown. */
static void add_constant(struct code_depth *d, const struct x86_insn *in, int sign)
{
	uint8_t gpr = in->op[0].type == ZYDIS_OPERAND_TYPE_REGISTER ? x86_gpr(in->op[0].reg.value) : X86_NO_REG;

	if (in->op[1].type != ZYDIS_OPERAND_TYPE_IMMEDIATE || in->op[0].size != 8 * word(in))
		forget(d, gpr);
	else if (gpr == X86_RSP)
		d->rsp -= sign * in->op[1].imm.value.s;
	else if (gpr == X86_RBP)
		d->rbp -= sign * in->op[1].imm.value.s;
}

static void do_add(struct code_depth *d, const struct x86_insn *in)
{
	add_constant(d, in, 1);
}

static void do_sub(struct code_depth *d, const struct x86_insn *in)
{
	add_constant(d, in, -1);
}

/* dst = src + disp, for mov and lea. */
static void assign(struct code_depth *d, uint8_t dst, uint8_t src, int64_t disp)
{
	bool known = src == X86_RSP ? d->rsp_known : src == X86_RBP && d->rbp_known;
	int64_t v = (src == X86_RSP ? d->rsp : d->rbp) - disp;

	if (dst == X86_RSP) {
		d->rsp_known = known;
		d->rsp = v;
	} else if (dst == X86_RBP) {
		d->rbp_known = known;
		d->rbp = v;
	}
}

static void do_mov(struct code_depth *d, const struct x86_insn *in)
{
	uint8_t src = X86_NO_REG;

	if (in->op[0].type != ZYDIS_OPERAND_TYPE_REGISTER)
		return;
	if (in->op[1].type == ZYDIS_OPERAND_TYPE_REGISTER && in->op[1].size == 8 * word(in))
		src = x86_gpr(in->op[1].reg.value);
	assign(d, x86_gpr(in->op[0].reg.value), src, 0);
}

static void do_lea(struct code_depth *d, const struct x86_insn *in)
{
	bool simple = in->op[1].mem.index == ZYDIS_REGISTER_NONE && in->op[0].size == 8 * word(in) &&
		      in->i.address_width == 8 * word(in);

	assign(d, x86_gpr(in->op[0].reg.value), simple ? x86_gpr(in->op[1].mem.base) : X86_NO_REG,
	       in->op[1].mem.disp.value);
}

static void do_call(struct code_depth *d, const struct x86_insn *in)
{
	(void)d; /* comes back with both as they were */
	(void)in;
}

static const struct {
	uint16_t mnemonic;
	void (*run)(struct code_depth *d, const struct x86_insn *in);
} effects[] = {
	{ZYDIS_MNEMONIC_PUSH, do_push}, {ZYDIS_MNEMONIC_POP, do_pop},	{ZYDIS_MNEMONIC_LEAVE, do_leave},
	{ZYDIS_MNEMONIC_ADD, do_add},	{ZYDIS_MNEMONIC_SUB, do_sub},	{ZYDIS_MNEMONIC_MOV, do_mov},
	{ZYDIS_MNEMONIC_LEA, do_lea},	{ZYDIS_MNEMONIC_CALL, do_call},
};

static void apply(struct code_depth *d, const struct x86_insn *in)
{
	for (size_t k = 0; k < sizeof(effects) / sizeof(effects[0]); k++) {
		if (in->i.mnemonic == effects[k].mnemonic) {
			effects[k].run(d, in);
			return;
		}
	}
	for (unsigned k = 0; k < in->i.operand_count; k++)
		if (in->op[k].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    (in->op[k].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE))
			forget(d, x86_gpr(in->op[k].reg.value));
}

/* What is known at instruction k if it is also reached with *from. Queued again if that is less than before. */
static void arrive(struct walk *w, uint32_t k, const struct code_depth *from)
{
	struct code_depth *d = &w->depth[k];
	struct code_depth old = *d;

	if (!d->reached) {
		*d = *from;
		d->reached = true;
	} else {
		d->rsp_known = d->rsp_known && from->rsp_known && d->rsp == from->rsp;
		d->rbp_known = d->rbp_known && from->rbp_known && d->rbp == from->rbp;
	}
	if (old.reached && old.rsp_known == d->rsp_known && old.rbp_known == d->rbp_known)
		return;
	if (!w->queued[k]) {
		w->queued[k] = true;
		w->todo[w->n_todo++] = k;
	}
}

static void arrive_at(struct walk *w, uint64_t target, const struct code_depth *from)
{
	const struct code_insn *ci = code_fn_insn(w->fn, gva(target));

	if (ci)
		arrive(w, (uint32_t)(ci - w->fn->insn), from);
}

static void step(struct walk *w, uint32_t k)
{
	const struct code_insn *ci = &w->fn->insn[k];
	struct code_depth d = w->depth[k];
	struct x86_insn in;

	if (!code_fn_decode(w->fn, k, &in))
		return;
	apply(&d, &in);
	if (ci->flow == CODE_CALL && ci->target == w->fn->start.v + ci->off + ci->len)
		do_push(&d, &in); /* a call of the next instruction, which pops its own address */
	if (ci->flow == CODE_BRANCH || ci->flow == CODE_JUMP)
		arrive_at(w, ci->target, &d);
	if (ci->flow == CODE_TABLE)
		for (uint32_t i = 0; i < w->fn->n_insn; i++)
			if (w->fn->mark[w->fn->insn[i].off] & CODE_MARK_TARGET)
				arrive(w, i, &d);
	if ((ci->flow == CODE_NEXT || ci->flow == CODE_BRANCH || ci->flow == CODE_CALL) && k + 1 < w->fn->n_insn)
		arrive(w, k + 1, &d);
}

void code_fn_depths(const struct code_fn *fn, const struct code_depth *entry, struct code_depth *ret)
{
	struct walk w = {.fn = fn, .depth = ret};

	memset(ret, 0, fn->n_insn * sizeof(*ret));
	w.todo = calloc(fn->n_insn, sizeof(*w.todo));
	w.queued = calloc(fn->n_insn, sizeof(*w.queued));
	if (w.todo && w.queued && fn->n_insn) {
		arrive(&w, 0, entry);
		while (w.n_todo) {
			uint32_t k = w.todo[--w.n_todo];

			w.queued[k] = false;
			step(&w, k);
		}
	}
	free(w.todo);
	free(w.queued);
}

struct code_depth *code_fn_depths_of_call(const struct code_fn *fn)
{
	const struct code_depth entry = {.rsp_known = true, .rsp = fn->mode / 8};
	struct code_depth *ret = calloc(fn->n_insn, sizeof(*ret));

	if (ret)
		code_fn_depths(fn, &entry, ret);
	return ret;
}

bool code_depth_slot(const struct code_depth *d, uint8_t base, int64_t disp, int64_t *ret)
{
	if (!d->reached)
		return false;
	if (base == X86_RSP && d->rsp_known)
		*ret = disp - d->rsp;
	else if (base == X86_RBP && d->rbp_known)
		*ret = disp - d->rbp;
	else
		return false;
	return true;
}
