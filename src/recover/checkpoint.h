/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Checkpoints of a VM, and the way back to one.
 *
 * A checkpoint is: device state (a memfd), the start of an undo log of RAM, a mark of the disks, a shadow epoch, the
 * register shadow, and a position in the input log. Taking one stops the VM for a few milliseconds. Several are kept in a
 * ring, because damage is noticed later than it is done.
 *
 * RAM, blocks of disks and labels before a change are kept within limits. What is over the limit makes the checkpoints before it
 * useless: they are never offered, and go when the next one is taken.
 *
 * Going back needs another engine, one that waits for a device state: the engine that detected is thrown away.
 */
#ifndef CLOUDER_RECOVER_CHECKPOINT_H
#define CLOUDER_RECOVER_CHECKPOINT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "disk/disk.h"
#include "net/net.h"
#include "plugin/core/shadow.h"
#include "qemu/engine.h"
#include "recover/undo.h"

struct checkpoint_ring;

/* Why one was taken. */
enum checkpoint_why {
	CHECKPOINT_INPUT, /* input was about to be delivered */
	CHECKPOINT_OUTPUT, /* output waited for it */
	CHECKPOINT_OPERATOR, /* somebody asked for it */
};

struct checkpoint_info {
	uint64_t id;
	enum checkpoint_why why;
	uint64_t time_ns; /* CLOCK_MONOTONIC when it was taken */
	uint64_t seq; /* first frame that came after it */
	uint64_t pause_us; /* how long the VM stood still for it */
	uint64_t state_bytes; /* of device state */
};

/* A checkpoint with what it takes to keep it. */
struct checkpoint_entry {
	struct checkpoint_info info;
	uint64_t
		pages; /* of RAM, written since it was taken and until the next one was: their content before is kept */
	bool usable; /* can be gone back to */
};

/* What a checkpoint is made of; all owned by the caller, and must outlive the ring. */
struct checkpoint_parts {
	struct net *net;
	struct disks *disks;
	struct shadow *shadow;
	struct undo *undo;
	unsigned n_vcpus;
};

/* Keeps at most max checkpoints (1..64). */
int checkpoint_ring_create(const struct checkpoint_parts *parts, unsigned max, struct checkpoint_ring **ret_r,
			   struct err *e) MUST_CHECK;
void checkpoint_ring_destroy(struct checkpoint_ring *r);

/* Takes one of the running engine en; the VM goes on in it. On failure the VM still runs, without this checkpoint. */
int checkpoint_take(struct checkpoint_ring *r, struct engine *en, enum checkpoint_why why, struct checkpoint_info *ret,
		    struct err *e) MUST_CHECK;

unsigned checkpoint_count(const struct checkpoint_ring *r);
/* Number i of them, from the oldest (0) on; i < checkpoint_count(). */
struct checkpoint_entry checkpoint_entry(const struct checkpoint_ring *r, unsigned i);
/* The newest one that can be gone back to. ERR_LIMIT: there is none. */
int checkpoint_newest(const struct checkpoint_ring *r, struct checkpoint_info *ret, struct err *e) MUST_CHECK;
/* The one with this number. ERR_LIMIT: it is not kept, or cannot be gone back to any more. */
int checkpoint_find(const struct checkpoint_ring *r, uint64_t id, struct checkpoint_info *ret,
		    struct err *e) MUST_CHECK;
/* The newest one that can be gone back to and was taken before frame seq was delivered. ERR_LIMIT: none is that old. */
int checkpoint_before(const struct checkpoint_ring *r, uint64_t seq, struct checkpoint_info *ret,
		      struct err *e) MUST_CHECK;
/* The oldest one that can be gone back to. ERR_LIMIT: there is none. */
int checkpoint_oldest(const struct checkpoint_ring *r, struct checkpoint_info *ret, struct err *e) MUST_CHECK;

/* The newest one older than id that can be gone back to. ERR_LIMIT: there is none. */
int checkpoint_older(const struct checkpoint_ring *r, uint64_t id, struct checkpoint_info *ret,
		     struct err *e) MUST_CHECK;

/*
 * Disks, memory, shadow and register shadow go back to checkpoint id; the engine that ran must be dead and detached
 * from undo, its sessions with the disks destroyed. Newer checkpoints are dropped. *ret_pages: RAM pages restored. ERR_LIMIT: it is not kept, or cannot be gone
 * back to any more; nothing is changed. Then patch RAM, and:
 */
int checkpoint_restore_memory(struct checkpoint_ring *r, uint64_t id, uint64_t *ret_pages, struct err *e) MUST_CHECK;
/*
 * The waiting engine en takes over from checkpoint id: device state, traps. So much of its memory is protected already, see
 * undo_protect_ahead(). It is left stopped, and attached to undo also after an error.
 */
int checkpoint_restore_engine(struct checkpoint_ring *r, uint64_t id, struct engine *en, uint64_t protected_bytes,
			      struct loop *l, struct err *e) MUST_CHECK;
/* All input since checkpoint id is delivered again when the engine runs; see net_replay(). */
int checkpoint_replay(struct checkpoint_ring *r, uint64_t id, struct err *e) MUST_CHECK;
/* None of it is, and connections that it belonged to are reset (*ret_reset of them); see net_drop(). */
int checkpoint_drop(struct checkpoint_ring *r, uint64_t id, unsigned *ret_reset, struct err *e) MUST_CHECK;

#endif
