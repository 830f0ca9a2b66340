/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Undo log of a disk image: the content of a block is kept before it is written for the first time after a mark.
 *
 * Each mark has a log of its own; going back to one applies the logs from the newest to its own. What is kept lies in a
 * file without a name, in the image's directory or in /var/tmp, so that nothing is left whatever happens. When it is
 * full, or its file system is, the oldest marks are given up; that is never an error of the guest's disk.
 *
 * Not to be used by two threads at once.
 */
#ifndef CLOUDER_DISK_BLOCKLOG_H
#define CLOUDER_DISK_BLOCKLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "disk/image.h"

#define BLOCKLOG_BLOCK 4096u

struct blocklog;

struct blocklog_stats {
	uint64_t blocks, bytes; /* kept now */
	uint64_t given_up; /* marks, ever */
};

/* image must outlive the log; limit: bytes kept at most, in all logs. dir: where the file goes. */
int blocklog_create(const struct image *image, const char *dir, uint64_t limit, struct blocklog **ret_b,
		    struct err *e) MUST_CHECK;
/* NULL is fine. */
void blocklog_destroy(struct blocklog *b);

/* A new log begins, named by mark, which is greater than all before. */
int blocklog_begin(struct blocklog *b, uint64_t mark, struct err *e) MUST_CHECK;
/* Bytes [off, off + len) of the image, inside it, are about to be written. */
void blocklog_before_write(struct blocklog *b, uint64_t off, uint64_t len);
/* Drops the logs older than mark. */
void blocklog_forget(struct blocklog *b, uint64_t mark);
/* Whether the image can be brought back to where this mark was set. */
bool blocklog_can_roll_back(const struct blocklog *b, uint64_t mark);
/* How many blocks going back to it would write. */
uint64_t blocklog_blocks_since(const struct blocklog *b, uint64_t mark);
/* Given a block as it is to be written, len bytes; less than 0 ends it, with errno set. */
typedef int blocklog_visit_fn(void *arg, uint64_t block, const uint8_t *bytes, size_t len);
/* What going back would write, in that order; a block may come more than once. -1 with errno set. */
int blocklog_visit(const struct blocklog *b, uint64_t mark, blocklog_visit_fn *fn, void *arg) MUST_CHECK;
/*
 * Brings the image back, durably; newer marks are dropped, the log of this one begins anew. *ret_blocks: written. On failure,
 * an I/O error of the host, the image is between the two; nothing is dropped, and it can be tried again.
 */
int blocklog_roll_back(struct blocklog *b, uint64_t mark, uint64_t *ret_blocks, struct err *e) MUST_CHECK;

void blocklog_get_stats(const struct blocklog *b, struct blocklog_stats *ret);

#endif
