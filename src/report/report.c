/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Incidents as text: see report.h. Rows are "label  value", addresses hexadecimal. */
#include "report/report.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>
#include <time.h>

#include "base/term.h"

#define LABEL_WIDTH 15

enum ink { INK_PLAIN, INK_BOLD, INK_DIM, INK_RED, INK_GREEN, INK_YELLOW, INK_CYAN };

static const char *const inks[] = {
	[INK_PLAIN] = "",	  [INK_BOLD] = "\033[1m",    [INK_DIM] = "\033[2m",   [INK_RED] = "\033[31m",
	[INK_GREEN] = "\033[32m", [INK_YELLOW] = "\033[33m", [INK_CYAN] = "\033[36m",
};

struct page {
	FILE *out;
	bool colour;
};

static void ink_on(const struct page *p, enum ink ink)
{
	if (p->colour)
		fputs(inks[ink], p->out);
}

static void ink_off(const struct page *p, enum ink ink)
{
	if (p->colour && ink != INK_PLAIN)
		fputs("\033[0m", p->out);
}

static void put(const struct page *p, enum ink ink, const char *s)
{
	ink_on(p, ink);
	term_print(p->out, s);
	ink_off(p, ink);
}

static void heading(const struct page *p, const char *name)
{
	putc('\n', p->out);
	put(p, INK_BOLD, name);
	putc('\n', p->out);
}

static void label(const struct page *p, const char *name)
{
	fprintf(p->out, "  %-*s ", LABEL_WIDTH, name);
}

/* "unknown" for what was never filled in. */
static void put_known(const struct page *p, enum ink ink, const char *s)
{
	put(p, *s ? ink : INK_DIM, *s ? s : "unknown");
}

/* Hexadecimal digits in pairs, with or without blanks in the source. */
static void put_hex(const struct page *p, enum ink ink, const char *hex)
{
	size_t digits = 0;

	ink_on(p, ink);
	for (; *hex; hex++) {
		if (*hex == ' ')
			continue;
		if (digits && digits % 2 == 0)
			putc(' ', p->out);
		term_print_n(p->out, hex, 1);
		digits++;
	}
	ink_off(p, ink);
}

/* Each line of text under the values; empty lines are dropped. */
static void put_lines(const struct page *p, enum ink ink, const char *text)
{
	while (*text) {
		size_t n = strcspn(text, "\n");

		if (n) {
			label(p, "");
			ink_on(p, ink);
			term_print_n(p->out, text, n);
			ink_off(p, ink);
			putc('\n', p->out);
		}
		text += n + (text[n] == '\n');
	}
}

static void put_time(const struct page *p, int64_t time_ms, const char *format)
{
	time_t seconds = (time_t)(time_ms / 1000);
	char text[64];
	struct tm tm;

	if (time_ms < 0 || !localtime_r(&seconds, &tm) || !strftime(text, sizeof(text), format, &tm))
		fprintf(p->out, "%" PRId64 " ms", time_ms);
	else
		fprintf(p->out, "%s.%03d", text, (int)(time_ms % 1000));
}

static enum ink state_ink(enum incident_state s)
{
	static const enum ink table[] = {
		[INCIDENT_DETECTED] = INK_YELLOW, [INCIDENT_LOCATED] = INK_YELLOW, [INCIDENT_PATCHED] = INK_YELLOW,
		[INCIDENT_RECOVERED] = INK_GREEN, [INCIDENT_FAILED] = INK_RED,
	};

	return (unsigned)s < sizeof(table) / sizeof(table[0]) ? table[s] : INK_PLAIN;
}

static void section_detection(const struct page *p, const struct incident *in)
{
	heading(p, "Detection");
	label(p, "detector");
	put_known(p, INK_RED, in->detector);
	fprintf(p->out, " at 0x%" PRIx64 "\n", in->detect_pc);
	label(p, "tainted");
	fprintf(p->out, "%" PRIu32 " of the %" PRIu32 " bytes at 0x%" PRIx64 ", which hold 0x%" PRIx64 "\n",
		in->tainted_bytes, in->object_len, in->object_address, in->object_value);
	label(p, "origin");
	put_known(p, INK_PLAIN, in->origin);
	putc('\n', p->out);
}

static void section_culprit(const struct page *p, const struct incident *in)
{
	heading(p, "Culprit");
	label(p, "process");
	fprintf(p->out, "%" PRId32 " (", in->pid);
	put_known(p, INK_PLAIN, in->comm);
	fputs(")\n", p->out);
	label(p, "instruction");
	ink_on(p, INK_RED);
	fprintf(p->out, "0x%" PRIx64 "  ", in->culprit);
	ink_off(p, INK_RED);
	put_hex(p, INK_DIM, in->culprit_bytes);
	fputs("  ", p->out);
	put_known(p, INK_RED, in->culprit_text);
	putc('\n', p->out);
	label(p, "module");
	put_known(p, INK_PLAIN, in->module);
	fprintf(p->out, ", file offset 0x%" PRIx64 "\n", in->culprit_offset);
	label(p, "build-id");
	put_known(p, INK_PLAIN, in->build_id);
	putc('\n', p->out);
	label(p, "function");
	fprintf(p->out, "0x%" PRIx64 "\n", in->function);
}

/* "CFA-112", "CFA+8", "CFA" */
static void put_cfa(const struct page *p, int64_t offset)
{
	if (offset)
		fprintf(p->out, "CFA%+" PRId64, offset);
	else
		fputs("CFA", p->out);
}

static void section_object(const struct page *p, const struct incident *in)
{
	heading(p, "Object");
	label(p, "what");
	put_known(p, INK_PLAIN, in->object_text);
	putc('\n', p->out);
	label(p, "start_address");
	fprintf(p->out, "0x%" PRIx64 "  (first byte of a run of %" PRIu64 ")\n", in->start_address, in->run_length);
	label(p, "error_address");
	fprintf(p->out, "0x%" PRIx64 "\n", in->error_address);
	label(p, "bounds");
	if (strcmp(in->bound, "frame") == 0 || strcmp(in->bound, "caller") == 0) {
		put_cfa(p, in->start_offset);
		fputs(" up to, not with, ", p->out);
		put_cfa(p, in->end_offset);
		fprintf(p->out, " (%s)", in->bound);
	} else {
		put_known(p, INK_PLAIN, in->bound);
	}
	fprintf(p->out, ", confidence %d of 100\n", in->confidence);
}

static void section_patch(const struct page *p, const struct incident *in)
{
	heading(p, "Patch");
	if (!*in->strategy) {
		label(p, "strategy");
		fputs("none\n", p->out);
		return;
	}
	label(p, "strategy");
	put(p, INK_GREEN, in->strategy);
	fputs(", home: ", p->out);
	put_known(p, INK_PLAIN, in->home);
	putc('\n', p->out);
	label(p, "site");
	fprintf(p->out, "0x%" PRIx64 ", %" PRIu32 " bytes (file offset 0x%" PRIx64 ")\n", in->site, in->bug_len,
		in->site_offset);
	label(p, "bytes before");
	put_hex(p, INK_RED, in->before);
	putc('\n', p->out);
	put_lines(p, INK_DIM, in->before_text);
	label(p, "bytes after");
	put_hex(p, INK_GREEN, in->after);
	putc('\n', p->out);
	if (in->patch_id) {
		label(p, "kept as");
		fprintf(p->out, "patch %" PRId64 ", %s\n", in->patch_id, in->patch_state);
	}
	label(p, "guard");
	fprintf(p->out, "0x%" PRIx64 ", %" PRIu32 " bytes", in->guard_at, in->guard_len);
	if (in->guard_offset)
		fprintf(p->out, " (file offset 0x%" PRIx64 ")", in->guard_offset);
	putc('\n', p->out);
	put_lines(p, INK_GREEN, in->guard_text);
}

static void section_recovery(const struct page *p, const struct incident *in)
{
	heading(p, "Recovery");
	label(p, "checkpoint");
	fprintf(p->out, "%" PRId64 ", %.3f s before the detection\n", in->checkpoint_id,
		(double)in->checkpoint_age_us / 1e6);
	label(p, "rolled back");
	fprintf(p->out, "%" PRIu64 " pages put back, %" PRIu64 " frames to deliver again\n", in->pages_undone,
		in->frames_replayed);
	if (in->also_guarded) {
		label(p, "also guarded");
		fprintf(p->out, "%" PRIu32 " other store%s into the same object\n", in->also_guarded,
			in->also_guarded == 1 ? "" : "s");
	}
	label(p, "VM");
	put_known(p, INK_PLAIN, in->vm_state);
	putc('\n', p->out);
}

static void section_failure(const struct page *p, const struct incident *in)
{
	heading(p, "Failure");
	label(p, "what");
	put_known(p, INK_RED, in->failure);
	putc('\n', p->out);
	label(p, "VM");
	put_known(p, INK_PLAIN, in->vm_state);
	putc('\n', p->out);
}

static void section_proposal(const struct page *p, const struct incident *in)
{
	heading(p, "Proposal");
	label(p, "patch");
	if (in->patch_id)
		fprintf(p->out, "%" PRId64 ": put it in with 'clouder patch approve %" PRId64 "'", in->patch_id,
			in->patch_id);
	else
		fputs("lost: it could not be stored, as the log says", p->out);
	if (in->also_guarded)
		fprintf(p->out, "; %" PRIu32 " more with it ('clouder patch list')", in->also_guarded);
	putc('\n', p->out);
}

/* The paper's table 2: its columns, and its figures for Wilander's benchmark. */
#define N_TIMES 5
static const struct {
	const char *name;
	int width;
	size_t offset; /* int64_t, microseconds */
	const char *paper;
} times[N_TIMES] = {
	{"detector", 13, offsetof(struct incident, t_detect_us), "0.419    s"},
	{"locator & generator", 21, offsetof(struct incident, t_locate_us), "1.789    s"},
	{"save & recovery", 17, offsetof(struct incident, t_recover_us), "3.956    s"},
	{"patch inserter", 16, offsetof(struct incident, t_insert_us), "1.127    s"},
	{"total", 13, offsetof(struct incident, t_total_us), "7.291    s"},
};

static void section_times(const struct page *p, const struct incident *in)
{
	heading(p, "Times");
	label(p, "");
	for (size_t i = 0; i < N_TIMES; i++)
		fprintf(p->out, "%*s", times[i].width, times[i].name);
	putc('\n', p->out);
	label(p, "this incident");
	ink_on(p, INK_GREEN);
	for (size_t i = 0; i < N_TIMES; i++) {
		int64_t us;

		memcpy(&us, (const char *)in + times[i].offset, sizeof(us));
		fprintf(p->out, "%*.6f s", times[i].width - 2, (double)us / 1e6);
	}
	ink_off(p, INK_GREEN);
	putc('\n', p->out);
	label(p, "paper, Wilander");
	ink_on(p, INK_DIM);
	for (size_t i = 0; i < N_TIMES; i++)
		fprintf(p->out, "%*s", times[i].width, times[i].paper);
	ink_off(p, INK_DIM);
	putc('\n', p->out);
}

void report_incident(FILE *out, const struct incident *in, bool colour)
{
	const struct page p = {out, colour};

	ink_on(&p, INK_BOLD);
	fprintf(out, "Incident %" PRId64, in->id);
	ink_off(&p, INK_BOLD);
	fputs(" of VM ", out);
	put(&p, INK_BOLD, in->vm);
	fputs(", ", out);
	put_time(&p, in->time_ms, "%Y-%m-%d %H:%M:%S");
	fputs(": ", out);
	put(&p, state_ink(in->state), incident_state_name(in->state));
	putc('\n', out);
	if (*in->failure)
		section_failure(&p, in);
	section_detection(&p, in);
	section_culprit(&p, in);
	section_object(&p, in);
	section_patch(&p, in);
	section_recovery(&p, in);
	section_times(&p, in);
}

void report_incident_heading(FILE *out, bool colour)
{
	const struct page p = {out, colour};

	ink_on(&p, INK_BOLD);
	fprintf(out, "%6s  %-23s  %-16s %-10s  %s", "ID", "TIME", "VM", "STATE", "CULPRIT");
	ink_off(&p, INK_BOLD);
	putc('\n', out);
}

void report_incident_line(FILE *out, const struct incident *in, bool colour)
{
	const struct page p = {out, colour};
	const char *state = incident_state_name(in->state);

	fprintf(out, "%6" PRId64 "  ", in->id);
	put_time(&p, in->time_ms, "%Y-%m-%d %H:%M:%S");
	fputs("  ", out);
	put(&p, INK_PLAIN, in->vm);
	fprintf(out, "%*s ", (int)(strlen(in->vm) < 16 ? 16 - strlen(in->vm) : 0), "");
	put(&p, state_ink(in->state), state);
	fprintf(out, "%*s  ", (int)(strlen(state) < 10 ? 10 - strlen(state) : 0), "");
	if (in->culprit) {
		put_known(&p, INK_PLAIN, in->module);
		fprintf(out, "+0x%" PRIx64 "  ", in->culprit_offset);
		put(&p, INK_PLAIN, in->culprit_text);
	} else {
		put_known(&p, INK_PLAIN, in->detector);
		fprintf(out, " at 0x%" PRIx64, in->detect_pc);
	}
	if (*in->failure) {
		fputs("  ", out);
		put(&p, INK_RED, in->failure);
	}
	putc('\n', out);
}

#define SECTIONS_MAX 2

/* What each event says, and the sections it completes. */
static const struct event {
	const char *name;
	enum ink ink;
	const char *text;
	void (*section[SECTIONS_MAX])(const struct page *p, const struct incident *in);
} events[] = {
	{"detected", INK_RED, "DETECTED: a program is being taken over; the virtual CPU is held", {section_detection}},
	{"located", INK_YELLOW, "LOCATED: the instruction that did the damage", {section_culprit, section_object}},
	{"patched", INK_CYAN, "PATCH MADE", {section_patch}},
	{"rolled-back", INK_CYAN, "ROLLED BACK: to before the damage", {section_recovery}},
	{"recovered", INK_GREEN, "RECOVERED: patched and running", {section_times}},
	{"no-patch", INK_YELLOW, "NO PATCH can be made", {section_failure}},
	{"contained",
	 INK_GREEN,
	 "CONTAINED: rolled back and running; the connection that brought the bytes is blocked",
	 {section_times}},
	{"proposed",
	 INK_YELLOW,
	 "PROPOSED: rolled back and running without the patch; the connection that brought the bytes is blocked",
	 {section_proposal, section_times}},
	{"observed", INK_YELLOW, "OBSERVED: the VM goes on as it would without CloudER", {section_times}},
	{"failed", INK_RED, "FAILED", {section_failure}},
};

void report_event(FILE *out, const char *event, const struct incident *in, bool colour)
{
	const struct page p = {out, colour};
	const struct event *row = NULL;

	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++)
		if (strcmp(events[i].name, event) == 0)
			row = &events[i];
	fputs("\n[", out);
	put(&p, INK_PLAIN, in->vm);
	if (in->id)
		fprintf(out, " #%" PRId64, in->id);
	fputs("] ", out);
	ink_on(&p, INK_BOLD);
	put(&p, row ? row->ink : INK_PLAIN, row ? row->text : event);
	ink_off(&p, INK_BOLD);
	putc('\n', out);
	for (size_t i = 0; row && i < SECTIONS_MAX && row->section[i]; i++)
		row->section[i](&p, in);
	fflush(out);
}
