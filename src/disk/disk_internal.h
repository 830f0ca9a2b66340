/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A disk, inside its folder. */
#ifndef CLOUDER_DISK_DISK_INTERNAL_H
#define CLOUDER_DISK_DISK_INTERNAL_H

#include "disk/blocklog.h"
#include "disk/disk.h"
#include "disk/request_internal.h"
#include "disk/worker_internal.h"

struct disk {
	struct gmem *gm;
	const struct image_spec *spec;
	const struct disk_ops *ops;
	void *arg;
	struct vhost_device dev;
	struct image image;
	struct blocklog *undo; /* NULL: the image is only read */
	struct worker *worker;
	struct loop_source *work, *done;
	bool frozen;
	bool busy; /* a job was given to the worker, and the guest not told yet that it is done */
	char id[IMAGE_ID_MAX + 1];
	struct disk_stats stats;
	struct virtq_batch batch; /* the request that is under way */
	struct request request;
	struct job job;
	uint8_t *buf; /* of the request: header, data */
};

#endif
