/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The ring of checkpoints: see checkpoint.h. */
#include "recover/checkpoint.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHECKPOINTS_MAX 64u

struct checkpoint {
	struct checkpoint_info info;
	int state_fd;
	uint64_t undo_id;
	uint64_t disk_mark;
	uint32_t shadow_epoch;
	struct taint_vcpu *regs; /* n_vcpus of them */
	struct net_moment *input;
};

struct checkpoint_ring {
	struct checkpoint_parts parts;
	struct checkpoint slot[CHECKPOINTS_MAX]; /* oldest first */
	unsigned n, max;
	uint64_t next_id;
};

int checkpoint_ring_create(const struct checkpoint_parts *parts, unsigned max, struct checkpoint_ring **ret_r,
			   struct err *e)
{
	struct checkpoint_ring *r;

	if (max < 1 || max > CHECKPOINTS_MAX)
		return err_set(e, ERR_USAGE, "%u checkpoints: 1 to %u can be kept", max, CHECKPOINTS_MAX);
	r = calloc(1, sizeof(*r));
	if (!r)
		return err_set_errno(e, "checkpoints");
	r->parts = *parts;
	r->max = max;
	r->next_id = 1;
	*ret_r = r;
	return 0;
}

static void slot_clear(struct checkpoint *c)
{
	if (c->state_fd >= 0)
		close(c->state_fd);
	free(c->regs);
	net_moment_destroy(c->input);
	*c = (struct checkpoint){.state_fd = -1};
}

void checkpoint_ring_destroy(struct checkpoint_ring *r)
{
	if (!r)
		return;
	for (unsigned i = 0; i < r->n; i++)
		slot_clear(&r->slot[i]);
	free(r);
}

/* Whether memory, labels and disks can be brought back. */
static bool usable(const struct checkpoint_ring *r, const struct checkpoint *c)
{
	return undo_can_roll_back(r->parts.undo, c->undo_id) &&
	       shadow_can_roll_back(r->parts.shadow, c->shadow_epoch) &&
	       disks_can_roll_back(r->parts.disks, c->disk_mark);
}

/* Drops the oldest until n are left, and with them what only they needed. */
static void keep_newest(struct checkpoint_ring *r, unsigned n)
{
	while (r->n > n) {
		slot_clear(&r->slot[0]);
		memmove(&r->slot[0], &r->slot[1], (r->n - 1) * sizeof(r->slot[0]));
		r->n--;
	}
	if (r->n) {
		undo_forget(r->parts.undo, r->slot[0].undo_id);
		disks_forget(r->parts.disks, r->slot[0].disk_mark);
		shadow_epoch_forget(r->parts.shadow, r->slot[0].shadow_epoch);
		net_trim(r->parts.net, r->slot[0].info.seq);
	}
}

/* How many of the newest are usable; what makes one useless makes all before it so. */
static unsigned count_usable(const struct checkpoint_ring *r)
{
	unsigned n = 0;

	while (n < r->n && usable(r, &r->slot[r->n - 1 - n]))
		n++;
	return n;
}

/* The part of taking a checkpoint for which the VM stands still. */
static int snapshot(struct checkpoint_ring *r, struct engine *en, struct checkpoint *c, struct err *e)
{
	struct stat st;

	if (engine_save(en, c->state_fd, e) < 0)
		return -1;
	if (fstat(c->state_fd, &st) == 0)
		c->info.state_bytes = (uint64_t)st.st_size;
	if (undo_begin(r->parts.undo, &c->undo_id, e) < 0 || disks_mark(r->parts.disks, &c->disk_mark, e) < 0)
		return -1;
	shadow_sweep(r->parts.shadow);
	c->shadow_epoch = shadow_epoch_begin(r->parts.shadow);
	for (unsigned i = 0; i < r->parts.n_vcpus; i++)
		c->regs[i] = *shadow_vcpu(r->parts.shadow, i);
	c->info.seq = net_cursor(r->parts.net);
	c->input = net_moment_create(r->parts.net, e);
	return c->input ? 0 : -1;
}

static int slot_prepare(const struct checkpoint_ring *r, struct checkpoint *c, struct err *e)
{
	c->state_fd = memfd_create("clouder-checkpoint", MFD_CLOEXEC);
	if (c->state_fd < 0)
		return err_set_errno(e, "checkpoint file");
	c->regs = calloc(r->parts.n_vcpus, sizeof(*c->regs));
	if (!c->regs)
		return err_set_errno(e, "checkpoint");
	return 0;
}

int checkpoint_take(struct checkpoint_ring *r, struct engine *en, enum checkpoint_why why, struct checkpoint_info *ret,
		    struct err *e)
{
	struct checkpoint c = {.state_fd = -1, .info.why = why};
	struct err went_on = {0};
	uint64_t start;
	int rc;

	if (slot_prepare(r, &c, e) < 0) {
		slot_clear(&c);
		return -1;
	}
	start = loop_now_ns();
	net_freeze(r->parts.net);
	rc = engine_stop(en, e);
	if (rc == 0)
		rc = snapshot(r, en, &c, e);
	/*
	 * The VM goes on whether or not the checkpoint came about, also if it has not stopped in time: it may be about to. Not if
	 * a detection came first: who answers that decides. One that comes as it goes on does not spoil the checkpoint.
	 */
	if ((rc == 0 || e->code != ERR_STATE) && engine_continue(en, &went_on) < 0 && rc == 0 &&
	    went_on.code != ERR_STATE) {
		*e = went_on;
		rc = -1;
	}
	net_thaw(r->parts.net);
	if (rc < 0) {
		slot_clear(&c);
		return -1;
	}
	c.info.id = r->next_id++;
	c.info.time_ns = loop_now_ns();
	c.info.pause_us = (c.info.time_ns - start) / 1000;
	keep_newest(r, r->max - 1);
	r->slot[r->n++] = c;
	keep_newest(r, count_usable(r)); /* what the others still hold is needed for new ones */
	*ret = c.info;
	return 0;
}

unsigned checkpoint_count(const struct checkpoint_ring *r)
{
	return r->n;
}

int checkpoint_before(const struct checkpoint_ring *r, uint64_t seq, struct checkpoint_info *ret, struct err *e)
{
	for (unsigned i = r->n; i-- > 0;) {
		const struct checkpoint *c = &r->slot[i];

		if (c->info.seq <= seq && usable(r, c)) {
			*ret = c->info;
			return 0;
		}
	}
	return err_set(e, ERR_LIMIT, r->n ? "all %u checkpoints are younger than the damage" : "there is no checkpoint",
		       r->n);
}

int checkpoint_older(const struct checkpoint_ring *r, uint64_t id, struct checkpoint_info *ret, struct err *e)
{
	for (unsigned i = r->n; i-- > 0;) {
		const struct checkpoint *c = &r->slot[i];

		if (c->info.id < id && usable(r, c)) {
			*ret = c->info;
			return 0;
		}
	}
	return err_set(e, ERR_LIMIT, "no checkpoint older than number %llu is kept", (unsigned long long)id);
}

int checkpoint_oldest(const struct checkpoint_ring *r, struct checkpoint_info *ret, struct err *e)
{
	unsigned n = count_usable(r);

	if (!n)
		return err_set(e, ERR_LIMIT, r->n ? "no checkpoint can be gone back to" : "there is no checkpoint");
	*ret = r->slot[r->n - n].info;
	return 0;
}

int checkpoint_newest(const struct checkpoint_ring *r, struct checkpoint_info *ret, struct err *e)
{
	if (!count_usable(r))
		return err_set(e, ERR_LIMIT, r->n ? "no checkpoint can be gone back to" : "there is no checkpoint");
	*ret = r->slot[r->n - 1].info;
	return 0;
}

struct checkpoint_entry checkpoint_entry(const struct checkpoint_ring *r, unsigned i)
{
	const struct checkpoint *c = &r->slot[i];

	return (struct checkpoint_entry){
		.info = c->info, .pages = undo_log_pages(r->parts.undo, c->undo_id), .usable = usable(r, c)};
}

static struct checkpoint *find(struct checkpoint_ring *r, uint64_t id)
{
	for (unsigned i = 0; i < r->n; i++)
		if (r->slot[i].info.id == id)
			return &r->slot[i];
	return NULL;
}

/* The same, if it can be gone back to. */
static const struct checkpoint *find_usable(const struct checkpoint_ring *r, uint64_t id, struct err *e)
{
	for (unsigned i = 0; i < r->n; i++) {
		if (r->slot[i].info.id != id)
			continue;
		if (usable(r, &r->slot[i]))
			return &r->slot[i];
		err_set(e, ERR_LIMIT, "checkpoint %llu cannot be gone back to any more", (unsigned long long)id);
		return NULL;
	}
	err_set(e, ERR_LIMIT, "there is no checkpoint %llu", (unsigned long long)id);
	return NULL;
}

int checkpoint_find(const struct checkpoint_ring *r, uint64_t id, struct checkpoint_info *ret, struct err *e)
{
	const struct checkpoint *c = find_usable(r, id, e);

	if (!c)
		return -1;
	*ret = c->info;
	return 0;
}

int checkpoint_restore_memory(struct checkpoint_ring *r, uint64_t id, uint64_t *ret_pages, struct err *e)
{
	const struct checkpoint *c = find_usable(r, id, e);

	if (!c)
		return -1;
	while (r->slot[r->n - 1].info.id > id)
		slot_clear(&r->slot[--r->n]);
	if (disks_roll_back(r->parts.disks, c->disk_mark, e) < 0 ||
	    undo_roll_back(r->parts.undo, c->undo_id, ret_pages, e) < 0)
		return -1;
	shadow_unlock_dead(r->parts.shadow);
	if (shadow_rollback(r->parts.shadow, c->shadow_epoch, e) < 0)
		return -1;
	for (unsigned i = 0; i < r->parts.n_vcpus; i++)
		*shadow_vcpu(r->parts.shadow, i) = c->regs[i];
	return 0;
}

int checkpoint_restore_engine(struct checkpoint_ring *r, uint64_t id, struct engine *en, uint64_t protected_bytes,
			      struct loop *l, struct err *e)
{
	struct checkpoint *c = find(r, id);

	if (!c)
		return err_set(e, ERR_LIMIT, "there is no checkpoint %llu", (unsigned long long)id);
	/* What loading writes to memory is trapped, too. */
	if (undo_attach(r->parts.undo, l, engine_uffd(en), engine_ram(en), e) < 0 ||
	    engine_load(en, c->state_fd, e) < 0)
		return -1;
	return undo_protect(r->parts.undo, protected_bytes, e);
}

int checkpoint_replay(struct checkpoint_ring *r, uint64_t id, struct err *e)
{
	struct checkpoint *c = find(r, id);

	if (!c)
		return err_set(e, ERR_LIMIT, "there is no checkpoint %llu", (unsigned long long)id);
	return net_replay(r->parts.net, c->input, e);
}

int checkpoint_drop(struct checkpoint_ring *r, uint64_t id, unsigned *ret_reset, struct err *e)
{
	struct checkpoint *c = find(r, id);

	if (!c)
		return err_set(e, ERR_LIMIT, "there is no checkpoint %llu", (unsigned long long)id);
	return net_drop(r->parts.net, c->input, ret_reset, e);
}
