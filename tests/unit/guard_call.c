/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Making the program and its guard, and having guard_runner run it. */
#include "guard_call.h"

#include <elf.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

const struct setting settings[SETTINGS] = {
	{false, false, BOUND_FRAME, RSP, FORM_REL},  {false, false, BOUND_FRAME, RBP, FORM_SLOT},
	{false, false, BOUND_FRAME, RBP, FORM_REG},  {false, false, BOUND_FRAME, RSP, FORM_STACK},
	{false, false, BOUND_CALLER, RSP, FORM_REL}, {false, false, BOUND_CALLER, RBP, FORM_REL},
	{false, false, BOUND_MODULE, RSP, FORM_REL}, {false, false, BOUND_CHUNK, RSP, FORM_SLOT},
	{true, true, BOUND_FRAME, RSP, FORM_REL},    {true, true, BOUND_FRAME, RBP, FORM_SLOT},
	{true, false, BOUND_FRAME, RBP, FORM_REG},   {true, false, BOUND_FRAME, RSP, FORM_STACK},
	{true, true, BOUND_CALLER, RBP, FORM_REL},   {true, false, BOUND_CALLER, RSP, FORM_REL},
	{true, true, BOUND_MODULE, RBP, FORM_REL},   {true, false, BOUND_MODULE, RBP, FORM_REL},
	{true, false, BOUND_CHUNK, RSP, FORM_REL},
};

static struct runner {
	int to, from;
	pid_t pid;
	struct guard_hello hello;
} runners[2];

struct guard_run run;
uint8_t image[IMAGE_SIZE], before[IMAGE_SIZE];
uint64_t base;
unsigned guard_len;

/* --- the runner -------------------------------------------------------------------------------------------- */

static void start_runner(struct runner *r, const char *name)
{
	char path[PATH_MAX + 32], self[PATH_MAX];
	int to[2], from[2];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	assert_true(n > 0);
	self[n] = '\0';
	snprintf(path, sizeof(path), "%s/%s", dirname(self), name);
	assert_int_equal(pipe2(to, O_CLOEXEC), 0);
	assert_int_equal(pipe2(from, O_CLOEXEC), 0);
	r->pid = fork();
	assert_true(r->pid >= 0);
	if (!r->pid) {
		dup2(to[0], STDIN_FILENO);
		dup2(from[1], STDOUT_FILENO);
		execl(path, name, (char *)NULL);
		_exit(127);
	}
	close(to[0]);
	close(from[1]);
	r->to = to[1];
	r->from = from[0];
}

static void get(const struct runner *r, void *buf, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = read(r->from, (char *)buf + done, len - done);

		if (n <= 0)
			fail_msg("the runner ended: the code crashed");
		done += (size_t)n;
	}
}

static void put(const struct runner *r, const void *buf, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = write(r->to, (const char *)buf + done, len - done);

		if (n <= 0)
			fail_msg("the runner ended: the code crashed");
		done += (size_t)n;
	}
}

/* --- the program ------------------------------------------------------------------------------------------- */

unsigned word(const struct setting *s)
{
	return s->is_32bit ? 4 : 8;
}

void put32(uint32_t at, uint64_t v)
{
	memcpy(image + at, &(uint32_t){(uint32_t)v}, 4);
}

void put_word(const struct setting *s, uint32_t at, uint64_t v)
{
	memcpy(image + at, &v, word(s));
}

/* jmp or call through a slot: opcode ff, then modrm */
static void put_indirect(const struct setting *s, uint32_t at, uint8_t modrm, uint32_t slot)
{
	image[at] = 0xff;
	image[at + 1] = modrm;
	put32(at + 2, s->is_32bit ? base + slot : slot - (at + 6));
}

uint32_t object(const struct request *rq)
{
	if (rq->s->bound == BOUND_MODULE)
		return STATIC_END - rq->size;
	if (rq->s->bound == BOUND_CHUNK)
		return STATIC_END - 0x200;
	return CFA + END_OFFSET - rq->size;
}

struct request read_request(const struct setting *s, uint32_t size, uint64_t len)
{
	return (struct request){.s = s,
				.effect = CALL_LENGTH,
				.callee = "read",
				.dst_arg = 1,
				.len_arg = 2,
				.chk_arg = CALL_NO_ARG,
				.size = size,
				.n_args = 3,
				.arg = {7, 0, len}};
}

struct finding make_finding(const struct request *rq)
{
	const struct setting *s = rq->s;
	int64_t bias = s->fixed ? 0 : MADE;
	struct finding f = {.kind = FINDING_CALL,
			    .is_32bit = s->is_32bit,
			    .module = {.is_32bit = s->is_32bit,
				       .is_main = true,
				       .low = {MADE},
				       .high = {MADE + IMAGE_SIZE},
				       .bias = (uint64_t)bias},
			    .function = {MADE + FUNCTION},
			    .bug = {MADE + SITE},
			    .bound = s->bound,
			    .cfa = {s->cfa_reg, s->cfa_reg == RSP ? CFA - SP : 16},
			    .start_offset = END_OFFSET - (int64_t)rq->size,
			    .end_offset = END_OFFSET,
			    .caller_return = {MADE + CALLER_RETURN},
			    .caller_slot = (int64_t)CALLER_SLOT - (int64_t)CFA,
			    .effect = rq->effect,
			    .dst_arg = rq->dst_arg,
			    .src_arg = rq->src_arg,
			    .len_arg = rq->len_arg,
			    .chk_arg = rq->chk_arg,
			    .helper_slot = {rq->helper_direct ? 0 : MADE + HELPER_SLOT},
			    .helper_delta =
				    rq->helper_direct ? (int64_t)(MADE + HELPER_STUB) - bias : rq->helper_delta};

	snprintf(f.callee, sizeof(f.callee), "%s", rq->callee);
	if (rq->helper)
		snprintf(f.helper, sizeof(f.helper), "vsnprintf");
	if (s->bound == BOUND_MODULE) {
		f.start_offset = (int64_t)(MADE + object(rq)) - bias;
		f.end_offset = f.start_offset + rq->size;
	} else if (s->bound == BOUND_CHUNK) {
		f.start_offset = 0;
		f.end_offset = rq->size;
	}
	return f;
}

void put_call(const struct setting *s, struct finding *f)
{
	uint8_t before_call = s->form == FORM_REG ? 3 : s->form == FORM_STACK ? 1 : 0;
	uint32_t at = SITE + before_call;

	memset(image + SITE, 0x90, 16);
	f->culprit = gva(MADE + at);
	f->bug_len = 6;
	switch (s->form) {
	case FORM_REL:
		image[at] = 0xe8;
		put32(at + 1, ORIGINAL_STUB - (at + 5));
		f->bug_len = 5;
		break;
	case FORM_SLOT:
		put_indirect(s, at, 0x15, ORIGINAL_SLOT);
		break;
	case FORM_REG:
		memcpy(image + at, (uint8_t[]){0xff, 0xd3}, 2); /* call rbx */
		f->bug_len = 5;
		break;
	case FORM_STACK:
	case FORMS:
		memcpy(image + at, (uint8_t[]){0xff, 0x54, 0x24, 0x78}, 4); /* call [rsp + 0x78] */
		f->bug_len = 5;
		break;
	}
	f->culprit_len = f->bug_len - before_call;
	memcpy(f->bug_bytes, image + SITE, f->bug_len);
	memcpy(f->culprit_bytes, f->bug_bytes + before_call, f->culprit_len);
}

/* The image where the patch was made. */
static bool read_image(void *arg, struct gva at, void *ret, size_t len)
{
	(void)arg;
	if (at.v < MADE || at.v - MADE > IMAGE_SIZE || len > IMAGE_SIZE - (at.v - MADE))
		return false;
	memcpy(ret, image + (at.v - MADE), len);
	return true;
}

const struct code_reader made_reader = {read_image, NULL};

void put_headers(const struct setting *s)
{
	const Elf64_Ehdr h64 = {.e_phoff = sizeof(h64), .e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 2};
	const Elf32_Ehdr h32 = {.e_phoff = sizeof(h32), .e_phentsize = sizeof(Elf32_Phdr), .e_phnum = 2};
	uint64_t start = s->fixed ? MADE : 0;
	const Elf64_Phdr p64[] = {{.p_type = PT_LOAD, .p_vaddr = start},
				  {.p_type = PT_LOAD, .p_vaddr = start + WRITABLE, .p_flags = PF_W}};
	const Elf32_Phdr p32[] = {
		{.p_type = PT_LOAD, .p_vaddr = (uint32_t)start},
		{.p_type = PT_LOAD, .p_vaddr = (uint32_t)start + WRITABLE, .p_flags = PF_W},
	};

	if (s->is_32bit) {
		memcpy(image, &h32, sizeof(h32));
		memcpy(image + sizeof(h32), p32, sizeof(p32));
	} else {
		memcpy(image, &h64, sizeof(h64));
		memcpy(image + sizeof(h64), p64, sizeof(p64));
	}
}

static void put_routine(const struct finding *f, struct guard_link *link)
{
	struct emitter em;
	struct err e;

	emit_init(&em, MADE + ROUTINE);
	if (guard_emit_routine(&em, f, &e))
		fail_msg("%s", e.text);
	assert_true(em.len <= GUARD_MAX && em.buf[em.len - 1]);
	memcpy(image + ROUTINE, em.buf, em.len);
	link->routine = em.at;
}

void put_site(const struct finding *f, uint32_t guard)
{
	struct emitter site;

	emit_init(&site, MADE + SITE);
	if (guard_is_called(f)) {
		for (unsigned k = 5; k < f->bug_len; k++)
			emit_bytes(&site, (uint8_t[]){0x90}, 1);
		emit_call(&site, MADE + guard);
	} else {
		emit_jump(&site, MADE + guard);
	}
	memset(image + SITE, 0xcc, f->bug_len);
	memcpy(image + SITE, site.buf, site.len);
}

const char *put_guard(const struct request *rq, const struct finding *f)
{
	struct guard_link link = {0};
	struct emitter em;
	const char *name;
	struct err e;

	emit_init(&em, MADE + GUARD);
	if (rq->split)
		put_routine(f, &link);
	if (guard_emit_linked(&em, f, &made_reader, &link, &name, &e))
		fail_msg("%s: %s", rq->callee, e.text);
	if (em.len > (rq->split ? 96u : GUARD_MAX))
		fail_msg("%s, %u bits, bound %u: a guard of %u bytes", rq->callee, f->is_32bit ? 32 : 64, f->bound,
			 em.len);
	assert_int_not_equal(em.buf[em.len - 1], 0); /* or the next guard would be put over its end */
	guard_len = em.len;
	memcpy(image + GUARD, em.buf, em.len);
	put_site(f, GUARD);
	put_indirect(rq->s, SITE + f->bug_len, 0x25, EXIT_SLOT);
	return name;
}

void put_args(const struct request *rq)
{
	static const uint8_t regs[] = {RDI, RSI, RDX, RCX, R8, R9};
	unsigned in_regs = rq->s->is_32bit ? 0 : 6;

	for (unsigned k = 0; k < rq->n_args; k++) {
		if (k < in_regs)
			run.gpr[regs[k]] = rq->arg[k];
		else
			put_word(rq->s, SP + (k - in_regs) * word(rq->s), rq->arg[k]);
	}
}

static void put_slots(const struct request *rq)
{
	const struct setting *s = rq->s;
	const struct runner *r = &runners[s->is_32bit];

	put_indirect(s, ORIGINAL_STUB, 0x25, ORIGINAL_SLOT);
	put_indirect(s, HELPER_STUB, 0x25, HELPER_SLOT + 8 * 2);
	put_word(s, ORIGINAL_SLOT, r->hello.original);
	put_word(s, HELPER_SLOT, r->hello.helper - (uint64_t)rq->helper_delta);
	put_word(s, HELPER_SLOT + 8 * 2, r->hello.helper);
	run.gpr[RBX] = r->hello.original;
	put_word(s, SP + 0x78, r->hello.original);
	put_word(s, CALLER_SLOT, base + CALLER_RETURN + rq->wrong_caller);
	if (s->bound == BOUND_CHUNK)
		put_word(s, object(rq) - word(s), (rq->size + word(s)) | 1 | (rq->size >= 0x100 ? 4 : 0));
}

void begin_request(const struct request *rq)
{
	const struct setting *s = rq->s;

	base = s->fixed ? MADE : ELSEWHERE;
	run = (struct guard_run){.base = base,
				 .entry = base + SITE,
				 .exit = EXIT_SLOT,
				 .result = 0x1234567,
				 .original = rq->original,
				 .helper = rq->helper};
	for (unsigned k = 0; k < 16; k++)
		run.gpr[k] = (uint64_t)rand() << 32 | (uint32_t)rand();
	for (uint32_t k = FORMAT + 0x200; k < IMAGE_SIZE; k++)
		image[k] = (uint8_t)(k * 7 + 3) | 1;
	put_slots(rq);
	run.gpr[RSP] = base + SP;
	run.gpr[RBP] = s->cfa_reg == RBP ? base + CFA - 16 : run.gpr[RBP];
}

void run_request(struct request *rq)
{
	struct finding f = make_finding(rq);

	begin_request(rq);
	if (rq->dst_arg != CALL_NO_ARG)
		rq->arg[rq->dst_arg] = base + object(rq) + (uint64_t)(int64_t)rq->dst;
	put_args(rq);
	put_call(rq->s, &f);
	put_guard(rq, &f);
}

void go_anywhere(bool is_32bit)
{
	const struct runner *r = &runners[is_32bit];

	memcpy(before, image, IMAGE_SIZE);
	put(r, &run, sizeof(run));
	put(r, image, IMAGE_SIZE);
	get(r, &run, sizeof(run));
	get(r, image, IMAGE_SIZE);
}

void go(const struct request *rq)
{
	struct guard_run in = run;

	go_anywhere(rq->s->is_32bit);
	for (unsigned k = 0; k < (rq->s->is_32bit ? 8u : 16u); k++)
		if (k == RBX || k == RBP || k == RSP || k >= R12 || (rq->s->is_32bit && (k == RSI || k == RDI)))
			assert_int_equal(rq->s->is_32bit ? (uint32_t)run.gpr[k] : run.gpr[k],
					 rq->s->is_32bit ? (uint32_t)in.gpr[k] : in.gpr[k]);
}

bool inside(const struct request *rq)
{
	if (rq->wrong_caller && rq->s->bound == BOUND_CALLER)
		return false;
	if (rq->s->bound == BOUND_CHUNK)
		return rq->dst == 0;
	return rq->dst >= 0 && (uint32_t)rq->dst <= rq->size;
}

int64_t result(const struct request *rq, bool pointer)
{
	if (pointer)
		return (int64_t)((rq->s->is_32bit ? (uint32_t)run.gpr[RAX] : run.gpr[RAX]) - base);
	return (int32_t)run.gpr[RAX];
}

void check_memory(const struct request *rq, uint32_t at, const void *want, size_t len)
{
	if (len)
		memcpy(before + at, want, len);
	assert_memory_equal(image + SOURCE, before + SOURCE, 0x2000 - SOURCE);
	for (uint32_t k = SP + SEEN_ARGS * 8; k < IMAGE_SIZE; k++)
		if (image[k] != before[k])
			fail_msg("%s, %u bits, bound %u: byte %d of the object (%u bytes, destination %d)", rq->callee,
				 rq->s->is_32bit ? 32 : 64, rq->s->bound, (int)(k - object(rq)), rq->size, rq->dst);
}

void check_called(const struct request *rq, const uint64_t *arg)
{
	const struct guard_seen *seen = &run.seen[0];
	uint64_t mask = rq->s->is_32bit ? UINT32_MAX : UINT64_MAX;

	assert_int_equal(seen->count, 1);
	assert_int_equal(run.seen[1].count, 0);
	assert_int_equal(seen->sp, base + SP - word(rq->s));
	assert_int_equal(seen->ret, base + SITE + (rq->s->form == FORM_SLOT ? 6 : 5));
	assert_int_equal(result(rq, false), 0x1234567);
	for (unsigned k = 0; k < rq->n_args; k++)
		if ((seen->arg[k] & mask) != ((arg ? arg : rq->arg)[k] & mask))
			fail_msg("%s: argument %u is %llx for %llx", rq->callee, k, (unsigned long long)seen->arg[k],
				 (unsigned long long)(arg ? arg : rq->arg)[k]);
}

int guard_call_setup(void **state)
{
	(void)state;
	signal(SIGPIPE, SIG_IGN); /* a runner that crashed is a failure of the test at hand */
	start_runner(&runners[0], "guard_runner64");
	start_runner(&runners[1], "guard_runner32");
	for (unsigned k = 0; k < 2; k++)
		get(&runners[k], &runners[k].hello, sizeof(runners[k].hello));
	return 0;
}

int guard_call_teardown(void **state)
{
	(void)state;
	for (unsigned k = 0; k < 2; k++) {
		close(runners[k].to);
		close(runners[k].from);
		waitpid(runners[k].pid, NULL, 0);
	}
	return 0;
}
