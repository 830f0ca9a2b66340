/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests of the guest's disk driver: see request_internal.h. */
#include "disk/request_internal.h"

#include <linux/virtio_blk.h>
#include <string.h>

#include "disk/image.h"

/* Bytes of the buffers that the device reads, or that it writes. */
static uint64_t total(const struct virtq_batch *b, bool writable)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < b->n_segs; i++)
		if (b->seg[i].writable == writable)
			n += b->seg[i].len;
	return n;
}

/* Copies the first n bytes of what the device reads; there are so many. */
static bool gather(const struct virtq_batch *b, const struct gmem *gm, uint8_t *to, size_t n)
{
	for (uint32_t i = 0; n && i < b->n_segs && !b->seg[i].writable; i++) {
		size_t part = b->seg[i].len < n ? b->seg[i].len : n;

		if (!gmem_read(gm, b->seg[i].at, to, part))
			return false;
		to += part;
		n -= part;
	}
	return true;
}

/* The place of a read or write, if it is a possible one. */
static bool place(const struct virtio_blk_outhdr *h, uint64_t len, uint64_t size, struct request *r)
{
	if (!len || len > REQUEST_DATA_MAX || len % IMAGE_SECTOR || len > size ||
	    h->sector > (size - len) / IMAGE_SECTOR)
		return false;
	r->off = h->sector * IMAGE_SECTOR;
	r->len = (uint32_t)len;
	return true;
}

/* out, in: bytes of data that come with it, and that are asked for. */
static enum request_kind understand(const struct virtio_blk_outhdr *h, uint64_t out, uint64_t in, uint64_t size,
				    bool readonly, struct request *r)
{
	switch (h->type) {
	case VIRTIO_BLK_T_IN:
		return !out && place(h, in, size, r) ? REQUEST_READ : REQUEST_WRONG;
	case VIRTIO_BLK_T_OUT:
		return !in && !readonly && place(h, out, size, r) ? REQUEST_WRITE : REQUEST_WRONG;
	case VIRTIO_BLK_T_FLUSH:
		return REQUEST_FLUSH;
	case VIRTIO_BLK_T_GET_ID:
		r->len = in < VIRTIO_BLK_ID_BYTES ? (uint32_t)in : VIRTIO_BLK_ID_BYTES;
		return REQUEST_GET_ID;
	default:
		return REQUEST_UNKNOWN;
	}
}

struct request request_parse(const struct virtq_batch *b, const struct gmem *gm, uint64_t size, bool readonly,
			     uint8_t *header_and_data)
{
	uint64_t out = total(b, false), in = total(b, true);
	struct request r = {.kind = REQUEST_BROKEN};
	struct virtio_blk_outhdr h;

	_Static_assert(sizeof(h) == REQUEST_HEADER, "as on the ring");
	if (out < REQUEST_HEADER || !in || !gather(b, gm, header_and_data, REQUEST_HEADER))
		return r;
	memcpy(&h, header_and_data, sizeof(h));
	r.kind = understand(&h, out - REQUEST_HEADER, in - 1, size, readonly, &r);
	/* The header once more, with the data, in one go; what it says by now is not looked at. */
	if (r.kind == REQUEST_WRITE && !gather(b, gm, header_and_data, REQUEST_HEADER + r.len))
		r.kind = REQUEST_BROKEN;
	return r;
}

/* Writes a part of one buffer and tells of it. */
static bool put(struct gmem *gm, struct dirty_log *log, struct gpa at, const uint8_t *bytes, size_t len,
		request_wrote_fn *wrote, void *arg)
{
	if (!virtq_write(gm, log, at, bytes, len))
		return false;
	wrote(arg, at, len);
	return true;
}

uint32_t request_answer(const struct virtq_batch *b, struct gmem *gm, struct dirty_log *log, const uint8_t *data,
			uint32_t len, uint8_t status, request_wrote_fn *wrote, void *arg, bool *ret_ok)
{
	uint64_t in = total(b, true), done = 0, seen = 0;
	bool ok = true;

	for (uint32_t i = 0; ok && i < b->n_segs; i++) {
		const struct virtq_seg *s = &b->seg[i];
		uint32_t part = len - done < s->len ? (uint32_t)(len - done) : s->len;

		if (!s->writable || !s->len)
			continue;
		if (part)
			ok = put(gm, log, s->at, data + done, part, wrote, arg);
		done += part;
		seen += s->len;
		/* The last byte of all. */
		if (ok && seen == in)
			ok = put(gm, log, gpa_add(s->at, s->len - 1), &status, 1, wrote, arg);
	}
	*ret_ok = ok;
	/* Only what was written from the first byte on without a gap counts. */
	return (uint32_t)(done + 1 == in ? in : done);
}
