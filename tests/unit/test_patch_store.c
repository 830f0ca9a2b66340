/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guards of stores in 32-bit code, into static data and into heap chunks, run by the real CPU: each is aimed at
 * addresses around the bounds. 64-bit stores into frames are test_patch_guard's.
 */
#include "guard_call.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NO 0xff
#define CORRUPTED 16 /* bytes behind a static object: where what was found corrupted begins */
#define SIZE 64
#define DATA (FORMAT + 0x200)
#define ABSOLUTE 0x1b00

struct store {
	struct setting s;
	uint8_t bytes[8], len;
	uint8_t vary, other; /* registers of the address */
	int64_t disp;
	uint8_t width;
	bool pointer_store;
};

static const struct store stores[] = {
	/* mov [ebp+ecx-0x60], dl; mov [esi], eax; mov [rcx+rax], dl; mov [rsi], rax; mov [eax+absolute], dl; stosd, stosq */
	{{true, true, BOUND_FRAME, RBP, 0}, {0x88, 0x54, 0x0d, 0xa0}, 4, RCX, RBP, -0x60, 1, false},
	{{true, false, BOUND_FRAME, RSP, 0}, {0x89, 0x06}, 2, RSI, NO, 0, 4, true},
	{{true, false, BOUND_CALLER, RBP, 0}, {0x89, 0x06}, 2, RSI, NO, 0, 4, true},
	{{true, true, BOUND_CALLER, RSP, 0}, {0x89, 0x06}, 2, RSI, NO, 0, 4, true},
	{{true, false, BOUND_MODULE, RSP, 0}, {0x89, 0x06}, 2, RSI, NO, 0, 4, true},
	{{true, true, BOUND_MODULE, RSP, 0}, {0x89, 0x06}, 2, RSI, NO, 0, 4, true},
	{{false, false, BOUND_MODULE, RBP, 0}, {0x48, 0x89, 0x06}, 3, RSI, NO, 0, 8, true},
	{{false, false, BOUND_MODULE, RBP, 0}, {0x88, 0x14, 0x01}, 3, RAX, RCX, 0, 1, false},
	{{true, false, BOUND_MODULE, RBP, 0}, {0x88, 0x14, 0x01}, 3, RAX, RCX, 0, 1, false},
	{{true, false, BOUND_FRAME, RSP, 0}, {0xab}, 1, RDI, NO, 0, 4, true},
	{{false, false, BOUND_MODULE, RBP, 0}, {0x48, 0xab}, 2, RDI, NO, 0, 8, true},
	{{true, true, BOUND_MODULE, RBP, 0},
	 {0x88, 0x90, ABSOLUTE & 0xff, ABSOLUTE >> 8, 0x00, 0x20},
	 6,
	 RAX,
	 NO,
	 MADE + ABSOLUTE,
	 1,
	 false},
};

static struct request request_for(const struct setting *s)
{
	return (struct request){.s = s, .callee = "store", .size = SIZE, .dst_arg = 0};
}

/* The site is the bytes and nop up to 5. */
static struct finding store_finding(const struct request *rq, const uint8_t *bytes, uint8_t len, bool pointer_store)
{
	struct finding f = make_finding(rq);

	f.kind = FINDING_STORE;
	f.pointer_store = pointer_store;
	f.culprit = f.bug;
	f.culprit_len = len;
	f.bug_len = len < 5 ? 5 : len;
	memset(f.bug_bytes, 0x90, sizeof(f.bug_bytes));
	memcpy(f.bug_bytes, bytes, len);
	memcpy(f.culprit_bytes, bytes, len);
	f.error_address = gva(MADE + object(rq) + SIZE + CORRUPTED);
	return f;
}

static bool may_write(const struct store *st, bool mine, int64_t off)
{
	int64_t above = off + st->width - SIZE;

	if (!mine)
		return true;
	if (!st->pointer_store)
		return off >= 0 && above <= 0;
	if (st->s.bound == BOUND_MODULE)
		return above <= 0 || off >= SIZE + CORRUPTED + (st->s.is_32bit ? 4 : 8);
	return above <= 0;
}

static void check_registers(bool is_32bit, const struct guard_run *in)
{
	for (unsigned k = 0; k < (is_32bit ? 8u : 16u); k++)
		assert_int_equal(is_32bit ? (uint32_t)run.gpr[k] : run.gpr[k],
				 is_32bit ? (uint32_t)in->gpr[k] : in->gpr[k]);
}

/* Memory that is nobody's scratch is as in `before`. */
static void check_before(const char *what, int64_t off)
{
	for (uint32_t k = DATA; k < IMAGE_SIZE; k++)
		if ((k < 0x2000 || k >= SP) && image[k] != before[k])
			fail_msg("%s, aimed at %d: byte at 0x%x", what, (int)off, k);
}

static void run_store(const struct store *st, int64_t off, bool mine)
{
	struct request rq = request_for(&st->s);
	struct finding f = store_finding(&rq, st->bytes, st->len, st->pointer_store);
	uint8_t source = st->width == 1 ? RDX : RAX;
	struct guard_run in;

	rq.wrong_caller = !mine;
	begin_request(&rq);
	run.gpr[st->vary] = base + object(&rq) + (uint64_t)off - (uint64_t)st->disp;
	if (st->other != NO)
		run.gpr[st->vary] -= run.gpr[st->other];
	assert_string_equal(put_guard(&rq, &f), "store-guard");
	in = run;
	go_anywhere(st->s.is_32bit);
	if (may_write(st, mine || st->s.bound != BOUND_CALLER, off))
		memcpy(before + object(&rq) + off, &in.gpr[source], st->width);
	check_before("store", off);
	in.gpr[RDI] += st->vary == RDI ? st->width : 0;
	check_registers(st->s.is_32bit, &in);
}

static void test_stores(void **state)
{
	(void)state;
	for (size_t k = 0; k < sizeof(stores) / sizeof(stores[0]); k++)
		for (int64_t off = -20; off <= SIZE + 30; off++)
			run_store(&stores[k], off, off % 4 != 3);
}

struct string_store {
	uint8_t bytes[4], len, width;
	bool copy;
};

/* Bytes that a string store to the object's start + off may write. */
static int64_t string_room(const struct setting *s, int64_t off)
{
	if (s->bound == BOUND_CHUNK)
		return off == 0 ? SIZE + (s->is_32bit ? 4 : 8) : INT64_MAX;
	if (s->bound == BOUND_MODULE && off >= SIZE + CORRUPTED + (s->is_32bit ? 4 : 8))
		return INT64_MAX;
	return off >= SIZE ? 0 : SIZE - off;
}

static void run_string(const struct setting *s, const struct string_store *st, int64_t off, uint32_t n)
{
	struct request rq = request_for(s);
	struct finding f;
	struct guard_run in;
	int64_t room = string_room(s, off);

	rq.size += s->bound == BOUND_CHUNK ? (s->is_32bit ? 4 : 8) : 0;
	f = store_finding(&rq, st->bytes, st->len, true);
	f.error_address = gva(MADE + object(&rq) + SIZE + CORRUPTED);
	begin_request(&rq);
	for (uint32_t k = 0; k < 256; k++)
		image[SOURCE + k] = (uint8_t)(k * 11 + 1);
	run.gpr[RDI] = base + object(&rq) + (uint64_t)off;
	run.gpr[RSI] = base + SOURCE;
	run.gpr[RCX] = n;
	assert_string_equal(put_guard(&rq, &f), "string-guard");
	in = run;
	go_anywhere(s->is_32bit);
	for (uint32_t k = 0; k < n && (int64_t)(k + 1) * st->width <= room; k++)
		memcpy(before + object(&rq) + off + k * st->width,
		       st->copy ? before + SOURCE + k * st->width : (const uint8_t *)&in.gpr[RAX], st->width);
	check_before("string store", off);
	in.gpr[RDI] += n * st->width;
	in.gpr[RSI] += st->copy ? n * st->width : 0;
	in.gpr[RCX] = 0;
	check_registers(s->is_32bit, &in);
}

static void test_strings(void **state)
{
	static const struct setting where[] = {
		{true, true, BOUND_FRAME, RBP, 0},    {true, false, BOUND_FRAME, RSP, 0},
		{true, false, BOUND_MODULE, RBP, 0},  {true, true, BOUND_MODULE, RBP, 0},
		{false, false, BOUND_MODULE, RBP, 0}, {false, false, BOUND_CHUNK, RBP, 0},
		{true, false, BOUND_CHUNK, RBP, 0},
	};
	static const struct string_store insn[] = {
		{{0xf3, 0xa4}, 2, 1, true}, {{0xf3, 0xaa}, 2, 1, false}, {{0xf3, 0xa5}, 2, 4, true}};
	static const uint32_t counts[] = {0, 1, 15, 17, 18, 40};

	(void)state;
	for (size_t s = 0; s < sizeof(where) / sizeof(where[0]); s++)
		for (size_t i = 0; i < sizeof(insn) / sizeof(insn[0]); i++)
			for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++)
				for (int64_t off = 0; off <= SIZE + 25; off += off < SIZE - 8 ? 7 : 1)
					run_string(&where[s], &insn[i], off, counts[c]);
}

static void test_refusals(void **state)
{
	static const struct setting s[] = {{false, false, BOUND_MODULE, RBP, 0}, {false, false, BOUND_CHUNK, RBP, 0}};
	static const uint8_t store[] = {0x88, 0x14, 0x01}, rip[] = {0x88, 0x15, 0, 1, 0, 0};

	(void)state;
	for (unsigned k = 0; k < 4; k++) {
		struct request rq = request_for(&s[k == 3]);
		struct finding f = k == 2 ? store_finding(&rq, rip, sizeof(rip), false)
					  : store_finding(&rq, store, sizeof(store), true);
		struct emitter em;
		const char *name;
		struct err e;

		/* what was corrupted lies before the object, or too far behind it */
		if (k == 0)
			f.error_address = gva(MADE + object(&rq));
		else if (k == 1)
			f.error_address = gva(MADE + object(&rq) + (16 << 20));
		emit_init(&em, MADE + GUARD);
		assert_int_equal(guard_emit(&em, &f, NULL, &name, &e), -1);
		assert_int_equal(e.code, ERR_REFUSED);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stores),
		cmocka_unit_test(test_strings),
		cmocka_unit_test(test_refusals),
	};

	return cmocka_run_group_tests(tests, guard_call_setup, guard_call_teardown);
}
