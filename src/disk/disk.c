/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A disk of the guest: its ring, its thread and its image. See disk.h. */
#include "disk/disk.h"

#include <limits.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/log.h"
#include "disk/disk_internal.h"
#include "disk/journal.h"
#include "disk/request_internal.h"

#define BIT(n) (1ull << (n))
/* Requests answered without waiting before others get their turn. */
#define AT_ONCE 64

/* The answer's status byte for a request that did not go wrong in the guest's memory. */
static uint8_t status_of(const struct disk *d)
{
	switch (d->request.kind) {
	case REQUEST_UNKNOWN:
		return VIRTIO_BLK_S_UNSUPP;
	case REQUEST_WRONG:
		return VIRTIO_BLK_S_IOERR;
	default:
		return d->job.error ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK;
	}
}

static void break_ring(struct disk *d, struct virtq *q)
{
	d->stats.ring_errors++;
	vhost_break_ring(q);
}

/* Says it once: a disk that fails does so often. */
static void tell_error(struct disk *d)
{
	static const char *const doing[] = {[JOB_READ] = "reading", [JOB_WRITE] = "writing", [JOB_FLUSH] = "flushing"};
	struct err why;

	if (d->stats.io_errors++)
		return;
	image_why(&d->image, d->job.error, &why);
	log_error("disk %s: %s at byte %llu: %s; the guest is told of an I/O error", d->spec->file, doing[d->job.kind],
		  (unsigned long long)d->job.off, why.text);
}

/* Says it when it begins: until then checkpoints can be gone back to. */
static void tell_given_up(struct disk *d)
{
	struct blocklog_stats undo;

	if (!d->undo)
		return;
	blocklog_get_stats(d->undo, &undo);
	if (undo.given_up > d->stats.given_up && !d->stats.given_up)
		log_warn("disk %s: the undo log is full (%u MiB, or its file system): older checkpoints cannot be gone "
			 "back to; allow more with undo=MIB",
			 d->spec->file, d->spec->undo_mib);
	d->stats.given_up = undo.given_up;
}

static void count(struct disk *d)
{
	switch (d->job.kind) {
	case JOB_READ:
		d->stats.reads++;
		d->stats.read_bytes += d->job.len;
		break;
	case JOB_WRITE:
		d->stats.writes++;
		d->stats.written_bytes += d->job.len;
		break;
	case JOB_FLUSH:
		d->stats.flushes++;
		break;
	}
}

static void wrote(void *arg, struct gpa at, size_t len)
{
	const struct disk *d = arg;

	d->ops->wrote(d->arg, at, len);
}

/* Answers the request in the batch. */
static void answer(struct disk *d, struct virtq *q)
{
	struct dirty_log *log = &d->dev.active->log;
	uint8_t status = status_of(d);
	bool reads = d->request.kind == REQUEST_READ || d->request.kind == REQUEST_GET_ID, ok;
	uint32_t written =
		request_answer(&d->batch, d->gm, log, d->buf + REQUEST_HEADER,
			       reads && status == VIRTIO_BLK_S_OK ? d->request.len : 0, status, wrote, d, &ok);

	d->stats.refused += d->request.kind == REQUEST_UNKNOWN || d->request.kind == REQUEST_WRONG;
	if (!ok || !virtq_publish(q, d->gm, log, &d->batch, &written)) {
		break_ring(d, q);
		return;
	}
	virtq_notify(q, d->gm);
}

/* The job is done: the guest is told, if its ring still runs. */
static void finish(struct disk *d)
{
	bool broke;
	struct virtq *q = vhost_usable_ring(&d->dev, d->gm, 0, &broke);

	d->busy = false;
	d->stats.ring_errors += broke;
	count(d);
	if (d->job.error)
		tell_error(d);
	tell_given_up(d);
	if (q)
		answer(d, q);
}

static void start_job(struct disk *d, enum job_kind kind)
{
	d->job = (struct job){
		.kind = kind, .off = d->request.off, .len = d->request.len, .buf = d->buf + REQUEST_HEADER};
	d->busy = true;
	worker_submit(d->worker, &d->job);
}

/* Takes the next request from the ring. False: there is none, or it has to be waited for. */
static bool take_one(struct disk *d, struct virtq *q)
{
	bool indirect = vhost_session_has(d->dev.active, VIRTIO_RING_F_INDIRECT_DESC);
	enum virtq_got got;

	virtq_batch_reset(&d->batch);
	got = virtq_peek(q, d->gm, VIRTQ_BOTH, indirect, &d->batch);
	if (got == VIRTQ_EMPTY)
		return false;
	d->job.error = 0;
	d->request.kind = REQUEST_BROKEN;
	if (got == VIRTQ_CHAIN)
		d->request = request_parse(&d->batch, d->gm, d->image.size, d->image.readonly, d->buf);
	switch (d->request.kind) {
	case REQUEST_BROKEN:
		break_ring(d, q);
		return false;
	case REQUEST_READ:
		start_job(d, JOB_READ);
		return false;
	case REQUEST_WRITE:
		start_job(d, JOB_WRITE);
		return false;
	case REQUEST_FLUSH:
		start_job(d, JOB_FLUSH);
		return false;
	case REQUEST_GET_ID:
		memcpy(d->buf + REQUEST_HEADER, d->id, VIRTIO_BLK_ID_BYTES);
		break;
	case REQUEST_UNKNOWN:
	case REQUEST_WRONG:
		break;
	}
	answer(d, q);
	return true;
}

static void work(void *arg, uint32_t events)
{
	struct disk *d = arg;
	struct virtq *q;
	bool broke;

	(void)events;
	if (d->frozen || (d->busy && !worker_idle(d->worker)))
		return;
	if (d->busy)
		finish(d);
	for (int i = 0; i < AT_ONCE; i++) {
		q = vhost_usable_ring(&d->dev, d->gm, 0, &broke);
		d->stats.ring_errors += broke;
		if (!q || !take_one(d, q))
			return;
	}
	loop_timer_set(d->work, 0);
}

static void job_done(void *arg, uint32_t events)
{
	struct disk *d = arg;
	uint64_t n;

	(void)events;
	if (read(worker_fd(d->worker), &n, sizeof(n)) == sizeof(n))
		loop_timer_set(d->work, 0);
}

/* ---- the device ---- */

static void schedule(void *arg)
{
	const struct disk *d = arg;

	loop_timer_set(d->work, 0);
}

static void drain(void *arg)
{
	struct disk *d = arg;

	if (!d->busy)
		return;
	worker_wait(d->worker);
	finish(d);
}

static void regions(void *arg, const struct gmem_region *r, size_t n)
{
	const struct disk *d = arg;

	d->ops->regions(d->arg, r, n);
}

static void config(void *arg, uint8_t ret[VHOST_CONFIG_MAX])
{
	const struct disk *d = arg;
	const struct virtio_blk_config c = {.capacity = d->image.size / IMAGE_SECTOR,
					    .size_max = REQUEST_SEG_BYTES,
					    .seg_max = REQUEST_SEGS_MAX,
					    .blk_size = IMAGE_SECTOR,
					    .num_queues = 1};

	_Static_assert(sizeof(c) <= VHOST_CONFIG_MAX, "fits");
	memcpy(ret, &c, sizeof(c));
}

static void lost(void *arg, struct vhost_session *s, const struct err *why)
{
	const struct disk *d = arg;

	d->ops->session_lost(d->arg, s, why);
}

#define FEATURES                                                                                                       \
	(BIT(VIRTIO_BLK_F_SIZE_MAX) | BIT(VIRTIO_BLK_F_SEG_MAX) | BIT(VIRTIO_BLK_F_BLK_SIZE) | BIT(VIRTIO_BLK_F_FLUSH))
#define KIND(more)                                                                                                     \
	{                                                                                                              \
		.name = "disk", .features = FEATURES | (more), .protocol_features = VHOST_PROTOCOL_CONFIG,             \
		.n_rings = 1, .schedule = schedule, .drain = drain, .regions = regions, .config = config, .lost = lost \
	}

static const struct vhost_kind writable_disk = KIND(0), readonly_disk = KIND(BIT(VIRTIO_BLK_F_RO));

/* ---- the public face ---- */

static int open_image(struct disk *d, struct err *e)
{
	uint64_t blocks;

	if (image_open(d->spec, &d->image, e) < 0 || journal_finish(&d->image, &blocks, e) < 0)
		return -1;
	if (blocks)
		log_warn("disk %s was being brought back to a checkpoint when its VM was killed: that is finished now, "
			 "%llu blocks",
			 d->spec->file, (unsigned long long)blocks);
	return image_check_format(&d->image, d->spec, e);
}

static int create_undo(struct disk *d, struct err *e)
{
	char dir[PATH_MAX];

	if (d->image.readonly)
		return 0;
	snprintf(dir, sizeof(dir), "%s", d->image.path);
	strrchr(dir, '/')[1] = 0; /* the name is absolute */
	if (access(dir, W_OK) < 0)
		log_warn("disk %s: %s cannot be written to: if clouder is killed in the middle of a rollback, the disk "
			 "stays "
			 "between two moments",
			 d->spec->file, dir);
	return blocklog_create(&d->image, dir, (uint64_t)d->spec->undo_mib << 20, &d->undo, e);
}

int disk_create(struct loop *l, struct gmem *gm, const struct image_spec *spec, const struct disk_ops *ops, void *arg,
		struct disk **ret_d, struct err *e)
{
	struct disk *d = calloc(1, sizeof(*d));

	if (!d)
		return err_set_errno(e, "disk");
	d->gm = gm;
	d->ops = ops;
	d->arg = arg;
	d->spec = spec;
	memcpy(d->id, spec->id, strlen(spec->id));
	image_init(&d->image);
	vhost_device_init(&d->dev, l, spec->readonly ? &readonly_disk : &writable_disk, d);
	d->buf = malloc(REQUEST_HEADER + REQUEST_DATA_MAX);
	if (!d->buf)
		err_set_errno(e, "disk");
	if (!d->buf || open_image(d, e) < 0 || create_undo(d, e) < 0 ||
	    worker_create(&d->image, d->undo, &d->worker, e) < 0)
		goto fail;
	d->work = loop_timer_add(l, 0, LOOP_OUTER, work, d, e);
	d->done = d->work ? loop_add(l, LOOP_FD_DISK, worker_fd(d->worker), EPOLLIN, LOOP_OUTER, job_done, d, e) : NULL;
	if (!d->done)
		goto fail;
	d->stats.size = d->image.size;
	*ret_d = d;
	return 0;
fail:
	disk_destroy(d);
	return -1;
}

void disk_destroy(struct disk *d)
{
	if (!d)
		return;
	vhost_device_deinit(&d->dev);
	loop_remove(&d->done);
	loop_remove(&d->work);
	worker_destroy(d->worker);
	blocklog_destroy(d->undo);
	image_close(&d->image);
	free(d->buf);
	free(d);
}

struct vhost_device *disk_device(struct disk *d)
{
	return &d->dev;
}

void disk_freeze(struct disk *d)
{
	d->frozen = true;
}

void disk_thaw(struct disk *d)
{
	d->frozen = false;
	schedule(d);
}

void disk_get_stats(struct disk *d, struct disk_stats *ret)
{
	struct blocklog_stats undo = {0};

	worker_wait(d->worker);
	if (d->undo)
		blocklog_get_stats(d->undo, &undo);
	*ret = d->stats;
	ret->undo_bytes = undo.bytes;
	ret->given_up = undo.given_up;
}

const struct image_spec *disk_spec(const struct disk *d)
{
	return d->spec;
}
