/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The code of a frame's function: where in it the frame is, and how deep the stack is there. */
#include <stdlib.h>

#include "locate/chain_internal.h"
#include "locate/code_internal.h"
#include "locate/x86.h"

int chain_frame_code(const struct chain_source *src, const struct chain_frame *f, struct code_fn **ret, struct err *e)
{
	const struct vmi_module *m = f->module;

	if (!m || !f->function.v)
		return err_set_addr(e, ERR_REFUSED, f->pc.v, "the function of 0x%llx is not known",
				    (unsigned long long)f->pc.v);
	return code_fn_create_mode(src->is_32bit ? X86_MODE_32 : X86_MODE_64, &src->rd, f->function, f->function_end,
				   m->text, gva_add(m->text, m->text_file_size), ret, e);
}

const struct code_insn *chain_frame_insn(const struct chain_frame *f, const struct code_fn *fn)
{
	if (f->exact)
		return code_fn_insn(fn, f->pc);
	for (uint32_t k = 0; k < fn->n_insn; k++)
		if (fn->start.v + fn->insn[k].off + fn->insn[k].len == f->pc.v)
			return &fn->insn[k];
	return NULL;
}

static uint16_t written_registers(const struct code_fn *fn)
{
	uint16_t written = 0;
	struct x86_insn in;

	for (uint32_t k = 0; k < fn->n_insn; k++)
		if (code_fn_decode(fn, k, &in))
			for (uint8_t gpr = 0; gpr < 16; gpr++)
				written |= (uint16_t)(x86_writes_gpr(&in, gpr) << gpr);
	return written;
}

bool chain_code_depth(const struct chain_source *src, const struct chain_frame *f, int64_t *ret, uint16_t *ret_written)
{
	const struct code_insn *ci;
	struct code_depth *depth;
	struct code_fn *fn;
	bool known = false;

	if (chain_frame_code(src, f, &fn, NULL))
		return false;
	ci = chain_frame_insn(f, fn);
	depth = code_fn_depths_of_call(fn);
	if (ci && depth) {
		const struct code_depth *d = &depth[ci - fn->insn];

		known = d->reached && d->rsp_known;
		*ret = d->rsp;
		*ret_written = written_registers(fn);
	}
	free(depth);
	code_fn_destroy(fn);
	return known;
}
