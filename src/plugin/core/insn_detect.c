/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which instructions detectors look at: those that hand control or the stack
 * to an address from a register or from memory, those that check the stack
 * protector's word, and those that enter the kernel.
 */
#include "plugin/core/insn_internal.h"

#define RBX 3u
#define RBP 5u
#define RSI 6u
#define RDI 7u
#define R12 12u

/* Registers that functions preserve, in code of 64 bits and of 32. */
#define PRESERVED_64 (1u << RBX | 1u << RBP | 0xfu << R12)
#define PRESERVED_32 (1u << RBX | 1u << RBP | 1u << RSI | 1u << RDI)

/* Where a thread keeps the stack protector's word: fs:0x28, in 32-bit code gs:0x14. */
static bool is_canary(const struct build *b, const ZydisDecodedOperand *op)
{
	bool is64 = b->zi->machine_mode == ZYDIS_MACHINE_MODE_LONG_64;

	return insn_is_mem(op) && op->mem.base == ZYDIS_REGISTER_NONE && op->mem.index == ZYDIS_REGISTER_NONE &&
	       op->mem.segment == (is64 ? ZYDIS_REGISTER_FS : ZYDIS_REGISTER_GS) &&
	       op->mem.disp.value == (is64 ? 0x28 : 0x14);
}

/* General register of at least 32 bits that an operand is; TAINT_GPR_NONE: none. */
static uint8_t whole_gpr(ZydisRegister reg)
{
	ZydisRegisterClass c = ZydisRegisterGetClass(reg);

	return c == ZYDIS_REGCLASS_GPR32 || c == ZYDIS_REGCLASS_GPR64 ? (uint8_t)(ZydisRegisterGetId(reg) & 15u)
								      : TAINT_GPR_NONE;
}

static uint8_t operand_gpr(const ZydisDecodedOperand *op)
{
	return op->type == ZYDIS_OPERAND_TYPE_REGISTER ? whole_gpr(op->reg.value) : TAINT_GPR_NONE;
}

static void see(struct build *b, enum taint_sees sees, uint8_t reg)
{
	b->in->sees = (uint8_t)sees;
	b->in->sees_reg = reg;
}

static void see_branch(struct build *b)
{
	const ZydisDecodedOperand *op = &b->ops[0];

	if (b->zi->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR || op->type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
		return;
	see(b, TAINT_SEES_BRANCH, operand_gpr(op));
	/* A jump moves no data, but where it leads is loaded. */
	if (insn_is_mem(op) && !b->in->has_load) {
		b->in->has_load = true;
		b->in->load_len = (uint8_t)(op->size / 8u);
	}
}

/* The destination is the stack pointer. */
static void see_stack(struct build *b)
{
	const ZydisDecodedOperand *src = &b->ops[1];

	switch (b->zi->mnemonic) {
	case ZYDIS_MNEMONIC_POP:
		see(b, TAINT_SEES_STACK, TAINT_GPR_NONE);
		break;
	case ZYDIS_MNEMONIC_MOV:
	case ZYDIS_MNEMONIC_XCHG:
		if (src->type != ZYDIS_OPERAND_TYPE_IMMEDIATE)
			see(b, TAINT_SEES_STACK, operand_gpr(src));
		break;
	case ZYDIS_MNEMONIC_LEA:
		if (whole_gpr(src->mem.base) != TAINT_GPR_NONE)
			see(b, TAINT_SEES_STACK, whole_gpr(src->mem.base));
		break;
	default:
		break;
	}
}

/* A comparison of two words: one of them may be the stack protector's. */
static void see_compare(struct build *b)
{
	uint8_t first = operand_gpr(&b->ops[0]), second = operand_gpr(&b->ops[1]);

	if (is_canary(b, &b->ops[0]) || is_canary(b, &b->ops[1])) {
		see(b, TAINT_SEES_CANARY, first == TAINT_GPR_NONE ? second : first);
	} else if (first != TAINT_GPR_NONE && (second != TAINT_GPR_NONE || insn_is_mem(&b->ops[1]))) {
		see(b, TAINT_SEES_COMPARE, first);
		b->in->sees_other = second;
	} else if (second != TAINT_GPR_NONE && insn_is_mem(&b->ops[0])) {
		see(b, TAINT_SEES_COMPARE, second);
	}
}

static bool is_system_call(const struct build *b)
{
	return b->zi->mnemonic == ZYDIS_MNEMONIC_SYSCALL || b->zi->mnemonic == ZYDIS_MNEMONIC_SYSENTER ||
	       (b->zi->mnemonic == ZYDIS_MNEMONIC_INT && b->ops[0].imm.value.u == 0x80);
}

/* A word that goes to a general register as it is, or that is used as an address at once. */
static bool loads_pointer(const struct build *b)
{
	const struct taint_insn *in = b->in;
	bool moves = in->n_ops && in->op[0].kind == TAINT_OP_COPY && in->op[0].dst < TAINT_REG_FLAGS;

	return in->has_load && in->load_len == (b->zi->machine_mode == ZYDIS_MACHINE_MODE_LONG_64 ? 8 : 4) &&
	       (moves || in->restores || in->sees == TAINT_SEES_BRANCH || in->sees == TAINT_SEES_STACK);
}

/* Functions pop what they pushed when they began; scratch space is given back by popping other registers. */
static bool restores(const struct build *b, uint8_t dst)
{
	bool is64 = b->zi->machine_mode == ZYDIS_MACHINE_MODE_LONG_64;

	if (b->zi->mnemonic == ZYDIS_MNEMONIC_LEAVE)
		return true;
	return b->zi->mnemonic == ZYDIS_MNEMONIC_POP && dst != TAINT_GPR_NONE &&
	       ((is64 ? PRESERVED_64 : PRESERVED_32) >> dst & 1);
}

/* How addresses in jump buffers are kept: xor of a register with a word at a fixed place of the thread's segment. */
static bool unscrambles(const struct build *b, uint8_t dst)
{
	const ZydisDecodedOperand *op = &b->ops[1];

	return b->zi->mnemonic == ZYDIS_MNEMONIC_XOR && dst != TAINT_GPR_NONE && insn_is_mem(op) &&
	       op->mem.base == ZYDIS_REGISTER_NONE && op->mem.index == ZYDIS_REGISTER_NONE &&
	       (op->mem.segment == ZYDIS_REGISTER_FS || op->mem.segment == ZYDIS_REGISTER_GS);
}

static void note_sight(struct build *b, uint8_t dst)
{
	switch (b->zi->mnemonic) {
	case ZYDIS_MNEMONIC_CALL:
	case ZYDIS_MNEMONIC_JMP:
		see_branch(b);
		return;
	case ZYDIS_MNEMONIC_LEAVE:
		see(b, TAINT_SEES_STACK, RBP);
		return;
	case ZYDIS_MNEMONIC_CMP:
	case ZYDIS_MNEMONIC_SUB:
	case ZYDIS_MNEMONIC_XOR:
		see_compare(b);
		return;
	default:
		break;
	}
	if (is_system_call(b))
		see(b, TAINT_SEES_KERNEL, TAINT_GPR_NONE);
	else if (b->zi->mnemonic == ZYDIS_MNEMONIC_MOV && dst != TAINT_GPR_NONE && is_canary(b, &b->ops[1]))
		see(b, TAINT_SEES_CANARY_LOAD, dst);
	else if (dst == TAINT_GPR_RSP)
		see_stack(b);
}

void insn_note_detection(struct build *b)
{
	uint8_t dst = b->zi->operand_count_visible ? operand_gpr(&b->ops[0]) : TAINT_GPR_NONE;

	b->in->sees_reg = b->in->sees_other = TAINT_GPR_NONE;
	b->in->restores = restores(b, dst);
	b->in->unscrambles = unscrambles(b, dst);
	b->in->calls = b->zi->mnemonic == ZYDIS_MNEMONIC_CALL && b->zi->meta.branch_type != ZYDIS_BRANCH_TYPE_FAR;
	note_sight(b, dst);
	b->in->loads_pointer = loads_pointer(b);
}
