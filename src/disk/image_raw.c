/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A raw image: the file is the content. */
#include <errno.h>
#include <unistd.h>

#include "disk/image_internal.h"

int image_raw_read(int fd, void *ret, size_t len, uint64_t off)
{
	uint8_t *to = ret;

	while (len) {
		ssize_t n = pread(fd, to, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0)
			errno = EIO; /* it has become shorter */
		if (n <= 0)
			return -1;
		to += n;
		off += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

int image_raw_write(int fd, const void *bytes, size_t len, uint64_t off)
{
	const uint8_t *from = bytes;

	while (len) {
		ssize_t n = pwrite(fd, from, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0)
			errno = ENOSPC;
		if (n <= 0)
			return -1;
		from += n;
		off += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

int image_raw_flush(int fd)
{
	return fdatasync(fd);
}
