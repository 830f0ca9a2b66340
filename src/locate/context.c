/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The loads by which a context is restored, told by the code that does it.
 *
 * The instructions are walked in the order of their addresses, and what each register holds is followed as far as it is a word loaded
 * from a base: __builtin_longjmp() and longjmp() load all words by one pointer, unscramble some in their registers, and end in a jump.
 */
#include "locate/context.h"

#include <stdbool.h>
#include <string.h>

#include "locate/x86.h"

#define CODE_MAX 1024u
#define LOADS_MAX 32u
#define REGS 16u
#define NO_LOAD 0xffu
#define CONTEXT_MAX 512 /* bytes of one that may be below the word that is used */

struct load {
	uint8_t base;
	uint32_t version; /* of the base: how often it was written before */
	int64_t disp;
};

struct walk {
	struct load load[LOADS_MAX];
	unsigned n;
	uint32_t version[REGS];
	uint8_t from[REGS]; /* the load that the register holds, as it was or unscrambled; NO_LOAD: none */
	uint8_t used; /* the load of the word that is about to be used */
	uint8_t target; /* the load of where the walk's end jumps to */
};

static void forget(struct walk *w)
{
	w->n = 0;
	w->used = NO_LOAD;
	memset(w->from, NO_LOAD, sizeof(w->from));
}

static bool is_gpr(const ZydisDecodedOperand *op, uint8_t *ret)
{
	if (op->type != ZYDIS_OPERAND_TYPE_REGISTER)
		return false;
	*ret = x86_gpr(op->reg.value);
	return *ret != X86_NO_REG;
}

/* The load that the operand is: a word of memory by a base, or a register that holds one. */
static uint8_t load_of(struct walk *w, const ZydisDecodedOperand *op)
{
	uint8_t base, reg;

	if (is_gpr(op, &reg))
		return w->from[reg];
	if (op->type != ZYDIS_OPERAND_TYPE_MEMORY || op->mem.index != ZYDIS_REGISTER_NONE || w->n == LOADS_MAX)
		return NO_LOAD;
	base = x86_gpr(op->mem.base);
	if (base == X86_NO_REG || base == X86_RSP)
		return NO_LOAD;
	w->load[w->n] = (struct load){base, w->version[base], op->mem.disp.value};
	return (uint8_t)w->n++;
}

static bool unscrambles(ZydisMnemonic m)
{
	return m == ZYDIS_MNEMONIC_XOR || m == ZYDIS_MNEMONIC_ROR || m == ZYDIS_MNEMONIC_ROL ||
	       m == ZYDIS_MNEMONIC_ADD || m == ZYDIS_MNEMONIC_SUB;
}

/* What the instruction makes of the registers. */
static void run(struct walk *w, const struct x86_insn *in)
{
	uint8_t to = X86_NO_REG, from;
	bool whole = in->op[0].size == in->i.address_width;

	if (in->i.mnemonic == ZYDIS_MNEMONIC_MOV && is_gpr(&in->op[0], &to) && whole) {
		from = load_of(w, &in->op[1]);
		w->from[to] = from;
		w->version[to]++;
		return;
	}
	for (uint8_t k = 0; k < REGS; k++) {
		if (!x86_writes_gpr(in, k))
			continue;
		w->version[k]++;
		if (!unscrambles(in->i.mnemonic))
			w->from[k] = NO_LOAD;
	}
}

/* The word that the instruction is about to use: the target of its jump, or what it loads the stack pointer with. */
static uint8_t use_of(struct walk *w, const struct x86_insn *in)
{
	uint8_t to = X86_NO_REG;

	if (in->i.mnemonic == ZYDIS_MNEMONIC_JMP)
		return load_of(w, &in->op[0]);
	if (in->i.mnemonic == ZYDIS_MNEMONIC_MOV && is_gpr(&in->op[0], &to) && to == X86_RSP)
		return load_of(w, &in->op[1]);
	return NO_LOAD;
}

static bool ends(const struct x86_insn *in)
{
	return in->i.mnemonic == ZYDIS_MNEMONIC_JMP || in->i.meta.category == ZYDIS_CATEGORY_RET ||
	       in->i.meta.category == ZYDIS_CATEGORY_CALL;
}

/* Walks to the first jump, call or return from pc on. false: pc is none of the instructions, or uses no loaded word. */
static bool walk(struct walk *w, unsigned mode, const uint8_t *code, uint32_t n, uint32_t pc)
{
	struct x86_insn in;

	forget(w);
	for (uint32_t off = 0; off < n && x86_decode_mode(mode, code + off, n - off, &in); off += in.i.length) {
		if (off == pc)
			w->used = use_of(w, &in);
		if (off >= pc && w->used == NO_LOAD)
			return false;
		if (!ends(&in)) {
			run(w, &in);
		} else if (off >= pc) {
			w->target = use_of(w, &in);
			return true;
		} else {
			forget(w);
		}
	}
	return false;
}

static bool same_base(const struct walk *w, uint8_t a, uint8_t b)
{
	return a != NO_LOAD && b != NO_LOAD && w->load[a].base == w->load[b].base &&
	       w->load[a].version == w->load[b].version;
}

uint32_t context_below(unsigned mode, const struct code_reader *rd, struct gva start, struct gva pc)
{
	uint8_t code[CODE_MAX];
	struct walk w = {.n = 0};
	uint32_t n = sizeof(code);
	int64_t low;

	if (pc.v < start.v || pc.v - start.v >= sizeof(code))
		return 0;
	while (n && !code_read(rd, start, code, n))
		n /= 2;
	if (!walk(&w, mode, code, n, (uint32_t)(pc.v - start.v)) || !same_base(&w, w.used, w.target) ||
	    !same_base(&w, w.used, w.from[X86_RSP]))
		return 0;
	low = w.load[w.used].disp;
	for (unsigned k = 0; k < w.n; k++)
		if (same_base(&w, w.used, k) && w.load[k].disp < low &&
		    w.load[w.used].disp - w.load[k].disp <= CONTEXT_MAX)
			low = w.load[k].disp;
	return (uint32_t)(w.load[w.used].disp - low);
}
