/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Patched copies of hostile ELF files: whatever the headers say, the copy is refused or is one that can be read again.
 *
 * Input: a byte of choices (1: 32 bits, 2: no sections, 4: the guard is a process's, 8: the input is the whole file), then records (records.h)
 * that change a well-formed file.
 */
#include <assert.h>
#include <elf.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/patch_record.h"
#include "patch/elf_copy.h"
#include "records.h"

#define CODE 0x1000u
#define CODE_LEN 0xf00u
#define SITE 0x1100u
#define NAMES 0x2000u
#define SYMBOLS 0x2080u
#define TABLE 0x2100u
#define SIZE 0x2400u
#define INTERP_LEN 28u
#define NOTE_LEN 36u

enum { SEGMENTS = 4, SECTIONS = 6 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct file {
	uint8_t byte[SIZE];
	bool is_32bit;
};

static void put_segment(struct file *f, unsigned k, Elf64_Phdr p)
{
	Elf32_Phdr n = {p.p_type,
			(Elf32_Off)p.p_offset,
			(Elf32_Addr)p.p_vaddr,
			(Elf32_Addr)p.p_vaddr,
			(Elf32_Word)p.p_filesz,
			(Elf32_Word)p.p_filesz,
			p.p_flags,
			(Elf32_Word)p.p_align};

	p.p_paddr = p.p_vaddr;
	p.p_memsz = p.p_filesz;
	if (f->is_32bit)
		memcpy(f->byte + sizeof(Elf32_Ehdr) + k * sizeof(n), &n, sizeof(n));
	else
		memcpy(f->byte + sizeof(Elf64_Ehdr) + k * sizeof(p), &p, sizeof(p));
}

static void put_section(struct file *f, unsigned k, Elf64_Shdr s)
{
	Elf32_Shdr n = {s.sh_name,
			s.sh_type,
			(Elf32_Word)s.sh_flags,
			(Elf32_Addr)s.sh_addr,
			(Elf32_Off)s.sh_offset,
			(Elf32_Word)s.sh_size,
			s.sh_link,
			s.sh_info,
			(Elf32_Word)s.sh_addralign,
			(Elf32_Word)s.sh_entsize};

	if (f->is_32bit)
		memcpy(f->byte + TABLE + k * sizeof(n), &n, sizeof(n));
	else
		memcpy(f->byte + TABLE + k * sizeof(s), &s, sizeof(s));
}

static void put_head(struct file *f, bool has_sections)
{
	Elf64_Ehdr h = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
			.e_type = ET_DYN,
			.e_machine = EM_X86_64,
			.e_version = EV_CURRENT,
			.e_phoff = sizeof(h),
			.e_shoff = has_sections ? TABLE : 0,
			.e_ehsize = sizeof(h),
			.e_phentsize = sizeof(Elf64_Phdr),
			.e_phnum = SEGMENTS,
			.e_shentsize = sizeof(Elf64_Shdr),
			.e_shnum = has_sections ? SECTIONS : 0,
			.e_shstrndx = has_sections ? SECTIONS - 1 : 0};
	Elf32_Ehdr n = {.e_type = ET_DYN,
			.e_machine = EM_386,
			.e_version = EV_CURRENT,
			.e_phoff = sizeof(n),
			.e_shoff = (Elf32_Off)h.e_shoff,
			.e_ehsize = sizeof(n),
			.e_phentsize = sizeof(Elf32_Phdr),
			.e_phnum = SEGMENTS,
			.e_shentsize = sizeof(Elf32_Shdr),
			.e_shnum = h.e_shnum,
			.e_shstrndx = h.e_shstrndx};

	memcpy(n.e_ident, h.e_ident, EI_NIDENT);
	n.e_ident[EI_CLASS] = ELFCLASS32;
	if (f->is_32bit)
		memcpy(f->byte, &n, sizeof(n));
	else
		memcpy(f->byte, &h, sizeof(h));
}

static void make_file(struct file *f, uint8_t choices)
{
	static const uint8_t note[NOTE_LEN] = {4,   0,	 0, 0, 20, 0, 0, 0, NT_GNU_BUILD_ID, 0, 0, 0, 'G',
					       'N', 'U', 0, 1, 2,  3, 4, 5};
	uint64_t interp, at;

	memset(f, 0, sizeof(*f));
	f->is_32bit = choices & 1;
	interp = f->is_32bit ? sizeof(Elf32_Ehdr) + SEGMENTS * sizeof(Elf32_Phdr)
			     : sizeof(Elf64_Ehdr) + SEGMENTS * sizeof(Elf64_Phdr);
	at = interp + INTERP_LEN;
	put_head(f, !(choices & 2));
	put_segment(f, 0, (Elf64_Phdr){PT_INTERP, PF_R, interp, interp, 0, INTERP_LEN, 0, 1});
	put_segment(f, 1, (Elf64_Phdr){PT_LOAD, PF_R, 0, 0, 0, 0x400, 0, 0x1000});
	put_segment(f, 2, (Elf64_Phdr){PT_LOAD, PF_R | PF_X, CODE, CODE, 0, CODE_LEN, 0, 0x1000});
	put_segment(f, 3, (Elf64_Phdr){PT_NOTE, PF_R, at, at, 0, NOTE_LEN, 0, 4});
	put_section(f, 1, (Elf64_Shdr){1, SHT_PROGBITS, SHF_ALLOC, interp, interp, INTERP_LEN, 0, 0, 1, 0});
	put_section(f, 2, (Elf64_Shdr){1, SHT_NOTE, SHF_ALLOC, at, at, NOTE_LEN, 0, 0, 4, 0});
	put_section(f, 3, (Elf64_Shdr){1, SHT_PROGBITS, SHF_ALLOC | SHF_EXECINSTR, CODE, CODE, CODE_LEN, 0, 0, 16, 0});
	put_section(f, 4,
		    (Elf64_Shdr){1, SHT_SYMTAB, 0, 0, SYMBOLS, 4 * (f->is_32bit ? 16 : 24), 5, 0, 8,
				 f->is_32bit ? 16 : 24});
	put_section(f, 5, (Elf64_Shdr){1, SHT_STRTAB, 0, 0, NAMES, 16, 0, 0, 1, 0});
	memcpy(f->byte + interp, "/lib64/ld-linux-x86-64.so.2", INTERP_LEN);
	memcpy(f->byte + at, note, sizeof(note));
	memset(f->byte + CODE, 0x90, CODE_LEN);
	f->byte[SYMBOLS + (f->is_32bit ? sizeof(Elf32_Sym) + offsetof(Elf32_Sym, st_shndx)
				       : sizeof(Elf64_Sym) + offsetof(Elf64_Sym, st_shndx))] = 2;
	memcpy(f->byte + NAMES, "\0.name", 7);
}

/* For what stands there: a guard that jumps back and reads what the program has. */
static struct patch_record make_patch(const struct file *f, bool is_private, unsigned n)
{
	static const uint8_t back[] = {0x90, 0xe9}, far[] = {0x8b, 0x05};
	struct patch_record r = sample_record();
	uint64_t site = SITE + n * 16, guard = CODE + CODE_LEN + n * 32 + (is_private ? 0x5000000 : 0);
	int32_t to = (int32_t)(guard - site - 5), from = (int32_t)(site - guard - 12),
		read = (int32_t)(site - guard - 6);

	snprintf(r.home, sizeof(r.home), "%s", is_private ? "process" : "cave");
	r.bits = f->is_32bit ? 32 : 64;
	r.site_offset = r.culprit_offset = site;
	r.guard_offset = guard;
	r.culprit_len = 1;
	r.before.len = r.original.len = r.after.len = 5;
	memcpy(r.before.byte, f->byte + site, 5);
	r.after.byte[0] = 0xe9;
	memcpy(r.after.byte + 1, &to, 4);
	r.guard.len = 12;
	memset(r.guard.byte, 0, sizeof(r.guard.byte));
	memcpy(r.guard.byte, far, 2);
	memcpy(r.guard.byte + 2, &read, 4);
	memcpy(r.guard.byte + 6, back, 2);
	memcpy(r.guard.byte + 8, &from, 4);
	return r;
}

/* is_whole: nothing was changed, so that all goes in. */
static void patch(const struct file *f, const uint8_t *byte, size_t len, bool is_private, bool is_whole)
{
	struct patch_record r[3] = {make_patch(f, is_private, 0), make_patch(f, false, 1), make_patch(f, true, 2)};
	struct elf_copy *c, *again;
	struct err why[3];
	uint8_t *copy;
	size_t copy_len;
	bool in[3];

	if (elf_copy_create(byte, len, &c, NULL) < 0) {
		assert(!is_whole);
		return;
	}
	elf_copy_patches(c, r, 3, in, why);
	assert(!is_whole || (in[0] && in[1] && in[2]));
	if (elf_copy_write(c, &copy, &copy_len, NULL) == 0) {
		assert(elf_copy_create(copy, copy_len, &again, NULL) == 0);
		elf_copy_destroy(again);
		free(copy);
	}
	elf_copy_destroy(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct file f;

	if (!size)
		return 0;
	make_file(&f, data[0]);
	if (data[0] & 8) {
		patch(&f, data + 1, size - 1, data[0] & 4, false);
		return 0;
	}
	records_change(f.byte, SIZE, data + 1, size - 1);
	patch(&f, f.byte, sizeof(f.byte), data[0] & 4, size == 1);
	return 0;
}
