/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The shadow file: its layout, mapping it, and reading and writing labels.
 *
 * A label is read and written as one 64-bit value, so that origin and writer
 * always belong together. The number of tainted bytes of a page is kept from
 * what each exchange replaced, so it is exact however many threads write.
 */
#include "plugin/core/shadow_internal.h"

#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define WRITERS_MAX 65536u /* ids fit into a label */
#define GPA_LIMIT_MAX (1ull << 40)
#define COPIES_MAX (1u << 28)
#define UNDO_PER_SLOT 4u
#define SPIN_TRIES 64u
#define CHUNK 64u
#define KEY_HIGH 57u /* lowest of a key's upper bits: those are all alike in a canonical address */

static uint64_t align_page(uint64_t n)
{
	return (n + GUEST_PAGE_MASK) & ~(uint64_t)GUEST_PAGE_MASK;
}

/* Gives each region its place, from gpa_limit and the max_* members. */
static void layout(struct taint_shm *h)
{
	h->off_vcpu = align_page(sizeof(*h));
	h->off_line = align_page(h->off_vcpu + TAINT_VCPU_MAX * sizeof(struct taint_vcpu));
	h->off_page_slot = align_page(h->off_line + TAINT_VCPU_MAX * sizeof(struct taint_line));
	h->off_slot = align_page(h->off_page_slot + (h->gpa_limit >> GUEST_PAGE_SHIFT) * sizeof(uint32_t));
	h->off_data = align_page(h->off_slot + (uint64_t)h->max_slots * sizeof(struct taint_slot));
	h->off_undo = h->off_data + (uint64_t)h->max_slots * SHADOW_PAGE_LABELS * sizeof(struct taint_label);
	h->off_writer = align_page(h->off_undo + (uint64_t)h->max_undo * sizeof(struct taint_undo));
	h->off_writer_hash = align_page(h->off_writer + (uint64_t)h->max_writers * sizeof(struct taint_writer));
	h->file_size = align_page(h->off_writer_hash + 2ull * h->max_writers * sizeof(uint32_t));
}

/* A slot for each page, whatever copies there are. */
static uint64_t slots_wanted(const struct taint_shm *h)
{
	return 1 + (h->gpa_limit >> GUEST_PAGE_SHIFT) + h->max_copies;
}

static bool limits_ok(const struct taint_shm *h)
{
	return h->gpa_limit && !(h->gpa_limit & GUEST_PAGE_MASK) && h->gpa_limit <= GPA_LIMIT_MAX && h->max_copies &&
	       h->max_copies <= COPIES_MAX;
}

static bool sizes_ok(const struct taint_shm *h)
{
	return limits_ok(h) && h->max_slots == slots_wanted(h) &&
	       h->max_undo == (uint64_t)h->max_slots * UNDO_PER_SLOT && h->max_writers && h->max_writers <= WRITERS_MAX;
}

static bool layout_same(const struct taint_shm *h)
{
	struct taint_shm want = *h;

	layout(&want);
	return want.off_vcpu == h->off_vcpu && want.off_line == h->off_line && want.off_page_slot == h->off_page_slot &&
	       want.off_slot == h->off_slot && want.off_data == h->off_data && want.off_undo == h->off_undo &&
	       want.off_writer == h->off_writer && want.off_writer_hash == h->off_writer_hash &&
	       want.file_size == h->file_size;
}

/* Maps the file that *h describes. */
static int map_file(int fd, const struct taint_shm *h, struct shadow **ret_sh, struct err *e)
{
	struct shadow *sh = calloc(1, sizeof(*sh));
	char *base;

	if (!sh)
		return err_set(e, ERR_LIMIT, "no memory for the shadow");
	base = mmap(NULL, h->file_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (base == MAP_FAILED) {
		free(sh);
		return err_set_errno(e, "cannot map the shadow file");
	}
	*sh = (struct shadow){
		.shm = (struct taint_shm *)base,
		.vcpu = (struct taint_vcpu *)(base + h->off_vcpu),
		.line = (struct taint_line *)(base + h->off_line),
		.page_slot = (uint32_t *)(base + h->off_page_slot),
		.slot = (struct taint_slot *)(base + h->off_slot),
		.data = (uint64_t *)(base + h->off_data),
		.undo = (struct taint_undo *)(base + h->off_undo),
		.writer = (struct taint_writer *)(base + h->off_writer),
		.writer_hash = (uint32_t *)(base + h->off_writer_hash),
		.file_size = h->file_size,
		.pages = (uint32_t)(h->gpa_limit >> GUEST_PAGE_SHIFT),
		.max_slots = h->max_slots,
		.max_copies = h->max_copies,
		.max_undo = h->max_undo,
		.max_writers = h->max_writers,
		.oldest_epoch = 1,
	};
	*ret_sh = sh;
	return 0;
}

int shadow_create(uint64_t gpa_limit, uint32_t max_copies, int *ret_fd, struct shadow **ret_sh, struct err *e)
{
	struct taint_shm h = {
		.magic = TAINT_ABI_MAGIC,
		.version = TAINT_ABI_VERSION,
		.header_size = sizeof(h),
		.gpa_limit = gpa_limit,
		.max_copies = max_copies,
		.max_writers = WRITERS_MAX,
		.epoch = 1,
		.slots_used = 1,
		.writers_used = 1,
	};
	int fd;

	if (!limits_ok(&h))
		return err_set(e, ERR_USAGE, "shadow for %llu bytes of guest memory with %u copies is not possible",
			       (unsigned long long)gpa_limit, max_copies);
	h.max_slots = (uint32_t)slots_wanted(&h);
	h.max_undo = h.max_slots * UNDO_PER_SLOT;
	layout(&h);
	fd = memfd_create("clouder-shadow", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return err_set_errno(e, "cannot create the shadow file");
	if (ftruncate(fd, (off_t)h.file_size) || pwrite(fd, &h, sizeof(h), 0) != (ssize_t)sizeof(h) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
		err_set_errno(e, "cannot set up the shadow file");
		goto fail;
	}
	if (map_file(fd, &h, ret_sh, e))
		goto fail;
	*ret_fd = fd;
	return 0;
fail:
	close(fd);
	return -1;
}

int shadow_attach(int fd, struct shadow **ret_sh, struct err *e)
{
	struct taint_shm h;
	struct stat st;

	if (fstat(fd, &st))
		return err_set_errno(e, "cannot look at the shadow file");
	if (pread(fd, &h, sizeof(h), 0) != (ssize_t)sizeof(h))
		return err_set(e, ERR_PROTOCOL, "shadow file is too short for its header");
	if (h.magic != TAINT_ABI_MAGIC || h.version != TAINT_ABI_VERSION || h.header_size != sizeof(h))
		return err_set(e, ERR_PROTOCOL, "not a shadow file of version %u", TAINT_ABI_VERSION);
	if (!sizes_ok(&h) || !layout_same(&h) || st.st_size < 0 || (uint64_t)st.st_size < h.file_size)
		return err_set(e, ERR_PROTOCOL, "layout of the shadow file is damaged");
	return map_file(fd, &h, ret_sh, e);
}

void shadow_destroy(struct shadow *sh)
{
	if (!sh)
		return;
	munmap(sh->shm, sh->file_size);
	free(sh);
}

struct taint_shm *shadow_header(const struct shadow *sh)
{
	return sh->shm;
}

struct taint_vcpu *shadow_vcpu(const struct shadow *sh, unsigned i)
{
	assert(i < TAINT_VCPU_MAX);
	return &sh->vcpu[i];
}

void shadow_lock(const struct shadow *sh)
{
	for (unsigned tries = 0;; tries++) {
		uint32_t free_value = 0;

		if (__atomic_compare_exchange_n(&sh->shm->lock, &free_value, 1, false, __ATOMIC_ACQUIRE,
						__ATOMIC_RELAXED))
			return;
		if (tries % SPIN_TRIES == SPIN_TRIES - 1)
			sched_yield();
	}
}

void shadow_unlock(const struct shadow *sh)
{
	shadow_store(&sh->shm->lock, 0);
}

static bool line_tainted(const uint64_t *data, unsigned line)
{
	uint64_t any = 0;

	for (unsigned i = 0; i < SHADOW_LINE; i++)
		any |= __atomic_load_n(&data[line * SHADOW_LINE + i], __ATOMIC_RELAXED);
	return any != 0;
}

static uint64_t lines_tainted(const uint64_t *data, uint64_t bits)
{
	uint64_t tainted = 0;

	for (; bits; bits &= bits - 1) {
		unsigned line = (unsigned)__builtin_ctzll(bits);

		tainted |= (uint64_t)line_tainted(data, line) << line;
	}
	return tainted;
}

/* Whoever taints a label sets the bit after it; so a bit that was cleared meanwhile is found by looking again. */
void shadow_lines_look(struct shadow *sh, uint32_t slot, uint64_t bits)
{
	const uint64_t *data = shadow_slot_data(sh, slot);
	uint64_t clean = bits & ~lines_tainted(data, bits);

	if (!clean)
		return;
	__atomic_fetch_and(&sh->slot[slot].lines, ~clean, __ATOMIC_SEQ_CST);
	clean = lines_tainted(data, clean);
	if (clean)
		__atomic_fetch_or(&sh->slot[slot].lines, clean, __ATOMIC_SEQ_CST);
}

static uint32_t count_labels(const uint64_t *data)
{
	uint32_t n = 0;

	for (unsigned i = 0; i < SHADOW_PAGE_LABELS; i++)
		n += shadow_label_tainted(__atomic_load_n(&data[i], __ATOMIC_RELAXED));
	return n;
}

/* The engine may have died between a label's change and its count. */
static void count_anew(struct shadow *sh)
{
	uint32_t used = shadow_load(&sh->shm->slots_used);

	for (uint32_t i = 1; i < used && i < sh->max_slots; i++) {
		uint32_t page = shadow_load(&sh->slot[i].page);

		if (page >= sh->pages || shadow_page_slot(sh, page) != i)
			continue;
		shadow_store(&sh->slot[i].count, count_labels(shadow_slot_data(sh, i)));
		__atomic_store_n(&sh->slot[i].lines, lines_tainted(shadow_slot_data(sh, i), UINT64_MAX),
				 __ATOMIC_RELAXED);
	}
}

void shadow_unlock_dead(struct shadow *sh)
{
	shadow_unlock(sh);
	shadow_slots_collect(sh);
	count_anew(sh);
}

bool shadow_slots_full(const struct shadow *sh)
{
	return !shadow_load(&sh->shm->slot_free) && shadow_load(&sh->shm->slots_used) >= sh->max_slots;
}

static void count_exhausted(const struct shadow *sh)
{
	__atomic_fetch_add(&sh->shm->slots_exhausted, 1, __ATOMIC_RELAXED);
}

uint32_t shadow_slot_alloc(struct shadow *sh)
{
	uint32_t slot = shadow_load(&sh->shm->slot_free), used = shadow_load(&sh->shm->slots_used);

	if (slot && slot < sh->max_slots) {
		shadow_store(&sh->shm->slot_free, shadow_load(&sh->slot[slot].next_free));
	} else if (used && used < sh->max_slots) {
		slot = used;
		shadow_store(&sh->shm->slots_used, used + 1);
	} else {
		count_exhausted(sh);
		return 0;
	}
	shadow_store(&sh->slot[slot].page, SHADOW_NO_PAGE);
	shadow_store(&sh->slot[slot].count, 0);
	__atomic_store_n(&sh->slot[slot].lines, 0, __ATOMIC_RELAXED);
	return slot;
}

void shadow_slot_free(struct shadow *sh, uint32_t slot)
{
	const size_t size = SHADOW_PAGE_LABELS * sizeof(struct taint_label);

	if (!slot || slot >= sh->max_slots)
		return;
	if (madvise(shadow_slot_data(sh, slot), size, MADV_REMOVE))
		memset(shadow_slot_data(sh, slot), 0, size);
	shadow_store(&sh->slot[slot].page, SHADOW_NO_PAGE);
	shadow_store(&sh->slot[slot].count, 0);
	shadow_store(&sh->slot[slot].next_free, shadow_load(&sh->shm->slot_free));
	shadow_store(&sh->shm->slot_free, slot);
}

struct taint_line *shadow_line(const struct shadow *sh, unsigned i)
{
	assert(i < TAINT_VCPU_MAX);
	return &sh->line[i];
}

void shadow_key_renew(uint64_t *key)
{
	uint64_t old = __atomic_load_n(key, __ATOMIC_RELAXED), n;

	do {
		n = ((old & GUEST_PAGE_MASK) | old >> KEY_HIGH << GUEST_PAGE_SHIFT) + 1;
		n &= (1u << (GUEST_PAGE_SHIFT + 64 - KEY_HIGH)) - 1;
		n += !n;
		n = (n & GUEST_PAGE_MASK) | n >> GUEST_PAGE_SHIFT << KEY_HIGH;
	} while (!__atomic_compare_exchange_n(key, &old, n, true, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
}

/* A page that was remembered as clean is not any more. */
static void renew_keys(const struct shadow *sh)
{
	uint32_t n = shadow_load(&sh->shm->n_vcpus);

	for (uint32_t i = 0; i < n && i < TAINT_VCPU_MAX; i++)
		shadow_key_renew(&sh->line[i].key);
}

uint64_t shadow_lines(const struct shadow *sh, struct gpa at)
{
	uint64_t page = at.v >> GUEST_PAGE_SHIFT;
	uint32_t slot = page < sh->pages ? shadow_page_slot(sh, (uint32_t)page) : 0;

	return slot ? __atomic_load_n(&sh->slot[slot].lines, __ATOMIC_ACQUIRE) : 0;
}

bool shadow_page_tainted(const struct shadow *sh, struct gpa at)
{
	return shadow_lines(sh, at) != 0;
}

/* How many of n bytes at `at` lie in its page. */
static size_t in_page(struct gpa at, size_t n)
{
	size_t room = GUEST_PAGE_SIZE - (at.v & GUEST_PAGE_MASK);

	return n < room ? n : room;
}

static bool get_in_page(const struct shadow *sh, struct gpa at, struct taint_label *ret, size_t n)
{
	uint64_t page = at.v >> GUEST_PAGE_SHIFT;
	uint32_t slot = page < sh->pages ? shadow_page_slot(sh, (uint32_t)page) : 0;
	const uint64_t *data;
	uint32_t any = 0;

	if (!slot) {
		memset(ret, 0, n * sizeof(*ret));
		return false;
	}
	data = shadow_slot_data(sh, slot) + (at.v & GUEST_PAGE_MASK);
	for (size_t i = 0; i < n; i++) {
		uint64_t label = __atomic_load_n(&data[i], __ATOMIC_RELAXED);

		memcpy(&ret[i], &label, sizeof(label));
		any |= (uint32_t)label;
	}
	return any != 0;
}

bool shadow_get(const struct shadow *sh, struct gpa at, struct taint_label *ret, size_t n)
{
	bool any = false;

	while (n) {
		size_t part = in_page(at, n);

		any |= get_in_page(sh, at, ret, part);
		at = gpa_add(at, part);
		ret += part;
		n -= part;
	}
	return any;
}

/* The page's slot, made if there is none; 0 if there is no slot left, which only a damaged file can bring about. */
static uint32_t slot_for(struct shadow *sh, uint32_t page)
{
	uint32_t slot = shadow_page_slot(sh, page);

	if (slot)
		return slot;
	if (shadow_slots_full(sh)) {
		count_exhausted(sh);
		return 0;
	}
	shadow_lock(sh);
	slot = shadow_page_slot(sh, page);
	if (!slot) {
		slot = shadow_slot_alloc(sh);
		if (slot)
			shadow_undo_fresh(sh, page, slot);
	}
	shadow_unlock(sh);
	return slot;
}

static uint64_t label_bits(const struct taint_label *label)
{
	uint64_t bits = 0;

	if (label && label->origin)
		memcpy(&bits, label, sizeof(bits));
	return bits;
}

/* After labels were tainted. Vcpus may remember a page as clean that has had no bit so far. */
void shadow_lines_set(struct shadow *sh, uint32_t slot, uint64_t bits)
{
	uint64_t *lines = &sh->slot[slot].lines;

	if ((__atomic_load_n(lines, __ATOMIC_SEQ_CST) & bits) == bits)
		return;
	if (!__atomic_fetch_or(lines, bits, __ATOMIC_SEQ_CST))
		renew_keys(sh);
}

/* Puts a label, returns the one before. Alone with the supervisor, which writes where the guest does not: no lock. */
static uint64_t exchange(const struct shadow *sh, uint64_t *at, uint64_t label)
{
	uint64_t old;

	if (sh->shm->n_vcpus != 1)
		return __atomic_exchange_n(at, label, __ATOMIC_RELAXED);
	old = __atomic_load_n(at, __ATOMIC_RELAXED);
	__atomic_store_n(at, label, __ATOMIC_RELAXED);
	return old;
}

/* labels may be NULL: clean. A label that stays as it is costs neither a write nor an undo copy. */
static void set_in_page(struct shadow *sh, struct gpa at, const struct taint_label *labels, size_t n, bool tainted)
{
	uint64_t page = at.v >> GUEST_PAGE_SHIFT;
	uint64_t *data;
	uint32_t slot;
	int32_t delta = 0;

	if (page >= sh->pages)
		return;
	slot = tainted ? slot_for(sh, (uint32_t)page) : shadow_page_slot(sh, (uint32_t)page);
	if (!slot)
		return;
	data = shadow_slot_data(sh, slot) + (at.v & GUEST_PAGE_MASK);
	for (size_t i = 0; i < n; i++) {
		uint64_t new_label = label_bits(labels ? &labels[i] : NULL), old;

		if (__atomic_load_n(&data[i], __ATOMIC_RELAXED) == new_label)
			continue;
		if (shadow_load(&sh->slot[slot].epoch) != shadow_load(&sh->shm->epoch))
			shadow_undo_keep(sh, (uint32_t)page, slot);
		old = exchange(sh, &data[i], new_label);
		delta += shadow_label_tainted(new_label) - shadow_label_tainted(old);
	}
	if (delta)
		__atomic_fetch_add(&sh->slot[slot].count, (uint32_t)delta, __ATOMIC_RELAXED);
	if (tainted)
		shadow_lines_set(sh, slot, shadow_line_bits(at, n));
	else if (delta)
		shadow_lines_look(sh, slot, shadow_line_bits(at, n));
}

static bool any_tainted(const struct taint_label *labels, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (labels[i].origin)
			return true;
	return false;
}

void shadow_set(struct shadow *sh, struct gpa at, const struct taint_label *labels, size_t n)
{
	while (n) {
		size_t part = in_page(at, n);

		set_in_page(sh, at, labels, part, any_tainted(labels, part));
		at = gpa_add(at, part);
		labels += part;
		n -= part;
	}
}

void shadow_clear(struct shadow *sh, struct gpa at, size_t n)
{
	while (n) {
		size_t part = in_page(at, n);

		set_in_page(sh, at, NULL, part, false);
		at = gpa_add(at, part);
		n -= part;
	}
}

void shadow_taint_input(struct shadow *sh, struct gpa at, const uint8_t *bytes, size_t n, uint32_t first_origin)
{
	struct taint_label labels[CHUNK];
	uint32_t origin = first_origin ? first_origin : 1;

	while (n) {
		size_t part = n < CHUNK ? n : CHUNK;

		for (size_t i = 0; i < part; i++) {
			labels[i] = (struct taint_label){.origin = origin, .value = bytes[i]};
			origin = origin < TAINT_POSITION ? origin + 1 : 1;
		}
		shadow_set(sh, at, labels, part);
		at = gpa_add(at, part);
		bytes += part;
		n -= part;
	}
}

void shadow_count(const struct shadow *sh, uint64_t *ret_pages, uint64_t *ret_bytes)
{
	uint32_t used = shadow_load(&sh->shm->slots_used);
	uint64_t pages = 0, bytes = 0;

	for (uint32_t i = 1; i < used && i < sh->max_slots; i++) {
		uint32_t page = shadow_load(&sh->slot[i].page), count = shadow_load(&sh->slot[i].count);

		if (page >= sh->pages || shadow_page_slot(sh, page) != i || !count)
			continue;
		pages++;
		bytes += count;
	}
	*ret_pages = pages;
	*ret_bytes = bytes;
}
