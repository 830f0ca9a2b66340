/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What was measured, and how it is shown: a table for people, JSON for programs. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

#include "work.h"

#define RUNS_MAX 101

/* All measurements of one piece of work. */
struct series {
	const char *name;
	enum work_group group;
	unsigned requests; /* 0: not counted in requests */
	int runs;
	struct sample sample[VM_SYSTEMS][RUNS_MAX];
	json_t *counters; /* by how much CloudER's counters grew in all runs; NULL: not known */
};

/* The cost of labels, in bytes unless it says otherwise. */
struct memory_cost {
	uint64_t ram, shadow_before, shadow_after, tainted_bytes, tainted_pages, sent;
};

struct report {
	enum work_clock clock; /* the one that ratios are made of, but for traffic */
	struct series series[16];
	size_t n;
	struct memory_cost memory; /* sent == 0: not measured */
	json_t *host; /* strings: what it was measured on */
};

/* Ratio of the medians, CloudER to plain; 0 where there is nothing to compare. */
double report_ratio(const struct series *s, enum work_clock clock);
/* The same of two numeric objects: what grew by how much, as a new object with paths for names, zeros left out. */
json_t *report_growth(const json_t *before, const json_t *after);
/* Adds the members of more to those of sum, a new object where sum is NULL. */
json_t *report_add(json_t *sum, const json_t *more);

void report_print(const struct report *r, FILE *to);
/* A new reference. */
json_t *report_json(const struct report *r);

#endif
