/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How the analyses below locate and patch see the memory of a process: one function, so that they can be tested alone. */
#ifndef CLOUDER_LOCATE_READER_H
#define CLOUDER_LOCATE_READER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/addr.h"

/* read copies len bytes at `at` of the process, all or nothing; false: some of them cannot be read. */
struct code_reader {
	bool (*read)(void *arg, struct gva at, void *ret, size_t len);
	void *arg;
};

static inline bool code_read(const struct code_reader *r, struct gva at, void *ret, size_t len)
{
	return r->read(r->arg, at, ret, len);
}

#endif
