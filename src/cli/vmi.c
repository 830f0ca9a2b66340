/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * clouder vmi: what the guest's memory says of the guest. Each view is a row of the table below; the supervisor gives its
 * rows in as many answers as they need.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/addr.h"
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
	int (*print_raw)(const struct cli_call *c, const json_t *rows, struct err *e); /* NULL: it has no --raw */
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

static int ask_process(const struct cli_call *c, json_t *request, struct err *e)
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

/* ---- threads ---- */

#define REGISTERS_IN_LINE 4u

static void print_registers(FILE *out, const json_t *registers)
{
	static const char *const names[] = {"rip", "rflags", "rsp", "rbp", "rax", "rbx", "rcx", "rdx", "rsi",
					    "rdi", "r8",     "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		uint64_t value = strtoull(text(registers, names[i]), NULL, 16);

		/* The first two stand in a line of their own. */
		fprintf(out, "%s%-6s 0x%016" PRIx64 "%s",
			i == 0 || (i - 2) % REGISTERS_IN_LINE == 0 ? "        " : "  ", names[i], value,
			i == 1 || (i > 1 && (i - 2) % REGISTERS_IN_LINE == 3) ? "\n" : "");
	}
}

static void print_thread(const struct cli_call *c, const json_t *row)
{
	const json_t *registers = json_object_get(row, "registers");

	fprintf(c->out, "%7" JSON_INTEGER_FORMAT " ", number(row, "tid"));
	term_print(c->out, text(row, "state"));
	putc(' ', c->out);
	term_print(c->out, text(row, "comm"));
	if (json_is_true(json_object_get(row, "on_processor")))
		fputs(": on a processor; when it last came into the kernel", c->out);
	else if (json_is_object(registers))
		fputs(": in the kernel", c->out);
	if (!json_is_object(registers)) {
		fputs(": was never in user mode\n", c->out);
		return;
	}
	if (number(row, "system_call") >= 0)
		fprintf(c->out, ", system call %" JSON_INTEGER_FORMAT, number(row, "system_call"));
	fputs(json_is_true(json_object_get(row, "is_32bit")) ? ", 32-bit code\n" : "\n", c->out);
	print_registers(c->out, registers);
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

/* ---- modules ---- */

static int ask_nothing(const struct cli_call *c, json_t *request, struct err *e)
{
	(void)c;
	(void)request;
	(void)e;
	return 0;
}

static void title_modules(const struct cli_call *c)
{
	fprintf(c->out, "%-24s %10s %-18s STATE\n", "MODULE", "SIZE", "ADDRESS");
}

static const char *module_state(const json_t *row)
{
	switch (*text(row, "state")) {
	case 'L':
		return "live";
	case 'C':
		return "loading";
	case 'G':
		return "unloading";
	default:
		return "?";
	}
}

static void print_module(const struct cli_call *c, const json_t *row)
{
	const char *name = text(row, "name");

	term_print(c->out, name);
	fprintf(c->out, "%*s %10" JSON_INTEGER_FORMAT " ", strlen(name) < 24 ? (int)(24 - strlen(name)) : 0, "",
		number(row, "size"));
	term_print(c->out, text(row, "at"));
	fprintf(c->out, " %s\n", module_state(row));
}

/* ---- memory ---- */

#define READ_MAX (1 << 20) /* bytes */
#define DUMP_WIDTH 16u

static int ask_memory(const struct cli_call *c, json_t *request, struct err *e)
{
	const char *length = c->operands[3];
	size_t digits = strspn(length, "0123456789");
	uint64_t at;
	char text[24];

	if (add_pid(c->operands[1], request, e) < 0 || cli_parse_address(NULL, c->operands[2], &at, e) < 0)
		return -1;
	if (!digits || digits > 7 || length[digits] || atol(length) < 1 || atol(length) > READ_MAX)
		return err_set(e, ERR_USAGE, "\"%.40s\" is not a number of bytes from 1 to %d", length, READ_MAX);
	if (at > UINT64_MAX - (uint64_t)atol(length))
		return err_set(e, ERR_USAGE, "so many bytes lead past the last address");
	snprintf(text, sizeof(text), "0x%" PRIx64, at);
	json_object_set_new(request, "at", json_string(text));
	return json_object_set_new(request, "length", json_integer(atol(length)));
}

static uint8_t digit(char c)
{
	const char *at = strchr("0123456789abcdef", c);

	return c && at ? (uint8_t)(at - "0123456789abcdef") : 0;
}

/* The bytes of a row; returns how many, 0: they are not there. */
static size_t bytes_of(const json_t *row, uint8_t ret[GUEST_PAGE_SIZE])
{
	const char *hex = text(row, "bytes");
	size_t n = strlen(hex) / 2;

	n = n < GUEST_PAGE_SIZE ? n : GUEST_PAGE_SIZE;
	for (size_t i = 0; i < n; i++)
		ret[i] = (uint8_t)(digit(hex[2 * i]) << 4 | digit(hex[2 * i + 1]));
	return n;
}

static void print_dump_line(FILE *out, uint64_t at, const uint8_t *bytes, size_t n)
{
	size_t before = at % DUMP_WIDTH;

	fprintf(out, "0x%016" PRIx64 " %*s", at - before, (int)(3 * before), "");
	for (size_t i = 0; i < n; i++)
		fprintf(out, " %02x", bytes[i]);
	fprintf(out, "%*s  |%*s", (int)(3 * (DUMP_WIDTH - before - n)), "", (int)before, "");
	for (size_t i = 0; i < n; i++)
		putc(bytes[i] >= ' ' && bytes[i] <= '~' ? bytes[i] : '.', out);
	fputs("|\n", out);
}

static void print_memory(const struct cli_call *c, const json_t *row)
{
	uint64_t at = strtoull(text(row, "at"), NULL, 16);
	uint8_t bytes[GUEST_PAGE_SIZE];
	size_t n = bytes_of(row, bytes), part;

	if (!n)
		fprintf(c->out, "0x%016" PRIx64 "  %" JSON_INTEGER_FORMAT " bytes are not %s\n", at,
			number(row, "length"), strcmp(text(row, "state"), "absent") == 0 ? "in memory" : "mapped");
	for (size_t i = 0; i < n; i += part) {
		part = DUMP_WIDTH - (at + i) % DUMP_WIDTH;
		part = part < n - i ? part : n - i;
		print_dump_line(c->out, at + i, bytes + i, part);
	}
}

/* Zeros stand for what is not there, so that each byte is at its place; that is an error then. */
static int write_memory(const struct cli_call *c, const json_t *rows, struct err *e)
{
	json_int_t missing = 0, all = 0;
	const json_t *row;
	size_t i;

	json_array_foreach (rows, i, row) {
		uint8_t bytes[GUEST_PAGE_SIZE] = {0};
		size_t length = (size_t)number(row, "length");

		length = length < sizeof(bytes) ? length : sizeof(bytes);
		all += (json_int_t)length;
		if (!bytes_of(row, bytes))
			missing += (json_int_t)length;
		if (fwrite(bytes, 1, length, c->out) != length)
			return err_set_errno(e, "cannot write the output");
	}
	if (!missing)
		return 0;
	return err_set(e, ERR_MISSING,
		       "%" JSON_INTEGER_FORMAT " of %" JSON_INTEGER_FORMAT
		       " bytes are not in the guest's memory: zeros stand for them; without --raw it is told which",
		       missing, all);
}

/* ---- all ---- */

static const struct view views[] = {
	{"ps", "ps [NAME] [--threads]", "processes: number, parent, user, state, name, program", "processes", 0, 0,
	 ask_processes, title_processes, print_process, NULL},
	{"threads", "threads PID [NAME]", "a process's threads with their registers of user mode", "threads", 1, 1,
	 ask_process, NULL, print_thread, NULL},
	{"maps", "maps PID [NAME]", "a process's mappings: addresses, permissions, file offset, build-id, path",
	 "mappings", 1, 1, ask_process, NULL, print_mapping, NULL},
	{"read", "read PID ADDRESS LENGTH [NAME] [--raw]", "a process's memory, as a dump or as it is", "memory", 3, 3,
	 ask_memory, NULL, print_memory, write_memory},
	{"symbols", "symbols [PATTERN [NAME]]", "the kernel's symbols: address, type, name; a PATTERN may have * and ?",
	 "symbols", 0, 1, ask_symbols, NULL, print_symbol, NULL},
	{"modules", "modules [NAME]", "the kernel's modules: name, size, address, state", "modules", 0, 0, ask_nothing,
	 title_modules, print_module, NULL},
};

#define N_VIEWS (sizeof(views) / sizeof(views[0]))

static void list_views(FILE *out)
{
	for (size_t i = 0; i < N_VIEWS; i++)
		fprintf(out, "  %-38s %s\n", views[i].args, views[i].help);
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

static int print_text(const struct cli_call *c, const struct view *w, const json_t *answer)
{
	json_t *row;
	size_t i;

	if (w->print_title)
		w->print_title(c);
	json_array_foreach (json_object_get(answer, "rows"), i, row)
		w->print(c, row);
	if (!json_is_true(json_object_get(answer, "complete")))
		fputs("the guest was in the midst of a change, or lies: something may be missing\n", c->out);
	return 0;
}

static int vmi_run(struct cli_call *c, struct err *e)
{
	const struct view *w = find_view(c, e);
	char *name = NULL;
	json_t *answer;
	int rc;

	if (!w)
		return -1;
	if (c->threads && w->ask != ask_processes)
		return err_set(e, ERR_USAGE, "--threads is for 'clouder vmi ps'");
	if (c->raw && (!w->print_raw || c->json))
		return err_set(e, ERR_USAGE, "--raw is for 'clouder vmi read', and not for JSON");
	if (c->n_operands <= 1 + w->max_args && ctl_client_only_name(&name, e) < 0)
		return -1;
	rc = ask(c, w, name ? name : c->operands[1 + w->max_args], &answer, e);
	free(name);
	if (rc < 0)
		return -1;
	if (c->json)
		return print_json(c->out, w, answer, e);
	rc = c->raw ? w->print_raw(c, json_object_get(answer, "rows"), e) : print_text(c, w, answer);
	json_decref(answer);
	return rc;
}

static const struct opt opts[] = {
	{.name = "threads",
	 .help = "ps: every thread of every process",
	 .parse = opts_parse_flag,
	 .offset = offsetof(struct cli_call, threads)},
	{.name = "raw",
	 .help = "read: the bytes as they are, and nothing else",
	 .parse = opts_parse_flag,
	 .offset = offsetof(struct cli_call, raw)},
	CLI_OPT_JSON,
};

const struct cli_verb cli_vmi_verb = {
	.name = "vmi",
	.args = "VIEW [ARGUMENTS] [NAME] [--json]",
	.help = "look into the guest from outside: processes, their memory, symbols, modules",
	.opts = opts,
	.n_opts = sizeof(opts) / sizeof(opts[0]),
	.list = list_views,
	.min_operands = 1,
	.max_operands = 5,
	.run = vmi_run,
};
