/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Code for an attacker to reuse, in programs that are attacked: no request leads to it. */
#ifndef GUESTS_MARKER_H
#define GUESTS_MARKER_H

/* Where it says "OWNED" before it ends the program with exit code 66; standard output if nobody sets it. */
extern int marker_out;

#endif
