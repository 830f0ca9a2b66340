/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Encodings of all forms of all instructions that can be tried here. */
#ifndef TESTS_TAINT_CORPUS_H
#define TESTS_TAINT_CORPUS_H

#include "trial.h"

#define FORMS_MAX 32768u
#define ENCODINGS_EACH 2u

/* Mnemonic, kinds and sizes of operands, prefixes: what may be treated in a way of its own. */
struct form {
	uint64_t key; /* 0: unused */
	unsigned seen;
	uint8_t code[ENCODINGS_EACH][16];
};

/* Goes through all opcodes with random operands; fills FORMS_MAX entries and returns how many are used. */
unsigned corpus_make(struct form *ret);

#endif
