/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * clouder vmi: what the guest's memory says of the guest. Each view is a row of the table below; the supervisor gives its
 * rows in as many answers as they need.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/term.h"
#include "cli/cli.h"
#include "cli/ctl_client.h"
#include "cli/json_out.h"

struct view {
	const char *name; /* as typed, and as asked for */
	const char *args, *help; /* for the usage text */
	const char *rows; /* what JSON calls them */
	int min_args, max_args; /* operands before the VM's name: the last may be left out together with it */
	/* Puts what it takes of the operands and options into the request. */
	int (*ask)(const struct cli_call *c, json_t *request, struct err *e);
	void (*print_title)(const struct cli_call *c);
	void (*print)(const struct cli_call *c, const json_t *row);
};

static json_int_t number(const json_t *j, const char *key)
{
	return json_integer_value(json_object_get(j, key));
}

static const char *text(const json_t *j, const char *key)
{
	const char *s = json_string_value(json_object_get(j, key));

	return s ? s : "";
}

static void print_name(FILE *out, const json_t *row, const char *key)
{
	term_print(out, text(row, key));
	fputs(json_is_true(json_object_get(row, "deleted")) ? " (deleted)\n" : "\n", out);
}

/* ---- processes ---- */

static int ask_processes(const struct cli_call *c, json_t *request, struct err *e)
{
	(void)e;
	return c->threads ? json_object_set_new(request, "threads", json_true()) : 0;
}

static void title_processes(const struct cli_call *c)
{
	fprintf(c->out, "%7s %s%7s %10s S %-16s %s\n", "PID", c->threads ? "    TID " : "", "PARENT", "UID", "COMMAND",
		"PROGRAM");
}

static void print_process(const struct cli_call *c, const json_t *row)
{
	const char *comm = text(row, "comm");

	fprintf(c->out, "%7" JSON_INTEGER_FORMAT " ", number(row, "pid"));
	if (c->threads)
		fprintf(c->out, "%7" JSON_INTEGER_FORMAT " ", number(row, "tid"));
	fprintf(c->out, "%7" JSON_INTEGER_FORMAT " ", number(row, "parent"));
	if (number(row, "uid") < 0)
		fprintf(c->out, "%10s ", "-");
	else
		fprintf(c->out, "%10" JSON_INTEGER_FORMAT " ", number(row, "uid"));
	term_print(c->out, text(row, "state"));
	putc(' ', c->out);
	term_print(c->out, comm);
	fprintf(c->out, "%*s ", strlen(comm) < 16 ? (int)(16 - strlen(comm)) : 0, "");
	if (json_is_true(json_object_get(row, "kernel")))
		fputs("[kernel]\n", c->out);
	else
		print_name(c->out, row, "program");
}

/* ---- mappings ---- */

static int add_pid(const char *word, json_t *request, struct err *e)
{
	size_t digits = strspn(word, "0123456789");
	long pid = strtol(word, NULL, 10);

	if (!digits || digits > 9 || word[digits] || pid < 1)
		return err_set(e, ERR_USAGE, "\"%.40s\" is not a process id: 'clouder vmi ps' lists them", word);
	return json_object_set_new(request, "pid", json_integer(pid));
}

static int ask_mappings(const struct cli_call *c, json_t *request, struct err *e)
{
	return add_pid(c->operands[1], request, e);
}

static void print_mapping(const struct cli_call *c, const json_t *row)
{
	const char *id = text(row, "build_id");

	term_print(c->out, text(row, "start"));
	putc('-', c->out);
	term_print(c->out, text(row, "end"));
	putc(' ', c->out);
	term_print(c->out, text(row, "permissions"));
	putc(' ', c->out);
	term_print(c->out, text(row, "file_offset"));
	putc(' ', c->out);
	term_print(c->out, *id ? id : "-");
	putc(' ', c->out);
	print_name(c->out, row, "name");
}

/* ---- symbols ---- */

static int ask_symbols(const struct cli_call *c, json_t *request, struct err *e)
{
	(void)e;
	return c->n_operands > 1 ? json_object_set_new(request, "pattern", json_string(c->operands[1])) : 0;
}

static void print_symbol(const struct cli_call *c, const json_t *row)
{
	term_print(c->out, text(row, "at"));
	putc(' ', c->out);
	term_print(c->out, text(row, "type"));
	putc(' ', c->out);
	print_name(c->out, row, "name");
}

/* ---- all ---- */

static const struct view views[] = {
	{"ps", "ps [NAME] [--threads]", "processes: number, parent, user, state, name, program", "processes", 0, 0,
	 ask_processes, title_processes, print_process},
	{"maps", "maps PID [NAME]", "a process's mappings: addresses, permissions, file offset, build-id, path",
	 "mappings", 1, 1, ask_mappings, NULL, print_mapping},
	{"symbols", "symbols [PATTERN [NAME]]", "the kernel's symbols: address, type, name; a PATTERN may have * and ?",
	 "symbols", 0, 1, ask_symbols, NULL, print_symbol},
};

#define N_VIEWS (sizeof(views) / sizeof(views[0]))

static void list_views(FILE *out)
{
	for (size_t i = 0; i < N_VIEWS; i++)
		fprintf(out, "  %-26s %s\n", views[i].args, views[i].help);
}

static const struct view *find_view(const struct cli_call *c, struct err *e)
{
	const char *word = c->operands[0];

	for (size_t i = 0; i < N_VIEWS; i++) {
		int n = c->n_operands - 1;

		if (strcmp(views[i].name, word) != 0)
			continue;
		if (n >= views[i].min_args && n <= views[i].max_args + 1)
			return &views[i];
		err_set(e, ERR_USAGE, "usage: clouder vmi %s", views[i].args);
		return NULL;
	}
	err_set(e, ERR_USAGE, "\"%.40s\" is nothing that vmi shows: 'clouder vmi --help' lists what is", word);
	return NULL;
}

/* Answers until there are no more rows; *all is the first, with the rows of all. */
static int ask_all(struct ctl_client *client, json_t *request, json_t **all, struct err *e)
{
	json_t *answer, *rows = json_array();
	bool complete = true, more = true;

	*all = NULL;
	err_set(e, ERR_SYSTEM, "out of memory");
	while (more && json_object_set_new(request, "from", json_integer((json_int_t)json_array_size(rows))) == 0) {
		if (ctl_client_request(client, request, &answer, e) < 0)
			break;
		more = json_is_true(json_object_get(answer, "more")) &&
		       json_array_size(json_object_get(answer, "rows"));
		complete &= json_is_true(json_object_get(answer, "complete"));
		json_array_extend(rows, json_object_get(answer, "rows"));
		if (*all)
			json_decref(answer);
		else
			*all = answer;
	}
	if (more) {
		json_decref(*all);
		json_decref(rows);
		return -1;
	}
	json_object_set_new(*all, "complete", json_boolean(complete));
	json_object_set_new(*all, "rows", rows);
	return 0;
}

static int ask(const struct cli_call *c, const struct view *w, const char *name, json_t **ret, struct err *e)
{
	json_t *request = json_pack("{s:s, s:s}", "verb", "vmi", "show", w->name);
	struct ctl_client *client;
	int rc = -1;

	if (w->ask(c, request, e) == 0 && ctl_client_open(name, &client, e) == 0) {
		rc = ask_all(client, request, ret, e);
		ctl_client_close(client);
	}
	json_decref(request);
	return rc;
}

static int print_json(FILE *out, const struct view *w, json_t *answer, struct err *e)
{
	json_t *rows = json_incref(json_object_get(answer, "rows"));

	json_object_del(answer, "ok");
	json_object_del(answer, "more");
	json_object_del(answer, "rows");
	json_object_set_new(answer, w->rows, rows);
	return json_out(out, answer, e);
}

static int vmi_run(struct cli_call *c, struct err *e)
{
	const struct view *w = find_view(c, e);
	char *name = NULL;
	json_t *answer, *row;
	size_t i;
	int rc;

	if (!w)
		return -1;
	if (c->threads && w->ask != ask_processes)
		return err_set(e, ERR_USAGE, "--threads is for 'clouder vmi ps'");
	if (c->n_operands <= 1 + w->max_args && ctl_client_only_name(&name, e) < 0)
		return -1;
	rc = ask(c, w, name ? name : c->operands[1 + w->max_args], &answer, e);
	free(name);
	if (rc < 0)
		return -1;
	if (c->json)
		return print_json(c->out, w, answer, e);
	if (w->print_title)
		w->print_title(c);
	json_array_foreach (json_object_get(answer, "rows"), i, row)
		w->print(c, row);
	if (!json_is_true(json_object_get(answer, "complete")))
		fputs("the guest was in the midst of a change, or lies: something may be missing\n", c->out);
	json_decref(answer);
	return 0;
}

static const struct opt opts[] = {
	{.name = "threads",
	 .help = "ps: every thread of every process",
	 .parse = opts_parse_flag,
	 .offset = offsetof(struct cli_call, threads)},
	CLI_OPT_JSON,
};

const struct cli_verb cli_vmi_verb = {
	.name = "vmi",
	.args = "VIEW [ARGUMENTS] [NAME] [--json]",
	.help = "look into the guest from outside: its processes, their mappings, its symbols",
	.opts = opts,
	.n_opts = sizeof(opts) / sizeof(opts[0]),
	.list = list_views,
	.min_operands = 1,
	.max_operands = 5,
	.run = vmi_run,
};
