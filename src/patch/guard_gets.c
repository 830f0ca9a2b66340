/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guards of gets: the line is read with getchar in its place. What does not fit is read, too, and left out, so that the
 * next line begins where it does for a correct program.
 */
#include "patch/call_internal.h"

#define RBX 3

/* What is on the stack while the line is read, from the lowest: rbp, rbx, the line's start, the return address. */
static struct emit_mem start_of_line(const struct call *c)
{
	return EMIT_MEM(X86_RSP, 2 * guard_word(&c->g));
}

/* rbx = the destination, rbp = the room. */
static void save(struct call *c)
{
	uint8_t dst = c->g.f->dst_arg;

	call_push_arg(c, dst);
	call_push(c, RBX);
	call_push(c, X86_RBP);
	if (call_arg_in_reg(c, dst))
		call_copy(c, RBX, call_arg_reg[dst]);
	else
		call_with_arg(c, ZYDIS_MNEMONIC_MOV, RBX, dst);
	call_copy(c, X86_RBP, c->room);
}

/* Gives back what save() kept; the line's start goes to `start`. */
static void restore(struct call *c, uint8_t start)
{
	emit_r(c->g.em, ZYDIS_MNEMONIC_POP, X86_RBP);
	emit_r(c->g.em, ZYDIS_MNEMONIC_POP, RBX);
	emit_r(c->g.em, ZYDIS_MNEMONIC_POP, start);
}

/* Up to the end of the line (*ret_line is taken then), or of the input (*ret_eof; rax is -1). */
static int read_line(struct call *c, uint32_t *ret_line, uint32_t *ret_eof, struct err *e)
{
	static const uint8_t store_al[] = {0x88, 0x03}; /* mov [rbx], al */
	struct emitter *em = c->g.em;
	uint32_t loop = em->len;

	if (call_helper(c, e))
		return -1;
	emit_ri(em, ZYDIS_MNEMONIC_CMP, RAX | EMIT_LOW32, '\n');
	*ret_line = emit_forward(em, ZYDIS_MNEMONIC_JZ);
	emit_rr(em, ZYDIS_MNEMONIC_TEST, RAX | EMIT_LOW32, RAX | EMIT_LOW32);
	*ret_eof = emit_forward(em, ZYDIS_MNEMONIC_JS);
	emit_ri(em, ZYDIS_MNEMONIC_CMP, X86_RBP | EMIT_LOW32, 1);
	emit_back(em, ZYDIS_MNEMONIC_JBE, loop);
	emit_bytes(em, store_al, sizeof(store_al));
	emit_r(em, ZYDIS_MNEMONIC_INC, RBX);
	emit_r(em, ZYDIS_MNEMONIC_DEC, X86_RBP | EMIT_LOW32);
	emit_back(em, ZYDIS_MNEMONIC_JMP, loop);
	return 0;
}

int call_gets(struct call *c, struct err *e)
{
	struct emitter *em = c->g.em;
	uint32_t line, eof, none, full;

	if (!c->g.f->helper[0] || c->g.f->dst_arg != 0)
		return err_set(e, ERR_REFUSED, "no function is known that reads one character");
	call_room(c);
	save(c);
	if (read_line(c, &line, &eof, e))
		return -1;
	emit_here(em, eof);
	emit_rm(em, ZYDIS_MNEMONIC_CMP, RBX, start_of_line(c));
	none = emit_forward(em, ZYDIS_MNEMONIC_JZ);
	emit_here(em, line);
	emit_rr(em, ZYDIS_MNEMONIC_TEST, X86_RBP | EMIT_LOW32, X86_RBP | EMIT_LOW32);
	full = emit_forward(em, ZYDIS_MNEMONIC_JZ);
	emit_mi(em, ZYDIS_MNEMONIC_MOV, EMIT_MEM(RBX, 0), 0, 1);
	emit_here(em, full);
	restore(c, RAX);
	emit_plain(em, ZYDIS_MNEMONIC_RET);
	emit_here(em, none);
	restore(c, RCX);
	emit_r(em, ZYDIS_MNEMONIC_INC, RAX | EMIT_LOW32); /* NULL */
	call_return(c);
	return 0;
}
