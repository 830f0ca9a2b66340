/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The thread that does a disk's slow work, one job at a time.
 *
 * A job belongs to the thread from worker_submit() until worker_done() is true or worker_wait() returns; the image and its
 * undo log belong to it as long. There is no other sharing.
 */
#ifndef CLOUDER_DISK_WORKER_INTERNAL_H
#define CLOUDER_DISK_WORKER_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "disk/blocklog.h"
#include "disk/image.h"

enum job_kind { JOB_READ, JOB_WRITE, JOB_FLUSH };

struct job {
	enum job_kind kind;
	uint64_t off; /* in the image; checked */
	uint32_t len; /* bytes of buf */
	uint8_t *buf; /* the caller's */
	int error; /* errno, 0 if done */
};

struct worker;

/* undo: NULL for an image that is only read. */
int worker_create(const struct image *image, struct blocklog *undo, struct worker **ret_w, struct err *e) MUST_CHECK;
/* Waits for the job that is under way. NULL is fine. */
void worker_destroy(struct worker *w);

/* An eventfd, the worker's, that becomes readable when a job is done. */
int worker_fd(const struct worker *w);
/* No job may be under way. The job stays the caller's storage. */
void worker_submit(struct worker *w, struct job *job);
/* Whether no job is under way. */
bool worker_idle(struct worker *w);
void worker_wait(struct worker *w);

#endif
