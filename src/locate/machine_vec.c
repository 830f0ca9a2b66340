/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Instructions on vector registers: SSE, and AVX where it does the same with more operands. */
#include <string.h>

#include "locate/machine_internal.h"

#define M(name) ZYDIS_MNEMONIC_##name
#define LANE 16u /* bytes */

struct vec {
	uint8_t b[MACHINE_VEC];
};

static bool is_vex(const struct x86_insn *in)
{
	return in->i.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;
}

/* The number of a vector register; false: it is another kind. */
static bool vector_number(const ZydisDecodedOperand *op, unsigned *ret)
{
	ZydisRegister r = op->reg.value;

	if (op->type != ZYDIS_OPERAND_TYPE_REGISTER)
		return false;
	if (r >= ZYDIS_REGISTER_XMM0 && r <= ZYDIS_REGISTER_XMM15)
		*ret = (unsigned)(r - ZYDIS_REGISTER_XMM0);
	else if (r >= ZYDIS_REGISTER_YMM0 && r <= ZYDIS_REGISTER_YMM15)
		*ret = (unsigned)(r - ZYDIS_REGISTER_YMM0);
	else
		return false;
	return true;
}

static unsigned size_of(const struct x86_insn *in, unsigned k)
{
	return in->op[k].size / 8;
}

static struct vec get(struct machine *m, const struct x86_insn *in, unsigned k)
{
	const ZydisDecodedOperand *op = &in->op[k];
	struct vec v = {0};
	unsigned n;

	if (vector_number(op, &n))
		memcpy(v.b, m->vec[n], MACHINE_VEC);
	else if (op->type == ZYDIS_OPERAND_TYPE_MEMORY && op->size / 8 <= MACHINE_VEC)
		machine_load_bytes(m, machine_address(m, in, op), v.b, op->size / 8);
	else
		m->bad = true;
	return v;
}

/* size bytes of operand k; AVX clears what is above them in a register. */
static void set(struct machine *m, const struct x86_insn *in, unsigned k, const struct vec *v, unsigned size)
{
	const ZydisDecodedOperand *op = &in->op[k];
	unsigned n;

	if (vector_number(op, &n)) {
		memcpy(m->vec[n], v->b, size);
		if (is_vex(in))
			memset(m->vec[n] + size, 0, MACHINE_VEC - size);
	} else if (op->type == ZYDIS_OPERAND_TYPE_MEMORY) {
		machine_store_bytes(m, machine_address(m, in, op), v->b, size);
	} else {
		m->bad = true;
	}
}

static uint64_t element(const struct vec *v, unsigned k, unsigned size)
{
	uint64_t e = 0;

	memcpy(&e, v->b + k * size, size);
	return e;
}

static void put_element(struct vec *v, unsigned k, unsigned size, uint64_t e)
{
	memcpy(v->b + k * size, &e, size);
}

/* With two operands the first is a source, too. */
static unsigned first_source(const struct x86_insn *in, unsigned visible)
{
	return in->i.operand_count_visible > visible ? 1 : 0;
}

static unsigned last_operand(const struct x86_insn *in)
{
	return in->i.operand_count_visible - 1u;
}

/* --- moves ----------------------------------------------------------------------------------------------- */

static void do_move(struct machine *m, const struct x86_insn *in, unsigned arg)
{
	struct vec v = get(m, in, 1);

	(void)arg;
	set(m, in, 0, &v, size_of(in, 0));
}

/* movd, movq: to or from the low bytes, with zeros above. */
static void do_move_low(struct machine *m, const struct x86_insn *in, unsigned size)
{
	struct vec v = {0};
	unsigned n;

	if (vector_number(&in->op[1], &n))
		memcpy(v.b, m->vec[n], size);
	else
		put_element(&v, 0, 8, machine_get(m, in, 1));
	if (vector_number(&in->op[0], &n))
		set(m, in, 0, &v, LANE);
	else
		machine_set(m, in, 0, element(&v, 0, size));
}

void machine_move_scalar(struct machine *m, const struct x86_insn *in, unsigned size)
{
	unsigned last = last_operand(in), n;
	struct vec v = get(m, in, last), to;

	if (!vector_number(&in->op[0], &n)) {
		set(m, in, 0, &v, size);
		return;
	}
	memset(&to, 0, sizeof(to));
	if (in->op[last].type != ZYDIS_OPERAND_TYPE_MEMORY)
		to = get(m, in, first_source(in, 2));
	memcpy(to.b, v.b, size);
	set(m, in, 0, &to, LANE);
}

/* Half of a register; arg: the first byte of that half. */
static void do_move_half(struct machine *m, const struct x86_insn *in, unsigned arg)
{
	unsigned last = last_operand(in), n;
	struct vec v = get(m, in, last), to;

	if (!vector_number(&in->op[0], &n)) {
		memmove(v.b, v.b + arg, 8);
		set(m, in, 0, &v, 8);
		return;
	}
	to = get(m, in, first_source(in, 2));
	if (in->op[last].type == ZYDIS_OPERAND_TYPE_REGISTER) /* movhlps, movlhps: the other half of the source */
		memcpy(to.b + arg, v.b + (8 - arg), 8);
	else
		memcpy(to.b + arg, v.b, 8);
	set(m, in, 0, &to, LANE);
}

static void do_broadcast(struct machine *m, const struct x86_insn *in, unsigned size)
{
	struct vec v = get(m, in, 1), r;

	for (unsigned k = 0; k < MACHINE_VEC / size; k++)
		memcpy(r.b + k * size, v.b, size);
	set(m, in, 0, &r, size_of(in, 0));
}

/* vinserti128, vextracti128: one lane. */
static void do_insert(struct machine *m, const struct x86_insn *in, unsigned arg)
{
	struct vec v = get(m, in, 1), lane = get(m, in, 2);

	(void)arg;
	memcpy(v.b + (in->op[3].imm.value.u & 1) * LANE, lane.b, LANE);
	set(m, in, 0, &v, MACHINE_VEC);
}

static void do_extract(struct machine *m, const struct x86_insn *in, unsigned arg)
{
	struct vec v = get(m, in, 1);

	(void)arg;
	memmove(v.b, v.b + (in->op[2].imm.value.u & 1) * LANE, LANE);
	set(m, in, 0, &v, LANE);
}

static void do_zero_upper(struct machine *m, const struct x86_insn *in, unsigned from)
{
	(void)in;
	for (unsigned k = 0; k < 16; k++)
		memset(m->vec[k] + from, 0, MACHINE_VEC - from);
}

/* --- element by element ---------------------------------------------------------------------------------- */

enum pair { AND, ANDN, OR, XOR, EQUAL, GREATER, LEAST, MOST, ADD, SUB, SUBS };
#define PAIR(what, size) ((unsigned)(what) << 8 | (size))

static int64_t as_signed(uint64_t v, unsigned size)
{
	return (int64_t)(v << (64 - 8 * size)) >> (64 - 8 * size);
}

static uint64_t pair(enum pair what, uint64_t a, uint64_t b, unsigned size)
{
	switch (what) {
	case AND:
		return a & b;
	case ANDN:
		return ~a & b;
	case OR:
		return a | b;
	case XOR:
		return a ^ b;
	case EQUAL:
		return a == b ? UINT64_MAX : 0;
	case GREATER:
		return as_signed(a, size) > as_signed(b, size) ? UINT64_MAX : 0;
	case LEAST:
		return a < b ? a : b;
	case MOST:
		return a > b ? a : b;
	case ADD:
		return a + b;
	case SUB:
		return a - b;
	case SUBS:
		return a > b ? a - b : 0;
	}
	return 0;
}

static void do_pair(struct machine *m, const struct x86_insn *in, unsigned arg)
{
	unsigned size = arg & 0xff, total = size_of(in, 0);
	struct vec a = get(m, in, first_source(in, 2)), b = get(m, in, last_operand(in)), r = {0};

	for (unsigned k = 0; k < total / size; k++)
		put_element(&r, k, size, pair((enum pair)(arg >> 8), element(&a, k, size), element(&b, k, size), size));
	set(m, in, 0, &r, total);
}

static void do_mask(struct machine *m, const struct x86_insn *in, unsigned arg)
{
	struct vec v = get(m, in, 1);
	uint64_t bits = 0;

	(void)arg;
	for (unsigned k = 0; k < size_of(in, 1); k++)
		bits |= (uint64_t)(v.b[k] >> 7) << k;
	machine_set(m, in, 0, bits);
}

static void do_test(struct machine *m, const struct x86_insn *in, unsigned arg)
{
	struct vec a = get(m, in, 0), b = get(m, in, 1);

	(void)arg;
	m->zf = m->cf = true;
	m->of = m->sf = m->pf = false;
	for (unsigned k = 0; k < size_of(in, 0); k++) {
		m->zf &= !(a.b[k] & b.b[k]);
		m->cf &= !(~a.b[k] & b.b[k] & 0xff);
	}
}

/* --- across a lane --------------------------------------------------------------------------------------- */

/* Whole lanes by bytes. arg: to the right */
static void do_shift_lane(struct machine *m, const struct x86_insn *in, unsigned arg)
{
	struct vec v = get(m, in, first_source(in, 2)), r = {0};
	uint64_t n = in->op[last_operand(in)].imm.value.u & 0xff;

	for (unsigned k = 0; k < size_of(in, 0); k++) {
		uint64_t from = arg ? k % LANE + n : k % LANE - n;

		if (from < LANE)
			r.b[k] = v.b[k / LANE * LANE + from];
	}
	set(m, in, 0, &r, size_of(in, 0));
}

static void do_align(struct machine *m, const struct x86_insn *in, unsigned arg)
{
	struct vec high = get(m, in, first_source(in, 3)), low = get(m, in, last_operand(in) - 1), r = {0};
	uint64_t n = in->op[last_operand(in)].imm.value.u & 0xff;

	(void)arg;
	for (unsigned k = 0; k < size_of(in, 0); k++) {
		uint64_t from = k % LANE + n;

		if (from < LANE)
			r.b[k] = low.b[k / LANE * LANE + from];
		else if (from < 2 * LANE)
			r.b[k] = high.b[k / LANE * LANE + from - LANE];
	}
	set(m, in, 0, &r, size_of(in, 0));
}

/* punpck: elements of both sources in turn. arg: size, and 0x100 for the upper half of each lane. */
static void do_unpack(struct machine *m, const struct x86_insn *in, unsigned arg)
{
	struct vec a = get(m, in, first_source(in, 2)), b = get(m, in, last_operand(in)), r = {0};
	unsigned size = arg & 0xff, half = arg >> 8 ? LANE / 2 : 0, total = size_of(in, 0);

	for (unsigned lane = 0; lane < total; lane += LANE) {
		for (unsigned k = 0; k < LANE / 2 / size; k++) {
			memcpy(r.b + lane + 2ul * k * size, a.b + lane + half + k * size, size);
			memcpy(r.b + lane + 2ul * k * size + size, b.b + lane + half + k * size, size);
		}
	}
	set(m, in, 0, &r, total);
}

static void do_shuffle_words(struct machine *m, const struct x86_insn *in, unsigned arg)
{
	struct vec v = get(m, in, 1), r = {0};
	uint64_t order = in->op[2].imm.value.u;

	(void)arg;
	for (unsigned k = 0; k < size_of(in, 0) / 4; k++)
		put_element(&r, k, 4, element(&v, k / 4 * 4 + (order >> 2 * (k % 4) & 3), 4));
	set(m, in, 0, &r, size_of(in, 0));
}

static void do_shuffle_bytes(struct machine *m, const struct x86_insn *in, unsigned arg)
{
	struct vec v = get(m, in, first_source(in, 2)), order = get(m, in, last_operand(in)), r = {0};

	(void)arg;
	for (unsigned k = 0; k < size_of(in, 0); k++)
		if (!(order.b[k] & 0x80))
			r.b[k] = v.b[k / LANE * LANE + order.b[k] % LANE];
	set(m, in, 0, &r, size_of(in, 0));
}

#define BOTH(name, run, arg)                                                                                           \
	{M(name), run, arg},                                                                                           \
	{                                                                                                              \
		M(V##name), run, arg                                                                                   \
	}

const struct machine_op machine_vec_ops[] = {
	BOTH(MOVDQU, do_move, 0),
	BOTH(MOVDQA, do_move, 0),
	BOTH(MOVUPS, do_move, 0),
	BOTH(MOVAPS, do_move, 0),
	BOTH(MOVUPD, do_move, 0),
	BOTH(MOVAPD, do_move, 0),
	BOTH(LDDQU, do_move, 0),
	BOTH(MOVNTDQ, do_move, 0),
	BOTH(MOVNTPS, do_move, 0),
	BOTH(MOVNTDQA, do_move, 0),
	BOTH(MOVD, do_move_low, 4),
	BOTH(MOVQ, do_move_low, 8),
	BOTH(MOVSS, machine_move_scalar, 4),
	{M(VMOVSD), machine_move_scalar, 8},
	BOTH(MOVLPS, do_move_half, 0),
	BOTH(MOVLPD, do_move_half, 0),
	BOTH(MOVHPS, do_move_half, 8),
	BOTH(MOVHPD, do_move_half, 8),
	BOTH(MOVHLPS, do_move_half, 0),
	BOTH(MOVLHPS, do_move_half, 8),
	{M(VPBROADCASTB), do_broadcast, 1},
	{M(VPBROADCASTW), do_broadcast, 2},
	{M(VPBROADCASTD), do_broadcast, 4},
	{M(VPBROADCASTQ), do_broadcast, 8},
	{M(VBROADCASTI128), do_broadcast, 16},
	{M(VBROADCASTF128), do_broadcast, 16},
	{M(VINSERTI128), do_insert, 0},
	{M(VINSERTF128), do_insert, 0},
	{M(VEXTRACTI128), do_extract, 0},
	{M(VEXTRACTF128), do_extract, 0},
	{M(VZEROUPPER), do_zero_upper, LANE},
	{M(VZEROALL), do_zero_upper, 0},
	BOTH(PAND, do_pair, PAIR(AND, 8)),
	BOTH(ANDPS, do_pair, PAIR(AND, 8)),
	BOTH(PANDN, do_pair, PAIR(ANDN, 8)),
	BOTH(POR, do_pair, PAIR(OR, 8)),
	BOTH(ORPS, do_pair, PAIR(OR, 8)),
	BOTH(PXOR, do_pair, PAIR(XOR, 8)),
	BOTH(XORPS, do_pair, PAIR(XOR, 8)),
	BOTH(PCMPEQB, do_pair, PAIR(EQUAL, 1)),
	BOTH(PCMPEQW, do_pair, PAIR(EQUAL, 2)),
	BOTH(PCMPEQD, do_pair, PAIR(EQUAL, 4)),
	BOTH(PCMPGTB, do_pair, PAIR(GREATER, 1)),
	BOTH(PMINUB, do_pair, PAIR(LEAST, 1)),
	BOTH(PMINUD, do_pair, PAIR(LEAST, 4)),
	BOTH(PMAXUB, do_pair, PAIR(MOST, 1)),
	BOTH(PADDB, do_pair, PAIR(ADD, 1)),
	BOTH(PADDD, do_pair, PAIR(ADD, 4)),
	BOTH(PADDQ, do_pair, PAIR(ADD, 8)),
	BOTH(PSUBB, do_pair, PAIR(SUB, 1)),
	BOTH(PSUBD, do_pair, PAIR(SUB, 4)),
	BOTH(PSUBUSB, do_pair, PAIR(SUBS, 1)),
	BOTH(PMOVMSKB, do_mask, 0),
	BOTH(PTEST, do_test, 0),
	BOTH(PSLLDQ, do_shift_lane, 0),
	BOTH(PSRLDQ, do_shift_lane, 1),
	BOTH(PALIGNR, do_align, 0),
	BOTH(PUNPCKLBW, do_unpack, 1),
	BOTH(PUNPCKLWD, do_unpack, 2),
	BOTH(PUNPCKLDQ, do_unpack, 4),
	BOTH(PUNPCKLQDQ, do_unpack, 8),
	BOTH(PUNPCKHBW, do_unpack, 0x101),
	BOTH(PUNPCKHWD, do_unpack, 0x102),
	BOTH(PUNPCKHDQ, do_unpack, 0x104),
	BOTH(PUNPCKHQDQ, do_unpack, 0x108),
	BOTH(PSHUFD, do_shuffle_words, 0),
	BOTH(PSHUFB, do_shuffle_bytes, 0),
};
const unsigned machine_n_vec_ops = sizeof(machine_vec_ops) / sizeof(machine_vec_ops[0]);
