/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A service that sends a payload through a path and says where the result lies, so that its taint can be looked at.
 *
 * Request: "NAME LENGTH:" and LENGTH bytes of payload. The first is read byte by byte, so that the payload can be taken
 * by whatever means the path is about. Answer, one line:
 *
 *   NAME EXPECT PID HEAD HEADLEN RPID AT LEN OFFSET
 *
 * EXPECT is exact, all or clean (taintlab.h); what came before the payload lies at HEAD in process PID, the result at AT in
 * process RPID, and stays there until the next request. Or "failed NAME: why". "list 0:" is answered with a line
 * "NAME EXPECT PAYLOAD" for each path, then "end".
 */
#include "taintlab.h"

#include "listen.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define HEAD_MAX 64

static const char *const expect_names[] = {
	[LAB_EXACT] = "exact", [LAB_ALL] = "all", [LAB_ADDRESS] = "address", [LAB_CLEAN] = "clean"};

/* What a request leaves behind for its result's sake. */
static struct {
	pid_t pid; /* 0: none */
	int pipe;
} child;

static char head[HEAD_MAX], in[LAB_MAX + 1], out[LAB_MAX];

bool lab_read_all(int fd, void *ret, size_t len)
{
	char *at = ret;

	while (len) {
		ssize_t n = read(fd, at, len);

		if (n == 0)
			errno = EPIPE;
		if (n <= 0)
			return false;
		at += n;
		len -= (size_t)n;
	}
	return true;
}

bool lab_write_all(int fd, const void *bytes, size_t len)
{
	const char *at = bytes;

	while (len) {
		ssize_t n = write(fd, at, len);

		if (n <= 0)
			return false;
		at += n;
		len -= (size_t)n;
	}
	return true;
}

/* ---- children that hold a result ---- */

/* What a child tells of its result. */
struct told {
	uint64_t at, len;
};

/* Tells, then waits until nobody needs the result any more. */
static void tell_and_wait(int fd, const void *at, size_t len)
{
	struct told t = {(uintptr_t)at, len};
	char byte;

	if (lab_write_all(fd, &t, sizeof(t)))
		while (read(fd, &byte, 1) > 0)
			;
	_exit(0);
}

static void end_child(void)
{
	if (!child.pid)
		return;
	close(child.pipe);
	waitpid(child.pid, NULL, 0);
	child.pid = 0;
}

static bool hear(struct lab *l, pid_t pid, int fd)
{
	struct told t;

	child.pid = pid;
	child.pipe = fd;
	if (!lab_read_all(fd, &t, sizeof(t)))
		return false;
	l->pid = pid;
	l->at = (const void *)(uintptr_t)t.at;
	l->ret_len = (size_t)t.len;
	return true;
}

bool lab_child(struct lab *l, bool (*run)(struct lab *l))
{
	int fd[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) < 0)
		return false;
	pid = fork();
	if (pid == 0) {
		close(fd[0]);
		if (run(l))
			tell_and_wait(fd[1], l->at, l->ret_len);
		_exit(1);
	}
	close(fd[1]);
	return pid > 0 && hear(l, pid, fd[0]);
}

bool lab_exec(struct lab *l, char *const *argv, char *const *envp, int input)
{
	int fd[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) < 0)
		return false;
	pid = fork();
	if (pid == 0) {
		dup2(input, STDIN_FILENO);
		dup2(fd[1], 3); /* a copy is not closed at exec */
		execve("/proc/self/exe", argv, envp);
		_exit(1);
	}
	close(fd[1]);
	return pid > 0 && hear(l, pid, fd[0]);
}

static const char *of_argument(const char *value)
{
	return value;
}

static const char *of_environment(const char *value)
{
	return getenv(value);
}

static const char *of_input(const char *value)
{
	static char line[LAB_MAX + 1];

	return fgets(line, atoi(value) + 1, stdin);
}

static const char *of_kernel(const char *value)
{
	(void)value;
	return (const char *)getauxval(AT_RANDOM);
}

static const struct {
	const char *what;
	const char *(*result)(const char *value);
	size_t len; /* of the result; 0: a string */
} exec_kinds[] = {{"argument", of_argument, 0},
		  {"environment", of_environment, 0},
		  {"input", of_input, 0},
		  {"random", of_kernel, 16}};

/* argv: NAME --exec WHAT VALUE. */
static int exec_main(int argc, char **argv)
{
	const char *result = NULL;
	size_t len = 0;

	for (size_t i = 0; argc == 4 && i < sizeof(exec_kinds) / sizeof(exec_kinds[0]); i++) {
		if (strcmp(argv[2], exec_kinds[i].what) == 0) {
			result = exec_kinds[i].result(argv[3]);
			len = exec_kinds[i].len;
		}
	}
	if (!result)
		return 1;
	tell_and_wait(3, result, len ? len : strlen(result));
	return 0;
}

/* ---- requests ---- */

static const struct lab_path *find_path(const char *name)
{
	for (const struct lab_table *t = lab_tables; t->paths; t++)
		for (size_t i = 0; i < *t->count; i++)
			if (strcmp(t->paths[i].name, name) == 0)
				return &t->paths[i];
	return NULL;
}

static void list_row(FILE *to, const struct lab_path *p)
{
	const char *payload = p->payload ? p->payload : LAB_PAYLOAD;
	size_t once = strlen(payload), size = p->size ? p->size : once;

	fprintf(to, "%s %s ", p->name, expect_names[p->expect]);
	for (size_t i = 0; i < size; i++)
		putc(payload[i % once], to);
	putc('\n', to);
}

static void list(int client)
{
	FILE *to = fdopen(dup(client), "w");

	for (const struct lab_table *t = lab_tables; t->paths; t++)
		for (size_t i = 0; i < *t->count; i++)
			list_row(to, &t->paths[i]);
	fputs("end\n", to);
	fclose(to);
}

/* Length of "NAME LENGTH:" in head, which is not ended by a zero; 0: the connection is over. */
static size_t read_head(int client)
{
	size_t n = 0;

	while (n < HEAD_MAX && read(client, &head[n], 1) == 1)
		if (head[n++] == ':')
			return n;
	return 0;
}

static bool serve_path(const struct lab_path *p, struct lab *l)
{
	memset(in, 0, sizeof(in));
	memset(out, 0, sizeof(out));
	if (!(p->receive ? p->receive(l) : lab_read_all(l->client, l->in, l->len)))
		return false;
	return !p->run || p->run(l);
}

static void answer(int client, const struct lab_path *p, const struct lab *l, size_t head_len)
{
	dprintf(client, "%s %s %d 0x%" PRIxPTR " %zu %d 0x%" PRIxPTR " %zu %zu\n", p->name, expect_names[p->expect],
		(int)getpid(), (uintptr_t)head, head_len, (int)l->pid, (uintptr_t)l->at, l->ret_len, l->offset);
}

static bool serve_request(int client)
{
	struct lab l = {.client = client, .in = in, .out = out, .pid = getpid(), .at = out};
	char name[HEAD_MAX], text[HEAD_MAX + 1];
	const struct lab_path *p;
	size_t head_len = read_head(client);

	end_child();
	if (!head_len)
		return false;
	memcpy(text, head, head_len);
	text[head_len] = '\0';
	if (sscanf(text, "%63s %zu", name, &l.len) != 2 || l.len > LAB_MAX)
		return false;
	if (strcmp(name, "list") == 0) {
		list(client);
		return true;
	}
	p = find_path(name);
	l.ret_len = l.len;
	if (p && !p->run)
		l.at = in;
	if (p && serve_path(p, &l))
		answer(client, p, &l, head_len);
	else
		dprintf(client, "failed %s: %s\n", name, p ? strerror(errno) : "no such path");
	return p != NULL;
}

int main(int argc, char **argv)
{
	int listener, client;

	if (argc > 2 && strcmp(argv[1], "--exec") == 0)
		return exec_main(argc, argv);
	listener = argc == 2 ? listen_on(argv[1], 4) : -1;
	if (listener < 0)
		return 2;
	signal(SIGPIPE, SIG_IGN);
	mkdir("/dev/shm", 01777);
	listen_tell_ready();
	while ((client = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
		while (serve_request(client))
			;
		close(client);
	}
	return 1;
}
