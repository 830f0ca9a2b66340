/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Option tables: see opts.h. */
#include "base/opts.h"

#include <assert.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#define VAL_BASE 256 /* getopt values of the rows start here, so that no row looks like a letter */

int opts_parse_flag(const struct opt *o, const char *value, void *field, struct err *e)
{
	(void)o, (void)value, (void)e;
	*(bool *)field = true;
	return 0;
}

int opts_parse_value(const struct opt *o, const char *value, void *field, struct err *e)
{
	(void)value, (void)e;
	*(int *)field = (int)o->min;
	return 0;
}

int opts_parse_pointer(const struct opt *o, const char *value, void *field, struct err *e)
{
	(void)o, (void)e;
	*(const char **)field = value;
	return 0;
}

int opts_parse_number(const struct opt *o, const char *value, void *field, struct err *e)
{
	size_t len = strlen(value);
	long n = -1;

	if (len >= 1 && len <= 9 && strspn(value, "0123456789") == len)
		n = strtol(value, NULL, 10);
	if (n < 0 || n < o->min || n > o->max)
		return err_set(e, ERR_USAGE, "\"%.40s\" is not a whole number from %ld to %ld", value, o->min, o->max);
	*(unsigned *)field = (unsigned)n;
	return 0;
}

int opts_parse_choice(const struct opt *o, const char *value, void *field, struct err *e)
{
	char list[128] = "";
	size_t n = 0;

	for (int i = 0; o->choices[i]; i++) {
		if (strcmp(value, o->choices[i]) == 0) {
			*(int *)field = i;
			return 0;
		}
		if (n < sizeof(list))
			n += (size_t)snprintf(list + n, sizeof(list) - n, "%s%s", i ? ", " : "", o->choices[i]);
	}
	return err_set(e, ERR_USAGE, "\"%.40s\" is not one of: %s", value, list);
}

/* The option getopt has just refused, as the user wrote it. */
static int refused(int c, const char *word, int val, const struct opt *table, struct err *e)
{
	if (c == ':')
		return err_set(e, ERR_USAGE, "--%s needs a value: --%s %s", table[val - VAL_BASE].name,
			       table[val - VAL_BASE].name, table[val - VAL_BASE].arg);
	if (val >= VAL_BASE)
		return err_set(e, ERR_USAGE, "--%s takes no value", table[val - VAL_BASE].name);
	if (val > ' ' && val < 0x7f && word[1] != '-')
		return err_set(e, ERR_USAGE, "unknown option \"-%c\"", val);
	return err_set(e, ERR_USAGE, "unknown option \"%.80s\"", word);
}

int opts_parse(const struct opt *table, size_t n, bool operands_last, int argc, char **argv, void *target,
	       int *ret_first, struct err *e)
{
	struct option longopts[OPTS_MAX + 1] = {0};
	int c;

	assert(n <= OPTS_MAX);
	for (size_t i = 0; i < n; i++)
		longopts[i] = (struct option){.name = table[i].name,
					      .has_arg = table[i].arg ? required_argument : no_argument,
					      .val = VAL_BASE + (int)i};
	opterr = 0;
	optind = 0; /* glibc: start anew */
	while ((c = getopt_long(argc, argv, operands_last ? "+:" : ":", longopts, NULL)) != -1) {
		const struct opt *o;

		if (c == '?' || c == ':')
			return refused(c, argv[optind - 1], optopt, table, e);
		o = &table[c - VAL_BASE];
		if (o->parse(o, optarg, (char *)target + o->offset, e) < 0)
			return err_prefix(e, "--%s", o->name);
	}
	*ret_first = optind;
	return 0;
}

const struct opt *opts_find(const struct opt *table, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(table[i].name, name) == 0)
			return &table[i];
	return NULL;
}

void opts_print_help(FILE *out, const struct opt *table, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char left[64];

		snprintf(left, sizeof(left), "--%s%s%s", table[i].name, table[i].arg ? " " : "",
			 table[i].arg ? table[i].arg : "");
		fprintf(out, "  %-26s %s\n", left, table[i].help);
	}
}
