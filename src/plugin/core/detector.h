/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The list of detectors: what each is called in incidents and in the option that switches it off, and what it sees. A
 * detector that is off costs nothing: the plugin does not instrument for it.
 */
#ifndef CLOUDER_PLUGIN_CORE_DETECTOR_H
#define CLOUDER_PLUGIN_CORE_DETECTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "taint_abi.h"

/* X(enum taint_detector without its prefix, name, what it sees) */
#define TAINT_DETECTOR_LIST(X)                                                                                         \
	X(RETURN, "tainted-return", "a return address with bytes from the outside")                                    \
	X(BRANCH, "tainted-branch", "an indirect call or jump to a target from the outside")                           \
	X(STACK, "tainted-stack", "a stack pointer about to be loaded with an address from the outside")               \
	X(CODE, "tainted-code", "bytes from the outside about to be executed")                                         \
	X(CANARY, "tainted-canary", "a stack protector's word that was overwritten from the outside")                  \
	X(POINTER, "tainted-pointer", "a store through a pointer that came whole from the outside")                    \
	X(INDEX, "tainted-index",                                                                                      \
	  "an address that was overwritten, in whole or in part, where the input chose, with other bytes than its "    \
	  "own")                                                                                                       \
	X(FAULT, "tainted-fault", "a fatal access at an address from the outside")                                     \
	X(ABORT, "abort", "a program that ends itself because a check found its memory corrupted")                     \
	X(STRAY, "stray-return", "a return elsewhere than its call said, by bytes that are not the input's own")

/* All of them, as a bit for each number. */
#define TAINT_DETECTOR_BIT(id, name, sees) | 1u << TAINT_DETECT_##id
#define TAINT_DETECTORS_ALL (0u TAINT_DETECTOR_LIST(TAINT_DETECTOR_BIT))

/* Name of a detector; "unknown" for a number that is none. */
const char *taint_detector_name(uint32_t detector);
/* The detector of that name (n bytes of it); 0: there is none. */
uint32_t taint_detector_find(const char *name, size_t n);
/*
 * Changes *set, a bit for each detector, by a list such as "-abort,+tainted-code": what has a plus or nothing before it is
 * switched on, what has a minus off; "all" stands for all. Returns the item that was not understood, of *ret_n bytes, with
 * *set as it was; NULL: all was.
 */
const char *taint_detectors_parse(const char *list, uint32_t *set, size_t *ret_n);

#endif
