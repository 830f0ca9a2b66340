/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The loop of the re-created servers. */
#include "server.h"

#include "listen.h"
#include "marker.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define WAITING_MAX 16
#define SILENCE_S 60 /* a client that says nothing so long is left */

bool server_send(const struct server_client *c, const void *bytes, size_t len)
{
	const char *at = bytes;

	while (len > 0) {
		ssize_t n = write(c->out, at, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		at += n;
		len -= (size_t)n;
	}
	return true;
}

/* Takes len bytes, without what ends a line, and one more. */
static bool take_line(struct server_client *c, size_t len, char *ret, size_t size, size_t *ret_len)
{
	size_t text = len > 0 && c->buf[len - 1] == '\r' ? len - 1 : len;

	if (text >= size)
		return false;
	memcpy(ret, c->buf, text);
	ret[text] = '\0';
	*ret_len = text;
	c->used -= len + 1;
	memmove(c->buf, c->buf + len + 1, c->used);
	return true;
}

bool server_line(struct server_client *c, char *ret, size_t size, size_t *ret_len)
{
	for (;;) {
		const char *end = memchr(c->buf, '\n', c->used);
		ssize_t n;

		if (end)
			return take_line(c, (size_t)(end - c->buf), ret, size, ret_len);
		if (c->used == sizeof(c->buf))
			return false;
		n = read(c->in, c->buf + c->used, sizeof(c->buf) - c->used);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		c->used += (size_t)n;
	}
}

static void serve_one(int in, int out, void (*serve)(struct server_client *c))
{
	static struct server_client client;

	client.in = in;
	client.out = marker_out = out;
	client.used = 0;
	serve(&client);
}

static _Noreturn void serve_tcp(int listener, void (*serve)(struct server_client *c))
{
	const struct timeval silence = {.tv_sec = SILENCE_S};

	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0)
			continue;
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof(silence));
		serve_one(fd, fd, serve);
		close(fd);
	}
}

int server_run(int argc, char **argv, void (*serve)(struct server_client *c))
{
	int listener;

	if (argc != 2) {
		fprintf(stderr, "usage: %s PORT|-\n", argv[0]);
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	if (strcmp(argv[1], "-") == 0) {
		serve_one(STDIN_FILENO, STDOUT_FILENO, serve);
		return 0;
	}
	listener = listen_on(argv[1], WAITING_MAX);
	if (listener < 0)
		return 1;
	listen_tell_ready();
	serve_tcp(listener, serve);
}
