/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What reading and writing of an ELF file have in common. */
#ifndef CLOUDER_PATCH_ELF_IMAGE_INTERNAL_H
#define CLOUDER_PATCH_ELF_IMAGE_INTERNAL_H

#include "patch/elf_image.h"

#define ELF_PAGE 4096ull
#define ELF_MOVED_ALIGN 64u /* what is moved keeps its place modulo this */

static inline size_t elf_phdr_size(const struct elf_image *im)
{
	return im->is_32bit ? sizeof(Elf32_Phdr) : sizeof(Elf64_Phdr);
}

/* Whether the section has bytes in [from, to) of the file. */
bool elf_section_meets(const Elf64_Shdr *s, uint64_t from, uint64_t to);

#endif
