/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guards of stores and calls into heap chunks and into parts of them, and guards behind guards, run by the real CPU: each is aimed
 * at addresses around the bounds.
 */
#include "guard_call.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NO 0xff
#define CHUNK 80 /* as the header says */
#define MEMBER 16 /* where in the chunk what `base` holds points to */
#define PART 40 /* what of the chunk is the object */
#define GUARD2 0x600u
#define SLOT (-40) /* of a word of the frame, from the CFA */

struct store {
	struct setting s;
	uint8_t bytes[4], len, width;
	uint8_t vary, other; /* registers of the address; other holds the base, NO: something else does */
	uint8_t base; /* register, NO: the word at SLOT */
	bool has_calls;
};

static const struct store stores[] = {
	/* mov [rcx+rax], dl; mov [rdx], al; mov [rsi], rax; mov [r12], rax, with the base in the address, a register, the frame */
	{{false, false, BOUND_CHUNK, RBP, 0}, {0x88, 0x14, 0x01}, 3, 1, RAX, RCX, RCX, false},
	{{false, false, BOUND_CHUNK, RSP, 0}, {0x88, 0x02}, 2, 1, RDX, NO, R12, true},
	{{false, false, BOUND_CHUNK, RBP, 0}, {0x48, 0x89, 0x06}, 3, 8, RSI, NO, NO, false},
	{{false, false, BOUND_CHUNK, RSP, 0}, {0x49, 0x89, 0x04, 0x24}, 4, 8, R12, NO, NO, true},
	/* mov [ecx+eax], dl; mov [esi], eax; mov [edx], al */
	{{true, false, BOUND_CHUNK, RBP, 0}, {0x88, 0x14, 0x01}, 3, 1, RAX, RCX, RCX, false},
	{{true, true, BOUND_CHUNK, RSP, 0}, {0x89, 0x06}, 2, 4, RSI, NO, NO, true},
	{{true, false, BOUND_CHUNK, RSP, 0}, {0x88, 0x02}, 2, 1, RDX, NO, RDI, false},
};

/* How the chunk is at run time. */
struct heap {
	uint32_t member; /* MEMBER or 0 */
	bool part, other_size, unaligned;
};

/* Bytes of the chunk that may be used. */
static int64_t size_of(const struct setting *s)
{
	return CHUNK - word(s);
}

static struct request request_for(const struct setting *s)
{
	return (struct request){.s = s, .callee = "store", .size = (uint32_t)size_of(s), .dst_arg = 0};
}

static struct finding chunk_finding(const struct request *rq, const struct store *st, const struct heap *h)
{
	struct finding f = make_finding(rq);

	f.kind = FINDING_STORE;
	f.pointer_store = true;
	f.has_calls = st->has_calls;
	f.culprit = f.bug;
	f.culprit_len = st->len;
	f.bug_len = 5;
	memset(f.bug_bytes, 0x90, sizeof(f.bug_bytes));
	memcpy(f.bug_bytes, st->bytes, st->len);
	memcpy(f.culprit_bytes, st->bytes, st->len);
	f.has_base = true;
	f.base = (struct finding_word){st->base, SLOT};
	f.start_offset = h->member;
	f.part_of = h->part ? CHUNK : 0;
	f.end_offset = h->part ? PART : size_of(rq->s);
	return f;
}

static void emit_linked(const struct finding *f, uint32_t at, struct guard_link *link)
{
	struct emitter em;
	const char *name;
	struct err e;

	emit_init(&em, MADE + at);
	if (guard_emit_linked(&em, f, &made_reader, link, &name, &e))
		fail_msg("%s", e.text);
	assert_int_not_equal(em.buf[em.len - 1], 0);
	assert_true(em.len <= 96);
	memcpy(image + at, em.buf, em.len);
}

/* The chunk, and what points into it. */
static void put_chunk(const struct request *rq, const struct store *st, const struct heap *h, int64_t off)
{
	uint64_t mem = base + object(rq) + (h->unaligned ? 8 : 0);

	put_word(rq->s, (uint32_t)(mem - base) - word(rq->s), (CHUNK + (h->other_size ? 16 : 0)) | 1);
	if (st->base != NO)
		run.gpr[st->base] = mem + h->member;
	else
		put_word(rq->s, CFA + SLOT, mem + h->member);
	run.gpr[st->vary] = base + object(rq) + (uint64_t)off;
	if (st->other != NO)
		run.gpr[st->vary] -= run.gpr[st->other];
}

static bool may_write(const struct store *st, const struct heap *h, int64_t off, int64_t end)
{
	if (h->unaligned || (h->part && h->other_size))
		return true;
	if (h->other_size)
		end += 16;
	return off + st->width <= end;
}

static void check_written(const struct store *st, int64_t off, uint32_t at, bool may, const struct guard_run *in)
{
	if (may)
		memcpy(before + at + off, &in->gpr[st->width == 1 && st->bytes[1] != 0x02 ? RDX : RAX], st->width);
	for (uint32_t k = FORMAT + 0x200; k < IMAGE_SIZE; k++)
		if ((k < 0x2000 || k >= SP) && image[k] != before[k])
			fail_msg("aimed at %d, should %s: byte at 0x%x", (int)off, may ? "write" : "not write", k);
	for (unsigned k = 0; k < (st->s.is_32bit ? 8u : 16u); k++)
		assert_int_equal(st->s.is_32bit ? (uint32_t)run.gpr[k] : run.gpr[k],
				 st->s.is_32bit ? (uint32_t)in->gpr[k] : in->gpr[k]);
}

static void run_store(const struct store *st, const struct heap *h, int64_t off)
{
	struct request rq = request_for(&st->s);
	struct finding f = chunk_finding(&rq, st, h);
	struct guard_run in;

	begin_request(&rq);
	put_chunk(&rq, st, h, off);
	assert_string_equal(put_guard(&rq, &f), "store-guard");
	assert_true(guard_len <= 96);
	in = run;
	go_anywhere(st->s.is_32bit);
	check_written(st, off, object(&rq), may_write(st, h, off, h->part ? PART : size_of(&st->s)), &in);
}

static void test_stores(void **state)
{
	static const struct heap heaps[] = {{0, false, false, false},	 {MEMBER, false, false, false},
					    {0, false, true, false},	 {0, false, false, true},
					    {0, true, false, false},	 {MEMBER + 8, true, false, false},
					    {MEMBER, true, true, false}, {0, true, false, true}};

	(void)state;
	for (size_t k = 0; k < sizeof(stores) / sizeof(stores[0]); k++)
		for (size_t h = 0; h < sizeof(heaps) / sizeof(heaps[0]); h++)
			for (int64_t off = -12; off <= CHUNK + 30; off++)
				run_store(&stores[k], &heaps[h], off);
}

/* The guard of a part, and behind it that of the whole chunk. */
static void run_chain(const struct store *st, bool other_size, int64_t off)
{
	struct heap whole = {.other_size = other_size}, part = {.part = true, .other_size = other_size};
	struct request rq = request_for(&st->s);
	struct finding f = chunk_finding(&rq, st, &whole);
	struct guard_link first = {0}, second = {0};
	struct guard_run in;
	struct emitter site;

	begin_request(&rq);
	put_chunk(&rq, st, &whole, off);
	(void)put_guard(&rq, &f);
	emit_linked(&f, GUARD, &first);
	second.next = MADE + GUARD + first.part_at;
	f = chunk_finding(&rq, st, &part);
	emit_linked(&f, GUARD2, &second);
	assert_int_equal(second.culprit_at, GUARD_NOWHERE);
	assert_memory_equal(image + GUARD + first.culprit_at, st->bytes, st->len);
	emit_init(&site, MADE + SITE);
	emit_jump(&site, MADE + GUARD2);
	memcpy(image + SITE, site.buf, site.len);
	in = run;
	go_anywhere(st->s.is_32bit);
	check_written(st, off, object(&rq), may_write(st, &whole, off, other_size ? size_of(&st->s) : PART), &in);
}

static void test_chains(void **state)
{
	(void)state;
	for (size_t k = 0; k < sizeof(stores) / sizeof(stores[0]); k++)
		for (int64_t off = -12; off <= CHUNK + 30; off++)
			for (unsigned other = 0; other < 2; other++)
				run_chain(&stores[k], other, off);
}

/* read() into a part of a chunk: the length ends at the part's end, in chunks of that size. */
static void run_call(const struct setting *s, const struct heap *h, uint64_t len)
{
	struct request rq = read_request(s, (uint32_t)size_of(s), len);
	struct finding f = make_finding(&rq);
	uint64_t want[SEEN_ARGS], room = (uint64_t)(h->part ? PART : size_of(s)) - h->member;

	begin_request(&rq);
	put_word(s, object(&rq) - word(s), (CHUNK + (h->other_size ? 16 : 0)) | 5);
	rq.arg[1] = base + object(&rq) + h->member + (h->unaligned ? 1 : 0);
	put_args(&rq);
	put_call(s, &f);
	f.start_offset = h->member;
	f.part_of = h->part ? CHUNK : 0;
	f.end_offset = h->part ? PART : size_of(s);
	(void)put_guard(&rq, &f);
	assert_true(guard_len <= 96);
	go(&rq);
	memcpy(want, rq.arg, sizeof(want));
	if (h->other_size)
		room = h->part ? len : room + 16;
	if (len > room && !h->unaligned)
		want[2] = room;
	check_called(&rq, want);
}

static void test_calls(void **state)
{
	static const struct setting where[] = {{false, false, BOUND_CHUNK, RSP, FORM_REL},
					       {false, false, BOUND_CHUNK, RBP, FORM_SLOT},
					       {true, false, BOUND_CHUNK, RSP, FORM_REL},
					       {true, true, BOUND_CHUNK, RBP, FORM_SLOT}};

	(void)state;
	for (size_t k = 0; k < sizeof(where) / sizeof(where[0]); k++)
		for (unsigned n = 0; n < 16; n++) {
			struct heap h = {n & 1 ? MEMBER + 4 : 0, (n & 2) != 0, (n & 4) != 0, (n & 8) != 0};

			for (uint64_t len = 0; len < CHUNK + 40; len++)
				run_call(&where[k], &h, len);
		}
}

/* Two guards of one call: the closer one first, the other where the destination is none of its business. */
static void run_call_chain(const struct setting *s, int64_t dst, uint64_t len)
{
	struct request rq = read_request(s, (uint32_t)size_of(s), len);
	struct finding f = make_finding(&rq);
	struct guard_link first = {0}, second = {0};
	uint64_t want[SEEN_ARGS], room;

	begin_request(&rq);
	rq.arg[1] = base + object(&rq) + (uint64_t)dst;
	put_args(&rq);
	put_call(s, &f);
	(void)put_guard(&rq, &f);
	emit_linked(&f, GUARD, &first);
	second.next = MADE + GUARD + first.part_at;
	f.end_offset = f.start_offset + PART;
	emit_linked(&f, GUARD2, &second);
	put_site(&f, GUARD2);
	go(&rq);
	memcpy(want, rq.arg, sizeof(want));
	room = dst < 0 || dst > size_of(s) ? len : (uint64_t)((dst <= PART ? PART : size_of(s)) - dst);
	if (len > room)
		want[2] = room;
	check_called(&rq, want);
}

static void test_call_chains(void **state)
{
	(void)state;
	for (const struct setting *s = settings; s < settings + SETTINGS; s++)
		for (int64_t dst = -4; dst <= CHUNK + 4 && s->bound != BOUND_CHUNK; dst += 4)
			for (uint64_t len = 0; len < CHUNK + 40; len += 9)
				run_call_chain(s, dst, len);
}

static void test_refusals(void **state)
{
	const struct store *st = &stores[0];
	struct request rq = request_for(&st->s);
	const struct finding good = chunk_finding(&rq, st, &(struct heap){0, true, false, false});
	struct finding f;
	struct emitter em;
	const char *name;
	struct err e;

	(void)state;
	for (unsigned k = 0; k < 5; k++) {
		f = good;
		f.has_base = k != 1;
		f.start_offset = k == 2 ? -1 : 0;
		f.end_offset = k == 3 ? 0 : PART;
		f.part_of = k == 4 ? 1ull << 40 : CHUNK;
		emit_init(&em, MADE + GUARD);
		assert_int_equal(guard_emit(&em, &f, NULL, &name, &e), k ? -1 : 0);
		if (k)
			assert_int_equal(e.code, ERR_REFUSED);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stores),	    cmocka_unit_test(test_chains),   cmocka_unit_test(test_calls),
		cmocka_unit_test(test_call_chains), cmocka_unit_test(test_refusals),
	};

	return cmocka_run_group_tests(tests, guard_call_setup, guard_call_teardown);
}
