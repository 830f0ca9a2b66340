/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The one epoll loop of a process.
 *
 * Handlers run one after another; a handler may add and remove sources,
 * its own too. A handler that must wait for an answer of another process runs
 * the loop itself with loop_run_until(): sources of that peer and of the memory
 * traps go on being served meanwhile (else both would wait for each other), and a source
 * marked LOOP_OUTER waits until the outer loop is back.
 */
#ifndef CLOUDER_BASE_LOOP_H
#define CLOUDER_BASE_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct loop;
struct loop_source;

/* Every kind of descriptor a process of ours waits on. */
enum loop_kind {
	LOOP_FD_SIGNAL, /* signalfd: SIGINT, SIGTERM, SIGCHLD */
	LOOP_FD_CONTROL, /* control socket: listening, and one for each CLI client */
	LOOP_FD_QMP, /* QMP stream of an engine */
	LOOP_FD_CHILD, /* pidfd of an engine */
	LOOP_FD_LINK, /* link to the taint plugin in an engine */
	LOOP_FD_TRAP, /* userfaultfd: first writes after a checkpoint */
	LOOP_FD_VHOST, /* vhost-user protocol socket of an engine */
	LOOP_FD_KICK, /* eventfd: the guest has put buffers in a ring */
	LOOP_FD_DISK, /* eventfd: a disk's thread is done */
	LOOP_FD_UPLINK, /* the outside: sockets of libslirp, the TAP device */
	LOOP_FD_TIMER, /* timers of libslirp and of the supervisor */
	LOOP_FD_KINDS,
};

/* Bits for loop_add's flags. */
#define LOOP_OUTER 1u /* not served while a handler waits in loop_run_until() */

typedef void loop_fn(void *arg, uint32_t events);

struct loop *loop_create(struct err *e) MUST_CHECK;
void loop_destroy(struct loop *l); /* removes and frees all sources; closes no descriptor of theirs */

/*
 * Calls fn(arg, events) when fd is ready for one of the EPOLL* bits in events (level-triggered).
 * fd stays the caller's: remove the source before closing it. Returns NULL and fills *e on failure.
 */
struct loop_source *loop_add(struct loop *l, enum loop_kind kind, int fd, uint32_t events, unsigned flags, loop_fn *fn,
			     void *arg, struct err *e) MUST_CHECK;
/* Changes what is waited for. 0: nothing but errors and hang-up. */
void loop_modify(struct loop_source *s, uint32_t events);
/* Stops and frees *s and sets it to NULL; *s may be NULL. Safe inside any handler. */
void loop_remove(struct loop_source **s);

/* A one-shot timer: fn(arg, 0) once, ms from now, in the same loop. A source like the others: remove to cancel. */
struct loop_source *loop_timer_add(struct loop *l, unsigned ms, unsigned flags, loop_fn *fn, void *arg,
				   struct err *e) MUST_CHECK;
/* Sets it anew (also after it fired). */
void loop_timer_set(struct loop_source *s, unsigned ms);
/* Does not fire until it is set again. */
void loop_timer_cancel(struct loop_source *s);

/* Serves sources until loop_stop(); one that came before, from inside loop_run_until(), counts. */
void loop_run(struct loop *l);
void loop_stop(struct loop *l);

/*
 * Serves all sources not marked LOOP_OUTER until *done is true or ms milliseconds passed (0: no limit).
 * Returns whether *done is true. Nests.
 */
bool loop_run_until(struct loop *l, const bool *done, unsigned ms);

/* CLOCK_MONOTONIC in nanoseconds. */
uint64_t loop_now_ns(void);

#endif
