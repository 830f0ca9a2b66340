/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Arrivals, windows, jump tables, stack depth; and what counts as a store: table-driven over assembled functions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "locate/code.h"
#include "locate/x86.h"

/*
 * A module's code as it would be at BASE. Functions are named fN, culprits cN, expected windows
 * from wN to eN.
 */
#define BASE 0x400000ull
__asm__(".section .rodata\n"
	".balign 4096\n"
	".globl text, text_end, text_page\n"
	"text:\n"
	/* 1: the culprit and the instruction before it */
	"f1:	push %rbp\n"
	"	mov %rsp, %rbp\n"
	"	sub $0x78, %rsp\n"
	"	xor %edx, %edx\n"
	"1:	mov (%rdi,%rdx), %al\n"
	"w1:	test %al, %al\n"
	"c1:	mov %al, -0x12(%rbp,%rdx)\n"
	"e1:	inc %rdx\n"
	"	cmp %rsi, %rdx\n"
	"	jb 1b\n"
	"	leave\n"
	"	ret\n"
	/* 2: something jumps to the culprit: those after it */
	"f2:	jmp c2\n"
	"	inc %rdx\n"
	"w2:\n"
	"c2:	mov %al, (%rsi)\n"
	"	inc %rsi\n"
	"e2:	jmp c2\n"
	/* 3: and to the one after it as well: nothing is left */
	"f3:	je c3\n"
	"	jne 2f\n"
	"	inc %rdx\n"
	"c3:	mov %al, (%rsi)\n"
	"2:	inc %rsi\n"
	"	ret\n"
	/* 4: long enough by itself */
	"f4:	nop\n"
	"w4:\n"
	"c4:	mov %al, 0x1000(%rsi)\n"
	"e4:	ret\n"
	/* 5: a call just before the culprit would return into the middle */
	"f5:	call f1\n"
	"w5:\n"
	"c5:	mov %al, (%rsi)\n"
	"	mov %rax, %rcx\n"
	"e5:	ret\n"
	/* 6: endbr64 must stay */
	"f6:	endbr64\n"
	"c6:	mov %al, (%rsi)\n"
	"	ret\n"
	/* 7: table of addresses, its third entry leads between the culprit and what is before it */
	"f7:	cmp $2, %eax\n"
	"	ja 3f\n"
	"	jmp *(0x400000 + t7 - text)(,%rax,8)\n"
	"1:	nop\n"
	"2:	mov (%rdi), %rax\n"
	"w7:\n"
	"c7:	mov %al, (%rsi)\n"
	"	inc %rsi\n"
	"e7:	ret\n"
	"3:	ret\n"
	"x7:\n"
	".balign 8\n"
	"t7:	.quad 0x400000 + 1b - text, 0x400000 + 2b - text, 0x400000 + c7 - text, 0x1234567812345678\n"
	/* 8: table of distances, as in position-independent code */
	"f8:	cmp $2, %edi\n"
	"	ja 3f\n"
	"	lea t8(%rip), %rdx\n"
	"	mov %edi, %edi\n"
	"	movslq (%rdx,%rdi,4), %rax\n"
	"	add %rdx, %rax\n"
	"	notrack jmp *%rax\n"
	"1:	nop\n"
	"2:	mov (%rdi), %rax\n"
	"w8:\n"
	"c8:	mov %al, (%rsi)\n"
	"	inc %rsi\n"
	"e8:	ret\n"
	"3:	ret\n"
	"x8:\n"
	".balign 4\n"
	"t8:	.long 1b - t8, 2b - t8, c8 - t8, 0x7fffffff\n"
	/* 9: an indirect jump nobody understands */
	"f9:	mov (%rdi), %rax\n"
	"	jmp *%rax\n"
	"c9:	mov %al, 0x1000(%rsi)\n"
	"	ret\n"
	/* 10: the cold part of another function jumps to the culprit */
	"f10:	mov (%rdi), %rax\n"
	"c10:\n"
	"w10:	mov %al, (%rsi)\n"
	"	inc %rsi\n"
	"e10:	ret\n"
	"f11:	jmp c10\n"
	/* 12: loop is short only, and before it is a jump: nothing */
	"f12:	jmp c12\n"
	"c12:	mov %al, (%rsi)\n"
	"	loop f12\n"
	"	ret\n"
	/* 13: a table whose check lets through more entries than make sense */
	"f13:	cmp $3, %eax\n"
	"	ja 1f\n"
	"	jmp *(0x400000 + t7 - text)(,%rax,8)\n"
	"1:\n"
	"c13:	mov %al, 0x1000(%rsi)\n"
	"	ret\n"
	/* 14: a jump through one pointer at the end of a function is a call */
	"f14:\n"
	"w14:\n"
	"c14:	mov %al, 0x1000(%rsi)\n"
	"e14:	jmp *t7(%rip)\n"
	/* 15: bytes that are no instruction */
	"f15:	mov %al, 0x1000(%rsi)\n"
	"c15:	.byte 0x06, 0x06\n"
	"f16:\n"
	/* 17: table of addresses loaded first, as without optimisation; no check to be seen */
	"f17:	mov (0x400000 + t17 - text)(,%rax,8), %rax\n"
	"	jmp *%rax\n"
	"1:	mov (%rdi), %rax\n"
	"w17:\n"
	"c17:	mov %al, (%rsi)\n"
	"	inc %rsi\n"
	"e17:	ret\n"
	"f18:\n"
	".balign 8\n"
	"t17:	.quad 0x400000 + 1b - text, 0x400000 + c17 - text, 0\n"
	/* 19: stack depths */
	"f19:	push %rbp\n"
	"d1:	mov %rsp, %rbp\n"
	"	push %rbx\n"
	"	sub $0x28, %rsp\n"
	"d2:	test %edi, %edi\n"
	"	je 1f\n"
	"	push %rax\n"
	"	push $1\n"
	"d3:	call f1\n"
	"	add $16, %rsp\n"
	"d4:	nop\n"
	"1:	lea -8(%rbp), %rsp\n"
	"d5:	pop %rbx\n"
	"	pop %rbp\n"
	"d6:	ret\n"
	"f20:	test %edi, %edi\n"
	"	je 1f\n"
	"	push %rax\n"
	"1:	\n"
	"d7:	and $-16, %rsp\n"
	"d8:	ret\n"
	/* 21: rbp differs between the ways that meet */
	"f21:	mov %rsp, %rbp\n"
	"	test %edi, %edi\n"
	"	je 1f\n"
	"	lea 8(%rsp), %rbp\n"
	"1:	\n"
	"d9:	ret\n"
	/* 22: something returns behind a syscall: it can only be the last */
	"f22:	jmp c22\n"
	"c22:	mov %al, (%rsi)\n"
	"	syscall\n"
	"	mov %rax, %rcx\n"
	"	ret\n"
	"f23:	jmp c23\n"
	"w23:\n"
	"c23:	mov %al, 1(%rsi)\n"
	"	syscall\n"
	"e23:	ret\n"
	/* 24: the frame was given back before the jump through a register: a call at the function's end */
	"f24:	push %rbx\n"
	"w24:\n"
	"c24:	mov %al, 0x1000(%rsi)\n"
	"e24:	mov 8(%rsi), %rax\n"
	"	pop %rbx\n"
	"	mov %rdi, %rsi\n"
	"	jmp *%rax\n"
	/* 25: likewise through memory, no frame */
	"f25:\n"
	"w25:\n"
	"c25:	mov %al, 0x1000(%rsi)\n"
	"e25:	jmp *8(%rdi)\n"
	/* 26: on the way the stack is deeper; 27: one of several pointers; 28: code that is reached in no other way */
	"f26:	push %rbx\n"
	"c26:	mov %al, 0x1000(%rsi)\n"
	"	jmp *8(%rdi)\n"
	"f27:\n"
	"c27:	mov %al, 0x1000(%rsi)\n"
	"	mov (%rdi,%rcx,8), %rax\n"
	"	jmp *%rax\n"
	"f28:	push %rbx\n"
	"c28:	mov %al, 0x1000(%rsi)\n"
	"	pop %rbx\n"
	"	jmp *8(%rdi)\n"
	"	inc %rdi\n"
	"	ret\n"
	"f29:\n"
	"text_end:\n"
	".balign 4096\n"
	"text_page:\n"
	".text\n"
	".macro export names:vararg\n"
	".irp n, \\names\n.globl \\n\n.endr\n"
	".endm\n"
	"export f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19, f20, f21, f22, "
	"f23, f24, f25, f26, f27, f28, f29\n"
	"export c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c12, c13, c14, c15, c17, c22, c23, c24, c25, c26, c27, c28, "
	"x7, x8\n"
	"export w1, w2, w4, w5, w7, w8, w10, w14, w17, w23, w24, e24, w25, e25, e1, e2, e4, e5, e7, e8, e10, e14, e17, "
	"e23\n"
	"export d1, d2, d3, d4, d5, d6, d7, d8, d9\n");

extern const uint8_t text[], text_end[], text_page[];
extern const uint8_t f1[], f2[], f3[], f4[], f5[], f6[], f7[], f8[], f9[], f10[], f11[], f12[], f13[], f14[], f15[],
	f16[], f17[], f18[], f19[], f20[], f21[], f22[], f23[], f24[], f25[], f26[], f27[], f28[], f29[];
extern const uint8_t c1[], c2[], c3[], c4[], c5[], c6[], c7[], c8[], c9[], c10[], c12[], c13[], c14[], c15[], c17[],
	c22[], c23[], c24[], c25[], c26[], c27[], c28[], x7[], x8[];
extern const uint8_t w1[], w2[], w4[], w5[], w7[], w8[], w10[], w14[], w17[], w23[], w24[], w25[];
extern const uint8_t e1[], e2[], e4[], e5[], e7[], e8[], e10[], e14[], e17[], e23[], e24[], e25[];
extern const uint8_t d1[], d2[], d3[], d4[], d5[], d6[], d7[], d8[], d9[];

static struct gva at(const uint8_t *label)
{
	return gva(BASE + (uint64_t)(label - text));
}

/* arg: bytes of the text that are not in memory, NULL: all are. */
static bool read_text(void *arg, struct gva from, void *ret, size_t len)
{
	const uint8_t *absent = arg;
	uint64_t off = from.v - BASE;

	if (from.v < BASE || off > (uint64_t)(text_page - text) || len > (uint64_t)(text_page - text) - off)
		return false;
	if (absent && text + off <= absent && text + off + len > absent)
		return false;
	memcpy(ret, text + off, len);
	return true;
}

static const struct {
	const uint8_t *start, *end, *culprit;
	const uint8_t *window, *window_end; /* NULL: refused */
} windows[] = {
	{f1, f2, c1, w1, e1},	     {f2, f3, c2, w2, e2},	  {f3, f4, c3, NULL, NULL},
	{f4, f5, c4, w4, e4},	     {f5, f6, c5, w5, e5},	  {f6, f7, c6, NULL, NULL},
	{f7, x7, c7, w7, e7},	     {f8, x8, c8, w8, e8},	  {f9, f10, c9, NULL, NULL},
	{f10, f11, c10, w10, e10},   {f12, f13, c12, NULL, NULL}, {f13, f14, c13, NULL, NULL},
	{f14, f15, c14, w14, e14},   {f15, f16, f15, NULL, NULL}, {f17, f18, c17, w17, e17},
	{f22, f23, c22, NULL, NULL}, {f23, f24, c23, w23, e23},	  {f24, f25, c24, w24, e24},
	{f25, f26, c25, w25, e25},   {f26, f27, c26, NULL, NULL}, {f27, f28, c27, NULL, NULL},
	{f28, f29, c28, NULL, NULL},
};

/* Returns 0 and the window, or -1 with e->code ERR_REFUSED. */
static int window_of(const uint8_t *start, const uint8_t *end, const uint8_t *culprit, struct gva *ret_at,
		     uint32_t *ret_len)
{
	const struct code_reader rd = {read_text, NULL};
	struct code_fn *fn;
	struct err e;
	int rc;

	if (code_fn_create(&rd, at(start), at(end), at(text), at(text_end), &fn, &e)) {
		assert_int_equal(e.code, ERR_REFUSED);
		return -1;
	}
	rc = code_fn_window(fn, at(culprit), 16, ret_at, ret_len, &e);
	if (rc)
		assert_int_equal(e.code, ERR_REFUSED);
	code_fn_destroy(fn);
	return rc;
}

static void test_windows(void **state)
{
	(void)state;
	for (size_t k = 0; k < sizeof(windows) / sizeof(windows[0]); k++) {
		struct gva from = {0};
		uint32_t len = 0;
		int rc = window_of(windows[k].start, windows[k].end, windows[k].culprit, &from, &len);

		if ((rc == 0) != (windows[k].window != NULL))
			fail_msg("row %zu: %d", k, rc);
		if (rc == 0 && (from.v != at(windows[k].window).v || len != windows[k].window_end - windows[k].window))
			fail_msg("row %zu: 0x%llx, %u bytes", k, (unsigned long long)from.v, len);
	}
}

static void test_culprit_between_instructions(void **state)
{
	struct gva from;
	uint32_t len;

	(void)state;
	assert_int_equal(window_of(f1, f2, c1 + 1, &from, &len), -1);
	assert_int_equal(window_of(f1, f2, f2, &from, &len), -1);
}

static void test_landing_pad(void **state)
{
	const struct code_reader rd = {read_text, NULL};
	struct code_fn *fn;
	struct gva from;
	uint32_t len;
	struct err e;

	(void)state;
	assert_int_equal(code_fn_create(&rd, at(f1), at(f2), at(text), at(text_end), &fn, &e), 0);
	code_fn_add_target(fn, at(c1));
	code_fn_add_target(fn, at(f2)); /* outside: ignored */
	assert_int_equal(code_fn_window(fn, at(c1), 16, &from, &len, &e), 0);
	assert_int_equal(from.v, at(c1).v);
	code_fn_destroy(fn);
}

/* A guard in the slack behind the code jumps back to what follows its site. */
static void test_earlier_guard(void **state)
{
	const struct code_reader rd = {read_text, NULL};
	struct code_fn *fn;
	struct gva from;
	uint32_t len;
	struct err e;

	(void)state;
	assert_int_equal(code_fn_create(&rd, at(f10), at(f11), at(text), at(f11), &fn, &e), 0);
	assert_int_equal(code_fn_window(fn, at(c10), 16, &from, &len, &e), 0);
	assert_int_equal(from.v, at(w10).v);
	code_fn_destroy(fn);
}

static void test_absent(void **state)
{
	const struct code_reader own = {read_text, (void *)(uintptr_t)(f11)};
	const struct code_reader other = {read_text, (void *)(uintptr_t)(c10)};
	struct code_fn *fn;
	struct err e;

	(void)state;
	/* code elsewhere that is not in memory is passed over; the function's own is needed, and so is where it jumps */
	assert_int_equal(code_fn_create(&own, at(f1), at(f2), at(text), at(text_end), &fn, &e), 0);
	code_fn_destroy(fn);
	assert_int_equal(code_fn_create(&own, at(f11), at(f12), at(text), at(text_end), &fn, &e), -1);
	assert_int_equal(e.code, ERR_GUEST);
	assert_int_equal(code_fn_create(&other, at(f11), at(f12), at(text), at(text_end), &fn, &e), -1);
	assert_int_equal(e.code, ERR_REFUSED);
	assert_int_equal(code_fn_create(&own, at(f2), at(f1), at(text), at(text_end), &fn, &e), -1);
}

#define UNKNOWN INT64_MAX

static const struct {
	const uint8_t *start, *end, *pc;
	int64_t rsp, rbp;
} depths[] = {
	{f19, f20, f19, 8, UNKNOWN}, {f19, f20, d1, 16, UNKNOWN},      {f19, f20, d2, 64, 16},
	{f19, f20, d3, 80, 16},	     {f19, f20, d4, 64, 16},	       {f19, f20, d5, 24, 16},
	{f19, f20, d6, 8, UNKNOWN},  {f20, f21, d7, UNKNOWN, UNKNOWN}, {f20, f21, d8, UNKNOWN, UNKNOWN},
	{f21, f22, d9, 8, UNKNOWN},
};

static void test_depths(void **state)
{
	const struct code_reader rd = {read_text, NULL};
	const struct code_depth entry = {.rsp_known = true, .rsp = 8};

	(void)state;
	for (size_t k = 0; k < sizeof(depths) / sizeof(depths[0]); k++) {
		const struct code_insn *ci;
		struct code_depth *all, *d;
		struct code_fn *fn;
		struct err e;

		assert_int_equal(
			code_fn_create(&rd, at(depths[k].start), at(depths[k].end), at(text), at(text_end), &fn, &e),
			0);
		all = calloc(fn->n_insn, sizeof(*all));
		assert_non_null(all);
		code_fn_depths(fn, &entry, all);
		ci = code_fn_insn(fn, at(depths[k].pc));
		assert_non_null(ci);
		d = &all[ci - fn->insn];
		if (!d->reached || d->rsp_known != (depths[k].rsp != UNKNOWN) ||
		    d->rbp_known != (depths[k].rbp != UNKNOWN) || (d->rsp_known && d->rsp != depths[k].rsp) ||
		    (d->rbp_known && d->rbp != depths[k].rbp))
			fail_msg("row %zu: rsp %lld rbp %lld", k, (long long)d->rsp, (long long)d->rbp);
		free(all);
		code_fn_destroy(fn);
	}
}

/* What can be left out by itself. */
struct store_row {
	const char *what;
	uint8_t bytes[12], len;
	int kind; /* -1: refused */
	uint8_t base, index, scale;
	int64_t disp;
	uint16_t width;
};

static const struct store_row stores[] = {
	{"mov [rbp+rdx-0x12], cl", {0x88, 0x4c, 0x15, 0xee}, 4, X86_STORE_PLAIN, 5, 2, 1, -0x12, 1},
	{"mov [r12+r13*8], rax", {0x4b, 0x89, 0x04, 0xec}, 4, X86_STORE_PLAIN, 12, 13, 8, 0, 8},
	{"movups [rsi], xmm0", {0x0f, 0x11, 0x06}, 3, X86_STORE_PLAIN, 6, 0xff, 0, 0, 16},
	{"vmovdqu [rsi], ymm0", {0xc5, 0xfe, 0x7f, 0x06}, 4, X86_STORE_PLAIN, 6, 0xff, 0, 0, 32},
	{"add [rsi], al", {0x00, 0x06}, 2, X86_STORE_PLAIN, 6, 0xff, 0, 0, 1},
	{"mov byte [rsi], 0", {0xc6, 0x06, 0x00}, 3, X86_STORE_PLAIN, 6, 0xff, 0, 0, 1},
	{"rep movsb", {0xf3, 0xa4}, 2, X86_STORE_REP, 7, 0xff, 0, 0, 1},
	{"rep stosq", {0xf3, 0x48, 0xab}, 3, X86_STORE_REP, 7, 0xff, 0, 0, 8},
	{"movsb", {0xa4}, 1, X86_STORE_PLAIN, 7, 0xff, 0, 0, 1},
	{"stosd", {0xab}, 1, X86_STORE_PLAIN, 7, 0xff, 0, 0, 4},
	{"lodsb", {0xac}, 1, -1, 0, 0, 0, 0, 0},
	{"push rax", {0x50}, 1, -1, 0, 0, 0, 0, 0},
	{"call rax", {0xff, 0xd0}, 2, -1, 0, 0, 0, 0, 0},
	{"xadd [rsi], eax", {0x0f, 0xc1, 0x06}, 3, -1, 0, 0, 0, 0, 0},
	{"mov fs:[rsi], eax", {0x64, 0x89, 0x06}, 3, -1, 0, 0, 0, 0, 0},
	{"mov [esi], eax", {0x67, 0x89, 0x06}, 3, -1, 0, 0, 0, 0, 0},
	{"mov eax, [rsi]", {0x8b, 0x06}, 2, -1, 0, 0, 0, 0, 0},
	{"fstp qword [rsi]", {0xdd, 0x1e}, 2, -1, 0, 0, 0, 0, 0},
	{"mov [rsi], eax and one byte", {0x89, 0x06, 0x90}, 3, -1, 0, 0, 0, 0, 0},
};

static const struct store_row stores_32bit[] = {
	{"mov [esi], eax", {0x89, 0x06}, 2, X86_STORE_PLAIN, 6, 0xff, 0, 0, 4},
	{"mov [ebp+eax-0x4c], dl", {0x88, 0x54, 0x05, 0xb4}, 4, X86_STORE_PLAIN, 5, 0, 1, -0x4c, 1},
	{"mov [0x804c040], al", {0xa2, 0x40, 0xc0, 0x04, 0x08}, 5, X86_STORE_PLAIN, 0xff, 0xff, 0, 0x804c040, 1},
	{"rep movsd", {0xf3, 0xa5}, 2, X86_STORE_REP, 7, 0xff, 0, 0, 4},
	{"inc eax and a store", {0x40, 0x89, 0x01}, 3, -1, 0, 0, 0, 0, 0},
	{"mov [bx+si], al", {0x67, 0x88, 0x00}, 3, -1, 0, 0, 0, 0, 0},
};

static void check_store(const struct store_row *row, unsigned mode)
{
	struct x86_store st;
	struct err e;
	int rc = x86_store_decode_mode(mode, row->bytes, row->len, &st, &e);

	if ((rc == 0) != (row->kind >= 0) || (rc && e.code != ERR_REFUSED))
		fail_msg("%s: %d", row->what, rc);
	if (rc == 0 && (st.kind != row->kind || st.base != row->base || st.index != row->index ||
			st.scale != row->scale || st.disp != row->disp || st.width != row->width))
		fail_msg("%s: kind %u base %u index %u scale %u disp %lld width %u", row->what, st.kind, st.base,
			 st.index, st.scale, (long long)st.disp, st.width);
}

static void test_stores(void **state)
{
	(void)state;
	for (size_t k = 0; k < sizeof(stores) / sizeof(stores[0]); k++)
		check_store(&stores[k], X86_MODE_64);
	for (size_t k = 0; k < sizeof(stores_32bit) / sizeof(stores_32bit[0]); k++)
		check_store(&stores_32bit[k], X86_MODE_32);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_windows),	      cmocka_unit_test(test_culprit_between_instructions),
		cmocka_unit_test(test_landing_pad),   cmocka_unit_test(test_absent),
		cmocka_unit_test(test_earlier_guard), cmocka_unit_test(test_depths),
		cmocka_unit_test(test_stores),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
