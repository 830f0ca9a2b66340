/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Calls of printf's family on a live stack whose format came from outside. */
#ifndef CLOUDER_LOCATE_LIVE_FORMAT_H
#define CLOUDER_LOCATE_LIVE_FORMAT_H

#include "locate/live.h"

/*
 * Looks for the innermost call of the program with a format from outside, and makes it the culprit, with the effect
 * CALL_FORMAT. false: there is none; *l as before.
 */
bool live_find_format(struct live *l);

/* Whether the culprit may be such a call, and where its format is cannot be told. It is taken for one then. */
bool live_may_be_format(struct live *l);

/* Whether the program is in a check that a bound was kept, which ends it: a format may be hostile too, but did not fail. */
bool live_fails_bound(struct live *l);

#endif
