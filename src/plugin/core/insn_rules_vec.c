/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Rules of the vector instructions up to AVX2.
 *
 * Most fit one of three forms: every element of the result depends on the same
 * elements of the sources (rule_elem), the lowest element only (rule_scalar),
 * or the bytes are moved around in a way that the immediate fixes (the rest:
 * they fill insn->perm). In perm, 0..31 are bytes of the first source, 32..63
 * of the second, NOTHING a zero.
 */
#include "plugin/core/insn_internal.h"

#include <string.h>

#define NOTHING 0xffu
#define SECOND 32u
#define VSHIFT_RIGHT 1u
#define VSHIFT_SAR 2u

static unsigned vector_len(const ZydisDecodedOperand *op)
{
	switch (ZydisRegisterGetClass(op->reg.value)) {
	case ZYDIS_REGCLASS_MMX:
		return 8;
	case ZYDIS_REGCLASS_YMM:
		return 32;
	default:
		return 16;
	}
}

static bool is_vector(const ZydisDecodedOperand *op)
{
	ZydisRegisterClass c;

	if (op->type != ZYDIS_OPERAND_TYPE_REGISTER)
		return false;
	c = ZydisRegisterGetClass(op->reg.value);
	return c == ZYDIS_REGCLASS_MMX || c == ZYDIS_REGCLASS_XMM || c == ZYDIS_REGCLASS_YMM;
}

/* The operand's whole register, n bytes of it at most; loaded data as long as it is. */
static struct span whole(const struct build *b, const ZydisDecodedOperand *op, unsigned n)
{
	return is_vector(op) ? insn_reg_span(op->reg.value, n) : insn_low(insn_span(b, op), n);
}

static bool is_imm(const ZydisDecodedOperand *op)
{
	return op->type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
}

static unsigned imm_of(const struct build *b)
{
	return (unsigned)b->ops[b->zi->operand_count_visible - 1].imm.value.u & 0xffu;
}

/* The sources of a two-source instruction: operands 1 and 2, or 0 and 1 where there are but two. */
static const ZydisDecodedOperand *source1(const struct build *b)
{
	return &b->ops[insn_three(b) ? 1 : 0];
}

static const ZydisDecodedOperand *source2(const struct build *b)
{
	return &b->ops[insn_three(b) ? 2 : 1];
}

static void elem_op(struct build *b, struct span dst, struct span src)
{
	if (b->rule->a == 1)
		insn_emit(b, TAINT_OP_MERGE, dst, src, 0);
	else
		insn_emit(b, TAINT_OP_ELEM, dst, src, b->rule->a < dst.len ? b->rule->a : dst.len);
}

/* a: bytes of an element. */
void rule_elem(struct build *b)
{
	unsigned n = vector_len(&b->ops[0]), count = 0, first = 0;
	struct span dst = whole(b, &b->ops[0], n), src[4];

	if ((b->rule->flags & RULE_SAME_CLEAN) && insn_same_reg(source1(b), source2(b))) {
		insn_clear(b, dst);
		return;
	}
	for (unsigned i = 0; i < b->zi->operand_count && count < 4; i++) {
		const ZydisDecodedOperand *op = &b->ops[i];

		if (!insn_reads(op) || !(insn_is_mem(op) || is_vector(op)))
			continue;
		src[count] = whole(b, op, n);
		if (src[count].at == dst.at)
			first = count;
		count++;
	}
	if (!count) {
		insn_clear(b, dst);
		return;
	}
	insn_copy(b, dst, src[first]);
	for (unsigned i = 0; i < count; i++)
		if (i != first || count == 1)
			elem_op(b, dst, i == first ? dst : src[i]);
}

/* a: bytes of the element. The rest comes from the first source. */
void rule_scalar(struct build *b)
{
	const ZydisDecodedOperand *x = source1(b), *y = source2(b);
	struct span dst = whole(b, &b->ops[0], 16), low = insn_low(dst, b->rule->a);

	if (b->zi->meta.category == ZYDIS_CATEGORY_STRINGOP) {
		rule_cmps(b);
		return;
	}
	insn_emit(b, TAINT_OP_UNION, INSN_LABEL, insn_span(b, y), 0);
	if (!(b->rule->flags & RULE_UNARY))
		insn_emit(b, TAINT_OP_UNION_ADD, INSN_LABEL, insn_low(whole(b, x, 16), b->rule->a), 0);
	insn_copy(b, dst, whole(b, x, 16));
	insn_emit(b, TAINT_OP_UNION, low, INSN_LABEL, 0);
}

/* a: bytes of the element. Three sources, the rest stays. */
void rule_fma_scalar(struct build *b)
{
	struct span low = insn_low(whole(b, &b->ops[0], 16), b->rule->a);

	insn_union2(b, INSN_LABEL, low, insn_low(whole(b, &b->ops[1], 16), b->rule->a));
	insn_emit(b, TAINT_OP_UNION_ADD, INSN_LABEL, insn_low(whole(b, &b->ops[2], 16), b->rule->a), 0);
	insn_emit(b, TAINT_OP_UNION, low, INSN_LABEL, 0);
}

/* movss, movsd (also the string instruction of that name); a: bytes of the element. */
void rule_mov_scalar(struct build *b)
{
	struct span dst, low = INSN_TMP2_SPAN(b->rule->a);

	if (b->zi->meta.category == ZYDIS_CATEGORY_STRINGOP) {
		rule_movs(b);
		return;
	}
	if (!insn_three(b)) {
		rule_mov(b);
		return;
	}
	dst = whole(b, &b->ops[0], 16);
	insn_copy(b, low, insn_low(whole(b, &b->ops[2], 16), b->rule->a));
	insn_copy(b, dst, whole(b, &b->ops[1], 16));
	insn_copy(b, insn_low(dst, b->rule->a), low);
}

/* movlps, movhps and the like; a: where in the register, 0 or 8. */
void rule_mov_half(struct build *b)
{
	struct span dst;

	if (insn_is_mem(&b->ops[0])) {
		b->in->store_src = insn_part(whole(b, &b->ops[1], 16), b->rule->a, 8).at;
		return;
	}
	dst = whole(b, &b->ops[0], 16);
	insn_copy(b, dst, whole(b, source1(b), 16));
	insn_copy(b, insn_part(dst, b->rule->a, 8), insn_low(insn_span(b, source2(b)), 8));
}

/* Shift of each element by a constant. */
static void shift_elements(struct build *b, struct span dst, struct span src, unsigned by)
{
	unsigned size = b->rule->a, bits = size * 8;
	struct span element = {src.at, (uint8_t)size};

	if (b->rule->b == VSHIFT_SAR)
		insn_emit(b, TAINT_OP_ELEM_SAR, dst, element, (int)(by < bits ? by : bits - 1));
	else if (by >= bits)
		insn_clear(b, dst);
	else
		insn_emit(b, TAINT_OP_ELEM_SHIFT, dst, element, b->rule->b == VSHIFT_RIGHT ? -(int)by : (int)by);
}

/* Shift of each element by one count; a: bytes of an element, b: VSHIFT_*. */
void rule_vshift(struct build *b)
{
	unsigned n = vector_len(&b->ops[0]);
	const ZydisDecodedOperand *count = &b->ops[b->zi->operand_count_visible - 1];
	const ZydisDecodedOperand *x = &b->ops[b->zi->operand_count_visible == 3 ? 1 : 0];
	struct span dst = whole(b, &b->ops[0], n);

	if (is_imm(count)) {
		shift_elements(b, dst, whole(b, x, n), imm_of(b));
		return;
	}
	insn_emit(b, TAINT_OP_UNION, INSN_LABEL, insn_low(whole(b, count, 16), 8), 0);
	insn_copy(b, dst, whole(b, x, n));
	insn_emit(b, TAINT_OP_ELEM, dst, dst, b->rule->a);
	insn_emit(b, TAINT_OP_UNION_ADD, dst, INSN_LABEL, 0);
}

/* One bit of each element to a general register; a: bytes of an element. */
void rule_movmsk(struct build *b)
{
	unsigned n = vector_len(&b->ops[1]), bytes = (n / b->rule->a + 7u) / 8u;
	struct span d = insn_span(b, &b->ops[0]);

	insn_emit(b, TAINT_OP_UNION, insn_low(d, bytes), whole(b, &b->ops[1], n), 0);
	insn_clear(b, insn_part(d, bytes, d.len - bytes));
}

/* pinsr: a: bytes of the element. */
void rule_insert(struct build *b)
{
	unsigned n = vector_len(&b->ops[0]), size = b->rule->a, at = imm_of(b) % (n / size) * size;
	struct span dst = whole(b, &b->ops[0], n);

	insn_copy(b, dst, whole(b, source1(b), n));
	insn_copy(b, insn_part(dst, at, size), insn_low(insn_span(b, source2(b)), size));
}

/* pextr, vextract: a: bytes of the element. */
void rule_extract(struct build *b)
{
	unsigned n = vector_len(&b->ops[1]), size = b->rule->a, at = imm_of(b) % (n / size) * size;
	struct span src = insn_part(whole(b, &b->ops[1], n), at, size);

	if (insn_is_mem(&b->ops[0]))
		b->in->store_src = src.at;
	else
		insn_copy(b, insn_span(b, &b->ops[0]), src);
}

static unsigned lane_len(unsigned n)
{
	return n < 16 ? n : 16;
}

static void permute1(struct build *b, const ZydisDecodedOperand *x)
{
	unsigned n = vector_len(&b->ops[0]);

	insn_emit(b, TAINT_OP_PERMUTE, whole(b, &b->ops[0], n), whole(b, x, 32), 0);
}

static void permute2(struct build *b)
{
	unsigned n = vector_len(&b->ops[0]);
	struct span both = INSN_TMP2_SPAN(2 * SECOND);

	insn_copy(b, insn_part(both, 0, SECOND), whole(b, source1(b), n));
	insn_copy(b, insn_part(both, SECOND, SECOND), whole(b, source2(b), n));
	insn_emit(b, TAINT_OP_PERMUTE, whole(b, &b->ops[0], n), both, 0);
}

/* perm[to..to+n) = from, from + 1, ... */
static void place(struct build *b, unsigned to, unsigned from, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		b->in->perm[to + i] = (uint8_t)(from + i);
}

/* Interleaves elements of a bytes from the half of each lane that starts at half * its middle. */
static void unpack(struct build *b, unsigned half)
{
	unsigned n = vector_len(&b->ops[0]), lane = lane_len(n), size = b->rule->a;

	for (unsigned i = 0; i < n / size; i++) {
		unsigned base = i * size / lane * lane, j = i % (lane / size);
		unsigned from = base + half * lane / 2 + j / 2 * size;

		place(b, i * size, from + (j % 2 ? SECOND : 0), size);
	}
	permute2(b);
}

void rule_unpack_low(struct build *b)
{
	unpack(b, 0);
}

void rule_unpack_high(struct build *b)
{
	unpack(b, 1);
}

void rule_shufps(struct build *b)
{
	unsigned n = vector_len(&b->ops[0]), imm = imm_of(b);

	for (unsigned i = 0; i < n / 4; i++) {
		unsigned pick = imm >> (2 * (i % 4)) & 3u;

		place(b, i * 4, i / 4 * 16 + pick * 4 + (i % 4 >= 2 ? SECOND : 0), 4);
	}
	permute2(b);
}

void rule_shufpd(struct build *b)
{
	unsigned n = vector_len(&b->ops[0]), imm = imm_of(b);

	for (unsigned i = 0; i < n / 8; i++)
		place(b, i * 8, i / 2 * 16 + (imm >> i & 1u) * 8 + (i % 2 ? SECOND : 0), 8);
	permute2(b);
}

/* Elements of size bytes of the four at from in each lane of lane bytes, picked by two bits each; the rest stays. */
static void shuffle4(struct build *b, unsigned lane, unsigned from, unsigned size)
{
	unsigned n = vector_len(&b->ops[0]), imm = imm_of(b);

	place(b, 0, 0, n);
	for (unsigned base = from; base < n; base += lane)
		for (unsigned i = 0; i < 4; i++)
			place(b, base + i * size, base + (imm >> (2 * i) & 3u) * size, size);
	permute1(b, &b->ops[1]);
}

void rule_pshufd(struct build *b)
{
	shuffle4(b, 16, 0, 4);
}

void rule_pshuflw(struct build *b)
{
	shuffle4(b, 16, 0, 2);
}

void rule_pshufhw(struct build *b)
{
	shuffle4(b, 16, 8, 2);
}

void rule_pshufw(struct build *b)
{
	shuffle4(b, 8, 0, 2);
}

void rule_vpermq(struct build *b)
{
	if (is_imm(&b->ops[2]))
		shuffle4(b, 32, 0, 8);
	else
		rule_union(b);
}

/* With a register for control an element may be any of its lane. */
static bool control_is_data(struct build *b)
{
	static const struct insn_rule lanes = {rule_elem, TAINT_INSN_CONSERVATIVE, 16, 0, 0, ""};

	if (is_imm(&b->ops[2]))
		return false;
	b->rule = &lanes;
	b->in->cls = lanes.cls;
	rule_elem(b);
	return true;
}

void rule_vpermil_ps(struct build *b)
{
	if (!control_is_data(b))
		shuffle4(b, 16, 0, 4);
}

void rule_vpermil_pd(struct build *b)
{
	unsigned n = vector_len(&b->ops[0]), imm = imm_of(b);

	if (control_is_data(b))
		return;
	for (unsigned i = 0; i < n / 8; i++)
		place(b, i * 8, i / 2 * 16 + (imm >> i & 1u) * 8, 8);
	permute1(b, &b->ops[1]);
}

void rule_vperm2(struct build *b)
{
	unsigned imm = imm_of(b);

	for (unsigned i = 0; i < 2; i++) {
		unsigned pick = imm >> (4 * i);

		if (pick & 8u)
			memset(b->in->perm + i * 16, NOTHING, 16);
		else
			place(b, i * 16, (pick & 1u) * 16 + (pick & 2u ? SECOND : 0), 16);
	}
	permute2(b);
}

/* The two sources as one number, the first on top, shifted right by bytes, in each lane. */
void rule_palignr(struct build *b)
{
	unsigned n = vector_len(&b->ops[0]), lane = lane_len(n), imm = imm_of(b);

	for (unsigned i = 0; i < n; i++) {
		unsigned base = i / lane * lane, from = i % lane + imm;

		if (from < lane)
			b->in->perm[i] = (uint8_t)(SECOND + base + from);
		else
			b->in->perm[i] = (uint8_t)(from < 2 * lane ? base + from - lane : NOTHING);
	}
	permute2(b);
}

static void shift_bytes(struct build *b, int by)
{
	unsigned n = vector_len(&b->ops[0]);

	for (unsigned i = 0; i < n; i++) {
		int from = (int)(i % 16) - by;

		b->in->perm[i] = (uint8_t)(from >= 0 && from < 16 ? i / 16 * 16 + (unsigned)from : NOTHING);
	}
	permute1(b, &b->ops[b->zi->operand_count_visible - 2]);
}

void rule_bytes_left(struct build *b)
{
	shift_bytes(b, (int)imm_of(b));
}

void rule_bytes_right(struct build *b)
{
	shift_bytes(b, -(int)imm_of(b));
}

void rule_movhlps(struct build *b)
{
	place(b, 0, SECOND + 8, 8);
	place(b, 8, 8, 8);
	permute2(b);
}

void rule_movlhps(struct build *b)
{
	place(b, 0, 0, 8);
	place(b, 8, SECOND, 8);
	permute2(b);
}

/* Doubles every second element: a: bytes of an element, b: 0 the even ones, 1 the odd ones. */
void rule_dup(struct build *b)
{
	unsigned n = vector_len(&b->ops[0]), size = b->rule->a;

	for (unsigned i = 0; i < n / size; i++)
		place(b, i * size, (i / 2 * 2 + b->rule->b) * size, size);
	permute1(b, &b->ops[1]);
}

/* The immediate picks each element of a bytes from one of the sources (in each lane alike where it has but 8 bits). */
void rule_blend(struct build *b)
{
	unsigned n = vector_len(&b->ops[0]), size = b->rule->a, imm = imm_of(b);

	for (unsigned i = 0; i < n / size; i++)
		place(b, i * size, i * size + (imm >> (i % 8) & 1u ? SECOND : 0), size);
	permute2(b);
}

void rule_insertps(struct build *b)
{
	unsigned imm = imm_of(b), from = insn_is_mem(source2(b)) ? 0 : imm >> 6;

	place(b, 0, 0, 16);
	place(b, (imm >> 4 & 3u) * 4, SECOND + from * 4, 4);
	for (unsigned i = 0; i < 4; i++)
		if (imm >> i & 1u)
			memset(b->in->perm + 4 * i, NOTHING, 4);
	permute2(b);
}

/* a: bytes of what is repeated. */
void rule_broadcast(struct build *b)
{
	unsigned n = vector_len(&b->ops[0]);

	for (unsigned i = 0; i < n; i += b->rule->a)
		place(b, i, 0, b->rule->a);
	permute1(b, &b->ops[1]);
}

void rule_vinsert(struct build *b)
{
	place(b, 0, 0, 32);
	place(b, (imm_of(b) & 1u) * 16, SECOND, 16);
	permute2(b);
}

/* Widens elements of a bytes to b bytes; what is above repeats byte `top` of the element, NOTHING: zero. */
static void widen(struct build *b, bool sign)
{
	unsigned n = vector_len(&b->ops[0]), from = b->rule->a, to = b->rule->b;

	for (unsigned i = 0; i < n; i++) {
		unsigned at = i / to * from, k = i % to;

		if (k >= from && !sign)
			b->in->perm[i] = NOTHING;
		else
			b->in->perm[i] = (uint8_t)(at + (k < from ? k : from - 1));
	}
	permute1(b, &b->ops[1]);
}

void rule_pmovzx(struct build *b)
{
	widen(b, false);
}

void rule_pmovsx(struct build *b)
{
	widen(b, true);
}

static unsigned vector_registers(const struct build *b)
{
	return b->zi->machine_mode == ZYDIS_MACHINE_MODE_LONG_64 ? 16 : 8;
}

/* Bits of the destination stay, or move in it, though by the operand list it is only written. */
void rule_bit_field(struct build *b)
{
	struct span d = insn_span(b, &b->ops[0]);

	insn_emit(b, TAINT_OP_UNION, INSN_LABEL, d, 0);
	if (!is_imm(&b->ops[1]))
		insn_emit(b, TAINT_OP_UNION_ADD, INSN_LABEL, insn_span(b, &b->ops[1]), 0);
	insn_emit(b, TAINT_OP_UNION, d, INSN_LABEL, 0);
}

void rule_vzeroupper(struct build *b)
{
	insn_emit(b, TAINT_OP_CLEAR_UPPER, (struct span){TAINT_REG_YMM, 1}, (struct span){0, 0},
		  (int)vector_registers(b));
}

void rule_vzeroall(struct build *b)
{
	for (unsigned i = 0; i < vector_registers(b) / 4; i++)
		insn_clear(b, (struct span){(uint16_t)(TAINT_REG_YMM + 128 * i), 128});
}
