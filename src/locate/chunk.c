/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading the headers of chunks of glibc's heap. */
#include "locate/chunk.h"

#define CHUNK_FLAGS 7u
#define CHUNK_MAPPED 2u

bool chunk_size(const struct code_reader *rd, unsigned word, const struct vmi_vma *map, uint64_t mem, uint64_t *ret)
{
	uint64_t size = 0;

	if (mem - 2 * word < map->start.v || mem >= map->end.v || !code_read(rd, gva(mem - word), &size, word))
		return false;
	*ret = size & ~(uint64_t)CHUNK_FLAGS;
	return *ret >= 2 * word && *ret % (2 * word) == 0 && *ret <= map->end.v - (mem - 2 * word);
}

bool chunk_mapped(const struct code_reader *rd, unsigned word, uint64_t mem)
{
	uint64_t size = 0;

	return code_read(rd, gva(mem - word), &size, word) && (size & CHUNK_MAPPED);
}

#define FIRST_WITHIN 16384u /* bytes of a mapping that may come before the heap */
#define CHUNKS_SURE 3u /* that follow each other */
#define CHUNK_IN_USE 1u /* the one before it is; the first has none and says so */

/* Whether chunks begin at mem: as many as are sure, or all up to the mapping's end. */
static bool chunks_begin(const struct code_reader *rd, unsigned word, const struct vmi_vma *map, uint64_t mem)
{
	uint64_t size, flags = 0;

	if (!code_read(rd, gva(mem - word), &flags, word) || !(flags & CHUNK_IN_USE))
		return false;
	for (unsigned k = 0; k < CHUNKS_SURE; k++, mem += size) {
		if (!chunk_size(rd, word, map, mem, &size) || size < 4 * word)
			return false;
		if (mem - 2 * word + size == map->end.v)
			return k > 0;
	}
	return true;
}

uint64_t chunk_first(const struct code_reader *rd, unsigned word, const struct vmi_vma *map)
{
	uint64_t size, first = map->start.v + 16, other = map->start.v + 8;

	/* what is there is taken as it is: it may be broken from the second chunk on */
	if (chunk_size(rd, word, map, first, &size) && size >= 4 * word)
		return first;
	if (chunk_size(rd, word, map, other, &size) && size >= 4 * word)
		return other;
	for (uint64_t mem = map->start.v + 16; mem < map->end.v && mem - map->start.v < FIRST_WITHIN; mem += 8)
		if (chunks_begin(rd, word, map, mem))
			return mem;
	return 0;
}
