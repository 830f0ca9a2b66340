/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Undo log of guest RAM: a page's content is kept the first time it is written after a checkpoint.
 *
 * Writes of the engine are trapped with userfaultfd write protection in its process; our own writes come
 * through gmem's before-write hook. Each checkpoint has a log of its own; going back to one applies the logs
 * from the newest to its own. Pages are named by their index in the RAM file.
 */
#ifndef CLOUDER_RECOVER_UNDO_H
#define CLOUDER_RECOVER_UNDO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/loop.h"
#include "qemu/gmem.h"
#include "taint_abi.h"

struct undo;

struct undo_stats {
	uint64_t faults; /* traps of the engine */
	uint64_t own_writes; /* pages kept because of our own writes */
	uint64_t pages, bytes; /* kept now, in all logs */
	uint64_t lost; /* pages that were not kept, or given up for newer ones: the checkpoints before them are void */
};

/*
 * Installs itself as gm's before-write hook. limit: bytes of page copies in all logs together. What is over it costs the
 * oldest logs; only where the newest alone is over it, that one is void.
 */
int undo_create(struct gmem *gm, size_t limit, struct undo **ret_u, struct err *e) MUST_CHECK;
void undo_destroy(struct undo *u);

/* Traps the writes of the engine with this userfaultfd and these mappings (both the caller's) from the next undo_begin(). */
int undo_attach(struct undo *u, struct loop *l, int uffd, const struct taint_msg_ram *ram, struct err *e) MUST_CHECK;
void undo_detach(struct undo *u);

/* A new log begins; the engine must be stopped. *ret_id names it (ascending, > 0). */
int undo_begin(struct undo *u, uint64_t *ret_id, struct err *e) MUST_CHECK;
/* How many pages log id holds: written since it began, until the next one began. */
uint64_t undo_log_pages(const struct undo *u, uint64_t id);
/* Drops the logs older than id. */
void undo_forget(struct undo *u, uint64_t oldest_kept);
/* Whether RAM can be brought back to where log id began. */
bool undo_can_roll_back(const struct undo *u, uint64_t id);
/*
 * Brings RAM back; no engine may run or be attached. Newer logs are dropped, log id begins anew
 * (protection starts when an engine is attached and undo_protect() called). *ret_pages: pages restored.
 */
int undo_roll_back(struct undo *u, uint64_t id, uint64_t *ret_pages, struct err *e) MUST_CHECK;
/*
 * Write-protects RAM of an engine that waits, before it is attached, with its userfaultfd and mappings: at most so many bytes from byte *at on,
 * counted through the mappings; *at goes on. 1: all is.
 */
int undo_protect_ahead(int uffd, const struct taint_msg_ram *ram, uint64_t *at, uint64_t most,
		       struct err *e) MUST_CHECK;
/* Write-protects RAM in the attached engine, from that byte on (see above); the engine must be stopped. */
int undo_protect(struct undo *u, uint64_t from, struct err *e) MUST_CHECK;

size_t undo_bytes(const struct undo *u);
void undo_get_stats(const struct undo *u, struct undo_stats *ret);

#endif
