/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The pieces of work that are measured, and one measurement of one of them. */
#ifndef BENCH_WORK_H
#define BENCH_WORK_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vm.h"

enum work_group {
	WORK_CLEAN, /* no tainted data in the guest at all */
	WORK_TRAFFIC, /* tainted requests are answered */
	WORK_TAINTED, /* all data that is worked on is tainted */
	WORK_GROUPS,
};

/* Clocks that a measurement has, all of the same interval. */
enum work_clock {
	CLOCK_WALL, /* the host's CLOCK_MONOTONIC */
	CLOCK_CPU, /* CPU time of QEMU's vCPU threads */
	CLOCK_ALL, /* CPU time of all threads of QEMU and the supervisor */
	CLOCK_GUEST, /* the guest's CLOCK_MONOTONIC; 0 where the guest does not measure */
	CLOCKS,
};

struct sample {
	double s[CLOCKS]; /* seconds */
	char result[80]; /* what came out, the same on both systems */
};

struct begin; /* where the clocks stood when the work began */

struct work {
	const char *name;
	enum work_group group;
	int (*run)(struct begin *b, const struct work *w, struct sample *ret);
	const char *order; /* for the guest; NULL: not done by order */
	const char *target; /* for HTTP */
	size_t length; /* bytes of it */
	unsigned requests;
};

extern const struct work works[];
extern const size_t work_count;
extern const char *const work_group_names[WORK_GROUPS];
extern const char *const work_clock_names[CLOCKS];

/* Does one piece of work in a guest that is ready. 0, or -1 with one line on standard error. */
int work_run(struct vm *vm, const struct work *w, struct sample *ret);
/* Starts a guest; the time until its services listen. vm is to be ended in any case. */
int work_boot(struct vm *vm, const struct vm_config *cfg, enum vm_system system, struct sample *ret);
/* Sends the files that the tainted work needs. */
int work_upload(struct vm *vm);
/* Sends n bytes that do not compress into a file of the guest. */
int work_send_random(struct vm *vm, const char *target, size_t n);

#endif
