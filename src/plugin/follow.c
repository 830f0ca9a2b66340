/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The callbacks that follow taint: the hot path of the whole system.
 *
 * In the watch state (no register tainted) only memory callbacks run; each leaves at once when the page is known to
 * hold no tainted byte (memory.h).
 */
#include <string.h>

#include "plugin/memory.h"

/* After so many followed instructions the registers are looked over, to leave the track state. */
#define CHECK_INTERVAL 128u

static void set_track(struct plugin_vcpu *c, bool on)
{
	if (c->track == on)
		return;
	c->track = on;
	c->until_check = CHECK_INTERVAL;
	qemu_plugin_u64_set(plugin.track, c->index, on);
	if (on)
		__atomic_fetch_add(&plugin.shm->track_entries, 1, __ATOMIC_RELAXED);
}

void follow_init_vcpu(unsigned index)
{
	struct plugin_vcpu *c;

	if (index >= TAINT_VCPU_MAX)
		return;
	c = &plugin_vcpu[index];
	if (c->key)
		return;
	c->index = index;
	c->generation = 1;
	c->regs = shadow_vcpu(plugin.shadow, index);
	c->key = shadow_key(plugin.shadow, index);
	shadow_key_renew(c->key);
}

void follow_resume_vcpu(unsigned index)
{
	struct plugin_vcpu *c = index < TAINT_VCPU_MAX ? &plugin_vcpu[index] : NULL;

	if (!c || !c->key)
		return;
	/* Another engine, or a rollback, may have changed the register shadow; keys may have come round while it slept. */
	c->block = NULL;
	memset(c->clean, 0, sizeof(c->clean));
	c->hot = taint_vcpu_any(c->regs);
	set_track(c, c->hot);
}

void follow_flush_tlb(unsigned vcpu, void *insn)
{
	(void)insn;
	memory_flush(&plugin_vcpu[vcpu]);
}

/* After labels[] got origins: who wrote them. */
static void labels_sign(struct plugin_site *s, struct taint_label *labels, unsigned n)
{
	if (!s->writer) {
		struct taint_writer w = {.code_offset = s->code_offset, .pc = s->pc, .len = s->in->len};

		memcpy(w.bytes, s->bytes, sizeof(w.bytes));
		s->writer = shadow_writer_intern(plugin.shadow, &w);
	}
	for (unsigned i = 0; i < n; i++)
		if (labels[i].origin)
			labels[i].writer = (uint16_t)s->writer;
}

/* After registers changed: what state are we in? */
static void settle(struct plugin_vcpu *c)
{
	if (!c->regs->any) {
		c->hot = 0;
		set_track(c, false);
		return;
	}
	c->hot = 1;
	set_track(c, true);
	if (--c->until_check)
		return;
	c->until_check = CHECK_INTERVAL;
	c->hot = taint_vcpu_any(c->regs);
	set_track(c, c->hot);
}

/* Follows the register operations of instructions [c->at, end) of the block that runs. */
static void catch_up(struct plugin_vcpu *c, uint32_t end)
{
	for (; c->at < end; c->at++) {
		const struct taint_insn *in = c->block->site[c->at].in;

		if (in->n_ops && !in->has_load && !in->has_store)
			taint_insn_exec(c->regs, in);
	}
}

/* The block was left: an access in it that was not reported did not happen but faulted, and what follows did not run. */
static void catch_up_at_end(struct plugin_vcpu *c)
{
	uint32_t end = c->at;

	while (end < c->block->n) {
		const struct taint_insn *in = c->block->site[end].in;

		if ((in->has_load || in->has_store) && !in->repeats && in->cls != TAINT_INSN_REFUSED)
			break;
		end++;
	}
	catch_up(c, end);
}

/* Before an access of s is followed: what ran before it, and what the instruction itself does before it stores. */
static void arrive(struct plugin_vcpu *c, const struct plugin_site *s)
{
	if (!c->track || c->block != s->block) {
		c->block = s->block;
		c->at = s->index;
	}
	if (c->at > s->index)
		return; /* not the first access of this run of the instruction */
	catch_up(c, s->index);
	c->at = s->index + 1;
	if (s->in->n_ops && !s->in->has_load)
		taint_insn_exec(c->regs, s->in);
}

void follow_block(unsigned vcpu, void *block)
{
	struct plugin_vcpu *c = &plugin_vcpu[vcpu];

	if (c->block) {
		catch_up_at_end(c);
		settle(c);
	}
	c->block = block;
	c->at = 0;
}

void follow_pause_vcpu(unsigned index)
{
	struct plugin_vcpu *c = index < TAINT_VCPU_MAX ? &plugin_vcpu[index] : NULL;

	if (!c || !c->key)
		return;
	if (c->track && c->block)
		catch_up_at_end(c);
	c->block = NULL;
}

void follow_forget_blocks(void)
{
	for (unsigned i = 0; i < TAINT_VCPU_MAX; i++)
		follow_pause_vcpu(i);
}

void follow_begin(unsigned vcpu, void *site)
{
	struct plugin_vcpu *c = &plugin_vcpu[vcpu];

	(void)site;
	c->n_skipped = 0;
	taint_insn_begin(&c->run);
}

void follow_area(unsigned vcpu, void *site)
{
	struct plugin_vcpu *c = &plugin_vcpu[vcpu];
	const struct plugin_site *s = site;

	if (c->hot)
		arrive(c, s);
	area_follow(c, s->in);
	if (!c->hot && !c->regs->any)
		return;
	if (!c->hot)
		arrive(c, s);
	settle(c);
}

static void count_followed(void)
{
	__atomic_fetch_add(&plugin.shm->mem_slow, 1, __ATOMIC_RELAXED);
}

static void load_slow(struct plugin_vcpu *c, const struct plugin_site *s, qemu_plugin_meminfo_t info, uint64_t vaddr)
{
	struct taint_label labels[ACCESS_MAX];
	unsigned n = memory_size(info);
	bool any;

	if (memory_quiet(c, info, vaddr, n))
		return;
	count_followed();
	any = memory_get(c, s->in, info, vaddr, labels, n);
	if (!any && !c->hot)
		return;
	arrive(c, s);
	taint_insn_load(c->regs, &c->run, s->in, vaddr, labels, n);
	settle(c);
	/* What a store of the same instruction will write is in the scratch registers. */
	if (s->in->has_store)
		c->hot = 1;
}

static void store_slow(struct plugin_vcpu *c, struct plugin_site *s, qemu_plugin_meminfo_t info, uint64_t vaddr)
{
	struct taint_label labels[ACCESS_MAX];
	unsigned n = memory_size(info);

	if (memory_quiet(c, info, vaddr, n))
		return;
	count_followed();
	if (c->hot)
		arrive(c, s);
	if (c->hot && taint_insn_store(c->regs, &c->run, s->in, vaddr, labels, n))
		labels_sign(s, labels, n);
	else
		memset(labels, 0, n * sizeof(*labels));
	memory_set(c, s->in, info, vaddr, labels, n);
	if (c->hot)
		settle(c);
}

/*
 * The core must know of every part of a wide load, or it could not tell which part is tainted: parts that are left
 * alone are remembered until one is not.
 */
void follow_wide_load(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *site)
{
	static const struct taint_label clean[ACCESS_MAX];
	struct plugin_vcpu *c = &plugin_vcpu[vcpu];
	const struct plugin_site *s = site;
	struct taint_label labels[ACCESS_MAX];
	unsigned n = memory_size(info);

	if (memory_known_quiet(c, vaddr) || memory_quiet(c, info, vaddr, n) ||
	    (!memory_get(c, s->in, info, vaddr, labels, n) && !c->hot)) {
		if (c->n_skipped < PLUGIN_WIDE_MAX) {
			c->skipped[c->n_skipped].vaddr = vaddr;
			c->skipped[c->n_skipped++].n = (uint8_t)n;
		}
		return;
	}
	count_followed();
	arrive(c, s);
	for (unsigned i = 0; i < c->n_skipped; i++)
		taint_insn_load(c->regs, &c->run, s->in, c->skipped[i].vaddr, clean, c->skipped[i].n);
	c->n_skipped = 0;
	taint_insn_load(c->regs, &c->run, s->in, vaddr, labels, n);
	settle(c);
	c->hot = 1; /* the rest of the load follows */
}

void follow_load(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *site)
{
	struct plugin_vcpu *c = &plugin_vcpu[vcpu];

	if (memory_known_quiet(c, vaddr))
		return;
	load_slow(c, site, info, vaddr);
}

/* Of an instruction that also stores, in parts: rare enough to be followed always, see above. */
void follow_wide_update(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *site)
{
	struct plugin_vcpu *c = &plugin_vcpu[vcpu];

	c->hot = 1;
	load_slow(c, site, info, vaddr);
}

void follow_store(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *site)
{
	struct plugin_vcpu *c = &plugin_vcpu[vcpu];

	if (memory_known_quiet(c, vaddr))
		return;
	store_slow(c, site, info, vaddr);
}

void follow_return(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *site)
{
	struct plugin_vcpu *c = &plugin_vcpu[vcpu];
	const struct plugin_site *s = site;
	struct taint_label labels[ACCESS_MAX];
	unsigned n = memory_size(info);
	struct gpa at;

	if (memory_known_quiet(c, vaddr) || memory_quiet(c, info, vaddr, n))
		return;
	if (c->hot)
		arrive(c, s);
	if (memory_get(c, s->in, info, vaddr, labels, n) && memory_gpa(c, info, vaddr, &at))
		detect_report(c, TAINT_DETECT_RETURN, s, vaddr, at, labels, n);
}
