/* SPDX-License-Identifier: GPL-2.0-or-later */
/* clouder incidents: the list of what happened. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/json_out.h"
#include "report/report.h"
#include "store/store.h"

/* "90s", "10m", "2h", "3d": that long ago. */
static bool parse_ago(const char *text, time_t now, time_t *ret)
{
	static const struct {
		char letter;
		long seconds;
	} units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
	size_t digits = strspn(text, "0123456789");

	if (digits < 1 || digits > 7 || !text[digits] || text[digits + 1])
		return false;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (units[i].letter != text[digits])
			continue;
		*ret = now - strtol(text, NULL, 10) * units[i].seconds;
		return true;
	}
	return false;
}

/* "@SECONDS" since the epoch. */
static bool parse_epoch(const char *text, time_t *ret)
{
	size_t digits = *text == '@' ? strspn(text + 1, "0123456789") : 0;

	if (digits < 1 || digits > 11 || text[digits + 1])
		return false;
	*ret = strtol(text + 1, NULL, 10);
	return true;
}

/* A date, or date and time, in local time. */
static bool parse_date(const char *text, time_t *ret)
{
	static const char *const formats[] = {"%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M",
					      "%Y-%m-%dT%H:%M:%S"};

	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
		struct tm tm = {.tm_isdst = -1};
		const char *end = strptime(text, formats[i], &tm);

		if (!end || *end)
			continue;
		*ret = mktime(&tm);
		return *ret != (time_t)-1;
	}
	return false;
}

static int parse_since(const struct opt *o, const char *value, void *field, struct err *e)
{
	int64_t *since_ms = field;
	time_t t;

	(void)o;
	if (!parse_ago(value, time(NULL), &t) && !parse_epoch(value, &t) && !parse_date(value, &t))
		return err_set(e, ERR_USAGE,
			       "\"%.40s\" is not a time: use 10m, 2h, 3d, \"2026-01-31 12:00\" or @SECONDS", value);
	*since_ms = t > 0 ? (int64_t)t * 1000 : 1;
	return 0;
}

struct listing {
	const struct cli_call *call;
	json_t *array; /* NULL: text */
	bool any;
};

static bool list_one(void *arg, const struct incident *in)
{
	struct listing *l = arg;

	if (l->array) {
		json_array_append_new(l->array, incident_to_json(in));
		return true;
	}
	if (!l->any)
		report_incident_heading(l->call->out, l->call->colour);
	l->any = true;
	report_incident_line(l->call->out, in, l->call->colour);
	return !ferror(l->call->out);
}

static int incidents_run(struct cli_call *c, struct err *e)
{
	struct listing l = {.call = c, .array = c->json ? json_array() : NULL};
	struct store *s = NULL;
	struct err write_error;
	int rc = store_open(NULL, true, &s, e);

	if (rc == 0)
		rc = store_each_incident(s, c->vm, c->since_ms, list_one, &l, e);
	else if (e->code == ERR_MISSING)
		rc = 0; /* nothing has happened yet */
	store_close(s);
	/* After a failure, too: what could be read is shown. */
	if (c->json && json_out(c->out, l.array, &write_error) < 0 && rc == 0) {
		*e = write_error;
		rc = -1;
	}
	if (!c->json && !l.any && rc == 0)
		fputs("no incidents\n", c->out);
	return rc;
}

static const struct opt opts[] = {
	{.name = "vm",
	 .arg = "NAME",
	 .help = "only of this VM",
	 .parse = opts_parse_pointer,
	 .offset = offsetof(struct cli_call, vm)},
	{.name = "since",
	 .arg = "TIME",
	 .help = "only after TIME: 10m, 2h, 3d, \"2026-01-31 12:00\" or @SECONDS",
	 .parse = parse_since,
	 .offset = offsetof(struct cli_call, since_ms)},
	CLI_OPT_JSON,
};

const struct cli_verb cli_incidents_verb = {
	.name = "incidents",
	.args = "[--vm NAME] [--since TIME] [--json]",
	.help = "list the incidents, newest last",
	.opts = opts,
	.n_opts = sizeof(opts) / sizeof(opts[0]),
	.run = incidents_run,
};
