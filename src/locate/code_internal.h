/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the parts of the code analysis share. */
#ifndef CLOUDER_LOCATE_CODE_INTERNAL_H
#define CLOUDER_LOCATE_CODE_INTERNAL_H

#include "locate/code.h"
#include "locate/x86.h"

/* Instruction k of the function, decoded again. */
bool code_fn_decode(const struct code_fn *fn, uint32_t k, struct x86_insn *ret);

struct code_text {
	const struct code_reader *rd;
	struct gva low, high; /* the module's code */
};

/* Marks where the indirect jump that is instruction k leads. ERR_REFUSED: it is not understood. */
int code_table_follow(struct code_fn *fn, const struct code_text *text, uint32_t k, struct err *e) MUST_CHECK;

#endif
