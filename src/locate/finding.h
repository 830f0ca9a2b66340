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
#define FINDING_NAME_MAX 32

/* What kind of instruction the culprit is. */
enum finding_kind {
	FINDING_STORE, /* it writes out of the object itself */
	FINDING_CALL, /* it calls what does: a library function, a system call's wrapper */
};

/* What a called function does to the memory that it is given, and so how its call can be bounded. */
enum call_effect {
	CALL_UNKNOWN,
	CALL_STRING_COPY, /* strcpy, stpcpy: dst, src; up to and with the zero */
	CALL_STRING_APPEND, /* strcat: behind dst's own zero */
	CALL_STRING_APPEND_N, /* strncat: at most len, then a zero */
	CALL_LENGTH, /* memcpy, read, recv, fgets, strncpy, snprintf: at most len bytes at dst */
	CALL_PRINT, /* sprintf: dst, format, arguments; no length */
	CALL_PRINT_V, /* vsprintf: dst, format, va_list */
	CALL_VECTOR, /* readv, recvmsg: src is the list of buffers and len their number, or with no len src is a msghdr */
	CALL_GETS, /* gets: dst, until the end of the line */
	CALL_SCAN, /* scanf family: a %s or %[ without width */
	CALL_FORMAT, /* printf family: the format itself came from outside */
};

#define FINDING_SCANNED 6u /* arguments of a scanf that are looked at */
#define CALL_NO_ARG 0xffu

/* How the bounds of the object are expressed in the culprit's terms. */
enum bound_kind {
	BOUND_FRAME, /* relative to the CFA of the culprit's own function */
	/*
	 * An object of a function up the chain of calls, relative to the CFA of the culprit's function; only where the
	 * return address at caller_slot is caller_return, or, in another module, is one of `caller`'s.
	 */
	BOUND_CALLER,
	/* Static data: start_offset and end_offset are added to the bias of its module, the culprit's or `caller`'s. */
	BOUND_MODULE,
	/*
	 * A heap chunk, or a part of one: offsets are from the chunk's memory. Its size is asked of the header before it, at run
	 * time.
	 */
	BOUND_CHUNK,
	BOUND_ARGUMENT, /* what the compiler knew of the object's size: an argument of the call, chk_arg */
};

/* Where the canonical frame address is at an instruction: register + offset. */
struct finding_cfa {
	uint8_t reg; /* x86 encoding: 4 rsp, 5 rbp, ... */
	int32_t offset;
};

/* What holds a pointer at the culprit: a register in x86 encoding, or if that is 0xff the word `slot` bytes from the CFA. */
struct finding_word {
	uint8_t reg;
	int64_t slot;
};

#define FINDING_VIA 2

/*
 * A caller in another module than the culprit: that one is nowhere in particular, so it is known by its code and its build. The
 * functions of the culprit's module between them are known by their return addresses; only then is there one to look at.
 */
struct finding_caller {
	uint8_t build_id[VMI_BUILD_ID_MAX];
	uint8_t build_id_len; /* 0: the caller is in the culprit's module */
	uint64_t bias; /* of its module */
	uint8_t call[4]; /* the bytes before its return address */
	int32_t build_id_from; /* where its build-id is mapped, from its return address */
	unsigned n_via;
	struct {
		struct gva ret;
		int64_t slot; /* from the CFA */
	} via[FINDING_VIA]; /* the innermost first */
};

struct finding {
	/* the process */
	int32_t pid;
	char comm[VMI_COMM_MAX + 1];
	/* the culprit W' */
	enum finding_kind kind;
	bool is_32bit;
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
	uint32_t error_length; /* bytes from there to the end of the word that was noticed; 0: it is that word */
	uint64_t run_length; /* tainted bytes in a row by the culprit, from start_address */
	enum bound_kind bound;
	struct finding_cfa cfa; /* of the culprit's function, at the culprit, for BOUND_FRAME and BOUND_CALLER */
	uint64_t cfa_value; /* what it was at the time */
	int64_t start_offset; /* of the first byte that may be written, from that CFA */
	int64_t end_offset; /* of the first byte that may not */
	struct gva caller_return; /* BOUND_CALLER: return address that identifies the caller; 0 otherwise */
	struct finding_caller caller;
	bool own_array; /* a call's destination is always in an array of its own frame */
	int64_t caller_slot; /* BOUND_CALLER: where that is, from the CFA; -8 (-4 in 32-bit code): the direct caller's */
	bool pointer_store; /* store through a pointer: only the upper bound is sure */
	/*
	 * BOUND_CHUNK: start_offset is where the call's destination, or what `base` holds, points to in the chunk. The object is
	 * the part of it up to end_offset, in chunks whose header says part_of bytes; part_of 0: it is the chunk, of any size.
	 */
	uint64_t part_of;
	bool chunk_mapped; /* the chunk has a mapping of its own, and one more word of header */
	bool has_base;
	struct finding_word base;
	bool has_calls; /* the culprit's function calls others, so that nothing of it is alive below its stack pointer */
	char object_text[FINDING_TEXT_MAX]; /* "stack object of 0x4012a6, 112 bytes" */
	uint8_t confidence; /* 0..100 */
	/* FINDING_CALL: arguments are counted from 0, CALL_NO_ARG: has none */
	char callee[FINDING_NAME_MAX]; /* "strcpy"; "": not known */
	enum call_effect effect;
	uint8_t dst_arg, src_arg, len_arg;
	uint32_t scan_room
		[FINDING_SCANNED]; /* CALL_SCAN: bytes for the text that argument n goes to at most, 0: not known */
	uint8_t chk_arg; /* the object's size as the compiler saw it (__strcpy_chk and the like) */
	/*
	 * A function to do the same within bounds (vsnprintf for sprintf, getchar for gets): its address is what the
	 * pointer at helper_slot holds, plus helper_delta; helper_slot 0: at helper_delta from module.bias. "" in helper: none.
	 */
	char helper[FINDING_NAME_MAX];
	struct gva helper_slot;
	int64_t helper_delta;
	/* where the tainted bytes came from */
	uint32_t first_origin, last_origin; /* of the corrupted object's bytes */
	uint32_t run_first_origin; /* earliest origin in the whole run: recovery must go before it */
};

/* Run-time addresses minus offsets of the module that the object's bounds, or the caller, are told in. */
static inline uint64_t finding_bias(const struct finding *f)
{
	return f->caller.build_id_len ? f->caller.bias : f->module.bias;
}

#endif
