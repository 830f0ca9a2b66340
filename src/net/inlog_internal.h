/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The input log: frames for the guest in the order the uplink handed them over, delivered ones first, then those that
 * wait. One ring of bytes allocated at the start holds them, so taking a frame in allocates nothing.
 */
#ifndef CLOUDER_NET_INLOG_INTERNAL_H
#define CLOUDER_NET_INLOG_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define INLOG_FRAME_MAX 65568u /* bytes of one frame: 64 KiB of IP and its link headers */
#define INLOG_WAITING_FRAMES 4096u
#define INLOG_WAITING_BYTES (8u << 20)

struct inlog_record {
	uint64_t seq; /* from 1; 0 marks unused bytes up to the end of the ring */
	uint32_t size; /* of the record with its data, a multiple of 8 */
	uint32_t len; /* of the frame */
	uint32_t payload_off, payload_len;
	uint32_t origin; /* of the first payload byte; 0: no payload */
	uint64_t time_ns; /* CLOCK_MONOTONIC when it was delivered first; 0: it was not */
	bool passed; /* may be delivered: was asked for and allowed */
	bool held; /* was refused once */
	bool dropped; /* did not fit the guest's ring: not delivered again either */
	uint8_t data[];
};

struct inlog {
	uint8_t *base;
	uint64_t cap;
	uint64_t tail, next,
		head; /* oldest record, next one to deliver first, end: positions counted without wrapping */
	uint64_t replay; /* next one to deliver again; == next: no replay */
	uint64_t limit; /* bytes of delivered records to keep */
	uint64_t kept; /* bytes of delivered records */
	uint64_t waiting_frames, waiting_bytes;
	uint64_t frames, bytes; /* in the log, bytes of frames */
	uint64_t next_seq;
	uint32_t next_origin;
};

int inlog_init(struct inlog *g, uint64_t limit, struct err *e) MUST_CHECK;
void inlog_deinit(struct inlog *g);

/* Takes a copy of the frame, gives it a sequence number and origins. false: queue full or frame too large, nothing done. */
bool inlog_append(struct inlog *g, const uint8_t *frame, size_t len);

/* The record to be delivered for the first time next; NULL: none waits. Valid until the next call that changes the log. */
struct inlog_record *inlog_next(struct inlog *g);
void inlog_next_done(struct inlog *g);

/* The same for a replay. */
struct inlog_record *inlog_replay(struct inlog *g);
void inlog_replay_done(struct inlog *g);
/* Starts a replay at seq; false: seq is not kept any more, starts at the oldest record. */
bool inlog_replay_from(struct inlog *g, uint64_t seq);

/* Sequence number of inlog_next(), or the one that the next frame appended will get. */
uint64_t inlog_position(const struct inlog *g);
/* Of inlog_replay(), or if there is none inlog_position(). */
uint64_t inlog_cursor(const struct inlog *g);
uint64_t inlog_oldest(const struct inlog *g);
/* Forgets delivered records before seq that no replay still needs. */
void inlog_trim(struct inlog *g, uint64_t seq);
/* The record of frame seq, or NULL if it is not kept. */
const struct inlog_record *inlog_find_seq(const struct inlog *g, uint64_t seq);
/* The record with the payload byte of this origin, or NULL. */
const struct inlog_record *inlog_find_origin(const struct inlog *g, uint32_t origin);

#endif
