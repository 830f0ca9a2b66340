/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest under measurement: the same guest under plain QEMU or under CloudER, its console, and what it costs.
 *
 * The guest's console is a Unix socket that QEMU connects to. Orders go over it, so that nothing is tainted by them.
 * All failures are told in one line on standard error by the function in which they happen.
 */
#ifndef BENCH_VM_H
#define BENCH_VM_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum vm_system {
	VM_PLAIN, /* stock QEMU, TCG, its own user-mode network */
	VM_CLOUDER,
	VM_SYSTEMS,
};

/* What all guests of one bench are made of. Strings are the caller's. */
struct vm_config {
	const char *clouder, *plugin, *qemu; /* programs and the plugin */
	const char *guest; /* directory of vmlinuz and initrd.img */
	const char *cpu; /* model for -cpu; NULL: QEMU's own choice */
	const char *dir; /* for sockets and logs; exists, the caller's to remove */
	int smp, mib; /* vCPUs, RAM */
};

struct vm {
	const struct vm_config *cfg;
	enum vm_system system;
	char name[32];
	pid_t pid; /* QEMU, or the supervisor */
	pid_t engine; /* QEMU, whichever the system */
	int listener, console; /* -1: none */
	int port; /* of the loopback, forwarded to the guest's server */
	size_t used;
	char line[4096];
};

/* CPU time in nanoseconds. */
struct vm_cpu {
	uint64_t vcpu; /* of the threads that run the guest's code */
	uint64_t all; /* of all threads of that QEMU and of the supervisor, if there is one */
};

/* Set by a signal handler: all waits end with an error. */
extern volatile int vm_interrupted;

/* CLOCK_MONOTONIC of the host in nanoseconds. */
uint64_t vm_now_ns(void);

/* Starts a guest and returns at once; -1 if it cannot. ret is to be ended with vm_end() in both cases. */
int vm_start(struct vm *ret, const struct vm_config *cfg, enum vm_system system);
/* Waits until the guest has booted and its services listen; when that was, by vm_now_ns(). 0, or -1. */
int vm_wait_ready(struct vm *vm, uint64_t *ret_ns);
/* Ends the guest and waits for its processes. Does nothing for one that has ended. */
void vm_end(struct vm *vm);

/* Gives an order of guests/benchlab.c and waits for its answer. Result is its word, ns what the guest measured. */
int vm_order(struct vm *vm, const char *order, uint64_t *ret_ns, char *ret_result, size_t size);

/* What its processes have used so far. */
struct vm_cpu vm_cpu_time(const struct vm *vm);
/* `clouder status --json`, a new reference; NULL for plain QEMU, or if it cannot be had. */
json_t *vm_status(const struct vm *vm);
/* Bytes that the shadow file really takes; 0 for plain QEMU. */
uint64_t vm_shadow_allocated(const struct vm *vm);

#endif
