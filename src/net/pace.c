/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The pace of a replay: how far the guest has sent on each TCP connection since the rollback. */
#include "net/pace_internal.h"

#include <string.h>

#include "net/frame_internal.h"

/* An acknowledgement farther ahead than any window is of another connection. */
#define FAR_AHEAD (16 << 20)

static uint32_t hash_bytes(uint32_t h, const void *data, size_t n)
{
	const uint8_t *b = data;

	for (size_t i = 0; i < n; i++)
		h = (h ^ b[i]) * 16777619u; /* FNV-1a */
	return h;
}

static bool same_flow(const struct pace_flow *a, const struct pace_flow *b)
{
	return !memcmp(a->guest, b->guest, sizeof(a->guest)) && !memcmp(a->peer, b->peer, sizeof(a->peer)) &&
	       a->guest_port == b->guest_port && a->peer_port == b->peer_port;
}

/* The place of a flow, emptied first if it was another's. */
static struct pace_flow *find(struct pace *p, const struct pace_flow *key)
{
	uint32_t h = hash_bytes(2166136261u, key->guest, sizeof(key->guest));
	struct pace_flow *set, *f;

	h = hash_bytes(h, key->peer, sizeof(key->peer));
	h = hash_bytes(h, &key->guest_port, sizeof(key->guest_port));
	h = hash_bytes(h, &key->peer_port, sizeof(key->peer_port));
	f = set = p->flow[h % PACE_SETS];
	for (unsigned i = 0; i < PACE_WAYS && !same_flow(f, key); i++)
		if (same_flow(&set[i], key) || set[i].used < f->used)
			f = &set[i];
	if (!same_flow(f, key))
		*f = *key;
	f->used = ++p->clock;
	return f;
}

static struct pace_flow *flow_of_guest_frame(struct pace *p, const struct frame_info *i)
{
	struct pace_flow key = {.guest_port = i->src_port, .peer_port = i->dst_port};

	memcpy(key.guest, i->src, sizeof(key.guest));
	memcpy(key.peer, i->dst, sizeof(key.peer));
	return find(p, &key);
}

static struct pace_flow *flow_of_peer_frame(struct pace *p, const struct frame_info *i)
{
	struct pace_flow key = {.guest_port = i->dst_port, .peer_port = i->src_port};

	memcpy(key.guest, i->dst, sizeof(key.guest));
	memcpy(key.peer, i->src, sizeof(key.peer));
	return find(p, &key);
}

void pace_guest_sends(struct pace *p, const uint8_t *frame, size_t len)
{
	struct frame_info i;
	struct pace_flow *f;
	uint32_t end;

	frame_parse(frame, len, &i);
	if (!i.tcp_header)
		return;
	f = flow_of_guest_frame(p, &i);
	end = i.tcp_seq + i.payload_len + !!(i.tcp_flags & FRAME_TCP_SYN) + !!(i.tcp_flags & FRAME_TCP_FIN);
	if (i.tcp_flags & FRAME_TCP_SYN) {
		f->known = f->unpaced = f->opens = false; /* another connection than before */
		f->isn = i.tcp_seq;
		f->isn_known = true;
	}
	if (i.tcp_flags & (FRAME_TCP_RST | FRAME_TCP_FIN))
		f->unpaced = true; /* it will send no more */
	if (!f->known || (int32_t)(end - f->sent) > 0)
		f->sent = end;
	f->known = true;
	f->behind &= (int32_t)(f->peer_has - f->sent) > 0;
}

bool pace_may_deliver(struct pace *p, const uint8_t *frame, size_t len)
{
	struct frame_info i;
	struct pace_flow *f;
	int32_t ahead;

	frame_parse(frame, len, &i);
	if (!i.tcp_header || !(i.tcp_flags & FRAME_TCP_ACK) || (i.tcp_flags & FRAME_TCP_RST))
		return true;
	f = flow_of_peer_frame(p, &i);
	if (!f->known) {
		f->known = true;
		/* An answer to the guest's own SYN waits for that SYN. */
		f->sent = i.tcp_ack - !!(i.tcp_flags & FRAME_TCP_SYN);
	}
	ahead = (int32_t)(i.tcp_ack - f->sent);
	return f->unpaced || ahead <= 0 || ahead > FAR_AHEAD;
}

bool pace_may_deliver_new(struct pace *p, const uint8_t *frame, size_t len)
{
	struct frame_info i;
	const struct pace_flow *f;

	if (!p->any_behind)
		return true;
	frame_parse(frame, len, &i);
	if (!i.tcp_header || !(i.tcp_flags & FRAME_TCP_ACK))
		return true;
	f = flow_of_peer_frame(p, &i);
	return !f->opens || f->unpaced;
}

static void expect(struct pace_flow *f, uint32_t isn)
{
	f->known = f->opens = f->isn_known = true;
	f->unpaced = false;
	f->sent = f->isn = isn;
}

/* How far the guest had come when it was rolled back, which is at least as far as it was in the midst of catching up with. */
static void note_behind(struct pace *p, const struct pace_flow *before)
{
	struct pace_flow key = *before, *f;

	if (!before->known)
		return;
	key.known = key.unpaced = key.behind = key.opens = key.isn_known = false;
	f = find(p, &key);
	if (!f->known && before->isn_known)
		expect(f, before->isn);
	f->peer_has = before->behind ? before->peer_has : before->sent;
	f->behind = !f->known || (int32_t)(f->peer_has - f->sent) > 0;
}

void pace_roll_back(struct pace *p, const struct pace *then)
{
	struct pace_flow before[PACE_WAYS];

	p->any_behind = true;
	for (unsigned set = 0; set < PACE_SETS; set++) {
		memcpy(before, p->flow[set], sizeof(before));
		memcpy(p->flow[set], then->flow[set], sizeof(before));
		for (unsigned i = 0; i < PACE_WAYS; i++)
			note_behind(p, &before[i]);
	}
}

void pace_lower_ack(struct pace *p, uint8_t *frame, size_t len)
{
	struct frame_info i;
	struct pace_flow *f;
	int32_t ahead;

	if (!p->any_behind)
		return;
	frame_parse(frame, len, &i);
	if (!i.tcp_header || !(i.tcp_flags & FRAME_TCP_ACK) || (i.tcp_flags & (FRAME_TCP_RST | FRAME_TCP_SYN)))
		return;
	f = flow_of_peer_frame(p, &i);
	ahead = (int32_t)(i.tcp_ack - f->sent);
	if (f->behind && f->known && ahead > 0 && (int32_t)(i.tcp_ack - f->peer_has) <= 0)
		frame_tcp_replace(frame + i.tcp_off, FRAME_TCP_ACK_NUMBER, f->sent);
}

void pace_give_up(struct pace *p, const uint8_t *frame, size_t len)
{
	struct frame_info i;

	frame_parse(frame, len, &i);
	if (i.tcp_header)
		flow_of_peer_frame(p, &i)->unpaced = true;
}

bool pace_opens(const uint8_t *frame, size_t len)
{
	struct frame_info i;

	frame_parse(frame, len, &i);
	return i.tcp_header && (i.tcp_flags & (FRAME_TCP_SYN | FRAME_TCP_ACK)) == FRAME_TCP_SYN;
}

void pace_expect(struct pace *p, const uint8_t *frame, size_t len, uint32_t isn)
{
	struct frame_info i;

	if (!pace_opens(frame, len))
		return;
	frame_parse(frame, len, &i);
	expect(flow_of_peer_frame(p, &i), isn);
}
