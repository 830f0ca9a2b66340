/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disk images: see image.h. */
#include "disk/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
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

/* A VM that was killed leaves a process that has yet to write metadata of its qcow2 image: it is about to end. */
#define QCOW2_LOCK_TRIES 100u
#define LOCK_PAUSE_MS 50

void image_init(struct image *i)
{
	*i = (struct image){.fd = -1};
}

static bool lock_bytes(int fd, int command, short type, off_t from, off_t n)
{
	struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = from, .l_len = n};

	return fcntl(fd, command, &l) == 0 && (command != F_OFD_GETLK || l.l_type == F_UNLCK);
}

static bool try_lock(const struct image *i)
{
	if (i->readonly)
		return lock_bytes(i->fd, F_OFD_SETLK, F_RDLCK, BYTES_FORBIDDEN + BYTE_WRITE, BYTES_OF_CHANGES) &&
		       lock_bytes(i->fd, F_OFD_GETLK, F_WRLCK, BYTES_DONE + BYTE_WRITE, BYTES_OF_CHANGES);
	return lock_bytes(i->fd, F_OFD_SETLK, F_WRLCK, BYTES_DONE, BYTES_FORBIDDEN + BYTES_EACH - BYTES_DONE);
}

/* tries: how often, LOCK_PAUSE_MS between. */
static int lock(const struct image *i, const char *file, unsigned tries, struct err *e)
{
	const struct timespec pause = {.tv_nsec = LOCK_PAUSE_MS * 1000000L};

	while (tries--) {
		if (try_lock(i))
			return 0;
		if (tries)
			nanosleep(&pause, NULL);
	}
	return err_set(e, ERR_STATE, "disk %.200s is in use by another VM or program%s", file,
		       i->readonly ? " that writes to it" : "");
}

int image_check_format(const struct image *i, const struct image_spec *s, struct err *e)
{
	static const char *const convert = "make a qcow2 one with `qemu-img convert -O qcow2`";
	const struct {
		const char *bytes, *name, *advice;
	} known[] = {{"QFI\xfb", "qcow2", "say format=qcow2 to use it as one"},
		     {"QED", "QED", convert},
		     {"KDMV", "VMDK", convert},
		     {"vhdxfile", "VHDX", convert}};
	char head[IMAGE_SECTOR];

	if (s->format != IMAGE_UNSAID || image_read(i, head, sizeof(head), 0) < 0)
		return 0;
	for (size_t k = 0; k < sizeof(known) / sizeof(known[0]); k++)
		if (!memcmp(head, known[k].bytes, strlen(known[k].bytes)))
			return err_set(
				e, ERR_REFUSED,
				"disk %.100s looks like a %s image: %s, or format=raw if the guest is to see the file "
				"as it is",
				s->file, known[k].name, known[k].advice);
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

/* Locked, so that what is checked is what is opened. */
static int open_qcow2(struct image *i, const char *file, struct err *e)
{
	uint64_t size;

	if (qcow2_check(i->fd, file, e) < 0)
		return -1;
	if (image_nbd_open(i->fd, i->readonly, &i->nbd, &size, e) < 0)
		return err_prefix(e, "disk %.100s", file);
	i->size = size / IMAGE_SECTOR * IMAGE_SECTOR;
	if (i->size)
		return 0;
	image_nbd_close(i->nbd);
	return err_set(e, ERR_USAGE, "disk %.200s is an image of 0 bytes: make it with `qemu-img create`", file);
}

int image_open(const struct image_spec *s, struct image *ret, struct err *e)
{
	struct image i = {.readonly = s->readonly};
	bool qcow2 = s->format == IMAGE_QCOW2;

	i.path = realpath(s->file, NULL);
	if (!i.path)
		return err_set_errno(e, "disk %.200s", s->file);
	i.fd = open(s->file, (s->readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK);
	if (i.fd < 0) {
		err_set_errno(e, "disk %.200s", s->file);
		goto fail;
	}
	if (measure(&i, s->file, e) < 0 || lock(&i, s->file, qcow2 ? QCOW2_LOCK_TRIES : 1, e) < 0 ||
	    (qcow2 && open_qcow2(&i, s->file, e) < 0))
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
	/* Nobody could be told that it failed. */
	if (!i->readonly && image_flush(i) < 0)
		errno = 0;
	if (i->nbd)
		image_nbd_close(i->nbd);
	close(i->fd);
	free(i->path);
	image_init(i);
}

int image_read(const struct image *i, void *ret, size_t len, uint64_t off)
{
	return i->nbd ? image_nbd_read(i->nbd, ret, len, off) : image_raw_read(i->fd, ret, len, off);
}

int image_write(const struct image *i, const void *bytes, size_t len, uint64_t off)
{
	return i->nbd ? image_nbd_write(i->nbd, bytes, len, off) : image_raw_write(i->fd, bytes, len, off);
}

int image_flush(const struct image *i)
{
	return i->nbd ? image_nbd_flush(i->nbd) : image_raw_flush(i->fd);
}

void image_why(const struct image *i, int error, struct err *ret)
{
	const char *words;

	if (i->nbd && image_nbd_is_lost(i->nbd, &words))
		err_set(ret, ERR_GONE, "its qemu-storage-daemon has ended%s%.160s", *words ? ": " : "", words);
	else
		err_set(ret, ERR_SYSTEM, "%s", strerror(error));
}
