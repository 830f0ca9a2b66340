/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The epoll loop: see loop.h. */
#include "base/loop.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <time.h>
#include <unistd.h>

struct loop_source {
	LIST_ENTRY(loop_source) link;
	struct loop *loop;
	loop_fn *fn;
	void *arg;
	int fd; /* -1: a timer */
	enum loop_kind kind;
	unsigned flags;
	uint32_t events;
	bool polled; /* is in the epoll set now */
	bool dead; /* removed inside a handler; freed after the round */
	uint64_t deadline_ns; /* timers; 0: not set */
};

struct loop {
	int epfd;
	int depth; /* nesting of rounds; the outermost is 1 */
	bool stop;
	LIST_HEAD(, loop_source) sources;
	LIST_HEAD(, loop_source) graveyard;
};

uint64_t loop_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

struct loop *loop_create(struct err *e)
{
	struct loop *l = calloc(1, sizeof(*l));

	if (!l) {
		err_set_errno(e, "event loop");
		return NULL;
	}
	l->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (l->epfd < 0) {
		err_set_errno(e, "epoll_create1");
		free(l);
		return NULL;
	}
	LIST_INIT(&l->sources);
	LIST_INIT(&l->graveyard);
	return l;
}

static void bury(struct loop *l)
{
	struct loop_source *s;

	while ((s = LIST_FIRST(&l->graveyard))) {
		LIST_REMOVE(s, link);
		free(s);
	}
}

void loop_destroy(struct loop *l)
{
	struct loop_source *s;

	if (!l)
		return;
	while ((s = LIST_FIRST(&l->sources)))
		loop_remove(&s);
	bury(l);
	close(l->epfd);
	free(l);
}

/* Puts the source into the epoll set, or takes it out, as its state and the nesting depth ask. */
static int source_sync(struct loop_source *s)
{
	bool want = s->fd >= 0 && !s->dead && !(s->loop->depth > 1 && (s->flags & LOOP_OUTER));
	struct epoll_event ev = {.events = s->events, .data.ptr = s};
	int op;

	if (want)
		op = s->polled ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
	else if (s->polled)
		op = EPOLL_CTL_DEL;
	else
		return 0;
	s->polled = want;
	return epoll_ctl(s->loop->epfd, op, s->fd, &ev);
}

static struct loop_source *source_new(struct loop *l, enum loop_kind kind, int fd, unsigned flags, loop_fn *fn,
				      void *arg, struct err *e)
{
	struct loop_source *s = calloc(1, sizeof(*s));

	if (!s) {
		err_set_errno(e, "event source");
		return NULL;
	}
	*s = (struct loop_source){.loop = l, .fn = fn, .arg = arg, .fd = fd, .kind = kind, .flags = flags};
	LIST_INSERT_HEAD(&l->sources, s, link);
	return s;
}

struct loop_source *loop_add(struct loop *l, enum loop_kind kind, int fd, uint32_t events, unsigned flags, loop_fn *fn,
			     void *arg, struct err *e)
{
	struct loop_source *s;

	assert(fd >= 0 && kind < LOOP_FD_KINDS);
	s = source_new(l, kind, fd, flags, fn, arg, e);
	if (!s)
		return NULL;
	s->events = events;
	if (source_sync(s) < 0) {
		err_set_errno(e, "waiting on descriptor %d", fd);
		s->polled = false;
		loop_remove(&s);
	}
	return s;
}

void loop_modify(struct loop_source *s, uint32_t events)
{
	if (s->events == events)
		return;
	s->events = events;
	source_sync(s);
}

void loop_remove(struct loop_source **sp)
{
	struct loop_source *s = *sp;

	*sp = NULL;
	if (!s || s->dead)
		return;
	s->dead = true;
	source_sync(s);
	LIST_REMOVE(s, link);
	if (s->loop->depth)
		LIST_INSERT_HEAD(&s->loop->graveyard, s, link);
	else
		free(s);
}

struct loop_source *loop_timer_add(struct loop *l, unsigned ms, unsigned flags, loop_fn *fn, void *arg, struct err *e)
{
	struct loop_source *s = source_new(l, LOOP_FD_TIMER, -1, flags, fn, arg, e);

	if (s)
		loop_timer_set(s, ms);
	return s;
}

void loop_timer_set(struct loop_source *s, unsigned ms)
{
	assert(s->fd < 0);
	s->deadline_ns = loop_now_ns() + (uint64_t)ms * 1000000u;
}

void loop_timer_cancel(struct loop_source *s)
{
	assert(s->fd < 0);
	s->deadline_ns = 0;
}

static bool timer_runs(const struct loop_source *s)
{
	return s->fd < 0 && s->deadline_ns && !(s->loop->depth > 1 && (s->flags & LOOP_OUTER));
}

/* The next timer's deadline, or limit_ns if that is earlier; 0: none. */
static uint64_t next_deadline(struct loop *l, uint64_t limit_ns)
{
	struct loop_source *s;

	LIST_FOREACH (s, &l->sources, link)
		if (timer_runs(s) && (!limit_ns || s->deadline_ns < limit_ns))
			limit_ns = s->deadline_ns;
	return limit_ns;
}

static void fire_timers(struct loop *l)
{
	uint64_t now = loop_now_ns();
	struct loop_source *s;

again:
	LIST_FOREACH (s, &l->sources, link) {
		if (!timer_runs(s) || s->deadline_ns > now)
			continue;
		s->deadline_ns = 0;
		s->fn(s->arg, 0);
		goto again; /* the list may have changed */
	}
}

/* Waits once and serves what is ready; limit_ns: absolute time by which to return, 0: none. */
static void round_once(struct loop *l, uint64_t limit_ns)
{
	struct epoll_event ev[32];
	uint64_t deadline = next_deadline(l, limit_ns), now = loop_now_ns();
	int timeout = -1, n;

	if (deadline)
		timeout = deadline <= now ? 0 : (int)((deadline - now + 999999) / 1000000);
	n = epoll_wait(l->epfd, ev, 32, timeout);
	for (int i = 0; i < n; i++) {
		struct loop_source *s = ev[i].data.ptr;

		/* dead: removed by an earlier handler of this round; not polled: a nested round took it out */
		if (!s->dead && s->polled)
			s->fn(s->arg, ev[i].events);
	}
	fire_timers(l);
	if (l->depth == 1)
		bury(l);
}

static void depth_change(struct loop *l, int by)
{
	struct loop_source *s;

	l->depth += by;
	if (l->depth + (by < 0) != 2)
		return; /* LOOP_OUTER sources change state only between depth 1 and 2 */
	LIST_FOREACH (s, &l->sources, link)
		if (s->flags & LOOP_OUTER)
			source_sync(s);
}

void loop_run(struct loop *l)
{
	depth_change(l, 1);
	while (!l->stop)
		round_once(l, 0);
	l->stop = false;
	depth_change(l, -1);
	if (!l->depth)
		bury(l);
}

void loop_stop(struct loop *l)
{
	l->stop = true;
}

bool loop_run_until(struct loop *l, const bool *done, unsigned ms)
{
	uint64_t limit = ms ? loop_now_ns() + (uint64_t)ms * 1000000u : 0;

	depth_change(l, 1);
	while (!*(const volatile bool *)done && (!limit || loop_now_ns() < limit))
		round_once(l, limit);
	depth_change(l, -1);
	if (!l->depth)
		bury(l);
	return *done;
}
