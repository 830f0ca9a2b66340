/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a test says to guard_runner, which runs code in 64-bit or 32-bit mode: over a pipe, a struct guard_hello first
 * from the runner; then struct guard_run and the image's bytes from the test, and both again from the runner.
 */
#ifndef CLOUDER_TESTS_GUARD_RUNNER_H
#define CLOUDER_TESTS_GUARD_RUNNER_H

#include <stdint.h>

#define IMAGE_SIZE 0x8000u
#define SEEN_ARGS 10

/* What can be called. */
enum guard_callee {
	CALLEE_NONE, /* returns the result of struct guard_run */
	CALLEE_SPRINTF,
	CALLEE_VSPRINTF,
	CALLEE_VSNPRINTF,
	CALLEE_SNPRINTF,
	CALLEE_SSCANF,
	CALLEE_VSSCANF,
	CALLEE_GETCHAR, /* the next byte of the input of struct guard_run; EOF at its zero */
	CALLEES
};

struct guard_hello {
	uint64_t original, helper; /* entries for the program's call and the guard's; both record how they are called */
};

/* How an entry was called. */
struct guard_seen {
	uint64_t count;
	uint64_t sp, ret; /* the stack pointer, and the return address there */
	uint64_t arg[SEEN_ARGS]; /* registers, then stack; in 32-bit code all from the stack */
};

struct guard_run {
	uint64_t base; /* where the image is mapped */
	uint64_t entry; /* where to begin */
	uint64_t
		exit; /* offset in the image: the runner puts the address there that the code has to jump to at its end */
	uint64_t gpr[16]; /* in and out */
	double fp[8]; /* in: vector registers, in 64-bit mode */
	uint64_t result;
	uint64_t input; /* offset in the image */
	uint32_t original, helper; /* enum guard_callee */
	struct guard_seen seen[2]; /* out: original, helper */
};

#endif
