/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A process's memory map: VMAs from the maple tree (Linux 6.1 and later) or from the list before it.
 *
 * A maple node is 256-byte aligned; a pointer to it carries its type in bits
 * 6..3. Node type 1 (leaf_64) holds VMAs, 2 (range_64) and 3 (arange_64) hold nodes. Slot i covers the
 * addresses above pivot i-1 up to pivot i; a pivot of zero, or the node's own limit, ends the node.
 */
#include "vmi/vmi_internal.h"

#include <string.h>

#define MAPLE_NODE_MASK 0xffull
#define MAPLE_TYPE(p) ((p) >> 3 & 0xf)
#define MAPLE_IS_NODE(p) (((p)&3) == 2 && (p) > 4096)
#define MAPLE_DEPTH_MAX 16u
#define MAPLE_NODES_MAX 65536u
#define MAPLE_SLOTS_MAX 32u
#define FILE_PAGES_MAX (1ull << 40)
#define FIND_PAGES_MAX (1u << 20) /* 4 GiB of code */
#define STACK_MAX (8ull << 20) /* how far below its mapping a stack may be touched: the default limit */

struct vma_walk {
	const struct vmi *v;
	vmi_vma_fn *fn;
	void *arg;
	uint64_t low; /* end of the VMA before */
	unsigned n_vmas, n_nodes;
	bool done;
	bool broken; /* something could not be read, or made no sense */
};

static bool read_vma(const struct vmi *v, struct gva at, struct vmi_raw_vma *ret)
{
	uint64_t file, pgoff;

	ret->at = at;
	if (!vmi_get(v, at, VMA_START, &ret->start.v) || !vmi_get(v, at, VMA_END, &ret->end.v) ||
	    !vmi_get(v, at, VMA_FLAGS, &ret->flags) || !vmi_get(v, at, VMA_PGOFF, &pgoff) ||
	    !vmi_get(v, at, VMA_FILE, &file))
		return false;
	if ((ret->start.v | ret->end.v) & GUEST_PAGE_MASK || ret->start.v >= ret->end.v || gva_is_kernel(ret->end))
		return false;
	ret->file = gva_is_kernel(gva(file)) ? gva(file) : gva(0);
	ret->file_offset = ret->file.v && pgoff < FILE_PAGES_MAX ? pgoff << GUEST_PAGE_SHIFT : 0;
	return true;
}

static void visit_vma(struct vma_walk *w, struct gva at)
{
	struct vmi_raw_vma vma;

	if (++w->n_vmas > VMI_MAPS_MAX) {
		w->done = w->broken = true;
		return;
	}
	if (!read_vma(w->v, at, &vma) || vma.start.v < w->low) {
		w->broken = true;
		return;
	}
	w->low = vma.end.v;
	w->done = !w->fn(w->arg, &vma);
}

struct maple_kind {
	bool known, leaf;
	enum vmi_field_id pivot, slot;
};

static const struct maple_kind maple_kinds[16] = {
	[1] = {true, true, RANGE64_PIVOT, RANGE64_SLOT},
	[2] = {true, false, RANGE64_PIVOT, RANGE64_SLOT},
	[3] = {true, false, ARANGE64_PIVOT, ARANGE64_SLOT},
};

/* One node's arrays, copied. Returns the number of slots, 0: not to be read. */
static unsigned read_node(const struct vmi *v, uint64_t p, const struct maple_kind *k, uint64_t *pivot, uint64_t *slot)
{
	const struct vmi_field *fp = &v->layout.f[k->pivot], *fs = &v->layout.f[k->slot];
	struct gva node = gva(p & ~MAPLE_NODE_MASK);
	unsigned n = fs->size / 8;

	if (!n || n > MAPLE_SLOTS_MAX || fp->size / 8 != n - 1 || !gva_is_kernel(node))
		return 0;
	if (!vmi_read(&v->kernel, gva_add(node, fp->offset), pivot, 8ul * (n - 1)) ||
	    !vmi_read(&v->kernel, gva_add(node, fs->offset), slot, 8ul * n))
		return 0;
	return n;
}

/* p covers min to max. A slot outside of that is none: so nodes that point to each other are not walked again and again. */
static void walk_maple(struct vma_walk *w, uint64_t p, uint64_t min, uint64_t max, unsigned depth)
{
	const struct maple_kind *k = &maple_kinds[MAPLE_TYPE(p)];
	uint64_t pivot[MAPLE_SLOTS_MAX], slot[MAPLE_SLOTS_MAX];
	unsigned n;

	n = depth > MAPLE_DEPTH_MAX || ++w->n_nodes > MAPLE_NODES_MAX || !k->known ? 0
										   : read_node(w->v, p, k, pivot, slot);
	w->broken |= !n;
	for (unsigned i = 0; i < n && !w->done && w->n_nodes <= MAPLE_NODES_MAX; i++) {
		bool last = i == n - 1 || (i && !pivot[i]) || pivot[i] >= max;
		uint64_t end = last ? max : pivot[i];

		if (end < min)
			w->broken = true;
		else if (k->leaf && gva_is_kernel(gva(slot[i])))
			visit_vma(w, gva(slot[i]));
		else if (!k->leaf && gva_is_kernel(gva(slot[i])))
			walk_maple(w, slot[i], min, end, depth + 1);
		if (last)
			return;
		min = end < min ? min : end + 1;
	}
}

static void walk_tree(struct vma_walk *w, struct gva mm)
{
	struct gva root;

	if (!vmi_get_ptr(w->v, vmi_member(w->v, mm, MM_MT), MT_ROOT, &root))
		w->broken = true;
	else if (MAPLE_IS_NODE(root.v))
		walk_maple(w, root.v, 0, UINT64_MAX, 0);
	else
		visit_vma(w, root);
}

/* Ends at cycles too: a VMA met again starts below the one before it, and visit_vma counts. */
static void walk_vma_list(struct vma_walk *w, struct gva mm)
{
	struct gva at;

	w->broken = !vmi_get_ptr(w->v, mm, MM_MMAP, &at);
	if (w->broken)
		return;
	do
		visit_vma(w, at);
	while (!w->done && vmi_get_ptr(w->v, at, VMA_NEXT, &at));
}

bool vmi_vma_each(const struct vmi *v, struct gva mm, vmi_vma_fn *fn, void *arg)
{
	struct vma_walk w = {.v = v, .fn = fn, .arg = arg};

	if (vmi_has(v, MM_MT))
		walk_tree(&w, mm);
	else
		walk_vma_list(&w, mm);
	return !w.broken;
}

struct vma_search {
	struct gva at;
	struct vmi_raw_vma *ret;
	bool found;
};

static bool covers(void *arg, const struct vmi_raw_vma *vma)
{
	struct vma_search *s = arg;

	if (vma->end.v <= s->at.v)
		return true;
	s->found = vma->start.v <= s->at.v;
	if (s->found)
		*s->ret = *vma;
	return false;
}

bool vmi_vma_at(const struct vmi *v, struct gva mm, struct gva at, struct vmi_raw_vma *ret)
{
	struct vma_search s = {.at = at, .ret = ret};

	vmi_vma_each(v, mm, covers, &s);
	return s.found;
}

struct map_list {
	const struct vmi *v;
	struct vmi_vma *maps;
	size_t n, max;
};

static bool add_map(void *arg, const struct vmi_raw_vma *vma)
{
	struct map_list *l = arg;
	struct vmi_vma *to = &l->maps[l->n];

	*to = (struct vmi_vma){vma->start, vma->end, vma->flags, vma->file_offset, vma->file, gva(0), ""};
	if (l->n && vma->file.v && to[-1].file.v == vma->file.v) {
		to->inode = to[-1].inode;
		memcpy(to->path, to[-1].path, sizeof(to->path));
	} else if (vma->file.v) {
		if (!vmi_get_ptr(l->v, vma->file, FILE_INODE, &to->inode))
			to->inode = gva(0);
		vmi_file_path(l->v, vma->file, to->path);
	}
	return ++l->n < l->max;
}

static int check_has_mm(const struct vmi_task *t, struct err *e)
{
	if (t->mm.v)
		return 0;
	return err_set_addr(e, ERR_GUEST, t->task.v, "process %d (%s) of the guest has no memory of its own", t->pid,
			    t->comm);
}

int vmi_maps(struct vmi *v, const struct vmi_task *t, struct vmi_vma *ret, size_t max, struct err *e)
{
	struct map_list l = {v, ret, 0, max < VMI_MAPS_MAX ? max : VMI_MAPS_MAX};

	if (check_has_mm(t, e))
		return -1;
	if (!max)
		return 0;
	vmi_vma_each(v, t->mm, add_map, &l);
	if (!l.n)
		return err_set_addr(e, ERR_GUEST, t->mm.v, "the memory map of process %d (%s) cannot be read", t->pid,
				    t->comm);
	return (int)l.n;
}

struct mapped_search {
	uint64_t at;
	uint64_t flags;
	bool found;
};

static bool is_mapped(void *arg, const struct vmi_raw_vma *vma)
{
	struct mapped_search *s = arg;
	uint64_t start = vma->start.v;

	if (vma->end.v <= s->at)
		return true;
	if (vma->flags & VMI_VM_GROWSDOWN)
		start = start > STACK_MAX ? start - STACK_MAX : 0;
	s->found = start <= s->at;
	s->flags = vma->flags;
	return false;
}

enum vmi_mapped vmi_mapped_at(const struct vmi *v, const struct vmi_task *t, struct gva at, uint64_t *ret_flags)
{
	struct mapped_search s = {.at = at.v};
	struct err e;

	if (check_has_mm(t, &e) || !vmi_vma_each(v, t->mm, is_mapped, &s))
		return VMI_MAPPED_UNKNOWN;
	*ret_flags = s.flags;
	return s.found ? VMI_MAPPED : VMI_NOT_MAPPED;
}

/* Who writes has set this bit of the lock's count; many may read at a time. */
#define RWSEM_WRITER 1u

bool vmi_maps_change(const struct vmi *v, const struct vmi_task *t)
{
	uint64_t count;

	return t->mm.v && vmi_has(v, MM_LOCK) && vmi_has(v, RWSEM_COUNT) &&
	       vmi_get(v, vmi_member(v, t->mm, MM_LOCK), RWSEM_COUNT, &count) && (count & RWSEM_WRITER);
}

struct code_search {
	const struct vmi_space *space;
	uint64_t file_page; /* offset in the RAM file */
	unsigned pages;
	bool found;
	struct gva ret;
};

static bool find_in_vma(void *arg, const struct vmi_raw_vma *vma)
{
	struct code_search *s = arg;
	uint64_t at = vma->start.v;

	while ((vma->flags & VMI_VM_EXEC) && at < vma->end.v && s->pages++ < FIND_PAGES_MAX) {
		struct vmi_walk w;
		uint64_t offset;

		vmi_walk(s->space, gva(at), &w);
		if (w.mapped && gmem_to_offset(s->space->gm, w.page.at, &offset) && offset == s->file_page) {
			s->ret = gva(at);
			s->found = true;
			return false;
		}
		at = w.mapped ? at + GUEST_PAGE_SIZE : (at | (w.span - 1)) + 1;
	}
	return s->pages < FIND_PAGES_MAX;
}

int vmi_find_code(struct vmi *v, const struct vmi_task *t, uint64_t ram_offset, struct gva *ret, struct err *e)
{
	struct code_search s = {.space = &t->space, .file_page = ram_offset & ~(uint64_t)GUEST_PAGE_MASK};

	if (check_has_mm(t, e))
		return -1;
	vmi_vma_each(v, t->mm, find_in_vma, &s);
	if (!s.found)
		return err_set_addr(e, ERR_GUEST, ram_offset, "process %d (%s) has no executable mapping of that page",
				    t->pid, t->comm);
	*ret = gva_add(s.ret, ram_offset & GUEST_PAGE_MASK);
	return 0;
}
