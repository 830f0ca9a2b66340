/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Guards of hostile formats, and of scanf formats without a width, run by the real CPU with the C library. */
#include "guard_call.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOSTILE 0x1900u /* text in memory that can be written */

/* --- hostile formats --------------------------------------------------------------------------------------- */

static const char evil[] = "%n%s %x %99$n%%|";

static const struct request print_kinds[] = {
	{.callee = "sprintf", .src_arg = 1, .n_args = 2, .original = CALLEE_SPRINTF},
	{.callee = "snprintf", .src_arg = 2, .n_args = 3, .original = CALLEE_SNPRINTF},
	{.callee = "vsprintf", .src_arg = 1, .n_args = 3, .original = CALLEE_VSPRINTF},
	{.callee = "vsnprintf", .src_arg = 2, .n_args = 4, .original = CALLEE_VSNPRINTF},
};

static struct request print_request(const struct request *kind, const struct setting *s)
{
	struct request rq = *kind;

	rq.s = s;
	rq.effect = CALL_FORMAT;
	rq.len_arg = rq.chk_arg = CALL_NO_ARG;
	rq.size = 100;
	rq.arg[1] = 100;
	return rq;
}

static void check_printed(struct request *rq, const char *text)
{
	put_args(rq);
	go(rq);
	assert_int_equal(run.seen[0].count, 1);
	assert_int_equal(run.seen[0].sp & 15, rq->s->is_32bit ? 12 : 8);
	assert_int_equal(result(rq, false), strlen(text));
	check_memory(rq, object(rq), text, strlen(text) + 1);
}

static void test_hostile(void **state)
{
	(void)state;
	for (size_t n = 0; n < SETTINGS * 4; n++) {
		const struct setting *s = &settings[n / 4];
		struct request rq = print_request(&print_kinds[n % 4], s);

		put_headers(s);
		run_request(&rq);
		memcpy(image + HOSTILE, evil, sizeof(evil));
		rq.arg[rq.src_arg] = base + HOSTILE;
		if (rq.callee[0] == 'v')
			rq.arg[rq.src_arg + 1] = 0; /* the program's list is not looked at */
		check_printed(&rq, evil);
	}
}

/* The program's own formats work as ever; in the image's code or data, the first and last byte of it. */
static void test_own(void **state)
{
	static const uint32_t places[] = {FORMAT, WRITABLE - 6};

	(void)state;
	for (size_t n = 0; n < SETTINGS * 4; n++) {
		const struct setting *s = &settings[n / 4];
		struct request rq = print_request(&print_kinds[n & 1], s);
		uint32_t at = places[n % 4 / 2];

		put_headers(s);
		run_request(&rq);
		memcpy(image + at, "%d-%%", 6);
		rq.arg[rq.src_arg] = base + at;
		rq.arg[rq.src_arg + 1] = 1234;
		rq.n_args++;
		run.gpr[0] = 0;
		check_printed(&rq, "1234-%");
	}
}

/* How a function that takes many arguments before the format is called: __snprintf_chk. */
static void test_last_register(void **state)
{
	(void)state;
	for (size_t n = 0; n < SETTINGS; n++) {
		const struct setting *s = &settings[n];
		struct request rq = print_request(&print_kinds[0], s);

		rq.callee = "__snprintf_chk";
		rq.original = CALLEE_NONE;
		rq.src_arg = 4;
		rq.n_args = 5;
		put_headers(s);
		run_request(&rq);
		rq.arg[4] = base + HOSTILE;
		put_args(&rq);
		go(&rq);
		assert_int_equal(run.seen[0].count, 1);
		for (unsigned k = 1; k < 4; k++)
			assert_int_equal((uint32_t)run.seen[0].arg[k], (uint32_t)rq.arg[k]);
		assert_string_equal((char *)image + (run.seen[0].arg[4] - base), "%s");
		assert_int_equal(run.seen[0].arg[5], base + HOSTILE);
	}
}

/* The function is left with the call: it returns to who called the function. */
static void check_jump(const struct setting *s, const struct request *kind)
{
	struct request rq = print_request(kind, s);
	struct finding f = make_finding(&rq);

	put_headers(s);
	begin_request(&rq);
	put_call(s, &f);
	image[SITE] = f.bug_bytes[0] = f.culprit_bytes[0] = 0xe9;
	put_guard(&rq, &f);
	memcpy(image + HOSTILE, evil, sizeof(evil));
	rq.arg[0] = base + object(&rq);
	rq.arg[rq.src_arg] = base + HOSTILE;
	put_args(&rq);
	put_word(s, SP - word(s), base + SITE + f.bug_len);
	run.gpr[RSP] -= word(s);
	go_anywhere(s->is_32bit);
	assert_int_equal(run.seen[0].count, 1);
	assert_int_equal(run.seen[0].sp & 15, s->is_32bit ? 12 : 8);
	assert_int_equal(run.gpr[RSP], base + SP);
	assert_int_equal(result(&rq, false), strlen(evil));
	check_memory(&rq, object(&rq), evil, sizeof(evil));
}

static void test_jump(void **state)
{
	(void)state;
	for (size_t n = 0; n < SETTINGS * 4; n++)
		if (settings[n / 4].form == FORM_REL)
			check_jump(&settings[n / 4], &print_kinds[n % 4]);
}

/* --- scanf ------------------------------------------------------------------------------------------------- */

/* What the compiler has before the call: the format's address, somehow. */
static void put_function(const struct setting *s)
{
	static const uint8_t thunk[] = {0x8b, 0x1c, 0x24, 0xc3};
	uint8_t *p = image + FUNCTION;

	memset(p, 0x90, SITE - FUNCTION);
	if (!s->is_32bit) {
		memcpy(p, (uint8_t[]){0x48, 0x8d, 0x35}, 3); /* lea rsi, [rip + ...] */
		put32(FUNCTION + 3, FORMAT - (FUNCTION + 7));
	} else if (s->fixed) {
		*p = 0x68; /* push */
		put32(FUNCTION + 1, MADE + FORMAT);
	} else {
		*p = 0xe8;
		put32(FUNCTION + 1, 0xf8 - (FUNCTION + 5));
		memcpy(p + 5, (uint8_t[]){0x81, 0xc3}, 2); /* add ebx, ... */
		put32(FUNCTION + 7, 0x3000 - (FUNCTION + 5));
		memcpy(p + 11, (uint8_t[]){0x8d, 0x83}, 2); /* lea eax, [ebx - ...] */
		put32(FUNCTION + 13, FORMAT - 0x3000);
		memcpy(image + 0xf8, thunk, sizeof(thunk));
	}
}

static struct request scan_request(const struct setting *s, uint32_t size, const char *format)
{
	put_headers(s);
	put_function(s);
	memset(image + FORMAT, 0, 0x100);
	strcpy((char *)image + FORMAT, format);
	return (struct request){.s = s,
				.effect = CALL_SCAN,
				.callee = "sscanf",
				.src_arg = 1,
				.dst_arg = 3,
				.len_arg = CALL_NO_ARG,
				.chk_arg = CALL_NO_ARG,
				.size = size,
				.n_args = 4,
				.original = CALLEE_SSCANF};
}

/* Scans "7:" and len letters with the format at `format`; `kept` of the letters are to arrive. */
static void check_scan(struct request *rq, uint32_t format, uint32_t len, uint32_t kept)
{
	uint32_t number = FORMAT + 0x180;
	char text[512];

	memset(image + number, 0, 4);
	run_request(rq);
	rq->arg[0] = base + SOURCE;
	rq->arg[1] = base + format;
	rq->arg[2] = base + number;
	run.gpr[0] = 0;
	put_args(rq);
	memset(text, 'a', sizeof(text));
	snprintf((char *)image + SOURCE, 512, "7:%.*s", (int)len, text);
	go(rq);
	before[number] = 7;
	text[kept] = 0;
	assert_int_equal(result(rq, false), 2);
	assert_int_equal(run.seen[0].ret, base + SITE + (rq->s->form == FORM_SLOT ? 6 : 5));
	check_memory(rq, object(rq) + (uint32_t)rq->dst, text, kept + 1);
}

static void test_scan(void **state)
{
	static const uint32_t of_size[] = {2, 8, 11, 128}, of_chunk[] = {24, 40, 56, 136};
	static const char *const formats[] = {"%d:%s", "%d:%[^]%s]", "%d%*c%s%*s%3s", "%d:%s%*d%s"};

	(void)state;
	for (size_t n = 0; n < SETTINGS * 16; n++) {
		const struct setting *s = &settings[n / 16];
		uint32_t size = s->bound == BOUND_CHUNK ? of_chunk[n % 4] + (s->is_32bit ? 4 : 0) : of_size[n % 4];
		uint32_t lens[] = {1, size - 1, size, 300};
		struct request rq = scan_request(s, size, formats[n / 4 % 4]);

		for (size_t k = 0; k < 4; k++)
			check_scan(&rq, FORMAT, lens[k], lens[k] < size ? lens[k] : size - 1);
		/* other memory, another format, another caller */
		rq.dst = -100;
		check_scan(&rq, FORMAT, 50, 50);
		rq.dst = 0;
		strcpy((char *)image + FORMAT + 64, "%d:%1s");
		check_scan(&rq, FORMAT + 64, 50, 1);
		rq.wrong_caller = true;
		if (s->bound == BOUND_CALLER)
			check_scan(&rq, FORMAT, size + 2, size + 2);
	}
}

#define LIST (FORMAT + 0x100)
/* The list has its two pointers in registers, or (not `near`) the second behind them. */
static void put_list(struct request *rq, bool near, uint32_t number)
{
	const struct setting *s = rq->s;
	uint32_t values = LIST + 0x20, at = s->is_32bit ? values : near ? values + 24 : values + 40;
	uint64_t dst = base + object(rq) + (uint64_t)(int64_t)rq->dst;

	memset(image + LIST, 0, 0x60);
	put32(LIST, near ? 24 : 40);
	put_word(s, LIST + 8, base + values + 48);
	put_word(s, LIST + 16, base + values);
	put_word(s, at, base + number);
	put_word(s, at + word(s), dst);
	rq->arg[2] = base + (s->is_32bit ? values : LIST);
}

static void check_list(const struct setting *s, bool near, uint32_t len, bool wrong_caller)
{
	struct request rq = scan_request(s, 32, "%d:%s");
	uint32_t number = FORMAT + 0x180, kept = len;
	char text[512];

	rq.callee = "vsscanf";
	rq.original = CALLEE_VSSCANF;
	rq.dst_arg = CALL_NO_ARG;
	rq.n_args = 3;
	rq.wrong_caller = wrong_caller;
	/* the caller has the format, not the function with the call */
	memset(image + CALLER_RETURN - 128, 0x90, 128);
	memcpy(image + CALLER_RETURN - 20, image + FUNCTION, 7);
	put32(CALLER_RETURN - 20 + (s->is_32bit ? 1 : 3), s->is_32bit ? MADE + FORMAT : FORMAT - (CALLER_RETURN - 13));
	memset(image + FUNCTION, 0x90, SITE - FUNCTION);
	memset(image + number, 0, 4);
	run_request(&rq);
	rq.arg[0] = base + SOURCE;
	rq.arg[1] = base + FORMAT;
	put_list(&rq, near, number);
	put_args(&rq);
	memset(text, 'a', sizeof(text));
	snprintf((char *)image + SOURCE, 512, "7:%.*s", (int)len, text);
	go(&rq);
	memcpy(before + LIST, image + LIST, 32);
	before[number] = 7;
	if ((near || s->is_32bit) && !wrong_caller && len > 31)
		kept = 31;
	text[kept] = 0;
	assert_int_equal(result(&rq, false), 2);
	check_memory(&rq, object(&rq), text, kept + 1);
}

static void test_scan_list(void **state)
{
	(void)state;
	for (size_t n = 0; n < SETTINGS; n++) {
		const struct setting *s = &settings[n];

		if (s->bound != BOUND_CALLER || (s->is_32bit && !s->fixed))
			continue;
		for (uint32_t len = 1; len < 200; len += 15) {
			check_list(s, true, len, false);
			check_list(s, false, len % 50 + 1, false);
			check_list(s, true, len, true);
		}
	}
}

static void test_scan_refusals(void **state)
{
	static const char *const formats[] = {"%d:%5s", "%d:%s%s%s%s%s", "%d:%ls", "%d:%*s",  "%d:%ms", "%d:%1$s",
					      "%s:%d",	"%d%%:%d%s",	 "%d:%",   "%d:%[ab", "%d:%[^", "",
					      "%d:"};

	(void)state;
	for (size_t k = 0; k < sizeof(formats) / sizeof(formats[0]) + 4; k++) {
		struct request rq = scan_request(&settings[0], 64, k < 13 ? formats[k] : "%d:%s");
		struct finding f = make_finding(&rq);
		struct emitter em;
		const char *name;
		struct err e;

		put_call(rq.s, &f);
		if (k == 13)
			f.end_offset = f.start_offset + 1; /* room for a zero */
		else if (k == 14)
			f.function = f.culprit;
		else if (k == 15)
			image[FUNCTION + 8] = 0x06; /* not an instruction */
		emit_init(&em, MADE + GUARD);
		assert_int_equal(guard_emit(&em, &f, k == 16 ? NULL : &made_reader, &name, &e), -1);
		assert_int_equal(e.code, ERR_REFUSED);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hostile),	  cmocka_unit_test(test_own),  cmocka_unit_test(test_last_register),
		cmocka_unit_test(test_jump),	  cmocka_unit_test(test_scan), cmocka_unit_test(test_scan_refusals),
		cmocka_unit_test(test_scan_list),
	};

	return cmocka_run_group_tests(tests, guard_call_setup, guard_call_teardown);
}
