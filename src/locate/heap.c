/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is wrong with a heap that the C library has just found to be corrupted: the first chunk header, on a walk from
 * the heap's beginning, that cannot be one and holds bytes from the outside.
 *
 * A size computed from the input is tainted as well in a heap that is whole: only a header that breaks the walk counts.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "locate/chunk.h"
#include "locate/locate.h"

#define MAPS_MAX 4096
#define USER32_CS 0x23u

struct heap {
	const struct locate_input *in;
	struct vmi_task task;
	unsigned word; /* bytes of a size */
};

/* Whether any byte of the size at `at` came from the outside; labels: word entries. */
static bool tainted_size(const struct heap *h, uint64_t at, struct taint_label *labels)
{
	uint8_t bytes[8];
	struct vmi_page page;

	if (!vmi_translate(&h->task.space, gva(at), &page) || !vmi_read(&h->task.space, gva(at), bytes, h->word) ||
	    !shadow_get(h->in->shadow, page.at, labels, h->word))
		return false;
	taint_labels_drop_stale(labels, bytes, h->word);
	for (unsigned i = 0; i < h->word; i++)
		if (labels[i].origin)
			return true;
	return false;
}

static bool read_process(void *arg, struct gva at, void *ret, size_t len)
{
	const struct heap *h = arg;

	return vmi_read(&h->task.space, at, ret, len);
}

/*
 * Walks one mapping as a heap from the memory of its first chunk; returns the address of the size that ends the walk, 0: it
 * ends well, or what stands first is no chunk.
 */
static uint64_t walk(struct heap *h, const struct vmi_vma *map, uint64_t first)
{
	const struct code_reader rd = {read_process, h};
	uint64_t mem = first, size;

	for (unsigned k = 0; k < CHUNKS_MAX && mem < map->end.v; k++, mem += size)
		if (!chunk_size(&rd, h->word, map, mem, &size))
			return k ? mem - h->word : 0;
	return 0;
}

static bool search(struct heap *h, const struct vmi_vma *map, struct taint_msg_detect *d)
{
	const struct code_reader rd = {read_process, h};
	uint64_t first = chunk_first(&rd, h->word, map), at = first ? walk(h, map, first) : 0;
	struct taint_label labels[8];

	if (!at || !tainted_size(h, at, labels))
		return false;
	d->object_gva = at;
	d->object_len = h->word;
	memcpy(d->label, labels, h->word * sizeof(*labels));
	return true;
}

int locate_heap(const struct locate_input *in, struct taint_msg_detect *d, struct err *e)
{
	struct vmi_vma *map = calloc(MAPS_MAX, sizeof(*map));
	struct heap h = {.in = in, .word = (d->cs & 0xffff) == USER32_CS ? 4 : 8};
	bool found = false;
	int n;

	if (!map)
		return err_set_errno(e, "no memory for the process's map");
	if (vmi_task_by_cr3(in->vmi, d->cr3, &h.task, e)) {
		free(map);
		return -1;
	}
	n = vmi_maps(in->vmi, &h.task, map, MAPS_MAX, e);
	for (int i = 0; i < n && !found; i++)
		if (!map[i].file.v && map[i].flags & VMI_VM_WRITE)
			found = search(&h, &map[i], d);
	free(map);
	return found ? 0 : err_set(e, ERR_GUEST, "no corrupted chunk of a heap was found");
}
