/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the instruction compiler, its rules and the mnemonic table share. */
#ifndef CLOUDER_PLUGIN_CORE_INSN_INTERNAL_H
#define CLOUDER_PLUGIN_CORE_INSN_INTERNAL_H

#include <Zydis/Zydis.h>

#include "plugin/core/insn.h"

struct insn_rule;

/* An instruction being compiled. */
struct build {
	struct taint_insn *in;
	const ZydisDecodedInstruction *zi;
	const ZydisDecodedOperand *ops;
	const struct insn_rule *rule;
	bool overflow; /* more than TAINT_INSN_OPS operations were needed */
};

/* A range of the register file; len 0: holds no taint (immediate, segment, control register). */
struct span {
	uint16_t at;
	uint8_t len;
};

typedef void insn_rule_fn(struct build *b);

/* Bits of insn_rule.flags. */
#define RULE_SAME_CLEAN 0x01u /* both sources the same register: the result is a constant */
#define RULE_PIECES 0x02u /* how many bytes are read or written is not known when compiling */
#define RULE_UPPER 0x04u /* clears the upper half also where the decoder says "may write" */
#define RULE_FLAGS_IN 0x08u /* the flags are data here */
#define RULE_TLB 0x10u /* address translation may change */
#define RULE_UNARY 0x20u /* scalar: the low part comes from the last source alone */
#define RULE_KEEP_UPPER 0x40u /* may leave the whole destination as it is, the upper half too */
#define RULE_WILD 0x80u /* where memory is touched is not, or not only, what the operands say */

struct insn_rule {
	insn_rule_fn *fn;
	uint8_t cls; /* enum taint_insn_class */
	uint8_t a, b; /* parameters of fn: element sizes in bytes */
	uint8_t flags;
	const char *names; /* mnemonics, separated by blanks; "?x" means x and vx */
};

/* The rows; each mnemonic of the installed Zydis is named by exactly one. */
extern const struct insn_rule insn_rules[];
extern const unsigned insn_rules_count;

/* The row for a mnemonic, NULL if there is none (or no such mnemonic). */
const struct insn_rule *insn_rule_find(unsigned mnemonic);
/* How many rows name the mnemonic: 1, or the table is wrong. */
unsigned insn_rule_named(unsigned mnemonic);

/* Fills in what the instruction does to memory and to the registers that make addresses. */
void insn_note_memory(struct build *b);
/* Fills in which registers' labels go to loaded data: the policy is in insn.h. For user-mode code. */
void insn_note_lookup(struct build *b);

/* For rules: */

#define INSN_TMP2_SPAN(n) ((struct span){TAINT_REG_TMP2, (uint8_t)(n)})
/* One scratch byte, apart from what insn_span() and insn_dst() give. */
#define INSN_LABEL ((struct span){TAINT_REG_TMP2 + 127, 1})
#define INSN_FLAGS ((struct span){TAINT_REG_FLAGS, 1})

void insn_emit(struct build *b, enum taint_op_kind kind, struct span dst, struct span src, int arg);
void insn_clear(struct build *b, struct span dst);
/* dst = src, clean if src holds no taint; no operation if both are the same. */
void insn_copy(struct build *b, struct span dst, struct span src);
/* Where an operand's labels are when it is read: its register, or the loaded data. */
struct span insn_span(const struct build *b, const ZydisDecodedOperand *op);
/* Where an operand's labels go: its register, or scratch that is then stored (the loaded data itself for read-write). */
struct span insn_dst(struct build *b, const ZydisDecodedOperand *op);
/* The first n bytes of general register i. */
struct span insn_gpr(unsigned i, unsigned n);
/* The low size bytes of a register. */
struct span insn_reg_span(ZydisRegister reg, unsigned size);
struct span insn_low(struct span s, unsigned n);
struct span insn_part(struct span s, unsigned from, unsigned n);
bool insn_is_mem(const ZydisDecodedOperand *op);
bool insn_reads(const ZydisDecodedOperand *op);
bool insn_writes(const ZydisDecodedOperand *op);
bool insn_same_reg(const ZydisDecodedOperand *a, const ZydisDecodedOperand *b);
/* The flags' label becomes the union of x and y, or gains it where not all flags are written. */
void insn_flags(struct build *b, struct span x, struct span y);
/* dst = first tainted byte of both (len 1). */
void insn_union2(struct build *b, struct span dst, struct span x, struct span y);
/* The row's instruction has a destination apart from two sources (VEX), and they are operands 1 and 2. */
bool insn_three(const struct build *b);

/* Fills what detectors look at; for code in user mode. */
void insn_note_detection(struct build *b);

/* Rules that need no file of their own idea. */
insn_rule_fn rule_none, rule_clean, rule_union;
/* Integer. */
insn_rule_fn rule_mov, rule_movsx, rule_movbe, rule_lea, rule_push, rule_pop, rule_xchg, rule_xadd, rule_cmpxchg,
	rule_cmpxchg16, rule_arith, rule_and, rule_or, rule_xor, rule_carry1, rule_keep, rule_shift, rule_rotate,
	rule_rorx, rule_mul, rule_imul, rule_setcc, rule_cmov, rule_cmp, rule_bt, rule_bitcount, rule_bitscan,
	rule_sext, rule_signs, rule_bswap, rule_andn, rule_bls, rule_leave, rule_enter, rule_ret, rule_movs, rule_stos,
	rule_lods, rule_scas, rule_cmps, rule_pushf, rule_popf, rule_lahf, rule_sahf, rule_sysret, rule_sysexit,
	rule_xlat, rule_counter, rule_double_shift, rule_fnstsw;
/* State areas. */
insn_rule_fn rule_area;
/* Vector. */
insn_rule_fn rule_elem, rule_scalar, rule_fma_scalar, rule_mov_scalar, rule_mov_half, rule_vshift, rule_movmsk,
	rule_insert, rule_extract, rule_unpack_low, rule_unpack_high, rule_shufps, rule_shufpd, rule_pshufd,
	rule_pshuflw, rule_pshufhw, rule_pshufw, rule_bit_field, rule_vpermil_ps, rule_vpermil_pd, rule_vpermq,
	rule_vperm2, rule_palignr, rule_bytes_left, rule_bytes_right, rule_movhlps, rule_movlhps, rule_dup, rule_blend,
	rule_insertps, rule_broadcast, rule_vinsert, rule_pmovzx, rule_pmovsx, rule_vzeroupper, rule_vzeroall;

#endif
