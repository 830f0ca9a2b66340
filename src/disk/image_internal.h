/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The way to an image's content, inside its folder: the file itself. */
#ifndef CLOUDER_DISK_IMAGE_INTERNAL_H
#define CLOUDER_DISK_IMAGE_INTERNAL_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* As image_read(), image_write() and image_flush(). */
int image_raw_read(int fd, void *ret, size_t len, uint64_t off) MUST_CHECK;
int image_raw_write(int fd, const void *bytes, size_t len, uint64_t off) MUST_CHECK;
int image_raw_flush(int fd) MUST_CHECK;

#endif
