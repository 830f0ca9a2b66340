/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the code says about the arguments of a call: places in the frame and constants that are set up before it. */
#ifndef CLOUDER_LOCATE_ARGUMENTS_H
#define CLOUDER_LOCATE_ARGUMENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "locate/code.h"

enum argument_kind {
	ARGUMENT_UNKNOWN,
	ARGUMENT_CONSTANT, /* value: the number or address */
	ARGUMENT_FRAME, /* value: distance from the CFA */
};

struct argument {
	enum argument_kind kind;
	int64_t value;
};

/*
 * Argument n (from 0; registers of the System V ABI in 64-bit code, the stack in 32-bit code) of the call that is instruction
 * `call` of fn. depth: from code_fn_depths(). Only what holds on the one straight way to the call is told.
 */
struct argument argument_of_call(const struct code_fn *fn, const struct code_depth *depth, uint32_t call, unsigned n);

#endif
