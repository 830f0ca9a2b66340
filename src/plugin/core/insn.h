/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Taint semantics of x86 instructions: an instruction is compiled once, when it
 * is translated, into operations on ranges of the flat register shadow
 * (taint_abi.h), and applied each time it runs.
 *
 * Nothing here knows of QEMU: the caller says "runs now", "loaded n bytes with
 * these labels", "is storing n bytes, what are their labels?".
 *
 *   exec    instruction without memory operand: taint_insn_exec() before it runs
 *   load    taint_insn_load() after each memory read, in order of the reads
 *   store   taint_insn_store() for each memory write, in order of the writes
 *
 * When the calls are needed:
 *   exec    n_ops != 0 and !has_load. Not needed while v->any is 0 (all registers are clean).
 *   load    has_load, except that a load of clean bytes may be left out while v->any is 0,
 *           if !needs_begin. While v->any is not 0 every load must be told, also of clean bytes
 *           and of memory that is not RAM (labels: clean).
 *   store   has_store; its labels are all clean if v->any is 0 and no load was told.
 *
 * An instruction whose operand comes in several accesses (a 32-byte vector is two of 16) is
 * marked needs_begin: the caller then calls taint_insn_begin() before each run of it, and tells
 * every load, clean or not: the part that was left out cannot be placed later.
 *
 * What is followed: data. What is not: the taint of address registers does not go to the data
 * loaded or stored, and control dependence is not followed: the flags' taint does not go
 * through cmov, adc and sbb (setcc, lahf, pushf, rcl and rcr do move it, as data).
 */
#ifndef CLOUDER_PLUGIN_CORE_INSN_H
#define CLOUDER_PLUGIN_CORE_INSN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "taint_abi.h"

enum taint_insn_class {
	TAINT_INSN_NONE, /* touches nothing that can carry taint: no callback needed */
	TAINT_INSN_PRECISE,
	TAINT_INSN_CONSERVATIVE, /* all inputs to all outputs */
	TAINT_INSN_REFUSED, /* not followed: outputs become clean; counted */
};

#define TAINT_INSN_OPS 8

enum taint_op_kind {
	TAINT_OP_COPY, /* dst[i] = src[i]; dst beyond src_len becomes clean */
	TAINT_OP_SEXT, /* dst[i] = src[i]; dst beyond src_len gets the label of src's last byte */
	TAINT_OP_MERGE, /* dst[i] = dst[i] ?: src[i] (bitwise and, or, xor) */
	TAINT_OP_CARRY, /* dst[i] = first tainted of dst[i], src[i], then of all below (add, sub: taint goes upward) */
	TAINT_OP_UNION, /* every dst byte = first tainted of all src bytes */
	TAINT_OP_UNION_ADD, /* every dst byte = first tainted of dst's own and all src bytes */
	TAINT_OP_CLEAR, /* dst becomes clean */
	TAINT_OP_SWAP, /* dst[i] <-> src[i] */
	TAINT_OP_REVERSE, /* dst[i] = src[len-1-i] (bswap, movbe) */
	TAINT_OP_SHIFT, /* dst[i] = src bytes that a shift by arg bits (negative: right) puts there; arg in arg */
	TAINT_OP_SAR, /* as SHIFT to the right by arg bits, the sign fills the top */
	TAINT_OP_ROL, /* dst[i] = src bytes that a rotation to the left by arg bits puts there */
	TAINT_OP_PERMUTE, /* dst[i] = src[insn->perm[i]], 0xff: clean */
	TAINT_OP_ELEM, /* dst[i] = first tainted of dst[i], src[i], then of dst's and src's element of arg bytes */
	TAINT_OP_CLEAR_UPPER, /* bytes 16..31 of the first arg vector registers become clean */
	TAINT_OP_KINDS,
};

/* As store_src: the stored bytes are clean. */
#define TAINT_STORE_CLEAN 0xffffu

struct taint_op {
	uint8_t kind;
	int8_t arg;
	uint16_t dst, src; /* byte index into struct taint_vcpu's reg[] */
	uint8_t dst_len, src_len;
};

struct taint_insn {
	uint8_t len;
	uint8_t cls; /* enum taint_insn_class */
	uint8_t n_ops;
	bool has_load, has_store;
	bool needs_begin;
	bool is_ret; /* near or far return (not iret), the load is the return address first */
	bool flushes_tlb; /* mov to cr0/cr3/cr4, invlpg, invpcid, wrmsr: address translation may change */
	bool repeats; /* rep string instruction: load/store pairs many times in one run */
	/*
	 * Bytes read by all reads together (of one iteration). 0 with has_load: how many there will be is
	 * not known (masked, x87, frames); the operations then only add, and run after each read.
	 */
	uint8_t load_len;
	uint8_t store_len; /* 0 with has_store: any number of bytes, all with the label of the byte at store_src */
	uint16_t store_src; /* where in reg[] the stored bytes' labels are, or TAINT_STORE_CLEAN */
	struct taint_op op[TAINT_INSN_OPS]; /* run when the load is complete, or at exec if there is none */
	uint8_t perm[32];
	uint32_t writer; /* the caller's: writer id, 0 until first needed */
	uint16_t mnemonic; /* ZydisMnemonic, for counting */
};

/*
 * Decodes bytes (at most len valid) as 64-bit (mode 64), 32-bit (32) or 16-bit (16) code and fills *ret.
 * Returns the instruction's length, or 0 if it does not decode (then *ret is REFUSED with no operands).
 * Needs no allocation; pure.
 */
unsigned taint_insn_compile(unsigned mode, const uint8_t *bytes, size_t len, struct taint_insn *ret);

/* How a Zydis mnemonic is treated; every mnemonic has exactly one class. */
enum taint_insn_class taint_insn_mnemonic_class(unsigned zydis_mnemonic);

/* Per-vCPU progress inside one instruction; zero it before first use. */
struct taint_run {
	uint64_t load_base, store_base;
	uint8_t load_done, store_done; /* bytes seen so far */
	const struct taint_insn *loaded; /* whose data TAINT_REG_TMP and TMP2 hold, NULL: nobody's */
	const struct taint_insn *storing; /* whose store_done it is */
};

/* The functions below set v->any if a register byte became tainted; they return whether any *may* be tainted. */
void taint_insn_begin(struct taint_run *run);
bool taint_insn_exec(struct taint_vcpu *v, const struct taint_insn *in);
bool taint_insn_load(struct taint_vcpu *v, struct taint_run *run, const struct taint_insn *in, uint64_t addr,
		     const struct taint_label *labels, unsigned n);
/* Fills ret[0..n) with origins (writer: in->writer where tainted). Returns whether any is tainted. */
bool taint_insn_store(struct taint_vcpu *v, struct taint_run *run, const struct taint_insn *in, uint64_t addr,
		      struct taint_label *ret, unsigned n);
/* Recomputes v->any by looking at every register byte. */
bool taint_vcpu_any(struct taint_vcpu *v);

#endif
