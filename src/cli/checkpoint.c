/* SPDX-License-Identifier: GPL-2.0-or-later */
/* clouder checkpoint: takes one of a running VM now. */
#include <inttypes.h>

#include "cli/cli.h"
#include "cli/ctl_client.h"
#include "cli/json_out.h"

static int checkpoint_run(struct cli_call *c, struct err *e)
{
	json_t *request = json_pack("{s:s}", "verb", "checkpoint"), *answer;
	int rc = ctl_client_ask(c->n_operands ? c->operands[0] : NULL, request, &answer, e);

	json_decref(request);
	if (rc < 0)
		return -1;
	if (c->json)
		return json_out(c->out, answer, e);
	fprintf(c->out,
		"checkpoint %" JSON_INTEGER_FORMAT ": the VM stood still for %" JSON_INTEGER_FORMAT
		" us, %" JSON_INTEGER_FORMAT " bytes of device state\n",
		json_integer_value(json_object_get(answer, "number")),
		json_integer_value(json_object_get(answer, "pause_us")),
		json_integer_value(json_object_get(answer, "state_bytes")));
	json_decref(answer);
	return 0;
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
