/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Finds accesses at constant distances: one pass over a block with what is known of its registers. */
#include "plugin/core/group.h"

#include <string.h>

#define UNIT 8
#define ACCESS_MAX 16
#define RSP 4u

/* A register's value: unknown, but the same unknown for the same version, plus a constant. */
struct value {
	uint32_t version;
	int64_t plus;
};

/* An address, as a sum of unknown values and a constant. */
struct address {
	struct taint_mem mem; /* base, index, scale, seg */
	uint32_t base, index; /* versions */
	int64_t plus;
};

struct leader {
	struct address at;
	unsigned insn;
	bool stores;
	int64_t lo, hi; /* bytes from its address on */
};

struct search {
	struct value reg[16];
	uint32_t versions;
	int64_t rip; /* of the next instruction, from the block's start on */
	struct leader leader[TAINT_GROUP_LEADERS];
	unsigned leaders;
	unsigned groups;
};

/* Where access m is while the registers are as before its instruction. */
static struct address address_of(const struct search *s, const struct taint_mem *m)
{
	struct address a = {.mem = *m, .plus = m->disp};

	if (m->base < 16) {
		a.base = s->reg[m->base].version;
		a.plus += s->reg[m->base].plus;
	} else if (m->base == TAINT_GPR_RIP) {
		a.plus += s->rip;
	}
	if (m->index < 16) {
		a.index = s->reg[m->index].version;
		a.plus += s->reg[m->index].plus * m->scale;
	}
	return a;
}

static bool same_but_constant(const struct address *a, const struct address *b)
{
	return a->mem.base == b->mem.base && a->mem.index == b->mem.index && a->mem.seg == b->mem.seg &&
	       (a->mem.index == TAINT_GPR_NONE || a->mem.scale == b->mem.scale) && a->base == b->base &&
	       a->index == b->index;
}

/* One access, which happens whenever the instruction runs, of all that it does to memory. */
static bool is_single(const struct taint_insn *in)
{
	const struct taint_mem *m = &in->mem[0];

	return in->n_mem == 1 && m->known && m->size && m->size <= ACCESS_MAX && m->read == in->has_load &&
	       m->written == in->has_store && !in->needs_begin && !in->addr32 && !in->repeats && !in->area &&
	       !in->is_ret && in->cls != TAINT_INSN_REFUSED;
}

/* What is wider, and read and written, may be told in parts. */
static bool can_lead(const struct taint_insn *in)
{
	uint8_t size = in->mem[0].size;

	return is_single(in) && !(size & (size - 1)) && !(in->updates && size == ACCESS_MAX);
}

static bool can_follow(const struct taint_insn *in, bool shared)
{
	const struct taint_mem *m = &in->mem[0];

	return is_single(in) && in->alignment && !in->exchanges && (!in->has_load || in->load_len == m->size) &&
	       (!in->has_store || in->store_len == m->size) && (!shared || !in->has_store || m->base == RSP);
}

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* Whether the leader's span can be made to hold n bytes at the distance; it then does. */
static bool stretch(struct leader *l, int64_t distance, int64_t n)
{
	int64_t lo = least(l->lo, distance), hi = -least(-l->hi, -(distance + n));

	if (lo < INT8_MIN * UNIT || hi > INT8_MAX * UNIT)
		return false;
	l->lo = lo;
	l->hi = hi;
	return true;
}

/* The byte before a byte that is stored tells what it is. */
static int64_t looks_before(const struct taint_insn *in)
{
	return in->has_store && in->mem[0].size == 1;
}

static bool lead_by(struct search *s, struct leader *l, const struct taint_insn *in, const struct address *at,
		    struct taint_place *ret, struct taint_place *place)
{
	struct taint_place *first = &ret[l->insn];
	int64_t distance = at->plus - l->at.plus, before = looks_before(in);

	if (!same_but_constant(&l->at, at) || (in->has_store && !l->stores) ||
	    (!first->leads && s->groups == TAINT_GROUPS) || !stretch(l, distance - before, in->mem[0].size + before))
		return false;
	if (!first->leads)
		*first = (struct taint_place){.group = (uint8_t)s->groups++, .leads = true};
	*place = (struct taint_place){.group = first->group, .distance = (int16_t)distance};
	return true;
}

static void add_leader(struct search *s, unsigned insn, const struct taint_insn *in, const struct address *at)
{
	if (s->leaders == TAINT_GROUP_LEADERS || !can_lead(in))
		return;
	s->leader[s->leaders++] = (struct leader){
		.at = *at, .insn = insn, .stores = in->has_store, .lo = -looks_before(in), .hi = in->mem[0].size};
}

static void place_access(struct search *s, unsigned insn, const struct taint_insn *in, bool shared,
			 struct taint_place *ret)
{
	struct address at = address_of(s, &in->mem[0]);

	if (!is_single(in))
		return;
	for (unsigned i = 0; can_follow(in, shared) && i < s->leaders; i++)
		if (lead_by(s, &s->leader[i], in, &at, ret, &ret[insn]))
			return;
	add_leader(s, insn, in, &at);
}

/* What the instruction leaves of what is known. */
static void change_registers(struct search *s, const struct taint_insn *in)
{
	for (unsigned r = 0; r < 16; r++) {
		if (r == in->delta_reg)
			s->reg[r].plus += in->delta;
		else if (in->gpr_written >> r & 1)
			s->reg[r] = (struct value){.version = ++s->versions};
	}
}

/* The groups' spans, from those of the leaders that have members. */
static void fill_group(const struct search *s, const struct taint_place *ret, struct taint_group *group)
{
	for (unsigned i = 0; i < s->leaders; i++) {
		const struct leader *l = &s->leader[i];

		if (ret[l->insn].leads)
			group[ret[l->insn].group] = (struct taint_group){.lo = (int8_t) - ((-l->lo + UNIT - 1) / UNIT),
									 .hi = (int8_t)((l->hi + UNIT - 1) / UNIT)};
	}
}

unsigned taint_group(const struct taint_insn *const *in, const bool *alone, unsigned n, bool shared,
		     struct taint_place *ret, struct taint_group group[TAINT_GROUPS])
{
	struct search s;

	memset(&s, 0, sizeof(s));
	for (unsigned r = 0; r < 16; r++)
		s.reg[r].version = ++s.versions;
	for (unsigned i = 0; i < n; i++) {
		ret[i] = (struct taint_place){.group = TAINT_GROUP_NONE};
		s.rip += in[i]->len;
		if (in[i]->stops) {
			fill_group(&s, ret, group);
			s.leaders = 0;
		} else if (!alone[i]) {
			place_access(&s, i, in[i], shared, ret);
		}
		change_registers(&s, in[i]);
	}
	fill_group(&s, ret, group);
	return s.groups;
}
