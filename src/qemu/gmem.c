/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The checked accessor of guest memory: see gmem.h. */
#include "qemu/gmem.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct gmem {
	uint8_t *base;
	uint64_t size;
	struct gmem_region region[GMEM_REGION_MAX];
	size_t n_regions;
	gmem_before_write_fn *before_write;
	void *before_write_arg;
};

int gmem_create(int fd, uint64_t size, struct gmem **ret_gm, struct err *e)
{
	struct gmem *gm = calloc(1, sizeof(*gm));
	void *base;

	if (!gm)
		return err_set_errno(e, "guest memory");
	base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (base == MAP_FAILED) {
		free(gm);
		return err_set_errno(e, "mapping %llu bytes of guest memory", (unsigned long long)size);
	}
	gm->base = base;
	gm->size = size;
	*ret_gm = gm;
	return 0;
}

void gmem_destroy(struct gmem *gm)
{
	if (!gm)
		return;
	munmap(gm->base, gm->size);
	free(gm);
}

static int region_order(const void *a, const void *b)
{
	uint64_t x = ((const struct gmem_region *)a)->start.v, y = ((const struct gmem_region *)b)->start.v;

	return x < y ? -1 : x > y;
}

int gmem_set_regions(struct gmem *gm, const struct gmem_region *regions, size_t n, struct err *e)
{
	struct gmem_region sorted[GMEM_REGION_MAX];

	if (n > GMEM_REGION_MAX)
		return err_set(e, ERR_LIMIT, "%zu memory regions, at most %d are supported", n, GMEM_REGION_MAX);
	if (n)
		memcpy(sorted, regions, n * sizeof(*regions));
	qsort(sorted, n, sizeof(*sorted), region_order);
	for (size_t i = 0; i < n; i++) {
		const struct gmem_region *r = &sorted[i];

		if (!r->size || r->start.v + r->size < r->start.v || r->offset > gm->size ||
		    r->size > gm->size - r->offset)
			return err_set_addr(e, ERR_PROTOCOL, r->start.v, "memory region outside the RAM file");
		if (i && sorted[i - 1].start.v + sorted[i - 1].size > r->start.v)
			return err_set_addr(e, ERR_PROTOCOL, r->start.v, "memory regions overlap");
	}
	if (n)
		memcpy(gm->region, sorted, n * sizeof(*sorted));
	gm->n_regions = n;
	return 0;
}

size_t gmem_regions(const struct gmem *gm, const struct gmem_region **ret)
{
	*ret = gm->region;
	return gm->n_regions;
}

void gmem_set_before_write(struct gmem *gm, gmem_before_write_fn *fn, void *arg)
{
	gm->before_write = fn;
	gm->before_write_arg = arg;
}

/* Host pointer of at and, in *ret_avail, how many bytes follow it in its region; NULL: not RAM. */
static uint8_t *find(const struct gmem *gm, struct gpa at, uint64_t *ret_avail)
{
	for (size_t i = 0; i < gm->n_regions; i++) {
		const struct gmem_region *r = &gm->region[i];

		if (at.v - r->start.v < r->size) {
			*ret_avail = r->size - (at.v - r->start.v);
			return gm->base + r->offset + (at.v - r->start.v);
		}
	}
	return NULL;
}

static bool range_is_ram(const struct gmem *gm, struct gpa at, uint64_t len)
{
	uint64_t avail;

	if (at.v + len < at.v)
		return false;
	while (len) {
		if (!find(gm, at, &avail))
			return false;
		if (avail >= len)
			return true;
		at.v += avail;
		len -= avail;
	}
	return true;
}

bool gmem_read(const struct gmem *gm, struct gpa at, void *ret_buf, size_t len)
{
	uint8_t *to = ret_buf;

	if (!range_is_ram(gm, at, len))
		return false;
	while (len) {
		uint64_t avail = 0, n;
		const uint8_t *from = find(gm, at, &avail);

		n = avail < len ? avail : len;
		memcpy(to, from, n);
		to += n;
		at.v += n;
		len -= n;
	}
	return true;
}

static void note_write(struct gmem *gm, const uint8_t *to, uint64_t len)
{
	uint64_t first = (uint64_t)(to - gm->base) >> GUEST_PAGE_SHIFT;
	uint64_t last = ((uint64_t)(to - gm->base) + len - 1) >> GUEST_PAGE_SHIFT;

	if (!gm->before_write)
		return;
	for (uint64_t page = first; page <= last; page++)
		gm->before_write(gm->before_write_arg, page);
}

bool gmem_write(struct gmem *gm, struct gpa at, const void *buf, size_t len)
{
	const uint8_t *from = buf;

	if (!range_is_ram(gm, at, len))
		return false;
	while (len) {
		uint64_t avail = 0, n;
		uint8_t *to = find(gm, at, &avail);

		n = avail < len ? avail : len;
		note_write(gm, to, n);
		memcpy(to, from, n);
		from += n;
		at.v += n;
		len -= n;
	}
	return true;
}

bool gmem_load16(const struct gmem *gm, struct gpa at, uint16_t *ret)
{
	uint64_t avail;
	const uint8_t *p = find(gm, at, &avail);

	if (!p || avail < 2 || (at.v & 1))
		return false;
	*ret = __atomic_load_n((const uint16_t *)(const void *)p, __ATOMIC_ACQUIRE);
	return true;
}

bool gmem_store16(struct gmem *gm, struct gpa at, uint16_t v)
{
	uint64_t avail;
	uint8_t *p = find(gm, at, &avail);

	if (!p || avail < 2 || (at.v & 1))
		return false;
	note_write(gm, p, 2);
	__atomic_store_n((uint16_t *)(void *)p, v, __ATOMIC_RELEASE);
	return true;
}

bool gmem_to_offset(const struct gmem *gm, struct gpa at, uint64_t *ret_offset)
{
	uint64_t avail;
	const uint8_t *p = find(gm, at, &avail);

	if (!p)
		return false;
	*ret_offset = (uint64_t)(p - gm->base);
	return true;
}

bool gmem_from_offset(const struct gmem *gm, uint64_t offset, struct gpa *ret)
{
	for (size_t i = 0; i < gm->n_regions; i++) {
		const struct gmem_region *r = &gm->region[i];

		if (offset - r->offset < r->size) {
			*ret = gpa_add(r->start, offset - r->offset);
			return true;
		}
	}
	return false;
}

uint8_t *gmem_base(const struct gmem *gm)
{
	return gm->base;
}

uint64_t gmem_size(const struct gmem *gm)
{
	return gm->size;
}
