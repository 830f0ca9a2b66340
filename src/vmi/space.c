/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The page walk: x86 address spaces in all four paging modes, each a row of a table.
 *
 * Linux with page-table isolation marks user addresses "no execute" in the top
 * level of the tables that the kernel uses; nothing else does. That bit is
 * ignored, so that both halves tell the same about a user page.
 */
#include "vmi/vmi_internal.h"

#include <string.h>

#define CR0_PG (1ull << 31)
#define CR4_PAE (1ull << 5)
#define CR4_LA57 (1ull << 12)
#define EFER_LMA (1ull << 10)

#define PTE_PRESENT (1ull << 0)
#define PTE_WRITE (1ull << 1)
#define PTE_USER (1ull << 2)
#define PTE_LARGE (1ull << 7)
#define PTE_NX (1ull << 63)
#define PTE_FRAME 0x000ffffffffff000ull

struct level {
	uint8_t shift, bits;
	bool large; /* may map a large page */
	bool rights; /* entries carry access rights */
};

struct mode {
	uint64_t root_mask;
	uint8_t va_bits, entry_size, n_levels;
	struct level level[5];
};

enum mode_id { MODE_32, MODE_PAE, MODE_4LEVEL, MODE_5LEVEL };

static const struct mode modes[] = {
	[MODE_32] = {0xfffff000, 32, 4, 2, {{22, 10, true, true}, {12, 10, false, true}}},
	[MODE_PAE] = {0xffffffe0, 32, 8, 3, {{30, 2, false, false}, {21, 9, true, true}, {12, 9, false, true}}},
	[MODE_4LEVEL] = {PTE_FRAME,
			 48,
			 8,
			 4,
			 {{39, 9, false, true}, {30, 9, true, true}, {21, 9, true, true}, {12, 9, false, true}}},
	[MODE_5LEVEL] = {PTE_FRAME,
			 57,
			 8,
			 5,
			 {{48, 9, false, true},
			  {39, 9, false, true},
			  {30, 9, true, true},
			  {21, 9, true, true},
			  {12, 9, false, true}}},
};

void vmi_space_init(struct vmi_space *s, struct gmem *gm, uint64_t cr0, uint64_t cr3, uint64_t cr4, uint64_t efer)
{
	s->gm = gm;
	s->cr3 = cr3;
	s->paging = cr0 & CR0_PG;
	s->pae = cr4 & CR4_PAE;
	s->long_mode = s->paging && (efer & EFER_LMA);
	s->la57 = cr4 & CR4_LA57;
}

static const struct mode *mode_of(const struct vmi_space *s)
{
	if (s->long_mode)
		return &modes[s->la57 ? MODE_5LEVEL : MODE_4LEVEL];
	return &modes[s->pae ? MODE_PAE : MODE_32];
}

struct gpa vmi_space_root(const struct vmi_space *s)
{
	return gpa(s->cr3 & mode_of(s)->root_mask);
}

static bool is_canonical(const struct mode *m, struct gva at)
{
	unsigned unused = 64 - m->va_bits;

	if (m->va_bits == 32)
		return at.v >> 32 == 0;
	return (uint64_t)((int64_t)(at.v << unused) >> unused) == at.v;
}

/* Frame that a leaf entry of a page of size bytes names. A 4 MiB page has bits 39..32 of its address in bits 20..13. */
static uint64_t leaf_frame(const struct mode *m, uint64_t entry, uint64_t size)
{
	uint64_t frame = entry & PTE_FRAME & ~(size - 1);

	if (m->entry_size == 4 && size > GUEST_PAGE_SIZE)
		frame |= (entry >> 13 & 0xff) << 32;
	return frame;
}

static void walk_identity(struct gva at, struct vmi_walk *ret)
{
	ret->mapped = at.v >> 32 == 0;
	ret->span = GUEST_PAGE_SIZE;
	ret->page = (struct vmi_page){gpa(at.v), GUEST_PAGE_SIZE, true, true, true};
}

static void add_rights(struct vmi_page *page, uint64_t entry, bool ignore_nx)
{
	page->writable &= (entry & PTE_WRITE) != 0;
	page->user &= (entry & PTE_USER) != 0;
	page->executable &= ignore_nx || !(entry & PTE_NX);
}

static void walk_tables(const struct vmi_space *s, const struct mode *m, struct gva at, struct vmi_walk *ret)
{
	uint64_t table = s->cr3 & m->root_mask;

	for (unsigned i = 0; i < m->n_levels; i++) {
		const struct level *l = &m->level[i];
		uint64_t index = at.v >> l->shift & ((1u << l->bits) - 1);
		uint64_t entry = 0;

		ret->span = 1ull << l->shift;
		if (!gmem_read(s->gm, gpa(table + index * m->entry_size), &entry, m->entry_size))
			return;
		if (!(entry & PTE_PRESENT)) {
			ret->none = entry == 0;
			return;
		}
		if (l->rights)
			add_rights(&ret->page, entry, i == 0 && !gva_is_kernel(at));
		if (l->shift == GUEST_PAGE_SHIFT || (entry & PTE_LARGE)) {
			if (l->shift != GUEST_PAGE_SHIFT && !l->large)
				return;
			ret->page.page_size = ret->span;
			ret->page.at = gpa(leaf_frame(m, entry, ret->span) + (at.v & (ret->span - 1)));
			ret->mapped = true;
			return;
		}
		table = entry & PTE_FRAME;
	}
}

void vmi_walk(const struct vmi_space *s, struct gva at, struct vmi_walk *ret)
{
	const struct mode *m = mode_of(s);

	*ret = (struct vmi_walk){.span = GUEST_PAGE_SIZE, .page = {.writable = true, .user = true, .executable = true}};
	if (!s->paging)
		walk_identity(at, ret);
	else if (is_canonical(m, at))
		walk_tables(s, m, at, ret);
	else
		ret->span = 1ull << (m->va_bits - 1);
}

bool vmi_translate(const struct vmi_space *s, struct gva at, struct vmi_page *ret)
{
	struct vmi_walk w;
	uint64_t offset;

	vmi_walk(s, at, &w);
	if (!w.mapped || !gmem_to_offset(s->gm, w.page.at, &offset))
		return false;
	*ret = w.page;
	return true;
}

/* One piece of a range, contiguous in guest-physical memory. */
typedef bool piece_fn(void *arg, struct gmem *gm, struct gpa at, uint64_t done, size_t len);

static bool each_piece(const struct vmi_space *s, struct gva at, size_t len, piece_fn *fn, void *arg)
{
	uint64_t done = 0;

	if (at.v + len < at.v)
		return false;
	while (done < len) {
		struct vmi_page page;
		uint64_t n;

		if (!vmi_translate(s, gva_add(at, done), &page))
			return false;
		n = page.page_size - (page.at.v & (page.page_size - 1));
		n = n < len - done ? n : len - done;
		if (!fn(arg, s->gm, page.at, done, n))
			return false;
		done += n;
	}
	return true;
}

static bool piece_is_ram(void *arg, struct gmem *gm, struct gpa at, uint64_t done, size_t len)
{
	uint64_t first, last;

	(void)arg;
	(void)done;
	return gmem_to_offset(gm, at, &first) && gmem_to_offset(gm, gpa_add(at, len - 1), &last);
}

static bool piece_read(void *arg, struct gmem *gm, struct gpa at, uint64_t done, size_t len)
{
	return gmem_read(gm, at, (uint8_t *)arg + done, len);
}

static bool piece_write(void *arg, struct gmem *gm, struct gpa at, uint64_t done, size_t len)
{
	return gmem_write(gm, at, (const uint8_t *)arg + done, len);
}

/* Whether the range needs a check before the first byte is moved, to make it all or nothing. */
static bool is_split(struct gva at, size_t len)
{
	return (at.v & GUEST_PAGE_MASK) + len > GUEST_PAGE_SIZE;
}

bool vmi_read(const struct vmi_space *s, struct gva at, void *ret, size_t len)
{
	if (is_split(at, len) && !each_piece(s, at, len, piece_is_ram, NULL))
		return false;
	return each_piece(s, at, len, piece_read, ret);
}

bool vmi_write(const struct vmi_space *s, struct gva at, const void *buf, size_t len)
{
	if (is_split(at, len) && !each_piece(s, at, len, piece_is_ram, NULL))
		return false;
	return each_piece(s, at, len, piece_write, (void *)(uintptr_t)buf);
}
