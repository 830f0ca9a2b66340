/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Code for an attacker to reuse, in programs that are attacked: no request leads to it. */
#ifndef GUESTS_MARKER_H
#define GUESTS_MARKER_H

/*
 * never_called: aligns the stack and calls the function of that name, which does not return. Before it lies a slide of one-byte
 * instructions, so that there is an address without bytes that a copy would stop at.
 */
#ifdef __x86_64__
#define MARKER_ALIGN_STACK "and $-16, %rsp\n"
#else
#define MARKER_ALIGN_STACK "and $-16, %esp\n"
#endif
#define MARKER_NEVER_CALLED(function)                                                                                  \
	__asm__(".text\n.globl never_called\n.type never_called, @function\nnever_called:\n.skip 1024, "               \
		"0x90\n" MARKER_ALIGN_STACK "call " function "\n.size never_called, . - never_called\n")

/* Where it says "OWNED" before it ends the program with exit code 66; standard output if nobody sets it. */
extern int marker_out;

#endif
