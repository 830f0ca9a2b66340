/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is known of the instruction under test and of one state of it. */
#ifndef TESTS_TAINT_TRIAL_H
#define TESTS_TAINT_TRIAL_H

#include <Zydis/Zydis.h>
#include <stdbool.h>
#include <stdint.h>

#include "cpu.h"
#include "plugin/core/insn.h"

#define EVENTS_MAX 96u
#define PIECE 16u /* the emulator's widest access */

/* One access to memory, as the emulator would tell it. */
struct event {
	bool store;
	unsigned at, len; /* in the window */
};

struct trial {
	/* the instruction */
	uint8_t code[16];
	unsigned len;
	ZydisDecodedInstruction zi;
	ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
	const char *name;
	struct taint_insn insn; /* as kernel code */
	struct taint_insn user; /* as user code */
	unsigned group; /* see groups.h */
	bool x87; /* uses or changes x87 or MMX state */
	bool exact; /* no byte may be tainted that cannot change */
	unsigned window;
	/* a state of it */
	uint8_t image[IMAGE_MAX], result[IMAGE_MAX];
	bool input[IMAGE_MAX]; /* bytes to flip */
	struct event event[EVENTS_MAX];
	unsigned events;
	bool lazy; /* behave as a caller that leaves out what it may */
	uint64_t rfbm, held; /* state areas: components asked for, and those that the area holds */
};

uint64_t next_random(void);
unsigned below(unsigned n);
void set_seed(uint64_t seed);

bool starts(const char *s, const char *with);
/* Whether s is one of the words in list, separated by blanks. */
bool in_words(const char *list, const char *s);
bool is_mem(const ZydisDecodedOperand *op);
bool repeats(const struct trial *t);
unsigned gpr_of(ZydisRegister reg);
/* Where a register lies in the image, and how much of it may be flipped; 0: it is not in there. */
unsigned register_place(ZydisRegister reg, unsigned *ret_len);

/* Fills t with the instruction in code; false if it cannot or need not be run here. */
bool trial_decode(const uint8_t *code, struct trial *t);
/* The next state of it, at random; false if its accesses do not lie in the window. */
bool trial_state(struct trial *t);

#endif
