/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is done when a culprit that has a patch is reached again: the paper's rules for repeated attacks. */
#ifndef CLOUDER_PATCH_LADDER_H
#define CLOUDER_PATCH_LADDER_H

#include <stddef.h>

#include "locate/finding.h"

#define LADDER_MAX 4u /* patches of one culprit */

enum ladder_step {
	LADDER_NONE, /* no guard would do more than those that are there */
	LADDER_REPLACE, /* one patch is there, and its guard is worse in every case */
	LADDER_CHAIN, /* a guard for this, and behind it those that are there */
};

/*
 * old: what the culprit's n patches (at least 1) were made for. The bounds of *f are made the closer of its own and those of the
 * same object.
 */
enum ladder_step ladder_next(const struct finding *const *old, size_t n, struct finding *f);

#endif
