/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ELF file that covers an address, from its headers in the process's memory.
 *
 * A file may be mapped more than once, and its first page may be part of two
 * segments: a mapping of the first page is taken for the header only if every
 * loadable segment is mapped where that header would have put it.
 */
#include "vmi/vmi_internal.h"

#include <elf.h>
#include <string.h>

#define PIECES_MAX 64u
#define SEGMENTS_MAX 64u
#define NOTE_BYTES_MAX 4096u

struct pieces {
	const struct vmi *v;
	struct gva at, inode;
	unsigned n;
	struct vmi_raw_vma vma[PIECES_MAX];
};

/* Where an ELF file is read: as mapped at base, or, with an inode, in the page cache. */
struct elf_file {
	struct vmi *v;
	const struct vmi_task *t;
	struct gva base, inode;
};

struct segment {
	uint32_t type, flags;
	uint64_t offset, vaddr, filesz, memsz, align;
};

struct elf_image {
	bool is_32bit;
	uint16_t type;
	uint64_t entry, bias;
	unsigned n;
	struct segment seg[SEGMENTS_MAX];
};

/* Keeps the mappings of the inode; if there are too many, the last below `at` and the first above. */
static bool add_piece(void *arg, const struct vmi_raw_vma *vma)
{
	struct pieces *p = arg;
	struct gva inode;

	if (!vma->file.v || !vmi_get_ptr(p->v, vma->file, FILE_INODE, &inode) || inode.v != p->inode.v)
		return true;
	if (p->n == PIECES_MAX) {
		if (vma->start.v > p->at.v)
			return false;
		memmove(p->vma, p->vma + 1, (PIECES_MAX - 1) * sizeof(p->vma[0]));
		p->n--;
	}
	p->vma[p->n++] = *vma;
	return true;
}

static uint64_t page_down(uint64_t a)
{
	return a & ~(uint64_t)GUEST_PAGE_MASK;
}

static bool is_mapped(const struct pieces *p, uint64_t at, uint64_t file_offset)
{
	for (unsigned i = 0; i < p->n; i++) {
		const struct vmi_raw_vma *m = &p->vma[i];

		if (m->start.v <= at && at < m->end.v && m->file_offset + (at - m->start.v) == file_offset)
			return true;
	}
	return false;
}

static bool is_load(const struct segment *s)
{
	return s->type == PT_LOAD && s->memsz;
}

static struct segment segment_of_64(const Elf64_Phdr *p)
{
	return (struct segment){p->p_type, p->p_flags, p->p_offset, p->p_vaddr, p->p_filesz, p->p_memsz, p->p_align};
}

static struct segment segment_of_32(const Elf32_Phdr *p)
{
	return (struct segment){p->p_type, p->p_flags, p->p_offset, p->p_vaddr, p->p_filesz, p->p_memsz, p->p_align};
}

static bool is_elf(const unsigned char *ident)
{
	return !memcmp(ident, ELFMAG, SELFMAG) && ident[EI_DATA] == ELFDATA2LSB &&
	       (ident[EI_CLASS] == ELFCLASS64 || ident[EI_CLASS] == ELFCLASS32);
}

static bool read_file(const struct elf_file *f, uint64_t offset, void *ret, size_t len)
{
	if (f->inode.v)
		return vmi_file_read(f->v, f->t, f->inode, offset, ret, len);
	return vmi_task_read(f->v, f->t, gva_add(f->base, offset), ret, len);
}

static bool read_segments_64(const struct elf_file *f, const Elf64_Ehdr *h, struct elf_image *ret)
{
	Elf64_Phdr ph[SEGMENTS_MAX];

	if (h->e_phentsize != sizeof(ph[0]) || !h->e_phnum || h->e_phnum > SEGMENTS_MAX ||
	    h->e_phoff > GUEST_PAGE_SIZE || !read_file(f, h->e_phoff, ph, h->e_phnum * sizeof(ph[0])))
		return false;
	ret->type = h->e_type;
	ret->entry = h->e_entry;
	for (ret->n = 0; ret->n < h->e_phnum; ret->n++)
		ret->seg[ret->n] = segment_of_64(&ph[ret->n]);
	return true;
}

static bool read_segments_32(const struct elf_file *f, const Elf32_Ehdr *h, struct elf_image *ret)
{
	Elf32_Phdr ph[SEGMENTS_MAX];

	if (h->e_phentsize != sizeof(ph[0]) || !h->e_phnum || h->e_phnum > SEGMENTS_MAX ||
	    h->e_phoff > GUEST_PAGE_SIZE || !read_file(f, h->e_phoff, ph, h->e_phnum * sizeof(ph[0])))
		return false;
	ret->type = h->e_type;
	ret->entry = h->e_entry;
	for (ret->n = 0; ret->n < h->e_phnum; ret->n++)
		ret->seg[ret->n] = segment_of_32(&ph[ret->n]);
	return true;
}

/* The program headers, whatever they say. */
static int read_image(const struct elf_file *f, struct elf_image *ret, struct err *e)
{
	union {
		unsigned char ident[EI_NIDENT];
		Elf64_Ehdr h64;
		Elf32_Ehdr h32;
	} h;
	bool ok;

	if (!read_file(f, 0, &h, sizeof(h)))
		return err_set_addr(e, ERR_GUEST, f->base.v, "the file's ELF header is not in guest memory now");
	if (!is_elf(h.ident))
		return err_set_addr(e, ERR_GUEST, f->base.v, "the file mapped there does not begin with an ELF header");
	ret->is_32bit = h.ident[EI_CLASS] == ELFCLASS32;
	ok = ret->is_32bit ? read_segments_32(f, &h.h32, ret) : read_segments_64(f, &h.h64, ret);
	if (!ok)
		return err_set_addr(e, ERR_GUEST, f->base.v,
				    "the file's ELF program headers make no sense or are not in guest memory");
	return 0;
}

/* From the segment that holds file offset 0. */
static bool find_bias(struct elf_image *img, struct gva base)
{
	for (unsigned i = 0; i < img->n; i++) {
		const struct segment *s = &img->seg[i];

		if (!is_load(s) || page_down(s->offset))
			continue;
		img->bias = base.v - (s->vaddr - s->offset);
		return (img->bias & GUEST_PAGE_MASK) == 0;
	}
	return false;
}

/* Every loadable segment lies in the user half and is mapped from the right part of the file. */
static bool segments_fit(const struct elf_image *img, const struct pieces *p)
{
	for (unsigned i = 0; i < img->n; i++) {
		const struct segment *s = &img->seg[i];
		uint64_t start = s->vaddr + img->bias;

		if (!is_load(s))
			continue;
		if (start + s->memsz < start || gva_is_kernel(gva(start + s->memsz)) || s->filesz > s->memsz ||
		    s->offset + s->filesz < s->offset)
			return false;
		if (s->filesz && !is_mapped(p, page_down(start), page_down(s->offset)))
			return false;
	}
	return true;
}

static void set_span(const struct elf_image *img, struct vmi_module *ret)
{
	ret->low = gva(UINT64_MAX);
	ret->high = gva(0);
	for (unsigned i = 0; i < img->n; i++) {
		uint64_t start = img->seg[i].vaddr + img->bias;
		uint64_t end = page_down(start + img->seg[i].memsz + GUEST_PAGE_MASK);

		if (!is_load(&img->seg[i]))
			continue;
		if (page_down(start) < ret->low.v)
			ret->low = gva(page_down(start));
		if (end > ret->high.v)
			ret->high = gva(end);
	}
}

/* The executable segment that holds `at`, else the first. */
static void set_text(const struct elf_image *img, struct gva at, struct vmi_module *ret)
{
	for (unsigned i = 0; i < img->n; i++) {
		const struct segment *s = &img->seg[i];
		uint64_t start = s->vaddr + img->bias;

		if (!is_load(s) || !(s->flags & PF_X))
			continue;
		if (ret->text.v && at.v - start >= s->memsz)
			continue;
		ret->text = gva(start);
		ret->text_end = gva(start + s->memsz);
		ret->text_file_offset = s->offset;
		ret->text_file_size = s->filesz;
	}
}

static uint64_t align_up(uint64_t n, uint64_t align)
{
	return (n + align - 1) & ~(align - 1);
}

/* Looks for the build-id among the notes in buf. Returns its length, 0: none; *ret_at: where it is in buf. */
static uint8_t parse_notes(const uint8_t *buf, size_t len, uint64_t align, uint8_t ret[VMI_BUILD_ID_MAX],
			   uint64_t *ret_at)
{
	uint64_t at = 0;

	while (at + sizeof(Elf64_Nhdr) <= len) {
		Elf64_Nhdr n;
		uint64_t name = at + sizeof(n), desc;

		memcpy(&n, buf + at, sizeof(n));
		desc = align_up(name + n.n_namesz, align);
		if (desc > len || n.n_descsz > len - desc)
			return 0;
		if (n.n_type == NT_GNU_BUILD_ID && n.n_namesz == 4 && !memcmp(buf + name, "GNU", 4) && n.n_descsz &&
		    n.n_descsz <= VMI_BUILD_ID_MAX) {
			memcpy(ret, buf + desc, n.n_descsz);
			*ret_at = desc;
			return (uint8_t)n.n_descsz;
		}
		at = align_up(desc + n.n_descsz, align);
	}
	return 0;
}

/* base is 0: of a file that is mapped, places are addresses. */
static uint8_t find_build_id(const struct elf_file *f, const struct elf_image *img, uint8_t ret[VMI_BUILD_ID_MAX],
			     struct gva *ret_at)
{
	uint8_t buf[NOTE_BYTES_MAX], n;
	uint64_t at = 0;

	for (unsigned i = 0; i < img->n; i++) {
		const struct segment *s = &img->seg[i];
		size_t len = s->filesz < sizeof(buf) ? s->filesz : sizeof(buf);

		if (s->type != PT_NOTE || !read_file(f, f->inode.v ? s->offset : s->vaddr + img->bias, buf, len))
			continue;
		n = parse_notes(buf, len, s->align == 8 ? 8 : 4, ret, &at);
		if (!n)
			continue;
		*ret_at = gva(s->vaddr + img->bias + at);
		return n;
	}
	return 0;
}

uint8_t vmi_file_build_id(struct vmi *v, const struct vmi_task *t, struct gva inode, uint8_t ret[VMI_BUILD_ID_MAX])
{
	const struct elf_file f = {.v = v, .t = t, .inode = inode};
	struct elf_image img = {0};
	struct gva at;

	return read_image(&f, &img, NULL) ? 0 : find_build_id(&f, &img, ret, &at);
}

static const struct segment *find_segment(const struct elf_image *img, uint32_t type)
{
	for (unsigned i = 0; i < img->n; i++)
		if (img->seg[i].type == type)
			return &img->seg[i];
	return NULL;
}

/* Where a segment of this type is, if it lies in the module's span; else both stay. */
static void set_segment(const struct elf_image *img, const struct vmi_module *m, uint32_t type, struct gva *ret_at,
			uint64_t *ret_size)
{
	const struct segment *s = find_segment(img, type);
	uint64_t start;

	if (!s)
		return;
	start = s->vaddr + img->bias;
	if (start < m->low.v || start >= m->high.v || s->memsz > m->high.v - start)
		return;
	*ret_at = gva(start);
	*ret_size = s->memsz;
}

/* By the file that the kernel has started; where that cannot be told, by what the headers say. */
static bool is_main_program(const struct vmi *v, const struct vmi_task *t, struct gva inode,
			    const struct elf_image *img)
{
	struct gva exe, exe_inode;

	if (vmi_get_ptr(v, t->mm, MM_EXE_FILE, &exe) && vmi_get_ptr(v, exe, FILE_INODE, &exe_inode))
		return exe_inode.v == inode.v;
	return img->type == ET_EXEC || (img->entry && find_segment(img, PT_INTERP));
}

/* Tries the mappings of the file's first page, the nearest below `at` first. */
static int find_image(struct vmi *v, const struct vmi_task *t, const struct pieces *p, struct elf_image *ret,
		      struct err *e)
{
	err_set_addr(e, ERR_GUEST, p->at.v, "the beginning of the file is not mapped below that address");
	for (unsigned i = p->n; i-- > 0;) {
		const struct vmi_raw_vma *m = &p->vma[i];
		const struct elf_file f = {.v = v, .t = t, .base = m->start};

		if (m->file_offset || m->start.v > p->at.v || read_image(&f, ret, e))
			continue;
		if (find_bias(ret, m->start) && segments_fit(ret, p))
			return 0;
		err_set_addr(e, ERR_GUEST, m->start.v, "the file is not mapped as its ELF headers say");
	}
	return -1;
}

static int fill_module(struct vmi *v, const struct vmi_task *t, const struct pieces *p, const struct elf_image *img,
		       struct vmi_module *ret, struct err *e)
{
	const struct elf_file f = {.v = v, .t = t};

	set_span(img, ret);
	if (p->at.v < ret->low.v || p->at.v >= ret->high.v)
		return err_set_addr(e, ERR_GUEST, p->at.v, "the address is in no segment of the file mapped there");
	ret->is_32bit = img->is_32bit;
	ret->bias = img->bias;
	ret->entry = gva(img->entry + img->bias);
	ret->is_main = is_main_program(v, t, p->inode, img);
	set_text(img, p->at, ret);
	ret->build_id_len = find_build_id(&f, img, ret->build_id, &ret->build_id_at);
	set_segment(img, ret, PT_GNU_EH_FRAME, &ret->eh_frame_hdr, &ret->eh_frame_hdr_size);
	set_segment(img, ret, PT_DYNAMIC, &ret->dynamic, &ret->dynamic_size);
	ret->inode = p->inode;
	return 0;
}

int vmi_module_at(struct vmi *v, const struct vmi_task *t, struct gva at, struct vmi_module *ret, struct err *e)
{
	struct pieces p = {.v = v, .at = at};
	struct vmi_module m = {0};
	struct elf_image img = {0};
	struct vmi_raw_vma vma;

	if (!t->mm.v || !vmi_vma_at(v, t->mm, at, &vma))
		return err_set_addr(e, ERR_GUEST, at.v, "process %d (%s) maps nothing at 0x%llx", t->pid, t->comm,
				    (unsigned long long)at.v);
	if (!vma.file.v || !vmi_get_ptr(v, vma.file, FILE_INODE, &p.inode))
		return err_set_addr(e, ERR_GUEST, at.v, "0x%llx is in memory of process %d (%s) that no file is behind",
				    (unsigned long long)at.v, t->pid, t->comm);
	vmi_file_path(v, vma.file, m.path);
	vmi_vma_each(v, t->mm, add_piece, &p);
	if (find_image(v, t, &p, &img, e) || fill_module(v, t, &p, &img, &m, e))
		return err_prefix(e, "%s", m.path);
	*ret = m;
	return 0;
}
