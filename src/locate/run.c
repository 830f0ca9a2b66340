/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Walking the labels around a corrupted object. */
#include "locate/run.h"

#define GAP_MAX 64 /* bytes */
#define CHUNK 512 /* labels read at once */
#define ENDS_MAX 8 /* bytes */
#define WIDE_MAX 4 /* bytes */

/* The labels of one aligned chunk. */
struct window {
	const struct label_reader *lr;
	uint64_t base;
	bool valid, mapped;
	struct taint_label label[CHUNK];
};

static bool label_at(struct window *w, uint64_t at, struct taint_label *ret)
{
	uint64_t base = at & ~(uint64_t)(CHUNK - 1);

	if (!w->valid || w->base != base) {
		w->base = base;
		w->valid = true;
		w->mapped = w->lr->get(w->lr->arg, gva(base), w->label, CHUNK);
	}
	if (w->mapped)
		*ret = w->label[at - base];
	return w->mapped;
}

/* Whether an origin goes on as the addresses do; wide characters have one byte of the input for two or four of theirs. */
static bool goes_on(uint32_t origin, uint32_t last, int64_t distance)
{
	uint32_t d = (origin - last) & TAINT_POSITION;
	int64_t sign = distance < 0 ? -1 : 1;

	return d == ((uint32_t)distance & TAINT_POSITION) ||
	       (d == ((uint32_t)sign & TAINT_POSITION) && (distance == 2 * sign || distance == WIDE_MAX * sign));
}

/* Walks from `from` in one direction (dir 1 or -1); returns the last address that belongs. */
static uint64_t walk(struct window *w, uint64_t from, uint32_t origin, uint32_t writer, int dir, uint32_t *first_origin)
{
	uint64_t last = from;
	uint32_t last_origin = origin;
	unsigned gap = 0;

	for (uint32_t n = 1; n <= RUN_MAX && gap <= GAP_MAX; n++) {
		uint64_t at = from + (uint64_t)((int64_t)dir * n);
		struct taint_label l;
		bool continues;

		if (!label_at(w, at, &l))
			break;
		continues = goes_on(l.origin, last_origin, (int64_t)(at - last));
		if (!l.origin || (!continues && (gap || l.writer != writer))) {
			gap++;
			continue;
		}
		gap = 0;
		last = at;
		last_origin = l.origin;
		if (taint_origin_before(l.origin, *first_origin))
			*first_origin = l.origin;
	}
	return last;
}

/*
 * What a program puts behind bytes from the outside, such as a string's end, has the origin of the last of them: where these
 * are, as far as they are right before it.
 */
static bool find_before_end(struct window *w, uint64_t at, uint32_t origin, uint64_t *ret_at, uint32_t *ret_writer)
{
	struct taint_label l;

	for (uint64_t n = 0; n <= ENDS_MAX; n++) {
		if (!label_at(w, at - n, &l) || ((l.origin ^ origin) & TAINT_POSITION))
			return false;
		if (!(l.flags & TAINT_LABEL_BY_ADDRESS)) {
			*ret_at = at - n;
			*ret_writer = l.writer;
			return n > 0;
		}
	}
	return false;
}

void run_find(const struct label_reader *lr, struct gva at, uint32_t origin, uint32_t writer, struct run *ret)
{
	struct window w = {.lr = lr};
	uint64_t low, high, before = at.v;
	uint32_t before_writer = writer;

	ret->first_origin = origin;
	find_before_end(&w, at.v, origin, &before, &before_writer);
	low = walk(&w, before, origin, before_writer, -1, &ret->first_origin);
	high = walk(&w, at.v, origin, writer, 1, &ret->first_origin);
	ret->start = gva(low);
	ret->length = high - low + 1;
}
