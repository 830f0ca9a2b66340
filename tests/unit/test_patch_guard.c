/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guards, run on the real CPU: for addresses around the bounds, what the guarded instructions do is compared,
 * every register, flag and byte of stack, with what the original ones do, or with nothing written.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "patch/guard.h"
#include "patch/patch.h"

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 };

struct regs {
	uint64_t gpr[16];
	uint64_t flags;
};

/* Loads all registers and flags from *in, jumps to code, and keeps them in *out when code jumps to run_exit. */
void run_code(const struct regs *in, struct regs *out, const void *code);
extern const char run_exit[];

__asm__(".text\n"
	".globl run_code, run_exit\n"
	"run_code:\n"
	"	push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
	"	mov %rsp, run_rsp(%rip)\n"
	"	mov %rsi, run_out(%rip)\n"
	"	mov %rdx, run_to(%rip)\n"
	"	movdqu run_code(%rip), %xmm0\n" /* some bytes, the same each time */
	"	push 128(%rdi); popfq\n"
	"	mov %rdi, %rax\n"
	"	mov 8(%rax), %rcx; mov 16(%rax), %rdx; mov 24(%rax), %rbx; mov 32(%rax), %rsp\n"
	"	mov 40(%rax), %rbp; mov 48(%rax), %rsi; mov 56(%rax), %rdi; mov 64(%rax), %r8\n"
	"	mov 72(%rax), %r9; mov 80(%rax), %r10; mov 88(%rax), %r11; mov 96(%rax), %r12\n"
	"	mov 104(%rax), %r13; mov 112(%rax), %r14; mov 120(%rax), %r15; mov (%rax), %rax\n"
	"	jmp *run_to(%rip)\n"
	"run_exit:\n"
	"	mov %rax, run_rax(%rip)\n"
	"	mov %rsp, run_to(%rip)\n"
	"	mov run_rsp(%rip), %rsp\n"
	"	pushfq\n"
	"	cld\n"
	"	mov run_out(%rip), %rax\n"
	"	pop 128(%rax)\n"
	"	mov %rcx, 8(%rax); mov %rdx, 16(%rax); mov %rbx, 24(%rax); mov %rbp, 40(%rax)\n"
	"	mov %rsi, 48(%rax); mov %rdi, 56(%rax); mov %r8, 64(%rax); mov %r9, 72(%rax)\n"
	"	mov %r10, 80(%rax); mov %r11, 88(%rax); mov %r12, 96(%rax); mov %r13, 104(%rax)\n"
	"	mov %r14, 112(%rax); mov %r15, 120(%rax)\n"
	"	mov run_rax(%rip), %rcx; mov %rcx, (%rax)\n"
	"	mov run_to(%rip), %rcx; mov %rcx, 32(%rax)\n"
	"	pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
	"	ret\n"
	".bss\n"
	".balign 8\n"
	"run_rsp: .skip 8\n"
	"run_out: .skip 8\n"
	"run_to: .skip 8\n"
	"run_rax: .skip 8\n"
	".text\n");

#define STACK 4096
#define RED_ZONE 128

static uint8_t *code; /* a page: site at 0, guard at GUARD */
static uint8_t stack[STACK] __attribute__((aligned(64)));
static uint8_t source[STACK] __attribute__((aligned(64)));
#define GUARD 0x800
#define CALLED 0xff0 /* a function */
#define CFA_AT 3000 /* in stack */

/* The frame: object from -96 to -32, what is saved above it. */
#define START (-96)
#define END (-32)

struct guard_case {
	const char *what;
	uint8_t bug[16], bug_len;
	uint8_t before, culprit_len; /* bytes before the culprit */
	uint8_t cfa_reg;
	int32_t cfa_offset;
	uint8_t vary; /* register that the address is set with */
	uint8_t base; /* register that it is relative to, 0xff: none */
	uint8_t scale;
	int32_t disp;
	uint8_t width;
	bool pointer_store;
	bool writes_flags; /* the culprit itself: compared only when it runs */
};

#define NO 0xff

static const struct guard_case cases[] = {
	{"mov [rbp+rdx-0x60], cl after test",
	 {0x84, 0xc9, 0x88, 0x4c, 0x15, 0xa0},
	 6,
	 2,
	 4,
	 RBP,
	 16,
	 RDX,
	 RBP,
	 1,
	 -0x60,
	 1,
	 false,
	 false},
	{"mov [rsp+rax+8], dl; frame on rsp",
	 {0x88, 0x54, 0x04, 0x08, 0x90},
	 5,
	 0,
	 4,
	 RSP,
	 0x100,
	 RAX,
	 RSP,
	 1,
	 8,
	 1,
	 false,
	 false},
	{"mov [rsi], rax; through a pointer",
	 {0x48, 0x89, 0x06, 0x48, 0xff, 0xc1},
	 6,
	 0,
	 3,
	 RBP,
	 16,
	 RSI,
	 NO,
	 1,
	 0,
	 8,
	 true,
	 false},
	{"movups [rdi+r8], xmm0", {0x42, 0x0f, 0x11, 0x04, 0x07}, 5, 0, 5, RSP, 0x300, R8, NO, 1, 0, 16, true, false},
	{"mov [r12+r13*2+0x10], ax; frame on rbx",
	 {0x66, 0x43, 0x89, 0x44, 0x6c, 0x10},
	 6,
	 0,
	 6,
	 RBX,
	 32,
	 R13,
	 R12,
	 2,
	 16,
	 2,
	 true,
	 false},
	{"add [rbp+rax-0x60], cl",
	 {0x90, 0x00, 0x4c, 0x05, 0xa0},
	 5,
	 1,
	 4,
	 RBP,
	 16,
	 RAX,
	 RBP,
	 1,
	 -0x60,
	 1,
	 false,
	 true},
	{"mov byte [rdx+rcx], 0; inc; dec",
	 {0xc6, 0x04, 0x0a, 0x00, 0x48, 0xff, 0xc0, 0x48, 0xff, 0xc8},
	 10,
	 0,
	 4,
	 RBP,
	 16,
	 RCX,
	 NO,
	 1,
	 0,
	 1,
	 true,
	 false},
	{"mov [rbp+rax*8-0x60], r15",
	 {0x4c, 0x89, 0x7c, 0xc5, 0xa0},
	 5,
	 0,
	 5,
	 RBP,
	 16,
	 RAX,
	 RBP,
	 8,
	 -0x60,
	 8,
	 false,
	 false},
};

static uint64_t cfa(void)
{
	return (uintptr_t)stack + CFA_AT;
}

static struct finding make_finding(const struct guard_case *c)
{
	struct finding f = {.bug = {(uintptr_t)code},
			    .bug_len = c->bug_len,
			    .culprit = {(uintptr_t)code + c->before},
			    .culprit_len = c->culprit_len,
			    .bound = BOUND_FRAME,
			    .cfa = {c->cfa_reg, c->cfa_offset},
			    .start_offset = START,
			    .end_offset = END,
			    .pointer_store = c->pointer_store};

	memcpy(f.bug_bytes, c->bug, c->bug_len);
	memcpy(f.culprit_bytes, c->bug + c->before, c->culprit_len);
	return f;
}

/* Writes the bytes and behind them a jump to run_exit. */
static void put_code(const uint8_t *bytes, size_t len)
{
	static const uint8_t jmp[] = {0xff, 0x25, 0, 0, 0, 0};
	uint64_t to = (uintptr_t)run_exit;

	memset(code, 0xcc, GUARD);
	memcpy(code, bytes, len);
	memcpy(code + len, jmp, sizeof(jmp));
	memcpy(code + len + sizeof(jmp), &to, 8);
}

static void put_guard(const struct finding *f)
{
	static uint8_t jump[16];
	struct emitter em, site;
	const char *name;
	struct err e;

	emit_init(&em, (uintptr_t)code + GUARD);
	if (guard_emit(&em, f, NULL, &name, &e))
		fail_msg("%s", e.text);
	assert_true(em.len <= PATCH_GUARD_MAX);
	emit_init(&site, (uintptr_t)code);
	emit_jump(&site, (uintptr_t)code + GUARD);
	memset(jump, 0x90, sizeof(jump));
	memcpy(jump, site.buf, site.len);
	put_code(jump, f->bug_len);
	memcpy(code + GUARD, em.buf, em.len);
}

/* Arithmetic flags as chosen, interrupts on, the rest off; direction is the ABI's (clear). */
static struct regs random_regs(void)
{
	struct regs r;

	for (unsigned k = 0; k < 16; k++)
		r.gpr[k] = (uint64_t)rand() << 32 | (uint32_t)rand();
	r.flags = ((uint64_t)rand() & 0x8d5) | 0x202;
	r.gpr[RSP] = (uintptr_t)stack + 1024;
	return r;
}

static void fill_stack(void)
{
	for (size_t k = 0; k < STACK; k++)
		stack[k] = (uint8_t)(k * 7 + 3);
}

/* The registers that make the culprit write at the CFA + off. false: the scale cannot reach it. */
static bool aim(const struct guard_case *c, int64_t off, struct regs *r)
{
	uint64_t rest = cfa() + (uint64_t)off - (uint64_t)(int64_t)c->disp;

	if (c->cfa_reg == RSP)
		r->gpr[RSP] = cfa() - (uint64_t)c->cfa_offset;
	else
		r->gpr[c->cfa_reg] = cfa() - (uint64_t)c->cfa_offset;
	if (c->base == NO && c->bug_len == 10)
		r->gpr[RDX] = 0x1234567;
	if (c->base == NO)
		rest -= c->vary == R8 ? r->gpr[RDI] : c->vary == RCX ? r->gpr[RDX] : 0;
	else if (c->base == R12)
		r->gpr[R12] = rest - 2 * 17;
	if (c->base != NO)
		rest -= r->gpr[c->base];
	r->gpr[c->vary] = (uint64_t)((int64_t)rest / c->scale);
	return (int64_t)rest % c->scale == 0;
}

static bool may_write(const struct guard_case *c, int64_t off)
{
	if (c->pointer_store)
		return off + c->width <= END || off >= END + (8 << 20);
	return off >= START && off + c->width <= END;
}

static void compare(const struct guard_case *c, int64_t off, const struct regs *want, const struct regs *got, bool ran)
{
	uint64_t mask = c->writes_flags && !ran ? ~0x8d5ull : ~0ull;

	for (unsigned k = 0; k < 16; k++)
		if (want->gpr[k] != got->gpr[k])
			fail_msg("%s at %lld: register %u", c->what, (long long)off, k);
	if ((want->flags ^ got->flags) & mask)
		fail_msg("%s at %lld: flags %llx for %llx", c->what, (long long)off, (unsigned long long)got->flags,
			 (unsigned long long)want->flags);
}

/* Runs the original and the guarded instructions with the culprit aimed at the CFA + off. */
static void run_case(const struct guard_case *c, int64_t off)
{
	static uint8_t before[STACK], want_stack[STACK];
	struct finding f = make_finding(c);
	struct regs in = random_regs(), want, got;
	bool may = may_write(c, off);
	size_t low;

	if (!aim(c, off, &in))
		return;
	low = in.gpr[RSP] - RED_ZONE - (uintptr_t)stack;
	fill_stack();
	memcpy(before, stack, STACK);
	put_code(c->bug, c->bug_len);
	run_code(&in, &want, code);
	memcpy(want_stack, stack, STACK);
	fill_stack();
	put_guard(&f);
	run_code(&in, &got, code);
	compare(c, off, &want, &got, may);
	if (memcmp(stack + low, (may ? want_stack : before) + low, STACK - low) != 0)
		fail_msg("%s at %lld: memory, should %s", c->what, (long long)off, may ? "write" : "not write");
}

static void test_stores(void **state)
{
	(void)state;
	for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++)
		for (int64_t off = START - 80; off <= END + 80; off++)
			run_case(&cases[k], off);
}

/* A call behind the culprit returns to where the program's own would: its return address on the stack is the same. */
static void test_displaced_call(void **state)
{
	const struct guard_case c = {.what = "mov [rsi], rax; call",
				     .bug = {0x48, 0x89, 0x06, 0xe8, (CALLED - 8) & 0xff, (CALLED - 8) >> 8},
				     .bug_len = 8,
				     .culprit_len = 3,
				     .cfa_reg = RBP,
				     .cfa_offset = 16,
				     .vary = RSI,
				     .base = NO,
				     .scale = 1,
				     .width = 8,
				     .pointer_store = true};

	(void)state;
	code[CALLED] = 0xc3;
	for (int64_t off = START; off + 8 <= END; off++)
		run_case(&c, off);
}

/* BOUND_CALLER: only calls that return to one place are guarded. */
static void test_caller(void **state)
{
	const struct guard_case *c = &cases[2];
	struct finding f = make_finding(c);

	(void)state;
	f.bound = BOUND_CALLER;
	f.caller_return = gva((uintptr_t)code + 0x123);
	f.caller_slot = -8;
	for (unsigned mine = 0; mine < 2; mine++) {
		struct regs in = random_regs(), got;
		uint64_t ret = f.caller_return.v + !mine, *slot = (uint64_t *)(uintptr_t)(cfa() + END + 8);

		aim(c, END + 8, &in);
		fill_stack();
		memcpy((void *)(uintptr_t)(cfa() - 8), &ret, 8);
		put_guard(&f);
		in.gpr[RAX] = 0x4141414141414141;
		run_code(&in, &got, code);
		assert_int_equal(*slot == 0x4141414141414141, !mine);
		assert_int_equal(got.flags & 0xcd5, (in.flags & 0x401) | (got.flags & 0x8d4));
		assert_int_equal(got.gpr[RAX], in.gpr[RAX]);
	}
}

/*
 * A caller in another module: known by the bytes before its return address and by its build-id, which are looked at only where the
 * return address below, in the culprit's own module, says that there is one.
 */
static void test_caller_elsewhere(void **state)
{
	static uint8_t module[0x200];
	static const struct {
		bool other_way, other_call, other_build;
	} callers[] = {{0}, {.other_way = true}, {.other_call = true}, {.other_build = true}};
	const struct guard_case *c = &cases[2];
	struct finding f = make_finding(c);
	uint64_t ret = (uintptr_t)module + 0x100;

	(void)state;
	f.bound = BOUND_CALLER;
	f.caller_return = gva(ret);
	f.caller_slot = -8;
	f.caller = (struct finding_caller){.build_id_len = 20,
					   .build_id = {1, 2, 3, 0xf4},
					   .call = {0xf1, 2, 3, 0xf4},
					   .build_id_from = -0x80,
					   .n_via = 1,
					   .via = {{gva((uintptr_t)code + 0x123), -16}}};
	/* static data of the caller's module: that begins where the frame ends */
	f.caller.bias = cfa();
	f.error_address = gva(cfa() + END + 8);
	for (unsigned k = 0; k < 2 * sizeof(callers) / sizeof(callers[0]); k++) {
		unsigned i = k / 2;
		bool mine = !callers[i].other_way && !callers[i].other_call && !callers[i].other_build;
		struct regs in = random_regs(), got;
		uint64_t *slot = (uint64_t *)(uintptr_t)(cfa() + END + 8);
		uint64_t words[2] = {f.caller.via[0].ret.v + callers[i].other_way, callers[i].other_way ? 1 : ret};

		memcpy(module + 0x100 - 4, f.caller.call, 4);
		memcpy(module + 0x100 - 0x80, f.caller.build_id, 20);
		f.bound = k % 2 ? BOUND_MODULE : BOUND_CALLER;
		module[0x100 - 1] += callers[i].other_call;
		module[0x100 - 0x80] += callers[i].other_build;
		aim(c, END + 8, &in);
		fill_stack();
		memcpy((void *)(uintptr_t)(cfa() - 16), words, sizeof(words));
		put_guard(&f);
		in.gpr[RAX] = 0x4141414141414141;
		run_code(&in, &got, code);
		assert_int_equal(*slot == 0x4141414141414141, !mine);
		assert_int_equal(got.gpr[RAX], in.gpr[RAX]);
	}
}

/* rep movs and rep stos of n elements to the CFA + off: what must be written, and how registers must end. */
static void run_string(const uint8_t *bytes, uint8_t len, unsigned width, bool copy, int64_t off, uint64_t n,
		       bool on_rsp)
{
	struct guard_case c = {.what = "string",
			       .bug_len = 5,
			       .culprit_len = len,
			       .cfa_reg = on_rsp ? RSP : RBP,
			       .cfa_offset = on_rsp ? 0x200 : 16};
	struct regs in = random_regs(), got;
	static uint8_t want[STACK];
	struct finding f;
	size_t low;

	memset(c.bug, 0x90, sizeof(c.bug));
	memcpy(c.bug, bytes, len);
	f = make_finding(&c);
	in.gpr[c.cfa_reg] = cfa() - (uint64_t)c.cfa_offset;
	in.gpr[RDI] = cfa() + (uint64_t)off;
	in.gpr[RSI] = (uintptr_t)source;
	in.gpr[RCX] = n;
	low = in.gpr[RSP] - RED_ZONE - (uintptr_t)stack;
	fill_stack();
	memcpy(want, stack, STACK);
	for (int64_t k = 0; k < (int64_t)n; k++) {
		int64_t at = off + k * (int64_t)width;

		if (at + (int64_t)width <= END)
			memcpy(want + CFA_AT + at, copy ? source + k * width : (const uint8_t *)&in.gpr[RAX], width);
	}
	put_guard(&f);
	run_code(&in, &got, code);
	assert_memory_equal(stack + low, want + low, STACK - low);
	in.gpr[RDI] += n * width;
	in.gpr[RSI] += copy ? n * width : 0;
	in.gpr[RCX] = 0;
	compare(&c, off, &in, &got, true);
}

static void test_strings(void **state)
{
	static const struct {
		uint8_t bytes[3], len, width;
		bool copy;
	} insn[] = {{{0xf3, 0xa4}, 2, 1, true},
		    {{0xf3, 0xaa}, 2, 1, false},
		    {{0xf3, 0xa5}, 2, 4, true},
		    {{0xf3, 0x48, 0xab}, 3, 8, false}};
	static const uint64_t counts[] = {0, 1, 7, 8, 9, 30};

	(void)state;
	for (size_t k = 0; k < sizeof(source); k++)
		source[k] = (uint8_t)(k * 11 + 1);
	for (size_t i = 0; i < sizeof(insn) / sizeof(insn[0]); i++)
		for (size_t k = 0; k < sizeof(counts) / sizeof(counts[0]); k++)
			for (int64_t off = START; off <= END + 24; off += 3)
				run_string(insn[i].bytes, insn[i].len, insn[i].width, insn[i].copy, off, counts[k],
					   k & 1);
}

/* Downward copies are none of a guard's business: they run as they are. */
static void test_string_downward(void **state)
{
	const struct guard_case c = {.what = "downward",
				     .bug = {0xf3, 0xa4, 0x90, 0x90, 0x90},
				     .bug_len = 5,
				     .culprit_len = 2,
				     .cfa_reg = RBP,
				     .cfa_offset = 16};
	struct finding f = make_finding(&c);
	struct regs in = random_regs(), want, got;
	static uint8_t want_stack[STACK];

	(void)state;
	in.flags |= 0x400;
	in.gpr[RBP] = cfa() - 16;
	in.gpr[RDI] = cfa() + END + 10;
	in.gpr[RSI] = (uintptr_t)source + 100;
	in.gpr[RCX] = 20;
	fill_stack();
	put_code(c.bug, c.bug_len);
	run_code(&in, &want, code);
	memcpy(want_stack, stack, STACK);
	fill_stack();
	put_guard(&f);
	run_code(&in, &got, code);
	compare(&c, 0, &want, &got, true);
	assert_memory_equal(stack + 1024, want_stack + 1024, STACK - 1024);
}

#define FAR (16u << 20)
#define SPAN (8u << 20)

/* Runs a guarded culprit whose frame is at the start of far, its address `above` bytes above the object's end. */
static void run_far(const struct guard_case *c, uint8_t *far, uint64_t above)
{
	struct finding f = make_finding(c);
	struct regs in = random_regs(), got;

	memset(far, 0, FAR);
	in.gpr[RBP] = (uintptr_t)far + 256 - 16;
	in.gpr[RDI] = (uintptr_t)far + 256 + (uint64_t)END + above;
	in.gpr[RSI] = c->culprit_len == 2 ? (uintptr_t)source : in.gpr[RDI];
	in.gpr[RAX] = 0x5a5a5a5a5a5a5a5a;
	in.gpr[RCX] = 100;
	put_guard(&f);
	run_code(&in, &got, code);
}

/* Another object far above this one (on the heap, say) is not kept from being written. */
static void test_elsewhere(void **state)
{
	const struct guard_case string = {.what = "string",
					  .bug = {0xf3, 0xa4, 0x90, 0x90, 0x90},
					  .bug_len = 5,
					  .culprit_len = 2,
					  .cfa_reg = RBP,
					  .cfa_offset = 16};
	const struct guard_case *both[] = {&string, &cases[2]};
	uint8_t *far = mmap(NULL, FAR, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint8_t *end = far + 256 + END;

	(void)state;
	assert_ptr_not_equal(far, MAP_FAILED);
	memset(source, 0x5a, 100);
	for (unsigned k = 0; k < 2; k++) {
		run_far(both[k], far, SPAN);
		assert_int_equal(end[SPAN], 0x5a);
		assert_int_equal(end[SPAN + 7], 0x5a);
		run_far(both[k], far, SPAN - 1);
		assert_int_equal(end[SPAN - 1], 0);
		assert_int_equal(end[SPAN], 0);
	}
	munmap(far, FAR);
}

/* Displaced neighbours that depend on where they are. */
static void test_moved(void **state)
{
	static const struct {
		uint8_t bytes[8], len;
		const char *moved; /* as it is at 0x10800, from 0x10000; NULL: refused */
	} rows[] = {
		{{0x74, 0x10}, 2, "jz 0x0000000000010012"},
		{{0x0f, 0x8f, 0x00, 0x01, 0x00, 0x00}, 6, "jnle 0x0000000000010106"},
		{{0xeb, 0xfe}, 2, "jmp 0x0000000000010000"},
		{{0x48, 0x8b, 0x05, 0x00, 0x01, 0x00, 0x00}, 7, "mov rax, [0x0000000000010107]"},
		{{0xc6, 0x05, 0x00, 0x01, 0x00, 0x00, 0x07}, 7, "mov byte ptr [0x0000000000010107], 0x07"},
		{{0xff, 0x25, 0x00, 0x01, 0x00, 0x00}, 6, "jmp [0x0000000000010106]"},
		{{0x48, 0x89, 0xe5}, 3, "mov rbp, rsp"},
		{{0xe2, 0x10}, 2, NULL},
		{{0xe3, 0x10}, 2, NULL},
	};

	(void)state;
	for (size_t k = 0; k < sizeof(rows) / sizeof(rows[0]); k++) {
		struct emitter em;
		char text[96], *nl;

		emit_init(&em, 0x10800);
		emit_moved(&em, rows[k].bytes, rows[k].len, 0x10000);
		assert_int_equal(em.bad, rows[k].moved == NULL);
		if (em.bad)
			continue;
		patch_disassemble(false, em.buf, em.len, em.at, text, sizeof(text));
		nl = strchr(text, '\n');
		assert_non_null(nl);
		*nl = '\0';
		assert_string_equal(text + strlen(text) - strlen(rows[k].moved), rows[k].moved);
	}
}

static void test_moved_too_far(void **state)
{
	static const uint8_t load[] = {0x48, 0x8b, 0x05, 0, 1, 0, 0};
	struct emitter em;
	struct err e;

	(void)state;
	emit_init(&em, 0x700000000000);
	emit_moved(&em, load, sizeof(load), 0x10000);
	assert_true(em.bad);
	assert_int_equal(emit_check(&em, &e), -1);
	emit_init(&em, 0x10000);
	emit_jump(&em, 0x700000000000);
	assert_true(em.bad);
}

static void test_refusals(void **state)
{
	struct finding good = make_finding(&cases[0]), f;
	struct emitter em;
	const char *name;
	struct err e;

	(void)state;
#define REFUSED(change)                                                                                                \
	do {                                                                                                           \
		f = good;                                                                                              \
		change;                                                                                                \
		emit_init(&em, (uintptr_t)code + GUARD);                                                               \
		assert_int_equal(guard_emit(&em, &f, NULL, &name, &e), -1);                                            \
		assert_int_equal(e.code, ERR_REFUSED);                                                                 \
	} while (0)
	emit_init(&em, (uintptr_t)code + GUARD);
	assert_int_equal(guard_emit(&em, &good, NULL, &name, &e), 0);
	assert_string_equal(name, "store-guard");
	REFUSED(f.bound = (enum bound_kind)77);
	REFUSED(f.bug_len = 4);
	REFUSED(f.bug_bytes[3] ^= 1);
	REFUSED(f.culprit.v += 40);
	REFUSED(f.end_offset = f.start_offset);
	REFUSED(f.cfa.reg = 16);
	REFUSED(f.cfa.offset = INT32_MAX; f.start_offset = 100; f.end_offset = 200);
	REFUSED(f.start_offset = f.end_offset - (1ll << 32));
	REFUSED(f.caller.n_via = FINDING_VIA + 1);
	REFUSED(f.caller.build_id_len = 2);
#undef REFUSED
}

static int setup(void **state)
{
	(void)state;
	code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	srand(7);
	return code == MAP_FAILED;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stores),
		cmocka_unit_test(test_caller),
		cmocka_unit_test(test_caller_elsewhere),
		cmocka_unit_test(test_strings),
		cmocka_unit_test(test_string_downward),
		cmocka_unit_test(test_elsewhere),
		cmocka_unit_test(test_moved),
		cmocka_unit_test(test_displaced_call),
		cmocka_unit_test(test_moved_too_far),
		cmocka_unit_test(test_refusals),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
