/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Native runs: the code around the instruction, and what catches its faults. */
#include "cpu.h"

#include <cpuid.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define IN_AT 0x20000000ul
#define OUT_AT 0x20001000ul
#define HOST_RSP_AT 0x20002000ul
#define IN_FX_AT 0x20000800ul
#define OUT_FX_AT 0x20001800ul
#define CODE_AT 0x21000000ul
#define DATA_AT 0x22000000ul

#define TOP_MASK 0x3800u
#define MXCSR_DEFAULT 0x1f80u

/* The part of an fxsave area that is of use here. */
struct fx_area {
	uint16_t fcw, fsw;
	uint8_t tags, pad0[3];
	uint8_t pointers[16];
	uint32_t mxcsr, mxcsr_mask;
	uint8_t st[8][16];
	uint8_t rest[352];
};
static_assert(sizeof(struct fx_area) == 512, "as the processor has it");

static sigjmp_buf fault_jump;
static volatile sig_atomic_t fault_expected; /* the tested instruction runs */
static unsigned long long runs;
static bool with_x87;

static void on_fault(int sig)
{
	if (!fault_expected) {
		signal(sig, SIG_DFL);
		return;
	}
	fault_expected = 0;
	siglongjmp(fault_jump, sig);
}

static void die(const char *what)
{
	perror(what);
	exit(2);
}

static void map_at(unsigned long at, size_t size, int prot)
{
	if (mmap((void *)at, size, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != (void *)at)
		die("mmap");
}

static void catch_faults(void)
{
	static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP};
	static uint8_t stack[65536];
	stack_t ss = {.ss_sp = stack, .ss_size = sizeof(stack)};
	struct sigaction sa = {.sa_handler = on_fault, .sa_flags = SA_ONSTACK | SA_NODEFER};

	if (sigaltstack(&ss, NULL))
		die("sigaltstack");
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		if (sigaction(signals[i], &sa, NULL))
			die("sigaction");
}

void cpu_init(void)
{
	map_at(IN_AT, 0x3000, PROT_READ | PROT_WRITE);
	map_at(CODE_AT, 0x1000, PROT_READ | PROT_WRITE | PROT_EXEC);
	map_at(DATA_AT, 0x1000, PROT_READ | PROT_WRITE);
	catch_faults();
}

static uint8_t *put(uint8_t *p, const void *bytes, size_t n)
{
	memcpy(p, bytes, n);
	return p + n;
}

/* An instruction of up to three bytes with register r and the memory operand [disp32]. */
static uint8_t *put_abs(uint8_t *p, const char *op, size_t n, unsigned r, unsigned long at)
{
	uint8_t tail[6] = {(uint8_t)(0x04 | (r & 7u) << 3), 0x25};
	uint32_t disp = (uint32_t)at;

	memcpy(tail + 2, &disp, 4);
	p = put(p, op, n);
	return put(p, tail, sizeof(tail));
}

static uint8_t *put_gprs(uint8_t *p, const char *low, const char *high, unsigned long base)
{
	for (unsigned r = 0; r < 16; r++)
		p = put_abs(p, r < 8 ? low : high, 2, r, base + TAINT_REG_GPR + 8 * r);
	return p;
}

static uint8_t *put_ymms(uint8_t *p, const char *low, const char *high, unsigned long base)
{
	for (unsigned r = 0; r < 16; r++)
		p = put_abs(p, r < 8 ? low : high, 3, r, base + TAINT_REG_YMM + 32 * r);
	return p;
}

/* A function without arguments: loads all registers, runs the instruction, stores all registers. */
void cpu_assemble(const uint8_t *code, unsigned len, bool x87)
{
	uint8_t *p = (uint8_t *)CODE_AT;

	with_x87 = x87;
	p = put(p, "\x53\x55\x41\x54\x41\x55\x41\x56\x41\x57", 10);
	p = put_abs(p, "\x48\x89", 2, 4, HOST_RSP_AT);
	if (x87)
		p = put_abs(p, "\x48\x0f\xae", 3, 1, IN_FX_AT);
	p = put_ymms(p, "\xc5\xfe\x6f", "\xc5\x7e\x6f", IN_AT);
	p = put_abs(p, "\xff", 1, 6, IN_AT + TAINT_REG_FLAGS);
	p = put(p, "\x9d", 1);
	p = put_gprs(p, "\x48\x8b", "\x4c\x8b", IN_AT);
	p = put(p, code, len);
	p = put_gprs(p, "\x48\x89", "\x4c\x89", OUT_AT);
	p = put_abs(p, "\x48\x8b", 2, 4, HOST_RSP_AT);
	p = put(p, "\x9c", 1);
	p = put_abs(p, "\x8f", 1, 0, OUT_AT + TAINT_REG_FLAGS);
	p = put_ymms(p, "\xc5\xfe\x7f", "\xc5\x7e\x7f", OUT_AT);
	if (x87) {
		p = put_abs(p, "\x48\x0f\xae", 3, 0, OUT_FX_AT);
		p = put(p, "\xdb\xe3", 2);
	}
	put(p, "\xc5\xf8\x77\x41\x5f\x41\x5e\x41\x5d\x41\x5c\x5d\x5b\xc3", 14);
}

static void load_x87(const uint8_t *image)
{
	struct fx_area fx = {.mxcsr = MXCSR_DEFAULT, .tags = image[IMAGE_TAGS]};

	memcpy(&fx.fcw, image + IMAGE_FCW, 2);
	memcpy(&fx.fsw, image + IMAGE_FSW, 2);
	for (unsigned i = 0; i < 8; i++)
		memcpy(fx.st[i], image + TAINT_REG_MM + 16 * i, X87_REG_BYTES);
	memcpy((void *)IN_FX_AT, &fx, sizeof(fx));
}

static void store_x87(uint8_t *ret)
{
	const struct fx_area *fx = (const struct fx_area *)OUT_FX_AT;
	unsigned top = fx->fsw >> 11 & 7u;
	uint16_t fsw = fx->fsw & (uint16_t)~TOP_MASK;

	memset(ret + TAINT_REG_MM, 0, REGS - TAINT_REG_MM);
	for (unsigned i = 0; i < 8; i++)
		memcpy(ret + TAINT_REG_MM + 16 * ((i + top) & 7u), fx->st[i], X87_REG_BYTES);
	memcpy(ret + IMAGE_FSW, &fsw, 2);
}

bool cpu_run(const uint8_t *image, unsigned window, uint8_t *ret)
{
	uint64_t flags;

	runs++;
	memcpy((void *)IN_AT, image, TAINT_REG_MM);
	memcpy((void *)WINDOW_AT, image + REGS, window);
	if (with_x87)
		load_x87(image);
	if (sigsetjmp(fault_jump, 0))
		return false;
	fault_expected = 1;
	((void (*)(void))CODE_AT)();
	fault_expected = 0;
	memcpy(ret, (void *)OUT_AT, TAINT_REG_MM);
	memcpy(ret + REGS, (void *)WINDOW_AT, window);
	if (with_x87)
		store_x87(ret);
	else
		memcpy(ret + TAINT_REG_MM, image + TAINT_REG_MM, REGS - TAINT_REG_MM);
	memcpy(&flags, ret + TAINT_REG_FLAGS, 8);
	flags &= STATUS_FLAGS;
	memcpy(ret + TAINT_REG_FLAGS, &flags, 8);
	return true;
}

unsigned long long cpu_runs(void)
{
	return runs;
}

bool cpu_has(unsigned leaf, unsigned subleaf, unsigned reg, unsigned bit)
{
	unsigned r[4];

	if (!__get_cpuid_count(leaf, subleaf, &r[0], &r[1], &r[2], &r[3]))
		return false;
	return r[reg] >> bit & 1u;
}
