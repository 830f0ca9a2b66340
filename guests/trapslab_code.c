/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Code that changes between runs or lies across two pages, and read-modify-write instructions with a lock prefix: what is
 * known of an instruction must be known of the bytes that run now.
 */
#include "trapslab.h"

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#define RUNS 50

/* mov (%rsi), %al; mov %al, (%rdi); ret */
static const uint8_t copy_code[] = {0x8a, 0x06, 0x88, 0x07, 0xc3};
/* mov $'x', %al; mov %al, (%rdi); ret */
static const uint8_t constant_code[] = {0xb0, 'x', 0x88, 0x07, 0xc3};
/* xor (%rsi), %al after the same, to have another length of block */
static const uint8_t both_code[] = {0xb0, 0, 0x32, 0x06, 0x90, 0x88, 0x07, 0xc3};

typedef void code_fn(char *to, const char *from);

static char *code_pages(void)
{
	char *pages = mmap(NULL, 2 * TRAP_PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return pages == MAP_FAILED ? NULL : pages;
}

static void call_code(char *at, char *to, const char *from)
{
	code_fn *fn;

	lab_opaque(at);
	memcpy(&fn, &at, sizeof(fn));
	fn(to, from);
}

static void run_code(char *at, const uint8_t *code, size_t size, char *to, const char *from)
{
	memcpy(at, code, size);
	call_code(at, to, from);
}

/* Copies all of the payload with code at an address, again and again over the code that was there. */
static bool alternate(struct lab *l, bool constants)
{
	static char other[LAB_MAX];
	char *at = code_pages();

	if (!at)
		return false;
	for (size_t i = 0; i < l->len; i++) {
		run_code(at, copy_code, sizeof(copy_code), constants ? other + i : l->out + i, l->in + i);
		run_code(at, constant_code, sizeof(constant_code), constants ? l->out + i : other + i, l->in + i);
	}
	munmap(at, 2 * TRAP_PAGE);
	return true;
}

static bool changed_copies(struct lab *l)
{
	return alternate(l, false);
}

static bool changed_constants(struct lab *l)
{
	return alternate(l, true);
}

/* Hot code that is changed once. */
static bool changed_late(struct lab *l)
{
	char *at = code_pages();

	if (!at)
		return false;
	for (int i = 0; i < RUNS; i++)
		run_code(at, constant_code, sizeof(constant_code), l->out, l->in);
	for (size_t i = 0; i < l->len; i++)
		run_code(at, both_code, sizeof(both_code), l->out + i, l->in + i);
	munmap(at, 2 * TRAP_PAGE);
	return true;
}

static bool changed_back(struct lab *l)
{
	char *at = code_pages();

	if (!at)
		return false;
	for (int i = 0; i < RUNS; i++)
		run_code(at, both_code, sizeof(both_code), l->out, l->in);
	for (size_t i = 0; i < l->len; i++)
		run_code(at, constant_code, sizeof(constant_code), l->out + i, l->in + i);
	munmap(at, 2 * TRAP_PAGE);
	return true;
}

/*
 * Code that rewrites the instruction right behind the one that writes, which must take effect at once:
 * movw $after, 0(%rip); before; mov %al, (%rdi); ret
 */
static bool change_next(struct lab *l, const uint8_t before[2], const uint8_t after[2])
{
	const uint8_t code[] = {0x66,	  0xc7,	    0x05,      0,	  0,	0,    0,
				after[0], after[1], before[0], before[1], 0x88, 0x07, 0xc3};
	char *at = code_pages();

	if (!at)
		return false;
	for (size_t i = 0; i < l->len; i++)
		run_code(at, code, sizeof(code), l->out + i, l->in + i);
	munmap(at, 2 * TRAP_PAGE);
	return true;
}

static const uint8_t load_al[2] = {0x8a, 0x06}, clear_eax[2] = {0x31, 0xc0};

static bool changed_to_copy(struct lab *l)
{
	return change_next(l, clear_eax, load_al) && memcmp(l->in, l->out, l->len) == 0;
}

static bool changed_to_constant(struct lab *l)
{
	return change_next(l, load_al, clear_eax) && l->out[0] == 0;
}

/* Each instruction of the code lies across the border once. */
static bool straddle(struct lab *l)
{
	char *at = code_pages();

	if (!at)
		return false;
	for (size_t i = 0; i < l->len; i++)
		run_code(at + TRAP_PAGE - i % (sizeof(copy_code) + 1), copy_code, sizeof(copy_code), l->out + i,
			 l->in + i);
	munmap(at, 2 * TRAP_PAGE);
	return true;
}

/* Only the part behind the border is changed: mov disp32(%rsi), %al with another displacement. */
static bool straddle_changed(struct lab *l)
{
	uint8_t code[] = {0x8a, 0x86, 0, 0, 0, 0, 0x88, 0x07, 0xc3};
	char *at = code_pages();

	if (!at)
		return false;
	run_code(at + TRAP_PAGE - 2, code, sizeof(code), l->out, l->in);
	for (size_t i = 0; i < l->len; i++) {
		uint32_t displacement = (uint32_t)i;

		memcpy(code + 2, &displacement, sizeof(displacement));
		memcpy(at + TRAP_PAGE, code + 2, sizeof(code) - 2);
		call_code(at + TRAP_PAGE - 2, l->out + i, l->in);
	}
	munmap(at, 2 * TRAP_PAGE);
	return true;
}

/* ---- lock prefixes ---- */

/* One instruction on the eight bytes of memory at %0 with the register %1. */
#define LOCKED(name, insn)                                                                                             \
	static void name(void *memory, uint64_t *value)                                                                \
	{                                                                                                              \
		__asm__ volatile("lock " insn : "+r"(*value) : "r"(memory) : "rax", "memory", "cc");                   \
	}

LOCKED(lock_add, "add %0, (%1)")
LOCKED(lock_xadd, "xadd %0, (%1)")
LOCKED(lock_xchg, "xchg %0, (%1)")
LOCKED(lock_or, "or %0, (%1)")
LOCKED(lock_bts, "btsq $5, (%1)")
LOCKED(lock_inc, "incq (%1)")
LOCKED(lock_neg, "negq (%1)")

/* Compare-and-exchange that succeeds: the payload in the register goes to memory. */
static void lock_cmpxchg(void *memory, uint64_t *value)
{
	__asm__ volatile("mov (%1), %%rax\n\tlock cmpxchg %0, (%1)"
			 : "+r"(*value)
			 : "r"(memory)
			 : "rax", "memory", "cc");
}

/* And one that fails: memory's bytes come to the register. */
static void lock_cmpxchg_fails(void *memory, uint64_t *value)
{
	__asm__ volatile("mov (%1), %%rax\n\tnot %%rax\n\tlock cmpxchg %0, (%1)\n\tmov %%rax, %0"
			 : "+r"(*value)
			 : "r"(memory)
			 : "rax", "memory", "cc");
}

typedef void locked_fn(void *memory, uint64_t *value);

/* The payload is in memory (else in the register), the result is what is in memory (else in the register) afterwards. */
static bool locked(struct lab *l, locked_fn *fn, bool from_memory, bool to_memory)
{
	for (size_t i = 0; i + 8 <= l->len; i += 8) {
		uint64_t memory = 1, value = 1;

		lab_opaque(&memory);
		memcpy(from_memory ? &memory : &value, l->in + i, 8);
		fn(lab_opaque(&memory), lab_opaque(&value));
		memcpy(l->out + i, to_memory ? &memory : &value, 8);
	}
	l->ret_len = l->len / 8 * 8;
	return true;
}

#define LOCKED_PATH(name, fn, from_memory, to_memory)                                                                  \
	static bool name(struct lab *l)                                                                                \
	{                                                                                                              \
		return locked(l, fn, from_memory, to_memory);                                                          \
	}

LOCKED_PATH(add_memory, lock_add, true, true)
LOCKED_PATH(add_value, lock_add, false, true)
LOCKED_PATH(xadd_old, lock_xadd, true, false)
LOCKED_PATH(xadd_sum, lock_xadd, true, true)
LOCKED_PATH(xchg_out, lock_xchg, true, false)
LOCKED_PATH(xchg_in, lock_xchg, false, true)
LOCKED_PATH(xchg_gone, lock_xchg, true, true)
LOCKED_PATH(or_memory, lock_or, true, true)
LOCKED_PATH(bts_memory, lock_bts, true, true)
LOCKED_PATH(inc_memory, lock_inc, true, true)
LOCKED_PATH(neg_memory, lock_neg, true, true)
LOCKED_PATH(cmpxchg_in, lock_cmpxchg, false, true)
LOCKED_PATH(cmpxchg_gone, lock_cmpxchg, true, true)
LOCKED_PATH(cmpxchg_fails, lock_cmpxchg_fails, true, false)
LOCKED_PATH(cmpxchg_stays, lock_cmpxchg_fails, true, true)

const struct lab_path trap_code_paths[] = {
	{.name = "code-changed-copies", .expect = LAB_EXACT, .run = changed_copies},
	{.name = "code-changed-constants", .expect = LAB_CLEAN, .run = changed_constants},
	{.name = "code-changed-late", .expect = LAB_EXACT, .run = changed_late},
	{.name = "code-changed-back", .expect = LAB_CLEAN, .run = changed_back},
	{.name = "code-next-to-copy", .expect = LAB_EXACT, .run = changed_to_copy},
	{.name = "code-next-to-constant", .expect = LAB_CLEAN, .run = changed_to_constant},
	{.name = "code-straddles", .expect = LAB_EXACT, .run = straddle},
	{.name = "code-straddles-changed", .expect = LAB_EXACT, .run = straddle_changed},
	{.name = "lock-add", .expect = LAB_ALL, .run = add_memory},
	{.name = "lock-add-value", .expect = LAB_ALL, .run = add_value},
	{.name = "lock-xadd-old", .expect = LAB_EXACT, .run = xadd_old},
	{.name = "lock-xadd-sum", .expect = LAB_ALL, .run = xadd_sum},
	{.name = "lock-xchg-out", .expect = LAB_EXACT, .run = xchg_out},
	{.name = "lock-xchg-in", .expect = LAB_EXACT, .run = xchg_in},
	{.name = "lock-xchg-gone", .expect = LAB_CLEAN, .run = xchg_gone},
	{.name = "lock-or", .expect = LAB_ALL, .run = or_memory},
	{.name = "lock-bts", .expect = LAB_ALL, .run = bts_memory},
	{.name = "lock-inc", .expect = LAB_ALL, .run = inc_memory},
	{.name = "lock-neg", .expect = LAB_ALL, .run = neg_memory},
	{.name = "lock-cmpxchg-in", .expect = LAB_EXACT, .run = cmpxchg_in},
	{.name = "lock-cmpxchg-gone", .expect = LAB_CLEAN, .run = cmpxchg_gone},
	{.name = "lock-cmpxchg-fails", .expect = LAB_EXACT, .run = cmpxchg_fails},
	{.name = "lock-cmpxchg-stays", .expect = LAB_EXACT, .run = cmpxchg_stays},
};
const size_t trap_code_count = sizeof(trap_code_paths) / sizeof(trap_code_paths[0]);
