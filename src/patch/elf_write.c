/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writing an ELF file with what was added: segments, sections and symbols say what is where then. */
#include "patch/elf_image_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define TABLE_ALIGN 8u
/* Behind the names that there are, the last of which may not end. */
static const char names[] = "\0.clouder\0.clouder.far";
#define NEAR_NAME 1u
#define FAR_NAME 10u

static_assert(sizeof(names) == FAR_NAME + sizeof(".clouder.far"), "where the second name begins");

static size_t align_up(size_t n, size_t align)
{
	return (n + align - 1) & ~(align - 1);
}

static bool has_far(const struct elf_image *im)
{
	return im->far && im->far_len > im->far_code;
}

/* ---- what makes room for a header ---- */

/* How far it goes, in the file and in memory. */
struct way {
	uint64_t file, memory;
};

static struct way way_of_moved(const struct elf_image *im)
{
	uint64_t pad = im->moved_from & (ELF_MOVED_ALIGN - 1);

	return (struct way){im->far_offset + pad - im->moved_from, im->far_address + pad - im->moved_address};
}

static void move_symbol_64(uint8_t *at, unsigned section, uint64_t by)
{
	Elf64_Sym s;

	memcpy(&s, at, sizeof(s));
	if (s.st_shndx != section)
		return;
	s.st_value += by;
	memcpy(at, &s, sizeof(s));
}

static void move_symbol_32(uint8_t *at, unsigned section, uint64_t by)
{
	Elf32_Sym s;

	memcpy(&s, at, sizeof(s));
	if (s.st_shndx != section)
		return;
	s.st_value += (uint32_t)by;
	memcpy(at, &s, sizeof(s));
}

static void move_symbols(struct elf_image *im, unsigned section, uint64_t by)
{
	size_t size = im->is_32bit ? sizeof(Elf32_Sym) : sizeof(Elf64_Sym);

	for (unsigned k = 0; k < im->n_sections; k++) {
		const Elf64_Shdr *s = &im->section[k];

		if ((s->sh_type != SHT_SYMTAB && s->sh_type != SHT_DYNSYM) || s->sh_entsize != size)
			continue;
		for (uint64_t at = 0; at + size <= s->sh_size; at += size)
			(im->is_32bit ? move_symbol_32 : move_symbol_64)(im->byte + s->sh_offset + at, section, by);
	}
}

static void move_sections(struct elf_image *im, struct way way)
{
	for (unsigned k = 0; k < im->n_sections; k++) {
		Elf64_Shdr *s = &im->section[k];

		if (!elf_section_meets(s, im->moved_from, im->moved_to))
			continue;
		move_symbols(im, k, way.memory);
		s->sh_offset += way.file;
		s->sh_addr += way.memory;
	}
}

static void move_segments(struct elf_image *im, struct way way)
{
	for (unsigned k = 0; k < im->n_segments; k++) {
		Elf64_Phdr *p = &im->segment[k];

		if (p->p_type == PT_PHDR) {
			p->p_filesz += elf_phdr_size(im);
			p->p_memsz += elf_phdr_size(im);
		}
		if (p->p_type == PT_LOAD || p->p_type == PT_NULL || !p->p_filesz || p->p_offset < im->moved_from ||
		    p->p_offset >= im->moved_to)
			continue;
		p->p_offset += way.file;
		p->p_vaddr += way.memory;
		p->p_paddr += way.memory;
	}
}

/* Behind the last loadable one: these are in the order of their addresses. */
static void insert_segment(struct elf_image *im)
{
	unsigned at = 0;

	for (unsigned k = 0; k < im->n_segments; k++)
		if (im->segment[k].p_type == PT_LOAD)
			at = k + 1;
	memmove(&im->segment[at + 1], &im->segment[at], (im->n_segments - at) * sizeof(im->segment[0]));
	im->segment[at] = (Elf64_Phdr){.p_type = PT_LOAD,
				       .p_flags = PF_R | PF_X,
				       .p_offset = im->far_offset,
				       .p_vaddr = im->far_address,
				       .p_paddr = im->far_address,
				       .p_filesz = im->far_len,
				       .p_memsz = im->far_len,
				       .p_align = ELF_PAGE};
	im->n_segments++;
}

/* ---- sections ---- */

static Elf64_Shdr code_section(uint64_t name, uint64_t address, uint64_t offset, uint64_t len)
{
	return (Elf64_Shdr){.sh_name = (Elf64_Word)name,
			    .sh_type = SHT_PROGBITS,
			    .sh_flags = SHF_ALLOC | SHF_EXECINSTR,
			    .sh_addr = address,
			    .sh_offset = offset,
			    .sh_size = len,
			    .sh_addralign = ELF_IMAGE_CODE_ALIGN};
}

/* The table with sections for what was added; its names begin at `name`. *ret_n: how many. */
static Elf64_Shdr *make_sections(const struct elf_image *im, uint64_t name, unsigned *ret_n)
{
	Elf64_Shdr *s = calloc(im->n_sections + ELF_IMAGE_HEADERS_MAX + 2, sizeof(*s));
	unsigned n = im->n_sections;

	if (!s)
		return NULL;
	memcpy(s, im->section, n * sizeof(*s));
	for (unsigned k = 0; k < ELF_IMAGE_HEADERS_MAX; k++)
		if (im->near[k].end)
			s[n++] = code_section(name + NEAR_NAME, elf_image_address(im, (int)k, im->near[k].offset),
					      im->near[k].offset, im->near[k].end - im->near[k].offset);
	if (has_far(im))
		s[n++] = code_section(name + FAR_NAME, im->far_address + im->far_code, im->far_offset + im->far_code,
				      im->far_len - im->far_code);
	*ret_n = n;
	return s;
}

static void write_section(const struct elf_image *im, const Elf64_Shdr *s, uint8_t *at)
{
	Elf32_Shdr n = {s->sh_name,
			s->sh_type,
			(Elf32_Word)s->sh_flags,
			(Elf32_Addr)s->sh_addr,
			(Elf32_Off)s->sh_offset,
			(Elf32_Word)s->sh_size,
			s->sh_link,
			s->sh_info,
			(Elf32_Word)s->sh_addralign,
			(Elf32_Word)s->sh_entsize};

	if (im->is_32bit)
		memcpy(at, &n, sizeof(n));
	else
		memcpy(at, s, sizeof(*s));
}

/* ---- the file ---- */

static void write_segment(const struct elf_image *im, const Elf64_Phdr *p, uint8_t *at)
{
	Elf32_Phdr n = {p->p_type,
			(Elf32_Off)p->p_offset,
			(Elf32_Addr)p->p_vaddr,
			(Elf32_Addr)p->p_paddr,
			(Elf32_Word)p->p_filesz,
			(Elf32_Word)p->p_memsz,
			p->p_flags,
			(Elf32_Word)p->p_align};

	if (im->is_32bit)
		memcpy(at, &n, sizeof(n));
	else
		memcpy(at, p, sizeof(*p));
}

static void write_head(const struct elf_image *im, uint8_t *file)
{
	const Elf64_Ehdr *h = &im->head;
	Elf32_Ehdr n;

	if (!im->is_32bit) {
		memcpy(file, h, sizeof(*h));
		return;
	}
	memcpy(&n, file, sizeof(n));
	n.e_shoff = (Elf32_Off)h->e_shoff;
	n.e_phnum = h->e_phnum;
	n.e_shnum = h->e_shnum;
	memcpy(file, &n, sizeof(n));
}

/* The file's bytes, with the new segment, in a buffer that has `more` bytes behind them. */
static uint8_t *write_bytes(const struct elf_image *im, size_t more, size_t *ret_len)
{
	size_t len = has_far(im) ? im->far_offset + im->far_len : im->len;
	uint8_t *file = calloc(1, len + more);

	if (!file)
		return NULL;
	memcpy(file, im->byte, im->len);
	if (has_far(im)) {
		memset(file + im->moved_from, 0, im->moved_to - im->moved_from);
		memcpy(file + im->far_offset, im->far, im->far_len);
	}
	*ret_len = len;
	return file;
}

/* The names and the table of sections, both anew, behind `len` bytes. Returns the file's length. */
static size_t write_sections(struct elf_image *im, Elf64_Shdr *s, unsigned n, uint8_t *file, size_t len)
{
	Elf64_Shdr *name = &s[im->head.e_shstrndx];
	size_t had = name->sh_size;

	memcpy(file + len, im->byte + im->section[im->head.e_shstrndx].sh_offset, had);
	memcpy(file + len + had, names, sizeof(names));
	name->sh_offset = len;
	name->sh_size = had + sizeof(names);
	len = align_up(len + had + sizeof(names), TABLE_ALIGN);
	im->head.e_shoff = len;
	im->head.e_shnum = (Elf64_Half)n;
	for (unsigned k = 0; k < n; k++)
		write_section(im, &s[k], file + len + (size_t)k * im->head.e_shentsize);
	return len + (size_t)n * im->head.e_shentsize;
}

int elf_image_write(struct elf_image *im, uint8_t **ret, size_t *ret_len, struct err *e)
{
	size_t more = 0, len, had = 0;
	Elf64_Shdr *s = NULL;
	unsigned n = 0;
	uint8_t *file;

	if (has_far(im)) {
		move_sections(im, way_of_moved(im));
		move_segments(im, way_of_moved(im));
	}
	if (im->section) {
		had = im->section[im->head.e_shstrndx].sh_size;
		s = make_sections(im, had, &n);
		if (!s)
			return err_set_errno(e, "no memory for the copy's sections");
		more = had + sizeof(names) + TABLE_ALIGN + (size_t)n * im->head.e_shentsize;
	}
	file = write_bytes(im, more, &len);
	if (!file) {
		free(s);
		return err_set_errno(e, "no memory for the copy");
	}
	for (unsigned k = 0; k < im->n_segments; k++) {
		Elf64_Phdr *p = &im->segment[k];

		if (im->near[k].end)
			p->p_filesz = p->p_memsz = im->near[k].end - p->p_offset;
	}
	if (has_far(im))
		insert_segment(im);
	if (s)
		len = write_sections(im, s, n, file, len);
	free(s);
	im->head.e_phnum = (Elf64_Half)im->n_segments;
	for (unsigned k = 0; k < im->n_segments; k++)
		write_segment(im, &im->segment[k], file + im->head.e_phoff + (size_t)k * im->head.e_phentsize);
	write_head(im, file);
	*ret = file;
	*ret_len = len;
	return 0;
}
