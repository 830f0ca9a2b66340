/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runs one instruction natively on a given state.
 *
 * The state is one flat image: the registers in the layout of the register
 * shadow, the x87 environment, then a window of memory. It is loaded from and
 * stored to fixed low addresses, so that the code around the instruction needs
 * no register to find it.
 */
#ifndef TESTS_TAINT_CPU_H
#define TESTS_TAINT_CPU_H

#include <stdbool.h>
#include <stdint.h>

#include "taint_abi.h"

#define WINDOW_AT 0x22000800ul /* where the window lies when the instruction runs */
#define WINDOW_MAX 1024u
#define WINDOW_USUAL 256u

/* The x87 environment: status word, then one byte of tags as fxsave has it, at +4 the control word. */
#define IMAGE_FSW TAINT_REG_TMP
#define IMAGE_TAGS (IMAGE_FSW + 2u)
#define IMAGE_FCW (IMAGE_FSW + 4u)
#define REGS (IMAGE_FSW + 8u) /* bytes in front of the window */
#define IMAGE_MAX (REGS + WINDOW_MAX)

#define STATUS_FLAGS 0x8c5u /* CF PF ZF SF OF: what instructions look at */
#define X87_CONDITIONS 0x47u /* C0 to C3 in the upper byte of the status word */
#define X87_REG_BYTES 10u

/* Maps the fixed addresses and catches faults; exits on failure. */
void cpu_init(void);
/* The instruction that cpu_run() runs; x87: it uses or changes x87 or MMX state. */
void cpu_assemble(const uint8_t *code, unsigned len, bool x87);
/*
 * Runs it on the image with a window of so many bytes and fills ret likewise; false if it faults. In ret the flags are
 * cut to STATUS_FLAGS, of the x87 environment there is only the status word, without the top of the stack.
 */
bool cpu_run(const uint8_t *image, unsigned window, uint8_t *ret);
/* How often cpu_run() was called. */
unsigned long long cpu_runs(void);
/* A bit of the processor's own description of itself: leaf 1, 7 and so on; reg 0 eax to 3 edx. */
bool cpu_has(unsigned leaf, unsigned subleaf, unsigned reg, unsigned bit);

#endif
