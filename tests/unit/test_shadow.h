/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the tests of the shadow share: the fixture, labels of single bytes, and how many there are. */
#ifndef TESTS_UNIT_TEST_SHADOW_H
#define TESTS_UNIT_TEST_SHADOW_H

#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "plugin/core/shadow.h"

struct fixture {
	int fd;
	struct shadow *sh;
};

/* A shadow of its own for each test, as *state. */
static inline int shadow_setup(void **state, uint64_t gpa_limit, uint32_t copies)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct err e;

	*state = f;
	return shadow_create(gpa_limit, copies, &f->fd, &f->sh, &e);
}

static inline int shadow_teardown(void **state)
{
	struct fixture *f = *state;

	shadow_destroy(f->sh);
	close(f->fd);
	free(f);
	return 0;
}

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

/* Undo records kept. */
static inline uint64_t records(const struct shadow *sh)
{
	return shadow_header(sh)->undo_end - shadow_header(sh)->undo_first;
}

static inline void expect_count(const struct shadow *sh, uint64_t pages, uint64_t bytes)
{
	uint64_t p, b;

	shadow_count(sh, &p, &b);
	assert_int_equal(p, pages);
	assert_int_equal(b, bytes);
}

#endif
