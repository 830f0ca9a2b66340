/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The undo log of a disk image: see blocklog.h. */
#include "disk/blocklog.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/queue.h>
#include <unistd.h>

/* Where a block's old content lies in the file, in units of blocks. */
struct entry {
	uint64_t block;
	uint32_t slot;
};

struct log {
	TAILQ_ENTRY(log) link;
	uint64_t mark;
	bool incomplete; /* a block could not be kept */
	struct entry *entry;
	size_t n, room;
};

struct blocklog {
	const struct image *image;
	struct image store; /* the file without a name */
	TAILQ_HEAD(log_list, log) logs; /* oldest first */
	uint64_t n_blocks;
	uint8_t *kept; /* a bit for each block: the newest log has it */
	uint64_t limit; /* slots at most */
	uint64_t limit_now; /* lower until the next mark if the file's file system is full */
	uint64_t slots; /* in the file */
	uint32_t *free_slot; /* those of slots that nobody uses */
	size_t n_free, free_room;
	struct blocklog_stats stats;
};

/* A file without a name in dir; where file systems cannot make one, one whose name is removed at once. */
static int open_unnamed(const char *dir)
{
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	char path[4096];

	if (fd >= 0 || (size_t)snprintf(path, sizeof(path), "%s/.clouder-undo-XXXXXX", dir) >= sizeof(path))
		return fd;
	fd = mkostemp(path, O_CLOEXEC);
	if (fd >= 0)
		unlink(path);
	return fd;
}

int blocklog_create(const struct image *image, const char *dir, uint64_t limit, struct blocklog **ret_b, struct err *e)
{
	struct blocklog *b = calloc(1, sizeof(*b));

	if (!b)
		return err_set_errno(e, "undo log of a disk");
	TAILQ_INIT(&b->logs);
	b->image = image;
	b->n_blocks = (image->size + BLOCKLOG_BLOCK - 1) / BLOCKLOG_BLOCK;
	b->limit = limit / BLOCKLOG_BLOCK < UINT32_MAX ? limit / BLOCKLOG_BLOCK : UINT32_MAX;
	b->kept = mmap(NULL, b->n_blocks / 8 + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		       -1, 0);
	if (b->kept == MAP_FAILED) {
		free(b);
		return err_set_errno(e, "undo log of a disk of %llu MiB", (unsigned long long)(image->size >> 20));
	}
	b->store.fd = open_unnamed(dir);
	if (b->store.fd < 0)
		b->store.fd = open_unnamed("/var/tmp");
	if (b->store.fd < 0) {
		err_set_errno(e, "undo log: no file can be made in %.120s, nor in /var/tmp", dir);
		blocklog_destroy(b);
		return -1;
	}
	*ret_b = b;
	return 0;
}

/* Gives the slots of a log back. */
static void log_empty(struct blocklog *b, struct log *log)
{
	bool newest = log == TAILQ_LAST(&b->logs, log_list);

	for (size_t i = 0; i < log->n; i++) {
		uint64_t block = log->entry[i].block;

		if (newest)
			b->kept[block / 8] &= (uint8_t) ~(1u << block % 8);
		b->free_slot[b->n_free++] = log->entry[i].slot; /* there is room for all slots */
	}
	b->stats.blocks -= log->n;
	free(log->entry);
	log->entry = NULL;
	log->n = log->room = 0;
	log->incomplete = false;
}

static void log_destroy(struct blocklog *b, struct log *log)
{
	log_empty(b, log);
	TAILQ_REMOVE(&b->logs, log, link);
	free(log);
}

void blocklog_destroy(struct blocklog *b)
{
	struct log *log;

	if (!b)
		return;
	while ((log = TAILQ_FIRST(&b->logs)))
		log_destroy(b, log);
	munmap(b->kept, b->n_blocks / 8 + 1);
	if (b->store.fd >= 0)
		close(b->store.fd);
	free(b->free_slot);
	free(b);
}

int blocklog_begin(struct blocklog *b, uint64_t mark, struct err *e)
{
	const struct log *last = TAILQ_LAST(&b->logs, log_list);
	struct log *log = calloc(1, sizeof(*log));

	if (!log)
		return err_set_errno(e, "undo log of a disk");
	assert(!last || last->mark < mark);
	for (size_t i = 0; last && i < last->n; i++)
		b->kept[last->entry[i].block / 8] = 0;
	log->mark = mark;
	b->limit_now = b->limit;
	TAILQ_INSERT_TAIL(&b->logs, log, link);
	return 0;
}

/* ---- keeping ---- */

/* Grows an array to hold one more; false: no memory. */
static bool have_room(void *array, size_t size, size_t n, size_t *room)
{
	void **at = array, *more;

	if (n < *room)
		return true;
	more = reallocarray(*at, *room ? *room * 2 : 64, size);
	if (!more)
		return false;
	*at = more;
	*room = *room ? *room * 2 : 64;
	return true;
}

/* A slot that nobody uses; false: there is none. */
static bool take_slot(struct blocklog *b, uint32_t *ret)
{
	if (b->n_free) {
		*ret = b->free_slot[--b->n_free];
		return true;
	}
	if (b->slots >= b->limit_now || !have_room(&b->free_slot, sizeof(*b->free_slot), b->slots, &b->free_room))
		return false;
	*ret = (uint32_t)b->slots++;
	return true;
}

/* Writes old content to a slot; false: there is no place. */
static bool store(struct blocklog *b, const uint8_t *bytes, size_t len, uint32_t *ret_slot)
{
	while (take_slot(b, ret_slot)) {
		if (image_write(&b->store, bytes, len, (uint64_t)*ret_slot * BLOCKLOG_BLOCK) == 0)
			return true;
		/* The file system is full: what the file has must do from now on. */
		if (*ret_slot + 1ull < b->slots) {
			b->free_slot[b->n_free++] = *ret_slot;
			return false;
		}
		b->slots--;
		b->limit_now = b->slots;
	}
	return false;
}

/* Gives the oldest mark up, and if it is the only one what comes after it too. False: there is nothing to be had. */
static bool give_up_oldest(struct blocklog *b)
{
	struct log *log = TAILQ_FIRST(&b->logs);

	b->stats.given_up++;
	if (log != TAILQ_LAST(&b->logs, log_list)) {
		log_destroy(b, log);
		return true;
	}
	log_empty(b, log);
	log->incomplete = true;
	return false;
}

static uint64_t block_len(const struct blocklog *b, uint64_t block)
{
	uint64_t left = b->image->size - block * BLOCKLOG_BLOCK;

	return left < BLOCKLOG_BLOCK ? left : BLOCKLOG_BLOCK;
}

/* False: the newest log is incomplete now. */
static bool keep(struct blocklog *b, struct log *log, uint64_t block)
{
	uint8_t bytes[BLOCKLOG_BLOCK];
	uint64_t len = block_len(b, block);
	uint32_t slot;

	if (image_read(b->image, bytes, len, block * BLOCKLOG_BLOCK) < 0 ||
	    !have_room(&log->entry, sizeof(*log->entry), log->n, &log->room)) {
		while (give_up_oldest(b))
			;
		return false;
	}
	while (!store(b, bytes, len, &slot))
		if (!give_up_oldest(b))
			return false;
	log->entry[log->n++] = (struct entry){block, slot};
	b->kept[block / 8] |= (uint8_t)(1u << block % 8);
	b->stats.blocks++;
	return true;
}

void blocklog_before_write(struct blocklog *b, uint64_t off, uint64_t len)
{
	struct log *log = TAILQ_LAST(&b->logs, log_list);

	if (!log || !len)
		return;
	for (uint64_t block = off / BLOCKLOG_BLOCK; block <= (off + len - 1) / BLOCKLOG_BLOCK; block++) {
		if (log->incomplete)
			return;
		if (!(b->kept[block / 8] & 1u << block % 8) && !keep(b, log, block))
			return;
	}
}

void blocklog_forget(struct blocklog *b, uint64_t mark)
{
	struct log *log;

	while ((log = TAILQ_FIRST(&b->logs)) && log->mark < mark)
		log_destroy(b, log);
	/* Gives the file's space back when nothing is in it. */
	if (!b->stats.blocks && b->slots && ftruncate(b->store.fd, 0) == 0)
		b->slots = b->n_free = 0;
}

/* ---- going back ---- */

bool blocklog_can_roll_back(const struct blocklog *b, uint64_t mark)
{
	const struct log *log;
	bool found = false;

	TAILQ_FOREACH (log, &b->logs, link) {
		found |= log->mark == mark;
		if (log->mark >= mark && log->incomplete)
			return false;
	}
	return found;
}

uint64_t blocklog_blocks_since(const struct blocklog *b, uint64_t mark)
{
	const struct log *log;
	uint64_t n = 0;

	TAILQ_FOREACH (log, &b->logs, link)
		n += log->mark >= mark ? log->n : 0;
	return n;
}

int blocklog_visit(const struct blocklog *b, uint64_t mark, blocklog_visit_fn *fn, void *arg)
{
	uint8_t bytes[BLOCKLOG_BLOCK];
	const struct log *log;

	TAILQ_FOREACH_REVERSE(log, &b->logs, log_list, link)
	{
		for (size_t i = 0; log->mark >= mark && i < log->n; i++) {
			uint64_t block = log->entry[i].block, len = block_len(b, block);

			if (image_read(&b->store, bytes, len, (uint64_t)log->entry[i].slot * BLOCKLOG_BLOCK) < 0 ||
			    fn(arg, block, bytes, len) < 0)
				return -1;
		}
	}
	return 0;
}

static int write_back(void *arg, uint64_t block, const uint8_t *bytes, size_t len)
{
	const struct blocklog *b = arg;

	return image_write(b->image, bytes, len, block * BLOCKLOG_BLOCK);
}

int blocklog_roll_back(struct blocklog *b, uint64_t mark, uint64_t *ret_blocks, struct err *e)
{
	uint64_t blocks = blocklog_blocks_since(b, mark);
	struct log *log;

	if (!blocklog_can_roll_back(b, mark))
		return err_set(e, ERR_LIMIT, "the disk at mark %llu is not known any more", (unsigned long long)mark);
	/* All is applied before anything is dropped. */
	if (blocklog_visit(b, mark, write_back, b) < 0 || (blocks && image_flush(b->image) < 0))
		return err_set_errno(e, "bringing a disk back");
	while ((log = TAILQ_LAST(&b->logs, log_list)) && log->mark > mark)
		log_destroy(b, log);
	assert(log && log->mark == mark);
	log_empty(b, log);
	*ret_blocks = blocks;
	return 0;
}

void blocklog_get_stats(const struct blocklog *b, struct blocklog_stats *ret)
{
	*ret = b->stats;
	ret->bytes = ret->blocks * BLOCKLOG_BLOCK;
}
