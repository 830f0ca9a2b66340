/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Held output: what must wait, and that what waits comes out as it went in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "net/outbox_internal.h"

/* An Ethernet frame of this type; of IP: version 4, this protocol, TCP flags, n bytes of payload. */
struct row {
	uint16_t type;
	uint8_t proto, flags;
	size_t n;
	bool hold;
};

static size_t make_frame(uint8_t *f, const struct row *r)
{
	size_t header = r->proto == 6 ? 20 : r->proto == 17 ? 8 : 0, ip = 20 + header + r->n;

	memset(f, 0, 256);
	f[12] = (uint8_t)(r->type >> 8);
	f[13] = (uint8_t)r->type;
	f[14] = 0x45;
	f[17] = (uint8_t)ip;
	f[22] = 64;
	f[23] = r->proto;
	f[39] = (uint8_t)(8 + r->n); /* of UDP */
	f[46] = 0x50;
	if (r->proto == 6) {
		f[39] = 0;
		f[47] = r->flags;
	}
	return 14 + ip;
}

static void test_must_hold(void **state)
{
	static const struct row rows[] = {
		{0x0806, 0, 0, 30, false}, /* ARP */
		{0x0800, 6, 0x10, 0, false}, /* ACK */
		{0x0800, 6, 0x12, 0, false}, /* the answer to an opened connection */
		{0x0800, 6, 0x02, 0, true}, /* opens one */
		{0x0800, 6, 0x10, 1, true},  {0x0800, 6, 0x12, 1, true}, {0x0800, 6, 0x11, 0, true}, /* ends one */
		{0x0800, 6, 0x14, 0, true},  {0x0800, 6, 0x04, 0, true}, {0x0800, 17, 0, 1, true},
		{0x0800, 17, 0, 0, true},    {0x0800, 1, 0, 8, true}, /* ICMP */
	};
	uint8_t f[256];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (outbox_must_hold(f, make_frame(f, &rows[i])) != rows[i].hold)
			fail_msg("row %zu", i);
	/* Cut short in its TCP header: not known to be harmless. */
	assert_true(outbox_must_hold(f, 14 + 20 + (make_frame(f, &rows[1]) > 0 ? 10 : 0)));
	assert_false(outbox_must_hold(f, 5));
	assert_false(outbox_must_hold(f, 0));
}

struct seen {
	unsigned n;
	size_t bytes;
};

static void see(void *arg, const uint8_t *frame, size_t len)
{
	struct seen *s = arg;

	assert_int_equal(len, 1 + s->n * 977 % OUTBOX_FRAME_MAX);
	assert_int_equal(frame[0], (uint8_t)s->n);
	assert_int_equal(frame[len - 1], (uint8_t)s->n);
	s->n++;
	s->bytes += len;
}

static void test_order(void **state)
{
	static uint8_t frame[OUTBOX_FRAME_MAX];
	struct seen s = {0};
	struct outbox o;
	unsigned n = 0;
	struct err e;

	(void)state;
	assert_int_equal(outbox_init(&o, &e), 0);
	for (int round = 0; round < 3; round++) {
		for (n = 0; outbox_has_room(&o); n++) {
			memset(frame, (uint8_t)n, sizeof(frame));
			outbox_put(&o, frame, 1 + n * 977 % OUTBOX_FRAME_MAX);
		}
		assert_true(n > 64);
		assert_int_equal(o.frames, n);
		s = (struct seen){0};
		outbox_empty(&o, see, &s);
		assert_int_equal(s.n, n);
		assert_true(s.bytes <= OUTBOX_BYTES);
		assert_int_equal(o.frames, 0);
	}
	outbox_put(&o, frame, 1);
	assert_int_equal(outbox_clear(&o), 1);
	outbox_empty(&o, see, &s);
	assert_int_equal(s.n, n);
	outbox_deinit(&o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_must_hold), cmocka_unit_test(test_order)};

	return cmocka_run_group_tests_name("outbox", tests, NULL, NULL);
}
