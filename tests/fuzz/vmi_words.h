/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What fuzzers of kernel structures share: an input changes words of an area of a make-believe guest's memory, and can make
 * pointers, which random bytes would not.
 *
 * Input: records of 5 bytes: which word (2 bytes, modulo the area's size), what kind of value (1 byte), which (2 bytes).
 */
#ifndef CLOUDER_TEST_FUZZ_VMI_WORDS_H
#define CLOUDER_TEST_FUZZ_VMI_WORDS_H

#include <stdlib.h>

#include "../unit/test_vmi_guest.h"

#define WORD_RECORD 5u

struct words {
	uint64_t start, len; /* of the area, physical */
	uint8_t *before; /* a copy */
};

static inline void words_init(struct words *w, const struct guest *g, uint64_t start)
{
	w->start = start;
	w->len = (g->heap - start + 7) & ~7ull;
	w->before = malloc(w->len);
	assert(w->before);
	memcpy(w->before, g->ram + start, w->len);
}

static inline uint64_t words_value(const struct words *w, uint8_t kind, uint64_t which)
{
	uint64_t in_area = guest_kva(w->start + which * 8 % w->len);

	switch (kind & 7) {
	case 0:
		return which;
	case 1:
		return PROG_BASE + (which << 12);
	case 2: /* a node of a maple tree */
		return (in_area & ~0xffull) | (kind >> 3 & 15) << 3 | 2;
	case 3:
		return which << 48;
	case 4:
		return guest_kva(GUEST_INIT_TASK + which % 256);
	case 5:
		return UINT64_MAX - which;
	default:
		return in_area;
	}
}

static inline void words_change(const struct words *w, struct guest *g, const uint8_t *data, size_t size)
{
	for (; size >= WORD_RECORD; data += WORD_RECORD, size -= WORD_RECORD) {
		uint64_t at = (data[0] | (uint64_t)data[1] << 8) * 8 % w->len;

		guest_put64(g, w->start + at, words_value(w, data[2], data[3] | (uint64_t)data[4] << 8));
	}
}

static inline void words_undo(const struct words *w, struct guest *g)
{
	memcpy(g->ram + w->start, w->before, w->len);
}

#endif
