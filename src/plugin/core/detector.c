/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names of detectors, and lists of them. */
#include "plugin/core/detector.h"

#include <string.h>

#define NAME_OF(id, name, sees) [TAINT_DETECT_##id] = (name),

static const char *const names[TAINT_DETECTORS] = {TAINT_DETECTOR_LIST(NAME_OF)};

const char *taint_detector_name(uint32_t detector)
{
	return detector < TAINT_DETECTORS && names[detector] ? names[detector] : "unknown";
}

uint32_t taint_detector_find(const char *name, size_t n)
{
	for (uint32_t i = 0; i < TAINT_DETECTORS; i++)
		if (names[i] && strlen(names[i]) == n && !memcmp(names[i], name, n))
			return i;
	return 0;
}

/* The bits that an item without its sign stands for; 0: it is not understood. */
static uint32_t item_bits(const char *item, size_t n)
{
	uint32_t detector = taint_detector_find(item, n);

	if (n == 3 && !memcmp(item, "all", n))
		return TAINT_DETECTORS_ALL;
	return detector ? 1u << detector : 0;
}

const char *taint_detectors_parse(const char *list, uint32_t *set, size_t *ret_n)
{
	uint32_t now = *set;

	for (;;) {
		size_t n = strcspn(list, ","), sign = *list == '-' || *list == '+';
		uint32_t bits = item_bits(list + sign, n - sign);

		if (!bits) {
			*ret_n = n;
			return list;
		}
		now = *list == '-' ? now & ~bits : now | bits;
		if (!list[n]) {
			*set = now;
			return NULL;
		}
		list += n + 1;
	}
}
