/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The file that a disk's content is in: what the operator said of it, opening and locking it, reading and writing it.
 *
 * The file of a raw image is the content. One of a qcow2 image is opened by QEMU's qemu-storage-daemon, a process for each, and
 * read and written over NBD; to all above this it is the same.
 */
#ifndef CLOUDER_DISK_IMAGE_H
#define CLOUDER_DISK_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define IMAGE_ID_MAX 20u /* as many bytes as a virtio disk's name has */
#define IMAGE_SECTOR 512u

enum image_format {
	IMAGE_UNSAID, /* raw, and refused if it looks like another: what the guest wrote there must not decide */
	IMAGE_RAW,
	IMAGE_QCOW2,
};

/* What --disk says. */
struct image_spec {
	char *file; /* ours */
	char id[IMAGE_ID_MAX + 1]; /* "": none given */
	bool readonly;
	enum image_format format;
	unsigned undo_mib; /* largest undo log */
};

/*
 * Fills *ret from "FILE[,format=raw|qcow2][,readonly=on|off][,id=NAME][,undo=MIB]". ERR_USAGE: it is not of this form.
 * image_spec_deinit frees what is in it; needed only after success.
 */
int image_spec_parse(const char *text, struct image_spec *ret, struct err *e) MUST_CHECK;
void image_spec_deinit(struct image_spec *s);

struct image_nbd;

struct image {
	int fd; /* has the lock */
	struct image_nbd *nbd; /* of a qcow2 image, whose file is not to be touched; NULL: raw */
	char *path; /* ours; absolute, without symbolic links */
	uint64_t size; /* of the content; bytes, whole sectors */
	bool readonly;
};

/*
 * Opens and locks the file, so that neither another VM of ours nor QEMU's programs write to it. The lock is QEMU's own kind.
 * ERR_STATE: somebody else has it, for a qcow2 image after some seconds. ERR_REFUSED, ERR_MISSING: a qcow2 image that cannot be
 * used. The process of a qcow2 image ends with the thread that calls this.
 */
int image_open(const struct image_spec *s, struct image *ret, struct err *e) MUST_CHECK;
/* ERR_REFUSED: its content says that it is no raw image, and the operator did not say what it is. */
int image_check_format(const struct image *i, const struct image_spec *s, struct err *e) MUST_CHECK;
/* What was written becomes durable first. Fine after image_init(), too. */
void image_close(struct image *i);
/* Not open. */
void image_init(struct image *i);

/* All of len bytes, or -1 with errno set. off + len must be inside the image. */
int image_read(const struct image *i, void *ret, size_t len, uint64_t off) MUST_CHECK;
int image_write(const struct image *i, const void *bytes, size_t len, uint64_t off) MUST_CHECK;
/* What was written is durable when it returns. -1 with errno set. */
int image_flush(const struct image *i) MUST_CHECK;
/* Why one of these failed with error, an errno. */
void image_why(const struct image *i, int error, struct err *ret);

#endif
