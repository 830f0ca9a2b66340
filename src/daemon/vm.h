/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One protected VM: its engines, its memory, its network, its checkpoints, and what is done when a detector fires.
 *
 * States: STARTING (the first engine comes up) -> RUNNING -> [detection] RESPONDING -> RUNNING, or HELD
 * (frozen where the detector stopped it, because nothing safe could be done) or ENDED.
 * One engine is active; another waits with `-incoming defer` so that recovery need not start one.
 */
#ifndef CLOUDER_DAEMON_VM_H
#define CLOUDER_DAEMON_VM_H

#include <jansson.h>

#include "base/err.h"
#include "base/loop.h"
#include "daemon/config.h"
#include "store/incident.h"
#include "store/store.h"

struct vm;

struct vm_ops {
	/* A step of an incident: "detected", "located", "patched", "rolled-back", and how it ended (see ctl_proto.h). */
	void (*step)(void *arg, const char *event, const struct incident *in);
	/* The VM is over. why->code ERR_OK: the guest shut down; else what went wrong. */
	void (*ended)(void *arg, const struct err *why);
};

/* Starts the VM; returns when the guest runs. c, st and ops must outlive it. */
int vm_create(struct loop *l, const struct config *c, struct store *st, const struct vm_ops *ops, void *arg,
	      struct vm **ret_vm, struct err *e) MUST_CHECK;
/* Ends the VM; nothing of it is left. NULL is fine. */
void vm_destroy(struct vm *vm);

/* New object: state, engines, checkpoints, taint, network, incidents. */
json_t *vm_status(struct vm *vm);

/*
 * New object, the answer to a request of `clouder taint`: "ok", tainted pages and bytes in all and, where the request has
 * "pid", "at" (a string) and "length", the labels of that range of a process's memory; or "ok" false with "error".
 */
json_t *vm_taint(struct vm *vm, const json_t *request);

/*
 * New object, the answer to a request of `clouder vmi`: "show" says what of the guest is asked for, "from" how many rows the
 * asker has already. "ok", "rows" and "more" if there may be others; or "ok" false with "error".
 */
json_t *vm_vmi(struct vm *vm, const json_t *request);

/*
 * New objects, answers to requests of the operator: "ok" true and what was done, or "ok" false with "error". To be called
 * from the outer loop. NULL: no memory.
 * vm_checkpoint: takes one now. vm_checkpoints: those that are kept, the oldest first. vm_rollback: to the one that the
 * request names ("number"; without: the newest); input since then is delivered again, or with "drop" true is not.
 */
json_t *vm_checkpoint(struct vm *vm);
json_t *vm_checkpoints(struct vm *vm);
json_t *vm_rollback(struct vm *vm, const json_t *request);
/* "processes" that run the file of patch "id", and whether each runs patched code. */
json_t *vm_verify(struct vm *vm, const json_t *request);

#endif
