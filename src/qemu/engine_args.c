/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The operator's QEMU arguments: what CloudER must know of them, and what it cannot allow. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qemu/engine.h"

#define ARGS_MAX 512
#define RAM_DEFAULT (128ull << 20)

/* Returns -1 and fills *e if the option with this value cannot be. */
typedef int option_fn(struct engine_args *a, const char *option, const char *value, struct err *e);

static int take_memory(struct engine_args *a, const char *option, const char *value, struct err *e)
{
	static const struct {
		char suffix;
		unsigned shift;
	} units[] = {{0, 20}, {'b', 0}, {'k', 10}, {'m', 20}, {'g', 30}, {'t', 40}};
	unsigned long long n;
	char *end;

	(void)option;
	if (!strncmp(value, "size=", 5))
		value += 5;
	n = strtoull(value, &end, 10);
	for (size_t i = 0; end != value && i < sizeof(units) / sizeof(units[0]); i++) {
		char c = (char)(*end == ',' ? 0 : *end | (*end ? 0x20 : 0));

		if (c != units[i].suffix || (c && end[1] && end[1] != ','))
			continue;
		if (strstr(end, "maxmem=") || strstr(end, "slots="))
			return err_set(e, ERR_REFUSED, "-m %s: memory hot-plug is not supported, drop slots and maxmem",
				       value);
		if (!n || n > (1ull << 44) >> units[i].shift)
			break;
		a->ram_size = n << units[i].shift;
		if (a->ram_size & 0xfff)
			break;
		return 0;
	}
	return err_set(e, ERR_USAGE, "-m %s: not a memory size (examples: 512M, 1G)", value);
}

static int take_accel(struct engine_args *a, const char *option, const char *value, struct err *e)
{
	if (!strncmp(value, "tcg", 3) && (!value[3] || value[3] == ',')) {
		a->has_accel = true;
		return 0;
	}
	return err_set(e, ERR_REFUSED, "%s %s: this version protects VMs under -accel tcg only", option, value);
}

static int take_machine(struct engine_args *a, const char *option, const char *value, struct err *e)
{
	const char *accel = strstr(value, "accel=");

	if (strstr(value, "memory-backend="))
		return err_set(e, ERR_REFUSED, "%s %s: CloudER provides the memory backend, drop memory-backend",
			       option, value);
	if (accel && strncmp(accel + 6, "tcg", 3))
		return take_accel(a, option, accel + 6, e);
	a->has_accel |= accel != NULL;
	a->has_machine = true;
	return 0;
}

static int take_display(struct engine_args *a, const char *option, const char *value, struct err *e)
{
	(void)option;
	(void)value;
	(void)e;
	a->has_display = true;
	return 0;
}

static int take_drive(struct engine_args *a, const char *option, const char *value, struct err *e)
{
	static const char *const read_only[] = {"readonly=on", "read-only=on", "readonly=true", "\"read-only\":true",
						"media=cdrom"};

	(void)a;
	for (size_t i = 0; i < sizeof(read_only) / sizeof(read_only[0]); i++)
		if (strstr(value, read_only[i]))
			return 0;
	return err_set(e, ERR_REFUSED,
		       "%s %s: writable disks go through CloudER, so that they can be rolled back: use clouder's "
		       "--disk FILE, or readonly=on",
		       option, value);
}

static int refuse_disk(struct engine_args *a, const char *option, const char *value, struct err *e)
{
	(void)a;
	return err_set(e, ERR_REFUSED,
		       "%s%s%s: writable disks go through CloudER, so that they can be rolled back: use clouder's "
		       "--disk FILE, or -drive ...,readonly=on",
		       option, value ? " " : "", value ? value : "");
}

static int refuse_ours(struct engine_args *a, const char *option, const char *value, struct err *e)
{
	(void)a;
	(void)value;
	return err_set(e, ERR_REFUSED, "%s is CloudER's own to set, drop it", option);
}

static int refuse_network(struct engine_args *a, const char *option, const char *value, struct err *e)
{
	if (!strcmp(value, "none"))
		return 0;
	(void)a;
	return err_set(e, ERR_REFUSED,
		       "%s %s: the network must go through CloudER (else attacks are not seen); use clouder's --net",
		       option, value);
}

static int refuse_migration(struct engine_args *a, const char *option, const char *value, struct err *e)
{
	(void)a;
	(void)value;
	return err_set(e, ERR_REFUSED, "%s cannot be combined with checkpoints, drop it", option);
}

static int refuse_kvm(struct engine_args *a, const char *option, const char *value, struct err *e)
{
	(void)value;
	return take_accel(a, option, "(KVM)", e);
}

static int take_vga(struct engine_args *a, const char *option, const char *value, struct err *e)
{
	(void)option;
	(void)value;
	(void)e;
	a->has_vga = true;
	return 0;
}

static const struct option_row {
	const char *name;
	bool has_value;
	option_fn *fn;
} options[] = {
	{"m", true, take_memory},
	{"accel", true, take_accel},
	{"enable-kvm", false, refuse_kvm},
	{"machine", true, take_machine},
	{"M", true, take_machine},
	{"display", true, take_display},
	{"nographic", false, take_display},
	{"vga", true, take_vga},
	{"drive", true, take_drive},
	{"blockdev", true, take_drive},
	{"hda", true, refuse_disk},
	{"hdb", true, refuse_disk},
	{"hdc", true, refuse_disk},
	{"hdd", true, refuse_disk},
	{"fda", true, refuse_disk},
	{"fdb", true, refuse_disk},
	{"sd", true, refuse_disk},
	{"mtdblock", true, refuse_disk},
	{"pflash", true, refuse_disk},
	{"netdev", true, refuse_network},
	{"nic", true, refuse_network},
	{"net", true, refuse_network},
	{"mem-path", true, refuse_ours},
	{"S", false, refuse_ours},
	{"qmp", true, refuse_ours},
	{"qmp-pretty", true, refuse_ours},
	{"incoming", true, refuse_migration},
	{"loadvm", true, refuse_migration},
	{"snapshot", false, refuse_migration},
	{"daemonize", false, refuse_migration},
	{"icount", true, refuse_migration},
};

/* QEMU's options without a value that we have nothing to say about; all options in no table have one. */
static const char *const flags[] = {
	"h",
	"help",
	"version",
	"no-reboot",
	"no-shutdown",
	"usb",
	"full-screen",
	"nodefaults",
	"no-user-config",
	"only-migratable",
	"preconfig",
	"enable-sync-profile",
	"win2k-hack",
	"no-fd-bootchk",
	"s",
	"mem-prealloc",
	"semihosting",
	"no-acpi",
	"no-hpet",
	"one-insn-per-tb",
	"curses",
};

static const char *option_name(const char *arg)
{
	if (arg[0] != '-' || !arg[1])
		return NULL;
	return arg + (arg[1] == '-' ? 2 : 1);
}

static const struct option_row *find_option(const char *name)
{
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		if (!strcmp(name, options[i].name))
			return &options[i];
	return NULL;
}

static bool is_flag(const char *name)
{
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		if (!strcmp(name, flags[i]))
			return true;
	return false;
}

static int parse_one(struct engine_args *a, char *const *args, size_t n, size_t *i, struct err *e)
{
	const char *option = args[*i], *name = option_name(option);
	const struct option_row *row = name ? find_option(name) : NULL;

	if (!name)
		return err_set(e, ERR_REFUSED,
			       "%s: writable disks go through CloudER, so that they can be rolled back: use clouder's "
			       "--disk FILE, or -drive ...,readonly=on",
			       option);
	if (row ? !row->has_value : is_flag(name))
		return row ? row->fn(a, option, NULL, e) : 0;
	if (*i + 1 == n)
		return err_set(e, ERR_USAGE, "QEMU option %s needs a value", option);
	++*i;
	return row ? row->fn(a, option, args[*i], e) : 0;
}

int engine_args_parse(char *const *args, struct engine_args *ret, struct err *e)
{
	struct engine_args a = {.ram_size = RAM_DEFAULT};
	size_t n = 0;

	while (args && args[n])
		n++;
	if (n > ARGS_MAX)
		return err_set(e, ERR_LIMIT, "%zu QEMU arguments, at most %d are supported", n, ARGS_MAX);
	for (size_t i = 0; i < n; i++)
		if (parse_one(&a, args, n, &i, e) < 0)
			return -1;
	a.argv = calloc(n + 1, sizeof(*a.argv));
	for (size_t i = 0; a.argv && i < n; i++)
		a.argv[i] = strdup(args[i]);
	if (!a.argv || (n && !a.argv[n - 1])) {
		engine_args_free(&a);
		return err_set(e, ERR_SYSTEM, "no memory for QEMU's arguments");
	}
	*ret = a;
	return 0;
}

void engine_args_free(struct engine_args *a)
{
	for (size_t i = 0; a->argv && a->argv[i]; i++)
		free(a->argv[i]);
	free(a->argv);
	a->argv = NULL;
}
