/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Several accesses of one straight run of instructions at constant distances from each other: only the first of them need
 * be told, so what the others did must be known without. Some of them do not happen, because their page is missing.
 */
#include "trapslab.h"

#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#define WORD ((size_t)8)

static sigjmp_buf away;

static void on_fault_leave(int signo)
{
	(void)signo;
	trap_faults++;
	siglongjmp(away, 1);
}

/*
 * Calls step for each word of the payload and its place in the result. It is not inlined: the payload's length, which is
 * tainted too, must not be loaded in the same run.
 */
static bool each_word(struct lab *l, void (*step)(const char *from, char *to, char *room))
{
	static char room[256] __attribute__((aligned(64)));
	void (*volatile call)(const char *, char *, char *) = step;

	for (size_t at = 0; at + WORD <= l->len; at += WORD) {
		memset(lab_opaque(room), 0, sizeof(room));
		call(l->in + at, l->out + at, room);
	}
	l->ret_len = l->len / WORD * WORD;
	return true;
}

/* Through the stack and back, in one run. */
static void stack_step(const char *from, char *to, char *room)
{
	__asm__ volatile("mov (%0), %%rcx\n\t"
			 "push %%rdx\n\t"
			 "push %%rcx\n\t"
			 "xor %%ecx, %%ecx\n\t"
			 "push %%rdx\n\t"
			 "mov 8(%%rsp), %%rsi\n\t"
			 "pop %%rcx\n\t"
			 "pop %%rcx\n\t"
			 "add $8, %%rsp\n\t"
			 "mov %%rcx, 8(%2)\n\t"
			 "mov %%rsi, (%1)"
			 :
			 : "r"(from), "r"(to), "r"(room)
			 : "rcx", "rsi", "memory");
}

static bool through_stack(struct lab *l)
{
	return each_word(l, stack_step);
}

/* The first load is clean, the second one is not. */
static void second_step(const char *from, char *to, char *room)
{
	trap_copy(room + WORD, from, WORD);
	__asm__ volatile("mov (%1), %%rcx\n\t"
			 "mov 8(%1), %%rcx\n\t"
			 "mov %%rcx, (%0)"
			 :
			 : "r"(to), "r"(room)
			 : "rcx", "memory");
}

static bool second_load(struct lab *l)
{
	return each_word(l, second_step);
}

/* All is clean when the first load runs; then a store by another register taints what the second one loads. */
static void between_step(const char *from, char *to, char *room)
{
	__asm__ volatile("mov (%2), %%rcx\n\t"
			 "mov (%0), %%rsi\n\t"
			 "mov %%rsi, (%3)\n\t"
			 "xor %%esi, %%esi\n\t"
			 "mov 8(%2), %%rcx\n\t"
			 "mov %%rcx, (%1)"
			 :
			 : "r"(from), "r"(to), "r"(room), "r"(room + WORD)
			 : "rcx", "rsi", "memory");
}

static bool tainted_between(struct lab *l)
{
	return each_word(l, between_step);
}

/* Nothing but memory is tainted for a while, and the load that brings it back is the last of its run. */
static void last_step(const char *from, char *to, char *room)
{
	__asm__ volatile("mov (%0), %%rcx\n\t"
			 "mov %%rcx, (%2)\n\t"
			 "xor %%ecx, %%ecx\n\t"
			 "movq $0, 64(%3)\n\t"
			 "mov (%2), %%rcx\n\t"
			 "jmp 1f\n"
			 "1:\tmov %%rcx, (%1)"
			 :
			 : "r"(from), "r"(to), "r"(room), "r"(room + WORD)
			 : "rcx", "memory");
}

static bool last_load(struct lab *l)
{
	return each_word(l, last_step);
}

/* Tainted words, overwritten by the second and third store of a run. */
static void clear_step(const char *from, char *to, char *room)
{
	trap_copy(room + WORD, from, WORD);
	trap_copy(room + 2 * WORD, from, WORD);
	__asm__ volatile("movq $'.', (%1)\n\t"
			 "movq $'.', 8(%1)\n\t"
			 "movq $'.', 16(%1)\n\t"
			 "mov 8(%1), %%rcx\n\t"
			 "or 16(%1), %%rcx\n\t"
			 "mov %%rcx, (%0)"
			 :
			 : "r"(to), "r"(room)
			 : "rcx", "memory");
}

static bool cleared(struct lab *l)
{
	return each_word(l, clear_step);
}

/* The second store of a run, seen by a load through another register, and then overwritten through it. */
static void alias_step(const char *from, char *to, char *room)
{
	__asm__ volatile("mov (%0), %%rcx\n\t"
			 "movq $0, (%2)\n\t"
			 "mov %%rcx, 8(%2)\n\t"
			 "mov (%3), %%rsi\n\t"
			 "mov %%rsi, (%1)"
			 :
			 : "r"(from), "r"(to), "r"(room), "r"(room + WORD)
			 : "rcx", "rsi", "memory");
}

static bool alias(struct lab *l)
{
	return each_word(l, alias_step);
}

static void alias_clear_step(const char *from, char *to, char *room)
{
	__asm__ volatile("mov (%0), %%rcx\n\t"
			 "movq $0, (%2)\n\t"
			 "mov %%rcx, 8(%2)\n\t"
			 "movq $'.', (%3)\n\t"
			 "mov 8(%2), %%rsi\n\t"
			 "mov %%rsi, (%1)"
			 :
			 : "r"(from), "r"(to), "r"(room), "r"(room + WORD)
			 : "rcx", "rsi", "memory");
}

static bool alias_cleared(struct lab *l)
{
	return each_word(l, alias_clear_step);
}

/* What lies between the stores of a run keeps its labels. */
static void beside_step(const char *from, char *to, char *room)
{
	trap_copy(room + WORD, from, WORD);
	__asm__ volatile("movq $0, (%1)\n\t"
			 "movq $0, 16(%1)\n\t"
			 "mov 8(%1), %%rcx\n\t"
			 "mov %%rcx, (%0)"
			 :
			 : "r"(to), "r"(room)
			 : "rcx", "memory");
}

static bool beside(struct lab *l)
{
	return each_word(l, beside_step);
}

/* Memory that is read, changed and written, behind a store and behind another of its kind. */
static void update_step(const char *from, char *to, char *room)
{
	__asm__ volatile("mov (%0), %%rcx\n\t"
			 "orq $0, (%2)\n\t"
			 "or %%rcx, 8(%2)\n\t"
			 "xchg %%rcx, 16(%2)\n\t"
			 "movq $0, 16(%2)\n\t"
			 "mov 8(%2), %%rsi\n\t"
			 "mov %%rsi, (%1)"
			 :
			 : "r"(from), "r"(to), "r"(room)
			 : "rcx", "rsi", "memory");
}

static bool updates(struct lab *l)
{
	return each_word(l, update_step);
}

/* A vector register's data comes to a general one as the last thing that a run does. */
static void vector_step(const char *from, char *to, char *room)
{
	__asm__ volatile("movdqu (%0), %%xmm7\n\t"
			 "mov (%2), %%rcx\n\t"
			 "jmp 1f\n"
			 "1:\tmovq %%xmm7, %%rcx\n\t"
			 "jmp 2f\n"
			 "2:\tmov %%rcx, (%1)\n\t"
			 "jmp 3f\n"
			 "3:\txor %%ecx, %%ecx\n\t"
			 "pxor %%xmm7, %%xmm7"
			 :
			 : "r"(from), "r"(to), "r"(room)
			 : "rcx", "xmm7", "memory");
}

/* To a page without any taint, new for each word: what is stored there is looked at the least. */
static bool from_vector(struct lab *l)
{
	char *border, *pages, room[2 * WORD] = {0};
	bool ok = true;

	for (size_t at = 0; ok && at + WORD <= l->len; at += WORD) {
		pages = trap_pages(&border);
		ok = pages != NULL;
		if (!ok)
			break;
		vector_step(l->in + at, pages, lab_opaque(room));
		trap_copy(l->out + at, pages, WORD);
		trap_free_pages(pages);
	}
	l->ret_len = l->len / WORD * WORD;
	return ok;
}

/* Clean words to an address that the payload has to do with. That is noted on the stack, for return addresses only. */
static void address_step(const char *from, char *to)
{
	__asm__ volatile("mov (%0), %%rcx\n\t"
			 "mov %%rcx, %%rdx\n\t"
			 "sub %%rdx, %%rcx\n\t"
			 "movq $'.', (%1,%%rcx)\n\t"
			 "movq $'.', 8(%1,%%rcx)\n\t"
			 "xor %%ecx, %%ecx\n\t"
			 "xor %%edx, %%edx"
			 :
			 : "r"(from), "r"(to)
			 : "rcx", "rdx", "memory");
}

/* Far enough down the stack that nothing else is there. */
static char *low_stack(const struct lab *l)
{
	char *low = (char *)__builtin_frame_address(0) - 16 * TRAP_PAGE;

	memset(low, 0, l->len);
	return low;
}

static bool to_address(struct lab *l)
{
	void (*volatile call)(const char *, char *) = address_step;
	char *low = low_stack(l);

	for (size_t at = 0; at + 2 * WORD <= l->len; at += 2 * WORD)
		call(l->in + at, low + at);
	l->at = low;
	l->ret_len = l->len / (2 * WORD) * 2 * WORD;
	return true;
}

/* Nobody who reads such words gets data. */
static void read_step(const char *from, char *to)
{
	__asm__ volatile("mov (%0), %%rcx\n\t"
			 "mov 8(%0), %%rdx\n\t"
			 "mov %%rcx, (%1)\n\t"
			 "mov %%rdx, 8(%1)"
			 :
			 : "r"(from), "r"(to)
			 : "rcx", "rdx", "memory");
}

static bool from_address(struct lab *l)
{
	void (*volatile call)(const char *, char *) = read_step;

	to_address(l);
	for (size_t at = 0; at < l->ret_len; at += 2 * WORD)
		call((const char *)l->at + at, l->out + at);
	l->at = l->out;
	return true;
}

/* Moves of 16 bytes at constant distances. */
static void wide_step(const char *from, char *to, char *room)
{
	trap_copy(room + 16, from, WORD);
	__asm__ volatile("movdqu (%1), %%xmm6\n\t"
			 "movdqa 16(%1), %%xmm7\n\t"
			 "movdqu %%xmm6, 32(%1)\n\t"
			 "movdqu %%xmm7, 48(%1)\n\t"
			 "mov 48(%1), %%rcx\n\t"
			 "mov %%rcx, (%0)"
			 :
			 : "r"(to), "r"(room)
			 : "rcx", "xmm6", "xmm7", "memory");
}

static bool wide(struct lab *l)
{
	return each_word(l, wide_step);
}

/*
 * A run whose second access faults: what follows it, an exchange of two registers, has not happened then, and happens
 * once when the run goes on. prot is what is left of the second page.
 */
typedef void faulting_fn(char *border, const char *from, char *to);

static void load_then_load(char *border, const char *from, char *to)
{
	__asm__ volatile("mov (%1), %%rcx\n\t"
			 "xor %%esi, %%esi\n\t"
			 "mov -8(%0), %%r8\n\t"
			 "mov (%0), %%r8\n\t"
			 "xchg %%rcx, %%rsi\n\t"
			 "mov %%rcx, 8(%2)\n\t"
			 "mov %%rsi, (%2)"
			 :
			 : "r"(border), "r"(from), "r"(to)
			 : "rcx", "rsi", "r8", "memory");
}

static void store_then_store(char *border, const char *from, char *to)
{
	__asm__ volatile("mov (%1), %%rcx\n\t"
			 "xor %%esi, %%esi\n\t"
			 "mov %%rsi, -8(%0)\n\t"
			 "mov %%rcx, (%0)\n\t"
			 "xchg %%rcx, %%rsi\n\t"
			 "mov (%0), %%r8\n\t"
			 "mov %%r8, (%2)\n\t"
			 "mov %%rcx, 8(%2)"
			 :
			 : "r"(border), "r"(from), "r"(to)
			 : "rcx", "rsi", "r8", "memory");
}

/* A load first: the store on the same page is refused all the same. */
static void load_then_store(char *border, const char *from, char *to)
{
	__asm__ volatile("mov (%1), %%rcx\n\t"
			 "xor %%esi, %%esi\n\t"
			 "mov 8(%0), %%r8\n\t"
			 "mov %%rcx, (%0)\n\t"
			 "xchg %%rcx, %%rsi\n\t"
			 "mov (%0), %%r8\n\t"
			 "mov %%r8, (%2)\n\t"
			 "mov %%rcx, 8(%2)"
			 :
			 : "r"(border), "r"(from), "r"(to)
			 : "rcx", "rsi", "r8", "memory");
}

/* The result has to be the payload, and the other register's word clean, as its value tells: zero. */
static bool retried(struct lab *l, faulting_fn *run, int prot)
{
	char *border, *pages = trap_pages(&border), to[2 * WORD];
	bool ok = pages != NULL;

	for (size_t at = 0; ok && at + WORD <= l->len; at += WORD) {
		memset(lab_opaque(to), 1, sizeof(to));
		trap_heal_page(border);
		ok = mprotect(border, TRAP_PAGE, prot) == 0;
		run(border, l->in + at, lab_opaque(to));
		trap_heal();
		ok = ok && trap_faults == 1 && to[WORD] == 0;
		trap_copy(l->out + at, to, WORD);
	}
	trap_free_pages(pages);
	l->ret_len = l->len / WORD * WORD;
	return ok;
}

static bool retried_load(struct lab *l)
{
	return retried(l, load_then_load, PROT_NONE);
}

static bool retried_store(struct lab *l)
{
	return retried(l, store_then_store, PROT_NONE);
}

static bool retried_read_only(struct lab *l)
{
	return retried(l, store_then_store, PROT_READ);
}

static bool retried_copy_on_write(struct lab *l)
{
	return retried(l, load_then_store, PROT_READ);
}

/* The second store never happens: its page stays clean. */
static bool given_up(struct lab *l)
{
	struct sigaction on = {.sa_handler = on_fault_leave};
	char *border, *pages = trap_pages(&border), to[2 * WORD];
	volatile bool ok = pages != NULL;

	for (volatile size_t at = 0; ok && at + WORD <= l->len; at += WORD) {
		trap_faults = 0;
		sigaction(SIGSEGV, &on, NULL);
		ok = mprotect(border, TRAP_PAGE, PROT_READ) == 0;
		if (sigsetjmp(away, 1) == 0)
			store_then_store(border, l->in + at, lab_opaque(to));
		trap_heal();
		ok = ok && trap_faults == 1 && mprotect(border, TRAP_PAGE, PROT_READ | PROT_WRITE) == 0;
		trap_copy(l->out + at, border, WORD);
	}
	trap_free_pages(pages);
	l->ret_len = l->len / WORD * WORD;
	return ok;
}

/* The group reaches over the border, all of it is there. */
static bool over_border(struct lab *l)
{
	char *border, *pages = trap_pages(&border);

	if (!pages)
		return false;
	for (size_t at = 0; at + WORD <= l->len; at += WORD)
		store_then_store(border - at % 16, l->in + at, l->out + at);
	trap_free_pages(pages);
	l->ret_len = l->len / WORD * WORD;
	return true;
}

const struct lab_path trap_group_paths[] = {
	{.name = "group-stack", .expect = LAB_EXACT, .run = through_stack},
	{.name = "group-second-load", .expect = LAB_EXACT, .run = second_load},
	{.name = "group-tainted-between", .expect = LAB_EXACT, .run = tainted_between},
	{.name = "group-last-load", .expect = LAB_EXACT, .run = last_load},
	{.name = "group-cleared", .expect = LAB_CLEAN, .run = cleared},
	{.name = "group-alias", .expect = LAB_EXACT, .run = alias},
	{.name = "group-alias-cleared", .expect = LAB_CLEAN, .run = alias_cleared},
	{.name = "group-beside", .expect = LAB_EXACT, .run = beside},
	{.name = "group-updates", .expect = LAB_EXACT, .run = updates},
	{.name = "group-from-vector", .expect = LAB_EXACT, .run = from_vector},
	{.name = "group-address", .expect = LAB_ADDRESS, .run = to_address},
	{.name = "group-address-read", .expect = LAB_CLEAN, .run = from_address},
	{.name = "group-wide", .expect = LAB_EXACT, .run = wide},
	{.name = "group-over-border", .expect = LAB_EXACT, .run = over_border},
	{.name = "group-fault-load", .expect = LAB_EXACT, .run = retried_load},
	{.name = "group-fault-store", .expect = LAB_EXACT, .run = retried_store},
	{.name = "group-fault-read-only", .expect = LAB_EXACT, .run = retried_read_only},
	{.name = "group-fault-written", .expect = LAB_EXACT, .run = retried_copy_on_write},
	{.name = "group-given-up", .expect = LAB_CLEAN, .run = given_up},
};
const size_t trap_group_count = sizeof(trap_group_paths) / sizeof(trap_group_paths[0]);
