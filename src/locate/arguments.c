/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Walking back from a call to where an argument came from. */
#include "locate/arguments.h"

#include "locate/code_internal.h"

#define BACK_MAX 48u /* instructions */

const uint8_t arguments_in_registers[ARGUMENTS_IN_REGISTERS] = {7, 6, 2, 1, 8, 9};

struct trace {
	const struct code_fn *fn;
	const struct code_depth *depth;
	uint32_t call;
	uint8_t gpr; /* what is looked for: a register, */
	int64_t slot; /* or, if that is X86_NO_REG, a word of the stack at this distance from the CFA */
	struct argument found;
	struct argument kept; /* what it is at the call, if the search finds nothing */
};

static bool is_callee_saved(const struct trace *t, uint8_t gpr)
{
	static const uint16_t saved64 = 1u << 3 | 1u << 5 | 0xf000u, saved32 = 1u << 3 | 1u << 5 | 1u << 6 | 1u << 7;

	return gpr < 16 && ((t->fn->mode == X86_MODE_64 ? saved64 : saved32) >> gpr & 1);
}

/* Whether instructions [first, end) leave a register as it is; calls do with those that they keep. */
static bool leave_alone(const struct trace *t, uint32_t first, uint32_t end, uint8_t gpr)
{
	for (uint32_t k = first; k < end; k++) {
		struct x86_insn in;

		if (t->fn->insn[k].flow == CODE_CALL) {
			if (!is_callee_saved(t, gpr))
				return false;
		} else if (!code_fn_decode(t->fn, k, &in) || x86_writes_gpr(&in, gpr)) {
			return false;
		}
	}
	return true;
}

/* A register's content at instruction k is its content at the call too, and the frame's who called still tells it. */
static bool is_kept(const struct trace *t, uint32_t k, uint8_t gpr)
{
	return is_callee_saved(t, gpr) && leave_alone(t, k, t->call, gpr);
}

/* The source is a register: its place in the frame, or the search goes on for it. true: found. */
static bool from_register(struct trace *t, uint32_t k, ZydisRegister reg)
{
	if (code_depth_slot(&t->depth[k], x86_gpr(reg), 0, &t->found.value)) {
		t->found.kind = ARGUMENT_FRAME;
		return true;
	}
	t->gpr = x86_gpr(reg);
	if (is_kept(t, k, t->gpr))
		t->kept = (struct argument){ARGUMENT_REGISTER, 0, t->gpr};
	return t->gpr == X86_NO_REG;
}

/* The word in memory that an operand names, as it is at the call. */
static void from_memory(struct trace *t, uint32_t k, const ZydisDecodedOperand *op)
{
	const struct code_insn *ci = &t->fn->insn[k];
	int64_t disp = op->mem.disp.value, at;
	uint8_t base = x86_gpr(op->mem.base);

	if (op->mem.index != ZYDIS_REGISTER_NONE || op->mem.segment == ZYDIS_REGISTER_FS ||
	    op->mem.segment == ZYDIS_REGISTER_GS)
		return;
	if (op->mem.base == ZYDIS_REGISTER_RIP)
		t->found = (struct argument){ARGUMENT_WORD, (int64_t)(t->fn->start.v + ci->off + ci->len) + disp, 0};
	else if (op->mem.base == ZYDIS_REGISTER_NONE)
		t->found = (struct argument){ARGUMENT_WORD, disp, 0};
	else if (code_depth_slot(&t->depth[k], x86_gpr(op->mem.base), disp, &at))
		t->found = (struct argument){ARGUMENT_FRAME_WORD, at, 0};
	else if (is_kept(t, k, base))
		t->found = (struct argument){ARGUMENT_REGISTER_WORD, disp, base};
}

static bool from_operand(struct trace *t, uint32_t k, const ZydisDecodedOperand *op)
{
	if (op->type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
		t->found = (struct argument){ARGUMENT_CONSTANT, op->imm.value.s, 0};
		return true;
	}
	if (op->type == ZYDIS_OPERAND_TYPE_MEMORY)
		from_memory(t, k, op);
	return op->type != ZYDIS_OPERAND_TYPE_REGISTER || from_register(t, k, op->reg.value);
}

static bool from_lea(struct trace *t, uint32_t k, const struct x86_insn *in)
{
	const ZydisDecodedOperand *op = &in->op[1];
	uint64_t at;

	if (x86_relative(in, t->fn->start.v + t->fn->insn[k].off, &at))
		t->found = (struct argument){ARGUMENT_CONSTANT, (int64_t)at, 0};
	else if (op->mem.index != ZYDIS_REGISTER_NONE)
		return true;
	else if (code_depth_slot(&t->depth[k], x86_gpr(op->mem.base), op->mem.disp.value, &t->found.value))
		t->found.kind = ARGUMENT_FRAME;
	else if (is_kept(t, k, x86_gpr(op->mem.base)))
		t->found = (struct argument){ARGUMENT_REGISTER, op->mem.disp.value, x86_gpr(op->mem.base)};
	return true;
}

/* Instruction k copies the register that is looked for to where its content is told at the call. */
static void note_copy(struct trace *t, uint32_t k, const struct x86_insn *in)
{
	const ZydisDecodedOperand *to = &in->op[0];
	uint8_t gpr = to->type == ZYDIS_OPERAND_TYPE_REGISTER ? x86_gpr(to->reg.value) : X86_NO_REG;
	int64_t at;

	if (t->kept.kind != ARGUMENT_UNKNOWN || in->i.mnemonic != ZYDIS_MNEMONIC_MOV ||
	    in->op[1].type != ZYDIS_OPERAND_TYPE_REGISTER || x86_gpr(in->op[1].reg.value) != t->gpr)
		return;
	if (is_kept(t, k + 1, gpr))
		t->kept = (struct argument){ARGUMENT_REGISTER, 0, gpr};
	else if (to->type == ZYDIS_OPERAND_TYPE_MEMORY && to->mem.index == ZYDIS_REGISTER_NONE &&
		 code_depth_slot(&t->depth[k], x86_gpr(to->mem.base), to->mem.disp.value, &at))
		t->kept = (struct argument){ARGUMENT_FRAME_WORD, at, 0};
}

/* Instruction k while a register is looked for. true: the search is over. */
static bool step_register(struct trace *t, uint32_t k, const struct x86_insn *in)
{
	if (!x86_writes_gpr(in, t->gpr)) {
		note_copy(t, k, in);
		return false;
	}
	if (in->i.mnemonic == ZYDIS_MNEMONIC_LEA)
		return from_lea(t, k, in);
	if (in->i.mnemonic == ZYDIS_MNEMONIC_MOV)
		return from_operand(t, k, &in->op[1]);
	if (in->i.mnemonic == ZYDIS_MNEMONIC_XOR && in->op[1].type == ZYDIS_OPERAND_TYPE_REGISTER &&
	    in->op[0].reg.value == in->op[1].reg.value)
		t->found = (struct argument){ARGUMENT_CONSTANT, 0, 0};
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
	    !code_depth_slot(d, x86_gpr(in->op[0].mem.base), in->op[0].mem.disp.value, &at))
		return false;
	return at == t->slot && from_operand(t, k, &in->op[1]);
}

/* Whether a branch from the call or behind it leads back to before it. */
static bool in_loop(const struct trace *t)
{
	for (uint32_t k = t->call; k < t->fn->n_insn; k++) {
		const struct code_insn *ci = &t->fn->insn[k];

		if (ci->flow == CODE_TABLE)
			return true;
		if ((ci->flow == CODE_BRANCH || ci->flow == CODE_JUMP) && ci->target >= t->fn->start.v &&
		    ci->target <= t->fn->start.v + t->fn->insn[t->call].off)
			return true;
	}
	return false;
}

/* Whether instructions [0, end] run one after the other whenever the function is called. */
static bool runs_first(const struct trace *t, uint32_t end)
{
	for (uint32_t k = 0; k <= end; k++)
		if ((k && t->fn->mark[t->fn->insn[k].off] & CODE_MARK_TARGET) || t->fn->insn[k].flow != CODE_NEXT)
			return false;
	return true;
}

/* *gpr is written once before instruction k, at the function's beginning: by a copy of another, which it becomes. */
static uint32_t before_copy(const struct trace *t, uint32_t k, uint8_t *gpr)
{
	struct x86_insn in;
	uint32_t at = 0;

	while (at < k && leave_alone(t, at, at + 1, *gpr))
		at++;
	if (at == k || !runs_first(t, at) || !leave_alone(t, at + 1, k, *gpr) || !code_fn_decode(t->fn, at, &in) ||
	    in.i.mnemonic != ZYDIS_MNEMONIC_MOV || in.op[1].type != ZYDIS_OPERAND_TYPE_REGISTER)
		return k;
	*gpr = x86_gpr(in.op[1].reg.value);
	return at;
}

/* The register is still what the function was called with: nothing before instruction k writes it. */
static void try_parameter(struct trace *t, uint32_t k)
{
	uint8_t gpr = t->gpr;
	uint32_t end;

	if (t->fn->mode != X86_MODE_64 || gpr == X86_NO_REG)
		return;
	end = before_copy(t, k, &gpr);
	for (unsigned n = 0; n < ARGUMENTS_IN_REGISTERS; n++)
		if (arguments_in_registers[n] == gpr && leave_alone(t, 0, end, gpr) && !in_loop(t))
			t->found = (struct argument){ARGUMENT_PARAMETER, n, 0};
}

static void walk_back(struct trace *t)
{
	uint32_t k = t->call;

	for (; k > 0 && t->call - k < BACK_MAX; k--) {
		const struct code_insn *ci = &t->fn->insn[k - 1];
		struct x86_insn in;

		/* another way leads to what comes after this instruction, or none from it */
		if ((t->fn->mark[t->fn->insn[k].off] & CODE_MARK_TARGET) || ci->flow == CODE_JUMP ||
		    ci->flow == CODE_TABLE || ci->flow == CODE_STOP || !code_fn_decode(t->fn, k - 1, &in))
			break;
		if (ci->flow == CODE_CALL && !is_callee_saved(t, t->gpr))
			return;
		if (ci->flow == CODE_CALL || ci->flow == CODE_BRANCH)
			continue;
		if (t->gpr == X86_NO_REG ? step_slot(t, k - 1, &in) : step_register(t, k - 1, &in))
			return;
	}
	try_parameter(t, k);
}

struct argument argument_of_call(const struct code_fn *fn, const struct code_depth *depth, uint32_t call, unsigned n)
{
	struct trace t = {.fn = fn, .depth = depth, .call = call, .gpr = X86_NO_REG};

	if (fn->mode == X86_MODE_64) {
		if (n >= ARGUMENTS_IN_REGISTERS)
			return t.found;
		t.gpr = arguments_in_registers[n];
	} else {
		if (!depth[call].reached || !depth[call].rsp_known)
			return t.found;
		t.slot = 4 * (int64_t)n - depth[call].rsp;
		if (fn->insn[call].flow == CODE_JUMP) /* the return address is there already */
			t.slot += 4;
	}
	walk_back(&t);
	/* memory may have changed since it was read, the register has not */
	return t.kept.kind == ARGUMENT_UNKNOWN || t.found.kind == ARGUMENT_CONSTANT || t.found.kind == ARGUMENT_FRAME
		       ? t.found
		       : t.kept;
}
