/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Frames of interrupts and exceptions: QEMU pushes them without telling any access, onto kernel stacks below whose
 * pointers lies what was pushed before. A byte of a frame is so often 0x00 or 0xff that many are what the label there
 * says they were; only knowing of the frame makes them clean.
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

void frame_pushed(unsigned vcpu, void *insn)
{
	struct plugin_vcpu *c = &plugin_vcpu[vcpu];
	uint64_t rsp = regs_read(RSP);
	struct top t = {.n = 0};
	unsigned n;

	(void)insn;
	if (rsp % WORD || (memory_known_clean(c, rsp) && memory_known_clean(c, rsp + TRAP_WORDS * WORD - ACCESS_MAX)))
		return;
	find_words(c, rsp, &t);
	if (!t.tainted)
		return;
	n = frame_words(c, &t);
	for (unsigned i = 0; i < n; i++)
		shadow_clear(plugin.shadow, t.at[i], WORD);
}
