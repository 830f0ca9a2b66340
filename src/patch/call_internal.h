/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the strategies for calls are made of. */
#ifndef CLOUDER_PATCH_CALL_INTERNAL_H
#define CLOUDER_PATCH_CALL_INTERNAL_H

#include "locate/x86.h"
#include "patch/guard_internal.h"

#define RAX 0
#define RCX 1
#define RDX 2
#define RSI 6
#define RDI 7
#define R8 8
#define R9 9

#define CALL_REG_ARGS 6
#define CALL_OTHERS_MAX 10
extern const uint8_t call_arg_reg[CALL_REG_ARGS]; /* of 64-bit code */

/* A guard of a call in the making. */
struct call {
	struct guard g;
	struct x86_insn in; /* the call */
	bool jumps; /* it is a jump: the function is left with it, and the return address is there already */
	uint8_t room; /* register: bytes from the destination to the object's end */
	uint8_t spare; /* another one to use */
	uint8_t dst_arg; /* the destination, or CALL_NO_ARG: it is in spare */
	uint32_t others[CALL_OTHERS_MAX]; /* jumps to the call as it is; 0: unused */
	uint32_t n_others;
	uint64_t data; /* where data behind the code is */
};

bool call_arg_in_reg(const struct call *c, uint8_t arg);
/* Where an argument that is not in a register is. */
struct emit_mem call_arg_slot(const struct call *c, uint8_t arg);
/* m reg, argument; and m argument, reg */
void call_with_arg(struct call *c, ZydisMnemonic m, uint8_t reg, uint8_t arg);
void call_on_arg(struct call *c, ZydisMnemonic m, uint8_t arg, uint8_t reg);
void call_push(struct call *c, uint8_t reg);
void call_push_arg(struct call *c, uint8_t arg);
/* In 32-bit code that can be moved spare is used up. */
void call_push_address(struct call *c, uint64_t address);
/* dst = src; shorter than mov where neither is one of r8 to r15. */
void call_copy(struct call *c, uint8_t dst, uint8_t src);
void call_lower_stack(struct call *c, int32_t by);
/* A jump to the call as it is. */
void call_other_if(struct call *c, ZydisMnemonic m);

/* vprintf, vscanf and the like: the arguments behind the format are a va_list. */
bool call_takes_list(const struct finding *f);

/*
 * Strategies begin with the program's return address on the stack, as its own call would have put it, and end with nothing
 * else there: with the call as it is, or for those who jumped to it only.
 */
void call_original(struct call *c);
void call_return(struct call *c);
/* As emit_transfer(), from here. */
void call_transfer(struct call *c, ZydisMnemonic m);
/* c->room = bytes that may be written at the destination; to the call as it is if that is not in the object. */
void call_room(struct call *c);

/* Calls the finding's helper; rax is used up. ERR_REFUSED: it cannot be reached. */
int call_helper(struct call *c, struct err *e) MUST_CHECK;

int call_print(struct call *c, struct err *e) MUST_CHECK;
/* What call_print() does once the room is known, and the return to the program. */
int call_print_within(struct call *c, struct err *e) MUST_CHECK;
int call_vector(struct call *c, struct err *e) MUST_CHECK;
int call_gets(struct call *c, struct err *e) MUST_CHECK;
int call_format(struct call *c, struct err *e) MUST_CHECK;
int call_scan(struct call *c, struct err *e) MUST_CHECK;

/* The module's read-only part, where a program's own formats are. */
int call_read_only(const struct call *c, struct gva *ret_low, struct gva *ret_high, struct err *e) MUST_CHECK;

#endif
