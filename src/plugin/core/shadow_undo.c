/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Taking the shadow back in time.
 *
 * The first change of a page in an epoch appends an undo record: either the
 * page had no slot, or a copy of its labels was put into another slot. Records
 * are in order of their epochs. A rollback replays them from the newest to the
 * first of the epoch asked for; a page changed in several epochs ends with its
 * oldest copy. A slot's epoch says that its copy was made; one that was lost because there
 * was no room is counted with the exhausted slots, and a rollback leaves that page as it is.
 *
 * Each step leaves a state that the next can start from, should the engine that
 * makes it be killed: a record is written before it counts, and counts before
 * the change that it undoes.
 */
#include "plugin/core/shadow_internal.h"

#include <string.h>

/* Appends a record. Returns false (and counts) if there is no room. */
static bool append(struct shadow *sh, uint32_t page, uint32_t copy_slot, uint32_t copy_count)
{
	uint32_t used = shadow_load(&sh->shm->undo_used);

	if (used >= sh->max_undo) {
		__atomic_fetch_add(&sh->shm->slots_exhausted, 1, __ATOMIC_RELAXED);
		return false;
	}
	sh->undo[used] = (struct taint_undo){
		.page = page,
		.copy_slot = copy_slot,
		.epoch = shadow_load(&sh->shm->epoch),
		.copy_count = copy_count,
	};
	shadow_store(&sh->shm->undo_used, used + 1);
	return true;
}

void shadow_undo_fresh(struct shadow *sh, uint32_t page, uint32_t slot)
{
	append(sh, page, 0, 0);
	shadow_store(&sh->slot[slot].page, page);
	shadow_store(&sh->slot[slot].epoch, shadow_load(&sh->shm->epoch));
	shadow_store(&sh->page_slot[page], slot);
}

static void copy_labels(struct shadow *sh, uint32_t to, uint32_t from)
{
	const uint64_t *src = shadow_slot_data(sh, from);
	uint64_t *dst = shadow_slot_data(sh, to);

	for (unsigned i = 0; i < SHADOW_PAGE_LABELS; i++) {
		uint64_t label = __atomic_load_n(&src[i], __ATOMIC_RELAXED);

		if (label)
			__atomic_store_n(&dst[i], label, __ATOMIC_RELAXED);
	}
}

/* A slot got for a copy that no record holds: put back as it came, its labels clean. */
static void give_up_copy(struct shadow *sh, uint32_t copy)
{
	uint64_t *data = shadow_slot_data(sh, copy);

	for (unsigned i = 0; i < SHADOW_PAGE_LABELS; i++)
		__atomic_store_n(&data[i], 0, __ATOMIC_RELAXED);
	shadow_store(&sh->slot[copy].next_free, shadow_load(&sh->shm->slot_free));
	shadow_store(&sh->shm->slot_free, copy);
}

void shadow_undo_keep(struct shadow *sh, uint32_t page, uint32_t slot)
{
	uint32_t copy, count;

	shadow_lock(sh);
	if (shadow_load(&sh->slot[slot].epoch) != shadow_load(&sh->shm->epoch)) {
		count = shadow_load(&sh->slot[slot].count);
		copy = shadow_slot_alloc(sh);
		if (copy) {
			copy_labels(sh, copy, slot);
			shadow_store(&sh->slot[copy].count, count);
			__atomic_store_n(&sh->slot[copy].lines,
					 __atomic_load_n(&sh->slot[slot].lines, __ATOMIC_RELAXED), __ATOMIC_RELAXED);
			if (!append(sh, page, copy, count))
				give_up_copy(sh, copy);
		}
		shadow_store(&sh->slot[slot].epoch, shadow_load(&sh->shm->epoch));
	}
	shadow_unlock(sh);
}

static uint32_t undo_used(const struct shadow *sh)
{
	uint32_t used = shadow_load(&sh->shm->undo_used);

	return used < sh->max_undo ? used : sh->max_undo;
}

uint32_t shadow_epoch_begin(struct shadow *sh)
{
	uint32_t epoch = shadow_load(&sh->shm->epoch) + 1;

	shadow_store(&sh->shm->epoch, epoch);
	return epoch;
}

/* The page is again what the record says. */
static void replay(struct shadow *sh, const struct taint_undo *u)
{
	uint32_t slot;

	if (u->page >= sh->pages || u->copy_slot >= sh->max_slots)
		return;
	slot = shadow_page_slot(sh, u->page);
	if (u->copy_slot) {
		struct taint_slot *s = &sh->slot[u->copy_slot];

		shadow_store(&s->page, u->page);
		shadow_store(&s->count, u->copy_count <= SHADOW_PAGE_LABELS ? u->copy_count : SHADOW_PAGE_LABELS);
		shadow_store(&s->epoch, 0);
	}
	shadow_store(&sh->page_slot[u->page], u->copy_slot);
	if (slot != u->copy_slot)
		shadow_slot_free(sh, slot);
}

/* What was copied in the epochs that are gone must be copied again when they come again. */
static void forget_copied(struct shadow *sh, uint32_t epoch)
{
	uint32_t used = shadow_load(&sh->shm->slots_used);

	for (uint32_t i = 1; i < used && i < sh->max_slots; i++)
		if (shadow_load(&sh->slot[i].epoch) >= epoch)
			shadow_store(&sh->slot[i].epoch, 0);
}

int shadow_rollback(struct shadow *sh, uint32_t epoch, struct err *e)
{
	uint32_t current = shadow_load(&sh->shm->epoch), used;

	if (epoch < sh->oldest_epoch || epoch > current)
		return err_set(e, ERR_STATE, "shadow cannot go back to epoch %u: it keeps %u to %u", epoch,
			       sh->oldest_epoch, current);
	shadow_lock(sh);
	for (used = undo_used(sh); used > 0; used--) {
		struct taint_undo u = sh->undo[used - 1];

		if (u.epoch < epoch)
			break;
		replay(sh, &u);
	}
	shadow_store(&sh->shm->undo_used, used);
	forget_copied(sh, epoch);
	shadow_store(&sh->shm->epoch, epoch);
	shadow_unlock(sh);
	return 0;
}

void shadow_epoch_forget(struct shadow *sh, uint32_t oldest_kept)
{
	uint32_t used, n = 0;

	if (oldest_kept <= sh->oldest_epoch)
		return;
	shadow_lock(sh);
	used = undo_used(sh);
	while (n < used && sh->undo[n].epoch < oldest_kept) {
		shadow_slot_free(sh, sh->undo[n].copy_slot);
		n++;
	}
	memmove(sh->undo, sh->undo + n, (used - n) * sizeof(*sh->undo));
	shadow_store(&sh->shm->undo_used, used - n);
	sh->oldest_epoch = oldest_kept;
	shadow_unlock(sh);
}

void shadow_sweep(struct shadow *sh)
{
	uint32_t used;

	shadow_lock(sh);
	used = shadow_load(&sh->shm->slots_used);
	for (uint32_t i = 1; i < used && i < sh->max_slots; i++) {
		uint32_t page = shadow_load(&sh->slot[i].page);

		if (page >= sh->pages || shadow_page_slot(sh, page) != i || shadow_load(&sh->slot[i].count))
			continue;
		shadow_store(&sh->page_slot[page], 0);
		shadow_slot_free(sh, i);
	}
	shadow_unlock(sh);
}
