/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest memory as CloudER sees it: the one checked accessor.
 *
 * The RAM file (a memfd, CloudER's own) is mapped once. Guest-physical regions
 * say which part of the file appears where; they come from the vhost-user
 * memory table. The guest writes this memory while we read it: copy once, then
 * check, then use. No function here trusts an address or a length.
 */
#ifndef CLOUDER_QEMU_GMEM_H
#define CLOUDER_QEMU_GMEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"

struct gmem;

struct gmem_region {
	struct gpa start;
	uint64_t size; /* bytes */
	uint64_t offset; /* of start in the RAM file */
};

#define GMEM_REGION_MAX 32

/* Called before the page (index in the RAM file) is written through this accessor. */
typedef void gmem_before_write_fn(void *arg, uint64_t file_page);

/* Maps size bytes of fd (kept open by the caller). Without regions nothing is readable. */
int gmem_create(int fd, uint64_t size, struct gmem **ret_gm, struct err *e) MUST_CHECK;
void gmem_destroy(struct gmem *gm);

/* Replaces the region table: sorted copies, checked for overlap and against the file's size. */
int gmem_set_regions(struct gmem *gm, const struct gmem_region *regions, size_t n, struct err *e) MUST_CHECK;
/* Number of regions; *ret points to the accessor's own table. */
size_t gmem_regions(const struct gmem *gm, const struct gmem_region **ret);

void gmem_set_before_write(struct gmem *gm, gmem_before_write_fn *fn, void *arg);

/* Copies len bytes; false, nothing copied, if any of them is not RAM. May cross regions. */
bool gmem_read(const struct gmem *gm, struct gpa at, void *ret_buf, size_t len) MUST_CHECK;
bool gmem_write(struct gmem *gm, struct gpa at, const void *buf, size_t len) MUST_CHECK;

/* 16-bit ring indexes: atomic, acquire on load, release on store; false if not RAM or misaligned. */
bool gmem_load16(const struct gmem *gm, struct gpa at, uint16_t *ret) MUST_CHECK;
bool gmem_store16(struct gmem *gm, struct gpa at, uint16_t v) MUST_CHECK;

/* Guest-physical address <-> offset in the RAM file. false: not RAM. */
bool gmem_to_offset(const struct gmem *gm, struct gpa at, uint64_t *ret_offset) MUST_CHECK;
bool gmem_from_offset(const struct gmem *gm, uint64_t offset, struct gpa *ret) MUST_CHECK;

/* The mapping itself, for scans and for the undo log: contents change under the reader. */
uint8_t *gmem_base(const struct gmem *gm);
uint64_t gmem_size(const struct gmem *gm);

#endif
