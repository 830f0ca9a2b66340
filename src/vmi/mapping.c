/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The list of a process's mappings that an operator sees: with what each is for, and which file is behind it. */
#include "vmi/vmi_internal.h"

#include <stdio.h>
#include <string.h>

#define SPECIAL_NAME_MAX 32u

struct mapping_list {
	struct vmi *v;
	const struct vmi_task *t;
	size_t skip;
	struct vmi_mapping *ret;
	size_t n, max, seen;
	bool has_cache;
	struct gva file; /* behind the last entry; 0: none */
	uint64_t heap, heap_end, stack;
};

/* The kernel's own mappings have a name: "[vdso]". */
static bool special_name(const struct vmi *v, struct gva vma, char ret[VMI_PATH_MAX])
{
	struct gva mapping, text;
	char name[SPECIAL_NAME_MAX + 1] = "";

	if (!vmi_get_ptr(v, vma, VMA_PRIVATE, &mapping) || !vmi_get_ptr(v, mapping, SPECIAL_NAME, &text) ||
	    !vmi_read(&v->kernel, text, name, SPECIAL_NAME_MAX) || name[0] != '[')
		return false;
	for (char *c = name; *c; c++)
		if (*c < ' ' || *c > '~')
			return false;
	memcpy(ret, name, sizeof(name));
	return true;
}

static void name_anonymous(const struct mapping_list *l, const struct vmi_raw_vma *vma, char ret[VMI_PATH_MAX])
{
	if (special_name(l->v, vma->at, ret))
		return;
	if (l->heap && vma->start.v < l->heap_end && vma->end.v > l->heap)
		snprintf(ret, VMI_PATH_MAX, "[heap]");
	else if (vma->start.v <= l->stack && l->stack < vma->end.v)
		snprintf(ret, VMI_PATH_MAX, "[stack]");
}

/* Neighbours often have the same file. */
static void name_file(struct mapping_list *l, const struct vmi_raw_vma *vma, struct vmi_mapping *to)
{
	struct gva inode;

	if (l->n && l->file.v == vma->file.v) {
		memcpy(to->name, to[-1].name, sizeof(to->name));
		memcpy(to->build_id, to[-1].build_id, sizeof(to->build_id));
		to->build_id_len = to[-1].build_id_len;
		to->deleted = to[-1].deleted;
		return;
	}
	vmi_file_path(l->v, vma->file, to->name);
	to->deleted = vmi_file_deleted(l->v, vma->file);
	if (l->has_cache && vmi_get_ptr(l->v, vma->file, FILE_INODE, &inode))
		to->build_id_len = vmi_file_build_id(l->v, l->t, inode, to->build_id);
}

static bool add_mapping(void *arg, const struct vmi_raw_vma *vma)
{
	struct mapping_list *l = arg;
	struct vmi_mapping *to = &l->ret[l->n];

	if (l->n == l->max)
		return false;
	if (l->seen++ < l->skip)
		return true;
	*to = (struct vmi_mapping){
		.start = vma->start, .end = vma->end, .flags = vma->flags, .file_offset = vma->file_offset};
	if (vma->file.v)
		name_file(l, vma, to);
	else
		name_anonymous(l, vma, to->name);
	l->file = vma->file;
	l->n++;
	return true;
}

static uint64_t place(const struct vmi *v, struct gva mm, enum vmi_field_id f)
{
	uint64_t value;

	return vmi_get(v, mm, f, &value) ? value : 0;
}

int vmi_mappings(struct vmi *v, const struct vmi_task *t, size_t first, struct vmi_mapping *ret, size_t max,
		 bool *ret_whole, struct err *e)
{
	struct mapping_list l = {.v = v, .t = t, .skip = first, .ret = ret, .max = max};
	bool whole;

	if (!t->mm.v)
		return err_set_addr(
			e, ERR_GUEST, t->task.v,
			"process %d (%s) of the guest has no memory of its own: a kernel thread, or it has ended",
			t->pid, t->comm);
	l.heap = place(v, t->mm, MM_START_BRK);
	l.heap_end = place(v, t->mm, MM_BRK);
	l.stack = place(v, t->mm, MM_START_STACK);
	l.has_cache = vmi_knows_cache(v, t);
	whole = vmi_vma_each(v, t->mm, add_mapping, &l);
	if (!l.n && !whole)
		return err_set_addr(e, ERR_GUEST, t->mm.v, "the memory map of process %d (%s) cannot be read", t->pid,
				    t->comm);
	*ret_whole = whole;
	return (int)l.n;
}
