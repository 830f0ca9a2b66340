/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A patch that makes sense, for tests of what keeps patches. */
#ifndef CLOUDER_TESTS_PATCH_RECORD_H
#define CLOUDER_TESTS_PATCH_RECORD_H

#include "store/patch_record.h"

static inline struct patch_record sample_record(void)
{
	return (struct patch_record){
		.vm = "web",
		.incident = 3,
		.time_ms = 1700000000000,
		.reason = "tainted-return: stack object, 64 bytes",
		.path = "/usr/bin/server",
		.build_id = {20, {1, 2, 3, 4, 5}},
		.bits = 64,
		.strategy = "store-guard",
		.home = "cave",
		.site_offset = 0x1000,
		.original = {7, {0x88, 0x84, 0x05, 0xb0, 0xff, 0xff, 0xff}},
		.before = {7, {0x88, 0x84, 0x05, 0xb0, 0xff, 0xff, 0xff}},
		.after = {7, {0xe9, 0xfb, 0x1f, 0, 0, 0x90, 0x90}}, /* to 0x1005 + 0x1ffb */
		.guard_offset = 0x3000,
		.guard = {6, {0x90, 0xe9, 1, 2, 3, 4}},
		.part_at = 0,
		.culprit_at = 1,
		.lower = 144,
		.culprit_offset = 0x1000,
		.culprit_len = 7,
		.cfa_reg = 5,
		.cfa_offset = 16,
		.start_offset = -96,
		.end_offset = -32,
		.history = {{1700000000000, "made"}},
		.n_history = 1,
	};
}

#endif
