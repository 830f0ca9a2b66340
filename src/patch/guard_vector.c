/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guards of calls that read into several buffers: readv, recvmsg. Of those that begin in the object, the length is lowered to what
 * fits, in the program's own list.
 */
#include "patch/call_internal.h"

/* Offsets in struct msghdr. */
#define LIST64 16
#define COUNT64 24
#define LIST32 8
#define COUNT32 12

static int32_t word(const struct call *c)
{
	return guard_word(&c->g);
}

/* at = the list, left = how many buffers are in it. */
static void load_list(struct call *c, uint8_t at, uint8_t left)
{
	const struct finding *f = c->g.f;
	bool is_32bit = f->is_32bit;

	call_with_arg(c, ZYDIS_MNEMONIC_MOV, at, f->src_arg);
	if (f->len_arg != CALL_NO_ARG) {
		call_with_arg(c, ZYDIS_MNEMONIC_MOV, left | EMIT_LOW32, f->len_arg);
		return;
	}
	emit_rm(c->g.em, ZYDIS_MNEMONIC_MOV, left, EMIT_MEM(at, is_32bit ? COUNT32 : COUNT64));
	emit_rm(c->g.em, ZYDIS_MNEMONIC_MOV, at, EMIT_MEM(at, is_32bit ? LIST32 : LIST64));
}

int call_vector(struct call *c, struct err *e)
{
	const struct finding *f = c->g.f;
	const uint8_t at = c->room, left = c->spare, room = RAX;
	const int64_t size = f->end_offset - f->start_offset;
	struct emitter *em = c->g.em;
	uint32_t other, loop, ended, outside, fits;

	if (f->is_32bit || (f->bound != BOUND_FRAME && f->bound != BOUND_CALLER && f->bound != BOUND_MODULE))
		return err_set(e, ERR_REFUSED, "a list of buffers whose object cannot be told while it is read");
	other = guard_check_caller(&c->g, room);
	if (other)
		c->others[c->n_others++] = other;
	load_list(c, at, left);
	loop = em->len;
	emit_rr(em, ZYDIS_MNEMONIC_TEST, left, left);
	ended = emit_forward(em, ZYDIS_MNEMONIC_JZ);
	guard_bound(&c->g, room, f->end_offset);
	emit_rm(em, ZYDIS_MNEMONIC_SUB, room, EMIT_MEM(at, 0));
	emit_ri(em, ZYDIS_MNEMONIC_CMP, room, (int32_t)size);
	outside = emit_forward(em, ZYDIS_MNEMONIC_JNBE);
	emit_mr(em, ZYDIS_MNEMONIC_CMP, EMIT_MEM(at, word(c)), room);
	fits = emit_forward(em, ZYDIS_MNEMONIC_JBE);
	emit_mr(em, ZYDIS_MNEMONIC_MOV, EMIT_MEM(at, word(c)), room);
	emit_here(em, outside);
	emit_here(em, fits);
	emit_lea(em, at, EMIT_MEM(at, 2 * word(c)));
	emit_r(em, ZYDIS_MNEMONIC_DEC, left);
	emit_back(em, ZYDIS_MNEMONIC_JMP, loop);
	emit_here(em, ended);
	call_original(c);
	return 0;
}
