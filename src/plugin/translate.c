/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which callbacks an instruction gets when QEMU translates it.
 *
 * Semantics depend on an instruction's bytes only, so they are compiled once
 * and kept for as long as the process lives; what depends on the place (the site of a store) is
 * kept until QEMU throws its translations away.
 *
 * QEMU shares a translation between all virtual addresses of one physical page, so the address seen here is
 * only one of those it may run at: sites are named by their place in guest RAM.
 */
#include <glib.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "plugin/plugin_internal.h"

#define EFER_LMA (1u << 10)

/* Linux's code segments; translations under others (boot code) carry no taint. */
static const struct {
	uint16_t selector;
	uint8_t mode;
} code_segments[] = {
	{0x10, 64}, /* kernel */
	{0x33, 64}, /* user */
	{0x23, 32}, /* user, compatibility mode */
};

struct known_insn {
	struct taint_insn in;
	uint8_t key[16]; /* mode, then the bytes */
};

#define SITES_PER_CHUNK 4096

struct site_chunk {
	struct site_chunk *next;
	unsigned used;
	struct plugin_site site[SITES_PER_CHUNK];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static GHashTable *known;
static struct site_chunk *sites;

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
		taint_insn_compile(mode, bytes, len, &k->in);
		k->in.len = (uint8_t)len;
		g_hash_table_insert(known, k->key, k);
		count_class(&k->in);
	}
	return k;
}

static struct plugin_site *site_new(const struct known_insn *k, const struct qemu_plugin_insn *insn)
{
	struct plugin_site *s;

	if (!sites || sites->used == SITES_PER_CHUNK) {
		struct site_chunk *c = malloc(sizeof(*c));

		if (!c)
			return NULL;
		c->next = sites;
		c->used = 0;
		sites = c;
	}
	s = &sites->site[sites->used++];
	*s = (struct plugin_site){
		.in = &k->in, .bytes = k->key + 1, .pc = qemu_plugin_insn_vaddr(insn), .code_offset = UINT64_MAX};
	ram_offset(qemu_plugin_insn_haddr(insn), &s->code_offset);
	return s;
}

void translate_flush(qemu_plugin_id_t id)
{
	struct site_chunk *c;

	(void)id;
	/* All vCPUs are stopped and no translation that refers to a site is left. */
	while ((c = sites)) {
		sites = c->next;
		free(c);
	}
}

static void instrument_memory(struct qemu_plugin_insn *insn, struct taint_insn *in, struct plugin_site *s)
{
	if (in->is_ret)
		qemu_plugin_register_vcpu_mem_cb(insn, follow_return, QEMU_PLUGIN_CB_R_REGS, QEMU_PLUGIN_MEM_R, s);
	else if (in->has_load && in->has_store)
		qemu_plugin_register_vcpu_mem_cb(insn, follow_load_store, QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_RW,
						 s);
	else if (in->has_load && in->needs_begin)
		qemu_plugin_register_vcpu_mem_cb(insn, follow_wide_load, QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_R, in);
	else if (in->has_load)
		qemu_plugin_register_vcpu_mem_cb(insn, follow_load, QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_R, in);
	else if (in->has_store)
		qemu_plugin_register_vcpu_mem_cb(insn, follow_store, QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_W, s);
}

static void instrument(struct qemu_plugin_insn *insn, unsigned mode)
{
	struct plugin_site *s = NULL;
	struct known_insn *k;
	struct taint_insn *in;
	uint8_t bytes[15];
	size_t len = qemu_plugin_insn_data(insn, bytes, sizeof(bytes));

	k = insn_intern(mode, bytes, len);
	if (!k)
		return;
	in = &k->in;
	if (in->flushes_tlb)
		qemu_plugin_register_vcpu_insn_exec_cb(insn, follow_flush_tlb, QEMU_PLUGIN_CB_NO_REGS, in);
	if (in->needs_begin)
		qemu_plugin_register_vcpu_insn_exec_cb(insn, follow_begin, QEMU_PLUGIN_CB_NO_REGS, in);
	/* With a load the operations run when it is complete. */
	if (in->n_ops && !in->has_load)
		qemu_plugin_register_vcpu_insn_exec_cond_cb(insn, follow_exec, QEMU_PLUGIN_CB_NO_REGS,
							    QEMU_PLUGIN_COND_NE, plugin.track, 0, in);
	if (in->has_store || in->is_ret) {
		s = site_new(k, insn);
		if (!s)
			return;
	}
	instrument_memory(insn, in, s);
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

void translate_block(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	size_t n = qemu_plugin_tb_n_insns(tb);
	unsigned mode = code_mode();

	(void)id;
	if (!mode)
		return;
	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < n; i++)
		instrument(qemu_plugin_tb_get_insn(tb, i), mode);
	pthread_mutex_unlock(&lock);
}
