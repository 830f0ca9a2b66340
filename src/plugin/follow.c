/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The callbacks that follow taint: the hot path of the whole system.
 *
 * In the watch state (no register tainted) only memory callbacks run; each leaves at once when the page is known to
 * hold no tainted byte (memory.h).
 */
#include <string.h>

#include "plugin/group.h"

#define HOT (PLUGIN_HOT_GENERAL | PLUGIN_HOT_VECTOR)

/* The block has instructions left that must have been followed when the next one starts. */
static bool has_rest(const struct plugin_vcpu *c)
{
	return c->block && c->at < c->block->tell_end;
}

static enum plugin_track track_wanted(const struct plugin_vcpu *c)
{
	uint64_t tainted = c->regs->tainted;

	if ((tainted & TAINT_GENERAL) || (has_rest(c) && (c->pending || (tainted && c->block->vectors))))
		return PLUGIN_TRACK_ALL;
	return tainted ? PLUGIN_TRACK_VECTOR : PLUGIN_TRACK_NONE;
}

/* After registers changed, or what is pending: what state are we in? */
static void settle(struct plugin_vcpu *c)
{
	uint64_t tainted = c->regs->tainted;
	uint8_t track = track_wanted(c);

	c->hot = ((tainted & TAINT_GENERAL) || (c->pending && has_rest(c)) ? PLUGIN_HOT_GENERAL : 0) |
		 (tainted & ~TAINT_GENERAL ? PLUGIN_HOT_VECTOR : 0);
	if (c->track == track)
		return;
	c->line->track_entries += c->track == PLUGIN_TRACK_NONE;
	c->track = track;
	qemu_plugin_u64_set(plugin.track, c->index, track);
}

static __thread struct plugin_vcpu *current;

struct plugin_vcpu *follow_current(void)
{
	return current;
}

void follow_init_vcpu(unsigned index)
{
	struct plugin_vcpu *c;

	if (index >= TAINT_VCPU_MAX)
		return;
	c = current = &plugin_vcpu[index];
	if (c->line)
		return;
	c->index = index;
	c->generation = 1;
	c->regs = shadow_vcpu(plugin.shadow, index);
	c->line = shadow_line(plugin.shadow, index);
	shadow_key_renew(&c->line->key);
}

void follow_resume_vcpu(unsigned index)
{
	struct plugin_vcpu *c = index < TAINT_VCPU_MAX ? &plugin_vcpu[index] : NULL;

	if (!c || !c->line)
		return;
	c->awake = true;
	__atomic_store_n(&c->line->naps, (c->line->naps | 1) + 1, __ATOMIC_RELEASE);
	/* Another engine, or a rollback, may have changed the register shadow; keys may have come round while it slept. */
	c->block = NULL;
	c->pending = false;
	memset(c->clean, 0, sizeof(c->clean));
	taint_vcpu_any(c->regs);
	settle(c);
}

/* Follows instructions [c->at, end) of the block that runs, but for those that have been told. */
static void catch_up(struct plugin_vcpu *c, uint32_t end)
{
	struct taint_vcpu *v = c->regs;

	for (; c->at < end; c->at++) {
		struct plugin_site *s = &c->block->site[c->at];
		bool touched = v->tainted & s->touches;

		if (s->kind <= PLUGIN_COPY && touched)
			taint_insn_ops(v, s->in, s->ops);
		if (likely(s->kind == PLUGIN_PLAIN))
			continue;
		if (s->kind == PLUGIN_COPY && touched)
			sentry_note_copy(c, s);
		else if (s->kind == PLUGIN_MEMBER && (touched || c->pending))
			group_follow(c, s);
	}
}

/*
 * The block was left: an access in it that was not reported did not happen but faulted, and what follows did not run.
 * Returns the instruction that faulted, NULL: none did.
 */
static struct plugin_site *catch_up_at_end(struct plugin_vcpu *c)
{
	while (c->at < c->block->n) {
		uint32_t next = c->block->site[c->at].next_tell;
		const struct plugin_site *s = &c->block->site[next];

		catch_up(c, next);
		if (next == c->block->n || s->tells || group_faulted(c, s))
			break;
		catch_up(c, next + 1);
	}
	return c->at < c->block->n ? &c->block->site[c->at] : NULL;
}

/* Such an instruction ends its block. What ran in it before is followed by the translations that were in force. */
void follow_flush_tlb(unsigned vcpu, void *insn)
{
	struct plugin_vcpu *c = &plugin_vcpu[vcpu];

	(void)insn;
	if (c->track && c->block)
		catch_up_at_end(c);
	memory_flush(c);
}

/*
 * A block whose start was not told is entered: what comes before s in it has to do with no tainted register, or it
 * would have been. The end of the one before may still have to be followed.
 */
static void enter(struct plugin_vcpu *c, const struct plugin_site *s)
{
	bool told = c->track == PLUGIN_TRACK_ALL || (c->track == PLUGIN_TRACK_VECTOR && s->block->vectors);

	if (told && c->block == s->block)
		return;
	if (c->track && c->block && c->block != s->block)
		catch_up_at_end(c);
	c->block = s->block;
	c->at = s->index;
	c->pending = false;
}

/* Before an access of s is followed: what ran before it, and what the instruction itself does before it stores. */
static void arrive(struct plugin_vcpu *c, const struct plugin_site *s)
{
	enter(c, s);
	if (c->at > s->index)
		return; /* not the first access of this run of the instruction */
	catch_up(c, s->index);
	c->at = s->index + 1;
	if (s->in->n_ops && !s->in->has_load)
		taint_insn_exec(c->regs, s->in);
}

/* The same before an access to memory that may be clean: whether it still is, after members' stores. */
static bool arrive_clean(struct plugin_vcpu *c, const struct plugin_site *s, bool clean)
{
	arrive(c, s);
	return clean && !c->pending;
}

void follow_block(unsigned vcpu, void *block)
{
	struct plugin_vcpu *c = &plugin_vcpu[vcpu];
	struct plugin_site *faulted = NULL;

	c->line->blocks_tracked++;
	if (c->block)
		faulted = catch_up_at_end(c);
	c->block = block;
	c->at = 0;
	c->pending = false;
	settle(c);
	if (faulted && (c->hot & PLUGIN_HOT_GENERAL))
		sentry_fault(c, faulted);
}

void follow_pause_vcpu(unsigned index)
{
	struct plugin_vcpu *c = index < TAINT_VCPU_MAX ? &plugin_vcpu[index] : NULL;

	if (!c || !c->line)
		return;
	if (c->track && c->block)
		catch_up_at_end(c);
	c->block = NULL;
	/* In an engine that has yet to take over the line is that of another's vCPU. */
	if (c->awake)
		__atomic_store_n(&c->line->naps, c->line->naps | 1, __ATOMIC_RELEASE);
	c->awake = false;
}

/* Whether a vCPU has still to catch up with the block. All are stopped. */
bool follow_needs_block(const struct plugin_block *b)
{
	for (unsigned i = 0; i < TAINT_VCPU_MAX; i++)
		if (plugin_vcpu[i].block == b)
			return true;
	return false;
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
	struct plugin_site *s = site;

	if (c->hot)
		arrive(c, s);
	area_follow(c, s);
	if (!c->hot && !c->regs->tainted)
		return;
	if (!c->hot)
		arrive(c, s);
	settle(c);
}

/*
 * In the track state: whether an access of s to clean memory changes nothing, because neither it nor what ran since has
 * to do with a tainted register, and no member in between with tainted memory. Then it is done with.
 */
static bool changes_nothing(struct plugin_vcpu *c, const struct plugin_site *s)
{
	uint64_t touches = s->touched_since;

	if (!c->track || (s->updates && c->run.loaded == s->in))
		return false;
	enter(c, s);
	if (c->pending && has_rest(c))
		return false;
	for (uint32_t i = c->at; i < s->since; i++)
		touches |= c->block->site[i].touches;
	if (c->regs->tainted & touches)
		return false;
	if (c->at <= s->index)
		c->at = s->index + 1;
	return true;
}

/* Whether an access to memory without taint can be left alone. */
static inline bool left_alone(struct plugin_vcpu *c, const struct plugin_site *s, uint64_t vaddr, uint32_t hot)
{
	return memory_known_clean(c, vaddr) && (likely(!(c->hot & hot)) || changes_nothing(c, s));
}

/* The same for what is not remembered as clean. *ret_clean: the memory is. */
static bool quiet(struct plugin_vcpu *c, const struct plugin_site *s, qemu_plugin_meminfo_t info, uint64_t vaddr,
		  unsigned n, bool *ret_clean)
{
	*ret_clean = memory_clean(c, info, vaddr, n);
	return *ret_clean && (!c->hot || changes_nothing(c, s));
}

/* Labels of n bytes read. Returns whether any is tainted. */
static bool read_labels(struct plugin_vcpu *c, const struct plugin_site *s, qemu_plugin_meminfo_t info, uint64_t vaddr,
			unsigned n, bool clean, struct taint_label *ret)
{
	if (!clean)
		return memory_get(c, s->in, info, vaddr, ret, n);
	memset(ret, 0, n * sizeof(*ret));
	return false;
}

/* Of a load: the commonest case. Returns whether that is all; else what ran before it has been followed. */
static bool load_word(struct plugin_vcpu *c, const struct plugin_site *s, qemu_plugin_meminfo_t info, uint64_t vaddr,
		      unsigned n)
{
	enum shadow_word state;

	if (n != s->word_load)
		return false;
	if (c->hot)
		arrive(c, s);
	state = memory_get_word(c, info, vaddr, n, c->regs->reg + TAINT_REG_TMP);
	if (state == SHADOW_WORD_ELSE)
		return false;
	if (state == SHADOW_WORD_CLEAN && !(c->regs->tainted & s->touches)) {
		c->run.loaded = NULL;
		return true;
	}
	c->line->followed++;
	arrive(c, s);
	sentry_note_word(c, s, vaddr, n);
	taint_insn_loaded(c->regs, &c->run, s->in);
	settle(c);
	if (s->in->has_store)
		c->hot |= PLUGIN_HOT_GENERAL;
	return true;
}

/* Of a store of tainted bytes, likewise. */
static bool store_word(struct plugin_vcpu *c, struct plugin_site *s, qemu_plugin_meminfo_t info, uint64_t vaddr,
		       unsigned n)
{
	struct taint_label labels[ACCESS_MAX];
	const uint32_t *origins;

	if (n != s->word_store || !c->hot)
		return false;
	arrive(c, s);
	origins = taint_insn_stored(c->regs, &c->run, s->in);
	if (!origins)
		return false;
	c->line->followed++;
	if (c->regs->tainted & s->address)
		sentry_store(c, s, vaddr);
	if (memory_set_word(c, s, info, vaddr, origins, n)) {
		c->run.loaded = NULL;
		c->run.store_done = 0;
	} else {
		taint_insn_store(c->regs, &c->run, s->in, vaddr, labels, n);
		memory_set(c, s, info, vaddr, labels, n);
	}
	settle(c);
	return true;
}

static void load_slow(struct plugin_vcpu *c, const struct plugin_site *s, qemu_plugin_meminfo_t info, uint64_t vaddr)
{
	struct taint_label labels[ACCESS_MAX];
	unsigned n = memory_size(info);
	bool clean;

	if (load_word(c, s, info, vaddr, n) || quiet(c, s, info, vaddr, n, &clean))
		return;
	c->line->followed++;
	if (c->hot)
		clean = arrive_clean(c, s, clean);
	if (!read_labels(c, s, info, vaddr, n, clean, labels) && !c->hot)
		return;
	arrive(c, s);
	if (s->user && n >= 4)
		sentry_through(c, s, vaddr);
	taint_insn_load(c->regs, &c->run, s->in, vaddr, labels, n);
	sentry_note_load(c, s, vaddr, labels, n);
	settle(c);
	if (s->in->restores)
		sentry_restored(c, s, vaddr, labels, n);
	/* What a store of the same instruction will write is in the scratch registers. */
	if (s->in->has_store)
		c->hot |= PLUGIN_HOT_GENERAL;
}

/* Of a store: what is before a byte that ends something counts too. */
static bool quiet_store(struct plugin_vcpu *c, const struct plugin_site *s, qemu_plugin_meminfo_t info, uint64_t vaddr,
			unsigned n, bool *ret_clean)
{
	if (s->ends && !memory_span_clean(c, info, vaddr, vaddr - 1, 1)) {
		*ret_clean = memory_clean(c, info, vaddr, n);
		return false;
	}
	return quiet(c, s, info, vaddr, n, ret_clean);
}

static void store_slow(struct plugin_vcpu *c, struct plugin_site *s, qemu_plugin_meminfo_t info, uint64_t vaddr)
{
	struct taint_label labels[ACCESS_MAX];
	unsigned n = memory_size(info);
	bool clean, tainted = false;
	uint32_t origin = 0;

	if (!memory_known_clean(c, vaddr))
		stray_stored(c, s, info, vaddr, n);
	if (store_word(c, s, info, vaddr, n) || quiet_store(c, s, info, vaddr, n, &clean))
		return;
	c->line->followed++;
	if (c->hot) {
		clean = arrive_clean(c, s, clean);
		tainted = taint_insn_store(c->regs, &c->run, s->in, vaddr, labels, n);
	}
	if (c->regs->tainted & s->address)
		origin = sentry_store(c, s, vaddr);
	if (!tainted && !origin)
		origin = memory_end(c, s, info, vaddr);
	if (tainted)
		memory_set(c, s, info, vaddr, labels, n);
	else if (origin)
		memory_mark(c, s, info, vaddr, n, origin);
	else if (!clean)
		memory_clear(c, info, vaddr, n);
	if (c->hot)
		settle(c);
}

/* Part of a wide load: the core may have to know of it later. */
static void skip(struct plugin_vcpu *c, uint64_t vaddr, unsigned n)
{
	if (c->n_skipped == PLUGIN_WIDE_MAX)
		return;
	c->skipped[c->n_skipped].vaddr = vaddr;
	c->skipped[c->n_skipped++].n = (uint8_t)n;
}

/*
 * The core must know of every part of a wide load, or it could not tell which part is tainted: parts that are left
 * alone are remembered until one is not.
 */
void follow_wide_load(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *site)
{
	static const struct taint_label no_labels[ACCESS_MAX];
	struct plugin_vcpu *c = &plugin_vcpu[vcpu];
	const struct plugin_site *s = site;
	struct taint_label labels[ACCESS_MAX];
	unsigned n = memory_size(info);
	bool clean;

	if (left_alone(c, s, vaddr, HOT) || quiet(c, s, info, vaddr, n, &clean)) {
		skip(c, vaddr, n);
		return;
	}
	if (c->hot)
		clean = arrive_clean(c, s, clean);
	if (!read_labels(c, s, info, vaddr, n, clean, labels) && !c->hot) {
		skip(c, vaddr, n);
		return;
	}
	c->line->followed++;
	arrive(c, s);
	for (unsigned i = 0; i < c->n_skipped; i++)
		taint_insn_load(c->regs, &c->run, s->in, c->skipped[i].vaddr, no_labels, c->skipped[i].n);
	c->n_skipped = 0;
	taint_insn_load(c->regs, &c->run, s->in, vaddr, labels, n);
	settle(c);
	c->hot |= PLUGIN_HOT_GENERAL; /* the rest of the load follows */
}

void follow_load(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *site)
{
	struct plugin_vcpu *c = &plugin_vcpu[vcpu];

	if (left_alone(c, site, vaddr, HOT))
		return;
	load_slow(c, site, info, vaddr);
}

void follow_plain_load(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *site)
{
	struct plugin_vcpu *c = &plugin_vcpu[vcpu];

	if (left_alone(c, site, vaddr, PLUGIN_HOT_GENERAL))
		return;
	load_slow(c, site, info, vaddr);
}

void follow_plain_store(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *site)
{
	struct plugin_vcpu *c = &plugin_vcpu[vcpu];

	if (left_alone(c, site, vaddr, PLUGIN_HOT_GENERAL))
		return;
	store_slow(c, site, info, vaddr);
}

/* Of an instruction that also stores, in parts: rare enough to be followed always, see above. */
void follow_wide_update(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *site)
{
	struct plugin_vcpu *c = &plugin_vcpu[vcpu];

	c->hot |= PLUGIN_HOT_GENERAL;
	load_slow(c, site, info, vaddr);
}

void follow_store(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *site)
{
	struct plugin_vcpu *c = &plugin_vcpu[vcpu];

	if (left_alone(c, site, vaddr, HOT))
		return;
	store_slow(c, site, info, vaddr);
}

void follow_end_store(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *site)
{
	struct plugin_vcpu *c = &plugin_vcpu[vcpu];

	if (memory_known_clean_to(c, vaddr - 1, vaddr) && (likely(!(c->hot & HOT)) || changes_nothing(c, site)))
		return;
	store_slow(c, site, info, vaddr);
}

void follow_seen(unsigned vcpu, void *site)
{
	struct plugin_vcpu *c = &plugin_vcpu[vcpu];
	struct plugin_site *s = site;

	if (c->hot) {
		enter(c, s);
		catch_up(c, s->index);
		settle(c);
	}
	sentry_register(c, s);
}

void follow_seen_load(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *site)
{
	struct plugin_vcpu *c = &plugin_vcpu[vcpu];
	struct plugin_site *s = site;
	struct taint_label labels[ACCESS_MAX];
	unsigned n = memory_size(info);
	bool clean, tainted = false;

	if (left_alone(c, s, vaddr, HOT) || quiet(c, s, info, vaddr, n, &clean))
		return;
	if (c->hot) {
		enter(c, s);
		if (c->at <= s->index)
			catch_up(c, s->index);
		clean = clean && !c->pending;
	}
	tainted = !clean && memory_get(c, s->in, info, vaddr, labels, n);
	sentry_load(c, s, info, vaddr, tainted ? labels : NULL, n);
	load_slow(c, s, info, vaddr);
}

static bool by_address(const struct taint_label *labels, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (labels[i].flags & TAINT_LABEL_BY_ADDRESS)
			return true;
	return false;
}

void follow_return(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *site)
{
	struct plugin_vcpu *c = &plugin_vcpu[vcpu];
	const struct plugin_site *s = site;
	struct taint_label labels[ACCESS_MAX];
	unsigned n = memory_size(info);
	struct gpa at;
	bool clean;

	if (left_alone(c, s, vaddr, HOT))
		return;
	if (!quiet(c, s, info, vaddr, n, &clean)) {
		if (c->hot)
			clean = arrive_clean(c, s, clean);
		if (!clean && memory_get(c, s->in, info, vaddr, labels, n) && memory_gpa(c, info, vaddr, &at))
			detect_report(c, by_address(labels, n) ? TAINT_DETECT_INDEX : TAINT_DETECT_RETURN, s, vaddr, at,
				      labels, n);
	}
	stray_return(c, s, info, vaddr);
}

/* A leader's access: its own, and then whether its members will meet tainted memory. */
static void lead_slow(struct plugin_vcpu *c, qemu_plugin_meminfo_t info, uint64_t vaddr, const void *mark)
{
	struct plugin_site *s = group_site(mark);

	if (qemu_plugin_mem_is_store(info))
		store_slow(c, s, info, vaddr);
	else
		load_slow(c, s, info, vaddr);
	if (group_clean(c, info, mark, vaddr))
		return;
	enter(c, s);
	if (c->at <= s->index)
		c->at = s->index + 1;
	c->pending = true;
	settle(c);
}

static inline void lead(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t vaddr, const void *mark, uint32_t hot)
{
	struct plugin_vcpu *c = &plugin_vcpu[vcpu];

	c->lead[group_number(mark)] = vaddr;
	if ((likely(group_known_clean(c, mark, vaddr)) || group_pages_clean(c, mark, vaddr)) &&
	    (likely(!(c->hot & hot)) || changes_nothing(c, group_site(mark))))
		return;
	lead_slow(c, info, vaddr, mark);
}

void follow_lead(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *mark)
{
	lead(vcpu, info, vaddr, mark, HOT);
}

void follow_plain_lead(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *mark)
{
	lead(vcpu, info, vaddr, mark, PLUGIN_HOT_GENERAL);
}
