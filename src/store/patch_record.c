/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Patches to JSON and back, and what a patch must be to make sense: whoever wrote it may be an enemy. */
#include "store/patch_record.h"

#include <stdio.h>
#include <string.h>

#define FIELD(type, member) FIELD_OF(patch_record, type, member)
#define TEXT(member) FIELD(FIELD_TEXT, member)
#define ADDRESS(member) FIELD(FIELD_ADDRESS, member)
#define COUNT(member) FIELD(FIELD_COUNT, member)
#define NUMBER(member) FIELD(FIELD_NUMBER, member)
#define BYTES(member) FIELD(FIELD_BYTES, member)
#define NAME(member, list)                                                                                             \
	{                                                                                                              \
		.name = #member, .type = FIELD_NAME, .offset = offsetof(struct patch_record, member),                  \
		.size = sizeof(unsigned), .names = (list)                                                              \
	}

#define SITE_MIN 5
#define SITE_MAX 16
#define BUILD_ID_MIN 8
#define BUILD_ID_MAX 32
#define CULPRIT_MAX 15
#define OFFSET_MAX (1ull << 40)

static const char *const kinds[] = {"store", "call", NULL};
static const char *const effects[] = {"unknown", "string-copy", "string-append", "string-append-n",
				      "length",	 "print",	"print-v",	 "vector",
				      "gets",	 "scan",	"format",	 NULL};
static const char *const bounds[] = {"frame", "caller", "module", "chunk", "argument", NULL};

static const struct field fields[] = {
	TEXT(vm),
	NUMBER(incident),
	NUMBER(time_ms),
	TEXT(reason),
	TEXT(path),
	BYTES(build_id),
	COUNT(bits),
	TEXT(strategy),
	TEXT(home),
	ADDRESS(site_offset),
	BYTES(original),
	BYTES(before),
	BYTES(after),
	ADDRESS(guard_offset),
	BYTES(guard),
	ADDRESS(routine_offset),
	BYTES(routine),
	COUNT(part_at),
	COUNT(culprit_at),
	COUNT(lower),
	ADDRESS(culprit_offset),
	COUNT(culprit_len),
	NAME(kind, kinds),
	NAME(effect, effects),
	NAME(bound, bounds),
	COUNT(cfa_reg),
	NUMBER(cfa_offset),
	NUMBER(start_offset),
	NUMBER(end_offset),
	ADDRESS(caller_return),
	NUMBER(caller_slot),
	COUNT(part_of),
	ADDRESS(error_offset),
	COUNT(error_length),
	FIELD(FIELD_FLAG, pointer_store),
};

#define N_FIELDS (sizeof(fields) / sizeof(fields[0]))

/* Since version 2. */
static const struct field caller_field = BYTES(caller_build_id);

static const struct field event_fields[] = {
	FIELD_OF(patch_event, FIELD_NUMBER, time_ms),
	FIELD_OF(patch_event, FIELD_TEXT, text),
};

#define N_EVENT_FIELDS (sizeof(event_fields) / sizeof(event_fields[0]))

const char *patch_state_name(enum patch_state s)
{
	static const char *const names[] = {
		[PATCH_ACTIVE] = "active", [PATCH_REVERTED] = "reverted", [PATCH_PROPOSED] = "proposed"};

	return (unsigned)s < sizeof(names) / sizeof(names[0]) ? names[s] : "unknown";
}

static json_t *history_to_json(const struct patch_record *r)
{
	json_t *list = json_array();

	for (unsigned i = 0; list && i < r->n_history && i < PATCH_RECORD_HISTORY_MAX; i++) {
		json_t *j = json_object();

		if (!j || fields_to_json(event_fields, N_EVENT_FIELDS, &r->history[i], j) < 0 ||
		    json_array_append(list, j) < 0) {
			json_decref(list);
			list = NULL;
		}
		json_decref(j);
	}
	return list;
}

unsigned patch_record_version(const struct patch_record *r)
{
	return r->caller_build_id.len ? 2 : 1;
}

json_t *patch_record_to_json(const struct patch_record *r)
{
	json_t *j = json_object();

	if (!j)
		return NULL;
	if (fields_to_json(fields, N_FIELDS, r, j) == 0 &&
	    (patch_record_version(r) < 2 || fields_to_json(&caller_field, 1, r, j) == 0) &&
	    json_object_set_new(j, "history", history_to_json(r)) == 0)
		return j;
	json_decref(j);
	return NULL;
}

static int history_from_json(const json_t *list, struct patch_record *ret, struct err *e)
{
	const json_t *j;
	size_t i;

	if (!json_is_array(list) || json_array_size(list) > PATCH_RECORD_HISTORY_MAX)
		return err_set(e, ERR_PROTOCOL, "history: not a list of at most %d", PATCH_RECORD_HISTORY_MAX);
	json_array_foreach (list, i, j) {
		if (json_object_size(j) != N_EVENT_FIELDS)
			return err_set(e, ERR_PROTOCOL, "history: an entry is not a time and a text");
		if (fields_from_json(event_fields, N_EVENT_FIELDS, j, true, &ret->history[i], e) < 0)
			return err_prefix(e, "history");
	}
	ret->n_history = (unsigned)json_array_size(list);
	return 0;
}

int patch_record_from_json(const json_t *j, unsigned version, struct patch_record *ret, struct err *e)
{
	size_t n_since = version >= 2 ? 1 : 0;
	struct patch_record r = {0};

	if (!json_is_object(j))
		return err_set(e, ERR_PROTOCOL, "not a JSON object");
	if (fields_from_json(fields, N_FIELDS, j, true, &r, e) < 0 ||
	    fields_from_json(&caller_field, n_since, j, true, &r, e) < 0 ||
	    history_from_json(json_object_get(j, "history"), &r, e) < 0)
		return -1;
	if (json_object_size(j) != N_FIELDS + n_since + 1)
		return err_set(e, ERR_PROTOCOL, "it has members that version %u does not know", version);
	if (n_since && (r.caller_build_id.len < BUILD_ID_MIN || r.caller_build_id.len > BUILD_ID_MAX))
		return err_set(e, ERR_PROTOCOL, "caller_build_id: not %d to %d bytes", BUILD_ID_MIN, BUILD_ID_MAX);
	if (patch_record_check(&r, e) < 0)
		return -1;
	*ret = r;
	return 0;
}

static int check_target(const struct patch_record *r, struct err *e)
{
	if (r->path[0] != '/')
		return err_set(e, ERR_PROTOCOL, "path: not from the root");
	if (r->build_id.len < BUILD_ID_MIN || r->build_id.len > BUILD_ID_MAX)
		return err_set(e, ERR_PROTOCOL, "build_id: not %d to %d bytes", BUILD_ID_MIN, BUILD_ID_MAX);
	if (r->bits != 32 && r->bits != 64)
		return err_set(e, ERR_PROTOCOL, "bits: neither 32 nor 64");
	if (!r->strategy[0] || r->strategy[strspn(r->strategy, "abcdefghijklmnopqrstuvwxyz-")])
		return err_set(e, ERR_PROTOCOL, "strategy: not a name");
	if (strcmp(r->home, "cave") != 0 && strcmp(r->home, "process") != 0)
		return err_set(e, ERR_PROTOCOL, "home: neither cave nor process");
	return 0;
}

static int check_culprit(const struct patch_record *r, struct err *e)
{
	uint64_t at = r->culprit_offset - r->site_offset;

	if (!r->culprit_len || r->culprit_len > CULPRIT_MAX || at >= r->before.len ||
	    r->culprit_len > r->before.len - at)
		return err_set(e, ERR_PROTOCOL, "culprit_offset: not among the bytes that are replaced");
	if (r->part_at > UINT8_MAX || r->culprit_at > UINT8_MAX || r->lower > UINT16_MAX || r->cfa_reg > 15)
		return err_set(e, ERR_PROTOCOL, "part_at, culprit_at, lower or cfa_reg: out of range");
	return 0;
}

static bool all_are(const uint8_t *p, size_t n, uint8_t value)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] != value)
			return false;
	return true;
}

/* A jump with nothing but padding behind it, or a call with nothing but padding before it, to the guard's beginning. */
static bool leads_to_guard(const struct patch_record *r)
{
	static const uint8_t jump = 0xe9, call = 0xe8, nop = 0x90;
	const uint8_t *p = r->after.byte;
	size_t len = r->after.len, at = 0;
	int32_t distance;

	if (p[0] != jump || !all_are(p + SITE_MIN, len - SITE_MIN, nop)) {
		at = len - SITE_MIN;
		if (p[at] != call || !all_are(p, at, nop))
			return false;
	}
	memcpy(&distance, p + at + 1, sizeof(distance));
	return r->site_offset + at + SITE_MIN + (uint64_t)(int64_t)distance == r->guard_offset;
}

int patch_record_check(const struct patch_record *r, struct err *e)
{
	bool in_file = strcmp(r->home, "cave") == 0;

	if (check_target(r, e) < 0)
		return -1;
	if (r->before.len < SITE_MIN || r->before.len > SITE_MAX || r->after.len != r->before.len ||
	    r->original.len != r->before.len)
		return err_set(e, ERR_PROTOCOL, "original, before and after: not the same %d to %d bytes long",
			       SITE_MIN, SITE_MAX);
	if (!r->guard.len)
		return err_set(e, ERR_PROTOCOL, "guard: empty");
	if (r->site_offset > OFFSET_MAX || r->routine_offset > OFFSET_MAX ||
	    (in_file && (r->guard_offset > OFFSET_MAX || r->guard_offset < r->site_offset + r->before.len)))
		return err_set(e, ERR_PROTOCOL, "site_offset, guard_offset or routine_offset: out of range");
	if (!leads_to_guard(r))
		return err_set(e, ERR_PROTOCOL, "after: not a jump or a call to the guard");
	return check_culprit(r, e);
}

static bool same_bytes(const struct field_bytes *a, const struct field_bytes *b)
{
	return a->len == b->len && memcmp(a->byte, b->byte, a->len) == 0;
}

bool patch_record_same(const struct patch_record *a, const struct patch_record *b)
{
	return same_bytes(&a->build_id, &b->build_id) && a->site_offset == b->site_offset &&
	       a->guard_offset == b->guard_offset && a->routine_offset == b->routine_offset &&
	       same_bytes(&a->before, &b->before) && same_bytes(&a->after, &b->after) &&
	       same_bytes(&a->guard, &b->guard) && same_bytes(&a->routine, &b->routine);
}
