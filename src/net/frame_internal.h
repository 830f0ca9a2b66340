/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where the TCP or UDP payload lies in an Ethernet frame. */
#ifndef CLOUDER_NET_FRAME_INTERNAL_H
#define CLOUDER_NET_FRAME_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_TCP_FIN 0x01u
#define FRAME_TCP_SYN 0x02u
#define FRAME_TCP_RST 0x04u
#define FRAME_TCP_ACK 0x10u

/* Offsets in a TCP header. */
#define FRAME_TCP_SEQ 4u
#define FRAME_TCP_ACK_NUMBER 8u

struct frame_info {
	uint32_t payload_off,
		payload_len; /* bytes in the frame; length 0: nothing in it comes from a program outside */
	uint8_t ip_proto; /* 6, 17; 0: neither */
	uint8_t ip_version; /* 4, 6; 0: not IP */
	uint8_t src[16], dst[16]; /* 4 or 16 bytes used */
	uint16_t src_port, dst_port; /* 0 in later fragments, which carry no ports */
	bool tcp_header; /* the next four are of a whole TCP header, which ends at payload_off */
	uint32_t tcp_off; /* of the TCP header in the frame */
	uint8_t tcp_flags;
	uint32_t tcp_seq, tcp_ack;
};

/*
 * Parses Ethernet (with at most one VLAN tag), IPv4 or IPv6, TCP or UDP. The frame is hostile; what is malformed, or
 * neither TCP nor UDP, has no payload. In a fragment other than the first, all that follows the IP header is payload.
 */
void frame_parse(const uint8_t *frame, size_t len, struct frame_info *ret);

/* The 32-bit number at p, in network order. */
uint32_t frame_get32(const uint8_t *p);
/* Replaces the 32-bit field at offset off of a TCP header that is whole, and mends the checksum. */
void frame_tcp_replace(uint8_t *tcp, size_t off, uint32_t v);

#endif
