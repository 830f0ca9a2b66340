/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Options and configuration file of `clouder run`: see config.h.
 *
 * RUN_OPTIONS is the one list: it gives the rows for the parser and the usage text. A row marked FILE_KEY may stand
 * in group [vm] of the file under the same name; group [qemu] has args, a list with ';' between the items.
 */
#include "daemon/config.h"

#include <glib.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/opts.h"
#include "base/paths.h"
#include "base/term.h"
#include "daemon/daemon.h"
#include "plugin/core/detector.h"

#define FILE_KEY true
#define LINE_ONLY false
#define DEFAULT_INTERVAL_MS 100
#define DEFAULT_CHECKPOINTS 16
#define DEFAULT_BOOT_TIMEOUT_S 120

static const char *const output_names[] = {"release", "hold", NULL};
static const char *const respond_names[] = {"auto", "ask", "observe", NULL};

static int parse_text(const struct opt *o, const char *value, void *field, struct err *e);
static int parse_name(const struct opt *o, const char *value, void *field, struct err *e);
static int parse_detectors(const struct opt *o, const char *value, void *field, struct err *e);
static int parse_disk(const struct opt *o, const char *value, void *field, struct err *e);

/* X(where, name, " ARG" or "", ARG or NULL, help, parser, member, min, max, choices) */
#define RUN_OPTIONS(X)                                                                                                 \
	X(LINE_ONLY, "config", " FILE", "FILE", "read FILE first; options given here win", parse_text, file, 0, 0,     \
	  NULL)                                                                                                        \
	X(FILE_KEY, "name", " NAME", "NAME", "what the VM is called (default: vm)", parse_name, name, 0, 0, NULL)      \
	X(FILE_KEY, "net", " SPEC", "SPEC",                                                                            \
	  "user[,hostfwd=PROTO:[ADDR]:PORT-[ADDR]:PORT]...[,restrict=on|off] or tap,ifname=NAME (default: user)",      \
	  parse_text, net, 0, 0, NULL)                                                                                 \
	X(FILE_KEY, "disk", " FILE[,KEY=VALUE]...", "FILE",                                                            \
	  "an image that the guest may write to, and that is rolled back with it; keys: format=raw|qcow2, "            \
	  "readonly=on|off, id=NAME, undo=MIB (default: 1024); may be given again, up to 8 times",                     \
	  parse_disk, disk, 0, 0, NULL)                                                                                \
	X(FILE_KEY, "plugin", " FILE", "FILE", "the taint plugin (default: the one installed)", parse_text, plugin, 0, \
	  0, NULL)                                                                                                     \
	X(FILE_KEY, "qemu", " PROGRAM", "PROGRAM", "the emulator (default: qemu-system-x86_64)", parse_text, qemu, 0,  \
	  0, NULL)                                                                                                     \
	X(FILE_KEY, "respond", " auto|ask|observe", "auto|ask|observe",                                                \
	  "repair the VM, block the attacker and propose a patch, or only report (default: auto)", opts_parse_choice,  \
	  respond, 0, 0, respond_names)                                                                                \
	X(FILE_KEY, "detectors", " LIST", "LIST",                                                                      \
	  "switch detectors off (-NAME) and on (+NAME), with commas between; they are listed below (default: all)",    \
	  parse_detectors, detectors, 0, 0, NULL)                                                                      \
	X(FILE_KEY, "output", " release|hold", "release|hold",                                                         \
	  "send what the guest sends at once, or hold it until the next checkpoint (default: release)",                \
	  opts_parse_choice, output, 0, 0, output_names)                                                               \
	X(FILE_KEY, "checkpoint-interval", " MS", "MS",                                                                \
	  "shortest time between checkpoints, 1 to 60000 (default: 100)", opts_parse_number, checkpoint_interval_ms,   \
	  1, 60000, NULL)                                                                                              \
	X(FILE_KEY, "checkpoints", " N", "N", "how many are kept, 1 to 64 (default: 16)", opts_parse_number,           \
	  checkpoints, 1, 64, NULL)                                                                                    \
	X(FILE_KEY, "checkpoint-memory", " MIB", "MIB",                                                                \
	  "most memory for what they keep, 16 to 1048576, half for pages and half for labels (default: all pages)",    \
	  opts_parse_number, checkpoint_memory_mib, 16, 1048576, NULL)                                                 \
	X(FILE_KEY, "console", " FILE", "FILE", "append what the guest's serial console says to FILE", parse_text,     \
	  console, 0, 0, NULL)                                                                                         \
	X(FILE_KEY, "boot-timeout", " S", "S",                                                                         \
	  "give up if the guest's network is not up after S seconds, 0: never (default: 120)", opts_parse_number,      \
	  boot_timeout_s, 0, 86400, NULL)                                                                              \
	X(LINE_ONLY, "verbose", "", NULL, "say more", opts_parse_value, log_level, LOG_LEVEL_DEBUG, 0, NULL)           \
	X(LINE_ONLY, "quiet", "", NULL, "say errors only", opts_parse_value, log_level, LOG_LEVEL_ERROR, 0, NULL)

#define OPT_ROW(where, name, blank_arg, arg, help, parse, member, min, max, choices)                                   \
	{name, arg, help, parse, offsetof(struct config, member), min, max, choices},
#define OPT_WHERE(where, name, blank_arg, arg, help, parse, member, min, max, choices) where,
#define OPT_USAGE(where, name, blank_arg, arg, help, parse, member, min, max, choices)                                 \
	"  --" name blank_arg "\n        " help "\n"

#define DETECTOR_USAGE(id, name, sees) "  " name "\n        " sees "\n"

static const struct opt run_opts[] = {RUN_OPTIONS(OPT_ROW)};
static const bool in_file[] = {RUN_OPTIONS(OPT_WHERE)};

#define N_OPTS (sizeof(run_opts) / sizeof(run_opts[0]))

const char daemon_run_usage[] = "usage: clouder run [OPTIONS] -- QEMU-ARGUMENTS\n"
				"       clouder run [OPTIONS] --config FILE\n"
				"\n"
				"Runs a VM under CloudER until it ends, or until SIGINT, SIGTERM or 'clouder stop'.\n"
				"\n" RUN_OPTIONS(OPT_USAGE) "\nDetectors:\n" TAINT_DETECTOR_LIST(DETECTOR_USAGE);

static int parse_text(const struct opt *o, const char *value, void *field, struct err *e)
{
	char **text = field, *copy;

	(void)o;
	if (!*value)
		return err_set(e, ERR_USAGE, "the value is empty");
	copy = strdup(value);
	if (!copy)
		return err_set_errno(e, "no memory");
	free(*text);
	*text = copy;
	return 0;
}

static int parse_name(const struct opt *o, const char *value, void *field, struct err *e)
{
	return paths_check_name(value, e) < 0 ? -1 : parse_text(o, value, field, e);
}

/* Each adds one. */
static int parse_disk(const struct opt *o, const char *value, void *field, struct err *e)
{
	struct config *c = (struct config *)(void *)((char *)field - o->offset);

	if (c->n_disks == DISKS_MAX)
		return err_set(e, ERR_USAGE, "a VM has at most %u of these disks", DISKS_MAX);
	if (image_spec_parse(value, &c->disk[c->n_disks], e) < 0)
		return -1;
	c->n_disks++;
	return 0;
}

static int parse_detectors(const struct opt *o, const char *value, void *field, struct err *e)
{
	size_t n;
	const char *item = taint_detectors_parse(value, field, &n);

	(void)o;
	if (item)
		return err_set(e, ERR_USAGE, "no detector is called \"%.*s\": 'clouder run --help' lists them",
			       (int)(n < 40 ? n : 40), item);
	return 0;
}

const char *config_respond_name(int respond)
{
	return respond_names[respond];
}

static int set_qemu_args(struct config *c, char *const *args, size_t n, struct err *e)
{
	char **copy = calloc(n + 1, sizeof(*copy));

	for (size_t i = 0; copy && i < n; i++) {
		copy[i] = strdup(args[i]);
		if (!copy[i]) {
			g_strfreev(copy);
			copy = NULL;
		}
	}
	if (!copy)
		return err_set_errno(e, "no memory");
	g_strfreev(c->qemu_args);
	c->qemu_args = copy;
	c->n_qemu_args = n;
	return 0;
}

/* The values of a key: one, or for what may be given more than once a list. */
static char **file_values(GKeyFile *kf, const struct opt *o, GError **why)
{
	char **values;

	if (o->parse == parse_disk)
		return g_key_file_get_string_list(kf, "vm", o->name, NULL, why);
	values = g_new0(char *, 2);
	values[0] = g_key_file_get_string(kf, "vm", o->name, why);
	if (values[0])
		return values;
	g_free(values);
	return NULL;
}

static int file_key(struct config *c, GKeyFile *kf, const char *key, struct err *e)
{
	const struct opt *o = opts_find(run_opts, N_OPTS, key);
	GError *why = NULL;
	char **values;
	int rc = 0;

	if (!o || !in_file[o - run_opts])
		return err_set(e, ERR_USAGE, "unknown key \"%.60s\" in [vm]: 'clouder run --help' has the names", key);
	values = file_values(kf, o, &why);
	if (!values) {
		err_set(e, ERR_USAGE, "%s: %s", key, why->message);
		g_error_free(why);
		return -1;
	}
	for (size_t i = 0; values[i] && rc == 0; i++)
		rc = o->parse(o, g_strchomp(values[i]), (char *)c + o->offset, e);
	if (rc < 0)
		err_prefix(e, "%s", key);
	g_strfreev(values);
	return rc;
}

static int file_vm(struct config *c, GKeyFile *kf, struct err *e)
{
	char **keys = g_key_file_get_keys(kf, "vm", NULL, NULL);
	int rc = 0;

	for (size_t i = 0; keys && keys[i] && rc == 0; i++)
		rc = file_key(c, kf, keys[i], e);
	g_strfreev(keys);
	return rc;
}

static int file_qemu(struct config *c, GKeyFile *kf, struct err *e)
{
	char **keys = g_key_file_get_keys(kf, "qemu", NULL, NULL), **args = NULL;
	GError *why = NULL;
	gsize n = 0;
	int rc = 0;

	for (size_t i = 0; keys && keys[i] && rc == 0; i++)
		if (strcmp(keys[i], "args") != 0)
			rc = err_set(e, ERR_USAGE, "unknown key \"%.60s\" in [qemu]: there is only args", keys[i]);
	if (rc == 0 && keys && keys[0]) {
		args = g_key_file_get_string_list(kf, "qemu", "args", &n, &why);
		if (args)
			rc = set_qemu_args(c, args, n, e);
		else
			rc = err_set(e, ERR_USAGE, "args: %s", why->message);
	}
	g_clear_error(&why);
	g_strfreev(args);
	g_strfreev(keys);
	return rc;
}

/* The groups that a file may have. */
static const struct {
	const char *name;
	int (*read)(struct config *c, GKeyFile *kf, struct err *e);
} groups[] = {{"vm", file_vm}, {"qemu", file_qemu}};

#define N_GROUPS (sizeof(groups) / sizeof(groups[0]))

static int file_group(struct config *c, GKeyFile *kf, const char *name, struct err *e)
{
	for (size_t i = 0; i < N_GROUPS; i++)
		if (strcmp(groups[i].name, name) == 0)
			return groups[i].read(c, kf, e);
	return err_set(e, ERR_USAGE, "unknown group [%.60s]: there are [vm] and [qemu]", name);
}

static int read_file(struct config *c, const char *path, struct err *e)
{
	GKeyFile *kf = g_key_file_new();
	GError *why = NULL;
	char **names = NULL;
	int rc = 0;

	if (!g_key_file_load_from_file(kf, path, G_KEY_FILE_NONE, &why)) {
		rc = err_set(e, why->domain == G_KEY_FILE_ERROR ? ERR_USAGE : ERR_MISSING, "%s", why->message);
		g_error_free(why);
	} else {
		names = g_key_file_get_groups(kf, NULL);
	}
	for (size_t i = 0; names && names[i] && rc == 0; i++)
		rc = file_group(c, kf, names[i], e);
	if (rc < 0)
		err_prefix(e, "configuration file %.120s", path);
	g_strfreev(names);
	g_key_file_free(kf);
	return rc;
}

/* The options; what stands after "--" replaces the arguments of the file. */
static int read_line(struct config *c, int argc, char **argv, struct err *e)
{
	struct err why;
	int first;

	if (opts_parse(run_opts, N_OPTS, true, argc, argv, c, &first, &why) < 0)
		return err_set(e, why.code, "%.160s ('clouder run --help' has the options; QEMU's own go after \"--\")",
			       why.text);
	if (strcmp(argv[first - 1], "--") == 0)
		return first < argc ? set_qemu_args(c, argv + first, (size_t)(argc - first), e) : 0;
	if (first < argc)
		return err_set(e, ERR_USAGE, "unexpected \"%.80s\": QEMU's arguments go after \"--\"", argv[first]);
	return 0;
}

static int set_default(char **text, const char *value, struct err *e)
{
	if (*text)
		return 0;
	*text = strdup(value);
	return *text ? 0 : err_set_errno(e, "no memory");
}

/* Names the file only; so the line can be read before the file and again after it. */
static int find_file(int argc, char **argv, char **ret, struct err *e)
{
	struct config scratch = {0};
	int rc = read_line(&scratch, argc, argv, e);

	if (rc == 0) {
		*ret = scratch.file;
		scratch.file = NULL;
	}
	config_deinit(&scratch);
	return rc;
}

int config_init(struct config *ret, int argc, char **argv, struct err *e)
{
	struct config c = {
		.checkpoint_interval_ms = DEFAULT_INTERVAL_MS,
		.checkpoints = DEFAULT_CHECKPOINTS,
		.boot_timeout_s = DEFAULT_BOOT_TIMEOUT_S,
		.detectors = TAINT_DETECTORS_ALL,
		.log_level = LOG_LEVEL_INFO,
		.colour = term_wants_colour(STDOUT_FILENO),
	};
	char *file = NULL;

	if (find_file(argc, argv, &file, e) < 0)
		return -1;
	if (file && read_file(&c, file, e) < 0)
		goto fail;
	if (read_line(&c, argc, argv, e) < 0)
		goto fail;
	if (!c.n_qemu_args) {
		err_set(e, ERR_USAGE,
			"no arguments for QEMU: give them after \"--\", or as args= in group [qemu] of the --config "
			"file");
		goto fail;
	}
	if (set_default(&c.name, "vm", e) < 0 || set_default(&c.net, "user", e) < 0 ||
	    set_default(&c.qemu, "qemu-system-x86_64", e) < 0)
		goto fail;
	free(file);
	*ret = c;
	return 0;
fail:
	free(file);
	config_deinit(&c);
	return -1;
}

void config_deinit(struct config *c)
{
	free(c->file);
	free(c->name);
	free(c->net);
	free(c->plugin);
	free(c->qemu);
	free(c->console);
	g_strfreev(c->qemu_args);
	for (unsigned i = 0; i < c->n_disks; i++)
		image_spec_deinit(&c->disk[i]);
	*c = (struct config){0};
}
