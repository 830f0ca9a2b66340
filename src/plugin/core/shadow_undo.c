/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Taking the shadow back in time.
 *
 * The first change of a page in an epoch appends an undo record: either the
 * page had no slot, or a copy of its labels was put into another slot. Records
 * are in order of their epochs. A rollback replays them from the newest to the
 * first of the epoch asked for; a page changed in several epochs ends with its
 * oldest copy. A slot's epoch says that its copy was made.
 *
 * When there is no room for another, the oldest record is given up. A rollback needs all records from the
 * epoch asked for on, so epochs up to that of the record are lost, which is said before its copy goes.
 *
 * Each step leaves a state that the next can start from, should the engine that
 * makes it be killed: a record is written before it counts, and counts before
 * the change that it undoes.
 */
#include "plugin/core/shadow_internal.h"

#include <stdlib.h>
#include <string.h>

static uint64_t load64(const uint64_t *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static void store64(uint64_t *p, uint64_t v)
{
	__atomic_store_n(p, v, __ATOMIC_RELEASE);
}

/* How many records are kept; never more than there is room for. */
static uint64_t undo_count(const struct shadow *sh)
{
	uint64_t n = load64(&sh->shm->undo_end) - load64(&sh->shm->undo_first);

	return n < sh->max_undo ? n : sh->max_undo;
}

static struct taint_undo *record(const struct shadow *sh, uint64_t number)
{
	return &sh->undo[number % sh->max_undo];
}

/* Going back to this epoch, or further, is not possible any more. */
static void lose_epoch(struct shadow *sh, uint32_t epoch)
{
	if (epoch > shadow_load(&sh->shm->epoch_lost))
		shadow_store(&sh->shm->epoch_lost, epoch);
	__atomic_fetch_add(&sh->shm->labels_lost, 1, __ATOMIC_RELAXED);
}

/* A record holds one copy less. */
static void count_copy_gone(struct shadow *sh)
{
	uint32_t used = shadow_load(&sh->shm->copies_used);

	shadow_store(&sh->shm->copies_used, used - (used != 0));
}

/* The oldest record goes, and its copy. There is one. */
static void drop_first(struct shadow *sh)
{
	uint64_t first = load64(&sh->shm->undo_end) - undo_count(sh);
	uint32_t copy = record(sh, first)->copy_slot;

	store64(&sh->shm->undo_first, first + 1);
	if (!copy)
		return;
	shadow_slot_free(sh, copy);
	count_copy_gone(sh);
}

static const struct taint_undo *oldest(const struct shadow *sh)
{
	uint64_t n = undo_count(sh);

	return n ? record(sh, load64(&sh->shm->undo_end) - n) : NULL;
}

static bool give_up_oldest(struct shadow *sh)
{
	const struct taint_undo *u = oldest(sh);

	if (!u)
		return false;
	lose_epoch(sh, u->epoch);
	drop_first(sh);
	return true;
}

/* A slot for a copy, at the price of older ones if need be; 0: there is none. */
static uint32_t copy_alloc(struct shadow *sh)
{
	uint32_t slot;

	while (shadow_load(&sh->shm->copies_used) >= sh->max_copies)
		if (!give_up_oldest(sh))
			return 0;
	slot = shadow_slot_alloc(sh);
	if (slot)
		shadow_store(&sh->shm->copies_used, shadow_load(&sh->shm->copies_used) + 1);
	return slot;
}

static void append(struct shadow *sh, uint32_t page, uint32_t copy_slot, uint32_t copy_count)
{
	uint64_t end = load64(&sh->shm->undo_end);

	if (undo_count(sh) == sh->max_undo)
		give_up_oldest(sh);
	*record(sh, end) = (struct taint_undo){
		.page = page,
		.copy_slot = copy_slot,
		.epoch = shadow_load(&sh->shm->epoch),
		.copy_count = copy_count,
	};
	store64(&sh->shm->undo_end, end + 1);
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

/* Copies the page's labels for the current epoch. */
static void keep_labels(struct shadow *sh, uint32_t page, uint32_t slot)
{
	uint32_t count = shadow_load(&sh->slot[slot].count), copy = copy_alloc(sh);

	if (!copy) {
		lose_epoch(sh, shadow_load(&sh->shm->epoch));
		return;
	}
	copy_labels(sh, copy, slot);
	shadow_store(&sh->slot[copy].count, count);
	__atomic_store_n(&sh->slot[copy].lines, __atomic_load_n(&sh->slot[slot].lines, __ATOMIC_RELAXED),
			 __ATOMIC_RELAXED);
	append(sh, page, copy, count);
}

void shadow_undo_keep(struct shadow *sh, uint32_t page, uint32_t slot)
{
	shadow_lock(sh);
	if (shadow_load(&sh->slot[slot].epoch) != shadow_load(&sh->shm->epoch)) {
		keep_labels(sh, page, slot);
		shadow_store(&sh->slot[slot].epoch, shadow_load(&sh->shm->epoch));
	}
	shadow_unlock(sh);
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
		count_copy_gone(sh);
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

bool shadow_can_roll_back(const struct shadow *sh, uint32_t epoch)
{
	return epoch >= sh->oldest_epoch && epoch > shadow_load(&sh->shm->epoch_lost) &&
	       epoch <= shadow_load(&sh->shm->epoch);
}

int shadow_rollback(struct shadow *sh, uint32_t epoch, struct err *e)
{
	if (!shadow_can_roll_back(sh, epoch))
		return err_set(e, ERR_STATE, "shadow cannot go back to epoch %u: it keeps %u to %u, but none up to %u",
			       epoch, sh->oldest_epoch, shadow_load(&sh->shm->epoch),
			       shadow_load(&sh->shm->epoch_lost));
	shadow_lock(sh);
	for (uint64_t n = undo_count(sh); n > 0; n--) {
		uint64_t newest = load64(&sh->shm->undo_end) - 1;
		struct taint_undo u = *record(sh, newest);

		if (u.epoch < epoch)
			break;
		replay(sh, &u);
		store64(&sh->shm->undo_end, newest);
	}
	forget_copied(sh, epoch);
	shadow_store(&sh->shm->epoch, epoch);
	shadow_unlock(sh);
	return 0;
}

void shadow_epoch_forget(struct shadow *sh, uint32_t oldest_kept)
{
	const struct taint_undo *u;

	if (oldest_kept <= sh->oldest_epoch)
		return;
	shadow_lock(sh);
	while ((u = oldest(sh)) && u->epoch < oldest_kept)
		drop_first(sh);
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

/* Marks the slots below used that have an owner: a page, a record, the free list. Returns how many are copies. */
static uint32_t mark_owned(const struct shadow *sh, uint32_t used, bool *owned)
{
	uint64_t end = load64(&sh->shm->undo_end);
	uint32_t copies = 0;

	for (uint32_t i = 1; i < used; i++) {
		uint32_t page = shadow_load(&sh->slot[i].page);

		owned[i] = page < sh->pages && shadow_page_slot(sh, page) == i;
	}
	for (uint64_t n = undo_count(sh); n > 0; n--) {
		uint32_t copy = record(sh, end - n)->copy_slot;

		if (!copy || copy >= used || owned[copy])
			continue;
		owned[copy] = true;
		copies++;
	}
	for (uint32_t i = shadow_load(&sh->shm->slot_free); i && i < used && !owned[i];
	     i = shadow_load(&sh->slot[i].next_free))
		owned[i] = true;
	return copies;
}

void shadow_slots_collect(struct shadow *sh)
{
	uint32_t used = shadow_load(&sh->shm->slots_used);
	bool *owned;

	if (used > sh->max_slots)
		used = sh->max_slots;
	owned = calloc(used + 1ull, sizeof(*owned));
	if (!owned)
		return; /* they are missed, not needed */
	shadow_lock(sh);
	shadow_store(&sh->shm->copies_used, mark_owned(sh, used, owned));
	for (uint32_t i = 1; i < used; i++)
		if (!owned[i])
			shadow_slot_free(sh, i);
	shadow_unlock(sh);
	free(owned);
}
