/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A bounded cursor over copied DWARF bytes. */
#ifndef CLOUDER_LOCATE_CFI_INTERNAL_H
#define CLOUDER_LOCATE_CFI_INTERNAL_H

#include <string.h>

#include "locate/cfi.h"

enum {
	DW_EH_PE_OMIT = 0xff,
	DW_EH_PE_FORM = 0x0f,
	DW_EH_PE_BASE = 0x70,
	DW_EH_PE_PCREL = 0x10,
	DW_EH_PE_DATAREL = 0x30,
	DW_EH_PE_INDIRECT = 0x80,
	DW_EH_PE_DATAREL_SDATA4 = 0x3b,
};

/* bad latches: reads past the end give 0 and set it, so that a caller may check once at its end. */
struct cfi_cur {
	const uint8_t *p, *end;
	uint64_t at; /* address of *p in the process */
	bool bad;
};

static inline struct cfi_cur cfi_cur(const uint8_t *p, size_t len, uint64_t at)
{
	return (struct cfi_cur){.p = p, .end = p + len, .at = at};
}

static inline size_t cfi_cur_left(const struct cfi_cur *c)
{
	return c->bad ? 0 : (size_t)(c->end - c->p);
}

/* n <= 8 bytes, little-endian. */
uint64_t cfi_cur_uint(struct cfi_cur *c, unsigned n);
int64_t cfi_cur_sint(struct cfi_cur *c, unsigned n);
uint64_t cfi_cur_uleb(struct cfi_cur *c);
int64_t cfi_cur_sleb(struct cfi_cur *c);
void cfi_cur_skip(struct cfi_cur *c, uint64_t n);
/* A pointer in encoding enc; 0 stays 0 whatever it is relative to. Indirect ones are not followed. */
uint64_t cfi_cur_ptr(struct cfi_cur *c, uint8_t enc, const struct cfi *m);

/* Whether [at, at + len) lies in the module. */
bool cfi_inside(const struct cfi *m, uint64_t at, uint64_t len);

/* Address of .eh_frame in a module that has no header for it; 0: not found. */
uint64_t cfi_search_eh_frame(const struct cfi *m);

#endif
