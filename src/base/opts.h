/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Command-line options from a table; the same rows give the usage text and read configuration files. */
#ifndef CLOUDER_BASE_OPTS_H
#define CLOUDER_BASE_OPTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/err.h"

#define OPTS_MAX 32

struct opt {
	const char *name; /* without the dashes */
	const char *arg; /* what the usage calls the value; NULL: a flag */
	const char *help;
	/* Puts value (NULL for a flag) into *field; on failure the text says what is wrong, without naming the option. */
	int (*parse)(const struct opt *o, const char *value, void *field, struct err *e);
	size_t offset; /* of the field in the target */
	long min, max; /* of a number; a flag of opts_parse_value sets min */
	const char *const *choices; /* of opts_parse_choice: NULL-terminated */
};

/* Parsers for rows. The field is: */
int opts_parse_flag(const struct opt *o, const char *value, void *field, struct err *e); /* bool, set to true */
int opts_parse_value(const struct opt *o, const char *value, void *field, struct err *e); /* int, set to min */
int opts_parse_pointer(const struct opt *o, const char *value, void *field,
		       struct err *e); /* const char *, not copied */
int opts_parse_number(const struct opt *o, const char *value, void *field,
		      struct err *e); /* unsigned, decimal, min..max */
int opts_parse_choice(const struct opt *o, const char *value, void *field, struct err *e); /* int, index in choices */

/*
 * Reads the options of argv (argv[0] is skipped) into target. operands_last: stop at the first operand; else operands
 * may stand among the options, and argv is reordered. *ret_first: index of the first operand. ERR_USAGE on failure.
 */
int opts_parse(const struct opt *table, size_t n, bool operands_last, int argc, char **argv, void *target,
	       int *ret_first, struct err *e) MUST_CHECK;

/* The row of that name, or NULL. */
const struct opt *opts_find(const struct opt *table, size_t n, const char *name);

/* One line for each row. */
void opts_print_help(FILE *out, const struct opt *table, size_t n);

#endif
