/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rules of the general-purpose instructions: each emits the operations of one family. */
#include "plugin/core/insn_internal.h"

#define RAX 0u
#define RCX 1u
#define RDX 2u
#define RBX 3u
#define RSP 4u
#define RBP 5u
#define R11 11u

static const struct span none = {0, 0};

static struct span loaded(unsigned n)
{
	return (struct span){TAINT_REG_TMP, (uint8_t)n};
}

static bool same(struct span x, struct span y)
{
	return x.at == y.at;
}

/* Data moves; a source shorter than the destination is extended with zeros. */
void rule_mov(struct build *b)
{
	struct span src = insn_span(b, &b->ops[1]);

	if (insn_is_mem(&b->ops[0]))
		b->in->store_src = src.len ? src.at : TAINT_STORE_CLEAN;
	else
		insn_copy(b, insn_span(b, &b->ops[0]), src);
}

void rule_movsx(struct build *b)
{
	insn_emit(b, TAINT_OP_SEXT, insn_span(b, &b->ops[0]), insn_span(b, &b->ops[1]), 0);
}

void rule_movbe(struct build *b)
{
	insn_emit(b, TAINT_OP_REVERSE, insn_dst(b, &b->ops[0]), insn_span(b, &b->ops[1]), 0);
}

void rule_bswap(struct build *b)
{
	struct span s = insn_span(b, &b->ops[0]);

	insn_emit(b, TAINT_OP_REVERSE, s, s, 0);
}

/* d = x + y, of which one may be d itself and y may be absent; exact: d is x as it is. */
static void lea_sum(struct build *b, struct span d, struct span x, struct span y, bool exact)
{
	if (y.len && same(d, y)) {
		insn_emit(b, TAINT_OP_CARRY, d, x.len ? x : d, 0);
		return;
	}
	insn_copy(b, d, x);
	if (!exact && (x.len || y.len))
		insn_emit(b, TAINT_OP_CARRY, d, y.len ? y : d, 0);
}

void rule_lea(struct build *b)
{
	const ZydisDecodedOperand *op = &b->ops[1];
	unsigned width = b->zi->address_width / 8u;
	struct span dst = insn_span(b, &b->ops[0]), d = insn_low(dst, width);
	struct span base = insn_reg_span(op->mem.base, d.len), index = insn_reg_span(op->mem.index, d.len);
	bool exact = !index.len && !op->mem.disp.value;

	lea_sum(b, d, base, index, exact);
	if (dst.len > d.len)
		insn_clear(b, insn_part(dst, d.len, dst.len - d.len));
}

void rule_push(struct build *b)
{
	struct span src = insn_span(b, &b->ops[0]);

	b->in->store_src = src.len ? src.at : TAINT_STORE_CLEAN;
}

void rule_pop(struct build *b)
{
	if (insn_is_mem(&b->ops[0]))
		b->in->store_src = TAINT_REG_TMP;
	else
		insn_copy(b, insn_span(b, &b->ops[0]), loaded(b->in->load_len));
}

void rule_xchg(struct build *b)
{
	bool first = insn_is_mem(&b->ops[0]);
	struct span x = insn_span(b, &b->ops[0]), y = insn_span(b, &b->ops[1]), reg = first ? y : x;

	if (!first && !insn_is_mem(&b->ops[1])) {
		if (!same(x, y))
			insn_emit(b, TAINT_OP_SWAP, x, y, 0);
		return;
	}
	insn_copy(b, INSN_TMP2_SPAN(reg.len), reg);
	insn_copy(b, reg, loaded(reg.len));
	b->in->store_src = TAINT_REG_TMP2;
}

void rule_xadd(struct build *b)
{
	struct span d = insn_span(b, &b->ops[0]), src = insn_span(b, &b->ops[1]);

	if (insn_is_mem(&b->ops[0])) {
		struct span sum = INSN_TMP2_SPAN(d.len);

		insn_copy(b, sum, d);
		insn_emit(b, TAINT_OP_CARRY, sum, src, 0);
		insn_copy(b, src, d);
		b->in->store_src = sum.at;
		insn_flags(b, sum, none);
		return;
	}
	if (!same(d, src))
		insn_emit(b, TAINT_OP_SWAP, d, src, 0);
	insn_emit(b, TAINT_OP_CARRY, d, src, 0);
	insn_flags(b, d, none);
}

/* Which of the two results it is, is control: each output gets both possible values' labels. */
void rule_cmpxchg(struct build *b)
{
	struct span d = insn_span(b, &b->ops[0]), src = insn_span(b, &b->ops[1]), acc = insn_gpr(RAX, d.len);
	struct span old = INSN_TMP2_SPAN(d.len);

	insn_flags(b, d, acc);
	insn_copy(b, old, d);
	insn_emit(b, TAINT_OP_MERGE, insn_dst(b, &b->ops[0]), src, 0);
	insn_emit(b, TAINT_OP_MERGE, acc, old, 0);
	b->in->exchanges = insn_is_mem(&b->ops[0]);
	b->in->exchange_src = src.at;
}

void rule_cmpxchg16(struct build *b)
{
	unsigned n = b->in->load_len / 2u;
	struct span lo = loaded(n), hi = insn_part(lo, n, n);

	insn_flags(b, loaded(2 * n), insn_gpr(RAX, n));
	insn_flags(b, insn_gpr(RDX, n), none);
	insn_emit(b, TAINT_OP_MERGE, insn_gpr(RAX, n), lo, 0);
	insn_emit(b, TAINT_OP_MERGE, insn_gpr(RDX, n), hi, 0);
	insn_emit(b, TAINT_OP_MERGE, lo, insn_gpr(RBX, n), 0);
	insn_emit(b, TAINT_OP_MERGE, hi, insn_gpr(RCX, n), 0);
	b->in->store_src = TAINT_REG_TMP;
}

/* x op x is a constant: the destination and the flags become clean. Returns whether that was so. */
static bool same_clean(struct build *b, struct span d)
{
	if (!(b->rule->flags & RULE_SAME_CLEAN) || !insn_same_reg(&b->ops[0], &b->ops[1]))
		return false;
	insn_clear(b, d);
	insn_flags(b, none, none);
	return true;
}

void rule_arith(struct build *b)
{
	struct span d = insn_dst(b, &b->ops[0]), src = insn_span(b, &b->ops[1]);

	if (same_clean(b, d))
		return;
	insn_emit(b, TAINT_OP_CARRY, d, src.len ? src : d, 0);
	insn_flags(b, d, none);
}

/* Bytes of the immediate that are fixed make the result's byte a constant. */
static void clear_constant(struct build *b, struct span d, uint64_t imm, uint8_t fixed)
{
	unsigned from = 0;

	for (unsigned i = 0; i <= d.len; i++) {
		if (i < d.len && (uint8_t)(imm >> (8 * i)) == fixed)
			continue;
		if (i > from)
			insn_clear(b, insn_part(d, from, i - from));
		from = i + 1;
	}
}

static void logic(struct build *b, bool has_fixed, uint8_t fixed)
{
	struct span d = insn_dst(b, &b->ops[0]), src = insn_span(b, &b->ops[1]);

	if (same_clean(b, d))
		return;
	if (src.len && !same(d, src))
		insn_emit(b, TAINT_OP_MERGE, d, src, 0);
	else if (has_fixed && b->ops[1].type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
		clear_constant(b, d, b->ops[1].imm.value.u, fixed);
	insn_flags(b, d, none);
}

void rule_and(struct build *b)
{
	logic(b, true, 0x00);
}

void rule_or(struct build *b)
{
	logic(b, true, 0xff);
}

void rule_xor(struct build *b)
{
	logic(b, false, 0);
}

/* One operand, changes going upward: inc, dec, neg. */
void rule_carry1(struct build *b)
{
	struct span d = insn_dst(b, &b->ops[0]);

	insn_emit(b, TAINT_OP_CARRY, d, d, 0);
	insn_flags(b, d, none);
}

/* One operand, each byte stays where it is: not. */
void rule_keep(struct build *b)
{
	insn_dst(b, &b->ops[0]);
}

/* A register count: everything to everything. */
static void shift_by_register(struct build *b, struct span d, struct span count)
{
	insn_union2(b, INSN_LABEL, d, count);
	insn_emit(b, TAINT_OP_UNION, d, INSN_LABEL, 0);
	insn_flags(b, INSN_LABEL, none);
}

/* a: enum of shl, shr, sar as below. */
void rule_shift(struct build *b)
{
	static const enum taint_op_kind kind[] = {TAINT_OP_SHIFT, TAINT_OP_SHIFT, TAINT_OP_SAR};
	struct span d = insn_dst(b, &b->ops[0]), count = insn_span(b, &b->ops[1]);
	unsigned by = (unsigned)b->ops[1].imm.value.u & (d.len == 8 ? 63u : 31u);

	if (count.len) {
		shift_by_register(b, d, count);
		return;
	}
	if (!by)
		return;
	insn_flags(b, d, none);
	insn_emit(b, kind[b->rule->a], d, d, b->rule->a == 1 ? -(int)by : (int)by);
}

/* a: 0 shld, 1 shrd. Both registers are one number, of which the destination is the upper or the lower half. */
void rule_double_shift(struct build *b)
{
	struct span d = insn_dst(b, &b->ops[0]), src = insn_span(b, &b->ops[1]), n = INSN_TMP2_SPAN(2 * d.len);
	unsigned by = (unsigned)b->ops[2].imm.value.u & (d.len == 8 ? 63u : 31u), bits = d.len * 8u;

	if (b->ops[2].type != ZYDIS_OPERAND_TYPE_IMMEDIATE || by > bits) {
		b->in->cls = TAINT_INSN_CONSERVATIVE;
		rule_union(b);
		return;
	}
	if (!by)
		return;
	insn_flags(b, d, src);
	insn_copy(b, insn_part(n, b->rule->a ? 0 : d.len, d.len), d);
	insn_copy(b, insn_part(n, b->rule->a ? d.len : 0, d.len), src);
	insn_emit(b, TAINT_OP_SHIFT, d, n, b->rule->a ? -(int)by : (int)by - (int)bits);
}

/* Rotation of src to the left by `by` bits. */
static void rotate(struct build *b, struct span d, struct span src, unsigned by)
{
	if (by % (d.len * 8u))
		insn_emit(b, TAINT_OP_ROL, d, src, (int)(by % (d.len * 8u)));
	else
		insn_copy(b, d, src);
}

/* a: 0 rol, 1 ror. */
void rule_rotate(struct build *b)
{
	struct span d = insn_dst(b, &b->ops[0]), count = insn_span(b, &b->ops[1]);
	unsigned bits = d.len * 8u, by = (unsigned)b->ops[1].imm.value.u & (d.len == 8 ? 63u : 31u);

	if (count.len) {
		shift_by_register(b, d, count);
		return;
	}
	if (!by)
		return;
	insn_flags(b, d, none);
	rotate(b, d, d, b->rule->a ? bits - by % bits : by);
}

void rule_rorx(struct build *b)
{
	struct span d = insn_span(b, &b->ops[0]);
	unsigned bits = d.len * 8u;

	rotate(b, d, insn_span(b, &b->ops[1]), bits - (unsigned)b->ops[2].imm.value.u % bits);
}

/* The low half of a product depends on what is below, the high half on everything. */
void rule_mul(struct build *b)
{
	struct span src = insn_span(b, &b->ops[0]), lo = insn_gpr(RAX, src.len);
	struct span hi = src.len == 1 ? insn_part(lo, 1, 1) : insn_gpr(RDX, src.len);

	insn_union2(b, INSN_LABEL, lo, src);
	insn_emit(b, TAINT_OP_CARRY, lo, src, 0);
	insn_emit(b, TAINT_OP_UNION, hi, INSN_LABEL, 0);
	insn_flags(b, INSN_LABEL, none);
}

void rule_imul(struct build *b)
{
	struct span d = insn_span(b, &b->ops[0]), src = insn_span(b, &b->ops[1]);

	if (b->zi->operand_count_visible == 1) {
		rule_mul(b);
		return;
	}
	if (b->zi->operand_count_visible == 2) {
		insn_union2(b, INSN_LABEL, d, src);
		insn_emit(b, TAINT_OP_CARRY, d, src, 0);
	} else {
		insn_emit(b, TAINT_OP_UNION, INSN_LABEL, src, 0);
		insn_copy(b, d, src);
		insn_emit(b, TAINT_OP_CARRY, d, d, 0);
	}
	insn_flags(b, INSN_LABEL, none);
}

void rule_setcc(struct build *b)
{
	if (insn_is_mem(&b->ops[0]))
		b->in->store_src = TAINT_REG_FLAGS;
	else
		insn_copy(b, insn_span(b, &b->ops[0]), INSN_FLAGS);
}

void rule_cmov(struct build *b)
{
	insn_emit(b, TAINT_OP_MERGE, insn_span(b, &b->ops[0]), insn_span(b, &b->ops[1]), 0);
}

/* Only the flags: compare, test, ordered and unordered compare, vector test. */
void rule_cmp(struct build *b)
{
	if ((b->rule->flags & RULE_SAME_CLEAN) && insn_same_reg(&b->ops[0], &b->ops[1]))
		insn_flags(b, none, none);
	else
		insn_flags(b, insn_span(b, &b->ops[0]), insn_span(b, &b->ops[1]));
}

/* a: 1 if the bit is changed too. */
void rule_bt(struct build *b)
{
	struct span bits = insn_span(b, &b->ops[0]), which = insn_low(insn_span(b, &b->ops[1]), 1);

	insn_flags(b, bits, which);
	if (!b->rule->a)
		return;
	bits = insn_dst(b, &b->ops[0]);
	if (which.len)
		insn_emit(b, TAINT_OP_UNION_ADD, bits, which, 0);
}

/* A count of bits fits the lowest byte. */
void rule_bitcount(struct build *b)
{
	struct span d = insn_span(b, &b->ops[0]), src = insn_span(b, &b->ops[1]);

	insn_flags(b, src, none);
	insn_emit(b, TAINT_OP_UNION, insn_low(d, 1), src, 0);
	insn_clear(b, insn_part(d, 1, d.len - 1u));
}

/* bsf, bsr: the destination stays as it is if there is no bit. */
void rule_bitscan(struct build *b)
{
	struct span d = insn_span(b, &b->ops[0]), src = insn_span(b, &b->ops[1]);

	insn_flags(b, src, none);
	insn_emit(b, TAINT_OP_UNION_ADD, insn_part(d, 0, d.len == 4 ? 8 : d.len), src, 0);
}

/* cbw, cwde, cdqe; a: bytes of the source. */
void rule_sext(struct build *b)
{
	insn_emit(b, TAINT_OP_SEXT, insn_gpr(RAX, 2u * b->rule->a), insn_gpr(RAX, b->rule->a), 0);
}

/* cwd, cdq, cqo; a: bytes of the source. */
void rule_signs(struct build *b)
{
	unsigned n = b->rule->a;

	insn_emit(b, TAINT_OP_UNION, insn_gpr(RDX, n), insn_part(insn_gpr(RAX, n), n - 1, 1), 0);
}

void rule_andn(struct build *b)
{
	struct span d = insn_span(b, &b->ops[0]), x = insn_span(b, &b->ops[1]), y = insn_span(b, &b->ops[2]);

	if (same(d, y)) {
		insn_emit(b, TAINT_OP_MERGE, d, x, 0);
	} else {
		insn_copy(b, d, x);
		insn_emit(b, TAINT_OP_MERGE, d, y, 0);
	}
	insn_flags(b, d, none);
}

/* blsi, blsr, blsmsk: a byte depends on those below. The flags look at the whole source. */
void rule_bls(struct build *b)
{
	struct span d = insn_span(b, &b->ops[0]), src = insn_span(b, &b->ops[1]);

	insn_flags(b, src, none);
	insn_copy(b, d, src);
	insn_emit(b, TAINT_OP_CARRY, d, d, 0);
}

void rule_leave(struct build *b)
{
	unsigned n = b->in->load_len;

	insn_copy(b, insn_gpr(RSP, n), insn_gpr(RBP, n));
	insn_copy(b, insn_gpr(RBP, n), loaded(n));
}

/* A nesting level copies frame pointers from memory: nothing uses that; what it stores becomes clean. */
void rule_enter(struct build *b)
{
	unsigned n = b->zi->operand_width / 8u, level = (unsigned)b->ops[1].imm.value.u & 31u;

	b->in->has_load = level > 1;
	b->in->load_len = 0;
	if (level) {
		b->in->cls = TAINT_INSN_REFUSED;
		insn_copy(b, insn_gpr(RBP, n), insn_gpr(RSP, n));
		return;
	}
	insn_copy(b, INSN_TMP2_SPAN(n), insn_gpr(RBP, n));
	insn_copy(b, insn_gpr(RBP, n), insn_gpr(RSP, n));
	b->in->store_src = TAINT_REG_TMP2;
}

void rule_ret(struct build *b)
{
	b->in->is_ret = true;
}

void rule_movs(struct build *b)
{
	b->in->store_src = TAINT_REG_TMP;
}

void rule_stos(struct build *b)
{
	b->in->store_src = TAINT_REG_GPR + 8 * RAX;
}

void rule_lods(struct build *b)
{
	insn_copy(b, insn_gpr(RAX, b->in->load_len), loaded(b->in->load_len));
}

void rule_scas(struct build *b)
{
	insn_flags(b, loaded(b->in->load_len), insn_gpr(RAX, b->in->load_len));
}

/* Two operands in memory, of which a caller may leave out one that is clean. */
void rule_cmps(struct build *b)
{
	b->in->load_len = 0;
	b->in->needs_begin = false;
	insn_emit(b, TAINT_OP_UNION_ADD, INSN_FLAGS, loaded(1), 0);
}

/* Status flags are in the lower two bytes. */
void rule_pushf(struct build *b)
{
	unsigned n = b->in->store_len;

	insn_emit(b, TAINT_OP_UNION, INSN_TMP2_SPAN(2), INSN_FLAGS, 0);
	if (n > 2)
		insn_clear(b, insn_part(INSN_TMP2_SPAN(n), 2, n - 2));
	b->in->store_src = TAINT_REG_TMP2;
}

void rule_popf(struct build *b)
{
	insn_emit(b, TAINT_OP_UNION, INSN_FLAGS, loaded(b->in->load_len), 0);
}

void rule_lahf(struct build *b)
{
	insn_copy(b, insn_part(insn_gpr(RAX, 8), 1, 1), INSN_FLAGS);
}

void rule_sahf(struct build *b)
{
	insn_emit(b, TAINT_OP_UNION_ADD, INSN_FLAGS, insn_part(insn_gpr(RAX, 8), 1, 1), 0);
}

void rule_sysret(struct build *b)
{
	insn_emit(b, TAINT_OP_UNION, INSN_FLAGS, insn_gpr(R11, 8), 0);
}

void rule_sysexit(struct build *b)
{
	insn_copy(b, insn_gpr(RSP, 8), insn_gpr(RCX, 8));
}

void rule_xlat(struct build *b)
{
	insn_copy(b, insn_gpr(RAX, 1), loaded(1));
}

/* loop, loope, loopne: count down. */
void rule_counter(struct build *b)
{
	struct span d = insn_gpr(RCX, b->zi->address_width / 8u);

	insn_emit(b, TAINT_OP_CARRY, d, d, 0);
}

/* The decoder does not say that it reads the status word, which shares the label of all of the x87 state. */
void rule_fnstsw(struct build *b)
{
	insn_emit(b, TAINT_OP_UNION, INSN_LABEL, (struct span){TAINT_REG_MM, 128}, 0);
	insn_emit(b, TAINT_OP_UNION, insn_dst(b, &b->ops[0]), INSN_LABEL, 0);
}
