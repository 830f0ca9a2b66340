/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the locator found: the culprit, the object it ran out of, and how far it may write. */
#ifndef CLOUDER_LOCATE_FINDING_H
#define CLOUDER_LOCATE_FINDING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "vmi/vmi.h"

#define FINDING_TEXT_MAX 96
#define FINDING_BUG_MAX 16

/* How the bounds of the object are expressed in the culprit's terms. */
enum bound_kind {
	BOUND_FRAME, /* relative to the CFA of the culprit's own function */
	BOUND_CALLER, /* object of the caller, relative to the CFA of the culprit's function; only for calls from caller_return */
	BOUND_MODULE, /* relative to the module (static data) */
	BOUND_ABSOLUTE, /* the paper's: addresses as they were; last resort */
};

/* Where the canonical frame address is at an instruction: register + offset. */
struct finding_cfa {
	uint8_t reg; /* x86 encoding: 4 rsp, 5 rbp, ... */
	int32_t offset;
};

struct finding {
	/* the process */
	int32_t pid;
	char comm[VMI_COMM_MAX + 1];
	/* the culprit W' */
	struct vmi_module module;
	struct gva culprit;
	uint64_t culprit_file_offset;
	uint8_t culprit_len;
	uint8_t culprit_bytes[15];
	char culprit_text[FINDING_TEXT_MAX]; /* disassembly */
	struct gva function, function_end; /* from the FDE that covers the culprit */
	/* the bug instructions: culprit plus neighbours, at least 5 bytes, no jump target inside */
	struct gva bug;
	uint8_t bug_len;
	uint8_t bug_bytes[FINDING_BUG_MAX];
	/* the object */
	struct gva start_address; /* first byte of the run */
	struct gva error_address; /* first byte of what was corrupted and noticed */
	uint64_t run_length; /* tainted bytes in a row by the culprit, from start_address */
	enum bound_kind bound;
	struct finding_cfa cfa; /* of the culprit's function, at the culprit, for BOUND_FRAME and BOUND_CALLER */
	uint64_t cfa_value; /* what it was at the time */
	int64_t start_offset; /* of the first byte that may be written, from that CFA */
	int64_t end_offset; /* of the first byte that may not */
	struct gva caller_return; /* BOUND_CALLER: return address that identifies the caller; 0 otherwise */
	bool pointer_store; /* store through a pointer: only the upper bound is sure */
	char object_text[FINDING_TEXT_MAX]; /* "stack object of 0x4012a6, 112 bytes" */
	uint8_t confidence; /* 0..100 */
	/* where the tainted bytes came from */
	uint32_t first_origin, last_origin; /* of the corrupted object's bytes */
	uint32_t run_first_origin; /* earliest origin in the whole run: recovery must go before it */
};

#endif
