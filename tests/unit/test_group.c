/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which accesses of a block are found to lie at a constant distance from which. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "plugin/core/group.h"
#include "test_insn.h"

#define INSNS_MAX 64

static struct taint_insn insns[INSNS_MAX];
static const struct taint_insn *in[INSNS_MAX];
static bool alone[INSNS_MAX];
static struct taint_place place[INSNS_MAX];
static struct taint_group group[TAINT_GROUPS];

/* A block as text: what compile_text() takes, with blanks between. Returns how many groups it has. */
static unsigned find(const char *block, bool shared, unsigned *ret_n)
{
	char copy[512], *rest = copy, *code;
	unsigned n = 0;

	assert_true(strlen(block) < sizeof(copy));
	strcpy(copy, block);
	while ((code = strsep(&rest, " "))) {
		assert_true(n < INSNS_MAX);
		compile_text(code, &insns[n]);
		in[n] = &insns[n];
		n++;
	}
	memset(group, 0x55, sizeof(group));
	if (ret_n)
		*ret_n = n;
	return taint_group(in, alone, n, shared, place, group);
}

/* place[] as text: "." nothing, "A" leads group 0, "a8" is a member of it 8 bytes behind. */
static const char *shape(unsigned n)
{
	static char text[512];
	size_t at = 0;

	text[0] = 0;
	for (unsigned i = 0; i < n; i++) {
		const struct taint_place *p = &place[i];

		if (p->group == TAINT_GROUP_NONE)
			at += (size_t)sprintf(text + at, "%s.", i ? " " : "");
		else if (p->leads)
			at += (size_t)sprintf(text + at, "%s%c", i ? " " : "", 'A' + p->group);
		else
			at += (size_t)sprintf(text + at, "%s%c%d", i ? " " : "", 'a' + p->group, p->distance);
	}
	return text;
}

struct block {
	const char *code, *shape;
};

static void check_blocks(const struct block *b, size_t n, bool shared)
{
	for (size_t i = 0; i < n; i++) {
		unsigned insn_count;

		find(b[i].code, shared, &insn_count);
		if (strcmp(shape(insn_count), b[i].shape))
			fail_msg("%s: %s, not %s", b[i].code, shape(insn_count), b[i].shape);
	}
}

#define CHECK(blocks, shared) check_blocks(blocks, sizeof(blocks) / sizeof((blocks)[0]), shared)

/* Addresses by the same registers, and by registers that change by constants. */
static void test_addresses(void **state)
{
	static const struct block blocks[] = {
		{"488b4308 488b4b10", "A a8"}, /* mov rax, [rbx+8]; mov rcx, [rbx+16] */
		{"488b4310 488b4b08", "A a-8"},
		{"8b4308 8b4308", "A a0"},
		{"488b4308 488b4d10", ". ."}, /* rbx; rbp */
		{"488b448b08 488b4c8b10", "A a8"}, /* [rbx+rcx*4+8]; mov rcx, [rbx+rcx*4+16] */
		{"488b448b08 488b4ccb10", ". ."}, /* the second has rcx*8 */
		{"488b448b08 488b4c9310", ". ."}, /* rdx*4 */
		{"488b4308 488b448b10", ". ."}, /* none; rcx*4 */
		{"65488b042528000000 65488b0c2530000000", "A a8"}, /* gs:[0x28]; gs:[0x30] */
		{"65488b042528000000 64488b0c2530000000", ". ."}, /* gs; fs */
		{"65488b042528000000 488b0c2530000000", ". ."}, /* gs; none */
		{"488b0510000000 488b0d11000000", "A a8"}, /* [rip+16]; [rip+17], 7 bytes on */
		{"50 53 51", "A a-8 a-16"}, /* push rax; push rbx; push rcx */
		{"58 5b c3", "A a8 ."}, /* pop rax; pop rbx; ret */
		{"50 48894424f8 58", "A a-8 a0"}, /* push rax; mov [rsp-8], rax; pop rax */
		{"488b4308 4883c310 488b43f8", "A . a0"}, /* add rbx, 16 */
		{"488b4308 488d5b10 488b43f8", "A . a0"}, /* lea rbx, [rbx+16] */
		{"488b4308 48ffcb 488b4308", "A . a-1"}, /* dec rbx */
		{"488b448b08 4883c101 488b448b08", "A . a4"}, /* add rcx, 1 */
		{"488b4308 83c310 488b43f8", ". . ."}, /* add ebx, 16 */
		{"488b4308 4801c3 488b4308", ". . ."}, /* add rbx, rax */
		{"488b1b 488b4308", ". ."}, /* mov rbx, [rbx] */
		{"488b4308 b301 488b4308", ". . ."}, /* mov bl, 1 */
		{"488b4308 e800000000", ". ."}, /* call */
		{"50 e800000000", "A a-8"}, /* push rax; call */
		{"50 5c 50", "A a0 ."}, /* push rax; pop rsp; push rax */
		{"488b4308 488b1b 488b4b10", "A a-8 ."}, /* a member may change the base */
	};

	(void)state;
	CHECK(blocks, false);
}

/* What may lead, and what may follow. */
static void test_kinds(void **state)
{
	static const struct block blocks[] = {
		{"488b4308 48894310", ". ."}, /* a store behind a load */
		{"48894308 48894b10", "A a8"}, /* behind a store */
		{"48894308 488b4b10", "A a8"}, /* a load behind a store */
		{"488b4308 48894310 48894b18 488b4b20", "B A a8 b24"},
		{"014b08 48894310", "A a8"}, /* add [rbx+8], ecx; then a store */
		{"48894308 014b10", "A a8"},
		{"488b4308 014b10", ". ."}, /* an update is a store */
		{"ff7308 488b4310", ". ."}, /* push [rbx+8]: two accesses */
		{"488b4308 ff7310", ". ."},
		{"488b4308 f3a4 488b4310", "A . a8"}, /* rep movsb neither leads nor follows */
		{"678b4308 678b4310", ". ."}, /* addresses of 32 bits */
		{"32:8b4308 32:8b4310", ". ."},
		{"c5fe6f4308 c5fe6f4b28", ". ."}, /* vmovdqu ymm: told in parts */
		{"f30f6f4308 f30f6f4b18", "A a16"}, /* movdqu */
		{"0f284308 0f284b18", "A a16"}, /* movaps */
		{"0f584308 0f584b18", ". ."}, /* addps: its alignment is not known */
		{"488b4308 0fa34b10", ". ."}, /* bt [rbx+16], ecx: anywhere */
		{"db6b08 488b4318", ". ."}, /* fld m80 */
		{"488b4308 480fae6310", ". ."}, /* xsave */
		{"480fc74b20 488b4308", ". ."}, /* cmpxchg16b may be told in parts */
		{"48894308 480fb14b10", ". ."}, /* cmpxchg [rbx+16], rcx: whether it succeeded is seen in memory */
		{"480fb14b10 48894308", "A a-8"},
	};

	(void)state;
	CHECK(blocks, false);
}

/* What is between leader and member, and may keep the member from running. */
static void test_stops(void **state)
{
	static const struct block blocks[] = {
		{"488b4308 48f7f1 488b4310", ". . ."}, /* div rcx */
		{"488b4308 f7f9 488b4310", ". . ."}, /* idiv ecx */
		{"488b4308 48f77310 488b4310", ". . ."}, /* div [rbx+16] neither follows nor leads */
		{"488b4308 ec 488b4310", ". . ."}, /* in al, dx */
		{"488b4308 0f32 488b4310", ". . ."}, /* rdmsr */
		{"65488b042528000000 0f01f8 65488b042528000000", ". . ."}, /* swapgs */
		{"65488b042528000000 8ee8 65488b042528000000", ". . ."}, /* mov gs, ax */
		{"488b4308 9b 488b4310", ". . ."}, /* fwait */
		{"488b4308 480fae6310 488b4310", ". . ."}, /* xsave */
		{"488b4308 62f17c485800 488b4310", ". . ."}, /* vaddps zmm0, zmm0, [rax] is refused */
		{"488b4308 488d4b01 488b4310", "A . a8"}, /* lea rcx, [rbx+1] */
		{"488b4500 c9", "A a0"}, /* leave */
		{"488b4308 48f7e1 488b4310", "A . a8"}, /* mul rcx */
		{"488b4308 488b4310 48f7f1 488b4b18 488b4b20", "A a8 . B b8"},
	};

	(void)state;
	CHECK(blocks, false);
}

static void test_several_processors(void **state)
{
	static const struct block blocks[] = {
		{"48894308 48894b10", ". ."}, /* another processor may look at the second store */
		{"48894308 f0014b10", ". ."}, /* lock add [rbx+16], ecx */
		{"48894308 488b4b10", "A a8"},	   {"50 53", "A a-8"}, /* the stack is one thread's */
		{"4889442408 48894c2410", "A a8"},
	};

	(void)state;
	CHECK(blocks, true);
}

/* Those between which another is to be told by itself still form a group. */
static void test_alone(void **state)
{
	static const struct block blocks[] =
		{
			{"488b4308 488b4b10 488b4318", "A . a16"},
		},
				  first[] = {
					  {"488b4308 488b4b10 488b4318", ". A a8"},
				  };

	(void)state;
	alone[1] = true;
	CHECK(blocks, false);
	alone[1] = false;
	alone[0] = true;
	CHECK(first, false);
	alone[0] = false;
}

static void test_spans(void **state)
{
	(void)state;
	assert_int_equal(find("488b4308 488b4b10", false, NULL), 1);
	assert_int_equal(group[0].lo, 0);
	assert_int_equal(group[0].hi, 2);
	/* Of a byte that is stored the one before is looked at too: mov [rbx+8], rax; mov byte [rbx+8], 0. */
	assert_int_equal(find("48894308 c6430800", false, NULL), 1);
	assert_int_equal(group[0].lo, -1);
	assert_int_equal(find("48894308 c6430900", false, NULL), 1);
	assert_int_equal(group[0].lo, 0);
	assert_int_equal(find("c6430800 48894309", false, NULL), 1);
	assert_int_equal(group[0].lo, -1);
	assert_int_equal(find("8b4308 8b4b04 8b4b0b", false, NULL), 1); /* 4 bytes at 8, 4 and 11 */
	assert_int_equal(group[0].lo, -1);
	assert_int_equal(group[0].hi, 1);
	assert_int_equal(find("8b4308 8b4b0d", false, NULL), 1); /* 4 bytes at 13 */
	assert_int_equal(group[0].hi, 2);
	/* [rbx+0x400] and what a span just reaches on both sides */
	assert_int_equal(find("488b8300040000 488b03 488b8bf0070000", false, NULL), 1);
	assert_int_equal(group[0].lo, -128);
	assert_int_equal(group[0].hi, 127);
	assert_int_equal(find("488b8300040000 488b4bff", false, NULL), 0);
	assert_int_equal(find("488b8300040000 488b8bf1070000", false, NULL), 0);
	assert_int_equal(find("488b8300040000 488b8b00000080", false, NULL), 0);
}

/* There are as many groups as a mark can name; what comes then has a callback of its own. */
static void test_limits(void **state)
{
	char code[512] = "";
	unsigned n;

	(void)state;
	for (unsigned i = 0; i < 10; i++)
		sprintf(code + strlen(code), "%s488b83%02x%02x0000 488b83%02x%02x0000", i ? " " : "", 0, i * 8, 8,
			i * 8);
	assert_int_equal(find(code, false, &n), TAINT_GROUPS);
	assert_int_equal(place[n - 5].group, TAINT_GROUPS - 1);
	for (unsigned i = n - 4; i < n; i++)
		assert_int_equal(place[i].group, TAINT_GROUP_NONE);
	assert_int_equal(group[TAINT_GROUPS - 1].hi, 2);
	assert_int_equal(find("90", false, NULL), 0);
	assert_int_equal(taint_group(in, alone, 0, false, place, group), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses), cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_stops),	  cmocka_unit_test(test_several_processors),
		cmocka_unit_test(test_spans),	  cmocka_unit_test(test_limits),
		cmocka_unit_test(test_alone),
	};

	return cmocka_run_group_tests_name("group", tests, NULL, NULL);
}
