/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where a culprit's frame keeps the address of the heap chunk that it writes to.
 *
 * The run shows which registers and words hold an address in the chunk, not behind where the overrun began, although the
 * write is at its end by now; the code says which of them is what the write's own address was made from, on every
 * way to it (origin.c). Both together: a register that happens to point there, and one that is for another object the next time,
 * are not taken.
 */
#include <stdlib.h>
#include <string.h>

#include "locate/arguments.h"
#include "locate/live.h"
#include "locate/origin.h"
#include "locate/x86.h"

#define FRAME_MAX 4096u /* bytes of a frame that are looked at */
#define ARGUMENTS 64u /* bytes above the CFA that are */

struct hunt {
	struct live *l;
	const struct object *o;
	const struct chain_frame *frame;
	struct code_depth *depth;
	struct origin *origin;
	uint32_t k; /* the culprit */
	struct origin_roots want; /* of the address that it writes to */
};

static unsigned word(const struct hunt *h)
{
	return h->l->src.is_32bit ? 4 : 8;
}

static bool points_there(const struct hunt *h, uint64_t value)
{
	return value >= h->o->start.v && value <= h->l->f->start_address.v;
}

static bool register_points(const struct hunt *h, uint8_t gpr)
{
	return gpr < 16 && gpr != X86_RSP && (h->frame->known >> gpr & 1) && points_there(h, h->frame->gpr[gpr]);
}

static void take(struct hunt *h, struct origin_place p, uint64_t value)
{
	struct finding *f = h->l->f;

	f->has_base = true;
	f->base = (struct finding_word){p.gpr, p.slot};
	f->start_offset = (int64_t)(value - h->o->start.v);
}

/* Whether a place always holds what the address is made from, and nothing that was added. */
static bool is_origin(struct hunt *h, struct origin_place p)
{
	struct origin_roots roots;

	return origin_of(h->origin, h->k, p, &roots) && !origin_moved(&roots) && origin_same(&roots, &h->want);
}

static bool search_registers(struct hunt *h)
{
	for (uint8_t r = 0; r < 16; r++) {
		struct origin_place p = {r, 0};

		if (register_points(h, r) && is_origin(h, p)) {
			take(h, p, h->frame->gpr[r]);
			return true;
		}
	}
	return false;
}

static bool search_frame(struct hunt *h)
{
	uint8_t bytes[FRAME_MAX + ARGUMENTS];
	uint64_t low = h->frame->sp.v, high = h->frame->cfa.v + ARGUMENTS;

	if (h->frame->cfa.v < low || h->frame->cfa.v - low > FRAME_MAX ||
	    !code_read(&h->l->src.rd, gva(low), bytes, high - low))
		return false;
	for (uint64_t at = low; at + word(h) <= high; at += word(h)) {
		struct origin_place p = {X86_NO_REG, (int64_t)(at - h->l->f->cfa_value)};
		uint64_t value = 0;

		memcpy(&value, bytes + (at - low), word(h));
		if (points_there(h, value) && is_origin(h, p)) {
			take(h, p, value);
			return true;
		}
	}
	return false;
}

static void base_of_store(struct hunt *h)
{
	const struct finding *f = h->l->f;
	unsigned mode = f->is_32bit ? X86_MODE_32 : X86_MODE_64;
	struct x86_store st;

	if (x86_store_decode_mode(mode, f->culprit_bytes, f->culprit_len, &st, NULL) || st.kind != X86_STORE_PLAIN)
		return;
	/* an array and an index: the store names it itself */
	if (register_points(h, st.base)) {
		take(h, (struct origin_place){st.base, 0}, h->frame->gpr[st.base]);
		return;
	}
	if (st.scale == 1 && register_points(h, st.index)) {
		take(h, (struct origin_place){st.index, 0}, h->frame->gpr[st.index]);
		return;
	}
	if (origin_of_store(h->origin, h->k, &st, &h->want) && !search_registers(h))
		(void)search_frame(h);
}

/* Where the call's argument n is, by the System V ABI. */
static bool argument_place(const struct hunt *h, uint8_t n, struct origin_place *ret)
{
	bool is_32bit = h->l->src.is_32bit;

	*ret = (struct origin_place){X86_NO_REG, 0};
	if (!is_32bit && n < ARGUMENTS_IN_REGISTERS) {
		ret->gpr = arguments_in_registers[n];
		return true;
	}
	n = is_32bit ? n : n - ARGUMENTS_IN_REGISTERS;
	n += h->l->fn->insn[h->k].flow == CODE_JUMP; /* behind the return address, which is there already */
	return origin_slot(h->origin, h->k, X86_RSP, word(h) * (int64_t)n, &ret->slot);
}

/* The destination is what another place holds too: that one outlives the call, and tells what it was. */
static void destination_of_call(struct hunt *h)
{
	struct finding *f = h->l->f;
	struct origin_place p;

	if (f->dst_arg == CALL_NO_ARG || !argument_place(h, f->dst_arg, &p) ||
	    !origin_of(h->origin, h->k, p, &h->want) || origin_moved(&h->want))
		return;
	if (!search_registers(h))
		(void)search_frame(h);
	f->has_base = false;
}

static void hunt(struct hunt *h)
{
	if (h->l->f->kind == FINDING_STORE)
		base_of_store(h);
	else
		destination_of_call(h);
}

/* Whether the call's destination is made of the frame's own address, and a number is added. */
static void look_for_array(struct hunt *h)
{
	struct finding *f = h->l->f;
	struct origin_place p;

	int64_t slot;

	f->own_array = f->dst_arg != CALL_NO_ARG && argument_place(h, f->dst_arg, &p) &&
		       origin_of(h->origin, h->k, p, &h->want) && origin_in_frame(&h->want, &slot);
	/* bytes behind the array may be all that this call has written */
	if (f->own_array && f->cfa_value + (uint64_t)slot < f->start_address.v)
		f->start_address = gva(f->cfa_value + (uint64_t)slot);
}

static void with_origins(struct hunt *h, void (*look)(struct hunt *h))
{
	const struct code_fn *fn = h->l->fn;
	const struct code_insn *ci = code_fn_insn(fn, h->l->f->culprit);

	h->depth = ci ? code_fn_depths_of_call(fn) : NULL;
	if (!h->depth)
		return;
	h->k = (uint32_t)(ci - fn->insn);
	h->origin = origin_create(fn, h->depth);
	if (h->origin)
		look(h);
	origin_destroy(h->origin);
	free(h->depth);
}

void live_find_base(struct live *l, const struct object *o)
{
	struct hunt h = {.l = l, .o = o, .frame = &l->chain->frame[l->frame]};

	with_origins(&h, hunt);
}

void live_find_array(struct live *l)
{
	struct hunt h = {.l = l, .frame = &l->chain->frame[l->frame]};

	with_origins(&h, look_for_array);
}
