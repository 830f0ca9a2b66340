/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Connections that are not let through any more: the last rung when no patch can be made. */
#include <string.h>

#include "net/frame_internal.h"
#include "net/net_internal.h"

void net_block_flow(struct net *n, const struct net_origin *o)
{
	struct net_flow *f = &n->blocked[n->n_blocked++ % NET_BLOCKED_MAX];

	*f = (struct net_flow){.ip_proto = o->ip_proto, .src_port = o->src_port, .dst_port = o->dst_port};
	memcpy(f->src, o->src, sizeof(f->src));
	memcpy(f->dst, o->dst, sizeof(f->dst));
}

bool net_is_blocked(const struct net *n, const uint8_t *frame, size_t len)
{
	struct frame_info i;

	if (!n->n_blocked)
		return false;
	frame_parse(frame, len, &i);
	if (!i.ip_proto)
		return false;
	for (unsigned k = 0; k < n->n_blocked && k < NET_BLOCKED_MAX; k++) {
		const struct net_flow *f = &n->blocked[k];

		if (f->ip_proto == i.ip_proto && f->src_port == i.src_port && f->dst_port == i.dst_port &&
		    !memcmp(f->src, i.src, sizeof(f->src)) && !memcmp(f->dst, i.dst, sizeof(f->dst)))
			return true;
	}
	return false;
}
