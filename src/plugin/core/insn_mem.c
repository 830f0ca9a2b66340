/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Notes what an instruction does to memory and to the registers that make
 * addresses: where its operands lie, which general registers it writes, and
 * which one it moves by a constant. Callers that know one access of a block
 * then know others that lie at a constant distance from it.
 */
#include "plugin/core/insn_internal.h"

#define RCX 1u
#define RSP 4u

/* Loads longer than this are not taken for look-ups in a table. */
#define LOOKUP_MAX 4u

/* A register as part of an address. */
static uint8_t address_reg(ZydisRegister reg)
{
	switch (ZydisRegisterGetClass(reg)) {
	case ZYDIS_REGCLASS_GPR32:
	case ZYDIS_REGCLASS_GPR64:
		return (uint8_t)(ZydisRegisterGetId(reg) & 15);
	case ZYDIS_REGCLASS_IP:
		return TAINT_GPR_RIP;
	default:
		return TAINT_GPR_NONE;
	}
}

static int written_gpr(const ZydisDecodedOperand *op)
{
	ZydisRegisterClass c;

	if (op->type != ZYDIS_OPERAND_TYPE_REGISTER || !insn_writes(op))
		return -1;
	c = ZydisRegisterGetClass(op->reg.value);
	if (c < ZYDIS_REGCLASS_GPR8 || c > ZYDIS_REGCLASS_GPR64)
		return -1;
	return insn_reg_span(op->reg.value, 1).at / 8;
}

static bool is_hidden(const ZydisDecodedOperand *op)
{
	return op->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN;
}

/* What push, pop, call and the like touch below or above the stack pointer. */
static bool is_stack(const ZydisDecodedOperand *op)
{
	return insn_is_mem(op) && is_hidden(op) && address_reg(op->mem.base) == RSP;
}

static bool is_far(const struct build *b)
{
	return b->zi->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR;
}

static bool is_wild(const struct build *b, const ZydisDecodedOperand *op)
{
	bool bits = b->zi->meta.category == ZYDIS_CATEGORY_BITBYTE && !is_hidden(op) && b->rule->fn == rule_bt;

	return (b->rule->flags & RULE_WILD) || op->mem.type != ZYDIS_MEMOP_TYPE_MEM || b->in->repeats ||
	       (bits && b->ops[1].type == ZYDIS_OPERAND_TYPE_REGISTER) || (is_stack(op) && is_far(b)) ||
	       (b->rule->fn == rule_enter && b->in->has_load) ||
	       b->zi->machine_mode == ZYDIS_MACHINE_MODE_LONG_COMPAT_16;
}

static bool is_touched(const struct build *b, const ZydisDecodedOperand *op)
{
	return insn_is_mem(op) && (insn_reads(op) || insn_writes(op)) &&
	       b->zi->meta.category != ZYDIS_CATEGORY_PREFETCH && b->zi->meta.category != ZYDIS_CATEGORY_NOP &&
	       b->zi->meta.category != ZYDIS_CATEGORY_WIDENOP;
}

static int64_t displacement(const struct build *b, const ZydisDecodedOperand *op)
{
	int64_t size = op->size / 8;

	if (is_stack(op))
		return insn_writes(op) ? -size : 0;
	if (b->rule->fn == rule_pop && address_reg(op->mem.base) == RSP)
		return op->mem.disp.value + size;
	return op->mem.disp.value;
}

static uint8_t segment(const struct build *b, const ZydisDecodedOperand *op)
{
	bool flat = b->zi->machine_mode == ZYDIS_MACHINE_MODE_LONG_64 && op->mem.segment != ZYDIS_REGISTER_FS &&
		    op->mem.segment != ZYDIS_REGISTER_GS;

	return flat ? TAINT_GPR_NONE : (uint8_t)(op->mem.segment - ZYDIS_REGISTER_ES);
}

static struct taint_mem operand(const struct build *b, const ZydisDecodedOperand *op)
{
	unsigned size = op->size / 8u;
	struct taint_mem m = {
		.base = address_reg(op->mem.base),
		.index = address_reg(op->mem.index),
		.scale = op->mem.scale ? op->mem.scale : 1,
		.seg = segment(b, op),
		.size = (uint8_t)(size <= UINT8_MAX ? size : 0),
		.read = insn_reads(op),
		.written = insn_writes(op),
		.known = !is_wild(b, op) && b->zi->address_width >= 32,
		.disp = displacement(b, op),
	};

	if (b->in->area || (b->rule->flags & RULE_WILD))
		m.size = 0;
	if (b->in->area) {
		m.read = b->in->area == TAINT_AREA_RESTORE;
		m.written = b->in->area == TAINT_AREA_SAVE;
	}
	return m;
}

static void note_operands(struct build *b)
{
	struct taint_insn *in = b->in;

	for (unsigned i = 0; i < b->zi->operand_count && in->n_mem < TAINT_INSN_MEMS; i++) {
		struct taint_mem m;

		if (!is_touched(b, &b->ops[i]))
			continue;
		m = operand(b, &b->ops[i]);
		in->updates |= m.read && m.written;
		in->mem[in->n_mem++] = m;
	}
}

static bool is_full(const struct build *b, const ZydisDecodedOperand *op)
{
	return op->type == ZYDIS_OPERAND_TYPE_REGISTER &&
	       ZydisRegisterGetClass(op->reg.value) == (b->zi->machine_mode == ZYDIS_MACHINE_MODE_LONG_64
								? ZYDIS_REGCLASS_GPR64
								: ZYDIS_REGCLASS_GPR32);
}

static void set_delta(struct build *b, unsigned reg, int64_t delta)
{
	if (delta < INT32_MIN || delta > INT32_MAX)
		return;
	b->in->delta_reg = (uint8_t)reg;
	b->in->delta = (int32_t)delta;
}

/* push, pop, call and ret: the stack pointer, unless it is the destination too. */
static void stack_delta(struct build *b)
{
	int64_t delta = 0;

	for (unsigned i = 0; i < b->zi->operand_count; i++) {
		const ZydisDecodedOperand *op = &b->ops[i];

		if (is_stack(op))
			delta = insn_writes(op) ? -(int64_t)(op->size / 8) : op->size / 8;
		else if (!is_hidden(op) && written_gpr(op) == (int)RSP)
			return;
	}
	if (b->rule->fn == rule_ret && b->zi->operand_count_visible)
		delta += (int64_t)(b->ops[0].imm.value.u & 0xffffu);
	if (delta)
		set_delta(b, RSP, delta);
}

static bool moves_stack(const struct build *b)
{
	switch (b->zi->meta.category) {
	case ZYDIS_CATEGORY_PUSH:
	case ZYDIS_CATEGORY_POP:
	case ZYDIS_CATEGORY_CALL:
	case ZYDIS_CATEGORY_RET:
		return !is_far(b) && !(b->rule->flags & RULE_WILD);
	default:
		return false;
	}
}

static void note_delta(struct build *b)
{
	const ZydisDecodedOperand *d = &b->ops[0], *src = &b->ops[1];
	bool imm = src->type == ZYDIS_OPERAND_TYPE_IMMEDIATE;

	if (moves_stack(b)) {
		stack_delta(b);
		return;
	}
	if (!b->zi->operand_count || !is_full(b, d))
		return;
	if (b->zi->mnemonic == ZYDIS_MNEMONIC_ADD && imm)
		set_delta(b, (unsigned)written_gpr(d), src->imm.value.s);
	else if (b->zi->mnemonic == ZYDIS_MNEMONIC_SUB && imm)
		set_delta(b, (unsigned)written_gpr(d), -src->imm.value.s);
	else if (b->zi->mnemonic == ZYDIS_MNEMONIC_INC)
		set_delta(b, (unsigned)written_gpr(d), 1);
	else if (b->zi->mnemonic == ZYDIS_MNEMONIC_DEC)
		set_delta(b, (unsigned)written_gpr(d), -1);
	else if (b->zi->mnemonic == ZYDIS_MNEMONIC_LEA && src->mem.base == d->reg.value &&
		 src->mem.index == ZYDIS_REGISTER_NONE)
		set_delta(b, (unsigned)written_gpr(d), src->mem.disp.value);
}

/* The decoder does not name all that repeated ones count with. */
static uint16_t string_registers(const struct build *b)
{
	uint16_t regs = b->in->repeats ? 1u << RCX : 0;

	if (b->zi->meta.category != ZYDIS_CATEGORY_STRINGOP && b->zi->meta.category != ZYDIS_CATEGORY_IOSTRINGOP)
		return 0;
	for (unsigned i = 0; i < b->zi->operand_count; i++) {
		unsigned reg = insn_is_mem(&b->ops[i]) ? address_reg(b->ops[i].mem.base) : TAINT_GPR_NONE;

		if (reg < 16)
			regs |= (uint16_t)(1u << reg);
	}
	return regs;
}

/* Kinds of instructions that raise exceptions of their own, and mnemonics of other kinds that do. */
static const ZydisInstructionCategory stopping_kinds[] = {
	ZYDIS_CATEGORY_SYSTEM,	ZYDIS_CATEGORY_INTERRUPT, ZYDIS_CATEGORY_IO,	ZYDIS_CATEGORY_IOSTRINGOP,
	ZYDIS_CATEGORY_SYSCALL, ZYDIS_CATEGORY_SYSRET,	  ZYDIS_CATEGORY_SEGOP, ZYDIS_CATEGORY_RDWRFSGS,
	ZYDIS_CATEGORY_X87_ALU, ZYDIS_CATEGORY_DECIMAL,	  ZYDIS_CATEGORY_XSAVE, ZYDIS_CATEGORY_XSAVEOPT,
	ZYDIS_CATEGORY_PKU,	ZYDIS_CATEGORY_CET,	  ZYDIS_CATEGORY_MPX,	ZYDIS_CATEGORY_SMAP,
	ZYDIS_CATEGORY_MISC,
};
static const ZydisMnemonic stopping_mnemonics[] = {ZYDIS_MNEMONIC_DIV, ZYDIS_MNEMONIC_IDIV};
/* Of these kinds, but harmless. */
static const ZydisMnemonic going_on[] = {ZYDIS_MNEMONIC_LEA, ZYDIS_MNEMONIC_LEAVE};

/* Accesses of 16 bytes at any address, and at multiples of 16 only; the others are not known. */
static const ZydisMnemonic unaligned_moves[] = {
	ZYDIS_MNEMONIC_MOVUPS,	ZYDIS_MNEMONIC_MOVUPD,	ZYDIS_MNEMONIC_MOVDQU,	ZYDIS_MNEMONIC_LDDQU,
	ZYDIS_MNEMONIC_VMOVUPS, ZYDIS_MNEMONIC_VMOVUPD, ZYDIS_MNEMONIC_VMOVDQU, ZYDIS_MNEMONIC_VLDDQU,
};
static const ZydisMnemonic aligned_moves[] = {
	ZYDIS_MNEMONIC_MOVAPS,	ZYDIS_MNEMONIC_MOVAPD,	ZYDIS_MNEMONIC_MOVDQA,
	ZYDIS_MNEMONIC_VMOVAPS, ZYDIS_MNEMONIC_VMOVAPD, ZYDIS_MNEMONIC_VMOVDQA,
};

#define IS_ONE_OF(b, table) is_one_of((b)->zi->mnemonic, table, sizeof(table) / sizeof((table)[0]))

static bool is_one_of(ZydisMnemonic mnemonic, const ZydisMnemonic *table, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (table[i] == mnemonic)
			return true;
	return false;
}

static bool writes_segment(const struct build *b)
{
	for (unsigned i = 0; i < b->zi->operand_count; i++)
		if (b->ops[i].type == ZYDIS_OPERAND_TYPE_REGISTER && insn_writes(&b->ops[i]) &&
		    ZydisRegisterGetClass(b->ops[i].reg.value) == ZYDIS_REGCLASS_SEGMENT)
			return true;
	return false;
}

static bool stops(const struct build *b)
{
	if (b->in->cls == TAINT_INSN_REFUSED || b->in->area || writes_segment(b))
		return true;
	for (size_t i = 0; i < sizeof(stopping_kinds) / sizeof(stopping_kinds[0]); i++)
		if (b->zi->meta.category == stopping_kinds[i])
			return !IS_ONE_OF(b, going_on);
	return IS_ONE_OF(b, stopping_mnemonics);
}

static uint8_t alignment(const struct build *b)
{
	if (b->in->n_mem && b->in->mem[0].size < 16)
		return 1;
	return IS_ONE_OF(b, unaligned_moves) ? 1 : IS_ONE_OF(b, aligned_moves) ? 16 : 0;
}

void insn_note_memory(struct build *b)
{
	struct taint_insn *in = b->in;

	in->gpr_written = 0;
	for (unsigned i = 0; i < b->zi->operand_count; i++) {
		int reg = written_gpr(&b->ops[i]);

		if (reg >= 0)
			in->gpr_written |= (uint16_t)(1u << (unsigned)reg);
	}
	in->gpr_written |= string_registers(b);
	in->addr32 = b->zi->address_width == 32;
	in->stops = stops(b);
	note_operands(b);
	in->alignment = alignment(b);
	note_delta(b);
}

static void add_lookup(struct build *b, ZydisRegister reg)
{
	struct span s = insn_reg_span(reg, (unsigned)ZydisRegisterGetWidth(b->zi->machine_mode, reg) / 8u);

	if (s.len && address_reg(reg) != RSP)
		b->in->by_index[b->in->n_by_index++] = (struct taint_span){s.at, s.len};
}

/* A load of few bytes into a general register; not one that loads the offset of a jump. */
static bool is_lookup(const struct build *b, const ZydisDecodedOperand *mem)
{
	const ZydisDecodedOperand *d = &b->ops[0];

	if (b->zi->mnemonic == ZYDIS_MNEMONIC_XLAT)
		return true;
	if (mem->mem.type == ZYDIS_MEMOP_TYPE_VSIB)
		return mem->element_size / 8u <= LOOKUP_MAX;
	if (is_hidden(mem) || mem->size / 8u > LOOKUP_MAX || insn_writes(mem) || written_gpr(d) < 0 || is_hidden(d))
		return false;
	return b->zi->mnemonic != ZYDIS_MNEMONIC_MOVSXD || !is_full(b, d);
}

void insn_note_lookup(struct build *b)
{
	for (unsigned i = 0; i < b->zi->operand_count; i++) {
		const ZydisDecodedOperand *op = &b->ops[i];

		if (!insn_is_mem(op) || !insn_reads(op) || !is_lookup(b, op))
			continue;
		if (address_reg(op->mem.base) != RSP && address_reg(op->mem.base) != TAINT_GPR_RIP)
			add_lookup(b, op->mem.base);
		add_lookup(b, b->zi->mnemonic == ZYDIS_MNEMONIC_XLAT ? ZYDIS_REGISTER_AL : op->mem.index);
		return;
	}
}
