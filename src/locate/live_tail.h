/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Functions that were left by a jump: see live_tail.c. */
#ifndef CLOUDER_LOCATE_LIVE_TAIL_H
#define CLOUDER_LOCATE_LIVE_TAIL_H

#include "locate/live.h"

struct live_tail {
	struct cfi_fde fde;
	struct code_fn *fn; /* ours, until live_tail_close() or somebody takes it over */
	const struct code_insn *jump; /* in it */
	struct callee_target to;
};

/* Reads the function at an address of the module. false: that failed, and there is nothing to close. */
bool live_tail_open(struct live *l, const struct vmi_module *m, struct gva function, struct live_tail *ret);
void live_tail_close(struct live_tail *t);

/* Finds the one jump of t->fn, which frame k called, that matches: jump and to of *t. false: there is none, or several. */
bool live_tail_each(struct live *l, unsigned k, struct live_tail *t, bool (*match)(void *arg, struct live_tail *t),
		    void *arg);

/*
 * If the function that the culprit calls was left by a jump to what the next frame is of: that jump is the culprit, in a frame of
 * its own on the chain. false: it was not, and nothing has changed.
 */
bool live_find_tail(struct live *l);

#endif
