/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Labels of bytes that were overwritten behind the engine's back.
 *
 * A label says what its byte held. Where memory says otherwise, a device or QEMU itself has written there since, and
 * the byte is clean. By chance one byte in 256 of such a write is what it was; in a line of which most does not
 * fit any more, the rest is taken for chance.
 *
 * The sweep may run beside the vCPUs: the label is read before the memory and cleared only if it is still the same,
 * and every store that is followed writes its label after its data.
 */
#include "plugin/core/shadow_internal.h"

#include <string.h>

#define LINE SHADOW_LINE

/* Clears what is still as it was read. Returns how many. */
static unsigned clear_same(uint64_t *data, const uint64_t *seen, const bool *drop, unsigned many)
{
	unsigned n = 0;

	for (unsigned i = 0; i < many; i++) {
		uint64_t old = seen[i];

		n += drop[i] &&
		     __atomic_compare_exchange_n(&data[i], &old, 0, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
	}
	return n;
}

/* Which labels of a line go. Returns how many. */
static unsigned judge(const uint64_t *seen, const uint8_t *bytes, bool *ret_drop)
{
	unsigned tainted = 0, stale = 0;

	for (unsigned i = 0; i < LINE; i++) {
		struct taint_label label;

		memcpy(&label, &seen[i], sizeof(label));
		ret_drop[i] = label.origin && !taint_label_fits(&label, bytes[i]);
		tainted += label.origin && !(label.flags & TAINT_LABEL_ANY_VALUE);
		stale += ret_drop[i];
	}
	if (stale * 2 <= tainted)
		return stale;
	for (unsigned i = 0; i < LINE; i++)
		ret_drop[i] = shadow_label_tainted(seen[i]);
	return tainted;
}

/* The line at offset `at` of the page; bytes are those of the line. */
static unsigned sweep_line(struct shadow *sh, uint32_t page, uint32_t slot, unsigned at, const uint8_t *bytes)
{
	uint64_t *data = shadow_slot_data(sh, slot) + at, seen[LINE], any = 0;
	uint8_t now[LINE];
	bool drop[LINE];

	for (unsigned i = 0; i < LINE; i++)
		any |= seen[i] = __atomic_load_n(&data[i], __ATOMIC_ACQUIRE);
	if (!any)
		return 0;
	memcpy(now, bytes, LINE);
	if (!judge(seen, now, drop))
		return 0;
	if (shadow_load(&sh->slot[slot].epoch) != shadow_load(&sh->shm->epoch))
		shadow_undo_keep(sh, page, slot);
	return clear_same(data, seen, drop, LINE);
}

/* n labels of the slot are gone, from lines in this mask. */
static void count_cleared(struct shadow *sh, uint32_t slot, unsigned n, uint64_t lines)
{
	if (!n)
		return;
	__atomic_fetch_sub(&sh->slot[slot].count, n, __ATOMIC_RELAXED);
	shadow_lines_look(sh, slot, lines);
}

static unsigned sweep_page(struct shadow *sh, uint32_t page, uint32_t slot, const uint8_t *bytes)
{
	unsigned n = 0;

	for (unsigned at = 0; at < SHADOW_PAGE_LABELS; at += LINE)
		n += sweep_line(sh, page, slot, at, bytes + at);
	count_cleared(sh, slot, n, UINT64_MAX);
	return n;
}

unsigned shadow_drop_stale(struct shadow *sh, struct gpa at, const struct taint_label *seen, const uint8_t *bytes,
			   size_t n)
{
	uint64_t page = at.v >> GUEST_PAGE_SHIFT, *data;
	uint32_t slot = page < sh->pages ? shadow_page_slot(sh, (uint32_t)page) : 0;
	unsigned dropped = 0;

	if (!slot)
		return 0;
	data = shadow_slot_data(sh, slot) + (at.v & GUEST_PAGE_MASK);
	for (size_t i = 0; i < n; i++) {
		bool drop = true;
		uint64_t old;

		if (!seen[i].origin || taint_label_fits(&seen[i], bytes[i]))
			continue;
		if (shadow_load(&sh->slot[slot].epoch) != shadow_load(&sh->shm->epoch))
			shadow_undo_keep(sh, (uint32_t)page, slot);
		memcpy(&old, &seen[i], sizeof(old));
		dropped += clear_same(&data[i], &old, &drop, 1);
	}
	count_cleared(sh, slot, dropped, shadow_line_bits(at, n));
	return dropped;
}

bool shadow_drop_stale_line(struct shadow *sh, struct gpa at, const uint8_t *bytes)
{
	uint64_t page = at.v >> GUEST_PAGE_SHIFT;
	unsigned line = (unsigned)(at.v & GUEST_PAGE_MASK) / LINE, n;
	uint32_t slot = page < sh->pages ? shadow_page_slot(sh, (uint32_t)page) : 0;

	if (!slot)
		return false;
	n = sweep_line(sh, (uint32_t)page, slot, line * LINE, bytes);
	count_cleared(sh, slot, n, 1ull << line);
	return n != 0;
}

uint64_t shadow_sweep_stale(struct shadow *sh, shadow_ram_fn *ram, void *arg, unsigned max_pages)
{
	uint32_t used = shadow_load(&sh->shm->slots_used);
	uint64_t n = 0;

	if (used > sh->max_slots)
		used = sh->max_slots;
	for (uint32_t i = 1; i < used && max_pages; i++) {
		uint32_t slot = sh->sweep_at = sh->sweep_at + 1 < used ? sh->sweep_at + 1 : 1;
		uint32_t page = shadow_load(&sh->slot[slot].page);
		const uint8_t *bytes;

		if (page >= sh->pages || shadow_page_slot(sh, page) != slot || !shadow_load(&sh->slot[slot].count))
			continue;
		bytes = ram(arg, gpa((uint64_t)page << GUEST_PAGE_SHIFT));
		if (!bytes)
			continue;
		max_pages--;
		n += sweep_page(sh, page, slot, bytes);
	}
	return n;
}
