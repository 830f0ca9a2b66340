/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The pace of a replay. A TCP segment that acknowledges what the guest, rolled back, has not sent yet would be thrown
 * away by the guest with the data in it, and the peer, for whom all that is long done, never sends it again. So a replayed
 * segment waits until the guest has sent again what it acknowledges. How far it had sent is noted all the time, and kept with
 * each checkpoint: the first segment of a connection may already be one that must wait.
 *
 * What comes from the peer after all that must not wait for one connection, and may be ahead as well: the peer has what the
 * guest had sent before the rollback. Such a segment is delivered at once, acknowledging only what the guest has sent by now;
 * the peer acknowledges the rest anew when the guest sends it again. Only where the guest has yet to open a connection, or answer a SYN,
 * once more, no number means anything to it, and what names one must wait. That is so if the SYN is part of the replay, and if the
 * guest had it, but had not answered it, at the checkpoint.
 */
#ifndef CLOUDER_NET_PACE_INTERNAL_H
#define CLOUDER_NET_PACE_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PACE_SETS 128u
#define PACE_WAYS 4u
/*
 * After that the frame is delivered all the same. An engine that has just started needs more than half a second before
 * its guest answers the first frame.
 */
#define PACE_PATIENCE_MS 5000u

/*
 * A program that handles one connection while another begins may come to something else when the two follow each other faster
 * than they did, and after a rollback all comes at once, to a guest whose code is yet to be translated. So before a connection
 * that is opened again so many times as long passes as passed the first time since the frame before it, but no more than that.
 */
#define PACE_SLOWER 20u
#define PACE_GAP_MOST_NS 50000000u
/* A guest that has been at rest for so long, once as long has passed as the first time, is done with what came before. */
#define PACE_REST_NS 1000000u
/* And so many times as long where the guest came to something else all the same. */
#define PACE_TIMES_MOST 64u

struct pace_flow {
	uint8_t guest[16], peer[16];
	uint16_t guest_port, peer_port;
	uint32_t sent; /* sequence number after the last byte the guest has sent */
	uint32_t peer_has; /* the same before the rollback, if the guest is behind that */
	uint32_t isn; /* the guest's initial sequence number */
	bool known, behind, isn_known;
	bool opens; /* the guest has yet to choose its number again, which the peer knows already */
	bool unpaced; /* did not come to what was waited for: the guest answers otherwise now */
	uint64_t used; /* when it was looked for last */
};

/* Flows by a hash of their addresses, which names a set; one that finds it full takes the place that was unused for longest. */
struct pace {
	struct pace_flow flow[PACE_SETS][PACE_WAYS];
	uint64_t clock; /* grows with each look */
	bool any_behind; /* there was a rollback: a flow may be */
};

/* The guest sends a frame (numbers as the peer knows them). */
void pace_guest_sends(struct pace *p, const uint8_t *frame, size_t len);
/* A peer's SYN is delivered again: what follows waits until the guest has answered it with this initial number. */
void pace_expect(struct pace *p, const uint8_t *frame, size_t len, uint32_t isn);
/* Whether a frame of the replay may be delivered now. The first one of a flow of which nothing is known may. */
bool pace_may_deliver(struct pace *p, const uint8_t *frame, size_t len);
/* Whether a frame that is not of the replay may be. */
bool pace_may_deliver_new(struct pace *p, const uint8_t *frame, size_t len);
/* Whether it opens a connection to the guest. */
bool pace_opens(const uint8_t *frame, size_t len);
/* A rollback: what was noted then counts again, and what the guest has sent since is what its peers have. */
void pace_roll_back(struct pace *p, const struct pace *then);
/* A frame of the peer is about to be delivered: it acknowledges no more than what the guest has sent since the rollback. */
void pace_lower_ack(struct pace *p, uint8_t *frame, size_t len);
/* Waited long enough for this frame: its flow is not paced any more. */
void pace_give_up(struct pace *p, const uint8_t *frame, size_t len);

#endif
