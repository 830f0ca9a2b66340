/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guards of calls, run by the real CPU in 64-bit and 32-bit mode (by tests/unit/guard_runner.c): what they leave in
 * memory, what they return, how they call, and that calls which are none of their business run as they are.
 */
#include "guard_call.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Strings of SOURCE: len letters and a zero. */
static void put_source(uint32_t len)
{
	for (uint32_t k = 0; k < len; k++)
		image[SOURCE + k] = (uint8_t)('a' + (k * 5 + len) % 26);
	image[SOURCE + len] = 0;
	memset(image + SOURCE + len + 1, 'Z', 0x1600 - SOURCE - len - 1);
}

static uint32_t room_of(const struct request *rq)
{
	return inside(rq) ? rq->size - (uint32_t)rq->dst : 0;
}

/* For sizes of the object and places of the destination in and around it. */
#define FOR_ALL(s, size, dst)                                                                                          \
	for (const struct setting *(s) = settings; (s) < settings + SETTINGS; (s)++)                                   \
		for (uint32_t i_ = 0, size; i_ < 4 && ((size) = sizes((s), i_)); i_++)                                 \
			for (int32_t j_ = 0, dst; j_ < 8 && (((dst) = places((size), j_)) || true); j_++)

static uint32_t sizes(const struct setting *s, uint32_t k)
{
	static const uint32_t of[] = {1, 8, 100, 300}, chunk[] = {24, 40, 136, 264};

	return s->bound == BOUND_CHUNK ? chunk[k] + (s->is_32bit ? 4 : 0) : of[k];
}

static int32_t places(uint32_t size, int32_t k)
{
	const int32_t of[] = {-1, 0, 1, (int32_t)size / 2, (int32_t)size - 1, (int32_t)size, (int32_t)size + 1, -100};

	return of[k];
}

/* --- lengths ----------------------------------------------------------------------------------------------- */

static void check_length(struct request *rq, uint64_t len)
{
	uint64_t want[SEEN_ARGS], chk = rq->chk_arg == CALL_NO_ARG ? UINT64_MAX : rq->arg[rq->chk_arg];
	uint64_t room = room_of(rq) < chk ? room_of(rq) : chk;
	bool items = strstr(rq->callee, "fread");
	bool is_int = strstr(rq->callee, "fgets"), string = strstr(rq->callee, "cpy") && !strstr(rq->callee, "mem");

	rq->arg[rq->len_arg] = len;
	if (items) {
		rq->arg[rq->len_arg - 1] = len % 6;
		room /= len % 6 ? len % 6 : 1;
	}
	run_request(rq);
	go(rq);
	memcpy(want, rq->arg, sizeof(want));
	if (rq->s->is_32bit || is_int)
		len = (uint32_t)len;
	if (inside(rq) && len > room) {
		bool zero = string && room;

		want[rq->len_arg] = room - zero;
		check_memory(rq, object(rq) + (uint32_t)rq->dst + (uint32_t)room - zero, "", zero);
	} else {
		check_memory(rq, 0, NULL, 0);
	}
	if (is_int)
		want[rq->len_arg] = (uint32_t)want[rq->len_arg], run.seen[0].arg[rq->len_arg] &= UINT32_MAX;
	check_called(rq, want);
}

static void test_lengths(void **state)
{
	static const struct request kinds[] = {
		{.callee = "read", .dst_arg = 1, .len_arg = 2, .chk_arg = CALL_NO_ARG, .n_args = 3},
		{.callee = "fgets", .dst_arg = 0, .len_arg = 1, .chk_arg = CALL_NO_ARG, .n_args = 3},
		{.callee = "strncpy", .dst_arg = 0, .len_arg = 2, .chk_arg = CALL_NO_ARG, .n_args = 3},
		{.callee = "__memcpy_chk", .dst_arg = 0, .len_arg = 2, .chk_arg = 3, .n_args = 4},
		{.callee = "snprintf", .dst_arg = 0, .len_arg = 1, .chk_arg = CALL_NO_ARG, .n_args = 9},
		{.callee = "fread", .dst_arg = 0, .len_arg = 2, .chk_arg = CALL_NO_ARG, .n_args = 4},
		{.callee = "__fread_chk", .dst_arg = 0, .len_arg = 3, .chk_arg = 1, .n_args = 5},
		{.callee = "far", .dst_arg = 7, .len_arg = 8, .chk_arg = CALL_NO_ARG, .n_args = 9},
	};

	(void)state;
	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
		FOR_ALL(s, size, dst)
		{
			const uint64_t lens[] = {0, 1, size - 1, size, size + 1, 5000, UINT64_MAX, 1ull << 40 | 1};
			struct request rq = kinds[k];

			rq.s = s;
			rq.effect = CALL_LENGTH;
			rq.size = size;
			rq.dst = dst;
			rq.wrong_caller = size == 100;
			for (unsigned n = 0; n < SEEN_ARGS; n++)
				rq.arg[n] = 0x1111 * (n + 1);
			if (rq.chk_arg != CALL_NO_ARG)
				rq.arg[rq.chk_arg] = dst & 1 ? size / 2 : s->is_32bit ? UINT32_MAX : UINT64_MAX;
			for (size_t n = 0; n < sizeof(lens) / sizeof(lens[0]); n++)
				check_length(&rq, lens[n]);
		}
	}
}

/* --- strings ----------------------------------------------------------------------------------------------- */

/* Appends what fits of the source to the `have` letters at the destination (0: a copy), and checks all of it. */
static void check_string(struct request *rq, uint32_t have, uint32_t len)
{
	uint64_t chk = rq->chk_arg == CALL_NO_ARG ? UINT64_MAX : rq->arg[rq->chk_arg];
	uint32_t room = room_of(rq) < chk ? room_of(rq) : (uint32_t)chk, at = object(rq) + (uint32_t)rq->dst, n = len;
	bool end = strstr(rq->callee, "stpcpy"), append = strstr(rq->callee, "cat");
	char text[0x600];

	put_source(len);
	rq->arg[1] = base + SOURCE;
	run_request(rq);
	rq->arg[1] = base + SOURCE;
	put_args(rq);
	if (append && at + have < IMAGE_SIZE)
		image[at + have] = 0;
	go(rq);
	if (!inside(rq)) {
		check_memory(rq, 0, NULL, 0);
		check_called(rq, NULL);
		return;
	}
	if (rq->len_arg != CALL_NO_ARG && rq->arg[rq->len_arg] < n)
		n = (uint32_t)rq->arg[rq->len_arg];
	if (have < room && n > room - 1 - have)
		n = room - 1 - have;
	memcpy(text, image + SOURCE, n);
	text[n] = 0;
	check_memory(rq, at + have, text, have < room ? n + 1 : 0);
	assert_int_equal(run.seen[0].count, 0);
	assert_int_equal(result(rq, true), at + (end && room ? n : 0));
}

static void test_copies(void **state)
{
	static const struct request kinds[] = {
		{.callee = "strcpy", .chk_arg = CALL_NO_ARG, .n_args = 2},
		{.callee = "stpcpy", .chk_arg = CALL_NO_ARG, .n_args = 2},
		{.callee = "__strcpy_chk", .chk_arg = 2, .n_args = 3},
		{.callee = "__stpcpy_chk", .chk_arg = 2, .n_args = 3},
	};

	(void)state;
	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
		FOR_ALL(s, size, dst)
		{
			const uint32_t lens[] = {0, 1, size - 1, size, size + 1, 1000};
			struct request rq = kinds[k];

			rq.s = s;
			rq.effect = CALL_STRING_COPY;
			rq.src_arg = 1;
			rq.len_arg = CALL_NO_ARG;
			rq.size = size;
			rq.dst = dst;
			rq.wrong_caller = size == 100;
			rq.arg[2] = dst & 1 ? size / 2 + 1 : UINT32_MAX;
			for (size_t n = 0; n < sizeof(lens) / sizeof(lens[0]); n++)
				check_string(&rq, 0, lens[n]);
		}
	}
}

static void put_wide(uint32_t at, uint32_t len)
{
	for (uint32_t k = 0; k <= len; k++) {
		uint32_t letter = k < len ? 0x1f600 + k : 0;

		memcpy(image + at + 4 * k, &letter, sizeof(letter));
	}
}

/* A text of wide letters, a copy of it and one behind others: what fits, with a wide zero. */
static void check_wide(struct request *rq, uint32_t have, uint32_t len)
{
	const uint32_t at = object(rq), room = rq->size / 4 - have, n = len < room ? len : room - 1;
	struct finding f = make_finding(rq);
	uint8_t text[0x200];

	begin_request(rq);
	put_call(rq->s, &f);
	put_guard(rq, &f);
	put_wide(at, have);
	put_wide(SOURCE, len);
	rq->arg[0] = base + at;
	rq->arg[1] = base + SOURCE;
	put_args(rq);
	memcpy(text, image + SOURCE, 4 * n);
	memset(text + 4 * n, 0, 4);
	go(rq);
	assert_int_equal(run.seen[0].count, 0);
	assert_int_equal(result(rq, true), at + (strstr(rq->callee, "wcpcpy") ? 4 * n : 0));
	check_memory(rq, at + 4 * have, text, 4 * (n + 1));
}

static void test_wide(void **state)
{
	static const struct {
		const char *callee;
		enum call_effect effect;
		uint32_t have;
	} kinds[] = {
		{"wcscpy", CALL_STRING_COPY, 0},
		{"wcpcpy", CALL_STRING_COPY, 0},
		{"wcscat", CALL_STRING_APPEND, 0},
		{"wcscat", CALL_STRING_APPEND, 5},
	};
	static const uint32_t lens[] = {0, 1, 9, 10, 15, 16, 100};

	(void)state;
	for (size_t n = 0; n < SETTINGS * 4; n++) {
		struct request rq = {.s = &settings[n / 4],
				     .effect = kinds[n % 4].effect,
				     .callee = kinds[n % 4].callee,
				     .src_arg = 1,
				     .len_arg = CALL_NO_ARG,
				     .chk_arg = CALL_NO_ARG,
				     .n_args = 2,
				     .size = 64};

		for (size_t k = 0; k < sizeof(lens) / sizeof(lens[0]) && rq.s->bound != BOUND_CHUNK; k++)
			check_wide(&rq, kinds[n % 4].have, lens[k]);
	}
}

/* Lengths of wide letters count those. */
static void test_wide_lengths(void **state)
{
	(void)state;
	for (size_t n = 0; n < SETTINGS; n++) {
		struct request rq = read_request(&settings[n], 64, 100);

		rq.callee = "mbstowcs";
		if (rq.s->bound == BOUND_CHUNK)
			continue;
		run_request(&rq);
		go(&rq);
		assert_int_equal((uint32_t)run.seen[0].arg[2], 16);
		rq.arg[2] = 16;
		run_request(&rq);
		go(&rq);
		assert_int_equal((uint32_t)run.seen[0].arg[2], 16);
	}
}

/* Behind an array that the destination is always in there is no room. */
static void test_own_array(void **state)
{
	static const int32_t places[] = {0, 63, 64, 65, 1000};

	(void)state;
	for (size_t n = 0; n < SETTINGS * 5; n++) {
		struct request rq = read_request(&settings[n / 5], 64, 5000);
		struct finding f = make_finding(&rq);
		int32_t dst = places[n % 5];

		if (rq.s->bound != BOUND_FRAME)
			continue;
		f.own_array = true;
		begin_request(&rq);
		rq.arg[1] = base + object(&rq) + (uint64_t)dst;
		put_args(&rq);
		put_call(rq.s, &f);
		put_guard(&rq, &f);
		go(&rq);
		assert_int_equal((uint32_t)run.seen[0].arg[2], dst < 64 ? 64 - dst : 0);
	}
}

static void put_buffer(const struct request *rq, unsigned k, int32_t dst, uint64_t len)
{
	const uint64_t words[] = {base + object(rq) + (uint64_t)(int64_t)dst, len};

	memcpy(image + SOURCE + 16 * k, words, sizeof(words));
}

/* Several buffers: those in the object are cut, in the list. */
static void check_vector(struct request *rq, bool message)
{
	static const struct {
		int32_t dst;
		uint64_t len, want;
	} buffers[] = {{0, 64, 64}, {0, 65, 64}, {10, 5000, 54}, {64, 8, 0}, {-8, 500, 500}, {72, 500, 500}, {3, 2, 2}};
	enum { N = sizeof(buffers) / sizeof(buffers[0]) };
	struct finding f = make_finding(rq);
	const uint64_t header[] = {0, 0, base + SOURCE, N};
	uint64_t len;

	begin_request(rq);
	for (unsigned k = 0; k < N; k++)
		put_buffer(rq, k, buffers[k].dst, buffers[k].len);
	memcpy(image + SOURCE + 0x200, header, sizeof(header));
	rq->arg[1] = base + SOURCE + (message ? 0x200 : 0);
	rq->arg[2] = message ? 0 : N;
	put_args(rq);
	put_call(rq->s, &f);
	put_guard(rq, &f);
	go(rq);
	assert_int_equal(run.seen[0].count, 1);
	assert_int_equal(run.seen[0].arg[1], rq->arg[1]);
	for (unsigned k = 0; k < N; k++) {
		memcpy(&len, image + SOURCE + 16 * k + 8, sizeof(len));
		assert_int_equal(len, rq->wrong_caller ? buffers[k].len : buffers[k].want);
	}
}

static void test_vectors(void **state)
{
	(void)state;
	for (size_t n = 0; n < SETTINGS * 2; n++) {
		struct request rq = read_request(&settings[n / 2], 64, 0);

		rq.effect = CALL_VECTOR;
		rq.dst_arg = CALL_NO_ARG;
		rq.src_arg = 1;
		rq.callee = n & 1 ? "recvmsg" : "readv";
		rq.len_arg = n & 1 ? CALL_NO_ARG : 2;
		if (rq.s->is_32bit || rq.s->bound == BOUND_CHUNK)
			continue;
		check_vector(&rq, n & 1);
		rq.wrong_caller = rq.s->bound == BOUND_CALLER;
		check_vector(&rq, n & 1);
	}
}

/* The function is left with the call, a word less deep: what the call returns to is who called the function. */
static void check_jump(struct request *rq, uint32_t len)
{
	const struct setting *s = rq->s;
	struct finding f = make_finding(rq);
	const uint32_t at = object(rq), n = len < room_of(rq) ? len : room_of(rq) - 1;
	char text[0x600];

	begin_request(rq);
	put_call(s, &f);
	image[SITE] = f.bug_bytes[0] = f.culprit_bytes[0] = 0xe9;
	f.cfa.offset += f.cfa.reg == RSP ? (int32_t)word(s) : 0;
	put_guard(rq, &f);
	put_source(len);
	rq->arg[0] = base + at;
	rq->arg[1] = base + SOURCE;
	put_args(rq);
	put_word(s, SP - word(s), base + SITE + f.bug_len);
	run.gpr[RSP] -= word(s);
	memcpy(text, image + SOURCE, n);
	text[n] = 0;
	go_anywhere(s->is_32bit);
	assert_int_equal(run.gpr[RSP], base + SP);
	assert_int_equal(run.seen[0].count, 0);
	assert_int_equal(result(rq, true), at);
	check_memory(rq, at, text, n + 1);
}

static void test_jumps(void **state)
{
	(void)state;
	for (size_t k = 0; k < SETTINGS; k++) {
		static const uint32_t lens[] = {0, 15, 16, 17, 1000};
		struct request rq = {.s = &settings[k],
				     .effect = CALL_STRING_COPY,
				     .callee = "strcpy",
				     .src_arg = 1,
				     .len_arg = CALL_NO_ARG,
				     .chk_arg = CALL_NO_ARG,
				     .n_args = 2,
				     .size = 16};

		if (settings[k].form != FORM_REL || settings[k].bound == BOUND_CHUNK)
			continue;
		for (size_t n = 0; n < sizeof(lens) / sizeof(lens[0]); n++)
			check_jump(&rq, lens[n]);
	}
}

static void test_appends(void **state)
{
	static const struct request kinds[] = {
		{.callee = "strcat", .effect = CALL_STRING_APPEND, .chk_arg = CALL_NO_ARG, .n_args = 2},
		{.callee = "strncat", .effect = CALL_STRING_APPEND_N, .chk_arg = CALL_NO_ARG, .n_args = 3},
		{.callee = "__strcat_chk", .effect = CALL_STRING_APPEND, .chk_arg = 2, .n_args = 3},
		{.callee = "__strncat_chk", .effect = CALL_STRING_APPEND_N, .chk_arg = 3, .n_args = 4},
	};

	(void)state;
	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
		FOR_ALL(s, size, dst)
		{
			const uint32_t lens[] = {0, 1, 6, size, 1000};
			struct request rq = kinds[k];

			rq.s = s;
			rq.src_arg = 1;
			rq.len_arg = rq.effect == CALL_STRING_APPEND_N ? 2 : CALL_NO_ARG;
			rq.size = size;
			rq.dst = dst;
			rq.wrong_caller = size == 8;
			for (uint32_t n = 0; n < 5 * 5; n++) {
				const uint32_t have[] = {0, 1, size / 2, size - 1, size};

				rq.arg[2] = n % 3 ? lens[n % 4] + 2 : s->is_32bit ? UINT32_MAX : UINT64_MAX;
				if (rq.chk_arg != CALL_NO_ARG)
					rq.arg[rq.chk_arg] = dst & 1 ? size / 2 + 1 : UINT32_MAX;
				check_string(&rq, have[n / 5], lens[n % 5]);
			}
		}
	}
}

/* The compiler's size is all that is known of the object; where it knew none the call is as it was. */
static void test_by_argument(void **state)
{
	static const struct request kinds[] = {
		{.callee = "__strcpy_chk",
		 .effect = CALL_STRING_COPY,
		 .src_arg = 1,
		 .len_arg = CALL_NO_ARG,
		 .chk_arg = 2,
		 .n_args = 3},
		{.callee = "__memcpy_chk", .effect = CALL_LENGTH, .len_arg = 2, .chk_arg = 3, .n_args = 4},
	};
	static const uint32_t of_size[] = {1, 40, 300};

	(void)state;
	for (size_t n = 0; n < 2 * 2 * 3; n++) {
		const struct setting s = {n & 1, false, BOUND_ARGUMENT, RSP, FORM_REL};
		struct request rq = kinds[n / 2 & 1];

		rq.s = &s;
		rq.size = of_size[n / 4];
		rq.arg[rq.chk_arg] = rq.size;
		for (uint32_t len = 0; len < 1000; len += rq.size) {
			if (rq.len_arg == CALL_NO_ARG)
				check_string(&rq, 0, len);
			else
				check_length(&rq, len);
		}
		rq.arg[rq.chk_arg] = s.is_32bit ? UINT32_MAX : UINT64_MAX;
		run_request(&rq);
		go(&rq);
		check_called(&rq, NULL);
	}
}

/* --- print ------------------------------------------------------------------------------------------------- */

static const char format_64[] = "%d %s %g %x %d %d %s %g";
static const char format_32[] = "%d %s %x %d %s %d";

/* Puts format, arguments from `first` on, and the text that they print to; returns its length. */
static uint32_t put_print(struct request *rq, uint8_t first, uint32_t len, char *ret)
{
	const struct setting *s = rq->s;
	uint64_t value[6] = {0x10001, base + SOURCE, 0xabc, 17, 18, base + FORMAT + 64};
	const char *src = (char *)image + SOURCE;

	put_source(len);
	strcpy((char *)image + FORMAT, s->is_32bit ? format_32 : format_64);
	strcpy((char *)image + FORMAT + 64, "second");
	if (s->is_32bit) {
		value[4] = value[5];
		value[5] = 99;
	}
	rq->arg[first - 1] = base + FORMAT;
	for (unsigned k = 0; k < 6; k++)
		rq->arg[first + k] = value[k];
	rq->n_args = first + 6;
	run.fp[0] = 1.5;
	run.fp[1] = 2.25e-7;
	run.gpr[RAX] = 2;
	if (s->is_32bit)
		return (uint32_t)snprintf(ret, 2048, format_32, 0x10001, src, 0xabc, 17, "second", 99);
	return (uint32_t)snprintf(ret, 2048, format_64, 0x10001, src, 1.5, 0xabc, 17, 18, "second", 2.25e-7);
}

#define LIST (FORMAT + 0x100)
/* Of a vsprintf: the list has the same values, in memory. */
static void put_list(struct request *rq, uint8_t first)
{
	const struct setting *s = rq->s;
	uint32_t list = LIST, values = FORMAT + 0x140;

	for (unsigned k = 0; k < 6; k++)
		put_word(s, values + k * word(s), rq->arg[first + k]);
	if (!s->is_32bit) {
		put32(list, 48);
		put32(list + 4, 48);
		put_word(s, list + 8, base + values);
		put_word(s, list + 16, base + values + 0x60 - 48);
		memcpy(image + values + 0x60, &run.fp[0], 8);
		memcpy(image + values + 0x70, &run.fp[1], 8);
	}
	rq->arg[first] = base + (s->is_32bit ? values : list);
	rq->n_args = first + 1;
}

static void check_print(struct request *rq, uint32_t len)
{
	uint64_t chk = rq->chk_arg == CALL_NO_ARG ? UINT64_MAX : rq->arg[rq->chk_arg];
	uint32_t room = room_of(rq) < chk ? room_of(rq) : (uint32_t)chk, at = object(rq) + (uint32_t)rq->dst, n;
	uint8_t first = rq->src_arg + 1;
	char text[2048];

	base = rq->s->fixed ? MADE : ELSEWHERE;
	run_request(rq);
	n = put_print(rq, first, len, text);
	if (rq->effect == CALL_PRINT_V)
		put_list(rq, first);
	put_args(rq);
	go(rq);
	if (!inside(rq)) {
		check_memory(rq, 0, NULL, 0);
		check_called(rq, NULL);
		return;
	}
	memcpy(before + LIST, image + LIST, 24); /* reading the arguments moves it on */
	assert_int_equal(run.seen[0].count, 0);
	assert_int_equal(run.seen[1].count, 1);
	assert_int_equal(run.seen[1].sp & 15, rq->s->is_32bit ? 12 : 8);
	assert_int_equal((uint32_t)run.seen[1].arg[1], room);
	if (room && n > room - 1)
		n = room - 1;
	text[n] = 0;
	check_memory(rq, at, text, room ? n + 1 : 0);
	assert_int_equal(result(rq, false), room ? (int)n : -1);
}

static const struct request print_kinds[] = {
	{.callee = "sprintf", .effect = CALL_PRINT, .src_arg = 1, .chk_arg = CALL_NO_ARG},
	{.callee = "__sprintf_chk", .effect = CALL_PRINT, .src_arg = 3, .chk_arg = 2},
	{.callee = "vsprintf", .effect = CALL_PRINT_V, .src_arg = 1, .chk_arg = CALL_NO_ARG},
	{.callee = "__vsprintf_chk", .effect = CALL_PRINT_V, .src_arg = 3, .chk_arg = 2},
};

static void test_prints(void **state)
{
	(void)state;
	for (size_t k = 0; k < sizeof(print_kinds) / sizeof(print_kinds[0]); k++) {
		FOR_ALL(s, size, dst)
		{
			const uint32_t lens[] = {0, size - 1, size, 700};
			struct request rq = print_kinds[k];

			rq.s = s;
			rq.helper = CALLEE_VSNPRINTF;
			rq.len_arg = CALL_NO_ARG;
			rq.size = size;
			rq.dst = dst;
			rq.wrong_caller = size == 8;
			rq.helper_direct = size == 100;
			rq.helper_delta = size == 300 ? 0x1230 : 0; /* no heap object has that size */
			rq.arg[2] = dst & 1 ? size / 2 + 1 : UINT32_MAX;
			for (size_t n = 0; n < sizeof(lens) / sizeof(lens[0]); n++) {
				rq.split = n & 1 && rq.effect == CALL_PRINT && !s->is_32bit;
				check_print(&rq, lens[n]);
			}
		}
	}
}

/* A call that is none of the guard's business really prints, with all that it was given. */
static void test_print_elsewhere(void **state)
{
	(void)state;
	for (const struct setting *s = settings; s < settings + SETTINGS; s++) {
		struct request rq = print_kinds[0];
		char text[2048];
		uint32_t n;

		rq.s = s;
		rq.original = CALLEE_SPRINTF;
		rq.helper = CALLEE_VSNPRINTF;
		rq.len_arg = CALL_NO_ARG;
		rq.size = s->bound == BOUND_CHUNK ? 264 + (s->is_32bit ? 4 : 0) : 64;
		rq.dst = -100;
		base = s->fixed ? MADE : ELSEWHERE;
		run_request(&rq);
		n = put_print(&rq, 2, 20, text);
		put_args(&rq);
		go(&rq);
		assert_int_equal(run.seen[0].count, 1);
		assert_int_equal(run.seen[0].sp & 15, s->is_32bit ? 12 : 8);
		check_memory(&rq, object(&rq) - 100, text, n + 1);
		assert_int_equal(result(&rq, false), n);
	}
}

/* --- lines ------------------------------------------------------------------------------------------------- */

/* A line of len letters, then the rest of the input. */
static void check_line(struct request *rq, uint32_t len, const char *rest)
{
	uint64_t chk = rq->chk_arg == CALL_NO_ARG ? UINT64_MAX : rq->arg[rq->chk_arg];
	uint32_t room = room_of(rq) < chk ? room_of(rq) : (uint32_t)chk, at = object(rq) + (uint32_t)rq->dst, n = len;
	char text[0x600];

	run_request(rq);
	put_source(len);
	memcpy(image + SOURCE + len, rest, strlen(rest) + 1);
	run.input = SOURCE;
	go(rq);
	if (!inside(rq)) {
		check_memory(rq, 0, NULL, 0);
		check_called(rq, NULL);
		return;
	}
	assert_int_equal(run.seen[0].count, 0);
	assert_int_equal(run.seen[1].sp & 15, rq->s->is_32bit ? 12 : 8);
	assert_int_equal(run.input, SOURCE + len + (*rest != 0)); /* all of the line is read, and no more */
	if (room && n > room - 1)
		n = room - 1;
	if (!*rest && (!n || !room)) { /* the end of the input, and nothing before it that fits */
		check_memory(rq, 0, NULL, 0);
		assert_int_equal(rq->s->is_32bit ? (uint32_t)run.gpr[RAX] : run.gpr[RAX], 0);
		return;
	}
	memcpy(text, image + SOURCE, n);
	text[n] = 0;
	check_memory(rq, at, text, room ? n + 1 : 0);
	assert_int_equal(result(rq, true), at);
}

static void test_lines(void **state)
{
	static const char *const rests[] = {"\n", "\nmore\n", "\n\n", ""};

	(void)state;
	FOR_ALL(s, size, dst)
	{
		const uint32_t lens[] = {0, 1, size - 1, size, size + 1, 1000};

		for (size_t n = 0; n < 6 * 8; n++) {
			bool chk = n & 4;
			struct request rq = {.s = s,
					     .callee = chk ? "__gets_chk" : "gets",
					     .effect = CALL_GETS,
					     .helper = CALLEE_GETCHAR,
					     .helper_direct = size == 100,
					     .helper_delta = size == 300 ? 0x1230 : 0,
					     .src_arg = CALL_NO_ARG,
					     .len_arg = CALL_NO_ARG,
					     .chk_arg = chk ? 1 : CALL_NO_ARG,
					     .n_args = chk ? 2 : 1,
					     .arg = {0, dst & 1 ? size / 2 + 1 : UINT32_MAX},
					     .size = size,
					     .dst = dst,
					     .wrong_caller = size == 8};

			check_line(&rq, lens[n / 8], rests[n % 4]);
		}
	}
}

/* --- anything ----------------------------------------------------------------------------------------------- */

static uint32_t below(uint32_t n)
{
	return (uint32_t)rand() % n;
}

/* A size, often near the object's or small. */
static uint64_t some_length(uint32_t size)
{
	const uint64_t some[] = {below(4), size - 1, size, size + 1, below(2 * size + 2), below(1000), UINT64_MAX};

	return some[below(7)];
}

static void random_string(struct request *rq)
{
	static const char *const callees[4][2] = {{"strcpy", "__strcpy_chk"},
						  {"stpcpy", "__stpcpy_chk"},
						  {"strcat", "__strcat_chk"},
						  {"strncat", "__strncat_chk"}};
	uint32_t kind = below(4), with_n = kind == 3, chk = below(2);

	rq->callee = callees[kind][chk];
	rq->effect = kind < 2 ? CALL_STRING_COPY : kind == 2 ? CALL_STRING_APPEND : CALL_STRING_APPEND_N;
	rq->src_arg = 1;
	rq->len_arg = with_n ? 2 : CALL_NO_ARG;
	rq->arg[2] = some_length(rq->size);
	if (chk) {
		rq->chk_arg = with_n ? 3 : 2;
		rq->arg[rq->chk_arg] = below(4) ? UINT32_MAX : 1 + below(rq->size);
	}
	rq->n_args = 2 + with_n + chk;
	if (rq->s->is_32bit)
		rq->arg[2] = (uint32_t)rq->arg[2];
	check_string(rq, kind < 2 ? 0 : below(rq->size + 1), (uint32_t)some_length(rq->size) % 1000);
}

static void random_print(struct request *rq)
{
	enum call_effect effect = print_kinds[below(4)].effect;
	uint8_t chk = below(2) ? 2 : CALL_NO_ARG;

	rq->callee = "random print";
	rq->effect = effect;
	rq->src_arg = chk == 2 ? 3 : 1;
	rq->chk_arg = chk;
	rq->arg[2] = below(4) ? UINT32_MAX : 1 + below(rq->size);
	rq->helper = CALLEE_VSNPRINTF;
	rq->helper_direct = below(2);
	check_print(rq, (uint32_t)some_length(rq->size) % 700);
}

static void random_length(struct request *rq)
{
	rq->callee = below(2) ? "fgets" : "read";
	rq->effect = CALL_LENGTH;
	rq->dst_arg = (uint8_t)below(8);
	rq->len_arg = (rq->dst_arg + 1 + (uint8_t)below(7)) % 8;
	rq->n_args = 8;
	check_length(rq, some_length(rq->size));
}

static void test_random(void **state)
{
	static void (*const checks[])(struct request * rq) = {random_string, random_print, random_length};

	(void)state;
	for (unsigned n = 0; n < 1500; n++) {
		struct request rq = {.s = &settings[below(SETTINGS)], .chk_arg = CALL_NO_ARG, .len_arg = CALL_NO_ARG};

		rq.size = rq.s->bound == BOUND_CHUNK ? 24 + 16 * below(16) + (rq.s->is_32bit ? 4 : 0) : 1 + below(400);
		rq.dst = below(3) ? (int32_t)below(rq.size + 2) : -(int32_t)below(20);
		if (rq.s->bound == BOUND_CHUNK && !(rq.dst & 15))
			rq.dst = 0;
		rq.wrong_caller = !below(4);
		for (unsigned k = 0; k < SEEN_ARGS; k++)
			rq.arg[k] = 0x1111 * (k + 1);
		checks[below(3)](&rq);
	}
}

/* --- heap objects, refusals -------------------------------------------------------------------------------- */

/* What the word before the memory says, and where that is, decides whether it is taken for a chunk. */
static void test_chunks(void **state)
{
	static const struct {
		uint32_t at; /* in the image */
		int64_t size; /* the word, flags included */
		uint32_t room64, room32; /* 0: not a chunk */
	} rows[] = {
		{0x1a00, 0x40 | 1, 0x38, 0x3c},
		{0x1a00, 0x40 | 5, 0x38, 0x3c},
		{0x1a00, 0x1000 | 2, 0xff0, 0xff8}, /* by mmap */
		{0x1a00, 0x41 | 1ll << 32, 0, 0x3c},
		{0x1a00, 0, 0, 0},
		{0x1a00, 7, 0, 0},
		{0x1a00, -1, 0, 0},
		{0x1a00, 0x80000000, 0, 0},
		{0x1a08, 0x41, 0, 0}, /* not aligned */
		{0x2000, 0x41, 0, 0}, /* what is before may be no memory */
		{SP + 0x200, 0x41, 0, 0}, /* the stack */
	};

	(void)state;
	for (size_t k = 0; k < 2 * sizeof(rows) / sizeof(rows[0]); k++) {
		bool is_32bit = k & 1;
		const struct setting s = {is_32bit, false, BOUND_CHUNK, RSP, FORM_REL};
		struct request rq = read_request(&s, 0, 0xffff);
		uint32_t at = rows[k / 2].at, room = is_32bit ? rows[k / 2].room32 : rows[k / 2].room64;

		rq.dst = (int32_t)at - (int32_t)object(&rq);
		run_request(&rq);
		put_word(&s, at - word(&s), (uint64_t)rows[k / 2].size);
		go(&rq);
		rq.arg[2] = room ? room : 0xffff;
		check_called(&rq, NULL);
	}
}

static void test_refusals(void **state)
{
	struct request rq = print_kinds[0];
	struct finding good, f;
	struct emitter em;
	const char *name;
	struct err e;

	(void)state;
	rq.s = &settings[0];
	rq.helper = CALLEE_VSNPRINTF;
	rq.len_arg = CALL_NO_ARG;
	rq.size = 64;
	good = make_finding(&rq);
	put_call(rq.s, &good);
#define REFUSED(change)                                                                                                \
	do {                                                                                                           \
		f = good;                                                                                              \
		change;                                                                                                \
		emit_init(&em, MADE + GUARD);                                                                          \
		assert_int_equal(guard_emit(&em, &f, NULL, &name, &e), -1);                                            \
		assert_int_equal(e.code, ERR_REFUSED);                                                                 \
	} while (0)
	emit_init(&em, MADE + GUARD);
	assert_int_equal(guard_emit(&em, &good, NULL, &name, &e), 0);
	assert_string_equal(name, "print-guard");
	REFUSED(f.effect = CALL_UNKNOWN);
	REFUSED(f.effect = CALL_GETS; f.helper[0] = '\0');
	REFUSED(f.effect = CALL_GETS; f.dst_arg = 1);
	REFUSED(f.helper[0] = '\0');
	f = good;
	f.effect = CALL_PRINT_V; /* short enough in one piece */
	emit_init(&em, MADE + GUARD);
	assert_int_equal(guard_emit_routine(&em, &f, &e), -1);
	REFUSED(f.helper_slot = gva(MADE + IMAGE_SIZE)); /* another module: elsewhere in another process */
	REFUSED(f.helper_delta = 1ll << 40);
	REFUSED(f.dst_arg = CALL_NO_ARG);
	REFUSED(f.dst_arg = 1);
	REFUSED(f.src_arg = 2);
	REFUSED(f.chk_arg = 100);
	REFUSED(f.effect = CALL_LENGTH);
	REFUSED(f.bound = (enum bound_kind)77);
	REFUSED(f.bound = BOUND_ARGUMENT);
	REFUSED(f.bug_len++; f.bug_bytes[5] = 0x90); /* not the last instruction */
	REFUSED(f.start_offset = f.end_offset - (1ll << 32));
	/* not a call; and what is called is in the guard's own register */
	REFUSED(f.bug_bytes[0] = f.culprit_bytes[0] = 0xb8);
	REFUSED(f.culprit_len = 3; f.culprit = gva(f.bug.v + 2); memcpy(f.bug_bytes, "\x90\x90\x41\xff\xd3", 5);
		memcpy(f.culprit_bytes, "\x41\xff\xd3", 3));
#undef REFUSED
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lengths),	     cmocka_unit_test(test_copies),
		cmocka_unit_test(test_jumps),	     cmocka_unit_test(test_wide),
		cmocka_unit_test(test_wide_lengths), cmocka_unit_test(test_own_array),
		cmocka_unit_test(test_vectors),	     cmocka_unit_test(test_appends),
		cmocka_unit_test(test_prints),	     cmocka_unit_test(test_print_elsewhere),
		cmocka_unit_test(test_chunks),	     cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_random),	     cmocka_unit_test(test_by_argument),
		cmocka_unit_test(test_lines),
	};

	return cmocka_run_group_tests(tests, guard_call_setup, guard_call_teardown);
}
