/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * clouder status: all VMs of the runtime directory, or one. What the supervisor answers is printed field by field, so that
 * a field it learns to give needs nothing here; the columns of the list are rows below.
 */
#include <inttypes.h>
#include <string.h>

#include "base/term.h"
#include "cli/cli.h"
#include "cli/ctl_client.h"
#include "cli/json_out.h"

#define NESTING_MAX 4

/* {"name", "state": "dead"}: the supervisor died and left its socket. */
static json_t *dead_status(const char *name)
{
	return json_pack("{s:s, s:s}", "name", name, "state", "dead");
}

/* The supervisor's answer without "ok", with "name". */
static int get_status(const char *name, json_t **ret, struct err *e)
{
	struct ctl_client *c;
	json_t *answer;
	int rc;

	if (ctl_client_open(name, &c, e) < 0)
		return -1;
	rc = ctl_client_call(c, "status", &answer, e);
	ctl_client_close(c);
	if (rc < 0)
		return -1;
	json_object_del(answer, "ok");
	if (!json_object_get(answer, "name"))
		json_object_set_new(answer, "name", json_string(name));
	*ret = answer;
	return 0;
}

static void print_scalar(FILE *out, const json_t *j)
{
	if (json_is_string(j))
		term_print(out, json_string_value(j));
	else if (json_is_integer(j))
		fprintf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(j));
	else if (json_is_real(j))
		fprintf(out, "%g", json_real_value(j));
	else
		fputs(json_is_true(j) ? "yes" : json_is_false(j) ? "no" : "-", out);
}

/* "key  value" lines; nested objects indented, the members of an array as "key  a b c". */
static void print_fields(FILE *out, const json_t *object, int depth)
{
	const char *key;
	json_t *value, *item;
	size_t i;

	json_object_foreach ((json_t *)object, key, value) {
		fprintf(out, "%*s", depth * 2, "");
		term_print(out, key);
		fprintf(out, "%*s", strlen(key) < 24 ? (int)(24 - strlen(key)) : 1, "");
		if (json_is_object(value) && depth < NESTING_MAX) {
			putc('\n', out);
			print_fields(out, value, depth + 1);
			continue;
		}
		if (json_is_array(value))
			json_array_foreach (value, i, item) {
				fputs(i ? " " : "", out);
				print_scalar(out, item);
			}
		else
			print_scalar(out, value);
		putc('\n', out);
	}
}

/* The columns of the list; a field that an answer lacks is a dash. */
static const struct {
	const char *title, *field;
	int width;
} columns[] = {
	{"NAME", "name", 20},	       {"STATE", "state", 10},	       {"PID", "pid", 8},
	{"ENGINE", "engine_pid", 8},   {"UPTIME-S", "uptime_s", 9},    {"RESPOND", "respond", 8},
	{"DETECTED", "detections", 8}, {"RECOVERED", "recoveries", 9},
};

#define N_COLUMNS (sizeof(columns) / sizeof(columns[0]))

static void print_row(FILE *out, const json_t *status)
{
	for (size_t i = 0; i < N_COLUMNS; i++) {
		const json_t *value = status ? json_object_get(status, columns[i].field) : NULL;
		char text[64] = "-";

		if (!status)
			snprintf(text, sizeof(text), "%s", columns[i].title);
		else if (json_is_string(value))
			snprintf(text, sizeof(text), "%s", json_string_value(value));
		else if (json_is_integer(value))
			snprintf(text, sizeof(text), "%" JSON_INTEGER_FORMAT, json_integer_value(value));
		term_print(out, text);
		if (i + 1 < N_COLUMNS)
			fprintf(out, "%*s ",
				(int)strlen(text) < columns[i].width ? columns[i].width - (int)strlen(text) : 0, "");
	}
	putc('\n', out);
}

static int print_list(struct cli_call *c, json_t *list, struct err *e)
{
	json_t *status;
	size_t i;

	if (c->json)
		return json_out(c->out, list, e);
	if (json_array_size(list))
		print_row(c->out, NULL);
	else
		fputs("no VM is running\n", c->out);
	json_array_foreach (list, i, status)
		print_row(c->out, status);
	json_decref(list);
	return 0;
}

/* One that does not answer is listed with state "dead" or "silent", and does not hide the others. */
static int status_all(struct cli_call *c, struct err *e)
{
	json_t *list = json_array(), *status;
	char **names;
	size_t n;

	if (ctl_client_names(&names, &n, e) < 0) {
		json_decref(list);
		return -1;
	}
	for (size_t i = 0; i < n; i++) {
		struct err why;

		if (get_status(names[i], &status, &why) < 0) {
			if (why.code == ERR_MISSING)
				continue; /* ended meanwhile */
			status = why.code == ERR_GONE ? dead_status(names[i])
						      : json_pack("{s:s, s:s, s:s}", "name", names[i], "state",
								  "silent", "error", why.text);
		}
		json_array_append_new(list, status);
	}
	ctl_client_free_names(names, n);
	return print_list(c, list, e);
}

static int status_run(struct cli_call *c, struct err *e)
{
	json_t *status;

	if (!c->n_operands)
		return status_all(c, e);
	if (get_status(c->operands[0], &status, e) < 0) {
		if (e->code != ERR_GONE || !c->json)
			return -1;
		return json_out(c->out, dead_status(c->operands[0]), e) < 0 ? -1 : CLI_FAILURE;
	}
	if (c->json)
		return json_out(c->out, status, e);
	print_fields(c->out, status, 0);
	json_decref(status);
	return 0;
}

static const struct opt opts[] = {CLI_OPT_JSON};

const struct cli_verb cli_status_verb = {
	.name = "status",
	.args = "[NAME] [--json]",
	.help = "say how the VMs are, or one of them",
	.opts = opts,
	.n_opts = sizeof(opts) / sizeof(opts[0]),
	.max_operands = 1,
	.run = status_run,
};
