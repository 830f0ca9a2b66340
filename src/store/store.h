/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The store of incidents and patches: one SQLite file for all VMs of a user, crash-safe, schema versioned. */
#ifndef CLOUDER_STORE_STORE_H
#define CLOUDER_STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "store/incident.h"
#include "store/patch_record.h"

struct store;

/* path NULL: default ($CLOUDER_STATE_DIR, else /var/lib/clouder for root, else $XDG_STATE_HOME/clouder) + "/clouder.db"; makes the directory (0700). */
int store_open(const char *path, bool read_only, struct store **ret, struct err *e) MUST_CHECK;
void store_close(struct store *s);

/* Inserts (id 0, then sets in->id) or updates. */
int store_put_incident(struct store *s, struct incident *in, struct err *e) MUST_CHECK;
int store_get_incident(struct store *s, int64_t id, struct incident *ret, struct err *e) MUST_CHECK;
/* Newest last; vm NULL: all; since_ms 0: all. Calls fn for each; stops when it returns false. */
int store_each_incident(struct store *s, const char *vm, int64_t since_ms,
			bool (*fn)(void *arg, const struct incident *), void *arg, struct err *e) MUST_CHECK;

/*
 * Keeps a patch, active or proposed as r says, with `file` as it is to be handed on (its text, see patch_file.h). One that writes the
 * same and is active or proposed already is not kept twice, but becomes active if either is. r->id becomes the patch's number, r->state
 * its state; *ret_new: it was not there.
 */
int store_add_patch(struct store *s, struct patch_record *r, const char *file, bool *ret_new, struct err *e) MUST_CHECK;
/* With what has become of it on this host in its history, as far as there is room. ret_file, if not NULL: the file's text, a new string. */
int store_get_patch(struct store *s, int64_t id, struct patch_record *ret, char **ret_file, struct err *e) MUST_CHECK;
/* Those with a number above `after`, in their order; vm NULL: of all. Else as store_each_incident(). */
int store_each_patch(struct store *s, const char *vm, int64_t after, bool (*fn)(void *arg, const struct patch_record *),
		     void *arg, struct err *e) MUST_CHECK;
/* Those that have changed since change `after`, or are new, in the order of their changes. */
int store_each_change(struct store *s, int64_t after, bool (*fn)(void *arg, const struct patch_record *), void *arg,
		      struct err *e) MUST_CHECK;

/* The patch is not to be in any guest any more. ERR_STATE: it is not already, or another was made over it, which must go first. */
int store_revert_patch(struct store *s, int64_t id, struct err *e) MUST_CHECK;
/*
 * The patch is to be in guests, which was only proposed, or was reverted. ERR_STATE: it is already, or another is where it would
 * go, or the one that it was made over is not in guests.
 */
int store_apply_patch(struct store *s, int64_t id, struct err *e) MUST_CHECK;

#endif
