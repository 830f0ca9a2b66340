/* SPDX-License-Identifier: GPL-2.0-or-later */
/* clouder stop: ends a VM and waits until its supervisor is gone. */
#include "cli/cli.h"
#include "cli/ctl_client.h"

static int stop_run(struct cli_call *c, struct err *e)
{
	struct ctl_client *client;
	json_t *answer;
	int rc;

	if (ctl_client_open(c->operands[0], &client, e) < 0)
		return -1;
	rc = ctl_client_call(client, "stop", &answer, e);
	if (rc == 0) {
		json_decref(answer);
		rc = ctl_client_wait_end(client, (int)c->timeout_s * 1000, e);
	}
	ctl_client_close(client);
	return rc;
}

static const struct opt opts[] = {
	{.name = "timeout",
	 .arg = "S",
	 .help = "wait at most S seconds, 0 to 86400 (default: 30)",
	 .parse = opts_parse_number,
	 .offset = offsetof(struct cli_call, timeout_s),
	 .max = 86400},
};

const struct cli_verb cli_stop_verb = {
	.name = "stop",
	.args = "NAME [--timeout S]",
	.help = "end a VM",
	.opts = opts,
	.n_opts = sizeof(opts) / sizeof(opts[0]),
	.min_operands = 1,
	.max_operands = 1,
	.run = stop_run,
};
