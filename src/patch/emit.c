/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Encoding instructions and moving them to another address. */
#include "patch/emit.h"

#include <string.h>

#include "locate/x86.h"

#define INT3 0xcc
#define RAX 0
#define FX_SIZE 512 /* bytes that fxsave writes */

void emit_init(struct emitter *em, uint64_t at)
{
	memset(em, 0, sizeof(*em));
	em->at = at;
}

static bool append(struct emitter *em, const void *bytes, size_t len)
{
	if (em->bad || len > sizeof(em->buf) - em->len) {
		em->bad = true;
		return false;
	}
	memcpy(em->buf + em->len, bytes, len);
	em->len += (uint32_t)len;
	return true;
}

void emit_bytes(struct emitter *em, const uint8_t *bytes, size_t len)
{
	uint32_t begin = em->len;

	if (em->data)
		em->bad = true;
	if (append(em, bytes, len))
		em->begin[em->n_insn++] = (uint8_t)begin;
}

uint64_t emit_data(struct emitter *em, const void *bytes, size_t len)
{
	uint64_t at = em->at + em->len;

	if (!em->data)
		em->data = em->len;
	append(em, bytes, len);
	return at;
}

void emit_end(struct emitter *em)
{
	if (em->len && !em->buf[em->len - 1])
		emit_data(em, (const uint8_t[]){INT3}, 1);
}

static unsigned mode_of(const struct emitter *em)
{
	return em->is_32bit ? X86_MODE_32 : X86_MODE_64;
}

static uint8_t word(const struct emitter *em)
{
	return em->is_32bit ? 4 : 8;
}

static ZydisRegister gpr(const struct emitter *em, uint8_t reg)
{
	if (reg == EMIT_RIP)
		return em->is_32bit ? ZYDIS_REGISTER_NONE : ZYDIS_REGISTER_RIP;
	if (reg == EMIT_NO_REG)
		return ZYDIS_REGISTER_NONE;
	return (em->is_32bit || (reg & EMIT_LOW32) ? ZYDIS_REGISTER_EAX : ZYDIS_REGISTER_RAX) + (reg & 15);
}

static void encode(struct emitter *em, ZydisEncoderRequest *rq)
{
	uint8_t bytes[ZYDIS_MAX_INSTRUCTION_LENGTH];
	ZyanUSize len = sizeof(bytes);

	rq->machine_mode = em->is_32bit ? ZYDIS_MACHINE_MODE_LEGACY_32 : ZYDIS_MACHINE_MODE_LONG_64;
	if (em->bad || ZYAN_FAILED(ZydisEncoderEncodeInstructionAbsolute(rq, bytes, &len, em->at + em->len)))
		em->bad = true;
	else
		emit_bytes(em, bytes, len);
}

static ZydisEncoderOperand reg_operand(const struct emitter *em, uint8_t reg)
{
	return (ZydisEncoderOperand){.type = ZYDIS_OPERAND_TYPE_REGISTER, .reg.value = gpr(em, reg)};
}

static ZydisEncoderOperand imm_operand(int32_t imm)
{
	return (ZydisEncoderOperand){.type = ZYDIS_OPERAND_TYPE_IMMEDIATE, .imm.s = imm};
}

/* Displacements beyond 32 bits would be cut: only RIP-relative ones are absolute addresses. */
static ZydisEncoderOperand mem_operand(struct emitter *em, const struct emit_mem *mem, uint16_t width)
{
	ZydisEncoderOperand op = {.type = ZYDIS_OPERAND_TYPE_MEMORY};

	if (em->is_32bit && mem->base == EMIT_RIP && !em->is_fixed)
		em->bad = true;
	if (em->is_32bit ? mem->disp != (int32_t)mem->disp && mem->disp != (uint32_t)mem->disp
			 : mem->base != EMIT_RIP && mem->disp != (int32_t)mem->disp)
		em->bad = true;
	op.mem.base = gpr(em, mem->base);
	op.mem.index = gpr(em, mem->index);
	op.mem.scale = mem->index == EMIT_NO_REG ? 0 : mem->scale;
	op.mem.displacement = em->is_32bit ? (int32_t)mem->disp : mem->disp;
	op.mem.size = width;
	return op;
}

void emit_plain(struct emitter *em, ZydisMnemonic m)
{
	encode(em, &(ZydisEncoderRequest){.mnemonic = m});
}

static void encode_one(struct emitter *em, ZydisMnemonic m, ZydisEncoderOperand op)
{
	encode(em, &(ZydisEncoderRequest){.mnemonic = m, .operand_count = 1, .operands = {op}});
}

static void encode_two(struct emitter *em, ZydisMnemonic m, ZydisEncoderOperand a, ZydisEncoderOperand b)
{
	encode(em, &(ZydisEncoderRequest){.mnemonic = m, .operand_count = 2, .operands = {a, b}});
}

void emit_r(struct emitter *em, ZydisMnemonic m, uint8_t reg)
{
	encode_one(em, m, reg_operand(em, reg));
}

void emit_m(struct emitter *em, ZydisMnemonic m, struct emit_mem mem)
{
	encode_one(em, m, mem_operand(em, &mem, m == ZYDIS_MNEMONIC_FXSAVE ? FX_SIZE : word(em)));
}

void emit_push(struct emitter *em, int32_t imm)
{
	encode_one(em, ZYDIS_MNEMONIC_PUSH, imm_operand(imm));
}

void emit_rr(struct emitter *em, ZydisMnemonic m, uint8_t dst, uint8_t src)
{
	encode_two(em, m, reg_operand(em, dst), reg_operand(em, src));
}

void emit_ri(struct emitter *em, ZydisMnemonic m, uint8_t dst, int32_t imm)
{
	encode_two(em, m, reg_operand(em, dst), imm_operand(imm));
}

void emit_rm(struct emitter *em, ZydisMnemonic m, uint8_t dst, struct emit_mem mem)
{
	encode_two(em, m, reg_operand(em, dst), mem_operand(em, &mem, dst & EMIT_LOW32 ? 4 : word(em)));
}

void emit_mr(struct emitter *em, ZydisMnemonic m, struct emit_mem mem, uint8_t src)
{
	encode_two(em, m, mem_operand(em, &mem, src & EMIT_LOW32 ? 4 : word(em)), reg_operand(em, src));
}

void emit_mi(struct emitter *em, ZydisMnemonic m, struct emit_mem mem, int32_t imm, uint8_t width)
{
	encode_two(em, m, mem_operand(em, &mem, width), imm_operand(imm));
}

void emit_lea(struct emitter *em, uint8_t dst, struct emit_mem mem)
{
	emit_rm(em, ZYDIS_MNEMONIC_LEA, dst, mem);
}

/* call to the next instruction: pushes its address, which is returned. */
static uint64_t push_here(struct emitter *em)
{
	emit_bytes(em, (const uint8_t[]){0xe8, 0, 0, 0, 0}, 5);
	return em->at + em->len;
}

void emit_address(struct emitter *em, uint8_t dst, uint64_t address)
{
	uint64_t here;

	if (!em->is_32bit) {
		emit_lea(em, dst, EMIT_MEM(EMIT_RIP, (int64_t)address));
	} else if (em->is_fixed) {
		emit_ri(em, ZYDIS_MNEMONIC_MOV, dst, (int32_t)(uint32_t)address);
	} else {
		here = push_here(em);
		emit_r(em, ZYDIS_MNEMONIC_POP, dst);
		emit_lea(em, dst, EMIT_MEM(dst, (int32_t)(uint32_t)(address - here)));
	}
}

void emit_push_address(struct emitter *em, uint64_t address)
{
	uint64_t here;

	if (!em->is_32bit) {
		emit_r(em, ZYDIS_MNEMONIC_PUSH, RAX);
		emit_address(em, RAX, address);
		emit_mr(em, ZYDIS_MNEMONIC_XCHG, EMIT_MEM(X86_RSP, 0), RAX);
	} else if (em->is_fixed) {
		emit_push(em, (int32_t)(uint32_t)address);
	} else {
		here = push_here(em);
		emit_mi(em, ZYDIS_MNEMONIC_ADD, EMIT_MEM(X86_RSP, 0), (int32_t)(uint32_t)(address - here), 4);
	}
}

static const struct {
	ZydisMnemonic mnemonic;
	uint8_t opcode;
} short_jumps[] = {
	{ZYDIS_MNEMONIC_JMP, 0xeb},    {ZYDIS_MNEMONIC_JB, 0x72},    {ZYDIS_MNEMONIC_JNB, 0x73},
	{ZYDIS_MNEMONIC_JZ, 0x74},     {ZYDIS_MNEMONIC_JNZ, 0x75},   {ZYDIS_MNEMONIC_JBE, 0x76},
	{ZYDIS_MNEMONIC_JNBE, 0x77},   {ZYDIS_MNEMONIC_JS, 0x78},    {ZYDIS_MNEMONIC_JLE, 0x7e},
	{ZYDIS_MNEMONIC_LOOPNE, 0xe0}, {ZYDIS_MNEMONIC_JRCXZ, 0xe3}, {ZYDIS_MNEMONIC_JECXZ, 0xe3},
};

static void short_jump(struct emitter *em, ZydisMnemonic m, int8_t distance)
{
	for (size_t k = 0; k < sizeof(short_jumps) / sizeof(short_jumps[0]); k++) {
		if (short_jumps[k].mnemonic == m) {
			emit_bytes(em, (uint8_t[]){short_jumps[k].opcode, (uint8_t)distance}, 2);
			return;
		}
	}
	em->bad = true;
}

uint32_t emit_forward(struct emitter *em, ZydisMnemonic m)
{
	short_jump(em, m, 0);
	return em->len;
}

void emit_back(struct emitter *em, ZydisMnemonic m, uint32_t to)
{
	uint32_t distance = em->len + 2 - to;

	if (distance > -INT8_MIN)
		em->bad = true;
	else
		short_jump(em, m, (int8_t) - (int32_t)distance);
}

void emit_here(struct emitter *em, uint32_t forward)
{
	if (em->bad || em->len - forward > INT8_MAX)
		em->bad = true;
	else
		em->buf[forward - 1] = (uint8_t)(em->len - forward);
}

static const uint8_t call_rel32 = 0xe8, jmp_rel32 = 0xe9;

/* opcode (op_len bytes) followed by the distance to target. */
static void emit_rel32(struct emitter *em, const uint8_t *opcode, size_t op_len, uint64_t target)
{
	int64_t distance = (int64_t)(target - (em->at + em->len + op_len + 4));
	int32_t rel32 = (int32_t)distance;
	uint8_t bytes[6];

	if (distance != rel32 && !em->is_32bit) {
		em->bad = true;
		return;
	}
	memcpy(bytes, opcode, op_len);
	memcpy(bytes + op_len, &rel32, 4);
	emit_bytes(em, bytes, op_len + 4);
}

void emit_jump(struct emitter *em, uint64_t target)
{
	emit_rel32(em, &jmp_rel32, 1, target);
}

void emit_call(struct emitter *em, uint64_t target)
{
	emit_rel32(em, &call_rel32, 1, target);
}

void emit_transfer(struct emitter *em, ZydisMnemonic m, const struct x86_insn *in, uint64_t from, int32_t lower)
{
	const ZydisDecodedOperand *op = &in->op[0];
	struct emit_mem mem = {x86_gpr(op->mem.base), x86_gpr(op->mem.index), op->mem.scale, op->mem.disp.value};
	uint64_t target = 0;
	bool relative = x86_relative(in, from, &target);

	if (op->type == ZYDIS_OPERAND_TYPE_IMMEDIATE && relative && in->i.operand_width == (em->is_32bit ? 32 : 64)) {
		emit_rel32(em, m == ZYDIS_MNEMONIC_CALL ? &call_rel32 : &jmp_rel32, 1, target);
	} else if (op->type == ZYDIS_OPERAND_TYPE_REGISTER && op->size == 8 * word(em) &&
		   x86_gpr(op->reg.value) != X86_RSP) {
		emit_r(em, m, x86_gpr(op->reg.value));
	} else if (op->type == ZYDIS_OPERAND_TYPE_MEMORY && op->size == 8 * word(em) &&
		   in->i.address_width == 8 * word(em) && op->mem.segment != ZYDIS_REGISTER_FS &&
		   op->mem.segment != ZYDIS_REGISTER_GS) {
		if (relative)
			mem = EMIT_MEM(EMIT_RIP, (int64_t)target);
		else if (mem.base == X86_RSP)
			mem.disp += lower;
		emit_m(em, m, mem);
	} else {
		em->bad = true;
	}
}

/* What is called returns to where the program's own call would have: unwinders find their way. */
static void move_call(struct emitter *em, const struct x86_insn *in, uint64_t from)
{
	emit_push_address(em, from + in->i.length);
	emit_transfer(em, ZYDIS_MNEMONIC_JMP, in, from, word(em));
}

static void move_branch(struct emitter *em, const struct x86_insn *in, uint64_t target)
{
	if (in->i.meta.category == ZYDIS_CATEGORY_UNCOND_BR)
		emit_jump(em, target);
	else if (in->i.meta.branch_type == ZYDIS_BRANCH_TYPE_NEAR || (in->i.opcode & 0xf0) == 0x70)
		emit_rel32(em, (const uint8_t[]){0x0f, 0x80 | (in->i.opcode & 0xf)}, 2, target);
	else
		em->bad = true; /* loop, jrcxz: short only */
}

void emit_moved(struct emitter *em, const uint8_t *bytes, size_t len, uint64_t from)
{
	uint8_t copy[ZYDIS_MAX_INSTRUCTION_LENGTH];
	struct x86_insn in;
	uint64_t target;
	int64_t distance;
	int32_t disp;

	if (len > sizeof(copy) || !x86_decode_mode(mode_of(em), bytes, len, &in) || in.i.length != len) {
		em->bad = true;
		return;
	}
	if (in.i.meta.category == ZYDIS_CATEGORY_CALL) {
		move_call(em, &in, from);
		return;
	}
	if (!(in.i.attributes & ZYDIS_ATTRIB_IS_RELATIVE)) {
		emit_bytes(em, bytes, len);
		return;
	}
	if (!x86_relative(&in, from, &target)) {
		em->bad = true;
		return;
	}
	if (in.op[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE && in.op[0].imm.is_relative) {
		move_branch(em, &in, target);
		return;
	}
	distance = (int64_t)(target - (em->at + em->len + len));
	disp = (int32_t)distance;
	if (distance != disp || in.i.raw.disp.size != 32) {
		em->bad = true;
		return;
	}
	memcpy(copy, bytes, len);
	memcpy(copy + in.i.raw.disp.offset, &disp, 4);
	emit_bytes(em, copy, len);
}

int emit_check(const struct emitter *em, struct err *e)
{
	uint32_t off = 0;
	struct x86_insn in;

	if (em->bad)
		return err_set(e, ERR_REFUSED, "the guard cannot be encoded in %u bytes", EMIT_MAX);
	for (uint32_t k = 0; k < em->n_insn; k++) {
		if (off != em->begin[k] || !x86_decode_mode(mode_of(em), em->buf + off, em->len - off, &in))
			return err_set(e, ERR_REFUSED, "the guard does not decode as it was meant");
		off += in.i.length;
	}
	if (off != (em->data ? em->data : em->len))
		return err_set(e, ERR_REFUSED, "the guard does not decode as it was meant");
	return 0;
}
