/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The run: consecutive bytes that one instruction wrote with tainted data. */
#ifndef CLOUDER_LOCATE_RUN_H
#define CLOUDER_LOCATE_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "taint_abi.h"

/* get copies the labels of n bytes that lie in one page; false: the page is not mapped. */
struct label_reader {
	bool (*get)(void *arg, struct gva at, struct taint_label *ret, size_t n);
	void *arg;
};

#define RUN_MAX (1u << 20) /* bytes looked at in each direction */

struct run {
	struct gva start;
	uint64_t length; /* bytes */
	uint32_t first_origin; /* earliest of its bytes */
};

/*
 * Follows the run of `writer` from the tainted byte at `at` (its origin given) down and up. Bytes that others wrote
 * belong to it where they continue the same stretch of input: a library's copy uses several instructions. A gap of a few bytes,
 * where something was written after the run passed (a loop counter in its way), belongs to the run if the
 * bytes beyond it continue the same stretch of input.
 */
void run_find(const struct label_reader *lr, struct gva at, uint32_t origin, uint32_t writer, struct run *ret);

#endif
