/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The chain of calls on a live stack: from the registers of a thread outwards, through every module on the way. */
#ifndef CLOUDER_LOCATE_CHAIN_H
#define CLOUDER_LOCATE_CHAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "locate/cfi.h"
#include "locate/code.h"
#include "locate/reader.h"
#include "vmi/vmi.h"

/* A process whose stack is unwound. */
struct chain_source {
	struct code_reader rd;
	bool (*module_at)(void *arg, struct gva at, struct vmi_module *ret); /* false: no file is mapped there */
	/*
	 * A return address, and the stack pointer behind it, that may be in code which stands for the program's: makes them
	 * the program's. NULL: there is no such code.
	 */
	void (*leave_guard)(void *arg, struct gva *pc, uint64_t *sp);
	void *arg; /* of them all */
	bool is_32bit;
	/* What is being overwritten: the chain ends at a frame whose return address is in it, and that is no fault of the frame. */
	struct gva overrun, overrun_end;
	/* Whether a return address in that is still what it was. NULL: none is. */
	bool (*spared)(void *arg, struct gva slot);
	/* Whether the return address at `slot` was overwritten: the chain ends there as well. NULL: it is not known. */
	bool (*overwritten)(void *arg, struct gva slot);
	/* What was just overwritten, some bytes: a return address in it is looked for among the calls of its frame's function. */
	struct gva written, written_end;
};

struct chain_regs {
	struct gva pc;
	uint64_t gpr[16]; /* x86 encoding order */
};

#define CHAIN_MAX 64u
#define CHAIN_MODULES_MAX 16u

struct chain_frame {
	struct gva pc; /* the instruction that runs; of outer frames: the return address */
	bool exact; /* pc is that instruction, not a return address behind it */
	bool guessed; /* where its return address is was found without frame information */
	struct gva sp; /* the stack pointer in it */
	struct gva cfa; /* the word behind its return address; 0: not found, and it is the last frame */
	struct gva slot; /* where its return address is */
	struct gva function, function_end; /* from its frame entry; 0: has none */
	const struct vmi_module *module; /* of pc, in the chain; NULL: none */
	uint64_t gpr[16];
	uint16_t known; /* a bit for each of gpr that holds what it did when the call was made */
};

struct chain {
	unsigned n; /* at least 1; frame[0] is the innermost */
	struct chain_frame frame[CHAIN_MAX];
	unsigned n_modules;
	struct vmi_module module[CHAIN_MODULES_MAX];
};

/*
 * Unwinds with .eh_frame. A function without (hand-written code, the C library of musl) is left through a word on the
 * stack that points behind a call and from which the next frame makes sense. Ends where nothing does.
 */
void chain_unwind(const struct chain_source *src, const struct chain_regs *regs, struct chain *ret);

/* An address inside the instruction that frame k is at: its pc, or a byte of the call. */
struct gva chain_lookup(const struct chain_frame *f);

/* The code of a frame's function, as code_fn_create_mode() has it. ERR_REFUSED: it is not known, or not understood. */
int chain_frame_code(const struct chain_source *src, const struct chain_frame *f, struct code_fn **ret,
		     struct err *e) MUST_CHECK;

/* The instruction of its code that a frame is at: the one that runs, or the one before its return address. NULL: there is none. */
const struct code_insn *chain_frame_insn(const struct chain_frame *f, const struct code_fn *fn);

/* Frame information of a module of the process. */
struct cfi chain_cfi(const struct chain_source *src, const struct vmi_module *m);

/* Whether `at` is in a module's code, right behind a call instruction. *ret_call: that instruction. */
bool chain_behind_call(const struct chain_source *src, struct chain *c, struct gva at, struct gva *ret_call);

#endif
