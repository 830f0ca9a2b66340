/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the static analysers cannot see by themselves; put before every file by the lint script, never by a compiler. */
#ifndef TOOLS_LINT_H
#define TOOLS_LINT_H

#ifdef __clang_analyzer__

/* They return -1 always: otherwise each failing path is also followed as if it had succeeded. */
#include "base/err.h"
#define err_set(...) (err_set(__VA_ARGS__), -1)
#define err_set_errno(...) (err_set_errno(__VA_ARGS__), -1)
#define err_set_addr(...) (err_set_addr(__VA_ARGS__), -1)
#define err_prefix(...) (err_prefix(__VA_ARGS__), -1)

#else

/* cppcheck does not read the system's headers: the macros that are more than a call. */
#define LIST_HEAD(name, type)                                                                                          \
	struct name {                                                                                                  \
		struct type *lh_first;                                                                                 \
	}
#define STAILQ_HEAD(name, type) LIST_HEAD(name, type)
#define TAILQ_HEAD(name, type) LIST_HEAD(name, type)
#define SLIST_HEAD(name, type) LIST_HEAD(name, type)
#define LIST_FOREACH(at, head, link) for ((at) = (head)->lh_first; (at); (at) = next_of(at))
#define STAILQ_FOREACH(at, head, link) LIST_FOREACH (at, head, link)
#define TAILQ_FOREACH(at, head, link) LIST_FOREACH (at, head, link)
#define SLIST_FOREACH(at, head, link) LIST_FOREACH (at, head, link)
#define json_array_foreach(array, i, value)                                                                            \
	for ((i) = 0; (i) < json_array_size(array) && ((value) = json_array_get(array, i)); (i)++)
#define json_object_foreach(object, key, value) for (; next_member(object, &(key), &(value));)

#endif

#endif
