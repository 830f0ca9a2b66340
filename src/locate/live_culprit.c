/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The culprit on a chain of calls: the innermost frame that is not the C library's.
 *
 * In a static program the library is in the same module: there its functions are known by name, if the program is
 * not stripped, or by what they do (live_nameless.c); then the culprit is the caller of the outermost one. Where neither tells, a
 * store is its own culprit, bounded for the caller that it serves.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "locate/live.h"
#include "locate/live_format.h"
#include "locate/live_tail.h"
#include "locate/x86.h"

static unsigned mode_of(const struct live *l)
{
	return l->src.is_32bit ? X86_MODE_32 : X86_MODE_64;
}

bool live_is_c_library(const struct vmi_module *m)
{
	/* file names up to a version */
	static const char *const names[] = {"libc.", "libc-",	   "ld-linux",	 "ld-musl",
					    "ld-2.", "libpthread", "libstdc++.", "libc++."};
	const char *base = strrchr(m->path, '/');

	base = base ? base + 1 : m->path;
	for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++)
		if (!m->is_main && !strncmp(base, names[k], strlen(names[k])))
			return true;
	return false;
}

static bool through_pointer(const struct live *l)
{
	return l->in->detect->detector == TAINT_DETECT_POINTER;
}

/* A name alone does not make a program's own function one of the library: err() and warn() are often its own. */
static bool counts(const struct live *l, const struct callee_known *k)
{
	return k && (k->effect != CALL_FORMAT || through_pointer(l));
}

/* The first frame outside of the C library, or outside of its functions in the program itself. */
static int choose_frame(struct live *l, struct err *e)
{
	const struct chain *c = l->chain;
	unsigned first = 0, best;

	while (first < c->n && (!c->frame[first].module || live_is_c_library(c->frame[first].module)))
		first++;
	if (first == c->n)
		return err_set_addr(e, ERR_REFUSED, c->frame[0].pc.v,
				    "the write came from 0x%" PRIx64
				    ", and no frame of the program was found on the stack",
				    c->frame[0].pc.v);
	best = first;
	for (unsigned k = first; k + 1 < c->n && c->frame[k].module == c->frame[first].module; k++) {
		char name[SYMTAB_NAME_MAX];

		if (live_function_name(l, k, name) && counts(l, callee_known(name)))
			best = k + 1;
	}
	if (best == first)
		best = live_frame_by_behaviour(l, first);
	/* functions of the library may have no frame information; what is to be guarded has */
	while (best + 1 < c->n && !c->frame[best].function.v)
		best++;
	l->frame = best;
	return 0;
}

static int read_code(struct live *l, struct err *e)
{
	const struct chain_frame *c = &l->chain->frame[l->frame];
	const struct vmi_module *m = c->module;
	struct finding *f = l->f;
	struct cfi cfi = chain_cfi(&l->src, m);

	f->module = *m;
	f->is_32bit = m->is_32bit;
	if (cfi_find(&cfi, chain_lookup(c), &l->fde, e))
		return err_prefix(e, "the culprit's function");
	f->function = l->fde.start;
	f->function_end = l->fde.end;
	return code_fn_create_mode(mode_of(l), &l->src.rd, f->function, f->function_end, m->text,
				   gva_add(m->text, m->text_file_size), &l->fn, e);
}

static void set_culprit(struct live *l, const struct code_insn *ci)
{
	struct finding *f = l->f;

	f->culprit = gva_add(l->fn->start, ci->off);
	f->culprit_len = ci->len;
	memcpy(f->culprit_bytes, l->fn->bytes + ci->off, ci->len);
	f->culprit_file_offset = f->culprit.v - f->module.text.v + f->module.text_file_offset;
	x86_text_mode(mode_of(l), f->culprit_bytes, ci->len, f->culprit.v, f->culprit_text, sizeof(f->culprit_text));
}

/* What the call at the culprit calls. A function of the program between it and the library was left by a tail call. */
static void name_call(struct live *l, char ret[SYMTAB_NAME_MAX])
{
	const struct chain_frame *inner = &l->chain->frame[l->frame - 1];
	struct callee_target to = {0}, beyond = {0};
	struct callee_source src;
	struct cfi cfi = chain_cfi(&l->src, &l->f->module);
	struct cfi_fde fde;
	bool between;

	live_source(l, l->chain->frame[l->frame].module, &src);
	*ret = '\0';
	if (!callee_follow(&src, l->f->culprit, l->f->culprit_len, &to))
		return;
	l->call_slot = to.slot;
	if (live_behaviour_by_tail(l, l->frame))
		return;
	if (live_behaviour(l, l->frame)) {
		snprintf(ret, SYMTAB_NAME_MAX, "%s", live_behaviour(l, l->frame));
		return;
	}
	between = to.at.v && !to.slot.v && to.at.v != inner->function.v && inner->function.v;
	if (callee_known(to.name)) {
		memcpy(ret, to.name, sizeof(to.name));
	} else if (between) {
		if (!cfi_find(&cfi, to.at, &fde, NULL) && callee_passes_on(&src, to.at, fde.end, &beyond)) {
			memcpy(ret, beyond.name, sizeof(beyond.name));
			l->call_slot = beyond.slot;
			if (!*ret && !live_function_name(l, l->frame - 1, ret))
				*ret = '\0';
		}
	} else if (!live_function_name(l, l->frame - 1, ret)) {
		memcpy(ret, to.name, sizeof(to.name));
	}
}

static void set_callee(struct live *l, const char *name)
{
	struct finding *f = l->f;
	const struct callee_known *k = callee_known(name);

	l->callee = k;
	snprintf(f->callee, sizeof(f->callee), "%.31s", k ? k->name : name);
	if (!k)
		return;
	f->effect = k->effect;
	f->dst_arg = k->dst;
	f->src_arg = k->src;
	f->len_arg = k->len;
	f->chk_arg = k->chk;
}

static int find_call(struct live *l, struct err *e)
{
	const struct chain_frame *c = &l->chain->frame[l->frame];
	const struct code_insn *ci = c->exact ? NULL : chain_frame_insn(c, l->fn);
	char name[SYMTAB_NAME_MAX];

	if (!ci || ci->flow != CODE_CALL)
		return err_set_addr(e, ERR_REFUSED, c->pc.v, "no call instruction ends at 0x%" PRIx64, c->pc.v);
	l->f->kind = FINDING_CALL;
	set_culprit(l, ci);
	name_call(l, name);
	set_callee(l, name);
	if (!l->callee)
		(void)live_find_tail(l);
	return 0;
}

/* What was called when the culprit's first guard was made. */
static const char *guarded_callee(const struct live *l)
{
	for (size_t k = 0; k < l->in->n_patches; k++)
		if (l->in->patches[k].culprit.v == l->f->culprit.v && l->in->patches[k].callee)
			return l->in->patches[k].callee;
	return "";
}

/* The call's guard does itself what is called, so that no frame of it is there. */
static int find_guarded_call(struct live *l)
{
	struct callee_target to = {0};
	struct callee_source src;

	live_source(l, l->chain->frame[0].module, &src);
	if (callee_follow(&src, l->f->culprit, l->f->culprit_len, &to))
		l->call_slot = to.slot;
	l->f->kind = FINDING_CALL;
	set_callee(l, callee_known(to.name) ? to.name : guarded_callee(l));
	return 0;
}

int live_set_call(struct live *l, unsigned k, struct err *e)
{
	l->frame = k;
	return read_code(l, e) || find_call(l, e) ? -1 : 0;
}

void live_set_tail(struct live *l, const struct cfi_fde *fde, struct code_fn *fn, const struct code_insn *ci,
		   const char *name)
{
	code_fn_destroy(l->fn);
	l->fn = fn;
	l->fde = *fde;
	l->f->function = fde->start;
	l->f->function_end = fde->end;
	set_culprit(l, ci);
	set_callee(l, name);
}

void live_forget_culprit(struct live *l, const struct finding *before)
{
	*l->f = *before;
	code_fn_destroy(l->fn);
	l->fn = NULL;
	l->callee = NULL;
	l->call_slot = gva(0);
	l->frame = 0;
}

static int find_store(struct live *l, struct err *e)
{
	const struct chain_frame *c = &l->chain->frame[0];
	const struct code_insn *ci = code_fn_insn(l->fn, c->pc);

	if (!ci)
		return err_set_addr(e, ERR_REFUSED, c->pc.v, "no instruction of its function begins at 0x%" PRIx64,
				    c->pc.v);
	set_culprit(l, ci);
	if (ci->flow == CODE_CALL)
		return find_guarded_call(l);
	l->f->kind = FINDING_STORE;
	return 0;
}

/* The kernel wrote, and what asked it to is not known. */
static int refuse_wrapper(const struct live *l, struct err *e)
{
	return err_set_addr(e, ERR_REFUSED, l->chain->frame[0].pc.v,
			    "the kernel wrote for system call %" PRIu64 " at 0x%" PRIx64
			    ", and how the program came to ask for it is not known",
			    l->number, l->chain->frame[0].pc.v);
}

/* What detectors that stop in the midst of it can say without a format. */
static int check_detector(struct live *l, bool for_a_bound, struct err *e)
{
	const struct taint_msg_detect *d = l->in->detect;

	if (d->detector == TAINT_DETECT_FAULT && !l->indexed)
		return err_set_addr(e, ERR_REFUSED, d->pc,
				    "the access at 0x%" PRIx64 " fails, but in no call with a format from outside",
				    d->pc);
	if (d->detector == TAINT_DETECT_ABORT && !for_a_bound)
		return err_set_addr(e, ERR_REFUSED, d->pc, "the program ends itself, but for no bound that it checks");
	return 0;
}

/* A number that was counted or computed from the input is written, not the input's bytes: as %n does. */
static bool writes_number(const struct live *l)
{
	const struct taint_msg_detect *d = l->in->detect;

	for (unsigned i = 0; i < d->object_len; i++)
		if (!d->label[i].origin || d->label[i].origin != d->label[0].origin || d->label[i].flags)
			return false;
	return d->object_len >= sizeof(uint32_t);
}

int live_find_culprit(struct live *l, struct err *e)
{
	bool live = l->in->detect->detector != TAINT_DETECT_WATCH, for_a_bound = live && live_fails_bound(l);

	if ((live ? !for_a_bound : writes_number(l)) && live_find_format(l))
		return 0;
	if (check_detector(l, for_a_bound, e) || choose_frame(l, e) ||
	    (l->in_kernel && l->frame == 0 && refuse_wrapper(l, e)) || read_code(l, e) ||
	    (l->frame ? find_call(l, e) : find_store(l, e)))
		return -1;
	if (through_pointer(l) && !live_may_be_format(l))
		return err_set_addr(
			e, ERR_REFUSED, l->f->culprit.v,
			"the write goes through a pointer from outside: what overwrote the pointer is the culprit");
	return 0;
}

struct helper_search {
	struct live *l;
	const struct callee_source *own; /* the module with the call */
	const struct vmi_module *library;
	struct gva helper;
	bool found, all_filled;
};

static bool read_slot(const struct live *l, const struct dynamic_slot *s, uint64_t *ret)
{
	return code_read(&l->src.rd, s->at, ret, l->src.is_32bit ? 4 : 8);
}

/* Filled at the first call, which is made before main() is. */
static bool called_at_start(const struct callee_source *own, const struct dynamic_slot *s)
{
	char name[SYMTAB_NAME_MAX];

	return dynamic_slot_name(own->dynamic, s->at, name) && !strcmp(name, "__libc_start_main");
}

/* A slot that was never called through holds an address of its own module's. */
static bool match_unfilled(void *arg, const struct dynamic_slot *s)
{
	struct helper_search *q = arg;
	const struct vmi_module *m = q->own->module;
	uint64_t v = 0;

	if (s->lazy && (!read_slot(q->l, s, &v) || (v >= m->low.v && v < m->high.v)))
		q->all_filled = false;
	return q->all_filled;
}

/* A pointer that is filled for good before the program runs, into the library. */
static bool match_helper_slot(void *arg, const struct dynamic_slot *s)
{
	struct helper_search *q = arg;
	struct live *l = q->l;
	uint64_t v = 0;

	if ((s->lazy && !called_at_start(q->own, s)) || !read_slot(l, s, &v) ||
	    v - q->library->text.v >= q->library->text_file_size)
		return true;
	l->f->helper_slot = s->at;
	l->f->helper_delta = (int64_t)(q->helper.v - v);
	q->found = true;
	return false;
}

/* In another module than the culprit's: by a slot of the culprit's. */
static bool helper_by_slot(struct live *l, const struct vmi_module *library, struct gva helper)
{
	struct callee_source own;
	struct helper_search q = {.l = l, .own = &own, .library = library, .helper = helper, .all_filled = true};
	struct dynamic_slot called = {.at = l->call_slot};

	live_source(l, l->chain->frame[l->frame].module, &own);
	if (!own.dynamic)
		return false;
	dynamic_each_slot(own.dynamic, match_helper_slot, &q);
	if (q.found || !called.at.v)
		return q.found;
	/* the slot of the call itself will be filled when the guard uses it, unless the first call is to do that */
	dynamic_each_slot(own.dynamic, match_unfilled, &q);
	if (q.all_filled)
		match_helper_slot(&q, &called);
	return q.found;
}

void live_find_helper(struct live *l)
{
	const struct chain_frame *inner = &l->chain->frame[l->frame ? l->frame - 1 : 0];
	const char *name = l->callee && l->f->effect != CALL_FORMAT ? callee_helper(l->callee) : NULL;
	struct finding *f = l->f;
	struct symtab t[2];
	struct symbol s;
	unsigned n;
	bool found = false;

	if (!name || !inner->module)
		return;
	n = live_symbols(l, inner->module, t, 2);
	for (unsigned k = 0; k < n && !found; k++)
		found = symtab_find(&t[k], name, &s);
	if (!found && live_behaviour(l, l->frame) && l->f->effect != CALL_GETS)
		found = live_vsnprintf(l, &s.at);
	if (!found)
		return;
	f->helper_delta = (int64_t)(s.at.v - f->module.bias);
	if (inner->module == l->chain->frame[l->frame].module || helper_by_slot(l, inner->module, s.at))
		snprintf(f->helper, sizeof(f->helper), "%s", name);
	else
		f->helper_delta = 0;
}
