/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a compiled instruction says of memory: operands, constant changes, look-ups in tables, state areas. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "plugin/core/insn.h"
#include "test_insn.h"

struct place {
	const char *code;
	unsigned n; /* memory operands */
	struct taint_mem mem[2];
	unsigned written, delta_reg;
	int delta;
};

#define NONE TAINT_GPR_NONE
#define AT(base_, index_, scale_, seg_, size_, r_, w_, disp_)                                                          \
	{                                                                                                              \
		.base = (base_), .index = (index_), .scale = (scale_), .seg = (seg_), .size = (size_), .read = (r_),   \
		.written = (w_), .known = true, .disp = (disp_)                                                        \
	}

static const struct place places[] = {
	{"8b448b10", 1, {AT(3, 1, 4, NONE, 4, 1, 0, 16)}, 1 << 0, NONE, 0}, /* mov eax, [rbx+rcx*4+16] */
	{"65488b042528000000", 1, {AT(NONE, NONE, 1, 5, 8, 1, 0, 0x28)}, 1 << 0, NONE, 0}, /* mov rax, gs:[0x28] */
	{"488b0510000000", 1, {AT(16, NONE, 1, NONE, 8, 1, 0, 16)}, 1 << 0, NONE, 0}, /* mov rax, [rip+16] */
	{"014ff8", 1, {AT(7, NONE, 1, NONE, 4, 1, 1, -8)}, 0, NONE, 0}, /* add [rdi-8], ecx */
	{"50", 1, {AT(4, NONE, 1, NONE, 8, 0, 1, -8)}, 1 << 4, 4, -8}, /* push rax */
	{"6650", 1, {AT(4, NONE, 1, NONE, 2, 0, 1, -2)}, 1 << 4, 4, -2}, /* push ax */
	{"58", 1, {AT(4, NONE, 1, NONE, 8, 1, 0, 0)}, 1 << 0 | 1 << 4, 4, 8}, /* pop rax */
	{"5c", 1, {AT(4, NONE, 1, NONE, 8, 1, 0, 0)}, 1 << 4, NONE, 0}, /* pop rsp */
	{"ff7508",
	 2,
	 {AT(5, NONE, 1, NONE, 8, 1, 0, 8), AT(4, NONE, 1, NONE, 8, 0, 1, -8)},
	 1 << 4,
	 4,
	 -8}, /* push [rbp+8] */
	{"8f442408",
	 2,
	 {AT(4, NONE, 1, NONE, 8, 0, 1, 16), AT(4, NONE, 1, NONE, 8, 1, 0, 0)},
	 1 << 4,
	 4,
	 8}, /* pop [rsp+8] */
	{"678f442408",
	 2,
	 {AT(4, NONE, 1, NONE, 8, 0, 1, 16), AT(4, NONE, 1, NONE, 8, 1, 0, 0)},
	 1 << 4,
	 4,
	 8}, /* pop [esp+8] */
	{"e800000000", 1, {AT(4, NONE, 1, NONE, 8, 0, 1, -8)}, 1 << 4, 4, -8}, /* call */
	{"ff5308",
	 2,
	 {AT(3, NONE, 1, NONE, 8, 1, 0, 8), AT(4, NONE, 1, NONE, 8, 0, 1, -8)},
	 1 << 4,
	 4,
	 -8}, /* call [rbx+8] */
	{"c3", 1, {AT(4, NONE, 1, NONE, 8, 1, 0, 0)}, 1 << 4, 4, 8}, /* ret */
	{"c21000", 1, {AT(4, NONE, 1, NONE, 8, 1, 0, 0)}, 1 << 4, 4, 24}, /* ret 16 */
	{"c9", 1, {AT(5, NONE, 1, NONE, 8, 1, 0, 0)}, 1 << 4 | 1 << 5, NONE, 0}, /* leave */
	{"c8100000", 1, {AT(4, NONE, 1, NONE, 8, 0, 1, -8)}, 1 << 4 | 1 << 5, NONE, 0}, /* enter 16, 0 */
	{"a4",
	 2,
	 {AT(7, NONE, 1, NONE, 1, 0, 1, 0), AT(6, NONE, 1, NONE, 1, 1, 0, 0)},
	 1 << 6 | 1 << 7,
	 NONE,
	 0}, /* movsb */
	{"ff63f8", 1, {AT(3, NONE, 1, NONE, 8, 1, 0, -8)}, 0, NONE, 0}, /* jmp [rbx-8] */
	{"0f1803", 0, {{0}}, 0, NONE, 0}, /* prefetchnta [rbx] */
	{"488d4308", 0, {{0}}, 1 << 0, NONE, 0}, /* lea rax, [rbx+8] */
	{"488d5b08", 0, {{0}}, 1 << 3, 3, 8}, /* lea rbx, [rbx+8] */
	{"4883c3f0", 0, {{0}}, 1 << 3, 3, -16}, /* add rbx, -16 */
	{"4883eb10", 0, {{0}}, 1 << 3, 3, -16}, /* sub rbx, 16 */
	{"83c310", 0, {{0}}, 1 << 3, NONE, 0}, /* add ebx, 16 */
	{"32:83c310", 0, {{0}}, 1 << 3, 3, 16},
	{"49ffc0", 0, {{0}}, 1 << 8, 8, 1}, /* inc r8 */
	{"88dc", 0, {{0}}, 1 << 0, NONE, 0}, /* mov ah, bl */
	{"0fb0cb", 0, {{0}}, 1 << 0 | 1 << 3, NONE, 0}, /* cmpxchg bl, cl */
	{"0fa2", 0, {{0}}, 0xf, NONE, 0}, /* cpuid */
	{"32:50", 1, {AT(4, NONE, 1, 2, 4, 0, 1, -4)}, 1 << 4, 4, -4}, /* push eax */
	{"0fae23", 1, {AT(3, NONE, 1, NONE, 0, 0, 1, 0)}, 0, NONE, 0}, /* xsave [rbx] */
};

static void test_places(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		const struct place *p = &places[i];
		struct taint_insn in;

		compile_text(p->code, &in);
		if (in.n_mem != p->n || in.gpr_written != p->written || in.delta_reg != p->delta_reg ||
		    in.delta != p->delta)
			fail_msg("%s: %u operands, writes %x, %u by %d", p->code, in.n_mem, in.gpr_written,
				 in.delta_reg, in.delta);
		for (unsigned k = 0; k < p->n; k++)
			if (memcmp(&in.mem[k], &p->mem[k], sizeof(p->mem[k])))
				fail_msg("%s: operand %u: %u %u %u %u size %u disp %lld", p->code, k, in.mem[k].base,
					 in.mem[k].index, in.mem[k].scale, in.mem[k].seg, in.mem[k].size,
					 (long long)in.mem[k].disp);
	}
}

/* Operands that are not where the registers say, or not there once. */
static void test_unknown_places(void **state)
{
	static const char *const codes[] = {"f3a4", "0fa30b", "d7", "660ff7c1", "user:c4e269900488", "ff2b", "cb"};
	struct taint_insn in;

	(void)state;
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		bool known = true;

		compile_text(codes[i], &in);
		for (unsigned k = 0; k < in.n_mem; k++)
			known &= in.mem[k].known;
		if (!in.n_mem || (known && strcmp(codes[i], "ff2b")))
			fail_msg("%s is known", codes[i]);
	}
	compile_text("f3ae", &in); /* repe scasb */
	assert_int_equal(in.gpr_written, 1 << 1 | 1 << 7);
	compile_text("678b03", &in); /* mov eax, [ebx] */
	assert_true(in.addr32 && in.mem[0].known && in.mem[0].base == 3);
	compile_text("8b03", &in);
	assert_false(in.addr32);
}

static void test_lookup_label(void **state)
{
	static struct taint_vcpu v;
	struct taint_label mem[4] = {{0}, {.origin = 9}, {0}, {0}};
	struct taint_run run = {0};
	struct taint_insn in;

	(void)state;
	memset(&v, 0, sizeof(v));
	v.reg[TAINT_REG_GPR + 8 + 1] = 5; /* rcx */
	v.reg[TAINT_REG_GPR + 24 + 7] = 6; /* rbx: base, hence first */
	taint_vcpu_any(&v);
	compile_text("user:8b048b", &in); /* mov eax, [rbx+rcx*4] */
	taint_insn_load(&v, &run, &in, 0x1000, mem, 4);
	assert_int_equal(v.reg[0], 6 | TAINT_BY_INDEX);
	assert_int_equal(v.reg[1], 9);
	assert_int_equal(v.reg[3], 6 | TAINT_BY_INDEX);
	assert_int_equal(v.reg[4], 0);
}

static const struct taint_area_piece *piece_at(const struct taint_area_piece *p, unsigned n, unsigned at)
{
	for (unsigned i = 0; i < n; i++)
		if (at >= p[i].at && at < p[i].at + p[i].len)
			return &p[i];
	return NULL;
}

static void test_area_layout(void **state)
{
	struct taint_area_piece p[TAINT_AREA_PIECES];
	struct taint_insn in;
	unsigned n;

	(void)state;
	compile_text("480fae20", &in); /* xsave64 [rax] */
	assert_true(in.area == TAINT_AREA_SAVE && in.area_form == TAINT_AREA_X && !in.has_store && !in.has_load);
	n = taint_insn_area(&in, 7, p);
	assert_int_equal(piece_at(p, n, 160 + 16 * 15)->reg, TAINT_REG_YMM + 32 * 15);
	assert_int_equal(piece_at(p, n, 576 + 16 * 15)->reg, TAINT_REG_YMM + 32 * 15 + 16);
	assert_int_equal(piece_at(p, n, 32 + 16 * 7)->reg, TAINT_REG_MM + 16 * 7);
	assert_int_equal(piece_at(p, n, 24)->reg, TAINT_STORE_CLEAN);
	assert_null(piece_at(p, n, 512));
	n = taint_insn_area(&in, 4, p);
	assert_null(piece_at(p, n, 160));
	assert_non_null(piece_at(p, n, 576));
	compile_text("0fae08", &in); /* fxrstor [rax] */
	assert_true(in.area == TAINT_AREA_RESTORE && in.area_form == TAINT_AREA_FX && !in.n_ops);
	n = taint_insn_area(&in, 0, p);
	assert_non_null(piece_at(p, n, 160));
	assert_null(piece_at(p, n, 512));
	compile_text("32:0fae08", &in);
	n = taint_insn_area(&in, 0, p);
	assert_null(piece_at(p, n, 160 + 16 * 8));
	compile_text("66dd30", &in); /* fnsave, 16-bit */
	n = taint_insn_area(&in, 0, p);
	assert_int_equal(piece_at(p, n, 14 + 70)->reg, TAINT_REG_MM + 16 * 7);
	compile_text("90", &in);
	assert_int_equal(taint_insn_area(&in, 7, p), 0);
}

static void test_area_labels(void **state)
{
	static struct taint_vcpu v;
	struct taint_area_piece p[TAINT_AREA_PIECES];
	struct taint_label labels[64] = {{0}};
	struct taint_insn save, restore;
	unsigned n;

	(void)state;
	memset(&v, 0, sizeof(v));
	compile_text("0fae20", &save);
	compile_text("0fae28", &restore); /* xrstor [rax] */
	v.reg[TAINT_REG_YMM + 32 * 2 + 20] = v.reg[TAINT_REG_MM + 3] = 8;
	taint_vcpu_any(&v);
	n = taint_insn_area(&save, 7, p);
	assert_true(taint_insn_area_save(&v, piece_at(p, n, 576 + 32), labels));
	assert_int_equal(labels[4].origin, 8);
	assert_int_equal(labels[3].origin, 0);
	assert_false(taint_insn_area_save(&v, piece_at(p, n, 160 + 32), labels));
	assert_true(taint_insn_area_save(&v, piece_at(p, n, 32 + 16 * 7), labels));
	taint_insn_area_clear(&v, &restore, 4);
	assert_int_equal(v.reg[TAINT_REG_YMM + 32 * 2 + 20], 0);
	assert_int_equal(v.reg[TAINT_REG_MM + 3], 8);
	taint_insn_area_clear(&v, &restore, 7);
	assert_false(taint_vcpu_any(&v));
	memset(labels, 0, sizeof(labels));
	labels[1].origin = 6;
	assert_true(taint_insn_area_load(&v, piece_at(p, n, 160), labels));
	assert_int_equal(v.reg[TAINT_REG_YMM + 1], 6);
	assert_int_equal(v.reg[TAINT_REG_YMM], 0);
	taint_insn_area_load(&v, piece_at(p, n, 32), labels);
	assert_int_equal(v.reg[TAINT_REG_MM + 127], 6);
}

/* One operand that is read and written; a copy from memory to memory has two. */
static void test_updates(void **state)
{
	static const struct {
		const char *code;
		bool updates;
	} cases[] = {
		{"0103", true}, /* add [rbx], eax */
		{"f00fc103", true}, /* lock xadd [rbx], eax */
		{"8703", true}, /* xchg [rbx], eax */
		{"f00fb10b", true}, /* lock cmpxchg [rbx], ecx */
		{"a4", false}, /* movsb */
		{"f3a4", false}, /* rep movsb */
		{"ff33", false}, /* push [rbx] */
		{"0303", false}, /* add eax, [rbx] */
		{"8903", false}, /* mov [rbx], eax */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct taint_insn in;

		compile_text(cases[i].code, &in);
		assert_int_equal(in.updates, cases[i].updates);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_places),	     cmocka_unit_test(test_unknown_places),
		cmocka_unit_test(test_lookup_label), cmocka_unit_test(test_area_layout),
		cmocka_unit_test(test_area_labels),  cmocka_unit_test(test_updates),
	};

	return cmocka_run_group_tests_name("insn_mem", tests, NULL, NULL);
}
