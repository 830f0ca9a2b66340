/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Encoding instructions and moving them to another address. */
#include "patch/emit.h"

#include <string.h>

#include "locate/x86.h"

void emit_init(struct emitter *em, uint64_t at)
{
	memset(em, 0, sizeof(*em));
	em->at = at;
}

void emit_bytes(struct emitter *em, const uint8_t *bytes, size_t len)
{
	if (em->bad || len > sizeof(em->buf) - em->len) {
		em->bad = true;
		return;
	}
	em->begin[em->n_insn++] = (uint8_t)em->len;
	memcpy(em->buf + em->len, bytes, len);
	em->len += (uint32_t)len;
}

static ZydisRegister gpr64(uint8_t reg)
{
	if (reg == EMIT_RIP)
		return ZYDIS_REGISTER_RIP;
	return reg < 16 ? ZYDIS_REGISTER_RAX + reg : ZYDIS_REGISTER_NONE;
}

static void encode(struct emitter *em, ZydisEncoderRequest *rq)
{
	uint8_t bytes[ZYDIS_MAX_INSTRUCTION_LENGTH];
	ZyanUSize len = sizeof(bytes);

	rq->machine_mode = ZYDIS_MACHINE_MODE_LONG_64;
	if (em->bad || ZYAN_FAILED(ZydisEncoderEncodeInstructionAbsolute(rq, bytes, &len, em->at + em->len)))
		em->bad = true;
	else
		emit_bytes(em, bytes, len);
}

static ZydisEncoderOperand reg_operand(uint8_t reg)
{
	return (ZydisEncoderOperand){.type = ZYDIS_OPERAND_TYPE_REGISTER, .reg.value = gpr64(reg)};
}

static ZydisEncoderOperand mem_operand(const struct emit_mem *mem)
{
	ZydisEncoderOperand op = {.type = ZYDIS_OPERAND_TYPE_MEMORY};

	op.mem.base = gpr64(mem->base);
	op.mem.index = gpr64(mem->index);
	op.mem.scale = mem->index == EMIT_NO_REG ? 0 : mem->scale;
	op.mem.displacement = mem->disp;
	op.mem.size = 8;
	return op;
}

void emit_plain(struct emitter *em, ZydisMnemonic m)
{
	encode(em, &(ZydisEncoderRequest){.mnemonic = m});
}

void emit_r(struct emitter *em, ZydisMnemonic m, uint8_t reg)
{
	encode(em, &(ZydisEncoderRequest){.mnemonic = m, .operand_count = 1, .operands = {reg_operand(reg)}});
}

void emit_rr(struct emitter *em, ZydisMnemonic m, uint8_t dst, uint8_t src)
{
	encode(em, &(ZydisEncoderRequest){
			   .mnemonic = m, .operand_count = 2, .operands = {reg_operand(dst), reg_operand(src)}});
}

void emit_ri(struct emitter *em, ZydisMnemonic m, uint8_t dst, int32_t imm)
{
	ZydisEncoderRequest rq = {.mnemonic = m, .operand_count = 2, .operands = {reg_operand(dst)}};

	rq.operands[1].type = ZYDIS_OPERAND_TYPE_IMMEDIATE;
	rq.operands[1].imm.s = imm;
	encode(em, &rq);
}

/* Displacements beyond 32 bits would be cut: only RIP-relative ones are absolute addresses. */
static void check_disp(struct emitter *em, const struct emit_mem *mem)
{
	if (mem->base != EMIT_RIP && mem->disp != (int32_t)mem->disp)
		em->bad = true;
}

void emit_lea(struct emitter *em, uint8_t dst, struct emit_mem mem)
{
	check_disp(em, &mem);
	encode(em, &(ZydisEncoderRequest){.mnemonic = ZYDIS_MNEMONIC_LEA,
					  .operand_count = 2,
					  .operands = {reg_operand(dst), mem_operand(&mem)}});
}

void emit_cmp_mr(struct emitter *em, struct emit_mem mem, uint8_t src)
{
	check_disp(em, &mem);
	encode(em, &(ZydisEncoderRequest){.mnemonic = ZYDIS_MNEMONIC_CMP,
					  .operand_count = 2,
					  .operands = {mem_operand(&mem), reg_operand(src)}});
}

static const struct {
	ZydisMnemonic mnemonic;
	uint8_t opcode;
} short_jumps[] = {
	{ZYDIS_MNEMONIC_JMP, 0xeb},  {ZYDIS_MNEMONIC_JB, 0x72},	 {ZYDIS_MNEMONIC_JNZ, 0x75},
	{ZYDIS_MNEMONIC_JNBE, 0x77}, {ZYDIS_MNEMONIC_JLE, 0x7e},
};

uint32_t emit_forward(struct emitter *em, ZydisMnemonic m)
{
	for (size_t k = 0; k < sizeof(short_jumps) / sizeof(short_jumps[0]); k++) {
		if (short_jumps[k].mnemonic == m) {
			emit_bytes(em, (uint8_t[]){short_jumps[k].opcode, 0}, 2);
			return em->len;
		}
	}
	em->bad = true;
	return 0;
}

void emit_here(struct emitter *em, uint32_t forward)
{
	if (em->bad || em->len - forward > INT8_MAX)
		em->bad = true;
	else
		em->buf[forward - 1] = (uint8_t)(em->len - forward);
}

/* opcode (op_len bytes) followed by the distance to target. */
static void emit_rel32(struct emitter *em, const uint8_t *opcode, size_t op_len, uint64_t target)
{
	int64_t distance = (int64_t)(target - (em->at + em->len + op_len + 4));
	int32_t rel32 = (int32_t)distance;
	uint8_t bytes[6];

	if (distance != rel32) {
		em->bad = true;
		return;
	}
	memcpy(bytes, opcode, op_len);
	memcpy(bytes + op_len, &rel32, 4);
	emit_bytes(em, bytes, op_len + 4);
}

void emit_jump(struct emitter *em, uint64_t target)
{
	emit_rel32(em, (const uint8_t[]){0xe9}, 1, target);
}

static void move_branch(struct emitter *em, const struct x86_insn *in, uint64_t target)
{
	if (in->i.meta.category == ZYDIS_CATEGORY_UNCOND_BR)
		emit_jump(em, target);
	else if (in->i.meta.category == ZYDIS_CATEGORY_CALL)
		emit_rel32(em, (const uint8_t[]){0xe8}, 1, target);
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

	if (len > sizeof(copy) || !x86_decode(bytes, len, &in) || in.i.length != len) {
		em->bad = true;
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
		if (off != em->begin[k] || !x86_decode(em->buf + off, em->len - off, &in))
			return err_set(e, ERR_REFUSED, "the guard does not decode as it was meant");
		off += in.i.length;
	}
	if (off != em->len)
		return err_set(e, ERR_REFUSED, "the guard does not decode as it was meant");
	return 0;
}
