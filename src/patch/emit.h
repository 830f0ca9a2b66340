/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Machine code written one instruction after another, through the Zydis encoder or moved from elsewhere. */
#ifndef CLOUDER_PATCH_EMIT_H
#define CLOUDER_PATCH_EMIT_H

#include <Zydis/Zydis.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define EMIT_MAX 128
#define EMIT_NO_REG 0xff
#define EMIT_RIP 0xfe

struct emitter {
	uint64_t at; /* address of buf[0] when it runs */
	uint32_t len, n_insn;
	bool bad; /* something did not fit or encode; what follows is ignored */
	uint8_t begin[EMIT_MAX]; /* n_insn: where instructions begin */
	uint8_t buf[EMIT_MAX];
};

/* [base + index * scale + disp]; base EMIT_RIP: disp is the absolute address. Registers in x86 encoding order. */
struct emit_mem {
	uint8_t base, index, scale;
	int64_t disp;
};

void emit_init(struct emitter *em, uint64_t at);
void emit_bytes(struct emitter *em, const uint8_t *bytes, size_t len); /* one whole instruction */
void emit_plain(struct emitter *em, ZydisMnemonic m);
void emit_r(struct emitter *em, ZydisMnemonic m, uint8_t reg);
void emit_rr(struct emitter *em, ZydisMnemonic m, uint8_t dst, uint8_t src); /* 64-bit */
void emit_ri(struct emitter *em, ZydisMnemonic m, uint8_t dst, int32_t imm); /* 64-bit, sign-extended */
void emit_lea(struct emitter *em, uint8_t dst, struct emit_mem mem);
void emit_cmp_mr(struct emitter *em, struct emit_mem mem, uint8_t src); /* cmp qword [mem], src */

/* A jump (ZYDIS_MNEMONIC_JMP or a conditional one) forward to where emit_here() is called with the value returned. */
uint32_t emit_forward(struct emitter *em, ZydisMnemonic m);
void emit_here(struct emitter *em, uint32_t forward);
/* jmp rel32 to an absolute address. */
void emit_jump(struct emitter *em, uint64_t target);

/*
 * One instruction that stood at `from`, doing the same here: relative branches become rel32, RIP-relative
 * operands are adjusted. Sets bad if that cannot be done.
 */
void emit_moved(struct emitter *em, const uint8_t *bytes, size_t len, uint64_t from);

/* Decodes all of it again: the same instructions, no other; ERR_REFUSED if not, or if bad is set. */
int emit_check(const struct emitter *em, struct err *e) MUST_CHECK;

#endif
