/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The input log: a ring of records with three cursors (oldest, replay, next). */
#include "net/inlog_internal.h"

#include <assert.h>
#include <string.h>
#include <sys/mman.h>

#include "net/frame_internal.h"
#include "net/net.h"

static uint64_t record_size(size_t len)
{
	return (sizeof(struct inlog_record) + len + 7) & ~7ull;
}

int inlog_init(struct inlog *g, uint64_t limit, struct err *e)
{
	/* Besides what is kept and what waits, room for one record and for the unused end of the ring. */
	uint64_t cap = limit + INLOG_WAITING_BYTES + 2 * record_size(INLOG_FRAME_MAX);
	void *base;

	memset(g, 0, sizeof(*g));
	if (cap < limit || limit > INT64_MAX / 2)
		return err_set(e, ERR_USAGE, "input log of %llu bytes is too large", (unsigned long long)limit);
	cap = (cap + 7) & ~7ull;
	base = mmap(NULL, cap, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (base == MAP_FAILED)
		return err_set_errno(e, "input log of %llu bytes", (unsigned long long)cap);
	*g = (struct inlog){.base = base, .cap = cap, .limit = limit, .next_seq = 1, .next_origin = 1};
	return 0;
}

void inlog_deinit(struct inlog *g)
{
	if (g->base)
		munmap(g->base, g->cap);
	g->base = NULL;
}

static struct inlog_record *record_at(const struct inlog *g, uint64_t pos)
{
	return (struct inlog_record *)(void *)(g->base + pos % g->cap);
}

static uint64_t ring_end(const struct inlog *g, uint64_t pos)
{
	return pos - pos % g->cap + g->cap;
}

/* Position of the record at or after pos: steps over the unused end of the ring. */
static uint64_t settle(const struct inlog *g, uint64_t pos)
{
	if (pos != g->head && !record_at(g, pos)->seq)
		pos = ring_end(g, pos);
	return pos;
}

static uint64_t after(const struct inlog *g, uint64_t pos)
{
	pos = settle(g, pos);
	return settle(g, pos + record_at(g, pos)->size);
}

static void forget_oldest(struct inlog *g)
{
	const struct inlog_record *r;

	g->tail = settle(g, g->tail);
	r = record_at(g, g->tail);
	g->kept -= r->size;
	g->frames--;
	g->bytes -= r->len;
	g->tail = after(g, g->tail);
}

/* Whether the oldest record was delivered and no replay still needs it. */
static bool may_forget(const struct inlog *g)
{
	uint64_t tail = settle(g, g->tail);

	return tail < settle(g, g->next) && tail < settle(g, g->replay);
}

/* Finds room for size bytes in one piece, giving up the oldest delivered records. */
static bool make_room(struct inlog *g, uint64_t size, uint64_t *ret_at)
{
	uint64_t at = g->head;

	if (ring_end(g, at) - at < size)
		at = ring_end(g, at);
	while (at + size - g->tail > g->cap) {
		if (!may_forget(g))
			return false;
		forget_oldest(g);
	}
	*ret_at = at;
	return true;
}

/* Origins inside one frame are consecutive and never 0: a frame that would pass the last one starts again at 1. */
static uint32_t take_origins(struct inlog *g, uint32_t n)
{
	uint32_t first = g->next_origin;

	if (!n)
		return 0;
	if (first > NET_ORIGIN_MAX - n)
		first = 1;
	g->next_origin = first + n;
	return first;
}

bool inlog_append(struct inlog *g, const uint8_t *frame, size_t len)
{
	uint64_t size = record_size(len), at;
	struct inlog_record *r;
	struct frame_info info;
	bool replaying = g->replay != g->next;

	if (len > INLOG_FRAME_MAX || g->waiting_frames >= INLOG_WAITING_FRAMES ||
	    g->waiting_bytes + size > INLOG_WAITING_BYTES || !make_room(g, size, &at))
		return false;
	frame_parse(frame, len, &info);
	if (at != g->head)
		record_at(g, g->head)->seq = 0;
	r = record_at(g, at);
	*r = (struct inlog_record){
		.seq = g->next_seq++,
		.size = (uint32_t)size,
		.len = (uint32_t)len,
		.payload_off = info.payload_off,
		.payload_len = info.payload_len,
		.origin = take_origins(g, info.payload_len),
	};
	memcpy(r->data, frame, len);
	g->head = at + size;
	g->next = settle(g, g->next);
	g->replay = replaying ? g->replay : g->next;
	g->waiting_frames++;
	g->waiting_bytes += size;
	g->frames++;
	g->bytes += len;
	return true;
}

struct inlog_record *inlog_next(struct inlog *g)
{
	return g->next == g->head ? NULL : record_at(g, g->next);
}

void inlog_next_done(struct inlog *g)
{
	struct inlog_record *r = inlog_next(g);

	assert(r && g->replay == g->next);
	g->waiting_frames--;
	g->waiting_bytes -= r->size;
	g->kept += r->size;
	g->next = g->replay = after(g, g->next);
	while (g->kept > g->limit && may_forget(g))
		forget_oldest(g);
}

struct inlog_record *inlog_replay(struct inlog *g)
{
	return g->replay == g->next ? NULL : record_at(g, g->replay);
}

void inlog_replay_done(struct inlog *g)
{
	assert(g->replay != g->next);
	g->replay = after(g, g->replay);
}

uint64_t inlog_position(const struct inlog *g)
{
	return g->next == g->head ? g->next_seq : record_at(g, g->next)->seq;
}

uint64_t inlog_cursor(const struct inlog *g)
{
	return g->replay == g->next ? inlog_position(g) : record_at(g, g->replay)->seq;
}

uint64_t inlog_oldest(const struct inlog *g)
{
	uint64_t tail = settle(g, g->tail);

	return tail == g->head ? g->next_seq : record_at(g, tail)->seq;
}

bool inlog_replay_from(struct inlog *g, uint64_t seq)
{
	uint64_t pos = settle(g, g->tail);

	while (pos != g->next && record_at(g, pos)->seq < seq)
		pos = after(g, pos);
	g->replay = pos;
	return inlog_oldest(g) <= seq;
}

void inlog_trim(struct inlog *g, uint64_t seq)
{
	while (may_forget(g) && inlog_oldest(g) < seq)
		forget_oldest(g);
}

const struct inlog_record *inlog_find_seq(const struct inlog *g, uint64_t seq)
{
	for (uint64_t pos = settle(g, g->tail); pos != g->head; pos = after(g, pos))
		if (record_at(g, pos)->seq == seq)
			return record_at(g, pos);
	return NULL;
}

const struct inlog_record *inlog_find_origin(const struct inlog *g, uint32_t origin)
{
	for (uint64_t pos = settle(g, g->tail); pos != g->head; pos = after(g, pos)) {
		const struct inlog_record *r = record_at(g, pos);

		if (r->origin && origin - r->origin < r->payload_len)
			return r;
	}
	return NULL;
}
