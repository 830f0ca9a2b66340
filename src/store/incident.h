/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An incident: one detection with all that followed, as it is kept, printed and sent. Plain text
 * and numbers only, so that the store, the reports and the CLI need nothing of the engine's side.
 */
#ifndef CLOUDER_STORE_INCIDENT_H
#define CLOUDER_STORE_INCIDENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define INCIDENT_FORMAT_VERSION 1

enum incident_state {
	INCIDENT_DETECTED,
	INCIDENT_LOCATED,
	INCIDENT_PATCHED, /* patch made */
	INCIDENT_RECOVERED, /* rolled back, patch in, running */
	INCIDENT_FAILED, /* something on the way did not work; failure says what; the VM went on or not as vm_state says */
};

struct incident {
	int64_t id; /* from the store; 0: not stored yet */
	char vm[64];
	int64_t time_ms; /* Unix time of the detection */
	enum incident_state state;
	char failure[320]; /* "" if none */
	char vm_state[32]; /* "running", "held", "ended" */

	/* detection */
	char detector[32]; /* "tainted-return" */
	uint64_t detect_pc, object_address, object_value;
	uint32_t object_len, tainted_bytes;
	char origin[192]; /* "TCP 10.0.2.2:51034 -> 10.0.2.15:7, payload bytes 112..118" */

	/* process and culprit */
	int32_t pid;
	char comm[20];
	char module[256], build_id[65];
	uint64_t culprit, culprit_offset; /* address in the process; file offset */
	char culprit_bytes[48], culprit_text[96];
	uint64_t function;
	uint64_t start_address, error_address, run_length;
	int64_t start_offset, end_offset; /* from the CFA */
	char bound[16]; /* "frame", "caller", "module", "chunk", "argument" */
	char object_text[96];
	int confidence;

	/* patch */
	char strategy[32], home[16];
	uint64_t site, guard_at, site_offset, guard_offset;
	uint32_t bug_len, guard_len;
	uint32_t also_guarded; /* other stores into the same object that got a guard too */
	char before[64], after[64]; /* hex */
	char before_text[512], guard_hex[320], guard_text[4096];

	int64_t patch_id; /* its number in the store; 0: there is none, or it could not be stored */
	char patch_state[16]; /* "active", "proposed": what it was when it was stored */

	/* recovery */
	int64_t checkpoint_id;
	int64_t checkpoint_age_us; /* at the time of the detection */
	uint64_t pages_undone, frames_replayed;

	/* the paper's columns, microseconds */
	int64_t t_detect_us, t_locate_us, t_recover_us, t_insert_us, t_total_us;
};

const char *incident_state_name(enum incident_state s);
/* New object, all fields. NULL only without memory. */
json_t *incident_to_json(const struct incident *in);
/* Strict about types, lenient about missing fields. */
int incident_from_json(const json_t *j, struct incident *ret, struct err *e) MUST_CHECK;

#endif
