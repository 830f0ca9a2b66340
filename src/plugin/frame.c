/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Frames of interrupts and exceptions: QEMU pushes them without telling any access, onto kernel stacks below whose
 * pointers lies what was pushed before. A byte of a frame is so often 0x00 or 0xff that many are what the label there
 * says they were; only knowing of the frame makes them clean.
 *
 * A frame also tells that a program's access failed. One that cannot have been meant is reported (TAINT_DETECT_FAULT, without
 * an object): what came from outside may have led to it, though the address is clean. So is an exception that ends a program
 * which has just handled input: no instruction is where it was led to.
 */
#include "plugin/core/trap.h"
#include "plugin/memory.h"
#include "vmi/vmi.h"

#define RSP ((enum plugin_reg)(PLUGIN_REG_RAX + 4))
#define WORD sizeof(uint64_t)

/* The words at the stack pointer. */
struct top {
	struct gpa at[TRAP_WORDS];
	uint64_t word[TRAP_WORDS];
	unsigned n; /* how many are mapped */
	bool tainted; /* a page of theirs is */
};

/* QEMU's answer is where the instruction lies in RAM, so what is before it in the page is there too. */
bool frame_is_entry(const struct qemu_plugin_insn *insn, const uint8_t *bytes, size_t len)
{
	const uint8_t *at = qemu_plugin_insn_haddr(insn);
	uint64_t offset;

	return ram_offset(at, &offset) && (offset & GUEST_PAGE_MASK) >= TRAP_CLAC_LEN &&
	       trap_is_entry(at - TRAP_CLAC_LEN, bytes, len);
}

/* A word that is 8-byte aligned lies in one page; the stack pointer always is when a frame was pushed. */
static void find_words(struct plugin_vcpu *c, uint64_t rsp, struct top *t)
{
	for (t->n = 0; t->n < TRAP_WORDS; t->n++) {
		uint64_t vaddr = rsp + t->n * WORD;
		struct vmi_page page;

		if (t->n && (vaddr & GUEST_PAGE_MASK)) {
			t->at[t->n] = gpa_add(t->at[t->n - 1], WORD);
			continue;
		}
		if (!guest_translate(c, vaddr, &page))
			return;
		t->at[t->n] = page.at;
		t->tainted |= shadow_page_tainted(plugin.shadow, page.at);
	}
}

static unsigned frame_words(struct plugin_vcpu *c, struct top *t)
{
	for (unsigned i = 0; i < t->n; i++)
		if (!guest_read(c, t->at[i], &t->word[i], WORD))
			return 0;
	return trap_frame_words(t->word, t->n);
}

/* What a frame with an error code has. */
enum frame_word { FRAME_ERROR, FRAME_IP, FRAME_CS };
/* Of a page fault's error code; others say what no program can bring about. */
#define ERROR_BITS (PAGE_FAULT_PRESENT | PAGE_FAULT_WRITE | PAGE_FAULT_USER | PAGE_FAULT_FETCH)

#define USER_BITS 47 /* of a program's addresses */
#define USER_MIN 0x10000u /* programs may map nothing below */
#define USER_CS 0x33u
#define USER32_CS 0x23u

/*
 * Whether a program's access failed that may not have been meant. All but what leads nowhere are ordinary unless tainted
 * data is being handled; the guest's memory maps, which the supervisor knows, tell which of those are not.
 */
static bool is_suspicious(uint64_t error, bool tainted, struct detect_access *ret)
{
	if (!error) { /* general protection: no address at all, and the processor does not tell it */
		ret->address = 1ull << 63;
		return true;
	}
	if (!(error & PAGE_FAULT_USER) || (error & ~(uint64_t)ERROR_BITS))
		return false;
	*ret = (struct detect_access){regs_read(PLUGIN_REG_CR2), (uint32_t)error};
	return tainted || ret->address < USER_MIN || ret->address >> USER_BITS;
}

/* Exceptions without an error code for which a program gets a signal that ends it. */
static const struct {
	uint8_t vector, signal;
} fatal[] = {
	{0, 8}, /* division: SIGFPE */
	{3, 5}, /* int3: SIGTRAP */
	{6, 4}, /* no instruction: SIGILL */
	{16, 8}, /* x87: SIGFPE */
	{19, 8}, /* SSE: SIGFPE */
};
/* How many of a program's interrupts and exceptions may come between its handling of input and its end. */
#define CALM_MAX 4u

/* The signal for the exception whose entry has its cld there; 0: it is none of those. */
static unsigned signal_of(struct plugin_vcpu *c, uint64_t cld)
{
	for (size_t i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++) {
		uint8_t gate[TRAP_GATE_LEN];
		struct vmi_page page;

		if (guest_translate(c, TRAP_GATES + fatal[i].vector * TRAP_GATE_LEN, &page) &&
		    guest_read(c, page.at, gate, sizeof(gate)) && trap_gate_leads(gate, cld))
			return fatal[i].signal;
	}
	return 0;
}

/* Whether what has led to the frame, entered by the cld there, may end a program that handles input. */
static bool may_end(struct plugin_vcpu *c, const uint64_t *frame, unsigned n, uint64_t cld, struct detect_access *ret)
{
	bool tainted = c->line->followed != c->followed_before;
	unsigned sig;

	c->followed_before = c->line->followed;
	c->calm = tainted ? 0 : c->calm + (c->calm <= CALM_MAX);
	if (n == TRAP_WORDS)
		return is_suspicious(frame[FRAME_ERROR], tainted, ret);
	sig = c->calm <= CALM_MAX ? signal_of(c, cld) : 0;
	*ret = (struct detect_access){frame[0], TAINT_ERROR_SIGNAL | sig};
	return sig;
}

static void look_for_fault(struct plugin_vcpu *c, const struct top *t, unsigned n, uint64_t cld)
{
	struct taint_label labels[PLUGIN_WORD_MAX] = {0};
	struct gpa by = {0};
	unsigned first = n == TRAP_WORDS ? FRAME_IP : 0; /* of the words that all frames have */
	struct plugin_site at = {.pc = t->word[first], .code_offset = UINT64_MAX, .user = true};
	uint64_t cs = t->word[first + FRAME_CS - FRAME_IP];
	struct detect_access access = {0};

	if (!n || (cs != USER_CS && cs != USER32_CS) || !plugin_detects(TAINT_DETECT_FAULT) ||
	    !may_end(c, t->word, n, cld, &access))
		return;
	n = cs == USER32_CS ? 4 : 8;
	if (sentry_branched(c, at.pc, n, &by, labels))
		detect_report_access(c, TAINT_DETECT_FAULT, &at, access, c->branched_by, by, labels, n);
	else
		detect_report_access(c, TAINT_DETECT_FAULT, &at, access, 0, by, labels, 0);
}

void frame_pushed(unsigned vcpu, void *cld)
{
	struct plugin_vcpu *c = &plugin_vcpu[vcpu];
	uint64_t rsp = regs_read(RSP);
	struct top t = {.n = 0};
	unsigned n;

	if (rsp % WORD)
		return;
	find_words(c, rsp, &t);
	n = frame_words(c, &t);
	look_for_fault(c, &t, n, (uint64_t)(uintptr_t)cld);
	for (unsigned i = 0; t.tainted && i < n; i++)
		shadow_clear(plugin.shadow, t.at[i], WORD);
}
