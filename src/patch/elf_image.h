/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A program's ELF file in memory, with room for more code made in it. What it says is hostile: all that is used was checked
 * against the file's length when it was read.
 *
 * More code goes behind the bytes of an executable segment, where nothing else of the file is; or into a new segment behind all
 * others. That needs a program header more. It gets the place of what stands behind the table of them, if those are
 * the interpreter's name and notes, which nobody knows by their addresses; they go into the new segment. So the
 * table stays where the kernel, the dynamic linker, and tools that rewrite programs look for it. A section each is added for code, as
 * without one strip(1) would leave it out.
 */
#ifndef CLOUDER_PATCH_ELF_IMAGE_H
#define CLOUDER_PATCH_ELF_IMAGE_H

#include <elf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define ELF_IMAGE_HEADERS_MAX 64u
#define ELF_IMAGE_MAX (1u << 30) /* bytes of a file */
#define ELF_IMAGE_FAR_MAX 65536u /* bytes of the new segment */
#define ELF_IMAGE_CODE_ALIGN 16u /* where code begins in it */

/* Headers are kept in the 64-bit form. */
struct elf_image {
	uint8_t *byte;
	size_t len;
	bool is_32bit;
	Elf64_Ehdr head;
	Elf64_Phdr segment[ELF_IMAGE_HEADERS_MAX + 1];
	Elf64_Shdr *section; /* NULL: none */
	unsigned n_segments, n_sections;
	uint8_t build_id[32];
	uint8_t build_id_len; /* 0: none */
	/* what was added */
	struct elf_image_near {
		uint64_t offset, end; /* end 0: nothing */
	} near[ELF_IMAGE_HEADERS_MAX + 1]; /* behind each segment */
	uint8_t *far; /* what the new segment begins with, and its code; NULL: there is none */
	size_t far_len, far_code; /* far_code: where the code begins */
	uint64_t far_address, far_offset; /* of far */
	uint64_t moved_from, moved_to, moved_address; /* what far begins with: its place in the file, and in memory */
};

/* Copies len bytes. ERR_PROTOCOL: not a program or library for x86 that can be followed. */
int elf_image_init(struct elf_image *im, const uint8_t *file, size_t len, struct err *e) MUST_CHECK;
void elf_image_deinit(struct elf_image *im);

/* The executable segment that has the file's bytes [offset, offset + len); -1: none has. */
int elf_image_code(const struct elf_image *im, uint64_t offset, uint64_t len);
/* The address of a place in the file, which may be behind the segment, by that segment. */
uint64_t elf_image_address(const struct elf_image *im, int segment, uint64_t offset);

/* Whether code could be put there, behind what the segment has of the file, as elf_image_put_near() does. */
bool elf_image_is_free(const struct elf_image *im, int segment, uint64_t offset, size_t len);
void elf_image_put_near(struct elf_image *im, int segment, uint64_t offset, const uint8_t *code, size_t len);

/* The address that the next elf_image_put_far() will use. ERR_REFUSED: no room for a program header; ERR_LIMIT. */
int elf_image_find_far(struct elf_image *im, size_t len, uint64_t *ret, struct err *e) MUST_CHECK;
/* Behind an elf_image_find_far() that found room for as much. */
void elf_image_put_far(struct elf_image *im, const uint8_t *code, size_t len);

/* The whole file, of *ret_len bytes, for the caller to free. Nothing can be put into the image after it. */
int elf_image_write(struct elf_image *im, uint8_t **ret, size_t *ret_len, struct err *e) MUST_CHECK;

#endif
