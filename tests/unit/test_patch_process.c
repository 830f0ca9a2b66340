/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The whole way, on this very process: a vulnerable function here is "detected" with labels as the plugin would
 * leave them, the culprit is located, a patch is made and applied to the running code; then the attack is run.
 * Introspection and shadow memory are stood in for by this process's own memory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <link.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "locate/cfi.h"
#include "locate/code.h"
#include "locate/locate.h"
#include "locate/x86.h"
#include "patch/patch.h"

/* --- the programs under attack ------------------------------------------------------------------------- */

#if defined(__clang__)
#define UNOPTIMISED __attribute__((optnone))
#define NOCLONE
#define ROLLED _Pragma("clang loop unroll(disable)") /* one store, not several */
#else
#define UNOPTIMISED __attribute__((optimize("O0")))
#define NOCLONE __attribute__((noclone))
#define ROLLED _Pragma("GCC unroll 1")
#endif
#define PLAIN                                                                                                          \
	NOCLONE __attribute__((noinline, used, no_stack_protector, no_sanitize("address", "undefined"),                \
			       section(".text")))

#define BUFFER 64

static volatile size_t fig2_a; /* the paper's `int a` */
static const char *volatile fig2_src; /* its arguments, where no overflow reaches them */
static volatile size_t fig2_n;
static volatile uintptr_t last_buffer; /* where the object was */

/* What a fixture answers: depends on every byte of the object that was asked to be written. */
static inline __attribute__((always_inline)) int digest(const volatile char *buf, size_t n)
{
	unsigned sum = 0;

	for (size_t k = 0; k < n && k < BUFFER; k++)
		sum = sum * 31 + (unsigned char)buf[k];
	return (int)(sum & 0xffff);
}

/* The paper's figure 2: the index is global, the store names the array. */
PLAIN UNOPTIMISED static int fix_index(const char *src, size_t n)
{
	volatile char buf[BUFFER];

	(void)src;
	(void)n;
	last_buffer = (uintptr_t)buf;
	for (fig2_a = 0; fig2_a < fig2_n; fig2_a++)
		buf[fig2_a] = fig2_src[fig2_a];
	return digest(buf, fig2_n);
}

/* The same with a zero behind the copy, which another instruction writes. */
PLAIN UNOPTIMISED static int fix_terminated(const char *src, size_t n)
{
	volatile char buf[BUFFER];

	(void)src;
	(void)n;
	last_buffer = (uintptr_t)buf;
	for (fig2_a = 0; fig2_a < fig2_n; fig2_a++)
		buf[fig2_a] = fig2_src[fig2_a];
	buf[fig2_a] = 0;
	return digest(buf, fig2_n);
}

/* A pointer that moves. */
PLAIN static int fix_pointer(const char *src, size_t n)
{
	volatile char buf[BUFFER];
	volatile char *p = buf;

	last_buffer = (uintptr_t)buf;
	ROLLED for (size_t k = n; k; k--) *p++ = *src++;
	return digest(buf, n);
}

/* The same again, for the patch that must not go in. */
PLAIN static int fix_spare(const char *src, size_t n)
{
	volatile char buf[BUFFER];
	volatile char *p = buf + 1;

	last_buffer = (uintptr_t)buf + 1;
	ROLLED while (n--) *p++ = *src++;
	/* NOLINTNEXTLINE(clang-analyzer-core.StackAddressEscape): the address is only compared with later */
	return buf[1] + buf[2];
}

/* Whose frame a pointer leads to is not sure here. */
PLAIN static int fix_recursive(const char *src, size_t n)
{
	volatile char buf[BUFFER];
	volatile char *p = buf;

	last_buffer = (uintptr_t)buf;
	ROLLED for (size_t k = n & 1023; k; k--) *p++ = *src++;
	return n >= 1024 ? fix_recursive(src, n - 1024) + buf[3] : digest(buf, n);
}

/* The copy is in a function of its own. */
PLAIN static void copy(volatile char *dst, const char *src, size_t n)
{
	ROLLED while (n--) *dst++ = *src++;
}

PLAIN static int fix_helper(const char *src, size_t n)
{
	volatile char buf[BUFFER];

	last_buffer = (uintptr_t)buf;
	copy(buf, src, n);
	return digest(buf, n);
}

/* Uses the same copy for something else, which must go on working. */
PLAIN static int other_caller(const char *src, size_t n)
{
	static char far[4096];

	copy(far, src, n);
	return memcmp(far, src, n) == 0;
}

/* Two calls: which one did it is told by the object that is named before it. */
PLAIN static int fix_two_calls(const char *src, size_t n)
{
	volatile char buf[BUFFER], head[8];

	last_buffer = (uintptr_t)buf;
	copy(head, src, 4);
	copy(buf, src, n);
	return digest(buf, n) + head[1];
}

/* What overflows is a function of the C library. */
PLAIN static int fix_strcpy(const char *src, size_t n)
{
	volatile char buf[BUFFER];

	last_buffer = (uintptr_t)buf;
	strcpy((char *)(uintptr_t)last_buffer, src);
	return digest(buf, n);
}

/* Calls fn(src, n) and keeps rsp at the call: the CFA of fn; checks that callee-saved registers come back. */
int call_fixture(int (*fn)(const char *, size_t), const char *src, size_t n);
extern uint64_t call_cfa, call_broken;
__asm__(".text\n"
	".globl call_fixture\n"
	"call_fixture:\n"
	"	push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15; push %rax\n"
	"	mov %rdi, %rax; mov %rsi, %rdi; mov %rdx, %rsi\n"
	"	mov $11, %rbx; mov $12, %r12; mov $13, %r13; mov $14, %r14; mov $15, %r15; mov $16, %rbp\n"
	"	mov %rsp, call_cfa(%rip)\n"
	"	call *%rax\n"
	"	sub $11, %rbx; sub $12, %r12; sub $13, %r13; sub $14, %r14; sub $15, %r15; sub $16, %rbp\n"
	"	or %r12, %rbx; or %r13, %rbx; or %r14, %rbx; or %r15, %rbx; or %rbp, %rbx\n"
	"	mov %rbx, call_broken(%rip)\n"
	"	pop %rdx; pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp\n"
	"	ret\n"
	/* a page of code whose rest is free: what stands for the slack behind the code */
	".pushsection fixture_cave, \"ax\", @progbits\n"
	".balign 4096\n"
	".globl cave_page\n"
	"cave_page:\n"
	"	.skip 300, 0xcc\n"
	"	.skip 4096 - 300, 0\n"
	".popsection\n"
	".bss\n"
	".balign 8\n"
	".globl call_cfa, call_broken\n"
	"call_cfa: .skip 8\n"
	"call_broken: .skip 8\n"
	".text\n");
extern uint8_t cave_page[];
#define CAVE_USED 300

/* As call_fixture(), with the arguments in globals too. */
static int invoke(int (*fn)(const char *, size_t), const char *src, size_t n)
{
	fig2_src = src;
	fig2_n = n;
	return call_fixture(fn, src, n);
}

/* --- introspection and shadow memory, stood in for ------------------------------------------------------ */

#define LABEL_BYTES 8192
static struct {
	struct vmi_module module;
	struct gva ip, other_ip; /* of the process's one thread, of another process's */
	struct gva code; /* what vmi_find_code answers */
	struct taint_writer record;
	uint64_t label_base;
	struct taint_label label[LABEL_BYTES];
	bool write_fails;
} world;

bool vmi_read(const struct vmi_space *s, struct gva at, void *ret, size_t len)
{
	struct iovec local = {ret, len}, remote = {(void *)(uintptr_t)at.v, len};

	(void)s;
	return process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == (ssize_t)len;
}

bool vmi_task_read(struct vmi *v, const struct vmi_task *t, struct gva at, void *ret, size_t len)
{
	(void)v;
	return vmi_read(&t->space, at, ret, len);
}

bool vmi_task_write(struct vmi *v, const struct vmi_task *t, struct gva at, const void *buf, size_t len)
{
	uint64_t page = at.v & ~4095ull;

	(void)v;
	(void)t;
	if (world.write_fails)
		return false;
	if (mprotect((void *)(uintptr_t)page, 8192, PROT_READ | PROT_WRITE | PROT_EXEC))
		return false;
	memcpy((void *)(uintptr_t)at.v, buf, len);
	return true;
}

bool vmi_translate(const struct vmi_space *s, struct gva at, struct vmi_page *ret)
{
	(void)s;
	*ret = (struct vmi_page){.at = {at.v}, .page_size = 4096, .user = true, .executable = true};
	return true;
}

int vmi_task_by_cr3(struct vmi *v, uint64_t cr3, struct vmi_task *ret, struct err *e)
{
	(void)v;
	(void)e;
	*ret = (struct vmi_task){.pid = 42, .tgid = 42, .comm = "victim"};
	return cr3 ? 0 : err_set(e, ERR_GUEST, "no process");
}

/* The victim, and another process that has the same code where the victim has it. */
int vmi_tasks(struct vmi *v, struct vmi_task *ret, size_t max, struct err *e)
{
	(void)v;
	(void)e;
	assert_true(max >= 2);
	ret[0] = (struct vmi_task){.tgid = 42, .mm = {1}};
	ret[1] = (struct vmi_task){.tgid = 43, .mm = {2}};
	return 2;
}

int vmi_thread_ips(struct vmi *v, const struct vmi_task *t, struct gva *ret_ip, size_t max, struct err *e)
{
	(void)v;
	(void)max;
	(void)e;
	ret_ip[0] = t->tgid == 42 ? world.ip : world.other_ip;
	return 1;
}

/* Nothing here is made to map memory. */
int vmi_threads_waiting(struct vmi *v, const struct vmi_task *t, struct vmi_thread *ret, size_t max,
			size_t *ret_n_other, struct err *e)
{
	(void)v;
	(void)ret;
	(void)max;
	*ret_n_other = 0;
	return err_set(e, ERR_GUEST, "threads of process %d", t->tgid);
}

bool vmi_thread_redirect(struct vmi *v, const struct vmi_thread *th, struct gva ip, struct gva sp)
{
	(void)v;
	(void)th;
	(void)ip;
	(void)sp;
	return false;
}

int vmi_maps(struct vmi *v, const struct vmi_task *t, struct vmi_vma *ret, size_t max, struct err *e)
{
	(void)v;
	(void)t;
	(void)max;
	(void)e;
	ret[0] = (struct vmi_vma){.start = world.module.low, .end = world.module.text, .flags = 1};
	ret[1] = (struct vmi_vma){.start = world.module.text,
				  .end = world.module.text_end,
				  .flags = 5,
				  .file_offset = world.module.text_file_offset};
	memcpy(ret[1].path, world.module.path, sizeof(ret[1].path));
	return 2;
}

int vmi_module_at(struct vmi *v, const struct vmi_task *t, struct gva at, struct vmi_module *ret, struct err *e)
{
	(void)v;
	(void)t;
	if (at.v < world.module.low.v || at.v >= world.module.high.v)
		return err_set(e, ERR_GUEST, "no module");
	*ret = world.module;
	return 0;
}

/* A file in the page cache, for patches of what no process runs. */
static struct {
	bool there;
	uint8_t bytes[8192];
} file;

static uint8_t *file_at(uint64_t offset, size_t len)
{
	return file.there && offset <= sizeof(file.bytes) && len <= sizeof(file.bytes) - offset ? file.bytes + offset
												: NULL;
}

bool vmi_file_read(struct vmi *v, const struct vmi_task *t, struct gva inode, uint64_t offset, void *ret, size_t len)
{
	const uint8_t *at = file_at(offset, len);

	(void)v;
	(void)t;
	(void)inode;
	if (at)
		memcpy(ret, at, len);
	return at;
}

bool vmi_file_write(struct vmi *v, const struct vmi_task *t, struct gva inode, uint64_t offset, const void *buf,
		    size_t len)
{
	uint8_t *at = file_at(offset, len);

	(void)v;
	(void)t;
	(void)inode;
	if (at)
		memcpy(at, buf, len);
	return at;
}

int vmi_find_code(struct vmi *v, const struct vmi_task *t, uint64_t ram_offset, struct gva *ret, struct err *e)
{
	(void)v;
	(void)t;
	if (ram_offset != world.record.code_offset)
		return err_set(e, ERR_GUEST, "not mapped");
	*ret = world.code;
	return 0;
}

bool shadow_get(const struct shadow *sh, struct gpa at, struct taint_label *ret, size_t n)
{
	(void)sh;
	for (size_t k = 0; k < n; k++) {
		uint64_t off = at.v + k - world.label_base;

		ret[k] = off < LABEL_BYTES ? world.label[off] : (struct taint_label){0};
	}
	return true;
}

bool shadow_writer_get(const struct shadow *sh, uint32_t id, struct taint_writer *ret)
{
	(void)sh;
	*ret = world.record;
	return id == 1;
}

/* --- the attack -------------------------------------------------------------------------------------- */

static int fill_module(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct vmi_module *m = arg;

	(void)size;
	m->low = gva(UINT64_MAX);
	for (int k = 0; k < info->dlpi_phnum; k++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[k];
		struct gva at = gva(info->dlpi_addr + ph->p_vaddr);

		if (ph->p_type == PT_GNU_EH_FRAME) {
			m->eh_frame_hdr = at;
			m->eh_frame_hdr_size = ph->p_memsz;
		}
		if (ph->p_type != PT_LOAD)
			continue;
		if (ph->p_flags & PF_X) {
			m->text = at;
			m->text_file_offset = ph->p_offset;
		}
		if (at.v < m->low.v)
			m->low = at;
		if (at.v + ph->p_memsz > m->high.v)
			m->high = gva(at.v + ph->p_memsz);
	}
	return 1; /* the program comes first */
}

static int setup(void **state)
{
	struct vmi_module *m = &world.module;

	(void)state;
	memset(&world, 0, sizeof(world));
	dl_iterate_phdr(fill_module, m);
	snprintf(m->path, sizeof(m->path), "/bin/victim");
	memset(m->build_id, 0x5a, 20);
	m->build_id_len = 20;
	m->is_main = true;
	m->text_file_size = (uintptr_t)cave_page + CAVE_USED - m->text.v;
	m->text_end = gva_add(m->text, m->text_file_size);
	return 0;
}

static bool read_self(void *arg, struct gva at, void *ret, size_t len)
{
	(void)arg;
	return vmi_read(NULL, at, ret, len);
}

struct attack {
	int (*fn)(const char *, size_t); /* whose frame is hit */
	const void *writer; /* function with the store */
	struct taint_msg_detect detect;
	struct gva culprit;
	char *buffer;
};

/* The function's code, for finding its store of a byte from a register, and its ret. */
static void find_code(const void *fn, struct gva *ret_store, struct gva *ret_ret)
{
	const struct code_reader rd = {read_self, NULL};
	const struct vmi_module *m = &world.module;
	struct cfi cfi = {
		.rd = rd, .low = m->low, .high = m->high, .hdr = m->eh_frame_hdr, .hdr_size = m->eh_frame_hdr_size};
	struct cfi_fde fde;
	struct code_fn *code;
	struct err e;

	if (cfi_find(&cfi, gva((uintptr_t)fn), &fde, &e))
		fail_msg("%s", e.text);
	assert_int_equal(fde.start.v, (uintptr_t)fn);
	if (code_fn_create(&rd, fde.start, fde.end, m->text, m->text_end, &code, &e))
		fail_msg("%s", e.text);
	*ret_store = *ret_ret = gva(0);
	for (uint32_t k = 0; k < code->n_insn; k++) {
		const uint8_t *bytes = code->bytes + code->insn[k].off;
		struct x86_insn in;
		struct x86_store st;

		assert_true(x86_decode(bytes, code->insn[k].len, &in));
		if (in.i.mnemonic == ZYDIS_MNEMONIC_RET)
			*ret_ret = gva_add(code->start, code->insn[k].off);
		if (!x86_store_decode(bytes, code->insn[k].len, &st, NULL) && st.width == 1 &&
		    in.op[1].type == ZYDIS_OPERAND_TYPE_REGISTER)
			*ret_store = gva_add(code->start, code->insn[k].off);
	}
	code_fn_destroy(code);
}

/* Labels [from, to) as if written by writer 1 from a stretch of input. */
static void label(uint64_t from, uint64_t to, uint32_t origin)
{
	for (uint64_t at = from; at < to; at++)
		world.label[at - world.label_base] =
			(struct taint_label){.origin = origin + (uint32_t)(at - from),
					     .writer = 1,
					     .flags = TAINT_LABEL_ANY_VALUE}; /* the stack goes on being used */
}

/* Runs fn with input that fits, then sets labels and detection as if it had run over the return address. */
static void stage(struct attack *a, int (*fn)(const char *, size_t), const void *writer)
{
	struct gva at_ret, none;
	struct x86_insn in;

	memset(a, 0, sizeof(*a));
	a->fn = fn;
	a->writer = writer;
	invoke(fn, "ABC", 4);
	a->buffer = (char *)last_buffer;
	find_code(writer, &a->culprit, &none);
	find_code(fn, &none, &at_ret);
	assert_int_not_equal(a->culprit.v, 0);
	world.code = a->culprit;
	world.record = (struct taint_writer){.code_offset = 0x7000 + (a->culprit.v & 4095),
					     .pc = a->culprit.v & 0x7fffffffffff};
	memset(world.label, 0, sizeof(world.label));
	world.label_base = ((uintptr_t)a->buffer & ~4095ull) - 1024;
	assert_true(vmi_read(NULL, a->culprit, world.record.bytes, 15));
	assert_true(x86_decode(world.record.bytes, 15, &in));
	world.record.len = in.i.length;
	label((uintptr_t)a->buffer, call_cfa + 16, 1000);
	a->detect = (struct taint_msg_detect){.detector = TAINT_DETECT_RETURN,
					      .pc = at_ret.v,
					      .object_gva = call_cfa - 8,
					      .object_len = 8,
					      .cr3 = 0x1000};
	memcpy(a->detect.label, &world.label[call_cfa - 8 - world.label_base], 8 * sizeof(struct taint_label));
}

static int find(const struct attack *a, struct finding *ret, struct err *e)
{
	return locate_culprit(&(struct locate_input){.detect = &a->detect}, ret, e);
}

static void check_finding(const struct attack *a, const struct finding *f)
{
	assert_int_equal(f->pid, 42);
	assert_string_equal(f->comm, "victim");
	assert_int_equal(f->culprit.v, a->culprit.v);
	assert_int_equal(f->function.v, (uintptr_t)a->writer);
	assert_int_equal(f->start_address.v, (uintptr_t)a->buffer);
	assert_int_equal(f->error_address.v, a->detect.object_gva);
	assert_int_equal(f->run_length, call_cfa + 16 - (uintptr_t)a->buffer);
	assert_int_equal(f->run_first_origin, 1000);
	assert_int_equal(f->first_origin, 1000 + a->detect.object_gva - (uintptr_t)a->buffer);
	assert_int_equal(f->last_origin, f->first_origin + 7);
	assert_int_equal(f->cfa_value + (uint64_t)f->start_offset, (uintptr_t)a->buffer);
	assert_true(f->cfa_value + (uint64_t)f->end_offset >= (uintptr_t)a->buffer + BUFFER);
	assert_true(f->cfa_value + (uint64_t)f->end_offset <= a->detect.object_gva);
	assert_true(f->bug_len >= 5 && f->bug_len <= FINDING_BUG_MAX);
}

/* Locates, patches, and checks that the patch is in. */
static void operate(const struct attack *a, struct finding *f, struct patch *p)
{
	const struct vmi_task t = {.tgid = 42};
	struct err e;

	if (find(a, f, &e))
		fail_msg("%s", e.text);
	check_finding(a, f);
	if (patch_generate(f, NULL, &t, p, &e))
		fail_msg("%s", e.text);
	assert_int_equal(p->guard_at.v & 15, 0);
	assert_false(patch_is_applied(p, NULL, &t));
	if (patch_apply(p, NULL, &t, &e))
		fail_msg("%s", e.text);
	assert_true(patch_is_applied(p, NULL, &t));
	assert_int_equal(patch_apply(p, NULL, &t, &e), 0); /* again: nothing to do */
}

static char evil[1024];

/* Exit status of a child that runs fn over n bytes of evil input: 0 if it comes back with everything in place. */
static int run_attack_of(int (*fn)(const char *, size_t), size_t n)
{
	int status = -1;
	pid_t pid = fork();

	if (!pid) {
		signal(SIGSEGV, SIG_DFL);
		signal(SIGBUS, SIG_DFL);
		signal(SIGILL, SIG_DFL);
		memset(evil, 'A', sizeof(evil));
		invoke(fn, evil, n);
		_exit(call_broken ? 1 : 0);
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static int run_attack(int (*fn)(const char *, size_t))
{
	return run_attack_of(fn, 300);
}

static void check_healed(int (*fn)(const char *, size_t))
{
	assert_int_equal(run_attack(fn), 0);
	for (size_t n = 0; n <= BUFFER; n++) {
		for (size_t k = 0; k < n; k++)
			evil[k] = (char)(n * 5 + k);
		assert_int_equal(invoke(fn, evil, n), digest(evil, n));
		assert_int_equal(call_broken, 0);
	}
}

static void test_index(void **state)
{
	struct attack a;
	struct finding f;
	struct patch p;

	(void)state;
	stage(&a, fix_index, fix_index);
	assert_int_not_equal(run_attack(fix_index), 0); /* the twin without the patch */
	operate(&a, &f, &p);
	assert_int_equal(f.bound, BOUND_FRAME);
	assert_false(f.pointer_store);
	assert_int_equal(f.confidence, 95);
	assert_string_equal(p.strategy, "store-guard");
	check_healed(fix_index);
}

static void test_siblings(void **state)
{
	const struct vmi_task t = {.tgid = 42};
	struct locate_input in;
	struct attack a;
	struct finding f, sibling[4];
	struct patch p;
	size_t slot;
	struct err e;

	(void)state;
	stage(&a, fix_index, fix_index);
	in = (struct locate_input){.detect = &a.detect};
	assert_int_equal(find(&a, &f, &e), 0);
	assert_int_equal(locate_siblings(&in, &f, sibling, 4), 0); /* it has one store only */
	stage(&a, fix_terminated, fix_terminated);
	operate(&a, &f, &p);
	slot = call_cfa - 8 - (uintptr_t)a.buffer;
	assert_int_not_equal(run_attack_of(fix_terminated, slot), 0); /* the zero hits the return address */
	assert_int_equal(locate_siblings(&in, &f, sibling, 4), 1);
	assert_int_equal(locate_siblings(&in, &f, sibling, 0), 0);
	assert_int_not_equal(sibling[0].culprit.v, f.culprit.v);
	assert_int_equal(sibling[0].end_offset, f.end_offset);
	assert_int_equal(patch_generate(&sibling[0], NULL, &t, &p, &e), 0);
	assert_int_equal(patch_apply(&p, NULL, &t, &e), 0);
	assert_int_equal(run_attack_of(fix_terminated, slot), 0);
	check_healed(fix_terminated);
	assert_int_equal(invoke(fix_terminated, "ABC", 3), digest("ABC", 3));
}

static void test_pointer(void **state)
{
	struct attack a;
	struct finding f;
	struct patch p;

	(void)state;
	stage(&a, fix_pointer, fix_pointer);
	assert_int_not_equal(run_attack(fix_pointer), 0);
	operate(&a, &f, &p);
	assert_int_equal(f.bound, BOUND_FRAME);
	check_healed(fix_pointer);
}

/* Two calls in one function; and which one is not sure when the object is not named. */
static void test_two_calls(void **state)
{
	struct attack a;
	struct finding f;
	struct err e;

	(void)state;
	stage(&a, fix_two_calls, copy);
	assert_int_equal(find(&a, &f, &e), 0);
	assert_int_equal(f.bound, BOUND_CALLER);
	assert_int_equal(f.cfa_value + (uint64_t)f.start_offset, (uintptr_t)a.buffer);
	world.label[(uintptr_t)a.buffer - world.label_base].origin = 0; /* the run seems to begin a byte later */
	assert_int_equal(find(&a, &f, &e), -1);
	assert_int_equal(e.code, ERR_REFUSED);
	assert_int_equal(f.culprit.v, a.culprit.v);
}

static void test_helper(void **state)
{
	struct attack a;
	struct finding f;
	struct patch p;

	(void)state;
	stage(&a, fix_helper, copy);
	assert_int_not_equal(run_attack(fix_helper), 0);
	operate(&a, &f, &p);
	assert_int_equal(f.bound, BOUND_CALLER);
	assert_true(f.caller_return.v > (uintptr_t)fix_helper);
	check_healed(fix_helper);
	memset(evil, 'D', sizeof(evil));
	assert_true(other_caller(evil, sizeof(evil)));
	assert_int_not_equal(run_attack(fix_two_calls), 0); /* another caller: not this patch's business */
}

/* Where the locator must say no, and still tell what it knows. */
static void test_refusals(void **state)
{
	struct attack a, b;
	struct finding f;
	struct err e;

	(void)state;
	stage(&a, fix_pointer, fix_pointer);
	b = a;
	b.detect.detector = TAINT_DETECT_CANARY; /* whose frame it was is not known any more, but the run is */
	assert_int_equal(find(&b, &f, &e), -1);
	assert_int_equal(e.code, ERR_REFUSED);
	assert_int_equal(f.start_address.v, (uintptr_t)a.buffer);
	assert_int_equal(f.culprit.v, a.culprit.v);
	b = a;
	memset(b.detect.label, 0, sizeof(b.detect.label));
	assert_int_equal(find(&b, &f, &e), -1);
	assert_int_equal(e.code, ERR_GUEST);
	b = a;
	b.detect.cr3 = 0;
	assert_int_equal(find(&b, &f, &e), -1);
	b = a;
	b.detect.pc = (uintptr_t)malloc; /* in another module */
	assert_int_equal(find(&b, &f, &e), -1);
	assert_int_equal(e.code, ERR_REFUSED);
	b = a;
	b.detect.pc = (uintptr_t)other_caller; /* does not call the culprit's function */
	assert_int_equal(find(&b, &f, &e), -1);
	assert_int_equal(e.code, ERR_REFUSED);
	assert_int_equal(f.culprit.v, a.culprit.v);
	world.record.pc |= 1ull << 63;
	assert_int_equal(find(&a, &f, &e), -1);
	assert_int_equal(e.code, ERR_REFUSED);
	assert_non_null(strstr(e.text, "kernel"));
	assert_int_equal(f.start_address.v, (uintptr_t)a.buffer);
	assert_int_equal(f.culprit.v, world.record.pc);
	world.record.pc &= ~(1ull << 63);
	world.record.bytes[0] ^= 0xff;
	assert_int_equal(find(&a, &f, &e), -1);
	assert_int_equal(e.code, ERR_GUEST);
}

/* The run begins inside the array: the store tells where the array does. */
static void test_place(void **state)
{
	struct attack a;
	struct finding f;
	struct err e;

	(void)state;
	stage(&a, fix_index, fix_index);
	memset(&world.label[(uintptr_t)a.buffer - world.label_base], 0, 3 * sizeof(struct taint_label));
	assert_int_equal(find(&a, &f, &e), 0);
	assert_int_equal(f.start_address.v, (uintptr_t)a.buffer + 3);
	assert_int_equal(f.cfa_value + (uint64_t)f.start_offset, (uintptr_t)a.buffer);
	assert_int_equal(f.confidence, 85);
	/* even if it begins with a register that the function saved: that is none of the array's */
	memset(&world.label[(uintptr_t)a.buffer - world.label_base], 0,
	       (call_cfa - 16 - (uintptr_t)a.buffer) * sizeof(struct taint_label));
	assert_int_equal(find(&a, &f, &e), 0);
	assert_int_equal(f.start_address.v, call_cfa - 16);
	assert_int_equal(f.cfa_value + (uint64_t)f.start_offset, (uintptr_t)a.buffer);
	assert_int_equal(f.cfa_value + (uint64_t)f.end_offset, call_cfa - 16);
}

static void test_recursive(void **state)
{
	struct attack a;
	struct finding f;
	struct err e;

	(void)state;
	stage(&a, fix_recursive, fix_recursive);
	if (find(&a, &f, &e))
		assert_int_equal(e.code, ERR_REFUSED);
	else
		assert_false(f.pointer_store); /* the compiler made it an index */
}

/* A loop counter in the way of the run does not hide its start. */
static void test_gap(void **state)
{
	struct attack a;
	struct finding f;
	struct err e;

	(void)state;
	stage(&a, fix_pointer, fix_pointer);
	memset(&world.label[(uintptr_t)a.buffer + 20 - world.label_base], 0, 8 * sizeof(struct taint_label));
	assert_int_equal(find(&a, &f, &e), 0);
	assert_int_equal(f.start_address.v, (uintptr_t)a.buffer);
	/* but older bytes of another input below do not belong */
	label((uintptr_t)a.buffer - 30, (uintptr_t)a.buffer + 20, 500);
	assert_int_equal(find(&a, &f, &e), 0);
	assert_int_equal(f.start_address.v, (uintptr_t)a.buffer + 28);
}

/* The finding for the one call in fn, whose array was at last_buffer in the call that has just been. */
static void find_call(const void *fn, struct finding *ret)
{
	const struct code_reader rd = {read_self, NULL};
	const struct vmi_module *m = &world.module;
	struct cfi cfi = {
		.rd = rd, .low = m->low, .high = m->high, .hdr = m->eh_frame_hdr, .hdr_size = m->eh_frame_hdr_size};
	struct cfi_fde fde;
	struct cfi_row row;
	struct code_fn *code;
	uint32_t k = 0, len;

	assert_int_equal(cfi_find(&cfi, gva((uintptr_t)fn), &fde, NULL), 0);
	assert_int_equal(code_fn_create(&rd, fde.start, fde.end, m->text, m->text_end, &code, NULL), 0);
	while (code->insn[k].flow != CODE_CALL)
		assert_true(++k < code->n_insn);
	*ret = (struct finding){.kind = FINDING_CALL,
				.culprit = gva_add(code->start, code->insn[k].off),
				.culprit_len = code->insn[k].len,
				.start_offset = (int64_t)(last_buffer - call_cfa),
				.end_offset = (int64_t)(last_buffer + BUFFER - call_cfa),
				.callee = "strcpy",
				.effect = CALL_STRING_COPY,
				.src_arg = 1,
				.len_arg = CALL_NO_ARG,
				.chk_arg = CALL_NO_ARG};
	assert_int_equal(cfi_row_at(&cfi, &fde, ret->culprit, &row, NULL), 0);
	ret->cfa = (struct finding_cfa){row.cfa_reg, (int32_t)row.cfa_offset};
	assert_int_equal(code_fn_window(code, ret->culprit, FINDING_BUG_MAX, &ret->bug, &len, NULL), 0);
	ret->bug_len = (uint8_t)len;
	assert_true(vmi_read(NULL, ret->bug, ret->bug_bytes, len));
	assert_true(vmi_read(NULL, ret->culprit, ret->culprit_bytes, ret->culprit_len));
	code_fn_destroy(code);
}

static void test_call(void **state)
{
	const struct vmi_task t = {.tgid = 42};
	struct finding f;
	struct patch p;
	struct err e;

	(void)state;
	invoke(fix_strcpy, "ABC", 4);
	find_call(fix_strcpy, &f);
	assert_int_not_equal(run_attack(fix_strcpy), 0);
	if (patch_generate(&f, NULL, &t, &p, &e) || patch_apply(&p, NULL, &t, &e))
		fail_msg("%s", e.text);
	assert_string_equal(p.strategy, "copy-guard");
	assert_int_equal(run_attack(fix_strcpy), 0);
	memset(evil, 0, sizeof(evil));
	for (size_t n = 0; n < BUFFER; n++) {
		assert_int_equal(invoke(fix_strcpy, evil, n + 1), digest(evil, n + 1));
		evil[n] = (char)('a' + n % 26);
	}
}

/* Applying where it must not be. */
static void test_apply_refusals(void **state)
{
	const struct vmi_task t = {.tgid = 42};
	struct vmi_module good = world.module;
	uint8_t copy_of_code[256];
	struct attack a;
	struct finding f;
	struct patch p, q;
	struct err e;

	(void)state;
	stage(&a, fix_spare, fix_spare);
	memcpy(copy_of_code, (const void *)fix_spare, sizeof(copy_of_code));
	assert_int_equal(find(&a, &f, &e), 0);
	assert_int_equal(patch_generate(&f, NULL, &t, &p, &e), 0);
	world.module.build_id[3] ^= 1;
	assert_int_equal(patch_apply(&p, NULL, &t, &e), -1);
	assert_int_equal(e.code, ERR_REFUSED);
	world.module = good;
	world.ip = gva_add(p.site, 1);
	assert_int_equal(patch_apply(&p, NULL, &t, &e), -1);
	assert_int_equal(e.code, ERR_STATE);
	world.ip = gva(0);
	world.other_ip = gva_add(p.site, 2);
	assert_int_equal(patch_apply(&p, NULL, &t, &e), -1);
	assert_int_equal(e.code, ERR_STATE);
	world.other_ip = gva_add(p.site, 2 + GUEST_PAGE_SIZE); /* other code */
	world.ip = p.site; /* nothing of it has run */
	q = p;
	q.site_before[0] ^= 1;
	assert_int_equal(patch_apply(&q, NULL, &t, &e), -1);
	q = p;
	q.guard_offset = q.site_offset + 32;
	assert_int_equal(patch_apply(&q, NULL, &t, &e), -1);
	world.write_fails = true;
	assert_int_equal(patch_apply(&p, NULL, &t, &e), -1);
	world.write_fails = false;
	world.module.build_id_len = 0;
	assert_int_equal(patch_generate(&f, NULL, &t, &q, &e), -1);
	world.module = good;
	f.is_32bit = true; /* and the module is not */
	assert_int_equal(patch_generate(&f, NULL, &t, &q, &e), -1);
	assert_int_equal(e.code, ERR_REFUSED);
	f.is_32bit = false;
	world.module.text_file_size = (uintptr_t)cave_page + 4080 - world.module.text.v; /* no room left */
	world.module.text_end = gva_add(world.module.text, world.module.text_file_size);
	assert_int_equal(patch_generate(&f, NULL, &t, &q, &e), 0); /* in the process's own memory then */
	assert_true(q.is_private);
	assert_string_equal(q.home, "process");
	assert_int_equal(patch_apply(&q, NULL, &t, &e), -1); /* which this process does not map */
	assert_int_equal(e.code, ERR_GUEST);
	world.module = good;
	assert_memory_equal(copy_of_code, (const void *)fix_spare, sizeof(copy_of_code)); /* nothing was changed */
	p.site = gva(0x1000); /* made in another process, elsewhere: found by its file */
	assert_int_equal(patch_apply(&p, NULL, &t, &e), 0);
	assert_true(patch_is_applied(&p, NULL, &t));
}

/* Into a file, for a command that runs for each request only. */
static void test_apply_to_file(void **state)
{
	const struct vmi_task t = {.tgid = 42};
	struct patch p = {.inode = gva(0x1000),
			  .build_id = "0123456789abcdefghij",
			  .build_id_len = 20,
			  .site_offset = 0x1100,
			  .site_len = 5,
			  .site_before = {1, 2, 3, 4, 5},
			  .site_after = {6, 7, 8, 9, 10},
			  .guard_offset = 0x1ff8, /* its last bytes are on the next page, or nowhere */
			  .guard_len = 8,
			  .guard = "guarded!"};
	struct err e;

	(void)state;
	assert_false(patch_concerns(&p, NULL, &t));
	assert_int_equal(patch_apply_to_file(&p, NULL, &t, &e), -1); /* not in the cache */
	file.there = true;
	memcpy(file.bytes + 0x1100, p.site_before, p.site_len);
	assert_int_equal(patch_apply_to_file(&p, NULL, &t, &e), -1); /* another file */
	memcpy(file.bytes + 0x200, p.build_id, p.build_id_len);
	file.bytes[0x1fff] = 1;
	assert_int_equal(patch_apply_to_file(&p, NULL, &t, &e), -1); /* the guard's place is in use */
	file.bytes[0x1fff] = 0;
	file.bytes[0x1102] ^= 1;
	assert_int_equal(patch_apply_to_file(&p, NULL, &t, &e), -1); /* other code */
	assert_int_equal(file.bytes[0x1ff8], 0);
	file.bytes[0x1102] ^= 1;
	p.guard_offset++;
	assert_int_equal(patch_apply_to_file(&p, NULL, &t, &e), -1); /* beyond the end */
	p.guard_offset--;
	assert_int_equal(patch_apply_to_file(&p, NULL, &t, &e), 0);
	assert_memory_equal(file.bytes + 0x1100, p.site_after, p.site_len);
	assert_memory_equal(file.bytes + 0x1ff8, p.guard, p.guard_len);
	assert_int_equal(patch_apply_to_file(&p, NULL, &t, &e), 0); /* it is there already */
	file.there = false;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refusals),      cmocka_unit_test(test_siblings),
		cmocka_unit_test(test_gap),	      cmocka_unit_test(test_place),
		cmocka_unit_test(test_recursive),     cmocka_unit_test(test_index),
		cmocka_unit_test(test_pointer),	      cmocka_unit_test(test_two_calls),
		cmocka_unit_test(test_helper),	      cmocka_unit_test(test_apply_refusals),
		cmocka_unit_test(test_apply_to_file), cmocka_unit_test(test_call),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
