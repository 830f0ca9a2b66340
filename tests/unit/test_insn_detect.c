/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which instructions the detectors look at, and at which register. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "plugin/core/insn.h"

#define NONE TAINT_GPR_NONE

struct row {
	const char *text;
	unsigned mode;
	uint8_t bytes[12];
	uint8_t len;
	enum taint_sees sees;
	uint8_t reg, other;
};

static const struct row rows[] = {
	{"call rax", 64, {0xff, 0xd0}, 2, TAINT_SEES_BRANCH, 0, NONE},
	{"jmp r11", 64, {0x41, 0xff, 0xe3}, 3, TAINT_SEES_BRANCH, 11, NONE},
	{"call [rax+8]", 64, {0xff, 0x50, 0x08}, 3, TAINT_SEES_BRANCH, NONE, NONE},
	{"jmp [rip+0]", 64, {0xff, 0x25, 0, 0, 0, 0}, 6, TAINT_SEES_BRANCH, NONE, NONE},
	{"call rel32", 64, {0xe8, 0, 0, 0, 0}, 5, TAINT_SEES_NONE, NONE, NONE},
	{"jmp rel8", 64, {0xeb, 0}, 2, TAINT_SEES_NONE, NONE, NONE},
	{"leave", 64, {0xc9}, 1, TAINT_SEES_STACK, 5, NONE},
	{"pop rsp", 64, {0x5c}, 1, TAINT_SEES_STACK, NONE, NONE},
	{"mov rsp, rbx", 64, {0x48, 0x89, 0xdc}, 3, TAINT_SEES_STACK, 3, NONE},
	{"mov rsp, [rax]", 64, {0x48, 0x8b, 0x20}, 3, TAINT_SEES_STACK, NONE, NONE},
	{"lea rsp, [rbp-8]", 64, {0x48, 0x8d, 0x65, 0xf8}, 4, TAINT_SEES_STACK, 5, NONE},
	{"lea esp, [ecx-4]", 32, {0x8d, 0x61, 0xfc}, 3, TAINT_SEES_STACK, 1, NONE},
	{"mov rbp, rsp", 64, {0x48, 0x89, 0xe5}, 3, TAINT_SEES_NONE, NONE, NONE},
	{"sub rdx, fs:0x28", 64, {0x64, 0x48, 0x2b, 0x14, 0x25, 0x28, 0, 0, 0}, 9, TAINT_SEES_CANARY, 2, NONE},
	{"sub rdx, fs:0x30", 64, {0x64, 0x48, 0x2b, 0x14, 0x25, 0x30, 0, 0, 0}, 9, TAINT_SEES_COMPARE, 2, NONE},
	{"xor eax, gs:0x14", 32, {0x65, 0x33, 0x05, 0x14, 0, 0, 0}, 7, TAINT_SEES_CANARY, 0, NONE},
	{"mov rax, fs:0x28", 64, {0x64, 0x48, 0x8b, 0x04, 0x25, 0x28, 0, 0, 0}, 9, TAINT_SEES_CANARY_LOAD, 0, NONE},
	{"cmp rax, [rsp+8]", 64, {0x48, 0x3b, 0x44, 0x24, 0x08}, 5, TAINT_SEES_COMPARE, 0, NONE},
	{"cmp rax, rcx", 64, {0x48, 0x39, 0xc8}, 3, TAINT_SEES_COMPARE, 0, 1},
	{"cmp al, 3", 64, {0x3c, 0x03}, 2, TAINT_SEES_NONE, NONE, NONE},
	{"syscall", 64, {0x0f, 0x05}, 2, TAINT_SEES_KERNEL, NONE, NONE},
	{"int 0x80", 32, {0xcd, 0x80}, 2, TAINT_SEES_KERNEL, NONE, NONE},
	{"int3", 32, {0xcc}, 1, TAINT_SEES_NONE, NONE, NONE},
};

static void test_rows(void **state)
{
	struct taint_insn in;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		print_message("%s\n", rows[i].text);
		assert_int_equal(taint_insn_compile(rows[i].mode, true, rows[i].bytes, rows[i].len, &in), rows[i].len);
		assert_int_equal(in.sees, rows[i].sees);
		assert_int_equal(in.sees_reg, rows[i].reg);
		assert_int_equal(in.sees_other, rows[i].other);
	}
}

/* Detectors are for programs. */
static void test_kernel(void **state)
{
	struct taint_insn in;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(taint_insn_compile(rows[i].mode, false, rows[i].bytes, rows[i].len, &in), rows[i].len);
		assert_int_equal(in.sees, TAINT_SEES_NONE);
	}
}

/* What of an instruction matters beside what it sees: a pointer loaded, a preserved register popped, an address pushed. */
static void test_words(void **state)
{
	static const struct {
		const char *text;
		unsigned mode;
		uint8_t bytes[12];
		uint8_t len;
		bool loads, restores, calls;
	} words[] = {
		{"mov rax, [rsp+8]", 64, {0x48, 0x8b, 0x44, 0x24, 0x08}, 5, true, false, false},
		{"mov eax, [rsp+8]", 64, {0x8b, 0x44, 0x24, 0x08}, 4, false, false, false},
		{"mov eax, [esp+8]", 32, {0x8b, 0x44, 0x24, 0x08}, 4, true, false, false},
		{"movzx eax, byte [rax]", 64, {0x0f, 0xb6, 0x00}, 3, false, false, false},
		{"add rax, [rsp+8]", 64, {0x48, 0x03, 0x44, 0x24, 0x08}, 5, false, false, false},
		{"movq xmm0, [rsp]", 64, {0xf3, 0x0f, 0x7e, 0x04, 0x24}, 5, false, false, false},
		{"jmp [rax]", 64, {0xff, 0x20}, 2, true, false, false},
		{"call [rax]", 64, {0xff, 0x10}, 2, true, false, true},
		{"call rel32", 64, {0xe8, 0, 0, 0, 0}, 5, false, false, true},
		{"pop rbx", 64, {0x5b}, 1, true, true, false},
		{"pop r15", 64, {0x41, 0x5f}, 2, true, true, false},
		{"pop rsi", 64, {0x5e}, 1, true, false, false},
		{"pop esi", 32, {0x5e}, 1, true, true, false},
		{"pop rcx", 64, {0x59}, 1, true, false, false},
		{"leave", 64, {0xc9}, 1, true, true, false},
		{"push rbx", 64, {0x53}, 1, false, false, false},
	};
	struct taint_insn in;

	(void)state;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		print_message("%s\n", words[i].text);
		assert_int_equal(taint_insn_compile(words[i].mode, true, words[i].bytes, words[i].len, &in),
				 words[i].len);
		assert_int_equal(in.loads_pointer, words[i].loads);
		assert_int_equal(in.restores, words[i].restores);
		assert_int_equal(in.calls, words[i].calls);
	}
}

/* Addresses in jump buffers are mixed with the thread's pointer guard: the register still holds what it was loaded with. */
static void test_unscrambles(void **state)
{
	static const struct {
		unsigned mode;
		uint8_t bytes[9];
		uint8_t len;
		bool unscrambles;
	} words[] = {
		{64, {0x64, 0x4c, 0x33, 0x04, 0x25, 0x30, 0, 0, 0}, 9, true}, /* xor r8, fs:0x30 */
		{32, {0x65, 0x33, 0x15, 0x18, 0, 0, 0}, 7, true}, /* xor edx, gs:0x18 */
		{64, {0x4c, 0x33, 0x07}, 3, false}, /* xor r8, [rdi] */
		{64, {0x64, 0x4c, 0x03, 0x04, 0x25, 0x30, 0, 0, 0}, 9, false}, /* add r8, fs:0x30 */
		{64, {0x64, 0x4c, 0x8b, 0x04, 0x25, 0x30, 0, 0, 0}, 9, false}, /* mov r8, fs:0x30 */
	};
	struct taint_insn in;

	(void)state;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		assert_int_equal(taint_insn_compile(words[i].mode, true, words[i].bytes, words[i].len, &in),
				 words[i].len);
		assert_int_equal(in.unscrambles, words[i].unscrambles);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_kernel),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_unscrambles),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
