/* SPDX-License-Identifier: GPL-2.0-or-later */
/* clouder show: all about one incident. */
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/json_out.h"
#include "report/report.h"
#include "store/store.h"

static int show_run(struct cli_call *c, struct err *e)
{
	const char *id = c->operands[0];
	size_t digits = strspn(id, "0123456789");
	struct store *s = NULL;
	struct incident in;
	int rc;

	if (digits < 1 || digits > 18 || id[digits])
		return err_set(e, ERR_USAGE, "\"%.40s\" is not an incident's number: 'clouder incidents' lists them",
			       id);
	if (store_open(NULL, true, &s, e) < 0)
		return -1;
	rc = store_get_incident(s, strtoll(id, NULL, 10), &in, e);
	store_close(s);
	if (rc < 0)
		return -1;
	if (c->json)
		return json_out(c->out, incident_to_json(&in), e);
	report_incident(c->out, &in, c->colour);
	return 0;
}

static const struct opt opts[] = {CLI_OPT_JSON};

const struct cli_verb cli_show_verb = {
	.name = "show",
	.args = "ID [--json]",
	.help = "show one incident: what, where, the patch, the times",
	.opts = opts,
	.n_opts = sizeof(opts) / sizeof(opts[0]),
	.min_operands = 1,
	.max_operands = 1,
	.run = show_run,
};
