/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The strategies: how a culprit's write is held back. */
#ifndef CLOUDER_PATCH_GUARD_H
#define CLOUDER_PATCH_GUARD_H

#include "base/err.h"
#include "locate/finding.h"
#include "locate/reader.h"
#include "patch/emit.h"

#define GUARD_NOWHERE 0xffu

/* How a guard goes together with others. Offsets are from its first byte. */
struct guard_link {
	uint64_t
		next; /* where to go instead of running the culprit as it is: part_at of another guard of it; 0: nowhere */
	uint64_t routine; /* where the guard's routine is, see guard_emit_routine(); 0: its code is in the guard */
	uint8_t part_at; /* out: where the culprit's guard begins, behind what is displaced before it */
	uint8_t culprit_at; /* out: where the culprit itself runs, in the program's state; GUARD_NOWHERE */
	uint16_t
		lower; /* out: bytes by which the stack is deeper where the guard does the culprit's work itself; 0: not told */
};

/*
 * The part of a 64-bit sprintf's guard that is the same for all of them in a module: printing within a room that is known.
 * ERR_REFUSED: f's guard has no such part.
 */
int guard_emit_routine(struct emitter *em, const struct finding *f, struct err *e) MUST_CHECK;

/* As guard_emit(), with another guard behind it. */
int guard_emit_linked(struct emitter *em, const struct finding *f, const struct code_reader *rd,
		      struct guard_link *link, const char **ret_name, struct err *e) MUST_CHECK;

/*
 * Emits the whole guard at em->at: the displaced instructions in their order, the culprit guarded, and the jump
 * back; decodes it again. rd reads the process, where a strategy depends on more than the finding (formats); NULL:
 * those are refused. *ret_name: the strategy's name (static string). ERR_REFUSED: no strategy suits.
 */
int guard_emit(struct emitter *em, const struct finding *f, const struct code_reader *rd, const char **ret_name,
	       struct err *e) MUST_CHECK;

/*
 * Whether the guard is entered by a call that ends where the displaced instructions did, so that the return address is the
 * program's own. Else it is entered by a jump.
 */
bool guard_is_called(const struct finding *f);

#endif
