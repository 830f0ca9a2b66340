/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Split virtqueues: walking the guest's descriptors and giving them back. */
#include "vhost/virtq.h"

#include <endian.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <unistd.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "rings are read as the host's own integers");

/* Offsets in the available and the used ring. */
#define RING_FLAGS 0u
#define RING_IDX 2u
#define RING_ENTRIES 4u

struct table {
	struct gpa at;
	uint32_t n;
};

void virtq_init(struct virtq *q)
{
	*q = (struct virtq){.kick = -1, .call = -1, .err = -1};
}

void dirty_log_mark(struct dirty_log *log, struct gpa at, uint64_t len)
{
	if (!log->on || !log->bits || !len)
		return;
	for (uint64_t page = at.v >> GUEST_PAGE_SHIFT; page <= (at.v + len - 1) >> GUEST_PAGE_SHIFT; page++)
		if (page / 8 < log->size)
			__atomic_fetch_or(&log->bits[page / 8], (uint8_t)(1u << page % 8), __ATOMIC_RELEASE);
}

bool virtq_write(struct gmem *gm, struct dirty_log *log, struct gpa at, const void *buf, size_t len)
{
	if (!gmem_write(gm, at, buf, len))
		return false;
	dirty_log_mark(log, at, len);
	return true;
}

bool virtq_begin(struct virtq *q, const struct gmem *gm)
{
	if (q->used_known)
		return true;
	q->used_known = gmem_load16(gm, gpa_add(q->used, RING_IDX), &q->used_idx);
	return q->used_known;
}

void virtq_batch_reset(struct virtq_batch *b)
{
	b->n_segs = b->n_chains = 0;
	b->bytes = 0;
}

/* Whether the next buffer of the chain may be as it is. */
static bool right_way(const struct virtq_batch *b, const struct virtq_chain *c, enum virtq_ways ways, bool writable)
{
	if (ways != VIRTQ_BOTH)
		return writable == (ways == VIRTQ_WRITABLE);
	return writable || !c->n_segs || !b->seg[b->n_segs - 1].writable;
}

static bool add_seg(struct virtq_batch *b, struct virtq_chain *c, const struct vring_desc *d)
{
	if (b->n_segs >= VIRTQ_SEG_MAX)
		return false;
	b->seg[b->n_segs++] =
		(struct virtq_seg){.at = gpa(d->addr), .len = d->len, .writable = d->flags & VRING_DESC_F_WRITE};
	c->n_segs++;
	c->bytes += d->len;
	return true;
}

/* Walks one table from entry i. VIRTQ_BAD: broken; VIRTQ_EMPTY: ends in the indirect table returned. */
static enum virtq_got walk(const struct gmem *gm, const struct table *t, uint32_t i, enum virtq_ways ways,
			   struct virtq_batch *b, struct virtq_chain *c, struct table *ret_indirect)
{
	struct vring_desc d;

	/* More steps than entries would be a loop. */
	for (uint32_t steps = 0; steps < t->n; steps++) {
		if (i >= t->n || !gmem_read(gm, gpa_add(t->at, (uint64_t)i * sizeof(d)), &d, sizeof(d)))
			return VIRTQ_BAD;
		if (d.flags & VRING_DESC_F_INDIRECT) {
			if ((d.flags & VRING_DESC_F_NEXT) || !d.len || d.len % sizeof(d) ||
			    d.len / sizeof(d) > VIRTQ_SIZE_MAX)
				return VIRTQ_BAD;
			*ret_indirect = (struct table){gpa(d.addr), d.len / (uint32_t)sizeof(d)};
			return VIRTQ_EMPTY;
		}
		if (!right_way(b, c, ways, d.flags & VRING_DESC_F_WRITE))
			return VIRTQ_BAD;
		if (!add_seg(b, c, &d))
			return VIRTQ_FULL;
		if (!(d.flags & VRING_DESC_F_NEXT))
			return VIRTQ_CHAIN;
		i = d.next;
	}
	return VIRTQ_BAD;
}

static enum virtq_got walk_chain(const struct virtq *q, const struct gmem *gm, enum virtq_ways ways, bool indirect_ok,
				 struct virtq_batch *b, struct virtq_chain *c)
{
	struct table direct = {q->desc, q->num}, indirect, nested;
	enum virtq_got got = walk(gm, &direct, c->head, ways, b, c, &indirect);

	if (got != VIRTQ_EMPTY)
		return got;
	if (!indirect_ok)
		return VIRTQ_BAD;
	got = walk(gm, &indirect, 0, ways, b, c, &nested);
	return got == VIRTQ_EMPTY ? VIRTQ_BAD : got;
}

enum virtq_got virtq_peek(const struct virtq *q, const struct gmem *gm, enum virtq_ways ways, bool indirect_ok,
			  struct virtq_batch *b)
{
	uint16_t idx = (uint16_t)(q->last_avail + b->n_chains), avail;
	uint32_t n_segs = b->n_segs;
	struct virtq_chain c = {0};
	enum virtq_got got;

	if (!gmem_load16(gm, gpa_add(q->avail, RING_IDX), &avail) || (uint16_t)(avail - q->last_avail) > q->num)
		return VIRTQ_BAD;
	if ((uint16_t)(avail - q->last_avail) <= b->n_chains)
		return VIRTQ_EMPTY;
	if (!gmem_load16(gm, gpa_add(q->avail, RING_ENTRIES + 2ull * (idx % q->num)), &c.head))
		return VIRTQ_BAD;
	got = walk_chain(q, gm, ways, indirect_ok, b, &c);
	if (got == VIRTQ_CHAIN) {
		b->chain[b->n_chains++] = c;
		b->bytes += c.bytes;
	} else {
		b->n_segs = n_segs;
	}
	return got;
}

bool virtq_publish(struct virtq *q, struct gmem *gm, struct dirty_log *log, const struct virtq_batch *b,
		   const uint32_t *written)
{
	struct gpa idx_at = gpa_add(q->used, RING_IDX);

	for (uint32_t i = 0; i < b->n_chains; i++) {
		struct vring_used_elem elem = {.id = b->chain[i].head, .len = written[i]};
		uint32_t slot = (uint16_t)(q->used_idx + i) % q->num;

		if (!virtq_write(gm, log, gpa_add(q->used, RING_ENTRIES + sizeof(elem) * slot), &elem, sizeof(elem)))
			return false;
	}
	if (!gmem_store16(gm, idx_at, (uint16_t)(q->used_idx + b->n_chains)))
		return false;
	dirty_log_mark(log, idx_at, 2);
	q->used_idx = (uint16_t)(q->used_idx + b->n_chains);
	q->last_avail = (uint16_t)(q->last_avail + b->n_chains);
	return true;
}

void virtq_notify(const struct virtq *q, const struct gmem *gm)
{
	const uint64_t one = 1;
	uint16_t flags;

	/* The guest allows interrupts, then looks at the used index; we write the index, then look whether it does. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (q->call < 0 || !gmem_load16(gm, gpa_add(q->avail, RING_FLAGS), &flags) ||
	    (flags & VRING_AVAIL_F_NO_INTERRUPT))
		return;
	/* Fails only when the counter is full: then the guest is being told anyway. */
	if (write(q->call, &one, sizeof(one)) < 0)
		return;
}
