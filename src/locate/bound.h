/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The bounds of a stack object, in terms of a frame. */
#ifndef CLOUDER_LOCATE_BOUND_H
#define CLOUDER_LOCATE_BOUND_H

#include "base/err.h"
#include "locate/cfi.h"
#include "locate/code.h"
#include "locate/finding.h"
#include "locate/x86.h"

/* What is known when bounds are looked for. */
struct bound_input {
	struct cfi cfi; /* of the module with both functions */
	struct code_reader rd; /* the process */
	struct gva text, text_end; /* the module's code */
	const struct cfi_fde *culprit_fde; /* function with the culprit */
	const struct code_fn *culprit_fn;
	const struct x86_store *store; /* the culprit's write */
	const struct cfi_fde *hit_fde; /* function whose return address was hit */
	struct gva slot; /* where that return address is */
};

/*
 * Fills the object's fields of *f, whose culprit and run are known: relative to the frame of the culprit's
 * own function if that was hit, else of its caller, if that was. ERR_REFUSED: no bounds that are sure.
 */
int bound_find(const struct bound_input *in, struct finding *f, struct err *e) MUST_CHECK;

#endif
