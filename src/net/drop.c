/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Going back in time without the input that came since: it is not delivered again.
 *
 * Peers have been told that it arrived, and some have got answers that the guest does not remember. A TCP connection of
 * which that is so cannot go on, and is reset on both sides; all others do. The guest's reset goes through the input
 * log as a frame of its own, so that later replays have it too.
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "net/frame_internal.h"
#include "net/net_internal.h"

/* What is remembered of a TCP segment that was dropped; appending to the log may overwrite the frame itself. */
struct dropped {
	struct frame_info info;
	bool unknown; /* the guest does not know that it came, or what it answers */
	uint8_t head[NET_RESET_LINK];
};

struct dropped_list {
	struct dropped *d;
	size_t n, room;
};

static struct dropped *list_add(struct dropped_list *l)
{
	size_t room = l->room ? l->room * 2 : 64;
	struct dropped *grown;

	if (l->n == l->room) {
		grown = realloc(l->d, room * sizeof(*l->d));
		if (!grown)
			return NULL;
		l->d = grown;
		l->room = room;
	}
	return &l->d[l->n++];
}

static int compare_flows(const struct frame_info *a, const struct frame_info *b)
{
	int by_src = memcmp(a->src, b->src, sizeof(a->src)), by_dst = memcmp(a->dst, b->dst, sizeof(a->dst));

	if (by_src || by_dst)
		return by_src ? by_src : by_dst;
	if (a->src_port != b->src_port)
		return a->src_port < b->src_port ? -1 : 1;
	return a->dst_port == b->dst_port ? 0 : a->dst_port < b->dst_port ? -1 : 1;
}

static int compare(const void *a, const void *b)
{
	return compare_flows(&((const struct dropped *)a)->info, &((const struct dropped *)b)->info);
}

/* One frame that is not delivered again, but for resets of the peer. false: no memory. */
static bool drop(struct dropped_list *l, struct pace *then, struct inlog_record *r)
{
	struct frame_info i;
	struct dropped *d;

	if (r->dropped)
		return true;
	frame_parse(r->data, r->len, &i);
	r->dropped = !i.tcp_header || !(i.tcp_flags & FRAME_TCP_RST);
	if (!i.tcp_header || !r->dropped || r->len < NET_RESET_LINK)
		return true;
	d = list_add(l);
	if (!d)
		return false;
	*d = (struct dropped){.info = i};
	d->unknown = i.payload_len || (i.tcp_flags & (FRAME_TCP_SYN | FRAME_TCP_FIN)) ||
		     !pace_may_deliver(then, r->data, r->len);
	memcpy(d->head, r->data, sizeof(d->head));
	return true;
}

/* The connection of n segments. The peer expects what it acknowledged last; the guest, what came to it first. */
static bool reset_connection(struct net *n, const struct dropped *d, size_t count)
{
	const struct dropped *last = NULL, *first = d;
	bool opened = false, unknown = false;

	for (size_t i = 0; i < count; i++) {
		unknown |= d[i].unknown;
		opened |= (d[i].info.tcp_flags & FRAME_TCP_SYN) != 0;
		if ((int32_t)(d[i].info.tcp_seq - first->info.tcp_seq) < 0)
			first = &d[i];
		if ((d[i].info.tcp_flags & FRAME_TCP_ACK) &&
		    (!last || (int32_t)(d[i].info.tcp_ack - last->info.tcp_ack) > 0))
			last = &d[i];
	}
	if (!unknown || !last)
		return false;
	net_reset_peer(n, last->head, &last->info);
	if (!opened) /* else the guest does not know the connection */
		net_reset_guest(n, first->head, &first->info);
	return true;
}

static unsigned reset_connections(struct net *n, struct dropped_list *l)
{
	unsigned reset = 0;
	size_t end;

	if (l->n)
		qsort(l->d, l->n, sizeof(*l->d), compare);
	for (size_t at = 0; at < l->n; at = end) {
		for (end = at + 1; end < l->n && compare(&l->d[at], &l->d[end]) == 0;)
			end++;
		reset += reset_connection(n, &l->d[at], end - at);
	}
	return reset;
}

int net_drop(struct net *n, const struct net_moment *m, unsigned *ret_reset, struct err *e)
{
	struct pace *then = malloc(sizeof(*then));
	struct dropped_list l = {0};
	struct inlog_record *r;
	bool good = then;

	*ret_reset = 0;
	if (good)
		*then = m->pace;
	/* Frames that the log has lost are dropped all the same. */
	(void)inlog_replay_from(&n->log, m->seq);
	for (; good && (r = inlog_replay(&n->log)); inlog_replay_done(&n->log))
		good = drop(&l, then, r);
	if (good)
		*ret_reset = reset_connections(n, &l);
	free(l.d);
	free(then);
	if (!good)
		return err_set_errno(e, "dropping input");
	if (net_replay(n, m, e) < 0)
		log_debug("network: %s", e->text);
	return 0;
}
