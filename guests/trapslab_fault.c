/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Instructions that fault after a part of their work, or after the instrumentation has been called for it: they are run
 * again from the start when the page is there, or never, and then nothing of theirs may stay.
 */
#include "trapslab.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#define BEFORE ((size_t)20)

static sigjmp_buf away;

static void on_fault_leave(int signo)
{
	(void)signo;
	trap_faults++;
	siglongjmp(away, 1);
}

/* A fault leaves what follows; trap_heal() ends it. */
static void leave_on_fault(void)
{
	struct sigaction on = {.sa_handler = on_fault_leave};

	trap_faults = 0;
	sigaction(SIGSEGV, &on, NULL);
}

/* Takes something away from the second page. */
static bool take_away(char *border, int prot)
{
	return mprotect(border, TRAP_PAGE, prot) == 0;
}

static void store_8(char *to, const char *from)
{
	__asm__ volatile("mov (%1), %%rcx\n\tmov %%rcx, (%0)" : : "r"(to), "r"(from) : "rcx", "memory");
}

static void store_16(char *to, const char *from)
{
	__asm__ volatile("movdqu (%1), %%xmm7\n\tmovdqu %%xmm7, (%0)" : : "r"(to), "r"(from) : "xmm7", "memory");
}

static void push_there(char *to, const char *from)
{
	__asm__ volatile("mov %%rsp, %%rcx\n\t"
			 "lea 8(%0), %%rsp\n\t"
			 "push (%1)\n\t"
			 "mov %%rcx, %%rsp"
			 :
			 : "r"(to), "r"(from)
			 : "rcx", "memory");
}

static void pop_there(char *to, const char *from)
{
	__asm__ volatile("push (%1)\n\tpop (%0)" : : "r"(to), "r"(from) : "memory");
}

static void exchange_there(char *to, const char *from)
{
	__asm__ volatile("mov (%1), %%rcx\n\txchg %%rcx, (%0)" : : "r"(to), "r"(from) : "rcx", "memory");
}

static void string_there(char *to, const char *from)
{
	size_t count = 8;

	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
}

typedef void there_fn(char *to, const char *from);

/* Stores eight bytes across the border at each offset; the second page is there at the second try only. */
static bool retried(struct lab *l, there_fn *store, int prot, size_t width)
{
	char *border, *pages = trap_pages(&border);
	bool ok = pages != NULL;

	for (size_t i = 1; ok && i < width; i++) {
		trap_heal_page(border);
		ok = take_away(border, prot);
		store(border - i, l->in + width * (i - 1));
		trap_heal();
		ok = ok && trap_faults > 0;
		trap_copy(l->out + width * (i - 1), border - i, width);
	}
	trap_free_pages(pages);
	l->ret_len = width * (width - 1);
	return ok;
}

static bool retried_8_read_only(struct lab *l)
{
	return retried(l, store_8, PROT_READ, 8);
}

static bool retried_8_none(struct lab *l)
{
	return retried(l, store_8, PROT_NONE, 8);
}

static bool retried_16(struct lab *l)
{
	return retried(l, store_16, PROT_READ, 16);
}

static bool retried_push(struct lab *l)
{
	return retried(l, push_there, PROT_NONE, 8);
}

static bool retried_pop(struct lab *l)
{
	return retried(l, pop_there, PROT_READ, 8);
}

static bool retried_exchange(struct lab *l)
{
	return retried(l, exchange_there, PROT_READ, 8);
}

static bool retried_string(struct lab *l)
{
	return retried(l, string_there, PROT_NONE, 8);
}

/* Loads that fault: the register has what came at the second try. */
static bool retried_load(struct lab *l)
{
	char *border, *pages = trap_pages(&border);
	bool ok = pages != NULL;

	for (size_t i = 1; ok && i < 8; i++) {
		trap_copy(border - i, l->in + 8 * (i - 1), 8);
		trap_heal_page(border);
		ok = take_away(border, PROT_NONE);
		store_8(l->out + 8 * (i - 1), border - i);
		trap_heal();
		ok = ok && trap_faults > 0;
	}
	trap_free_pages(pages);
	l->ret_len = 56;
	return ok;
}

/* The kernel brings the page, the program sees nothing of it. */
static bool demand(struct lab *l)
{
	bool ok = true;

	for (size_t i = 1; ok && i < 8; i++) {
		char *area = mmap(NULL, 2 * TRAP_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		ok = area != MAP_FAILED;
		if (!ok)
			break;
		store_8(area + TRAP_PAGE - i, l->in + 8 * (i - 1));
		trap_copy(l->out + 8 * (i - 1), area + TRAP_PAGE - i, 8);
		munmap(area, 2 * TRAP_PAGE);
	}
	l->ret_len = 56;
	return ok;
}

/* A store that never happens: what lay there before is clean and stays so. */
static bool given_up(struct lab *l, there_fn *store, size_t width)
{
	char *border, *pages = trap_pages(&border);
	bool ok = pages != NULL;

	for (volatile size_t i = 1; ok && i < width; i++) {
		leave_on_fault();
		ok = take_away(border, PROT_READ);
		if (sigsetjmp(away, 1) == 0)
			store(border - i, l->in);
		trap_heal();
		ok = ok && trap_faults == 1 && take_away(border, PROT_READ | PROT_WRITE);
		trap_copy(l->out + width * (i - 1), border - i, width);
		for (size_t k = 0; k < width; k++)
			ok = ok && l->out[width * (i - 1) + k] == 0;
	}
	trap_free_pages(pages);
	l->ret_len = width * (width - 1);
	return ok;
}

static bool given_up_8(struct lab *l)
{
	return given_up(l, store_8, 8);
}

static bool given_up_16(struct lab *l)
{
	return given_up(l, store_16, 16);
}

static bool given_up_push(struct lab *l)
{
	return given_up(l, push_there, 8);
}

static bool given_up_exchange(struct lab *l)
{
	return given_up(l, exchange_there, 8);
}

/* Where to go on after a fault; 0: not known. */
static volatile uintptr_t go_on_at;

static void on_fault_skip(int signo, siginfo_t *info, void *context)
{
	ucontext_t *c = context;

	(void)signo;
	(void)info;
	trap_faults++;
	c->uc_mcontext.gregs[REG_RIP] = (greg_t)go_on_at;
}

/* The register that a failed exchange was to change keeps its labels, as the handler left out the exchange. */
static bool kept_register(struct lab *l)
{
	struct sigaction on = {.sa_sigaction = on_fault_skip, .sa_flags = SA_SIGINFO};
	char *border, *pages = trap_pages(&border);

	if (!pages || !take_away(border, PROT_READ))
		return false;
	trap_faults = 0;
	sigaction(SIGSEGV, &on, NULL);
	__asm__ volatile("mov (%1), %%r12\n\t"
			 "lea 1f(%%rip), %%rcx\n\t"
			 "mov %%rcx, %3\n\t"
			 "xchg %%r12, (%0)\n"
			 "1:\n\t"
			 "mov %%r12, (%2)"
			 :
			 : "r"(border), "r"(l->in), "r"(l->out), "m"(go_on_at)
			 : "rcx", "r12", "memory");
	trap_heal();
	trap_free_pages(pages);
	l->ret_len = 8;
	return trap_faults == 1;
}

/* Copies the payload to BEFORE bytes before the border, until the second page is missing. */
static char *cut_copy(struct lab *l, char **ret_border)
{
	char *pages = trap_pages(ret_border);
	char *volatile to;

	if (!pages || !take_away(*ret_border, PROT_NONE))
		return NULL;
	leave_on_fault();
	to = *ret_border - BEFORE;
	if (sigsetjmp(away, 1) == 0) {
		char *at = to, *from = l->in;
		size_t count = l->len;

		__asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(count) : : "memory");
	}
	trap_heal();
	if (trap_faults != 1 || !take_away(*ret_border, PROT_READ | PROT_WRITE))
		return NULL;
	return pages;
}

static bool cut_before(struct lab *l)
{
	char *border, *pages = cut_copy(l, &border);

	if (!pages)
		return false;
	trap_copy(l->out, border - BEFORE, BEFORE);
	trap_free_pages(pages);
	l->ret_len = BEFORE;
	return true;
}

static bool cut_after(struct lab *l)
{
	char *border, *pages = cut_copy(l, &border);

	if (!pages)
		return false;
	trap_copy(l->out, border, 200);
	trap_free_pages(pages);
	l->ret_len = 200;
	return true;
}

/* The whole copy, the page being brought half way. */
static bool cut_and_retried(struct lab *l)
{
	char *border, *pages = trap_pages(&border), *at, *from = l->in;
	size_t count = l->len;

	if (!pages || !take_away(border, PROT_NONE))
		return false;
	trap_heal_page(border);
	at = border - BEFORE;
	__asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(count) : : "memory");
	trap_heal();
	trap_copy(l->out, border - BEFORE, l->len);
	trap_free_pages(pages);
	return trap_faults == 1;
}

/* A system call that runs into a page which is not there: the kernel's copy ends early. */
static bool cut_system_call(struct lab *l)
{
	char *border, *pages = trap_pages(&border);
	int fd[2];
	bool ok = pages && take_away(border, PROT_NONE) && pipe(fd) == 0;

	if (!ok)
		return false;
	ok = lab_write_all(fd[1], l->in, l->len) && read(fd[0], border - BEFORE, l->len) != (ssize_t)l->len;
	close(fd[0]);
	close(fd[1]);
	ok = ok && take_away(border, PROT_READ | PROT_WRITE);
	trap_copy(l->out, border, 200);
	trap_free_pages(pages);
	l->ret_len = 200;
	return ok;
}

const struct lab_path trap_fault_paths[] = {
	{.name = "fault-store-read-only", .expect = LAB_EXACT, .run = retried_8_read_only},
	{.name = "fault-store-none", .expect = LAB_EXACT, .run = retried_8_none},
	{.name = "fault-store-16", .expect = LAB_EXACT, .run = retried_16, .size = 256},
	{.name = "fault-push", .expect = LAB_EXACT, .run = retried_push},
	{.name = "fault-pop", .expect = LAB_EXACT, .run = retried_pop},
	{.name = "fault-xchg", .expect = LAB_EXACT, .run = retried_exchange},
	{.name = "fault-rep-movsb", .expect = LAB_EXACT, .run = retried_string},
	{.name = "fault-load", .expect = LAB_EXACT, .run = retried_load},
	{.name = "fault-demand", .expect = LAB_EXACT, .run = demand},
	{.name = "fault-given-up", .expect = LAB_CLEAN, .run = given_up_8},
	{.name = "fault-given-up-16", .expect = LAB_CLEAN, .run = given_up_16},
	{.name = "fault-given-up-push", .expect = LAB_CLEAN, .run = given_up_push},
	{.name = "fault-given-up-xchg", .expect = LAB_CLEAN, .run = given_up_exchange},
	{.name = "fault-register-kept", .expect = LAB_EXACT, .run = kept_register},
	{.name = "fault-cut-before", .expect = LAB_EXACT, .run = cut_before},
	{.name = "fault-cut-after", .expect = LAB_CLEAN, .run = cut_after},
	{.name = "fault-cut-retried", .expect = LAB_EXACT, .run = cut_and_retried},
	{.name = "fault-cut-system-call", .expect = LAB_CLEAN, .run = cut_system_call},
};
const size_t trap_fault_count = sizeof(trap_fault_paths) / sizeof(trap_fault_paths[0]);
