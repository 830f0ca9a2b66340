/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest's disks, outside of QEMU: a vhost-user-blk back end over an image file, with an undo log.
 *
 * A disk outlives any engine. It takes one request at a time from the guest's ring: a thread of the disk's own does
 * what may take long (reading, writing, making durable), the loop's thread all that touches guest memory. Before a ring
 * stops, the request that is under way is finished, so a stopped VM has none in flight, and a checkpoint none to keep.
 *
 * What is read into guest memory is told, since it is clean of taint; what is written to the image loses its labels.
 *
 * Marks name moments to which all disks of a VM can be brought back together. They are set while the VM is stopped.
 * Rings and requests are the guest's: hostile.
 */
#ifndef CLOUDER_DISK_DISK_H
#define CLOUDER_DISK_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"
#include "base/loop.h"
#include "disk/image.h"
#include "qemu/gmem.h"
#include "vhost/vhost.h"

#define DISKS_MAX 8u

struct disk;

struct disk_ops {
	/* len bytes at `at` in guest memory were written with what is no input from outside. Before the guest is told. */
	void (*wrote)(void *arg, struct gpa at, size_t len);
	/* As in struct vhost_kind. */
	void (*regions)(void *arg, const struct gmem_region *r, size_t n);
	void (*session_lost)(void *arg, struct vhost_session *s, const struct err *why);
};

struct disk_stats {
	uint64_t size; /* bytes */
	uint64_t reads, writes, flushes, read_bytes, written_bytes;
	uint64_t io_errors; /* told to the guest */
	uint64_t refused; /* requests that make no sense, answered with an error */
	uint64_t ring_errors; /* malformed descriptors, refused */
	uint64_t undo_bytes; /* kept now */
	uint64_t given_up; /* marks, because the undo log was full */
};

/* Opens the image and starts the thread. gm, ops and spec (for messages) must outlive the disk. */
int disk_create(struct loop *l, struct gmem *gm, const struct image_spec *spec, const struct disk_ops *ops, void *arg,
		struct disk **ret_d, struct err *e) MUST_CHECK;
/* Finishes what is under way, makes it durable, closes the image. NULL is fine. */
void disk_destroy(struct disk *d);

/* The device that engines connect to, for vhost_session_create(). */
struct vhost_device *disk_device(struct disk *d);

/* Touches no ring until thawed, but for the end of one that is stopped. Starts thawed. */
void disk_freeze(struct disk *d);
void disk_thaw(struct disk *d);

void disk_get_stats(struct disk *d, struct disk_stats *ret);
/* What it was created from. */
const struct image_spec *disk_spec(const struct disk *d);

/* ---- all disks of a VM ---- */

struct disks {
	struct disk *disk[DISKS_MAX];
	unsigned n;
	uint64_t last_mark;
	bool half_way; /* going back failed, and journals say how it could go on */
	uint64_t blocks_undone; /* by all rollbacks */
};

void disks_destroy(struct disks *s);
void disks_freeze(struct disks *s);
void disks_thaw(struct disks *s);

/* The VM is stopped. *ret_mark names this moment (ascending, > 0). */
int disks_mark(struct disks *s, uint64_t *ret_mark, struct err *e) MUST_CHECK;
/* Drops what only marks older than this one need. */
void disks_forget(struct disks *s, uint64_t mark);
bool disks_can_roll_back(struct disks *s, uint64_t mark);
/*
 * Brings all images back to the mark, durably; no engine may have started rings. Newer marks are dropped, this one stays.
 * ERR_LIMIT: not possible any more, nothing is changed. Another error: the host
 * could not read or write, and the images are between the two moments until it is tried again, or until they are
 * opened the next time, which finishes it.
 */
int disks_roll_back(struct disks *s, uint64_t mark, struct err *e) MUST_CHECK;

#endif
