/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the parts of the miniature processor share. */
#ifndef CLOUDER_LOCATE_MACHINE_INTERNAL_H
#define CLOUDER_LOCATE_MACHINE_INTERNAL_H

#include "locate/machine.h"
#include "locate/x86.h"

#define MACHINE_STEPS_MAX 40000u
#define MACHINE_PAGES 256u
#define MACHINE_DECODED 2048u
#define MACHINE_VEC 32u /* bytes of a vector register */

struct machine_page {
	uint64_t at;
	bool filled, dirty;
	uint8_t *bytes; /* NULL: the entry is free */
};

struct machine_decoded {
	uint64_t at; /* 0: nothing */
	uint8_t bytes[X86_INSN_MAX]; /* there, when it was decoded */
	struct x86_insn in;
};

struct machine {
	struct machine_source src;
	uint64_t gpr[16]; /* x86 encoding order */
	uint64_t ip; /* while an instruction runs: of the next one */
	uint64_t last; /* the newest instruction */
	bool cf, pf, zf, sf, of, df;
	uint8_t vec[16][MACHINE_VEC];
	uint16_t others; /* registers whose content is no argument */
	uint64_t beyond, beyond_end; /* memory where no argument is */
	bool used_others;
	bool bad, in_kernel;
	uint32_t steps;
	struct machine_page page[MACHINE_PAGES];
	struct machine_decoded *decoded; /* MACHINE_DECODED */
	uint16_t row[ZYDIS_MNEMONIC_MAX_VALUE + 1]; /* number of the row in both tables as one, plus 1; 0: none */
};

struct machine_op {
	uint16_t mnemonic;
	void (*run)(struct machine *m, const struct x86_insn *in, unsigned arg);
	unsigned arg;
};

extern const struct machine_op machine_int_ops[], machine_vec_ops[];
extern const unsigned machine_n_int_ops, machine_n_vec_ops;

/* Where operand op is, with its segment. */
uint64_t machine_address(struct machine *m, const struct x86_insn *in, const ZydisDecodedOperand *op);
/* Up to 8 bytes at an address; failures end the run. */
uint64_t machine_load(struct machine *m, uint64_t at, unsigned size);
void machine_store(struct machine *m, uint64_t at, uint64_t v, unsigned size);
void machine_load_bytes(struct machine *m, uint64_t at, uint8_t *ret, unsigned size);
void machine_store_bytes(struct machine *m, uint64_t at, const uint8_t *bytes, unsigned size);

/* An operand of up to 8 bytes, zero-extended; an immediate sign-extended. */
uint64_t machine_get(struct machine *m, const struct x86_insn *in, unsigned k);
void machine_set(struct machine *m, const struct x86_insn *in, unsigned k, uint64_t v);

/* movss, movsd: size bytes of a vector register. */
void machine_move_scalar(struct machine *m, const struct x86_insn *in, unsigned size);

/* The condition that the low four bits of an opcode stand for. */
bool machine_condition(const struct machine *m, unsigned code);

static inline uint64_t machine_mask(uint64_t v, unsigned bits)
{
	return bits < 64 ? v & ((1ull << bits) - 1) : v;
}

static inline unsigned machine_word(const struct machine *m)
{
	return m->src.is_32bit ? 4 : 8;
}

#endif
