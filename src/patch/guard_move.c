/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Every way through the code is followed from where it is entered. What no way leads to must be data at the end, which an
 * operand names. 32-bit code that names places in itself is left alone: what it computes with them cannot be told.
 */
#include "patch/guard_move.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "locate/x86.h"
#include "patch/emit.h"

static_assert(GUARD_MOVE_MAX >= EMIT_MAX, "all that is emitted can be moved");

struct walk {
	const struct guard_move *m;
	uint8_t *code;
	size_t len, end; /* end: of the instructions so far */
	bool begins[GUARD_MOVE_MAX], covered[GUARD_MOVE_MAX]; /* an instruction */
	bool named[GUARD_MOVE_MAX]; /* by an operand */
	uint8_t ahead[2 * GUARD_MOVE_MAX + 2]; /* to be followed yet */
	size_t n_ahead;
};

static int refuse(const struct walk *w, size_t at, const char *why, struct err *e)
{
	return err_set_addr(e, ERR_REFUSED, w->m->from + at,
			    "the guard cannot be moved to where the file has room: byte %zu of it %s", at, why);
}

static uint64_t wrap(const struct walk *w, uint64_t address)
{
	return w->m->is_32bit ? (uint32_t)address : address;
}

static bool is_inside(const struct walk *w, uint64_t address, size_t *ret)
{
	uint64_t at = wrap(w, address - w->m->from);

	if (at >= w->len)
		return false;
	*ret = at;
	return true;
}

static void follow(struct walk *w, size_t at)
{
	if (at < w->len && !w->begins[at] && w->n_ahead < sizeof(w->ahead))
		w->ahead[w->n_ahead++] = (uint8_t)at;
}

static bool ends_way(const struct x86_insn *in)
{
	return in->i.meta.category == ZYDIS_CATEGORY_UNCOND_BR || in->i.meta.category == ZYDIS_CATEGORY_RET ||
	       in->i.mnemonic == ZYDIS_MNEMONIC_UD2 || in->i.mnemonic == ZYDIS_MNEMONIC_INT3 ||
	       in->i.mnemonic == ZYDIS_MNEMONIC_HLT;
}

/* Whether a 32-bit word of the instruction could be an address in the code. */
static bool names_itself(const struct walk *w, const struct x86_insn *in, size_t at)
{
	size_t inside;
	uint32_t v;

	for (size_t k = 0; w->m->is_32bit && k + sizeof(v) <= in->i.length; k++) {
		memcpy(&v, w->code + at + k, sizeof(v));
		if (is_inside(w, v, &inside))
			return true;
	}
	return false;
}

/* The 32-bit distance at `field` of the instruction is made anew, to what was at `target`. */
static int aim(struct walk *w, const struct x86_insn *in, size_t at, size_t field, unsigned bits, uint64_t target,
	       struct err *e)
{
	int64_t distance = (int64_t)(w->m->place(w->m->arg, wrap(w, target)) - (w->m->to + at + in->i.length));
	int32_t rel32 = (int32_t)distance;

	if (bits != 32)
		return refuse(w, at, "leads out of it by a short distance", e);
	if (distance != rel32 && !w->m->is_32bit)
		return refuse(w, at, "leads to what would be out of reach", e);
	memcpy(w->code + at + field, &rel32, sizeof(rel32));
	return 0;
}

static int redo_relative(struct walk *w, const struct x86_insn *in, size_t at, struct err *e)
{
	bool is_branch = in->op[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE && in->op[0].imm.is_relative;
	uint64_t target;
	size_t inside;

	if (!x86_relative(in, w->m->from + at, &target))
		return refuse(w, at, "has a relative operand that is not understood", e);
	if (!is_inside(w, target, &inside))
		return aim(w, in, at, is_branch ? in->i.raw.imm[0].offset : in->i.raw.disp.offset,
			   is_branch ? in->i.raw.imm[0].size : in->i.raw.disp.size, target, e);
	if (!is_branch)
		w->named[inside] = true;
	else if (in->i.meta.category == ZYDIS_CATEGORY_CALL)
		return refuse(w, at, "takes the address of another", e);
	else
		follow(w, inside);
	return 0;
}

static int walk_one(struct walk *w, size_t at, struct err *e)
{
	struct x86_insn in;

	if (!x86_decode_mode(w->m->is_32bit ? X86_MODE_32 : X86_MODE_64, w->code + at, w->len - at, &in))
		return refuse(w, at, "is no instruction", e);
	for (size_t k = 0; k < in.i.length; k++) {
		if (w->covered[at + k])
			return refuse(w, at, "is in the middle of another instruction", e);
		w->covered[at + k] = true;
	}
	w->begins[at] = true;
	if (at + in.i.length > w->end)
		w->end = at + in.i.length;
	if (!ends_way(&in)) {
		if (at + in.i.length >= w->len)
			return refuse(w, at, "runs out of it", e);
		follow(w, at + in.i.length);
	}
	if (in.i.attributes & ZYDIS_ATTRIB_IS_RELATIVE)
		return redo_relative(w, &in, at, e);
	return names_itself(w, &in, at) ? refuse(w, at, "has the address of another", e) : 0;
}

/* Nothing but data behind the code, and nothing else in it. One byte may be the end's mark, see emit_end(). */
static int check_rest(const struct walk *w, struct err *e)
{
	for (size_t at = 0; at < w->end; at++)
		if (!w->covered[at] || w->named[at])
			return refuse(w, at, "is neither code nor data", e);
	if (w->len - w->end > 1 && !w->named[w->end])
		return refuse(w, w->end, "is not reached", e);
	return 0;
}

int guard_move(const struct guard_move *m, uint8_t *code, size_t len, struct err *e)
{
	struct walk w = {.m = m, .code = code, .len = len};

	if (!len || len > GUARD_MOVE_MAX)
		return err_set(e, ERR_REFUSED, "a guard of %zu bytes cannot be moved", len);
	follow(&w, 0);
	follow(&w, m->part_at);
	while (w.n_ahead) {
		size_t at = w.ahead[--w.n_ahead];

		if (!w.begins[at] && walk_one(&w, at, e) < 0)
			return -1;
	}
	return check_rest(&w, e);
}
