/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The operator's QEMU arguments: what is taken from them and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "qemu/engine.h"

static void test_memory_sizes(void **state)
{
	const struct {
		const char *text;
		uint64_t size; /* 0: refused */
	} rows[] = {
		{"256", 256ull << 20},
		{"256M", 256ull << 20},
		{"1G", 1ull << 30},
		{"size=2g", 2ull << 30},
		{"8192k", 8ull << 20},
		{"0", 0},
		{"", 0},
		{"12x", 0},
		{"1GG", 0},
		{"99999999T", 0},
		{"1G,slots=2,maxmem=4G", 0},
		{"5000b", 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char m[] = "-m", *args[] = {m, (char *)(uintptr_t)rows[i].text, NULL};
		struct engine_args a = {0};
		struct err e;

		assert_int_equal(engine_args_parse(args, &a, &e), rows[i].size ? 0 : -1);
		assert_int_equal(a.ram_size, rows[i].size);
		engine_args_free(&a);
	}
}

static void test_refusals(void **state)
{
	const struct {
		const char *option, *value;
		bool ok;
	} rows[] = {
		{"-accel", "tcg", true},
		{"-accel", "tcg,thread=single", true},
		{"-accel", "kvm", false},
		{"-enable-kvm", NULL, false},
		{"-machine", "q35", true},
		{"-M", "q35,accel=kvm", false},
		{"-machine", "pc,accel=tcg", true},
		{"-machine", "q35,memory-backend=x", false},
		{"-drive", "file=a.qcow2", false},
		{"-drive", "file=a.raw,readonly=on", true},
		{"-hda", "a.raw", false},
		{"--hda", "a.raw", false},
		{"-cdrom", "a.iso", true},
		{"-netdev", "user,id=n", false},
		{"-nic", "none", true},
		{"-S", NULL, false},
		{"-incoming", "defer", false},
		{"-daemonize", NULL, false},
		{"-kernel", "-S", true}, /* a value is not an option */
		{"-append", "-hda", true},
		{"-m", NULL, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *args[] = {(char *)(uintptr_t)rows[i].option, (char *)(uintptr_t)rows[i].value, NULL};
		struct engine_args a = {0};
		struct err e = {0};

		if (engine_args_parse(args, &a, &e) != (rows[i].ok ? 0 : -1))
			fail_msg("%s %s: %s", rows[i].option, rows[i].value ? rows[i].value : "", e.text);
		if (!rows[i].ok)
			assert_non_null(strstr(e.text, rows[i].option));
		engine_args_free(&a);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_memory_sizes),
		cmocka_unit_test(test_refusals),
	};

	return cmocka_run_group_tests_name("engine_args", tests, NULL, NULL);
}
