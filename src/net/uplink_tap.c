/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The TAP uplink: an existing interface of the host, one frame for each read and write. */
#include "net/uplink_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "net/inlog_internal.h"

#define FRAMES_AT_ONCE 64

struct tap {
	struct net *net;
	struct loop_source *source;
	int fd;
	uint8_t frame[INLOG_FRAME_MAX];
};

static int tap_open(const char *ifname, struct err *e)
{
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI};
	int fd;

	/* TUNSETIFF would make an interface that nobody has configured. */
	if (!if_nametoindex(ifname))
		return err_set(e, ERR_MISSING, "network: there is no interface '%s'", ifname);
	fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return err_set_errno(e, "network: /dev/net/tun");
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", ifname);
	if (ioctl(fd, TUNSETIFF, &ifr) < 0) {
		if (errno == EBUSY)
			err_set(e, ERR_STATE, "network: another program uses interface '%s'", ifname);
		else if (errno == EINVAL)
			err_set(e, ERR_USAGE, "network: interface '%s' is not a TAP device", ifname);
		else
			err_set_errno(e, "network: interface '%s'", ifname);
		close(fd);
		return -1;
	}
	return fd;
}

static void tap_readable(void *arg, uint32_t events)
{
	struct tap *t = arg;

	(void)events;
	for (int i = 0; i < FRAMES_AT_ONCE; i++) {
		ssize_t n = read(t->fd, t->frame, sizeof(t->frame));

		if (n <= 0)
			break;
		net_uplink_frame(t->net, t->frame, (size_t)n);
	}
}

static void tap_destroy(void *uplink)
{
	struct tap *t = uplink;

	loop_remove(&t->source);
	if (t->fd >= 0)
		close(t->fd);
	free(t);
}

static int tap_create(struct net *n, struct loop *l, const struct uplink_config *c, void **ret_uplink, struct err *e)
{
	struct tap *t = calloc(1, sizeof(*t));

	if (!t)
		return err_set_errno(e, "network");
	t->net = n;
	t->fd = tap_open(c->ifname, e);
	if (t->fd >= 0)
		t->source = loop_add(l, LOOP_FD_UPLINK, t->fd, EPOLLIN, LOOP_OUTER, tap_readable, t, e);
	if (!t->source) {
		tap_destroy(t);
		return -1;
	}
	*ret_uplink = t;
	return 0;
}

static void tap_send(void *uplink, const uint8_t *frame, size_t len)
{
	const struct tap *t = uplink;

	/* A full queue or an interface that is down loses frames, as a wire does. */
	if (write(t->fd, frame, len) < 0)
		return;
}

const struct uplink_ops uplink_tap_ops = {
	.name = "tap",
	.create = tap_create,
	.destroy = tap_destroy,
	.send = tap_send,
};
