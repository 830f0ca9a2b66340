/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A patch as it is kept and handed on: text, numbers and bytes, so that store and command line need nothing of the
 * engine's side. It names its target by build-id and offsets in the file, never by an address of one process.
 */
#ifndef CLOUDER_STORE_PATCH_RECORD_H
#define CLOUDER_STORE_PATCH_RECORD_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "store/fields.h"

#define PATCH_RECORD_HISTORY_MAX 16

enum patch_state { PATCH_ACTIVE, PATCH_REVERTED, PATCH_PROPOSED };

struct patch_record {
	/* of this host's store, not of the file */
	int64_t id; /* 0: not stored yet */
	enum patch_state state;
	int64_t change; /* which of all changes of patches was this one's last */
	char signer[65]; /* the key that its file is signed with; "": not signed */

	/* why there is one */
	char vm[64];
	int64_t incident; /* its number where it was made */
	int64_t time_ms; /* Unix time when it was made */
	char reason[192];

	/* the target */
	char path[256];
	struct field_bytes build_id;
	uint32_t bits; /* 64 or 32 */

	/* what is written */
	char strategy[32], home[16];
	uint64_t site_offset; /* in the file, as are the other offsets */
	struct field_bytes original, before,
		after; /* the program's own bytes, what must be there, and what is written */
	uint64_t guard_offset, routine_offset;
	struct field_bytes guard, routine; /* routine: empty, or shared with other guards of the file */
	uint32_t part_at, culprit_at, lower; /* see struct patch */

	/* the culprit and its bounds; see struct finding */
	uint64_t culprit_offset;
	uint32_t culprit_len;
	unsigned kind, effect, bound; /* as the enums of finding.h have them */
	uint32_t cfa_reg;
	int32_t cfa_offset;
	int64_t start_offset, end_offset;
	uint64_t caller_return; /* from where its file is mapped, as is error_offset */
	struct field_bytes caller_build_id; /* of that file; empty: the same file, and in version 1 of the format */
	int64_t caller_slot;
	uint64_t part_of;
	uint64_t error_offset;
	uint32_t error_length;
	bool pointer_store;

	struct patch_event {
		int64_t time_ms;
		char text[96];
	} history[PATCH_RECORD_HISTORY_MAX];
	unsigned n_history;
};

const char *patch_state_name(enum patch_state s);
/* A new object with all but what is of this host's store. NULL only without memory. */
json_t *patch_record_to_json(const struct patch_record *r);
/* That of the format that can say it: the lowest. */
unsigned patch_record_version(const struct patch_record *r);
/*
 * Strict: every member of that version must be there, none that is not known, and what is written must make sense, see
 * patch_record_check(). ERR_PROTOCOL says what does not.
 */
int patch_record_from_json(const json_t *j, unsigned version, struct patch_record *ret, struct err *e) MUST_CHECK;
/* Whether lengths and offsets fit together and the bytes written lead to the guard. */
int patch_record_check(const struct patch_record *r, struct err *e) MUST_CHECK;
/* Whether both write the same to the same file. */
bool patch_record_same(const struct patch_record *a, const struct patch_record *b);

#endif
