/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The detectors. Each looks at instructions of one kind, in user mode only, and reports before the instruction has
 * had an effect.
 *
 *   branch    the target of an indirect call or jump is tainted
 *   stack     the stack pointer is loaded with a tainted address
 *   code      the bytes executed are tainted, and their page can be written
 *   canary    a tainted word is compared with the stack protector's, and differs
 *   pointer   a store through a pointer that came whole from the outside
 *   index     an address to be used has bytes that were written where the input chose
 *   fault     an access at a tainted address faults (others that are fatal: frame.c)
 *   abort     the program sends itself SIGABRT
 *
 * (The return address is looked at in follow.c and stray.c.) An address that was computed from the input, a table's entry at an
 * index from the network say, is no attack; one that is the input's bytes is, decoded or not. Registers have labels but no place, so
 * the vCPU remembers where a register's tainted content was loaded from: the object is there.
 *
 * Where the input chose the place of a byte but not its value (TAINT_LABEL_BY_ADDRESS), a return address or a register that a
 * function preserves has been overwritten: whoever pushed it wrote all of it later than whatever lay there before. Of a
 * pointer this holds if some of its bytes are such and some are not: a program may well put a whole one where an index
 * says.
 */
#include <string.h>

#include "plugin/core/trap.h"
#include "plugin/memory.h"
#include "vmi/vmi.h"

/* A displacement of a pointer to a structure, not of a table. */
#define MEMBER_MAX 4096
/* No pointer is lower. */
#define POINTER_MIN 0x10000u

/* How far from the stack pointer the stack may reach. */
#define STACK_MAX (8ull << 20)

#define SIGABRT_NUMBER 6

/* Bytes: what is smaller is no pointer. */
#define POINTER_SIZE_MIN 4u

/* Which detectors want to know of instructions of a kind. */
static const uint32_t wanting[] = {
	[TAINT_SEES_BRANCH] = 1u << TAINT_DETECT_BRANCH | 1u << TAINT_DETECT_INDEX,
	[TAINT_SEES_STACK] = 1u << TAINT_DETECT_STACK | 1u << TAINT_DETECT_INDEX,
	[TAINT_SEES_CANARY] = 1u << TAINT_DETECT_CANARY,
	[TAINT_SEES_CANARY_LOAD] = 1u << TAINT_DETECT_CANARY,
	[TAINT_SEES_COMPARE] = 1u << TAINT_DETECT_CANARY,
	[TAINT_SEES_KERNEL] = 1u << TAINT_DETECT_ABORT,
};

enum taint_sees sentry_wanted(enum taint_sees sees)
{
	bool known = (unsigned)sees < sizeof(wanting) / sizeof(wanting[0]);

	return known && (wanting[sees] & plugin.detectors) ? sees : TAINT_SEES_NONE;
}

bool sentry_wants_returns(void)
{
	return plugin_detects(TAINT_DETECT_RETURN) || plugin_detects(TAINT_DETECT_INDEX) ||
	       plugin_detects(TAINT_DETECT_STRAY);
}

static uint64_t masked(uint64_t v, unsigned n)
{
	return n < 8 ? v & ((1ull << 8 * n) - 1) : v;
}

/*
 * Whether a word was computed from the input (a stack pointer after alloca(n), an entry of a table), and is not the
 * input's own bytes: arithmetic gives several bytes the label of one.
 */
static bool is_computed(const struct taint_label *labels, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		for (unsigned k = 0; k < i; k++)
			if (labels[i].origin && labels[i].origin == labels[k].origin)
				return true;
	return false;
}

/* Fewer bytes than that are no pointer that was decoded. */
#define DECODED_MIN 3u

/*
 * How many of the bytes were read from a table at as many places (toupper(), base64), each chosen by input of its own; 0 if two
 * have one label: an entry of a table has one at all its bytes, and so has what was computed from it.
 */
static unsigned decoded_bytes(const struct taint_label *labels, unsigned n)
{
	unsigned decoded = 0;

	for (unsigned i = 0; i < n; i++)
		decoded += (labels[i].origin & TAINT_BY_INDEX) && !(labels[i].flags & TAINT_LABEL_BY_ADDRESS);
	return decoded >= DECODED_MIN && !is_computed(labels, n) ? decoded : 0;
}

/* How many of the bytes are data from the outside; labels NULL: none. */
static unsigned data_bytes(const struct taint_label *labels, unsigned n)
{
	unsigned tainted = 0;

	for (unsigned i = 0; labels && i < n; i++)
		tainted += labels[i].origin && !(labels[i].origin & TAINT_BY_INDEX);
	return tainted || !labels ? tainted : decoded_bytes(labels, n);
}

/* Labels of a register, as those of memory. Returns how many of its bytes are data from the outside. */
static unsigned register_labels(const struct plugin_vcpu *c, unsigned reg, unsigned n,
				struct taint_label ret[PLUGIN_WORD_MAX])
{
	for (unsigned i = 0; i < n; i++)
		ret[i] = (struct taint_label){.origin = c->regs->reg[TAINT_REG_GPR + 8 * reg + i]};
	return data_bytes(ret, n);
}

/* How many of the bytes were written where the input chose, with what is no data. */
static unsigned placed_bytes(const struct taint_label *labels, unsigned n)
{
	unsigned placed = 0;

	for (unsigned i = 0; labels && i < n; i++)
		placed += (labels[i].flags & TAINT_LABEL_BY_ADDRESS) != 0;
	return placed;
}

static bool partly_placed(const struct taint_label *labels, unsigned n)
{
	unsigned placed = placed_bytes(labels, n);

	return placed && placed < n;
}

static bool shares_origin(const struct taint_label *a, const struct taint_label *b, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		for (unsigned k = 0; k < n; k++)
			if (a[i].origin && a[i].origin == b[k].origin)
				return true;
	return false;
}

/* The n bytes at vaddr with their labels; false: not mapped, or over two pages. */
static bool look_at(struct plugin_vcpu *c, uint64_t vaddr, unsigned n, struct gpa *ret_at,
		    uint8_t bytes[PLUGIN_WORD_MAX], struct taint_label labels[PLUGIN_WORD_MAX])
{
	struct vmi_page page;

	if (!vaddr || (vaddr & GUEST_PAGE_MASK) > GUEST_PAGE_SIZE - n || !guest_translate(c, vaddr, &page) ||
	    !guest_read(c, page.at, bytes, n))
		return false;
	*ret_at = page.at;
	if (shadow_get(plugin.shadow, page.at, labels, n))
		taint_labels_drop_stale(labels, bytes, n);
	for (unsigned i = 0; i < n; i++)
		if (labels[i].flags & TAINT_LABEL_BY_ADDRESS)
			labels[i].origin |= TAINT_BY_INDEX;
	return true;
}

/* A pointer that was loaded and moved since, as along an array, is not farther from what was loaded. */
#define MOVED_MAX 0x10000u

static bool is_near(uint64_t a, uint64_t b)
{
	return a - b + MOVED_MAX <= 2 * MOVED_MAX;
}

/* The tainted content of a register, and where in memory that is. */
struct held {
	struct taint_label label[PLUGIN_WORD_MAX];
	unsigned n;
	uint64_t vaddr; /* 0: not known */
	struct gpa at;
};

/*
 * Whether the register's content came from where it was loaded last, as far as labels can tell that. What was computed from
 * one byte of the input has that byte's label too, and may have taken the place of what was loaded.
 */
static bool is_from_there(const struct plugin_vcpu *c, unsigned reg, const struct held *h, unsigned tainted,
			  const uint8_t bytes[PLUGIN_WORD_MAX])
{
	uint64_t loaded = 0;

	if ((c->unmixed >> reg & 1) || (tainted > 1 && !is_computed(h->label, h->n)))
		return true;
	memcpy(&loaded, bytes, h->n);
	return is_near(masked(regs_read((enum plugin_reg)reg), h->n), loaded);
}

/* False: the register holds no data from the outside, or a number computed from some. */
static bool find_held(struct plugin_vcpu *c, const struct plugin_site *s, unsigned reg, struct held *ret)
{
	struct taint_label loaded[PLUGIN_WORD_MAX] = {0};
	uint8_t bytes[PLUGIN_WORD_MAX];
	unsigned tainted;

	*ret = (struct held){.n = plugin_word(s)};
	tainted = register_labels(c, reg, ret->n, ret->label);
	if (!tainted)
		return false;
	if (!look_at(c, c->where[reg], ret->n, &ret->at, bytes, loaded) || !shares_origin(ret->label, loaded, ret->n) ||
	    !is_from_there(c, reg, ret, tainted, bytes))
		return tainted > 1 && !is_computed(ret->label, ret->n);
	ret->vaddr = c->where[reg];
	memcpy(ret->label, loaded, sizeof(loaded));
	return !is_computed(loaded, ret->n);
}

/* Whether a word of memory holds this. */
static bool holds(struct plugin_vcpu *c, uint64_t vaddr, uint64_t value, unsigned n, struct held *ret)
{
	uint8_t bytes[PLUGIN_WORD_MAX] = {0};
	uint64_t now = 0;

	if (!look_at(c, vaddr, n, &ret->at, bytes, ret->label))
		return false;
	memcpy(&now, bytes, n);
	ret->n = n;
	ret->vaddr = vaddr;
	return now == value;
}

/* Whether the register has a label, and what it holds was loaded from memory that still says so. */
static bool find_word(struct plugin_vcpu *c, const struct plugin_site *s, unsigned reg, struct held *ret)
{
	unsigned n = plugin_word(s);

	return (c->regs->tainted >> reg & 1) && c->where[reg] &&
	       holds(c, c->where[reg], masked(regs_read((enum plugin_reg)reg), n), n, ret);
}

/* A word that was loaded has bytes that the input has placed. */
static void report_placed(struct plugin_vcpu *c, const struct plugin_site *s, uint64_t vaddr, unsigned n)
{
	struct taint_label labels[PLUGIN_WORD_MAX];
	uint8_t bytes[PLUGIN_WORD_MAX];
	struct gpa at;

	if (n <= PLUGIN_WORD_MAX && look_at(c, vaddr, n, &at, bytes, labels))
		detect_report(c, TAINT_DETECT_INDEX, s, vaddr, at, labels, n);
}

static void report_held(const struct plugin_vcpu *c, const struct plugin_site *s, enum taint_detector detector,
			const struct held *h)
{
	detect_report(c, detector, s, h->vaddr, h->at, h->label, h->n);
}

/* The register is about to be used as an address. */
static void report_register(struct plugin_vcpu *c, struct plugin_site *s, enum taint_detector detector, unsigned reg)
{
	struct held h;

	if (find_held(c, s, reg, &h))
		report_held(c, s, detector, &h);
	else if (find_word(c, s, reg, &h) && partly_placed(h.label, h.n))
		report_held(c, s, TAINT_DETECT_INDEX, &h);
}

void sentry_complete(struct plugin_block *b)
{
	uint32_t holding = 0; /* registers with the stack protector's word */

	for (uint32_t i = 0; i < b->n; i++) {
		struct plugin_site *s = &b->site[i];
		uint8_t reg = s->sees_reg, other = s->sees_other;

		if (s->sees == TAINT_SEES_COMPARE) {
			s->sees = TAINT_SEES_NONE;
			if (holding >> reg & 1) {
				s->sees = TAINT_SEES_CANARY;
				s->sees_reg = other;
				s->sees_other = reg;
			} else if (other != TAINT_GPR_NONE && (holding >> other & 1)) {
				s->sees = TAINT_SEES_CANARY;
			}
		}
		holding &= ~(uint32_t)s->in->gpr_written;
		if (s->sees == TAINT_SEES_CANARY_LOAD) {
			holding |= 1u << reg;
			s->sees = TAINT_SEES_NONE;
		}
	}
}

/*
 * What reg holds is clean or not, but was loaded through a pointer that came from the outside: that is the object, as
 * long as memory still says so. Returns whether it was reported.
 */
static bool report_through(struct plugin_vcpu *c, struct plugin_site *s, unsigned reg)
{
	unsigned n = plugin_word(s);
	struct held target, pointer;

	if (!c->through[reg].pointer || !holds(c, c->through[reg].pointer, c->through[reg].value, n, &pointer) ||
	    data_bytes(pointer.label, n) < 2 ||
	    !holds(c, c->through[reg].loaded, masked(regs_read((enum plugin_reg)reg), n), n, &target))
		return false;
	detect_report(c, TAINT_DETECT_BRANCH, s, pointer.vaddr, pointer.at, pointer.label, n);
	return true;
}

bool sentry_sees_load(const struct plugin_site *s)
{
	switch (s->sees) {
	case TAINT_SEES_BRANCH:
	case TAINT_SEES_STACK:
		return s->sees_reg == TAINT_GPR_NONE;
	case TAINT_SEES_CANARY:
		return s->in->has_load;
	default:
		return false;
	}
}

void sentry_instrument(struct qemu_plugin_insn *insn, struct plugin_site *s)
{
	if (s->sees == TAINT_SEES_KERNEL)
		qemu_plugin_register_vcpu_insn_exec_cb(insn, follow_seen, QEMU_PLUGIN_CB_R_REGS, s);
	else if (s->sees != TAINT_SEES_NONE && !sentry_sees_load(s))
		qemu_plugin_register_vcpu_insn_exec_cond_cb(insn, follow_seen, QEMU_PLUGIN_CB_R_REGS,
							    QEMU_PLUGIN_COND_EQ, plugin.track, PLUGIN_TRACK_ALL, s);
}

/* The register has a word that should be the stack protector's and is not: however it became tainted. */
static void report_canary(struct plugin_vcpu *c, struct plugin_site *s, unsigned reg)
{
	struct held h;

	if (find_held(c, s, reg, &h) || find_word(c, s, reg, &h))
		report_held(c, s, TAINT_DETECT_CANARY, &h);
}

static void canary_registers(struct plugin_vcpu *c, struct plugin_site *s)
{
	unsigned n = plugin_word(s);

	if (masked(regs_read((enum plugin_reg)s->sees_reg), n) != masked(regs_read((enum plugin_reg)s->sees_other), n))
		report_canary(c, s, s->sees_reg);
}

/* System calls that send a signal, with the argument that says which. */
static const struct {
	uint16_t nr64, nr32;
	enum plugin_reg sig64, sig32;
} kills[] = {
	{62, 37, PLUGIN_REG_RSI, PLUGIN_REG_RCX}, /* kill */
	{200, 238, PLUGIN_REG_RSI, PLUGIN_REG_RCX}, /* tkill */
	{234, 270, PLUGIN_REG_RDX, PLUGIN_REG_RDX}, /* tgkill */
};

static void kernel_call(struct plugin_vcpu *c, struct plugin_site *s)
{
	static const struct taint_label none[PLUGIN_WORD_MAX];
	uint64_t nr = regs_read(PLUGIN_REG_RAX);

	for (size_t i = 0; i < sizeof(kills) / sizeof(kills[0]); i++)
		if (nr == (s->mode32 ? kills[i].nr32 : kills[i].nr64) &&
		    (uint32_t)regs_read(s->mode32 ? kills[i].sig32 : kills[i].sig64) == SIGABRT_NUMBER)
			detect_report(c, TAINT_DETECT_ABORT, s, 0, gpa(0), none, 0);
}

void sentry_register(struct plugin_vcpu *c, struct plugin_site *s)
{
	switch (s->sees) {
	case TAINT_SEES_BRANCH:
		c->branched_by = c->regs->tainted >> s->sees_reg & 1 ? c->where[s->sees_reg] : 0;
		if (!report_through(c, s, s->sees_reg))
			report_register(c, s, TAINT_DETECT_BRANCH, s->sees_reg);
		break;
	case TAINT_SEES_STACK:
		report_register(c, s, TAINT_DETECT_STACK, s->sees_reg);
		break;
	case TAINT_SEES_CANARY:
		canary_registers(c, s);
		break;
	case TAINT_SEES_KERNEL:
		kernel_call(c, s);
		break;
	default:
		break;
	}
}

/* One side of the comparison is in a register, the other was loaded. */
static void canary_load(struct plugin_vcpu *c, struct plugin_site *s, qemu_plugin_meminfo_t info, uint64_t vaddr,
			const struct taint_label *labels, unsigned n)
{
	bool loaded_canary = s->sees_other == TAINT_GPR_NONE;
	enum plugin_reg reg = (enum plugin_reg)(loaded_canary ? s->sees_reg : s->sees_other);
	uint8_t bytes[ACCESS_MAX] = {0};
	uint64_t loaded = 0;
	struct gpa at;

	if (n > PLUGIN_WORD_MAX || (loaded_canary ? !(c->regs->tainted >> reg & 1) : !labels))
		return;
	memory_bytes(info, bytes, n);
	memcpy(&loaded, bytes, n);
	if (loaded == masked(regs_read(reg), n))
		return;
	if (loaded_canary)
		report_canary(c, s, reg);
	else if (memory_gpa(c, info, vaddr, &at))
		detect_report(c, TAINT_DETECT_CANARY, s, vaddr, at, labels, n);
}

/* Whether the low bytes of a register are consecutive bytes of the input: a pointer, or a number, as it came. */
static bool came_whole(const struct plugin_vcpu *c, unsigned reg, unsigned at_least)
{
	const uint32_t *origin = &c->regs->reg[TAINT_REG_GPR + 8 * reg];

	for (unsigned i = 0; i < at_least; i++)
		if (!origin[i] || (origin[i] & TAINT_BY_INDEX) ||
		    (i && ((origin[i] - origin[i - 1]) & TAINT_POSITION) != 1))
			return false;
	return true;
}

/* Where the pointer that a load goes through lies, if it came from the outside whole; 0: it did not. */
static uint64_t outside_pointer(const struct plugin_vcpu *c, const struct plugin_site *s, uint64_t vaddr)
{
	const struct taint_mem *m = &s->in->mem[0];

	if (!s->user || m->base >= TAINT_GPRS || !(c->regs->tainted >> m->base & 1) || s->in->n_mem < 1 || !m->known ||
	    !m->read || m->base == TAINT_GPR_RSP || m->index != TAINT_GPR_NONE || m->disp <= -MEMBER_MAX ||
	    m->disp >= MEMBER_MAX || vaddr - (uint64_t)m->disp < POINTER_MIN || !came_whole(c, m->base, 3))
		return 0;
	return c->where[m->base];
}

void sentry_through(struct plugin_vcpu *c, const struct plugin_site *s, uint64_t vaddr)
{
	uint64_t pointer = outside_pointer(c, s, vaddr);

	for (unsigned regs = s->in->gpr_written; regs; regs &= regs - 1) {
		unsigned r = (unsigned)__builtin_ctz(regs);

		if (!pointer && !c->through[r].pointer)
			continue;
		c->through[r].pointer = pointer;
		c->through[r].value = vaddr - (uint64_t)s->in->mem[0].disp;
		c->through[r].loaded = vaddr;
	}
}

void sentry_load(struct plugin_vcpu *c, struct plugin_site *s, qemu_plugin_meminfo_t info, uint64_t vaddr,
		 const struct taint_label *labels, unsigned n)
{
	struct held h;
	uint64_t pointer;
	struct gpa at;

	pointer = s->sees == TAINT_SEES_BRANCH && c->hot ? outside_pointer(c, s, vaddr) : 0;
	if (pointer && holds(c, pointer, vaddr - (uint64_t)s->in->mem[0].disp, plugin_word(s), &h))
		detect_report(c, TAINT_DETECT_BRANCH, s, h.vaddr, h.at, h.label, h.n);
	else if (s->sees == TAINT_SEES_CANARY)
		canary_load(c, s, info, vaddr, labels, n);
	else if (data_bytes(labels, n) && !is_computed(labels, n) && memory_gpa(c, info, vaddr, &at))
		detect_report(c, s->sees == TAINT_SEES_STACK ? TAINT_DETECT_STACK : TAINT_DETECT_BRANCH, s, vaddr, at,
			      labels, n);
	else if (partly_placed(labels, n))
		report_placed(c, s, vaddr, n);
	else if (s->sees == TAINT_SEES_BRANCH && data_bytes(labels, n))
		c->branched_by = vaddr;
}

void sentry_restored(struct plugin_vcpu *c, const struct plugin_site *s, uint64_t vaddr,
		     const struct taint_label *labels, unsigned n)
{
	if (placed_bytes(labels, n))
		report_placed(c, s, vaddr, n);
}

/* The operand that it stores to, if its address is made of registers of the program; NULL: it is not. */
static const struct taint_mem *stored_operand(const struct plugin_site *s)
{
	const struct taint_mem *m = &s->in->mem[0];

	return s->user && s->in->n_mem == 1 && m->known && m->written && m->base != TAINT_GPR_RIP ? m : NULL;
}

static uint32_t register_origin(const struct plugin_vcpu *c, unsigned reg)
{
	for (unsigned i = 0; reg < TAINT_GPRS && i < PLUGIN_WORD_MAX; i++)
		if (c->regs->reg[TAINT_REG_GPR + 8 * reg + i])
			return c->regs->reg[TAINT_REG_GPR + 8 * reg + i];
	return 0;
}

/* A member's stack pointer is its leader's: when it is caught up with, an interrupt may have come. */
static bool near_stack(struct plugin_vcpu *c, const struct plugin_site *s, uint64_t vaddr)
{
	if (!s->follows)
		c->stack = regs_read(PLUGIN_REG_RSP);
	return vaddr - c->stack + STACK_MAX <= 2 * STACK_MAX;
}

static unsigned written_but_delta(const struct taint_insn *in)
{
	return in->gpr_written & ~(in->delta_reg < TAINT_GPRS ? 1u << in->delta_reg : 0u);
}

/*
 * The kernel puts a program's registers aside and takes them back, and that is not where they came from. What it does with
 * them meanwhile is of no interest: whoever reads c->where compares what lies there.
 */
static void note_where(struct plugin_vcpu *c, const struct plugin_site *s, unsigned regs, uint64_t vaddr)
{
	if (!s->user)
		return;
	if (s->in->unscrambles) {
		c->unmixed |= regs;
		return;
	}
	c->unmixed &= ~regs;
	for (; regs; regs &= regs - 1)
		c->where[__builtin_ctz(regs)] = vaddr;
}

/*
 * A register with bytes that the input has placed is tainted without any label: it is followed, but nothing that is made of
 * it is tainted.
 */
void sentry_note_load(struct plugin_vcpu *c, const struct plugin_site *s, uint64_t vaddr,
		      const struct taint_label *labels, unsigned n)
{
	unsigned regs = n >= POINTER_SIZE_MIN ? written_but_delta(s->in) : 0;

	if (s->in->loads_pointer && placed_bytes(labels, n))
		c->regs->tainted |= regs;
	note_where(c, s, regs, vaddr);
}

void sentry_note_word(struct plugin_vcpu *c, const struct plugin_site *s, uint64_t vaddr, unsigned n)
{
	const struct taint_insn *in = s->in;

	if (n < POINTER_SIZE_MIN)
		return;
	if (s->user)
		sentry_through(c, s, vaddr);
	note_where(c, s, written_but_delta(in), vaddr);
}

uint32_t sentry_store(struct plugin_vcpu *c, struct plugin_site *s, uint64_t vaddr)
{
	const struct taint_mem *m = stored_operand(s);
	uint32_t origin;

	if (!m)
		return 0;
	if (m->base < TAINT_GPRS && m->base != TAINT_GPR_RSP && m->index == TAINT_GPR_NONE && m->disp > -MEMBER_MAX &&
	    m->disp < MEMBER_MAX && vaddr - (uint64_t)m->disp >= POINTER_MIN && came_whole(c, m->base, 3))
		report_register(c, s, TAINT_DETECT_POINTER, m->base);
	/* After alloca(n) all the stack is at an address that the input chose. */
	origin = m->base == TAINT_GPR_RSP ? 0 : register_origin(c, m->base);
	if (!origin)
		origin = register_origin(c, m->index);
	return origin && plugin_detects(TAINT_DETECT_INDEX) && near_stack(c, s, vaddr) ? origin & TAINT_POSITION : 0;
}

/* Whether the register has an address that came from the outside, or that the input had overwritten. */
static bool find_cause(struct plugin_vcpu *c, const struct plugin_site *s, unsigned reg, struct held *ret)
{
	return reg < TAINT_GPRS &&
	       (find_held(c, s, reg, ret) || (find_word(c, s, reg, ret) && placed_bytes(ret->label, ret->n)));
}

bool sentry_branched(struct plugin_vcpu *c, uint64_t ip, unsigned n, struct gpa *ret_at, struct taint_label *ret)
{
	struct held h;

	if (!c->branched_by || !holds(c, c->branched_by, ip, n, &h) || !data_bytes(h.label, n))
		return false;
	*ret_at = h.at;
	memcpy(ret, h.label, n * sizeof(*ret));
	return true;
}

/* The program's stack pointer, when its access has faulted: it is in the frame at the kernel's. */
static uint64_t faulted_stack(struct plugin_vcpu *c)
{
	uint64_t words[TRAP_WORDS];
	struct vmi_page page;
	unsigned n;

	if (!guest_translate(c, regs_read(PLUGIN_REG_RSP), &page) || !guest_read(c, page.at, words, sizeof(words)))
		return 0;
	n = trap_frame_words(words, TRAP_WORDS);
	return n ? words[n - 2] : 0;
}

static uint64_t operand_address(struct plugin_vcpu *c, const struct plugin_site *s, const struct taint_mem *m)
{
	uint64_t address = (uint64_t)m->disp;

	if (m->base == TAINT_GPR_RSP)
		address += faulted_stack(c);
	else if (m->base < TAINT_GPRS)
		address += regs_read((enum plugin_reg)m->base);
	if (m->index < TAINT_GPRS)
		address += regs_read((enum plugin_reg)m->index) * m->scale;
	return masked(address, plugin_word(s));
}

/* An index that was computed from the input: no pointer, but where it leads is the input's choice. */
static bool find_index(const struct plugin_vcpu *c, const struct plugin_site *s, const struct taint_mem *m,
		       struct held *ret)
{
	*ret = (struct held){.n = plugin_word(s)};
	if (m->index >= TAINT_GPRS || !register_labels(c, m->index, ret->n, ret->label))
		return false;
	for (unsigned i = 0; i < ret->n; i++)
		ret->label[i].flags = TAINT_LABEL_BY_ADDRESS;
	return true;
}

/* The registers are still the program's but for the stack pointer. */
void sentry_fault(struct plugin_vcpu *c, struct plugin_site *s)
{
	const struct taint_mem *m = &s->in->mem[0];
	struct detect_access access = {0};
	struct held h;

	/* the first is the operand; what call and push do to the stack is the second */
	if (!s->user || !s->in->n_mem || !m->known || m->base == TAINT_GPR_RIP || !plugin_detects(TAINT_DETECT_FAULT))
		return;
	access.address = operand_address(c, s, m);
	access.error = s->in->has_store ? PAGE_FAULT_WRITE : 0;
	if (find_cause(c, s, m->base, &h) || find_cause(c, s, m->index, &h))
		detect_report_access(c, TAINT_DETECT_FAULT, s, access, h.vaddr, h.at, h.label, h.n);
	else if (find_index(c, s, m, &h))
		detect_report_access(c, TAINT_DETECT_FAULT, s, access, 0, gpa(0), h.label, h.n);
}

static void follow_code(unsigned vcpu, void *site)
{
	struct plugin_vcpu *c = &plugin_vcpu[vcpu];
	struct plugin_site *s = site;
	struct taint_label labels[PLUGIN_WORD_MAX];
	uint8_t bytes[PLUGIN_WORD_MAX];
	uint64_t pc = regs_read(PLUGIN_REG_RIP);
	struct vmi_page page;
	struct gpa at;

	if (look_at(c, pc, s->in->len < PLUGIN_WORD_MAX ? s->in->len : PLUGIN_WORD_MAX, &at, bytes, labels) &&
	    labels[0].origin && guest_translate(c, pc, &page) && page.writable)
		detect_report(c, TAINT_DETECT_CODE, s, pc, at, labels,
			      s->in->len < PLUGIN_WORD_MAX ? s->in->len : PLUGIN_WORD_MAX);
}

void sentry_block(struct qemu_plugin_tb *tb, struct plugin_block *b)
{
	struct plugin_vcpu *c = qemu_plugin_tb_n_insns(tb) && b->n ? follow_current() : NULL;
	struct plugin_site *s = &b->site[0];
	struct vmi_page page;

	if (!plugin_detects(TAINT_DETECT_CODE) || !c || !s->user || !guest_translate(c, s->pc, &page) ||
	    !page.writable || !shadow_page_tainted(plugin.shadow, page.at))
		return;
	qemu_plugin_register_vcpu_insn_exec_cb(qemu_plugin_tb_get_insn(tb, s->number), follow_code,
					       QEMU_PLUGIN_CB_R_REGS, s);
}
