/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A small HTTP/1.1 server for files: GET /NAME sends one, PUT /NAME receives one; connections are kept.
 *
 * One process, one epoll instance. A request's head must fit into HEAD_MAX bytes, a name is one path component; what
 * is not understood closes the connection. A PUT without Content-Length is one of 0 bytes.
 */
#include "benchlab.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define CLIENTS_MAX 64
#define HEAD_MAX 2048
#define EVENTS_MAX 32

struct client {
	int fd; /* -1: free */
	int file; /* sent or received, -1: none */
	bool receiving;
	bool blocked; /* waits until the socket takes more */
	off_t at; /* of the file's next byte to send */
	uint64_t left; /* bytes of the body still to go */
	size_t used;
	char head[HEAD_MAX];
};

static int epoll_fd;
static struct client clients[CLIENTS_MAX];
static char body[65536];

static void client_drop(struct client *c)
{
	close(c->fd);
	if (c->file >= 0)
		close(c->file);
	*c = (struct client){.fd = -1, .file = -1};
}

/* Heads are far smaller than a socket's buffer; one that does not fit at once ends the connection. */
static bool send_head(struct client *c, const char *status, uint64_t length)
{
	char head[128];
	int n = snprintf(head, sizeof(head), "HTTP/1.1 %s\r\nContent-Length: %llu\r\n\r\n", status,
			 (unsigned long long)length);

	return send(c->fd, head, (size_t)n, length ? MSG_MORE : 0) == n;
}

/* The part after the slash as a path below LAB_FILES; false: not one plain component. */
static bool file_path(const char *target, char *ret_path, size_t size)
{
	size_t n = strcspn(target, " ");

	if (target[0] != '/' || n < 2 || n > 64 || target[1] == '.' || memchr(target + 1, '/', n - 1))
		return false;
	snprintf(ret_path, size, LAB_FILES "%.*s", (int)n, target);
	return true;
}

static bool begin_get(struct client *c, const char *path, const char *head)
{
	struct stat st;

	(void)head;
	c->file = open(path, O_RDONLY | O_CLOEXEC);
	if (c->file < 0 || fstat(c->file, &st) < 0)
		return send_head(c, "404 Not Found", 0);
	c->receiving = false;
	c->at = 0;
	c->left = (uint64_t)st.st_size;
	return send_head(c, "200 OK", c->left);
}

static bool begin_put(struct client *c, const char *path, const char *head)
{
	const char *at = strcasestr(head, "\r\ncontent-length:");

	c->file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (c->file < 0)
		return false;
	c->receiving = true;
	c->left = at ? strtoull(at + 17, NULL, 10) : 0;
	return true;
}

static const struct {
	const char *name;
	bool (*begin)(struct client *c, const char *path, const char *head);
} methods[] = {
	{"GET ", begin_get},
	{"PUT ", begin_put},
};

static bool begin_request(struct client *c, const char *head)
{
	char path[128];

	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
		if (strncmp(head, methods[i].name, 4) == 0)
			return file_path(head + 4, path, sizeof(path)) && methods[i].begin(c, path, head);
	return false;
}

/* Stores received bytes of the body; how many belonged to it, -1: they cannot be stored. */
static ssize_t store(struct client *c, const char *bytes, size_t n)
{
	if (n > c->left)
		n = (size_t)c->left;
	if (write(c->file, bytes, n) != (ssize_t)n)
		return -1;
	c->left -= n;
	return (ssize_t)n;
}

static bool end_request(struct client *c)
{
	bool received = c->receiving;

	if (c->file >= 0)
		close(c->file);
	c->file = -1;
	c->receiving = false;
	return !received || send_head(c, "201 Created", 0);
}

/* Goes on with a body to be sent, as far as the socket takes it. False: the connection is over. */
static bool send_body(struct client *c)
{
	while (c->left > 0) {
		ssize_t n = sendfile(c->fd, c->file, &c->at, c->left);

		if (n <= 0)
			return n < 0 && (errno == EAGAIN || errno == EINTR);
		c->left -= (uint64_t)n;
	}
	return end_request(c);
}

/* Cuts n bytes off the front of what was read. */
static void consume(struct client *c, size_t n)
{
	c->used -= n;
	memmove(c->head, c->head + n, c->used);
	c->head[c->used] = '\0';
}

/* Goes on with the body at hand. False: the connection is over. */
static bool progress_body(struct client *c)
{
	ssize_t n;

	if (!c->receiving)
		return send_body(c);
	n = store(c, c->head, c->used);
	if (n < 0)
		return false;
	consume(c, (size_t)n);
	return c->left > 0 || end_request(c);
}

/* All that can be done with what was read. False: the connection is over. */
static bool progress(struct client *c)
{
	for (;;) {
		char *end;

		if (c->file >= 0 && !progress_body(c))
			return false;
		if (c->file >= 0)
			return true;
		end = strstr(c->head, "\r\n\r\n");
		if (!end)
			return c->used < HEAD_MAX - 1;
		*end = '\0';
		if (!begin_request(c, c->head))
			return false;
		consume(c, (size_t)(end + 4 - c->head));
	}
}

/* Reads a long body past the head's small buffer. */
static bool read_body(struct client *c)
{
	ssize_t n = recv(c->fd, body, c->left < sizeof(body) ? (size_t)c->left : sizeof(body), 0);

	if (n <= 0)
		return n < 0 && (errno == EAGAIN || errno == EINTR);
	return store(c, body, (size_t)n) == n && (c->left > 0 || (end_request(c) && progress(c)));
}

static bool read_head(struct client *c)
{
	ssize_t n = recv(c->fd, c->head + c->used, HEAD_MAX - 1 - c->used, 0);

	if (n <= 0)
		return n < 0 && (errno == EAGAIN || errno == EINTR);
	c->used += (size_t)n;
	c->head[c->used] = '\0';
	return progress(c);
}

/* Whether the socket's room or its bytes are waited for. */
static void choose_events(struct client *c)
{
	bool blocked = c->file >= 0 && !c->receiving;
	struct epoll_event ev = {.events = blocked ? EPOLLOUT : EPOLLIN, .data.ptr = c};

	if (blocked != c->blocked)
		epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &ev);
	c->blocked = blocked;
}

static void client_event(struct client *c)
{
	bool good;

	if (c->file < 0)
		good = read_head(c);
	else
		good = c->receiving ? read_body(c) : progress(c);
	if (good)
		choose_events(c);
	else
		client_drop(c);
}

static void accept_client(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	for (int i = 0; fd >= 0 && i < CLIENTS_MAX; i++) {
		struct epoll_event ev = {.events = EPOLLIN, .data.ptr = &clients[i]};

		if (clients[i].fd >= 0)
			continue;
		clients[i].fd = fd;
		if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
			client_drop(&clients[i]);
		return;
	}
	if (fd >= 0)
		close(fd);
}

int lab_http_serve(int listener)
{
	struct epoll_event ev = {.events = EPOLLIN}, events[EVENTS_MAX];

	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	signal(SIGPIPE, SIG_IGN);
	for (int i = 0; i < CLIENTS_MAX; i++)
		clients[i] = (struct client){.fd = -1, .file = -1};
	if (epoll_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &ev) < 0)
		return 1;
	for (;;) {
		int n = epoll_wait(epoll_fd, events, EVENTS_MAX, -1);

		for (int i = 0; i < n; i++) {
			if (events[i].data.ptr)
				client_event(events[i].data.ptr);
			else
				accept_client(listener);
		}
	}
}
