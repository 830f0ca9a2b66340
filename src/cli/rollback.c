/* SPDX-License-Identifier: GPL-2.0-or-later */
/* clouder rollback: takes a VM back to one of its checkpoints, from where it goes on. */
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

static bool is_number(const char *text)
{
	return *text && !text[strspn(text, "0123456789")];
}

/* The operands: [NAME] [NUMBER]; one that has digits only is the number. */
static int read_operands(const struct cli_call *c, const char **ret_name, uint64_t *ret_number, struct err *e)
{
	const char *number = NULL;

	*ret_name = NULL;
	*ret_number = 0;
	if (c->n_operands == 2 || (c->n_operands == 1 && is_number(c->operands[0])))
		number = c->operands[c->n_operands - 1];
	if (c->n_operands && c->operands[0] != number)
		*ret_name = c->operands[0];
	if (!number)
		return 0;
	*ret_number = is_number(number) && strlen(number) <= 18 ? strtoull(number, NULL, 10) : 0;
	if (!*ret_number)
		return err_set(e, ERR_USAGE, "\"%.60s\" is no number of a checkpoint: 'clouder checkpoints' lists them",
			       number);
	return 0;
}

static json_int_t value(const json_t *j, const char *key)
{
	return json_integer_value(json_object_get(j, key));
}

static void print_answer(FILE *out, const json_t *j)
{
	const char *input = json_string_value(json_object_get(j, "input"));
	bool dropped = input && strcmp(input, "dropped") == 0;

	fprintf(out,
		"back at checkpoint %" JSON_INTEGER_FORMAT ", %" JSON_INTEGER_FORMAT " ms ago: %" JSON_INTEGER_FORMAT
		" pages undone in %" JSON_INTEGER_FORMAT " us\n",
		value(j, "number"), value(j, "age_ms"), value(j, "pages_undone"), value(j, "took_us"));
	fprintf(out, "input since then: %" JSON_INTEGER_FORMAT " frames %s", value(j, "frames"),
		dropped ? "dropped" : "delivered again");
	if (dropped)
		fprintf(out, ", %" JSON_INTEGER_FORMAT " connections reset", value(j, "connections_reset"));
	putc('\n', out);
	if (value(j, "patches_missing"))
		fprintf(out, "%" JSON_INTEGER_FORMAT " patches could not be put in at that checkpoint\n",
			value(j, "patches_missing"));
}

static int rollback_run(struct cli_call *c, struct err *e)
{
	json_t *request;
	const char *name;
	uint64_t number;

	if (c->replay && c->drop)
		return err_set(e, ERR_USAGE, "--replay and --drop exclude each other");
	if (read_operands(c, &name, &number, e) < 0)
		return -1;
	request = json_pack("{s:s, s:b}", "verb", "rollback", "drop", c->drop);
	if (number)
		json_object_set_new(request, "number", json_integer((json_int_t)number));
	return cli_ask(c, name, request, print_answer, e);
}

static const struct opt opts[] = {
	{.name = "replay",
	 .help = "deliver the input since the checkpoint again (the default)",
	 .parse = opts_parse_flag,
	 .offset = offsetof(struct cli_call, replay)},
	{.name = "drop",
	 .help = "do not deliver it; connections that it came over are reset",
	 .parse = opts_parse_flag,
	 .offset = offsetof(struct cli_call, drop)},
	CLI_OPT_JSON,
};

const struct cli_verb cli_rollback_verb = {
	.name = "rollback",
	.args = "[NAME] [NUMBER] [--replay|--drop] [--json]",
	.help = "take a VM back to a checkpoint, the newest or that NUMBER",
	.opts = opts,
	.n_opts = sizeof(opts) / sizeof(opts[0]),
	.max_operands = 2,
	.run = rollback_run,
};
