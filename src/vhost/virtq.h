/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A split virtqueue of virtio 1.x, seen from the device. The guest owns the
 * memory and may change it at any moment: every value is copied once, then checked, and every walk is
 * bounded. A queue that breaks the rules is stopped by its user, never followed further.
 */
#ifndef CLOUDER_VHOST_VIRTQ_H
#define CLOUDER_VHOST_VIRTQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/loop.h"
#include "qemu/gmem.h"

#define VIRTQ_SIZE_MAX 1024u /* descriptors of a ring or of an indirect table, as in QEMU */
#define VIRTQ_SEG_MAX 2048u

/* QEMU's map of written guest pages, one bit each; it goes to whoever migrates the VM. */
struct dirty_log {
	uint8_t *bits; /* NULL: none given */
	uint64_t size; /* bytes */
	bool on;
};

struct virtq {
	uint32_t num;
	uint64_t desc_uva, avail_uva, used_uva; /* as QEMU gave them, in its address space */
	struct gpa desc, avail, used;
	uint16_t last_avail, used_idx;
	bool addressed; /* the three addresses were given */
	bool used_known; /* used_idx was read from the ring */
	bool enabled;
	bool running;
	bool broken; /* the guest broke the rules: not touched until started anew */
	int kick, call, err; /* eventfds; -1: none */
	struct loop_source *kick_source;
};

struct virtq_seg {
	struct gpa at;
	uint32_t len;
	bool writable; /* by the device */
};

/* Which buffers a chain may have. */
enum virtq_ways {
	VIRTQ_READABLE, /* for the device to read, all of them */
	VIRTQ_WRITABLE, /* for the device to write, all of them */
	VIRTQ_BOTH, /* first those to read, then those to write; either may be missing */
};

struct virtq_chain {
	uint16_t head;
	uint32_t n_segs;
	uint64_t bytes;
};

/* Chains looked at but not given back yet; seg holds those of chain 0, then those of chain 1, and so on. */
struct virtq_batch {
	struct virtq_seg seg[VIRTQ_SEG_MAX];
	struct virtq_chain chain[VIRTQ_SIZE_MAX];
	uint32_t n_segs, n_chains;
	uint64_t bytes;
};

enum virtq_got {
	VIRTQ_CHAIN,
	VIRTQ_EMPTY, /* the guest has put no more chains in */
	VIRTQ_FULL, /* no room left in the batch */
	VIRTQ_BAD,
};

void virtq_init(struct virtq *q);

/* Reads where the device left off. Before the first use after a start; false: the ring is not in RAM. */
bool virtq_begin(struct virtq *q, const struct gmem *gm) MUST_CHECK;

/* Adds the next available chain to the batch; its buffers must be such as ways says. */
enum virtq_got virtq_peek(const struct virtq *q, const struct gmem *gm, enum virtq_ways ways, bool indirect_ok,
			  struct virtq_batch *b);
/* Empties the batch. */
void virtq_batch_reset(struct virtq_batch *b);

/* Gives back all chains of the batch, chain i with written[i] bytes in it. false: the used ring is not in RAM. */
bool virtq_publish(struct virtq *q, struct gmem *gm, struct dirty_log *log, const struct virtq_batch *b,
		   const uint32_t *written) MUST_CHECK;

/* Interrupts the guest, unless it asked not to be. */
void virtq_notify(const struct virtq *q, const struct gmem *gm);

/* Writes guest memory and marks the pages in the dirty log. false, nothing written: not RAM. */
bool virtq_write(struct gmem *gm, struct dirty_log *log, struct gpa at, const void *buf, size_t len) MUST_CHECK;

void dirty_log_mark(struct dirty_log *log, struct gpa at, uint64_t len);

#endif
