/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The machine code of one function: where its instructions begin, and where
 * control can arrive in it other than from the instruction before.
 *
 * Displacing bytes is safe only if nothing jumps into their middle. Counted as
 * arrivals: direct branches of the function, entries of its jump tables,
 * landing pads of exceptions, and direct branches from the rest of the module's
 * code (a function may be split in a hot and a cold part) and from guards behind it. An indirect jump
 * that is not understood makes the whole function off limits.
 */
#ifndef CLOUDER_LOCATE_CODE_H
#define CLOUDER_LOCATE_CODE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"
#include "locate/reader.h"

#define CODE_FN_MAX (256u << 10) /* bytes of a function */

enum code_flow {
	CODE_NEXT, /* goes on with the following instruction */
	CODE_BRANCH, /* conditional: target or following */
	CODE_JUMP, /* to target, or out of the function (target 0) */
	CODE_CALL,
	CODE_TABLE, /* indirect jump through a jump table */
	CODE_STOP, /* return or trap: nothing follows */
};

enum code_move {
	CODE_MOVE_ANY, /* may run at another address, with relative operands adjusted */
	CODE_MOVE_LAST, /* only as the last displaced one: something may return to what follows it */
	CODE_MOVE_NEVER,
};

struct code_insn {
	uint32_t off; /* from the function's start */
	uint8_t len;
	uint8_t flow; /* enum code_flow */
	uint8_t move; /* enum code_move */
	uint64_t target; /* of a direct branch, jump or call; 0: none */
};

#define CODE_MARK_INSN 1u /* an instruction begins here */
#define CODE_MARK_TARGET 2u /* control may arrive here from elsewhere */
#define CODE_MARK_NEAR 4u /* bytes near the function could be a short branch to here: most often they are none */

struct code_fn {
	unsigned mode; /* X86_MODE_64 or X86_MODE_32 */
	struct gva start;
	uint32_t size; /* bytes */
	uint32_t n_insn;
	uint8_t *bytes; /* size */
	uint8_t *mark; /* size; CODE_MARK_* */
	struct code_insn *insn; /* n_insn, in address order */
};

/*
 * Decodes [start, end), code of X86_MODE_64 or X86_MODE_32, from first to last byte and finds the arrivals; [text, text_end) is the module's code.
 * Code outside the function that cannot be read now is taken to hold no branch into it, unless the function
 * itself jumps there. ERR_REFUSED: a byte or an indirect jump is not understood. *ret: code_fn_destroy().
 */
int code_fn_create_mode(unsigned mode, const struct code_reader *rd, struct gva start, struct gva end, struct gva text,
			struct gva text_end, struct code_fn **ret, struct err *e) MUST_CHECK;
/* The same for 64-bit code. */
int code_fn_create(const struct code_reader *rd, struct gva start, struct gva end, struct gva text, struct gva text_end,
		   struct code_fn **ret, struct err *e) MUST_CHECK;
void code_fn_destroy(struct code_fn *fn);

/* One more place where control may arrive; ignored if it is outside the function. */
void code_fn_add_target(struct code_fn *fn, struct gva at);

/* Whether the function calls others; if not, it may keep values below its stack pointer. */
bool code_fn_calls(const struct code_fn *fn);

/* The instruction that begins at `at`; NULL: none does. */
const struct code_insn *code_fn_insn(const struct code_fn *fn, struct gva at);

#define CODE_WINDOW_MIN 5 /* a jmp rel32 */

/*
 * Chooses which whole instructions around the one at culprit to displace: 5 to max bytes, preferably it and those
 * before it (the paper's way), nothing arriving in their middle. ERR_REFUSED: there is no such choice.
 */
int code_fn_window(const struct code_fn *fn, struct gva culprit, uint32_t max, struct gva *ret_at, uint32_t *ret_len,
		   struct err *e) MUST_CHECK;

/* How far the stack and frame pointers are below the CFA (CFA = return address slot + a word) before an instruction. */
struct code_depth {
	bool reached, rsp_known, rbp_known;
	int64_t rsp, rbp;
};

/* Follows them through the function from what is known at its first instruction. ret: n_insn entries, filled. */
void code_fn_depths(const struct code_fn *fn, const struct code_depth *entry, struct code_depth *ret);
/* The same from what is known of any function that was called; the caller frees it. NULL: no memory. */
struct code_depth *code_fn_depths_of_call(const struct code_fn *fn);
/* base (X86_RSP or X86_RBP) + disp as a distance from the CFA. false: base is another register, or where it is is not known. */
bool code_depth_slot(const struct code_depth *d, uint8_t base, int64_t disp, int64_t *ret);

#endif
