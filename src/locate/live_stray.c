/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A pointer that leads nowhere was loaded from memory, and the word there came from the outside. Either the word was overwritten,
 * or the program should never have read it: an index led out of the table that the load names, which is in a frame, to
 * what other functions keep there. What was read so is as it should be where it is, and who wrote it is no culprit.
 *
 * The way back is by the code: from the pointer to the load that made it, through the arguments of the calls on the stack.
 */
#include <stdlib.h>

#include "locate/arguments.h"
#include "locate/code_internal.h"
#include "locate/live.h"
#include "locate/origin.h"
#include "locate/x86.h"

#define FRAMES_MAX 6u
#define PLACES_MAX 12u

struct places {
	unsigned n;
	struct origin_place p[PLACES_MAX];
};

struct stray {
	struct live *l;
	const struct chain_frame *c;
	struct code_fn *fn;
	struct code_depth *depth;
	struct origin *o;
	struct places at, passed; /* of this frame; of the one that called it, in terms of this one's CFA */
	bool found;
};

static void add(struct places *ps, uint8_t gpr, int64_t slot)
{
	if (ps->n < PLACES_MAX)
		ps->p[ps->n++] = (struct origin_place){gpr, slot};
}

/* Where arguments of a call are, in terms of the CFA of what is called. */
static void add_arguments(const struct live *l, struct places *ps)
{
	for (unsigned i = 0; i < ARGUMENTS_IN_REGISTERS; i++)
		if (l->src.is_32bit)
			add(ps, X86_NO_REG, 4 * (int64_t)i);
		else
			add(ps, arguments_in_registers[i], 0);
}

static bool open_frame(struct stray *s)
{
	if (!s->c->cfa.v || chain_frame_code(&s->l->src, s->c, &s->fn, NULL))
		return false;
	s->depth = code_fn_depths_of_call(s->fn);
	s->o = s->depth ? origin_create(s->fn, s->depth) : NULL;
	return s->o != NULL;
}

static void close_frame(struct stray *s)
{
	origin_destroy(s->o);
	free(s->depth);
	code_fn_destroy(s->fn);
	s->o = NULL;
	s->depth = NULL;
	s->fn = NULL;
}

/* The registers by which the instruction reaches memory. */
static void add_operands(struct stray *s, uint32_t k)
{
	struct x86_insn in;

	if (!code_fn_decode(s->fn, k, &in))
		return;
	for (unsigned i = 0; i < in.i.operand_count_visible; i++) {
		if (in.op[i].type != ZYDIS_OPERAND_TYPE_MEMORY)
			continue;
		if (x86_gpr(in.op[i].mem.base) < 16)
			add(&s->at, x86_gpr(in.op[i].mem.base), 0);
		if (x86_gpr(in.op[i].mem.index) < 16)
			add(&s->at, x86_gpr(in.op[i].mem.index), 0);
	}
}

/* The table of the frame, from its CFA, that instruction k loads an element of, a whole word. */
static bool loads_element(const struct stray *s, uint32_t k, int64_t *ret)
{
	struct origin_roots base;
	struct x86_insn in;
	int64_t slot;
	uint8_t gpr;

	if (k >= s->fn->n_insn || !code_fn_decode(s->fn, k, &in) || in.i.mnemonic != ZYDIS_MNEMONIC_MOV ||
	    in.op[1].type != ZYDIS_OPERAND_TYPE_MEMORY || in.op[1].mem.index == ZYDIS_REGISTER_NONE ||
	    in.op[1].mem.scale != (s->l->src.is_32bit ? 4 : 8))
		return false;
	gpr = x86_gpr(in.op[1].mem.base);
	if (origin_slot(s->o, k, gpr, in.op[1].mem.disp.value, ret))
		return true;
	if (gpr >= 16 || !origin_of(s->o, k, (struct origin_place){gpr, 0}, &base) || origin_moved(&base) ||
	    !origin_in_frame(&base, &slot))
		return false;
	*ret = slot + in.op[1].mem.disp.value;
	return true;
}

/* Whether the load at instruction k has left its frame to read what the pointer was read from. */
static bool strays(const struct stray *s, uint32_t k)
{
	uint64_t word = s->l->in->detect->object_gva, table;
	int64_t slot;

	if (!loads_element(s, k, &slot))
		return false;
	table = s->c->cfa.v + (uint64_t)slot;
	return table >= s->c->sp.v && table < s->c->cfa.v && (word < s->c->sp.v || word >= s->c->cfa.v) &&
	       (word - table) % (s->l->src.is_32bit ? 4 : 8) == 0;
}

static void look_back(struct stray *s, uint32_t k, struct origin_place p)
{
	struct origin_roots roots;
	struct origin_place entry;

	if (p.gpr == X86_NO_REG && p.slot >= 0) {
		add(&s->passed, X86_NO_REG, p.slot); /* it is an argument of its own */
		return;
	}
	if (!origin_of(s->o, k, p, &roots))
		return;
	for (unsigned i = 0; i < roots.n && !s->found; i++) {
		if (origin_at_entry(&roots, i, &entry))
			add(&s->passed, entry.gpr, entry.slot);
		else
			s->found = roots.root[i] < s->fn->n_insn && strays(s, (uint32_t)roots.root[i]);
	}
}

/* Goes through one frame. at: what leads to the pointer there. */
static void look_in(struct stray *s, unsigned k)
{
	const struct code_insn *ci;
	uint32_t insn;

	s->passed.n = 0;
	if (live_is_c_library(s->c->module) || live_in_nameless_library(s->l, k)) {
		add_arguments(s->l, &s->passed); /* it has been given the pointer: by which of them does not matter */
		return;
	}
	ci = open_frame(s) ? chain_frame_insn(s->c, s->fn) : NULL;
	if (ci && (s->c->exact || ci->flow == CODE_CALL)) {
		insn = (uint32_t)(ci - s->fn->insn);
		if (s->c->exact)
			add_operands(s, insn);
		for (unsigned i = 0; i < s->at.n && !s->found; i++)
			look_back(s, insn, s->at.p[i]);
	}
	close_frame(s);
}

bool live_strayed(struct live *l)
{
	struct stray s = {.l = l};
	const struct chain *c = l->chain;

	for (unsigned k = 0; k < c->n && k < FRAMES_MAX && c->frame[k].module && !s.found; k++) {
		s.c = &c->frame[k];
		look_in(&s, k);
		s.at = s.passed;
		for (unsigned i = 0; i < s.at.n && k + 1 < c->n; i++)
			if (s.at.p[i].gpr == X86_NO_REG)
				s.at.p[i].slot += (int64_t)(s.c->cfa.v - c->frame[k + 1].cfa.v);
		if (!s.at.n)
			break;
	}
	return s.found;
}
