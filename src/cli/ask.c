/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Verbs that are one request to a VM and one answer. */
#include "cli/cli.h"
#include "cli/ctl_client.h"
#include "cli/json_out.h"

int cli_ask(const struct cli_call *c, const char *name, json_t *request, void (*print)(FILE *out, const json_t *answer),
	    struct err *e)
{
	json_t *answer;
	int rc = ctl_client_ask(name, request, &answer, e);

	json_decref(request);
	if (rc < 0)
		return -1;
	if (c->json)
		return json_out(c->out, answer, e);
	print(c->out, answer);
	json_decref(answer);
	return 0;
}
