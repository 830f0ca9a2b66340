/* SPDX-License-Identifier: GPL-2.0-or-later */
/* clouder checkpoint: takes one of a running VM now. */
#include <inttypes.h>

#include "cli/cli.h"

static void print_answer(FILE *out, const json_t *answer)
{
	fprintf(out,
		"checkpoint %" JSON_INTEGER_FORMAT ": the VM stood still for %" JSON_INTEGER_FORMAT
		" us, %" JSON_INTEGER_FORMAT " bytes of device state\n",
		json_integer_value(json_object_get(answer, "number")),
		json_integer_value(json_object_get(answer, "pause_us")),
		json_integer_value(json_object_get(answer, "state_bytes")));
}

static int checkpoint_run(struct cli_call *c, struct err *e)
{
	return cli_ask(c, c->n_operands ? c->operands[0] : NULL, json_pack("{s:s}", "verb", "checkpoint"), print_answer,
		       e);
}

static const struct opt opts[] = {CLI_OPT_JSON};

const struct cli_verb cli_checkpoint_verb = {
	.name = "checkpoint",
	.args = "[NAME] [--json]",
	.help = "take a checkpoint of a VM now",
	.opts = opts,
	.n_opts = sizeof(opts) / sizeof(opts[0]),
	.max_operands = 1,
	.run = checkpoint_run,
};
