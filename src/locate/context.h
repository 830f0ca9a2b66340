/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Saved contexts: a jump buffer is one object, whichever of its words was noticed.
 *
 * What an attacker needs of it, the address to go on at, is seldom its first word. Of what lies below it, the frame pointer
 * say, nobody would notice that it was overrun as well.
 */
#ifndef CLOUDER_LOCATE_CONTEXT_H
#define CLOUDER_LOCATE_CONTEXT_H

#include <stdint.h>

#include "base/addr.h"
#include "locate/reader.h"

/*
 * How many bytes below the word that the instruction at pc is about to use (to jump there, or as stack pointer) its context
 * begins. code is X86_MODE_64 or X86_MODE_32 code that begins at start, a function's. 0: the word is the context's lowest, or
 * there is no context: one is where stack pointer and the target of a jump are loaded from the same base.
 */
uint32_t context_below(unsigned mode, const struct code_reader *rd, struct gva start, struct gva pc);

#endif
