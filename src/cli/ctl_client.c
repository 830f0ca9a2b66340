/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Control client: see ctl_client.h. */
#include "cli/ctl_client.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/loop.h"
#include "base/paths.h"
#include "ctl_proto.h"

#define ANSWER_MS 10000
#define NAMES_MAX 4096
#define SOCKET_SUFFIX ".sock"

struct ctl_client {
	int fd;
	int pidfd; /* of the supervisor; -1: not to be had */
	char name[CTL_NAME_MAX + 1];
	struct buf in;
};

static int not_running(int why, const char *name, struct err *e)
{
	if (why == ENOENT)
		return err_set(e, ERR_MISSING, "no VM named \"%s\" is running: 'clouder status' lists them", name);
	if (why == ECONNREFUSED)
		return err_set(
			e, ERR_GONE,
			"VM \"%s\" is not running: its supervisor died; 'clouder run' of that name takes its place",
			name);
	errno = why;
	return err_set_errno(e, "cannot reach the supervisor of VM \"%s\"", name);
}

/* A descriptor of the process at the other end, which cannot come to mean another process. */
static int open_peer(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 || peer.pid <= 0)
		return -1;
	return (int)syscall(SYS_pidfd_open, peer.pid, 0);
}

int ctl_client_open(const char *name, struct ctl_client **ret, struct err *e)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	char path[PATHS_SOCKET_MAX];
	struct ctl_client *c;
	int why;

	if (paths_check_name(name, e) < 0 || paths_vm_file(name, SOCKET_SUFFIX, path, e) < 0)
		return -1;
	static_assert(sizeof(addr.sun_path) == sizeof(path), "a path that passed fits");
	memcpy(addr.sun_path, path, sizeof(path));
	c = calloc(1, sizeof(*c));
	if (!c)
		return err_set_errno(e, "control client");
	snprintf(c->name, sizeof(c->name), "%s", name);
	c->pidfd = -1;
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		why = errno;
		ctl_client_close(c);
		return not_running(why, name, e);
	}
	c->pidfd = open_peer(c->fd);
	*ret = c;
	return 0;
}

void ctl_client_close(struct ctl_client *c)
{
	if (!c)
		return;
	if (c->fd >= 0)
		close(c->fd);
	if (c->pidfd >= 0)
		close(c->pidfd);
	buf_deinit(&c->in);
	free(c);
}

/* Waits for input (or hang-up) on fd until the deadline (0: none). */
static int wait_for(int fd, uint64_t deadline_ns)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	for (;;) {
		uint64_t now = loop_now_ns();
		int ms = -1, n;

		if (deadline_ns)
			ms = now >= deadline_ns ? 0 : (int)((deadline_ns - now + 999999) / 1000000);
		n = poll(&p, 1, ms);
		if (n > 0)
			return 0;
		if (n == 0 || errno != EINTR)
			return -1;
	}
}

static uint64_t deadline_in(int ms)
{
	return ms < 0 ? 0 : loop_now_ns() + (uint64_t)ms * 1000000u + 1;
}

static int take_line(struct ctl_client *c, size_t len, json_t **ret, struct err *e)
{
	json_error_t why;
	json_t *j = json_loadb(c->in.data, len, JSON_REJECT_DUPLICATES, &why);

	buf_consume(&c->in, len + 1);
	if (!json_is_object(j)) {
		json_decref(j);
		return err_set(e, ERR_PROTOCOL, "the supervisor of VM \"%s\" sent what is not a JSON object", c->name);
	}
	*ret = j;
	return 0;
}

int ctl_client_read(struct ctl_client *c, int timeout_ms, json_t **ret, struct err *e)
{
	uint64_t deadline = deadline_in(timeout_ms);
	char chunk[65536], *newline;
	ssize_t n;

	for (;;) {
		newline = c->in.len ? memchr(c->in.data, '\n', c->in.len) : NULL;
		if (newline)
			return take_line(c, (size_t)(newline - c->in.data), ret, e);
		if (wait_for(c->fd, deadline) < 0)
			return err_set(e, ERR_TIMEOUT, "the supervisor of VM \"%s\" does not answer", c->name);
		n = recv(c->fd, chunk, sizeof(chunk), 0);
		if (n == 0 || (n < 0 && errno == ECONNRESET))
			return err_set(e, ERR_GONE, "the supervisor of VM \"%s\" hung up", c->name);
		if (n < 0 && errno != EINTR)
			return err_set_errno(e, "supervisor of VM \"%s\"", c->name);
		if (n > 0 && buf_append(&c->in, chunk, (size_t)n, CTL_ANSWER_MAX + sizeof(chunk)) < 0)
			return err_set(e, ERR_PROTOCOL, "the supervisor of VM \"%s\" sent too long a line", c->name);
	}
}

static int send_request(struct ctl_client *c, const json_t *request, struct err *e)
{
	char *text = request ? json_dumps(request, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;
	ssize_t len = text ? (ssize_t)strlen(text) : 0, sent;

	if (!text)
		return err_set(e, ERR_SYSTEM, "request to VM \"%s\": out of memory", c->name);
	text[len++] = '\n'; /* where the string's end was: it is sent with its length */
	sent = send(c->fd, text, (size_t)len, MSG_NOSIGNAL);
	free(text);
	return sent == len ? 0 : err_set(e, ERR_GONE, "the supervisor of VM \"%s\" hung up", c->name);
}

int ctl_client_request(struct ctl_client *c, const json_t *request, json_t **ret, struct err *e)
{
	json_t *answer;

	if (send_request(c, request, e) < 0 || ctl_client_read(c, ANSWER_MS, &answer, e) < 0)
		return -1;
	if (!json_is_true(json_object_get(answer, "ok"))) {
		const char *why = json_string_value(json_object_get(answer, "error"));

		err_set(e, ERR_STATE, "VM \"%s\": %s", c->name, why ? why : "refused, without saying why");
		json_decref(answer);
		return -1;
	}
	*ret = answer;
	return 0;
}

int ctl_client_call(struct ctl_client *c, const char *verb, json_t **ret, struct err *e)
{
	json_t *request = json_pack("{s:s}", "verb", verb);
	int rc = ctl_client_request(c, request, ret, e);

	json_decref(request);
	return rc;
}

int ctl_client_wait_end(struct ctl_client *c, int timeout_ms, struct err *e)
{
	uint64_t deadline = deadline_in(timeout_ms);
	char chunk[4096];
	ssize_t n = 1;

	/* Without a descriptor of the process, the hang-up must do. */
	while (c->pidfd < 0 && n > 0 && wait_for(c->fd, deadline) == 0)
		n = recv(c->fd, chunk, sizeof(chunk), 0);
	if (c->pidfd < 0 ? n <= 0 : wait_for(c->pidfd, deadline) == 0)
		return 0;
	return err_set(e, ERR_TIMEOUT, "VM \"%s\" has not ended after %d s: it was asked to; look at 'clouder status'",
		       c->name, timeout_ms / 1000);
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* A new string if the file is a VM's socket by its name, else NULL. */
static char *socket_name(const char *file)
{
	size_t len = strlen(file), suffix = strlen(SOCKET_SUFFIX);
	char *name;

	if (len <= suffix || strcmp(file + len - suffix, SOCKET_SUFFIX) != 0)
		return NULL;
	name = strndup(file, len - suffix);
	if (name && !paths_name_valid(name)) {
		free(name);
		name = NULL;
	}
	return name;
}

int ctl_client_names(char ***ret, size_t *ret_n, struct err *e)
{
	char dir[PATH_MAX], **names = calloc(NAMES_MAX, sizeof(*names));
	struct dirent *entry;
	size_t n = 0;
	DIR *d = NULL;

	if (!names)
		return err_set_errno(e, "control client");
	if (paths_runtime_dir(dir, sizeof(dir), e) < 0) {
		free(names);
		return -1;
	}
	d = opendir(dir);
	if (!d && errno != ENOENT) {
		err_set_errno(e, "%.250s", dir);
		free(names);
		return -1;
	}
	while (d && n < NAMES_MAX && (entry = readdir(d))) {
		names[n] = socket_name(entry->d_name);
		n += names[n] != NULL;
	}
	if (d)
		closedir(d);
	qsort(names, n, sizeof(*names), compare_names);
	*ret = names;
	*ret_n = n;
	return 0;
}

void ctl_client_free_names(char **names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(names[i]);
	free(names);
}

int ctl_client_only_name(char **ret, struct err *e)
{
	char **names;
	size_t n;

	if (ctl_client_names(&names, &n, e) < 0)
		return -1;
	*ret = n == 1 ? strdup(names[0]) : NULL;
	ctl_client_free_names(names, n);
	if (*ret)
		return 0;
	return err_set(e, n ? ERR_USAGE : ERR_MISSING,
		       n ? "%zu VMs are running: say which one, 'clouder status' lists them" : "no VM is running", n);
}

int ctl_client_ask(const char *name, const json_t *request, json_t **ret, struct err *e)
{
	struct ctl_client *client;
	char *only = NULL;
	int rc;

	if (!name && ctl_client_only_name(&only, e) < 0)
		return -1;
	rc = ctl_client_open(only ? only : name, &client, e);
	free(only);
	if (rc < 0)
		return -1;
	rc = ctl_client_request(client, request, ret, e);
	ctl_client_close(client);
	if (rc == 0)
		json_object_del(*ret, "ok");
	return rc;
}
