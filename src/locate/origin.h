/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where a pointer that a function holds came from, by the function's code alone: back through copies, additions and
 * words of the frame, on all ways that lead to an instruction, to what made it (a call's result, a load, an argument).
 */
#ifndef CLOUDER_LOCATE_ORIGIN_H
#define CLOUDER_LOCATE_ORIGIN_H

#include <stdbool.h>
#include <stdint.h>

#include "locate/code.h"
#include "locate/x86.h"

/* A register, or if gpr is X86_NO_REG the word of the frame that begins `slot` bytes from the CFA. */
struct origin_place {
	uint8_t gpr;
	int64_t slot;
};

#define ORIGIN_ROOTS_MAX 8

/* What made a value. */
struct origin_roots {
	unsigned n; /* 0: it is a number, no pointer */
	uint64_t root[ORIGIN_ROOTS_MAX]; /* each stands for one place in the code, without order: an instruction, by
					    number, or something else that is more than all of these */
	int64_t disp; /* origin_of_store(): what the store adds to it */
	bool summed; /* something variable was added on some way */
	unsigned n_steps;
	uint32_t step
		[ORIGIN_ROOTS_MAX]; /* instructions on the ways, by number, that add something constant; some of them */
};

/* Whether anything was added. */
static inline bool origin_moved(const struct origin_roots *r)
{
	return r->summed || r->n_steps;
}

struct origin;

/* The root that the frame's own address `slot` bytes from the CFA is. */
uint64_t origin_frame(int64_t slot);

/* The analysis of a function; depth as code_fn_depths() filled it. Both must stay. NULL: no memory. */
struct origin *origin_create(const struct code_fn *fn, const struct code_depth *depth);
void origin_destroy(struct origin *o);

/* Fills *ret for what is in the place right before instruction k. false: some way there is not understood. */
bool origin_of(struct origin *o, uint32_t k, struct origin_place place, struct origin_roots *ret);

/* Which of two registers that are added up before instruction k is the pointer. false: it cannot be told. */
bool origin_pointer_of(struct origin *o, uint32_t k, uint8_t a, uint8_t b, uint8_t *ret);

/* The same for the pointer that a plain store's address is made from, or the frame's place that it names. false: it cannot be told, or is none. */
bool origin_of_store(struct origin *o, uint32_t k, const struct x86_store *st, struct origin_roots *ret);

/* Whether it is an address that was made of the frame's own place, on every way: the lowest such place, from the CFA. */
bool origin_in_frame(const struct origin_roots *r, int64_t *ret);

/* Whether root i is what a place held when the function was entered. */
bool origin_at_entry(const struct origin_roots *r, unsigned i, struct origin_place *ret);

/* Whether both are pointers that the same instructions made. */
bool origin_same(const struct origin_roots *a, const struct origin_roots *b);

/* The word of the frame that [base + disp] is at instruction k. false: it is none. */
bool origin_slot(const struct origin *o, uint32_t k, uint8_t base, int64_t disp, int64_t *ret);

#endif
