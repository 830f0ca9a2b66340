/* SPDX-License-Identifier: GPL-2.0-or-later */
/* clouder patch: the patches that are kept, and how they come to other hosts. Each action is a row of the table below. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/term.h"
#include "cli/cli.h"
#include "cli/json_out.h"
#include "cli/patch_internal.h"
#include "store/patch_file.h"
#include "store/store.h"

struct action {
	const char *name;
	const char *args, *help; /* for the usage text */
	int operands, most; /* behind the action's name */
	int (*run)(struct cli_call *c, struct err *e);
};

/* Of patches, for an action that takes several. */
#define IDS_MAX 32

int patch_read_id(const char *text, int64_t *ret, struct err *e)
{
	size_t digits = strspn(text, "0123456789");

	if (digits < 1 || digits > 18 || text[digits])
		return err_set(e, ERR_USAGE, "\"%.40s\" is not a patch's number: 'clouder patch list' lists them",
			       text);
	*ret = strtoll(text, NULL, 10);
	return 0;
}

static int get_patch(struct cli_call *c, struct patch_record *ret, struct err *e)
{
	struct store *s = NULL;
	int64_t id = 0;
	int rc;

	if (patch_read_id(c->operands[1], &id, e) < 0 || store_open(NULL, true, &s, e) < 0)
		return -1;
	rc = store_get_patch(s, id, ret, NULL, e);
	store_close(s);
	return rc;
}

/* What is of this host's store stands before the rest. */
static json_t *to_json(const struct patch_record *r)
{
	json_t *j = json_pack("{s:I, s:s, s:s}", "id", (json_int_t)r->id, "state", patch_state_name(r->state), "signer",
			      r->signer);
	json_t *rest = patch_record_to_json(r);

	if (!j || !rest || json_object_update(j, rest) < 0) {
		json_decref(j);
		j = NULL;
	}
	json_decref(rest);
	return j;
}

static void print_hex(FILE *out, const struct field_bytes *b)
{
	for (unsigned i = 0; i < b->len; i++)
		fprintf(out, "%02x", b->byte[i]);
}

static void print_time(FILE *out, int64_t ms)
{
	time_t t = (time_t)(ms / 1000);
	char text[32] = "-";
	struct tm tm;

	if (localtime_r(&t, &tm))
		strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &tm);
	fputs(text, out);
}

/* ---- list ---- */

struct listing {
	const struct cli_call *call;
	json_t *array; /* NULL: text */
	bool any;
};

static bool list_one(void *arg, const struct patch_record *r)
{
	struct listing *l = arg;
	FILE *out = l->call->out;

	if (l->array) {
		json_array_append_new(l->array, to_json(r));
		return true;
	}
	if (!l->any)
		fprintf(out, "%5s %-19s %-9s %-7s %-14s %5s %s\n", "ID", "MADE", "STATE", "HOME", "STRATEGY", "BYTES",
			"WHERE");
	l->any = true;
	fprintf(out, "%5" PRId64 " ", r->id);
	print_time(out, r->time_ms);
	fprintf(out, " %-9s %-7s %-14s %5u ", patch_state_name(r->state), r->home, r->strategy,
		(unsigned)(r->before.len + r->guard.len));
	term_print(out, r->path);
	fprintf(out, "+0x%" PRIx64 "\n", r->site_offset);
	return !ferror(out);
}

static int list_run(struct cli_call *c, struct err *e)
{
	struct listing l = {.call = c, .array = c->json ? json_array() : NULL};
	struct store *s = NULL;
	struct err write_error;
	int rc = store_open(NULL, true, &s, e);

	if (rc == 0)
		rc = store_each_patch(s, c->vm, 0, list_one, &l, e);
	else if (e->code == ERR_MISSING)
		rc = 0; /* nothing has happened yet */
	store_close(s);
	/* After a failure, too: what could be read is shown. */
	if (c->json && json_out(c->out, l.array, &write_error) < 0 && rc == 0) {
		*e = write_error;
		rc = -1;
	}
	if (!c->json && !l.any && rc == 0)
		fputs("no patches\n", c->out);
	return rc;
}

/* ---- show ---- */

static void print_text(FILE *out, const char *label, const char *text)
{
	fprintf(out, "  %-10s ", label);
	term_print(out, *text ? text : "-");
	putc('\n', out);
}

static void print_bytes(FILE *out, const char *label, uint64_t at, const struct field_bytes *b)
{
	if (!b->len)
		return;
	fprintf(out, "  %-10s 0x%" PRIx64 "  ", label, at);
	print_hex(out, b);
	fprintf(out, "  (%u bytes)\n", b->len);
}

static void print_patch(FILE *out, const struct patch_record *r)
{
	fprintf(out, "patch %" PRId64 "  %s\n", r->id, patch_state_name(r->state));
	print_text(out, "file", r->path);
	fputs("  build-id   ", out);
	print_hex(out, &r->build_id);
	fprintf(out, "  (%u-bit)\n", r->bits);
	print_text(out, "reason", r->reason);
	fprintf(out, "  made       ");
	print_time(out, r->time_ms);
	fprintf(out, ", incident %" PRId64 " of VM ", r->incident);
	term_print(out, r->vm);
	fprintf(out, "\n  strategy   %s, home %s\n", r->strategy, r->home);
	print_bytes(out, "before", r->site_offset, &r->before);
	print_bytes(out, "after", r->site_offset, &r->after);
	print_bytes(out, "guard", r->guard_offset, &r->guard);
	print_bytes(out, "routine", r->routine_offset, &r->routine);
	print_text(out, "signed by", r->signer);
	for (unsigned i = 0; i < r->n_history; i++) {
		fputs(i ? "             " : "  history    ", out);
		print_time(out, r->history[i].time_ms);
		putc(' ', out);
		term_print(out, r->history[i].text);
		putc('\n', out);
	}
}

static int show_run(struct cli_call *c, struct err *e)
{
	struct patch_record r;

	if (get_patch(c, &r, e) < 0)
		return -1;
	if (c->json)
		return json_out(c->out, to_json(&r), e);
	print_patch(c->out, &r);
	return 0;
}

/* ---- import ---- */

/* A new string of *ret_len bytes. */
static char *read_file(const char *path, size_t *ret_len, struct err *e)
{
	FILE *f = fopen(path, "re");
	char *text = NULL;

	if (!f || !(text = malloc(PATCH_FILE_MAX + 2))) {
		err_set_errno(e, "cannot read %.200s", path);
	} else {
		*ret_len = fread(text, 1, PATCH_FILE_MAX + 1, f);
		text[*ret_len] = 0;
		if (ferror(f)) {
			err_set_errno(e, "cannot read %.200s", path);
			free(text);
			text = NULL;
		}
	}
	if (f)
		fclose(f);
	return text;
}

static int check_trust(const struct cli_call *c, const struct patch_record *r, const struct patch_signer *signer,
		       struct err *e)
{
	bool trusted = c->allow_unsigned;

	if (!signer->is_signed)
		return trusted ? 0
			       : err_set(e, ERR_REFUSED,
					 "it is not signed, and a patch is code that will run in virtual machines: "
					 "have it "
					 "exported by 'clouder patch export' where it was made, or use "
					 "--allow-unsigned");
	if (patch_key_is_trusted(signer->key, &trusted, e) < 0)
		return -1;
	if (trusted)
		return 0;
	return err_set(
		e, ERR_REFUSED,
		"its key is not trusted: %s; if it is what 'clouder patch key' prints where it comes from, put that "
		"line into STATE_DIR/trusted-keys/NAME.pub",
		r->signer);
}

static int import_run(struct cli_call *c, struct err *e)
{
	const char *path = c->operands[1];
	struct patch_signer signer;
	struct store *s = NULL;
	struct patch_record r;
	bool is_new = false;
	size_t len = 0;
	char *text = read_file(path, &len, e);
	int rc;

	if (!text)
		return -1;
	rc = patch_file_read(text, len, &r, &signer, e);
	if (rc == 0)
		rc = check_trust(c, &r, &signer, e);
	if (rc < 0)
		err_prefix(e, "%.100s", path);
	if (rc == 0)
		rc = store_open(NULL, false, &s, e);
	if (rc == 0)
		rc = store_add_patch(s, &r, text, &is_new, e);
	store_close(s);
	free(text);
	if (rc < 0)
		return -1;
	if (c->json)
		return json_out(c->out, to_json(&r), e);
	fprintf(c->out, is_new ? "patch %" PRId64 " for " : "it is here already: patch %" PRId64 " for ", r.id);
	term_print(c->out, r.path);
	putc('\n', c->out);
	return 0;
}

/* ---- key ---- */

static int key_run(struct cli_call *c, struct err *e)
{
	char text[PATCH_KEY_TEXT_MAX];
	struct patch_key k;

	if (patch_key_load(&k, e) < 0)
		return -1;
	patch_key_text(k.public, text);
	fprintf(c->out, "clouder-patch-key %s\n", text);
	return 0;
}

/* ---- revert, apply, verify ---- */

static int change_all(struct cli_call *c, int (*change)(struct store *s, int64_t id, struct err *e), const char *what,
		      struct err *e)
{
	struct store *s = NULL;
	int64_t id = 0;
	int rc = store_open(NULL, false, &s, e);

	for (int i = 1; rc == 0 && i < c->n_operands; i++) {
		if (patch_read_id(c->operands[i], &id, e) < 0 || change(s, id, e) < 0)
			rc = -1;
		else
			fprintf(c->out,
				"patch %" PRId64 " is %s within moments: 'clouder patch verify %" PRId64 "' tells\n",
				id, what, id);
	}
	store_close(s);
	return rc;
}

static int revert_run(struct cli_call *c, struct err *e)
{
	return change_all(c, store_revert_patch, "reverted; VMs that run take it out", e);
}

static int apply_run(struct cli_call *c, struct err *e)
{
	return change_all(c, store_apply_patch, "active; VMs that run put it in", e);
}

static int approve(struct store *s, int64_t id, struct err *e)
{
	struct patch_record r;

	if (store_get_patch(s, id, &r, NULL, e) < 0)
		return -1;
	if (r.state != PATCH_PROPOSED)
		return err_set(e, ERR_STATE, "patch %" PRId64 " is %s: only one that is proposed can be approved%s", id,
			       patch_state_name(r.state),
			       r.state == PATCH_REVERTED ? " ('clouder patch apply' puts it in again)" : "");
	return store_apply_patch(s, id, e);
}

static int approve_run(struct cli_call *c, struct err *e)
{
	return change_all(c, approve, "active; VMs that run put it in", e);
}

static void print_processes(FILE *out, const json_t *answer)
{
	const json_t *list = json_object_get(answer, "processes"), *row;
	size_t i;

	json_array_foreach (list, i, row) {
		const char *comm = json_string_value(json_object_get(row, "comm"));

		fprintf(out, "%7" JSON_INTEGER_FORMAT " %-11s ", json_integer_value(json_object_get(row, "pid")),
			json_is_true(json_object_get(row, "patched")) ? "patched" : "not patched");
		term_print(out, comm ? comm : "");
		putc('\n', out);
	}
	if (!json_array_size(list))
		fputs("no process runs the file\n", out);
}

static int verify_run(struct cli_call *c, struct err *e)
{
	int64_t id = 0;

	if (patch_read_id(c->operands[1], &id, e) < 0)
		return -1;
	return cli_ask(c, c->n_operands > 2 ? c->operands[2] : NULL,
		       json_pack("{s:s, s:I}", "verb", "verify", "id", (json_int_t)id), print_processes, e);
}

/* ---- all ---- */

static const struct action actions[] = {
	{"list", "list [--vm NAME] [--json]", "the patches that are kept", 0, 0, list_run},
	{"show", "show ID [--json]", "all about one", 1, 1, show_run},
	{"export", "export ID [--elf PROGRAM] [--output FILE]",
	 "one as a file, signed; or a copy of the program with it", 1, 1, patch_export_run},
	{"import", "import FILE [--allow-unsigned]", "take one from elsewhere; its key must be trusted", 1, 1,
	 import_run},
	{"key", "key", "this host's key, for STATE_DIR/trusted-keys/NAME.pub elsewhere", 0, 0, key_run},
	{"approve", "approve ID...", "put those in that were proposed with --respond ask", 1, IDS_MAX, approve_run},
	{"revert", "revert ID...", "take those out of all VMs of the host, and do not put them in again", 1, IDS_MAX,
	 revert_run},
	{"apply", "apply ID...", "put those in again that were reverted, or in that were proposed", 1, IDS_MAX,
	 apply_run},
	{"verify", "verify ID [NAME] [--json]", "which processes of a VM run the file, patched or not", 1, 2,
	 verify_run},
};

#define N_ACTIONS (sizeof(actions) / sizeof(actions[0]))

static void list_actions(FILE *out)
{
	for (size_t i = 0; i < N_ACTIONS; i++)
		fprintf(out, "  %-41s %s\n", actions[i].args, actions[i].help);
}

static int patch_run(struct cli_call *c, struct err *e)
{
	const char *word = c->operands[0];

	for (size_t i = 0; i < N_ACTIONS; i++) {
		if (strcmp(actions[i].name, word) != 0)
			continue;
		if (c->n_operands < 1 + actions[i].operands || c->n_operands > 1 + actions[i].most)
			return err_set(e, ERR_USAGE, "usage: clouder patch %s", actions[i].args);
		return actions[i].run(c, e);
	}
	return err_set(e, ERR_USAGE,
		       "\"%.40s\" is nothing that is done with patches: 'clouder patch --help' lists what is", word);
}

static const struct opt opts[] = {
	{.name = "vm",
	 .arg = "NAME",
	 .help = "list: only those made in this VM",
	 .parse = opts_parse_pointer,
	 .offset = offsetof(struct cli_call, vm)},
	{.name = "output",
	 .arg = "FILE",
	 .help = "export: into this file, which must not be there yet",
	 .parse = opts_parse_pointer,
	 .offset = offsetof(struct cli_call, output)},
	{.name = "elf",
	 .arg = "PROGRAM",
	 .help = "export: instead of the patch, a copy of this ELF file that has it",
	 .parse = opts_parse_pointer,
	 .offset = offsetof(struct cli_call, elf)},
	{.name = "allow-unsigned",
	 .help = "import: also a file that nobody vouches for",
	 .parse = opts_parse_flag,
	 .offset = offsetof(struct cli_call, allow_unsigned)},
	CLI_OPT_JSON,
};

const struct cli_verb cli_patch_verb = {
	.name = "patch",
	.args = "ACTION [ARGUMENTS] [--json]",
	.help = "the patches that are kept: list, show, export, import, approve, revert, apply, verify",
	.opts = opts,
	.n_opts = sizeof(opts) / sizeof(opts[0]),
	.list = list_actions,
	.min_operands = 1,
	.max_operands = 1 + IDS_MAX,
	.run = patch_run,
};
