/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A TCP connection that is spoken to in lines. */
#include "client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int client_parse_where(const char *where, struct sockaddr_in *ret)
{
	const char *colon = strrchr(where, ':');
	char address[INET_ADDRSTRLEN], *end;
	size_t len = colon ? (size_t)(colon - where) : sizeof(address);
	long port;

	if (len >= sizeof(address))
		return -1;
	memcpy(address, where, len);
	address[len] = '\0';
	port = strtol(colon + 1, &end, 10);
	*ret = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	if (*end || port <= 0 || port > 65535 || inet_pton(AF_INET, address, &ret->sin_addr) != 1)
		return -1;
	return 0;
}

int client_open(struct client *c, const char *where)
{
	struct sockaddr_in to;
	int one = 1;

	c->used = 0;
	c->fd = -1;
	if (client_parse_where(where, &to) < 0) {
		fprintf(stderr, "%s: not ADDRESS:PORT\n", where);
		return -1;
	}
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof(to)) < 0) {
		fprintf(stderr, "%s: %s\n", where, strerror(errno));
		client_close(c);
		return -1;
	}
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return 0;
}

void client_close(struct client *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
}

int client_send(struct client *c, const void *bytes, size_t len)
{
	const char *at = bytes;

	while (len > 0) {
		ssize_t n = send(c->fd, at, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Hands out the first line of what has come already. */
static int take_line(struct client *c, char *ret_line, size_t size)
{
	char *end = memchr(c->buf, '\n', c->used);
	size_t len = end ? (size_t)(end - c->buf) : 0;

	if (!end)
		return -1;
	snprintf(ret_line, size, "%.*s", (int)len, c->buf);
	c->used -= len + 1;
	memmove(c->buf, end + 1, c->used);
	return 0;
}

enum client_result client_line(struct client *c, char *ret_line, size_t size)
{
	struct pollfd p = {.fd = c->fd, .events = POLLIN};

	while (take_line(c, ret_line, size) < 0) {
		ssize_t n;

		if (c->used == sizeof(c->buf))
			return CLIENT_CLOSED;
		n = poll(&p, 1, CLIENT_TIMEOUT_MS);
		if (n == 0)
			return CLIENT_TIMEOUT;
		if (n > 0)
			n = read(c->fd, c->buf + c->used, sizeof(c->buf) - c->used);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return CLIENT_CLOSED;
		c->used += (size_t)n;
	}
	return CLIENT_LINE;
}

int client_ask(const char *where, const char *request, char *ret_line, size_t size)
{
	struct client c;
	enum client_result r = CLIENT_CLOSED;

	if (client_open(&c, where) < 0)
		return -1;
	if (client_send(&c, request, strlen(request)) == 0 && client_send(&c, "\n", 1) == 0)
		r = client_line(&c, ret_line, size);
	client_close(&c);
	if (r == CLIENT_LINE)
		return 0;
	fprintf(stderr, "%s: %s\n", where, r == CLIENT_CLOSED ? "closed without an answer" : "no answer in time");
	return -1;
}
