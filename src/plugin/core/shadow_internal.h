/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the shadow share: the mapped regions, atomic access to them, slots. */
#ifndef CLOUDER_PLUGIN_CORE_SHADOW_INTERNAL_H
#define CLOUDER_PLUGIN_CORE_SHADOW_INTERNAL_H

#include "plugin/core/shadow.h"

#define SHADOW_PAGE_LABELS GUEST_PAGE_SIZE
#define SHADOW_NO_PAGE UINT32_MAX /* slot.page of a slot that is free or an undo copy */

/* The sizes and places are copies, checked when the file was mapped: what the file says later is not looked at. */
struct shadow {
	struct taint_shm *shm;
	struct taint_vcpu *vcpu;
	struct taint_line *line;
	uint32_t *page_slot;
	struct taint_slot *slot;
	uint64_t *data; /* labels as 64-bit values: origin in the low half */
	struct taint_undo *undo;
	struct taint_writer *writer;
	uint32_t *writer_hash;
	uint64_t file_size;
	uint32_t pages, max_slots, max_copies, max_undo, max_writers;
	uint32_t oldest_epoch; /* that a rollback can go to; kept by the supervisor */
	uint32_t sweep_at; /* slot that shadow_sweep_stale() looked at last; the supervisor's */
};

static inline uint32_t shadow_load(const uint32_t *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static inline void shadow_store(uint32_t *p, uint32_t v)
{
	__atomic_store_n(p, v, __ATOMIC_RELEASE);
}

static inline uint64_t *shadow_slot_data(const struct shadow *sh, uint32_t slot)
{
	return sh->data + (uint64_t)slot * SHADOW_PAGE_LABELS;
}

/* The page's slot, 0 if it has none (or the file says nonsense). page < sh->pages. */
static inline uint32_t shadow_page_slot(const struct shadow *sh, uint32_t page)
{
	uint32_t slot = shadow_load(&sh->page_slot[page]);

	return slot < sh->max_slots ? slot : 0;
}

static inline bool shadow_label_tainted(uint64_t label)
{
	return (uint32_t)label != 0;
}

/* Sets bits of the slot's lines, after labels of theirs were tainted. */
void shadow_lines_set(struct shadow *sh, uint32_t slot, uint64_t bits);
/* Clears those of the bits whose lines hold no tainted label any more. */
void shadow_lines_look(struct shadow *sh, uint32_t slot, uint64_t bits);

void shadow_lock(const struct shadow *sh);
void shadow_unlock(const struct shadow *sh);

/* With the lock held: a slot with clean labels and no page; 0 (and counted) if there is none. */
uint32_t shadow_slot_alloc(struct shadow *sh);
/* With the lock held: the slot's memory goes back. Of a page only while no engine runs. Ignores 0 and what is out of range. */
void shadow_slot_free(struct shadow *sh, uint32_t slot);
/* Whether shadow_slot_alloc() would fail now. */
bool shadow_slots_full(const struct shadow *sh);

/* With the lock held: the page has no slot yet and gets this one in the current epoch. */
void shadow_undo_fresh(struct shadow *sh, uint32_t page, uint32_t slot);
/* Before the first change of a slot in an epoch. Takes the lock. */
void shadow_undo_keep(struct shadow *sh, uint32_t page, uint32_t slot);
/* Gives back slots that are neither a page's nor a record's nor free: an engine was killed between two steps. Takes the lock. */
void shadow_slots_collect(struct shadow *sh);

#endif
