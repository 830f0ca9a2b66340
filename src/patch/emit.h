/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Machine code written one instruction after another, through the Zydis encoder or moved from elsewhere. */
#ifndef CLOUDER_PATCH_EMIT_H
#define CLOUDER_PATCH_EMIT_H

#include <Zydis/Zydis.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "locate/x86.h"

#define EMIT_MAX 152
#define EMIT_NO_REG 0xff
#define EMIT_RIP 0xfe
#define EMIT_LOW32 0x20u /* added to a register: its lower 32 bits, also in 64-bit code */

struct emitter {
	uint64_t at; /* address of buf[0] when it runs */
	uint32_t len, n_insn;
	uint32_t data; /* where data begins behind the code; 0: there is none */
	bool is_32bit; /* set before anything is emitted: registers, addresses and pushes have 32 bits then */
	bool is_fixed; /* 32-bit code that runs at `at` in every process: absolute addresses may be used */
	bool bad; /* something did not fit or encode; what follows is ignored */
	uint8_t begin[EMIT_MAX]; /* n_insn: where instructions begin */
	uint8_t buf[EMIT_MAX];
};

/*
 * [base + index * scale + disp]; base EMIT_RIP: disp is the absolute address, which 32-bit code can have only if it
 * is_fixed. Registers in x86 encoding order.
 */
struct emit_mem {
	uint8_t base, index, scale;
	int64_t disp;
};

#define EMIT_MEM(b, d) ((struct emit_mem){.base = (b), .index = EMIT_NO_REG, .disp = (d)})

void emit_init(struct emitter *em, uint64_t at);
void emit_bytes(struct emitter *em, const uint8_t *bytes, size_t len); /* one whole instruction */
void emit_plain(struct emitter *em, ZydisMnemonic m);
/* Operands are as wide as an address: 64 bits, or 32 in 32-bit code and with EMIT_LOW32. */
void emit_r(struct emitter *em, ZydisMnemonic m, uint8_t reg);
void emit_m(struct emitter *em, ZydisMnemonic m, struct emit_mem mem);
void emit_rr(struct emitter *em, ZydisMnemonic m, uint8_t dst, uint8_t src);
void emit_ri(struct emitter *em, ZydisMnemonic m, uint8_t dst, int32_t imm); /* sign-extended */
void emit_rm(struct emitter *em, ZydisMnemonic m, uint8_t dst, struct emit_mem mem);
void emit_mr(struct emitter *em, ZydisMnemonic m, struct emit_mem mem, uint8_t src);
void emit_mi(struct emitter *em, ZydisMnemonic m, struct emit_mem mem, int32_t imm, uint8_t width); /* bytes */
void emit_push(struct emitter *em, int32_t imm);
void emit_lea(struct emitter *em, uint8_t dst, struct emit_mem mem);
/* dst = an address of the module; in 32-bit code that is not fixed the word below the stack pointer changes. */
void emit_address(struct emitter *em, uint8_t dst, uint64_t address);

/*
 * A jump (ZYDIS_MNEMONIC_JMP, a conditional one, or one that looks at rcx) forward to where emit_here() is called with
 * the value returned, and back to where em->len was `to`.
 */
uint32_t emit_forward(struct emitter *em, ZydisMnemonic m);
void emit_here(struct emitter *em, uint32_t forward);
void emit_back(struct emitter *em, ZydisMnemonic m, uint32_t to);
/* jmp rel32 and call rel32 to an absolute address. */
void emit_jump(struct emitter *em, uint64_t target);
void emit_call(struct emitter *em, uint64_t target);
/* Pushes an address of the module; no register changes, but flags do in 32-bit code that is not fixed. */
void emit_push_address(struct emitter *em, uint64_t address);

/*
 * One instruction that stood at `from`, doing the same here: relative branches become rel32, RIP-relative operands are
 * adjusted, and what a call calls returns to behind `from`, not here. Sets bad if that cannot be done.
 */
void emit_moved(struct emitter *em, const uint8_t *bytes, size_t len, uint64_t from);

/*
 * m (ZYDIS_MNEMONIC_CALL or JMP) to what the call *in at `from` calls, while the stack pointer is lower by `lower` than
 * it was there.
 */
void emit_transfer(struct emitter *em, ZydisMnemonic m, const struct x86_insn *in, uint64_t from, int32_t lower);

/* Bytes behind the code, after which only more of them can follow; returns their address. */
uint64_t emit_data(struct emitter *em, const void *bytes, size_t len);

/* Makes the last byte one that is not zero: zeros at the end would be taken for unused room. */
void emit_end(struct emitter *em);

/* Decodes all of it again: the same instructions, no other; ERR_REFUSED if not, or if bad is set. */
int emit_check(const struct emitter *em, struct err *e) MUST_CHECK;

#endif
