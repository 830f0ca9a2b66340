/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Applies compiled instructions to the register shadow, each time they run.
 *
 * Every operation is a small function over two ranges of origins; it returns
 * the bitwise or of all labels of the destination, so that v->tainted can be kept mostly without looking
 * at the registers again. Source and destination may overlap only where they
 * are the same range, and the functions allow that. The commonest shapes have functions of
 * their own (insn_fast.c).
 */
#include "plugin/core/insn_ops.h"

#include <string.h>

#define SRC_MAX 128u
#define TAINT_REGISTERS ((1ull << 41) - 1)

typedef uint32_t op_fn(uint32_t *dst, const uint32_t *src, const struct taint_op *op, const struct taint_insn *in);

static uint32_t first_of(uint32_t a, uint32_t b)
{
	return a ? a : b;
}

static uint32_t first_in(const uint32_t *p, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (p[i])
			return p[i];
	return 0;
}

static uint32_t fill(uint32_t *dst, unsigned n, uint32_t label)
{
	for (unsigned i = 0; i < n; i++)
		dst[i] = label;
	return label;
}

static uint32_t op_clear(uint32_t *dst, const uint32_t *src, const struct taint_op *op, const struct taint_insn *in)
{
	(void)src;
	(void)in;
	return fill(dst, op->dst_len, 0);
}

static uint32_t copy_fill(uint32_t *dst, const uint32_t *src, const struct taint_op *op, uint32_t beyond)
{
	unsigned n = op->dst_len < op->src_len ? op->dst_len : op->src_len;
	uint32_t any = 0;

	if (dst <= src)
		for (unsigned i = 0; i < n; i++)
			any |= dst[i] = src[i];
	else
		for (unsigned i = n; i-- > 0;)
			any |= dst[i] = src[i];
	fill(dst + n, op->dst_len - n, beyond);
	return any | beyond;
}

static uint32_t op_copy(uint32_t *dst, const uint32_t *src, const struct taint_op *op, const struct taint_insn *in)
{
	(void)in;
	return copy_fill(dst, src, op, 0);
}

static uint32_t op_sext(uint32_t *dst, const uint32_t *src, const struct taint_op *op, const struct taint_insn *in)
{
	(void)in;
	return copy_fill(dst, src, op, op->dst_len > op->src_len ? src[op->src_len - 1] : 0);
}

static uint32_t op_merge(uint32_t *dst, const uint32_t *src, const struct taint_op *op, const struct taint_insn *in)
{
	uint32_t any = 0;

	(void)in;
	for (unsigned i = 0; i < op->dst_len; i++)
		any |= dst[i] = first_of(dst[i], i < op->src_len ? src[i] : 0);
	return any;
}

static uint32_t op_carry(uint32_t *dst, const uint32_t *src, const struct taint_op *op, const struct taint_insn *in)
{
	uint32_t below = 0;

	(void)in;
	for (unsigned i = 0; i < op->dst_len; i++) {
		dst[i] = first_of(first_of(dst[i], i < op->src_len ? src[i] : 0), below);
		below = first_of(below, dst[i]);
	}
	return below;
}

static uint32_t op_union(uint32_t *dst, const uint32_t *src, const struct taint_op *op, const struct taint_insn *in)
{
	(void)in;
	return fill(dst, op->dst_len, first_in(src, op->src_len));
}

static uint32_t op_union_add(uint32_t *dst, const uint32_t *src, const struct taint_op *op, const struct taint_insn *in)
{
	uint32_t label = first_in(src, op->src_len), any = 0;

	(void)in;
	for (unsigned i = 0; i < op->dst_len; i++)
		any |= dst[i] = first_of(dst[i], label);
	return any;
}

/* The one operation that writes src too, hence not const there. */
static uint32_t op_swap(uint32_t *dst, const uint32_t *src, const struct taint_op *op, const struct taint_insn *in)
{
	uint32_t *other = dst - op->dst + op->src;
	uint32_t any = 0;

	(void)in;
	(void)src;
	for (unsigned i = 0; i < op->dst_len; i++) {
		uint32_t t = dst[i];

		dst[i] = other[i];
		other[i] = t;
		any |= dst[i] | t;
	}
	return any;
}

static uint32_t op_reverse(uint32_t *dst, const uint32_t *src, const struct taint_op *op, const struct taint_insn *in)
{
	uint32_t t[SRC_MAX], any = 0;

	(void)in;
	memcpy(t, src, op->src_len * sizeof(*t));
	for (unsigned i = 0; i < op->dst_len; i++)
		any |= dst[i] = i < op->src_len ? t[op->src_len - 1u - i] : 0;
	return any;
}

/* Label of the bits first..first+7 of a number of n bytes with labels t; bits outside are clean. */
static uint32_t bits_label(const uint32_t *t, unsigned n, int first)
{
	int low = first >= 0 ? first / 8 : -((7 - first) / 8);
	uint32_t a = low >= 0 && low < (int)n ? t[low] : 0;

	if (first % 8 == 0)
		return a;
	return first_of(a, low + 1 >= 0 && low + 1 < (int)n ? t[low + 1] : 0);
}

static uint32_t op_shift(uint32_t *dst, const uint32_t *src, const struct taint_op *op, const struct taint_insn *in)
{
	uint32_t t[SRC_MAX], any = 0;

	(void)in;
	memcpy(t, src, op->src_len * sizeof(*t));
	for (unsigned i = 0; i < op->dst_len; i++)
		any |= dst[i] = bits_label(t, op->src_len, (int)i * 8 - op->arg);
	return any;
}

static uint32_t op_elem_shift(uint32_t *dst, const uint32_t *src, const struct taint_op *op,
			      const struct taint_insn *in)
{
	struct taint_op each = *op;
	uint32_t any = 0;

	each.dst_len = op->src_len;
	for (unsigned e = 0; e + op->src_len <= op->dst_len; e += op->src_len)
		any |= op_shift(dst + e, src + e, &each, in);
	return any;
}

static uint32_t op_sar(uint32_t *dst, const uint32_t *src, const struct taint_op *op, const struct taint_insn *in)
{
	uint32_t sign = src[op->src_len - 1], any = 0;
	uint32_t t[SRC_MAX];

	(void)in;
	memcpy(t, src, op->src_len * sizeof(*t));
	for (unsigned i = 0; i < op->dst_len; i++) {
		int bit = (int)i * 8 + op->arg;

		dst[i] = bits_label(t, op->src_len, bit);
		if (bit + 8 > op->src_len * 8)
			dst[i] = first_of(dst[i], sign);
		any |= dst[i];
	}
	return any;
}

static uint32_t op_elem_sar(uint32_t *dst, const uint32_t *src, const struct taint_op *op, const struct taint_insn *in)
{
	struct taint_op each = *op;
	uint32_t any = 0;

	each.dst_len = op->src_len;
	for (unsigned e = 0; e + op->src_len <= op->dst_len; e += op->src_len)
		any |= op_sar(dst + e, src + e, &each, in);
	return any;
}

static uint32_t op_rol(uint32_t *dst, const uint32_t *src, const struct taint_op *op, const struct taint_insn *in)
{
	uint32_t t[SRC_MAX], any = 0;
	unsigned n = op->src_len, by = (unsigned)op->arg % (n * 8), q = by / 8;

	(void)in;
	memcpy(t, src, n * sizeof(*t));
	for (unsigned i = 0; i < op->dst_len; i++) {
		dst[i] = t[(i + n - q) % n];
		if (by % 8)
			dst[i] = first_of(dst[i], t[(i + 2 * n - q - 1) % n]);
		any |= dst[i];
	}
	return any;
}

static uint32_t op_permute(uint32_t *dst, const uint32_t *src, const struct taint_op *op, const struct taint_insn *in)
{
	uint32_t t[SRC_MAX], any = 0;

	memcpy(t, src, op->src_len * sizeof(*t));
	for (unsigned i = 0; i < op->dst_len; i++)
		any |= dst[i] = in->perm[i] < op->src_len ? t[in->perm[i]] : 0;
	return any;
}

static uint32_t op_elem(uint32_t *dst, const uint32_t *src, const struct taint_op *op, const struct taint_insn *in)
{
	unsigned n = (unsigned)op->arg;
	uint32_t any = 0;

	(void)in;
	for (unsigned e = 0; e + n <= op->dst_len; e += n) {
		unsigned have = e < op->src_len ? (op->src_len - e < n ? op->src_len - e : n) : 0;
		uint32_t label = first_of(first_in(dst + e, n), first_in(src + e, have));

		for (unsigned i = 0; label && i < n; i++)
			dst[e + i] = first_of(first_of(dst[e + i], i < have ? src[e + i] : 0), label);
		any |= label;
	}
	return any;
}

static uint32_t op_clear_upper(uint32_t *dst, const uint32_t *src, const struct taint_op *op,
			       const struct taint_insn *in)
{
	(void)src;
	(void)in;
	for (int i = 0; i < op->arg; i++)
		fill(dst + i * 32 + 16, 16, 0);
	return 0;
}

static op_fn *const kernels[TAINT_OP_KINDS] = {
	[TAINT_OP_COPY] = op_copy,
	[TAINT_OP_SEXT] = op_sext,
	[TAINT_OP_MERGE] = op_merge,
	[TAINT_OP_CARRY] = op_carry,
	[TAINT_OP_UNION] = op_union,
	[TAINT_OP_UNION_ADD] = op_union_add,
	[TAINT_OP_CLEAR] = op_clear,
	[TAINT_OP_SWAP] = op_swap,
	[TAINT_OP_REVERSE] = op_reverse,
	[TAINT_OP_SHIFT] = op_shift,
	[TAINT_OP_SAR] = op_sar,
	[TAINT_OP_ROL] = op_rol,
	[TAINT_OP_PERMUTE] = op_permute,
	[TAINT_OP_ELEM] = op_elem,
	[TAINT_OP_CLEAR_UPPER] = op_clear_upper,
	[TAINT_OP_ELEM_SHIFT] = op_elem_shift,
	[TAINT_OP_ELEM_SAR] = op_elem_sar,
};

/* Where the registers of taint_vcpu.tainted lie in reg[]. */
static const struct {
	uint16_t at, len;
	uint8_t bit, count;
} files[] = {
	{TAINT_REG_GPR, 8, 0, 16},
	{TAINT_REG_FLAGS, 8, 16, 1},
	{TAINT_REG_YMM, 32, 17, 16},
	{TAINT_REG_MM, 16, 33, 8},
};

uint64_t taint_reg_bits(unsigned at, unsigned len)
{
	uint64_t bits = 0;

	for (size_t f = 0; f < sizeof(files) / sizeof(files[0]); f++)
		for (unsigned i = 0; len && i < files[f].count; i++) {
			unsigned start = files[f].at + i * files[f].len;

			if (at < start + files[f].len && start < at + len)
				bits |= 1ull << (files[f].bit + i);
		}
	return bits;
}

/* Looks at one register. */
static bool register_tainted(const struct taint_vcpu *v, unsigned bit)
{
	size_t f = 0;

	while (bit >= files[f].bit + files[f].count)
		f++;
	return first_in(v->reg + files[f].at + (bit - files[f].bit) * files[f].len, files[f].len) != 0;
}

void insn_look_over(struct taint_vcpu *v, uint64_t bits)
{
	uint64_t tainted = v->tainted & ~bits;

	for (; bits; bits &= bits - 1) {
		unsigned bit = (unsigned)__builtin_ctzll(bits);

		tainted |= (uint64_t)register_tainted(v, bit) << bit;
	}
	v->tainted = tainted;
}

void insn_any_op(struct taint_vcpu *v, const struct taint_op *op, const struct taint_insn *in)
{
	uint32_t wrote = kernels[op->kind](v->reg + op->dst, v->reg + op->src, op, in);

	fill(v->reg + op->dst + op->dst_len, op->clears, 0);
	if (!(op->writes & (op->writes - 1)))
		insn_mark(v, op, wrote);
	else if (wrote || (v->tainted & op->writes))
		insn_look_over(v, op->writes);
}

static void run_ops(struct taint_vcpu *v, const struct taint_insn *in)
{
	for (unsigned i = 0; i < in->n_ops; i++)
		in->op[i].fn(v, &in->op[i], in);
}

void taint_insn_begin(struct taint_run *run)
{
	memset(run, 0, sizeof(*run));
}

/* What it stores goes through scratch, where its operations put it; not data that it loaded. */
static bool stores_scratch(const struct taint_insn *in)
{
	return in->has_store && !in->has_load && in->store_src >= TAINT_REG_TMP && in->store_src != TAINT_STORE_CLEAN;
}

/* What is stored from scratch must be there, tainted or not. */
bool taint_insn_exec(struct taint_vcpu *v, const struct taint_insn *in)
{
	if (!v->tainted && !stores_scratch(in))
		return false;
	run_ops(v, in);
	return v->tainted != 0;
}

static uint32_t labels_any(const struct taint_label *labels, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (labels[i].origin)
			return labels[i].origin;
	return 0;
}

/* The label that a look-up gives to clean data: the first one of the registers that make its address. */
static uint32_t lookup_label(const struct taint_vcpu *v, const struct taint_insn *in)
{
	for (unsigned i = 0; v->tainted && i < in->n_by_index; i++) {
		uint32_t label = first_in(v->reg + in->by_index[i].at, in->by_index[i].len);

		if (label)
			return label | TAINT_BY_INDEX;
	}
	return 0;
}

/* The amount is not known: one label for the whole read, operations that only add. */
static bool load_piece(struct taint_vcpu *v, struct taint_run *run, const struct taint_insn *in, uint32_t label)
{
	run->load_done = 0;
	v->reg[TAINT_REG_TMP] = label;
	run->loaded = in;
	run_ops(v, in);
	return v->tainted != 0;
}

/* Where in the operand this access lies: behind the ones before it, if it carries on from them. */
static unsigned load_offset(const struct taint_run *run, const struct taint_insn *in, uint64_t addr, unsigned n)
{
	if (!run->load_done || run->loaded != in || run->load_done + n > in->load_len)
		return 0;
	if (!in->needs_begin && addr != run->load_base + run->load_done)
		return 0;
	return run->load_done;
}

bool taint_insn_load(struct taint_vcpu *v, struct taint_run *run, const struct taint_insn *in, uint64_t addr,
		     const struct taint_label *labels, unsigned n)
{
	uint32_t *tmp = v->reg + TAINT_REG_TMP;
	uint32_t label = labels_any(labels, n), lookup;
	unsigned at;

	if (!in->has_load)
		return v->tainted != 0;
	if (!label && !v->tainted && n >= in->load_len && in->load_len) {
		run->loaded = NULL;
		run->load_done = 0;
		return false;
	}
	lookup = lookup_label(v, in);
	if (!in->load_len)
		return load_piece(v, run, in, first_of(label, lookup));
	at = load_offset(run, in, addr, n);
	if (!at)
		run->load_base = addr;
	for (unsigned i = 0; i < n && at + i < in->load_len; i++)
		tmp[at + i] = first_of(labels[i].origin, lookup);
	run->loaded = in;
	if (at + n < in->load_len) {
		fill(tmp + at + n, in->load_len - at - n, 0);
		run->load_done = at + n;
		return v->tainted != 0;
	}
	run->load_done = 0;
	run_ops(v, in);
	return v->tainted != 0;
}

void taint_insn_loaded(struct taint_vcpu *v, struct taint_run *run, const struct taint_insn *in)
{
	uint32_t *tmp = v->reg + TAINT_REG_TMP;
	uint32_t lookup = in->n_by_index ? lookup_label(v, in) : 0;

	for (unsigned i = 0; lookup && i < in->load_len; i++)
		tmp[i] = first_of(tmp[i], lookup);
	run->loaded = in;
	run->load_done = 0;
	run_ops(v, in);
}

/* Index into reg[] of the first stored byte's label; TAINT_STORE_CLEAN if there is nothing but clean. */
static unsigned store_source(const struct taint_vcpu *v, const struct taint_run *run, const struct taint_insn *in,
			     unsigned at)
{
	bool scratch = in->store_src >= TAINT_REG_TMP;

	if (!in->has_store || in->store_src == TAINT_STORE_CLEAN)
		return TAINT_STORE_CLEAN;
	if (in->has_load && scratch && run->loaded != in)
		return TAINT_STORE_CLEAN;
	if (!v->tainted && !scratch)
		return TAINT_STORE_CLEAN;
	return in->store_src + at;
}

static unsigned store_offset(const struct taint_run *run, const struct taint_insn *in, uint64_t addr, unsigned n)
{
	if (!run->store_done || run->storing != in || addr != run->store_base + run->store_done ||
	    run->store_done + n > in->store_len)
		return 0;
	return run->store_done;
}

/* Remembers how far the store has come; when it is complete the scratch data is used up. */
static void store_advance(struct taint_run *run, const struct taint_insn *in, uint64_t addr, unsigned at, unsigned n)
{
	if (!at)
		run->store_base = addr;
	run->storing = in;
	run->store_done = at + n < in->store_len ? at + n : 0;
	if (!run->store_done && in->store_len)
		run->loaded = NULL;
}

bool taint_insn_store(struct taint_vcpu *v, struct taint_run *run, const struct taint_insn *in, uint64_t addr,
		      struct taint_label *ret, unsigned n)
{
	unsigned at = in->store_len ? store_offset(run, in, addr, n) : 0;
	unsigned src = store_source(v, run, in, at);
	unsigned step = in->store_len ? 1 : 0;
	uint32_t any = 0;

	store_advance(run, in, addr, at, n);
	for (unsigned i = 0; i < n; i++) {
		bool known = src != TAINT_STORE_CLEAN && (!step || at + i < in->store_len);
		uint32_t origin = known ? v->reg[src + i * step] : 0;

		ret[i] = (struct taint_label){.origin = origin};
		any |= origin;
	}
	return any != 0;
}

const uint32_t *taint_insn_stored(const struct taint_vcpu *v, const struct taint_run *run, const struct taint_insn *in)
{
	unsigned src = store_source(v, run, in, 0);

	return src != TAINT_STORE_CLEAN && first_in(v->reg + src, in->store_len) ? v->reg + src : NULL;
}

void taint_insn_exchanged(const struct taint_vcpu *v, const struct taint_insn *in, struct taint_label *ret, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		ret[i] = (struct taint_label){.origin = i < in->store_len ? v->reg[in->exchange_src + i] : 0};
}

bool taint_vcpu_any(struct taint_vcpu *v)
{
	insn_look_over(v, TAINT_REGISTERS);
	return v->tainted != 0;
}
