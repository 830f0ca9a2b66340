/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Incidents to JSON and back, by one table of fields.
 *
 * Addresses are strings ("0x7ffd0010"), because a JSON number cannot carry 64 bits everywhere; counts and times
 * are numbers. Bytes that are not UTF-8 (the guest chooses names) become '?'.
 */
#include "store/incident.h"

#include <assert.h>
#include <glib.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_FIELD_MAX 4096

enum field_type { FIELD_TEXT, FIELD_ADDRESS, FIELD_COUNT, FIELD_NUMBER, FIELD_STATE };

struct field {
	const char *name;
	enum field_type type;
	size_t offset, size;
};

#define FIELD(type, member)                                                                                            \
	{                                                                                                              \
#member, type, offsetof(struct incident, member), sizeof(((struct incident *)0)->member)               \
	}
#define TEXT(member) FIELD(FIELD_TEXT, member)
#define ADDRESS(member) FIELD(FIELD_ADDRESS, member) /* uint64_t, hexadecimal text */
#define COUNT(member) FIELD(FIELD_COUNT, member) /* unsigned, 4 or 8 bytes */
#define NUMBER(member) FIELD(FIELD_NUMBER, member) /* signed, 4 or 8 bytes */

static const struct field fields[] = {
	NUMBER(id),
	TEXT(vm),
	NUMBER(time_ms),
	FIELD(FIELD_STATE, state),
	TEXT(failure),
	TEXT(vm_state),
	TEXT(detector),
	ADDRESS(detect_pc),
	ADDRESS(object_address),
	ADDRESS(object_value),
	COUNT(object_len),
	COUNT(tainted_bytes),
	TEXT(origin),
	NUMBER(pid),
	TEXT(comm),
	TEXT(module),
	TEXT(build_id),
	ADDRESS(culprit),
	ADDRESS(culprit_offset),
	TEXT(culprit_bytes),
	TEXT(culprit_text),
	ADDRESS(function),
	ADDRESS(start_address),
	ADDRESS(error_address),
	COUNT(run_length),
	NUMBER(start_offset),
	NUMBER(end_offset),
	TEXT(bound),
	TEXT(object_text),
	NUMBER(confidence),
	TEXT(strategy),
	TEXT(home),
	ADDRESS(site),
	ADDRESS(guard_at),
	ADDRESS(site_offset),
	ADDRESS(guard_offset),
	COUNT(bug_len),
	COUNT(also_guarded),
	COUNT(guard_len),
	TEXT(before),
	TEXT(after),
	TEXT(before_text),
	TEXT(guard_hex),
	TEXT(guard_text),
	NUMBER(checkpoint_id),
	NUMBER(checkpoint_age_us),
	COUNT(pages_undone),
	COUNT(frames_replayed),
	NUMBER(t_detect_us),
	NUMBER(t_locate_us),
	NUMBER(t_recover_us),
	NUMBER(t_insert_us),
	NUMBER(t_total_us),
};

static const char *const state_names[] = {
	[INCIDENT_DETECTED] = "detected",   [INCIDENT_LOCATED] = "located", [INCIDENT_PATCHED] = "patched",
	[INCIDENT_RECOVERED] = "recovered", [INCIDENT_FAILED] = "failed",
};

#define N_STATES (sizeof(state_names) / sizeof(state_names[0]))

const char *incident_state_name(enum incident_state s)
{
	return (unsigned)s < N_STATES ? state_names[s] : "unknown";
}

/* In these, at points to the member and size is its size. */

static json_t *text_out(const void *at, size_t size)
{
	char copy[TEXT_FIELD_MAX];
	const char *bad;

	assert(size <= sizeof(copy));
	memcpy(copy, at, size);
	copy[size - 1] = 0;
	for (const char *p = copy; !g_utf8_validate(p, -1, &bad); p = bad + 1)
		copy[bad - copy] = '?';
	return json_string(copy);
}

static int text_in(const json_t *j, void *at, size_t size, struct err *e)
{
	size_t len = json_string_length(j);

	if (!json_is_string(j))
		return err_set(e, ERR_PROTOCOL, "not a string");
	if (len >= size || strlen(json_string_value(j)) != len)
		return err_set(e, ERR_PROTOCOL, "string too long, or with a NUL in it");
	memset(at, 0, size);
	memcpy(at, json_string_value(j), len);
	return 0;
}

static json_t *address_out(const void *at, size_t size)
{
	uint64_t v;

	assert(size == sizeof(v));
	memcpy(&v, at, sizeof(v));
	return json_sprintf("0x%llx", (unsigned long long)v);
}

static int address_in(const json_t *j, void *at, size_t size, struct err *e)
{
	const char *s = json_string_value(j);
	size_t digits;
	uint64_t v;

	if (!s || strncmp(s, "0x", 2) != 0)
		return err_set(e, ERR_PROTOCOL, "not an address (\"0x...\")");
	digits = strspn(s + 2, "0123456789abcdefABCDEF");
	if (digits < 1 || digits > 16 || digits + 2 != json_string_length(j))
		return err_set(e, ERR_PROTOCOL, "not a 64-bit hexadecimal number");
	v = strtoull(s + 2, NULL, 16);
	memcpy(at, &v, size);
	return 0;
}

static json_t *count_out(const void *at, size_t size)
{
	uint64_t v = 0;

	memcpy(&v, at, size); /* little-endian, as everything here */
	return json_integer(v > INT64_MAX ? INT64_MAX : (json_int_t)v);
}

static int count_in(const json_t *j, void *at, size_t size, struct err *e)
{
	json_int_t v = json_integer_value(j);

	if (!json_is_integer(j) || v < 0 || (size == 4 && v > UINT32_MAX))
		return err_set(e, ERR_PROTOCOL, "not a count that fits");
	memcpy(at, &v, size);
	return 0;
}

static json_t *number_out(const void *at, size_t size)
{
	int64_t v;
	int32_t half;

	if (size == sizeof(half)) {
		memcpy(&half, at, size);
		v = half;
	} else {
		memcpy(&v, at, sizeof(v));
	}
	return json_integer(v);
}

static int number_in(const json_t *j, void *at, size_t size, struct err *e)
{
	json_int_t v = json_integer_value(j);

	if (!json_is_integer(j) || (size == 4 && (v < INT32_MIN || v > INT32_MAX)))
		return err_set(e, ERR_PROTOCOL, "not a whole number that fits");
	memcpy(at, &v, size);
	return 0;
}

static json_t *state_out(const void *at, size_t size)
{
	enum incident_state s;

	memcpy(&s, at, size);
	return json_string(incident_state_name(s));
}

static int state_in(const json_t *j, void *at, size_t size, struct err *e)
{
	const char *name = json_string_value(j);

	for (enum incident_state s = 0; name && s < N_STATES; s++) {
		if (strcmp(name, state_names[s]) == 0) {
			memcpy(at, &s, size);
			return 0;
		}
	}
	return err_set(e, ERR_PROTOCOL, "not a state");
}

static const struct {
	json_t *(*out)(const void *at, size_t size);
	int (*in)(const json_t *j, void *at, size_t size, struct err *e);
} types[] = {
	[FIELD_TEXT] = {text_out, text_in},    [FIELD_ADDRESS] = {address_out, address_in},
	[FIELD_COUNT] = {count_out, count_in}, [FIELD_NUMBER] = {number_out, number_in},
	[FIELD_STATE] = {state_out, state_in},
};

json_t *incident_to_json(const struct incident *in)
{
	json_t *j = json_object();

	if (!j)
		return NULL;
	if (json_object_set_new(j, "format", json_integer(INCIDENT_FORMAT_VERSION)) < 0)
		goto fail;
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		const struct field *f = &fields[i];

		if (json_object_set_new(j, f->name, types[f->type].out((const char *)in + f->offset, f->size)) < 0)
			goto fail;
	}
	return j;
fail:
	json_decref(j);
	return NULL;
}

int incident_from_json(const json_t *j, struct incident *ret, struct err *e)
{
	struct incident in = {0};
	const json_t *format;

	if (!json_is_object(j))
		return err_set(e, ERR_PROTOCOL, "incident: not a JSON object");
	format = json_object_get(j, "format");
	if (format && (!json_is_integer(format) || json_integer_value(format) < 1))
		return err_set(e, ERR_PROTOCOL, "incident: format: not a version");
	if (format && json_integer_value(format) > INCIDENT_FORMAT_VERSION)
		return err_set(e, ERR_PROTOCOL, "incident: made by a newer clouder (format %lld, this one knows %d)",
			       (long long)json_integer_value(format), INCIDENT_FORMAT_VERSION);
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		const struct field *f = &fields[i];
		const json_t *value = json_object_get(j, f->name);

		if (value && types[f->type].in(value, (char *)&in + f->offset, f->size, e) < 0)
			return err_prefix(e, "incident: %s", f->name);
	}
	*ret = in;
	return 0;
}
