/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Checks the instruction semantics against the processor this runs on.
 *
 *     against_cpu [SEED [COUNT]]
 *
 * For COUNT random instructions with random registers and memory: runs the
 * instruction, then once more for each input bit flipped. Every output byte
 * that an input byte can change must be tainted by the engine when that input
 * byte is all that is tainted. Output bytes that are tainted but never changed
 * are counted as over-taint.
 *
 * Not checked, because the engine does not follow it (insn.h says so): address
 * registers, the way from the flags through conditional moves and carries, and
 * which of its two results a compare-and-exchange gives.
 *
 * The machine is one flat image: the registers in the layout of the register
 * shadow, then a window of memory. It lies at a fixed low address, so that the
 * code around the instruction needs no register to find it.
 */
#include <Zydis/Zydis.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "plugin/core/insn.h"

#define IN_AT 0x20000000ul
#define OUT_AT 0x20001000ul
#define HOST_RSP_AT 0x20002000ul
#define CODE_AT 0x21000000ul
#define DATA_AT 0x22000000ul
#define WINDOW_AT (DATA_AT + 0x800u)

#define REGS TAINT_REG_MM /* bytes of registers in the image */
#define WINDOW 256u
#define IMAGE (REGS + WINDOW)
#define STATUS 0x8c5u /* CF PF ZF SF OF: what instructions look at */
#define PIECE 16u /* the emulator's widest access */
#define EVENTS_MAX 64u
#define BAD_SHOWN 40u

struct event {
	bool store;
	unsigned at, len; /* in the window */
};

struct trial {
	uint8_t code[16];
	unsigned len;
	ZydisDecodedInstruction zi;
	ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
	struct taint_insn insn;
	uint8_t image[IMAGE], result[IMAGE];
	bool input[IMAGE]; /* bytes to flip */
	struct event event[EVENTS_MAX];
	unsigned events;
	bool lazy; /* behave as a caller that leaves out what it may */
};

static struct {
	unsigned long long states, faults, runs, bad, tainted, changed, by_class[4], over[4];
	uint32_t mnemonics[ZYDIS_MNEMONIC_MAX_VALUE + 1], bad_of[ZYDIS_MNEMONIC_MAX_VALUE + 1];
} stats;

static uint64_t random_state;
static sigjmp_buf fault_jump;
static volatile sig_atomic_t fault_expected; /* the tested instruction runs */
static ZydisDecoder decoder;

static uint64_t next_random(void)
{
	uint64_t z = random_state += 0x9e3779b97f4a7c15ull;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

static unsigned below(unsigned n)
{
	return (unsigned)(next_random() % n);
}

/* The processor */

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
static void assemble(const struct trial *t)
{
	uint8_t *p = (uint8_t *)CODE_AT;

	p = put(p, "\x53\x55\x41\x54\x41\x55\x41\x56\x41\x57", 10);
	p = put_abs(p, "\x48\x89", 2, 4, HOST_RSP_AT);
	p = put_ymms(p, "\xc5\xfe\x6f", "\xc5\x7e\x6f", IN_AT);
	p = put_abs(p, "\xff", 1, 6, IN_AT + TAINT_REG_FLAGS);
	p = put(p, "\x9d", 1);
	p = put_gprs(p, "\x48\x8b", "\x4c\x8b", IN_AT);
	p = put(p, t->code, t->len);
	p = put_gprs(p, "\x48\x89", "\x4c\x89", OUT_AT);
	p = put_abs(p, "\x48\x8b", 2, 4, HOST_RSP_AT);
	p = put(p, "\x9c", 1);
	p = put_abs(p, "\x8f", 1, 0, OUT_AT + TAINT_REG_FLAGS);
	p = put_ymms(p, "\xc5\xfe\x7f", "\xc5\x7e\x7f", OUT_AT);
	put(p, "\xc5\xf8\x77\x41\x5f\x41\x5e\x41\x5d\x41\x5c\x5d\x5b\xc3", 14);
}

/* Runs the assembled instruction on the image; false if it faults. */
static bool run(const uint8_t *image, uint8_t *ret)
{
	uint64_t flags;

	stats.runs++;
	memcpy((void *)IN_AT, image, REGS);
	memcpy((void *)WINDOW_AT, image + REGS, WINDOW);
	if (sigsetjmp(fault_jump, 0))
		return false;
	fault_expected = 1;
	((void (*)(void))CODE_AT)();
	fault_expected = 0;
	memcpy(ret, (void *)OUT_AT, REGS);
	memcpy(ret + REGS, (void *)WINDOW_AT, WINDOW);
	memcpy(&flags, ret + TAINT_REG_FLAGS, 8);
	flags &= STATUS;
	memcpy(ret + TAINT_REG_FLAGS, &flags, 8);
	return true;
}

/* Choosing an instruction */

static bool starts(const char *s, const char *with)
{
	return !strncmp(s, with, strlen(with));
}

static bool in_list(const char *const *list, const char *s)
{
	for (; *list; list++)
		if (!strcmp(*list, s))
			return true;
	return false;
}

static const char *const extensions[] = {"BASE",  "LONGMODE", "SSE",	  "SSE2",      "SSE3",	    "SSSE3",
					 "SSE4",  "AVX",      "AVX2",	  "BMI1",      "BMI2",	    "FMA",
					 "F16C",  "AES",      "SHA",	  "AVXAES",    "PCLMULQDQ", "LZCNT",
					 "MOVBE", "GFNI",     "AVX_GFNI", "ADOX_ADCX", NULL};
static const char *const categories_not[] = {"CALL",	"RET",	    "COND_BR",	"UNCOND_BR", "INTERRUPT",
					     "SYSCALL", "SYSRET",   "SYSTEM",	"IO",	     "IOSTRINGOP",
					     "SEGOP",	"RDWRFSGS", "PREFETCH", NULL};
/* They change how the processor works, look at what is outside the image, or are random. */
static const char *const names_not[] = {
	"popf",	  "popfd",  "popfq", "std",    "sti",	 "cli",	    "rdtsc",	"rdtscp",  "rdpmc",
	"rdrand", "rdseed", "cpuid", "xgetbv", "rdpid",	 "ldmxcsr", "vldmxcsr", "stmxcsr", "vstmxcsr",
	"ud0",	  "ud1",    "ud2",   "lar",    "lsl",	 "verr",    "verw",	"sgdt",	   "sidt",
	"sldt",	  "smsw",   "str",   "xlat",   "clzero", "hlt",	    "monitor",	"mwait",   NULL};

static bool is_mem(const ZydisDecodedOperand *op)
{
	return op->type == ZYDIS_OPERAND_TYPE_MEMORY && op->mem.type != ZYDIS_MEMOP_TYPE_AGEN;
}

static bool operand_ok(const struct trial *t, const ZydisDecodedOperand *op)
{
	ZydisRegisterClass c = ZydisRegisterGetClass(op->reg.value);

	if (op->type == ZYDIS_OPERAND_TYPE_MEMORY)
		return op->mem.type == ZYDIS_MEMOP_TYPE_AGEN ||
		       (op->mem.type == ZYDIS_MEMOP_TYPE_MEM && op->mem.base != ZYDIS_REGISTER_RIP &&
			!(t->zi.meta.category == ZYDIS_CATEGORY_BITBYTE &&
			  t->ops[1].type == ZYDIS_OPERAND_TYPE_REGISTER &&
			  strncmp(ZydisMnemonicGetString(t->zi.mnemonic), "set", 3)));
	return op->type != ZYDIS_OPERAND_TYPE_REGISTER || (c >= ZYDIS_REGCLASS_GPR8 && c <= ZYDIS_REGCLASS_GPR64) ||
	       c == ZYDIS_REGCLASS_XMM || c == ZYDIS_REGCLASS_YMM || c == ZYDIS_REGCLASS_FLAGS;
}

static bool acceptable(const struct trial *t)
{
	const char *name = ZydisMnemonicGetString(t->zi.mnemonic);

	if ((t->zi.attributes & ZYDIS_ATTRIB_IS_PRIVILEGED) ||
	    !in_list(extensions, ZydisISAExtGetString(t->zi.meta.isa_ext)) ||
	    in_list(categories_not, ZydisCategoryGetString(t->zi.meta.category)) || in_list(names_not, name))
		return false;
	for (unsigned i = 0; i < t->zi.operand_count; i++)
		if (!operand_ok(t, &t->ops[i]))
			return false;
	return true;
}

static unsigned random_vex(uint8_t *p, unsigned map)
{
	bool w = below(3) == 0;

	p[0] = 0xc4;
	p[1] = (uint8_t)((next_random() & 0xa0u) | 0x40u | map);
	p[2] = (uint8_t)((w ? 0x80u : 0) | (below(3) ? below(16) << 3 : 0x78u) | (below(2) << 2) | below(4));
	return 3;
}

static unsigned random_legacy(uint8_t *p, unsigned map)
{
	static const uint8_t prefixes[] = {0x66, 0xf3, 0xf2};
	static const char *const escapes[] = {"", "\x0f", "\x0f\x38", "\x0f\x3a"};
	unsigned n = 0;

	if (below(2))
		p[n++] = prefixes[below(3)];
	if (below(2))
		p[n++] = (uint8_t)(0x40u | (next_random() & 0xdu)); /* no index register: bit 1 stays 0 */
	memcpy(p + n, escapes[map], strlen(escapes[map]));
	return n + (unsigned)strlen(escapes[map]);
}

/* Random opcode; memory operands are one base register and a small displacement. */
static void random_code(uint8_t *p)
{
	unsigned kind = below(10), map = kind < 3 ? 0 : kind < 6 ? 1 : 1 + below(3), n, modrm;

	memset(p, 0, 16);
	n = kind >= 7 ? random_vex(p, map) : random_legacy(p, map);
	p[n++] = (uint8_t)next_random();
	modrm = (unsigned)next_random() & 0x3fu;
	if ((modrm & 7u) == 4 || below(2)) {
		p[n++] = (uint8_t)(modrm | 0xc0u);
	} else {
		p[n++] = (uint8_t)(modrm | 0x40u);
		p[n++] = (uint8_t)(below(3) * 16);
	}
	while (n < 15)
		p[n++] = (uint8_t)(below(3) ? next_random() : below(4));
}

static bool choose(struct trial *t)
{
	random_code(t->code);
	if (ZYAN_FAILED(ZydisDecoderDecodeFull(&decoder, t->code, 15, &t->zi, t->ops)))
		return false;
	t->len = t->zi.length;
	return acceptable(t) && taint_insn_compile(64, false, t->code, t->len, &t->insn) == t->len &&
	       t->insn.cls != TAINT_INSN_REFUSED;
}

/* Choosing the data */

static unsigned gpr_of(ZydisRegister reg)
{
	return (unsigned)ZydisRegisterGetId(ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg)) & 15u;
}

static uint64_t gpr_value(const struct trial *t, ZydisRegister reg)
{
	uint64_t v = 0;

	if (reg == ZYDIS_REGISTER_NONE)
		return 0;
	memcpy(&v, t->image + 8 * gpr_of(reg), ZydisRegisterGetWidth(ZYDIS_MACHINE_MODE_LONG_64, reg) / 8u);
	return v;
}

static void set_gpr(struct trial *t, unsigned r, uint64_t v)
{
	memcpy(t->image + 8 * r, &v, 8);
}

static void random_float(uint8_t *p)
{
	float f = (float)(int)below(2000) / 16.0f - 60.0f;
	double d = f;

	if (below(2))
		memcpy(p, &d, 8);
	else
		memcpy(p, (float[2]){f, f * 3}, 8);
}

static void random_eight(uint8_t *p)
{
	static const uint64_t special[] = {0, 1, UINT64_MAX, 0x8000000080000000ull, 0x7f80ff0100ff7f80ull};
	uint64_t v = next_random();

	switch (below(6)) {
	case 0:
		v = special[below(5)];
		break;
	case 1:
		v &= 0xff;
		break;
	case 2:
		random_float(p);
		return;
	default:
		break;
	}
	memcpy(p, &v, 8);
}

static bool repeats(const struct trial *t)
{
	return t->zi.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE);
}

/* Registers that point into the window, or say how often to repeat, get such values. */
static void place_addresses(struct trial *t)
{
	unsigned aligned = below(4) ? 0 : below(16);

	set_gpr(t, 4, WINDOW_AT + 160);
	for (unsigned i = 0; i < t->zi.operand_count; i++) {
		const ZydisDecodedOperand *op = &t->ops[i];

		if (!is_mem(op) || op->mem.base == ZYDIS_REGISTER_RSP)
			continue;
		if (op->mem.index != ZYDIS_REGISTER_NONE)
			set_gpr(t, gpr_of(op->mem.base), WINDOW_AT);
		else
			set_gpr(t, gpr_of(op->mem.base), WINDOW_AT + 64 + 64 * (i % 2) + aligned);
	}
	if (repeats(t)) /* where the data may end it, at most once: how often is not known here */
		set_gpr(t, 1, below((t->zi.attributes & ZYDIS_ATTRIB_HAS_REP) ? 4 : 2));
}

/* The image, so that compare-and-exchange also finds what it looks for. */
static void random_image(struct trial *t)
{
	uint64_t flags = next_random() & STATUS;

	for (unsigned i = 0; i < IMAGE; i += 8)
		random_eight(t->image + i);
	if (t->zi.mnemonic == ZYDIS_MNEMONIC_CMPXCHG && below(2))
		for (unsigned i = 0; i < IMAGE; i += 8)
			memcpy(t->image + i, t->image, 8);
	place_addresses(t);
	flags |= 0x202;
	memcpy(t->image + TAINT_REG_FLAGS, &flags, 8);
}

static bool add_events(struct trial *t, bool store, uint64_t addr, unsigned len)
{
	uint64_t at = addr - WINDOW_AT;

	if (at > WINDOW || at + len > WINDOW || t->events + len / PIECE + 1 > EVENTS_MAX)
		return false;
	for (unsigned done = 0; done < len; done += PIECE)
		t->event[t->events++] =
			(struct event){store, (unsigned)at + done, len - done < PIECE ? len - done : PIECE};
	memset(t->input + REGS + at, 1, len);
	return true;
}

static uint64_t operand_addr(const struct trial *t, const ZydisDecodedOperand *op)
{
	return gpr_value(t, op->mem.base) + gpr_value(t, op->mem.index) * (op->mem.scale ? op->mem.scale : 1u) +
	       (uint64_t)op->mem.disp.value;
}

/* The register whose sign bits say which elements are stored; NONE: all are. */
static ZydisRegister store_mask(const struct trial *t)
{
	const char *name = ZydisMnemonicGetString(t->zi.mnemonic);
	bool vex = starts(name, "vmaskmovp") || starts(name, "vpmaskmov");

	if (vex && is_mem(&t->ops[0]))
		return t->ops[1].reg.value;
	return starts(name, "maskmovdqu") || starts(name, "vmaskmovdqu") ? t->ops[1].reg.value : ZYDIS_REGISTER_NONE;
}

/* A masked store is told element by element, only those that are stored. */
static bool masked_events(struct trial *t, const ZydisDecodedOperand *op, ZydisRegister mask)
{
	const uint8_t *bytes = t->image + TAINT_REG_YMM + 32 * ZydisRegisterGetId(mask);
	unsigned size = starts(ZydisMnemonicGetString(t->zi.mnemonic), "vmaskmovdqu") || op != &t->ops[0]
				? 1
				: op->element_size / 8u;

	for (unsigned at = 0; at < op->size / 8u; at += size)
		if (bytes[at + size - 1] & 0x80u)
			if (!add_events(t, true, operand_addr(t, op) + at, size))
				return false;
	return true;
}

static bool operand_events(struct trial *t, const ZydisDecodedOperand *op, bool store, unsigned round)
{
	unsigned len = op->size / 8u, want = store ? ZYDIS_OPERAND_ACTION_MASK_WRITE : ZYDIS_OPERAND_ACTION_MASK_READ;

	if (!is_mem(op) || !(op->actions & want))
		return true;
	if (store && store_mask(t) != ZYDIS_REGISTER_NONE)
		return masked_events(t, op, store_mask(t));
	if (store && op->mem.base == ZYDIS_REGISTER_RSP && op->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN)
		return add_events(t, store, gpr_value(t, ZYDIS_REGISTER_RSP) - len, len);
	return add_events(t, store, operand_addr(t, op) + round * len, len);
}

/* The memory accesses, in the order in which the emulator would tell them. */
static bool list_events(struct trial *t)
{
	unsigned rounds = repeats(t) ? t->image[8] : 1;

	t->events = 0;
	for (unsigned round = 0; round < rounds; round++)
		for (unsigned store = 0; store < 2; store++)
			for (unsigned i = 0; i < t->zi.operand_count; i++)
				if (!operand_events(t, &t->ops[i], store, round))
					return false;
	return true;
}

static void mark_register(struct trial *t, ZydisRegister reg, bool input)
{
	ZydisRegisterClass c = ZydisRegisterGetClass(reg);

	if (c >= ZYDIS_REGCLASS_GPR8 && c <= ZYDIS_REGCLASS_GPR64)
		memset(t->input + 8 * gpr_of(reg), input, 8);
	else if (c == ZYDIS_REGCLASS_XMM || c == ZYDIS_REGCLASS_YMM)
		memset(t->input + TAINT_REG_YMM + 32 * ((unsigned)ZydisRegisterGetId(reg) & 15u), input, 32);
	else if (c == ZYDIS_REGCLASS_FLAGS)
		memset(t->input + TAINT_REG_FLAGS, input, 2);
}

/* Which bytes are worth flipping: all registers named but those that make addresses. */
static void mark_inputs(struct trial *t)
{
	for (unsigned i = 0; i < t->zi.operand_count; i++) {
		if (t->ops[i].type == ZYDIS_OPERAND_TYPE_REGISTER)
			mark_register(t, t->ops[i].reg.value, true);
		if (t->ops[i].type == ZYDIS_OPERAND_TYPE_MEMORY && !is_mem(&t->ops[i])) {
			mark_register(t, t->ops[i].mem.base, true);
			mark_register(t, t->ops[i].mem.index, true);
		}
	}
	for (unsigned i = 0; i < t->zi.operand_count; i++)
		if (is_mem(&t->ops[i])) {
			mark_register(t, t->ops[i].mem.base, false);
			mark_register(t, t->ops[i].mem.index, false);
		}
	if (repeats(t))
		mark_register(t, ZYDIS_REGISTER_RCX, false);
	mark_register(t, store_mask(t), false);
}

/* The engine */

/* What is tainted after the instruction ran when byte `from` of the image was tainted before. */
static void taint(const struct trial *t, unsigned from, uint8_t *ret)
{
	static struct taint_vcpu v;
	static struct taint_label mem[WINDOW];
	struct taint_run progress = {0};
	const struct taint_insn *in = &t->insn;

	memset(&v, 0, sizeof(v));
	memset(mem, 0, sizeof(mem));
	if (from >= REGS)
		mem[from - REGS].origin = 7;
	else
		v.reg[from >= TAINT_REG_FLAGS && from < TAINT_REG_YMM ? TAINT_REG_FLAGS : from] = v.any = 7;
	if (in->needs_begin)
		taint_insn_begin(&progress);
	if (in->n_ops && !in->has_load && in->cls != TAINT_INSN_NONE)
		taint_insn_exec(&v, in);
	for (unsigned i = 0; i < t->events; i++) {
		const struct event *e = &t->event[i];
		bool clean = true;

		for (unsigned k = 0; k < e->len; k++)
			clean &= !mem[e->at + k].origin;
		if (e->store && in->has_store)
			taint_insn_store(&v, &progress, in, WINDOW_AT + e->at, mem + e->at, e->len);
		else if (!e->store && in->has_load && !(t->lazy && clean && !v.any && !in->needs_begin))
			taint_insn_load(&v, &progress, in, WINDOW_AT + e->at, mem + e->at, e->len);
	}
	for (unsigned i = 0; i < IMAGE; i++)
		ret[i] = (i < REGS ? v.reg[i] : mem[i - REGS].origin) != 0;
	memset(ret + TAINT_REG_FLAGS, ret[TAINT_REG_FLAGS], 8);
	for (unsigned i = 0; i < REGS && !v.any; i++)
		if (v.reg[i]) {
			printf("register tainted but not said so\n");
			exit(1);
		}
}

/* Comparing */

static bool zero_flag(const uint8_t *image)
{
	return image[TAINT_REG_FLAGS] >> 6 & 1;
}

/* Which of two values it gives is control, not data. */
static bool other_way(const struct trial *t, const uint8_t *out)
{
	return starts(ZydisMnemonicGetString(t->zi.mnemonic), "cmpxchg") && zero_flag(out) != zero_flag(t->result);
}

static bool flags_are_data(const struct trial *t)
{
	const char *name = ZydisMnemonicGetString(t->zi.mnemonic);

	return starts(name, "set") || starts(name, "lahf") || starts(name, "pushf") || starts(name, "rc") ||
	       starts(name, "salc");
}

static uint64_t word_at(const uint8_t *image, unsigned i)
{
	uint64_t v;

	memcpy(&v, image + 8 * i, 8);
	return v;
}

/* Bits of the output that any bit of the input byte changes. */
static void flip_byte(struct trial *t, unsigned from, uint64_t *changed)
{
	uint8_t out[IMAGE];

	for (unsigned bit = 0; bit < 8; bit++) {
		uint8_t mask = (uint8_t)(1u << bit);

		if (from >= TAINT_REG_FLAGS && from < TAINT_REG_YMM &&
		    !(mask & (STATUS >> (8 * (from - TAINT_REG_FLAGS)))))
			continue;
		t->image[from] ^= mask;
		if (run(t->image, out) && !other_way(t, out))
			for (unsigned i = 0; i < IMAGE / 8; i++)
				changed[i] |= word_at(out, i) ^ word_at(t->result, i);
		t->image[from] ^= mask;
	}
}

static void show(const struct trial *t, unsigned from, unsigned to)
{
	ZydisFormatter f;
	char text[128];

	ZydisFormatterInit(&f, ZYDIS_FORMATTER_STYLE_INTEL);
	ZydisFormatterFormatInstruction(&f, &t->zi, t->ops, t->zi.operand_count_visible, text, sizeof(text), 0, NULL);
	printf("lost: %-44s byte %u changes %u, class %u:", text, from, to, t->insn.cls);
	for (unsigned i = 0; i < t->len; i++)
		printf(" %02x", t->code[i]);
	printf("\n");
}

/* One output byte; returns whether taint was lost. */
static bool compare_byte(struct trial *t, unsigned from, unsigned to, bool changed, bool tainted)
{
	bool from_flags = from >= TAINT_REG_FLAGS && from < TAINT_REG_YMM;
	bool to_flags = to >= TAINT_REG_FLAGS && to < TAINT_REG_YMM;

	if (to_flags && to > TAINT_REG_FLAGS + 1)
		return false;
	stats.tainted += tainted;
	stats.changed += changed;
	stats.over[t->insn.cls] += tainted && !changed;
	return changed && !tainted && (!from_flags || to_flags || flags_are_data(t));
}

static void compare(struct trial *t, unsigned from, const uint64_t *changed, const uint8_t *tainted)
{
	bool lost = false;

	for (unsigned to = 0; to < IMAGE; to++) {
		if (!(changed[to / 8] | word_at(tainted, to / 8)) ||
		    !compare_byte(t, from, to, (changed[to / 8] >> (to % 8 * 8)) & 0xffu, tainted[to]))
			continue;
		if (!lost && stats.bad < BAD_SHOWN && stats.bad_of[t->zi.mnemonic] < 3)
			show(t, from, to);
		lost = true;
	}
	stats.bad += lost;
	stats.bad_of[t->zi.mnemonic] += lost;
}

static void one_state(struct trial *t)
{
	uint8_t again[IMAGE];

	memset(t->input, 0, sizeof(t->input));
	random_image(t);
	if (!list_events(t))
		return;
	mark_inputs(t);
	t->lazy = below(2);
	assemble(t);
	if (!run(t->image, t->result) || !run(t->image, again) || memcmp(t->result, again, IMAGE)) {
		stats.faults++;
		return;
	}
	stats.states++;
	stats.mnemonics[t->zi.mnemonic]++;
	stats.by_class[t->insn.cls]++;
	for (unsigned from = 0; from < IMAGE; from++) {
		uint64_t changed[IMAGE / 8] = {0};
		uint8_t tainted[IMAGE];

		if (!t->input[from])
			continue;
		flip_byte(t, from, changed);
		taint(t, from, tainted);
		compare(t, from, changed, tainted);
	}
}

static void report(void)
{
	unsigned kinds = 0;

	for (unsigned m = 0; m <= ZYDIS_MNEMONIC_MAX_VALUE; m++)
		kinds += stats.mnemonics[m] != 0;
	printf("%u mnemonics; states: %llu precise, %llu conservative, %llu none; %llu faulted\n", kinds,
	       stats.by_class[TAINT_INSN_PRECISE], stats.by_class[TAINT_INSN_CONSERVATIVE],
	       stats.by_class[TAINT_INSN_NONE], stats.faults);
	printf("%llu native runs; tainted bytes: %llu, changed bytes: %llu; over-taint: %llu precise, "
	       "%llu conservative\n",
	       stats.runs, stats.tainted, stats.changed, stats.over[TAINT_INSN_PRECISE],
	       stats.over[TAINT_INSN_CONSERVATIVE]);
	for (unsigned m = 0; m <= ZYDIS_MNEMONIC_MAX_VALUE; m++)
		if (stats.bad_of[m])
			printf("lost by %s: %u\n", ZydisMnemonicGetString((ZydisMnemonic)m), stats.bad_of[m]);
	printf("states: %llu without violation, %llu with\n%d passed, %d failed, 0 skipped\n", stats.states, stats.bad,
	       !stats.bad, !!stats.bad);
}

int main(int argc, char **argv)
{
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
	unsigned long count = argc > 2 ? strtoul(argv[2], NULL, 0) : 20000;
	struct trial t;

	printf("against_cpu %llu %lu\n", (unsigned long long)seed, count);
	fflush(stdout);
	random_state = seed;
	map_at(IN_AT, 0x3000, PROT_READ | PROT_WRITE);
	map_at(CODE_AT, 0x1000, PROT_READ | PROT_WRITE | PROT_EXEC);
	map_at(DATA_AT, 0x1000, PROT_READ | PROT_WRITE);
	catch_faults();
	ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	while (stats.states < count)
		if (choose(&t))
			one_state(&t);
	report();
	return stats.bad != 0;
}
