/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The pace of a replay. A TCP segment that acknowledges what the guest, rolled back, has not sent yet would be thrown
 * away by the guest with the data in it, and the peer, for whom all that is long done, never sends it again. So a replayed
 * segment waits until the guest has sent again what it acknowledges.
 */
#ifndef CLOUDER_NET_PACE_INTERNAL_H
#define CLOUDER_NET_PACE_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PACE_FLOWS 256u
/*
 * After that the frame is delivered all the same. An engine that has just started needs more than half a second before
 * its guest answers the first frame.
 */
#define PACE_PATIENCE_MS 5000u

struct pace_flow {
	uint8_t guest[16], peer[16];
	uint16_t guest_port, peer_port;
	uint32_t sent; /* sequence number after the last byte the guest has sent */
	bool known;
	bool unpaced; /* did not come to what was waited for: the guest answers otherwise now */
};

/* Flows by a hash of their addresses; one that finds its place taken takes it over. */
struct pace {
	struct pace_flow flow[PACE_FLOWS];
};

/* A replay begins. */
void pace_begin(struct pace *p);
/* The guest sends a frame (numbers as the peer knows them) during a replay. */
void pace_guest_sends(struct pace *p, const uint8_t *frame, size_t len);
/* A peer's SYN is delivered again: what follows waits until the guest has answered it with this initial number. */
void pace_expect(struct pace *p, const uint8_t *frame, size_t len, uint32_t isn);
/* Whether a frame of the replay may be delivered now. The first one of a flow always may. */
bool pace_may_deliver(struct pace *p, const uint8_t *frame, size_t len);
/* Waited long enough for this frame: its flow is not paced any more. */
void pace_give_up(struct pace *p, const uint8_t *frame, size_t len);

#endif
