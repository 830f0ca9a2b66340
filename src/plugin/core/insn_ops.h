/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files that apply operations to the register shadow share. */
#ifndef CLOUDER_PLUGIN_CORE_INSN_OPS_H
#define CLOUDER_PLUGIN_CORE_INSN_OPS_H

#include "plugin/core/insn.h"

/* Computes the given bits of v->tainted by looking at those registers. */
void insn_look_over(struct taint_vcpu *v, uint64_t bits);
/* The operation by the function of its kind, which any shape has. */
taint_op_fn insn_any_op;
/* A faster function that does the same; NULL: there is none for this shape. op->writes and op->whole are known. */
taint_op_fn *insn_fast(const struct taint_op *op);

/* After the operation wrote; tainted: a label that is not clean. Not for what writes several registers. */
static inline void insn_mark(struct taint_vcpu *v, const struct taint_op *op, bool tainted)
{
	if (tainted)
		v->tainted |= op->writes;
	else if (op->whole)
		v->tainted &= ~op->writes;
	else if (v->tainted & op->writes)
		insn_look_over(v, op->writes);
}

#endif
