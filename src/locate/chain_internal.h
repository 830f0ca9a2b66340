/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the parts of unwinding share. */
#ifndef CLOUDER_LOCATE_CHAIN_INTERNAL_H
#define CLOUDER_LOCATE_CHAIN_INTERNAL_H

#include "locate/chain.h"

/*
 * Bytes from the stack pointer to the CFA at the pc of a frame whose function is known, by its code, and which registers the function
 * writes somewhere, a bit for each. false: it cannot be told.
 */
bool chain_code_depth(const struct chain_source *src, const struct chain_frame *f, int64_t *ret, uint16_t *ret_written);

#endif
