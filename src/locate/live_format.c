/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hostile formats. What goes wrong while printing by a format from outside is its doing, whatever it is: a store through
 * a pointer of the attacker's, an access to no memory, the end of a program that checks for it. The culprit is the innermost
 * call of the program that was given the format. A function of the program's own that hands it on (a logger) has the
 * culprit; its guard tells the program's own formats from others.
 */
#include "locate/live_format.h"

#include <stdlib.h>
#include <string.h>

#include "locate/arguments.h"
#include "locate/live_argument.h"
#include "locate/live_tail.h"
#include "locate/x86.h"

#define FRAMES_MAX 16u /* of the chain that are looked at */

static bool takes_format(const struct callee_known *k)
{
	return k && k->format != CALL_NO_ARG && k->effect != CALL_SCAN;
}

static void blame_format(struct live *l)
{
	l->f->effect = CALL_FORMAT;
	l->f->src_arg = l->callee->format;
}

static bool is_hostile(struct live *l, unsigned k, unsigned n)
{
	uint64_t at;

	return live_argument(l, k, n, &at) && live_hostile_format(l, gva(at), &l->f->run_first_origin);
}

static bool prints(void *arg, struct live_tail *t)
{
	(void)arg;
	return takes_format(callee_known(t->to.name));
}

/* Which of the function's own arguments is the format at the jump; false: none. */
static bool handed_on(const struct live_tail *t, unsigned *ret)
{
	struct code_depth *depth = code_fn_depths_of_call(t->fn);
	struct argument a = {ARGUMENT_UNKNOWN, 0, 0};

	if (!depth)
		return false;
	a = argument_of_call(t->fn, depth, (uint32_t)(t->jump - t->fn->insn), callee_known(t->to.name)->format);
	free(depth);
	*ret = (unsigned)a.value;
	return a.kind == ARGUMENT_PARAMETER;
}

/* The function that the call at the culprit calls, where frame k - 1 is another: it was left. */
static bool find_tail(struct live *l, unsigned k, struct live_tail *t)
{
	struct callee_source src;
	struct callee_target to;

	live_source(l, l->chain->frame[k].module, &src);
	if (l->src.is_32bit || !callee_follow(&src, l->f->culprit, l->f->culprit_len, &to) || !to.at.v || to.slot.v ||
	    to.at.v == l->chain->frame[k - 1].function.v || !live_tail_open(l, &l->f->module, to.at, t))
		return false;
	if (live_tail_each(l, k, t, prints, NULL))
		return true;
	live_tail_close(t);
	return false;
}

static bool is_hostile_tail(struct live *l, unsigned k)
{
	struct live_tail t;
	unsigned n;

	if (!find_tail(l, k, &t))
		return false;
	if (!handed_on(&t, &n) || !is_hostile(l, k, n)) {
		live_tail_close(&t);
		return false;
	}
	live_set_tail(l, &t.fde, t.fn, t.jump, t.to.name);
	blame_format(l);
	return true;
}

/* Whether the culprit calls what it was named by: a function of the program between them may change the arguments. */
static bool calls_it(struct live *l, unsigned k)
{
	struct cfi cfi = chain_cfi(&l->src, &l->f->module);
	struct callee_target to, beyond;
	struct callee_source src;
	struct cfi_fde fde;

	if (live_behaviour(l, k))
		return true;
	live_source(l, l->chain->frame[k].module, &src);
	if (!callee_follow(&src, l->f->culprit, l->f->culprit_len, &to))
		return false;
	return !to.at.v || to.slot.v || callee_known(to.name) ||
	       (!cfi_find(&cfi, to.at, &fde, NULL) && callee_passes_on(&src, to.at, fde.end, &beyond));
}

/* Whether frame k is in a call with a format from outside. Then it is the culprit. */
static bool is_hostile_call(struct live *l, unsigned k)
{
	struct err e;

	if (live_set_call(l, k, &e))
		return false;
	if (is_hostile_tail(l, k))
		return true;
	if (!takes_format(l->callee) || !calls_it(l, k) || !is_hostile(l, k, l->callee->format))
		return false;
	blame_format(l);
	return true;
}

/* Whether the program has the C library in it. */
static bool is_static(const struct live *l)
{
	for (unsigned k = 0; k < l->chain->n_modules; k++)
		if (live_is_c_library(&l->chain->module[k]))
			return false;
	return true;
}

static bool is_library_function(struct live *l, unsigned k)
{
	char name[SYMTAB_NAME_MAX];

	return live_is_c_library(l->chain->frame[k].module) || live_in_nameless_library(l, k) ||
	       (is_static(l) && live_function_name(l, k, name) && takes_format(callee_known(name)));
}

bool live_find_format(struct live *l)
{
	const struct chain *c = l->chain;
	const struct finding before = *l->f;

	for (unsigned k = 1; k < c->n && k < FRAMES_MAX; k++) {
		if (!c->frame[k].module || is_library_function(l, k))
			continue;
		if (is_hostile_call(l, k))
			return true;
		live_forget_culprit(l, &before);
	}
	return false;
}

bool live_may_be_format(struct live *l)
{
	uint64_t at;

	if (!takes_format(l->callee) || live_argument(l, l->frame, l->callee->format, &at))
		return false;
	blame_format(l);
	return true;
}

/* Whether frame k's function has said what a function that checks bounds says before it ends the program. */
static bool says_so(struct live *l, unsigned k)
{
	static const char text[] = "buffer overflow detected";
	char said[sizeof(text)];
	uint64_t at;

	return live_in_nameless_library(l, k) && live_argument(l, k, 0, &at) &&
	       code_read(&l->src.rd, gva(at), said, sizeof(said)) && !memcmp(said, text, sizeof(text));
}

bool live_fails_bound(struct live *l)
{
	char name[SYMTAB_NAME_MAX];

	for (unsigned k = 0; k < l->chain->n && k < FRAMES_MAX; k++)
		if ((live_function_name(l, k, name) && !strcmp(name, "__chk_fail")) || (k && says_so(l, k)))
			return true;
	return false;
}
