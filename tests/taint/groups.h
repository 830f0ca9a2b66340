/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The kinds of instructions that must be tried, and which of them the processor has. */
#ifndef TESTS_TAINT_GROUPS_H
#define TESTS_TAINT_GROUPS_H

#include "trial.h"

#define GROUPS_MAX 48u
#define GROUP_NONE UINT32_MAX

/* The first group that the instruction fits; GROUP_NONE: none, it is not to be tried. */
unsigned group_of(const struct trial *t);
unsigned group_count(void);
const char *group_name(unsigned group);
/* Whether the processor runs it, by CPUID. */
bool group_here(unsigned group);
/* Moves, shuffles, extensions, masks and shifts by constants: what must be followed exactly. */
bool group_exact(const struct trial *t);

#endif
