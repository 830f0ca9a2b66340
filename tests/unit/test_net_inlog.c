/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The input log: order, origins, limits and replay, through many rounds of its ring. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "net/inlog_internal.h"
#include "net/net.h"

#define UDP_HEADERS 42u

/* A UDP frame with n bytes of payload, filled with a value of its own. */
static size_t make_frame(uint8_t *frame, size_t n, uint8_t fill)
{
	static const uint8_t head[24] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17};
	size_t ip = n + 28, udp = n + 8;

	memset(frame, 0, UDP_HEADERS);
	memcpy(frame, head, sizeof(head));
	frame[16] = (uint8_t)(ip >> 8);
	frame[17] = (uint8_t)ip;
	frame[38] = (uint8_t)(udp >> 8);
	frame[39] = (uint8_t)udp;
	memset(frame + UDP_HEADERS, fill, n);
	return UDP_HEADERS + n;
}

static struct inlog log_with(uint64_t limit)
{
	struct inlog g;
	struct err e;

	assert_int_equal(inlog_init(&g, limit, &e), 0);
	return g;
}

static void append(struct inlog *g, size_t n, uint8_t fill)
{
	uint8_t frame[2048];

	assert_true(inlog_append(g, frame, make_frame(frame, n, fill)));
}

static void test_origins(void **state)
{
	struct inlog g = log_with(1 << 20);
	uint8_t frame[2048];

	(void)state;
	append(&g, 100, 1);
	append(&g, 0, 2); /* clean: takes no origins */
	append(&g, 10, 3);
	assert_int_equal(inlog_next(&g)->origin, 1);
	assert_int_equal(inlog_next(&g)->payload_off, UDP_HEADERS);
	assert_ptr_equal(inlog_find_origin(&g, 100), inlog_next(&g));
	assert_int_equal(inlog_find_origin(&g, 101)->seq, 3);
	assert_int_equal(inlog_find_origin(&g, 110)->seq, 3);
	assert_null(inlog_find_origin(&g, 111));
	assert_null(inlog_find_origin(&g, 0));
	/* Origins never pass 2^32 inside a frame, and 0 is not one. */
	g.next_origin = NET_ORIGIN_MAX - 5;
	assert_true(inlog_append(&g, frame, make_frame(frame, 6, 4)));
	assert_int_equal(inlog_find_origin(&g, 1)->seq, 1);
	assert_null(inlog_find_origin(&g, NET_ORIGIN_MAX));
	g.next_origin = NET_ORIGIN_MAX - 6;
	assert_true(inlog_append(&g, frame, make_frame(frame, 6, 5)));
	assert_int_equal(inlog_find_origin(&g, NET_ORIGIN_MAX - 1)->seq, 5);
	inlog_deinit(&g);
}

static void test_trim(void **state)
{
	struct inlog g = log_with(1 << 20);

	(void)state;
	for (int i = 0; i < 10; i++)
		append(&g, 10, 0);
	for (int i = 0; i < 5; i++)
		inlog_next_done(&g);
	assert_int_equal(inlog_position(&g), 6);
	inlog_trim(&g, 3);
	assert_int_equal(inlog_oldest(&g), 3);
	assert_int_equal(g.frames, 8);
	assert_null(inlog_find_origin(&g, 1));
	assert_int_equal(inlog_find_origin(&g, 21)->seq, 3);
	inlog_trim(&g, 1000); /* what was not delivered stays */
	assert_int_equal(inlog_oldest(&g), 6);
	assert_false(inlog_replay_from(&g, 5));
	assert_true(inlog_replay_from(&g, 6));
	assert_null(inlog_replay(&g));
	inlog_deinit(&g);
}

static void test_limit(void **state)
{
	struct inlog g = log_with(10000);
	uint64_t oldest;

	(void)state;
	for (int i = 0; i < 100; i++) {
		append(&g, 1000, 0);
		inlog_next_done(&g);
		assert_true(g.kept <= 10000);
	}
	oldest = inlog_oldest(&g);
	assert_true(oldest > 85 && oldest < 95);
	assert_int_equal(g.frames, 101 - oldest);
	/* A replay keeps what it still needs. */
	assert_true(inlog_replay_from(&g, oldest));
	inlog_trim(&g, 1000);
	assert_int_equal(inlog_oldest(&g), oldest);
	inlog_replay_done(&g);
	inlog_trim(&g, 1000);
	assert_int_equal(inlog_oldest(&g), oldest + 1);
	inlog_deinit(&g);
}

static void test_queue_bound(void **state)
{
	struct inlog g = log_with(1 << 20);
	uint8_t frame[INLOG_FRAME_MAX + 1] = {0};
	unsigned n = 0;

	(void)state;
	assert_false(inlog_append(&g, frame, INLOG_FRAME_MAX + 1));
	for (unsigned i = 0; i < INLOG_WAITING_FRAMES; i++)
		append(&g, 1, 0);
	assert_false(inlog_append(&g, frame, 60));
	inlog_next_done(&g);
	assert_true(inlog_append(&g, frame, 60));
	while (inlog_next(&g))
		inlog_next_done(&g);
	while (inlog_append(&g, frame, INLOG_FRAME_MAX))
		n++;
	assert_int_equal(n, INLOG_WAITING_BYTES / INLOG_FRAME_MAX);
	inlog_deinit(&g);
}

/* Frames of changing sizes until the ring has gone round some times; each comes out as it went in, once and in a replay. */
static void test_rounds(void **state)
{
	struct inlog g = log_with(3000000);
	uint64_t in = 0, out = 0;
	uint32_t rnd = 1;

	(void)state;
	while (g.tail < 5 * g.cap) {
		for (int i = 0; i < 37; i++) {
			in++;
			append(&g, 1 + in % 1900, (uint8_t)in);
		}
		rnd = rnd * 1103515245u + 12345u;
		for (uint32_t i = 0; i < 37 + (rnd >> 16) % 3 && inlog_next(&g); i++) {
			const struct inlog_record *r = inlog_next(&g);

			out++;
			assert_int_equal(r->seq, out);
			assert_int_equal(r->payload_len, 1 + out % 1900);
			assert_int_equal(r->data[UDP_HEADERS], (uint8_t)out);
			inlog_next_done(&g);
		}
		if (in % (37 * 50))
			continue;
		assert_true(inlog_replay_from(&g, inlog_oldest(&g)));
		for (uint64_t seq = inlog_oldest(&g); seq < inlog_position(&g); seq++) {
			assert_int_equal(inlog_replay(&g)->seq, seq);
			assert_int_equal(inlog_replay(&g)->data[UDP_HEADERS], (uint8_t)seq);
			inlog_replay_done(&g);
		}
		assert_null(inlog_replay(&g));
	}
	inlog_deinit(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_origins),	    cmocka_unit_test(test_trim),   cmocka_unit_test(test_limit),
		cmocka_unit_test(test_queue_bound), cmocka_unit_test(test_rounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
