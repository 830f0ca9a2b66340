/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The command line: one table of verbs, one file for each verb. */
#ifndef CLOUDER_CLI_CLI_H
#define CLOUDER_CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <jansson.h>

#include "base/err.h"
#include "base/opts.h"

#define CLI_FAILURE 1
#define CLI_USAGE 2

/* A verb called: where to write, and the options of all verbs together. */
struct cli_call {
	FILE *out;
	bool colour; /* out wants it */
	bool json;
	bool threads, raw;
	bool replay, drop;
	bool allow_unsigned;
	const char *output, *elf;
	const char *vm;
	int64_t since_ms;
	unsigned timeout_s;
	unsigned pid, length; /* 0: not given */
	uint64_t at;
	int n_operands;
	char **operands;
};

struct cli_verb {
	const char *name;
	const char *args; /* for the usage line */
	const char *help; /* one line */
	const struct opt *opts; /* into struct cli_call */
	size_t n_opts;
	void (*list)(FILE *out); /* more of the usage text: what stands behind the verb; or NULL */
	int min_operands, max_operands;
	/* 0 or another exit status; -1: *e says what is wrong. */
	int (*run)(struct cli_call *c, struct err *e);
	/* Instead of the above: a verb that reads its arguments and reports its errors itself, and its usage text. */
	int (*run_raw)(int argc, char **argv);
	const char *usage;
};

extern const struct cli_verb cli_run_verb, cli_status_verb, cli_incidents_verb, cli_show_verb, cli_stop_verb,
	cli_events_verb, cli_taint_verb, cli_checkpoint_verb, cli_checkpoints_verb, cli_rollback_verb, cli_vmi_verb,
	cli_patch_verb;

/*
 * Runs the verb of argv[1]; results go to out. Returns the exit status, or -1 with *e filled (ERR_USAGE: the status is
 * CLI_USAGE, else CLI_FAILURE). argv may be reordered.
 */
int cli_main(int argc, char **argv, FILE *out, struct err *e) MUST_CHECK;

/*
 * Has VM `name` (NULL: the only one) answer the request, which is taken (NULL: out of memory), and prints the answer: as JSON if that
 * is wanted, else by print.
 */
int cli_ask(const struct cli_call *c, const char *name, json_t *request, void (*print)(FILE *out, const json_t *answer),
	    struct err *e) MUST_CHECK;

/* uint64_t, hexadecimal with 0x, or decimal; for a table of options (o may be NULL). */
int cli_parse_address(const struct opt *o, const char *value, void *field, struct err *e) MUST_CHECK;

/* Common rows: --json. */
#define CLI_OPT_JSON                                                                                                   \
	{                                                                                                              \
		.name = "json", .help = "print JSON", .parse = opts_parse_flag,                                        \
		.offset = offsetof(struct cli_call, json)                                                              \
	}

#endif
