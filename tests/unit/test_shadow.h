/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the tests of the shadow share: labels of single bytes, and how many there are. */
#ifndef TESTS_UNIT_TEST_SHADOW_H
#define TESTS_UNIT_TEST_SHADOW_H

#include <cmocka.h>

#include "plugin/core/shadow.h"

static inline struct taint_label get1(const struct shadow *sh, uint64_t at)
{
	struct taint_label l;

	shadow_get(sh, gpa(at), &l, 1);
	return l;
}

static inline void set1(struct shadow *sh, uint64_t at, uint32_t origin, uint32_t writer)
{
	struct taint_label l = {.origin = origin, .writer = (uint16_t)writer};

	shadow_set(sh, gpa(at), &l, 1);
}

static inline void expect_count(const struct shadow *sh, uint64_t pages, uint64_t bytes)
{
	uint64_t p, b;

	shadow_count(sh, &p, &b);
	assert_int_equal(p, pages);
	assert_int_equal(b, bytes);
}

#endif
