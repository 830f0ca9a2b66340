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
 *   exec    n_ops != 0 and !has_load. Not needed while v->tainted is 0 (all registers are clean).
 *   load    has_load, except that a load of clean bytes may be left out while v->tainted is 0,
 *           if !needs_begin. While v->tainted is not 0 every load must be told, also of clean bytes
 *           and of memory that is not RAM (labels: clean).
 *   store   has_store; its labels are all clean if v->tainted was 0 before exec and no load was told.
 *
 * An instruction whose operand comes in several accesses (a 32-byte vector is two of 16) is
 * marked needs_begin: the caller then calls taint_insn_begin() before each run of it, and tells
 * every load, clean or not: the part that was left out cannot be placed later.
 *
 * What is followed: data. What is not: control dependence; the flags' taint does not go through
 * cmov, adc and sbb (setcc, lahf, pushf, rcl and rcr do move it, as data). The taint of address
 * registers does not go to the data loaded or stored, with one exception:
 *
 * Table look-ups. In user mode a load through a tainted base or index register gives each loaded
 * byte that has no label of its own the label of the first tainted byte of these registers, base
 * first, with TAINT_BY_INDEX set. That holds for loads of 1, 2 or 4 bytes from an explicit operand
 * into a general register (mov, movzx, movsx, movbe, arithmetic with a source in memory, xlat) and
 * for vector gathers of elements of at most 4 bytes. It does not hold for 8-byte loads (pointers:
 * one tainted pointer would taint all that is reached through it), for movsxd to 64 bits (the
 * tables of jumps), for string instructions, pop, ret, leave and push, nor where base or index is
 * rsp or rip. Kernel code has none of it: a hash table's walk would taint the whole system.
 *
 * State areas (fxsave, xsave, fnsave and their likes). The emulator moves them without telling
 * any access. They have neither has_load nor has_store nor operations; the caller reads the area
 * itself: taint_insn_area() lists which bytes of it belong to which registers.
 *   save     for each piece: taint_insn_area_save(), write the labels
 *   restore  taint_insn_area_clear() for all components asked for, then taint_insn_area_load() for
 *            each piece of those that the area holds
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
	TAINT_OP_ELEM_SHIFT, /* as SHIFT in each element of src_len bytes; src is as long as dst */
	TAINT_OP_ELEM_SAR, /* as SAR likewise */
	TAINT_OP_ROL, /* dst[i] = src bytes that a rotation to the left by arg bits puts there */
	TAINT_OP_PERMUTE, /* dst[i] = src[insn->perm[i]], 0xff: clean */
	TAINT_OP_ELEM, /* dst[i] = first tainted of dst[i], src[i], then of dst's and src's element of arg bytes */
	TAINT_OP_CLEAR_UPPER, /* bytes 16..31 of the first arg vector registers become clean */
	TAINT_OP_KINDS,
};

/* As store_src: the stored bytes are clean. */
#define TAINT_STORE_CLEAN 0xffffu

struct taint_op;
struct taint_insn;
typedef void taint_op_fn(struct taint_vcpu *v, const struct taint_op *op, const struct taint_insn *in);

struct taint_op {
	uint8_t kind;
	int8_t arg;
	uint16_t dst, src; /* byte index into struct taint_vcpu's reg[] */
	uint8_t dst_len, src_len;
	uint8_t clears; /* so many bytes behind the destination become clean */
	bool whole; /* a register is written, all of it */
	uint64_t writes; /* registers, as bits of taint_vcpu.tainted; scratch has none */
	taint_op_fn *fn; /* does it */
};

/* An access to memory, by the registers before the instruction runs. */
struct taint_mem {
	uint8_t base, index; /* general register in encoding order (0 rax .. 15), TAINT_GPR_RIP, TAINT_GPR_NONE */
	uint8_t scale; /* of the index: 1, 2, 4, 8 */
	uint8_t seg; /* in encoding order es cs ss ds fs gs; TAINT_GPR_NONE: none that adds anything (64-bit code) */
	uint8_t size; /* bytes; 0: not known */
	bool read, written;
	/*
	 * The one access of this operand is at seg + base + index * scale + disp (rip is that of the next
	 * instruction). Not so for repeated and gathered ones, bit strings, xlat, 16-bit addresses.
	 */
	bool known;
	int64_t disp; /* as far as push, call and enter go below rsp, and pop [rsp] above it, this is in it */
};

#define TAINT_GPR_RSP 4u
#define TAINT_GPR_RIP 16u
#define TAINT_GPR_NONE 0xffu
#define TAINT_INSN_MEMS 2

/* Which way an instruction moves the processor's state between registers and memory. */
enum taint_area {
	TAINT_AREA_NONE,
	TAINT_AREA_SAVE,
	TAINT_AREA_RESTORE,
};

/* How the area is laid out. */
enum taint_area_form {
	TAINT_AREA_FX, /* fxsave, 512 bytes: x87 and xmm, whatever the mask says */
	TAINT_AREA_X, /* xsave, standard or compacted: the components in the mask */
	TAINT_AREA_FN, /* fnsave: x87 */
	TAINT_AREA_FN16, /* the same with 16-bit operand size */
	TAINT_AREA_ENV, /* fnstenv: x87 without registers */
	TAINT_AREA_ENV16,
	TAINT_AREA_FORMS,
};

/* Bytes at..at+len of the area are those at reg in reg[]; TAINT_STORE_CLEAN: no data. */
struct taint_area_piece {
	uint16_t at;
	uint8_t len;
	uint16_t reg;
};

#define TAINT_AREA_PIECES 64

/* What detectors want to know of an instruction in user mode. */
enum taint_sees {
	TAINT_SEES_NONE,
	TAINT_SEES_BRANCH, /* calls or jumps to what sees_reg holds, or to what its load gives if that is TAINT_GPR_NONE */
	TAINT_SEES_STACK, /* loads the stack pointer, likewise */
	TAINT_SEES_CANARY, /* compares sees_reg with the stack protector's word in memory */
	TAINT_SEES_CANARY_LOAD, /* loads that word into sees_reg */
	TAINT_SEES_COMPARE, /* compares sees_reg with sees_other, or with what its load gives if that is TAINT_GPR_NONE */
	TAINT_SEES_KERNEL, /* a system call */
};

/* A register range that makes an address. */
struct taint_span {
	uint16_t at; /* in reg[] */
	uint8_t len;
};

/* What is looked at each time it runs comes first. */
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
	/*
	 * Registers whose labels it reads or writes, as bits of taint_vcpu.tainted. While none of them is tainted, running
	 * it on clean memory changes nothing: it need not be told (taint_run.loaded
	 * must be NULL then before a store of the same instruction is told).
	 */
	uint64_t touches;
	uint16_t gpr_written; /* bit mask of general registers that change, perhaps in part or only sometimes */
	uint8_t delta_reg; /* the register that changes by delta whatever happens, TAINT_GPR_NONE: none */
	bool updates; /* reads and writes the same operand; not so a copy from memory to memory */
	/* Look-ups: the registers whose labels the loaded bytes get if they have none; none if n_by_index is 0. */
	uint8_t n_by_index;
	struct taint_span by_index[2];
	/* In user mode: it loads a word that may be used as an address; a register that functions preserve is popped. */
	bool loads_pointer, restores;
	/* In user mode: it makes an address of what a register holds, which the C library keeps mixed with a word of the thread's. */
	bool unscrambles;
	struct taint_op op[TAINT_INSN_OPS]; /* run when the load is complete, or at exec if there is none */
	uint8_t flag_ops; /* bit mask of those that write the flags' label and nothing else */
	uint8_t perm[32];
	/* The memory operands of every class, explicit ones first; prefetches and the like have none. */
	struct taint_mem mem[TAINT_INSN_MEMS];
	uint8_t n_mem;
	bool exchanges; /* cmpxchg on memory: see taint_insn_exchanged() */
	uint16_t exchange_src; /* where in reg[] the labels of the bytes that it stores if it succeeds are */
	/*
	 * It may raise an exception other than by a memory access, or change what a segment register means: what is behind
	 * it in its block may not run, or elsewhere.
	 */
	bool stops;
	uint8_t alignment; /* what the address must be a multiple of, or it faults; 0: not known */
	bool addr32; /* addresses are cut to 32 bits before the segment's base is added */
	int32_t delta;
	uint8_t area; /* enum taint_area */
	uint8_t area_form; /* enum taint_area_form */
	uint8_t area_vectors; /* vector registers in the area: 8 or 16 */
	uint8_t sees; /* enum taint_sees; of code in user mode only */
	uint8_t sees_reg, sees_other; /* general registers in encoding order, TAINT_GPR_NONE */
	bool calls; /* in user mode: what it stores is a return address */
	bool sets_flags; /* all that it says of the flags' label does not depend on the label before */
	bool uses_flags;
	uint16_t mnemonic; /* ZydisMnemonic, for counting */
};

/*
 * Decodes bytes (at most len valid) as 64-bit (mode 64), 32-bit (32) or 16-bit (16) code and fills *ret.
 * user: the code runs in user mode, table look-ups carry taint. Returns the instruction's length, or 0 if it does not
 * decode (then *ret is REFUSED with no operands).
 * Needs no allocation; pure.
 */
unsigned taint_insn_compile(unsigned mode, bool user, const uint8_t *bytes, size_t len, struct taint_insn *ret);

/* How a Zydis mnemonic is treated; every mnemonic has exactly one class. */
enum taint_insn_class taint_insn_mnemonic_class(unsigned zydis_mnemonic);

/* Per-vCPU progress inside one instruction; zero it before first use. */
struct taint_run {
	uint64_t load_base, store_base;
	uint8_t load_done, store_done; /* bytes seen so far */
	const struct taint_insn *loaded; /* whose data TAINT_REG_TMP and TMP2 hold, NULL: nobody's */
	const struct taint_insn *storing; /* whose store_done it is */
};

/* The functions below keep v->tainted; they return whether any register byte is tainted. */
void taint_insn_begin(struct taint_run *run);
bool taint_insn_exec(struct taint_vcpu *v, const struct taint_insn *in);
/* Those of its operations that the mask says: all but flag_ops if the flags are set again before they are used. */
static inline void taint_insn_ops(struct taint_vcpu *v, const struct taint_insn *in, unsigned mask)
{
	for (; mask; mask &= mask - 1) {
		const struct taint_op *op = &in->op[__builtin_ctz(mask)];

		op->fn(v, op, in);
	}
}
bool taint_insn_load(struct taint_vcpu *v, struct taint_run *run, const struct taint_insn *in, uint64_t addr,
		     const struct taint_label *labels, unsigned n);
/*
 * The same for a load that is told at once and whole, of an instruction with load_len bytes, no store of the same operand and
 * !needs_begin, whose labels the caller has put at TAINT_REG_TMP.
 */
void taint_insn_loaded(struct taint_vcpu *v, struct taint_run *run, const struct taint_insn *in);
/*
 * Origins of the store_len bytes that an instruction stores at once; NULL: all are clean. They hold until the next call. If
 * that is all, run->loaded is to be set to NULL; else taint_insn_store() can still be called.
 */
const uint32_t *taint_insn_stored(const struct taint_vcpu *v, const struct taint_run *run, const struct taint_insn *in);
/* Fills ret[0..n) with origins; writer and value are the caller's to add. Returns whether any is tainted. */
bool taint_insn_store(struct taint_vcpu *v, struct taint_run *run, const struct taint_insn *in, uint64_t addr,
		      struct taint_label *ret, unsigned n);
/*
 * When it is known that an instruction that exchanges has succeeded, after its store was told: the labels of the n bytes
 * stored, without those that memory had. Not known: what taint_insn_store() said holds for both cases.
 */
void taint_insn_exchanged(const struct taint_vcpu *v, const struct taint_insn *in, struct taint_label *ret, unsigned n);
/*
 * The pieces of a state area that belong to the components in rfbm (bit 0 x87, 1 xmm, 2 upper halves of ymm; others
 * are not followed). Which components are asked for is edx:eax & xcr0; which of them the area holds is also up to the
 * first 8 bytes of its header, at 512. Returns how many, 0 if in is no such instruction.
 */
unsigned taint_insn_area(const struct taint_insn *in, uint64_t rfbm, struct taint_area_piece ret[TAINT_AREA_PIECES]);
/* Fills ret[0..p->len) with the labels to store, as taint_insn_store(). All of the x87 state has one label. */
bool taint_insn_area_save(const struct taint_vcpu *v, const struct taint_area_piece *p, struct taint_label *ret);
/* The registers of the components in rfbm become clean. */
void taint_insn_area_clear(struct taint_vcpu *v, const struct taint_insn *in, uint64_t rfbm);
/* p->len bytes with these labels were restored. */
bool taint_insn_area_load(struct taint_vcpu *v, const struct taint_area_piece *p, const struct taint_label *labels);
/* Computes v->tainted by looking at every register byte. Returns whether it is not 0. */
bool taint_vcpu_any(struct taint_vcpu *v);
/* Registers that bytes at..at+len of reg[] belong to, as bits of taint_vcpu.tainted. */
uint64_t taint_reg_bits(unsigned at, unsigned len);

#endif
