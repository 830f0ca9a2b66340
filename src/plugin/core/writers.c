/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The table of instructions that wrote tainted bytes, each with a small id.
 *
 * Found by open addressing without a lock; made under the lock, the record
 * before its id is published. Records are never changed nor removed, so ids
 * hold for as long as the file.
 */
#include "plugin/core/shadow_internal.h"

#include <string.h>

static uint32_t hash_of(const struct taint_writer *w)
{
	uint64_t h = w->code_offset * 0x9e3779b97f4a7c15ull + w->len;

	for (unsigned i = 0; i < sizeof(w->bytes); i++)
		h = (h ^ w->bytes[i]) * 0x100000001b3ull;
	return (uint32_t)(h >> 32);
}

static bool same_code(const struct taint_writer *a, const struct taint_writer *b)
{
	return a->code_offset == b->code_offset && a->len == b->len && !memcmp(a->bytes, b->bytes, sizeof(a->bytes));
}

/* The id of *w, or 0 and the place in the hash table where it belongs (2 * max_writers: there is none). */
static uint32_t find(const struct shadow *sh, const struct taint_writer *w, uint32_t *ret_at)
{
	uint32_t size = 2 * sh->max_writers, at = hash_of(w) % size;

	for (uint32_t i = 0; i < size; i++, at = (at + 1) % size) {
		uint32_t id = shadow_load(&sh->writer_hash[at]);

		if (!id) {
			*ret_at = at;
			return 0;
		}
		if (id < sh->max_writers && same_code(&sh->writer[id], w))
			return id;
	}
	*ret_at = size;
	return 0;
}

static uint32_t insert(struct shadow *sh, const struct taint_writer *w)
{
	uint32_t at, id = find(sh, w, &at), used = shadow_load(&sh->shm->writers_used);

	if (id || !used || used >= sh->max_writers || at >= 2 * sh->max_writers)
		return id;
	sh->writer[used] = *w;
	shadow_store(&sh->shm->writers_used, used + 1);
	shadow_store(&sh->writer_hash[at], used);
	return used;
}

uint32_t shadow_writer_intern(struct shadow *sh, const struct taint_writer *w)
{
	uint32_t at, id = find(sh, w, &at);

	if (id || shadow_load(&sh->shm->writers_used) >= sh->max_writers)
		return id;
	shadow_lock(sh);
	id = insert(sh, w);
	shadow_unlock(sh);
	return id;
}

bool shadow_writer_get(const struct shadow *sh, uint32_t id, struct taint_writer *ret)
{
	if (!id || id >= sh->max_writers || id >= shadow_load(&sh->shm->writers_used))
		return false;
	*ret = sh->writer[id];
	return true;
}
