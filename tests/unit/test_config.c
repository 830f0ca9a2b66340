/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Options and configuration file of `clouder run`. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/config.h"
#include "daemon/daemon.h"
#include "plugin/core/detector.h"

#define ARGS_MAX 32

static char file[] = "/tmp/clouder-config-XXXXXX";

/* Words split at blanks; "run" is put before them. */
static int parse(const char *line, struct config *ret, struct err *e)
{
	static char copy[1024];
	char *argv[ARGS_MAX + 1] = {"run"};
	int argc = 1;

	snprintf(copy, sizeof(copy), "%s", line);
	for (char *word = strtok(copy, " "); word && argc < ARGS_MAX; word = strtok(NULL, " "))
		argv[argc++] = word;
	return config_init(ret, argc, argv, e);
}

static struct config good(const char *line)
{
	struct config c;
	struct err e;

	if (parse(line, &c, &e) < 0)
		fail_msg("%s: %s", line, e.text);
	return c;
}

static void bad(const char *line, const char *says)
{
	struct config c;
	struct err e = {0};

	if (parse(line, &c, &e) != -1)
		fail_msg("accepted: %s", line);
	if (e.code != ERR_USAGE || !strstr(e.text, says) || strchr(e.text, '\n'))
		fail_msg("%s: %s: %s", line, err_code_name(e.code), e.text);
}

static void write_file(const char *text)
{
	FILE *f = fopen(file, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void test_defaults(void **state)
{
	struct config c = good("-- -m 512");

	(void)state;
	assert_string_equal(c.name, "vm");
	assert_string_equal(c.net, "user");
	assert_string_equal(c.qemu, "qemu-system-x86_64");
	assert_null(c.plugin);
	assert_int_equal(c.respond, CONFIG_RESPOND_AUTO);
	assert_int_equal(c.output, CONFIG_OUTPUT_RELEASE);
	assert_int_equal(c.checkpoint_interval_ms, 100);
	assert_int_equal(c.checkpoints, 16);
	assert_int_equal(c.checkpoint_memory_mib, 0);
	assert_int_equal(c.log_level, LOG_LEVEL_INFO);
	assert_null(c.console);
	assert_int_equal(c.boot_timeout_s, 120);
	assert_int_equal(c.detectors, TAINT_DETECTORS_ALL);
	assert_int_equal(c.n_qemu_args, 2);
	assert_string_equal(c.qemu_args[1], "512");
	assert_null(c.qemu_args[2]);
	config_deinit(&c);
}

static void test_options(void **state)
{
	struct config c =
		good("--name web --net tap,ifname=t0 --plugin /p.so --qemu=/q --respond observe "
		     "--checkpoint-interval 60000 --checkpoints 1 --checkpoint-memory 16 --output hold --console /c "
		     "--boot-timeout 0 --verbose -- "
		     "--name -daemonize --");

	(void)state;
	assert_string_equal(c.name, "web");
	assert_string_equal(c.net, "tap,ifname=t0");
	assert_string_equal(c.plugin, "/p.so");
	assert_string_equal(c.qemu, "/q");
	assert_int_equal(c.respond, CONFIG_RESPOND_OBSERVE);
	assert_int_equal(c.checkpoint_interval_ms, 60000);
	assert_int_equal(c.checkpoints, 1);
	assert_int_equal(c.checkpoint_memory_mib, 16);
	assert_int_equal(c.output, CONFIG_OUTPUT_HOLD);
	assert_string_equal(c.console, "/c");
	assert_int_equal(c.boot_timeout_s, 0);
	assert_int_equal(c.log_level, LOG_LEVEL_DEBUG);
	assert_int_equal(c.n_qemu_args, 3);
	assert_string_equal(c.qemu_args[0], "--name");
	assert_string_equal(c.qemu_args[2], "--");
	config_deinit(&c);
	c = good("--name a --name b --quiet -- x");
	assert_string_equal(c.name, "b");
	assert_int_equal(c.log_level, LOG_LEVEL_ERROR);
	config_deinit(&c);
	assert_string_equal(config_respond_name(CONFIG_RESPOND_OBSERVE), "observe");
	assert_string_equal(config_respond_name(CONFIG_RESPOND_AUTO), "auto");
}

static void test_bad_lines(void **state)
{
	static const struct {
		const char *line, *says;
	} rows[] = {
		{"", "no arguments for QEMU"},
		{"--", "no arguments for QEMU"},
		{"--name web", "no arguments for QEMU"},
		{"-m 512", "unknown option \"-m\""},
		{"-m 512", "QEMU's own go after \"--\""},
		{"--memory 512 -- x", "unknown option \"--memory\""},
		{"512 -- x", "unexpected \"512\": QEMU's arguments go after \"--\""},
		{"--name", "--name needs a value: --name NAME"},
		{"--verbose=3 -- x", "--verbose takes no value"},
		{"--name ../x -- x", "--name: \"../x\" cannot name a VM"},
		{"--name -x -- x", "cannot name a VM"},
		{"--name .x -- x", "cannot name a VM"},
		{"--name 012345678901234567890123456789012345678901234567 -- x", "cannot name a VM"},
		{"--net= -- x", "--net: the value is empty"},
		{"--respond maybe -- x", "--respond: \"maybe\" is not one of: auto, ask, observe"},
		{"--checkpoints 0 -- x", "--checkpoints: \"0\" is not a whole number from 1 to 64"},
		{"--output keep -- x", "--output: "},
		{"--checkpoint-memory 15 -- x", "is not a whole number from 16 to 1048576"},
		{"--checkpoints 65 -- x", "is not a whole number from 1 to 64"},
		{"--checkpoints 4x -- x", "is not a whole number"},
		{"--checkpoints -4 -- x", "is not a whole number"},
		{"--checkpoint-interval 99999999999999999999 -- x", "is not a whole number from 1 to 60000"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		bad(rows[i].line, rows[i].says);
}

static const char *with_file(const char *more)
{
	static char line[256];

	snprintf(line, sizeof(line), "--config %s %s", file, more);
	return line;
}

static void test_file(void **state)
{
	struct config c;

	(void)state;
	write_file("# a VM\n[vm]\nname = web \nnet=user,hostfwd=tcp::8080-:80\nplugin=/p.so\nqemu=/q\nrespond=observe\n"
		   "checkpoint-interval=250\ncheckpoints=8\nconsole=/"
		   "c\nboot-timeout=5\n[qemu]\nargs=-m;512;-append;console=ttyS0 a\\;b;\n");
	c = good(with_file(""));
	assert_string_equal(c.file, file);
	assert_string_equal(c.name, "web");
	assert_string_equal(c.net, "user,hostfwd=tcp::8080-:80");
	assert_string_equal(c.plugin, "/p.so");
	assert_string_equal(c.qemu, "/q");
	assert_int_equal(c.respond, CONFIG_RESPOND_OBSERVE);
	assert_int_equal(c.checkpoint_interval_ms, 250);
	assert_int_equal(c.checkpoints, 8);
	assert_string_equal(c.console, "/c");
	assert_int_equal(c.boot_timeout_s, 5);
	assert_int_equal(c.n_qemu_args, 4);
	assert_string_equal(c.qemu_args[3], "console=ttyS0 a;b");
	config_deinit(&c);
}

/* The command line wins, wherever --config stands in it. */
static void test_line_wins(void **state)
{
	char line[256];
	struct config c;

	(void)state;
	write_file("[vm]\nname=web\ncheckpoints=8\nrespond=observe\n[qemu]\nargs=-m;512\n");
	snprintf(line, sizeof(line), "--name db --respond auto --config %s -- -m 64 -nodefaults", file);
	c = good(line);
	assert_string_equal(c.name, "db");
	assert_int_equal(c.respond, CONFIG_RESPOND_AUTO);
	assert_int_equal(c.checkpoints, 8);
	assert_int_equal(c.n_qemu_args, 3);
	assert_string_equal(c.qemu_args[1], "64");
	config_deinit(&c);
	c = good(with_file("--checkpoints 9 --"));
	assert_int_equal(c.checkpoints, 9);
	assert_int_equal(c.n_qemu_args, 2);
	config_deinit(&c);
}

static void test_bad_files(void **state)
{
	static const struct {
		const char *text, *says;
	} rows[] = {
		{"[vm]\nnmae=web\n", "unknown key \"nmae\" in [vm]"},
		{"[vm]\nconfig=/x\n", "unknown key \"config\" in [vm]"},
		{"[vm]\nverbose=true\n", "unknown key \"verbose\" in [vm]"},
		{"[vm]\nname=a/b\n", "name: \"a/b\" cannot name a VM"},
		{"[vm]\nname=\n", "name: "},
		{"[vm]\ncheckpoints=many\n", "checkpoints: \"many\" is not a whole number from 1 to 64"},
		{"[vm]\nrespond=2\n", "respond: \"2\" is not one of"},
		{"[vm]\nnet=\xff\xfe\n", "net: "},
		{"[qemu]\nargs=-m\nextra=1\n", "unknown key \"extra\" in [qemu]"},
		{"[network]\nnet=user\n", "unknown group [network]: there are [vm] and [qemu]"},
		{"name=web\n", "configuration file"},
		{"[vm\n", "configuration file"},
		{"[vm]\nname=web\n", "no arguments for QEMU"},
		{"[qemu]\nargs=\n", "no arguments for QEMU"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		write_file(rows[i].text);
		bad(with_file(""), rows[i].says);
	}
}

static void test_no_file(void **state)
{
	struct config c;
	struct err e;

	(void)state;
	assert_int_equal(parse("--config /nonexistent/clouder.conf -- x", &c, &e), -1);
	assert_int_equal(e.code, ERR_MISSING);
	assert_non_null(strstr(e.text, "configuration file /nonexistent/clouder.conf: No such file"));
	assert_int_equal(parse("--config /tmp -- x", &c, &e), -1);
}

static void test_usage(void **state)
{
	static const char *const options[] = {"--config FILE",
					      "--name NAME",
					      "--net SPEC",
					      "--plugin FILE",
					      "--qemu PROGRAM",
					      "--respond auto|ask|observe",
					      "--detectors LIST",
					      "--checkpoint-interval MS",
					      "--checkpoints N",
					      "--checkpoint-memory MIB",
					      "--output release|hold",
					      "--console FILE",
					      "--boot-timeout S",
					      "--verbose\n",
					      "--quiet\n",
					      "-- QEMU-ARGUMENTS\n"};

	(void)state;
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		if (!strstr(daemon_run_usage, options[i]))
			fail_msg("%s is not in:\n%s", options[i], daemon_run_usage);
}

/* A list changes what was on; the file's comes before the line's. */
static void test_detectors(void **state)
{
	const uint32_t code = 1u << TAINT_DETECT_CODE, end = 1u << TAINT_DETECT_ABORT;
	struct config c = good("--detectors -tainted-code,-abort -- x");
	char line[256];

	(void)state;
	assert_int_equal(c.detectors, TAINT_DETECTORS_ALL & ~(code | end));
	config_deinit(&c);
	c = good("--detectors -all,tainted-code --detectors +abort -- x");
	assert_int_equal(c.detectors, code | end);
	config_deinit(&c);
	write_file("[vm]\ndetectors=-all,+abort\n[qemu]\nargs=x\n");
	snprintf(line, sizeof(line), "--detectors tainted-code --config %s", file);
	c = good(line);
	assert_int_equal(c.detectors, code | end);
	config_deinit(&c);
	bad("--detectors abort,-tainted-cod,x -- x", "no detector is called \"-tainted-cod\"");
	bad("--detectors abort, -- x", "no detector is called \"\"");
}

/* Each detector has its name, and is explained to the operator. */
static void test_detector_names(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < TAINT_DETECTORS; i++) {
		const char *name = taint_detector_name(i);
		bool is_one = TAINT_DETECTORS_ALL & 1u << i;

		assert_int_equal(strcmp(name, "unknown") != 0, is_one);
		assert_int_equal(taint_detector_find(name, strlen(name)), is_one ? i : 0);
		if (is_one && !strstr(daemon_run_usage, name))
			fail_msg("%s is not in:\n%s", name, daemon_run_usage);
	}
	assert_string_equal(taint_detector_name(TAINT_DETECTORS), "unknown");
	assert_false(TAINT_DETECTORS_ALL & 1u << TAINT_DETECT_WATCH);
}

/* Disks of the file come first, those of the command line behind them. */
static void test_disks(void **state)
{
	char line[256];
	struct config c;

	(void)state;
	write_file("[vm]\ndisk=/a.img,id=a;/b.img\n[qemu]\nargs=x\n");
	snprintf(line, sizeof(line), "--config %s --disk /c.img,readonly=on,undo=9", file);
	c = good(line);
	assert_int_equal(c.n_disks, 3);
	assert_string_equal(c.disk[0].file, "/a.img");
	assert_string_equal(c.disk[0].id, "a");
	assert_string_equal(c.disk[1].file, "/b.img");
	assert_false(c.disk[1].readonly);
	assert_string_equal(c.disk[2].file, "/c.img");
	assert_true(c.disk[2].readonly);
	assert_int_equal(c.disk[2].undo_mib, 9);
	config_deinit(&c);
	bad("--disk a,cache=none -- x", "cache");
	bad("--disk 1 --disk 2 --disk 3 --disk 4 --disk 5 --disk 6 --disk 7 --disk 8 --disk 9 -- x", "at most 8");
}

static int make_file(void **state)
{
	int fd = mkstemp(file);

	(void)state;
	return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
	(void)state;
	return unlink(file);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),  cmocka_unit_test(test_options),
		cmocka_unit_test(test_bad_lines), cmocka_unit_test(test_file),
		cmocka_unit_test(test_line_wins), cmocka_unit_test(test_bad_files),
		cmocka_unit_test(test_no_file),	  cmocka_unit_test(test_usage),
		cmocka_unit_test(test_detectors), cmocka_unit_test(test_detector_names),
		cmocka_unit_test(test_disks),
	};

	return cmocka_run_group_tests(tests, make_file, remove_file);
}
