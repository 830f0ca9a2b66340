/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The vhost-user protocol, for any kind of virtio device: a device outside of QEMU, and its sessions.
 *
 * The device outlives any engine. Each engine that runs or waits has a session of its own with it; at most one session has
 * started rings, the *active* one. The device's kind (network, disk) gives its features and what is done with the
 * rings; the work itself is done when the kind chooses, not inside a message.
 *
 * QEMU is a peer that may be wrong: its messages are checked, and an error ends its session.
 */
#ifndef CLOUDER_VHOST_VHOST_H
#define CLOUDER_VHOST_VHOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/err.h"
#include "base/loop.h"
#include "qemu/gmem.h"
#include "vhost/virtq.h"

#define VHOST_RINGS_MAX 2u
#define VHOST_FDS_MAX 8u
#define VHOST_MEM_MAX 8u
#define VHOST_CONFIG_MAX 256u /* bytes of configuration space */

/* Bits of struct vhost_kind's protocol_features. */
#define VHOST_PROTOCOL_RARP (1ull << 2)
#define VHOST_PROTOCOL_CONFIG (1ull << 9)

struct vhost_session;

/* What one kind of device is. */
struct vhost_kind {
	const char *name; /* in messages */
	uint64_t features; /* of the device; those of rings and of the protocol are added */
	uint64_t protocol_features; /* beside those that all have */
	unsigned n_rings;
	/* There may be work on the active session's rings. Must only note it: called from inside messages. */
	void (*schedule)(void *arg);
	/* The active session's rings are about to stop: what was taken from them is given back now. NULL: nothing ever is held. */
	void (*drain)(void *arg);
	/* The memory table of the active session, when it is new. */
	void (*regions)(void *arg, const struct gmem_region *r, size_t n);
	/* Fills the whole configuration space; NULL without VHOST_PROTOCOL_CONFIG. */
	void (*config)(void *arg, uint8_t ret[VHOST_CONFIG_MAX]);
	/* The peer broke the protocol or hung up; the session is dead until destroyed, which may be done here. */
	void (*lost)(void *arg, struct vhost_session *s, const struct err *why);
};

struct vhost_device {
	struct loop *loop;
	const struct vhost_kind *kind;
	void *arg; /* for the kind's functions */
	LIST_HEAD(, vhost_session) sessions;
	struct vhost_session *active; /* the one with running rings, or NULL */
};

/* A vhost-user message as it is received; payloads are copied into the handler's own structs. */
struct vhost_message {
	struct {
		uint32_t request, flags, size;
	} header;
	uint8_t payload[12 + VHOST_CONFIG_MAX];
	size_t got; /* bytes received, header included */
	int fd[VHOST_FDS_MAX]; /* owned by the message until a handler takes one */
	size_t n_fd;
};

struct vhost_region {
	uint64_t gpa, size, uva, offset;
};

struct vhost_session {
	LIST_ENTRY(vhost_session) link;
	struct vhost_device *dev;
	int fd;
	struct loop_source *source;
	uint64_t features, protocol_features;
	struct vhost_region mem[VHOST_MEM_MAX];
	size_t n_mem;
	struct dirty_log log;
	struct virtq ring[VHOST_RINGS_MAX];
	struct vhost_message in;
};

/* For the caller's storage; kind and l must outlive it. */
void vhost_device_init(struct vhost_device *d, struct loop *l, const struct vhost_kind *kind, void *arg);
/* Closes all sessions. */
void vhost_device_deinit(struct vhost_device *d);

/*
 * Serves vhost-user on fd (a connected unix socket that QEMU opened by name: over others it passes no descriptors);
 * takes the descriptor over, also on failure.
 */
int vhost_session_create(struct vhost_device *d, int fd, struct vhost_session **ret_s, struct err *e) MUST_CHECK;
/* NULL is fine. */
void vhost_session_destroy(struct vhost_session *s);

/* Whether the guest's driver agreed to this feature. */
bool vhost_session_has(const struct vhost_session *s, unsigned feature_bit);

/*
 * The active session's ring, ready to be used. NULL: there is none, it does not run, or the guest broke it (now: *ret_broke, the
 * caller counts it).
 */
struct virtq *vhost_usable_ring(struct vhost_device *d, const struct gmem *gm, unsigned index, bool *ret_broke);
/* The guest broke the rules: its ring stands still until the driver resets the device. */
void vhost_break_ring(struct virtq *q);

#endif
