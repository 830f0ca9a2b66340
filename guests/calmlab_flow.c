/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tricks of the calm lab with control flow: jumps out of functions, unwinding, signals, stacks of the program's own, code
 * made at run time, targets that the input chooses but does not give.
 */
#include "calmlab.h"

#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>
#include <unwind.h>

#define STACK_SIZE 65536
#define PAGE 4096

/* ---- jumps out of functions, over frames full of input ---- */

static jmp_buf back;
static sigjmp_buf signal_back;

static CALM_NOINLINE void dive(const char *text, int depth)
{
	char copy[CALM_TEXT_MAX];

	strcpy(copy, text);
	if (depth > 0)
		dive(copy, depth - 1);
	else if (copy[0])
		longjmp(back, 1 + (copy[0] & 7));
}

static const char *play_longjmp(const char *text)
{
	int value = setjmp(back);

	if (value == 0)
		dive(text, 1 + (text[0] & 3));
	return calm_say("jumped", value);
}

static long cleaned;

static void clean(char (*copy)[CALM_TEXT_MAX])
{
	cleaned += calm_sum(*copy);
}

static jmp_buf *landing;

static _Unwind_Reason_Code stop(int version, _Unwind_Action actions, _Unwind_Exception_Class class,
				struct _Unwind_Exception *exception, struct _Unwind_Context *context, void *bottom)
{
	(void)version, (void)class, (void)exception;
	if ((uintptr_t)_Unwind_GetCFA(context) > (uintptr_t)bottom || (actions & _UA_END_OF_STACK))
		longjmp(*landing, 1);
	return _URC_NO_REASON;
}

/* Frames are left by unwinding, each through its landing pad, as exceptions do it. */
static CALM_NOINLINE void throw(const char *text, int depth, void *bottom)
{
	static struct _Unwind_Exception exception;
	__attribute__((cleanup(clean))) char copy[CALM_TEXT_MAX];

	strcpy(copy, text);
	if (depth > 0)
		throw(copy, depth - 1, bottom);
	else if (copy[0])
		_Unwind_ForcedUnwind(&exception, stop, bottom);
}

static const char *play_unwind(const char *text)
{
	jmp_buf here;

	landing = &here;
	cleaned = 0;
	if (setjmp(here) == 0)
		throw(text, 1 + (text[0] & 3), __builtin_frame_address(0));
	return calm_say("unwound", cleaned);
}

/* ---- signals ---- */

static volatile long handled;
static char *volatile guarded;

static void on_signal(int number)
{
	char copy[CALM_TEXT_MAX];

	snprintf(copy, sizeof(copy), "signal %d", number);
	handled += (long)strlen(copy);
}

static const char *play_signal(const char *text)
{
	char copy[CALM_TEXT_MAX];

	strcpy(copy, text);
	handled = 0;
	signal(SIGUSR1, on_signal);
	for (int i = 0; i < 1 + (copy[0] & 3); i++)
		raise(SIGUSR1);
	return calm_say(copy, handled);
}

static void on_write(int number, siginfo_t *info, void *context)
{
	char *page = (char *)((uintptr_t)info->si_addr & ~(uintptr_t)(PAGE - 1));

	(void)number, (void)context;
	if (page != guarded || mprotect(page, PAGE, PROT_READ | PROT_WRITE) < 0)
		siglongjmp(signal_back, 1);
	handled++;
}

/* As collectors of garbage do it: the first write to a page faults, at an index from the input. */
static const char *play_barrier(const char *text)
{
	struct sigaction action = {.sa_sigaction = on_write, .sa_flags = SA_SIGINFO};
	volatile char seen = 0;

	guarded = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (guarded == MAP_FAILED)
		return "no memory";
	sigaction(SIGSEGV, &action, NULL);
	handled = 0;
	if (sigsetjmp(signal_back, 1) == 0) {
		for (int i = 0; text[i]; i++)
			guarded[(unsigned char)text[i] * 16] += 1;
		seen = guarded[(unsigned char)text[0] * 16];
	}
	munmap(guarded, PAGE);
	signal(SIGSEGV, SIG_DFL);
	return calm_say(seen > 0 ? "faulted" : "failed", handled);
}

/* ---- stacks of the program's own ---- */

static ucontext_t main_context, coroutine;
static char stack[STACK_SIZE] __attribute__((aligned(16)));
static char passed[CALM_TEXT_MAX];
static long made;

static void run_coroutine(void)
{
	char copy[CALM_TEXT_MAX];

	for (;;) {
		strcpy(copy, passed);
		made += calm_sum(copy);
		swapcontext(&coroutine, &main_context);
	}
}

static const char *play_coroutine(const char *text)
{
	made = 0;
	getcontext(&coroutine);
	coroutine.uc_stack.ss_sp = stack;
	coroutine.uc_stack.ss_size = sizeof(stack);
	makecontext(&coroutine, run_coroutine, 0);
	for (int i = 0; i < 2 + (text[0] & 3); i++) {
		snprintf(passed, sizeof(passed), "%s", text + (i < (int)strlen(text) ? i : 0));
		swapcontext(&main_context, &coroutine);
	}
	return calm_say("made", made);
}

static const char *play_fork(const char *text)
{
	char copy[CALM_TEXT_MAX];
	int status = 0;
	pid_t pid;

	strcpy(copy, text);
	pid = fork();
	if (pid == 0)
		_exit((int)(calm_sum(copy) & 0x7f));
	waitpid(pid, &status, 0);
	return calm_say("child", WEXITSTATUS(status));
}

/* ---- code made at run time ---- */

/* Operators are compiled for each letter of the input, with the letter as operand: mov, add or xor eax, ...; ret. */
static const char *play_jit(const char *text)
{
	static const unsigned char operators[] = {0x05, 0x35, 0x2d};
	unsigned char *code = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned char *at = code;
	uint32_t operand, result;

	if (code == MAP_FAILED)
		return "no memory";
	*at++ = 0x31; /* xor eax, eax */
	*at++ = 0xc0;
	for (; *text; text++) {
		*at++ = operators[(unsigned char)*text % sizeof(operators)];
		operand = (unsigned char)*text;
		memcpy(at, &operand, sizeof(operand));
		at += sizeof(operand);
	}
	*at = 0xc3;
	if (mprotect(code, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC) < 0)
		return "no code";
	result = ((uint32_t(*)(void))(uintptr_t)code)();
	munmap(code, PAGE);
	return calm_say("compiled", (long)(result & 0xffff));
}

/* ---- targets that the input chooses ---- */

static long add_one(long n)
{
	return n + 1;
}

static long twice(long n)
{
	return 2 * n;
}

static long negate(long n)
{
	return -n;
}

typedef long (*operation)(long n);

static const operation operations[] = {add_one, twice, negate, twice};

static const char *play_dispatch(const char *text)
{
	long n = 1;

	for (int i = 0; text[i]; i++)
		n = operations[text[i] & 3](n) & 0xffff;
	return calm_say("dispatched", n);
}

/* The table is made on the stack, in the order that the input says. */
static const char *play_table(const char *text)
{
	operation table[8] = {add_one, add_one, add_one, add_one, add_one, add_one, add_one, add_one};
	long n = 1;

	for (int i = 0; text[i]; i++)
		table[text[i] & 7] = operations[(text[i] >> 3) & 3];
	for (int i = 0; text[i]; i++)
		n = table[(text[i] >> 1) & 7](n) & 0xffff;
	return calm_say("tabled", n);
}

static const char *play_switch(const char *text)
{
	long n = 0;

	for (; *text; text++) {
		switch (*text & 15) {
		case 0:
			n += 3;
			break;
		case 1:
			n ^= 5;
			break;
		case 2:
			n -= 7;
			break;
		case 3:
			n += 11;
			break;
		case 4:
			n ^= 13;
			break;
		case 5:
			n += calm_sum(text);
			break;
		case 6:
			n -= 17;
			break;
		case 7:
			n ^= 19;
			break;
		case 8:
			n = -n;
			break;
		case 9:
			n += 23;
			break;
		case 10:
			n ^= calm_sum(text);
			break;
		case 11:
			n -= 29;
			break;
		default:
			n += 1;
			break;
		}
	}
	return calm_say("switched", n);
}

static int by_letter(const void *a, const void *b)
{
	return *(const char *)a - *(const char *)b;
}

static const char *play_sort(const char *text)
{
	static char sorted[CALM_TEXT_MAX];

	snprintf(sorted, sizeof(sorted), "%s", text);
	qsort(sorted, strlen(sorted), 1, by_letter);
	return sorted;
}

const struct calm_trick calm_flow_tricks[] = {
	{"longjmp", play_longjmp},     {"unwind", play_unwind}, {"signal", play_signal}, {"barrier", play_barrier},
	{"coroutine", play_coroutine}, {"fork", play_fork},	{"jit", play_jit},	 {"dispatch", play_dispatch},
	{"table", play_table},	       {"switch", play_switch}, {"sort", play_sort},	 {NULL, NULL},
};
