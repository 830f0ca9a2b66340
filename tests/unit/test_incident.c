/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Incidents to JSON and back: nothing lost, nothing hostile let in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "store/incident.h"

/* Every byte of every text set, every number at an edge. */
static struct incident full_incident(void)
{
	struct incident in = {
		.id = 7,
		.vm = "web",
		.time_ms = 1700000000123,
		.state = INCIDENT_RECOVERED,
		.failure = "none",
		.vm_state = "running",
		.detector = "tainted-return",
		.detect_pc = 0x4012f3,
		.object_address = 0xffffffff81000000u,
		.object_value = UINT64_MAX,
		.object_len = UINT32_MAX,
		.tainted_bytes = 8,
		.origin = "TCP 10.0.2.2:51034 -> 10.0.2.15:7, payload bytes 112..118",
		.pid = -2,
		.comm = "echo\x1b[2J",
		.module = "/bin/\xc3\xa9\\\"x",
		.build_id = "0123456789abcdef",
		.culprit = 0x401234,
		.culprit_offset = 0x1234,
		.culprit_bytes = "8802",
		.culprit_text = "mov byte ptr [rdx], al",
		.function = 0x4011f6,
		.start_address = 0x7ffd0000,
		.error_address = 0x7ffd0078,
		.run_length = INT64_MAX,
		.start_offset = INT64_MIN,
		.end_offset = -16,
		.bound = "frame",
		.object_text = "stack object of 0x4011f6, 112 bytes",
		.confidence = 95,
		.strategy = "store-guard",
		.home = "cave",
		.site = 0x401234,
		.guard_at = 0x402f80,
		.site_offset = 0x1234,
		.guard_offset = 0x2f80,
		.bug_len = 5,
		.guard_len = 61,
		.before = "880248ffc2",
		.after = "e9471d0000",
		.before_text = "a\nb\n",
		.guard_hex = "9c",
		.checkpoint_id = 12,
		.checkpoint_age_us = 34500,
		.pages_undone = 123,
		.frames_replayed = 4,
		.t_detect_us = 50,
		.t_locate_us = 4213,
		.t_recover_us = 30001,
		.t_insert_us = 7,
		.t_total_us = 34271,
	};

	memset(in.guard_text, 'g', sizeof(in.guard_text) - 1);
	return in;
}

static void test_round_trip(void **state)
{
	struct incident in = full_incident(), back;
	json_t *j = incident_to_json(&in), *parsed;
	char *text = json_dumps(j, JSON_ENSURE_ASCII);
	struct err e;

	(void)state;
	parsed = json_loads(text, 0, NULL);
	assert_non_null(parsed);
	assert_int_equal(incident_from_json(parsed, &back, &e), 0);
	assert_memory_equal(&back, &in, sizeof(in));
	assert_string_equal(json_string_value(json_object_get(j, "object_address")), "0xffffffff81000000");
	assert_string_equal(json_string_value(json_object_get(j, "state")), "recovered");
	json_decref(parsed);
	json_decref(j);
	free(text);
}

static void test_not_utf8(void **state)
{
	struct incident in = {.comm = "a\xff\xc3(\xed\xa0\x80z"}, back;
	json_t *j = incident_to_json(&in);
	struct err e;

	(void)state;
	assert_non_null(j);
	assert_int_equal(incident_from_json(j, &back, &e), 0);
	assert_string_equal(back.comm, "a?\?(???z");
	json_decref(j);
}

static void test_no_nul_and_wild_state(void **state)
{
	struct incident in = {.state = (enum incident_state)99}, back;
	struct err e;
	json_t *j;

	(void)state;
	memset(in.comm, 'c', sizeof(in.comm));
	j = incident_to_json(&in);
	assert_int_equal(json_string_length(json_object_get(j, "comm")), sizeof(in.comm) - 1);
	assert_int_equal(incident_from_json(j, &back, &e), -1);
	assert_non_null(strstr(e.text, "state"));
	json_decref(j);
}

static void test_missing_is_zero(void **state)
{
	json_t *j = json_pack("{s:s, s:s}", "vm", "x", "of-the-future", "ignored");
	struct incident in, zero = {.vm = "x"};
	struct err e;

	(void)state;
	memset(&in, 0xa5, sizeof(in));
	assert_int_equal(incident_from_json(j, &in, &e), 0);
	assert_memory_equal(&in, &zero, sizeof(in));
	json_decref(j);
}

static void test_hostile(void **state)
{
	static const char *const bad[] = {
		"[]",
		"{\"vm\": 3}",
		"{\"vm\": null}",
		"{\"vm\": \"0123456789012345678901234567890123456789012345678901234567890123\"}",
		"{\"vm\": \"a\\u0000b\"}",
		"{\"culprit\": 12}",
		"{\"culprit\": \"12\"}",
		"{\"culprit\": \"0x\"}",
		"{\"culprit\": \"0x-1\"}",
		"{\"culprit\": \"0x12 \"}",
		"{\"culprit\": \"0x12\\u0000\"}",
		"{\"culprit\": \"0x11112222333344445\"}",
		"{\"run_length\": -1}",
		"{\"run_length\": 1.5}",
		"{\"object_len\": 4294967296}",
		"{\"pid\": 2147483648}",
		"{\"pid\": \"1\"}",
		"{\"confidence\": -2147483649}",
		"{\"state\": \"unknown\"}",
		"{\"state\": 1}",
		"{\"format\": 2}",
		"{\"format\": \"1\"}",
		"{\"format\": 0}",
	};
	struct incident in, before;
	struct err e;

	(void)state;
	memset(&before, 0x5a, sizeof(before));
	in = before;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		json_t *j = json_loads(bad[i], JSON_ALLOW_NUL, NULL);

		assert_non_null(j);
		e.code = ERR_OK;
		if (incident_from_json(j, &in, &e) != -1)
			fail_msg("accepted: %s", bad[i]);
		assert_int_equal(e.code, ERR_PROTOCOL);
		assert_memory_equal(&in, &before, sizeof(in));
		json_decref(j);
	}
	assert_int_equal(incident_from_json(NULL, &in, &e), -1);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_not_utf8),
		cmocka_unit_test(test_no_nul_and_wild_state),
		cmocka_unit_test(test_missing_is_zero),
		cmocka_unit_test(test_hostile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
