/* SPDX-License-Identifier: GPL-2.0-or-later */
/* clouder checkpoints: those of a VM that are kept, what they take, and what taking them took. */
#include <string.h>

#include "base/term.h"
#include "cli/cli.h"
#include "cli/ctl_client.h"
#include "cli/json_out.h"

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

static void print_list(FILE *out, const json_t *list)
{
	const json_t *row;
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
	json_t *request = json_pack("{s:s}", "verb", "checkpoints"), *answer;
	int rc = ctl_client_ask(c->n_operands ? c->operands[0] : NULL, request, &answer, e);

	json_decref(request);
	if (rc < 0)
		return -1;
	if (c->json)
		return json_out(c->out, answer, e);
	print_list(c->out, json_object_get(answer, "checkpoints"));
	json_decref(answer);
	return 0;
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
