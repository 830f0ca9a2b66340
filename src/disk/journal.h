/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What makes going back safe against the end of the process and of the host: before an image is written to, all that will
 * be is in a file beside it, IMAGE.clouder-rollback. Who finds that file when the image is opened next does the rest.
 *
 * Images that go back together have a journal each, which names them all. Only if all of these journals are there,
 * going back had begun (or can be done as well): then it is done for all of them. If one is missing, either no
 * image had been written to yet, or all are back already: then those that are left are removed.
 *
 * The file: struct journal_head; the absolute names of the images, each ended by a zero byte; then for each block, in the order in
 * which they are to be written, its number (64 bits) and BLOCKLOG_BLOCK bytes, of which the image may have less at its
 * end. Numbers are the host's, x86-64. It gets its name when all of it is durable, so one that is not whole is not ours.
 */
#ifndef CLOUDER_DISK_JOURNAL_H
#define CLOUDER_DISK_JOURNAL_H

#include <stdint.h>

#include "base/err.h"
#include "disk/blocklog.h"
#include "disk/image.h"

#define JOURNAL_SUFFIX ".clouder-rollback"
#define JOURNAL_IMAGES_MAX 8u

struct journal_head {
	char magic[8];
	uint64_t id; /* the same in all journals of one going back */
	uint64_t image_size; /* of the content, bytes */
	uint64_t n_blocks;
	uint16_t n_images;
	uint16_t qcow2; /* a bit for each image, in the order of their names: what blocks are written through */
	uint32_t names_len;
	uint64_t sum; /* of the rest of this and the names */
};

_Static_assert(sizeof(struct journal_head) == 48, "layout of the file");

/* An image that is to go back, and what knows how. */
struct journal_part {
	const struct image *image;
	struct blocklog *undo;
};

/* Makes the journals of n (up to JOURNAL_IMAGES_MAX) images, durably. On failure there are none. */
int journal_begin(const struct journal_part *parts, unsigned n, uint64_t mark, struct err *e) MUST_CHECK;
/*
 * The images are back, durably: removes their journals, durably; fine for those that have none. On failure the images must
 * not be written to: what is in the journals would be written over it one day.
 */
int journal_end(const struct journal_part *parts, unsigned n, struct err *e) MUST_CHECK;

/*
 * For an image that was just opened: finishes what was begun, also for the others that belong to it, whose images are
 * opened and locked for that. *ret_blocks: written, 0 if there was nothing to finish.
 * ERR_STATE: the image is between two moments, and the text says what to do.
 */
int journal_finish(const struct image *i, uint64_t *ret_blocks, struct err *e) MUST_CHECK;

#endif
