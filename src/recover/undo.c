/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The undo log of guest RAM: see undo.h. */
#include "recover/undo.h"

#include <assert.h>
#include <errno.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/queue.h>
#include <unistd.h>

#define CHUNK_PAGES 256u

struct undo_chunk {
	STAILQ_ENTRY(undo_chunk) link;
	uint8_t *data; /* CHUNK_PAGES pages */
	uint32_t used;
	uint64_t page[CHUNK_PAGES];
};

struct undo_log {
	TAILQ_ENTRY(undo_log) link;
	uint64_t id;
	uint64_t pages;
	bool incomplete; /* a page could not be kept */
	STAILQ_HEAD(, undo_chunk) chunks;
};

struct undo {
	struct gmem *gm;
	size_t limit;
	uint64_t n_pages;
	uint64_t *written; /* a bit for each page: the newest log has it, so it is not protected */
	uint64_t next_id;
	TAILQ_HEAD(undo_log_list, undo_log) logs; /* oldest first */
	struct loop_source *source;
	int uffd;
	struct taint_msg_ram ram;
	bool protected_before; /* the attached engine's RAM was protected as a whole once */
	struct undo_stats stats;
};

static void before_write(void *arg, uint64_t page);

static size_t words(const struct undo *u)
{
	return (u->n_pages + 63) / 64;
}

static void forget_written(struct undo *u)
{
	memset(u->written, 0, words(u) * sizeof(*u->written));
}

int undo_create(struct gmem *gm, size_t limit, struct undo **ret_u, struct err *e)
{
	struct undo *u = calloc(1, sizeof(*u));

	if (!u)
		return err_set_errno(e, "undo log");
	*u = (struct undo){
		.gm = gm, .limit = limit, .n_pages = gmem_size(gm) >> GUEST_PAGE_SHIFT, .next_id = 1, .uffd = -1};
	u->written = calloc(words(u), sizeof(*u->written));
	if (!u->written) {
		free(u);
		return err_set_errno(e, "undo log");
	}
	TAILQ_INIT(&u->logs);
	gmem_set_before_write(gm, before_write, u);
	*ret_u = u;
	return 0;
}

static void log_empty(struct undo *u, struct undo_log *log)
{
	struct undo_chunk *c;

	while ((c = STAILQ_FIRST(&log->chunks))) {
		STAILQ_REMOVE_HEAD(&log->chunks, link);
		munmap(c->data, (size_t)CHUNK_PAGES * GUEST_PAGE_SIZE);
		free(c);
	}
	u->stats.pages -= log->pages;
	log->pages = 0;
	log->incomplete = false;
}

static void log_destroy(struct undo *u, struct undo_log *log)
{
	log_empty(u, log);
	TAILQ_REMOVE(&u->logs, log, link);
	free(log);
}

void undo_destroy(struct undo *u)
{
	struct undo_log *log;

	if (!u)
		return;
	undo_detach(u);
	while ((log = TAILQ_FIRST(&u->logs)))
		log_destroy(u, log);
	gmem_set_before_write(u->gm, NULL, NULL);
	free(u->written);
	free(u);
}

static struct undo_chunk *chunk_new(struct undo_log *log)
{
	struct undo_chunk *c = malloc(sizeof(*c));

	if (!c)
		return NULL;
	c->data = mmap(NULL, (size_t)CHUNK_PAGES * GUEST_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);
	if (c->data == MAP_FAILED) {
		free(c);
		return NULL;
	}
	c->used = 0;
	STAILQ_INSERT_HEAD(&log->chunks, c, link);
	return c;
}

/* Room for one page more: logs before the newest are given up for it, the oldest first. */
static bool have_room(struct undo *u)
{
	struct undo_log *log;

	while (undo_bytes(u) >= u->limit) {
		log = TAILQ_FIRST(&u->logs);
		if (!TAILQ_NEXT(log, link))
			return false;
		u->stats.lost += log->pages;
		log_destroy(u, log);
	}
	return true;
}

/* Where the newest log puts a page; NULL: nowhere. */
static struct undo_chunk *chunk_with_room(struct undo *u, struct undo_log *newest)
{
	struct undo_chunk *c = STAILQ_FIRST(&newest->chunks);

	if (!have_room(u))
		return NULL;
	return c && c->used < CHUNK_PAGES ? c : chunk_new(newest);
}

/* Keeps the page's content in the newest log, unless that has it. */
static bool keep(struct undo *u, uint64_t page)
{
	struct undo_log *log = TAILQ_LAST(&u->logs, undo_log_list);
	struct undo_chunk *c;

	if (!log || page >= u->n_pages || (u->written[page / 64] & 1ull << page % 64))
		return false;
	u->written[page / 64] |= 1ull << page % 64;
	c = chunk_with_room(u, log);
	if (!c) {
		log->incomplete = true;
		u->stats.lost++;
		return true;
	}
	memcpy(c->data + (size_t)c->used * GUEST_PAGE_SIZE, gmem_base(u->gm) + page * GUEST_PAGE_SIZE, GUEST_PAGE_SIZE);
	c->page[c->used++] = page;
	log->pages++;
	u->stats.pages++;
	return true;
}

static void before_write(void *arg, uint64_t page)
{
	struct undo *u = arg;

	if (keep(u, page))
		u->stats.own_writes++;
}

/* Offset in the RAM file of an address in the engine's process. */
static bool engine_offset(const struct undo *u, uint64_t hva, uint64_t *ret)
{
	for (uint32_t i = 0; i < u->ram.count; i++) {
		if (hva - u->ram.map[i].hva < u->ram.map[i].size) {
			*ret = u->ram.map[i].offset + (hva - u->ram.map[i].hva);
			return true;
		}
	}
	return false;
}

/* Sets or lifts write protection of a range of the engine's memory; lifting wakes whoever waits. */
static int protect_range(int uffd, uint64_t hva, uint64_t len, bool on)
{
	struct uffdio_writeprotect wp = {.range = {.start = hva, .len = len},
					 .mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0};

	while (ioctl(uffd, UFFDIO_WRITEPROTECT, &wp) < 0)
		if (errno != EAGAIN && errno != EINTR)
			return -1;
	return 0;
}

static void trap_readable(void *arg, uint32_t events)
{
	struct undo *u = arg;
	struct uffd_msg msg[16];
	ssize_t n = read(u->uffd, msg, sizeof(msg));

	(void)events;
	for (ssize_t i = 0; i < n / (ssize_t)sizeof(msg[0]); i++) {
		uint64_t hva, offset;

		if (msg[i].event != UFFD_EVENT_PAGEFAULT)
			continue;
		hva = msg[i].arg.pagefault.address & ~(uint64_t)GUEST_PAGE_MASK;
		if (engine_offset(u, hva, &offset))
			keep(u, offset >> GUEST_PAGE_SHIFT);
		u->stats.faults++;
		protect_range(u->uffd, hva, GUEST_PAGE_SIZE, false);
	}
}

int undo_attach(struct undo *u, struct loop *l, int uffd, const struct taint_msg_ram *ram, struct err *e)
{
	assert(u->uffd < 0);
	u->source = loop_add(l, LOOP_FD_TRAP, uffd, EPOLLIN, 0, trap_readable, u, e);
	if (!u->source)
		return -1;
	u->uffd = uffd;
	u->ram = *ram;
	u->protected_before = false;
	return 0;
}

void undo_detach(struct undo *u)
{
	loop_remove(&u->source);
	u->uffd = -1;
}

int undo_protect_ahead(int uffd, const struct taint_msg_ram *ram, uint64_t *at, uint64_t most, struct err *e)
{
	uint64_t before = 0; /* in the mappings that come first */

	for (uint32_t i = 0; i < ram->count && most; i++) {
		uint64_t size = ram->map[i].size, from = *at - before, len = size - from;

		before += size;
		if (from >= size)
			continue;
		len = len < most ? len : most;
		if (protect_range(uffd, ram->map[i].hva + from, len, true) < 0)
			return err_set_errno(e, "write-protecting guest memory");
		*at += len;
		most -= len;
	}
	return most > 0;
}

int undo_protect(struct undo *u, uint64_t from, struct err *e)
{
	if (undo_protect_ahead(u->uffd, &u->ram, &from, UINT64_MAX, e) < 0)
		return -1;
	u->protected_before = true;
	return 0;
}

/* Protects the pages [first, end) of the RAM file, wherever the engine has them mapped. */
static int protect_pages(const struct undo *u, uint64_t first, uint64_t end)
{
	for (uint32_t i = 0; i < u->ram.count; i++) {
		uint64_t from = u->ram.map[i].offset >> GUEST_PAGE_SHIFT;
		uint64_t to = from + (u->ram.map[i].size >> GUEST_PAGE_SHIFT);
		uint64_t lo = first > from ? first : from, hi = end < to ? end : to;

		if (lo < hi && protect_range(u->uffd, u->ram.map[i].hva + ((lo - from) << GUEST_PAGE_SHIFT),
					     (hi - lo) << GUEST_PAGE_SHIFT, true) < 0)
			return -1;
	}
	return 0;
}

/* The next page from this one on that was written, or was not; n_pages: there is none. 64 are looked at at once. */
static uint64_t next_page(const struct undo *u, uint64_t page, bool written)
{
	while (page < u->n_pages) {
		uint64_t bits = (written ? u->written[page / 64] : ~u->written[page / 64]) & ~0ull << page % 64;

		page &= ~63ull;
		if (bits) {
			page += (unsigned)__builtin_ctzll(bits);
			return page < u->n_pages ? page : u->n_pages;
		}
		page += 64;
	}
	return u->n_pages;
}

/*
 * All that was written since the last protection is in the newest log, so only that need be protected again, one call
 * for each stretch of neighbouring pages.
 */
static int protect_again(struct undo *u, const struct undo_log *last, struct err *e)
{
	uint64_t first, end;

	if (!u->protected_before || !last)
		return undo_protect(u, 0, e);
	for (first = next_page(u, 0, true); first < u->n_pages; first = next_page(u, end, true)) {
		end = next_page(u, first, false);
		if (protect_pages(u, first, end) < 0)
			return err_set_errno(e, "write-protecting guest memory");
	}
	return 0;
}

int undo_begin(struct undo *u, uint64_t *ret_id, struct err *e)
{
	struct undo_log *log = calloc(1, sizeof(*log));

	if (!log)
		return err_set_errno(e, "undo log");
	if (u->uffd >= 0 && protect_again(u, TAILQ_LAST(&u->logs, undo_log_list), e) < 0) {
		free(log);
		return -1;
	}
	STAILQ_INIT(&log->chunks);
	log->id = u->next_id++;
	forget_written(u);
	TAILQ_INSERT_TAIL(&u->logs, log, link);
	*ret_id = log->id;
	return 0;
}

uint64_t undo_log_pages(const struct undo *u, uint64_t id)
{
	const struct undo_log *log;

	TAILQ_FOREACH (log, &u->logs, link)
		if (log->id == id)
			return log->pages;
	return 0;
}

void undo_forget(struct undo *u, uint64_t oldest_kept)
{
	struct undo_log *log;

	while ((log = TAILQ_FIRST(&u->logs)) && log->id < oldest_kept)
		log_destroy(u, log);
}

bool undo_can_roll_back(const struct undo *u, uint64_t id)
{
	const struct undo_log *log;
	bool found = false;

	TAILQ_FOREACH (log, &u->logs, link) {
		found |= log->id == id;
		if (log->id >= id && log->incomplete)
			return false;
	}
	return found;
}

static uint64_t log_apply(struct undo *u, const struct undo_log *log)
{
	const struct undo_chunk *c;

	STAILQ_FOREACH (c, &log->chunks, link)
		for (uint32_t i = 0; i < c->used; i++)
			memcpy(gmem_base(u->gm) + c->page[i] * GUEST_PAGE_SIZE, c->data + (size_t)i * GUEST_PAGE_SIZE,
			       GUEST_PAGE_SIZE);
	return log->pages;
}

int undo_roll_back(struct undo *u, uint64_t id, uint64_t *ret_pages, struct err *e)
{
	struct undo_log *log;
	uint64_t pages = 0;

	assert(u->uffd < 0);
	if (!undo_can_roll_back(u, id))
		return err_set(e, ERR_LIMIT, "guest memory at checkpoint %llu is not known any more",
			       (unsigned long long)id);
	while ((log = TAILQ_LAST(&u->logs, undo_log_list)) && log->id > id) {
		pages += log_apply(u, log);
		log_destroy(u, log);
	}
	pages += log_apply(u, log);
	log_empty(u, log);
	forget_written(u);
	*ret_pages = pages;
	return 0;
}

size_t undo_bytes(const struct undo *u)
{
	return u->stats.pages * GUEST_PAGE_SIZE;
}

void undo_get_stats(const struct undo *u, struct undo_stats *ret)
{
	*ret = u->stats;
	ret->bytes = undo_bytes(u);
}
