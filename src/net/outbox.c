/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Output that waits for the next checkpoint, so that no peer has seen what a rollback to that checkpoint takes back.
 *
 * What the guest cannot know better after a rollback may go at once, and connections are not slowed down by it:
 * acknowledgements of input, which is in the input log and delivered again, and answers to who has which address.
 */
#include "net/outbox_internal.h"

#include <assert.h>
#include <string.h>
#include <sys/mman.h>

#include "net/frame_internal.h"

/* A frame with its length before it. */
#define RECORD_MAX (sizeof(uint32_t) + OUTBOX_FRAME_MAX)

int outbox_init(struct outbox *o, struct err *e)
{
	void *base =
		mmap(NULL, OUTBOX_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (base == MAP_FAILED)
		return err_set_errno(e, "memory for held output");
	*o = (struct outbox){.base = base};
	return 0;
}

void outbox_deinit(struct outbox *o)
{
	if (o->base)
		munmap(o->base, OUTBOX_BYTES);
	*o = (struct outbox){0};
}

bool outbox_has_room(const struct outbox *o)
{
	return OUTBOX_BYTES - o->used >= RECORD_MAX;
}

void outbox_put(struct outbox *o, const uint8_t *frame, size_t len)
{
	uint32_t n = (uint32_t)len;

	assert(len <= OUTBOX_FRAME_MAX && outbox_has_room(o));
	memcpy(o->base + o->used, &n, sizeof(n));
	memcpy(o->base + o->used + sizeof(n), frame, len);
	o->used += sizeof(n) + len;
	o->frames++;
}

void outbox_empty(struct outbox *o, outbox_fn *fn, void *arg)
{
	uint32_t n;

	for (size_t at = 0; at < o->used; at += sizeof(n) + n) {
		memcpy(&n, o->base + at, sizeof(n));
		fn(arg, o->base + at + sizeof(n), n);
	}
	outbox_clear(o);
}

uint64_t outbox_clear(struct outbox *o)
{
	uint64_t frames = o->frames;

	o->used = 0;
	o->frames = 0;
	return frames;
}

bool outbox_must_hold(const uint8_t *frame, size_t len)
{
	struct frame_info i;

	frame_parse(frame, len, &i);
	if (!i.ip_version)
		return false;
	if (!i.tcp_header || i.payload_len || (i.tcp_flags & (FRAME_TCP_FIN | FRAME_TCP_RST)))
		return true;
	return (i.tcp_flags & (FRAME_TCP_SYN | FRAME_TCP_ACK)) == FRAME_TCP_SYN;
}
