/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Decoding single instructions with Zydis, and what a store writes. */
#include "locate/x86.h"

#include <stdio.h>

#define STORE_WIDTH_MAX 64

bool x86_decode_mode(unsigned mode, const uint8_t *bytes, size_t len, struct x86_insn *ret)
{
	bool is_32bit = mode == X86_MODE_32;
	ZydisDecoder d;

	if (ZYAN_FAILED(ZydisDecoderInit(&d, is_32bit ? ZYDIS_MACHINE_MODE_LEGACY_32 : ZYDIS_MACHINE_MODE_LONG_64,
					 is_32bit ? ZYDIS_STACK_WIDTH_32 : ZYDIS_STACK_WIDTH_64)))
		return false;
	return ZYAN_SUCCESS(ZydisDecoderDecodeFull(&d, bytes, len, &ret->i, ret->op));
}

bool x86_decode(const uint8_t *bytes, size_t len, struct x86_insn *ret)
{
	return x86_decode_mode(X86_MODE_64, bytes, len, ret);
}

uint8_t x86_gpr(ZydisRegister reg)
{
	ZydisRegister full = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);

	if (full < ZYDIS_REGISTER_RAX || full > ZYDIS_REGISTER_R15)
		return X86_NO_REG;
	return (uint8_t)(full - ZYDIS_REGISTER_RAX);
}

bool x86_writes_gpr(const struct x86_insn *in, uint8_t gpr)
{
	for (unsigned i = 0; i < in->i.operand_count; i++)
		if (in->op[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    (in->op[i].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) && x86_gpr(in->op[i].reg.value) == gpr)
			return true;
	return false;
}

bool x86_relative(const struct x86_insn *in, uint64_t at, uint64_t *ret)
{
	if (!(in->i.attributes & ZYDIS_ATTRIB_IS_RELATIVE))
		return false;
	for (unsigned k = 0; k < in->i.operand_count_visible; k++)
		if (ZYAN_SUCCESS(ZydisCalcAbsoluteAddress(&in->i, &in->op[k], at, ret)))
			return true;
	return false;
}

void x86_text_mode(unsigned mode, const uint8_t *bytes, size_t len, uint64_t at, char *ret, size_t size)
{
	ZydisFormatter f;
	struct x86_insn in;

	if (!x86_decode_mode(mode, bytes, len, &in) ||
	    ZYAN_FAILED(ZydisFormatterInit(&f, ZYDIS_FORMATTER_STYLE_INTEL)) ||
	    ZYAN_FAILED(
		    ZydisFormatterFormatInstruction(&f, &in.i, in.op, in.i.operand_count_visible, ret, size, at, NULL)))
		snprintf(ret, size, "(bad)");
}

void x86_text(const uint8_t *bytes, size_t len, uint64_t at, char *ret, size_t size)
{
	x86_text_mode(X86_MODE_64, bytes, len, at, ret, size);
}

static bool writes(const ZydisDecodedOperand *op)
{
	return op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
}

static const struct {
	uint16_t mnemonic;
	bool is_copy;
} string_stores[] = {
	{ZYDIS_MNEMONIC_MOVSB, true},  {ZYDIS_MNEMONIC_MOVSW, true},  {ZYDIS_MNEMONIC_MOVSD, true},
	{ZYDIS_MNEMONIC_MOVSQ, true},  {ZYDIS_MNEMONIC_STOSB, false}, {ZYDIS_MNEMONIC_STOSW, false},
	{ZYDIS_MNEMONIC_STOSD, false}, {ZYDIS_MNEMONIC_STOSQ, false},
};

/* Returns 1 and fills *ret if *in is a string store, repeated or not, 0 if it is no string store, -1. */
static int decode_string(unsigned mode, const struct x86_insn *in, struct x86_store *ret, struct err *e)
{
	bool rep;

	if (in->i.meta.category != ZYDIS_CATEGORY_STRINGOP)
		return 0;
	for (size_t k = 0; k < sizeof(string_stores) / sizeof(string_stores[0]); k++) {
		if (in->i.mnemonic != string_stores[k].mnemonic)
			continue;
		if (in->i.address_width != mode || (in->i.attributes & ZYDIS_ATTRIB_HAS_SEGMENT))
			break;
		rep = in->i.attributes & ZYDIS_ATTRIB_HAS_REP;
		*ret = (struct x86_store){.kind = rep ? X86_STORE_REP : X86_STORE_PLAIN,
					  .base = 7, /* rdi */
					  .index = X86_NO_REG,
					  .width = in->op[0].size / 8,
					  .moves_on = !rep,
					  .is_copy = string_stores[k].is_copy};
		return 1;
	}
	return err_set(e, ERR_REFUSED, "the culprit is a string instruction of a kind that cannot be guarded");
}

/* The one memory operand that *in writes, if it writes nothing else but flags; NULL otherwise. */
static const ZydisDecodedOperand *only_write(const struct x86_insn *in)
{
	const ZydisDecodedOperand *mem = NULL;

	for (unsigned k = 0; k < in->i.operand_count; k++) {
		const ZydisDecodedOperand *op = &in->op[k];
		bool flags = op->type == ZYDIS_OPERAND_TYPE_REGISTER &&
			     (op->reg.value == ZYDIS_REGISTER_RFLAGS || op->reg.value == ZYDIS_REGISTER_EFLAGS ||
			      op->reg.value == ZYDIS_REGISTER_FLAGS);

		if (!writes(op) || flags)
			continue;
		if (mem || op->type != ZYDIS_OPERAND_TYPE_MEMORY || op->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN ||
		    op->mem.type != ZYDIS_MEMOP_TYPE_MEM)
			return NULL;
		mem = op;
	}
	return mem;
}

int x86_store_decode_mode(unsigned mode, const uint8_t *bytes, size_t len, struct x86_store *ret, struct err *e)
{
	const ZydisDecodedOperand *mem;
	struct x86_insn in;
	int rc;

	if (!x86_decode_mode(mode, bytes, len, &in) || in.i.length != len)
		return err_set(e, ERR_REFUSED, "the culprit does not decode as one instruction");
	rc = decode_string(mode, &in, ret, e);
	if (rc)
		return rc > 0 ? 0 : -1;
	mem = only_write(&in);
	if (!mem)
		return err_set(e, ERR_REFUSED, "the culprit (%s) does more than write to memory: it cannot be left out",
			       ZydisMnemonicGetString(in.i.mnemonic));
	if (in.i.address_width != mode || !mem->size || mem->size % 8 || mem->size / 8 > STORE_WIDTH_MAX ||
	    mem->mem.segment == ZYDIS_REGISTER_FS || mem->mem.segment == ZYDIS_REGISTER_GS)
		return err_set(e, ERR_REFUSED, "the culprit (%s) writes in a way that cannot be guarded",
			       ZydisMnemonicGetString(in.i.mnemonic));
	*ret = (struct x86_store){.kind = X86_STORE_PLAIN,
				  .base = x86_gpr(mem->mem.base),
				  .index = x86_gpr(mem->mem.index),
				  .scale = mem->mem.scale,
				  .rip_relative = mem->mem.base == ZYDIS_REGISTER_RIP,
				  .disp = mem->mem.disp.value,
				  .width = mem->size / 8};
	return 0;
}

int x86_store_decode(const uint8_t *bytes, size_t len, struct x86_store *ret, struct err *e)
{
	return x86_store_decode_mode(X86_MODE_64, bytes, len, ret, e);
}
