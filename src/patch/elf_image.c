/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading an ELF file, and where in it there is room for code. What changes in it is written by elf_write.c. */
#include "patch/elf_image_internal.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define USER_END_32 0xffffe000ull
#define USER_END_64 0x7ffffffff000ull

static int bad(const char *what, struct err *e)
{
	return err_set(e, ERR_PROTOCOL, "%s: is it the whole file of a program for x86?", what);
}

/* ---- reading ---- */

static bool holds(const struct elf_image *im, uint64_t offset, uint64_t len)
{
	return offset <= im->len && len <= im->len - offset;
}

static size_t head_size(const struct elf_image *im)
{
	return im->is_32bit ? sizeof(Elf32_Ehdr) : sizeof(Elf64_Ehdr);
}

static void widen_head(const Elf32_Ehdr *h, Elf64_Ehdr *ret)
{
	*ret = (Elf64_Ehdr){.e_type = h->e_type,
			    .e_machine = h->e_machine,
			    .e_version = h->e_version,
			    .e_phoff = h->e_phoff,
			    .e_shoff = h->e_shoff,
			    .e_ehsize = h->e_ehsize,
			    .e_phentsize = h->e_phentsize,
			    .e_phnum = h->e_phnum,
			    .e_shentsize = h->e_shentsize,
			    .e_shnum = h->e_shnum,
			    .e_shstrndx = h->e_shstrndx};
}

static int read_head(struct elf_image *im, struct err *e)
{
	Elf32_Ehdr h32;
	Elf64_Ehdr *h = &im->head;

	im->is_32bit = im->byte[EI_CLASS] == ELFCLASS32;
	if (!im->is_32bit && (im->byte[EI_CLASS] != ELFCLASS64 || im->len < sizeof(*h)))
		return bad("it does not begin with an ELF header", e);
	if (im->is_32bit) {
		memcpy(&h32, im->byte, sizeof(h32));
		widen_head(&h32, h);
	} else {
		memcpy(h, im->byte, sizeof(*h));
	}
	if (im->byte[EI_DATA] != ELFDATA2LSB || h->e_machine != (im->is_32bit ? EM_386 : EM_X86_64))
		return bad("it is for another processor", e);
	if (h->e_type != ET_EXEC && h->e_type != ET_DYN)
		return bad("it is neither a program nor a shared library", e);
	return 0;
}

static void read_segment(const struct elf_image *im, unsigned k, Elf64_Phdr *ret)
{
	const uint8_t *at = im->byte + im->head.e_phoff + (size_t)k * im->head.e_phentsize;
	Elf32_Phdr p;

	if (!im->is_32bit) {
		memcpy(ret, at, sizeof(*ret));
		return;
	}
	memcpy(&p, at, sizeof(p));
	*ret = (Elf64_Phdr){p.p_type, p.p_flags, p.p_offset, p.p_vaddr, p.p_paddr, p.p_filesz, p.p_memsz, p.p_align};
}

/* Loadable segments do not overlap and are in order, as the kernel wants them. */
static bool is_loadable(const struct elf_image *im, const Elf64_Phdr *p, uint64_t low)
{
	uint64_t end = im->is_32bit ? USER_END_32 : USER_END_64;

	return p->p_memsz >= p->p_filesz && p->p_vaddr >= low && p->p_vaddr <= end && p->p_memsz <= end - p->p_vaddr &&
	       ((p->p_vaddr ^ p->p_offset) & (ELF_PAGE - 1)) == 0;
}

static int read_segments(struct elf_image *im, struct err *e)
{
	const Elf64_Ehdr *h = &im->head;
	uint64_t low = 0;

	if (h->e_phentsize != elf_phdr_size(im) || !h->e_phnum || h->e_phnum > ELF_IMAGE_HEADERS_MAX ||
	    !holds(im, h->e_phoff, (uint64_t)h->e_phnum * h->e_phentsize))
		return bad("its program headers are not all there", e);
	for (im->n_segments = 0; im->n_segments < h->e_phnum; im->n_segments++) {
		Elf64_Phdr *p = &im->segment[im->n_segments];

		read_segment(im, im->n_segments, p);
		if (p->p_type != PT_NULL && !holds(im, p->p_offset, p->p_filesz))
			return bad("a segment is not wholly in it", e);
		if (p->p_type != PT_LOAD)
			continue;
		if (!is_loadable(im, p, low))
			return bad("a segment cannot be loaded", e);
		low = p->p_vaddr + p->p_memsz;
	}
	return 0;
}

static void read_section(const struct elf_image *im, unsigned k, Elf64_Shdr *ret)
{
	const uint8_t *at = im->byte + im->head.e_shoff + (size_t)k * im->head.e_shentsize;
	Elf32_Shdr s;

	if (!im->is_32bit) {
		memcpy(ret, at, sizeof(*ret));
		return;
	}
	memcpy(&s, at, sizeof(s));
	*ret = (Elf64_Shdr){s.sh_name, s.sh_type, s.sh_flags, s.sh_addr,      s.sh_offset,
			    s.sh_size, s.sh_link, s.sh_info,  s.sh_addralign, s.sh_entsize};
}

static int read_sections(struct elf_image *im, struct err *e)
{
	const Elf64_Ehdr *h = &im->head;

	if (!h->e_shoff)
		return 0;
	if (h->e_shentsize != (im->is_32bit ? sizeof(Elf32_Shdr) : sizeof(Elf64_Shdr)) || !h->e_shnum ||
	    h->e_shnum >= SHN_LORESERVE - 2 * ELF_IMAGE_HEADERS_MAX || h->e_shstrndx >= h->e_shnum ||
	    !holds(im, h->e_shoff, (uint64_t)h->e_shnum * h->e_shentsize))
		return bad("its section headers are not all there", e);
	im->section = calloc(h->e_shnum, sizeof(*im->section));
	if (!im->section)
		return err_set_errno(e, "no memory for its section headers");
	im->n_sections = h->e_shnum;
	for (unsigned k = 0; k < im->n_sections; k++) {
		const Elf64_Shdr *s = &im->section[k];

		read_section(im, k, &im->section[k]);
		if (s->sh_type != SHT_NULL && s->sh_type != SHT_NOBITS && !holds(im, s->sh_offset, s->sh_size))
			return bad("a section is not wholly in it", e);
	}
	if (im->section[h->e_shstrndx].sh_type != SHT_STRTAB)
		return bad("its sections have no names", e);
	return 0;
}

static uint64_t align_up(uint64_t n, uint64_t align)
{
	return (n + align - 1) & ~(align - 1);
}

/* Looks for the build-id among len bytes of notes. */
static void read_notes(struct elf_image *im, const uint8_t *note, uint64_t len, uint64_t align)
{
	uint64_t at = 0;

	while (!im->build_id_len && at <= len && len - at >= sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr n;
		uint64_t name = at + sizeof(n), desc;

		memcpy(&n, note + at, sizeof(n));
		desc = align_up(name + n.n_namesz, align);
		if (desc > len || n.n_descsz > len - desc)
			return;
		if (n.n_type == NT_GNU_BUILD_ID && n.n_namesz == 4 && memcmp(note + name, "GNU", 4) == 0 &&
		    n.n_descsz <= sizeof(im->build_id)) {
			memcpy(im->build_id, note + desc, n.n_descsz);
			im->build_id_len = (uint8_t)n.n_descsz;
		}
		at = align_up(desc + n.n_descsz, align);
	}
}

int elf_image_init(struct elf_image *im, const uint8_t *file, size_t len, struct err *e)
{
	*im = (struct elf_image){.len = len};
	if (len > ELF_IMAGE_MAX)
		return err_set(e, ERR_LIMIT, "it has more than %u MiB", ELF_IMAGE_MAX >> 20);
	if (len < sizeof(Elf32_Ehdr) || memcmp(file, ELFMAG, SELFMAG) != 0)
		return bad("it does not begin with an ELF header", e);
	im->byte = malloc(len);
	if (!im->byte)
		return err_set_errno(e, "no memory for its %zu bytes", len);
	memcpy(im->byte, file, len);
	if (read_head(im, e) < 0 || read_segments(im, e) < 0 || read_sections(im, e) < 0) {
		elf_image_deinit(im);
		return -1;
	}
	for (unsigned k = 0; k < im->n_segments; k++) {
		const Elf64_Phdr *p = &im->segment[k];

		if (p->p_type == PT_NOTE)
			read_notes(im, im->byte + p->p_offset, p->p_filesz, p->p_align == 8 ? 8 : 4);
	}
	return 0;
}

void elf_image_deinit(struct elf_image *im)
{
	free(im->byte);
	free(im->section);
	free(im->far);
	*im = (struct elf_image){0};
}

/* ---- behind a segment ---- */

int elf_image_code(const struct elf_image *im, uint64_t offset, uint64_t len)
{
	for (unsigned k = 0; k < im->n_segments; k++) {
		const Elf64_Phdr *p = &im->segment[k];

		if (p->p_type == PT_LOAD && (p->p_flags & PF_X) && offset >= p->p_offset &&
		    offset - p->p_offset <= p->p_filesz && len <= p->p_filesz - (offset - p->p_offset))
			return (int)k;
	}
	return -1;
}

uint64_t elf_image_address(const struct elf_image *im, int segment, uint64_t offset)
{
	const Elf64_Phdr *p = &im->segment[segment];

	return offset - p->p_offset + p->p_vaddr;
}

static bool meet(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_end)
{
	return a_len && b < b_end && a < b_end && a + a_len > b;
}

/* Whether a table of headers, a segment or a section has bytes of [from, to) in the file. */
static bool is_used(const struct elf_image *im, uint64_t from, uint64_t to)
{
	const Elf64_Ehdr *h = &im->head;

	if (meet(h->e_phoff, (uint64_t)im->n_segments * h->e_phentsize, from, to) ||
	    meet(h->e_shoff, (uint64_t)im->n_sections * h->e_shentsize, from, to) || from < head_size(im))
		return true;
	for (unsigned k = 0; k < im->n_segments; k++)
		if (im->segment[k].p_type != PT_NULL &&
		    meet(im->segment[k].p_offset, im->segment[k].p_filesz, from, to))
			return true;
	for (unsigned k = 0; k < im->n_sections; k++)
		if (im->section[k].sh_type != SHT_NULL && im->section[k].sh_type != SHT_NOBITS &&
		    meet(im->section[k].sh_offset, im->section[k].sh_size, from, to))
			return true;
	return false;
}

/* Whether memory up to `end` is no other segment's page. */
static bool is_apart(const struct elf_image *im, const Elf64_Phdr *p, uint64_t end)
{
	for (unsigned k = 0; k < im->n_segments; k++) {
		const Elf64_Phdr *other = &im->segment[k];

		if (other->p_type == PT_LOAD && other->p_vaddr > p->p_vaddr && (other->p_vaddr & -ELF_PAGE) < end)
			return false;
	}
	return true;
}

static bool all_zero(const uint8_t *p, size_t n)
{
	for (size_t k = 0; k < n; k++)
		if (p[k])
			return false;
	return true;
}

bool elf_image_is_free(const struct elf_image *im, int segment, uint64_t offset, size_t len)
{
	const Elf64_Phdr *p = &im->segment[segment];
	uint64_t used = im->near[segment].end, end = p->p_offset + p->p_filesz;
	uint64_t last = align_up(end, ELF_PAGE);

	if (p->p_filesz != p->p_memsz || offset < end || offset > last || len > last - offset ||
	    !holds(im, offset, len) || !all_zero(im->byte + offset, len))
		return false;
	if (used && offset + len <= used)
		return true;
	return !is_used(im, end, offset + len) && is_apart(im, p, elf_image_address(im, segment, offset + len));
}

void elf_image_put_near(struct elf_image *im, int segment, uint64_t offset, const uint8_t *code, size_t len)
{
	struct elf_image_near *n = &im->near[segment];

	memcpy(im->byte + offset, code, len);
	if (!n->end || offset < n->offset)
		n->offset = offset;
	if (offset + len > n->end)
		n->end = offset + len;
}

/* ---- in a new segment ---- */

/* What may be moved: nothing but the kernel and the dynamic linker look for it, by its header. */
static bool is_movable(uint32_t type)
{
	return type == PT_INTERP || type == PT_NOTE || type == PT_GNU_PROPERTY;
}

/* Grows [from, *to) until it has all of each segment that may be moved and is partly in it. */
static void widen(const struct elf_image *im, uint64_t from, uint64_t *to)
{
	for (unsigned round = 0; round < im->n_segments; round++) {
		for (unsigned k = 0; k < im->n_segments; k++) {
			const Elf64_Phdr *p = &im->segment[k];

			if (is_movable(p->p_type) && meet(p->p_offset, p->p_filesz, from, *to) &&
			    p->p_offset + p->p_filesz > *to)
				*to = p->p_offset + p->p_filesz;
		}
	}
}

/* The loadable segment that has the table of program headers, and the file up to `end`. */
static const Elf64_Phdr *home_of_table(const struct elf_image *im, uint64_t end)
{
	for (unsigned k = 0; k < im->n_segments; k++) {
		const Elf64_Phdr *p = &im->segment[k];

		if (p->p_type == PT_LOAD && p->p_offset <= im->head.e_phoff && p->p_offset + p->p_filesz >= end)
			return p;
	}
	return NULL;
}

static bool may_move_segments(const struct elf_image *im, const Elf64_Phdr *home, uint64_t from, uint64_t to)
{
	for (unsigned k = 0; k < im->n_segments; k++) {
		const Elf64_Phdr *p = &im->segment[k];

		if (p == home || p->p_type == PT_NULL || !meet(p->p_offset, p->p_filesz, from, to))
			continue;
		if (!is_movable(p->p_type) || p->p_offset < from ||
		    p->p_vaddr - p->p_offset != home->p_vaddr - home->p_offset || p->p_align > ELF_PAGE)
			return false;
	}
	return true;
}

bool elf_section_meets(const Elf64_Shdr *s, uint64_t from, uint64_t to)
{
	return s->sh_type != SHT_NULL && s->sh_type != SHT_NOBITS && meet(s->sh_offset, s->sh_size, from, to);
}

static bool is_interpreter(const struct elf_image *im, const Elf64_Shdr *s)
{
	for (unsigned k = 0; k < im->n_segments; k++)
		if (im->segment[k].p_type == PT_INTERP && im->segment[k].p_offset == s->sh_offset &&
		    im->segment[k].p_filesz == s->sh_size)
			return true;
	return false;
}

static bool may_move_sections(const struct elf_image *im, uint64_t from, uint64_t to)
{
	for (unsigned k = 0; k < im->n_sections; k++) {
		const Elf64_Shdr *s = &im->section[k];

		if (elf_section_meets(s, from, to) && ((s->sh_type != SHT_NOTE && !is_interpreter(im, s)) ||
						       s->sh_offset < from || s->sh_size > to - s->sh_offset))
			return false;
	}
	return true;
}

/* Nothing is between what is moved: only padding. */
static bool is_padded(const struct elf_image *im, uint64_t from, uint64_t to)
{
	for (uint64_t at = from; at < to; at++) {
		bool known = !im->byte[at];

		for (unsigned k = 0; k < im->n_segments && !known; k++)
			known = is_movable(im->segment[k].p_type) &&
				meet(im->segment[k].p_offset, im->segment[k].p_filesz, at, at + 1);
		if (!known)
			return false;
	}
	return true;
}

/* The bytes behind the table that are moved to make room for one header more; returns the loadable segment they are in, or NULL. */
static const Elf64_Phdr *find_room(const struct elf_image *im, uint64_t *ret_from, uint64_t *ret_to)
{
	uint64_t from = im->head.e_phoff + (uint64_t)im->n_segments * im->head.e_phentsize;
	uint64_t want = from + im->head.e_phentsize, to = want;
	const Elf64_Phdr *home;

	widen(im, from, &to);
	home = home_of_table(im, to);
	/* Without sections what is zero behind the last that is known may be data all the same. */
	if (!home || to - from > ELF_IMAGE_FAR_MAX / 2 || im->head.e_phoff < head_size(im) ||
	    !may_move_segments(im, home, from, to) || !may_move_sections(im, from, to) || !is_padded(im, from, to) ||
	    meet(im->head.e_shoff, (uint64_t)im->n_sections * im->head.e_shentsize, from, to) ||
	    (!im->section && to == want))
		return NULL;
	*ret_from = from;
	*ret_to = to;
	return home;
}

/* Behind all that there is, in the file and in memory. */
static int choose_far(struct elf_image *im, struct err *e)
{
	uint64_t end = im->is_32bit ? USER_END_32 : USER_END_64;
	uint64_t top = 0;

	for (unsigned k = 0; k < im->n_segments; k++)
		if (im->segment[k].p_type == PT_LOAD)
			top = align_up(im->segment[k].p_vaddr + im->segment[k].p_memsz, ELF_PAGE);
	if (top > end || end - top < ELF_IMAGE_FAR_MAX)
		return err_set(e, ERR_REFUSED, "no address is free behind its segments");
	im->far_address = top;
	im->far_offset = align_up(im->len, ELF_PAGE);
	return 0;
}

static int begin_far(struct elf_image *im, struct err *e)
{
	uint64_t from = 0, to = 0, pad;
	const Elf64_Phdr *home = NULL;

	if (im->n_segments < ELF_IMAGE_HEADERS_MAX)
		home = find_room(im, &from, &to);
	if (!home)
		return err_set(e, ERR_REFUSED,
			       "the guard has no room behind the code in the file, and a new segment has none among "
			       "its program "
			       "headers: build the program anew with its bug mended");
	pad = from & (ELF_MOVED_ALIGN - 1);
	if (choose_far(im, e) < 0)
		return -1;
	im->far = calloc(1, ELF_IMAGE_FAR_MAX);
	if (!im->far)
		return err_set_errno(e, "no memory for a segment");
	memcpy(im->far + pad, im->byte + from, to - from);
	im->moved_from = from;
	im->moved_to = to;
	im->moved_address = from - home->p_offset + home->p_vaddr;
	im->far_len = im->far_code = align_up(pad + (to - from), ELF_IMAGE_CODE_ALIGN);
	return 0;
}

int elf_image_find_far(struct elf_image *im, size_t len, uint64_t *ret, struct err *e)
{
	if (!im->far && begin_far(im, e) < 0)
		return -1;
	if (len > ELF_IMAGE_FAR_MAX - im->far_len)
		return err_set(e, ERR_LIMIT, "the guards that have no room behind the code have more than %u bytes",
			       ELF_IMAGE_FAR_MAX);
	*ret = im->far_address + im->far_len;
	return 0;
}

void elf_image_put_far(struct elf_image *im, const uint8_t *code, size_t len)
{
	assert(im->far && len <= ELF_IMAGE_FAR_MAX - im->far_len);
	memcpy(im->far + im->far_len, code, len);
	im->far_len = align_up(im->far_len + len, ELF_IMAGE_CODE_ALIGN);
}
