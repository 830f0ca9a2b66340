/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `clouder patch export --elf`: which patches go into a copy, and what becomes of the file. */
#include "elf_victim.h"

#include <sys/stat.h>

#include "cli/cli.h"
#include "store/patch_file.h"
#include "store/store.h"

#define ARGS_MAX 10

static char said[65536], program[128], output[128];
static struct err error;

static int set_up(void **state)
{
	char text[96];

	if (victim_set_up(state))
		return -1;
	snprintf(text, sizeof(text), "%s/state", victim_dir);
	setenv("CLOUDER_STATE_DIR", text, 1);
	snprintf(program, sizeof(program), "%s/victim", victim_dir);
	snprintf(output, sizeof(output), "%s/copy", victim_dir);
	return 0;
}

/* "clouder patch export" with these words. */
static int export_with(const char *word, ...)
{
	char *argv[ARGS_MAX + 4] = {"clouder", "patch", "export"};
	FILE *f = fmemopen(said, sizeof(said), "w");
	int argc = 3, status;
	va_list ap;

	assert_non_null(f);
	va_start(ap, word);
	for (; word && argc < ARGS_MAX; word = va_arg(ap, const char *))
		argv[argc++] = (char *)word;
	va_end(ap);
	error = (struct err){.text = ""};
	status = cli_main(argc, argv, f, &error);
	fclose(f);
	return status;
}

static void refused(const char *why)
{
	if (!strstr(error.text, why))
		fail_msg("wanted \"%s\", got \"%s\"", why, error.text);
	assert_int_equal(access(output, F_OK), -1);
	/* Nor is anything else left. */
	assert_int_equal(victim_run("ls"), 0);
	assert_null(strstr(victim_said, "copy."));
}

static void keep(struct patch_record r)
{
	char *file = patch_file_write(&r, NULL, NULL);
	bool is_new = false;
	struct store *s;

	assert_non_null(file);
	assert_int_equal(store_open(NULL, false, &s, NULL), 0);
	assert_int_equal(store_add_patch(s, &r, file, &is_new, NULL), 0);
	assert_true(is_new);
	store_close(s);
	free(file);
}

static void revert(int64_t id)
{
	struct store *s;

	assert_int_equal(store_open(NULL, false, &s, NULL), 0);
	assert_int_equal(store_revert_patch(s, id, NULL), 0);
	store_close(s);
}

/*
 * Patches of one program: 1 for its first loop, 2 for its second, 3 for the first, too, 4 for another build, 5 for the second in a
 * process's memory, which was reverted.
 */
static void begin(void)
{
	const struct victim_guard one = {.limit = VICTIM_BUFFER}, two = {.site = 1, .limit = VICTIM_BUFFER},
				  closer = {.limit = 4};
	struct patch_record r;
	struct victim v;
	uint64_t cave;

	victim_build("-O2", "victim");
	v = victim_open("victim");
	cave = victim_address(&v, victim_cave(&v));
	keep(victim_patch(&v, &one, "cave", cave));
	keep(victim_patch(&v, &two, "process", cave + VICTIM_FAR));
	keep(victim_patch(&v, &closer, "cave", cave + 0x40));
	r = victim_patch(&v, &two, "cave", cave + 0x80);
	r.build_id.byte[0] ^= 1;
	keep(r);
	keep(victim_patch(&v, &two, "cave", cave + 0xc0));
	revert(5);
	free(v.byte);
}

static void test_export(void **state)
{
	struct stat was, is;

	(void)state;
	begin();
	assert_int_equal(chmod(program, 0751), 0);
	assert_int_equal(stat(program, &was), 0);
	assert_int_equal(export_with("1", "--elf", program, "--output", output, NULL), 0);
	assert_non_null(strstr(said, "patch 1 is in "));
	assert_non_null(strstr(said, "patch 2 is in "));
	assert_non_null(strstr(said, "patch 3 is left out: the bytes at "));
	assert_null(strstr(said, "patch 4"));
	assert_null(strstr(said, "patch 5"));
	assert_int_equal(stat(output, &is), 0);
	assert_int_equal(is.st_mode, was.st_mode);
	assert_int_equal(is.st_uid, was.st_uid);
	assert_int_equal(is.st_gid, was.st_gid);
	assert_int_equal(is.st_nlink, 1);
	victim_expect("victim", "AAAAAAAAAAAAAAAAAAAA", "two", "AAAAAAAAAAAAAAA two 3 0 BROKEN whole");
	victim_expect("copy", "one", "two", "one two 3 0 whole whole");
	victim_expect("copy", "AAAAAAAAAAAAAAAAAAAA", "BBBBBBBBBBBBBBBBBBBB",
		      "AAAAAAAAAAAAAAA BBBBBBBBBBBBBBB 3 0 whole whole");
	/* What is there stays, the program itself, too. */
	assert_int_equal(victim_run("cp copy before && cp victim program"), 0);
	assert_int_equal(export_with("1", "--elf", program, "--output", output, NULL), -1);
	assert_non_null(strstr(error.text, "File exists"));
	assert_int_equal(export_with("1", "--elf", program, "--output", program, NULL), -1);
	assert_non_null(strstr(error.text, "File exists"));
	assert_int_equal(victim_run("cmp copy before && cmp victim program && ! ls copy.*"), 0);
}

static void test_refusals(void **state)
{
	(void)state;
	begin();
	assert_int_equal(export_with("1", "--elf", program, NULL), -1);
	assert_int_equal(error.code, ERR_USAGE);
	refused("--elf needs --output");
	assert_int_equal(export_with("3", "--elf", program, "--output", output, NULL), -1);
	refused("patch 3 cannot be put into");
	assert_int_equal(export_with("4", "--elf", program, "--output", output, NULL), -1);
	refused("does not have the build-id that patch 4 is for");
	assert_int_equal(export_with("5", "--elf", program, "--output", output, NULL), -1);
	refused("patch 5 is reverted");
	assert_int_equal(export_with("6", "--elf", program, "--output", output, NULL), -1);
	refused("there is no patch 6");
	assert_int_equal(export_with("1", "--elf", "/dev/null", "--output", output, NULL), -1);
	refused("/dev/null is not a file");
	assert_int_equal(export_with("1", "--elf", victim_dir, "--output", output, NULL), -1);
	refused("is not a file");
	assert_int_equal(export_with("1", "--elf", "/nowhere", "--output", output, NULL), -1);
	refused("cannot read /nowhere");
	assert_int_equal(victim_run("head -c 3000 victim >short"), 0);
	snprintf(program, sizeof(program), "%s/short", victim_dir);
	assert_int_equal(export_with("1", "--elf", program, "--output", output, NULL), -1);
	refused("short cannot be patched: ");
	snprintf(program, sizeof(program), "%s/victim", victim_dir);
	assert_int_equal(export_with("1", "--elf", program, "--output", "/nowhere/copy", NULL), -1);
	refused("cannot make /nowhere/copy");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_export, set_up, victim_tear_down),
		cmocka_unit_test_setup_teardown(test_refusals, set_up, victim_tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
