/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A patch that is stored and comes back is the same patch, with the same bounds, and dormant. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/vm_internal.h"
#include "patch_record.h"
#include "store/patch_file.h"

#define BIAS 0x555500000000ull

static void test_comes_back(void **state)
{
	struct patch_record first = sample_record(), second;
	struct incident in = {
		.id = 3, .vm = "web", .detector = "tainted-return", .object_text = "stack object, 64 bytes"};
	struct vm_patch a, b;
	struct err e;

	(void)state;
	keep_load(&first, &a);
	assert_true(a.dormant);
	keep_record(&a.patch, &a.finding, &in, &second);
	if (patch_record_check(&second, &e) < 0)
		fail_msg("%s", e.text);
	assert_true(patch_record_same(&first, &second));
	assert_string_equal(second.reason, first.reason);
	assert_string_equal(second.path, first.path);
	assert_string_equal(second.home, "cave");
	keep_load(&second, &b);
	assert_memory_equal(&a.patch, &b.patch, sizeof(a.patch));
	assert_memory_equal(&a.finding, &b.finding, sizeof(a.finding));
	assert_int_equal(b.finding.end_offset, -32);
	assert_int_equal(b.finding.cfa.reg, 5);
}

/* Addresses of one process do not get into a record. */
static void test_no_addresses(void **state)
{
	struct patch_record r = sample_record();
	struct incident in = {.id = 3};
	struct vm_patch a;

	(void)state;
	keep_load(&r, &a);
	a.finding.module.bias = BIAS;
	a.finding.bound = BOUND_CALLER;
	a.finding.caller_return = gva(BIAS + 0x1234);
	a.finding.error_address = gva(0x7ffc00001000);
	keep_record(&a.patch, &a.finding, &in, &r);
	assert_int_equal(r.caller_return, 0x1234);
	assert_int_equal(r.caller_build_id.len, 0);
	assert_int_equal(r.error_offset, 0);
	a.finding.caller = (struct finding_caller){.build_id_len = 20, .build_id = {5}, .bias = BIAS + 0x200};
	keep_record(&a.patch, &a.finding, &in, &r);
	assert_int_equal(r.caller_return, 0x1034);
	assert_int_equal(r.caller_build_id.len, 20);
	keep_load(&r, &a);
	assert_int_equal(a.finding.caller.build_id_len, 20);
	assert_int_equal(a.finding.caller.build_id[0], 5);
	a.finding.module.bias = BIAS;
	a.finding.caller = (struct finding_caller){0};
	a.finding.bound = BOUND_MODULE;
	a.finding.error_address = gva(BIAS + 0x4000);
	keep_record(&a.patch, &a.finding, &in, &r);
	assert_int_equal(r.error_offset, 0x4000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_comes_back),
		cmocka_unit_test(test_no_addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
