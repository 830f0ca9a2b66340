/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the processor pushes when it takes an interrupt or an exception in 64-bit mode, and where Linux's entry code
 * begins.
 *
 * Nothing tells of these pushes. Linux's entries (6.0 and later) begin with
 *
 *   [endbr64]  clac, or a no-operation of its length  cld  ...
 *
 * and nothing else does: the direction flag is cleared after backward copies too, but not behind a clac. At the cld the
 * stack pointer is still where the processor left it, or one word below: stubs of device interrupts push a vector where
 * others have an error code.
 *
 *   error code or vector, if any   ip   cs   flags   rsp   ss
 */
#ifndef CLOUDER_PLUGIN_CORE_TRAP_H
#define CLOUDER_PLUGIN_CORE_TRAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Words of a frame with an error code. */
#define TRAP_WORDS 6u
/* Bytes of a clac. */
#define TRAP_CLAC_LEN 3u

/*
 * Whether the len bytes of an instruction of the kernel, with these bytes before it, are the cld of an entry.
 */
bool trap_is_entry(const uint8_t before[TRAP_CLAC_LEN], const uint8_t *bytes, size_t len);

/*
 * Looks for a frame in the n words at the stack pointer, n <= TRAP_WORDS. Returns how many words from the first on the
 * processor has written (or a stub, with a vector): 5, 6, or 0 for no frame. Hostile input: any words may come, and what
 * is no frame of Linux's segments is none.
 */
unsigned trap_frame_words(const uint64_t *words, unsigned n);

/* Where Linux has its table of gates, a row for each vector: the processor's own copy, which nobody writes. */
#define TRAP_GATES 0xfffffe0000000000ull
#define TRAP_GATE_LEN 16u

/* Whether a row of that table leads to the entry whose cld is at that address. */
bool trap_gate_leads(const uint8_t gate[TRAP_GATE_LEN], uint64_t cld);

#endif
