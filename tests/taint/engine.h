/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Applies the semantics under test to a state, as the emulator's plugin would. */
#ifndef TESTS_TAINT_ENGINE_H
#define TESTS_TAINT_ENGINE_H

#include "trial.h"

#define MARK 7u /* the label of the byte that is tainted */
#define FLAGS_MARK 9u /* of the flags, where they are tainted too */

/*
 * What is tainted after `in` (the trial's instruction) ran when byte `from` of the image was tainted before, and the
 * flags too if that is wanted. Fills ret[0..REGS + window) with labels. Returns false if a register is tainted while
 * the engine says that none is.
 */
bool engine_run(const struct trial *t, const struct taint_insn *in, unsigned from, bool flags_too, uint32_t *ret);

#endif
