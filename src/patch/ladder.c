/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The same object, and what was corrupted begins earlier: the bound shrinks. Another object: a guard for it is put before those that
 * are there. The same object and no earlier: guards of this kind do not help.
 *
 * A bound that was too wide comes from what the first attack hit: it ran over a neighbour without its being noticed,
 * and the second one hits the neighbour.
 */
#include "patch/ladder.h"

#include <string.h>

static bool overlap(const struct finding *a, const struct finding *b)
{
	return a->start_offset < b->end_offset && b->start_offset < a->end_offset;
}

static bool same_caller_build(const struct finding *a, const struct finding *b)
{
	return a->caller.build_id_len == b->caller.build_id_len &&
	       memcmp(a->caller.build_id, b->caller.build_id, a->caller.build_id_len) == 0;
}

static bool same_frame(const struct finding *a, const struct finding *b)
{
	return a->cfa.reg == b->cfa.reg && a->cfa.offset == b->cfa.offset && same_caller_build(a, b) &&
	       a->caller_return.v - finding_bias(a) == b->caller_return.v - finding_bias(b) &&
	       a->caller_slot == b->caller_slot;
}

static bool same_object(const struct finding *a, const struct finding *b)
{
	if (a->kind != b->kind || a->effect != b->effect || a->bound != b->bound)
		return false;
	if (a->kind == FINDING_CALL && a->effect == CALL_FORMAT)
		return true;
	switch (a->bound) {
	case BOUND_FRAME:
	case BOUND_CALLER:
		return same_frame(a, b) && overlap(a, b);
	case BOUND_CHUNK:
		return a->part_of == b->part_of && (!a->part_of || overlap(a, b));
	case BOUND_ARGUMENT:
		return true;
	case BOUND_MODULE:
		break;
	}
	return same_caller_build(a, b) && overlap(a, b);
}

/* Where what was corrupted ends, in the module. */
static uint64_t end_of_error(const struct finding *f)
{
	uint32_t word = f->is_32bit ? 4 : 8;

	return f->error_address.v - finding_bias(f) + (f->error_length ? f->error_length : word);
}

/* A store through a pointer is kept from static data only as far as something was found corrupted. */
static bool reaches_further(const struct finding *old, const struct finding *f)
{
	return f->bound == BOUND_MODULE && f->pointer_store && end_of_error(f) > end_of_error(old);
}

/* Makes *f the closer of both. false: it is no closer than the old one. */
static bool shrink(const struct finding *old, struct finding *f)
{
	bool further = reaches_further(old, f);

	if ((f->bound == BOUND_CHUNK && !f->part_of) || f->bound == BOUND_ARGUMENT)
		return false;
	if (f->kind == FINDING_CALL && f->effect == CALL_FORMAT)
		return false;
	if (f->end_offset >= old->end_offset && !further)
		return false;
	if (old->end_offset < f->end_offset)
		f->end_offset = old->end_offset;
	/* of a part of a chunk it says where the destination is */
	if (old->start_offset < f->start_offset && f->bound != BOUND_CHUNK)
		f->start_offset = old->start_offset;
	if (f->bound == BOUND_MODULE && f->pointer_store && !further) {
		f->error_address = gva(old->error_address.v - finding_bias(old) + finding_bias(f));
		f->error_length = old->error_length;
	}
	return true;
}

enum ladder_step ladder_next(const struct finding *const *old, size_t n, struct finding *f)
{
	if (n >= LADDER_MAX)
		return LADDER_NONE;
	for (size_t k = 0; k < n; k++)
		if (same_object(old[k], f)) {
			if (!shrink(old[k], f))
				return LADDER_NONE;
			return n == 1 ? LADDER_REPLACE : LADDER_CHAIN;
		}
	return LADDER_CHAIN;
}
