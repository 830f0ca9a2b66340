/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A service without a bug whose connections are busy in both directions, see stream.h. */
#include "stream.h"

#include "listen.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>

#define CLIENTS_MAX 64
#define BLOCK 2048u

struct client {
	int fd; /* 0: none */
	size_t number_len;
	uint8_t number[STREAM_NUMBER_LEN];
	uint64_t stream, sum, bytes;
	bool ended;
	size_t out_len; /* what is not sent yet; nothing is read before it is */
	uint8_t out[BLOCK];
};

static struct client clients[CLIENTS_MAX];

static void drop(struct client *c)
{
	close(c->fd);
	*c = (struct client){0};
}

static void put(struct client *c, uint64_t v)
{
	for (unsigned i = 0; i < 8; i++)
		c->out[c->out_len++] = (uint8_t)(v >> 8 * i);
}

/* Bytes of the client: its number first. */
static void take(struct client *c, const uint8_t *bytes, size_t n)
{
	size_t head = STREAM_NUMBER_LEN - c->number_len;

	if (head > n)
		head = n;
	memcpy(c->number + c->number_len, bytes, head);
	c->number_len += head;
	if (head && c->number_len == STREAM_NUMBER_LEN) {
		c->sum = STREAM_SUM;
		for (unsigned i = 0; i < STREAM_NUMBER_LEN; i++)
			c->stream |= (uint64_t)c->number[i] << 8 * i;
	}
	n -= head;
	c->sum = stream_sum(c->sum, bytes + head, n);
	c->bytes += n;
	stream_next(&c->stream, c->out, n);
	c->out_len = n;
}

static void receive(struct client *c)
{
	uint8_t bytes[BLOCK];
	ssize_t n = recv(c->fd, bytes, sizeof(bytes), MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0 || (n == 0 && c->number_len < STREAM_NUMBER_LEN)) {
		drop(c);
	} else if (n == 0) {
		c->ended = true;
		put(c, c->bytes);
		put(c, c->sum);
	} else {
		take(c, bytes, (size_t)n);
	}
}

static void deliver(struct client *c)
{
	ssize_t n = send(c->fd, c->out, c->out_len, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0) {
		drop(c);
		return;
	}
	c->out_len -= (size_t)n;
	memmove(c->out, c->out + n, c->out_len);
	if (!c->out_len && c->ended)
		drop(c);
}

static void welcome(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	for (int i = 0; fd >= 0 && i < CLIENTS_MAX; i++)
		if (!clients[i].fd) {
			clients[i].fd = fd;
			return;
		}
	if (fd >= 0)
		close(fd);
}

static void serve(int listener)
{
	struct pollfd p[CLIENTS_MAX + 1];

	p[CLIENTS_MAX] = (struct pollfd){.fd = listener, .events = POLLIN};
	for (int i = 0; i < CLIENTS_MAX; i++)
		p[i] = (struct pollfd){.fd = clients[i].fd ? clients[i].fd : -1,
				       .events = clients[i].out_len ? POLLOUT : POLLIN};
	if (poll(p, CLIENTS_MAX + 1, -1) <= 0)
		return;
	for (int i = 0; i < CLIENTS_MAX; i++) {
		if (!p[i].revents)
			continue;
		if (!clients[i].out_len)
			receive(&clients[i]);
		if (clients[i].out_len)
			deliver(&clients[i]);
	}
	if (p[CLIENTS_MAX].revents)
		welcome(listener);
}

int main(int argc, char **argv)
{
	int listener = argc == 2 ? listen_on(argv[1], CLIENTS_MAX) : -1;

	if (listener < 0)
		return 1;
	signal(SIGPIPE, SIG_IGN);
	listen_tell_ready();
	for (;;)
		serve(listener);
}
