/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Frames of the guest that wait for a checkpoint before they leave. One stretch of bytes, allocated once, bounds them:
 * when it is full nothing more is taken from the guest's ring.
 */
#ifndef CLOUDER_NET_OUTBOX_INTERNAL_H
#define CLOUDER_NET_OUTBOX_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define OUTBOX_BYTES (4u << 20)
#define OUTBOX_FRAME_MAX 65580u /* bytes of one frame */

struct outbox {
	uint8_t *base; /* NULL: nothing is held */
	size_t used; /* bytes of frames and their lengths */
	uint64_t frames;
};

typedef void outbox_fn(void *arg, const uint8_t *frame, size_t len);

int outbox_init(struct outbox *o, struct err *e) MUST_CHECK;
void outbox_deinit(struct outbox *o);
/* Whether a frame of any size fits. */
bool outbox_has_room(const struct outbox *o);
/* Takes a copy; there is room. */
void outbox_put(struct outbox *o, const uint8_t *frame, size_t len);
/* Gives all frames to fn in the order in which they came, and is empty. fn puts none in. */
void outbox_empty(struct outbox *o, outbox_fn *fn, void *arg);
/* Throws all away; returns how many. */
uint64_t outbox_clear(struct outbox *o);

/* Whether a peer can see by this frame what the guest has done: data, an opened or a finished connection. */
bool outbox_must_hold(const uint8_t *frame, size_t len);

#endif
