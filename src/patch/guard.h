/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The strategies: how a culprit's write is held back. */
#ifndef CLOUDER_PATCH_GUARD_H
#define CLOUDER_PATCH_GUARD_H

#include "base/err.h"
#include "locate/finding.h"
#include "locate/x86.h"
#include "patch/emit.h"

struct strategy {
	const char *name;
	enum x86_store_kind handles;
	/* Emits what stands for the culprit itself. ERR_REFUSED: the finding does not suit it. */
	int (*emit)(struct emitter *em, const struct finding *f, const struct x86_store *st, struct err *e);
};

/* The strategy for a culprit that writes so; NULL: there is none. */
const struct strategy *strategy_for(const struct x86_store *st);

/*
 * Emits the whole guard at em->at: the displaced instructions in their order, the culprit guarded, and the jump
 * back; decodes it again. *ret_name: the strategy's name. Pure.
 */
int guard_emit(struct emitter *em, const struct finding *f, const char **ret_name, struct err *e) MUST_CHECK;

#endif
