/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Code that finds an object's bounds at run time. */
#include "patch/guard_internal.h"

#include <inttypes.h>
#include <string.h>

#define CHUNK_ALIGN 16
#define CHUNK_MAPPED 2 /* flag in a chunk's size: it has pages of its own, and one more word of header */
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
	const struct finding *f = g->f;

	if (f->bound == BOUND_MODULE && f->caller.build_id_len) {
		emit_rm(g->em, ZYDIS_MNEMONIC_MOV, dst, guard_frame(g, f->caller_slot));
		emit_lea(g->em, dst,
			 EMIT_MEM(dst, (int32_t)(int64_t)(f->caller.bias + (uint64_t)offset - f->caller_return.v)));
	} else if (f->bound == BOUND_MODULE)
		guard_address(g, dst, g->f->module.bias + (uint64_t)offset);
	else
		emit_lea(g->em, dst, guard_frame(g, offset));
}

static void compare_return(const struct guard *g, uint8_t scratch, struct gva ret, int64_t slot)
{
	guard_address(g, scratch, ret.v);
	emit_mr(g->em, ZYDIS_MNEMONIC_CMP, guard_frame(g, slot), scratch);
}

static void compare_word(const struct guard *g, struct emit_mem at, const uint8_t byte[4])
{
	int32_t word;

	memcpy(&word, byte, sizeof(word));
	emit_mi(g->em, ZYDIS_MNEMONIC_CMP, at, word, sizeof(word));
}

/* Each return address that is looked at is there, since the one before it is what it was. */
static void compare_module(const struct guard *g, uint8_t scratch)
{
	const struct finding_caller *c = &g->f->caller;
	uint32_t other[FINDING_VIA + 1], n = 0;

	for (; n < c->n_via; n++) {
		compare_return(g, scratch, c->via[n].ret, c->via[n].slot);
		other[n] = emit_forward(g->em, ZYDIS_MNEMONIC_JNZ);
	}
	emit_rm(g->em, ZYDIS_MNEMONIC_MOV, scratch, guard_frame(g, g->f->caller_slot));
	compare_word(g, EMIT_MEM(scratch, -(int32_t)sizeof(c->call)), c->call);
	other[n++] = emit_forward(g->em, ZYDIS_MNEMONIC_JNZ);
	compare_word(g, EMIT_MEM(scratch, c->build_id_from), c->build_id);
	while (n)
		emit_here(g->em, other[--n]);
}

uint32_t guard_check_caller(const struct guard *g, uint8_t scratch)
{
	if (g->f->bound != BOUND_CALLER && !g->f->caller.build_id_len)
		return 0;
	if (g->f->caller.build_id_len)
		compare_module(g, scratch);
	else
		compare_return(g, scratch, g->f->caller_return, g->f->caller_slot);
	return emit_forward(g->em, ZYDIS_MNEMONIC_JNZ);
}

static uint8_t low_byte_rex(uint8_t reg)
{
	return reg >= 8 ? 0x41 : reg >= 4 ? 0x40 : 0;
}

/* test reg8, imm8: the emitter's operands are as wide as an address. */
static void emit_test_low(struct emitter *em, uint8_t reg, uint8_t imm)
{
	const uint8_t code[] = {low_byte_rex(reg), 0xf6, 0xc0 | (reg & 7), imm};
	unsigned skip = code[0] ? 0 : 1;

	if (em->is_32bit && reg >= 4)
		emit_ri(em, ZYDIS_MNEMONIC_TEST, reg, imm);
	else
		emit_bytes(em, code + skip, sizeof(code) - skip);
}

/*
 * malloc's memory is aligned to 16 and has its size in the word before. The word before the start of a page is not
 * looked at, it may not be there; and what lies above the stack pointer is the stack. A size that is known tells that as well.
 * Returns how many of ret it took.
 */
static uint32_t check_memory(const struct guard *g, uint8_t mem, uint32_t ret[GUARD_CHUNK_JUMPS])
{
	struct emitter *em = g->em;
	uint32_t n = 0;

	emit_test_low(em, mem, CHUNK_ALIGN - 1);
	ret[n++] = emit_forward(em, ZYDIS_MNEMONIC_JNZ);
	emit_ri(em, ZYDIS_MNEMONIC_TEST, mem | EMIT_LOW32, GUEST_PAGE_MASK);
	ret[n++] = emit_forward(em, ZYDIS_MNEMONIC_JZ);
	if (!g->f->part_of) {
		emit_rr(em, ZYDIS_MNEMONIC_CMP, mem, X86_RSP);
		ret[n++] = emit_forward(em, ZYDIS_MNEMONIC_JNBE);
	}
	return n;
}

/* dst = the size in a chunk's header, in chunks of the size that the finding is for, else the jump is taken (0: none). */
static uint32_t load_size(const struct guard *g, uint8_t dst, struct emit_mem header)
{
	emit_rm(g->em, ZYDIS_MNEMONIC_MOV, dst, header);
	emit_ri(g->em, ZYDIS_MNEMONIC_AND, dst, ~CHUNK_FLAGS);
	if (!g->f->part_of)
		return 0;
	emit_ri(g->em, ZYDIS_MNEMONIC_CMP, dst, (int32_t)g->f->part_of);
	return emit_forward(g->em, ZYDIS_MNEMONIC_JNZ);
}

void guard_chunk_room(const struct guard *g, uint8_t dst, uint8_t at, uint32_t ret[GUARD_CHUNK_JUMPS])
{
	int32_t from = (int32_t)g->f->start_offset;
	const struct emit_mem header = EMIT_MEM(at, -from - guard_word(g));
	struct emitter *em = g->em;
	uint32_t n, own;

	memset(ret, 0, GUARD_CHUNK_JUMPS * sizeof(*ret));
	if (from)
		emit_lea(em, dst, EMIT_MEM(at, -from));
	n = check_memory(g, from ? dst : at, ret);
	ret[n] = load_size(g, dst, header);
	if (ret[n]) {
		emit_ri(em, ZYDIS_MNEMONIC_MOV, dst, (int32_t)g->f->end_offset - from);
		return;
	}
	emit_ri(em, ZYDIS_MNEMONIC_SUB, dst, guard_word(g) + from);
	emit_mi(em, ZYDIS_MNEMONIC_TEST, header, CHUNK_MAPPED, 1);
	own = emit_forward(em, ZYDIS_MNEMONIC_JZ);
	emit_ri(em, ZYDIS_MNEMONIC_SUB, dst, guard_word(g));
	emit_here(em, own);
	emit_ri(em, ZYDIS_MNEMONIC_CMP, dst, INT32_MAX);
	ret[n] = emit_forward(em, ZYDIS_MNEMONIC_JNBE);
}

/* mem = the chunk's memory, by what holds a pointer into it. */
static void load_base(const struct guard *g, uint8_t mem)
{
	const struct finding *f = g->f;
	int32_t from = (int32_t)f->start_offset;

	if (f->base.reg != EMIT_NO_REG) {
		emit_lea(g->em, mem, EMIT_MEM(f->base.reg, -from));
		return;
	}
	emit_rm(g->em, ZYDIS_MNEMONIC_MOV, mem, guard_frame(g, f->base.slot));
	if (from)
		emit_lea(g->em, mem, EMIT_MEM(mem, -from));
}

void guard_chunk_distance(const struct guard *g, uint8_t dst, uint8_t mem, struct emit_mem last,
			  uint32_t ret[GUARD_CHUNK_JUMPS])
{
	int32_t word = guard_word(g), header = g->f->chunk_mapped ? 2 * word : word;
	struct emitter *em = g->em;
	uint32_t n;

	memset(ret, 0, GUARD_CHUNK_JUMPS * sizeof(*ret));
	load_base(g, mem);
	n = check_memory(g, mem, ret);
	last.disp += g->f->part_of ? -g->f->end_offset : header;
	emit_lea(em, dst, last);
	emit_rr(em, ZYDIS_MNEMONIC_SUB, dst, mem);
	ret[n] = load_size(g, mem, EMIT_MEM(mem, -word));
	if (!ret[n])
		emit_rr(em, ZYDIS_MNEMONIC_SUB, dst, mem);
}

int guard_check_chunk(const struct finding *f, struct err *e)
{
	if (f->bound != BOUND_CHUNK)
		return 0;
	if (f->start_offset < 0 || f->start_offset > INT16_MAX || f->part_of > INT32_MAX || f->end_offset > INT32_MAX ||
	    (f->part_of && f->end_offset <= f->start_offset))
		return err_set_addr(e, ERR_REFUSED, f->culprit.v, "the heap chunk's bounds make no sense");
	return 0;
}

int guard_span(const struct finding *f, int32_t *ret, struct err *e)
{
	uint64_t end = finding_bias(f) + (uint64_t)f->end_offset;
	uint64_t word = f->is_32bit ? 4 : 8, length = f->error_length ? f->error_length : word;

	if (f->bound != BOUND_MODULE) {
		*ret = GUARD_SPAN;
		return 0;
	}
	if (f->error_address.v < end || f->error_address.v - end > GUARD_SPAN)
		return err_set_addr(e, ERR_REFUSED, f->culprit.v,
				    "what was corrupted, at 0x%" PRIx64
				    ", is not behind the object that ends at 0x%" PRIx64,
				    f->error_address.v, end);
	*ret = (int32_t)(f->error_address.v - end + length);
	return 0;
}
