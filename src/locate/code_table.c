/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Jump tables, as gcc and clang write them for switch statements:
 *
 *   absolute   jmp [reg*8 + table], or mov r, [reg*8 + table] ... jmp r; 8-byte addresses
 *   relative   lea b, [rip + table]; movsxd r, [b + reg*4]; add r, b; jmp r; 4-byte distances from the table
 *
 * and in 32-bit code, with 4-byte addresses and
 *
 *   relative   mov r, [b + reg*4 + table - got]; add r, b; jmp r, or add b, [b + reg*4 + table - got]; jmp b;
 *              distances from the GOT, whose address is in b
 *
 * An indirect jump may also be a call at the function's end: then the stack is as it was at the beginning, and the target is one
 * pointer, without an index.
 *
 * More entries may be read than the table has: too many arrivals only cost a choice of window, too few
 * would break the program. At least as many as the bounds check before the jump lets through must make sense.
 */
#include <stdlib.h>

#include "locate/code_internal.h"

#define LOOK_BACK 24 /* instructions */
#define ENTRIES_MAX 4096

struct table {
	uint64_t at;
	bool relative;
	uint64_t origin; /* relative: what the distances are from */
	uint32_t sure; /* entries that must make sense; 0: unknown */
};

static int not_understood(const struct code_fn *fn, uint32_t k, struct err *e)
{
	uint64_t at = fn->start.v + fn->insn[k].off;

	return err_set_addr(e, ERR_REFUSED, at, "where the indirect jump at 0x%llx leads is not understood",
			    (unsigned long long)at);
}

/* An address given as [reg*8 + disp32], reg*4 in 32-bit code. */
static bool is_absolute_table(const struct code_fn *fn, const ZydisDecodedOperand *op, uint64_t *ret)
{
	if (op->type != ZYDIS_OPERAND_TYPE_MEMORY || op->mem.base != ZYDIS_REGISTER_NONE ||
	    op->mem.index == ZYDIS_REGISTER_NONE || op->mem.scale != fn->mode / 8)
		return false;
	*ret = (uint64_t)op->mem.disp.value;
	if (fn->mode == X86_MODE_32)
		*ret = (uint32_t)*ret;
	return true;
}

/* The last instruction before k, at most n back, that writes gpr: its number, or k if there is none. */
static uint32_t last_write(const struct code_fn *fn, uint32_t k, uint32_t n, uint8_t gpr, struct x86_insn *ret)
{
	for (uint32_t i = k; i > 0 && k - i < n; i--)
		if (code_fn_decode(fn, i - 1, ret) && x86_writes_gpr(ret, gpr))
			return i - 1;
	return k;
}

/* The table's address in one of two registers: the nearest lea r, [rip + table] before k. */
static bool find_base(const struct code_fn *fn, uint32_t k, uint8_t a, uint8_t b, uint64_t *ret)
{
	struct x86_insn in;

	for (uint32_t i = k; i > 0; i--) {
		uint8_t gpr;

		if (!code_fn_decode(fn, i - 1, &in) || in.i.mnemonic != ZYDIS_MNEMONIC_LEA ||
		    in.op[1].mem.base != ZYDIS_REGISTER_RIP)
			continue;
		gpr = x86_gpr(in.op[0].reg.value);
		if (gpr == a || gpr == b)
			return x86_relative(&in, fn->start.v + fn->insn[i - 1].off, ret);
	}
	return false;
}

static bool loads_distance(const struct x86_insn *in)
{
	return (in->i.mnemonic == ZYDIS_MNEMONIC_MOVSXD || in->i.mnemonic == ZYDIS_MNEMONIC_MOV) &&
	       in->op[0].type == ZYDIS_OPERAND_TYPE_REGISTER && in->op[1].type == ZYDIS_OPERAND_TYPE_MEMORY &&
	       in->op[1].size == 32;
}

/*
 * What 32-bit code adds to its own address to find the GOT: call thunk (or call next; pop r); add r, distance.
 * The nearest before k whose sum is in gpr.
 */
static bool find_got(const struct code_fn *fn, uint32_t k, uint8_t gpr, uint64_t *ret)
{
	struct x86_insn in;

	for (uint32_t i = k; i > 1; i--) {
		uint32_t c = i - 2;

		if (!code_fn_decode(fn, i - 1, &in) || in.i.mnemonic != ZYDIS_MNEMONIC_ADD ||
		    in.op[0].type != ZYDIS_OPERAND_TYPE_REGISTER || x86_gpr(in.op[0].reg.value) != gpr ||
		    in.op[1].type != ZYDIS_OPERAND_TYPE_IMMEDIATE)
			continue;
		*ret = in.op[1].imm.value.u;
		if (c && fn->insn[c].flow != CODE_CALL && code_fn_decode(fn, c, &in) &&
		    in.i.mnemonic == ZYDIS_MNEMONIC_POP)
			c--;
		if (fn->insn[c].flow != CODE_CALL)
			continue;
		*ret = (uint32_t)(*ret + fn->start.v + fn->insn[c].off + fn->insn[c].len);
		return true;
	}
	return false;
}

/* 32-bit: the table is at [got + index*4 + disp] (or the index was scaled before), its distances are from the GOT. */
static bool got_table(const struct code_fn *fn, uint32_t k, const ZydisDecodedOperand *entry, uint8_t got,
		      struct table *ret)
{
	bool in_base = x86_gpr(entry->mem.base) == got && (entry->mem.scale == 4 || entry->mem.scale == 1);
	bool in_index = x86_gpr(entry->mem.index) == got && entry->mem.scale == 1;

	if (entry->mem.index == ZYDIS_REGISTER_NONE || !(in_base || in_index) || !find_got(fn, k, got, &ret->origin))
		return false;
	ret->relative = true;
	ret->at = (uint32_t)(ret->origin + (uint64_t)entry->mem.disp.value);
	return true;
}

/* The table that a load of a distance names, of which `gpr` and `other` are the base, in either order. */
static bool relative_table(const struct code_fn *fn, uint32_t k, const struct x86_insn *load, uint8_t gpr,
			   uint8_t other, struct table *ret)
{
	if (fn->mode == X86_MODE_32)
		return got_table(fn, k, &load->op[1], x86_gpr(load->op[0].reg.value) == gpr ? other : gpr, ret);
	if (!find_base(fn, k, gpr, other, &ret->at))
		return false;
	ret->relative = true;
	ret->origin = ret->at;
	return true;
}

static bool find_table(const struct code_fn *fn, uint32_t k, struct table *ret)
{
	struct x86_insn in, load;
	uint8_t gpr, other;
	uint32_t w;

	if (!code_fn_decode(fn, k, &in))
		return false;
	if (is_absolute_table(fn, &in.op[0], &ret->at))
		return true;
	if (in.op[0].type != ZYDIS_OPERAND_TYPE_REGISTER)
		return false;
	gpr = x86_gpr(in.op[0].reg.value);
	w = last_write(fn, k, LOOK_BACK, gpr, &in);
	if (w == k)
		return false;
	if (in.i.mnemonic == ZYDIS_MNEMONIC_MOV)
		return is_absolute_table(fn, &in.op[1], &ret->at);
	if (in.i.mnemonic == ZYDIS_MNEMONIC_ADD && in.op[1].type == ZYDIS_OPERAND_TYPE_MEMORY &&
	    fn->mode == X86_MODE_32)
		return got_table(fn, w, &in.op[1], gpr, ret);
	if (in.i.mnemonic != ZYDIS_MNEMONIC_ADD || in.op[1].type != ZYDIS_OPERAND_TYPE_REGISTER)
		return false;
	other = x86_gpr(in.op[1].reg.value);
	for (uint32_t i = w; i > 0 && w - i < 8; i--)
		if (code_fn_decode(fn, i - 1, &load) && loads_distance(&load))
			return relative_table(fn, w, &load, gpr, other, ret);
	return false;
}

/* Entries that the bounds check before the jump lets through: cmp x, n; ja (or jae) elsewhere. */
static uint32_t bounds_check(const struct code_fn *fn, uint32_t k)
{
	struct x86_insn cmp, jcc;

	for (uint32_t i = k; i > 1 && k - i < LOOK_BACK; i--) {
		uint64_t n;

		if (fn->insn[i - 1].flow != CODE_BRANCH || !code_fn_decode(fn, i - 1, &jcc) ||
		    !code_fn_decode(fn, i - 2, &cmp) || cmp.i.mnemonic != ZYDIS_MNEMONIC_CMP ||
		    cmp.op[1].type != ZYDIS_OPERAND_TYPE_IMMEDIATE)
			continue;
		n = cmp.op[1].imm.value.u;
		if (n >= ENTRIES_MAX)
			continue;
		if (jcc.i.mnemonic == ZYDIS_MNEMONIC_JNBE)
			return (uint32_t)n + 1;
		if (jcc.i.mnemonic == ZYDIS_MNEMONIC_JNB)
			return (uint32_t)n;
	}
	return 0;
}

static bool read_entry(const struct code_fn *fn, const struct code_text *text, const struct table *t, uint32_t i,
		       uint64_t *ret)
{
	unsigned word = fn->mode / 8;
	int32_t distance;

	*ret = 0;
	if (!t->relative)
		return code_read(text->rd, gva(t->at + (uint64_t)word * i), ret, word);
	if (!code_read(text->rd, gva(t->at + 4ull * i), &distance, 4))
		return false;
	*ret = t->origin + (uint64_t)(int64_t)distance;
	return true;
}

/* An entry makes sense if it is an instruction of the function, or code outside it (its cold part). */
static bool makes_sense(const struct code_fn *fn, const struct code_text *text, uint64_t target)
{
	uint64_t off = target - fn->start.v;

	if (off < fn->size)
		return fn->mark[off] & CODE_MARK_INSN;
	return target >= text->low.v && target < text->high.v;
}

/* What compilers fill gaps with: it does nothing. */
static bool is_padding(const struct x86_insn *in)
{
	const ZydisDecodedOperand *op = in->op;

	switch (in->i.mnemonic) {
	case ZYDIS_MNEMONIC_NOP:
	case ZYDIS_MNEMONIC_INT3:
		return true;
	case ZYDIS_MNEMONIC_MOV:
	case ZYDIS_MNEMONIC_XCHG:
		return op[1].type == ZYDIS_OPERAND_TYPE_REGISTER && op[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		       op[0].reg.value == op[1].reg.value;
	case ZYDIS_MNEMONIC_LEA:
		return op[1].mem.base == op[0].reg.value && !op[1].mem.disp.value;
	default:
		return false;
	}
}

/* Whether there is code to which no way is known: an indirect jump may lead there. */
static bool has_unreached(const struct code_fn *fn, const struct code_depth *depth)
{
	struct x86_insn in;

	for (uint32_t k = 0; k < fn->n_insn; k++)
		if (!depth[k].reached && (!code_fn_decode(fn, k, &in) || !is_padding(&in)))
			return true;
	return false;
}

/* One word of memory, not one of several by an index. */
static bool is_single(const ZydisDecodedOperand *op)
{
	return op->type == ZYDIS_OPERAND_TYPE_MEMORY && op->mem.index == ZYDIS_REGISTER_NONE;
}

static bool jumps_by_one_pointer(const struct code_fn *fn, uint32_t k)
{
	struct x86_insn in, load;

	if (!code_fn_decode(fn, k, &in))
		return false;
	if (in.op[0].type != ZYDIS_OPERAND_TYPE_REGISTER)
		return is_single(&in.op[0]);
	return last_write(fn, k, LOOK_BACK, x86_gpr(in.op[0].reg.value), &load) != k &&
	       load.i.mnemonic == ZYDIS_MNEMONIC_MOV && is_single(&load.op[1]);
}

/* Whether the indirect jump k is a call at the function's end. */
static bool is_tail_call(const struct code_fn *fn, uint32_t k)
{
	struct code_depth *depth;
	bool is;

	if (!jumps_by_one_pointer(fn, k))
		return false;
	depth = code_fn_depths_of_call(fn);
	if (!depth)
		return false;
	is = depth[k].reached && depth[k].rsp_known && depth[k].rsp == fn->mode / 8 && !has_unreached(fn, depth);
	free(depth);
	return is;
}

/* Whether the operand names one pointer, not one of several. */
static bool is_one_pointer(const struct code_fn *fn, const ZydisDecodedOperand *op)
{
	return op->type == ZYDIS_OPERAND_TYPE_MEMORY &&
	       (op->mem.base == ZYDIS_REGISTER_RIP ||
		(fn->mode == X86_MODE_32 && op->mem.index == ZYDIS_REGISTER_NONE));
}

int code_table_follow(struct code_fn *fn, const struct code_text *text, uint32_t k, struct err *e)
{
	struct table t = {0};
	struct x86_insn in;
	uint32_t n = 0;

	if (code_fn_decode(fn, k, &in) && is_one_pointer(fn, &in.op[0]))
		return 0; /* a call at the function's end, not a table */
	if (!find_table(fn, k, &t))
		return is_tail_call(fn, k) ? 0 : not_understood(fn, k, e);
	t.sure = bounds_check(fn, k);
	for (; n < ENTRIES_MAX; n++) {
		uint64_t target;

		if (!read_entry(fn, text, &t, n, &target) || !makes_sense(fn, text, target))
			break;
		if (n >= t.sure && t.sure && target - fn->start.v >= fn->size)
			break;
		code_fn_add_target(fn, gva(target));
	}
	if (!n || n < t.sure)
		return not_understood(fn, k, e);
	fn->insn[k].flow = CODE_TABLE;
	return 0;
}
