/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sequence numbers across a rollback: what the peer sees, what the guest sees, and that checksums stay right. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "net/frame_internal.h"
#include "net/seqmap_internal.h"

#define SYN FRAME_TCP_SYN
#define ACK FRAME_TCP_ACK
#define ETH 14
#define IP 20
#define FRAME_LEN (ETH + IP + 20 + 16 + 5)

static void put32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (24 - 8 * i));
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* The checksum as RFC 793 has it, over the pseudo header and the segment. */
static uint16_t checksum(const uint8_t *f)
{
	uint32_t sum = 6 + FRAME_LEN - ETH - IP;

	for (int i = 12; i < 20; i += 2)
		sum += (uint32_t)f[ETH + i] << 8 | f[ETH + i + 1];
	for (int i = ETH + IP; i < FRAME_LEN; i++)
		sum += i & 1 ? f[i] : (uint32_t)f[i] << 8; /* ETH + IP is even */
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

/* A segment with 16 bytes of options (a SACK block at an odd offset) and 5 of payload; out: sent by the guest. */
static void make(uint8_t *f, bool out, uint16_t peer_port, unsigned flags, uint32_t seq, uint32_t ack)
{
	static const uint8_t ends[2][4] = {{10, 0, 2, 2}, {10, 0, 2, 15}};
	uint8_t *tcp = f + ETH + IP, options[16] = {1, 5, 10};
	uint16_t sum;

	memset(f, 0, FRAME_LEN);
	f[12] = 8;
	f[ETH] = 0x45;
	f[ETH + 3] = FRAME_LEN - ETH;
	f[ETH + 8] = 64;
	f[ETH + 9] = 6;
	memcpy(f + ETH + 12, ends[out], 4);
	memcpy(f + ETH + 16, ends[!out], 4);
	tcp[out ? 2 : 0] = (uint8_t)(peer_port >> 8);
	tcp[out ? 3 : 1] = (uint8_t)peer_port;
	tcp[out ? 1 : 3] = 7;
	put32(tcp + 4, seq);
	put32(tcp + 8, ack);
	tcp[12] = 9 << 4;
	tcp[13] = (uint8_t)flags;
	put32(options + 3, ack + 100);
	put32(options + 7, ack + 200);
	memcpy(tcp + 20, options, sizeof(options));
	memcpy(tcp + 36, "hello", 5);
	sum = checksum(f);
	tcp[16] = (uint8_t)(sum >> 8);
	tcp[17] = (uint8_t)sum;
	assert_int_equal(checksum(f), 0);
}

/* Sends a segment through the map; its numbers afterwards. */
static uint32_t guest_sends(struct seqmap *m, uint16_t port, unsigned flags, uint32_t seq)
{
	uint8_t f[FRAME_LEN];

	make(f, true, port, flags, seq, 77);
	seqmap_guest_sends(m, f, sizeof(f));
	assert_int_equal(checksum(f), 0);
	assert_int_equal(get32(f + ETH + IP + 8), 77);
	return get32(f + ETH + IP + 4);
}

static uint32_t guest_gets(struct seqmap *m, uint16_t port, unsigned flags, uint32_t ack, bool replayed)
{
	uint8_t f[FRAME_LEN];
	uint32_t got;

	make(f, false, port, flags, 55, ack);
	seqmap_guest_gets(m, f, sizeof(f), replayed);
	assert_int_equal(checksum(f), 0);
	assert_int_equal(get32(f + ETH + IP + 4), 55);
	got = get32(f + ETH + IP + 8);
	assert_int_equal(get32(f + ETH + IP + 23), got + 100);
	assert_int_equal(get32(f + ETH + IP + 27), got + 200);
	return got;
}

static struct seqmap *map_new(void **state)
{
	*state = calloc(1, sizeof(struct seqmap));
	return *state;
}

static int teardown(void **state)
{
	free(*state);
	return 0;
}

static void nothing_changes_without_a_rollback(void **state)
{
	struct seqmap *m = map_new(state);

	guest_gets(m, 4000, SYN, 0, false);
	assert_int_equal(guest_sends(m, 4000, SYN | ACK, 1000), 1000);
	assert_int_equal(guest_gets(m, 4000, ACK, 1001, false), 1001);
	assert_int_equal(guest_sends(m, 4000, SYN | ACK, 1000), 1000);
	/* the ports again, for another connection */
	guest_gets(m, 4000, SYN, 0, false);
	assert_int_equal(guest_sends(m, 4000, SYN | ACK, 5000), 5000);
	assert_int_equal(guest_gets(m, 4000, ACK, 5001, false), 5001);
	/* the guest opens one itself, again with the same ports */
	assert_int_equal(guest_sends(m, 4000, SYN, 9000), 9000);
	assert_int_equal(guest_sends(m, 4000, ACK, 9001), 9001);
}

static void connection_opened_again(void **state)
{
	struct seqmap *m = map_new(state);
	uint32_t isn = 0;
	uint8_t f[FRAME_LEN];

	guest_gets(m, 4000, SYN, 0, false);
	guest_sends(m, 4000, SYN | ACK, 0xfffffff0);
	guest_gets(m, 4001, SYN, 0, false);
	guest_sends(m, 4001, SYN | ACK, 100);
	seqmap_rolled_back(m);
	make(f, false, 4000, SYN, 1, 0);
	assert_true(seqmap_peer_knows(m, f, sizeof(f), &isn));
	assert_int_equal(isn, 0xfffffff0);
	guest_gets(m, 4000, SYN, 0, true);
	assert_int_equal(guest_sends(m, 4000, SYN | ACK, 0x20), 0xfffffff0);
	assert_int_equal(guest_sends(m, 4000, SYN | ACK, 0x20), 0xfffffff0); /* sent again */
	assert_int_equal(guest_gets(m, 4000, ACK, 0xfffffff1, true), 0x21);
	assert_int_equal(guest_sends(m, 4000, ACK, 0x31), 1);
	/* a connection that was there before the checkpoint keeps its numbers */
	assert_int_equal(guest_sends(m, 4001, ACK, 101), 101);
	assert_int_equal(guest_gets(m, 4001, ACK, 101, false), 101);
	/* a second rollback, and a third number */
	seqmap_rolled_back(m);
	guest_gets(m, 4000, SYN, 0, true);
	assert_int_equal(guest_sends(m, 4000, SYN | ACK, 7), 0xfffffff0);
	assert_int_equal(guest_gets(m, 4000, ACK, 0xfffffff1, false), 8);
	/* a rollback to after the handshake changes nothing */
	seqmap_rolled_back(m);
	assert_int_equal(guest_gets(m, 4000, ACK, 0xfffffff1, false), 8);
	/* the peer opens a new one with the same ports */
	guest_gets(m, 4000, SYN, 0, false);
	assert_int_equal(guest_sends(m, 4000, SYN | ACK, 3333), 3333);
	assert_int_equal(guest_gets(m, 4000, ACK, 3334, false), 3334);
	make(f, false, 4002, SYN, 1, 0);
	assert_false(seqmap_peer_knows(m, f, sizeof(f), &isn));
}

static void hostile_frames(void **state)
{
	struct seqmap *m = map_new(state);
	uint8_t f[FRAME_LEN];

	guest_sends(m, 4000, SYN | ACK, 1);
	seqmap_rolled_back(m);
	guest_sends(m, 4000, SYN | ACK, 2);
	for (unsigned k = 0; k < 256; k++) {
		/* option lengths that lead outside the header, cut frames: nothing may be touched beyond them */
		uint8_t *cut = malloc(FRAME_LEN - k % 60);

		make(f, false, 4000, ACK, 55, 10);
		f[ETH + IP + 21] = (uint8_t)k;
		f[ETH + IP + 22] = (uint8_t)(k * 7);
		memcpy(cut, f, FRAME_LEN - k % 60);
		seqmap_guest_gets(m, cut, FRAME_LEN - k % 60, false);
		seqmap_guest_sends(m, cut, FRAME_LEN - k % 60);
		free(cut);
	}
}

/* A busy guest: what is known of one connection is not lost for the sake of another. */
static void many_flows(void **state)
{
	struct seqmap *m = map_new(state);
	const uint16_t first = 40000, flows = 1000;

	for (uint16_t i = 0; i < flows; i++)
		guest_sends(m, (uint16_t)(first + i), FRAME_TCP_SYN | FRAME_TCP_ACK, 1000u + i);
	seqmap_rolled_back(m);
	for (uint16_t i = 0; i < flows; i++)
		assert_int_equal(guest_sends(m, (uint16_t)(first + i), FRAME_TCP_SYN | FRAME_TCP_ACK, 5000), 1000u + i);
	for (uint16_t i = 0; i < flows; i++)
		assert_int_equal(guest_gets(m, (uint16_t)(first + i), FRAME_TCP_ACK, 1001u + i, false), 5001);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(nothing_changes_without_a_rollback, teardown),
		cmocka_unit_test_teardown(connection_opened_again, teardown),
		cmocka_unit_test_teardown(many_flows, teardown),
		cmocka_unit_test_teardown(hostile_frames, teardown),
	};

	return cmocka_run_group_tests_name("net_seqmap", tests, NULL, NULL);
}
