/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Labels of a word: what most accesses are, in the commonest case. The number of bytes is known to the compiler.
 *
 * A label as one number: origin in bits 0 to 31, writer in 32 to 47, value in 48 to 55, flags above.
 */
#include "plugin/core/shadow_internal.h"

#define WRITER_SHIFT 32
#define VALUE_SHIFT 48
#define FLAGS_SHIFT 56

#define INLINE static inline __attribute__((always_inline))

INLINE enum shadow_word get(const uint64_t *data, const uint8_t *bytes, unsigned n, uint32_t *ret)
{
	uint64_t any = 0, odd = 0;

	for (unsigned i = 0; i < n; i++) {
		uint64_t label = __atomic_load_n(&data[i], __ATOMIC_RELAXED);

		ret[i] = (uint32_t)label;
		any |= (uint32_t)label;
		odd |= bytes ? (label >> VALUE_SHIFT ^ bytes[i]) & -(uint64_t)shadow_label_tainted(label)
			     : label >> FLAGS_SHIFT;
	}
	return odd ? SHADOW_WORD_ELSE : any ? SHADOW_WORD_TAINTED : SHADOW_WORD_CLEAN;
}

/* Returns by how much the number of tainted labels has grown. */
INLINE int put(uint64_t *data, const uint8_t *bytes, const uint32_t *origins, uint16_t writer, unsigned n)
{
	int delta = 0;

	for (unsigned i = 0; i < n; i++) {
		uint64_t rest = (uint64_t)writer << WRITER_SHIFT | (uint64_t)bytes[i] << VALUE_SHIFT;
		uint64_t old = __atomic_load_n(&data[i], __ATOMIC_RELAXED);

		delta += (origins[i] != 0) - shadow_label_tainted(old);
		__atomic_store_n(&data[i], origins[i] ? origins[i] | rest : 0, __ATOMIC_RELAXED);
	}
	return delta;
}

/* The page's slot, 0: none. */
INLINE uint32_t slot_of(const struct shadow *sh, struct gpa at)
{
	uint64_t page = at.v >> GUEST_PAGE_SHIFT;

	return page < sh->pages ? shadow_page_slot(sh, (uint32_t)page) : 0;
}

enum shadow_word shadow_get_word(const struct shadow *sh, struct gpa at, const uint8_t *bytes, unsigned n,
				 uint32_t *ret)
{
	uint32_t slot = slot_of(sh, at);
	const uint64_t *data = shadow_slot_data(sh, slot) + (at.v & GUEST_PAGE_MASK);

	if (n > SHADOW_WORD_MAX || (n & (n - 1)))
		return SHADOW_WORD_ELSE;
	if (!slot) {
		for (unsigned i = 0; i < n; i++)
			ret[i] = 0;
		return SHADOW_WORD_CLEAN;
	}
	switch (n) {
	case 1:
		return get(data, bytes, 1, ret);
	case 2:
		return get(data, bytes, 2, ret);
	case 4:
		return get(data, bytes, 4, ret);
	case 8:
		return get(data, bytes, 8, ret);
	default:
		return get(data, bytes, SHADOW_WORD_MAX, ret);
	}
}

static int put_n(uint64_t *data, const uint8_t *bytes, const uint32_t *origins, uint16_t writer, unsigned n)
{
	switch (n) {
	case 1:
		return put(data, bytes, origins, writer, 1);
	case 2:
		return put(data, bytes, origins, writer, 2);
	case 4:
		return put(data, bytes, origins, writer, 4);
	case 8:
		return put(data, bytes, origins, writer, 8);
	default:
		return put(data, bytes, origins, writer, n);
	}
}

bool shadow_set_word(struct shadow *sh, struct gpa at, const uint8_t *bytes, const uint32_t *origins, uint16_t writer,
		     unsigned n)
{
	uint64_t lines = shadow_line_bits(at, n);
	uint32_t slot = slot_of(sh, at);
	int delta;

	if (!slot || sh->shm->n_vcpus != 1 || shadow_load(&sh->slot[slot].epoch) != shadow_load(&sh->shm->epoch))
		return false;
	delta = put_n(shadow_slot_data(sh, slot) + (at.v & GUEST_PAGE_MASK), bytes, origins, writer, n);
	if (delta)
		__atomic_fetch_add(&sh->slot[slot].count, (uint32_t)delta, __ATOMIC_RELAXED);
	if ((__atomic_load_n(&sh->slot[slot].lines, __ATOMIC_SEQ_CST) & lines) != lines)
		shadow_lines_set(sh, slot, lines);
	return true;
}
