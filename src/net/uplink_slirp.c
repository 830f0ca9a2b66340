/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The user uplink: libslirp, a NAT in this process that needs no privileges.
 * The guest's network is QEMU's: 10.0.2.0/24, the host 10.0.2.2, DNS 10.0.2.3, the guest 10.0.2.15 (DHCP).
 *
 * libslirp wants to be asked for its descriptors before every wait. They are
 * kept as sources of the event loop and brought up to date after each use of libslirp.
 */
#include "net/uplink_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <slirp/libslirp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>

#include "base/log.h"

#define GUEST_NET 0x0a000200u
#define GUEST_NETMASK 0xffffff00u
#define GUEST_HOST 0x0a000202u
#define GUEST_DNS 0x0a000203u
#define GUEST_DHCP 0x0a00020fu

/* A descriptor of libslirp; stays allocated for the next descriptor with the same number. */
struct watch {
	struct user *user;
	struct loop_source *source;
	uint32_t ready; /* EPOLL* bits seen since libslirp was told last */
	uint64_t round; /* of the last fill that named it */
};

struct timer {
	LIST_ENTRY(timer) link;
	struct user *user;
	struct loop_source *source;
	SlirpTimerCb fn;
	void *arg;
};

struct user {
	struct net *net;
	struct loop *loop;
	Slirp *slirp;
	struct watch **watch; /* by descriptor */
	int n_watch;
	uint64_t round;
	bool ready; /* libslirp is to be polled */
	bool stale; /* the sources may be out of date */
	struct loop_source *timeout;
	LIST_HEAD(, timer) timers;
};

static const struct {
	int slirp;
	uint32_t epoll;
} event_map[] = {
	{SLIRP_POLL_IN, EPOLLIN},   {SLIRP_POLL_OUT, EPOLLOUT}, {SLIRP_POLL_PRI, EPOLLPRI},
	{SLIRP_POLL_ERR, EPOLLERR}, {SLIRP_POLL_HUP, EPOLLHUP},
};

static ssize_t on_frame(const void *buf, size_t len, void *opaque)
{
	struct user *u = opaque;

	net_uplink_frame(u->net, buf, len);
	return (ssize_t)len;
}

static void on_guest_error(const char *msg, void *opaque)
{
	(void)opaque;
	log_debug("network: the guest: %s", msg);
}

static int64_t on_clock(void *opaque)
{
	(void)opaque;
	return (int64_t)loop_now_ns();
}

static void timer_fired(void *arg, uint32_t events)
{
	struct timer *t = arg;

	(void)events;
	t->user->stale = true;
	net_schedule(t->user->net);
	t->fn(t->arg);
}

static void *on_timer_new(SlirpTimerCb fn, void *arg, void *opaque)
{
	struct user *u = opaque;
	struct timer *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->user = u;
	t->fn = fn;
	t->arg = arg;
	LIST_INSERT_HEAD(&u->timers, t, link);
	return t;
}

static void on_timer_free(void *timer, void *opaque)
{
	struct timer *t = timer;

	(void)opaque;
	if (!t)
		return;
	loop_remove(&t->source);
	LIST_REMOVE(t, link);
	free(t);
}

static void on_timer_mod(void *timer, int64_t expire_ms, void *opaque)
{
	struct timer *t = timer;
	int64_t now_ms = on_clock(opaque) / 1000000, wait = expire_ms > now_ms ? expire_ms - now_ms : 0;
	unsigned ms = wait > INT32_MAX ? INT32_MAX : (unsigned)wait;
	struct err e;

	if (!t)
		return;
	if (t->source)
		loop_timer_set(t->source, ms);
	else if (!(t->source = loop_timer_add(t->user->loop, ms, LOOP_OUTER, timer_fired, t, &e)))
		log_error("network: %s", e.text);
}

static void on_register(int fd, void *opaque)
{
	struct user *u = opaque;

	(void)fd;
	u->stale = true;
}

/* The descriptor is about to be closed; its number may come back at once for another socket. */
static void on_unregister(int fd, void *opaque)
{
	struct user *u = opaque;

	u->stale = true;
	if (fd < 0 || fd >= u->n_watch || !u->watch[fd])
		return;
	loop_remove(&u->watch[fd]->source);
	u->watch[fd]->ready = 0;
}

static void on_notify(void *opaque)
{
	struct user *u = opaque;

	u->ready = true;
	net_schedule(u->net);
}

static const SlirpCb callbacks = {
	.send_packet = on_frame,
	.guest_error = on_guest_error,
	.clock_get_ns = on_clock,
	.timer_new = on_timer_new,
	.timer_free = on_timer_free,
	.timer_mod = on_timer_mod,
	.register_poll_fd = on_register,
	.unregister_poll_fd = on_unregister,
	.notify = on_notify,
};

static void watch_ready(void *arg, uint32_t events)
{
	struct watch *w = arg;

	w->ready |= events;
	on_notify(w->user);
}

static void timed_out(void *arg, uint32_t events)
{
	(void)events;
	on_notify(arg);
}

/* The entry of a descriptor, made if need be; NULL: no memory. */
static struct watch *watch_of(struct user *u, int fd)
{
	if (fd >= u->n_watch) {
		int n = (fd + 64) & ~63;
		struct watch **grown = realloc(u->watch, (size_t)n * sizeof(struct watch *));

		if (!grown)
			return NULL;
		memset(grown + u->n_watch, 0, (size_t)(n - u->n_watch) * sizeof(struct watch *));
		u->watch = grown;
		u->n_watch = n;
	}
	if (!u->watch[fd]) {
		u->watch[fd] = calloc(1, sizeof(struct watch));
		if (u->watch[fd])
			u->watch[fd]->user = u;
	}
	return u->watch[fd];
}

static int add_poll(int fd, int events, void *opaque)
{
	struct user *u = opaque;
	struct watch *w = fd < 0 ? NULL : watch_of(u, fd);
	uint32_t bits = 0;
	struct err e;

	if (!w)
		return -1;
	for (size_t i = 0; i < sizeof(event_map) / sizeof(event_map[0]); i++)
		if (events & event_map[i].slirp)
			bits |= event_map[i].epoll;
	w->round = u->round;
	if (w->source)
		loop_modify(w->source, bits);
	else if (!(w->source = loop_add(u->loop, LOOP_FD_UPLINK, fd, bits, LOOP_OUTER, watch_ready, w, &e)))
		log_error("network: %s", e.text);
	return fd;
}

static int get_revents(int fd, void *opaque)
{
	const struct user *u = opaque;
	int events = 0;

	if (fd < 0 || fd >= u->n_watch || !u->watch[fd])
		return 0;
	for (size_t i = 0; i < sizeof(event_map) / sizeof(event_map[0]); i++)
		if (u->watch[fd]->ready & event_map[i].epoll)
			events |= event_map[i].slirp;
	return events;
}

static void user_service(void *uplink)
{
	struct user *u = uplink;

	if (!u->ready)
		return;
	u->ready = false;
	u->stale = true;
	slirp_pollfds_poll(u->slirp, 0, get_revents, u);
	for (int i = 0; i < u->n_watch; i++)
		if (u->watch[i])
			u->watch[i]->ready = 0;
}

static void user_prepare(void *uplink)
{
	struct user *u = uplink;
	uint32_t wait_ms = UINT32_MAX;

	if (!u->stale)
		return;
	u->stale = false;
	u->round++;
	slirp_pollfds_fill(u->slirp, &wait_ms, add_poll, u);
	for (int i = 0; i < u->n_watch; i++)
		if (u->watch[i] && u->watch[i]->round != u->round)
			loop_remove(&u->watch[i]->source);
	if (wait_ms != UINT32_MAX)
		loop_timer_set(u->timeout, wait_ms);
}

static void user_send(void *uplink, const uint8_t *frame, size_t len)
{
	struct user *u = uplink;

	u->stale = true;
	slirp_input(u->slirp, frame, (int)len);
}

static void user_destroy(void *uplink)
{
	struct user *u = uplink;
	struct timer *t;

	if (u->slirp)
		slirp_cleanup(u->slirp);
	while ((t = LIST_FIRST(&u->timers)))
		on_timer_free(t, u);
	for (int i = 0; i < u->n_watch; i++) {
		if (u->watch[i])
			loop_remove(&u->watch[i]->source);
		free(u->watch[i]);
	}
	free(u->watch);
	loop_remove(&u->timeout);
	free(u);
}

static int add_hostfwd(struct user *u, const struct uplink_hostfwd *f, struct err *e)
{
	const char *proto = f->udp ? "udp" : "tcp";
	char host[INET_ADDRSTRLEN];

	if (slirp_add_hostfwd(u->slirp, f->udp, f->host, f->host_port, f->guest, f->guest_port) == 0)
		return 0;
	inet_ntop(AF_INET, &f->host, host, sizeof(host));
	if (errno == EADDRINUSE)
		return err_set(e, ERR_STATE, "network: hostfwd: %s port %u of %s is in use", proto, f->host_port, host);
	return err_set_errno(e, "network: hostfwd: %s port %u of %s", proto, f->host_port, host);
}

static struct in_addr guest_addr(uint32_t v)
{
	return (struct in_addr){.s_addr = htonl(v)};
}

static int start(struct user *u, const struct uplink_config *c, struct err *e)
{
	/* Version 1 has all the fields used here; later ones only add. */
	SlirpConfig cfg = {
		.version = 1,
		.restricted = c->restricted,
		.in_enabled = true,
		.vnetwork = guest_addr(GUEST_NET),
		.vnetmask = guest_addr(GUEST_NETMASK),
		.vhost = guest_addr(GUEST_HOST),
		.vdhcp_start = guest_addr(GUEST_DHCP),
		.vnameserver = guest_addr(GUEST_DNS),
	};

	u->timeout = loop_timer_add(u->loop, 0, LOOP_OUTER, timed_out, u, e);
	if (!u->timeout)
		return -1;
	u->slirp = slirp_new(&cfg, &callbacks, u);
	if (!u->slirp)
		return err_set(e, ERR_SYSTEM, "network: libslirp does not start");
	for (size_t i = 0; i < c->n_hostfwd; i++)
		if (add_hostfwd(u, &c->hostfwd[i], e) < 0)
			return -1;
	return 0;
}

static int user_create(struct net *n, struct loop *l, const struct uplink_config *c, void **ret_uplink, struct err *e)
{
	struct user *u = calloc(1, sizeof(*u));

	if (!u)
		return err_set_errno(e, "network");
	u->net = n;
	u->loop = l;
	u->stale = true;
	LIST_INIT(&u->timers);
	if (start(u, c, e) < 0) {
		user_destroy(u);
		return -1;
	}
	*ret_uplink = u;
	return 0;
}

const struct uplink_ops uplink_user_ops = {
	.name = "user",
	.create = user_create,
	.destroy = user_destroy,
	.send = user_send,
	.service = user_service,
	.prepare = user_prepare,
};
