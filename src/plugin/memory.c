/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest memory as the callbacks meet it.
 *
 * Two small caches for each vCPU, both by virtual page. The first says no more than "this page holds no tainted byte":
 * one look is all that most accesses cost. It is valid under the vCPU's key (taint_abi.h), which changes
 * when any clean page becomes tainted. The second knows the page's guest-physical address, so that QEMU
 * need not be asked again (that costs as much as all the rest). Both are forgotten where the guest flushes its own
 * TLB: writes to control registers and invlpg are instrumented for that.
 */
#include "plugin/memory.h"

#include <string.h>

#include "vmi/vmi.h"

#define CR0_PG (1u << 31)
#define NO_PAGE UINT64_MAX

static unsigned slot_of(uint64_t vaddr)
{
	return (vaddr >> GUEST_PAGE_SHIFT) % PLUGIN_TLB_SIZE;
}

static uint64_t page_of(uint64_t addr)
{
	return addr & ~(uint64_t)GUEST_PAGE_MASK;
}

void memory_flush(struct plugin_vcpu *c)
{
	shadow_key_renew(&c->line->key);
	c->generation++;
	if (c->generation == GUEST_PAGE_SIZE) {
		memset(c->tlb, 0, sizeof(c->tlb));
		c->generation = 1;
	}
}

/* The guest's memory map may be looked at for it, and be another one since: that flushes. */
static uint64_t remember(struct plugin_vcpu *c, uint64_t vaddr, uint64_t page)
{
	const uint8_t *host = page != NO_PAGE ? guest_host(c, gpa(page)) : NULL;

	c->tlb[slot_of(vaddr)] =
		(struct plugin_tlb_entry){.tag = page_of(vaddr) | c->generation, .page = page, .host = host};
	return page;
}

/* By the guest's page tables, for what was not accessed (yet). What is not there now may be next time. */
static uint64_t walk(struct plugin_vcpu *c, uint64_t vaddr)
{
	struct vmi_page page;
	uint8_t byte;

	if (!(regs_read(PLUGIN_REG_CR0) & CR0_PG) || !guest_translate(c, vaddr, &page) ||
	    !guest_read(c, page.at, &byte, sizeof(byte)))
		return NO_PAGE;
	return remember(c, vaddr, page_of(page.at.v));
}

/* Guest-physical address of the page, NO_PAGE if it is not RAM. */
static uint64_t translate(struct plugin_vcpu *c, qemu_plugin_meminfo_t info, uint64_t vaddr)
{
	struct plugin_tlb_entry *t = &c->tlb[slot_of(vaddr)];
	uint64_t tag = page_of(vaddr) | c->generation;
	struct qemu_plugin_hwaddr *hw;

	if (likely(t->tag == tag))
		return t->page;
	if (info == MEMORY_NOT_TOLD)
		return walk(c, vaddr);
	hw = qemu_plugin_get_hwaddr(info, vaddr);
	return remember(c, vaddr,
			hw && !qemu_plugin_hwaddr_is_io(hw) ? page_of(qemu_plugin_hwaddr_phys_addr(hw)) : NO_PAGE);
}

bool memory_gpa(struct plugin_vcpu *c, qemu_plugin_meminfo_t info, uint64_t vaddr, struct gpa *ret)
{
	uint64_t page = translate(c, info, vaddr);

	*ret = gpa(page + (vaddr & GUEST_PAGE_MASK));
	return page != NO_PAGE;
}

/* Whether n bytes, which do not leave the page, are clean as far as whole lines tell; remembers a clean page. */
static bool part_clean(struct plugin_vcpu *c, qemu_plugin_meminfo_t info, uint64_t vaddr, unsigned n)
{
	uint64_t key = __atomic_load_n(&c->line->key, __ATOMIC_ACQUIRE), page = translate(c, info, vaddr);
	uint64_t lines = page == NO_PAGE ? 0 : shadow_lines(plugin.shadow, gpa(page));

	if (!lines && (page != NO_PAGE || info != MEMORY_NOT_TOLD))
		c->clean[slot_of(vaddr)] = page_of(vaddr) ^ key;
	return !(lines & shadow_line_bits(gpa(vaddr), n));
}

bool memory_clean(struct plugin_vcpu *c, qemu_plugin_meminfo_t info, uint64_t vaddr, unsigned n)
{
	unsigned room = GUEST_PAGE_SIZE - (unsigned)(vaddr & GUEST_PAGE_MASK);

	if (likely(n <= room))
		return part_clean(c, info, vaddr, n);
	return part_clean(c, info, vaddr, room) && part_clean(c, info, vaddr + room, n - room);
}

bool memory_span_clean(struct plugin_vcpu *c, qemu_plugin_meminfo_t info, uint64_t vaddr, uint64_t start, unsigned n)
{
	bool clean = true;

	while (n) {
		unsigned room = GUEST_PAGE_SIZE - (unsigned)(start & GUEST_PAGE_MASK), part = n < room ? n : room;

		clean &= part_clean(c, page_of(start) == page_of(vaddr) ? info : MEMORY_NOT_TOLD, start, part);
		start += part;
		n -= part;
	}
	return clean;
}

unsigned memory_size(qemu_plugin_meminfo_t info)
{
	unsigned n = 1u << qemu_plugin_mem_size_shift(info);

	return n < ACCESS_MAX ? n : ACCESS_MAX;
}

void memory_bytes(qemu_plugin_meminfo_t info, uint8_t ret[ACCESS_MAX], unsigned n)
{
	qemu_plugin_mem_value v = qemu_plugin_mem_get_value(info);

	/* The members of the union all begin at its start, and the host is little-endian. */
	memcpy(ret, &v.data, ACCESS_MAX);
	if (!qemu_plugin_mem_is_big_endian(info))
		return;
	for (unsigned i = 0; i < n / 2; i++) {
		uint8_t t = ret[i];

		ret[i] = ret[n - 1 - i];
		ret[n - 1 - i] = t;
	}
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

		p[k].ram = memory_gpa(c, info, vaddr, &p[k].at);
		p[k++].n = m;
		vaddr += m;
		n -= m;
		first = GUEST_PAGE_SIZE;
	}
	return k;
}

static bool any_tainted(const struct taint_label *labels, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (labels[i].origin)
			return true;
	return false;
}

/* What is no data does not count, but whoever loads a pointer learns of it. Returns whether any is left. */
static bool only_data(const struct taint_insn *in, struct taint_label *labels, unsigned n)
{
	bool placed = false;

	if (in->is_ret)
		return any_tainted(labels, n);
	for (unsigned i = 0; i < n; i++) {
		if (!(labels[i].flags & TAINT_LABEL_BY_ADDRESS))
			continue;
		placed = true;
		labels[i] = (struct taint_label){.flags = TAINT_LABEL_BY_ADDRESS};
	}
	return any_tainted(labels, n) || (placed && in->loads_pointer);
}

/*
 * What a store left in memory; of one that was not told only memory knows. With several vCPUs QEMU tells the operand of an
 * atomic operation in place of its result (and the result in place of what was loaded), so for what updates memory, memory
 * itself is asked.
 */
static void stored_bytes(struct plugin_vcpu *c, const struct taint_insn *in, qemu_plugin_meminfo_t info,
			 const struct piece p[2], unsigned k, uint8_t ret[ACCESS_MAX], unsigned n)
{
	bool told = info != MEMORY_NOT_TOLD;
	unsigned done = 0;

	if (told)
		memory_bytes(info, ret, n);
	else
		memset(ret, 0, n);
	for (unsigned i = 0; (in->updates || !told) && i < k; done += p[i++].n)
		if (p[i].ram && !guest_read(c, p[i].at, ret + done, p[i].n))
			return;
}

/* Labels of bytes in pieces. */
static bool labels_of(const struct piece *p, unsigned k, struct taint_label *ret)
{
	bool any = false;

	for (unsigned i = 0; i < k; ret += p[i++].n) {
		if (p[i].ram)
			any |= shadow_get(plugin.shadow, p[i].at, ret, p[i].n);
		else
			memset(ret, 0, p[i].n * sizeof(*ret));
	}
	return any;
}

/* Of lines of which most was overwritten behind our back the rest goes too: it fits by chance. */
static void drop_stale_lines(struct plugin_vcpu *c, const struct piece p[2], unsigned k)
{
	uint8_t bytes[SHADOW_LINE];

	for (unsigned i = 0; i < k; i++) {
		uint64_t end = p[i].at.v + p[i].n;

		for (uint64_t at = p[i].at.v & ~(uint64_t)(SHADOW_LINE - 1); p[i].ram && at < end; at += SHADOW_LINE)
			if (guest_read(c, gpa(at), bytes, sizeof(bytes)))
				shadow_drop_stale_line(plugin.shadow, gpa(at), bytes);
	}
}

bool memory_get(struct plugin_vcpu *c, const struct taint_insn *in, qemu_plugin_meminfo_t info, uint64_t vaddr,
		struct taint_label *ret, unsigned n)
{
	uint8_t bytes[ACCESS_MAX];
	struct piece p[2];
	unsigned k = split(c, info, vaddr, n, p);
	bool any = labels_of(p, k, ret);

	if (!any)
		return false;
	if (in->updates || info == MEMORY_NOT_TOLD)
		return only_data(in, ret, n);
	memory_bytes(info, bytes, n);
	if (!taint_labels_drop_stale(ret, bytes, n))
		return only_data(in, ret, n);
	c->line->stale_loads++;
	drop_stale_lines(c, p, k);
	labels_of(p, k, ret);
	taint_labels_drop_stale(ret, bytes, n);
	return only_data(in, ret, n);
}

/* The remembered translation of n bytes in one page; NULL: they are in two, or it is not remembered, or is no RAM. */
static const struct plugin_tlb_entry *find_word(const struct plugin_vcpu *c, uint64_t vaddr, unsigned n)
{
	const struct plugin_tlb_entry *t = &c->tlb[slot_of(vaddr)];
	bool one = (vaddr & GUEST_PAGE_MASK) + n <= GUEST_PAGE_SIZE;

	return likely(one && t->tag == (page_of(vaddr) | c->generation)) && t->page != NO_PAGE ? t : NULL;
}

/* Where its bytes are in this process; NULL: not known. */
static const uint8_t *word_host(const struct plugin_vcpu *c, const struct plugin_tlb_entry *t, uint64_t vaddr)
{
	bool current = __atomic_load_n(&plugin.shm->regions_version, __ATOMIC_RELAXED) == c->ram_version;

	return t->host && current ? t->host + (vaddr & GUEST_PAGE_MASK) : NULL;
}

/* n bytes; a call costs more than the copying where n is not known to the compiler. */
static void copy_word(uint8_t *to, const uint8_t *from, unsigned n)
{
	switch (n) {
	case 1:
		*to = *from;
		break;
	case 4:
		memcpy(to, from, 4);
		break;
	case 8:
		memcpy(to, from, 8);
		break;
	default:
		memcpy(to, from, n);
	}
}

enum shadow_word memory_get_word(const struct plugin_vcpu *c, qemu_plugin_meminfo_t info, uint64_t vaddr, unsigned n,
				 uint32_t *ret)
{
	const struct plugin_tlb_entry *t = find_word(c, vaddr, n);
	bool told = info != MEMORY_NOT_TOLD;
	uint8_t bytes[ACCESS_MAX];
	uint64_t lines;
	struct gpa at;

	if (!t)
		return SHADOW_WORD_ELSE;
	at = gpa(t->page + (vaddr & GUEST_PAGE_MASK));
	lines = shadow_lines(plugin.shadow, at);
	if (!lines && !memory_known_clean(c, vaddr))
		return SHADOW_WORD_ELSE; /* to be remembered */
	if (!(lines & shadow_line_bits(at, n))) {
		memory_word_clean(ret, n);
		return SHADOW_WORD_CLEAN;
	}
	if (told)
		memory_bytes(info, bytes, n);
	return shadow_get_word(plugin.shadow, at, told ? bytes : NULL, n, ret);
}

bool memory_set_word(struct plugin_vcpu *c, struct plugin_site *s, qemu_plugin_meminfo_t info, uint64_t vaddr,
		     const uint32_t *origins, unsigned n)
{
	const struct plugin_tlb_entry *t = find_word(c, vaddr, n);
	uint8_t bytes[ACCESS_MAX];
	const uint8_t *host;

	/* the end of a string, see mark_end() */
	if (!t || plugin.watch.gva || (n > 1 && !origins[n - 1]))
		return false;
	if (info == MEMORY_NOT_TOLD) {
		host = word_host(c, t, vaddr);
		if (!host)
			return false;
		copy_word(bytes, host, n);
	} else {
		memory_bytes(info, bytes, n);
	}
	if (!shadow_set_word(plugin.shadow, gpa(t->page + (vaddr & GUEST_PAGE_MASK)), bytes, origins, memory_writer(s),
			     n))
		return false;
	c->pending = true;
	return true;
}

/* Whether a word's labels are certainly fresh. ret_any: one of them is not clean. */
static bool word_fresh(const struct plugin_vcpu *c, uint64_t vaddr, unsigned n, bool *ret_any)
{
	const struct plugin_tlb_entry *t = find_word(c, vaddr, n);
	const uint8_t *host = t ? word_host(c, t, vaddr) : NULL;
	uint32_t origins[ACCESS_MAX];
	uint8_t bytes[ACCESS_MAX];
	enum shadow_word state;

	if (!host || n > ACCESS_MAX)
		return false;
	copy_word(bytes, host, n);
	state = shadow_get_word(plugin.shadow, gpa(t->page + (vaddr & GUEST_PAGE_MASK)), bytes, n, origins);
	*ret_any = state == SHADOW_WORD_TAINTED;
	return state != SHADOW_WORD_ELSE;
}

/* The same as memory_get_fresh(), for all cases. */
static bool get_fresh(struct plugin_vcpu *c, uint64_t vaddr, unsigned n)
{
	struct taint_label labels[ACCESS_MAX];
	struct piece p[2];
	unsigned k = split(c, MEMORY_NOT_TOLD, vaddr, n, p), dropped = 0, done = 0;
	uint8_t bytes[ACCESS_MAX];

	if (!labels_of(p, k, labels))
		return false;
	for (unsigned i = 0; i < k; done += p[i++].n)
		if (p[i].ram && guest_read(c, p[i].at, bytes, p[i].n))
			dropped += shadow_drop_stale(plugin.shadow, p[i].at, labels + done, bytes, p[i].n);
	if (!dropped)
		return true;
	c->line->stale_loads++;
	drop_stale_lines(c, p, k);
	return labels_of(p, k, labels);
}

bool memory_get_fresh(struct plugin_vcpu *c, uint64_t vaddr, unsigned n)
{
	bool any;

	return word_fresh(c, vaddr, n, &any) ? any : get_fresh(c, vaddr, n);
}

uint16_t memory_writer(struct plugin_site *s)
{
	if (!s->writer) {
		struct taint_writer w = {.code_offset = s->code_offset, .pc = s->pc, .len = s->in->len};

		memcpy(w.bytes, s->bytes, sizeof(w.bytes));
		s->writer = (uint16_t)shadow_writer_intern(plugin.shadow, &w);
	}
	return s->writer;
}

/*
 * Whether an instruction that exchanges has certainly done so: a byte is not what its label says it was before. (One that
 * a device has overwritten looks the same; it has no taint to lose.)
 */
static bool exchanged(const struct piece p[2], unsigned k, const uint8_t *bytes)
{
	struct taint_label before[ACCESS_MAX];
	bool any = false;

	for (unsigned i = 0; i < k; bytes += p[i++].n)
		if (p[i].ram && shadow_get(plugin.shadow, p[i].at, before, p[i].n))
			any |= taint_labels_drop_stale(before, bytes, p[i].n);
	return any;
}

static bool is_watched_label(const struct taint_label *l)
{
	const struct taint_msg_watch *w = &plugin.watch;

	return l->origin == w->origin && l->value == w->value && !((l->flags ^ w->flags) & TAINT_LABEL_BY_ADDRESS);
}

/* Whether what is waited for is among the bytes that are written. */
static bool is_watched(uint64_t vaddr, const struct taint_label *labels, unsigned n)
{
	const struct taint_msg_watch *w = &plugin.watch;

	if (!w->anywhere)
		return w->gva - vaddr < n && is_watched_label(&labels[w->gva - vaddr]);
	for (unsigned i = 0; i < n; i++)
		if (is_watched_label(&labels[i]) && (vaddr + i - w->gva) % TAINT_STACK_ALIGN == 0)
			return !gva_is_kernel(gva(vaddr));
	return false;
}

/* Whether the bytes before the last are text as it came: of what is computed, a pointer say, all bytes have one label. */
static bool follows_text(const struct taint_label *labels, unsigned n)
{
	return n < 3 || ((labels[n - 2].origin - labels[n - 3].origin) & TAINT_POSITION) == 1;
}

/* A string's end, or a string cut there, stored with what is before it: the input chose its place. */
static void mark_end(const struct plugin_site *s, struct taint_label *labels, const uint8_t *bytes, unsigned n)
{
	if (n < 2 || !s->user || bytes[n - 1] || labels[n - 1].origin || !labels[n - 2].origin ||
	    !follows_text(labels, n) || (labels[n - 2].flags & TAINT_LABEL_BY_ADDRESS) ||
	    !plugin_detects(TAINT_DETECT_INDEX))
		return;
	labels[n - 1].origin = labels[n - 2].origin & TAINT_POSITION;
	labels[n - 1].flags = TAINT_LABEL_BY_ADDRESS;
}

void memory_set(struct plugin_vcpu *c, struct plugin_site *s, qemu_plugin_meminfo_t info, uint64_t vaddr,
		struct taint_label *labels, unsigned n)
{
	struct piece p[2];
	unsigned k = split(c, info, vaddr, n, p), done = 0;
	uint16_t writer = memory_writer(s);
	uint8_t bytes[ACCESS_MAX] = {0};
	struct gpa at;

	c->pending = true;
	stored_bytes(c, s->in, info, p, k, bytes, n);
	if (s->in->exchanges && exchanged(p, k, bytes))
		taint_insn_exchanged(c->regs, s->in, labels, n);
	mark_end(s, labels, bytes, n);
	for (unsigned i = 0; i < n; i++) {
		labels[i].writer = writer;
		labels[i].value = bytes[i];
	}
	for (unsigned i = 0; i < k; i++) {
		if (p[i].ram)
			shadow_set(plugin.shadow, p[i].at, labels + done, p[i].n);
		done += p[i].n;
	}
	if (plugin.watch.gva && is_watched(vaddr, labels, n) && memory_gpa(c, info, vaddr, &at))
		detect_report(c, TAINT_DETECT_WATCH, s, vaddr, at, labels, n);
}

void memory_mark(struct plugin_vcpu *c, struct plugin_site *s, qemu_plugin_meminfo_t info, uint64_t vaddr, unsigned n,
		 uint32_t origin)
{
	struct taint_label labels[ACCESS_MAX];

	for (unsigned i = 0; i < n; i++)
		labels[i] = (struct taint_label){.origin = origin, .flags = TAINT_LABEL_BY_ADDRESS};
	memory_set(c, s, info, vaddr, labels, n);
}

/* Pointers are copied byte by byte too: of those all bytes get such a label, or none. */
#define END_WORD 8u

uint32_t memory_end(struct plugin_vcpu *c, const struct plugin_site *s, qemu_plugin_meminfo_t info, uint64_t vaddr)
{
	bool same_page = vaddr & GUEST_PAGE_MASK;
	struct taint_label before;
	struct gpa at;
	uint8_t byte;

	if (!s->ends || !memory_gpa(c, same_page ? info : MEMORY_NOT_TOLD, vaddr - 1, &at) ||
	    !shadow_get(plugin.shadow, at, &before, 1) || !guest_read(c, at, &byte, 1) ||
	    !taint_label_fits(&before, byte))
		return 0;
	if ((before.flags & TAINT_LABEL_BY_ADDRESS) && vaddr % END_WORD == 0)
		return 0;
	return before.origin & TAINT_POSITION;
}

void memory_clear(struct plugin_vcpu *c, qemu_plugin_meminfo_t info, uint64_t vaddr, unsigned n)
{
	const struct plugin_tlb_entry *t = find_word(c, vaddr, n);
	struct piece p[2];
	unsigned k;

	if (t && !(shadow_lines(plugin.shadow, gpa(t->page)) & shadow_line_bits(gpa(vaddr), n)))
		return;
	k = split(c, info, vaddr, n, p);
	for (unsigned i = 0; i < k; i++)
		if (p[i].ram)
			shadow_clear(plugin.shadow, p[i].at, p[i].n);
}
