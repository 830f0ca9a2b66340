/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What fuzzers of vhost-user back ends share: an input is a program of small steps, a byte that chooses one and then the bytes
 * that it takes, and the fuzzer is QEMU's side of the socket.
 */
#ifndef CLOUDER_TEST_FUZZ_VHOST_PEER_H
#define CLOUDER_TEST_FUZZ_VHOST_PEER_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/loop.h"

struct input {
	const uint8_t *data;
	size_t left;
};

static inline void check(bool ok)
{
	if (!ok)
		abort();
}

/* The next n bytes; zeros where the input has ended. Returns how many it had. */
static inline size_t take(struct input *in, void *ret, size_t n)
{
	memset(ret, 0, n);
	if (n > in->left)
		n = in->left;
	memcpy(ret, in->data, n);
	in->data += n;
	in->left -= n;
	return n;
}

static inline uint8_t take8(struct input *in)
{
	uint8_t v;

	take(in, &v, 1);
	return v;
}

static inline void set_true(void *arg, uint32_t events)
{
	(void)events;
	*(bool *)arg = true;
}

/* One round of a loop. */
static inline void run_round(struct loop *loop)
{
	bool done = false;
	struct loop_source *t = loop_timer_add(loop, 0, 0, set_true, &done, NULL);

	check(t);
	loop_run_until(loop, &done, 0);
	loop_remove(&t);
}

#define PEER_FDS_MAX 16u

/* A message with n_fds (up to PEER_FDS_MAX) descriptors. false: the session is gone. */
static inline bool peer_send(int peer, const void *data, size_t len, const int *fds, size_t n_fds)
{
	union {
		char buf[CMSG_SPACE(PEER_FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec iov = {(void *)(uintptr_t)data, len};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};

	if (n_fds) {
		struct cmsghdr *c;

		mh.msg_control = control.buf;
		mh.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
	}
	return sendmsg(peer, &mh, MSG_NOSIGNAL | MSG_DONTWAIT) > 0;
}

#define PEER_PAYLOAD_MAX 52u /* bytes */

/* A request as QEMU makes it; fd -1: without a descriptor. */
static inline bool peer_request(int peer, uint32_t number, const void *payload, uint32_t size, int fd)
{
	const uint32_t header[3] = {number, 1, size};
	uint8_t buf[sizeof(header) + PEER_PAYLOAD_MAX];

	check(size <= PEER_PAYLOAD_MAX);
	memcpy(buf, header, sizeof(header));
	memcpy(buf + sizeof(header), payload, size);
	return peer_send(peer, buf, sizeof(header) + size, &fd, fd >= 0);
}

#endif
