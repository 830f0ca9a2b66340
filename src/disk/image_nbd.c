/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A qcow2 image, by NBD to a qemu-storage-daemon of its own: see storage_internal.h. */
#include <errno.h>
#include <libnbd.h>
#include <stdlib.h>
#include <unistd.h>

#include "disk/image_internal.h"
#include "disk/storage_internal.h"

/* Of one request; servers take 32 MiB. */
#define PIECE_MAX (16u << 20)

struct image_nbd {
	struct nbd_handle *h;
	struct storage *daemon;
};

/* Takes the socket. */
static int connect_to(struct image_nbd *n, int socket)
{
	n->h = nbd_create();
	if (!n->h || nbd_set_export_name(n->h, STORAGE_EXPORT) < 0) {
		close(socket);
		return -1;
	}
	/* The socket is closed with the handle, also if this fails. */
	return nbd_connect_socket(n->h, socket);
}

int image_nbd_open(int fd, bool readonly, struct image_nbd **ret_n, uint64_t *ret_size, struct err *e)
{
	struct image_nbd *n = calloc(1, sizeof(*n));
	int64_t size = -1;
	int socket;

	if (!n)
		return err_set_errno(e, "disk");
	if (storage_start(fd, readonly, &n->daemon, &socket, e) < 0) {
		free(n);
		return -1;
	}
	if (connect_to(n, socket) == 0)
		size = nbd_get_size(n->h);
	if (size < 0) {
		nbd_close(n->h);
		storage_give_up(n->daemon, e);
		free(n);
		return -1;
	}
	*ret_n = n;
	*ret_size = (uint64_t)size;
	return 0;
}

void image_nbd_close(struct image_nbd *n)
{
	/* It ends all the same if it cannot be told so. */
	if (nbd_shutdown(n->h, 0) < 0)
		errno = 0;
	nbd_close(n->h);
	storage_end(n->daemon);
	free(n);
}

bool image_nbd_is_lost(struct image_nbd *n, const char **ret_words)
{
	*ret_words = storage_last_words(n->daemon);
	return nbd_aio_is_dead(n->h) || nbd_aio_is_closed(n->h);
}

static int failed(const struct image_nbd *n)
{
	int error = nbd_get_errno();

	errno = !error || nbd_aio_is_dead(n->h) || nbd_aio_is_closed(n->h) ? EIO : error;
	return -1;
}

int image_nbd_read(struct image_nbd *n, void *ret, size_t len, uint64_t off)
{
	uint8_t *to = ret;

	while (len) {
		size_t part = len < PIECE_MAX ? len : PIECE_MAX;

		if (nbd_pread(n->h, to, part, off, 0) < 0)
			return failed(n);
		to += part;
		off += part;
		len -= part;
	}
	return 0;
}

int image_nbd_write(struct image_nbd *n, const void *bytes, size_t len, uint64_t off)
{
	const uint8_t *from = bytes;

	while (len) {
		size_t part = len < PIECE_MAX ? len : PIECE_MAX;

		if (nbd_pwrite(n->h, from, part, off, 0) < 0)
			return failed(n);
		from += part;
		off += part;
		len -= part;
	}
	return 0;
}

int image_nbd_flush(struct image_nbd *n)
{
	return nbd_flush(n->h, 0) < 0 ? failed(n) : 0;
}
