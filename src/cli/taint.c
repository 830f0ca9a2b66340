/* SPDX-License-Identifier: GPL-2.0-or-later */
/* clouder taint: how much of a VM's memory is tainted, and which bytes of a process's memory are, whence and by whom. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/term.h"
#include "cli/cli.h"

int cli_parse_address(const struct opt *o, const char *value, void *field, struct err *e)
{
	bool is_hex = strncmp(value, "0x", 2) == 0;
	const char *digits = is_hex ? value + 2 : value;
	size_t n = strspn(digits, is_hex ? "0123456789abcdefABCDEF" : "0123456789");

	(void)o;
	if (!n || digits[n] || n > (is_hex ? 16 : 19))
		return err_set(e, ERR_USAGE, "\"%.60s\" is not an address (example: 0x7ffd0010)", value);
	*(uint64_t *)field = strtoull(digits, NULL, is_hex ? 16 : 10);
	return 0;
}

static json_t *make_request(const struct cli_call *c)
{
	char at[24];

	if (!c->pid)
		return json_pack("{s:s}", "verb", "taint");
	snprintf(at, sizeof(at), "0x%" PRIx64, c->at);
	return json_pack("{s:s, s:I, s:s, s:I}", "verb", "taint", "pid", (json_int_t)c->pid, "at", at, "length",
			 (json_int_t)c->length);
}

static json_int_t number(const json_t *j, const char *key)
{
	return json_integer_value(json_object_get(j, key));
}

static void print_text(FILE *out, const json_t *j, const char *key)
{
	const char *text = json_string_value(json_object_get(j, key));

	term_print(out, text ? text : "-");
}

static const char *kind_of(const json_t *run)
{
	if (json_is_true(json_object_get(run, "by_address")))
		return "address";
	return json_is_true(json_object_get(run, "by_index")) ? "index" : "data";
}

static void print_run(FILE *out, const json_t *run)
{
	const json_t *writer = json_object_get(run, "writer");

	print_text(out, run, "at");
	fprintf(out, " %" JSON_INTEGER_FORMAT " origin %" JSON_INTEGER_FORMAT " %s ", number(run, "length"),
		number(run, "origin"), kind_of(run));
	if (json_is_object(writer)) {
		fputs("writer ", out);
		print_text(out, writer, "at");
		putc(' ', out);
		print_text(out, writer, "bytes");
	} else {
		fputs("device", out);
	}
	putc('\n', out);
}

static void print_answer(FILE *out, const json_t *j)
{
	const json_t *range = json_object_get(j, "range"), *run;
	size_t i;

	fprintf(out, "%" JSON_INTEGER_FORMAT " pages %" JSON_INTEGER_FORMAT " bytes tainted\n",
		number(j, "tainted_pages"), number(j, "tainted_bytes"));
	if (!range)
		return;
	fprintf(out, "process %" JSON_INTEGER_FORMAT " ", number(range, "pid"));
	print_text(out, range, "comm");
	putc(' ', out);
	print_text(out, range, "at");
	fprintf(out,
		": %" JSON_INTEGER_FORMAT " of %" JSON_INTEGER_FORMAT " bytes tainted, %" JSON_INTEGER_FORMAT
		" not mapped\n",
		number(range, "tainted"), number(range, "length"), number(range, "unmapped"));
	json_array_foreach (json_object_get(range, "runs"), i, run)
		print_run(out, run);
	if (json_is_true(json_object_get(range, "more")))
		fputs("there are more\n", out);
}

static int taint_run(struct cli_call *c, struct err *e)
{
	if ((c->pid || c->length || c->at) && !(c->pid && c->length))
		return err_set(e, ERR_USAGE, "--pid, --at and --length go together");
	return cli_ask(c, c->n_operands ? c->operands[0] : NULL, make_request(c), print_answer, e);
}

static const struct opt opts[] = {
	{.name = "pid",
	 .arg = "PID",
	 .help = "look at the memory of this process of the guest",
	 .parse = opts_parse_number,
	 .offset = offsetof(struct cli_call, pid),
	 .min = 1,
	 .max = INT32_MAX},
	{.name = "at",
	 .arg = "ADDRESS",
	 .help = "from this virtual address on",
	 .parse = cli_parse_address,
	 .offset = offsetof(struct cli_call, at)},
	{.name = "length",
	 .arg = "N",
	 .help = "so many bytes, 1 to 65536",
	 .parse = opts_parse_number,
	 .offset = offsetof(struct cli_call, length),
	 .min = 1,
	 .max = 65536},
	CLI_OPT_JSON,
};

const struct cli_verb cli_taint_verb = {
	.name = "taint",
	.args = "[NAME] [--pid PID --at ADDRESS --length N] [--json]",
	.help = "say what is tainted, in all or in a process's memory",
	.opts = opts,
	.n_opts = sizeof(opts) / sizeof(opts[0]),
	.max_operands = 1,
	.run = taint_run,
};
