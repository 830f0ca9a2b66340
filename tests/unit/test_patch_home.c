/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guards in a process's own memory: the code that maps the page is run by the real CPU in this very process; where the page
 * goes and who is sent to the code is asked of a made-up guest.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "patch/home.h"

#define PAGE 4096u

/* --- the guest --------------------------------------------------------------------------------------------- */

#define STACK 0x7fff0000ull
#define STACK_SIZE 0x2000u
#define VDSO 0x7ffe0000ull
#define VDSO_SIZE 0x2000u
#define SITE 0x401ffaull

static struct {
	struct vmi_vma vma[8];
	int n_vma;
	struct vmi_thread thread[4], went[4];
	int n_threads;
	size_t others;
	struct gva ip[4], sp[4];
	int n_went;
	uint8_t stack[STACK_SIZE], vdso[VDSO_SIZE], site[32];
	bool stack_readonly, no_vdso;
} guest;

int vmi_maps(struct vmi *v, const struct vmi_task *t, struct vmi_vma *ret, size_t max, struct err *e)
{
	(void)v;
	(void)t;
	(void)e;
	assert_true(max > 8);
	memcpy(ret, guest.vma, sizeof(guest.vma));
	return guest.n_vma;
}

int vmi_threads_waiting(struct vmi *v, const struct vmi_task *t, struct vmi_thread *ret, size_t max,
			size_t *ret_n_other, struct err *e)
{
	(void)v;
	(void)t;
	(void)e;
	assert_true(max >= 4);
	memcpy(ret, guest.thread, sizeof(guest.thread));
	*ret_n_other = guest.others;
	return guest.n_threads;
}

bool vmi_thread_redirect(struct vmi *v, const struct vmi_thread *th, struct gva ip, struct gva sp)
{
	(void)v;
	guest.went[guest.n_went] = *th;
	guest.ip[guest.n_went] = ip;
	guest.sp[guest.n_went++] = sp;
	return true;
}

int vmi_vdso_find(struct vmi *v, const struct vmi_task *t, struct vmi_vdso *ret, struct err *e)
{
	(void)v;
	(void)t;
	*ret = (struct vmi_vdso){{VDSO}, VDSO_SIZE, {0}};
	return guest.no_vdso ? err_set(e, ERR_GUEST, "none") : 0;
}

bool vmi_vdso_read(struct vmi *v, const struct vmi_vdso *d, uint64_t offset, void *ret, size_t len)
{
	(void)v;
	assert_true(offset + len <= d->size);
	memcpy(ret, guest.vdso + offset, len);
	return true;
}

bool vmi_vdso_write(struct vmi *v, const struct vmi_vdso *d, uint64_t offset, const void *buf, size_t len)
{
	(void)v;
	assert_true(offset + len <= d->size);
	memcpy(guest.vdso + offset, buf, len);
	return true;
}

bool vmi_translate(const struct vmi_space *s, struct gva at, struct vmi_page *ret)
{
	(void)s;
	*ret = (struct vmi_page){.user = true, .writable = !guest.stack_readonly};
	return at.v >= STACK && at.v < STACK + STACK_SIZE;
}

bool vmi_task_read(struct vmi *v, const struct vmi_task *t, struct gva at, void *ret, size_t len)
{
	(void)v;
	(void)t;
	if (at.v >= SITE && at.v - SITE + len <= sizeof(guest.site))
		memcpy(ret, guest.site + (at.v - SITE), len);
	else if (at.v >= STACK && at.v - STACK + len <= STACK_SIZE)
		memcpy(ret, guest.stack + (at.v - STACK), len);
	else
		return false;
	return true;
}

bool vmi_task_write(struct vmi *v, const struct vmi_task *t, struct gva at, const void *buf, size_t len)
{
	(void)v;
	(void)t;
	if (at.v < STACK || at.v - STACK + len > STACK_SIZE)
		return false;
	memcpy(guest.stack + (at.v - STACK), buf, len);
	return true;
}

/* --- the code, run ----------------------------------------------------------------------------------------- */

/* Goes to `entry` with that stack pointer and these registers (x86 order); what they are behind it is put there. */
void home_run(uint64_t entry, uint64_t sp, uint64_t regs[16]);
extern const uint8_t home_back[];
extern uint8_t home_again; /* it came back 2 bytes before */
__asm__(".text\n"
	".globl home_run, home_back\n"
	"home_run:\n"
	"	push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
	"	mov %rsp, home_sp(%rip)\n"
	"	mov %rdi, home_entry(%rip); mov %rdx, home_regs(%rip)\n"
	"	mov %rsi, %rsp\n"
	"	mov (%rdx), %rax; mov 24(%rdx), %rbx; mov 40(%rdx), %rbp; mov 48(%rdx), %rsi; mov 56(%rdx), %rdi\n"
	"	mov 64(%rdx), %r8; mov 72(%rdx), %r9; mov 80(%rdx), %r10; mov 96(%rdx), %r12; mov 104(%rdx), %r13\n"
	"	mov 112(%rdx), %r14; mov 120(%rdx), %r15; mov 16(%rdx), %rdx\n"
	"	clc\n"
	"	jmp *home_entry(%rip)\n"
	"	stc; nop\n" /* two bytes */
	"home_back:\n"
	"	setc home_again(%rip)\n"
	"	mov home_regs(%rip), %rcx\n"
	"	mov %rax, (%rcx); mov %rdx, 16(%rcx); mov %rbx, 24(%rcx); mov %rsp, 32(%rcx); mov %rbp, 40(%rcx)\n"
	"	mov %rsi, 48(%rcx); mov %rdi, 56(%rcx); mov %r8, 64(%rcx); mov %r9, 72(%rcx); mov %r10, 80(%rcx)\n"
	"	mov %r12, 96(%rcx); mov %r13, 104(%rcx); mov %r14, 112(%rcx); mov %r15, 120(%rcx)\n"
	"	mov home_sp(%rip), %rsp\n"
	"	pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
	"	ret\n"
	".bss\n"
	".balign 8\n"
	"home_sp: .skip 8\n"
	"home_entry: .skip 8\n"
	"home_regs: .skip 8\n"
	".globl home_again\n"
	"home_again: .skip 1\n"
	".text\n");

static uint8_t *pages(size_t n, int prot)
{
	uint8_t *p = mmap(NULL, n * PAGE, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(p, MAP_FAILED);
	return p;
}

/* How the page at p is mapped: "r-x"; "" if it is not. */
static const char *mapped(const void *p)
{
	static char prot[8];
	FILE *f = fopen("/proc/self/maps", "re");
	uint64_t low, high;
	char line[512];

	assert_non_null(f);
	*prot = '\0';
	while (fgets(line, sizeof(line), f)) {
		char now[8];

		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %3s", &low, &high, now) == 3 && low <= (uintptr_t)p &&
		    (uintptr_t)p < high)
			memcpy(prot, now, 4);
	}
	fclose(f);
	return prot;
}

/* From the entry, or from 2 bytes before; all registers must come back but rcx and r11. */
static void run_code(const uint8_t *entry, bool again, struct home_block *b)
{
	static uint8_t stack[8192];
	uint64_t in[16], out[16], sp = ((uintptr_t)stack + sizeof(stack) - 64) & ~7ull;

	for (unsigned k = 0; k < 16; k++)
		in[k] = out[k] = 0x1111111111111111ull * k + 5;
	b->ip = (uintptr_t)home_back;
	memset(stack, 0x77, sizeof(stack));
	memcpy((void *)(uintptr_t)(sp - HOME_BLOCK_BELOW), b, sizeof(*b));
	home_run((uintptr_t)entry - (again ? 2 : 0), sp - HOME_BLOCK_BELOW, out);
	assert_int_equal(home_again, again);
	in[4] = sp;
	for (unsigned k = 0; k < 16; k++)
		if (k != 1 && k != 11)
			assert_int_equal(out[k], in[k]);
	for (uint64_t k = sp - 128; k < (uintptr_t)stack + sizeof(stack); k++) /* the red zone and what is above */
		assert_int_equal(*(uint8_t *)(uintptr_t)k, 0x77);
}

static void test_code(void **state)
{
	uint8_t *text = pages(2, PROT_READ | PROT_WRITE), *code = pages(1, PROT_READ | PROT_WRITE | PROT_EXEC);
	uint8_t *guard = pages(1, PROT_NONE), want[2 * PAGE];
	struct home_block b = {.guard_page = (uintptr_t)guard,
			       .code_page = (uintptr_t)text,
			       .code_len = 2 * PAGE,
			       .site = (uintptr_t)text + PAGE - 3,
			       .site_bytes = "sixteen bytes...",
			       .guard_len = 100};
	uint64_t entry;

	(void)state;
	for (unsigned k = 0; k < 2; k++) {
		memset(text, 0x90, 2ul * PAGE);
		memset(want, 0x90, 2ul * PAGE);
		mprotect(text, 2ul * PAGE, PROT_READ | PROT_EXEC);
		memset(b.guard, 0x5a, sizeof(b.guard));
		munmap(guard, PAGE);
		home_code(code, &entry);
		run_code(code + entry, k, &b);
		memcpy(want + PAGE - 3, b.site_bytes, 16);
		assert_memory_equal(text, want, 2 * PAGE);
		assert_memory_equal(guard, b.guard, 100);
		assert_int_equal(guard[100], 0);
		assert_string_equal(mapped(guard), "r-x");
		assert_string_equal(mapped(text), "r-x");
		/* another thread comes, and what it finds is kept */
		b.site_bytes[0] ^= 1;
		b.guard[0] ^= 1;
		run_code(code + entry, k, &b);
		assert_memory_equal(text, want, 2 * PAGE);
		assert_int_equal(guard[0], 0x5a);
		mprotect(text, 2ul * PAGE, PROT_READ | PROT_WRITE);
	}
	/* code that cannot be made writable */
	munmap(guard, PAGE);
	munmap(text, 2ul * PAGE);
	run_code(code + entry, false, &b);
	assert_string_equal(mapped(text), "");
	munmap(guard, PAGE);
	munmap(code, PAGE);
}

/* --- where ------------------------------------------------------------------------------------------------- */

static const struct vmi_module module = {.path = "prog", .low = {0x400000}, .high = {0x480000}};

static int find(struct gva *ret, const struct vmi_vma *vma, int n)
{
	const struct vmi_task t = {.tgid = 7};
	struct err e;

	memset(&guest, 0, sizeof(guest));
	memcpy(guest.vma, vma, (size_t)n * sizeof(*vma));
	guest.n_vma = n;
	return home_find(NULL, &t, &module, gva(SITE), ret, &e);
}

#define MODULE_MAPS                                                                                                    \
	{.start = {0x400000}, .end = {0x440000}},                                                                      \
	{                                                                                                              \
		.start = {0x450000}, .end = { 0x480000 }                                                               \
	}

static void test_where(void **state)
{
	const struct vmi_vma below[] = {MODULE_MAPS, {.start = {0x480000}, .end = {0x500000}}};
	const struct vmi_vma above[] = {
		{.start = {0x10000}, .end = {0x400000}}, MODULE_MAPS, {.start = {0x481000}, .end = {0x500000}}};
	const struct vmi_vma wide[] = {{.start = {0x10000}, .end = {0x400000}},
				       MODULE_MAPS,
				       {.start = {0x7f0000000000}, .end = {0x7f0000001000}}};
	const struct vmi_vma stack[] = {{.start = {0x10000}, .end = {0x400000}},
					MODULE_MAPS,
					{.start = {0x490000}, .end = {0x500000}, .flags = 0x103}};
	const struct vmi_vma far[] = {{.start = {0x10000}, .end = {0x400000}},
				      MODULE_MAPS,
				      {.start = {0x480000}, .end = {0x50000000}},
				      {.start = {0x60000000}, .end = {0x60001000}}};
	const struct vmi_vma beside[] = {
		{.start = {0x3fe000}, .end = {0x3ff000}}, MODULE_MAPS, {.start = {0x480000}, .end = {0x500000}}};
	struct gva at, other;

	(void)state;
	assert_int_equal(find(&at, below, 3), 0);
	assert_in_range(at.v, 0x10000, 0x3ff000);
	assert_int_equal(at.v % PAGE, 0);
	assert_int_equal(home_find(NULL, &(struct vmi_task){0}, &module, gva(SITE + 5), &other, NULL), 0);
	assert_int_not_equal(at.v, other.v);
	/* another guard's page: not the one that is left beside it */
	assert_int_equal(find(&at, beside, 4), 0);
	assert_in_range(at.v, 0x10000, 0x3fd000);
	assert_int_equal(find(&at, above, 4), 0);
	assert_int_equal(at.v, 0x480000); /* the only page */
	/* beyond what is near there is much room: only as far as a jump reaches */
	assert_int_equal(find(&at, wide, 4), 0);
	assert_in_range(at.v, 0x40480000 - 0x1001000, 0x40480000 - PAGE);
	assert_int_equal(find(&at, stack, 4), -1); /* what is below a stack is the stack's */
	assert_int_equal(find(&at, far, 5), -1);
	assert_int_equal(find(&at, below, 0), -1);
}

/* --- who --------------------------------------------------------------------------------------------------- */

static const struct patch patch = {
	.site_len = 5, .site_after = "CALL!", .guard_len = 40, .guard = "the guard", .is_private = true};

static int enter(const struct patch *p)
{
	const struct vmi_task t = {.tgid = 7};
	struct err e = {0};
	int rc = home_enter(p, NULL, &t, gva(SITE), gva(0x3ff000), &e);

	assert_true(rc == 0 || *e.text);
	return rc;
}

static void reset(void)
{
	memset(&guest, 0, sizeof(guest));
	memset(guest.site, 'o', sizeof(guest.site));
	memset(guest.vdso, 0x11, 0x1a00);
	guest.n_threads = 1;
	guest.thread[0] = (struct vmi_thread){.pid = 7, .number = 45, .ip = {0x401234}, .gpr[4] = STACK + 0x1008};
}

static void test_who(void **state)
{
	uint8_t code[HOME_CODE_MAX];
	struct home_block b;
	uint64_t entry;
	size_t len = home_code(code, &entry);

	(void)state;
	reset();
	guest.n_threads = 3; /* one is in fork, and shares its stack; one is in a 32-bit call */
	guest.thread[1] = (struct vmi_thread){.pid = 8, .number = 57, .gpr[4] = STACK + 0x1800};
	guest.thread[2] = (struct vmi_thread){.pid = 9, .number = 45, .gpr[4] = STACK + 0x1800, .is_32bit = true};
	assert_int_equal(enter(&patch), 0);
	assert_int_equal(guest.n_went, 1);
	assert_int_equal(guest.went[0].pid, 7);
	assert_int_equal(guest.ip[0].v, VDSO + 0x1a00 + entry);
	assert_memory_equal(guest.vdso + 0x1a00, code, len);
	assert_int_equal(guest.sp[0].v, STACK + 0x1008 - HOME_BLOCK_BELOW);
	memcpy(&b, guest.stack + 0x1008 - HOME_BLOCK_BELOW, sizeof(b));
	assert_int_equal(b.ip, 0x401234);
	assert_int_equal(b.code_page, 0x401000);
	assert_int_equal(b.code_len, 2 * PAGE); /* what is behind the site is written as it is */
	assert_memory_equal(b.site_bytes, "CALL!ooooooooooo", 16);
	assert_memory_equal(b.guard, patch.guard, 40);
	/* the code is there once */
	guest.n_threads = 1;
	assert_int_equal(enter(&patch), 0);
	assert_int_equal(guest.ip[1].v, guest.ip[0].v);
	assert_int_equal(guest.vdso[0x1a00 + len + 16], 0);
}

/* The block that is `far` blocks below the thread's stack pointer. */
static struct home_block block(unsigned far)
{
	struct home_block b;

	memcpy(&b, guest.stack + 0x1008 - far * HOME_BLOCK_BELOW, sizeof(b));
	return b;
}

/* A thread that is to put in a patch gets another, whose site is behind the first's. */
static void test_two(void **state)
{
	struct patch p = patch;

	(void)state;
	reset();
	assert_int_equal(enter(&patch), 0);
	guest.thread[0].ip = guest.ip[0];
	guest.thread[0].gpr[4] = guest.sp[0].v;
	memcpy(p.site_after, "right", 5);
	assert_int_equal(home_enter(&p, NULL, &(struct vmi_task){.tgid = 7}, gva(SITE + 6), gva(0x3fe000), NULL), 0);
	assert_int_equal(guest.ip[1].v, guest.ip[0].v);
	assert_int_equal(guest.sp[1].v, STACK + 0x1008 - 2 * HOME_BLOCK_BELOW);
	assert_int_equal(block(2).ip, guest.ip[0].v);
	assert_memory_equal(block(2).site_bytes, "rightooooooooooo", 16);
	assert_memory_equal(block(1).site_bytes, "CALL!orightooooo", 16);
	assert_int_equal(block(1).ip, 0x401234);
}

static void test_who_not(void **state)
{
	struct patch p = patch;

	(void)state;
	reset();
	guest.thread[0].number = 56; /* clone */
	assert_int_equal(enter(&patch), -1);
	reset();
	guest.thread[0].number = 270 - 256; /* not 270 */
	assert_int_equal(enter(&patch), -1);
	reset();
	guest.stack_readonly = true; /* shared with another process */
	assert_int_equal(enter(&patch), -1);
	reset();
	guest.thread[0].gpr[4] = STACK + 0x100; /* below is nothing yet */
	assert_int_equal(enter(&patch), -1);
	reset();
	memset(guest.vdso, 0x11, VDSO_SIZE - 64);
	assert_int_equal(enter(&patch), -1);
	reset();
	guest.no_vdso = true;
	assert_int_equal(enter(&patch), -1);
	reset();
	p.site_len = 9;
	assert_int_equal(enter(&p), 0);
	guest.others = 1; /* a thread that runs, maybe there */
	assert_int_equal(enter(&p), -1);
	guest.n_threads = 0;
	assert_int_equal(enter(&patch), -1);
	assert_int_equal(guest.n_went, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_code), cmocka_unit_test(test_where),   cmocka_unit_test(test_who),
		cmocka_unit_test(test_two),  cmocka_unit_test(test_who_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
