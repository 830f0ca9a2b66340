/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Translation of TCP sequence numbers: see seqmap_internal.h. Frames are hostile: parsed by frame_parse, bounded by len. */
#include "net/seqmap_internal.h"

#include <string.h>

#include "net/frame_internal.h"

#define TCP_OPTIONS 20u

#define OPTION_END 0
#define OPTION_NOP 1
#define OPTION_SACK 5

void seqmap_rolled_back(struct seqmap *m)
{
	m->era++;
}

static uint32_t hash_flow(const struct seqmap_flow *f)
{
	const uint8_t *b = (const uint8_t *)f;
	uint32_t h = 2166136261u; /* FNV-1a */

	for (size_t i = 0; i < offsetof(struct seqmap_flow, known); i++)
		h = (h ^ b[i]) * 16777619u;
	return h;
}

static bool is_at(const struct seqmap_flow *f, const struct seqmap_flow *key)
{
	return memcmp(f, key, offsetof(struct seqmap_flow, known)) == 0;
}

/* The flow's place, emptied first if it was another's. */
static struct seqmap_flow *find(struct seqmap *m, const struct frame_info *i, bool from_guest)
{
	struct seqmap_flow key = {.guest_port = from_guest ? i->src_port : i->dst_port,
				  .peer_port = from_guest ? i->dst_port : i->src_port};
	struct seqmap_flow *set, *f;

	memcpy(key.guest, from_guest ? i->src : i->dst, sizeof(key.guest));
	memcpy(key.peer, from_guest ? i->dst : i->src, sizeof(key.peer));
	f = set = m->flow[hash_flow(&key) % SEQMAP_SETS];
	for (unsigned k = 0; k < SEQMAP_WAYS && !is_at(f, &key); k++)
		if (is_at(&set[k], &key) || set[k].used < f->used)
			f = &set[k];
	if (!is_at(f, &key))
		*f = key;
	f->used = ++m->clock;
	return f;
}

/* Selective acknowledgements name the guest's numbers too. */
static void replace_sack(uint8_t *tcp, size_t header, uint32_t delta)
{
	size_t at = TCP_OPTIONS;

	while (at < header && tcp[at] != OPTION_END) {
		size_t n = tcp[at] == OPTION_NOP ? 1 : at + 1 < header ? tcp[at + 1] : 0;

		if (!n || at + n > header || (tcp[at] != OPTION_NOP && n < 2))
			return;
		for (size_t k = 2; tcp[at] == OPTION_SACK && k + 4 <= n; k += 4)
			frame_tcp_replace(tcp, at + k, frame_get32(tcp + at + k) - delta);
		at += n;
	}
}

void seqmap_guest_sends(struct seqmap *m, uint8_t *frame, size_t len)
{
	struct frame_info i;
	struct seqmap_flow *f;

	frame_parse(frame, len, &i);
	if (!i.tcp_header)
		return;
	f = find(m, &i, true);
	if (i.tcp_flags & FRAME_TCP_SYN) {
		/* The same number again is a retransmission; another one, without a rollback between, another connection. */
		if (!f->known || f->era == m->era) {
			if (!f->known || f->isn - f->delta != i.tcp_seq) {
				f->isn = i.tcp_seq;
				f->delta = 0;
			}
		} else {
			f->delta = f->isn - i.tcp_seq;
		}
		f->known = true;
		f->era = m->era;
	}
	if (f->known && f->delta)
		frame_tcp_replace(frame + i.tcp_off, FRAME_TCP_SEQ, i.tcp_seq + f->delta);
}

void seqmap_guest_gets(struct seqmap *m, uint8_t *frame, size_t len, bool replayed)
{
	struct frame_info i;
	struct seqmap_flow *f;

	frame_parse(frame, len, &i);
	if (!i.tcp_header)
		return;
	f = find(m, &i, false);
	if (!replayed && (i.tcp_flags & (FRAME_TCP_SYN | FRAME_TCP_ACK)) == FRAME_TCP_SYN) {
		/* A peer that opens a connection with the same ports knows nothing of the one before. */
		f->known = false;
		f->delta = 0;
	}
	if (!f->known || !f->delta || !(i.tcp_flags & FRAME_TCP_ACK))
		return;
	frame_tcp_replace(frame + i.tcp_off, FRAME_TCP_ACK_NUMBER, i.tcp_ack - f->delta);
	replace_sack(frame + i.tcp_off, i.payload_off - i.tcp_off, f->delta);
}

bool seqmap_peer_knows(struct seqmap *m, const uint8_t *frame, size_t len, uint32_t *ret_isn)
{
	struct frame_info i;
	const struct seqmap_flow *f;

	frame_parse(frame, len, &i);
	if (!i.tcp_header)
		return false;
	f = find(m, &i, false);
	if (f->known)
		*ret_isn = f->isn;
	return f->known;
}
