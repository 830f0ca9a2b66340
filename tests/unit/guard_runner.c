/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Runs machine code for a test, in the mode that it was itself built for (-m64, -m32): see guard_runner.h. */
#include "guard_runner.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef uintptr_t word; /* as the assembly below has it */

word run_in[16], run_out[16], run_entry, run_sp, run_result;
word spy_seen[2][3 + SEEN_ARGS], spy_target[2], spy_save[2];
double run_fp[8];
void run_code(void);
void run_exit(void);
void spy_original(void);
void spy_helper(void);
void return_result(void);

#ifdef __x86_64__
__asm__(".text\n"
	"run_code:\n"
	"	push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
	"	mov %rsp, run_sp\n"
	"	movsd run_fp, %xmm0; movsd run_fp + 8, %xmm1; movsd run_fp + 16, %xmm2\n"
	"	movsd run_fp + 24, %xmm3; movsd run_fp + 32, %xmm4; movsd run_fp + 40, %xmm5\n"
	"	movsd run_fp + 48, %xmm6; movsd run_fp + 56, %xmm7\n"
	"	mov $run_in, %rax\n"
	"	mov 8(%rax), %rcx; mov 16(%rax), %rdx; mov 24(%rax), %rbx; mov 32(%rax), %rsp\n"
	"	mov 40(%rax), %rbp; mov 48(%rax), %rsi; mov 56(%rax), %rdi; mov 64(%rax), %r8\n"
	"	mov 72(%rax), %r9; mov 80(%rax), %r10; mov 88(%rax), %r11; mov 96(%rax), %r12\n"
	"	mov 104(%rax), %r13; mov 112(%rax), %r14; mov 120(%rax), %r15; mov (%rax), %rax\n"
	"	jmp *run_entry\n"
	"run_exit:\n"
	"	mov %rax, run_out\n"
	"	mov $run_out, %rax\n"
	"	mov %rcx, 8(%rax); mov %rdx, 16(%rax); mov %rbx, 24(%rax); mov %rsp, 32(%rax)\n"
	"	mov %rbp, 40(%rax); mov %rsi, 48(%rax); mov %rdi, 56(%rax); mov %r8, 64(%rax)\n"
	"	mov %r9, 72(%rax); mov %r10, 80(%rax); mov %r11, 88(%rax); mov %r12, 96(%rax)\n"
	"	mov %r13, 104(%rax); mov %r14, 112(%rax); mov %r15, 120(%rax)\n"
	"	mov run_sp, %rsp\n"
	"	pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
	"	ret\n"
	".macro spy name, n\n"
	"\\name:\n"
	"	mov $spy_seen + 104 * \\n, %r11\n"
	"	incq (%r11)\n"
	"	mov %rsp, 8(%r11)\n"
	"	mov (%rsp), %r10; mov %r10, 16(%r11)\n"
	"	mov %rdi, 24(%r11); mov %rsi, 32(%r11); mov %rdx, 40(%r11)\n"
	"	mov %rcx, 48(%r11); mov %r8, 56(%r11); mov %r9, 64(%r11)\n"
	"	mov 8(%rsp), %r10; mov %r10, 72(%r11); mov 16(%rsp), %r10; mov %r10, 80(%r11)\n"
	"	mov 24(%rsp), %r10; mov %r10, 88(%r11); mov 32(%rsp), %r10; mov %r10, 96(%r11)\n"
	"	jmp *spy_target + 8 * \\n\n"
	".endm\n"
	"	spy spy_original, 0\n"
	"	spy spy_helper, 1\n"
	"return_result:\n"
	"	mov run_result, %rax\n"
	"	ret\n");
#else
__asm__(".text\n"
	"run_code:\n"
	"	push %ebx; push %ebp; push %esi; push %edi\n"
	"	mov %esp, run_sp\n"
	"	mov $run_in, %eax\n"
	"	mov 4(%eax), %ecx; mov 8(%eax), %edx; mov 12(%eax), %ebx; mov 16(%eax), %esp\n"
	"	mov 20(%eax), %ebp; mov 24(%eax), %esi; mov 28(%eax), %edi; mov (%eax), %eax\n"
	"	jmp *run_entry\n"
	"run_exit:\n"
	"	mov %eax, run_out\n"
	"	mov $run_out, %eax\n"
	"	mov %ecx, 4(%eax); mov %edx, 8(%eax); mov %ebx, 12(%eax); mov %esp, 16(%eax)\n"
	"	mov %ebp, 20(%eax); mov %esi, 24(%eax); mov %edi, 28(%eax)\n"
	"	mov run_sp, %esp\n"
	"	pop %edi; pop %esi; pop %ebp; pop %ebx\n"
	"	ret\n"
	".macro spy name, n\n"
	"\\name:\n"
	"	mov %esi, spy_save; mov %edi, spy_save + 4\n"
	"	incl spy_seen + 52 * \\n\n"
	"	mov %esp, spy_seen + 52 * \\n + 4\n"
	"	mov %esp, %esi; mov $spy_seen + 52 * \\n + 8, %edi; mov $11, %ecx\n"
	"	rep movsl\n"
	"	mov spy_save, %esi; mov spy_save + 4, %edi\n"
	"	jmp *spy_target + 4 * \\n\n"
	".endm\n"
	"	spy spy_original, 0\n"
	"	spy spy_helper, 1\n"
	"return_result:\n"
	"	mov run_result, %eax\n"
	"	ret\n");
#endif

static const char *input;

static int next_of_input(void)
{
	return *input ? (unsigned char)*input++ : EOF;
}

static const word callees[CALLEES] = {
	[CALLEE_NONE] = (word)return_result, [CALLEE_SPRINTF] = (word)sprintf,
	[CALLEE_VSPRINTF] = (word)vsprintf,  [CALLEE_VSNPRINTF] = (word)vsnprintf,
	[CALLEE_SNPRINTF] = (word)snprintf,  [CALLEE_SSCANF] = (word)sscanf,
	[CALLEE_VSSCANF] = (word)vsscanf,    [CALLEE_GETCHAR] = (word)next_of_input,
};

static void transfer(ssize_t (*io)(int, void *, size_t), int fd, void *buf, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = io(fd, (char *)buf + done, len - done);

		if (n <= 0)
			exit(n < 0);
		done += (size_t)n;
	}
}

static ssize_t write_some(int fd, void *buf, size_t len)
{
	return write(fd, buf, len);
}

static uint8_t *map_image(uint64_t base)
{
	static uint64_t mapped;
	void *at = (void *)(word)base;

	if (mapped == base)
		return at;
	if (mapped)
		munmap((void *)(word)mapped, IMAGE_SIZE);
	if (mmap(at, IMAGE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
		 -1, 0) != at)
		exit(1);
	mapped = base;
	return at;
}

static void run(struct guard_run *r, uint8_t *image)
{
	const word exit_at = (word)run_exit;

	memcpy(image + r->exit, &exit_at, sizeof(exit_at));
	memset(spy_seen, 0, sizeof(spy_seen));
	spy_target[0] = callees[r->original % CALLEES];
	spy_target[1] = callees[r->helper % CALLEES];
	run_entry = (word)r->entry;
	run_result = (word)r->result;
	input = (const char *)image + r->input;
	for (unsigned k = 0; k < 16; k++)
		run_in[k] = (word)r->gpr[k];
	memcpy(run_fp, r->fp, sizeof(run_fp));
	run_code();
	for (unsigned k = 0; k < 16; k++)
		r->gpr[k] = run_out[k];
	r->input = (uint64_t)(input - (const char *)image);
	for (unsigned k = 0; k < 2; k++) {
		const word *s = spy_seen[k];

		r->seen[k] = (struct guard_seen){.count = s[0], .sp = s[1], .ret = s[2]};
		for (unsigned n = 0; n < SEEN_ARGS; n++)
			r->seen[k].arg[n] = s[3 + n];
	}
}

int main(void)
{
	struct guard_hello hello = {(word)spy_original, (word)spy_helper};
	struct guard_run r;
	uint8_t *image;

	transfer(write_some, STDOUT_FILENO, &hello, sizeof(hello));
	for (;;) {
		transfer(read, STDIN_FILENO, &r, sizeof(r));
		image = map_image(r.base);
		transfer(read, STDIN_FILENO, image, IMAGE_SIZE);
		run(&r, image);
		transfer(write_some, STDOUT_FILENO, &r, sizeof(r));
		transfer(write_some, STDOUT_FILENO, image, IMAGE_SIZE);
	}
}
