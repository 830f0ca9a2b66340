/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a call instruction calls, and what that does to the memory it is given. */
#ifndef CLOUDER_LOCATE_CALLEE_H
#define CLOUDER_LOCATE_CALLEE_H

#include <stdbool.h>
#include <stdint.h>

#include "locate/finding.h"
#include "locate/symtab.h"

/* A function that writes through a pointer. Arguments from 0, CALL_NO_ARG: has none. */
struct callee_known {
	const char *name;
	enum call_effect effect;
	uint8_t dst, src, len, chk;
	uint8_t format; /* the argument that a hostile format would be */
};

/*
 * The row for a function of the C library, under its own name or one that the library uses inside (__memmove_avx_unaligned,
 * __isoc99_sscanf). NULL: none.
 */
const struct callee_known *callee_known(const char *name);

/* Whether lengths of the function, and the sizes that the compiler tells it, count wide characters of 4 bytes. */
bool callee_is_wide(const char *name);

/* "vsnprintf" for what prints without a length, "getchar" for gets; NULL: none is needed. */
const char *callee_helper(const struct callee_known *k);

/* Where names come from. */
struct callee_source {
	struct code_reader rd;
	const struct vmi_module *module; /* with the call */
	const struct dynamic *dynamic; /* of that module; NULL: none */
	const struct symtab *symtab; /* .symtab of its file; NULL: not to be had */
};

/* Where a call or jump leads. */
struct callee_target {
	struct gva at; /* in the module; 0: through a slot or a register */
	struct gva slot; /* the pointer that it goes through, directly or by a stub; 0: none */
	char name[SYMTAB_NAME_MAX]; /* "": not known */
};

/* Follows the instruction at `at` (len bytes). false: it is neither call nor jump. */
bool callee_follow(const struct callee_source *src, struct gva at, uint8_t len, struct callee_target *ret);

/* The name of the function that covers `at`: one that is known, if it has several. false: no symbol is there. */
bool callee_name_at(const struct symtab *t, struct gva at, char ret[SYMTAB_NAME_MAX]);

/*
 * Whether the function hands its own arguments on, unchanged, in its one jump out of the function (a tail call): then where
 * that leads. Any call in it, or any write to what holds arguments, says no.
 */
bool callee_passes_on(const struct callee_source *src, struct gva function, struct gva end, struct callee_target *ret);

#endif
