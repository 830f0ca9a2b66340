/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The object's bounds in terms of the culprit's frame, module or chunk. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "locate/arguments.h"
#include "locate/bound.h"
#include "locate/callee.h"
#include "locate/live.h"
#include "locate/live_argument.h"
#include "locate/x86.h"

/* How sure a finding is, of 100. */
enum { SURE = 90, LIKELY = 75, FAIR = 60, UNSURE = 40, GUESSED_LESS = 20 };

#define CHECKED_MAX (1ll << 30) /* bytes of an object whose size the compiler knew */

#define STRING_PREFIX_MAX 512u
#define DESTINATION_MAX (1u << 20) /* bytes that a call may have written before what was noticed */

/* Where the CFA is at the culprit. */
static int set_cfa(struct live *l, struct err *e)
{
	const struct chain_frame *c = &l->chain->frame[l->frame];
	struct cfi m = chain_cfi(&l->src, c->module);
	struct finding *f = l->f;
	struct cfi_row row;

	if (cfi_row_at(&m, &l->fde, f->culprit, &row, e))
		return -1;
	if (!row.cfa_known || row.cfa_offset != (int32_t)row.cfa_offset || !c->cfa.v)
		return err_set_addr(e, ERR_REFUSED, f->culprit.v,
				    "the frame at 0x%" PRIx64 " is not laid out in a way that is understood",
				    f->culprit.v);
	f->cfa = (struct finding_cfa){row.cfa_reg, (int32_t)row.cfa_offset};
	f->cfa_value = c->cfa.v;
	return 0;
}

/* Whether frame k is as deep at its call whenever it makes it: no alloca, no array of variable length. */
static bool fixed_size(const struct live *l, unsigned k)
{
	const struct chain_frame *c = &l->chain->frame[k];
	const struct code_insn *ci;
	struct code_depth *depth;
	struct code_fn *fn;
	bool fixed = false;

	if (c->guessed || chain_frame_code(&l->src, c, &fn, NULL))
		return false;
	ci = chain_frame_insn(c, fn);
	depth = code_fn_depths_of_call(fn);
	if (ci && depth) {
		const struct code_depth *d = &depth[ci - fn->insn];

		fixed = d->reached && d->rsp_known && (uint64_t)d->rsp == c->cfa.v - c->sp.v;
	}
	free(depth);
	code_fn_destroy(fn);
	return fixed;
}

/* Argument n of the culprit's call, as far as the code tells. */
static struct argument culprit_argument(const struct live *l, uint8_t n)
{
	const struct code_insn *ci = code_fn_insn(l->fn, l->f->culprit);
	struct argument a = {ARGUMENT_UNKNOWN, 0, 0};
	struct code_depth *depth;

	if (l->f->kind != FINDING_CALL || n == CALL_NO_ARG || !ci)
		return a;
	depth = code_fn_depths_of_call(l->fn);
	if (!depth)
		return a;
	a = argument_of_call(l->fn, depth, (uint32_t)(ci - l->fn->insn), n);
	free(depth);
	return a;
}

static bool any_guessed(const struct live *l, unsigned last)
{
	for (unsigned k = 0; k <= last && k < l->chain->n; k++)
		if (l->chain->frame[k].guessed)
			return true;
	return false;
}

/* How the guard knows the caller in another module that returns to owner->pc. */
static int know_caller(struct live *l, const struct chain_frame *owner, struct err *e)
{
	const struct chain_frame *own = &l->chain->frame[l->frame];
	const struct vmi_module *m = owner->module;
	struct finding_caller *c = &l->f->caller;
	int64_t from = m ? (int64_t)(m->build_id_at.v - owner->pc.v) : 0;

	*c = (struct finding_caller){0};
	if (!m || m->build_id_len < sizeof(uint32_t) || from != (int32_t)from ||
	    !code_read(&l->src.rd, gva(owner->pc.v - sizeof(c->call)), c->call, sizeof(c->call)))
		return err_set_addr(e, ERR_REFUSED, owner->pc.v,
				    "the overrun object belongs to another module, which cannot be told from others");
	for (const struct chain_frame *k = own + 1; k < owner; k++) {
		if (k->module != own->module || c->n_via == FINDING_VIA ||
		    !fixed_size(l, (unsigned)(k - l->chain->frame)))
			return err_set_addr(
				e, ERR_REFUSED, k->pc.v,
				"the overrun object belongs to another module, and the way there is not one that "
				"a guard can follow");
		c->via[c->n_via].ret = k->pc;
		c->via[c->n_via++].slot = (int64_t)(k[-1].slot.v - l->f->cfa_value);
	}
	memcpy(c->build_id, m->build_id, sizeof(c->build_id));
	c->bias = m->bias;
	c->build_id_from = (int32_t)from;
	c->build_id_len = m->build_id_len;
	return 0;
}

/* The object of a frame that is further out: relative to the culprit's CFA while the way between them is the same. */
static int bound_caller(struct live *l, const struct object *o, struct err *e)
{
	const struct chain_frame *owner = &l->chain->frame[o->frame], *callee = owner - 1;
	struct finding *f = l->f;

	if (owner->module != l->chain->frame[l->frame].module && know_caller(l, owner, e))
		return -1;

	f->bound = BOUND_CALLER;
	f->caller_return = owner->pc;
	f->caller_slot = (int64_t)(callee->slot.v - f->cfa_value);
	f->confidence = LIKELY;
	for (unsigned k = l->frame + 1; k <= o->frame; k++)
		if (!fixed_size(l, k))
			f->confidence = FAIR;
	return 0;
}

/* Where argument n of the culprit's call points to, if that is told and lies in [low, high). */
static bool points_into(const struct live *l, uint8_t n, struct gva low, struct gva high, struct gva *ret)
{
	struct argument a = culprit_argument(l, n);
	uint64_t at = (uint64_t)a.value + (a.kind == ARGUMENT_FRAME ? l->f->cfa_value : 0);

	*ret = gva(at);
	return (a.kind == ARGUMENT_FRAME || a.kind == ARGUMENT_CONSTANT) && at >= low.v && at < high.v;
}

/*
 * Where scanf put the text, [*start, *end): the lowest of the places that it is given which lies in what ran over, up to the
 * next of them. Other reading before may have left bytes right below it, which belong to the same run. Any text ends before the
 * next one's place.
 */
static void scanned_text(struct live *l, struct gva *start, struct gva *end)
{
	struct finding *f = l->f;
	struct gva low = *start, high = f->error_address, top = *end, at, next;

	for (uint8_t n = f->src_arg + 1; n < FINDING_SCANNED && f->callee[0] != 'v'; n++) {
		if (!points_into(l, n, gva(0), top, &at))
			continue;
		if (at.v >= low.v && at.v < high.v) {
			high = *start = at;
			f->dst_arg = n;
		}
		f->scan_room[n] = (uint32_t)(top.v - at.v);
		for (uint8_t k = f->src_arg + 1; k < FINDING_SCANNED; k++)
			if (points_into(l, k, gva_add(at, 1), top, &next) && next.v - at.v < f->scan_room[n])
				f->scan_room[n] = (uint32_t)(next.v - at.v);
	}
	if (f->dst_arg != CALL_NO_ARG)
		*end = gva_add(*start, f->scan_room[f->dst_arg]);
}

static int bound_stack(struct live *l, const struct object *o, struct err *e)
{
	const struct chain_frame *owner = &l->chain->frame[o->frame];
	struct finding *f = l->f;
	struct argument dst = culprit_argument(l, f->dst_arg);
	struct gva low = o->start, high = o->end;

	if (o->frame < l->frame)
		return err_set_addr(e, ERR_REFUSED, o->start.v,
				    "the overrun object is in a function that the culprit called, at 0x%" PRIx64,
				    owner->function.v);
	/*
	 * A call may be given the object's first byte while the run of tainted bytes begins further up (a prefix
	 * of its own, what strcat found there): all that it writes from this frame's own bytes on must end here.
	 */
	if (f->kind == FINDING_CALL && f->effect == CALL_SCAN)
		scanned_text(l, &low, &high);
	else if (f->kind == FINDING_CALL)
		low = owner->sp;
	if (dst.kind == ARGUMENT_FRAME && o->frame == l->frame && f->cfa_value + (uint64_t)dst.value >= owner->sp.v &&
	    f->cfa_value + (uint64_t)dst.value <= o->start.v)
		low = gva(f->cfa_value + (uint64_t)dst.value);
	f->start_offset = (int64_t)(low.v - f->cfa_value);
	f->end_offset = (int64_t)(high.v - f->cfa_value);
	f->pointer_store = f->kind == FINDING_STORE;
	if (o->frame > l->frame)
		return bound_caller(l, o, e);
	f->bound = BOUND_FRAME;
	f->confidence = SURE;
	return 0;
}

/* The culprit's store into its own frame: its address may name the object. */
static int bound_own_store(struct live *l, const struct object *o, struct err *e)
{
	const struct chain_frame *c = &l->chain->frame[0];
	struct finding *f = l->f;
	struct x86_store store;
	struct bound_input in = {.cfi = chain_cfi(&l->src, c->module),
				 .rd = l->src.rd,
				 .text = f->module.text,
				 .text_end = gva_add(f->module.text, f->module.text_file_size),
				 .culprit_fde = &l->fde,
				 .culprit_fn = l->fn,
				 .store = &store,
				 .hit_fde = &l->fde,
				 .slot = c->slot};

	if (x86_store_decode_mode(l->fn->mode, f->culprit_bytes, f->culprit_len, &store, e) || bound_find(&in, f, e))
		return -1;
	f->end_offset = (int64_t)(o->end.v - f->cfa_value);
	return 0;
}

/*
 * Where a string that a call is writing began: what comes before the run of tainted bytes may be the program's own (a
 * format's text, what strcat found there), and has no zero in it.
 */
static struct gva start_of_string(const struct live *l, struct gva run)
{
	uint8_t before[STRING_PREFIX_MAX];
	uint64_t n = run.v - l->f->module.text_end.v, k;

	if (run.v < l->f->module.text_end.v || l->f->effect == CALL_SCAN)
		return run;
	n = n < sizeof(before) ? n : sizeof(before);
	while (n && !code_read(&l->src.rd, gva(run.v - n), before, n))
		n /= 2;
	for (k = n; k > 0 && before[k - 1]; k--)
		;
	return gva(run.v - n + k);
}

/* Static data of another module is found by the return address into it. */
static int know_owner(struct live *l, const struct object *o, struct err *e)
{
	const struct chain *c = l->chain;
	unsigned k = l->frame;

	while (k < c->n && c->frame[k].module != o->module)
		k++;
	if (k == c->n)
		return err_set_addr(
			e, ERR_REFUSED, o->start.v,
			"the overrun object is static data of %.100s, which has not called the culprit's module",
			o->module->path);
	if (k == l->frame)
		return 0;
	l->f->caller_return = c->frame[k].pc;
	l->f->caller_slot = (int64_t)(c->frame[k - 1].slot.v - l->f->cfa_value);
	return know_caller(l, &c->frame[k], e);
}

static int bound_module(struct live *l, const struct object *o, struct err *e)
{
	struct finding *f = l->f;
	struct x86_store store;

	if (know_owner(l, o, e))
		return -1;
	f->bound = BOUND_MODULE;
	f->start_offset = (int64_t)(o->start.v - finding_bias(f));
	f->end_offset = (int64_t)(o->end.v - finding_bias(f));
	f->confidence = o->exact ? SURE : FAIR;
	if (f->kind == FINDING_CALL) {
		struct argument dst = culprit_argument(l, f->dst_arg);

		if (!o->exact && dst.kind == ARGUMENT_CONSTANT && (uint64_t)dst.value >= f->module.text_end.v &&
		    (uint64_t)dst.value <= o->start.v)
			f->start_offset = dst.value - (int64_t)finding_bias(f);
		else if (!o->exact)
			f->start_offset = (int64_t)(start_of_string(l, o->start).v - finding_bias(f));
		return 0;
	}
	if (x86_store_decode_mode(l->fn->mode, f->culprit_bytes, f->culprit_len, &store, e))
		return -1;
	f->pointer_store = store.kind != X86_STORE_PLAIN || (store.base != X86_NO_REG && !store.rip_relative);
	return 0;
}

static void bound_chunk(struct live *l, const struct object *o)
{
	struct finding *f = l->f;

	f->bound = BOUND_CHUNK;
	f->start_offset = o->part_of ? (int64_t)(f->start_address.v - o->start.v) : 0;
	f->end_offset = (int64_t)(o->end.v - o->start.v);
	f->part_of = o->part_of;
	f->chunk_mapped = o->mapped;
	f->pointer_store = f->kind == FINDING_STORE;
	f->confidence = o->part_of ? FAIR : LIKELY;
	live_find_base(l, o);
}

static int bound_object(struct live *l, const struct object *o, struct err *e)
{
	struct x86_store store;

	/* what cannot be held back by itself is no culprit to guard */
	if (l->f->kind == FINDING_STORE &&
	    x86_store_decode_mode(l->fn->mode, l->f->culprit_bytes, l->f->culprit_len, &store, e))
		return -1;
	switch (o->kind) {
	case OBJECT_STACK:
		if (l->f->kind == FINDING_STORE && o->frame == 0)
			return bound_own_store(l, o, e);
		return bound_stack(l, o, e);
	case OBJECT_STATIC:
		return bound_module(l, o, e);
	case OBJECT_CHUNK:
		bound_chunk(l, o);
		return 0;
	}
	return -1;
}

/* Where the object is and how large is told only by the call's own arguments, each time. */
static void bound_argument(struct live *l)
{
	struct finding *f = l->f;
	uint64_t dst, size;

	f->bound = BOUND_ARGUMENT;
	f->start_offset = 0;
	f->end_offset = INT32_MAX;
	if (live_argument(l, l->frame, f->chk_arg, &size) && size && size < INT32_MAX)
		f->end_offset = (int64_t)size;
	if (f->dst_arg != CALL_NO_ARG && live_argument(l, l->frame, f->dst_arg, &dst)) {
		f->start_address = gva(dst);
		f->error_address = gva_add(f->start_address, (uint64_t)f->end_offset);
	}
	f->confidence = SURE;
	snprintf(f->object_text, sizeof(f->object_text), "object that %s was told the size of", f->callee);
}

/*
 * Nothing was overrun: a function that checks (__strcpy_chk and the like) is about to end the program. The object is
 * the call's argument, and its size, which the compiler knew, is another.
 */
static int bound_checked(struct live *l, struct err *e)
{
	struct finding *f = l->f;
	struct argument dst = culprit_argument(l, f->dst_arg), size = culprit_argument(l, f->chk_arg);
	int64_t base = 0;

	size.value *= callee_is_wide(f->callee) ? 4 : 1;
	if (f->chk_arg == CALL_NO_ARG)
		return err_set_addr(
			e, ERR_REFUSED, f->culprit.v,
			"the program is ending itself in %s, and which object was to be overrun is not known",
			*f->callee ? f->callee : "a function");
	if ((dst.kind != ARGUMENT_FRAME && dst.kind != ARGUMENT_CONSTANT) || size.kind != ARGUMENT_CONSTANT ||
	    size.value <= 0 || size.value > CHECKED_MAX) {
		bound_argument(l);
		return 0;
	}
	f->bound = dst.kind == ARGUMENT_FRAME ? BOUND_FRAME : BOUND_MODULE;
	if (f->bound == BOUND_MODULE)
		base = (int64_t)f->module.bias;
	f->start_offset = dst.value - base;
	f->end_offset = f->start_offset + size.value;
	f->start_address = gva(f->bound == BOUND_FRAME ? f->cfa_value + (uint64_t)dst.value : (uint64_t)dst.value);
	f->error_address = gva_add(f->start_address, (uint64_t)size.value);
	f->confidence = SURE;
	snprintf(f->object_text, sizeof(f->object_text), "%s object of 0x%" PRIx64 ", %" PRId64 " bytes",
		 f->bound == BOUND_FRAME ? "stack" : "static", f->function.v, size.value);
	return 0;
}

/*
 * What a call was given as its destination is the object's, if the run of bytes from the outside tells nothing: the call may have
 * written others before them, such as the zeros that strncpy() fills up with.
 */
static bool start_at_destination(struct live *l)
{
	struct finding *f = l->f;
	uint64_t dst;

	if (f->kind != FINDING_CALL || f->dst_arg == CALL_NO_ARG || !live_argument(l, l->frame, f->dst_arg, &dst) ||
	    dst >= f->error_address.v || f->error_address.v - dst > DESTINATION_MAX)
		return false;
	f->start_address = gva(dst);
	return true;
}

/* The object that was overrun. */
static int overrun_object(struct live *l, struct object *ret, struct err *e)
{
	struct object_input in;
	bool told;

	if (l->f->kind == FINDING_CALL && l->f->effect == CALL_LENGTH)
		live_find_array(l);
	in = (struct object_input){.src = &l->src,
				   .chain = l->chain,
				   .maps = l->maps,
				   .n_maps = l->n_maps,
				   .symbols = live_symbols,
				   .arg = l,
				   .run = l->f->start_address,
				   .error = l->f->error_address};
	told = in.run.v < in.error.v;
	if (told && !object_find(&in, ret, e))
		return 0;
	if (start_at_destination(l))
		in.run = l->f->start_address;
	else if (told)
		return -1;
	return object_find(&in, ret, e);
}

int live_find_bounds(struct live *l, struct err *e)
{
	struct finding *f = l->f;
	struct object o;

	f->has_calls = code_fn_calls(l->fn);
	if (set_cfa(l, e))
		return -1;
	if (f->effect == CALL_FORMAT) {
		f->confidence = SURE;
		snprintf(f->object_text, sizeof(f->object_text), "the format of %s", f->callee);
		return 0;
	}
	if (l->in->detect->detector == TAINT_DETECT_ABORT)
		return bound_checked(l, e);
	if (overrun_object(l, &o, e) || bound_object(l, &o, e))
		return -1;
	snprintf(f->object_text, sizeof(f->object_text), "%s", o.text);
	if (f->kind == FINDING_CALL && f->effect == CALL_UNKNOWN)
		f->confidence = UNSURE;
	if (any_guessed(l, o.kind == OBJECT_STACK ? o.frame : l->frame))
		f->confidence = f->confidence > GUESSED_LESS ? f->confidence - GUESSED_LESS : 0;
	return 0;
}
