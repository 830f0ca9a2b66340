/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bounds relative to a frame.
 *
 * The upper bound is the lowest saved register or return address above the
 * lower bound: nothing in the function's body may write there. The lower bound is the run's
 * start or, if the store itself names a place in the frame ([rbp + rax - 112]),
 * that place when it is lower: an index usually counts from the object's first byte.
 */
#include "locate/bound.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define CALL_SITES_MAX 16
#define ARGUMENTS_BACK 24 /* instructions before a call that may set up its arguments */

/* Bytes of a return address. */
static int64_t word(const struct bound_input *in)
{
	return in->cfi.is_32bit ? 4 : 8;
}

static struct gva cfa_of_slot(const struct bound_input *in)
{
	return gva_add(in->slot, (uint64_t)word(in));
}

/* The CFA rule at pc must be register + offset, the return address where call put it. */
static int row_at(const struct bound_input *in, const struct cfi_fde *fde, struct gva pc, struct cfi_row *ret,
		  struct err *e)
{
	if (cfi_row_at(&in->cfi, fde, pc, ret, e))
		return -1;
	if (!ret->cfa_known || ret->cfa_offset != (int32_t)ret->cfa_offset || ret->reg[CFI_RA].rule != CFI_SAVED ||
	    ret->reg[CFI_RA].offset != -word(in))
		return err_set_addr(e, ERR_REFUSED, pc.v,
				    "the frame at 0x%" PRIx64 " is not laid out in a way that is understood", pc.v);
	return 0;
}

/* Lowest slot that ends above `start` (both from the CFA) and holds what the function must give back; 0: none. */
static int64_t lowest_slot(const struct bound_input *in, const struct cfi_row *row, int64_t start)
{
	int64_t best = 0;

	for (unsigned k = 0; k < CFI_REGS; k++)
		if (row->reg[k].rule == CFI_SAVED && row->reg[k].offset + word(in) > start && row->reg[k].offset < best)
			best = row->reg[k].offset;
	return best;
}

/* What the frame information knows at the function's first byte (its cold part does not begin with an empty frame). */
static struct code_depth *depths_of(const struct bound_input *in, const struct cfi_fde *fde, const struct code_fn *fn)
{
	struct code_depth *d = calloc(fn->n_insn, sizeof(*d)), entry = {0};
	struct cfi_row row;

	if (!cfi_row_at(&in->cfi, fde, fde->start, &row, NULL) && row.cfa_known) {
		entry.rsp_known = row.cfa_reg == X86_RSP;
		entry.rbp_known = row.cfa_reg == X86_RBP;
		entry.rsp = entry.rbp = row.cfa_offset;
	}
	if (d)
		code_fn_depths(fn, &entry, d);
	return d;
}

/* How far gpr is below the CFA before an instruction, if it is a register of the frame. */
static bool below_cfa(const struct cfi_row *row, const struct code_depth *d, uint8_t gpr, int64_t *ret)
{
	if (gpr == row->cfa_reg) {
		*ret = row->cfa_offset;
		return true;
	}
	if (gpr == X86_RSP && d->reached && d->rsp_known) {
		*ret = d->rsp;
		return true;
	}
	if (gpr == X86_RBP && d->reached && d->rbp_known) {
		*ret = d->rbp;
		return true;
	}
	return false;
}

/* Whether the store's address starts at a fixed place in the frame: then that place, from the CFA. */
static bool frame_store(const struct x86_store *st, const struct cfi_row *row, const struct code_depth *d, int64_t *ret)
{
	int64_t below;

	if (st->kind != X86_STORE_PLAIN || st->rip_relative)
		return false;
	if (!below_cfa(row, d, st->base, &below) && !(st->scale == 1 && below_cfa(row, d, st->index, &below)))
		return false;
	*ret = st->disp - below;
	return true;
}

/* A pointer handed to a recursive call leads to another activation's frame than the culprit's own. */
static bool calls_itself(const struct code_fn *fn)
{
	for (uint32_t k = 0; k < fn->n_insn; k++)
		if (fn->insn[k].flow == CODE_CALL && fn->insn[k].target == fn->start.v)
			return true;
	return false;
}

static void describe(struct finding *f, struct gva function)
{
	snprintf(f->object_text, sizeof(f->object_text), "stack object of 0x%" PRIx64 ", %" PRId64 " bytes", function.v,
		 f->end_offset - f->start_offset);
}

/* The function that was hit wrote the bytes itself. */
static int own_frame(const struct bound_input *in, struct finding *f, struct err *e)
{
	const struct code_insn *ci = code_fn_insn(in->culprit_fn, f->culprit);
	struct code_depth *depth;
	struct cfi_row row;
	int64_t run, place = 0;

	if (!ci)
		return err_set_addr(e, ERR_REFUSED, f->culprit.v, "no instruction of its function begins at 0x%" PRIx64,
				    f->culprit.v);
	if (row_at(in, in->culprit_fde, f->culprit, &row, e))
		return -1;
	f->bound = BOUND_FRAME;
	f->cfa = (struct finding_cfa){row.cfa_reg, (int32_t)row.cfa_offset};
	f->cfa_value = cfa_of_slot(in).v;
	run = (int64_t)(f->start_address.v - f->cfa_value);
	depth = depths_of(in, in->culprit_fde, in->culprit_fn);
	if (!depth)
		return err_set_errno(e, "no memory for code analysis");
	f->pointer_store = !frame_store(in->store, &row, &depth[ci - in->culprit_fn->insn], &place);
	free(depth);
	f->start_offset = !f->pointer_store && place < run ? place : run;
	f->end_offset = lowest_slot(in, &row, f->start_offset);
	if (f->start_offset >= f->end_offset)
		return err_set_addr(
			e, ERR_REFUSED, f->start_address.v,
			"the culprit wrote the saved registers from their first byte on: no object to bound");
	if (f->pointer_store && calls_itself(in->culprit_fn))
		return err_set_addr(
			e, ERR_REFUSED, f->culprit.v,
			"the culprit writes through a pointer in a recursive function: not sure whose frame it is");
	f->confidence = f->pointer_store ? 70 : place == run ? 95 : 85;
	describe(f, in->hit_fde->start);
	return 0;
}

/* A call in the function that was hit, to the culprit's. */
struct call_site {
	struct gva pc, ret;
	int64_t depth; /* CFA of the caller minus CFA of the callee */
	bool names_object; /* the address of the run's start is computed just before it */
	struct cfi_row row;
};

/* Whether one of the instructions before the call at k computes the address `object` (from the CFA). */
static bool names_object(const struct code_fn *fn, const struct code_depth *depth, uint32_t k, int64_t object)
{
	for (uint32_t i = k; i > 0 && k - i < ARGUMENTS_BACK; i--) {
		const struct code_insn *ci = &fn->insn[i - 1];
		const struct code_depth *d = &depth[i - 1];
		struct x86_insn in;
		int64_t below;
		uint8_t base;

		if (ci->flow == CODE_CALL)
			return false;
		if (!x86_decode_mode(fn->mode, fn->bytes + ci->off, ci->len, &in))
			return false;
		if (in.i.mnemonic == ZYDIS_MNEMONIC_MOV && in.op[1].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    x86_gpr(in.op[1].reg.value) == X86_RSP && d->rsp_known && -d->rsp == object)
			return true;
		if (in.i.mnemonic != ZYDIS_MNEMONIC_LEA || in.op[1].mem.index != ZYDIS_REGISTER_NONE)
			continue;
		base = x86_gpr(in.op[1].mem.base);
		if (base == X86_RSP && d->rsp_known)
			below = d->rsp;
		else if (base == X86_RBP && d->rbp_known)
			below = d->rbp;
		else
			continue;
		if (in.op[1].mem.disp.value - below == object)
			return true;
	}
	return false;
}

/* Fills *ret if the call that is instruction k of fn can have led to the run. */
static bool read_site(const struct bound_input *in, const struct finding *f, const struct code_fn *fn,
		      const struct code_depth *depth, uint32_t k, struct call_site *ret)
{
	const struct code_insn *ci = &fn->insn[k];
	int64_t object = (int64_t)(f->start_address.v - cfa_of_slot(in).v);

	ret->pc = gva_add(fn->start, ci->off);
	ret->ret = gva_add(ret->pc, ci->len);
	if (row_at(in, in->hit_fde, ret->pc, &ret->row, NULL))
		return false;
	if (ret->row.cfa_reg == X86_RSP)
		ret->depth = ret->row.cfa_offset;
	else if (depth[k].reached && depth[k].rsp_known)
		ret->depth = depth[k].rsp;
	else
		return false;
	ret->names_object = names_object(fn, depth, k, object);
	return object >= -ret->depth && object < lowest_slot(in, &ret->row, object);
}

/* Chooses among the calls: the only one, or the only one that names the object. */
static int choose_site(const struct bound_input *in, const struct finding *f, const struct code_fn *fn,
		       const struct code_depth *depth, struct call_site *ret, struct err *e)
{
	unsigned n = 0, naming = 0;
	struct call_site one = {0};

	for (uint32_t k = 0; k < fn->n_insn; k++) {
		if (fn->insn[k].flow != CODE_CALL || fn->insn[k].target != in->culprit_fde->start.v)
			continue;
		n++;
		if (!read_site(in, f, fn, depth, k, &one))
			continue;
		if (one.names_object)
			naming++;
		if (one.names_object || !naming)
			*ret = one;
	}
	if (!n)
		return err_set_addr(e, ERR_REFUSED, f->culprit.v,
				    "the culprit at 0x%" PRIx64 " is in a function that the one hit (0x%" PRIx64
				    ") does not call directly: longer chains of calls are not followed yet",
				    f->culprit.v, in->hit_fde->start.v);
	if (!ret->pc.v || (n > 1 && naming != 1))
		return err_set_addr(e, ERR_REFUSED, f->culprit.v,
				    "%u calls of the culprit's function in 0x%" PRIx64
				    " and it is not sure which one led to the damage",
				    n, in->hit_fde->start.v);
	return 0;
}

/* A function called by the one that was hit wrote the bytes: the frame is found through the call. */
static int fill_from_site(const struct bound_input *in, const struct call_site *site, struct finding *f, struct err *e)
{
	uint64_t cfa_hit = cfa_of_slot(in).v;
	int64_t run = (int64_t)(f->start_address.v - cfa_hit);
	struct cfi_row row;

	if (row_at(in, in->culprit_fde, f->culprit, &row, e))
		return -1;
	f->bound = BOUND_CALLER;
	f->cfa = (struct finding_cfa){row.cfa_reg, (int32_t)row.cfa_offset};
	f->cfa_value = cfa_hit - (uint64_t)site->depth;
	f->start_offset = run + site->depth;
	f->end_offset = lowest_slot(in, &site->row, run) + site->depth;
	f->caller_return = site->ret;
	f->caller_slot = -word(in);
	f->pointer_store = true;
	f->confidence = site->names_object ? 75 : 60;
	describe(f, in->hit_fde->start);
	return 0;
}

static int caller_frame(const struct bound_input *in, struct finding *f, struct err *e)
{
	struct call_site site = {0};
	struct code_depth *depth;
	struct code_fn *fn;
	int rc;

	if (code_fn_create_mode(in->culprit_fn->mode, &in->rd, in->hit_fde->start, in->hit_fde->end, in->text,
				in->text_end, &fn, e))
		return err_prefix(e, "in the caller");
	depth = depths_of(in, in->hit_fde, fn);
	if (depth)
		rc = choose_site(in, f, fn, depth, &site, e);
	else
		rc = err_set_errno(e, "no memory for code analysis");
	free(depth);
	code_fn_destroy(fn);
	return rc ? -1 : fill_from_site(in, &site, f, e);
}

int bound_find(const struct bound_input *in, struct finding *f, struct err *e)
{
	if (f->start_address.v >= cfa_of_slot(in).v)
		return err_set_addr(e, ERR_REFUSED, f->start_address.v,
				    "the run does not lie below the return address");
	if (in->hit_fde->start.v == in->culprit_fde->start.v)
		return own_frame(in, f, e);
	return caller_frame(in, f, e);
}
