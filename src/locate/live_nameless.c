/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Static programs that were stripped: which functions are the C library's, and what they are.
 *
 * Both are found by running code in miniature (behaviour.c): where the library begins, and what a function of it does.
 */
#include <stdio.h>
#include <stdlib.h>

#include "locate/behaviour.h"
#include "locate/live_tail.h"
#include "locate/x86.h"

#define STREAMS_MAX 48u
#define CANDIDATES_MAX 8192u
#define NEAR (128u << 10) /* bytes around a function of the library where its relatives are */
#define FUNCTION_ALIGN 16u
#define SCAN_STEP GUEST_PAGE_SIZE

static bool in_text(const struct vmi_module *m, uint64_t at)
{
	return at - m->text.v < m->text_file_size;
}

static void make_machine(struct live *l, const struct vmi_module *m)
{
	const struct taint_msg_detect *d = l->in->detect;
	const struct machine_source src = {.rd = l->src.rd,
					   .is_32bit = l->src.is_32bit,
					   .fs = d->fs_base,
					   .gs = l->in_kernel ? d->kernel_gs_base : d->gs_base};

	l->machine = machine_create(&src);
	if (l->machine)
		l->library = behaviour_library(l->machine, m->entry, m->text, m->text_file_size);
}

/* Whether frame k's module is a static program without names, with a library in it. */
static bool is_nameless(struct live *l, unsigned k)
{
	const struct vmi_module *m = l->chain->frame[k].module;
	struct callee_source src;

	if (!m || !m->is_main)
		return false;
	live_source(l, m, &src);
	if (src.symtab)
		return false;
	if (!l->machine)
		make_machine(l, m);
	return l->machine && l->library.v;
}

bool live_in_nameless_library(struct live *l, unsigned k)
{
	return is_nameless(l, k) && l->chain->frame[k].pc.v >= l->library.v;
}

/* Where a call or jump leads at present. */
static struct gva follow(struct live *l, const struct callee_target *to)
{
	uint64_t at = 0;

	if (!to->slot.v)
		return to->at;
	return code_read(&l->src.rd, to->slot, &at, l->src.is_32bit ? 4 : 8) ? gva(at) : gva(0);
}

/* A function of the program that left by a tail call, with the arguments that it got: where that led. */
static struct gva passed_on(struct live *l, const struct callee_source *src, struct gva function)
{
	struct cfi cfi = chain_cfi(&l->src, src->module);
	struct callee_target to;
	struct cfi_fde fde;

	if (cfi_find(&cfi, function, &fde, NULL) || fde.start.v != function.v ||
	    !callee_passes_on(src, function, fde.end, &to))
		return gva(0);
	return follow(l, &to);
}

static bool leads_to_library(void *arg, struct live_tail *t)
{
	struct live *l = arg;

	return follow(l, &t->to).v >= l->library.v;
}

/* The same with arguments of its own: the one jump into the library. */
static struct gva left_for(struct live *l, unsigned k, struct gva function)
{
	struct gva to = {0};
	struct live_tail t;

	if (!live_tail_open(l, l->chain->frame[k].module, function, &t))
		return to;
	if (t.fde.start.v == function.v && live_tail_each(l, k, &t, leads_to_library, l)) {
		to = follow(l, &t.to);
		l->behaviour[k].by_tail = true;
	}
	live_tail_close(&t);
	return to;
}

/* The function that frame k, an outer one, called. 0: not known. */
static struct gva called_by(struct live *l, unsigned k)
{
	const struct chain_frame *c = &l->chain->frame[k], *inner = c - 1;
	struct callee_source src;
	struct callee_target to;
	struct gva call, function;

	if (c->exact || !c->module || !chain_behind_call(&l->src, l->chain, c->pc, &call))
		return gva(0);
	live_source(l, c->module, &src);
	if (!callee_follow(&src, call, (uint8_t)(c->pc.v - call.v), &to))
		return gva(0);
	if (!to.slot.v && !to.at.v)
		return inner->function;
	function = follow(l, &to);
	if (function.v >= l->library.v || inner->pc.v < l->library.v)
		return function;
	call = passed_on(l, &src, function);
	return call.v ? call : left_for(l, k, function);
}

static bool is_writable(const struct live *l, uint64_t at)
{
	for (unsigned k = 0; k < l->n_maps; k++)
		if (at >= l->maps[k].start.v && at < l->maps[k].end.v)
			return l->maps[k].flags & VMI_VM_WRITE;
	return false;
}

/* What the frames up to k hold in registers and may be a stream. */
static unsigned find_streams(const struct live *l, unsigned k, uint64_t ret[STREAMS_MAX])
{
	unsigned n = 0;

	for (unsigned i = 0; i <= k; i++) {
		const struct chain_frame *f = &l->chain->frame[i];

		for (unsigned r = 0; r < 16 && n < STREAMS_MAX; r++) {
			bool is_new = f->known >> r & 1 && r != X86_RSP && is_writable(l, f->gpr[r]);

			for (unsigned j = 0; j < n; j++)
				is_new &= ret[j] != f->gpr[r];
			if (is_new)
				ret[n++] = f->gpr[r];
		}
	}
	return n;
}

static const char *find_behaviour(struct live *l, unsigned k, struct gva function)
{
	uint64_t at[STREAMS_MAX];
	const struct behaviour_streams streams = {at, find_streams(l, k - 1, at)};

	if (function.v < l->library.v || !function.v)
		return NULL;
	if (l->in->detect->detector != TAINT_DETECT_WATCH)
		return behaviour_of_format(l->machine, function, &streams);
	return behaviour_of_writer(l->machine, function, &streams);
}

void live_name_target(struct live *l, unsigned k, struct callee_target *to)
{
	const char *name = NULL;

	if (k && !*to->name && is_nameless(l, k))
		name = find_behaviour(l, k, follow(l, to));
	if (name)
		snprintf(to->name, sizeof(to->name), "%s", name);
}

const char *live_behaviour(struct live *l, unsigned k)
{
	if (!k || k >= l->chain->n)
		return NULL;
	if (!l->behaviour[k].tried && is_nameless(l, k))
		l->behaviour[k].name = find_behaviour(l, k, called_by(l, k));
	l->behaviour[k].tried = true;
	return l->behaviour[k].name;
}

bool live_behaviour_by_tail(struct live *l, unsigned k)
{
	return live_behaviour(l, k) && l->behaviour[k].by_tail;
}

unsigned live_frame_by_behaviour(struct live *l, unsigned first)
{
	const struct chain *c = l->chain;
	unsigned best = first;

	/* what the program's own frames called inside of it is not looked at */
	for (unsigned k = first; k + 1 < c->n && live_in_nameless_library(l, k); k++)
		if (c->frame[k + 1].module == c->frame[k].module && live_behaviour(l, k + 1))
			best = k + 1;
	return best;
}

/* --- a function that is not on the chain ----------------------------------------------------------------- */

struct candidates {
	struct gva near; /* a function of the library */
	uint64_t *at; /* CANDIDATES_MAX */
	unsigned n;
};

/* Where a function may begin: at an aligned address, behind another one's end or what fills the room to it. */
static void add_candidates(const struct live *l, struct candidates *c, uint64_t low, uint64_t high)
{
	uint8_t page[SCAN_STEP + 1]; /* with the byte before it */

	for (uint64_t at = low; at < high; at += SCAN_STEP) {
		if (!code_read(&l->src.rd, gva(at - 1), page, sizeof(page)))
			continue;
		for (unsigned k = 0; k < SCAN_STEP && at + k < high && c->n < CANDIDATES_MAX; k += FUNCTION_ALIGN) {
			uint8_t before = page[k];

			if (before == 0xc3 || before == 0x90 || before == 0xcc || before == 0x00)
				c->at[c->n++] = at + k;
		}
	}
}

static int farther(const void *a, const void *b, void *arg)
{
	const struct candidates *c = arg;
	int64_t x = (int64_t)(*(const uint64_t *)a - c->near.v), y = (int64_t)(*(const uint64_t *)b - c->near.v);

	x = x < 0 ? -x : x;
	y = y < 0 ? -y : y;
	return (x > y) - (x < y);
}

bool live_vsnprintf(struct live *l, struct gva *ret)
{
	const struct vmi_module *m = l->chain->frame[l->frame].module;
	struct candidates c = {.near = called_by(l, l->frame)};
	uint64_t low, high;
	bool found = false;

	if (!l->machine || !in_text(m, c.near.v))
		return false;
	c.at = calloc(CANDIDATES_MAX, sizeof(*c.at));
	if (!c.at)
		return false;
	low = c.near.v > l->library.v + NEAR ? c.near.v - NEAR : l->library.v;
	high = c.near.v + NEAR < m->text.v + m->text_file_size ? c.near.v + NEAR : m->text.v + m->text_file_size;
	add_candidates(l, &c, low & ~(uint64_t)GUEST_PAGE_MASK, high);
	qsort_r(c.at, c.n, sizeof(*c.at), farther, &c);
	for (unsigned k = 0; k < c.n && !found; k++) {
		found = behaviour_is_vsnprintf(l->machine, gva(c.at[k]));
		if (found)
			*ret = gva(c.at[k]);
	}
	free(c.at);
	return found;
}
