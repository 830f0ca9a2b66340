/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Call frame information of a mapped module: which function covers an address,
 * where its frame is and where it keeps its caller's registers.
 *
 * It comes from .eh_frame, which stripped binaries keep. The bytes are the
 * guest's: every length, pointer and count is checked against the module's span.
 * 64-bit and 32-bit x86, pointer encodings as gcc, clang, ld and lld write them.
 */
#ifndef CLOUDER_LOCATE_CFI_H
#define CLOUDER_LOCATE_CFI_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"
#include "locate/reader.h"

struct cfi {
	struct code_reader rd;
	struct gva low, high; /* all of the module's frame information and code lies in [low, high) */
	struct gva hdr; /* .eh_frame_hdr */
	uint64_t hdr_size; /* bytes */
	bool is_32bit;
};

#define CFI_PROGRAM_MAX 8192

/* What a frame description entry and its common entry say, copied. */
struct cfi_fde {
	struct gva start, end; /* the code it covers */
	struct gva lsda; /* language-specific data (exception tables); 0: none */
	uint64_t code_align;
	int64_t data_align;
	uint32_t ra_column; /* DWARF register that stands for the return address */
	bool signal_frame;
	uint8_t ptr_enc; /* of the entry's own start and length */
	uint32_t initial_len, program_len;
	uint8_t initial[256];
	uint8_t program[CFI_PROGRAM_MAX];
};

#define CFI_REGS 17
#define CFI_RA 16 /* column of the return address; 0..15 are in x86 encoding order */

enum cfi_rule {
	CFI_SAME, /* not changed so far */
	CFI_UNDEFINED,
	CFI_SAVED, /* in memory at CFA + offset */
	CFI_SAVED_AT, /* in memory at register base + offset */
	CFI_OTHER, /* elsewhere; offset means nothing */
};

/* The rules that hold at one address. */
struct cfi_row {
	bool cfa_known; /* false: an expression */
	bool cfa_deref; /* the CFA is what the memory at register + offset holds (a realigned stack); not cfa_known then */
	uint8_t cfa_reg; /* x86 encoding */
	int64_t cfa_offset; /* CFA = register + offset */
	struct {
		uint8_t rule; /* enum cfi_rule */
		uint8_t base; /* CFI_SAVED_AT: x86 encoding */
		int64_t offset;
	} reg[CFI_REGS];
};

/*
 * Finds the entry that covers pc: binary search in the header's table, else a scan of .eh_frame.
 * ERR_GUEST: none does, or the data is malformed.
 */
int cfi_find(const struct cfi *m, struct gva pc, struct cfi_fde *ret, struct err *e) MUST_CHECK;

/* Runs the entry's program as far as pc (in [start, end)). ERR_GUEST: malformed or an unknown operation. */
int cfi_row_at(const struct cfi *m, const struct cfi_fde *fde, struct gva pc, struct cfi_row *ret,
	       struct err *e) MUST_CHECK;

/*
 * Calls fn for each landing pad (where an exception is caught or cleaned up) of the entry's function.
 * ERR_GUEST: the exception table cannot be followed, so that some may be unknown.
 */
int cfi_landing_pads(const struct cfi *m, const struct cfi_fde *fde, void (*fn)(void *arg, struct gva at), void *arg,
		     struct err *e) MUST_CHECK;

#endif
