/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Control socket, server side: see ctl.h. A client is freed only when no handler of the socket is on the stack. */
#include "daemon/ctl.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/paths.h"

#define READ_CHUNK 4096
#define ACCEPT_RETRY_MS 1000

struct client {
	LIST_ENTRY(client) link;
	struct ctl *ctl;
	int fd;
	struct loop_source *source;
	struct buf in, out;
	bool events; /* wants them */
	bool closing; /* nothing more is read; goes when out is empty */
	bool dead;
};

struct ctl {
	struct loop *loop;
	const struct ctl_ops *ops;
	void *arg;
	int lock_fd, listen_fd;
	struct loop_source *listen_source, *retry_timer;
	LIST_HEAD(, client) clients;
	unsigned n_clients;
	unsigned busy; /* handlers on the stack */
	char lock_path[PATHS_SOCKET_MAX], socket_path[PATHS_SOCKET_MAX];
};

/* ---- clients ---- */

static void client_free(struct client *c)
{
	LIST_REMOVE(c, link);
	c->ctl->n_clients--;
	loop_remove(&c->source);
	if (c->fd >= 0)
		close(c->fd);
	buf_deinit(&c->in);
	buf_deinit(&c->out);
	free(c);
}

static void reap(struct ctl *ctl)
{
	struct client *c, *next;

	if (ctl->busy)
		return;
	for (c = LIST_FIRST(&ctl->clients); c; c = next) {
		next = LIST_NEXT(c, link);
		if (c->dead || (c->closing && !c->out.len))
			client_free(c);
	}
}

static void client_flush(struct client *c)
{
	while (c->out.len && !c->dead) {
		ssize_t n = send(c->fd, c->out.data, c->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n > 0)
			buf_consume(&c->out, (size_t)n);
		else if (n < 0 && errno == EAGAIN)
			break;
		else if (!(n < 0 && errno == EINTR))
			c->dead = true;
	}
	if (c->source)
		loop_modify(c->source, (c->closing ? 0 : EPOLLIN) | (c->out.len ? EPOLLOUT : 0));
}

static void client_send_text(struct client *c, const char *text)
{
	if (c->dead)
		return;
	if (buf_append(&c->out, text, strlen(text), CTL_PENDING_MAX) < 0 ||
	    buf_append(&c->out, "\n", 1, CTL_PENDING_MAX) < 0)
		c->dead = true;
	else
		client_flush(c);
}

static char *line_text(const json_t *j)
{
	char *text = json_dumps(j, JSON_COMPACT | JSON_ENSURE_ASCII);

	if (text && strlen(text) < CTL_ANSWER_MAX)
		return text;
	free(text);
	return NULL;
}

static json_t *refusal(const char *why)
{
	return json_pack("{s:b, s:s}", "ok", 0, "error", why);
}

static void client_answer(struct client *c, json_t *answer)
{
	char *text = answer ? line_text(answer) : NULL;

	client_send_text(c, text ? text : "{\"ok\":false,\"error\":\"the answer does not fit in a line\"}");
	free(text);
	json_decref(answer);
}

static void client_request(struct client *c, const char *line, size_t len)
{
	json_error_t why;
	json_t *request = json_loadb(line, len, JSON_REJECT_DUPLICATES, &why), *answer;
	const char *verb = json_string_value(json_object_get(request, "verb"));

	if (!json_is_object(request) || !verb) {
		answer = refusal("a request is one JSON object a line, with \"verb\"");
	} else if (strcmp(verb, "events") == 0) {
		c->events = true;
		answer = json_pack("{s:b}", "ok", 1);
	} else {
		answer = c->ctl->ops->handle(c->ctl->arg, verb, request);
		if (!answer)
			answer = refusal("unknown verb");
	}
	client_answer(c, answer);
	json_decref(request);
}

static void client_read(struct client *c)
{
	char chunk[READ_CHUNK], *newline;
	ssize_t n = recv(c->fd, chunk, sizeof(chunk), MSG_DONTWAIT);

	if (n == 0)
		c->closing = true;
	else if (n < 0)
		c->dead = errno != EAGAIN && errno != EINTR;
	if (n > 0 && buf_append(&c->in, chunk, (size_t)n, CTL_LINE_MAX + READ_CHUNK) < 0)
		c->dead = true;
	while (!c->dead && c->in.len && (newline = memchr(c->in.data, '\n', c->in.len))) {
		size_t len = (size_t)(newline - c->in.data);

		if (len >= CTL_LINE_MAX)
			break;
		client_request(c, c->in.data, len);
		buf_consume(&c->in, len + 1);
	}
	if (c->in.len >= CTL_LINE_MAX && !c->dead) {
		client_answer(c, refusal("the request is too long"));
		c->closing = true;
	}
}

static void client_ready(void *arg, uint32_t events)
{
	struct client *c = arg;
	struct ctl *ctl = c->ctl;

	ctl->busy++;
	if (!c->dead && !c->closing && (events & ~(uint32_t)EPOLLOUT))
		client_read(c);
	client_flush(c);
	if (c->closing && (events & (EPOLLERR | EPOLLHUP)))
		c->dead = true; /* nobody is there to read the rest */
	ctl->busy--;
	reap(ctl);
}

static void client_create(struct ctl *ctl, int fd)
{
	struct client *c = calloc(1, sizeof(*c));

	if (!c) {
		close(fd);
		return;
	}
	c->ctl = ctl;
	c->fd = fd;
	LIST_INSERT_HEAD(&ctl->clients, c, link);
	ctl->n_clients++;
	c->source = loop_add(ctl->loop, LOOP_FD_CONTROL, fd, EPOLLIN, LOOP_OUTER, client_ready, c, NULL);
	if (!c->source)
		client_free(c);
}

static void accept_again(void *arg, uint32_t events)
{
	struct ctl *ctl = arg;

	(void)events;
	loop_modify(ctl->listen_source, EPOLLIN);
}

static void accept_ready(void *arg, uint32_t events)
{
	static const char full[] = "{\"ok\":false,\"error\":\"too many clients\"}\n";
	struct ctl *ctl = arg;
	int fd = accept4(ctl->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)events;
	if (fd < 0) {
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
			/* The connection stays ready: do not spin on it. */
			loop_modify(ctl->listen_source, 0);
			loop_timer_set(ctl->retry_timer, ACCEPT_RETRY_MS);
		}
		return;
	}
	if (ctl->n_clients < CTL_CLIENTS_MAX) {
		client_create(ctl, fd);
		return;
	}
	if (send(fd, full, sizeof(full) - 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		errno = 0; /* it finds out by the hang-up */
	close(fd);
}

void ctl_broadcast(struct ctl *ctl, const json_t *event)
{
	char *text = line_text(event);
	struct client *c;

	if (!text)
		return;
	ctl->busy++;
	LIST_FOREACH (c, &ctl->clients, link)
		if (c->events && !c->closing)
			client_send_text(c, text);
	ctl->busy--;
	free(text);
	reap(ctl);
}

/* ---- lock and socket ---- */

static int refuse_second(int fd, const char *name, struct err *e)
{
	char text[32] = "";
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
	long pid = n > 0 ? strtol(text, NULL, 10) : 0;

	if (pid > 0)
		return err_set(e, ERR_STATE,
			       "a VM named \"%s\" is already running (pid %ld): 'clouder stop %s' ends it, or choose "
			       "another --name",
			       name, pid, name);
	return err_set(e, ERR_STATE, "a VM named \"%s\" is already being started: choose another --name", name);
}

/* Whether path still names the file behind fd (its last owner may have removed it between our open and flock). */
static bool same_file(int fd, const char *path)
{
	struct stat a, b;

	return fstat(fd, &a) == 0 && lstat(path, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static int take_lock(struct ctl *ctl, const char *name, struct err *e)
{
	char pid[32];
	int n = snprintf(pid, sizeof(pid), "%ld\n", (long)getpid());

	for (;;) {
		int fd = open(ctl->lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

		if (fd < 0)
			return err_set_errno(e, "cannot open %s", ctl->lock_path);
		if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
			if (errno == EWOULDBLOCK)
				refuse_second(fd, name, e);
			else
				err_set_errno(e, "cannot lock %s", ctl->lock_path);
			close(fd);
			return -1;
		}
		if (same_file(fd, ctl->lock_path)) {
			ctl->lock_fd = fd;
			break;
		}
		close(fd);
	}
	if (ftruncate(ctl->lock_fd, 0) < 0 || pwrite(ctl->lock_fd, pid, (size_t)n, 0) != n)
		return err_set_errno(e, "cannot write %s", ctl->lock_path);
	return 0;
}

static int listen_on(struct ctl *ctl, struct err *e)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	static_assert(sizeof(addr.sun_path) == PATHS_SOCKET_MAX, "a path that passed fits");
	memcpy(addr.sun_path, ctl->socket_path, sizeof(addr.sun_path));
	if (unlink(ctl->socket_path) < 0 && errno != ENOENT)
		return err_set_errno(e, "cannot remove the old %s", ctl->socket_path);
	ctl->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* The mode of the descriptor is the mode of the file that bind makes. */
	if (ctl->listen_fd < 0 || fchmod(ctl->listen_fd, 0600) < 0 ||
	    bind(ctl->listen_fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    listen(ctl->listen_fd, CTL_CLIENTS_MAX) < 0)
		return err_set_errno(e, "cannot listen on %s", ctl->socket_path);
	ctl->listen_source =
		loop_add(ctl->loop, LOOP_FD_CONTROL, ctl->listen_fd, EPOLLIN, LOOP_OUTER, accept_ready, ctl, e);
	if (!ctl->listen_source)
		return -1;
	ctl->retry_timer = loop_timer_add(ctl->loop, ACCEPT_RETRY_MS, LOOP_OUTER, accept_again, ctl, e);
	return ctl->retry_timer ? 0 : -1;
}

int ctl_create(struct loop *l, const char *name, const struct ctl_ops *ops, void *arg, struct ctl **ret, struct err *e)
{
	char dir[PATH_MAX];
	struct ctl *ctl;

	if (paths_check_name(name, e) < 0 || paths_runtime_dir(dir, sizeof(dir), e) < 0 || paths_make_dir(dir, e) < 0 ||
	    paths_check_private(dir, e) < 0)
		return -1;
	ctl = calloc(1, sizeof(*ctl));
	if (!ctl)
		return err_set_errno(e, "control socket");
	*ctl = (struct ctl){.loop = l, .ops = ops, .arg = arg, .lock_fd = -1, .listen_fd = -1};
	LIST_INIT(&ctl->clients);
	if (paths_vm_file(name, ".lock", ctl->lock_path, e) < 0 ||
	    paths_vm_file(name, ".sock", ctl->socket_path, e) < 0 || take_lock(ctl, name, e) < 0 ||
	    listen_on(ctl, e) < 0) {
		ctl_destroy(ctl);
		return -1;
	}
	*ret = ctl;
	return 0;
}

void ctl_destroy(struct ctl *ctl)
{
	struct client *c;

	if (!ctl)
		return;
	while ((c = LIST_FIRST(&ctl->clients)))
		client_free(c);
	loop_remove(&ctl->listen_source);
	loop_remove(&ctl->retry_timer);
	if (ctl->listen_fd >= 0) {
		close(ctl->listen_fd);
		unlink(ctl->socket_path);
	}
	if (ctl->lock_fd >= 0) {
		/* Removed while it is still held: who opened it meanwhile sees that it is gone and makes a new one. */
		unlink(ctl->lock_path);
		close(ctl->lock_fd);
	}
	free(ctl);
}
