/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading the headers of chunks of glibc's heap. */
#include "locate/chunk.h"

#define CHUNK_FLAGS 7u

bool chunk_size(const struct code_reader *rd, unsigned word, const struct vmi_vma *map, uint64_t mem, uint64_t *ret)
{
	uint64_t size = 0;

	if (mem - 2 * word < map->start.v || mem >= map->end.v || !code_read(rd, gva(mem - word), &size, word))
		return false;
	*ret = size & ~(uint64_t)CHUNK_FLAGS;
	return *ret >= 2 * word && *ret % (2 * word) == 0 && *ret <= map->end.v - (mem - 2 * word);
}

uint64_t chunk_start(const struct vmi_vma *map, unsigned k)
{
	return map->start.v + (k ? 8 : 16);
}
