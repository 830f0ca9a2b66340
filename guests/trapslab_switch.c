/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Signals and context switches in the middle of what is followed, and many threads at once: labels of registers go with
 * the thread that they belong to, and nothing hangs.
 */
#include "trapslab.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#define SIGNALS 20
#define THREADS 6
#define ROUNDS 10
#define HELD 96 /* bytes of payload that hold_registers() takes: 4 x 8 and 4 x 16 */

static volatile int signals;

/* Leaves no register as it was. */
static void clobber(void)
{
	__asm__ volatile("xor %%ecx, %%ecx\n\txor %%edx, %%edx\n\txor %%esi, %%esi\n\txor %%edi, %%edi\n\t"
			 "xor %%r8d, %%r8d\n\txor %%r9d, %%r9d\n\txor %%r10d, %%r10d\n\txor %%r11d, %%r11d\n\t"
			 "xor %%r12d, %%r12d\n\txor %%r13d, %%r13d\n\txor %%r14d, %%r14d\n\txor %%r15d, %%r15d\n\t"
			 "pxor %%xmm4, %%xmm4\n\tpxor %%xmm5, %%xmm5\n\tpxor %%xmm6, %%xmm6\n\tpxor %%xmm7, %%xmm7"
			 :
			 :
			 : "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "xmm4",
			   "xmm5", "xmm6", "xmm7");
}

static void on_alarm(int signo)
{
	(void)signo;
	clobber();
	signals++;
}

/*
 * Takes HELD bytes into registers, spins until *counter has reached target, puts them into memory. Nothing but the
 * registers holds them meanwhile, and between has been run by others.
 */
static void hold_registers(char *to, const char *from, volatile int *counter, int target)
{
	__asm__ volatile("mov (%1), %%r12\n\tmov 8(%1), %%r13\n\tmov 16(%1), %%r14\n\tmov 24(%1), %%r15\n\t"
			 "movdqu 32(%1), %%xmm4\n\tmovdqu 48(%1), %%xmm5\n\tmovdqu 64(%1), %%xmm6\n\t"
			 "movdqu 80(%1), %%xmm7\n"
			 "1:\tpause\n\tcmp %3, (%2)\n\tjl 1b\n\t"
			 "mov %%r12, (%0)\n\tmov %%r13, 8(%0)\n\tmov %%r14, 16(%0)\n\tmov %%r15, 24(%0)\n\t"
			 "movdqu %%xmm4, 32(%0)\n\tmovdqu %%xmm5, 48(%0)\n\tmovdqu %%xmm6, 64(%0)\n\t"
			 "movdqu %%xmm7, 80(%0)\n\t"
			 "pxor %%xmm4, %%xmm4\n\tpxor %%xmm5, %%xmm5\n\tpxor %%xmm6, %%xmm6\n\tpxor %%xmm7, %%xmm7"
			 :
			 : "r"(to), "r"(from), "r"(counter), "r"(target)
			 : "r12", "r13", "r14", "r15", "xmm4", "xmm5", "xmm6", "xmm7", "memory", "cc");
}

static bool with_timer(int ms, void (*run)(void *arg), void *arg)
{
	struct itimerval every = {{0, ms * 1000}, {0, ms * 1000}}, off = {0};
	struct sigaction on = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};

	signals = 0;
	if (sigaction(SIGALRM, &on, NULL) < 0 || setitimer(ITIMER_REAL, &every, NULL) < 0)
		return false;
	run(arg);
	setitimer(ITIMER_REAL, &off, NULL);
	signal(SIGALRM, SIG_IGN);
	return true;
}

static void hold_until_signals(void *arg)
{
	struct lab *l = arg;

	hold_registers(l->out, l->in, &signals, SIGNALS);
}

/* The kernel saves the registers on the stack of the program for the handler, and takes them back. */
static bool signals_hold(struct lab *l)
{
	l->ret_len = HELD;
	return l->len >= HELD && with_timer(2, hold_until_signals, l);
}

/* Copies in a loop, interrupted at any place. */
static void copy_until_signals(void *arg)
{
	struct lab *l = arg;

	while (signals < SIGNALS) {
		memset(l->out, 0, LAB_MAX);
		trap_copy(l->out, l->in, l->len);
	}
}

static bool signals_copy(struct lab *l)
{
	return with_timer(2, copy_until_signals, l);
}

/* Constants, while signals interrupt code that has the payload in registers all the time. */
static char handler_out[64];

static void on_alarm_write(int signo)
{
	(void)signo;
	clobber();
	__asm__ volatile("mov %%r12, (%0)\n\tmov %%r15, 8(%0)\n\tmovdqu %%xmm4, 16(%0)\n\tmovdqu %%xmm7, 32(%0)"
			 :
			 : "r"(handler_out)
			 : "memory");
	signals++;
}

static bool signals_clean(struct lab *l)
{
	struct itimerval every = {{0, 2000}, {0, 2000}}, off = {0};

	signals = 0;
	signal(SIGALRM, on_alarm_write);
	setitimer(ITIMER_REAL, &every, NULL);
	hold_registers(l->out, l->in, &signals, SIGNALS);
	setitimer(ITIMER_REAL, &off, NULL);
	signal(SIGALRM, SIG_IGN);
	l->at = handler_out;
	l->ret_len = 48;
	return true;
}

/* ---- two threads that take turns ---- */

static struct {
	volatile int turns; /* of the clean thread */
	volatile bool over;
	char out[HELD];
} clean;

/* Yields between, so that both are switched to and from in the kernel. */
static void *run_clean(void *arg)
{
	static const char constants[HELD] = "constants that have nothing to do with what the other thread has";
	int one = 1;

	(void)arg;
	while (!clean.over) {
		hold_registers(clean.out, constants, &one, 1);
		usleep(1000);
		hold_registers(clean.out, constants, &one, 1);
		clean.turns++;
	}
	return NULL;
}

static bool switches(struct lab *l)
{
	pthread_t other;

	clean.turns = 0;
	clean.over = false;
	l->ret_len = HELD;
	if (l->len < HELD || (errno = pthread_create(&other, NULL, run_clean, NULL)) != 0)
		return false;
	hold_registers(l->out, l->in, &clean.turns, SIGNALS);
	clean.over = true;
	return pthread_join(other, NULL) == 0;
}

static bool switches_clean(struct lab *l)
{
	if (!switches(l))
		return false;
	l->at = clean.out;
	return true;
}

/* ---- many at once ---- */

static struct {
	struct lab *lab;
	volatile long counter;
	pthread_mutex_t lock;
	volatile int failed;
} crowd = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Each has its part of the result, and all have a counter, a lock and the address space in common. */
static void *run_one_of_many(void *arg)
{
	size_t me = (size_t)(uintptr_t)arg, part = LAB_MAX / THREADS;
	char *mine = crowd.lab->out + me * part;

	for (int i = 0; i < ROUNDS; i++) {
		char *page = mmap(NULL, TRAP_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (page == MAP_FAILED) {
			crowd.failed = 1;
			break;
		}
		memcpy(page, crowd.lab->in, part);
		pthread_mutex_lock(&crowd.lock);
		memcpy(mine, page, part);
		pthread_mutex_unlock(&crowd.lock);
		__atomic_add_fetch(&crowd.counter, mine[0], __ATOMIC_SEQ_CST);
		mprotect(page, TRAP_PAGE, PROT_READ);
		munmap(page, TRAP_PAGE);
	}
	return NULL;
}

static bool run_crowd(struct lab *l)
{
	pthread_t threads[THREADS];
	size_t n = 0;

	if (l->len < LAB_MAX / THREADS)
		return false;
	crowd.lab = l;
	crowd.counter = crowd.failed = 0;
	while (n < THREADS && pthread_create(&threads[n], NULL, run_one_of_many, (void *)(uintptr_t)n) == 0)
		n++;
	for (size_t i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	l->ret_len = LAB_MAX / THREADS;
	return n == THREADS && !crowd.failed && crowd.counter == (long)l->in[0] * THREADS * ROUNDS;
}

/* The last thread's part. */
static bool crowd_copies(struct lab *l)
{
	if (!run_crowd(l))
		return false;
	l->at = l->out + (THREADS - 1) * (LAB_MAX / THREADS);
	return true;
}

static bool crowd_counter(struct lab *l)
{
	if (!run_crowd(l))
		return false;
	l->at = (const void *)&crowd.counter;
	l->ret_len = 3;
	return true;
}

const struct lab_path trap_switch_paths[] = {
	{.name = "signals-registers", .expect = LAB_EXACT, .run = signals_hold, .size = HELD},
	{.name = "signals-copy", .expect = LAB_EXACT, .run = signals_copy, .size = 1000},
	{.name = "signals-handler", .expect = LAB_CLEAN, .run = signals_clean, .size = HELD},
	{.name = "switches-registers", .expect = LAB_EXACT, .run = switches, .size = HELD},
	{.name = "switches-other", .expect = LAB_CLEAN, .run = switches_clean, .size = HELD},
	{.name = "crowd-copies", .expect = LAB_EXACT, .run = crowd_copies, .size = 700},
	{.name = "crowd-counter", .expect = LAB_ALL, .run = crowd_counter, .size = 700},
};
const size_t trap_switch_count = sizeof(trap_switch_paths) / sizeof(trap_switch_paths[0]);
