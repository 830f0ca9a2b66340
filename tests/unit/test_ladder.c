/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a culprit that has patches gets next. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "patch/ladder.h"

static struct finding frame_finding(int64_t start, int64_t end)
{
	return (struct finding){.kind = FINDING_CALL,
				.effect = CALL_STRING_COPY,
				.bound = BOUND_FRAME,
				.cfa = {4, 128},
				.start_offset = start,
				.end_offset = end};
}

static enum ladder_step next(const struct finding *a, const struct finding *b, struct finding *f)
{
	const struct finding *old[] = {a, b};

	return ladder_next(old, b ? 2 : 1, f);
}

static void test_same_object(void **state)
{
	const struct finding wide = frame_finding(-96, -16), close = frame_finding(-90, -40);
	struct finding f = close;

	(void)state;
	assert_int_equal(next(&wide, NULL, &f), LADDER_REPLACE);
	assert_int_equal(f.start_offset, -96);
	assert_int_equal(f.end_offset, -40);
	f = wide;
	assert_int_equal(next(&close, NULL, &f), LADDER_NONE);
	f = wide;
	assert_int_equal(next(&wide, NULL, &f), LADDER_NONE);
}

static void test_other_objects(void **state)
{
	const struct finding old = frame_finding(-96, -16), apart = frame_finding(-200, -96);
	struct finding f = apart;

	(void)state;
	assert_int_equal(next(&old, NULL, &f), LADDER_CHAIN);
	assert_int_equal(f.end_offset, -96);
	f = frame_finding(-90, -40);
	f.bound = BOUND_CALLER;
	assert_int_equal(next(&old, NULL, &f), LADDER_CHAIN);
	f = frame_finding(-90, -40);
	f.caller_slot = 24;
	assert_int_equal(next(&old, NULL, &f), LADDER_CHAIN);
	/* one of two: both stay */
	f = frame_finding(-90, -40);
	assert_int_equal(next(&apart, &old, &f), LADDER_CHAIN);
	f = frame_finding(-90, -16);
	assert_int_equal(next(&apart, &old, &f), LADDER_NONE);
	f = frame_finding(-90, -40);
	f.effect = CALL_FORMAT;
	assert_int_equal(next(&old, NULL, &f), LADDER_CHAIN);
	assert_int_equal(next(&f, NULL, &f), LADDER_NONE);
}

/* Two programs that use a library: the object of one is none of the other's, also where both call from the same place. */
static void test_callers(void **state)
{
	struct finding old = frame_finding(40, 80), f;

	(void)state;
	old.bound = BOUND_CALLER;
	old.caller_return = gva(0x401234);
	old.caller = (struct finding_caller){.build_id = {1, 2}, .build_id_len = 20, .bias = 0x400000};
	f = old;
	assert_int_equal(next(&old, NULL, &f), LADDER_NONE);
	f.end_offset = 60;
	f.caller_return = gva(0x555555001234);
	f.caller.bias = 0x555555000000;
	assert_int_equal(next(&old, NULL, &f), LADDER_REPLACE);
	f = old;
	f.end_offset = 60;
	f.caller.build_id[1] = 3;
	assert_int_equal(next(&old, NULL, &f), LADDER_CHAIN);
	f = old;
	f.end_offset = 60;
	f.caller.build_id_len = 0;
	assert_int_equal(next(&old, NULL, &f), LADDER_CHAIN);
	/* static data of theirs */
	old.bound = BOUND_MODULE;
	f = old;
	f.end_offset = 60;
	f.caller_return = gva(0x401500);
	assert_int_equal(next(&old, NULL, &f), LADDER_REPLACE);
	f = old;
	f.end_offset = 60;
	f.caller.build_id[1] = 3;
	assert_int_equal(next(&old, NULL, &f), LADDER_CHAIN);
}

static void test_chunks(void **state)
{
	struct finding whole = frame_finding(0, 72), part = frame_finding(0, 64), f;

	(void)state;
	whole.bound = part.bound = BOUND_CHUNK;
	part.part_of = 80;
	f = whole;
	assert_int_equal(next(&whole, NULL, &f), LADDER_NONE);
	f = part;
	assert_int_equal(next(&whole, NULL, &f), LADDER_CHAIN);
	f = whole;
	assert_int_equal(next(&part, NULL, &f), LADDER_CHAIN);
	f = part;
	f.end_offset = 32;
	f.start_offset = 8;
	assert_int_equal(next(&part, NULL, &f), LADDER_REPLACE);
	assert_int_equal(f.start_offset, 8);
	f = part;
	f.part_of = 96;
	assert_int_equal(next(&part, NULL, &f), LADDER_CHAIN);
}

/* Static data: a store through a pointer is held back further if something further was hit. */
static void test_static(void **state)
{
	struct finding old = frame_finding(0x4000, 0x4040), f;

	(void)state;
	old.kind = FINDING_STORE;
	old.effect = CALL_UNKNOWN;
	old.bound = BOUND_MODULE;
	old.pointer_store = true;
	old.module.bias = 0x10000;
	old.error_address = gva(0x14048);
	f = old;
	f.module.bias = 0x20000;
	f.error_address = gva(0x24048);
	assert_int_equal(next(&old, NULL, &f), LADDER_NONE);
	f.error_address = gva(0x24080);
	f.end_offset = 0x4080;
	assert_int_equal(next(&old, NULL, &f), LADDER_REPLACE);
	assert_int_equal(f.end_offset, 0x4040);
	assert_int_equal(f.error_address.v, 0x24080);
	f.end_offset = 0x4020;
	f.error_address = gva(0x24020);
	assert_int_equal(next(&old, NULL, &f), LADDER_REPLACE);
	assert_int_equal(f.end_offset, 0x4020);
	assert_int_equal(f.error_address.v, 0x24048);
	/* what was hit may be more than the word that was noticed: as far counts */
	f.end_offset = 0x4040;
	f.error_address = gva(0x24040);
	f.error_length = 16;
	assert_int_equal(next(&old, NULL, &f), LADDER_NONE);
	f.error_length = 24;
	assert_int_equal(next(&old, NULL, &f), LADDER_REPLACE);
	assert_int_equal(f.error_address.v, 0x24040);
	old.error_address = gva(0x14040);
	old.error_length = 24;
	f.end_offset = 0x4020;
	f.error_address = gva(0x24020);
	f.error_length = 0;
	assert_int_equal(next(&old, NULL, &f), LADDER_REPLACE);
	assert_int_equal(f.error_address.v, 0x24040);
	assert_int_equal(f.error_length, 24);
}

static void test_limit(void **state)
{
	const struct finding a = frame_finding(-96, -16);
	const struct finding *old[LADDER_MAX];
	struct finding f = frame_finding(-90, -40);

	(void)state;
	for (unsigned k = 0; k < LADDER_MAX; k++)
		old[k] = &a;
	assert_int_equal(ladder_next(old, LADDER_MAX, &f), LADDER_NONE);
	assert_int_equal(ladder_next(old, LADDER_MAX - 1, &f), LADDER_CHAIN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_object), cmocka_unit_test(test_other_objects),
		cmocka_unit_test(test_callers),	    cmocka_unit_test(test_chunks),
		cmocka_unit_test(test_static),	    cmocka_unit_test(test_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
