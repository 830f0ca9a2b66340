/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guards of printf's family where the format came from outside: it is printed as the text that it is.
 *
 * printf(s) becomes printf("%s", s), vprintf(s, list) becomes vprintf("%s", a list of s), and so on. A format in the
 * read-only part of the culprit's module is the program's own, and the call runs as it is. One that lies elsewhere (a
 * catalogue of translations, another library) is printed as text too: it cannot be told from a hostile one.
 */
#include "patch/call_internal.h"

#include <elf.h>

#include "patch/segments.h"

#define LIST_EXHAUSTED 48 /* gp_offset of a va_list whose arguments are all in memory */

int call_read_only(const struct call *c, struct gva *ret_low, struct gva *ret_high, struct err *e)
{
	const struct vmi_module *m = &c->g.f->module;
	struct segment seg[SEGMENTS_MAX];
	uint64_t high = m->high.v;
	uint32_t n;

	if (!c->g.rd)
		return err_set(e, ERR_REFUSED, "the program's formats cannot be read");
	if (segments_read(c->g.rd, m, seg, &n, e))
		return -1;
	for (uint32_t k = 0; k < n; k++)
		if (seg[k].type == PT_LOAD && (seg[k].flags & PF_W) && m->bias + seg[k].address < high)
			high = m->bias + seg[k].address;
	if (high <= m->low.v || high - m->low.v > INT32_MAX)
		return err_set(e, ERR_GUEST, "the segments of %s make no sense", m->path);
	*ret_low = m->low;
	*ret_high = gva(high);
	return 0;
}

/* To the call as it is, if the format is the program's own. */
static int check_own(struct call *c, struct err *e)
{
	struct gva low, high;

	if (call_read_only(c, &low, &high, e))
		return -1;
	guard_address(&c->g, c->room, low.v);
	call_with_arg(c, ZYDIS_MNEMONIC_MOV, c->spare, c->g.f->src_arg);
	emit_rr(c->g.em, ZYDIS_MNEMONIC_SUB, c->spare, c->room);
	emit_ri(c->g.em, ZYDIS_MNEMONIC_CMP, c->spare, (int32_t)(high.v - low.v));
	call_other_if(c, ZYDIS_MNEMONIC_JB);
	return 0;
}

static void load_data(struct call *c, uint8_t arg)
{
	emit_address(c->g.em, call_arg_reg[arg], c->data);
}

static void print_text_64(struct call *c)
{
	uint8_t format = c->g.f->src_arg;

	emit_rr(c->g.em, ZYDIS_MNEMONIC_MOV, call_arg_reg[format + 1], call_arg_reg[format]);
	load_data(c, format);
}

/* The list is the System V ABI's, of one argument in memory: the format. */
static void print_list_64(struct call *c)
{
	struct emitter *em = c->g.em;
	uint8_t format = c->g.f->src_arg, list = call_arg_reg[format + 1];

	call_push(c, call_arg_reg[format]);
	call_push(c, c->room); /* reg_save_area: none */
	emit_lea(em, c->room, EMIT_MEM(X86_RSP, 8));
	call_push(c, c->room);
	emit_push(em, LIST_EXHAUSTED);
	emit_rr(em, ZYDIS_MNEMONIC_MOV, list, X86_RSP);
	load_data(c, format);
	c->g.lower += 8;
	call_push(c, list); /* keeps the stack aligned */
	call_transfer(c, ZYDIS_MNEMONIC_CALL);
	emit_ri(em, ZYDIS_MNEMONIC_ADD, X86_RSP, 5 * 8);
}

/* All arguments again, below the program's: there may be no room for one more among them. */
static void print_again_32(struct call *c)
{
	struct emitter *em = c->g.em;
	uint8_t format = c->g.f->src_arg;
	int32_t size = 4 * (format + 2), frame;
	bool list = call_takes_list(c->g.f);

	frame = ((4 + size + (list ? 4 : 0) + 15) & ~15) - 4; /* with the return address the stack is aligned */
	if (list) {
		call_push_arg(c, format);
		emit_rr(em, ZYDIS_MNEMONIC_MOV, c->room, X86_RSP);
	}
	if (frame + 4 - size - c->g.lower)
		call_lower_stack(c, frame + 4 - size - c->g.lower);
	if (list)
		call_push(c, c->room);
	else
		call_push_arg(c, format);
	call_push_address(c, c->data);
	for (uint8_t k = format; k-- > 0;)
		call_push_arg(c, k);
	call_transfer(c, ZYDIS_MNEMONIC_CALL);
	emit_ri(em, ZYDIS_MNEMONIC_ADD, X86_RSP, frame);
}

int call_format(struct call *c, struct err *e)
{
	const struct finding *f = c->g.f;

	if (f->src_arg > CALL_REG_ARGS - 2)
		return err_set(e, ERR_REFUSED, "which argument is the format is not known");
	if (!f->module.is_main)
		return err_set(e, ERR_REFUSED, "the formats of those who call %s cannot be told from hostile ones",
			       f->module.path);
	if (check_own(c, e))
		return -1;
	if (f->is_32bit)
		print_again_32(c);
	else if (call_takes_list(f))
		print_list_64(c);
	else
		print_text_64(c);
	if (f->is_32bit || call_takes_list(f))
		call_return(c);
	else
		call_original(c);
	emit_data(c->g.em, "%s", 3);
	return 0;
}
