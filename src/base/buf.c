/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Byte buffers: see buf.h. */
#include "base/buf.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void buf_deinit(struct buf *b)
{
	free(b->data);
	*b = (struct buf){0};
}

int buf_append(struct buf *b, const void *bytes, size_t n, size_t max)
{
	size_t cap = b->cap ? b->cap : 512;
	char *data;

	if (b->len > max || n > max - b->len)
		return -1;
	if (!n)
		return 0;
	while (cap < b->len + n)
		cap *= 2;
	if (cap != b->cap) {
		data = realloc(b->data, cap);
		if (!data)
			return -1;
		b->data = data;
		b->cap = cap;
	}
	memcpy(b->data + b->len, bytes, n);
	b->len += n;
	return 0;
}

void buf_consume(struct buf *b, size_t n)
{
	assert(n <= b->len);
	if (!n)
		return;
	memmove(b->data, b->data + n, b->len - n);
	b->len -= n;
}
