/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Compares what the processor does with what the engine says. */
#ifndef TESTS_TAINT_CHECK_H
#define TESTS_TAINT_CHECK_H

#include "groups.h"
#include "trial.h"

/* What can be wrong. */
enum wrong {
	WRONG_LOST, /* a byte changed that is not tainted */
	WRONG_UPPER, /* the upper half of a register that is cleared is tainted */
	WRONG_INEXACT, /* a byte that an exact instruction cannot change is tainted */
	WRONG_PLACE, /* an access, a written register or a constant change is not as said */
	WRONG_LOOKUP, /* a byte that an index chose is not tainted */
	WRONG_SAID, /* a register is tainted, but the engine did not say that any is */
	WRONGS,
};

struct tally {
	unsigned long long encodings, states, faulted;
	unsigned long long lookups; /* states of which the index was flipped */
	unsigned long long pairs, never; /* input and output bytes that the engine connects; those that never changed */
	unsigned long long wrong[WRONGS];
};

/* By group, and by mnemonic. */
extern struct tally tallies[GROUPS_MAX];
extern uint32_t states_of[ZYDIS_MNEMONIC_MAX_VALUE + 1], wrong_of[ZYDIS_MNEMONIC_MAX_VALUE + 1];
extern const char *const wrong_names[WRONGS];

/* Runs so many states of an instruction and counts what comes out; prints what is wrong. Returns the states run. */
unsigned check_encoding(struct trial *t, unsigned states);

#endif
