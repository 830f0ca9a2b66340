/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Members of groups: what is known of them when their leader runs, and what they do when they are caught up with. */
#include "plugin/group.h"

#include <string.h>

#include "vmi/vmi.h"

static uint64_t address(const struct plugin_vcpu *c, const struct plugin_site *s)
{
	return c->lead[s->group] + (uint64_t)(int64_t)s->distance;
}

bool group_pages_clean(const struct plugin_vcpu *c, const void *mark, uint64_t vaddr)
{
	uint64_t start = group_start(mark, vaddr), last = group_end(mark, vaddr) - 1;

	return memory_known_clean_to(c, start, start) && memory_known_clean_to(c, last, last);
}

bool group_clean(struct plugin_vcpu *c, qemu_plugin_meminfo_t info, const void *mark, uint64_t vaddr)
{
	uint64_t start = group_start(mark, vaddr);
	const struct plugin_site *s = group_site(mark);
	bool clean = true;

	if (memory_span_clean(c, info, vaddr, start, (unsigned)(group_end(mark, vaddr) - start)))
		return true;
	for (uint32_t i = s->index + 1; i < s->block->tell_end; i++) {
		const struct plugin_site *m = &s->block->site[i];

		if (m->follows && m->group == s->group)
			clean &= !memory_get_fresh(c, address(c, m) - m->ends, m->in->mem[0].size + m->ends);
	}
	return clean;
}

/* Labels of what a member loads. Without anything pending its memory is clean. Returns whether any is tainted. */
static bool loaded(struct plugin_vcpu *c, const struct plugin_site *s, struct taint_label labels[ACCESS_MAX])
{
	if (c->pending)
		return memory_get(c, s->in, MEMORY_NOT_TOLD, address(c, s), labels, s->in->mem[0].size);
	memset(labels, 0, ACCESS_MAX * sizeof(*labels));
	return false;
}

/* Of a member that only loads: the commonest case. Returns whether that was it. */
static bool load_word(struct plugin_vcpu *c, const struct plugin_site *s, uint64_t vaddr)
{
	uint32_t *origins = c->regs->reg + TAINT_REG_TMP;
	enum shadow_word state = SHADOW_WORD_CLEAN;
	unsigned n = s->in->mem[0].size;

	if (!s->word_load || s->in->has_store)
		return false;
	if (c->pending)
		state = memory_get_word(c, MEMORY_NOT_TOLD, vaddr, n, origins);
	else
		memory_word_clean(origins, n);
	if (state == SHADOW_WORD_ELSE)
		return false;
	if (state == SHADOW_WORD_CLEAN && !(c->regs->tainted & s->touches))
		return true;
	sentry_note_word(c, s, vaddr, n);
	taint_insn_loaded(c->regs, &c->run, s->in);
	return true;
}

/* Of one that stores tainted bytes and does not load, likewise. */
static bool store_word(struct plugin_vcpu *c, struct plugin_site *s, uint64_t vaddr)
{
	const uint32_t *origins;

	if (!s->word_store || s->in->has_load || (c->regs->tainted & s->address))
		return false;
	origins = taint_insn_stored(c->regs, &c->run, s->in);
	return origins && memory_set_word(c, s, MEMORY_NOT_TOLD, vaddr, origins, s->in->mem[0].size);
}

void group_follow(struct plugin_vcpu *c, struct plugin_site *s)
{
	bool touched = (c->regs->tainted & s->touches) != 0, tainted;
	struct taint_label labels[ACCESS_MAX];
	const struct taint_insn *in = s->in;
	uint64_t vaddr = address(c, s);
	unsigned n = in->mem[0].size;
	uint32_t origin;

	if (load_word(c, s, vaddr))
		return;
	if (in->has_load) {
		if (!loaded(c, s, labels) && !touched)
			return;
		if (s->user && n >= 4)
			sentry_through(c, s, vaddr);
		taint_insn_load(c->regs, &c->run, in, vaddr, labels, n);
		sentry_note_load(c, s, vaddr, labels, n);
		if (in->restores)
			sentry_restored(c, s, vaddr, labels, n);
	} else if (in->n_ops) {
		taint_insn_exec(c->regs, in);
	}
	if (!in->has_store)
		return;
	stray_stored(c, s, MEMORY_NOT_TOLD, vaddr, n);
	if (store_word(c, s, vaddr))
		return;
	tainted = taint_insn_store(c->regs, &c->run, in, vaddr, labels, n);
	origin = touched ? sentry_store(c, s, vaddr) : 0;
	if (!tainted && !origin && c->pending)
		origin = memory_end(c, s, MEMORY_NOT_TOLD, vaddr);
	if (tainted)
		memory_set(c, s, MEMORY_NOT_TOLD, vaddr, labels, n);
	else if (origin)
		memory_mark(c, s, MEMORY_NOT_TOLD, vaddr, n, origin);
	else if (c->pending)
		memory_clear(c, MEMORY_NOT_TOLD, vaddr, n);
}

/* Whether the guest's page tables forbid the access. User and kernel pages are not neighbours in the guest's lower half. */
static bool forbidden(struct plugin_vcpu *c, const struct plugin_site *s, uint64_t vaddr)
{
	struct vmi_page page;

	if (!guest_translate(c, vaddr, &page))
		return true;
	return (s->in->has_store && !page.writable) || ((int64_t)vaddr >= 0 && !page.user);
}

bool group_faulted(struct plugin_vcpu *c, const struct plugin_site *s)
{
	uint64_t vaddr = address(c, s), last = vaddr + s->in->mem[0].size - 1;
	uint64_t there = c->lead[s->group] >> GUEST_PAGE_SHIFT;

	if (vaddr & (s->in->alignment - 1u))
		return true;
	if (vaddr >> GUEST_PAGE_SHIFT != there && forbidden(c, s, vaddr))
		return true;
	return last >> GUEST_PAGE_SHIFT != there && forbidden(c, s, last);
}
