/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What of a qcow2 image is refused before QEMU opens it: what would lead to other files, which whoever made the image could
 * name freely, and what needs a password. All else of the header is QEMU's to judge, in a process of its own.
 */
#include <endian.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "disk/image.h"
#include "disk/image_internal.h"

#define QCOW2_MAGIC "QFI\xfb"
/* Bits of struct qcow2_head.incompatible, from version 3 on. */
#define INCOMPATIBLE_DATA_FILE (1u << 2) /* the content is in another file, named in an extension */

/* The file's beginning, numbers big-endian: docs/interop/qcow2 of QEMU. */
struct qcow2_head {
	char magic[4];
	uint32_t version;
	uint64_t backing_file; /* where its name is; 0: there is none */
	uint32_t backing_file_len, cluster_bits;
	uint64_t size;
	uint32_t encryption; /* 0: none */
	uint32_t l1_size;
	uint64_t l1, refcounts;
	uint32_t refcounts_len, n_snapshots;
	uint64_t snapshots;
	uint64_t incompatible;
};

_Static_assert(sizeof(struct qcow2_head) == 80, "layout of the file");

int qcow2_check(int fd, const char *file, struct err *e)
{
	struct qcow2_head h = {.version = 0};

	/* One that is shorter is none, which the magic says. */
	if (pread(fd, &h, sizeof(h), 0) < 0)
		return err_set_errno(e, "disk %.200s", file);
	if (memcmp(h.magic, QCOW2_MAGIC, sizeof(h.magic)) != 0)
		return err_set(e, ERR_REFUSED,
			       "disk %.160s is no qcow2 image: leave format=qcow2 out if it is a raw one", file);
	if (h.backing_file)
		return err_set(e, ERR_REFUSED,
			       "disk %.120s has a backing file, which is not followed: make one that has all in itself "
			       "with `qemu-img convert -O qcow2`",
			       file);
	if (be32toh(h.version) > 2 && be64toh(h.incompatible) & INCOMPATIBLE_DATA_FILE)
		return err_set(
			e, ERR_REFUSED,
			"disk %.120s has its data in another file, which is not followed: make one that has all in "
			"itself with `qemu-img convert -O qcow2`",
			file);
	if (h.encryption)
		return err_set(
			e, ERR_REFUSED,
			"disk %.120s is encrypted: only what is not can be used; make one with `qemu-img convert "
			"-O qcow2`",
			file);
	return 0;
}
