/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Connections that are not let through any more: the last rung when no patch can be made.
 *
 * A TCP connection is not only cut but reset, on both sides: else the peer would wait, and worse, a guest that serves
 * one connection after another would wait too. The segment that did the damage says what the peer expects next: the number
 * that it acknowledges. The guest, rolled back, gets a reset in place of the first segment that is withheld from it.
 */
#include <assert.h>
#include <string.h>

#include "net/frame_internal.h"
#include "net/net_internal.h"

#define ETHER_TYPE 12u
#define VLAN_TAG 4u
#define IPV4_HEADER 20u
#define TCP_HEADER 20u

static struct net_flow *find_blocked(struct net *n, const struct frame_info *i)
{
	for (unsigned k = 0; k < n->n_blocked && k < NET_BLOCKED_MAX; k++) {
		struct net_flow *f = &n->blocked[k];

		if (f->ip_proto == i->ip_proto && f->src_port == i->src_port && f->dst_port == i->dst_port &&
		    !memcmp(f->src, i->src, sizeof(f->src)) && !memcmp(f->dst, i->dst, sizeof(f->dst)))
			return f;
	}
	return NULL;
}

bool net_is_blocked(struct net *n, const uint8_t *frame, size_t len)
{
	struct frame_info i;

	if (!n->n_blocked)
		return false;
	frame_parse(frame, len, &i);
	return i.ip_proto && find_blocked(n, &i);
}

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v & 0xffff);
}

/* One's complement sum of n bytes (even), added to sum. */
static uint32_t sum16(uint32_t sum, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	return sum;
}

static uint16_t finish(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

/* Fills in an IPv4 reset behind the link header of out (link bytes); addresses and ports are already there. */
static void write_reset(uint8_t *out, size_t link, uint32_t seq, uint32_t ack, unsigned flags)
{
	uint8_t *ip = out + link, *tcp = ip + IPV4_HEADER;

	ip[0] = 0x45;
	put16(ip + 2, IPV4_HEADER + TCP_HEADER);
	ip[8] = 64;
	ip[9] = 6;
	put16(ip + 10, finish(sum16(0, ip, IPV4_HEADER)));
	put32(tcp + 4, seq);
	put32(tcp + 8, ack);
	tcp[12] = (TCP_HEADER / 4) << 4;
	tcp[13] = (uint8_t)flags;
	put16(tcp + 16, finish(sum16(6 + TCP_HEADER + sum16(0, ip + 12, 8), tcp, TCP_HEADER)));
}

/* Addresses and ports of a reset: as in the frame, or turned round. */
static void address_reset(uint8_t *out, const uint8_t *frame, size_t link, const struct frame_info *i, bool back)
{
	uint8_t *ip = out + link, *tcp = ip + IPV4_HEADER;

	memset(out, 0, link + IPV4_HEADER + TCP_HEADER);
	memcpy(out, frame, link);
	if (back) {
		memcpy(out, frame + 6, 6);
		memcpy(out + 6, frame, 6);
	}
	memcpy(ip + 12, back ? i->dst : i->src, 4);
	memcpy(ip + 16, back ? i->src : i->dst, 4);
	put16(tcp, back ? i->dst_port : i->src_port);
	put16(tcp + 2, back ? i->src_port : i->dst_port);
}

/* Bytes of the link header if resets can be made from the frame (IPv4, TCP, in a connection); else 0. */
static size_t link_header(const uint8_t *frame, const struct frame_info *i)
{
	if (!i->tcp_header || i->ip_version != 4 ||
	    (i->tcp_flags & (FRAME_TCP_SYN | FRAME_TCP_RST | FRAME_TCP_ACK)) != FRAME_TCP_ACK)
		return 0;
	static_assert(NET_RESET_LINK == ETHER_TYPE + 2 + VLAN_TAG, "the longest link header");
	return ETHER_TYPE + 2 + (frame[ETHER_TYPE] == 0x81 && frame[ETHER_TYPE + 1] == 0 ? VLAN_TAG : 0);
}

void net_reset_peer(struct net *n, const uint8_t *head, const struct frame_info *i)
{
	size_t link = link_header(head, i);
	uint8_t out[NET_RESET_MAX];

	if (!link)
		return;
	address_reset(out, head, link, i, true);
	write_reset(out, link, i->tcp_ack, i->tcp_seq + i->payload_len, FRAME_TCP_RST | FRAME_TCP_ACK);
	n->uplink_ops->send(n->uplink, out, link + IPV4_HEADER + TCP_HEADER);
}

/* A reset for the guest, with the segment's own number. Returns its length; 0: none can be made. */
static size_t make_reset(const uint8_t *head, const struct frame_info *i, uint8_t ret[NET_RESET_MAX])
{
	size_t link = link_header(head, i);

	if (!link)
		return 0;
	address_reset(ret, head, link, i, false);
	write_reset(ret, link, i->tcp_seq, 0, FRAME_TCP_RST);
	return link + IPV4_HEADER + TCP_HEADER;
}

void net_reset_guest(struct net *n, const uint8_t *head, const struct frame_info *i)
{
	uint8_t out[NET_RESET_MAX];
	size_t len = make_reset(head, i, out);

	if (len)
		net_uplink_frame(n, out, len);
}

void net_block_flow(struct net *n, const struct net_origin *o)
{
	struct net_flow *f = &n->blocked[n->n_blocked++ % NET_BLOCKED_MAX];
	const struct inlog_record *r = inlog_find_seq(&n->log, o->seq);
	struct frame_info info;

	*f = (struct net_flow){.ip_proto = o->ip_proto, .src_port = o->src_port, .dst_port = o->dst_port};
	memcpy(f->src, o->src, sizeof(f->src));
	memcpy(f->dst, o->dst, sizeof(f->dst));
	if (!r)
		return;
	frame_parse(r->data, r->len, &info);
	net_reset_peer(n, r->data, &info);
}

size_t net_reset_for_guest(struct net *n, const uint8_t *frame, size_t len, uint8_t ret[NET_RESET_MAX])
{
	struct frame_info i;
	struct net_flow *f;

	frame_parse(frame, len, &i);
	f = find_blocked(n, &i);
	if (!f || f->reset)
		return 0;
	len = make_reset(frame, &i, ret);
	f->reset = len != 0;
	return len;
}
