/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The supervisor's end of the control socket: one VM a name, bounded clients, hostile requests. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/paths.h"
#include "ctl_proto.h"
#include "daemon/ctl.h"

static char base[64], dir[80], sock_path[128], lock_path[128];
static struct loop *loop;
static struct ctl *ctl;

/* The supervisor's side: "echo" gives the request back, "huge" what does not fit, "broadcast" sends while it answers. */
static json_t *handle(void *arg, const char *verb, const json_t *request)
{
	assert_ptr_equal(arg, &ctl);
	if (strcmp(verb, "echo") == 0)
		return json_pack("{s:b, s:O}", "ok", 1, "request", request);
	if (strcmp(verb, "huge") == 0) {
		static char text[CTL_ANSWER_MAX + 1];

		memset(text, 'x', sizeof(text) - 1);
		return json_pack("{s:b, s:s}", "ok", 1, "text", text);
	}
	if (strcmp(verb, "broadcast") == 0) {
		json_t *event = json_pack("{s:s}", "event", "recovered");

		ctl_broadcast(ctl, event);
		json_decref(event);
		return json_pack("{s:b}", "ok", 1);
	}
	return NULL;
}

static const struct ctl_ops ops = {handle};

static int set_up(void **state)
{
	struct err e;

	(void)state;
	strcpy(base, "/tmp/clouder-test-XXXXXX");
	if (!mkdtemp(base))
		return -1;
	snprintf(dir, sizeof(dir), "%s/run/clouder", base);
	snprintf(sock_path, sizeof(sock_path), "%s/web.sock", dir);
	snprintf(lock_path, sizeof(lock_path), "%s/web.lock", dir);
	setenv("CLOUDER_RUNTIME_DIR", dir, 1);
	ctl = NULL;
	loop = loop_create(&e);
	return loop ? 0 : -1;
}

static int tear_down(void **state)
{
	char command[128];

	(void)state;
	ctl_destroy(ctl);
	loop_destroy(loop);
	snprintf(command, sizeof(command), "rm -rf %s", base);
	return system(command);
}

static void start(void)
{
	struct err e;

	if (ctl_create(loop, "web", &ops, &ctl, &ctl, &e) < 0)
		fail_msg("%s", e.text);
}

static void refused(const char *name, enum err_code code, const char *says)
{
	struct ctl *second = NULL;
	struct err e = {0};

	assert_int_equal(ctl_create(loop, name, &ops, &ctl, &second, &e), -1);
	if (e.code != code || !strstr(e.text, says) || strchr(e.text, '\n'))
		fail_msg("%s: %s", err_code_name(e.code), e.text);
}

static int dial(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	strcpy(addr.sun_path, sock_path);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

static void say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void stop_loop(void *arg, uint32_t events)
{
	(void)events;
	loop_stop(arg);
}

/* Runs the outer loop for a few rounds. */
static void serve(void)
{
	for (int i = 0; i < 4; i++) {
		struct loop_source *timer = loop_timer_add(loop, 0, 0, stop_loop, loop, NULL);

		loop_run(loop);
		loop_remove(&timer);
	}
}

/* Reads one line, serving meanwhile; "" after a hang-up. */
static const char *hear(int fd)
{
	static char line[CTL_LINE_MAX + 2];
	size_t n = 0;

	for (int idle = 0; idle < 1000;) {
		ssize_t got = recv(fd, line + n, 1, 0);

		assert_true(n < sizeof(line) - 2);
		if (got == 0 || (got < 0 && errno == ECONNRESET))
			break;
		if (got < 0) {
			idle++;
			serve();
		} else if (line[n++] == '\n') {
			line[n - 1] = 0;
			return line;
		}
	}
	line[n] = 0;
	assert_int_equal(n, 0);
	return line;
}

static bool hung_up(int fd)
{
	char byte;

	for (int i = 0; i < 1000; i++) {
		ssize_t n = recv(fd, &byte, 1, 0);

		if (n == 0 || (n < 0 && errno == ECONNRESET))
			return true;
		serve();
	}
	return false;
}

static void test_files(void **state)
{
	struct stat st;
	char text[32] = "";
	int fd;

	(void)state;
	umask(022);
	start();
	assert_int_equal(stat(dir, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	assert_int_equal(stat(sock_path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(stat(lock_path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	fd = open(lock_path, O_RDONLY);
	assert_true(read(fd, text, sizeof(text) - 1) > 0);
	close(fd);
	assert_int_equal(atol(text), getpid());
	ctl_destroy(ctl);
	ctl = NULL;
	assert_int_equal(access(sock_path, F_OK), -1);
	assert_int_equal(access(lock_path, F_OK), -1);
	assert_int_equal(access(dir, F_OK), 0);
}

static void test_second_is_refused(void **state)
{
	char says[64];
	int fd;

	(void)state;
	start();
	snprintf(says, sizeof(says), "\"web\" is already running (pid %ld)", (long)getpid());
	refused("web", ERR_STATE, says);
	/* The first one is unharmed. */
	fd = dial();
	say(fd, "{\"verb\":\"echo\"}\n");
	assert_string_equal(hear(fd), "{\"ok\":true,\"request\":{\"verb\":\"echo\"}}");
	close(fd);
}

/* What a supervisor leaves that was killed: a lock file that nobody holds, a socket that nobody serves. */
static void test_stale_is_taken_over(void **state)
{
	struct stat st;
	int status, fd;
	pid_t pid = fork();

	(void)state;
	assert_true(pid >= 0);
	if (!pid) {
		start();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(stat(lock_path, &st), 0);
	assert_int_equal(stat(sock_path, &st), 0);
	start();
	fd = dial();
	say(fd, "{\"verb\":\"echo\"}\n");
	assert_string_equal(hear(fd), "{\"ok\":true,\"request\":{\"verb\":\"echo\"}}");
	close(fd);
}

static void test_names(void **state)
{
	static const char *const bad[] = {
		"",	  ".",	 "..",	 ".web",     "-web",  "a/b",
		"../web", "a b", "a\nb", "\xc3\xa9", "a\x1b", "012345678901234567890123456789012345678901234567",
	};
	static const char *const fine[] = {"a", "A.b_c-9", "01234567890123456789012345678901234567890123456"};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct ctl *c;
		struct err e;

		assert_false(paths_name_valid(bad[i]));
		assert_int_equal(ctl_create(loop, bad[i], &ops, &ctl, &c, &e), -1);
		assert_int_equal(e.code, ERR_USAGE);
	}
	for (size_t i = 0; i < sizeof(fine) / sizeof(fine[0]); i++)
		assert_true(paths_name_valid(fine[i]));
}

static void test_directories(void **state)
{
	char longer[160];

	(void)state;
	assert_int_equal(mkdir(strcat(strcpy(dir, base), "/open"), 0777), 0);
	assert_int_equal(chmod(dir, 0777), 0);
	setenv("CLOUDER_RUNTIME_DIR", dir, 1);
	refused("web", ERR_REFUSED, "can be written by others");
	memset(longer, 'd', sizeof(longer));
	memcpy(longer, base, strlen(base));
	longer[strlen(base)] = '/';
	longer[sizeof(longer) - 1] = 0;
	setenv("CLOUDER_RUNTIME_DIR", longer, 1);
	refused("web", ERR_LIMIT, "too long for a socket");
	setenv("CLOUDER_RUNTIME_DIR", "/proc/nothing/here", 1);
	refused("web", ERR_SYSTEM, "cannot make the directory");
}

static void test_hostile_requests(void **state)
{
	static const char *const lines[] = {
		"\n",
		"{\n",
		"[]\n",
		"\"verb\"\n",
		"{}\n",
		"{\"verb\": 3}\n",
		"{\"verb\": null}\n",
		"{\"verb\": \"echo\", \"verb\": \"stop\"}\n",
		"{\"verb\": \"a\\u0000b\"}\n",
		"{\"verb\": \"\xff\"}\n",
		"{\"verb\": \"echo\"} {\"verb\": \"echo\"}\n",
		"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\n",
	};
	int fd;

	(void)state;
	start();
	fd = dial();
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		say(fd, lines[i]);
		assert_non_null(strstr(hear(fd), "{\"ok\":false,\"error\":\"a request is one JSON object"));
	}
	say(fd, "{\"verb\": \"nonsense\"}\n");
	assert_string_equal(hear(fd), "{\"ok\":false,\"error\":\"unknown verb\"}");
	say(fd, "{\"verb\": \"huge\"}\n");
	assert_string_equal(hear(fd), "{\"ok\":false,\"error\":\"the answer does not fit in a line\"}");
	/* In pieces, and several at once. */
	say(fd, "{\"ve");
	serve();
	say(fd, "rb\":\"echo\"}\n{\"verb\":\"x\"}\n");
	assert_string_equal(hear(fd), "{\"ok\":true,\"request\":{\"verb\":\"echo\"}}");
	assert_string_equal(hear(fd), "{\"ok\":false,\"error\":\"unknown verb\"}");
	close(fd);
}

/* As much of n bytes as it takes before the other end gives up. */
static void flood(int fd, size_t n)
{
	static char block[4096];

	memset(block, '[', sizeof(block));
	for (size_t sent = 0; sent < n;) {
		ssize_t got = send(fd, block, sizeof(block), MSG_NOSIGNAL);

		if (got > 0)
			sent += (size_t)got;
		else if (errno != EAGAIN)
			return;
		serve();
	}
}

static void test_oversized_line(void **state)
{
	int fd;

	(void)state;
	start();
	fd = dial();
	flood(fd, 2 * CTL_LINE_MAX);
	assert_string_equal(hear(fd), "{\"ok\":false,\"error\":\"the request is too long\"}");
	assert_true(hung_up(fd));
	close(fd);
	/* Deep nesting just under the limit is refused as well, and costs no stack. */
	fd = dial();
	flood(fd, CTL_LINE_MAX - 8192);
	say(fd, "\n");
	assert_non_null(strstr(hear(fd), "a request is one JSON object"));
	close(fd);
}

static void test_too_many_clients(void **state)
{
	int fd[CTL_CLIENTS_MAX], more;

	(void)state;
	start();
	for (int i = 0; i < CTL_CLIENTS_MAX; i++) {
		fd[i] = dial();
		serve();
	}
	more = dial();
	assert_string_equal(hear(more), "{\"ok\":false,\"error\":\"too many clients\"}");
	assert_true(hung_up(more));
	close(more);
	close(fd[0]);
	serve();
	fd[0] = dial();
	say(fd[0], "{\"verb\":\"x\"}\n");
	assert_string_equal(hear(fd[0]), "{\"ok\":false,\"error\":\"unknown verb\"}");
	for (int i = 0; i < CTL_CLIENTS_MAX; i++)
		close(fd[i]);
}

/* A client that closes its sending half still gets its answer, then the hang-up. */
static void test_half_closed(void **state)
{
	int fd;

	(void)state;
	start();
	fd = dial();
	say(fd, "{\"verb\":\"echo\"}\n");
	shutdown(fd, SHUT_WR);
	assert_string_equal(hear(fd), "{\"ok\":true,\"request\":{\"verb\":\"echo\"}}");
	assert_true(hung_up(fd));
	close(fd);
}

static void test_events(void **state)
{
	json_t *event = json_pack("{s:s}", "event", "detected");
	int listener, other;

	(void)state;
	start();
	listener = dial();
	other = dial();
	say(listener, "{\"verb\":\"events\"}\n");
	assert_string_equal(hear(listener), "{\"ok\":true}");
	ctl_broadcast(ctl, event);
	assert_string_equal(hear(listener), "{\"event\":\"detected\"}");
	/* The other one asked for none: the next it hears is its own answer. */
	say(other, "{\"verb\":\"broadcast\"}\n");
	assert_string_equal(hear(other), "{\"ok\":true}");
	assert_string_equal(hear(listener), "{\"event\":\"recovered\"}");
	/* A listener that went away is no trouble. */
	close(listener);
	ctl_broadcast(ctl, event);
	serve();
	ctl_broadcast(ctl, event);
	say(other, "{\"verb\":\"x\"}\n");
	assert_string_equal(hear(other), "{\"ok\":false,\"error\":\"unknown verb\"}");
	close(other);
	json_decref(event);
}

#define ROUNDS (2 * CTL_PENDING_MAX / 4096)

/* A listener that does not read is dropped, and the broadcasts never wait for it; one that reads stays. */
static void test_slow_listener(void **state)
{
	char text[4096];
	json_t *event;
	int slow, quick;

	(void)state;
	memset(text, 'e', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	event = json_pack("{s:s}", "event", text);
	start();
	slow = dial();
	quick = dial();
	say(slow, "{\"verb\":\"events\"}\n");
	say(quick, "{\"verb\":\"events\"}\n");
	assert_string_equal(hear(slow), "{\"ok\":true}");
	assert_string_equal(hear(quick), "{\"ok\":true}");
	for (int i = 0; i < ROUNDS; i++) {
		ctl_broadcast(ctl, event);
		assert_non_null(strstr(hear(quick), "{\"event\":\"eee"));
	}
	/* Dropped: after what had got through, the end comes, and it comes before everything. */
	for (size_t got = 0;;) {
		ssize_t n = recv(slow, text, sizeof(text), 0);

		if (n <= 0) {
			assert_int_equal(n, 0);
			assert_true(got < ROUNDS * sizeof(text));
			break;
		}
		got += (size_t)n;
	}
	close(slow);
	close(quick);
	json_decref(event);
}

/* The client that is being served is found dead by a broadcast: it is not freed under the handler's feet. */
static void test_client_dies_while_served(void **state)
{
	int fd;

	(void)state;
	start();
	fd = dial();
	say(fd, "{\"verb\":\"events\"}\n");
	assert_string_equal(hear(fd), "{\"ok\":true}");
	say(fd, "{\"verb\":\"broadcast\"}\n");
	close(fd);
	serve();
	fd = dial();
	say(fd, "{\"verb\":\"x\"}\n");
	assert_string_equal(hear(fd), "{\"ok\":false,\"error\":\"unknown verb\"}");
	close(fd);
}

/* A handler that waits for something else: no request is served meanwhile. */
struct nested {
	int fd;
	bool over, silent;
};

static void end_nested(void *arg, uint32_t events)
{
	(void)events;
	*(bool *)arg = true;
}

static void wait_nested(void *arg, uint32_t events)
{
	struct nested *n = arg;
	struct loop_source *timer;
	char byte;

	(void)events;
	say(n->fd, "{\"verb\":\"x\"}\n");
	timer = loop_timer_add(loop, 0, 0, end_nested, &n->over, NULL); /* fires after the sockets of its round */
	assert_true(loop_run_until(loop, &n->over, 0));
	loop_remove(&timer);
	n->silent = recv(n->fd, &byte, 1, 0) < 0 && errno == EAGAIN;
}

static void test_not_served_while_waiting(void **state)
{
	struct nested n = {0};
	struct loop_source *timer;

	(void)state;
	start();
	n.fd = dial();
	serve();
	timer = loop_timer_add(loop, 0, 0, wait_nested, &n, NULL);
	serve();
	loop_remove(&timer);
	assert_true(n.over);
	assert_true(n.silent);
	assert_string_equal(hear(n.fd), "{\"ok\":false,\"error\":\"unknown verb\"}");
	close(n.fd);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		T(test_files),
		T(test_second_is_refused),
		T(test_stale_is_taken_over),
		T(test_names),
		T(test_directories),
		T(test_hostile_requests),
		T(test_oversized_line),
		T(test_too_many_clients),
		T(test_half_closed),
		T(test_events),
		T(test_slow_listener),
		T(test_client_dies_while_served),
		T(test_not_served_while_waiting),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
