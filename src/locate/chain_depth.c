/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How deep the stack is in a function by its code: hand-written functions of the C library push registers without saying so in
 * their frame information.
 */
#include <stdlib.h>

#include "locate/chain_internal.h"
#include "locate/code_internal.h"
#include "locate/x86.h"

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
	struct code_depth entry = {.rsp_known = true, .rsp = src->is_32bit ? 4 : 8}, *depth;
	const struct vmi_module *m = f->module;
	struct code_fn *fn;
	bool known = false;

	if (code_fn_create_mode(src->is_32bit ? X86_MODE_32 : X86_MODE_64, &src->rd, f->function, f->function_end,
				m->text, gva_add(m->text, m->text_file_size), &fn, NULL))
		return false;
	depth = calloc(fn->n_insn, sizeof(*depth));
	if (depth) {
		const struct code_insn *ci = code_fn_insn(fn, f->pc);

		code_fn_depths(fn, &entry, depth);
		if (ci) {
			const struct code_depth *d = &depth[ci - fn->insn];

			known = d->reached && d->rsp_known;
			*ret = d->rsp;
			*ret_written = written_registers(fn);
		}
	}
	free(depth);
	code_fn_destroy(fn);
	return known;
}
