/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Makes and sends SIP messages in HEP packets. */
#include "hep.h"

#include "client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHUNK_HEAD 6

struct packet {
	uint8_t bytes[HEP_PACKET_MAX];
	size_t len;
};

static void put16(uint8_t *at, size_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

/* Nothing where it does not fit: the packet is then seen to be too short. */
static void put_chunk(struct packet *p, unsigned type, const void *value, size_t len)
{
	uint8_t *at = p->bytes + p->len;

	if (len > sizeof(p->bytes) - CHUNK_HEAD - p->len)
		return;
	put16(at, 0);
	put16(at + 2, type);
	put16(at + 4, CHUNK_HEAD + len);
	memcpy(at + CHUNK_HEAD, value, len);
	p->len += CHUNK_HEAD + len;
}

/* Who talks to whom is made up, and always the same. */
static const struct {
	unsigned type;
	size_t len;
	const char *value;
} heads[] = {
	{1, 1, "\x02"}, /* IPv4 */
	{2, 1, "\x11"}, /* UDP */
	{3, 4, "\x0a\x01\x01\x01"}, /* from */
	{4, 4, "\x0a\x01\x01\x02"}, /* to */
	{7, 2, "\x13\xc4"}, /* port 5060 */
	{8, 2, "\x13\xc4"},
	{9, 4, "\x65\x53\xf1\x00"}, /* seconds */
	{10, 4, "\x00\x00\x00\x00"}, /* microseconds */
	{11, 1, "\x01"}, /* SIP */
	{12, 4, "\x00\x00\x00\x01"}, /* who captured it */
};

static int make_packet(const char *sip, size_t len, struct packet *ret)
{
	ret->len = 6;
	memcpy(ret->bytes, "HEP3", 4);
	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++)
		put_chunk(ret, heads[i].type, heads[i].value, heads[i].len);
	if (len > sizeof(ret->bytes) - CHUNK_HEAD - ret->len)
		return -1;
	put_chunk(ret, 15, sip, len);
	put16(ret->bytes + 4, ret->len);
	return 0;
}

static int send_packet(const char *where, const struct packet *p)
{
	struct sockaddr_in to;
	ssize_t n = -1;
	int fd;

	if (client_parse_where(where, &to) < 0) {
		fprintf(stderr, "%s: not ADDRESS:PORT\n", where);
		return -1;
	}
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd >= 0)
		n = sendto(fd, p->bytes, p->len, 0, (struct sockaddr *)&to, sizeof(to));
	if (n != (ssize_t)p->len)
		perror(where);
	if (fd >= 0)
		close(fd);
	return n == (ssize_t)p->len ? 0 : -1;
}

int hep_send_invite(const char *where, const char *call_id, const char *extra)
{
	char sip[HEP_PACKET_MAX];
	struct packet p;
	int len = snprintf(sip, sizeof(sip),
			   "INVITE sip:bob@example.org SIP/2.0\r\n"
			   "Via: SIP/2.0/UDP 10.1.1.1:5060;branch=z9hG4bK1\r\n"
			   "From: <sip:alice@example.org>;tag=1\r\n"
			   "To: <sip:bob@example.org>\r\n"
			   "Call-ID: %s\r\n"
			   "CSeq: 1 INVITE\r\n"
			   "%s%s"
			   "Content-Length: 0\r\n\r\n",
			   call_id, extra ? extra : "", extra ? "\r\n" : "");

	if (len < 0 || (size_t)len >= sizeof(sip) || make_packet(sip, (size_t)len, &p) < 0) {
		fprintf(stderr, "the message does not fit into a packet\n");
		return -1;
	}
	return send_packet(where, &p);
}
