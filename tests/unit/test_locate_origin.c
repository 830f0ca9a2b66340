/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where pointers came from, in functions written for it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "locate/origin.h"

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R12 = 12 };

extern const uint8_t walk[], walk_store[], walk_member[], walk_zero[], walk_end[];
extern const uint8_t index_[], index_store[], index_zero[], index_end[];
extern const uint8_t either[], either_store[], either_end[];
extern const uint8_t frame[], frame_store[], frame_end[];
extern const uint8_t array[], array_store[], array_zero[], array_other[], array_end[];
extern const uint8_t calls[], calls_store[], calls_end[];

__asm__(".text\n"
	/* a pointer that walks, a member of the same object, and the zero behind */
	"walk: mov %rdi, %rax; xor %edx, %edx\n"
	"1: mov (%rsi, %rdx), %cl\n"
	"walk_store: mov %cl, (%rax)\n"
	"	add $1, %rax; add $1, %rdx; test %cl, %cl; jnz 1b\n"
	"	lea 64(%rdi), %r8\n"
	"walk_member: movb $1, (%r8)\n"
	"walk_zero: movb $0, (%rax)\n"
	"	ret\n"
	"walk_end:\n"
	/* an index in a register; the zero is added up first; padding that nothing reaches */
	"index_: mov (%rdi), %rbx; xor %eax, %eax\n"
	"	cmpb $0, (%rsi); je 3f\n"
	"1: mov (%rsi, %rax), %dl\n"
	"index_store: mov %dl, (%rbx, %rax)\n"
	"	add $1, %rax; test %dl, %dl; jnz 1b\n"
	"	add %rbx, %rax\n"
	"2:\n"
	"index_zero: movb $0, (%rax)\n"
	"	ret\n"
	"	nopl (%rax)\n"
	"3: mov %rbx, %rax; jmp 2b\n"
	"index_end:\n"
	/* one of two */
	"either: mov (%rdi), %rax; test %rsi, %rsi; jz 1f\n"
	"	mov 8(%rdi), %rax\n"
	"1:\n"
	"either_store: mov %dl, (%rax)\n"
	"	ret\n"
	"either_end:\n"
	/* through words of the frame, as without optimisation */
	"frame: push %rbp; mov %rsp, %rbp; sub $32, %rsp\n"
	"	mov %rdi, -8(%rbp); mov -8(%rbp), %rax; mov %rax, -16(%rbp); movl $0, -20(%rbp)\n"
	"1: mov -20(%rbp), %eax; movslq %eax, %rdx; mov -16(%rbp), %rax; add %rdx, %rax\n"
	"frame_store: movb $7, (%rax)\n"
	"	addl $1, -20(%rbp); jmp 1b\n"
	"frame_end:\n"
	/* an array of the frame, by a pointer to it and by its place */
	"array: sub $88, %rsp; lea 12(%rsp), %rbx; xor %eax, %eax\n"
	"1: mov (%rsi, %rax), %dl\n"
	"array_store: mov %dl, (%rbx, %rax)\n"
	"	add $1, %rax; test %dl, %dl; jnz 1b\n"
	"array_zero: movb $0, 12(%rsp, %rax)\n"
	"array_other: movb $0, 16(%rsp, %rax)\n"
	"	add $88, %rsp; ret\n"
	"array_end:\n"
	/* a call's result, kept in a register that calls give back */
	"calls: push %rbx; call calls; mov %rax, %rbx; call calls\n"
	"calls_store: mov %al, (%rbx)\n"
	"	pop %rbx; ret\n"
	"calls_end:\n");

static struct code_fn *fn;
static struct code_depth *depth;
static struct origin *o;

static bool read_self(void *arg, struct gva at, void *ret, size_t len)
{
	(void)arg;
	memcpy(ret, (const void *)(uintptr_t)at.v, len);
	return true;
}

static void open_fn(const uint8_t *from, const uint8_t *end)
{
	const struct code_reader rd = {read_self, NULL};
	const struct code_depth entry = {.rsp_known = true, .rsp = 8};
	struct gva start = gva((uintptr_t)from), stop = gva((uintptr_t)end);
	struct err e;

	if (code_fn_create(&rd, start, stop, start, stop, &fn, &e))
		fail_msg("%s", e.text);
	depth = calloc(fn->n_insn, sizeof(*depth));
	assert_non_null(depth);
	code_fn_depths(fn, &entry, depth);
	o = origin_create(fn, depth);
	assert_non_null(o);
}

static void close_fn(void)
{
	origin_destroy(o);
	free(depth);
	code_fn_destroy(fn);
}

static uint32_t number_of(const uint8_t *at)
{
	const struct code_insn *ci = code_fn_insn(fn, gva((uintptr_t)at));

	assert_non_null(ci);
	return (uint32_t)(ci - fn->insn);
}

static struct origin_roots of_store(const uint8_t *at)
{
	uint32_t k = number_of(at);
	struct origin_roots roots;
	struct x86_store st;
	struct err e;

	assert_int_equal(x86_store_decode(at, fn->insn[k].len, &st, &e), 0);
	assert_true(origin_of_store(o, k, &st, &roots));
	return roots;
}

static struct origin_roots of_place(const uint8_t *at, uint8_t gpr, int64_t slot)
{
	struct origin_roots roots;

	assert_true(origin_of(o, number_of(at), (struct origin_place){gpr, slot}, &roots));
	return roots;
}

static void test_walk(void **state)
{
	struct origin_roots store, zero, member, start;

	(void)state;
	open_fn(walk, walk_end);
	store = of_store(walk_store);
	zero = of_store(walk_zero);
	member = of_store(walk_member);
	start = of_place(walk_zero, RDI, 0);
	assert_int_equal(store.n, 1);
	assert_true(origin_same(&store, &zero) && origin_same(&store, &member) && origin_same(&store, &start));
	assert_int_equal(store.n_steps, 1);
	assert_int_equal(zero.n_steps, 1);
	assert_int_equal(store.step[0], zero.step[0]);
	assert_int_equal(member.n_steps, 1);
	assert_int_not_equal(member.step[0], store.step[0]);
	assert_false(origin_moved(&start));
	/* rsi is another, rdx a number */
	start = of_place(walk_store, RSI, 0);
	assert_false(origin_same(&start, &store));
	start = of_place(walk_store, RDX, 0);
	assert_int_equal(start.n, 0);
	assert_false(origin_same(&start, &start));
	close_fn();
}

static void test_index(void **state)
{
	struct origin_roots store, zero;
	uint8_t pointer;

	(void)state;
	open_fn(index_, index_end);
	store = of_store(index_store);
	zero = of_store(index_zero);
	assert_int_equal(store.n, 1);
	assert_true(origin_same(&store, &zero));
	assert_true(!store.summed && !store.n_steps && zero.summed && !zero.n_steps);
	assert_true(origin_pointer_of(o, number_of(index_store), RBX, RAX, &pointer));
	assert_int_equal(pointer, RBX);
	assert_true(origin_pointer_of(o, number_of(index_store), RAX, RBX, &pointer));
	assert_int_equal(pointer, RBX);
	/* two pointers are added up by nobody */
	assert_false(origin_pointer_of(o, number_of(index_store), RBX, RSI, &pointer));
	close_fn();
}

static void test_either(void **state)
{
	struct origin_roots store;

	(void)state;
	open_fn(either, either_end);
	store = of_store(either_store);
	assert_int_equal(store.n, 2);
	close_fn();
}

static void test_frame(void **state)
{
	struct origin_roots store, kept, argument;

	(void)state;
	open_fn(frame, frame_end);
	store = of_store(frame_store);
	kept = of_place(frame_store, X86_NO_REG, -32); /* rbp is 16 below the CFA */
	argument = of_place(frame_store, X86_NO_REG, -24);
	assert_int_equal(store.n, 1);
	assert_true(store.summed && !origin_moved(&kept) && !origin_moved(&argument));
	assert_true(origin_same(&store, &kept) && origin_same(&store, &argument));
	kept = of_place(frame_store, X86_NO_REG, -48);
	assert_false(origin_same(&store, &kept));
	close_fn();
}

static void test_array(void **state)
{
	struct origin_roots store, zero, other;

	(void)state;
	open_fn(array, array_end);
	store = of_store(array_store);
	zero = of_store(array_zero);
	other = of_store(array_other);
	assert_true(store.n == 1 && store.root[0] == origin_frame(12 - 88 - 8));
	assert_true(origin_same(&store, &zero) && !store.n_steps && !store.disp && zero.summed && !zero.disp);
	assert_false(origin_same(&store, &other));
	close_fn();
}

static void test_calls(void **state)
{
	struct origin_roots store, later;

	(void)state;
	open_fn(calls, calls_end);
	store = of_store(calls_store);
	later = of_place(calls_store, RAX, 0);
	assert_int_equal(store.n, 1);
	assert_int_equal(later.n, 1);
	assert_false(origin_same(&store, &later));
	close_fn();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_walk),  cmocka_unit_test(test_index), cmocka_unit_test(test_either),
		cmocka_unit_test(test_frame), cmocka_unit_test(test_array), cmocka_unit_test(test_calls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
