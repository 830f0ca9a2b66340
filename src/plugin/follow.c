/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The callbacks that follow taint: the hot path of the whole system.
 *
 * In the watch state (no register tainted) only memory callbacks run; each
 * looks its page up in a TLB of our own and leaves when the page has no tainted byte. QEMU's
 * own translation is asked on a miss only (it costs as much as all the rest). Our TLB is flushed where the guest
 * flushes its own: writes to control registers and invlpg are instrumented for that.
 */
#include <stdlib.h>
#include <string.h>

#include "plugin/plugin_internal.h"

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* The widest single access that QEMU reports. */
#define ACCESS_MAX 16u
/* After so many followed instructions the registers are looked over, to leave the track state. */
#define CHECK_INTERVAL 128u

static const uint32_t no_slot; /* pages that are not RAM: never tainted */

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

int follow_init_vcpu(unsigned index)
{
	struct plugin_vcpu *c;

	if (index >= TAINT_VCPU_MAX || plugin.vcpu[index])
		return 0;
	c = calloc(1, sizeof(*c));
	if (!c)
		return -1;
	c->index = index;
	c->generation = 1;
	c->regs = shadow_vcpu(plugin.shadow, index);
	plugin.vcpu[index] = c;
	return 0;
}

void follow_resume_vcpu(unsigned index)
{
	struct plugin_vcpu *c = index < TAINT_VCPU_MAX ? plugin.vcpu[index] : NULL;

	if (!c)
		return;
	/* Another engine, or a rollback, may have changed the register shadow. */
	c->block = NULL;
	c->hot = taint_vcpu_any(c->regs);
	set_track(c, c->hot);
}

void follow_flush_tlb(unsigned vcpu, void *insn)
{
	struct plugin_vcpu *c = plugin.vcpu[vcpu];

	(void)insn;
	c->generation++;
	if (c->generation == GUEST_PAGE_SIZE) {
		memset(c->tlb, 0, sizeof(c->tlb));
		c->generation = 1;
	}
}

static struct plugin_tlb_entry *tlb_entry(struct plugin_vcpu *c, uint64_t vaddr)
{
	return &c->tlb[(vaddr >> GUEST_PAGE_SHIFT) % PLUGIN_TLB_SIZE];
}

static uint64_t tlb_tag(const struct plugin_vcpu *c, uint64_t vaddr)
{
	return (vaddr & ~(uint64_t)GUEST_PAGE_MASK) | c->generation;
}

/* The page's TLB entry, filled if need be. */
static struct plugin_tlb_entry *lookup(struct plugin_vcpu *c, qemu_plugin_meminfo_t info, uint64_t vaddr)
{
	struct plugin_tlb_entry *t = tlb_entry(c, vaddr);
	struct qemu_plugin_hwaddr *hw;
	const uint32_t *slot = NULL;

	if (likely(t->tag == tlb_tag(c, vaddr)))
		return t;
	hw = qemu_plugin_get_hwaddr(info, vaddr);
	t->page = UINT64_MAX;
	if (hw && !qemu_plugin_hwaddr_is_io(hw)) {
		t->page = qemu_plugin_hwaddr_phys_addr(hw) & ~(uint64_t)GUEST_PAGE_MASK;
		slot = shadow_page_entry(plugin.shadow, gpa(t->page));
	}
	t->slot = slot ? slot : &no_slot;
	t->tag = tlb_tag(c, vaddr);
	return t;
}

/* Whether the access can be left alone: page clean, registers clean, not at a page's end. */
static inline bool nothing_to_do(struct plugin_vcpu *c, qemu_plugin_meminfo_t info, uint64_t vaddr)
{
	struct plugin_tlb_entry *t = tlb_entry(c, vaddr);

	if (unlikely(t->tag != tlb_tag(c, vaddr)))
		t = lookup(c, info, vaddr);
	return likely(!__atomic_load_n(t->slot, __ATOMIC_RELAXED)) && likely(!c->hot) &&
	       likely((vaddr & GUEST_PAGE_MASK) <= GUEST_PAGE_SIZE - ACCESS_MAX);
}

/* The same, for what nothing_to_do() was not sure of because it is near the end of its page; n: bytes accessed. */
static bool leave_alone(struct plugin_vcpu *c, uint64_t vaddr, unsigned n)
{
	return !c->hot && (vaddr & GUEST_PAGE_MASK) + n <= GUEST_PAGE_SIZE &&
	       !__atomic_load_n(tlb_entry(c, vaddr)->slot, __ATOMIC_RELAXED);
}

/* One access in at most two pieces, one for each page it touches. */
struct piece {
	struct gpa at;
	unsigned n;
	bool ram;
};

static unsigned split(struct plugin_vcpu *c, qemu_plugin_meminfo_t info, uint64_t vaddr, unsigned n, struct piece p[2])
{
	unsigned first = GUEST_PAGE_SIZE - (unsigned)(vaddr & GUEST_PAGE_MASK), k = 0;

	while (n) {
		unsigned m = n < first ? n : first;
		const struct plugin_tlb_entry *t = lookup(c, info, vaddr);

		p[k].at = gpa(t->page + (vaddr & GUEST_PAGE_MASK));
		p[k].ram = t->page != UINT64_MAX;
		p[k++].n = m;
		vaddr += m;
		n -= m;
		first = GUEST_PAGE_SIZE;
	}
	return k;
}

static unsigned access_size(qemu_plugin_meminfo_t info)
{
	unsigned n = 1u << qemu_plugin_mem_size_shift(info);

	return n < ACCESS_MAX ? n : ACCESS_MAX;
}

/* What was read or written, as it lies in memory. */
static void access_bytes(qemu_plugin_meminfo_t info, uint8_t ret[ACCESS_MAX], unsigned n)
{
	qemu_plugin_mem_value v = qemu_plugin_mem_get_value(info);

	/* The members of the union all begin at its start, and the host is little-endian. */
	memcpy(ret, &v.data, n);
	if (!qemu_plugin_mem_is_big_endian(info))
		return;
	for (unsigned i = 0; i < n / 2; i++) {
		uint8_t t = ret[i];

		ret[i] = ret[n - 1 - i];
		ret[n - 1 - i] = t;
	}
}

/* Labels of the bytes of a read; returns whether any is tainted. */
static bool labels_get(struct plugin_vcpu *c, qemu_plugin_meminfo_t info, uint64_t vaddr, struct taint_label *ret,
		       unsigned n)
{
	uint8_t bytes[ACCESS_MAX];
	struct piece p[2];
	unsigned k = split(c, info, vaddr, n, p), done = 0;
	bool any = false;

	for (unsigned i = 0; i < k; i++) {
		if (p[i].ram)
			any |= shadow_get(plugin.shadow, p[i].at, ret + done, p[i].n);
		else
			memset(ret + done, 0, p[i].n * sizeof(*ret));
		done += p[i].n;
	}
	if (!any)
		return false;
	access_bytes(info, bytes, n);
	if (!taint_labels_drop_stale(ret, bytes, n))
		return true;
	__atomic_fetch_add(&plugin.shm->stale_loads, 1, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < n; i++)
		if (ret[i].origin)
			return true;
	return false;
}

/* After labels[] got origins: who wrote them, and what. */
static void labels_sign(struct plugin_site *s, qemu_plugin_meminfo_t info, struct taint_label *labels, unsigned n)
{
	uint8_t bytes[ACCESS_MAX];

	if (!s->writer) {
		struct taint_writer w = {.code_offset = s->code_offset, .pc = s->pc, .len = s->in->len};

		memcpy(w.bytes, s->bytes, sizeof(w.bytes));
		s->writer = shadow_writer_intern(plugin.shadow, &w);
	}
	access_bytes(info, bytes, n);
	for (unsigned i = 0; i < n; i++)
		if (labels[i].origin)
			labels[i] = (struct taint_label){
				.origin = labels[i].origin, .writer = (uint16_t)s->writer, .value = bytes[i]};
}

static void labels_set(struct plugin_vcpu *c, qemu_plugin_meminfo_t info, uint64_t vaddr,
		       const struct taint_label *labels, unsigned n)
{
	struct piece p[2];
	unsigned k = split(c, info, vaddr, n, p), done = 0;

	for (unsigned i = 0; i < k; i++) {
		if (p[i].ram)
			shadow_set(plugin.shadow, p[i].at, labels + done, p[i].n);
		done += p[i].n;
	}
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
	struct plugin_vcpu *c = plugin.vcpu[vcpu];

	if (c->block) {
		catch_up_at_end(c);
		settle(c);
	}
	c->block = block;
	c->at = 0;
}

void follow_pause_vcpu(unsigned index)
{
	struct plugin_vcpu *c = index < TAINT_VCPU_MAX ? plugin.vcpu[index] : NULL;

	if (!c)
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
	struct plugin_vcpu *c = plugin.vcpu[vcpu];

	(void)site;
	c->n_skipped = 0;
	taint_insn_begin(&c->run);
}

static void load_slow(struct plugin_vcpu *c, const struct plugin_site *s, qemu_plugin_meminfo_t info, uint64_t vaddr)
{
	const struct taint_insn *in = s->in;
	struct taint_label labels[ACCESS_MAX];
	unsigned n = access_size(info);
	bool any;

	if (leave_alone(c, vaddr, n))
		return;
	__atomic_fetch_add(&plugin.shm->mem_slow, 1, __ATOMIC_RELAXED);
	any = labels_get(c, info, vaddr, labels, n);
	if (!any && !c->hot)
		return;
	arrive(c, s);
	taint_insn_load(c->regs, &c->run, in, vaddr, labels, n);
	settle(c);
	/* What a store of the same instruction will write is in the scratch registers. */
	if (in->has_store)
		c->hot = 1;
	c->tmp_loaded = true;
}

static void store_slow(struct plugin_vcpu *c, struct plugin_site *s, qemu_plugin_meminfo_t info, uint64_t vaddr)
{
	struct taint_label labels[ACCESS_MAX];
	unsigned n = access_size(info);
	bool followed = c->hot && (!s->in->has_load || c->tmp_loaded);

	if (leave_alone(c, vaddr, n))
		return;
	__atomic_fetch_add(&plugin.shm->mem_slow, 1, __ATOMIC_RELAXED);
	if (c->hot)
		arrive(c, s);
	if (followed && taint_insn_store(c->regs, &c->run, s->in, vaddr, labels, n))
		labels_sign(s, info, labels, n);
	else
		memset(labels, 0, n * sizeof(*labels));
	labels_set(c, info, vaddr, labels, n);
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
	struct plugin_vcpu *c = plugin.vcpu[vcpu];
	const struct plugin_site *s = site;
	const struct taint_insn *in = s->in;
	struct taint_label labels[ACCESS_MAX];
	unsigned n = access_size(info);

	if (likely(nothing_to_do(c, info, vaddr)) || (!labels_get(c, info, vaddr, labels, n) && !c->hot)) {
		if (c->n_skipped < PLUGIN_WIDE_MAX) {
			c->skipped[c->n_skipped].vaddr = vaddr;
			c->skipped[c->n_skipped++].n = (uint8_t)n;
		}
		return;
	}
	arrive(c, s);
	for (unsigned i = 0; i < c->n_skipped; i++)
		taint_insn_load(c->regs, &c->run, in, c->skipped[i].vaddr, clean, c->skipped[i].n);
	c->n_skipped = 0;
	taint_insn_load(c->regs, &c->run, in, vaddr, labels, n);
	settle(c);
	c->hot = 1; /* the rest of the load follows */
}

void follow_load(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *site)
{
	struct plugin_vcpu *c = plugin.vcpu[vcpu];

	if (likely(nothing_to_do(c, info, vaddr)))
		return;
	load_slow(c, site, info, vaddr);
}

void follow_store(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *site)
{
	struct plugin_vcpu *c = plugin.vcpu[vcpu];

	if (likely(nothing_to_do(c, info, vaddr)))
		return;
	store_slow(c, site, info, vaddr);
}

void follow_load_store(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *site)
{
	struct plugin_vcpu *c = plugin.vcpu[vcpu];
	struct plugin_site *s = site;

	if (qemu_plugin_mem_is_store(info)) {
		if (likely(nothing_to_do(c, info, vaddr)))
			return;
		store_slow(c, s, info, vaddr);
		return;
	}
	c->tmp_loaded = false;
	if (s->in->needs_begin)
		c->hot = 1; /* in parts, see above; rare enough to be followed always */
	if (likely(nothing_to_do(c, info, vaddr)))
		return;
	load_slow(c, s, info, vaddr);
}

void follow_return(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *site)
{
	struct plugin_vcpu *c = plugin.vcpu[vcpu];
	struct plugin_site *s = site;
	struct taint_label labels[ACCESS_MAX];
	unsigned n = access_size(info);

	if (likely(nothing_to_do(c, info, vaddr)))
		return;
	if (c->hot)
		arrive(c, s);
	if (labels_get(c, info, vaddr, labels, n)) {
		struct piece p[2];

		split(c, info, vaddr, n, p);
		detect_report(c, TAINT_DETECT_RETURN, s, vaddr, p[0].at, labels, n);
	}
}
