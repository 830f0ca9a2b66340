/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest's network, outside of QEMU: a vhost-user-net back end, an uplink,
 * the input log, and the point where bytes from the outside become tainted.
 *
 *   uplink (libslirp | TAP) -> input log -> receive ring of the engine
 *   transmit ring of the engine -> uplink
 *
 * The uplink's connections live here and outlive any engine. Each engine gets
 * its own vhost-user session; at most one has started rings. No buffer of the
 * guest is held between two calls: what is taken from a ring is given back at
 * once, so a checkpoint never has buffers in flight.
 *
 * Every frame for the guest gets a sequence number (from 1) when the uplink hands it over,
 * and each byte of TCP and UDP payload in it a position in the payload stream (origin =
 * position + 1 modulo 2^32, never 0). Frames stay in the log until trimmed,
 * so that they can be delivered again after a rollback, with the same origins.
 */
#ifndef CLOUDER_NET_NET_H
#define CLOUDER_NET_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"
#include "base/loop.h"
#include "qemu/gmem.h"
#include "vhost/vhost.h"

struct net;
struct net_moment;

/* Origins are 1 to NET_ORIGIN_MAX, then 1 again. */
#define NET_ORIGIN_MAX 0x7fffffffu

struct net_ops {
	/*
	 * A frame with TCP or UDP payload is next. false: hold it and all behind it
	 * until net_resume(). Not called again for a frame that it let pass. Not called for replayed frames.
	 */
	bool (*may_deliver)(void *arg, uint64_t seq);
	/*
	 * len bytes at `at` are being written with frame data (bytes): origin 0: clean
	 * (headers); else payload whose first byte has this origin. Called before the ring's used index tells the guest.
	 */
	void (*input)(void *arg, struct gpa at, const uint8_t *bytes, size_t len, uint32_t origin);
	/* The memory table of the session with started rings (sorted or not); applied with gmem_set_regions by the callee. */
	void (*regions)(void *arg, const struct gmem_region *r, size_t n);
	/*
	 * 0: a vCPU of the guest has something to do; else a number that changes whenever one wakes. May be NULL. With it a
	 * replay need not wait long before a connection that is opened.
	 */
	uint64_t (*naps)(void *arg);
	/* The last frame of a replay was delivered. */
	void (*replayed)(void *arg);
	/*
	 * Output waits for net_release(). full: nothing more is taken from the guest until then. Called in each round in
	 * which the guest may have sent while some waits; only with net_hold_output().
	 */
	void (*held)(void *arg, bool full);
	/* A session's peer broke the protocol or hung up; the session is dead until destroyed. */
	void (*session_lost)(void *arg, struct vhost_session *s, const struct err *why);
};

struct net_stats {
	uint64_t rx_frames, rx_payload_bytes; /* delivered to the guest, replays not counted */
	uint64_t tx_frames, tx_bytes;
	uint64_t tx_waiting; /* frames of the guest that are held now */
	uint64_t tx_discarded; /* that were held and belong to what was rolled back */
	uint64_t replayed_frames;
	uint64_t dropped; /* queue full, or too large for the ring */
	uint64_t ring_errors; /* malformed descriptors of the guest, refused */
	uint64_t blocked; /* frames of blocked connections */
	uint64_t held; /* frames that had to wait for a checkpoint */
	uint64_t log_frames, log_bytes; /* in the log now */
};

/*
 * spec: "user[,hostfwd=PROTO:HOSTADDR:HOSTPORT-GUESTADDR:GUESTPORT]..." (libslirp; PROTO tcp or udp; empty
 * HOSTADDR: 127.0.0.1; empty GUESTADDR: 10.0.2.15; restrict=on|off) or "tap,ifname=NAME".
 * gm and ops must outlive the net. log_limit: bytes of frames kept in the log; the oldest go first.
 */
int net_create(struct loop *l, struct gmem *gm, const char *spec, size_t log_limit, const struct net_ops *ops,
	       void *arg, struct net **ret_net, struct err *e) MUST_CHECK;
void net_destroy(struct net *n); /* closes all sessions and the uplink */

/* The device that engines connect to, for vhost_session_create(). */
struct vhost_device *net_device(struct net *n);

/* Touches no ring until thawed; uplink frames queue. Nests not. Starts thawed. */
void net_freeze(struct net *n);
void net_thaw(struct net *n);
/* Tries again to deliver (after may_deliver said no). */
void net_resume(struct net *n);

/*
 * From now on what peers can see of the guest's doing waits for net_release(): all but acknowledgements, answers to opened
 * connections, and what is not IP. At most 4 MiB wait, then the guest does. net_replay() and net_drop() throw away what waits.
 */
int net_hold_output(struct net *n, struct err *e) MUST_CHECK;
/* Sends all that waits. */
void net_release(struct net *n);

/* Sequence number of the next frame that will be delivered for the first time. */
uint64_t net_position(const struct net *n);
/* Of the next frame that will be delivered, again or for the first time. */
uint64_t net_cursor(const struct net *n);
/* Forgets frames before seq. */
void net_trim(struct net *n, uint64_t seq);
/* What a replay from now on must know: net_cursor(), and how far the guest has sent on each connection. NULL: no memory. */
struct net_moment *net_moment_create(const struct net *n, struct err *e) MUST_CHECK;
/* NULL is fine. */
void net_moment_destroy(struct net_moment *m);
/*
 * The guest is as it was at that moment: delivers all frames from then up to net_position() again, before anything new.
 * A TCP segment that acknowledges what the guest has not sent again yet waits for that (at most 5 s), or the guest would
 * throw it away.
 * 0, or -1 (ERR_LIMIT) if the log no longer holds the first of them: then delivery starts at the oldest kept.
 */
int net_replay(struct net *n, const struct net_moment *m, struct err *e) MUST_CHECK;
/*
 * From now on replays leave so many times as much time before a connection that is opened again (1, the least: up to 50 ms;
 * at most 64): for a guest that did something else when all came at once.
 */
void net_slow_replays(struct net *n, unsigned times);
/*
 * The guest is as it was at that moment: no frame from then up to net_position() is delivered again, now or later. TCP
 * connections (IPv4) that they belonged to are reset on both sides, unless all that they brought were acknowledgements
 * of what the guest had sent by then. *ret_reset: how many. -1: no memory; some may be delivered again.
 */
int net_drop(struct net *n, const struct net_moment *m, unsigned *ret_reset, struct err *e) MUST_CHECK;
/*
 * The frame that brought the payload byte with this origin, and the byte's
 * offset in the frame; false if it is not in the log any more.
 */
struct net_origin {
	uint64_t seq;
	uint32_t frame_offset, payload_offset;
	uint8_t ip_proto; /* 6, 17 */
	uint8_t ip_version; /* 4, 6 */
	uint8_t src[16], dst[16];
	uint16_t src_port, dst_port;
};
bool net_find_origin(const struct net *n, uint32_t origin, struct net_origin *ret);

/*
 * From now on frames of this connection (addresses, ports and protocol of o) reach the guest no more, in a replay
 * neither; a TCP connection is reset on both sides. At most 256 are remembered, the newest.
 */
void net_block_flow(struct net *n, const struct net_origin *o);

void net_get_stats(const struct net *n, struct net_stats *ret);

#endif
