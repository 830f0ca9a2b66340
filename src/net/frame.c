/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The frame parser: finds the bytes that a program outside sent, and nothing else. */
#include "net/frame_internal.h"

#include <netinet/in.h>
#include <string.h>

#define ETH_HEADER 14u
#define ETH_TYPE_IPV4 0x0800u
#define ETH_TYPE_IPV6 0x86ddu
#define ETH_TYPE_VLAN 0x8100u
#define ETH_TYPE_QINQ 0x88a8u
#define VLAN_TAG 4u
#define IPV4_HEADER 20u
#define IPV6_HEADER 40u
#define IPV6_EXTENSIONS_MAX 8
#define TCP_HEADER 20u
#define TCP_CHECKSUM 16u
#define UDP_HEADER 8u

/* What is left of the frame: begin and end are offsets in it. */
struct cursor {
	const uint8_t *frame;
	uint32_t at, end;
};

static uint32_t left(const struct cursor *c)
{
	return c->end - c->at;
}

static uint16_t get16(const struct cursor *c, uint32_t off)
{
	return (uint16_t)(c->frame[c->at + off] << 8 | c->frame[c->at + off + 1]);
}

static uint32_t get32(const struct cursor *c, uint32_t off)
{
	return (uint32_t)get16(c, off) << 16 | get16(c, off + 2);
}

static void set_payload(const struct cursor *c, struct frame_info *ret)
{
	ret->payload_off = c->at;
	ret->payload_len = left(c);
}

static void parse_tcp(struct cursor *c, struct frame_info *ret)
{
	uint32_t header;

	if (left(c) < TCP_HEADER)
		return;
	header = (uint32_t)(c->frame[c->at + 12] >> 4) * 4;
	if (header < TCP_HEADER || header > left(c))
		return;
	ret->src_port = get16(c, 0);
	ret->dst_port = get16(c, 2);
	ret->tcp_header = true;
	ret->tcp_off = c->at;
	ret->tcp_seq = get32(c, FRAME_TCP_SEQ);
	ret->tcp_ack = get32(c, FRAME_TCP_ACK_NUMBER);
	ret->tcp_flags = c->frame[c->at + 13];
	c->at += header;
	set_payload(c, ret);
}

static void parse_udp(struct cursor *c, struct frame_info *ret)
{
	uint32_t len;

	if (left(c) < UDP_HEADER)
		return;
	ret->src_port = get16(c, 0);
	ret->dst_port = get16(c, 2);
	len = get16(c, 4);
	if (len < UDP_HEADER)
		return;
	if (len < left(c))
		c->end = c->at + len;
	c->at += UDP_HEADER;
	set_payload(c, ret);
}

/* The UDP length of a first fragment counts the fragments to come: parse_udp() takes what is here. */
static void parse_transport(struct cursor *c, uint8_t proto, struct frame_info *ret)
{
	ret->ip_proto = proto;
	if (proto == IPPROTO_TCP)
		parse_tcp(c, ret);
	else if (proto == IPPROTO_UDP)
		parse_udp(c, ret);
	else
		ret->ip_proto = 0;
}

static void parse_ipv4(struct cursor *c, struct frame_info *ret)
{
	uint32_t header, total;
	uint8_t proto;

	if (left(c) < IPV4_HEADER || c->frame[c->at] >> 4 != 4)
		return;
	header = (uint32_t)(c->frame[c->at] & 15) * 4;
	total = get16(c, 2);
	if (header < IPV4_HEADER || total < header || header > left(c))
		return;
	if (total < left(c))
		c->end = c->at + total; /* the rest is Ethernet padding */
	proto = c->frame[c->at + 9];
	ret->ip_version = 4;
	memcpy(ret->src, c->frame + c->at + 12, 4);
	memcpy(ret->dst, c->frame + c->at + 16, 4);
	if (get16(c, 6) & 0x1fff) {
		c->at += header;
		if (proto != IPPROTO_TCP && proto != IPPROTO_UDP)
			return;
		ret->ip_proto = proto;
		set_payload(c, ret);
		return;
	}
	c->at += header;
	parse_transport(c, proto, ret);
}

/* Bytes of an extension header of kind `kind` at the cursor; 0: it is none. */
static uint32_t extension_size(const struct cursor *c, uint8_t kind)
{
	switch (kind) {
	case IPPROTO_HOPOPTS:
	case IPPROTO_ROUTING:
	case IPPROTO_DSTOPTS:
		return ((uint32_t)c->frame[c->at + 1] + 1) * 8;
	case IPPROTO_AH:
		return ((uint32_t)c->frame[c->at + 1] + 2) * 4;
	case IPPROTO_FRAGMENT:
		return 8;
	default:
		return 0;
	}
}

/*
 * A fragment other than the first: its next-header field names what begins the first fragment, maybe an
 * extension header with the transport hidden behind it, so only what is surely neither TCP nor UDP is clean.
 */
static void parse_ipv6_later_fragment(struct cursor *c, uint8_t kind, struct frame_info *ret)
{
	if (kind == IPPROTO_ICMPV6 || kind == IPPROTO_NONE)
		return;
	ret->ip_proto = kind == IPPROTO_TCP || kind == IPPROTO_UDP ? kind : 0;
	set_payload(c, ret);
}

static void parse_ipv6(struct cursor *c, struct frame_info *ret)
{
	uint32_t len;
	uint8_t kind;

	if (left(c) < IPV6_HEADER || c->frame[c->at] >> 4 != 6)
		return;
	len = get16(c, 4);
	kind = c->frame[c->at + 6];
	ret->ip_version = 6;
	memcpy(ret->src, c->frame + c->at + 8, 16);
	memcpy(ret->dst, c->frame + c->at + 24, 16);
	c->at += IPV6_HEADER;
	if (len < left(c))
		c->end = c->at + len;
	for (int i = 0; i <= IPV6_EXTENSIONS_MAX && left(c) >= 8; i++) {
		uint32_t size = extension_size(c, kind);
		uint8_t next = c->frame[c->at];
		bool later = kind == IPPROTO_FRAGMENT && (get16(c, 2) & 0xfff8);

		if (!size) {
			parse_transport(c, kind, ret);
			return;
		}
		if (size > left(c))
			return;
		c->at += size;
		kind = next;
		if (later) {
			parse_ipv6_later_fragment(c, kind, ret);
			return;
		}
	}
}

void frame_parse(const uint8_t *frame, size_t len, struct frame_info *ret)
{
	struct cursor c = {.frame = frame, .at = 0, .end = (uint32_t)len};
	uint16_t type;

	memset(ret, 0, sizeof(*ret));
	if (len < ETH_HEADER || len > UINT32_MAX)
		return;
	type = get16(&c, 12);
	c.at = ETH_HEADER;
	if ((type == ETH_TYPE_VLAN || type == ETH_TYPE_QINQ) && left(&c) >= VLAN_TAG) {
		type = get16(&c, 2);
		c.at += VLAN_TAG;
	}
	if (type == ETH_TYPE_IPV4)
		parse_ipv4(&c, ret);
	else if (type == ETH_TYPE_IPV6)
		parse_ipv6(&c, ret);
}

uint32_t frame_get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void store32(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 24);
	p[1] = (uint8_t)(v >> 16);
	p[2] = (uint8_t)(v >> 8);
	p[3] = (uint8_t)v;
}

/* One's complement sum of four bytes that begin at an even or odd offset of the segment. */
static uint32_t sum32(const uint8_t *p, bool odd)
{
	uint32_t even_bytes = (uint32_t)p[0] + p[2], odd_bytes = (uint32_t)p[1] + p[3];

	return odd ? (odd_bytes << 8) + even_bytes : (even_bytes << 8) + odd_bytes;
}

/* The checksum is mended as in RFC 1624, equation 3. */
void frame_tcp_replace(uint8_t *tcp, size_t off, uint32_t v)
{
	uint32_t old_sum = sum32(tcp + off, off & 1), sum;

	old_sum = (old_sum & 0xffff) + (old_sum >> 16);
	store32(tcp + off, v);
	sum = (uint32_t)(uint16_t) ~(tcp[TCP_CHECKSUM] << 8 | tcp[TCP_CHECKSUM + 1]);
	sum += (uint16_t)~old_sum;
	sum += sum32(tcp + off, off & 1);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	sum = (uint16_t)~sum;
	tcp[TCP_CHECKSUM] = (uint8_t)(sum >> 8);
	tcp[TCP_CHECKSUM + 1] = (uint8_t)sum;
}
