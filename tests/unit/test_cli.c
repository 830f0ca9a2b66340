/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The verbs, through a runtime and a state directory of their own, against a supervisor's control socket. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/loop.h"
#include "base/version.h"
#include "cli/cli.h"
#include "daemon/ctl.h"
#include "store/store.h"

#define ARGS_MAX 8

static char base[64], out[65536];
static struct err error;
static pid_t supervisor;

static int set_up(void **state)
{
	char text[96];

	(void)state;
	strcpy(base, "/tmp/clouder-test-XXXXXX");
	if (!mkdtemp(base))
		return -1;
	snprintf(text, sizeof(text), "%s/run", base);
	setenv("CLOUDER_RUNTIME_DIR", text, 1);
	snprintf(text, sizeof(text), "%s/state", base);
	setenv("CLOUDER_STATE_DIR", text, 1);
	setenv("TZ", "UTC", 1);
	supervisor = 0;
	return 0;
}

static void end_supervisor(int sig)
{
	int status;

	if (!supervisor)
		return;
	kill(supervisor, sig);
	waitpid(supervisor, &status, 0);
	supervisor = 0;
}

static int tear_down(void **state)
{
	char command[128];

	(void)state;
	end_supervisor(SIGKILL);
	snprintf(command, sizeof(command), "rm -rf %s", base);
	return system(command);
}

/* Runs "clouder" with these words (NULL-terminated); output in out, an error in error. */
static int run(const char *word, ...)
{
	char *argv[ARGS_MAX + 2] = {"clouder"};
	int argc = 1, status;
	va_list ap;
	FILE *f = fmemopen(out, sizeof(out), "w");

	assert_non_null(f);
	va_start(ap, word);
	for (; word && argc <= ARGS_MAX; word = va_arg(ap, const char *))
		argv[argc++] = (char *)word;
	va_end(ap);
	memset(out, 0, sizeof(out));
	memset(&error, 0, sizeof(error));
	status = cli_main(argc, argv, f, &error);
	fclose(f);
	return status;
}

static void says(const char *what)
{
	if (!strstr(out, what))
		fail_msg("\"%s\" is not in:\n%s", what, out);
}

static void fails(enum err_code code, const char *what)
{
	if (error.code != code || !strstr(error.text, what) || strchr(error.text, '\n'))
		fail_msg("%s: %s", err_code_name(error.code), error.text);
}

static json_t *printed(void)
{
	json_error_t why;
	json_t *j = json_loads(out, 0, &why);

	if (!j)
		fail_msg("%s in:\n%s", why.text, out);
	return j;
}

static const char *text_at(const json_t *j, const char *key)
{
	const char *s = json_string_value(json_object_get(j, key));

	return s ? s : "(none)";
}

/* ---- a supervisor ---- */

struct fake {
	struct loop *loop;
	struct ctl *ctl;
	bool stubborn; /* does not end when asked to */
	struct loop_source *timer;
};

static void send_events(void *arg, uint32_t events)
{
	static const struct incident in = {.vm = "web", .id = 3, .detector = "tainted-return"};
	struct fake *f = arg;
	json_t *event = json_pack("{s:s, s:o}", "event", "detected", "incident", incident_to_json(&in));

	(void)events;
	ctl_broadcast(f->ctl, event);
	json_decref(event);
	event = json_pack("{s:s, s:s}", "event", "odd", "text", "\033[2J");
	ctl_broadcast(f->ctl, event);
	json_decref(event);
	loop_timer_set(f->timer, 5);
}

/* Two rows, one an answer. */
static json_t *answer_vmi(const json_t *request)
{
	const char *pattern = json_string_value(json_object_get(request, "pattern"));
	json_int_t from = json_integer_value(json_object_get(request, "from"));
	json_t *row;

	if (strcmp(json_string_value(json_object_get(request, "show")), "maps") == 0)
		row = json_pack("{s:s, s:s, s:s, s:s, s:s, s:b, s:s}", "start", "0x1000", "end", "0x2000",
				"permissions", "r-xp", "file_offset", "0x0", "name", "/bin/a\033[2J", "deleted", 1,
				"build_id", "");
	else if (strcmp(json_string_value(json_object_get(request, "show")), "symbols") == 0)
		row = json_pack("{s:s, s:s, s:s}", "at", "0xffffffff81000000", "type", "T", "name",
				pattern ? pattern : "all");
	else if (strcmp(json_string_value(json_object_get(request, "show")), "threads") == 0)
		row = from ? json_pack("{s:i, s:s, s:s, s:b, s:n}", "tid", 8, "comm", "k", "state", "R", "on_processor",
				       1, "registers")
			   : json_pack("{s:i, s:s, s:s, s:b, s:i, s:{s:s, s:s}}", "tid", 7, "comm", "a\033", "state",
				       "S", "on_processor", 0, "system_call", 34, "registers", "rip", "0x401000", "r15",
				       "0xff");
	else if (strcmp(json_string_value(json_object_get(request, "show")), "modules") == 0)
		row = json_pack("{s:s, s:i, s:s, s:s}", "name", "ext\0334", "size", 4096, "at", "0xffffffffc0100000",
				"state", from ? "C" : "L");
	else if (strcmp(json_string_value(json_object_get(request, "show")), "read") == 0)
		row = from ? json_pack("{s:s, s:i, s:s, s:s}", "at", "0x2000", "length", 4, "state", "absent", "bytes",
				       "")
			   : json_pack("{s:o, s:i, s:s, s:s}", "at", json_incref(json_object_get(request, "at")),
				       "length", 4, "state", "present", "bytes", "7e41ff0a");
	else
		row = json_pack("{s:i, s:i, s:i, s:i, s:s, s:s, s:b, s:s}", "pid", 10 + (int)from, "tid", 77, "parent",
				1, "uid", -1, "state", "S", "comm", "a", "kernel", 0, "program", "/bin/a");
	if (json_integer_value(json_object_get(request, "pid")) == 99)
		from = 1;
	return json_pack("{s:b, s:s, s:[o], s:b, s:b, s:i}", "ok", 1, "name", "web", "rows", row, "more", from == 0,
			 "complete", from == 0, "paused_us", 5);
}

static json_t *handle_checkpoints(const char *verb, const json_t *request)
{
	const json_t *number = json_object_get(request, "number");

	if (strcmp(verb, "checkpoint") == 0)
		return json_pack("{s:b, s:i, s:i, s:i}", "ok", 1, "number", 12, "pause_us", 3456, "state_bytes", 789);
	if (strcmp(verb, "checkpoints") == 0)
		return json_pack("{s:b, s:s, s:[{s:i, s:i, s:s, s:i, s:b}]}", "ok", 1, "name", "web", "checkpoints",
				 "number", 12, "age_ms", 34, "why", "\033[2J", "pages", 56, "usable", 1);
	if (strcmp(verb, "rollback") != 0)
		return NULL;
	return json_pack("{s:b, s:I, s:i, s:i, s:i, s:i, s:s, s:i, s:i}", "ok", 1, "number",
			 number ? json_integer_value(number) : -1, "age_ms", 5, "pages_undone", 6, "frames", 7,
			 "took_us", 8, "input", json_is_true(json_object_get(request, "drop")) ? "dropped" : "replayed",
			 "connections_reset", 2, "patches_missing", 1);
}

static json_t *handle(void *arg, const char *verb, const json_t *request)
{
	struct fake *f = arg;

	if (strcmp(verb, "vmi") == 0)
		return answer_vmi(request);
	if (strcmp(verb, "status") == 0)
		return json_pack("{s:b, s:s, s:s, s:i, s:[i,i], s:{s:i}, s:s}", "ok", 1, "name", "web", "state",
				 "running", "pid", 4711, "list", 1, 2, "network", "rx_frames", 99, "evil", "a\033[2Jb");
	if (strcmp(verb, "stop") == 0 && !f->stubborn)
		loop_stop(f->loop);
	return strcmp(verb, "stop") == 0 ? json_pack("{s:b}", "ok", 1) : handle_checkpoints(verb, request);
}

/* In a child: serves until told to stop; returns here once the socket is there. */
static void start_supervisor(bool stubborn, bool eventful)
{
	static const struct ctl_ops ops = {handle};
	struct fake f = {.stubborn = stubborn};
	int ready[2];
	char byte;
	struct err e;

	assert_int_equal(pipe(ready), 0);
	supervisor = fork();
	assert_true(supervisor >= 0);
	if (supervisor) {
		close(ready[1]);
		assert_int_equal(read(ready[0], &byte, 1), 1);
		close(ready[0]);
		return;
	}
	close(ready[0]);
	f.loop = loop_create(&e);
	if (!f.loop || ctl_create(f.loop, "web", &ops, &f, &f.ctl, &e) < 0)
		_exit(1);
	if (write(ready[1], "r", 1) != 1)
		_exit(1);
	f.timer = eventful ? loop_timer_add(f.loop, 5, LOOP_OUTER, send_events, &f, &e) : NULL;
	loop_run(f.loop);
	ctl_destroy(f.ctl);
	loop_destroy(f.loop);
	_exit(0);
}

/* ---- the guest ---- */

static void test_vmi(void **state)
{
	json_t *j;

	(void)state;
	start_supervisor(false, false);
	assert_int_equal(run("vmi", "ps", NULL), 0);
	says("    PID  PARENT        UID S COMMAND          PROGRAM\n");
	says("     10       1          - S a                /bin/a\n     11 ");
	says("something may be missing");
	assert_int_equal(run("vmi", "ps", "web", "--threads", NULL), 0);
	says("     10      77       1 ");
	assert_int_equal(run("vmi", "ps", "web", "--json", NULL), 0);
	j = printed();
	assert_int_equal(json_array_size(json_object_get(j, "processes")), 2);
	assert_true(json_is_false(json_object_get(j, "complete")));
	assert_null(json_object_get(j, "rows"));
	json_decref(j);
	assert_int_equal(run("vmi", "maps", "99", "web", NULL), 0);
	says("0x1000-0x2000 r-xp 0x0 - /bin/a\\x1b[2J (deleted)\n");
	assert_int_equal(run("vmi", "symbols", "vm_*", "web", NULL), 0);
	says("0xffffffff81000000 T vm_*\n");
	assert_int_equal(run("vmi", "symbols", NULL), 0);
	says("0xffffffff81000000 T all\n");
	assert_int_equal(run("vmi", "symbols", "a", "web", "more", NULL), -1);
	fails(ERR_USAGE, "usage: clouder vmi symbols [PATTERN [NAME]]");
	assert_int_equal(run("vmi", NULL), -1);
	fails(ERR_USAGE, "usage: clouder vmi VIEW");
	assert_int_equal(run("vmi", "frob", NULL), -1);
	fails(ERR_USAGE, "\"frob\" is nothing that vmi shows");
	assert_int_equal(run("vmi", "maps", NULL), -1);
	fails(ERR_USAGE, "usage: clouder vmi maps PID [NAME]");
	assert_int_equal(run("vmi", "maps", "web", NULL), -1);
	fails(ERR_USAGE, "\"web\" is not a process id");
	assert_int_equal(run("vmi", "maps", "1", "--threads", NULL), -1);
	fails(ERR_USAGE, "--threads is for 'clouder vmi ps'");
	assert_int_equal(run("vmi", "ps", "nobody", NULL), -1);
	fails(ERR_MISSING, "no VM named");
	assert_int_equal(run("vmi", "threads", "7", NULL), 0);
	says("      7 S a\\x1b: in the kernel, system call 34\n        rip    0x0000000000401000  rflags 0x");
	says("  r15    0x00000000000000ff\n");
	says("      8 R k: on a processor; when it last came into the kernel: was never in user mode\n");
	assert_int_equal(run("vmi", "modules", NULL), 0);
	says("\next\\x1b4 ");
	says(" 4096 0xffffffffc0100000 live\n");
	says(" loading\n");
	assert_int_equal(run("vmi", "--help", NULL), 0);
	says("\n  ps [NAME] [--threads] ");
}

static void test_vmi_read(void **state)
{
	static const struct {
		const char *pid, *at, *length, *error;
	} wrong[] = {
		{"x", "0x1000", "1", "is not a process id"},
		{"1", "0x", "1", "is not an address"},
		{"1", "0x1000", "0", "is not a number of bytes from 1 to 1048576"},
		{"1", "0x1000", "1048577", "is not a number of bytes"},
		{"1", "0x1000", "1k", "is not a number of bytes"},
		{"1", "0xffffffffffffffff", "1", "past the last address"},
	};

	(void)state;
	start_supervisor(false, false);
	assert_int_equal(run("vmi", "read", "1", "0x1ffe", "8", NULL), 0);
	says("0x0000000000001ff0                                            7e 41");
	says("  |              ~A|\n");
	says("0x0000000000002000  4 bytes are not in memory\n");
	assert_int_equal(run("vmi", "read", "1", "0x1ffc", "8", "web", "--raw", NULL), -1);
	fails(ERR_MISSING, "4 of 8 bytes are not in the guest's memory");
	assert_memory_equal(out, "~A\xff\n\0\0\0\0", 8);
	assert_int_equal(run("vmi", "read", "99", "0x1ffc", "4", "web", "--raw", NULL), 0);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(run("vmi", "read", wrong[i].pid, wrong[i].at, wrong[i].length, NULL), -1);
		fails(ERR_USAGE, wrong[i].error);
	}
	assert_int_equal(run("vmi", "ps", "--raw", NULL), -1);
	fails(ERR_USAGE, "--raw is for 'clouder vmi read'");
	assert_int_equal(run("vmi", "read", "1", "0x1ffc", "4", "--raw", "--json", NULL), -1);
	fails(ERR_USAGE, "--raw is for 'clouder vmi read'");
}

/* ---- help and usage ---- */

static void test_help(void **state)
{
	static const char *const verbs[] = {"run",    "status", "incidents",  "show",	     "stop",
					    "events", "taint",	"checkpoint", "checkpoints", "rollback"};
	char line[64];

	(void)state;
	assert_int_equal(run("help", NULL), 0);
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		snprintf(line, sizeof(line), "\n  %s ", verbs[i]);
		says(line);
	}
	assert_int_equal(run("--help", NULL), 0);
	says("usage: clouder VERB");
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		snprintf(line, sizeof(line), "usage: clouder %s ", verbs[i]);
		assert_int_equal(run(verbs[i], "--help", NULL), 0);
		says(line);
		assert_int_equal(run("help", verbs[i], NULL), 0);
		says(line);
	}
	assert_int_equal(run("stop", "--help", NULL), 0);
	says("  --timeout S");
	assert_int_equal(run("--version", NULL), 0);
	assert_string_equal(out, "clouder " CLOUDER_VERSION "\n");
}

static void test_usage_errors(void **state)
{
	(void)state;
	assert_int_equal(run(NULL), -1);
	fails(ERR_USAGE, "no verb given");
	assert_int_equal(run("frobnicate", NULL), -1);
	fails(ERR_USAGE, "unknown verb \"frobnicate\": 'clouder help' lists them");
	assert_int_equal(run("help", "frobnicate", NULL), -1);
	fails(ERR_USAGE, "unknown verb");
	assert_int_equal(run("status", "a", "b", NULL), -1);
	fails(ERR_USAGE, "usage: clouder status [NAME] [--json]");
	assert_int_equal(run("status", "--frob", NULL), -1);
	fails(ERR_USAGE, "unknown option \"--frob\" ('clouder status --help' has the options)");
	assert_int_equal(run("status", "../x", NULL), -1);
	fails(ERR_USAGE, "cannot name a VM");
	assert_int_equal(run("show", NULL), -1);
	fails(ERR_USAGE, "usage: clouder show ID");
	assert_int_equal(run("show", "x7", NULL), -1);
	fails(ERR_USAGE, "\"x7\" is not an incident's number");
	assert_int_equal(run("show", "99999999999999999999", NULL), -1);
	fails(ERR_USAGE, "is not an incident's number");
	assert_int_equal(run("stop", NULL), -1);
	fails(ERR_USAGE, "usage: clouder stop NAME");
	assert_int_equal(run("stop", "web", "--timeout", "soon", NULL), -1);
	fails(ERR_USAGE, "--timeout: \"soon\" is not a whole number");
	assert_int_equal(run("incidents", "--since", "yesterday-ish", NULL), -1);
	fails(ERR_USAGE, "--since: \"yesterday-ish\" is not a time");
}

/* ---- status, stop, events ---- */

static void test_nothing_runs(void **state)
{
	(void)state;
	assert_int_equal(run("status", NULL), 0);
	assert_string_equal(out, "no VM is running\n");
	assert_int_equal(run("status", "--json", NULL), 0);
	assert_string_equal(out, "[]\n");
	assert_int_equal(run("status", "web", NULL), -1);
	fails(ERR_MISSING, "no VM named \"web\" is running");
	assert_int_equal(run("stop", "web", NULL), -1);
	fails(ERR_MISSING, "no VM named \"web\" is running");
	assert_int_equal(run("events", "web", NULL), -1);
	fails(ERR_MISSING, "no VM named \"web\" is running");
}

static void test_status(void **state)
{
	json_t *j;

	(void)state;
	start_supervisor(false, false);
	assert_int_equal(run("status", NULL), 0);
	says("NAME ");
	says("\nweb ");
	says(" running ");
	says(" 4711 ");
	assert_int_equal(run("status", "web", NULL), 0);
	says("state                   running\n");
	says("list                    1 2\n");
	says("network                 \n  rx_frames ");
	says("a\\x1b[2Jb\n");
	assert_int_equal(run("status", "--json", "web", NULL), 0);
	j = printed();
	assert_string_equal(text_at(j, "name"), "web");
	assert_null(json_object_get(j, "ok"));
	json_decref(j);
	assert_int_equal(run("status", "--json", NULL), 0);
	j = printed();
	assert_int_equal(json_array_size(j), 1);
	json_decref(j);
}

static void test_dead_supervisor(void **state)
{
	json_t *j;

	(void)state;
	start_supervisor(false, false);
	end_supervisor(SIGKILL);
	assert_int_equal(run("status", NULL), 0);
	says("\nweb                  dead ");
	assert_int_equal(run("status", "web", NULL), -1);
	fails(ERR_GONE, "VM \"web\" is not running: its supervisor died");
	assert_int_equal(run("status", "web", "--json", NULL), CLI_FAILURE);
	j = printed();
	assert_string_equal(text_at(j, "state"), "dead");
	json_decref(j);
	assert_int_equal(run("stop", "web", NULL), -1);
	fails(ERR_GONE, "VM \"web\" is not running");
}

static void test_stop(void **state)
{
	int status;

	(void)state;
	start_supervisor(false, false);
	assert_int_equal(run("stop", "web", NULL), 0);
	/* It has ended by the time stop returns. */
	assert_int_equal(waitpid(supervisor, &status, WNOHANG), supervisor);
	supervisor = 0;
	assert_int_equal(run("stop", "web", NULL), -1);
	fails(ERR_MISSING, "no VM named \"web\"");
}

static void test_stop_times_out(void **state)
{
	(void)state;
	start_supervisor(true, false);
	assert_int_equal(run("stop", "web", "--timeout", "0", NULL), -1);
	fails(ERR_TIMEOUT, "VM \"web\" has not ended after 0 s");
}

static void test_checkpoints(void **state)
{
	json_t *j;

	(void)state;
	assert_int_equal(run("checkpoints", NULL), -1);
	fails(ERR_MISSING, "no VM is running");
	start_supervisor(false, false);
	assert_int_equal(run("checkpoint", "web", NULL), 0);
	assert_string_equal(out, "checkpoint 12: the VM stood still for 3456 us, 789 bytes of device state\n");
	assert_int_equal(run("checkpoint", "--json", NULL), 0);
	j = printed();
	assert_int_equal(json_integer_value(json_object_get(j, "number")), 12);
	assert_null(json_object_get(j, "ok"));
	json_decref(j);
	assert_int_equal(run("checkpoints", NULL), 0);
	says("NUMBER ");
	says("      12         34");
	says("\\x1b[2J");
	says("yes\n");
	assert_int_equal(run("checkpoints", "web", "--json", NULL), 0);
	j = printed();
	assert_int_equal(json_array_size(json_object_get(j, "checkpoints")), 1);
	json_decref(j);
}

/* Which operand is the name and which the number, and what the supervisor is asked for. */
static void test_rollback(void **state)
{
	(void)state;
	start_supervisor(false, false);
	assert_int_equal(run("rollback", NULL), 0);
	says("back at checkpoint -1, 5 ms ago: 6 pages undone in 8 us\n");
	says("input since then: 7 frames delivered again\n1 patches could not");
	assert_int_equal(run("rollback", "web", "--drop", NULL), 0);
	says("checkpoint -1,");
	says("7 frames dropped, 2 connections reset\n");
	assert_int_equal(run("rollback", "12", "--replay", NULL), 0);
	says("checkpoint 12,");
	assert_int_equal(run("rollback", "web", "13", NULL), 0);
	says("checkpoint 13,");
	assert_int_equal(run("rollback", "web", "0", NULL), -1);
	fails(ERR_USAGE, "\"0\" is no number of a checkpoint");
	assert_int_equal(run("rollback", "web", "1x", NULL), -1);
	fails(ERR_USAGE, "\"1x\" is no number");
	assert_int_equal(run("rollback", "12345678901234567890", NULL), -1);
	fails(ERR_USAGE, "is no number");
	assert_int_equal(run("rollback", "mail", NULL), -1);
	fails(ERR_MISSING, "no VM named \"mail\"");
	assert_int_equal(run("rollback", "--drop", "--replay", NULL), -1);
	fails(ERR_USAGE, "exclude each other");
}

/* Runs "clouder events web" beside a supervisor that keeps sending, until n bytes came; stop ends both. Fills out. */
static void watch_events(bool json, size_t n)
{
	char *argv[] = {"clouder", "events", "web", json ? "--json" : NULL, NULL};
	int ends[2], status;
	size_t got = 0;
	bool stopped = false;
	pid_t pid;

	start_supervisor(false, true);
	assert_int_equal(pipe(ends), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		FILE *f = fdopen(ends[1], "w");

		close(ends[0]);
		status = cli_main(json ? 4 : 3, argv, f, &error);
		_exit(fclose(f) ? 1 : status);
	}
	close(ends[1]);
	memset(out, 0, sizeof(out));
	for (;;) {
		static char seen[sizeof(out)];
		ssize_t more = read(ends[0], seen + got, sizeof(seen) - 1 - got);

		if (more <= 0)
			break;
		got += (size_t)more;
		if (got > n && !stopped) {
			stopped = true;
			assert_int_equal(run("stop", "web", NULL), 0);
		}
		if (stopped) {
			memcpy(out, seen, got);
			out[got] = 0;
		}
	}
	close(ends[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	end_supervisor(SIGKILL);
}

static void test_events(void **state)
{
	(void)state;
	watch_events(false, 600);
	says("[web #3] DETECTED");
	says("tainted-return at 0x0");
	says("{\"event\":\"odd\",\"text\":\"\\u001B[2J\"}\n");
	assert_null(strchr(out, '\033'));
}

static void test_events_json(void **state)
{
	(void)state;
	watch_events(true, 6000);
	*strchr(strchr(out, '{'), '\n') = 0;
	json_decref(printed());
}

/* A process at the other end that is no supervisor of ours: one line, no hang, no more memory than a line's. */
static void hostile_peer(const char *answer, size_t len, enum err_code code, const char *what)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int listener = socket(AF_UNIX, SOCK_STREAM, 0), fd;
	char request[256];

	assert_int_equal(mkdir(getenv("CLOUDER_RUNTIME_DIR"), 0700), 0);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/web.sock", getenv("CLOUDER_RUNTIME_DIR"));
	assert_int_equal(bind(listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(listener, 4), 0);
	supervisor = fork();
	assert_true(supervisor >= 0);
	if (!supervisor) {
		fd = accept(listener, NULL, NULL);
		if (fd < 0 || read(fd, request, sizeof(request)) <= 0)
			_exit(1);
		for (size_t sent = 0; sent < len;) {
			ssize_t n = send(fd, answer + sent, len - sent, MSG_NOSIGNAL);

			if (n < 0)
				break;
			sent += (size_t)n;
		}
		_exit(0);
	}
	close(listener);
	assert_int_equal(run("stop", "web", NULL), -1);
	fails(code, what);
	end_supervisor(SIGKILL);
}

static void test_hangs_up(void **state)
{
	(void)state;
	hostile_peer("", 0, ERR_GONE, "hung up");
}

static void test_no_json(void **state)
{
	static const char text[] = "SSH-2.0-OpenSSH_9.2\n";

	(void)state;
	hostile_peer(text, strlen(text), ERR_PROTOCOL, "sent what is not a JSON object");
}

static void test_refusal(void **state)
{
	static const char text[] = "{\"ok\":false,\"error\":\"not now\"}\n";

	(void)state;
	hostile_peer(text, strlen(text), ERR_STATE, "VM \"web\": not now");
}

static void test_endless_line(void **state)
{
	static char text[4 << 20];

	(void)state;
	memset(text, '[', sizeof(text));
	hostile_peer(text, sizeof(text), ERR_PROTOCOL, "sent too long a line");
}

/* ---- incidents, show ---- */

static void put(const char *vm, int64_t time_ms, const char *comm)
{
	struct incident in = {.time_ms = time_ms, .detector = "tainted-return", .culprit = 0x401234};
	struct store *s;

	snprintf(in.vm, sizeof(in.vm), "%s", vm);
	snprintf(in.comm, sizeof(in.comm), "%s", comm);
	assert_int_equal(store_open(NULL, false, &s, &error), 0);
	assert_int_equal(store_put_incident(s, &in, &error), 0);
	store_close(s);
}

static void test_no_incidents(void **state)
{
	(void)state;
	assert_int_equal(run("incidents", NULL), 0);
	assert_string_equal(out, "no incidents\n");
	assert_int_equal(run("incidents", "--json", NULL), 0);
	assert_string_equal(out, "[]\n");
	assert_int_equal(run("show", "1", NULL), -1);
	fails(ERR_MISSING, "no incident store yet");
}

/* The ids that were listed. */
static void lists(const char *ids)
{
	char text[64] = "";
	json_t *j = printed(), *item;
	size_t i;

	json_array_foreach (j, i, item)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%lld ",
			 (long long)json_integer_value(json_object_get(item, "id")));
	assert_string_equal(text, ids);
	json_decref(j);
}

static void test_incidents(void **state)
{
	(void)state;
	put("web", 1000, "a");
	put("db", 86400000, "b");
	put("web", (int64_t)time(NULL) * 1000, "c");
	assert_int_equal(run("incidents", NULL), 0);
	says("    ID  TIME");
	says("     1  1970-01-01 00:00:01.000  web ");
	says("     2  1970-01-02 00:00:00.000  db ");
	assert_int_equal(run("incidents", "--json", NULL), 0);
	lists("1 2 3 ");
	assert_int_equal(run("incidents", "--json", "--vm", "web", NULL), 0);
	lists("1 3 ");
	assert_int_equal(run("incidents", "--json", "--since", "@86400", NULL), 0);
	lists("2 3 ");
	assert_int_equal(run("incidents", "--json", "--since", "1970-01-02", NULL), 0);
	lists("2 3 ");
	assert_int_equal(run("incidents", "--json", "--since", "1970-01-02 00:01", NULL), 0);
	lists("3 ");
	assert_int_equal(run("incidents", "--json", "--since", "1970-01-01T00:00:01", NULL), 0);
	lists("1 2 3 ");
	assert_int_equal(run("incidents", "--json", "--since", "10m", NULL), 0);
	lists("3 ");
	assert_int_equal(run("incidents", "--vm", "none", NULL), 0);
	assert_string_equal(out, "no incidents\n");
}

static void test_show(void **state)
{
	json_t *j;

	(void)state;
	put("web", 1000, "ev\033[2Jil");
	assert_int_equal(run("show", "1", NULL), 0);
	says("Incident 1 of VM web");
	says("ev\\x1b[2Jil");
	assert_int_equal(run("show", "--json", "1", NULL), 0);
	j = printed();
	assert_string_equal(text_at(j, "comm"), "ev\033[2Jil");
	assert_string_equal(text_at(j, "culprit"), "0x401234");
	assert_int_equal(json_integer_value(json_object_get(j, "id")), 1);
	json_decref(j);
	assert_null(strchr(out, '\033'));
	assert_int_equal(run("show", "2", NULL), -1);
	fails(ERR_MISSING, "there is no incident 2");
}

static void test_garbage_store(void **state)
{
	char path[128];
	FILE *f;

	(void)state;
	put("web", 1000, "a");
	snprintf(path, sizeof(path), "%s/state/clouder.db", base);
	f = fopen(path, "w");
	for (int i = 0; i < 4096; i++)
		putc(i, f);
	fclose(f);
	assert_int_equal(run("incidents", NULL), -1);
	fails(ERR_PROTOCOL, "not a database: move it away");
	assert_int_equal(run("show", "1", NULL), -1);
	fails(ERR_PROTOCOL, "not a database: move it away");
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		T(test_vmi),
		T(test_vmi_read),
		T(test_help),
		T(test_usage_errors),
		T(test_nothing_runs),
		T(test_status),
		T(test_dead_supervisor),
		T(test_checkpoints),
		T(test_rollback),
		T(test_stop),
		T(test_stop_times_out),
		T(test_events),
		T(test_events_json),
		T(test_hangs_up),
		T(test_no_json),
		T(test_refusal),
		T(test_endless_line),
		T(test_no_incidents),
		T(test_incidents),
		T(test_show),
		T(test_garbage_store),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
