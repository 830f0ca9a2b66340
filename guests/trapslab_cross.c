/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Accesses around the border of two pages: each width, at each offset from wholly before it to wholly behind it. */
#include "trapslab.h"

#include <stdint.h>
#include <string.h>

/* One move of a width from one place to another. */
typedef void move_fn(void *to, const void *from);

/* The same register for both; only one of the two places is at the border. */
#define MOVE(name, insn, reg)                                                                                          \
	static void name(void *to, const void *from)                                                                   \
	{                                                                                                              \
		__asm__ volatile(insn " (%1), %%" reg "\n\t" insn " %%" reg ", (%0)"                                   \
				 :                                                                                     \
				 : "r"(to), "r"(from)                                                                  \
				 : "rcx", "xmm7", "memory");                                                           \
	}

MOVE(move_2, "movw", "cx")
MOVE(move_4, "movl", "ecx")
MOVE(move_8, "movq", "rcx")
MOVE(move_16, "movdqu", "xmm7")
MOVE(move_32, "vmovdqu", "ymm7")

static void push_pop(void *to, const void *from)
{
	__asm__ volatile("push (%1)\n\tpop (%0)" : : "r"(to), "r"(from) : "memory");
}

static void string_8(void *to, const void *from)
{
	__asm__ volatile("movsq" : "+D"(to), "+S"(from) : : "memory");
}

static void string_rep(void *to, const void *from)
{
	size_t count = 16;

	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
}

/* The stack is at the border: from's eight bytes are pushed there, then popped. */
static void through_stack(void *border, const void *from, void *to)
{
	__asm__ volatile("mov %%rsp, %%rcx\n\t"
			 "mov %0, %%rsp\n\t"
			 "push (%1)\n\t"
			 "pop (%2)\n\t"
			 "mov %%rcx, %%rsp"
			 :
			 : "r"((char *)border + 8), "r"(from), "r"(to)
			 : "rcx", "memory");
}

/* How many moves of a width fit into the payload's room: one for each offset, the payload again for each. */
static size_t steps(size_t width)
{
	return width + 1;
}

/* Payload byte by byte to the border, from there with the move; result: one width after the other. */
static bool loads(struct lab *l, move_fn *move, size_t width)
{
	char *border, *pages = trap_pages(&border);

	if (!pages || l->len < steps(width) * width)
		return false;
	for (size_t i = 0; i < steps(width); i++) {
		trap_copy(border - i, l->in + i * width, width);
		move(l->out + i * width, border - i);
	}
	trap_free_pages(pages);
	l->ret_len = steps(width) * width;
	return true;
}

/* The other way round: the move writes at the border, bytes are read from there. */
static bool stores(struct lab *l, move_fn *move, size_t width)
{
	char *border, *pages = trap_pages(&border);

	if (!pages || l->len < steps(width) * width)
		return false;
	for (size_t i = 0; i < steps(width); i++) {
		memset(border - 64, 0, 128);
		move(border - i, l->in + i * width);
		trap_copy(l->out + i * width, border - i, width);
	}
	trap_free_pages(pages);
	l->ret_len = steps(width) * width;
	return true;
}

/* Constants over the payload by moves at the border; around them it stays. */
static bool clears(struct lab *l, move_fn *move, size_t width)
{
	static const char constants[64] = "................................";
	char *border, *pages = trap_pages(&border);

	if (!pages)
		return false;
	for (size_t i = 0; i < steps(width); i++) {
		trap_copy(border - 64, l->in, l->len < 128 ? l->len : 128);
		move(border - i, lab_opaque(constants));
		trap_copy(l->out + i * width, border - i, width);
	}
	trap_free_pages(pages);
	l->ret_len = steps(width) * width;
	return true;
}

/* What lies beside a store at the border keeps its labels. */
static bool beside(struct lab *l)
{
	static const char constants[64] = "................................";
	char *border, *pages = trap_pages(&border);
	size_t i, n = 0;

	if (!pages)
		return false;
	for (i = 0; i <= 8; i++) {
		trap_copy(border - 16, l->in + n, 32);
		move_8(border - i, lab_opaque(constants));
		trap_copy(l->out + n, border - 16, 16 - i);
		trap_copy(l->out + n + 16 - i, l->in + n + 16 - i, 8);
		trap_copy(l->out + n + 24 - i, border - i + 8, 8 + i);
		n += 32;
	}
	trap_free_pages(pages);
	l->ret_len = n;
	return true;
}

static bool stack(struct lab *l)
{
	char *border, *pages = trap_pages(&border);

	if (!pages)
		return false;
	for (size_t i = 0; i <= 8; i++)
		through_stack(border - i, l->in + 8 * i, l->out + 8 * i);
	trap_free_pages(pages);
	l->ret_len = 72;
	return true;
}

#define BOTH(name, move, width)                                                                                        \
	static bool load_##name(struct lab *l)                                                                         \
	{                                                                                                              \
		return loads(l, move, width);                                                                          \
	}                                                                                                              \
	static bool store_##name(struct lab *l)                                                                        \
	{                                                                                                              \
		return stores(l, move, width);                                                                         \
	}                                                                                                              \
	static bool clear_##name(struct lab *l)                                                                        \
	{                                                                                                              \
		return clears(l, move, width);                                                                         \
	}

BOTH(2, move_2, 2)
BOTH(4, move_4, 4)
BOTH(8, move_8, 8)
BOTH(16, move_16, 16)
BOTH(32, move_32, 32)
BOTH(push, push_pop, 8)
BOTH(movsq, string_8, 8)
BOTH(rep, string_rep, 16)

#define ROWS(width, what)                                                                                              \
	{.name = "cross-load-" what, .expect = LAB_EXACT, .run = load_##width, .size = 1100},                          \
		{.name = "cross-store-" what, .expect = LAB_EXACT, .run = store_##width, .size = 1100},                \
	{                                                                                                              \
		.name = "cross-clear-" what, .expect = LAB_CLEAN, .run = clear_##width, .size = 1100                   \
	}

const struct lab_path trap_cross_paths[] = {
	ROWS(2, "2"),
	ROWS(4, "4"),
	ROWS(8, "8"),
	ROWS(16, "16"),
	ROWS(32, "32"),
	ROWS(push, "push-pop"),
	ROWS(movsq, "movsq"),
	ROWS(rep, "rep-movsb"),
	{.name = "cross-beside", .expect = LAB_EXACT, .run = beside, .size = 320},
	{.name = "cross-stack", .expect = LAB_EXACT, .run = stack, .size = 80},
};
const size_t trap_cross_count = sizeof(trap_cross_paths) / sizeof(trap_cross_paths[0]);
