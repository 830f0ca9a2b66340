/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which callbacks an instruction gets when QEMU translates it.
 *
 * Semantics depend on an instruction's bytes only, so they are compiled once
 * and kept for as long as the process lives; what depends on the place (blocks and their sites) is
 * kept until QEMU throws its translations away.
 *
 * QEMU shares a translation between all virtual addresses of one physical page, so the address seen here is
 * only one of those it may run at: sites are named by their place in guest RAM.
 */
#include <glib.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "plugin/group.h"

#define EFER_LMA (1u << 10)

/* QEMU translates no more at once. */
#define BLOCK_INSNS 512u

/* In a mode: the code runs in user mode. */
#define MODE_USER 0x80u

/* Linux's code segments; translations under others (boot code) carry no taint. */
static const struct {
	uint16_t selector;
	uint8_t mode;
} code_segments[] = {
	{0x10, 64}, /* kernel */
	{0x33, 64 | MODE_USER}, /* user */
	{0x23, 32 | MODE_USER}, /* user, compatibility mode */
};

struct known_insn {
	struct taint_insn in;
	uint8_t key[16]; /* mode, then the bytes */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static GHashTable *known;
static struct plugin_block *blocks;

static guint key_hash(gconstpointer key)
{
	const uint8_t *k = key;
	guint h = 2166136261u;

	for (int i = 0; i < 16; i++)
		h = (h ^ k[i]) * 16777619u;
	return h;
}

static gboolean key_equal(gconstpointer a, gconstpointer b)
{
	return !memcmp(a, b, 16);
}

static void count_class(const struct taint_insn *in)
{
	uint64_t *counter = in->cls == TAINT_INSN_PRECISE	 ? &plugin.shm->insn_precise
			    : in->cls == TAINT_INSN_CONSERVATIVE ? &plugin.shm->insn_conservative
			    : in->cls == TAINT_INSN_REFUSED	 ? &plugin.shm->insn_refused
								 : NULL;

	if (counter)
		__atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

/* With the lock held. NULL: no memory. */
static struct known_insn *insn_intern(unsigned mode, const uint8_t *bytes, size_t len)
{
	uint8_t key[16] = {(uint8_t)mode};
	struct known_insn *k;

	memcpy(key + 1, bytes, len < 15 ? len : 15);
	if (!known)
		known = g_hash_table_new(key_hash, key_equal);
	k = g_hash_table_lookup(known, key);
	if (!k) {
		k = calloc(1, sizeof(*k));
		if (!k)
			return NULL;
		memcpy(k->key, key, sizeof(key));
		taint_insn_compile(mode & ~MODE_USER, mode & MODE_USER, bytes, len, &k->in);
		k->in.len = (uint8_t)len;
		g_hash_table_insert(known, k->key, k);
		count_class(&k->in);
	}
	return k;
}

static bool carries_taint(const struct taint_insn *in)
{
	return in->has_load || in->has_store || in->is_ret || in->n_ops || in->area || in->sees;
}

/* The registers that make the address of a store, or of the load of a pointer: detectors look at their labels. */
static uint64_t address_bits(const struct taint_insn *in)
{
	const struct taint_mem *m = &in->mem[0];
	uint64_t bits = 0;

	if (in->n_mem < 1 || (!m->written && m->size < 4))
		return 0;
	if (m->base < TAINT_GPRS)
		bits |= 1ull << m->base;
	if (m->index < TAINT_GPRS)
		bits |= 1ull << m->index;
	return bits;
}

static void note_copy(const struct taint_insn *in, struct plugin_site *s)
{
	const struct taint_op *op = &in->op[0];

	s->copy_to = s->copy_from = TAINT_GPR_NONE;
	if (!in->n_ops || op->kind != TAINT_OP_COPY || op->src_len < 4 || op->dst >= TAINT_REG_FLAGS ||
	    op->src >= TAINT_REG_FLAGS || in->has_load)
		return;
	s->copy_to = (uint8_t)(op->dst / 8);
	s->copy_from = (uint8_t)(op->src / 8);
}

static uint8_t word_bytes(unsigned n)
{
	return n <= SHADOW_WORD_MAX && !(n & (n - 1)) ? (uint8_t)n : 0;
}

/* Whether its accesses are each of a word, of which nothing but the labels is wanted. */
static void note_words(const struct taint_insn *in, struct plugin_site *s)
{
	bool plain = !in->needs_begin && !in->updates && !in->is_ret && !in->area && in->cls != TAINT_INSN_REFUSED;

	s->word_load = plain && in->has_load ? word_bytes(in->load_len) : 0;
	s->word_store = plain && in->has_store ? word_bytes(in->store_len) : 0;
	s->address = in->has_store ? (uint16_t)address_bits(in) : 0;
	s->calls = in->calls;
}

/* Whether it stores single bytes: not those of a copy in one instruction, which may be a pointer's. */
static bool ends(const struct taint_insn *in)
{
	return in->has_store && !in->has_load && in->n_mem == 1 && in->mem[0].size == 1 && !in->repeats &&
	       plugin_detects(TAINT_DETECT_INDEX);
}

static void site_init(struct plugin_block *b, const struct known_insn *k, const struct qemu_plugin_insn *insn,
		      size_t number, unsigned mode)
{
	struct plugin_site *s = &b->site[b->n];
	bool user = mode & MODE_USER;

	*s = (struct plugin_site){.in = &k->in,
				  .bytes = k->key + 1,
				  .block = b,
				  .pc = qemu_plugin_insn_vaddr(insn),
				  .code_offset = UINT64_MAX,
				  .touches = k->in.touches | (user ? address_bits(&k->in) : 0),
				  .updates = k->in.has_load && k->in.has_store,
				  .user = user,
				  .mode32 = (mode & ~MODE_USER) == 32,
				  .sees = (uint8_t)sentry_wanted((enum taint_sees)k->in.sees),
				  .ends = user && ends(&k->in),
				  .sees_reg = k->in.sees_reg,
				  .sees_other = k->in.sees_other,
				  .has_memory = k->in.has_load || k->in.has_store,
				  .group = TAINT_GROUP_NONE,
				  .number = (uint16_t)number,
				  .index = (uint16_t)b->n++};
	note_copy(&k->in, s);
	note_words(&k->in, s);
	if (k->in.has_store || k->in.is_ret || k->in.area || k->in.sees || b->n == 1)
		ram_offset(qemu_plugin_insn_haddr(insn), &s->code_offset);
}

/* All vCPUs are stopped, and no translation that refers to a block is left; a vCPU may still have to catch up with one. */
void translate_flush(qemu_plugin_id_t id)
{
	struct plugin_block *b, *kept = NULL;

	(void)id;
	__atomic_fetch_add(&plugin.shm->flushes, 1, __ATOMIC_RELAXED);
	while ((b = blocks)) {
		blocks = b->next;
		if (follow_needs_block(b)) {
			b->next = kept;
			kept = b;
		} else {
			free(b);
		}
	}
	blocks = kept;
}

/* data: what the callback gets, the site or a leader's mark. */
static void on_memory(struct qemu_plugin_insn *insn, qemu_plugin_vcpu_mem_cb_t fn, enum qemu_plugin_mem_rw rw,
		      const struct plugin_site *s, void *data)
{
	/* Detectors read the registers, and a report tells them. */
	bool reads = fn == follow_return || s->user;
	enum qemu_plugin_cb_flags flags = reads ? QEMU_PLUGIN_CB_R_REGS : QEMU_PLUGIN_CB_NO_REGS;

	qemu_plugin_register_vcpu_mem_cb(insn, fn, flags, rw, data);
}

static qemu_plugin_vcpu_mem_cb_t load_callback(const struct plugin_site *s)
{
	if (sentry_sees_load(s))
		return follow_seen_load;
	if (s->in->needs_begin)
		return s->in->has_store ? follow_wide_update : follow_wide_load;
	return s->block->vectors ? follow_load : follow_plain_load;
}

/* mark: a leader's, NULL if it is none. One that loads and stores answers for its group when it has stored. */
static void instrument_memory(struct qemu_plugin_insn *insn, struct plugin_site *s, void *mark)
{
	const struct taint_insn *in = s->in;
	bool plain = !s->block->vectors;
	qemu_plugin_vcpu_mem_cb_t leader = plain ? follow_plain_lead : follow_lead;

	if (in->is_ret && sentry_wants_returns())
		on_memory(insn, follow_return, QEMU_PLUGIN_MEM_R, s, s);
	else if (in->is_ret)
		return;
	else if (in->has_load && mark && !in->has_store)
		on_memory(insn, leader, QEMU_PLUGIN_MEM_R, s, mark);
	else if (in->has_load)
		on_memory(insn, load_callback(s), QEMU_PLUGIN_MEM_R, s, s);
	if (!in->has_store)
		return;
	if (mark)
		on_memory(insn, leader, QEMU_PLUGIN_MEM_W, s, mark);
	else if (s->ends)
		on_memory(insn, follow_end_store, QEMU_PLUGIN_MEM_W, s, s);
	else
		on_memory(insn, plain ? follow_plain_store : follow_store, QEMU_PLUGIN_MEM_W, s, s);
}

static void instrument(struct qemu_plugin_insn *insn, struct plugin_site *s, const struct taint_group *group)
{
	bool leads = s->group != TAINT_GROUP_NONE && !s->follows;

	if (s->in->needs_begin)
		qemu_plugin_register_vcpu_insn_exec_cb(insn, follow_begin, QEMU_PLUGIN_CB_NO_REGS, s);
	if (s->in->area)
		qemu_plugin_register_vcpu_insn_exec_cb(insn, follow_area, QEMU_PLUGIN_CB_R_REGS, s);
	sentry_instrument(insn, s);
	if (!s->follows)
		instrument_memory(insn, s, leads ? group_mark(s, &group[s->group]) : NULL);
}

/* Adds the instruction to the block if it can carry taint. Returns what it does; NULL: no memory. */
static const struct taint_insn *note(struct plugin_block *b, struct qemu_plugin_insn *insn, size_t number,
				     unsigned mode)
{
	struct known_insn *k;
	uint8_t bytes[15];
	size_t len = qemu_plugin_insn_data(insn, bytes, sizeof(bytes));

	k = insn_intern(mode, bytes, len);
	if (!k)
		return NULL;
	if (k->in.flushes_tlb)
		qemu_plugin_register_vcpu_insn_exec_cb(insn, follow_flush_tlb, QEMU_PLUGIN_CB_NO_REGS, NULL);
	if (!(mode & MODE_USER) && frame_is_entry(insn, bytes, len))
		qemu_plugin_register_vcpu_insn_exec_cb(insn, frame_pushed, QEMU_PLUGIN_CB_R_REGS,
						       (void *)(uintptr_t)qemu_plugin_insn_vaddr(insn));
	if (carries_taint(&k->in))
		site_init(b, k, insn, number, mode);
	return &k->in;
}

/* Every instruction of a block, for what they are to each other. */
struct listing {
	const struct taint_insn *in[BLOCK_INSNS];
	bool alone[BLOCK_INSNS]; /* a detector looks at it before its effect */
	unsigned n;
	struct taint_place place[BLOCK_INSNS];
	struct taint_group group[TAINT_GROUPS];
};

/*
 * Sites of the instructions whose accesses others answer for, or that answer for others. Who watches for a write wants the
 * registers as they are then: each store is told.
 */
static void set_groups(struct plugin_block *b, struct listing *l)
{
	if (plugin.watch.gva)
		return;
	for (uint32_t i = 0; i < b->n && b->site[i].number < l->n; i++)
		l->alone[b->site[i].number] = b->site[i].sees != TAINT_SEES_NONE;
	taint_group(l->in, l->alone, l->n, plugin.shared, l->place, l->group);
	for (uint32_t i = 0; i < b->n && b->site[i].number < l->n; i++) {
		struct plugin_site *s = &b->site[i];
		const struct taint_place *p = &l->place[s->number];

		s->group = p->group; /* NOLINT(clang-analyzer-core.uninitialized.Assign): filled up to n */
		s->follows = p->group != TAINT_GROUP_NONE && !p->leads;
		s->distance = p->distance;
	}
}

static unsigned code_mode(void)
{
	uint64_t cs = regs_read(PLUGIN_REG_CS);

	if (!(regs_read(PLUGIN_REG_EFER) & EFER_LMA))
		return 0;
	for (size_t i = 0; i < G_N_ELEMENTS(code_segments); i++)
		if (code_segments[i].selector == (cs & 0xffff))
			return code_segments[i].mode;
	return 0;
}

/* Whether a vector register's label may go to a general one, or the other way. */
static bool mixes(const struct plugin_site *s)
{
	return (s->in->touches & TAINT_GENERAL) && (s->in->touches & ~TAINT_GENERAL);
}

/* What is known of the block's sites only when all are there. */
static void complete(struct plugin_block *b)
{
	uint64_t touches = 0;
	uint32_t since = 0;
	bool dead = false;

	for (uint32_t i = 0; i < b->n; i++) {
		struct plugin_site *s = &b->site[i];

		touches |= s->touches;
		b->vectors |= (s->touches & ~TAINT_GENERAL) != 0;
		s->touched_since = touches;
		s->since = (uint16_t)since;
		s->tells = s->has_memory && !s->follows && !s->in->repeats && s->in->cls != TAINT_INSN_REFUSED &&
			   (!s->in->is_ret || sentry_wants_returns());
		if (s->follows || mixes(s))
			b->tell_end = i + 1;
		s->kind = s->follows			 ? PLUGIN_MEMBER
			  : s->has_memory		 ? PLUGIN_TOLD
			  : s->copy_to != TAINT_GPR_NONE ? PLUGIN_COPY
							 : PLUGIN_PLAIN;
		if (s->has_memory && !s->follows) {
			touches = 0;
			since = i + 1;
		}
	}
	/* The flags' label is of no use where a later instruction sets it before anybody looks. */
	for (uint32_t i = b->n; i-- > 0;) {
		const struct taint_insn *in = b->site[i].in;
		bool stops = b->site[i].tells || b->site[i].follows;

		b->site[i].next_tell = (uint16_t)(stops ? i : i + 1 < b->n ? b->site[i + 1].next_tell : b->n);

		b->site[i].ops = (uint8_t)((1u << in->n_ops) - 1);
		if (dead)
			b->site[i].ops &= (uint8_t)~in->flag_ops;
		if (in->uses_flags)
			dead = false;
		else if (in->sets_flags)
			dead = true;
	}
}

static struct plugin_block *block_create(size_t n)
{
	struct plugin_block *b;
	size_t size = sizeof(*b) + n * sizeof(b->site[0]);

	b = aligned_alloc(_Alignof(struct plugin_block), size);
	if (!b)
		return NULL;
	*b = (struct plugin_block){0};
	b->next = blocks;
	blocks = b;
	return b;
}

/* With the lock held: the block's sites, complete. NULL: no memory. */
static struct plugin_block *block_make(struct qemu_plugin_tb *tb, size_t n, unsigned mode, struct listing *l)
{
	struct plugin_block *b = block_create(n);

	l->n = 0;
	for (size_t i = 0; b && i < n; i++) {
		const struct taint_insn *in = note(b, qemu_plugin_tb_get_insn(tb, i), i, mode);

		if (in && l->n == i && i < BLOCK_INSNS) {
			l->alone[i] = false;
			l->in[l->n++] = in;
		}
	}
	if (!b)
		return NULL;
	sentry_complete(b);
	set_groups(b, l);
	complete(b);
	return b;
}

void translate_block(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	size_t n = qemu_plugin_tb_n_insns(tb);
	unsigned mode = code_mode();
	struct plugin_block *b;
	struct listing l;

	(void)id;
	__atomic_fetch_add(&plugin.shm->blocks_translated, 1, __ATOMIC_RELAXED);
	if (!mode)
		return;
	pthread_mutex_lock(&lock);
	b = block_make(tb, n, mode, &l);
	pthread_mutex_unlock(&lock);
	if (!b)
		return;
	for (uint32_t i = 0; i < b->n; i++)
		instrument(qemu_plugin_tb_get_insn(tb, b->site[i].number), &b->site[i], l.group);
	sentry_block(tb, b);
	if (b->vectors)
		qemu_plugin_register_vcpu_tb_exec_cond_cb(tb, follow_block, QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_COND_NE,
							  plugin.track, PLUGIN_TRACK_NONE, b);
	else if (b->n)
		qemu_plugin_register_vcpu_tb_exec_cond_cb(tb, follow_block, QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_COND_EQ,
							  plugin.track, PLUGIN_TRACK_ALL, b);
}
