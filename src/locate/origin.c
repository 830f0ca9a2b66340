/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reaching definitions, backwards.
 *
 * A state is a place right before an instruction; from it the search goes to the instructions that may have run before,
 * and through what they do to the place. It ends at instructions that make a value which cannot be followed: its roots.
 * Stores through pointers are taken not to write words of the frame. A register that is used for other things elsewhere in
 * the function does no harm: only what reaches the instruction counts.
 */
#include "locate/origin.h"

#include <stdlib.h>
#include <string.h>

#include "locate/code_internal.h"

#define SLOTS_MAX 16u
#define PLACES (16u + SLOTS_MAX)
#define STATES_MAX 16384u
#define SUMS_DEEP 3u /* sums of which the parts are looked at in turn */
#define NUMBER_MAX 0xffff /* a constant up to this is no address */
#define ENTRY (1ull << 63)
#define ELSEWHERE (1ull << 62)
#define FRAME (1ull << 61)
#define NONE UINT32_MAX

struct origin {
	const struct code_fn *fn;
	const struct code_depth *depth;
	uint32_t *from; /* n_insn: the first instruction that branches to this one */
	uint32_t *next; /* n_insn: another with the same target */
	uint32_t tables; /* the first indirect jump, NONE: there is none; others in next */
	unsigned deep;
};

struct state {
	uint32_t k;
	uint32_t place; /* its number */
};

struct search {
	struct origin *o;
	struct origin_roots *ret;
	int64_t slot[SLOTS_MAX];
	unsigned n_slots;
	uint32_t *seen; /* n_insn sets of places */
	struct state *todo;
	unsigned n_todo, n_states;
	bool bad;
};

/* --- places ------------------------------------------------------------------------------------------------ */

static uint32_t number_of(struct search *s, struct origin_place p)
{
	if (p.gpr != X86_NO_REG)
		return p.gpr;
	for (unsigned k = 0; k < s->n_slots; k++)
		if (s->slot[k] == p.slot)
			return 16 + k;
	if (s->n_slots == SLOTS_MAX) {
		s->bad = true;
		return 16;
	}
	s->slot[s->n_slots] = p.slot;
	return 16 + s->n_slots++;
}

static void visit(struct search *s, uint32_t k, struct origin_place p)
{
	uint32_t place = number_of(s, p);

	if (s->seen[k] >> place & 1)
		return;
	s->seen[k] |= 1u << place;
	if (s->n_states == STATES_MAX) {
		s->bad = true;
		return;
	}
	s->n_states++;
	s->todo[s->n_todo++] = (struct state){k, place};
}

static void add_step(struct search *s, uint32_t k)
{
	struct origin_roots *r = s->ret;

	for (unsigned i = 0; i < r->n_steps; i++)
		if (r->step[i] == k)
			return;
	if (r->n_steps < ORIGIN_ROOTS_MAX)
		r->step[r->n_steps++] = k;
}

static void add_root(struct search *s, uint64_t root)
{
	struct origin_roots *r = s->ret;

	for (unsigned k = 0; k < r->n; k++)
		if (r->root[k] == root)
			return;
	if (r->n == ORIGIN_ROOTS_MAX)
		s->bad = true;
	else
		r->root[r->n++] = root;
}

bool origin_slot(const struct origin *o, uint32_t k, uint8_t base, int64_t disp, int64_t *ret)
{
	return code_depth_slot(&o->depth[k], base, disp, ret);
}

uint64_t origin_frame(int64_t slot)
{
	return FRAME | (uint32_t)slot;
}

/* The frame's own registers are addresses in it. */
static void visit_gpr(struct search *s, uint32_t k, uint8_t gpr)
{
	int64_t slot;

	if (origin_slot(s->o, k, gpr, 0, &slot))
		add_root(s, origin_frame(slot));
	else
		visit(s, k, (struct origin_place){gpr, 0});
}

/* --- what instructions do to a place ------------------------------------------------------------------------ */

static unsigned address_bits(const struct search *s)
{
	return s->o->fn->mode == X86_MODE_64 ? 64 : 32;
}

static int64_t word(const struct search *s)
{
	return address_bits(s) / 8;
}

static bool memory_slot(const struct search *s, uint32_t k, const ZydisDecodedOperand *op, int64_t *ret)
{
	return op->type == ZYDIS_OPERAND_TYPE_MEMORY && op->mem.index == ZYDIS_REGISTER_NONE &&
	       (op->mem.segment == ZYDIS_REGISTER_SS || op->mem.segment == ZYDIS_REGISTER_DS) &&
	       origin_slot(s->o, k, x86_gpr(op->mem.base), op->mem.disp.value, ret);
}

/* The value of a whole operand that is read by instruction k. */
static void from_operand(struct search *s, uint32_t k, const ZydisDecodedOperand *op)
{
	int64_t slot;

	if (op->type == ZYDIS_OPERAND_TYPE_IMMEDIATE && llabs(op->imm.value.s) <= NUMBER_MAX)
		return;
	if (op->type == ZYDIS_OPERAND_TYPE_REGISTER && op->size == address_bits(s) && x86_gpr(op->reg.value) < 16)
		visit_gpr(s, k, x86_gpr(op->reg.value));
	else if (op->size == address_bits(s) && memory_slot(s, k, op, &slot))
		visit(s, k, (struct origin_place){X86_NO_REG, slot});
	else
		add_root(s, k);
}

static void from_sum(struct search *s, uint32_t k, uint8_t a, uint8_t b)
{
	uint8_t pointer;

	s->ret->summed = true;
	if (origin_pointer_of(s->o, k, a, b, &pointer))
		visit_gpr(s, k, pointer);
	else
		s->bad = true;
}

static void from_lea(struct search *s, uint32_t k, const struct x86_insn *in)
{
	uint8_t base = x86_gpr(in->op[1].mem.base), index = x86_gpr(in->op[1].mem.index);
	int64_t slot;

	if (origin_slot(s->o, k, base, in->op[1].mem.disp.value, &slot)) {
		s->ret->summed |= index < 16;
		add_root(s, origin_frame(slot));
		return;
	}
	if (base >= 16) {
		add_root(s, k);
		return;
	}
	if (in->op[1].mem.disp.value)
		add_step(s, k);
	if (index >= 16)
		visit_gpr(s, k, base);
	else if (in->op[1].mem.scale == 1)
		from_sum(s, k, base, index);
	else {
		s->ret->summed = true;
		visit_gpr(s, k, base);
	}
}

static void from_add(struct search *s, uint32_t k, const struct x86_insn *in, struct origin_place p)
{
	const ZydisDecodedOperand *op = &in->op[1];

	if (op->type == ZYDIS_OPERAND_TYPE_REGISTER && in->i.mnemonic == ZYDIS_MNEMONIC_ADD && p.gpr != X86_NO_REG) {
		from_sum(s, k, p.gpr, x86_gpr(op->reg.value));
		return;
	}
	/* what is subtracted, or comes from memory, is a number: the address is what it is added to */
	if (in->i.operand_count_visible < 2 || op->type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
		add_step(s, k);
	else
		s->ret->summed = true;
	visit(s, k, p);
}

/* Instruction k writes the place as its first operand. */
static void through(struct search *s, uint32_t k, const struct x86_insn *in, struct origin_place p)
{
	switch (in->i.mnemonic) {
	case ZYDIS_MNEMONIC_MOV:
		from_operand(s, k, &in->op[1]);
		return;
	case ZYDIS_MNEMONIC_LEA:
		from_lea(s, k, in);
		return;
	case ZYDIS_MNEMONIC_ADD:
	case ZYDIS_MNEMONIC_SUB:
	case ZYDIS_MNEMONIC_INC:
	case ZYDIS_MNEMONIC_DEC:
	case ZYDIS_MNEMONIC_AND:
		from_add(s, k, in, p);
		return;
	case ZYDIS_MNEMONIC_XOR:
		if (in->op[1].type == ZYDIS_OPERAND_TYPE_REGISTER && in->op[1].reg.value == in->op[0].reg.value)
			return;
		break;
	case ZYDIS_MNEMONIC_MOVZX:
	case ZYDIS_MNEMONIC_MOVSX:
	case ZYDIS_MNEMONIC_MOVSXD:
	case ZYDIS_MNEMONIC_CDQE:
		return; /* a number */
	case ZYDIS_MNEMONIC_POP:
		if (s->o->depth[k].reached && s->o->depth[k].rsp_known) {
			visit(s, k, (struct origin_place){X86_NO_REG, -s->o->depth[k].rsp});
			return;
		}
		break;
	default:
		if (in->i.meta.category == ZYDIS_CATEGORY_CMOV) {
			visit(s, k, p);
			from_operand(s, k, &in->op[1]);
			return;
		}
	}
	add_root(s, k);
}

/* Registers that a called function need not give back. */
static bool lost_in_call(const struct search *s, uint8_t gpr)
{
	static const uint32_t lost64 = 0x0fc7, lost32 = 0x0007;

	return ((s->o->fn->mode == X86_MODE_64 ? lost64 : lost32) >> gpr & 1) != 0;
}

static void register_before(struct search *s, uint32_t k, const struct x86_insn *in, uint8_t gpr)
{
	const struct origin_place p = {gpr, 0};

	if (s->o->fn->insn[k].flow == CODE_CALL ? !lost_in_call(s, gpr) : !x86_writes_gpr(in, gpr))
		visit(s, k, p);
	else if (s->o->fn->insn[k].flow == CODE_CALL)
		add_root(s, k);
	else if (in->op[0].type == ZYDIS_OPERAND_TYPE_REGISTER && x86_gpr(in->op[0].reg.value) == gpr)
		through(s, k, in, p);
	else
		add_root(s, k);
}

static void slot_before(struct search *s, uint32_t k, const struct x86_insn *in, int64_t slot)
{
	const struct origin_place p = {X86_NO_REG, slot};
	const struct code_depth *d = &s->o->depth[k];
	int64_t at;

	if (in->i.mnemonic == ZYDIS_MNEMONIC_PUSH && d->reached && d->rsp_known && -(d->rsp + word(s)) == slot)
		from_operand(s, k, &in->op[0]);
	else if (in->op[0].type == ZYDIS_OPERAND_TYPE_MEMORY && (in->op[0].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) &&
		 memory_slot(s, k, &in->op[0], &at) && at == slot)
		through(s, k, in, p);
	else
		visit(s, k, p);
}

/* What the place held behind instruction k, in terms of what was before it. */
static void before(struct search *s, uint32_t k, uint32_t place)
{
	struct x86_insn in;

	if (!code_fn_decode(s->o->fn, k, &in)) {
		s->bad = true;
		return;
	}
	if (place < 16)
		register_before(s, k, &in, (uint8_t)place);
	else
		slot_before(s, k, &in, s->slot[place - 16]);
}

/* --- the search ---------------------------------------------------------------------------------------------- */

static bool falls_through(const struct code_insn *ci)
{
	return ci->flow == CODE_NEXT || ci->flow == CODE_BRANCH || ci->flow == CODE_CALL;
}

/*
 * Arrivals from outside of the function are not followed: most that are marked are none, and a part of the function that
 * the compiler put elsewhere has the same values. What is reached only so has a root of its own; what is not reached at all
 * (padding) has none.
 */
static void step(struct search *s, struct state st)
{
	const struct origin *o = s->o;
	bool known = st.k && falls_through(&o->fn->insn[st.k - 1]);
	uint32_t from = o->from[st.k];
	bool marked;

	if (!st.k)
		add_root(s, ENTRY | (st.place < 16 ? st.place : (uint32_t)s->slot[st.place - 16] << 8 | 16));
	if (known)
		before(s, st.k - 1, st.place);
	marked = o->fn->mark[o->fn->insn[st.k].off] & CODE_MARK_TARGET;
	if (from == NONE && marked)
		from = o->tables;
	for (uint32_t j = from; j != NONE; j = o->next[j]) {
		known = true;
		before(s, j, st.place);
	}
	if (st.k && !known && marked)
		add_root(s, ELSEWHERE | st.k);
}

bool origin_of(struct origin *o, uint32_t k, struct origin_place place, struct origin_roots *ret)
{
	struct search s = {.o = o, .ret = ret};

	memset(ret, 0, sizeof(*ret));
	s.seen = calloc(o->fn->n_insn, sizeof(*s.seen));
	s.todo = calloc(STATES_MAX, sizeof(*s.todo));
	if (s.seen && s.todo && k < o->fn->n_insn && (place.gpr < 16 || place.gpr == X86_NO_REG)) {
		visit(&s, k, place);
		while (s.n_todo && !s.bad)
			step(&s, s.todo[--s.n_todo]);
	} else {
		s.bad = true;
	}
	free(s.seen);
	free(s.todo);
	return !s.bad;
}

bool origin_pointer_of(struct origin *o, uint32_t k, uint8_t a, uint8_t b, uint8_t *ret)
{
	struct origin_roots roots;
	bool found = false;

	if (a >= 16 || b >= 16 || o->deep == SUMS_DEEP)
		return false;
	o->deep++;
	if (origin_of(o, k, (struct origin_place){b, 0}, &roots) && !roots.n) {
		*ret = a;
		found = true;
	} else if (origin_of(o, k, (struct origin_place){a, 0}, &roots) && !roots.n) {
		*ret = b;
		found = true;
	}
	o->deep--;
	return found;
}

static uint8_t store_pointer(struct origin *o, uint32_t k, const struct x86_store *st)
{
	uint8_t gpr = X86_NO_REG;

	if (st->rip_relative || st->kind != X86_STORE_PLAIN)
		return X86_NO_REG;
	if (st->index == X86_NO_REG || st->scale != 1)
		return st->base;
	if (st->base == X86_NO_REG)
		return st->index;
	return origin_pointer_of(o, k, st->base, st->index, &gpr) ? gpr : X86_NO_REG;
}

bool origin_of_store(struct origin *o, uint32_t k, const struct x86_store *st, struct origin_roots *ret)
{
	struct origin_place p = {X86_NO_REG, 0};
	int64_t slot;

	if (!st->rip_relative && st->kind == X86_STORE_PLAIN && origin_slot(o, k, st->base, st->disp, &slot)) {
		*ret = (struct origin_roots){.n = 1, .root = {origin_frame(slot)}, .summed = st->index != X86_NO_REG};
		return true;
	}
	p.gpr = store_pointer(o, k, st);
	if (p.gpr >= 16 || !origin_of(o, k, p, ret))
		return false;
	ret->disp = st->disp;
	return true;
}

static bool has_root(const struct origin_roots *r, uint64_t root)
{
	for (unsigned k = 0; k < r->n; k++)
		if (r->root[k] == root)
			return true;
	return false;
}

bool origin_same(const struct origin_roots *a, const struct origin_roots *b)
{
	if (a->n != b->n || !a->n)
		return false;
	for (unsigned k = 0; k < a->n; k++)
		if (!has_root(b, a->root[k]))
			return false;
	return true;
}

static void link_branches(struct origin *o)
{
	const struct code_fn *fn = o->fn;

	o->tables = NONE;
	for (uint32_t k = 0; k < fn->n_insn; k++)
		o->from[k] = o->next[k] = NONE;
	for (uint32_t k = 0; k < fn->n_insn; k++) {
		const struct code_insn *ci = &fn->insn[k], *to;

		if (ci->flow == CODE_TABLE) {
			o->next[k] = o->tables;
			o->tables = k;
		}
		to = ci->flow == CODE_BRANCH || ci->flow == CODE_JUMP ? code_fn_insn(fn, gva(ci->target)) : NULL;
		if (!to)
			continue;
		o->next[k] = o->from[to - fn->insn];
		o->from[to - fn->insn] = k;
	}
}

struct origin *origin_create(const struct code_fn *fn, const struct code_depth *depth)
{
	struct origin *o = calloc(1, sizeof(*o));

	if (!o)
		return NULL;
	o->fn = fn;
	o->depth = depth;
	o->from = calloc(fn->n_insn, sizeof(*o->from));
	o->next = calloc(fn->n_insn, sizeof(*o->next));
	if (!o->from || !o->next) {
		origin_destroy(o);
		return NULL;
	}
	link_branches(o);
	return o;
}

void origin_destroy(struct origin *o)
{
	if (!o)
		return;
	free(o->from);
	free(o->next);
	free(o);
}

bool origin_at_entry(const struct origin_roots *r, unsigned i, struct origin_place *ret)
{
	uint32_t place = (uint32_t)r->root[i];

	if (!(r->root[i] & ENTRY))
		return false;
	*ret = place & 16 ? (struct origin_place){X86_NO_REG, (int32_t)place >> 8}
			  : (struct origin_place){(uint8_t)place, 0};
	return true;
}

bool origin_in_frame(const struct origin_roots *r, int64_t *ret)
{
	int64_t lowest = INT64_MAX;

	for (unsigned i = 0; i < r->n; i++) {
		int32_t slot = (int32_t)(uint32_t)r->root[i];

		if (!(r->root[i] & FRAME) || r->root[i] & (ENTRY | ELSEWHERE))
			return false;
		lowest = slot < lowest ? slot : lowest;
	}
	*ret = lowest;
	return r->n;
}
