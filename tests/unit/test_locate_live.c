/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Locating on a live stack, in real processes: a program with overflows of many forms is built in every way that the
 * machine has a compiler for, run one instruction at a time until it is about to corrupt what it should not,
 * and the culprit is located in it. Introspection is stood in for by what the host says of the process.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <gelf.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "locate/callee.h"
#include "locate/locate.h"
#include "locate/x86.h"

#define STEPS_MAX 60000
#define FORMAT_ORIGIN 1000u
#define BELOW 64 /* bytes around the corrupted object that one instruction or system call may write */
#define ABOVE 256
#define KERNEL_PC 0xffffffff81000000ull
#define KERNEL_RSP 0xffffc90000003e00ull

/* The process under attack, stopped before the instruction that writes the corrupted object. */
static struct {
	char dir[64], program[96];
	pid_t pid;
	struct user_regs_struct regs; /* at the instruction; behind it if the kernel wrote */
	bool kernel, is_32bit;
	uint64_t number; /* of the system call */
	uint64_t buffer, size, error, culprit; /* as the program said */
	uint8_t behind[128]; /* what was in the buffer and behind it before the overflow */
	struct shadow *shadow;
} victim;

/* --- introspection, stood in for ------------------------------------------------------------------------- */

static bool read_victim(uint64_t at, void *ret, size_t len)
{
	struct iovec local = {ret, len}, remote = {(void *)(uintptr_t)at, len};

	return process_vm_readv(victim.pid, &local, 1, &remote, 1, 0) == (ssize_t)len;
}

#define GUEST_SIZE (16u << 20)

bool vmi_translate(const struct vmi_space *s, struct gva at, struct vmi_page *ret)
{
	(void)s;
	*ret = (struct vmi_page){.at = gpa(at.v % GUEST_SIZE)};
	return true;
}

bool vmi_read(const struct vmi_space *s, struct gva at, void *ret, size_t len)
{
	(void)s;
	return read_victim(at.v, ret, len);
}

bool vmi_task_read(struct vmi *v, const struct vmi_task *t, struct gva at, void *ret, size_t len)
{
	(void)v;
	(void)t;
	return read_victim(at.v, ret, len);
}

int vmi_task_by_cr3(struct vmi *v, uint64_t cr3, struct vmi_task *ret, struct err *e)
{
	(void)v;
	(void)e;
	*ret = (struct vmi_task){.pid = 42, .tgid = 42, .comm = "victim"};
	return cr3 == 0x1000 ? 0 : -1;
}

int vmi_maps(struct vmi *v, const struct vmi_task *t, struct vmi_vma *ret, size_t max, struct err *e)
{
	char name[64], line[512];
	size_t n = 0;
	FILE *f;

	(void)v;
	(void)t;
	(void)e;
	snprintf(name, sizeof(name), "/proc/%d/maps", victim.pid);
	f = fopen(name, "re");
	assert_non_null(f);
	while (n < max && fgets(line, sizeof(line), f)) {
		char perms[5], path[256] = "";

		assert_true(sscanf(line, "%lx-%lx %4s %lx %*s %*s %255s", &ret[n].start.v, &ret[n].end.v, perms,
				   &ret[n].file_offset, path) >= 4);
		ret[n].flags = (perms[0] == 'r') | (perms[1] == 'w') << 1 | (perms[2] == 'x') << 2;
		snprintf(ret[n].path, sizeof(ret[n].path), "%s", *path == '/' ? path : "");
		n++;
	}
	fclose(f);
	return (int)n;
}

static void set_segment(const GElf_Phdr *ph, struct gva at, struct vmi_module *m)
{
	struct gva start = gva(ph->p_vaddr + m->bias);

	if (ph->p_type == PT_GNU_EH_FRAME) {
		m->eh_frame_hdr = start;
		m->eh_frame_hdr_size = ph->p_memsz;
	} else if (ph->p_type == PT_DYNAMIC) {
		m->dynamic = start;
		m->dynamic_size = ph->p_memsz;
	}
	if (ph->p_type != PT_LOAD)
		return;
	if (m->low.v > (start.v & ~4095ull))
		m->low = gva(start.v & ~4095ull);
	if (m->high.v < ((start.v + ph->p_memsz + 4095) & ~4095ull))
		m->high = gva((start.v + ph->p_memsz + 4095) & ~4095ull);
	if ((ph->p_flags & PF_X) && (!m->text.v || at.v - start.v < ph->p_memsz)) {
		m->text = start;
		m->text_end = gva_add(start, ph->p_memsz);
		m->text_file_offset = ph->p_offset;
		m->text_file_size = ph->p_filesz;
	}
}

static void read_elf(const char *path, struct gva base, struct gva at, struct vmi_module *m)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	Elf *elf;
	GElf_Ehdr header;
	GElf_Phdr ph;

	elf_version(EV_CURRENT);
	elf = elf_begin(fd, ELF_C_READ, NULL);
	assert_non_null(elf);
	m->is_32bit = gelf_getclass(elf) == ELFCLASS32;
	gelf_getehdr(elf, &header);
	m->low = gva(UINT64_MAX);
	for (int k = 0; gelf_getphdr(elf, k, &ph); k++)
		if (ph.p_type == PT_LOAD && !ph.p_offset)
			m->bias = base.v - ph.p_vaddr;
	m->entry = gva(header.e_entry + m->bias);
	for (int k = 0; gelf_getphdr(elf, k, &ph); k++)
		set_segment(&ph, at, m);
	elf_end(elf);
	close(fd);
}

int vmi_module_at(struct vmi *v, const struct vmi_task *t, struct gva at, struct vmi_module *ret, struct err *e)
{
	static struct vmi_vma maps[512];
	int n = vmi_maps(v, t, maps, 512, e), base = -1;

	for (int k = 0; k < n; k++) {
		if (*maps[k].path && !maps[k].file_offset)
			base = k;
		if (at.v < maps[k].start.v || at.v >= maps[k].end.v || !*maps[k].path || base < 0 ||
		    strcmp(maps[k].path, maps[base].path) != 0)
			continue;
		memset(ret, 0, sizeof(*ret));
		snprintf(ret->path, sizeof(ret->path), "%s", maps[k].path);
		ret->is_main = !strcmp(ret->path, victim.program);
		read_elf(ret->path, maps[base].start, at, ret);
		ret->inode = gva(ret->is_main ? 0x1000 : 0);
		return 0;
	}
	return err_set(e, ERR_GUEST, "no file is mapped at 0x%llx", (unsigned long long)at.v);
}

int vmi_find_code(struct vmi *v, const struct vmi_task *t, uint64_t ram_offset, struct gva *ret, struct err *e)
{
	(void)v;
	(void)t;
	(void)e;
	*ret = gva(victim.regs.rip);
	return ram_offset == 0x7000 ? 0 : -1;
}

static void set_gpr(uint64_t ret[16])
{
	const struct user_regs_struct *r = &victim.regs;
	const uint64_t gpr[16] = {r->rax, r->rcx, r->rdx, r->rbx, r->rsp, r->rbp, r->rsi, r->rdi,
				  r->r8,  r->r9,  r->r10, r->r11, r->r12, r->r13, r->r14, r->r15};

	memcpy(ret, gpr, sizeof(gpr));
}

int vmi_thread_at(struct vmi *v, const struct vmi_task *t, uint64_t rsp, struct vmi_thread *ret, struct err *e)
{
	(void)v;
	(void)t;
	(void)e;
	*ret = (struct vmi_thread){
		.pid = 42, .is_32bit = victim.is_32bit, .number = victim.number, .ip = {victim.regs.rip}};
	set_gpr(ret->gpr);
	return rsp == KERNEL_RSP ? 0 : -1;
}

/* Libraries of a distribution are stripped: only the program's own file is there. */
bool vmi_file_read(struct vmi *v, const struct vmi_task *t, struct gva inode, uint64_t offset, void *ret, size_t len)
{
	int fd = inode.v ? open(victim.program, O_RDONLY | O_CLOEXEC) : -1;
	bool good = fd >= 0 && pread(fd, ret, len, (off_t)offset) == (ssize_t)len;

	(void)v;
	(void)t;
	if (fd >= 0)
		close(fd);
	return good;
}

/* --- the process ----------------------------------------------------------------------------------------- */

static bool run(char *const argv[])
{
	posix_spawn_file_actions_t quiet;
	int status = -1;
	pid_t pid;

	posix_spawn_file_actions_init(&quiet);
	posix_spawn_file_actions_addopen(&quiet, 2, "/dev/null", O_WRONLY, 0);
	if (!posix_spawnp(&pid, argv[0], &quiet, NULL, argv, environ))
		waitpid(pid, &status, 0);
	posix_spawn_file_actions_destroy(&quiet);
	return status == 0;
}

/* Builds the victim: compiler and flags, separated by spaces. false: the machine cannot. */
static bool build(const char *how)
{
	char flags[128], *argv[24], *save = NULL;
	size_t n = 0;

	snprintf(flags, sizeof(flags), "%s", how);
	for (char *w = strtok_r(flags, " ", &save); w && n < 16; w = strtok_r(NULL, " ", &save))
		argv[n++] = w;
	argv[n++] = "-fno-builtin";
	argv[n++] = "-w";
	argv[n++] = "-o";
	argv[n++] = victim.program;
	argv[n++] = "tests/unit/locate_victim.c";
	argv[n] = NULL;
	return run(argv);
}

static void step(int request, int signal)
{
	int status;

	assert_int_equal(ptrace(request, victim.pid, NULL, NULL), 0);
	assert_int_equal(waitpid(victim.pid, &status, 0), victim.pid);
	assert_true(WIFSTOPPED(status));
	assert_int_equal(WSTOPSIG(status), signal);
	assert_int_equal(ptrace(PTRACE_GETREGS, victim.pid, NULL, &victim.regs), 0);
}

/* To the mark, an int1. A virtual CPU may stop at it instead of behind it. */
static void run_to_mark(void)
{
	uint8_t code;

	step(PTRACE_CONT, SIGTRAP);
	assert_true(read_victim(victim.regs.rip, &code, 1));
	if (code != 0xf1)
		return;
	victim.regs.rip++;
	assert_int_equal(ptrace(PTRACE_SETREGS, victim.pid, NULL, &victim.regs), 0);
}

static void start(const char *form)
{
	int status;

	victim.pid = fork();
	assert_true(victim.pid >= 0);
	if (!victim.pid) {
		setenv("LD_BIND_NOW", "1", 1);
		setenv("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW", 1);
		dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), 2);
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		execl(victim.program, victim.program, form, (char *)NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(victim.pid, &status, 0), victim.pid);
	assert_true(WIFSTOPPED(status));
	assert_int_equal(ptrace(PTRACE_SETOPTIONS, victim.pid, NULL, PTRACE_O_EXITKILL), 0);
	run_to_mark();
	victim.is_32bit = victim.regs.cs == 0x23;
	victim.buffer = victim.regs.rax;
	victim.size = victim.regs.rdx;
	victim.error = victim.regs.rcx;
	victim.culprit = victim.regs.rsi;
	assert_true(read_victim(victim.buffer, victim.behind, sizeof(victim.behind)));
}

static void stop(void)
{
	if (victim.pid > 0) {
		kill(victim.pid, SIGKILL);
		waitpid(victim.pid, NULL, 0);
	}
	victim.pid = 0;
}

/* Whether the instruction at `at` enters the kernel. */
static bool enters_kernel(uint64_t at)
{
	static const uint8_t entries[][2] = {{0x0f, 0x05}, {0xcd, 0x80}, {0x0f, 0x34}};
	uint8_t code[2];

	assert_true(read_victim(at, code, 2));
	for (size_t k = 0; k < 3; k++)
		if (!memcmp(code, entries[k], 2))
			return true;
	return false;
}

/* One instruction at a time until the first corrupted byte has changed; then as it was before that instruction. */
static void run_to_damage(void)
{
	uint8_t before[BELOW + ABOVE], now[BELOW + ABOVE];
	struct iovec local = {before, sizeof(before)},
		     remote = {(void *)(uintptr_t)(victim.error - BELOW), sizeof(before)};

	for (unsigned k = 0; k < STEPS_MAX; k++) {
		struct user_regs_struct was = victim.regs;

		assert_true(read_victim(victim.error - BELOW, before, sizeof(before)));
		step(PTRACE_SINGLESTEP, SIGTRAP);
		assert_true(read_victim(victim.error - BELOW, now, sizeof(now)));
		if (now[BELOW] == before[BELOW])
			continue;
		victim.kernel = enters_kernel(was.rip);
		victim.number = was.rax;
		if (!victim.kernel)
			victim.regs = was;
		/* the part below the corrupted object is written, with a copy from the start up */
		assert_int_equal(process_vm_writev(victim.pid, &local, 1, &remote, 1, 0), (ssize_t)sizeof(before));
		return;
	}
	fail_msg("nothing was corrupted");
}

/* start: of what overran; error: what was corrupted; return_hit: it must be a return address */
static int locate_from(uint32_t detector, uint64_t start, uint64_t error, bool return_hit, struct finding *ret,
		       struct err *e)
{
	const struct finding first = {.start_address = {start}, .error_address = {error}};
	struct taint_msg_detect d = {.detector = detector,
				     .pc = victim.kernel ? KERNEL_PC : 0x1234,
				     .code_offset = 0x7000,
				     .cs = victim.kernel ? 0x10 : victim.regs.cs,
				     .fs_base = victim.regs.fs_base,
				     .gs_base = victim.regs.gs_base,
				     .kernel_gs_base = victim.regs.gs_base,
				     .cr3 = 0x1000};

	set_gpr(d.gpr);
	if (victim.kernel)
		d.gpr[X86_RSP] = KERNEL_RSP;
	return locate_live(&(struct locate_input){.detect = &d, .shadow = victim.shadow, .return_hit = return_hit},
			   &first, ret, e);
}

static int locate_at(uint32_t detector, uint64_t error, bool return_hit, struct finding *ret, struct err *e)
{
	return locate_from(detector, victim.buffer, error, return_hit, ret, e);
}

static int locate(uint32_t detector, struct finding *ret, struct err *e)
{
	return locate_at(detector, victim.error, false, ret, e);
}

/* Another write of the same bytes is told by what it hits: the frame that they hit in the end, in a process with another stack. */
static void check_return_hit(void)
{
	struct finding f;
	struct err e = {0};

	assert_int_equal(locate_at(TAINT_DETECT_WATCH, victim.error, true, &f, &e), 0);
	assert_int_equal(locate_at(TAINT_DETECT_WATCH, victim.error - 8, true, &f, &e), -1);
	assert_int_equal(e.code, ERR_REFUSED);
}

/* --- what must be found ------------------------------------------------------------------------------------ */

struct want {
	const char *form, *callee; /* NULL: a store */
	enum call_effect effect;
	enum bound_kind bound;
	uint8_t dst, len;
	const char *helper;
};

static const struct want wants[] = {
	{"strcpy", "strcpy", CALL_STRING_COPY, BOUND_FRAME, 0, CALL_NO_ARG, ""},
	{"strcat", "strcat", CALL_STRING_APPEND, BOUND_FRAME, 0, CALL_NO_ARG, ""},
	{"strncpy", "strncpy", CALL_LENGTH, BOUND_FRAME, 0, 2, ""},
	{"memcpy", "mem", CALL_LENGTH, BOUND_FRAME, 0, 2, ""}, /* or memmove: the same code */
	{"sprintf", "sprintf", CALL_PRINT, BOUND_FRAME, 0, CALL_NO_ARG, "vsnprintf"},
	{"vsprintf", "vsprintf", CALL_PRINT_V, BOUND_CALLER, 0, CALL_NO_ARG, "vsnprintf"},
	{"snprintf", "snprintf", CALL_LENGTH, BOUND_FRAME, 0, 1, ""},
	{"sscanf", "sscanf", CALL_SCAN, BOUND_FRAME, CALL_NO_ARG, CALL_NO_ARG, ""},
	{"read", "read", CALL_LENGTH, BOUND_FRAME, 1, 2, ""},
	{"recv", "recv", CALL_LENGTH, BOUND_FRAME, 1, 2, ""},
	{"fgets", "fgets", CALL_LENGTH, BOUND_FRAME, 0, 1, ""},
	{"tail", "strcpy", CALL_STRING_COPY, BOUND_FRAME, 0, CALL_NO_ARG, ""},
	{"switch", "strcpy", CALL_STRING_COPY, BOUND_FRAME, 0, CALL_NO_ARG, ""},
	{"leaves", "strcpy", CALL_STRING_COPY, BOUND_MODULE, 0, CALL_NO_ARG, ""},
	{"hands", "strcpy", CALL_STRING_COPY, BOUND_CALLER, 0, CALL_NO_ARG, ""},
	{"deep", NULL, CALL_UNKNOWN, BOUND_CALLER, CALL_NO_ARG, CALL_NO_ARG, ""},
	{"loop", NULL, CALL_UNKNOWN, BOUND_FRAME, CALL_NO_ARG, CALL_NO_ARG, ""},
	{"pointer", "strcpy", CALL_STRING_COPY, BOUND_FRAME, 0, CALL_NO_ARG, ""},
	{"static", "strcpy", CALL_STRING_COPY, BOUND_MODULE, 0, CALL_NO_ARG, ""},
	{"heap", "strcpy", CALL_STRING_COPY, BOUND_CHUNK, 0, CALL_NO_ARG, ""},
	{"member", "strcpy", CALL_STRING_COPY, BOUND_CHUNK, 0, CALL_NO_ARG, ""},
	{"array", NULL, CALL_UNKNOWN, BOUND_CHUNK, CALL_NO_ARG, CALL_NO_ARG, ""},
	{"walk", NULL, CALL_UNKNOWN, BOUND_CHUNK, CALL_NO_ARG, CALL_NO_ARG, ""},
	{"record", NULL, CALL_UNKNOWN, BOUND_CHUNK, CALL_NO_ARG, CALL_NO_ARG, ""},
	/* of these dst is the format */
	{"format", "snprintf", CALL_FORMAT, BOUND_FRAME, 2, CALL_NO_ARG, ""},
	{"logged", "vsnprintf", CALL_FORMAT, BOUND_FRAME, 2, CALL_NO_ARG, ""},
	{"left", "dprintf", CALL_FORMAT, BOUND_FRAME, 1, CALL_NO_ARG, ""},
	{"copied", "dprintf", CALL_FORMAT, BOUND_FRAME, 1, CALL_NO_ARG, ""},
	{"kept", "fprintf", CALL_FORMAT, BOUND_FRAME, 1, CALL_NO_ARG, ""},
	{"global", "snprintf", CALL_FORMAT, BOUND_FRAME, 2, CALL_NO_ARG, ""},
	{"own", "snprintf", CALL_FORMAT, BOUND_FRAME, 2, CALL_NO_ARG, ""},
};

enum manner {
	NAMED,
	PROTECTED, /* has canaries; 64-bit */
	FORTIFIED, /* ends itself before anything is overrun */
};

/* The chunk's memory; of a structure the buffer is its second member. What must hold its address does. */
static uint64_t chunk_of(const struct want *w, const struct finding *f)
{
	bool member = !strcmp(w->form, "member") || !strcmp(w->form, "record");
	uint64_t word = victim.is_32bit ? 4 : 8, chunk = victim.buffer - (member ? word : 0), held = 0, gpr[16];

	assert_int_equal(f->part_of != 0, member);
	assert_int_equal(f->has_base, f->kind == FINDING_STORE);
	if (f->kind == FINDING_CALL)
		assert_int_equal(f->start_offset, member ? word : 0);
	if (!f->has_base)
		return chunk;
	set_gpr(gpr);
	if (f->base.reg < 16)
		held = gpr[f->base.reg];
	else
		assert_true(read_victim(f->cfa_value + (uint64_t)f->base.slot, &held, word));
	assert_int_equal(chunk + (uint64_t)f->start_offset, held);
	return chunk;
}

static void check_bounds(const struct want *w, const struct finding *f)
{
	unsigned word = victim.is_32bit ? 4 : 8;
	uint64_t base = f->bound == BOUND_MODULE  ? f->module.bias
			: f->bound == BOUND_CHUNK ? chunk_of(w, f)
						  : f->cfa_value;
	uint64_t start = base + (uint64_t)f->start_offset, end = base + (uint64_t)f->end_offset, at = 0;

	assert_true(start <= victim.buffer);
	assert_true(end >= victim.buffer + victim.size);
	assert_true(end <= victim.error);
	if (f->bound == BOUND_CHUNK || f->bound == BOUND_MODULE || !strcmp(w->form, "pointer"))
		assert_int_equal(end, victim.buffer + victim.size);
	if (f->bound != BOUND_CALLER)
		return;
	assert_true(read_victim(f->cfa_value + (uint64_t)f->caller_slot, &at, word));
	assert_int_equal(at, f->caller_return.v);
	/* the way between the frames is of fixed size; in musl without frame information */
	assert_true(f->confidence >= 75 || f->confidence == 75 - 20);
}

/* With a stack protector the object of a frame ends at its word. */
static void check_canary(const struct finding *f)
{
	uint64_t canary = 0, word = 0, at;

	assert_true(read_victim(victim.regs.fs_base + 0x28, &canary, 8));
	at = f->cfa_value + (uint64_t)f->end_offset - victim.buffer;
	assert_true(at <= sizeof(victim.behind) - 8);
	memcpy(&word, victim.behind + at, 8);
	assert_int_equal(word, canary);
}

static void check_helper(const struct want *w, const struct finding *f)
{
	uint64_t at = f->module.bias, value = 0;

	assert_string_equal(f->helper, w->helper);
	if (!*w->helper)
		return;
	if (f->helper_slot.v) {
		assert_true(read_victim(f->helper_slot.v, &value, victim.is_32bit ? 4 : 8));
		at = value;
	}
	at += (uint64_t)f->helper_delta;
	assert_true(read_victim(victim.is_32bit ? (uint32_t)at : at, &value, 8));
	assert_int_not_equal(value, 0);
}

/* What overran is only known to reach to what was corrupted: the call's destination tells the same object. */
static void check_destination(const struct finding *f)
{
	struct finding again;
	struct err e = {0};

	if (locate_from(TAINT_DETECT_WATCH, victim.error, victim.error, false, &again, &e))
		fail_msg("%s: %s", f->object_text, e.text);
	assert_int_equal(again.start_address.v, victim.buffer);
	assert_int_equal(again.bound, f->bound);
	assert_int_equal(again.start_offset, f->start_offset);
	assert_int_equal(again.end_offset, f->end_offset);
}

/* What an earlier, deeper copy has left right below the return address of the one at hand looks like a part of the run. */
static void check_left_below(const struct finding *f)
{
	struct finding again;
	struct err e = {0};

	if (locate_from(TAINT_DETECT_WATCH, victim.regs.rsp - 1, victim.error, false, &again, &e))
		fail_msg("%s: %s", f->object_text, e.text);
	assert_int_equal(again.culprit.v, f->culprit.v);
	assert_int_equal(again.bound, f->bound);
	assert_int_equal(again.end_offset, f->end_offset);
	assert_true(again.start_address.v > victim.regs.rsp);
}

static void check(const struct want *w, enum manner manner)
{
	/* a call in put() is not left by a jump in all builds */
	bool tail = !strcmp(w->form, "tail"), leaves = !strcmp(w->form, "leaves") || !strcmp(w->form, "hands");
	struct finding f;
	struct err e = {0};

	if (locate(TAINT_DETECT_WATCH, &f, &e))
		fail_msg("%s: %s (%s in %s)", w->form, e.text, f.culprit_text, f.module.path);
	print_message("  %-9s %-34s %-9s %s, %+ld..%+ld, %u %%\n", w->form, f.culprit_text, f.callee, f.object_text,
		      (long)f.start_offset, (long)f.end_offset, f.confidence);
	assert_int_equal(f.pid, 42);
	assert_int_equal(f.is_32bit, victim.is_32bit);
	assert_int_equal(f.function.v, victim.culprit);
	assert_true(f.culprit.v >= f.function.v && f.culprit.v < f.function_end.v);
	assert_int_equal(f.kind, w->callee ? FINDING_CALL : FINDING_STORE);
	if (w->callee) {
		assert_true(!strncmp(f.culprit_text, "call", 4) || (leaves && !strncmp(f.culprit_text, "jmp", 3)));
		assert_int_equal(strncmp(f.callee, w->callee, strlen(w->callee)), 0);
	}
	assert_int_equal(f.effect, w->effect);
	if (f.effect != CALL_SCAN || f.dst_arg == CALL_NO_ARG) /* scanf's is found where its arguments are told */
		assert_int_equal(f.dst_arg, w->dst);
	else
		assert_int_equal(f.dst_arg, 2);
	assert_int_equal(f.len_arg, w->len);
	if (!tail)
		assert_int_equal(f.bound, w->bound);
	check_bounds(w, &f);
	assert_true(f.own_array == (f.effect == CALL_LENGTH) || victim.is_32bit);
	if (manner == PROTECTED && f.bound == BOUND_FRAME)
		check_canary(&f);
	check_helper(w, &f);
	if (!strcmp(w->form, "strcpy"))
		check_return_hit();
	if (!strcmp(w->form, "heap") || !strcmp(w->form, "static"))
		check_destination(&f);
	if (!strcmp(w->form, "memcpy") || !strcmp(w->form, "strcpy"))
		check_left_below(&f);
	assert_true(f.bug.v <= f.culprit.v && f.bug.v + f.bug_len >= f.culprit.v + f.culprit_len);
	assert_true(f.bug_len >= 5 && f.bug_len <= FINDING_BUG_MAX);
}

/* The register that holds the address of the store at hand. */
static unsigned long long *stores_through(void)
{
	struct user_regs_struct *r = &victim.regs;
	unsigned long long *gpr[16] = {&r->rax, &r->rcx, &r->rdx, &r->rbx, &r->rsp, &r->rbp, &r->rsi, &r->rdi,
				       &r->r8,	&r->r9,	 &r->r10, &r->r11, &r->r12, &r->r13, &r->r14, &r->r15};
	uint8_t code[X86_INSN_MAX];
	struct x86_store st;
	struct x86_insn in;

	assert_true(read_victim(r->rip, code, sizeof(code)));
	assert_true(x86_decode_mode(victim.is_32bit ? X86_MODE_32 : X86_MODE_64, code, sizeof(code), &in));
	assert_int_equal(
		x86_store_decode_mode(victim.is_32bit ? X86_MODE_32 : X86_MODE_64, code, in.i.length, &st, NULL), 0);
	assert_true(st.base < 16 && !st.disp && st.width >= 2);
	return gpr[st.base];
}

static void write_victim(uint64_t at, uint64_t v, size_t len)
{
	struct iovec local = {&v, len}, remote = {(void *)(uintptr_t)at, len};

	assert_int_equal(process_vm_writev(victim.pid, &local, 1, &remote, 1, 0), (ssize_t)len);
}

/*
 * What the store wrote to is a return address between it and the culprit, and some bytes of that are gone by now: it is
 * found all the same, but for one that several calls fit.
 */
static void check_spoilt(const struct finding *f)
{
	unsigned word = victim.is_32bit ? 4 : 8, lost = 0, tried = 0;
	uint64_t v = 0, saved = *stores_through();

	for (uint64_t at = victim.regs.rsp; v != f->culprit.v + f->culprit_len; at += word) {
		uint8_t call = 0;
		struct finding again;

		v = 0;
		assert_true(read_victim(at, &v, word));
		if (v - f->module.text.v >= f->module.text_file_size || !read_victim(v - 5, &call, 1) || call != 0xe8)
			continue;
		write_victim(at, 0x4141, 2);
		*stores_through() = at;
		/* the call that is next to it, in the library, hands on the same format */
		if (locate(TAINT_DETECT_POINTER, &again, NULL) || again.culprit.v != f->culprit.v)
			lost++;
		write_victim(at, v, word);
		*stores_through() = saved;
		tried++;
	}
	assert_true(tried >= 3);
	assert_true(lost <= 1);
}

/* A store through a pointer that came from outside, by a format; or the end of a program that checks for it. */
/* The format as it came. Over one, a %n has written the number of letters before it: all bytes of a number have one origin. */
static void taint_format(bool overwritten)
{
	struct gpa at = gpa(victim.buffer % GUEST_SIZE);
	uint8_t now[sizeof(victim.behind)];

	if (overwritten)
		write_victim(victim.buffer, 4, 4);

	assert_true(read_victim(victim.buffer, now, sizeof(now)));
	for (size_t i = 0; victim.behind[i]; i++)
		shadow_taint_input(victim.shadow, gpa_add(at, i), &now[i], 1,
				   FORMAT_ORIGIN + (now[i] == victim.behind[i] ? (uint32_t)i : 0));
}

static void check_format(const struct want *w, uint32_t detector)
{
	struct gpa at = gpa(victim.buffer % GUEST_SIZE);
	bool own = !strcmp(w->form, "own");
	struct finding f;
	struct err e = {0};

	/* the program's own format is none of ours */
	if (!locate(detector, &f, &e))
		fail_msg("%s: %s is taken for hostile", w->form, f.culprit_text);
	taint_format(own);
	if (locate(detector, &f, &e))
		fail_msg("%s: %s", w->form, e.text);
	shadow_clear(victim.shadow, at, sizeof(victim.behind));
	print_message("  %-9s %-34s %s\n", w->form, f.culprit_text, f.object_text);
	assert_int_equal(f.kind, FINDING_CALL);
	assert_int_equal(f.function.v, victim.culprit);
	assert_non_null(strstr(f.callee, w->callee));
	assert_int_equal(f.effect, CALL_FORMAT);
	assert_int_equal(f.src_arg, detector == TAINT_DETECT_ABORT ? callee_known(f.callee)->format : w->dst);
	assert_int_equal(f.run_first_origin, FORMAT_ORIGIN);
	assert_true(f.bug_len >= 5);
	if (detector == TAINT_DETECT_POINTER && !f.module.dynamic.v && !strcmp(w->form, "format")) {
		taint_format(own);
		check_spoilt(&f);
		shadow_clear(victim.shadow, at, sizeof(victim.behind));
	}
}

/* The compiler had the size checked: the program is about to end itself, with nothing overrun. */
static void check_fortified(const struct want *w)
{
	struct finding f;
	struct err e = {0};
	char name[32];

	if (locate(TAINT_DETECT_ABORT, &f, &e))
		fail_msg("%s: %s", w->form, e.text);
	print_message("  %-9s %-34s %-14s %s, %+ld..%+ld\n", w->form, f.culprit_text, f.callee, f.object_text,
		      (long)f.start_offset, (long)f.end_offset);
	snprintf(name, sizeof(name), "__%s_chk", w->form);
	assert_string_equal(f.callee, name);
	assert_int_equal(f.effect, w->effect);
	assert_int_equal(f.function.v, victim.culprit);
	assert_int_not_equal(f.chk_arg, CALL_NO_ARG);
	assert_int_equal(f.start_address.v, victim.buffer);
	assert_int_equal(f.error_address.v, victim.buffer + victim.size);
	assert_int_equal(f.cfa_value + (uint64_t)f.start_offset, victim.buffer);
	assert_int_equal(f.end_offset - f.start_offset, victim.size);
	check_helper(w, &f);
}

static void check_form(const char *form, enum manner manner)
{
	for (size_t k = 0; k < sizeof(wants) / sizeof(wants[0]); k++) {
		if (strcmp(wants[k].form, form) != 0)
			continue;
		start(form);
		if (manner == FORTIFIED)
			step(PTRACE_CONT, SIGABRT);
		else
			run_to_damage();
		if (wants[k].effect == CALL_FORMAT)
			check_format(&wants[k], manner == FORTIFIED ? TAINT_DETECT_ABORT : TAINT_DETECT_POINTER);
		else if (manner == FORTIFIED)
			check_fortified(&wants[k]);
		else
			check(&wants[k], manner);
		stop();
	}
}

#define ALL                                                                                                            \
	"strcpy strcat strncpy memcpy sprintf vsprintf snprintf sscanf read recv fgets tail leaves hands deep loop "   \
	"pointer static "                                                                                              \
	"heap switch member array walk record " FORMATS
#define FORMATS "format logged left kept copied global own"
#define SOME "strcpy memcpy vsprintf read tail leaves hands deep static switch member array record " FORMATS
#define STRIPPED                                                                                                       \
	"strcpy strcat strncpy memcpy sprintf vsprintf snprintf sscanf read recv fgets tail leaves hands deep "        \
	"pointer static heap "                                                                                         \
	"switch " FORMATS
#define CHECKED "strcpy strcat strncpy memcpy sprintf snprintf read recv fgets " FORMATS
#define MUSL "strcpy memcpy sprintf vsprintf sscanf read fgets deep loop pointer static format logged left global"

struct build {
	const char *how, *forms;
	enum manner manner;
};

static void check_build(void **state)
{
	const struct build *b = *state;
	char forms[256], *save = NULL;

	if (!build(b->how)) {
		print_message("not to be had here: %s\n", b->how);
		skip();
	}
	snprintf(forms, sizeof(forms), "%s", b->forms);
	print_message("%s\n", b->how);
	for (char *form = strtok_r(forms, " ", &save); form; form = strtok_r(NULL, " ", &save))
		check_form(form, b->manner);
}

static int setup(void **state)
{
	int fd;

	(void)state;
	strcpy(victim.dir, "/tmp/clouder-live-XXXXXX");
	if (!mkdtemp(victim.dir) || shadow_create(GUEST_SIZE, 16, &fd, &victim.shadow, NULL))
		return -1;
	close(fd);
	snprintf(victim.program, sizeof(victim.program), "%s/victim", victim.dir);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	stop();
	shadow_destroy(victim.shadow);
	unlink(victim.program);
	rmdir(victim.dir);
	return 0;
}

static int end_process(void **state)
{
	(void)state;
	stop();
	return 0;
}

static struct build builds[] = {
	{"gcc -O2", ALL, NAMED},
	{"gcc -O2 -s", ALL, NAMED},
	{"gcc -O2 -fcf-protection -Wl,-z,ibtplt", SOME, NAMED},
	{"gcc -O2 -static -s", STRIPPED, NAMED},
	{"gcc -O0 -m32 -static -s", STRIPPED, NAMED},
	{"gcc -O2 -static-pie -s", STRIPPED, NAMED},
	{"clang -O2 -m32 -static -s", STRIPPED, NAMED},
	{"musl-gcc -O2 -static -s", MUSL, NAMED},
	{"gcc -O2 -D_FORTIFY_SOURCE=2 -fstack-protector-strong", CHECKED, FORTIFIED},
	{"gcc -O2 -m32 -D_FORTIFY_SOURCE=2 -fstack-protector-strong", CHECKED, FORTIFIED},
	{"gcc -O2 -fstack-protector-strong -static-pie", SOME, PROTECTED},
	{"gcc -O2 -m32 -fstack-protector-all -mstackrealign", SOME, NAMED},
	{"gcc -O0", ALL, NAMED},
	{"gcc -O2 -no-pie -fno-plt", SOME, NAMED},
	{"gcc -O2 -static", ALL, NAMED},
	{"gcc -O2 -m32", ALL, NAMED},
	{"gcc -O0 -m32", ALL, NAMED},
	{"gcc -O2 -m32 -no-pie -fno-pie", SOME, NAMED},
	{"gcc -O1 -m32 -static", SOME, NAMED},
	{"clang -O2", SOME, NAMED},
	{"clang -O0", SOME, NAMED},
	{"clang -O2 -m32", SOME, NAMED},
	{"musl-gcc -O2", MUSL, NAMED},
	{"musl-gcc -O2 -static", MUSL, NAMED},
};

int main(void)
{
	enum { BUILDS = sizeof(builds) / sizeof(builds[0]) };
	struct CMUnitTest tests[BUILDS];

	for (size_t k = 0; k < BUILDS; k++)
		tests[k] = (struct CMUnitTest){.name = builds[k].how,
					       .test_func = check_build,
					       .teardown_func = end_process,
					       .initial_state = &builds[k]};
	return cmocka_run_group_tests(tests, setup, teardown);
}
