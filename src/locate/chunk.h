/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Chunks of glibc's heap, as their headers in the process say: hostile. */
#ifndef CLOUDER_LOCATE_CHUNK_H
#define CLOUDER_LOCATE_CHUNK_H

#include "locate/reader.h"
#include "vmi/vmi.h"

#define CHUNKS_MAX (1u << 18) /* chunks of a heap that are walked */

/*
 * Size in bytes, without its flags, of the chunk whose memory begins at mem in the mapping; word: bytes of a size, 4 or 8.
 * false: what stands there is no size that can be one.
 */
bool chunk_size(const struct code_reader *rd, unsigned word, const struct vmi_vma *map, uint64_t mem, uint64_t *ret);

/* Whether that chunk has a mapping of its own: then its last word is not the next chunk's first, but its own. */
bool chunk_mapped(const struct code_reader *rd, unsigned word, uint64_t mem);

/*
 * Address of the memory of the first chunk of the heap in a mapping: with the mapping, half a unit of alignment behind it in
 * 32-bit programs, or behind what a static program put there before its first allocation. 0: it looks like no heap.
 */
uint64_t chunk_first(const struct code_reader *rd, unsigned word, const struct vmi_vma *map);

#endif
