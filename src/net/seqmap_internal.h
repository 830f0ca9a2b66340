/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * TCP sequence numbers across a rollback.
 *
 * A guest that is brought back to before a connection was opened opens it again when its input is delivered again, but
 * with another initial sequence number: those grow with time. The peer goes on with the first one. So for each
 * connection the number that the peer knows is remembered, and the difference is added to what the guest sends and
 * taken from what it is sent, as a network address translator does for addresses.
 */
#ifndef CLOUDER_NET_SEQMAP_INTERNAL_H
#define CLOUDER_NET_SEQMAP_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SEQMAP_SETS 1024u
#define SEQMAP_WAYS 8u

struct seqmap_flow {
	uint8_t guest[16], peer[16];
	uint16_t guest_port, peer_port;
	bool known;
	uint32_t isn; /* of the guest, as the peer knows it */
	uint32_t delta; /* peer's view minus guest's */
	uint32_t era; /* in which the guest chose its number */
	uint64_t used; /* when it was looked for last */
};

/* Flows by a hash of their addresses, which names a set; one that finds it full takes the place that was unused for longest. */
struct seqmap {
	struct seqmap_flow flow[SEQMAP_SETS][SEQMAP_WAYS];
	uint64_t clock; /* grows with each look */
	uint32_t era; /* rollbacks so far */
};

/* The guest was rolled back: connections opened from now on may be ones that the peer already has. */
void seqmap_rolled_back(struct seqmap *m);
/* A frame from the guest, on its way out: numbers become the peer's. The frame's checksum stays right. */
void seqmap_guest_sends(struct seqmap *m, uint8_t *frame, size_t len);
/* A frame for the guest: numbers become the guest's. replayed: it was delivered before. */
void seqmap_guest_gets(struct seqmap *m, uint8_t *frame, size_t len, bool replayed);
/* The guest's initial number as the peer of this frame to the guest knows it; false: no such connection. */
bool seqmap_peer_knows(struct seqmap *m, const uint8_t *frame, size_t len, uint32_t *ret_isn);

#endif
