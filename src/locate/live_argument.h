/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What calls on a live stack were given: the values of their arguments, and formats that came from outside among them. */
#ifndef CLOUDER_LOCATE_LIVE_ARGUMENT_H
#define CLOUDER_LOCATE_LIVE_ARGUMENT_H

#include "locate/live.h"

/*
 * Argument n (from 0) of the call that frame k is in the midst of. Code, frame information and memory as it is now tell it:
 * what a callee did to the place that it came from is not known. false: it is not to be found.
 */
bool live_argument(const struct live *l, unsigned k, unsigned n, uint64_t *ret);

/*
 * Whether the text at `at` is a format that came from outside: it has a conversion, the percent sign of which did.
 * *ret_first: the earliest origin of its bytes.
 */
bool live_hostile_format(const struct live *l, struct gva at, uint32_t *ret_first);

#endif
