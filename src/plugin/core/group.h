/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which accesses of a block lie at a constant distance from an earlier one of the same block, so that the
 * earlier one, their leader, can be asked for all of them.
 *
 * Base, index, scale and segment must be the same, and the registers unchanged or changed by known amounts. The rules
 * besides see to it that a member on the leader's page runs when its leader did:
 *
 *   - a member that stores has a leader that stores;
 *   - no instruction is between them that can stop the block other than by a memory access (struct taint_insn.stops);
 *   - the leader's access is one, of a size that the emulator reports at once.
 *
 * Where several processors store to the same memory the order of labels is that of the data only if each store is
 * told when it is made. Such stores are no members, but for those on the stack, which is one thread's.
 *
 * Pure; the guest chooses the code, nothing it can write makes more than n * TAINT_GROUP_LEADERS steps.
 */
#ifndef CLOUDER_PLUGIN_CORE_GROUP_H
#define CLOUDER_PLUGIN_CORE_GROUP_H

#include "plugin/core/insn.h"

#define TAINT_GROUPS 8u
#define TAINT_GROUP_NONE 0xffu
/* Leaders that an access is compared with, at most. */
#define TAINT_GROUP_LEADERS 16u

/* What leader and members of a group touch: bytes [lo, hi) from the leader's address on, in units of 8 bytes. */
struct taint_group {
	int8_t lo; /* <= 0 */
	int8_t hi; /* > 0 */
};

/* An instruction's part in the groups of its block. */
struct taint_place {
	uint8_t group; /* TAINT_GROUP_NONE: none */
	bool leads;
	int16_t distance; /* of a member's address from its leader's, in bytes */
};

/*
 * in: the n instructions of a block, in order, all of them (also those that carry no taint). alone: which of them are to
 * be told by themselves, neither members nor leaders. shared: several processors run. Fills ret[0..n) and the groups that
 * it returns the number of.
 */
unsigned taint_group(const struct taint_insn *const *in, const bool *alone, unsigned n, bool shared,
		     struct taint_place *ret, struct taint_group group[TAINT_GROUPS]);

#endif
