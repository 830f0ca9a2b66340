/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What guards of stores and of calls have in common: how they find the object's bounds. */
#ifndef CLOUDER_PATCH_GUARD_INTERNAL_H
#define CLOUDER_PATCH_GUARD_INTERNAL_H

#include "patch/guard.h"

#define GUARD_SPAN (8 << 20) /* bytes above a stack object that a store through a pointer must not touch */

/* A guard in the making. */
struct guard {
	struct emitter *em;
	const struct finding *f;
	const struct code_reader *rd; /* the process; may be NULL */
	struct guard_link *link;
	int32_t lower; /* bytes by which the stack pointer is lower now than at the culprit */
	uint64_t returns; /* of a call: what the word below the culprit's stack pointer holds; 0: not known */
};

static inline int32_t guard_word(const struct guard *g)
{
	return g->f->is_32bit ? 4 : 8;
}

/* dst = an address of the module, by the return address on the stack where that is shorter. */
void guard_address(const struct guard *g, uint8_t dst, uint64_t address);

/* The place `offset` from the CFA. */
struct emit_mem guard_frame(const struct guard *g, int64_t offset);

/*
 * dst = the address that is `offset` in the terms of the finding's bound: from the CFA, or from the module's bias. Not for
 * BOUND_CHUNK.
 */
void guard_bound(const struct guard *g, uint8_t dst, int64_t offset);

/* If the object is a caller's: a jump that is taken when somebody else called. 0: no jump emitted. */
uint32_t guard_check_caller(const struct guard *g, uint8_t scratch);

/* ERR_REFUSED: f is for a heap chunk, and its bounds are none. */
int guard_check_chunk(const struct finding *f, struct err *e) MUST_CHECK;

/*
 * dst = how many bytes may be written from the address in register `at` on, which points start_offset bytes into a chunk
 * of glibc's allocator. The jumps in ret (0: unused) are taken where that is no chunk's, for all that can be seen.
 */
#define GUARD_CHUNK_JUMPS 4
void guard_chunk_room(const struct guard *g, uint8_t dst, uint8_t at, uint32_t ret[GUARD_CHUNK_JUMPS]);

/*
 * dst = how far the address `last`, of the last byte to be written, is behind the end of the chunk that the finding's base
 * points into; negative inside. mem is used up. ret as above.
 */
void guard_chunk_distance(const struct guard *g, uint8_t dst, uint8_t mem, struct emit_mem last,
			  uint32_t ret[GUARD_CHUNK_JUMPS]);

/*
 * Bytes above the object that are kept from a store through a pointer. On the stack everything within reach: what
 * lies above is frames that a loop in this one has no business in. Among static data only as far as the end of what
 * was found corrupted: the next variable may be what the pointer points to next time. ERR_REFUSED: cannot be told.
 */
int guard_span(const struct finding *f, int32_t *ret, struct err *e) MUST_CHECK;

/* The routine of a guarded call, which is entered with the return address on the stack. */
int guard_emit_call_routine(struct guard *g, struct err *e) MUST_CHECK;

/* The whole of a guarded call, which is the last of the bug instructions. *ret_name: the strategy's name. */
int guard_emit_call(struct guard *g, const char **ret_name, struct err *e) MUST_CHECK;

#endif
