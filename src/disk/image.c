/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disk images: see image.h. */
#include "disk/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "disk/image_internal.h"

/*
 * QEMU locks an image by bytes: from 100 on one for each thing that it does to it, from 200 on one for each that it does not
 * allow others to do.
 */
#define BYTES_DONE 100
#define BYTES_FORBIDDEN 200
#define BYTES_EACH 100
#define BYTE_WRITE 1 /* to write is the second of these things */
#define BYTES_OF_CHANGES 3 /* which are all up to the fourth: to write, to write the same, to change the size */

void image_init(struct image *i)
{
	*i = (struct image){.fd = -1};
}

static bool lock_bytes(int fd, int command, short type, off_t from, off_t n)
{
	struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = from, .l_len = n};

	return fcntl(fd, command, &l) == 0 && (command != F_OFD_GETLK || l.l_type == F_UNLCK);
}

static int lock(const struct image *i, const char *file, struct err *e)
{
	bool ours;

	if (i->readonly)
		ours = lock_bytes(i->fd, F_OFD_SETLK, F_RDLCK, BYTES_FORBIDDEN + BYTE_WRITE, BYTES_OF_CHANGES) &&
		       lock_bytes(i->fd, F_OFD_GETLK, F_WRLCK, BYTES_DONE + BYTE_WRITE, BYTES_OF_CHANGES);
	else
		ours = lock_bytes(i->fd, F_OFD_SETLK, F_WRLCK, BYTES_DONE, BYTES_FORBIDDEN + BYTES_EACH - BYTES_DONE);
	if (ours)
		return 0;
	return err_set(e, ERR_STATE, "disk %.200s is in use by another VM or program%s", file,
		       i->readonly ? " that writes to it" : "");
}

int image_check_format(const struct image *i, const struct image_spec *s, struct err *e)
{
	static const struct {
		const char *bytes, *name;
	} known[] = {{"QFI\xfb", "qcow2"}, {"QED", "QED"}, {"KDMV", "VMDK"}, {"vhdxfile", "VHDX"}};
	char head[IMAGE_SECTOR];

	if (s->raw || image_read(i, head, sizeof(head), 0) < 0)
		return 0;
	for (size_t k = 0; k < sizeof(known) / sizeof(known[0]); k++)
		if (!memcmp(head, known[k].bytes, strlen(known[k].bytes)))
			return err_set(
				e, ERR_REFUSED,
				"disk %.120s is a %s image: only raw ones can be rolled back; make one with `qemu-img "
				"convert -O raw`, or say format=raw if the guest is to see the file as it is",
				s->file, known[k].name);
	return 0;
}

static int measure(struct image *i, const char *file, struct err *e)
{
	struct stat st;
	off_t size;

	if (fstat(i->fd, &st) < 0)
		return err_set_errno(e, "disk %.200s", file);
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return err_set(e, ERR_USAGE, "disk %.200s is neither a file nor a block device", file);
	size = lseek(i->fd, 0, SEEK_END);
	if (size < 0)
		return err_set_errno(e, "disk %.200s", file);
	i->size = (uint64_t)size / IMAGE_SECTOR * IMAGE_SECTOR;
	if (!i->size)
		return err_set(e, ERR_USAGE,
			       "disk %.200s is empty: make it with `truncate --size 1G` or `qemu-img create`", file);
	return 0;
}

int image_open(const struct image_spec *s, struct image *ret, struct err *e)
{
	struct image i = {.readonly = s->readonly};

	i.path = realpath(s->file, NULL);
	if (!i.path)
		return err_set_errno(e, "disk %.200s", s->file);
	i.fd = open(s->file, (s->readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK);
	if (i.fd < 0) {
		err_set_errno(e, "disk %.200s", s->file);
		goto fail;
	}
	if (measure(&i, s->file, e) < 0 || lock(&i, s->file, e) < 0)
		goto fail;
	*ret = i;
	return 0;
fail:
	if (i.fd >= 0)
		close(i.fd);
	free(i.path);
	return -1;
}

void image_close(struct image *i)
{
	if (i->fd < 0)
		return;
	if (!i->readonly)
		fdatasync(i->fd);
	close(i->fd);
	free(i->path);
	image_init(i);
}

int image_read(const struct image *i, void *ret, size_t len, uint64_t off)
{
	return image_raw_read(i->fd, ret, len, off);
}

int image_write(const struct image *i, const void *bytes, size_t len, uint64_t off)
{
	return image_raw_write(i->fd, bytes, len, off);
}

int image_flush(const struct image *i)
{
	return image_raw_flush(i->fd);
}
