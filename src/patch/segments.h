/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The program headers of a mapped module, 64-bit or 32-bit. */
#ifndef CLOUDER_PATCH_SEGMENTS_H
#define CLOUDER_PATCH_SEGMENTS_H

#include "base/err.h"
#include "locate/reader.h"
#include "vmi/vmi.h"

#define SEGMENTS_MAX 64

struct segment {
	uint32_t type, flags; /* PT_*, PF_* */
	uint64_t file_offset, file_size;
	uint64_t address; /* in the file's terms: without the module's bias */
};

/* Reads all of them into ret; *ret_n: how many. ERR_GUEST: they cannot be followed. */
int segments_read(const struct code_reader *rd, const struct vmi_module *m, struct segment ret[SEGMENTS_MAX],
		  uint32_t *ret_n, struct err *e) MUST_CHECK;

#endif
