/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading symbol tables of 64-bit and 32-bit ELF files. */
#include "locate/symtab.h"

#include <elf.h>
#include <string.h>

#define BLOCK 64u /* symbols read at once */
#define SECTIONS_MAX 256u

union raw_symbol {
	Elf64_Sym s64;
	Elf32_Sym s32;
};

static size_t symbol_size(const struct symtab *t)
{
	return t->is_32bit ? sizeof(Elf32_Sym) : sizeof(Elf64_Sym);
}

static void set_symbol(const struct symtab *t, const uint8_t *raw, struct symbol *ret)
{
	union raw_symbol u;
	uint16_t section;

	memcpy(&u, raw, symbol_size(t));
	if (t->is_32bit) {
		*ret = (struct symbol){.at = {(uint32_t)(u.s32.st_value + t->bias)},
				       .size = u.s32.st_size,
				       .type = ELF32_ST_TYPE(u.s32.st_info),
				       .name = u.s32.st_name};
		section = u.s32.st_shndx;
	} else {
		*ret = (struct symbol){.at = {u.s64.st_value + t->bias},
				       .size = u.s64.st_size,
				       .type = ELF64_ST_TYPE(u.s64.st_info),
				       .name = u.s64.st_name};
		section = u.s64.st_shndx;
	}
	ret->defined = section != SHN_UNDEF && section != SHN_ABS;
}

void symtab_each(const struct symtab *t, bool (*fn)(void *arg, const struct symbol *s), void *arg)
{
	uint8_t raw[BLOCK * sizeof(Elf64_Sym)];
	size_t size = symbol_size(t);
	struct symbol s;

	for (uint64_t k = 0; k < t->n && k < SYMTAB_MAX; k += BLOCK) {
		uint64_t n = t->n - k < BLOCK ? t->n - k : BLOCK;

		if (!code_read(&t->rd, gva(t->symbols + k * size), raw, n * size))
			return;
		for (uint64_t i = 0; i < n; i++) {
			set_symbol(t, raw + i * size, &s);
			if (!fn(arg, &s))
				return;
		}
	}
}

bool symtab_get(const struct symtab *t, uint64_t index, struct symbol *ret)
{
	uint8_t raw[sizeof(Elf64_Sym)];
	size_t size = symbol_size(t);

	/* not bounded by n: a module that exports nothing may have an empty hash table, and so no count */
	if (index >= SYMTAB_MAX || !code_read(&t->rd, gva(t->symbols + index * size), raw, size))
		return false;
	set_symbol(t, raw, ret);
	return true;
}

void symtab_name(const struct symtab *t, const struct symbol *s, char ret[SYMTAB_NAME_MAX])
{
	uint64_t left = s->name < t->strings_size ? t->strings_size - s->name : 0;
	size_t len = left < SYMTAB_NAME_MAX - 1 ? left : SYMTAB_NAME_MAX - 1;

	memset(ret, 0, SYMTAB_NAME_MAX);
	/* the strings may end with their page */
	for (; len && !code_read(&t->rd, gva(t->strings + s->name), ret, len); len /= 2)
		memset(ret, 0, SYMTAB_NAME_MAX);
	for (char *c = ret; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
}

struct name_search {
	const struct symtab *t;
	const char *name;
	struct symbol *ret;
	bool found;
};

static bool match_name(void *arg, const struct symbol *s)
{
	struct name_search *q = arg;
	char name[SYMTAB_NAME_MAX];

	if (!s->defined)
		return true;
	symtab_name(q->t, s, name);
	if (strcmp(name, q->name) != 0)
		return true;
	*q->ret = *s;
	q->found = true;
	return false;
}

bool symtab_find(const struct symtab *t, const char *name, struct symbol *ret)
{
	struct name_search q = {t, name, ret, false};

	symtab_each(t, match_name, &q);
	return q.found;
}

/* A section header of either class. */
struct section {
	uint32_t type, link;
	uint64_t offset, size;
};

static bool read_section(const struct code_reader *file, bool is_32bit, uint64_t headers, uint32_t k,
			 struct section *ret)
{
	Elf64_Shdr s64;
	Elf32_Shdr s32;

	if (is_32bit) {
		if (!code_read(file, gva(headers + k * sizeof(s32)), &s32, sizeof(s32)))
			return false;
		*ret = (struct section){s32.sh_type, s32.sh_link, s32.sh_offset, s32.sh_size};
	} else {
		if (!code_read(file, gva(headers + k * sizeof(s64)), &s64, sizeof(s64)))
			return false;
		*ret = (struct section){s64.sh_type, s64.sh_link, s64.sh_offset, s64.sh_size};
	}
	return true;
}

/* Where the section headers are, and how many. */
static bool read_header(const struct code_reader *file, bool *ret_32bit, uint64_t *ret_headers, uint32_t *ret_n)
{
	union {
		unsigned char ident[EI_NIDENT];
		Elf64_Ehdr h64;
		Elf32_Ehdr h32;
	} h;

	if (!code_read(file, gva(0), &h, sizeof(h)) || memcmp(h.ident, ELFMAG, SELFMAG) != 0)
		return false;
	*ret_32bit = h.ident[EI_CLASS] == ELFCLASS32;
	*ret_headers = *ret_32bit ? h.h32.e_shoff : h.h64.e_shoff;
	*ret_n = *ret_32bit ? h.h32.e_shnum : h.h64.e_shnum;
	return (*ret_32bit ? h.h32.e_shentsize == sizeof(Elf32_Shdr) : h.h64.e_shentsize == sizeof(Elf64_Shdr)) &&
	       *ret_n <= SECTIONS_MAX;
}

int symtab_of_file(const struct code_reader *file, uint64_t bias, struct symtab *ret, struct err *e)
{
	struct section s, strings;
	bool is_32bit;
	uint64_t headers;
	uint32_t n;

	if (!read_header(file, &is_32bit, &headers, &n))
		return err_set(e, ERR_GUEST, "the file's headers make no sense or are not in memory");
	for (uint32_t k = 0; k < n; k++) {
		if (!read_section(file, is_32bit, headers, k, &s))
			break;
		if (s.type != SHT_SYMTAB)
			continue;
		if (s.link >= n || !read_section(file, is_32bit, headers, s.link, &strings))
			break;
		*ret = (struct symtab){.rd = *file,
				       .symbols = s.offset,
				       .strings = strings.offset,
				       .strings_size = strings.size,
				       .bias = bias,
				       .is_32bit = is_32bit};
		ret->n = s.size / symbol_size(ret);
		return 0;
	}
	return err_set(e, ERR_GUEST, "the file has no symbol table, or it is not in memory");
}
