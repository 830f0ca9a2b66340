/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzzes the walk of a process's maple tree: input is what to change in its nodes and mappings. */
#include "vmi_words.h"

#define NODES 8u
#define MAPS 24

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct guest_prog p;
static struct words area;

/* The area: the mm's own members, then some nodes, the first of which is the root, and mappings. */
static void prepare(void)
{
	uint64_t vma[6], node;

	guest_prog_init(&p);
	guest_prog_cache(&p);
	node = guest_alloc(&p.g, NODES * 256);
	for (uint64_t i = 0; i < 6; i++)
		vma[i] = guest_add_vma(&p.g, PROG_BASE + (i << 13), PROG_BASE + (i << 13) + 0x1000, 5, i,
				       i & 1 ? p.file : 0);
	guest_set_maps(&p.g, p.mm, vma, 6);
	words_init(&area, &p.g, node);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct vmi_mapping m[MAPS];
	static struct vmi_vma maps[MAPS];
	struct gva at;
	struct err e;
	bool whole;
	int n;

	if (!area.before)
		prepare();
	words_change(&area, &p.g, data, size);
	n = vmi_mappings(p.g.vmi, &p.t, 0, m, MAPS, &whole, &e);
	for (int i = 0; i < n; i++)
		assert(m[i].start.v < m[i].end.v && (!i || m[i - 1].end.v <= m[i].start.v));
	n = vmi_maps(p.g.vmi, &p.t, maps, MAPS, &e);
	for (int i = 0; i < n; i++)
		(void)vmi_task_peek(p.g.vmi, &p.t, maps[i].start, m, 16);
	(void)!vmi_find_code(p.g.vmi, &p.t, p.page[1], &at, &e);
	words_undo(&area, &p.g);
	return 0;
}
