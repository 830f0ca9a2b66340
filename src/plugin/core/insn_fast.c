/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The operations of the commonest shapes, with lengths known to the compiler, on four labels at once.
 *
 * What they do is what the functions of insn.c do, which stay the definition and do all other shapes; a test compares the
 * two. All of a source is read before anything is written, so source and destination may overlap in any way.
 */
#include "plugin/core/insn_ops.h"

#include <string.h>

#define LANES 4u

typedef uint32_t lanes __attribute__((vector_size(16)));
typedef uint64_t halves __attribute__((vector_size(16)));

/* Eight labels. */
struct word {
	lanes lo, hi;
};

#define INLINE static inline __attribute__((always_inline))

INLINE lanes get(const uint32_t *p)
{
	lanes v;

	memcpy(&v, p, sizeof(v));
	return v;
}

INLINE void put(uint32_t *p, lanes v)
{
	memcpy(p, &v, sizeof(v));
}

INLINE lanes zero(void)
{
	return (lanes){0};
}

INLINE lanes all(uint32_t label)
{
	return (lanes){label, label, label, label};
}

INLINE lanes first(lanes a, lanes b)
{
	return a | (b & (lanes)(a == zero()));
}

INLINE bool any(lanes v)
{
	halves h = (halves)v;

	return (h[0] | h[1]) != 0;
}

/* The first n labels, 1, 2, 4 or 8 of them; the others are clean. */
INLINE struct word word_get(const uint32_t *p, unsigned n)
{
	if (n == 8)
		return (struct word){get(p), get(p + LANES)};
	if (n == 4)
		return (struct word){get(p), zero()};
	return (struct word){(lanes){p[0], n == 2 ? p[1] : 0}, zero()};
}

/* Writes the first n labels, and cleans as many behind them as that (a multiple of 4, n being one too; or 0). */
INLINE bool word_put(uint32_t *p, struct word w, unsigned n, unsigned clears)
{
	if (n >= LANES)
		put(p, w.lo);
	if (n == 8)
		put(p + LANES, w.hi);
	else if (clears)
		put(p + n, zero());
	if (n >= LANES)
		return any(n == 8 ? w.lo | w.hi : w.lo);
	p[0] = w.lo[0];
	if (n == 2)
		p[1] = w.lo[1];
	return n == 2 ? (w.lo[0] | w.lo[1]) != 0 : w.lo[0] != 0;
}

INLINE struct word word_first(struct word a, struct word b)
{
	return (struct word){first(a.lo, b.lo), first(a.hi, b.hi)};
}

/* A label in each of the first n places but the first `from`. */
INLINE struct word word_fill(struct word w, uint32_t label, unsigned from, unsigned n)
{
	uint32_t t[8];

	put(t, w.lo);
	put(t + LANES, w.hi);
	for (unsigned i = from; i < n; i++)
		t[i] = label;
	return word_get(t, 8);
}

/* Every clean one gets the lowest label of those below it. */
INLINE struct word word_carry(struct word w, unsigned n)
{
	uint32_t t[8], below = 0;

	if (w.lo[0])
		return word_first(w, (struct word){all(w.lo[0]), all(w.lo[0])});
	if (!any(w.lo | w.hi))
		return w;
	put(t, w.lo);
	put(t + LANES, w.hi);
	for (unsigned i = 0; i < n; i++) {
		t[i] = t[i] ? t[i] : below;
		below = below ? below : t[i];
	}
	return word_get(t, n);
}

#define OP(name)                                                                                                       \
	INLINE void name(struct taint_vcpu *v, const struct taint_op *op, unsigned d, unsigned s, unsigned clears)

OP(do_copy)
{
	insn_mark(v, op, word_put(v->reg + op->dst, word_get(v->reg + op->src, s), d, clears));
}

OP(do_sext)
{
	struct word w = word_get(v->reg + op->src, s);

	insn_mark(v, op, word_put(v->reg + op->dst, word_fill(w, v->reg[op->src + s - 1], s, d), d, clears));
}

OP(do_merge)
{
	uint32_t *dst = v->reg + op->dst;

	insn_mark(v, op, word_put(dst, word_first(word_get(dst, d), word_get(v->reg + op->src, s)), d, clears));
}

OP(do_carry)
{
	uint32_t *dst = v->reg + op->dst;
	struct word w = word_first(word_get(dst, d), word_get(v->reg + op->src, s));

	insn_mark(v, op, word_put(dst, word_carry(w, d), d, clears));
}

OP(do_clear)
{
	(void)s;
	insn_mark(v, op, word_put(v->reg + op->dst, (struct word){zero(), zero()}, d, clears));
}

/* The lowest label of the source. */
INLINE uint32_t lowest(const uint32_t *p, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (p[i])
			return p[i];
	return 0;
}

OP(do_union)
{
	uint32_t label = lowest(v->reg + op->src, s);

	insn_mark(v, op, word_put(v->reg + op->dst, (struct word){all(label), all(label)}, d, clears));
}

OP(do_union_add)
{
	uint32_t *dst = v->reg + op->dst, label = lowest(v->reg + op->src, s);

	insn_mark(v, op, word_put(dst, word_first(word_get(dst, d), (struct word){all(label), all(label)}), d, clears));
}

/* The labels of a 32-bit number, n places further up, clean ones from below. */
INLINE lanes up(lanes v, unsigned n)
{
	switch (n) {
	case 0:
		return v;
	case 1:
		return __builtin_shufflevector(v, zero(), 4, 0, 1, 2);
	case 2:
		return __builtin_shufflevector(v, zero(), 4, 4, 0, 1);
	case 3:
		return __builtin_shufflevector(v, zero(), 4, 4, 4, 0);
	default:
		return zero();
	}
}

/* The same down. */
INLINE lanes down(lanes v, unsigned n)
{
	switch (n) {
	case 0:
		return v;
	case 1:
		return __builtin_shufflevector(v, zero(), 1, 2, 3, 4);
	case 2:
		return __builtin_shufflevector(v, zero(), 2, 3, 4, 4);
	case 3:
		return __builtin_shufflevector(v, zero(), 3, 4, 4, 4);
	default:
		return zero();
	}
}

/* Around. */
INLINE lanes around(lanes v, unsigned n)
{
	return up(v, n % LANES) | down(v, LANES - n % LANES);
}

/* All ones if the number of bits is not one of whole bytes. */
INLINE lanes parts(const struct taint_op *op)
{
	return all(op->arg % 8 ? UINT32_MAX : 0);
}

INLINE void put_number(struct taint_vcpu *v, const struct taint_op *op, lanes w)
{
	insn_mark(v, op, word_put(v->reg + op->dst, (struct word){w, zero()}, 4, 4));
}

/* By n bytes and perhaps some bits: two bytes meet in each. */
INLINE void do_left(struct taint_vcpu *v, const struct taint_op *op, unsigned n)
{
	lanes src = get(v->reg + op->src);

	put_number(v, op, first(up(src, n + 1) & parts(op), up(src, n)));
}

INLINE void do_right(struct taint_vcpu *v, const struct taint_op *op, unsigned n)
{
	lanes src = get(v->reg + op->src);

	put_number(v, op, first(down(src, n), down(src, n + 1) & parts(op)));
}

INLINE void do_rol(struct taint_vcpu *v, const struct taint_op *op, unsigned n)
{
	lanes src = get(v->reg + op->src);

	put_number(v, op, first(around(src, n), around(src, n + 1) & parts(op)));
}

/* Shifts of 64-bit numbers: read from a place among clean labels. */
#define WORD 8
static void shift_word(struct taint_vcpu *v, const struct taint_op *op, const struct taint_insn *in)
{
	int bits = (int)op->arg, whole = (bits < 0 ? -bits : bits) / 8;
	uint32_t t[3 * WORD + 1] = {0};
	const uint32_t *at = t + WORD + (bits < 0 ? whole : -whole - (bits % 8 != 0));
	struct word w;

	(void)in;
	memcpy(t + WORD, v->reg + op->src, WORD * sizeof(*t));
	w = word_get(at, WORD);
	if (bits % 8)
		w = word_first(w, word_get(at + 1, WORD));
	insn_mark(v, op, word_put(v->reg + op->dst, w, WORD, 0));
}

/* X(operation, destination, source, cleaned behind it) */
#define SHAPES(X)                                                                                                      \
	X(COPY, copy, 8, 8, 0)                                                                                         \
	X(COPY, copy, 4, 4, 4)                                                                                         \
	X(COPY, copy, 4, 4, 0)                                                                                         \
	X(COPY, copy, 4, 2, 4)                                                                                         \
	X(COPY, copy, 4, 1, 4)                                                                                         \
	X(COPY, copy, 8, 2, 0)                                                                                         \
	X(COPY, copy, 8, 1, 0)                                                                                         \
	X(COPY, copy, 2, 2, 0)                                                                                         \
	X(COPY, copy, 1, 1, 0)                                                                                         \
	X(SEXT, sext, 8, 4, 0)                                                                                         \
	X(SEXT, sext, 8, 1, 0)                                                                                         \
	X(SEXT, sext, 4, 2, 4)                                                                                         \
	X(SEXT, sext, 4, 1, 4)                                                                                         \
	X(MERGE, merge, 8, 8, 0)                                                                                       \
	X(MERGE, merge, 4, 4, 4)                                                                                       \
	X(MERGE, merge, 4, 4, 0)                                                                                       \
	X(MERGE, merge, 2, 2, 0)                                                                                       \
	X(MERGE, merge, 1, 1, 0)                                                                                       \
	X(CARRY, carry, 8, 8, 0)                                                                                       \
	X(CARRY, carry, 4, 4, 4)                                                                                       \
	X(CARRY, carry, 4, 4, 0)                                                                                       \
	X(CARRY, carry, 2, 2, 0)                                                                                       \
	X(CARRY, carry, 1, 1, 0)                                                                                       \
	X(CLEAR, clear, 8, 0, 0)                                                                                       \
	X(CLEAR, clear, 4, 0, 4)                                                                                       \
	X(CLEAR, clear, 4, 0, 0)                                                                                       \
	X(CLEAR, clear, 2, 0, 0)                                                                                       \
	X(CLEAR, clear, 1, 0, 0)                                                                                       \
	X(UNION, union, 8, 1, 0)                                                                                       \
	X(UNION, union, 4, 1, 4)                                                                                       \
	X(UNION, union, 1, 8, 0)                                                                                       \
	X(UNION, union, 1, 4, 0)                                                                                       \
	X(UNION, union, 1, 2, 0)                                                                                       \
	X(UNION, union, 1, 1, 0)                                                                                       \
	X(UNION_ADD, union_add, 1, 8, 0)                                                                               \
	X(UNION_ADD, union_add, 1, 4, 0)                                                                               \
	X(UNION_ADD, union_add, 1, 2, 0)                                                                               \
	X(UNION_ADD, union_add, 1, 1, 0)

#define SHAPE_FN(kind, name, d, s, clears)                                                                             \
	static void name##_##d##_##s##_##clears(struct taint_vcpu *v, const struct taint_op *op,                       \
						const struct taint_insn *in)                                           \
	{                                                                                                              \
		(void)in;                                                                                              \
		do_##name(v, op, d, s, clears);                                                                        \
	}
SHAPES(SHAPE_FN)

#define SHAPE_ROW(kind, name, d, s, clears) {TAINT_OP_##kind, d, s, clears, name##_##d##_##s##_##clears},
static const struct {
	uint8_t kind, dst_len, src_len, clears;
	taint_op_fn *fn;
} shapes[] = {SHAPES(SHAPE_ROW)};

/* Shifts and rotations of a 32-bit register by whole bytes and what is left of bits: X(name, whole bytes) */
#define MOVES(X, name) X(name, 0) X(name, 1) X(name, 2) X(name, 3)
#define MOVE_FN(name, n)                                                                                               \
	static void name##_##n(struct taint_vcpu *v, const struct taint_op *op, const struct taint_insn *in)           \
	{                                                                                                              \
		(void)in;                                                                                              \
		do_##name(v, op, n);                                                                                   \
	}
MOVES(MOVE_FN, left)
MOVES(MOVE_FN, right)
MOVES(MOVE_FN, rol)

#define MOVE_ROW(name, n) name##_##n,
static taint_op_fn *const lefts[] = {MOVES(MOVE_ROW, left)};
static taint_op_fn *const rights[] = {MOVES(MOVE_ROW, right)};
static taint_op_fn *const rols[] = {MOVES(MOVE_ROW, rol)};

/* The function for a move of bits; NULL: none. */
static taint_op_fn *find_move(const struct taint_op *op)
{
	bool half = op->dst_len == 4 && op->src_len == 4 && op->clears == 4;
	unsigned whole = (unsigned)(op->arg < 0 ? -op->arg : op->arg) / 8;

	if (op->kind == TAINT_OP_SHIFT && op->dst_len == WORD && op->src_len == WORD && !op->clears && whole < WORD)
		return shift_word;
	if (!half || whole >= LANES)
		return NULL;
	if (op->kind == TAINT_OP_ROL)
		return op->arg >= 0 ? rols[whole] : NULL;
	return op->arg < 0 ? rights[whole] : lefts[whole];
}

taint_op_fn *insn_fast(const struct taint_op *op)
{
	if (op->kind == TAINT_OP_SHIFT || op->kind == TAINT_OP_ROL)
		return find_move(op);
	if (op->writes & (op->writes - 1))
		return NULL;
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
		if (op->kind == shapes[i].kind && op->dst_len == shapes[i].dst_len &&
		    op->src_len == shapes[i].src_len && op->clears == shapes[i].clears)
			return shapes[i].fn;
	return NULL;
}
