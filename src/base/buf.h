/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A growing run of bytes with an upper bound chosen by the caller. */
#ifndef CLOUDER_BASE_BUF_H
#define CLOUDER_BASE_BUF_H

#include <stddef.h>

#include "base/err.h"

/* All zero: empty. data is not NUL-terminated. */
struct buf {
	char *data;
	size_t len, cap;
};

void buf_deinit(struct buf *b);
/* Appends n bytes. -1 (b unchanged) if it would hold more than max bytes or without memory. */
int buf_append(struct buf *b, const void *bytes, size_t n, size_t max) MUST_CHECK;
/* Drops the first n bytes (n <= len). */
void buf_consume(struct buf *b, size_t n);

#endif
