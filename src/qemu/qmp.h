/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QMP client: one command at a time, events as they come. */
#ifndef CLOUDER_QEMU_QMP_H
#define CLOUDER_QEMU_QMP_H

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"
#include "base/loop.h"

struct qmp;

/* event: QEMU's name ("STOP", "MIGRATION", ...); data: borrowed, may be NULL. */
typedef void qmp_event_fn(void *arg, const char *event, const json_t *data);

/* Speaks QMP on fd (taken over, also on failure). Nothing is waited for. */
int qmp_create(struct loop *l, int fd, qmp_event_fn *event, void *arg, struct qmp **ret_q, struct err *e) MUST_CHECK;
void qmp_destroy(struct qmp *q);

/* Whether QEMU's greeting has come. */
bool qmp_greeted(const struct qmp *q);
/* Waits for the greeting and leaves negotiation mode. ms: how long at most. */
int qmp_negotiate(struct qmp *q, unsigned ms, struct err *e) MUST_CHECK;

/*
 * Runs command with args (stolen; NULL: none), serving the loop meanwhile.
 * *ret_value (may be NULL): what QEMU returned, the caller's reference.
 * ERR_PROTOCOL: QEMU's own error text; ERR_TIMEOUT; ERR_GONE: the stream ended.
 */
int qmp_call(struct qmp *q, const char *command, json_t *args, unsigned ms, json_t **ret_value,
	     struct err *e) MUST_CHECK;

/* After an event changed *done: serves the loop until it is true. ERR_TIMEOUT, ERR_GONE. */
int qmp_wait(struct qmp *q, const bool *done, unsigned ms, const char *what, struct err *e) MUST_CHECK;

/* Makes the call that waits now (if any) fail with ERR_STATE: its answer will not come. For event handlers. */
void qmp_interrupt(struct qmp *q);

#endif
