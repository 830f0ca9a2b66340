/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Operations of the commonest shapes do what the functions for any shape do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "plugin/core/insn_ops.h"

#define ROUNDS 200

static const uint8_t lengths[] = {0, 1, 2, 4, 8, 16};
#define LENGTHS (sizeof(lengths) / sizeof(lengths[0]))

static uint64_t seed = 1;

static uint32_t number(void)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(seed >> 33);
}

/* Few labels, many of them clean: as a whole, or here and there. */
static void fill(struct taint_vcpu *v)
{
	uint32_t density = number() % 4;

	memset(v, 0, sizeof(*v));
	for (unsigned i = 0; i < TAINT_REG_BYTES; i++)
		if (density && number() % 4 < density)
			v->reg[i] = 1 + number() % 9;
	taint_vcpu_any(v);
}

static void expect_same(const struct taint_op *op)
{
	static struct taint_vcpu slow, fast;

	for (int i = 0; i < ROUNDS; i++) {
		fill(&slow);
		fast = slow;
		insn_any_op(&slow, op, NULL);
		op->fn(&fast, op, NULL);
		assert_memory_equal(slow.reg, fast.reg, sizeof(slow.reg));
		assert_int_equal(slow.tainted, fast.tainted);
		taint_vcpu_any(&slow);
		assert_int_equal(slow.tainted, fast.tainted);
	}
}

/* With source and destination apart, the same, and one byte apart as %ah is. Returns whether there is a fast function. */
static bool try_shape(struct taint_op op)
{
	static const uint16_t sources[] = {24, 0, 1, TAINT_REG_TMP, TAINT_REG_YMM};

	op.writes = taint_reg_bits(op.dst, op.dst_len + op.clears);
	op.whole = op.dst_len + op.clears == 8;
	op.fn = insn_fast(&op);
	if (!op.fn)
		return false;
	for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
		op.src = sources[i];
		expect_same(&op);
	}
	return true;
}

static unsigned try_lengths(enum taint_op_kind kind, int arg)
{
	unsigned n = 0;

	for (size_t d = 1; d < LENGTHS; d++)
		for (size_t s = 0; s < LENGTHS; s++)
			for (unsigned clears = 0; clears <= 4; clears += 4)
				n += try_shape((struct taint_op){.kind = (uint8_t)kind,
								 .arg = (int8_t)arg,
								 .dst_len = lengths[d],
								 .src_len = lengths[s],
								 .clears = (uint8_t)clears});
	return n;
}

static void test_shapes(void **state)
{
	static const enum taint_op_kind kinds[] = {TAINT_OP_COPY,  TAINT_OP_SEXT,  TAINT_OP_MERGE,    TAINT_OP_CARRY,
						   TAINT_OP_CLEAR, TAINT_OP_UNION, TAINT_OP_UNION_ADD};

	(void)state;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		assert_true(try_lengths(kinds[i], 0) >= 4);
}

static void test_bits(void **state)
{
	(void)state;
	for (int bits = -63; bits < 64; bits++) {
		assert_true(try_lengths(TAINT_OP_SHIFT, bits) >= 1);
		if (bits > 0 && bits < 32)
			assert_int_equal(try_lengths(TAINT_OP_ROL, bits), 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shapes),
		cmocka_unit_test(test_bits),
	};

	return cmocka_run_group_tests_name("insn_fast", tests, NULL, NULL);
}
