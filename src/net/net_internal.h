/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inside the network: one net with its sessions. */
#ifndef CLOUDER_NET_NET_INTERNAL_H
#define CLOUDER_NET_NET_INTERNAL_H

#include "net/frame_internal.h"
#include "net/inlog_internal.h"
#include "net/net.h"
#include "net/outbox_internal.h"
#include "net/pace_internal.h"
#include "net/seqmap_internal.h"
#include "net/uplink_internal.h"
#include "vhost/vhost.h"

#define NET_RING_RX 0 /* towards the guest */
#define NET_RING_TX 1
#define NET_RINGS 2

#define NET_BLOCKED_MAX 256u

struct net_flow {
	uint8_t ip_proto;
	uint8_t src[16], dst[16];
	uint16_t src_port, dst_port;
	bool reset; /* the guest was told */
};

struct net {
	struct loop *loop;
	struct gmem *gm;
	const struct net_ops *ops;
	void *arg;
	const struct uplink_ops *uplink_ops;
	void *uplink;
	struct vhost_device dev;
	struct inlog log;
	struct outbox outbox;
	struct loop_source *work;
	bool frozen;
	bool holding; /* may_deliver() said no */
	bool interrupt_due; /* frames were given to the guest since it was interrupted */
	struct pace pace;
	struct loop_source *pace_timer, *gap_timer;
	uint64_t pace_seq; /* the replayed frame that waits, or waited last */
	bool pace_overdue;
	uint64_t replay_time_ns, replay_given_ns; /* of the last replayed frame: when it was delivered first, and now */
	uint64_t replay_naps; /* as ops->naps() said then */
	uint64_t rest_naps, rest_ns; /* what it has said since, all the time since then; 0: nothing */
	unsigned pace_patience_ms;
	unsigned gap_times; /* as net_slow_replays() says */
	bool replay_ends; /* replayed() is to be called when no frame of the replay is left */
	struct net_flow blocked[NET_BLOCKED_MAX];
	unsigned n_blocked; /* ever; the table's index is modulo */
	struct seqmap seqmap;
	struct net_stats stats;
	struct virtq_batch batch;
	uint32_t written[VIRTQ_SIZE_MAX]; /* bytes in each chain of the batch */
	uint8_t packet[12 + INLOG_FRAME_MAX]; /* virtio header and frame */
	_Alignas(8) uint8_t reset_record[sizeof(struct inlog_record) + 64]; /* a record of our own making */
};

struct net_moment {
	uint64_t seq;
	struct pace pace;
};

/* A net with an uplink of the caller's: net_create() without the specification. *c->ops->create is called. */
int net_create_uplink(struct loop *l, struct gmem *gm, const struct uplink_config *c, size_t log_limit,
		      const struct net_ops *ops, void *arg, struct net **ret_net, struct err *e) MUST_CHECK;

/* Whether the frame belongs to a connection that net_block_flow() named. */
bool net_is_blocked(struct net *n, const uint8_t *frame, size_t len);

/* Bytes that the reset of a connection takes at most. */
#define NET_RESET_MAX 64u

/*
 * Makes the reset that the guest gets in place of frame, when that is the first segment of a blocked TCP connection.
 * Returns its length; 0: none is due.
 */
size_t net_reset_for_guest(struct net *n, const uint8_t *frame, size_t len, uint8_t ret[NET_RESET_MAX]);

/* Bytes of a frame that hold its link header, whichever. */
#define NET_RESET_LINK 18u

/*
 * Resets the TCP connection of a segment for the guest, of which i and the first NET_RESET_LINK bytes are given: for the
 * peer, as from the guest, with the number that the segment acknowledges; for the guest, behind all that waits for it, with
 * the segment's own number. Only IPv4.
 */
void net_reset_peer(struct net *n, const uint8_t *head, const struct frame_info *i);
void net_reset_guest(struct net *n, const uint8_t *head, const struct frame_info *i);

#endif
