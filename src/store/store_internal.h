/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The open database, shared by the files that keep something in it. */
#ifndef CLOUDER_STORE_STORE_INTERNAL_H
#define CLOUDER_STORE_STORE_INTERNAL_H

#include <limits.h>
#include <sqlite3.h>

#include "store/store.h"

struct store {
	sqlite3 *db;
	char path[PATH_MAX];
};

/* Fills *e with what SQLite says went wrong and returns -1. doing: "read it". */
int store_fail(const struct store *s, struct err *e, const char *doing);

#endif
