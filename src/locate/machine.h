/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A processor in miniature: runs a function of a process to see what it does, on a copy of the memory that it touches.
 *
 * Goals: string functions, system calls' wrappers and printing as C libraries have them, in 64-bit and 32-bit code with general
 * registers, SSE and AVX. Non-goals: floating point, AVX-512, other threads, speed. Nothing that runs has an effect on the process or
 * on the host; an instruction that is not known ends the run, and so do too many of them, or too many pages. The code is the
 * guest's: it decides what it computes, nothing else.
 */
#ifndef CLOUDER_LOCATE_MACHINE_H
#define CLOUDER_LOCATE_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "locate/reader.h"

struct machine;

/* Memory of the run's own, which shadows what the process has there (below where programs are mapped). */
#define MACHINE_OWN 0x100000u
#define MACHINE_OWN_END 0x180000u
/* In it, for the caller's use; the stack is below. */
#define MACHINE_DATA 0x150000u

#define MACHINE_ARGS_MAX 8u

struct machine_source {
	struct code_reader rd; /* the process */
	bool is_32bit;
	uint64_t fs, gs; /* segment bases of the thread */
};

enum machine_end {
	MACHINE_RETURNED,
	MACHINE_KERNEL, /* it enters the kernel: machine_call_number() and its arguments can be asked */
	MACHINE_STOPPED, /* something that is not known, or too much of it */
};

/* NULL: no memory. *ret: machine_destroy(). */
struct machine *machine_create(const struct machine_source *src);
void machine_destroy(struct machine *m);
bool machine_is_32bit(const struct machine *m);

/* Forgets all that was written. */
void machine_reset(struct machine *m);
/* false: such memory cannot be had. */
bool machine_read(struct machine *m, uint64_t at, void *ret, size_t len);
bool machine_write(struct machine *m, uint64_t at, const void *bytes, size_t len);

/* Prepares a call of a function with n arguments (at most MACHINE_ARGS_MAX) of the System V ABI. */
void machine_call(struct machine *m, struct gva function, const uint64_t *args, unsigned n);
/* Runs on, after MACHINE_KERNEL too, but not more than a number of instructions from machine_call() on. */
enum machine_end machine_run(struct machine *m);

/*
 * Runs on until a call or jump has been made: *ret is where it leads, *ret_arg the first argument there. false: the run has
 * ended.
 */
bool machine_run_to_jump(struct machine *m, struct gva *ret, uint64_t *ret_arg);

/* What the function returned. */
uint64_t machine_result(const struct machine *m);
/* Of the function's registers and stack, those that are no arguments of it: whether it used what was in them. */
bool machine_used_others(const struct machine *m);
/* After MACHINE_KERNEL. */
uint64_t machine_call_number(const struct machine *m);
uint64_t machine_call_arg(const struct machine *m, unsigned k); /* 0 to 3 */
void machine_call_answer(struct machine *m, int64_t value);
/* Where the run is. */
struct gva machine_at(const struct machine *m);

#endif
