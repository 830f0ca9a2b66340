/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Walking back from a call to where an argument came from. */
#include "locate/arguments.h"

#include "locate/code_internal.h"

#define BACK_MAX 48u /* instructions */

struct trace {
	const struct code_fn *fn;
	const struct code_depth *depth;
	uint8_t gpr; /* what is looked for: a register, */
	int64_t slot; /* or, if that is X86_NO_REG, a word of the stack at this distance from the CFA */
	struct argument found;
};

static bool is_callee_saved(const struct trace *t)
{
	static const uint16_t saved64 = 1u << 3 | 1u << 5 | 0xf000u, saved32 = 1u << 3 | 1u << 5 | 1u << 6 | 1u << 7;

	return t->gpr != X86_NO_REG && ((t->fn->mode == X86_MODE_64 ? saved64 : saved32) >> t->gpr & 1);
}

/* base + disp as a distance from the CFA. */
static bool frame_address(const struct code_depth *d, ZydisRegister base, int64_t disp, int64_t *ret)
{
	uint8_t gpr = x86_gpr(base);

	if (!d->reached)
		return false;
	if (gpr == X86_RSP && d->rsp_known)
		*ret = disp - d->rsp;
	else if (gpr == X86_RBP && d->rbp_known)
		*ret = disp - d->rbp;
	else
		return false;
	return true;
}

/* The source is a register: its place in the frame, or the search goes on for it. true: found. */
static bool from_register(struct trace *t, uint32_t k, ZydisRegister reg)
{
	if (frame_address(&t->depth[k], reg, 0, &t->found.value)) {
		t->found.kind = ARGUMENT_FRAME;
		return true;
	}
	t->gpr = x86_gpr(reg);
	return t->gpr == X86_NO_REG;
}

static bool from_operand(struct trace *t, uint32_t k, const ZydisDecodedOperand *op)
{
	if (op->type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
		t->found = (struct argument){ARGUMENT_CONSTANT, op->imm.value.s};
		return true;
	}
	return op->type != ZYDIS_OPERAND_TYPE_REGISTER || from_register(t, k, op->reg.value);
}

static bool from_lea(struct trace *t, uint32_t k, const struct x86_insn *in)
{
	const ZydisDecodedOperand *op = &in->op[1];
	uint64_t at;

	if (x86_relative(in, t->fn->start.v + t->fn->insn[k].off, &at))
		t->found = (struct argument){ARGUMENT_CONSTANT, (int64_t)at};
	else if (op->mem.index == ZYDIS_REGISTER_NONE &&
		 frame_address(&t->depth[k], op->mem.base, op->mem.disp.value, &t->found.value))
		t->found.kind = ARGUMENT_FRAME;
	return true;
}

static bool writes_gpr(const struct x86_insn *in, uint8_t gpr)
{
	for (unsigned i = 0; i < in->i.operand_count; i++)
		if (in->op[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    (in->op[i].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) && x86_gpr(in->op[i].reg.value) == gpr)
			return true;
	return false;
}

/* Instruction k while a register is looked for. true: the search is over. */
static bool step_register(struct trace *t, uint32_t k, const struct x86_insn *in)
{
	if (!writes_gpr(in, t->gpr))
		return false;
	if (in->i.mnemonic == ZYDIS_MNEMONIC_LEA)
		return from_lea(t, k, in);
	if (in->i.mnemonic == ZYDIS_MNEMONIC_MOV)
		return from_operand(t, k, &in->op[1]);
	if (in->i.mnemonic == ZYDIS_MNEMONIC_XOR && in->op[1].type == ZYDIS_OPERAND_TYPE_REGISTER &&
	    in->op[0].reg.value == in->op[1].reg.value)
		t->found = (struct argument){ARGUMENT_CONSTANT, 0};
	return true;
}

/* Instruction k while a word of the stack is looked for: a push, or a mov to it. */
static bool step_slot(struct trace *t, uint32_t k, const struct x86_insn *in)
{
	const struct code_depth *d = &t->depth[k];
	int64_t at;

	if (in->i.mnemonic == ZYDIS_MNEMONIC_PUSH) {
		if (!d->reached || !d->rsp_known)
			return true;
		return -(d->rsp + 4) == t->slot && from_operand(t, k, &in->op[0]);
	}
	if (in->i.mnemonic != ZYDIS_MNEMONIC_MOV || in->op[0].type != ZYDIS_OPERAND_TYPE_MEMORY ||
	    in->op[0].mem.index != ZYDIS_REGISTER_NONE ||
	    !frame_address(d, in->op[0].mem.base, in->op[0].mem.disp.value, &at))
		return false;
	return at == t->slot && from_operand(t, k, &in->op[1]);
}

static void walk_back(struct trace *t, uint32_t call)
{
	for (uint32_t k = call; k > 0 && call - k < BACK_MAX; k--) {
		const struct code_insn *ci = &t->fn->insn[k - 1];
		struct x86_insn in;

		/* another way leads to what comes after this instruction, or none from it */
		if ((t->fn->mark[t->fn->insn[k].off] & CODE_MARK_TARGET) || ci->flow == CODE_JUMP ||
		    ci->flow == CODE_TABLE || ci->flow == CODE_STOP || !code_fn_decode(t->fn, k - 1, &in))
			return;
		if (ci->flow == CODE_CALL && !is_callee_saved(t))
			return;
		if (ci->flow == CODE_CALL || ci->flow == CODE_BRANCH)
			continue;
		if (t->gpr == X86_NO_REG ? step_slot(t, k - 1, &in) : step_register(t, k - 1, &in))
			return;
	}
}

struct argument argument_of_call(const struct code_fn *fn, const struct code_depth *depth, uint32_t call, unsigned n)
{
	static const uint8_t registers[] = {7, 6, 2, 1, 8, 9};
	struct trace t = {.fn = fn, .depth = depth, .gpr = X86_NO_REG};

	if (fn->mode == X86_MODE_64) {
		if (n >= sizeof(registers))
			return t.found;
		t.gpr = registers[n];
	} else {
		if (!depth[call].reached || !depth[call].rsp_known)
			return t.found;
		t.slot = 4 * (int64_t)n - depth[call].rsp;
	}
	walk_back(&t, call);
	return t.found;
}
