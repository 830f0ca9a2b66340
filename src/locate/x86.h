/* SPDX-License-Identifier: GPL-2.0-or-later */
/* 64-bit and 32-bit x86 instructions as locate and patch look at them: a thin layer over Zydis. */
#ifndef CLOUDER_LOCATE_X86_H
#define CLOUDER_LOCATE_X86_H

#include <Zydis/Zydis.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define X86_INSN_MAX 15
#define X86_RSP 4
#define X86_RBP 5
#define X86_NO_REG 0xff

struct x86_insn {
	ZydisDecodedInstruction i;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
};

#define X86_MODE_64 64u /* bits of an address in the code that is decoded */
#define X86_MODE_32 32u

/* Decodes one instruction of at most len bytes in X86_MODE_64 or X86_MODE_32. false: it does not decode. */
bool x86_decode_mode(unsigned mode, const uint8_t *bytes, size_t len, struct x86_insn *ret);
/* The same in 64-bit mode. */
bool x86_decode(const uint8_t *bytes, size_t len, struct x86_insn *ret);

/* The 64-bit general register that reg is or is part of, in x86 encoding order; X86_NO_REG if none. */
uint8_t x86_gpr(ZydisRegister reg);

/* Whether *in writes general register gpr (x86 encoding order), or a part of it. */
bool x86_writes_gpr(const struct x86_insn *in, uint8_t gpr);

/* Target of a relative branch or call, or address of a RIP-relative operand, of *in at address at. false: it has none. */
bool x86_relative(const struct x86_insn *in, uint64_t at, uint64_t *ret);

/* Writes the Intel syntax of one instruction, "(bad)" if it does not decode. */
void x86_text_mode(unsigned mode, const uint8_t *bytes, size_t len, uint64_t at, char *ret, size_t size);
/* The same in 64-bit mode. */
void x86_text(const uint8_t *bytes, size_t len, uint64_t at, char *ret, size_t size);

enum x86_store_kind {
	X86_STORE_PLAIN, /* one write to memory and to nothing else but flags: it can be left out */
	X86_STORE_REP, /* rep movs or rep stos: its count can be cut */
};

/* Where and how much an instruction writes. */
struct x86_store {
	uint8_t kind; /* enum x86_store_kind */
	uint8_t base, index, scale; /* registers in encoding order, X86_NO_REG: none */
	bool rip_relative; /* then disp is the absolute address of x86_relative() */
	int64_t disp; /* sign-extended; in 32-bit mode sums with it are modulo 2^32 */
	uint16_t width; /* bytes; of one element for X86_STORE_REP */
	bool is_copy; /* movs: reads through rsi */
	bool moves_on; /* one movs or stos: rdi, and rsi if it reads there, are beyond the element afterwards */
};

/* ERR_REFUSED: not an instruction whose write can be held back by itself (says why). */
int x86_store_decode_mode(unsigned mode, const uint8_t *bytes, size_t len, struct x86_store *ret,
			  struct err *e) MUST_CHECK;
/* The same in 64-bit mode. */
int x86_store_decode(const uint8_t *bytes, size_t len, struct x86_store *ret, struct err *e) MUST_CHECK;

#endif
