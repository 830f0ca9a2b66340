/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where contexts begin, in code that restores some, and in code that looks like it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "locate/context.h"
#include "locate/x86.h"

extern const uint8_t hop[], hop_jump[], hop_stack[];
extern const uint8_t through[], through_jump[];
extern const uint8_t mixed[], mixed_stack[], mixed_jump[];
extern const uint8_t call[], call_jump[];
extern const uint8_t moved[], moved_jump[];
extern const uint8_t frame[], frame_jump[];
extern const uint8_t early[], early_jump[];

__asm__(".text\n"
	/* as compilers make it */
	"hop: push %rbp; mov %rsp, %rbp; mov 8(%rdi), %rax; mov (%rdi), %rdx\n"
	"hop_stack: mov 16(%rdi), %rsp\n"
	"	mov %rdx, %rbp\n"
	"hop_jump: jmp *%rax\n"
	/* the base is gone at the end, the jump is through memory */
	"through: mov -8(%rbp), %rax; mov (%rax), %rbp; mov 8(%rax), %rsp\n"
	"through_jump: jmp *16(%rax)\n"
	/* as the C library does: unscrambled in registers, more words than are needed */
	"mixed: mov 0x30(%rdi), %r8; mov 8(%rdi), %r9; mov 0x38(%rdi), %rdx\n"
	"	ror $17, %r8; xor %fs:0x30, %r8; ror $17, %rdx; xor %fs:0x30, %rdx\n"
	"	mov (%rdi), %rbx; mov 0x10(%rdi), %r12; mov %esi, %eax\n"
	"mixed_stack: mov %r8, %rsp\n"
	"	mov %r9, %rbp\n"
	"mixed_jump: jmp *%rdx\n"
	/* a structure with a function pointer: the stack stays */
	"call: mov (%rdi), %rsi; mov 8(%rdi), %rax\n"
	"call_jump: jmp *%rax\n"
	/* the words are not of one object: the base has changed */
	"moved: mov (%rdi), %rbp; mov 8(%rdi), %rsp; mov 16(%rdi), %rdi; mov 8(%rdi), %rax\n"
	"moved_jump: jmp *%rax\n"
	/* the program's own frame is no context below its stack pointer */
	"frame: mov -24(%rsp), %rbx; mov -8(%rsp), %rax; mov %rbx, %rsp\n"
	"frame_jump: jmp *%rax\n"
	/* loads before a call are of something else */
	"early: mov -32(%rbx), %rax; call early; mov (%rbx), %rbp; mov 8(%rbx), %rax; mov 16(%rbx), %rsp\n"
	"early_jump: jmp *%rax\n");

static bool read_self(void *arg, struct gva at, void *ret, size_t len)
{
	(void)arg;
	memcpy(ret, (const void *)(uintptr_t)at.v, len);
	return true;
}

static uint32_t below(const uint8_t *start, const uint8_t *pc)
{
	const struct code_reader rd = {read_self, NULL};

	return context_below(X86_MODE_64, &rd, gva((uintptr_t)start), gva((uintptr_t)pc));
}

static void test_contexts(void **state)
{
	(void)state;
	assert_int_equal(below(hop, hop_jump), 8);
	assert_int_equal(below(hop, hop_stack), 16);
	assert_int_equal(below(through, through_jump), 16);
	assert_int_equal(below(mixed, mixed_stack), 0x30);
	assert_int_equal(below(mixed, mixed_jump), 0x38);
	assert_int_equal(below(early, early_jump), 8);
}

static void test_others(void **state)
{
	(void)state;
	assert_int_equal(below(call, call_jump), 0);
	assert_int_equal(below(moved, moved_jump), 0);
	assert_int_equal(below(frame, frame_jump), 0);
	/* no word is used there, and outside of the code that is looked at */
	assert_int_equal(below(hop, hop), 0);
	assert_int_equal(below(hop, hop + 4096), 0);
	assert_int_equal(below(hop_jump, hop), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_contexts),
		cmocka_unit_test(test_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
