/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The two ways to an image's content, inside its folder: the file itself, or NBD to who knows its format. */
#ifndef CLOUDER_DISK_IMAGE_INTERNAL_H
#define CLOUDER_DISK_IMAGE_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* As image_read(), image_write() and image_flush(). */
int image_raw_read(int fd, void *ret, size_t len, uint64_t off) MUST_CHECK;
int image_raw_write(int fd, const void *bytes, size_t len, uint64_t off) MUST_CHECK;
int image_raw_flush(int fd) MUST_CHECK;

/*
 * ERR_REFUSED: the header of the file behind fd is none of qcow2, or has the content lie in other files too, or encrypted. file:
 * for the message.
 */
int qcow2_check(int fd, const char *file, struct err *e) MUST_CHECK;

struct image_nbd;

/* Opens a qcow2 image by a process of its own, which has fd and its lock from then on. *ret_size: bytes. */
int image_nbd_open(int fd, bool readonly, struct image_nbd **ret_n, uint64_t *ret_size, struct err *e) MUST_CHECK;
/* Also ends the process; without a flush before that, what it had in memory is in the image, but not durable. */
void image_nbd_close(struct image_nbd *n);
int image_nbd_read(struct image_nbd *n, void *ret, size_t len, uint64_t off) MUST_CHECK;
int image_nbd_write(struct image_nbd *n, const void *bytes, size_t len, uint64_t off) MUST_CHECK;
int image_nbd_flush(struct image_nbd *n) MUST_CHECK;
/* Whether the process is gone; what it said last, "" if nothing. */
bool image_nbd_is_lost(struct image_nbd *n, const char **ret_words);

#endif
