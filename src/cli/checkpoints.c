/* SPDX-License-Identifier: GPL-2.0-or-later */
/* clouder checkpoints: those of a VM that are kept, what they take, and what taking them took. */
#include <string.h>

#include "base/term.h"
#include "cli/cli.h"

/* The columns of the list. */
static const struct {
	const char *title, *field;
	int width;
} columns[] = {
	{"NUMBER", "number", 8},     {"AGE-MS", "age_ms", 10},	  {"WHY", "why", 9},
	{"PAGES", "pages", 8},	     {"BYTES", "undo_bytes", 12}, {"STATE-BYTES", "state_bytes", 12},
	{"PAUSE-US", "pause_us", 9}, {"USABLE", "usable", 6},
};

#define N_COLUMNS (sizeof(columns) / sizeof(columns[0]))

static void print_value(FILE *out, const json_t *value, int width)
{
	char text[32];

	if (json_is_integer(value))
		snprintf(text, sizeof(text), "%" JSON_INTEGER_FORMAT, json_integer_value(value));
	else if (json_is_boolean(value))
		snprintf(text, sizeof(text), "%s", json_is_true(value) ? "yes" : "no");
	else
		snprintf(text, sizeof(text), "%.30s", json_is_string(value) ? json_string_value(value) : "-");
	fprintf(out, "%*s", width > (int)strlen(text) ? width - (int)strlen(text) : 0, "");
	term_print(out, text);
}

static void print_list(FILE *out, const json_t *answer)
{
	const json_t *list = json_object_get(answer, "checkpoints"), *row;
	size_t i;

	if (!json_array_size(list)) {
		fputs("no checkpoint is kept: one is taken when input comes, or by 'clouder checkpoint'\n", out);
		return;
	}
	for (size_t k = 0; k < N_COLUMNS; k++)
		fprintf(out, "%s%*s", k ? " " : "", columns[k].width, columns[k].title);
	putc('\n', out);
	json_array_foreach (list, i, row) {
		for (size_t k = 0; k < N_COLUMNS; k++) {
			fputs(k ? " " : "", out);
			print_value(out, json_object_get(row, columns[k].field), columns[k].width);
		}
		putc('\n', out);
	}
}

static int checkpoints_run(struct cli_call *c, struct err *e)
{
	return cli_ask(c, c->n_operands ? c->operands[0] : NULL, json_pack("{s:s}", "verb", "checkpoints"), print_list,
		       e);
}

static const struct opt opts[] = {CLI_OPT_JSON};

const struct cli_verb cli_checkpoints_verb = {
	.name = "checkpoints",
	.args = "[NAME] [--json]",
	.help = "list the checkpoints of a VM",
	.opts = opts,
	.n_opts = sizeof(opts) / sizeof(opts[0]),
	.max_operands = 1,
	.run = checkpoints_run,
};
