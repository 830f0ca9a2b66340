/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pages of files in the guest's page cache: what a process would see in a file mapping that it has not touched.
 *
 * An inode's pages hang in an XArray whose entries are addresses of struct
 * page; frame n has its struct page at vmemmap + n * sizeof. vmemmap is
 * randomised, so it is learnt from pages that a page table and the cache both name.
 */
#include "vmi/vmi_internal.h"

#define XA_SLOTS 64u
#define XA_DEPTH_MAX 11u
#define XA_IS_NODE(e) (((e)&3) == 2 && (e) > 4096)
#define XA_IS_SIBLING(e) (((e)&3) == 2 && ((e) >> 2) < XA_SLOTS - 1)
#define FOLIO_PAGES_MAX (1u << 18) /* 1 GiB */
#define VMEMMAP_ALIGN (1ull << 30)
#define PROOFS 2u /* pages that must agree on vmemmap */
#define PROBES_MAX 4096u

static bool has_layout(const struct vmi *v)
{
	static const enum vmi_field_id needed[] = {INODE_MAPPING, MAPPING_PAGES, XARRAY_HEAD, XNODE_SHIFT,
						   XNODE_SLOTS,	  FOLIO_INDEX,	 PAGE_SIZE_OF};

	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++)
		if (!vmi_has(v, needed[i]))
			return false;
	return v->layout.f[XNODE_SLOTS].size == XA_SLOTS * 8;
}

static bool read_slot(const struct vmi *v, struct gva node, uint64_t i, uint64_t *ret)
{
	return vmi_read(&v->kernel, gva_add(vmi_member(v, node, XNODE_SLOTS), i * 8), ret, 8);
}

/* Entry for index in the tree; 0 if there is none. */
static uint64_t xarray_load(const struct vmi *v, struct gva xarray, uint64_t index)
{
	uint64_t entry;

	if (!vmi_get(v, xarray, XARRAY_HEAD, &entry))
		return 0;
	if (!XA_IS_NODE(entry))
		return index ? 0 : entry;
	for (unsigned depth = 0; depth < XA_DEPTH_MAX; depth++) {
		struct gva node = gva(entry & ~3ull);
		uint64_t shift, slot;

		if (!vmi_get(v, node, XNODE_SHIFT, &shift) || shift >= 64)
			return 0;
		slot = index >> shift;
		if (depth == 0 && slot >= XA_SLOTS)
			return 0;
		slot &= XA_SLOTS - 1;
		if (!read_slot(v, node, slot, &entry))
			return 0;
		if (XA_IS_SIBLING(entry) && !read_slot(v, node, entry >> 2, &entry))
			return 0;
		if (!shift || !XA_IS_NODE(entry))
			return entry;
	}
	return 0;
}

/* Address of the struct page of page index of inode. Several pages may hang in the tree as one folio. */
static bool cached_struct_page(const struct vmi *v, struct gva inode, uint64_t index, struct gva *ret)
{
	struct gva mapping, folio;
	uint64_t first;

	if (!vmi_get_ptr(v, inode, INODE_MAPPING, &mapping))
		return false;
	folio = gva(xarray_load(v, vmi_member(v, mapping, MAPPING_PAGES), index));
	if (!gva_is_kernel(folio) || (folio.v & 7) || !vmi_get(v, folio, FOLIO_INDEX, &first))
		return false;
	if (index - first >= FOLIO_PAGES_MAX)
		return false;
	*ret = gva_add(folio, (index - first) * v->layout.f[PAGE_SIZE_OF].size);
	return true;
}

struct calibration {
	const struct vmi *v;
	const struct vmi_space *space;
	uint64_t vmemmap;
	unsigned agree, probes;
};

static void probe_page(struct calibration *c, struct gva inode, uint64_t index, struct gpa at)
{
	uint64_t base;
	struct gva page;

	if (!cached_struct_page(c->v, inode, index, &page))
		return;
	base = page.v - (at.v >> GUEST_PAGE_SHIFT) * c->v->layout.f[PAGE_SIZE_OF].size;
	if (base & (VMEMMAP_ALIGN - 1))
		return; /* a private copy of the page */
	c->agree = base == c->vmemmap ? c->agree + 1 : 1;
	c->vmemmap = base;
}

static bool probe_vma(void *arg, const struct vmi_raw_vma *vma)
{
	struct calibration *c = arg;
	struct gva inode;

	if (!vma->file.v || (vma->flags & VMI_VM_WRITE) || !vmi_get_ptr(c->v, vma->file, FILE_INODE, &inode))
		return true;
	for (uint64_t at = vma->start.v; at < vma->end.v && c->agree < PROOFS; at += GUEST_PAGE_SIZE) {
		uint64_t index = (vma->file_offset + (at - vma->start.v)) >> GUEST_PAGE_SHIFT;
		struct vmi_page page;

		if (c->probes++ == PROBES_MAX)
			return false;
		if (vmi_translate(c->space, gva(at), &page))
			probe_page(c, inode, index, page.at);
	}
	return c->agree < PROOFS;
}

bool vmi_knows_cache(struct vmi *v, const struct vmi_task *t)
{
	struct calibration c = {.v = v, .space = &t->space};

	if (v->vmemmap)
		return true;
	if (!has_layout(v))
		return false;
	vmi_vma_each(v, t->mm, probe_vma, &c);
	if (c.agree < PROOFS)
		return false;
	v->vmemmap = c.vmemmap;
	return true;
}

bool vmi_cached_page(struct vmi *v, const struct vmi_task *t, struct gva inode, uint64_t file_offset, struct gpa *ret)
{
	struct gva page;
	uint64_t frame, ignored;

	if (!vmi_knows_cache(v, t) || !cached_struct_page(v, inode, file_offset >> GUEST_PAGE_SHIFT, &page))
		return false;
	frame = (page.v - v->vmemmap) / v->layout.f[PAGE_SIZE_OF].size;
	if (page.v < v->vmemmap || !gmem_to_offset(v->kernel.gm, gpa(frame << GUEST_PAGE_SHIFT), &ignored))
		return false;
	*ret = gpa(frame << GUEST_PAGE_SHIFT);
	return true;
}

/* Where the byte at `at` is: by the page tables, else in the page cache if the entry there is empty. */
static bool locate_byte(struct vmi *v, const struct vmi_task *t, struct gva at, struct gpa *ret)
{
	struct vmi_raw_vma vma;
	struct gva inode;
	struct vmi_walk w;
	uint64_t offset;

	vmi_walk(&t->space, at, &w);
	if (w.mapped) {
		*ret = w.page.at;
		return true;
	}
	if (!w.none || !t->mm.v || !vmi_vma_at(v, t->mm, at, &vma) || !vma.file.v ||
	    !vmi_get_ptr(v, vma.file, FILE_INODE, &inode))
		return false;
	offset = vma.file_offset + (at.v - vma.start.v);
	if (!vmi_cached_page(v, t, inode, offset & ~(uint64_t)GUEST_PAGE_MASK, ret))
		return false;
	*ret = gpa_add(*ret, offset & GUEST_PAGE_MASK);
	return true;
}

bool vmi_task_read(struct vmi *v, const struct vmi_task *t, struct gva at, void *ret, size_t len)
{
	uint64_t done = 0;

	if (at.v + len < at.v)
		return false;
	while (done < len) {
		uint64_t n = GUEST_PAGE_SIZE - ((at.v + done) & GUEST_PAGE_MASK);
		struct gpa from;

		n = n < len - done ? n : len - done;
		if (!locate_byte(v, t, gva_add(at, done), &from) ||
		    !gmem_read(v->kernel.gm, from, (uint8_t *)ret + done, n))
			return false;
		done += n;
	}
	return true;
}

enum vmi_presence vmi_task_peek(struct vmi *v, const struct vmi_task *t, struct gva at, void *ret, size_t len)
{
	struct vmi_raw_vma vma;

	if (vmi_task_read(v, t, at, ret, len))
		return VMI_PRESENT;
	return t->mm.v && vmi_vma_at(v, t->mm, at, &vma) ? VMI_ABSENT : VMI_UNMAPPED;
}

/* One page's part of the bytes of a file: where it is, and how long. False: not in the cache. */
static bool file_piece(struct vmi *v, const struct vmi_task *t, struct gva inode, uint64_t offset, uint64_t left,
		       struct gpa *ret_at, uint64_t *ret_len)
{
	uint64_t in_page = offset & GUEST_PAGE_MASK;
	struct gpa page;

	if (!vmi_cached_page(v, t, inode, offset - in_page, &page))
		return false;
	*ret_at = gpa_add(page, in_page);
	*ret_len = GUEST_PAGE_SIZE - in_page < left ? GUEST_PAGE_SIZE - in_page : left;
	return true;
}

bool vmi_file_read(struct vmi *v, const struct vmi_task *t, struct gva inode, uint64_t offset, void *ret, size_t len)
{
	uint64_t n;
	struct gpa at;

	if (offset + len < offset)
		return false;
	for (uint64_t done = 0; done < len; done += n)
		if (!file_piece(v, t, inode, offset + done, len - done, &at, &n) ||
		    !gmem_read(v->kernel.gm, at, (uint8_t *)ret + done, n))
			return false;
	return true;
}

bool vmi_file_write(struct vmi *v, const struct vmi_task *t, struct gva inode, uint64_t offset, const void *buf,
		    size_t len)
{
	uint64_t n;
	struct gpa at;

	if (offset + len < offset)
		return false;
	for (uint64_t done = 0; done < len; done += n)
		if (!file_piece(v, t, inode, offset + done, len - done, &at, &n))
			return false;
	for (uint64_t done = 0; done < len; done += n)
		if (!file_piece(v, t, inode, offset + done, len - done, &at, &n) ||
		    !gmem_write(v->kernel.gm, at, (const uint8_t *)buf + done, n))
			return false;
	return true;
}

/* Where the bytes [at, at + len) are, one piece for each page; at most max. 0: some of them are nowhere. */
static unsigned locate_pieces(struct vmi *v, const struct vmi_task *t, struct gva at, size_t len, struct gpa *ret,
			      unsigned max)
{
	unsigned n = 0;

	for (uint64_t done = 0; done < len; n++) {
		if (n == max || !locate_byte(v, t, gva_add(at, done), &ret[n]))
			return 0;
		done += GUEST_PAGE_SIZE - ((at.v + done) & GUEST_PAGE_MASK);
	}
	return n;
}

bool vmi_task_write(struct vmi *v, const struct vmi_task *t, struct gva at, const void *buf, size_t len)
{
	struct gpa piece[4];
	unsigned n = at.v + len < at.v ? 0 : locate_pieces(v, t, at, len, piece, 4);
	const uint8_t *from = buf;
	bool good = n > 0;

	for (unsigned i = 0; i < n && good; i++) {
		size_t part = GUEST_PAGE_SIZE - (piece[i].v & GUEST_PAGE_MASK);

		part = part < len ? part : len;
		good = gmem_write(v->kernel.gm, piece[i], from, part);
		from += part;
		len -= part;
	}
	return good;
}
