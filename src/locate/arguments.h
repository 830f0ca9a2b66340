/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the code says about the arguments of a call: where their values come from. */
#ifndef CLOUDER_LOCATE_ARGUMENTS_H
#define CLOUDER_LOCATE_ARGUMENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "locate/code.h"

/* The first arguments of 64-bit code, in their order, x86 encoding. */
#define ARGUMENTS_IN_REGISTERS 6u
extern const uint8_t arguments_in_registers[ARGUMENTS_IN_REGISTERS];

enum argument_kind {
	ARGUMENT_UNKNOWN,
	ARGUMENT_CONSTANT, /* value: the number or address */
	ARGUMENT_FRAME, /* value: distance from the CFA */
	/* What is told only by the state at the call: */
	ARGUMENT_FRAME_WORD, /* the word in memory that is `value` from the CFA */
	ARGUMENT_WORD, /* the word at address `value` */
	ARGUMENT_REGISTER, /* what gpr, which calls keep, holds at the call, plus value */
	ARGUMENT_REGISTER_WORD, /* the word at that address */
	ARGUMENT_PARAMETER, /* the function's own argument `value` */
};

struct argument {
	enum argument_kind kind;
	int64_t value;
	uint8_t gpr; /* of the REGISTER kinds; x86 encoding */
};

/*
 * Argument n (from 0; registers of the System V ABI in 64-bit code, the stack in 32-bit code) of the call that is instruction
 * `call` of fn. depth: from code_fn_depths(). Only what holds on the one straight way to the call is told.
 */
struct argument argument_of_call(const struct code_fn *fn, const struct code_depth *depth, uint32_t call, unsigned n);

#endif
