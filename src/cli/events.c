/* SPDX-License-Identifier: GPL-2.0-or-later */
/* clouder events: what happens in a VM, as it happens, until it ends. */
#include "cli/cli.h"
#include "cli/ctl_client.h"
#include "cli/json_out.h"
#include "report/report.h"

/* Consumes event. An event without an incident that can be read is printed as JSON. */
static int print_event(struct cli_call *c, json_t *event, struct err *e)
{
	const char *name = json_string_value(json_object_get(event, "event"));
	struct incident in;

	if (c->json || !name || incident_from_json(json_object_get(event, "incident"), &in, NULL) < 0)
		return json_out_line(c->out, event, e);
	report_event(c->out, name, &in, c->colour);
	json_decref(event);
	return 0;
}

static int events_run(struct cli_call *c, struct err *e)
{
	struct ctl_client *client;
	json_t *j;
	int rc;

	if (ctl_client_open(c->operands[0], &client, e) < 0)
		return -1;
	rc = ctl_client_call(client, "events", &j, e);
	if (rc == 0)
		json_decref(j);
	while (rc == 0) {
		if (ctl_client_read(client, -1, &j, e) == 0) {
			rc = print_event(c, j, e);
		} else {
			rc = e->code == ERR_GONE ? 0 : -1; /* the VM ended: so do we */
			break;
		}
	}
	ctl_client_close(client);
	return rc;
}

static const struct opt opts[] = {CLI_OPT_JSON};

const struct cli_verb cli_events_verb = {
	.name = "events",
	.args = "NAME [--json]",
	.help = "print what happens in a VM as it happens",
	.opts = opts,
	.n_opts = sizeof(opts) / sizeof(opts[0]),
	.min_operands = 1,
	.max_operands = 1,
	.run = events_run,
};
