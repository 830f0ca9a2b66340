/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Verb table and help: see cli.h. */
#include "cli/cli.h"

#include <string.h>

#include "base/term.h"
#include "base/version.h"

static const struct cli_verb *const verbs[] = {
	&cli_run_verb,	       &cli_status_verb,   &cli_incidents_verb, &cli_show_verb,
	&cli_stop_verb,	       &cli_events_verb,   &cli_taint_verb,	&cli_checkpoint_verb,
	&cli_checkpoints_verb, &cli_rollback_verb, &cli_vmi_verb,	&cli_patch_verb,
};

#define N_VERBS (sizeof(verbs) / sizeof(verbs[0]))

static const struct cli_verb *find_verb(const char *name)
{
	for (size_t i = 0; i < N_VERBS; i++)
		if (strcmp(verbs[i]->name, name) == 0)
			return verbs[i];
	return NULL;
}

static void print_usage(FILE *out)
{
	fputs("usage: clouder VERB [ARGUMENTS]\n\nAn emergency room for virtual machines.\n\n", out);
	for (size_t i = 0; i < N_VERBS; i++)
		fprintf(out, "  %-11s %s\n", verbs[i]->name, verbs[i]->help);
	fprintf(out, "  %-11s %s\n", "help", "this text, or 'clouder help VERB'");
	fputs("\n'clouder VERB --help' has the options of a verb; clouder(1) has everything.\n", out);
}

static void print_verb_usage(FILE *out, const struct cli_verb *v)
{
	if (v->usage) {
		fputs(v->usage, out);
		return;
	}
	fprintf(out, "usage: clouder %s %s\n\n%s%s", v->name, v->args, v->help, v->n_opts ? "\n\n" : "\n");
	if (v->list) {
		v->list(out);
		putc('\n', out);
	}
	opts_print_help(out, v->opts, v->n_opts);
}

static int unknown_verb(const char *name, struct err *e)
{
	return err_set(e, ERR_USAGE, "unknown verb \"%.60s\": 'clouder help' lists them", name);
}

/* Words for verbs and for --options that stand in the verb's place. */
static int help(int argc, char **argv, FILE *out, struct err *e)
{
	const struct cli_verb *v = argc > 2 ? find_verb(argv[2]) : NULL;

	if (argc > 2 && !v)
		return unknown_verb(argv[2], e);
	if (v)
		print_verb_usage(out, v);
	else
		print_usage(out);
	return 0;
}

static int version(int argc, char **argv, FILE *out, struct err *e)
{
	(void)argc, (void)argv, (void)e;
	fputs("clouder " CLOUDER_VERSION "\n", out);
	return 0;
}

static const struct {
	const char *name;
	int (*run)(int argc, char **argv, FILE *out, struct err *e);
} words[] = {{"help", help}, {"--help", help}, {"-h", help}, {"--version", version}};

static bool asks_for_help(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			return true;
	return false;
}

/* argv[0] is the verb. */
static int run_verb(const struct cli_verb *v, int argc, char **argv, FILE *out, struct err *e)
{
	struct cli_call c = {.out = out, .timeout_s = 30};
	struct err why;
	int first;

	if (asks_for_help(argc, argv)) {
		print_verb_usage(out, v);
		return 0;
	}
	if (v->run_raw)
		return v->run_raw(argc, argv);
	if (opts_parse(v->opts, v->n_opts, false, argc, argv, &c, &first, &why) < 0)
		return err_set(e, why.code, "%.200s ('clouder %s --help' has the options)", why.text, v->name);
	c.n_operands = argc - first;
	c.operands = argv + first;
	c.colour = fileno(out) >= 0 && term_wants_colour(fileno(out));
	if (c.n_operands < v->min_operands || c.n_operands > v->max_operands)
		return err_set(e, ERR_USAGE, "usage: clouder %s %s", v->name, v->args);
	return v->run(&c, e);
}

int cli_main(int argc, char **argv, FILE *out, struct err *e)
{
	const struct cli_verb *v;

	if (argc < 2)
		return err_set(e, ERR_USAGE, "no verb given: 'clouder help' lists them");
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcmp(words[i].name, argv[1]) == 0)
			return words[i].run(argc, argv, out, e);
	v = find_verb(argv[1]);
	return v ? run_verb(v, argc - 1, argv + 1, out, e) : unknown_verb(argv[1], e);
}
