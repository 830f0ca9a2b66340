/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Incidents to JSON and back, by one table of fields. */
#include "store/incident.h"

#include <stddef.h>

#include "store/fields.h"

#define FIELD(type, member) FIELD_OF(incident, type, member)
#define TEXT(member) FIELD(FIELD_TEXT, member)
#define ADDRESS(member) FIELD(FIELD_ADDRESS, member) /* uint64_t, hexadecimal text */
#define COUNT(member) FIELD(FIELD_COUNT, member) /* unsigned, 4 or 8 bytes */
#define NUMBER(member) FIELD(FIELD_NUMBER, member) /* signed, 4 or 8 bytes */

static const char *const state_names[] = {
	[INCIDENT_DETECTED] = "detected",   [INCIDENT_LOCATED] = "located", [INCIDENT_PATCHED] = "patched",
	[INCIDENT_RECOVERED] = "recovered", [INCIDENT_FAILED] = "failed",   NULL,
};

#define N_STATES (sizeof(state_names) / sizeof(state_names[0]) - 1)

static const struct field fields[] = {
	NUMBER(id),
	TEXT(vm),
	NUMBER(time_ms),
	{"state", FIELD_NAME, offsetof(struct incident, state), sizeof(enum incident_state), state_names},
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
	NUMBER(patch_id),
	TEXT(patch_state),
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

#define N_FIELDS (sizeof(fields) / sizeof(fields[0]))

const char *incident_state_name(enum incident_state s)
{
	return (unsigned)s < N_STATES ? state_names[s] : "unknown";
}

json_t *incident_to_json(const struct incident *in)
{
	json_t *j = json_object();

	if (!j)
		return NULL;
	if (json_object_set_new(j, "format", json_integer(INCIDENT_FORMAT_VERSION)) == 0 &&
	    fields_to_json(fields, N_FIELDS, in, j) == 0)
		return j;
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
	if (fields_from_json(fields, N_FIELDS, j, false, &in, e) < 0)
		return err_prefix(e, "incident");
	*ret = in;
	return 0;
}
