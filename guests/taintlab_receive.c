/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Paths from a TCP connection into a process: the system calls that take in data. */
#include "taintlab_paths.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define PARTS 3

static bool by_recv(struct lab *l)
{
	return recv(l->client, l->in, l->len, MSG_WAITALL) == (ssize_t)l->len;
}

static bool by_recvfrom(struct lab *l)
{
	struct sockaddr_storage from;
	socklen_t size = sizeof(from);

	return recvfrom(l->client, l->in, l->len, MSG_WAITALL, (struct sockaddr *)&from, &size) == (ssize_t)l->len;
}

/* Three pieces of different sizes that lie one behind the other. */
static void split(struct lab *l, struct iovec part[PARTS])
{
	size_t first = l->len / 5, second = l->len / 3;

	part[0] = (struct iovec){l->in, first};
	part[1] = (struct iovec){l->in + first, second};
	part[2] = (struct iovec){l->in + first + second, l->len - first - second};
}

static bool by_recvmsg(struct lab *l)
{
	struct iovec part[PARTS];
	struct msghdr m = {.msg_iov = part, .msg_iovlen = PARTS};

	split(l, part);
	return recvmsg(l->client, &m, MSG_WAITALL) == (ssize_t)l->len;
}

/* Nothing is taken before all is there. */
static bool wait_all(struct lab *l)
{
	return recv(l->client, l->out, l->len, MSG_WAITALL | MSG_PEEK) == (ssize_t)l->len;
}

static bool by_readv(struct lab *l)
{
	struct iovec part[PARTS];

	split(l, part);
	return wait_all(l) && readv(l->client, part, PARTS) == (ssize_t)l->len;
}

static bool by_peek(struct lab *l)
{
	char rest[LAB_MAX];

	return recv(l->client, l->in, l->len, MSG_WAITALL | MSG_PEEK) == (ssize_t)l->len &&
	       lab_read_all(l->client, rest, l->len);
}

static bool by_bytes(struct lab *l)
{
	for (size_t i = 0; i < l->len; i++)
		if (read(l->client, l->in + i, 1) != 1)
			return false;
	return true;
}

/* The connection's pages go into the pipe as they are. */
static bool by_splice(struct lab *l)
{
	bool ok = wait_all(l);
	int fd[2];

	if (!ok || pipe(fd) < 0)
		return false;
	for (size_t moved = 0; ok && moved < l->len;) {
		ssize_t n = splice(l->client, NULL, fd[1], NULL, l->len - moved, SPLICE_F_MOVE);

		ok = n > 0;
		moved += ok ? (size_t)n : 0;
	}
	close(fd[1]);
	ok = ok && lab_read_all(fd[0], l->in, l->len);
	close(fd[0]);
	return ok;
}

/* As inetd does: the connection is the standard input of a program of its own. */
static bool by_inetd(struct lab *l)
{
	char len[24];
	char *const argv[] = {"taintlab-input", "--exec", "input", len, NULL}, *const envp[] = {NULL};

	snprintf(len, sizeof(len), "%zu", l->len);
	return lab_exec(l, argv, envp, l->client);
}

/* The payload is read after fork, by the child. */
static bool read_in_child(struct lab *l)
{
	return lab_read_all(l->client, l->in, l->len);
}

static bool by_child(struct lab *l)
{
	l->at = l->in;
	return lab_child(l, read_in_child);
}

const struct lab_path lab_receive_paths[] = {
	{.name = "read", .expect = LAB_EXACT},
	{.name = "read-2500", .expect = LAB_EXACT, .size = 2500},
	{.name = "read-bytes", .expect = LAB_EXACT, .receive = by_bytes},
	{.name = "recv", .expect = LAB_EXACT, .receive = by_recv},
	{.name = "recvfrom", .expect = LAB_EXACT, .receive = by_recvfrom},
	{.name = "recvmsg", .expect = LAB_EXACT, .receive = by_recvmsg},
	{.name = "readv", .expect = LAB_EXACT, .receive = by_readv},
	{.name = "peek", .expect = LAB_EXACT, .receive = by_peek},
	{.name = "splice-socket", .expect = LAB_EXACT, .receive = by_splice},
	{.name = "inetd-input", .expect = LAB_EXACT, .receive = by_inetd},
	{.name = "read-in-child", .expect = LAB_EXACT, .receive = by_child},
};
const size_t lab_receive_count = sizeof(lab_receive_paths) / sizeof(lab_receive_paths[0]);
