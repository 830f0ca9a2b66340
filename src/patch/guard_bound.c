/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Code that finds an object's bounds at run time. */
#include "patch/guard_internal.h"

#include <inttypes.h>

#define CHUNK_ALIGN 16
#define CHUNK_MMAPPED 2 /* flag in a chunk's size: it has pages of its own, and one more word of header */
#define CHUNK_FLAGS 7

struct emit_mem guard_frame(const struct guard *g, int64_t offset)
{
	const struct finding_cfa *cfa = &g->f->cfa;

	return EMIT_MEM(cfa->reg, cfa->offset + offset + (cfa->reg == X86_RSP ? g->lower : 0));
}

void guard_address(const struct guard *g, uint8_t dst, uint64_t address)
{
	if (!g->returns || !g->f->is_32bit || g->em->is_fixed) {
		emit_address(g->em, dst, address);
		return;
	}
	emit_rm(g->em, ZYDIS_MNEMONIC_MOV, dst, EMIT_MEM(X86_RSP, g->lower - guard_word(g)));
	emit_lea(g->em, dst, EMIT_MEM(dst, (int32_t)(uint32_t)(address - g->returns)));
}

void guard_bound(const struct guard *g, uint8_t dst, int64_t offset)
{
	if (g->f->bound == BOUND_MODULE)
		guard_address(g, dst, g->f->module.bias + (uint64_t)offset);
	else
		emit_lea(g->em, dst, guard_frame(g, offset));
}

uint32_t guard_check_caller(const struct guard *g, uint8_t scratch)
{
	if (g->f->bound != BOUND_CALLER)
		return 0;
	guard_address(g, scratch, g->f->caller_return.v);
	emit_mr(g->em, ZYDIS_MNEMONIC_CMP, guard_frame(g, g->f->caller_slot), scratch);
	return emit_forward(g->em, ZYDIS_MNEMONIC_JNZ);
}

/*
 * malloc's memory is aligned to 16 and has its size in the word before. The word before the start of a page is not
 * looked at, it may not be there; and what lies above the stack pointer is the stack.
 */
void guard_chunk_size(const struct guard *g, uint8_t dst, uint8_t start, uint32_t ret[GUARD_CHUNK_JUMPS])
{
	const struct emit_mem size = EMIT_MEM(start, -guard_word(g));
	struct emitter *em = g->em;
	uint32_t own;

	emit_ri(em, ZYDIS_MNEMONIC_TEST, start | EMIT_LOW32, CHUNK_ALIGN - 1);
	ret[0] = emit_forward(em, ZYDIS_MNEMONIC_JNZ);
	emit_ri(em, ZYDIS_MNEMONIC_TEST, start | EMIT_LOW32, GUEST_PAGE_MASK);
	ret[1] = emit_forward(em, ZYDIS_MNEMONIC_JZ);
	emit_rr(em, ZYDIS_MNEMONIC_CMP, start, X86_RSP);
	ret[2] = emit_forward(em, ZYDIS_MNEMONIC_JNBE);
	emit_rm(em, ZYDIS_MNEMONIC_MOV, dst, size);
	emit_ri(em, ZYDIS_MNEMONIC_AND, dst, ~CHUNK_FLAGS);
	emit_ri(em, ZYDIS_MNEMONIC_SUB, dst, guard_word(g));
	emit_mi(em, ZYDIS_MNEMONIC_TEST, size, CHUNK_MMAPPED, 1);
	own = emit_forward(em, ZYDIS_MNEMONIC_JZ);
	emit_ri(em, ZYDIS_MNEMONIC_SUB, dst, guard_word(g));
	emit_here(em, own);
	emit_ri(em, ZYDIS_MNEMONIC_CMP, dst, INT32_MAX);
	ret[3] = emit_forward(em, ZYDIS_MNEMONIC_JNBE);
}

int guard_span(const struct finding *f, int32_t *ret, struct err *e)
{
	uint64_t end = f->module.bias + (uint64_t)f->end_offset;
	uint64_t word = f->is_32bit ? 4 : 8;

	if (f->bound != BOUND_MODULE) {
		*ret = GUARD_SPAN;
		return 0;
	}
	if (f->error_address.v < end || f->error_address.v - end > GUARD_SPAN)
		return err_set_addr(e, ERR_REFUSED, f->culprit.v,
				    "what was corrupted, at 0x%" PRIx64
				    ", is not behind the object that ends at 0x%" PRIx64,
				    f->error_address.v, end);
	*ret = (int32_t)(f->error_address.v - end + word);
	return 0;
}
