/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Keep-alive load in one thread with one epoll instance; sending a file with plain blocking calls. See http.h. */
#include "http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "vm.h"

#define HEAD_MAX 512
#define ANSWER_TIMEOUT_MS 120000

struct conn {
	int fd;
	bool in_body;
	size_t used; /* of head */
	size_t left; /* of the body */
	char head[HEAD_MAX];
};

struct load {
	char request[128];
	size_t request_len, length;
	unsigned sent, answered, wanted;
	uint64_t sum;
	struct conn conns[HTTP_CLIENTS];
};

static int open_conn(int port)
{
	struct sockaddr_in at = {
		.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct timeval limit = {.tv_sec = ANSWER_TIMEOUT_MS / 1000};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0 ||
	    connect(fd, (struct sockaddr *)&at, sizeof(at)) < 0) {
		fprintf(stderr, "bench: 127.0.0.1:%d: %s\n", port, strerror(errno));
		if (fd >= 0)
			close(fd);
		return -1;
	}
	return fd;
}

static int send_request(struct load *l, struct conn *c)
{
	if (l->sent == l->wanted)
		return 0;
	l->sent++;
	return send(c->fd, l->request, l->request_len, MSG_NOSIGNAL) == (ssize_t)l->request_len ? 0 : -1;
}

static size_t take_body(struct load *l, struct conn *c, const char *bytes, size_t n)
{
	if (n > c->left)
		n = c->left;
	for (size_t i = 0; i < n; i++)
		l->sum += (unsigned char)bytes[i];
	c->left -= n;
	return n;
}

/* The bytes of one answer's head, as far as they are there; how many were taken, -1: not what was asked for. */
static ssize_t take_head(struct load *l, struct conn *c, const char *bytes, size_t n)
{
	size_t before = c->used, room = HEAD_MAX - 1 - c->used, take = n < room ? n : room;
	const char *length;
	char *end;

	memcpy(c->head + c->used, bytes, take);
	c->used += take;
	c->head[c->used] = '\0';
	end = strstr(c->head, "\r\n\r\n");
	if (!end)
		return c->used < HEAD_MAX - 1 ? (ssize_t)take : -1;
	length = strcasestr(c->head, "\r\ncontent-length:");
	if (strncmp(c->head, "HTTP/1.1 200 ", 13) != 0 || !length || strtoull(length + 17, NULL, 10) != l->length)
		return -1;
	c->used = 0;
	c->in_body = true;
	c->left = l->length;
	return end + 4 - c->head - (ssize_t)before;
}

/* Takes what came; sends the next request after a whole answer. */
static int conn_readable(struct load *l, struct conn *c)
{
	static char chunk[65536];
	ssize_t n = recv(c->fd, chunk, sizeof(chunk), 0);

	if (n <= 0)
		return -1;
	for (ssize_t at = 0; at < n;) {
		ssize_t taken = c->in_body ? (ssize_t)take_body(l, c, chunk + at, (size_t)(n - at))
					   : take_head(l, c, chunk + at, (size_t)(n - at));

		if (taken < 0)
			return -1;
		at += taken;
		if (c->in_body && c->left == 0) {
			c->in_body = false;
			l->answered++;
			if (send_request(l, c) < 0)
				return -1;
		}
	}
	return 0;
}

static int run_load(struct load *l, int epoll_fd)
{
	struct epoll_event events[HTTP_CLIENTS];

	while (l->answered < l->wanted) {
		int n = epoll_wait(epoll_fd, events, HTTP_CLIENTS, ANSWER_TIMEOUT_MS);

		if (vm_interrupted || n == 0)
			return -1;
		for (int i = 0; i < n; i++)
			if (conn_readable(l, events[i].data.ptr) < 0)
				return -1;
	}
	return 0;
}

static int open_load(struct load *l, int port, int epoll_fd)
{
	for (int i = 0; i < HTTP_CLIENTS; i++) {
		struct conn *c = &l->conns[i];
		struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};

		c->fd = open_conn(port);
		if (c->fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &ev) < 0 || send_request(l, c) < 0)
			return -1;
	}
	return 0;
}

/* Asks for the whole load once every connection has had an answer. */
static int steady_load(struct load *l, int epoll_fd, unsigned requests)
{
	l->answered = l->sent = 0;
	l->sum = 0;
	l->wanted = requests;
	for (int i = 0; i < HTTP_CLIENTS; i++)
		if (send_request(l, &l->conns[i]) < 0)
			return -1;
	return run_load(l, epoll_fd);
}

int http_load(int port, const char *target, size_t length, unsigned requests, void (*steady)(void *arg), void *arg,
	      uint64_t *ret_sum)
{
	struct load l = {.length = length, .wanted = HTTP_CLIENTS};
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC), ret;

	for (int i = 0; i < HTTP_CLIENTS; i++)
		l.conns[i].fd = -1;
	l.request_len = (size_t)snprintf(l.request, sizeof(l.request),
					 "GET %s HTTP/1.1\r\nHost: bench\r\nAccept: */*\r\n\r\n", target);
	ret = epoll_fd < 0 || open_load(&l, port, epoll_fd) < 0 || run_load(&l, epoll_fd) < 0 ? -1 : 0;
	if (ret == 0) {
		steady(arg);
		ret = steady_load(&l, epoll_fd, requests);
	}
	if (ret < 0)
		fprintf(stderr, "bench: GET %s: wrong or no answer after %u of %u\n", target, l.answered, requests);
	else
		*ret_sum = l.sum;
	for (int i = 0; i < HTTP_CLIENTS; i++)
		if (l.conns[i].fd >= 0)
			close(l.conns[i].fd);
	if (epoll_fd >= 0)
		close(epoll_fd);
	return ret;
}

static int send_all(int fd, const char *bytes, size_t n)
{
	while (n > 0 && !vm_interrupted) {
		ssize_t sent = send(fd, bytes, n, MSG_NOSIGNAL);

		if (sent < 0 && errno != EINTR)
			return -1;
		bytes += sent > 0 ? sent : 0;
		n -= sent > 0 ? (size_t)sent : 0;
	}
	return n == 0 ? 0 : -1;
}

int http_put(int port, const char *target, const void *bytes, size_t n)
{
	static const char wanted[] = "HTTP/1.1 201 ";
	char head[128], answer[sizeof(wanted)] = "";
	int fd = open_conn(port), ret = -1;

	if (fd < 0)
		return -1;
	snprintf(head, sizeof(head), "PUT %s HTTP/1.1\r\nHost: bench\r\nContent-Length: %zu\r\n\r\n", target, n);
	if (send_all(fd, head, strlen(head)) == 0 && send_all(fd, bytes, n) == 0 &&
	    recv(fd, answer, sizeof(answer) - 1, MSG_WAITALL) > 0 && strcmp(answer, wanted) == 0)
		ret = 0;
	else
		fprintf(stderr, "bench: PUT %s: not taken\n", target);
	close(fd);
	return ret;
}
