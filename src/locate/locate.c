/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From a detection to its culprit.
 *
 * The algorithm is the paper's (section 3.1): error_address is the corrupted
 * object, here the return address that a ret was about to use; its label names
 * the instruction W' that wrote it last; start_address is the lowest byte of
 * the run of tainted bytes that W' wrote without a break. Two things differ.
 * W' is known by where its code lies in guest RAM, and is looked up in the
 * process's own mappings, so neither ASLR nor a shared page misleads. And the
 * bounds are kept relative to the frame (see bound.c), not as addresses.
 *
 * A culprit in the kernel or in another module than the function that was hit,
 * and chains of more than one call, cannot be followed afterwards, when the
 * frames are gone. These are ERR_REFUSED, with the culprit filled as far as it is
 * known; live.c follows them while the same write happens again.
 *
 * The guest controls what is read here, but not the labels: at worst it
 * misleads about its own process.
 */
#include "locate/locate.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "locate/behaviour.h"
#include "locate/bound.h"
#include "locate/cfi.h"
#include "locate/code.h"
#include "locate/context.h"
#include "locate/origin.h"
#include "locate/run.h"
#include "locate/x86.h"

#define OBJECT_MAX 8 /* bytes of a return address */

struct work {
	const struct locate_input *in;
	struct finding *f;
	struct vmi_task task;
	uint32_t writer;
	unsigned first; /* lowest tainted byte of the object */
	struct taint_writer record;
	struct bound_input bound;
	struct cfi_fde culprit_fde, hit_fde;
	struct code_fn *fn; /* the culprit's function */
	struct x86_store store;
};

static bool read_process(void *arg, struct gva at, void *ret, size_t len)
{
	const struct work *w = arg;

	if (!vmi_task_read(w->in->vmi, &w->task, at, ret, len))
		return false;
	locate_unpatch(w->in, at, ret, len);
	return true;
}

static bool get_labels(void *arg, struct gva at, struct taint_label *ret, size_t n)
{
	const struct work *w = arg;
	uint8_t bytes[GUEST_PAGE_SIZE];
	struct vmi_page page;

	if (n > sizeof(bytes) || !vmi_translate(&w->task.space, at, &page) || !vmi_read(&w->task.space, at, bytes, n))
		return false;
	if (shadow_get(w->in->shadow, page.at, ret, n))
		taint_labels_drop_stale(ret, bytes, n);
	return true;
}

static int find_writer(struct work *w, struct err *e)
{
	const struct taint_msg_detect *d = w->in->detect;
	unsigned len = d->object_len < OBJECT_MAX ? d->object_len : OBJECT_MAX;
	struct finding *f = w->f;
	bool found = false;

	if (!d->object_gva)
		return err_set(e, ERR_REFUSED, "it is not known where in memory the tainted value was");
	f->error_address = gva(d->object_gva);
	for (unsigned k = 0; k < len; k++) {
		uint32_t origin = d->label[k].origin;

		if (!origin)
			continue;
		if (!found) {
			w->first = k;
			f->first_origin = f->last_origin = origin;
			found = true;
		}
		if (taint_origin_before(origin, f->first_origin))
			f->first_origin = origin;
		if (taint_origin_before(f->last_origin, origin))
			f->last_origin = origin;
	}
	if (!found)
		return err_set_addr(e, ERR_GUEST, d->object_gva, "no byte of the object at 0x%" PRIx64 " is tainted",
				    d->object_gva);
	w->writer = d->label[w->first].writer;
	f->run_first_origin = f->first_origin;
	return 0;
}

static int find_process(struct work *w, struct err *e)
{
	if (vmi_task_by_cr3(w->in->vmi, w->in->detect->cr3, &w->task, e))
		return err_prefix(e, "process of the detection");
	w->f->pid = w->task.tgid;
	memcpy(w->f->comm, w->task.comm, sizeof(w->f->comm));
	w->f->comm[VMI_COMM_MAX] = '\0';
	return 0;
}

/* What was hit begins with the context that the word is restored with, if it is part of one. */
static void find_context(struct work *w)
{
	const struct taint_msg_detect *d = w->in->detect;
	const struct code_reader rd = {read_process, w};
	struct vmi_module m;
	struct cfi_fde fde;
	struct cfi cfi;
	uint32_t below;

	if (vmi_module_at(w->in->vmi, &w->task, gva(d->pc), &m, NULL))
		return;
	cfi = (struct cfi){.rd = rd,
			   .low = m.low,
			   .high = m.high,
			   .hdr = m.eh_frame_hdr,
			   .hdr_size = m.eh_frame_hdr_size,
			   .is_32bit = m.is_32bit};
	if (cfi_find(&cfi, gva(d->pc), &fde, NULL))
		return;
	below = context_below(m.is_32bit ? X86_MODE_32 : X86_MODE_64, &rd, fde.start, gva(d->pc));
	w->f->error_address.v -= below;
	w->f->error_length = below ? below + d->object_len : 0;
}

static void find_run(struct work *w)
{
	const struct label_reader lr = {get_labels, w};
	const struct taint_msg_detect *d = w->in->detect;
	struct run run;

	run_find(&lr, gva(d->object_gva + w->first), d->label[w->first].origin, w->writer, &run);
	w->f->start_address = run.start;
	w->f->run_length = run.length;
	w->f->run_first_origin = run.first_origin;
}

static int read_record(struct work *w, struct err *e)
{
	struct finding *f = w->f;

	if (!w->writer)
		return err_set_addr(e, ERR_REFUSED, f->error_address.v,
				    "no instruction wrote the object: the network device did");
	if (!shadow_writer_get(w->in->shadow, w->writer, &w->record) || !w->record.len || w->record.len > X86_INSN_MAX)
		return err_set_addr(e, ERR_GUEST, f->error_address.v, "there is no record of writer %u", w->writer);
	f->culprit_len = w->record.len;
	memcpy(f->culprit_bytes, w->record.bytes, w->record.len);
	x86_text(f->culprit_bytes, f->culprit_len, w->record.pc, f->culprit_text, sizeof(f->culprit_text));
	if (!gva_is_kernel(gva(w->record.pc)))
		return 0;
	f->culprit = gva(w->record.pc);
	return err_set_addr(e, ERR_REFUSED, w->record.pc,
			    "the kernel wrote the object, at 0x%" PRIx64
			    " (%s): the program asked it to in a system call "
			    "such as read() straight into the buffer; no instruction of the program to guard",
			    w->record.pc, f->culprit_text);
}

/* A culprit that a guard let through: what the program had in its place. */
static int leave_guard(struct work *w, struct err *e)
{
	const struct locate_patch *p = locate_guard_at(w->in, w->f->culprit);
	struct finding *f = w->f;

	if (!p)
		return 0;
	f->culprit = p->culprit;
	f->culprit_len = p->culprit_len;
	if (!read_process(w, f->culprit, f->culprit_bytes, f->culprit_len))
		return err_set_addr(e, ERR_GUEST, f->culprit.v, "the patched culprit at 0x%" PRIx64 " cannot be read",
				    f->culprit.v);
	x86_text(f->culprit_bytes, f->culprit_len, f->culprit.v, f->culprit_text, sizeof(f->culprit_text));
	return 0;
}

static int find_culprit(struct work *w, struct err *e)
{
	uint8_t now[X86_INSN_MAX];
	struct finding *f = w->f;

	if (vmi_find_code(w->in->vmi, &w->task, w->record.code_offset, &f->culprit, e))
		return err_prefix(e, "culprit");
	x86_text(f->culprit_bytes, f->culprit_len, f->culprit.v, f->culprit_text, sizeof(f->culprit_text));
	if ((f->culprit.v ^ w->record.pc) & GUEST_PAGE_MASK)
		return err_set_addr(e, ERR_GUEST, f->culprit.v, "the culprit's page is mapped at an odd place");
	if (!vmi_read(&w->task.space, f->culprit, now, f->culprit_len) ||
	    memcmp(now, f->culprit_bytes, f->culprit_len) != 0)
		return err_set_addr(e, ERR_GUEST, f->culprit.v,
				    "the code at 0x%" PRIx64 " is not what ran there when it did the damage",
				    f->culprit.v);
	if (leave_guard(w, e))
		return -1;
	if (vmi_module_at(w->in->vmi, &w->task, f->culprit, &f->module, e))
		return err_prefix(e, "culprit at 0x%" PRIx64, f->culprit.v);
	if (f->culprit.v < f->module.text.v || f->culprit.v - f->module.text.v >= f->module.text_file_size)
		return err_set_addr(e, ERR_REFUSED, f->culprit.v, "the culprit is not in its module's code");
	f->culprit_file_offset = f->culprit.v - f->module.text.v + f->module.text_file_offset;
	if (f->module.is_32bit)
		x86_text_mode(X86_MODE_32, f->culprit_bytes, f->culprit_len, f->culprit.v, f->culprit_text,
			      sizeof(f->culprit_text));
	return 0;
}

static void add_pad(void *arg, struct gva at)
{
	code_fn_add_target(arg, at);
}

static unsigned mode_of(const struct finding *f)
{
	return f->is_32bit ? X86_MODE_32 : X86_MODE_64;
}

static int find_function(struct work *w, struct err *e)
{
	const struct vmi_module *m = &w->f->module;
	struct finding *f = w->f;

	f->is_32bit = m->is_32bit;
	w->bound.rd = (struct code_reader){read_process, w};
	w->bound.cfi = (struct cfi){.rd = w->bound.rd,
				    .low = m->low,
				    .high = m->high,
				    .hdr = m->eh_frame_hdr,
				    .hdr_size = m->eh_frame_hdr_size,
				    .is_32bit = m->is_32bit};
	w->bound.text = m->text;
	w->bound.text_end = gva_add(m->text, m->text_file_size);
	if (cfi_find(&w->bound.cfi, f->culprit, &w->culprit_fde, e))
		return -1;
	f->function = w->culprit_fde.start;
	f->function_end = w->culprit_fde.end;
	if (code_fn_create_mode(mode_of(f), &w->bound.rd, f->function, f->function_end, w->bound.text,
				w->bound.text_end, &w->fn, e))
		return -1;
	if (cfi_landing_pads(&w->bound.cfi, &w->culprit_fde, add_pad, w->fn, e))
		return -1;
	if (x86_store_decode_mode(mode_of(f), f->culprit_bytes, f->culprit_len, &w->store, e))
		return -1;
	f->has_calls = code_fn_calls(w->fn);
	w->bound.culprit_fde = &w->culprit_fde;
	w->bound.culprit_fn = w->fn;
	w->bound.store = &w->store;
	return 0;
}

/* The detectors of bytes at a place that the input chose stop at jumps and calls, too. */
static bool was_return(struct work *w)
{
	const struct taint_msg_detect *d = w->in->detect;
	uint8_t bytes[X86_INSN_MAX];
	struct x86_insn in;

	if (d->detector != TAINT_DETECT_INDEX)
		return d->detector == TAINT_DETECT_RETURN;
	return code_read(&w->bound.rd, gva(d->pc), bytes, sizeof(bytes)) &&
	       x86_decode_mode(mode_of(w->f), bytes, sizeof(bytes), &in) && in.i.meta.category == ZYDIS_CATEGORY_RET;
}

/* The C library's copies in a static program: the culprit is who called them. */
static int refuse_copy(struct work *w, struct err *e)
{
	const struct machine_source src = {.rd = w->bound.rd, .is_32bit = w->f->is_32bit};
	const struct vmi_module *m = &w->f->module;
	struct machine *machine = machine_create(&src);
	const char *name = NULL;
	struct gva library;

	if (!machine)
		return err_set_errno(e, "no memory to look at the culprit's function");
	library = behaviour_library(machine, m->entry, m->text, m->text_file_size);
	if (library.v && w->f->function.v >= library.v)
		name = behaviour_of_copy(machine, w->f->function);
	machine_destroy(machine);
	if (!name)
		return 0;
	return err_set_addr(e, ERR_REFUSED, w->f->culprit.v,
			    "the culprit is in a function like %s: which call led there can only be told while it is "
			    "made",
			    name);
}

static int find_bounds(struct work *w, struct err *e)
{
	const struct taint_msg_detect *d = w->in->detect;
	const struct vmi_module *m = &w->f->module;

	if (!was_return(w))
		return err_set_addr(e, ERR_REFUSED, w->f->culprit.v,
				    "no return address was hit: whose frame the object is in can only be told while it "
				    "is written");
	if (d->pc < m->text.v || d->pc - m->text.v >= m->text_file_size)
		return err_set_addr(e, ERR_REFUSED, w->f->culprit.v,
				    "the culprit is in %s, the function it hit (at 0x%" PRIx64
				    ") in another module: how they were called can only be told while it is written",
				    m->path, d->pc);
	if (cfi_find(&w->bound.cfi, gva(d->pc), &w->hit_fde, e) ||
	    (w->hit_fde.start.v != w->culprit_fde.start.v && refuse_copy(w, e)))
		return -1;
	w->bound.hit_fde = &w->hit_fde;
	w->bound.slot = gva(d->object_gva);
	return bound_find(&w->bound, w->f, e);
}

static int find_window(struct work *w, struct err *e)
{
	struct finding *f = w->f;
	uint32_t len;

	if (code_fn_window(w->fn, f->culprit, FINDING_BUG_MAX, &f->bug, &len, e))
		return -1;
	f->bug_len = (uint8_t)len;
	memcpy(f->bug_bytes, w->fn->bytes + (f->bug.v - w->fn->start.v), len);
	return 0;
}

static int locate(struct work *w, struct err *e)
{
	if (find_writer(w, e) || find_process(w, e))
		return -1;
	find_context(w);
	find_run(w);
	if (read_record(w, e) || find_culprit(w, e) || find_function(w, e) || find_bounds(w, e))
		return -1;
	return find_window(w, e);
}

int locate_culprit(const struct locate_input *in, struct finding *ret, struct err *e)
{
	struct work w = {.in = in, .f = ret};
	int rc;

	memset(ret, 0, sizeof(*ret));
	rc = locate(&w, e);
	code_fn_destroy(w.fn);
	return rc;
}

/* Offset from the CFA of the array that a store names, [frame register + index + displacement]; false: it names none. */
static bool array_of(const struct x86_store *st, const struct finding_cfa *cfa, int64_t *ret)
{
	if (st->kind != X86_STORE_PLAIN || st->rip_relative || st->base != cfa->reg || st->index == X86_NO_REG)
		return false;
	*ret = st->disp - cfa->offset;
	return true;
}

/* What makes another store one into the same object: it names the same array of the frame, or its address was made from the same. */
struct likeness {
	bool is_array; /* the culprit names it */
	int64_t array; /* from the CFA */
	struct code_depth *depth;
	struct origin *origin;
	struct origin_roots roots;
	struct x86_store store; /* the culprit */
	struct origin_roots base; /* of what holds the object's address, if something does */
};

/* Whether the finding's base, at instruction k, holds what it does at the culprit. */
static bool base_holds(struct likeness *like, const struct finding *f, uint32_t k, struct origin_roots *ret)
{
	const struct origin_place p = {f->base.reg < 16 ? f->base.reg : X86_NO_REG, f->base.slot};

	return origin_of(like->origin, k, p, ret) && !origin_moved(ret);
}

static bool shares_step(const struct origin_roots *a, const struct origin_roots *b)
{
	for (unsigned i = 0; i < a->n_steps; i++)
		for (unsigned k = 0; k < b->n_steps; k++)
			if (a->step[i] == b->step[k])
				return true;
	return false;
}

/*
 * Whether a store by a pointer that was made from the same walks over the same bytes: by the same steps, or by an index from the same
 * place on. Another member of a structure that the pointer leads to is none of the array's.
 */
static bool walks_along(const struct likeness *like, const struct x86_store *st, const struct origin_roots *roots)
{
	bool indexed = st->index != X86_NO_REG || roots->summed;
	bool main_indexed = like->store.index != X86_NO_REG || like->roots.summed;

	if (st->width != like->store.width || !origin_same(roots, &like->roots))
		return false;
	return shares_step(roots, &like->roots) ||
	       (indexed && main_indexed && !roots->n_steps && !like->roots.n_steps && roots->disp == like->roots.disp);
}

static bool is_like(struct likeness *like, const struct finding *f, const struct x86_store *st, uint32_t k)
{
	struct origin_roots roots;
	int64_t at;

	if (like->is_array && array_of(st, &f->cfa, &at))
		return at == like->array;
	if (!like->origin || !origin_of_store(like->origin, k, st, &roots) || !walks_along(like, st, &roots))
		return false;
	return !f->has_base || (base_holds(like, f, k, &roots) && origin_same(&roots, &like->base));
}

/* false: there is nothing by which to tell other stores. */
static bool likeness_of(struct work *w, const struct finding *main, struct likeness *ret)
{
	const struct code_insn *ci = code_fn_insn(w->fn, main->culprit);
	uint32_t k;

	ret->is_array = main->bound == BOUND_FRAME && !main->pointer_store;
	if (ret->is_array && !array_of(&w->store, &main->cfa, &ret->array))
		return false;
	if ((!ret->is_array && !main->pointer_store) || !ci)
		return ret->is_array;
	k = (uint32_t)(ci - w->fn->insn);
	ret->depth = code_fn_depths_of_call(w->fn);
	if (!ret->depth)
		return false;
	ret->store = w->store;
	ret->origin = origin_create(w->fn, ret->depth);
	return ret->origin && (origin_of_store(ret->origin, k, &w->store, &ret->roots) || ret->is_array) &&
	       (!main->has_base || base_holds(ret, main, k, &ret->base));
}

/* Makes *ret the finding for the store that is instruction k; false, *ret undefined: it is not into the same object. */
static bool make_sibling(struct work *w, const struct finding *main, uint32_t k, struct likeness *like,
			 struct finding *ret)
{
	const struct code_insn *insn = &w->fn->insn[k];
	struct finding *f = ret;
	struct x86_store store;
	struct cfi_row row;

	*f = *main;
	f->culprit = gva_add(w->fn->start, insn->off);
	f->culprit_len = insn->len;
	memcpy(f->culprit_bytes, w->fn->bytes + insn->off, insn->len);
	if (x86_store_decode_mode(mode_of(f), f->culprit_bytes, f->culprit_len, &store, NULL) ||
	    cfi_row_at(&w->bound.cfi, &w->culprit_fde, f->culprit, &row, NULL) || !row.cfa_known)
		return false;
	f->cfa = (struct finding_cfa){row.cfa_reg, (int32_t)row.cfa_offset};
	if (!is_like(like, f, &store, k))
		return false;
	f->pointer_store = !like->is_array || store.base != row.cfa_reg;
	f->culprit_file_offset = f->culprit.v - f->module.text.v + f->module.text_file_offset;
	x86_text_mode(mode_of(f), f->culprit_bytes, f->culprit_len, f->culprit.v, f->culprit_text,
		      sizeof(f->culprit_text));
	w->f = f;
	return !find_window(w, NULL);
}

static bool windows_overlap(const struct finding *a, const struct finding *b)
{
	return a->bug.v < b->bug.v + b->bug_len && b->bug.v < a->bug.v + a->bug_len;
}

static size_t collect_siblings(struct work *w, const struct finding *main, struct likeness *like, struct finding *ret,
			       size_t max)
{
	size_t n = 0;

	for (uint32_t i = 0; i < w->fn->n_insn && n < max; i++) {
		const struct code_insn *insn = &w->fn->insn[i];
		bool clear;

		if (w->fn->start.v + insn->off == main->culprit.v || insn->len > X86_INSN_MAX ||
		    !make_sibling(w, main, i, like, &ret[n]))
			continue;
		clear = !windows_overlap(&ret[n], main);
		for (size_t k = 0; k < n; k++)
			clear &= !windows_overlap(&ret[n], &ret[k]);
		n += clear;
	}
	return n;
}

size_t locate_siblings(const struct locate_input *in, const struct finding *main, struct finding *ret, size_t max)
{
	struct finding f = *main;
	struct work w = {.in = in, .f = &f};
	struct likeness like = {0};
	size_t n = 0;

	if (main->kind == FINDING_STORE && !find_process(&w, NULL) && !find_function(&w, NULL) &&
	    likeness_of(&w, main, &like))
		n = collect_siblings(&w, main, &like, ret, max);
	origin_destroy(like.origin);
	free(like.depth);
	code_fn_destroy(w.fn);
	return n;
}
