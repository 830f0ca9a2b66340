/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The supervisor's end of the control socket (ctl_proto.h): the VM's name is taken by a lock, clients are
 * served in the process's loop.
 *
 * NAME.lock is flock'ed for as long as the supervisor lives, so the kernel frees it when the supervisor dies;
 * what a dead one left behind is taken over. All sources are LOOP_OUTER: no request is served while a
 * handler waits inside loop_run_until(). Nothing here ever blocks: a client that does not read is dropped.
 */
#ifndef CLOUDER_DAEMON_CTL_H
#define CLOUDER_DAEMON_CTL_H

#include <jansson.h>

#include "base/err.h"
#include "base/loop.h"
#include "ctl_proto.h"

#define CTL_CLIENTS_MAX 16
#define CTL_PENDING_MAX (2 * CTL_ANSWER_MAX) /* bytes not yet read by a client; more: it is dropped */

struct ctl;

struct ctl_ops {
	/*
	 * Answers a request (an object; verb is its "verb"). Returns a new object whose "ok" is true or false with "error";
	 * NULL: the verb is not known. "events" is handled by the control socket itself. Must not destroy it.
	 */
	json_t *(*handle)(void *arg, const char *verb, const json_t *request);
};

/*
 * Makes the runtime directory (0700), takes NAME.lock, listens on NAME.sock (0600). ERR_STATE: a VM of that name runs
 * (says its pid). ops must outlive the control socket.
 */
int ctl_create(struct loop *l, const char *name, const struct ctl_ops *ops, void *arg, struct ctl **ret,
	       struct err *e) MUST_CHECK;
/* Hangs up on all clients, removes socket and lock. NULL is fine. */
void ctl_destroy(struct ctl *c);

/* Sends event (stays the caller's) to the clients that asked for events. Fine in a nested loop too. */
void ctl_broadcast(struct ctl *c, const json_t *event);

#endif
