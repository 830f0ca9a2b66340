/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Incidents as text: what has to be there, and that nothing of the guest's reaches a terminal raw. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/term.h"
#include "report/report.h"

static const struct incident sample = {
	.id = 7,
	.vm = "web",
	.time_ms = 1700000000123,
	.state = INCIDENT_RECOVERED,
	.vm_state = "running",
	.detector = "tainted-return",
	.detect_pc = 0x4012f3,
	.object_address = 0x7ffd0078,
	.object_value = 0xffffffffdeadbeef,
	.object_len = 8,
	.tainted_bytes = 6,
	.origin = "TCP 10.0.2.2:51034 -> 10.0.2.15:7, payload bytes 112..118",
	.pid = 77,
	.comm = "echo",
	.module = "/bin/echo",
	.build_id = "0123abcd",
	.culprit = 0x401234,
	.culprit_offset = 0x1234,
	.culprit_bytes = "8802",
	.culprit_text = "mov byte ptr [rdx], al",
	.function = 0x4011f6,
	.start_address = 0x7ffd0000,
	.error_address = 0x7ffd0078,
	.run_length = 120,
	.start_offset = -128,
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
	.after = "e9 47 1d 00 00",
	.before_text = "0x401234  88 02  mov byte ptr [rdx], al\n0x401236  48 ff c2  inc rdx\n",
	.guard_text = "0x402f80  9c  pushfq\n0x402f81  9d  popfq",
	.checkpoint_id = 12,
	.checkpoint_age_us = 34500,
	.pages_undone = 123,
	.frames_replayed = 4,
	.t_detect_us = 50,
	.t_locate_us = 4213,
	.t_recover_us = 30001,
	.t_insert_us = 7,
	.t_total_us = 12034271,
};

enum form { WHOLE, LINE, EVENT };

/* The result holds until the next call. */
static char *render(enum form form, const char *event, const struct incident *in, bool colour)
{
	static char text[32768];
	FILE *f = fmemopen(text, sizeof(text), "w");

	assert_non_null(f);
	if (form == WHOLE)
		report_incident(f, in, colour);
	else if (form == LINE)
		report_incident_line(f, in, colour);
	else
		report_event(f, event, in, colour);
	fclose(f);
	return text;
}

static void contains(const char *text, const char *const *what)
{
	for (; *what; what++)
		if (!strstr(text, *what))
			fail_msg("\"%s\" is not in:\n%s", *what, text);
}

static void test_whole(void **state)
{
	static const char *const what[] = {
		"Incident 7 of VM web, 20",
		": recovered\n",
		"\nDetection\n",
		"tainted-return at 0x4012f3",
		"6 of the 8 bytes at 0x7ffd0078, which hold 0xffffffffdeadbeef",
		"payload bytes 112..118",
		"\nCulprit\n",
		"77 (echo)",
		"0x401234  88 02  mov byte ptr [rdx], al",
		"/bin/echo, file offset 0x1234",
		"0123abcd",
		"0x4011f6\n",
		"\nObject\n",
		"stack object of 0x4011f6, 112 bytes",
		"start_address   0x7ffd0000  (first byte of a run of 120)",
		"error_address   0x7ffd0078\n",
		"CFA-128 up to, not with, CFA-16 (frame), confidence 95 of 100",
		"\nPatch\n",
		"store-guard, home: cave",
		"0x401234, 5 bytes (file offset 0x1234)",
		"bytes before    88 02 48 ff c2\n",
		"                  0x401236  48 ff c2  inc rdx\n",
		"bytes after     e9 47 1d 00 00\n",
		"0x402f80, 61 bytes (file offset 0x2f80)",
		"                  0x402f81  9d  popfq\n",
		"\nRecovery\n",
		"12, 0.035 s before the detection",
		"123 pages put back, 4 frames to deliver again",
		"\nTimes\n",
		"locator & generator",
		NULL,
	};
	char *text = render(WHOLE, NULL, &sample, false);

	(void)state;
	contains(text, what);
	assert_null(strstr(text, "Failure"));
	assert_null(strchr(text, '\033'));
}

/* Each figure ends where its column's title ends, and they are in the paper's order. */
static void test_times(void **state)
{
	static const char *const rows[][5] = {
		{"detector", "locator & generator", "save & recovery", "patch inserter", "total"},
		{"0.000050 s", "0.004213 s", "0.030001 s", "0.000007 s", "12.034271 s"},
		{"0.419    s", "1.789    s", "3.956    s", "1.127    s", "7.291    s"},
	};
	char *text = render(WHOLE, NULL, &sample, false);
	const char *line = strstr(text, "\nTimes\n");
	long end[5];

	(void)state;
	assert_non_null(line);
	line = strchr(line + 1, '\n') + 1;
	for (size_t r = 0; r < 3; r++, line = strchr(line, '\n') + 1) {
		for (size_t i = 0; i < 5; i++) {
			const char *at = strstr(line, rows[r][i]);
			long this_end;

			if (!at || at > strchr(line, '\n'))
				fail_msg("\"%s\" is not in its line:\n%s", rows[r][i], line);
			this_end = at - line + (long)strlen(rows[r][i]);
			if (r == 0)
				end[i] = this_end;
			assert_int_equal(this_end, end[i]);
		}
	}
}

static void test_colour(void **state)
{
	char *text = render(WHOLE, NULL, &sample, true);
	const char *p = text;
	int on = 0;

	(void)state;
	assert_non_null(strstr(text, "\033[32m"));
	/* Every colour is put back before the line ends. */
	for (; *p; p++) {
		if (*p == '\033')
			on = strncmp(p, "\033[0m", 4) != 0;
		if (*p == '\n')
			assert_false(on);
	}
}

#define EVIL "a\033[2J\r\n\x9b\xe2\x80\xae\\z"
#define EVIL_SHOWN "a\\x1b[2J\\x0d\\x0a\\x9b\\xe2\\x80\\xae\\\\z"

static void test_hostile_strings(void **state)
{
	struct incident in = sample;
	char *const fields[] = {in.comm, in.module, in.origin, in.failure, in.culprit_text, in.object_text, in.vm};
	static const char *const shown[] = {EVIL_SHOWN, NULL};
	char *text;

	(void)state;
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		strcpy(fields[i], EVIL);
	strcpy(in.before, "88\033[2J");
	strcpy(in.guard_text, "x\033[1A\ny\r");
	strcpy(in.bound, "\033c");
	for (enum form form = WHOLE; form <= EVENT; form++) {
		static const char *const events[] = {"detected",  "located", "patched",	   "rolled-back",
						     "recovered", "failed",  "\033[31mnew"};

		for (size_t k = 0; k < (form == EVENT ? 7 : 1); k++) {
			text = render(form, events[k], &in, false);
			contains(text, shown);
			for (const char *p = text; *p; p++)
				if (*p != '\n' && (*p < 0x20 || *p > 0x7e))
					fail_msg("raw byte 0x%02x in:\n%s", (unsigned char)*p, text);
		}
	}
}

static void test_line(void **state)
{
	struct incident in = sample;
	static const char *const located[] = {"     7  20", "  web  ", "recovered", "/bin/echo+0x1234  mov byte", NULL};
	static const char *const detected[] = {"tainted-return at 0x4012f3", "no cave", NULL};
	char *text = render(LINE, NULL, &in, false);

	(void)state;
	contains(text, located);
	assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
	in.culprit = 0;
	strcpy(in.failure, "no cave");
	text = render(LINE, NULL, &in, false);
	contains(text, detected);
}

static void test_events(void **state)
{
	static const struct {
		const char *event;
		const char *what[6];
	} rows[] = {
		{"detected", {"[web #7] DETECTED", "Detection", "payload bytes 112..118"}},
		{"located", {"LOCATED", "mov byte ptr", "start_address", "error_address", "112 bytes"}},
		{"patched", {"PATCH MADE", "bytes before", "bytes after", "pushfq"}},
		{"rolled-back", {"ROLLED BACK", "123 pages"}},
		{"recovered", {"RECOVERED", "Times", "1.789", "12.034271 s"}},
		{"failed", {"FAILED", "Failure", "no cave"}},
		{"checkpoint", {"[web #7] checkpoint\n"}},
	};
	struct incident in = sample;

	(void)state;
	strcpy(in.failure, "no cave");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *text = render(EVENT, rows[i].event, &in, false);

		contains(text, rows[i].what);
	}
}

/* An incident that got no further than nothing at all is still printed. */
static void test_empty(void **state)
{
	static const struct incident empty = {.time_ms = -1, .state = (enum incident_state)42};
	static const char *const what[] = {"unknown", "strategy        none", NULL};
	char *text = render(WHOLE, NULL, &empty, false);

	(void)state;
	contains(text, what);
}

static void test_wants_colour(void **state)
{
	FILE *f = tmpfile();

	(void)state;
	assert_false(term_wants_colour(fileno(f)));
	setenv("NO_COLOR", "1", 1);
	assert_false(term_wants_colour(STDOUT_FILENO));
	unsetenv("NO_COLOR");
	fclose(f);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole), cmocka_unit_test(test_times),	      cmocka_unit_test(test_colour),
		cmocka_unit_test(test_line),  cmocka_unit_test(test_hostile_strings), cmocka_unit_test(test_events),
		cmocka_unit_test(test_empty), cmocka_unit_test(test_wants_colour),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
