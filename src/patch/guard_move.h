/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Moving the code of a guard that is made already: all that is known of it is its bytes. */
#ifndef CLOUDER_PATCH_GUARD_MOVE_H
#define CLOUDER_PATCH_GUARD_MOVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define GUARD_MOVE_MAX 152u /* bytes of code */

/* Where from and where to. Addresses in 32-bit code are modulo 2^32. */
struct guard_move {
	bool is_32bit;
	uint64_t from, to; /* of the first byte */
	uint8_t part_at; /* another place that the code is entered at; 0: none */
	/* Where what was at an address beyond the code is now. */
	uint64_t (*place)(void *arg, uint64_t address);
	void *arg;
};

/*
 * Redoes in place the relative branches and operands of len bytes of code that lead out of it. No instruction changes its
 * length. ERR_REFUSED: the code is not understood as a whole, or what it leads to is out of reach; the bytes are spoilt then.
 */
int guard_move(const struct guard_move *m, uint8_t *code, size_t len, struct err *e) MUST_CHECK;

#endif
