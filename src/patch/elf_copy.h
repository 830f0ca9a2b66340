/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Patches put into a copy of the program's file, for good: there the program needs nobody who puts them into its memory. */
#ifndef CLOUDER_PATCH_ELF_COPY_H
#define CLOUDER_PATCH_ELF_COPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "store/patch_record.h"

#define ELF_COPY_PATCHES_MAX 1024u
#define ELF_COPY_FILE_MAX (1u << 30) /* bytes; of more than ELF_IMAGE_MAX no image is made */

struct elf_copy;

/* Begins with len bytes of a file, which are copied. ERR_PROTOCOL: not one that can be patched. */
int elf_copy_create(const uint8_t *file, size_t len, struct elf_copy **ret, struct err *e) MUST_CHECK;
void elf_copy_destroy(struct elf_copy *c);

/* Whether the file's build-id is the patch's. */
bool elf_copy_concerns(const struct elf_copy *c, const struct patch_record *r);

/*
 * Puts one patch in. One that was made over another comes after it. ERR_REFUSED: it is for another build, or the bytes that it
 * replaces are not there, or its guard finds no room; the copy stays as it was then. *ret_new: it was not in the file already.
 */
int elf_copy_patch(struct elf_copy *c, const struct patch_record *r, bool *ret_new, struct err *e) MUST_CHECK;

/*
 * Puts in what can be of n patches, in an order in which each comes after what it was made over, else in their own. in[k]: patch k
 * is in, why[k]: else why it is not.
 */
void elf_copy_patches(struct elf_copy *c, const struct patch_record *r, size_t n, bool *in, struct err *why);

/* The whole copy, of *ret_len bytes, for the caller to free. No patch can be put in after it. */
int elf_copy_write(struct elf_copy *c, uint8_t **ret, size_t *ret_len, struct err *e) MUST_CHECK;

#endif
