/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The shadow of return addresses: what becomes of a slot that is written over, in whole and in part. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "plugin/core/returns.h"

#define SLOT 0x123456780ull
#define FROM 0x7f0011223344ull
#define ELSEWHERE 0x7f0011220041ull

static struct returns table;

static int clear(void **state)
{
	(void)state;
	memset(&table, 0, sizeof(table));
	return 0;
}

static enum returns_state take(uint64_t address)
{
	return returns_take(&table, gpa(SLOT), 8, address);
}

static void test_call_and_return(void **state)
{
	(void)state;
	assert_int_equal(take(FROM), RETURNS_UNKNOWN);
	returns_call(&table, gpa(SLOT), 8, FROM);
	assert_int_equal(take(FROM), RETURNS_SAME);
	assert_int_equal(take(FROM), RETURNS_UNKNOWN);
	/* Nobody was seen to write it: another call's. */
	returns_call(&table, gpa(SLOT), 8, FROM);
	assert_int_equal(take(ELSEWHERE), RETURNS_SAME);
}

struct row {
	int at;
	unsigned n;
	enum returns_state state;
};

static void test_stores(void **state)
{
	static const struct row rows[] = {
		{0, 1, RETURNS_CHANGED},  {7, 1, RETURNS_CHANGED},    {4, 4, RETURNS_CHANGED},
		{-1, 2, RETURNS_CHANGED}, {-8, 15, RETURNS_CHANGED},  {6, 16, RETURNS_CHANGED},
		{0, 8, RETURNS_REPLACED}, {-8, 16, RETURNS_REPLACED}, {-3, 16, RETURNS_REPLACED},
		{-1, 1, RETURNS_SAME},	  {8, 1, RETURNS_SAME},	      {-16, 16, RETURNS_SAME},
		{8, 16, RETURNS_SAME},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		returns_call(&table, gpa(SLOT), 8, FROM);
		returns_store(&table, gpa(SLOT + (uint64_t)(int64_t)rows[i].at), rows[i].n);
		assert_int_equal(take(ELSEWHERE), rows[i].state);
		/* Written with what was there, it is the same. */
		returns_call(&table, gpa(SLOT), 8, FROM);
		returns_store(&table, gpa(SLOT + (uint64_t)(int64_t)rows[i].at), rows[i].n);
		assert_int_equal(take(FROM), RETURNS_SAME);
	}
}

/* Who writes all of it makes another of it, whatever was done before and is done after. */
static void test_order(void **state)
{
	(void)state;
	returns_call(&table, gpa(SLOT), 8, FROM);
	returns_store(&table, gpa(SLOT + 2), 1);
	returns_store(&table, gpa(SLOT), 8);
	returns_store(&table, gpa(SLOT + 3), 1);
	assert_int_equal(take(ELSEWHERE), RETURNS_REPLACED);
	returns_call(&table, gpa(SLOT), 8, FROM);
	returns_store(&table, gpa(SLOT), 1);
	returns_call(&table, gpa(SLOT), 8, ELSEWHERE + 2);
	assert_int_equal(take(ELSEWHERE), RETURNS_SAME);
}

/* Two slots of 32-bit code share 8 bytes. */
static void test_narrow(void **state)
{
	(void)state;
	returns_call(&table, gpa(SLOT + 4), 4, 0x8049000);
	returns_store(&table, gpa(SLOT), 4);
	assert_int_equal(returns_take(&table, gpa(SLOT), 4, 1), RETURNS_UNKNOWN);
	assert_int_equal(returns_take(&table, gpa(SLOT + 4), 4, 1), RETURNS_SAME);
	returns_call(&table, gpa(SLOT + 4), 4, 0x8049000);
	returns_store(&table, gpa(SLOT + 4), 1);
	assert_int_equal(returns_take(&table, gpa(SLOT), 8, 1), RETURNS_UNKNOWN);
	assert_int_equal(returns_take(&table, gpa(SLOT + 4), 4, 1), RETURNS_CHANGED);
}

/* A slot that shares its place with another, one that is too far away, one that is not aligned. */
static void test_others(void **state)
{
	const struct gpa other = gpa(SLOT + 8ull * RETURNS_SLOTS), far = gpa(SLOT + (1ull << 40));

	(void)state;
	returns_call(&table, gpa(SLOT), 8, FROM);
	returns_store(&table, other, 1);
	assert_int_equal(returns_take(&table, other, 8, ELSEWHERE), RETURNS_UNKNOWN);
	assert_int_equal(returns_take(&table, far, 8, ELSEWHERE), RETURNS_UNKNOWN);
	assert_int_equal(take(ELSEWHERE), RETURNS_SAME);
	returns_call(&table, far, 8, FROM);
	assert_int_equal(take(FROM), RETURNS_UNKNOWN);
	returns_call(&table, gpa(SLOT + 4), 8, FROM);
	assert_int_equal(returns_take(&table, gpa(SLOT + 4), 8, FROM), RETURNS_UNKNOWN);
}

static void test_follow_call(void **state)
{
	static const struct {
		const char *text;
		uint8_t bytes[RETURNS_CALL_MAX];
		bool is;
	} rows[] = {
		{"call rel32", {0, 0, 0xe8, 1, 2, 3, 4}, true},
		{"call rax", {0, 0, 0, 0, 0, 0xff, 0xd0}, true},
		{"call [rax]", {0, 0, 0, 0, 0, 0xff, 0x10}, true},
		{"call [rax+8]", {0, 0, 0, 0, 0xff, 0x50, 8}, true},
		{"call [rsp]", {0, 0, 0, 0, 0xff, 0x14, 0x24}, true},
		{"call [rsp+8]", {0, 0, 0, 0xff, 0x54, 0x24, 8}, true},
		{"call [rip+x]", {0, 0xff, 0x15, 1, 2, 3, 4}, true},
		{"call [rax+x]", {0, 0xff, 0x90, 1, 2, 3, 4}, true},
		{"call [rax*8+x]", {0xff, 0x14, 0xc5, 1, 2, 3, 4}, true},
		{"call [rsp+x]", {0xff, 0x94, 0x24, 1, 2, 3, 4}, true},
		{"jmp rax", {0, 0, 0, 0, 0, 0xff, 0xe0}, false},
		{"padding", {0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90}, false},
		{"call [rax] and more", {0, 0, 0, 0, 0xff, 0x10, 0x90}, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		print_message("%s\n", rows[i].text);
		assert_int_equal(returns_follow_call(rows[i].bytes), rows[i].is);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_call_and_return, clear), cmocka_unit_test_setup(test_stores, clear),
		cmocka_unit_test_setup(test_order, clear),	     cmocka_unit_test_setup(test_narrow, clear),
		cmocka_unit_test_setup(test_others, clear),	     cmocka_unit_test(test_follow_call),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
