/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Functions of the program that were left by a jump to what does the damage. They have no frame any more: the call on the stack
 * called them, and the return address is the one that they got. The jump is the culprit, with the arguments that it hands on.
 */
#include "locate/live_tail.h"

#include <stdio.h>
#include <string.h>

#include "locate/x86.h"

#define TAILS_MAX 3u /* functions left one after the other */

bool live_tail_open(struct live *l, const struct vmi_module *m, struct gva function, struct live_tail *ret)
{
	struct cfi cfi = chain_cfi(&l->src, m);

	*ret = (struct live_tail){0};
	return !cfi_find(&cfi, function, &ret->fde, NULL) &&
	       !code_fn_create_mode(l->src.is_32bit ? X86_MODE_32 : X86_MODE_64, &l->src.rd, ret->fde.start,
				    ret->fde.end, m->text, gva_add(m->text, m->text_file_size), &ret->fn, NULL);
}

void live_tail_close(struct live_tail *t)
{
	code_fn_destroy(t->fn);
	t->fn = NULL;
}

bool live_tail_each(struct live *l, unsigned k, struct live_tail *t, bool (*match)(void *arg, struct live_tail *t),
		    void *arg)
{
	struct callee_source src;
	const struct code_insn *found = NULL;
	struct callee_target to;

	live_source(l, l->chain->frame[k].module, &src);
	for (uint32_t i = 0; i < t->fn->n_insn; i++) {
		t->jump = &t->fn->insn[i];
		if (t->jump->flow != CODE_JUMP ||
		    !callee_follow(&src, gva_add(t->fn->start, t->jump->off), t->jump->len, &t->to))
			continue;
		live_name_target(l, k, &t->to);
		if (!match(arg, t))
			continue;
		if (found)
			return false;
		found = t->jump;
		to = t->to;
	}
	t->jump = found;
	if (found)
		t->to = to;
	return found;
}

/* Whether it leads out of the function, to another of the same module. */
static bool leaves(void *arg, struct live_tail *t)
{
	(void)arg;
	return t->to.at.v && t->to.at.v - t->fde.start.v >= t->fde.end.v - t->fde.start.v;
}

struct wanted {
	struct live *l;
	const struct chain_frame *inner;
	char name[SYMTAB_NAME_MAX]; /* of its function, "": not known */
};

static bool writes(const struct callee_known *k)
{
	return k && k->effect != CALL_UNKNOWN && k->effect != CALL_FORMAT;
}

/* Whether it leads to the function that the inner frame is of. */
static bool leads_there(void *arg, struct live_tail *t)
{
	const struct wanted *w = arg;
	uint64_t at = t->to.at.v;

	if (t->to.slot.v && !code_read(&w->l->src.rd, t->to.slot, &at, w->l->src.is_32bit ? 4 : 8))
		at = 0;
	if (!*t->to.name && at && at == w->inner->function.v)
		memcpy(t->to.name, w->name, sizeof(t->to.name));
	return writes(callee_known(t->to.name)) &&
	       ((at && at == w->inner->function.v) || callee_known(w->name) == callee_known(t->to.name));
}

/* The frame that was left, as it was at the jump. */
static bool insert_frame(struct live *l, const struct live_tail *t)
{
	struct chain *c = l->chain;
	const unsigned k = l->frame, word = l->src.is_32bit ? 4 : 8;
	struct chain_frame *f = &c->frame[k], outer = *f;

	if (c->n == CHAIN_MAX)
		return false;
	memmove(f + 1, f, (c->n - k) * sizeof(*f));
	(void)live_behaviour(l, k); /* which is the new frame's, too */
	memmove(&l->behaviour[k + 1], &l->behaviour[k], (CHAIN_MAX - k - 1) * sizeof(l->behaviour[0]));
	c->n++;
	f->pc = gva_add(t->fn->start, t->jump->off);
	f->exact = true;
	f->guessed = false;
	f->cfa = outer.sp;
	f->slot = f->sp = gva(outer.sp.v - word);
	f->function = t->fde.start;
	f->function_end = t->fde.end;
	f->gpr[X86_RSP] = f->sp.v;
	return true;
}

/* Goes from function to function, as each was left for the next. */
static bool follow_tails(struct live *l, struct gva function, struct wanted *w, struct live_tail *t)
{
	const struct vmi_module *m = l->chain->frame[l->frame].module;

	for (unsigned n = 0; n < TAILS_MAX && live_tail_open(l, m, function, t); n++) {
		if (live_tail_each(l, l->frame, t, leads_there, w))
			return true;
		if (!live_tail_each(l, l->frame, t, leaves, NULL))
			break;
		function = t->to.at;
		live_tail_close(t);
	}
	live_tail_close(t);
	return false;
}

bool live_find_tail(struct live *l)
{
	struct wanted w = {.l = l, .inner = &l->chain->frame[l->frame - 1]};
	struct callee_source src;
	struct callee_target to;
	struct live_tail t;

	live_source(l, l->chain->frame[l->frame].module, &src);
	if (!callee_follow(&src, l->f->culprit, l->f->culprit_len, &to) || !to.at.v || to.slot.v ||
	    to.at.v == w.inner->function.v)
		return false;
	if (live_behaviour(l, l->frame))
		snprintf(w.name, sizeof(w.name), "%s", live_behaviour(l, l->frame));
	else if (!live_function_name(l, l->frame - 1, w.name))
		*w.name = '\0';
	if (!follow_tails(l, to.at, &w, &t))
		return false;
	if (!insert_frame(l, &t)) {
		live_tail_close(&t);
		return false;
	}
	l->call_slot = t.to.slot;
	live_set_tail(l, &t.fde, t.fn, t.jump, t.to.name);
	return true;
}
