/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An engine: one QEMU process that carries the VM, or waits to carry it.
 *
 * Everything that it shares with us is passed as inherited descriptors (QMP, link, RAM, shadow), so it leaves no
 * socket and no file behind, and it dies with us (parent-death signal).
 */
#ifndef CLOUDER_QEMU_ENGINE_H
#define CLOUDER_QEMU_ENGINE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/addr.h"
#include "base/err.h"
#include "base/loop.h"
#include "qemu/qmp.h"
#include "taint_abi.h"

struct engine;

/* The operator's QEMU arguments, looked over once. */
struct engine_args {
	char **argv; /* NULL-terminated, ours */
	uint64_t ram_size; /* bytes, from -m (default as QEMU's: 128 MiB) */
	bool has_accel, has_machine, has_display, has_vga;
};

/*
 * Copies and checks args (NULL-terminated). ERR_USAGE or ERR_REFUSED with a clear line for what cannot work:
 * KVM, writable disks, options that CloudER sets itself.
 */
int engine_args_parse(char *const *args, struct engine_args *ret, struct err *e) MUST_CHECK;
void engine_args_free(struct engine_args *a);

/* Checks that program runs and is QEMU 10.0 or later. */
int engine_check_qemu(const char *program, struct err *e) MUST_CHECK;

#define ENGINE_DISKS_MAX 8u

struct engine_config {
	const char *qemu; /* program */
	const char *plugin; /* path of clouder-taint.so */
	const char *mac; /* of the guest's network device, NULL: QEMU's default */
	unsigned n_disks; /* vhost-user-blk devices, at most ENGINE_DISKS_MAX */
	const struct engine_args *args;
	int ram_fd, shadow_fd, console_fd; /* console_fd -1: the operator's own -serial options */
	uint32_t detectors; /* of the plugin that are on: a bit for each enum taint_detector */
	bool incoming; /* wait for a checkpoint */
};

struct engine_ops {
	void (*event)(void *arg, struct engine *en, const char *event, const json_t *data);
	/* Whether the vCPU stays held; if not, engine_let_go() has been called. */
	bool (*detected)(void *arg, struct engine *en, const struct taint_msg_detect *d);
	/* QEMU has connected a device (0: the network's, 1 + i: disk i) to its back end: fd, the callee's, speaks vhost-user. */
	void (*connected)(void *arg, struct engine *en, unsigned device, int fd);
	/* The process ended; status as from waitpid. Not called after engine_kill(). */
	void (*ended)(void *arg, struct engine *en, int status);
};

/*
 * Starts a stopped engine (-S). The vhost-user back end must serve what ops->connected() brings before
 * engine_wait_ready() can succeed.
 */
int engine_start(struct loop *l, const struct engine_config *c, const struct engine_ops *ops, void *arg,
		 struct engine **ret_en, struct err *e) MUST_CHECK;
/* QEMU has greeted and the plugin is loaded: engine_wait_ready() will be quick. */
bool engine_is_up(const struct engine *en);
/* QMP negotiated, capabilities set, plugin loaded, RAM registered: ready to run or to take a checkpoint in. */
int engine_wait_ready(struct engine *en, unsigned ms, struct err *e) MUST_CHECK;
/* SIGKILL, descriptors closed; nothing of it writes to guest memory any more. The loop reaps it. en may be NULL. */
void engine_destroy(struct engine *en);
/* Reaps all that were destroyed: before their loop is. */
void engine_bury(void);

pid_t engine_pid(const struct engine *en);
struct qmp *engine_qmp(const struct engine *en);
/* After engine_wait_ready(): the process's userfaultfd (the engine's own) and RAM mappings. */
int engine_uffd(const struct engine *en);
const struct taint_msg_ram *engine_ram(const struct engine *en);

/* Freezes and thaws the whole process (SIGSTOP, SIGCONT). */
void engine_freeze(struct engine *en);
void engine_thaw(struct engine *en);
/* Lets the vCPU that a detector holds go on. */
void engine_let_go(struct engine *en, unsigned vcpu);

/*
 * Before the VM runs: the vCPU that writes the input byte of this label to the user address is held, as by a detector
 * (TAINT_DETECT_WATCH). anywhere: each that writes it to an address that is aligned as this one.
 */
int engine_watch(struct engine *en, struct gva at, const struct taint_label *label, bool anywhere,
		 struct err *e) MUST_CHECK;

/* Stops the vCPUs; returns when they are stopped. */
int engine_stop(struct engine *en, struct err *e) MUST_CHECK;
int engine_continue(struct engine *en, struct err *e) MUST_CHECK;
/* Device state of the stopped VM to the memfd state_fd (rewritten). The VM stays stopped. */
int engine_save(struct engine *en, int state_fd, struct err *e) MUST_CHECK;
/* A waiting engine takes the state in; it stays stopped. */
int engine_load(struct engine *en, int state_fd, struct err *e) MUST_CHECK;
/* Asks QEMU to quit and waits for the end of the process. */
int engine_quit(struct engine *en, unsigned ms, struct err *e) MUST_CHECK;

/* What the process last wrote to standard error ("" if nothing). */
const char *engine_last_words(const struct engine *en);

#endif
