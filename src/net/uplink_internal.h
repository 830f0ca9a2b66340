/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What stands between the guest's network and the world: libslirp or a TAP device. */
#ifndef CLOUDER_NET_UPLINK_INTERNAL_H
#define CLOUDER_NET_UPLINK_INTERNAL_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/loop.h"

struct net;

#define UPLINK_HOSTFWD_MAX 64

struct uplink_hostfwd {
	bool udp;
	struct in_addr host, guest;
	uint16_t host_port, guest_port;
};

/* A parsed specification. */
struct uplink_config {
	const struct uplink_ops *ops;
	bool restricted;
	size_t n_hostfwd;
	struct uplink_hostfwd hostfwd[UPLINK_HOSTFWD_MAX];
	char ifname[16];
};

/*
 * An uplink hands frames for the guest to net_uplink_frame() and asks with net_schedule() for
 * service, frames of the guest, and prepare to be called in that order from the event loop.
 */
struct uplink_ops {
	const char *name;
	int (*create)(struct net *n, struct loop *l, const struct uplink_config *c, void **ret_uplink, struct err *e);
	void (*destroy)(void *uplink);
	void (*send)(void *uplink, const uint8_t *frame,
		     size_t len); /* a frame of the guest; drops what it cannot send */
	void (*service)(void *uplink); /* takes what came in; may be NULL */
	void (*prepare)(void *uplink); /* before the loop waits again; may be NULL */
};

extern const struct uplink_ops uplink_user_ops;
extern const struct uplink_ops uplink_tap_ops;

int uplink_parse(const char *spec, struct uplink_config *ret, struct err *e) MUST_CHECK;

/* Towards the guest: takes a copy. Called by uplinks. */
void net_uplink_frame(struct net *n, const uint8_t *frame, size_t len);
/* Has the work of all directions done once the handlers of this round are through. */
void net_schedule(struct net *n);

#endif
