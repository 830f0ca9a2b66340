/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Frames of interrupts and exceptions: those of Linux are recognised, and nothing else is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "plugin/core/trap.h"

#define KERNEL_IP 0xffffffff819c2e4cull
#define KERNEL_SP 0xffffc9000059ba00ull
#define USER_IP 0x4d851dull
#define USER_SP 0x7ffd12345678ull
#define KERNEL KERNEL_IP, 0x10, 0x246, KERNEL_SP, 0x18
#define USER USER_IP, 0x33, 0x10246, USER_SP, 0x2b

static const struct {
	const char *name;
	uint64_t words[TRAP_WORDS];
	unsigned n, want;
} frames[] = {
	{"kernel", {KERNEL, 0}, 6, 5},
	{"kernel, nothing mapped behind", {KERNEL}, 5, 5},
	{"kernel, no stack segment", {KERNEL_IP, 0x10, 0x46, KERNEL_SP, 0}, 6, 5},
	{"user", {USER, 0}, 6, 5},
	{"user, 32 bits", {0x8049000, 0x23, 0x202, 0xffffd000, 0x2b}, 6, 5},
	{"user, a stack pointer that is none", {USER_IP, 0x33, 0x202, 0x4141414141414141, 0x2b}, 6, 5},
	{"vsyscall page", {0xffffffffff600000, 0x33, 0x202, USER_SP, 0x2b}, 6, 5},
	{"57-bit addresses", {0xffa0000000001000, 0x10, 0x2, 0xff11000000000000, 0x18}, 6, 5},
	{"user, a jump to what is no address", {0, 0x4141414141414141, 0x33, 0x10246, USER_SP, 0x2b}, 6, 6},
	{"error code", {4, KERNEL}, 6, 6},
	{"vector", {~0x20ull, USER}, 6, 6},
	{"error code, cut", {4, KERNEL_IP, 0x10, 0x246, KERNEL_SP}, 5, 0},
	{"cut", {KERNEL_IP, 0x10, 0x246, KERNEL_SP}, 4, 0},
	{"nothing", {0}, 0, 0},
	{"zeroes", {0}, 6, 0},
	{"two words below", {1, 2, KERNEL_IP, 0x10, 0x246, KERNEL_SP}, 6, 0},
	{"code segment of a user with a kernel's stack", {USER_IP, 0x33, 0x246, USER_SP, 0x18}, 6, 0},
	{"code segment of the kernel with a user's stack", {KERNEL_IP, 0x10, 0x246, KERNEL_SP, 0x2b}, 6, 0},
	{"another code segment", {KERNEL_IP, 0x18, 0x246, KERNEL_SP, 0x18}, 6, 0},
	{"code segment of more than 16 bits", {KERNEL_IP, 0x10010, 0x246, KERNEL_SP, 0x18}, 6, 0},
	{"stack segment of more than 16 bits", {KERNEL_IP, 0x10, 0x246, KERNEL_SP, 1ull << 63 | 0x18}, 6, 0},
	{"address that is none", {0x4141414141414141, 0x10, 0x246, KERNEL_SP, 0x18}, 6, 0},
	{"flags without bit 1", {KERNEL_IP, 0x10, 0x244, KERNEL_SP, 0x18}, 6, 0},
	{"flags with bit 3", {KERNEL_IP, 0x10, 0x24e, KERNEL_SP, 0x18}, 6, 0},
	{"flags with bit 15", {KERNEL_IP, 0x10, 0x8246, KERNEL_SP, 0x18}, 6, 0},
	{"flags with bit 32", {KERNEL_IP, 0x10, 0x100000246, KERNEL_SP, 0x18}, 6, 0},
};

static void test_frames(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
		unsigned got = trap_frame_words(frames[i].words, frames[i].n);

		if (got != frames[i].want)
			fail_msg("%s: %u words, not %u", frames[i].name, got, frames[i].want);
	}
}

static const struct {
	const char *name;
	uint8_t before[TRAP_CLAC_LEN], bytes[3];
	size_t len;
	bool want;
} entries[] = {
	{"behind clac", {0x0f, 0x01, 0xca}, {0xfc}, 1, true},
	{"behind three nops", {0x90, 0x90, 0x90}, {0xfc}, 1, true},
	{"behind a nop of three bytes", {0x0f, 0x1f, 0x00}, {0xfc}, 1, true},
	{"behind another", {0x66, 0x66, 0x90}, {0xfc}, 1, true},
	{"behind a backward copy", {0xf3, 0x48, 0xa5}, {0xfc}, 1, false},
	{"behind stac", {0x0f, 0x01, 0xcb}, {0xfc}, 1, false},
	{"behind two nops", {0xa5, 0x90, 0x90}, {0xfc}, 1, false},
	{"std", {0x0f, 0x01, 0xca}, {0xfd}, 1, false},
	{"a longer one", {0x0f, 0x01, 0xca}, {0xfc, 0x6a, 0xff}, 3, false},
	{"nothing", {0x0f, 0x01, 0xca}, {0xfc}, 0, false},
};

static void test_entries(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++)
		if (trap_is_entry(entries[i].before, entries[i].bytes, entries[i].len) != entries[i].want)
			fail_msg("%s", entries[i].name);
}

/* A row for an entry at 0xffffffff81a00bd0. */
static const uint8_t gate[TRAP_GATE_LEN] = {0xd0, 0x0b, 0x10, 0, 0, 0x8e, 0xa0, 0x81, 0xff, 0xff, 0xff, 0xff};

static void test_gates(void **state)
{
	uint8_t absent[TRAP_GATE_LEN];

	(void)state;
	memcpy(absent, gate, sizeof(absent));
	absent[5] = 0x0e;
	assert_true(trap_gate_leads(gate, 0xffffffff81a00bd3));
	assert_true(trap_gate_leads(gate, 0xffffffff81a00bd7));
	assert_false(trap_gate_leads(gate, 0xffffffff81a00bd0));
	assert_false(trap_gate_leads(gate, 0xffffffff81a00bd4));
	assert_false(trap_gate_leads(gate, 0xffffffff82a00bd3));
	assert_false(trap_gate_leads(gate, 0x81a00bd3));
	assert_false(trap_gate_leads(absent, 0xffffffff81a00bd3));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_frames),
		cmocka_unit_test(test_entries),
		cmocka_unit_test(test_gates),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
