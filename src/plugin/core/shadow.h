/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Shadow memory: a label for each tainted byte of guest-physical memory.
 *
 * It lives in the shadow file of taint_abi.h, mapped by the supervisor (which
 * taints what the network back end writes, and takes the shadow back in time)
 * and by the plugin in the engine (which propagates). A page with no tainted
 * byte costs four bytes; a page with one costs 32 KiB.
 *
 * Time: an epoch begins at each checkpoint. The first change of a page's labels
 * in an epoch keeps a copy (undo record), so that the shadow can go back to the
 * start of any epoch still kept. Labels have a slot for each page, which copies
 * never take: copies have a budget of their own. When that is used up the oldest
 * are given up, whoever makes the next one, and epochs that needed them cannot
 * be gone back to any more (shadow_can_roll_back()). A budget of as many copies
 * as there are pages always holds those of the current epoch.
 *
 * Threads: any number of vCPUs and the supervisor at once. Reads take no lock.
 * Writes of labels of a page that already has an up-to-date slot take no lock.
 * Creating a slot and copying for undo take the spin lock. Slots of pages are
 * given back only in shadow_sweep() and shadow_rollback(), while no engine runs.
 *
 * The guest cannot write the file, QEMU can: every index read from it is bounded.
 */
#ifndef CLOUDER_PLUGIN_CORE_SHADOW_H
#define CLOUDER_PLUGIN_CORE_SHADOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"
#include "taint_abi.h"

struct shadow;

/*
 * Creates the shadow file for guest-physical addresses below gpa_limit and maps it.
 * max_copies (1 to 2^28) bounds the copies for undo, of one page each; every page can be tainted beside them. *ret_fd is
 * the memfd (close-on-exec), the caller's to close.
 */
int shadow_create(uint64_t gpa_limit, uint32_t max_copies, int *ret_fd, struct shadow **ret_sh,
		  struct err *e) MUST_CHECK;
/* Maps an existing shadow file (the plugin's side); checks magic, version and layout. */
int shadow_attach(int fd, struct shadow **ret_sh, struct err *e) MUST_CHECK;
void shadow_destroy(struct shadow *sh);

struct taint_shm *shadow_header(const struct shadow *sh);
/* The guest memory map, n <= TAINT_REGIONS; from the supervisor. */
void shadow_set_regions(const struct shadow *sh, const struct taint_region *r, uint32_t n);
/* Copies it if it is of another version than *version, which becomes that. Returns the number of regions, -1: the same. */
int shadow_get_regions(const struct shadow *sh, uint32_t *version, struct taint_region ret[TAINT_REGIONS]);
/* Register shadow of vCPU i, i < TAINT_VCPU_MAX. */
struct taint_vcpu *shadow_vcpu(const struct shadow *sh, unsigned i);

/*
 * Key and counters of vCPU i (see struct taint_line). For a hot path that remembers clean pages: read the key, then ask
 * shadow_page_tainted(), then remember. Every vCPU below taint_shm.n_vcpus gets a new key when a page becomes tainted.
 */
struct taint_line *shadow_line(const struct shadow *sh, unsigned i);
/* Another key, for as many times as a key has values; then they come again. */
void shadow_key_renew(uint64_t *key);
#define SHADOW_LINE 64u /* bytes that share a bit of taint_slot.lines */

/* Bits of taint_slot.lines for n bytes at `at`, which do not leave the page. */
static inline uint64_t shadow_line_bits(struct gpa at, size_t n)
{
	unsigned first = (unsigned)(at.v & GUEST_PAGE_MASK) / SHADOW_LINE;
	unsigned last = (unsigned)((at.v & GUEST_PAGE_MASK) + n - 1) / SHADOW_LINE;

	return (~0ull >> (63 - (last - first))) << first;
}

/* A bit for each 64 bytes of the page, from the first up: whether a byte of them is (perhaps no more) tainted. */
uint64_t shadow_lines(const struct shadow *sh, struct gpa at);
/* Whether any byte of the page is tainted now. */
bool shadow_page_tainted(const struct shadow *sh, struct gpa at);

/* Copies n labels. Returns whether any of them is tainted. Ranges may cross pages; beyond gpa_limit: clean. */
bool shadow_get(const struct shadow *sh, struct gpa at, struct taint_label *ret, size_t n);
#define SHADOW_WORD_MAX 16u

/* What shadow_get_word() found. */
enum shadow_word {
	SHADOW_WORD_CLEAN,
	SHADOW_WORD_TAINTED,
	SHADOW_WORD_ELSE, /* a label is stale, or has flags: shadow_get() */
};

/*
 * Origins of n bytes (1, 2, 4, 8 or 16), which do not leave the page and hold `bytes`; NULL: what they hold is what was
 * labelled. Other n are ELSE. Fills ret[0..n) unless ELSE.
 */
enum shadow_word shadow_get_word(const struct shadow *sh, struct gpa at, const uint8_t *bytes, unsigned n,
				 uint32_t *ret);
/*
 * Labels n bytes, likewise: with these origins and this writer, holding `bytes`. false: nothing was done, since the page
 * has no slot or must be copied first, or there are several vCPUs: shadow_set().
 */
bool shadow_set_word(struct shadow *sh, struct gpa at, const uint8_t *bytes, const uint32_t *origins, uint16_t writer,
		     unsigned n);
/* Stores n labels (origin 0: clean). A page without slot gets one only if a label is tainted. */
void shadow_set(struct shadow *sh, struct gpa at, const struct taint_label *labels, size_t n);
void shadow_clear(struct shadow *sh, struct gpa at, size_t n);
/* Whether the byte that is there now is the one that was labelled. */
static inline bool taint_label_fits(const struct taint_label *label, uint8_t byte)
{
	return label->value == byte || (label->flags & TAINT_LABEL_ANY_VALUE);
}

/*
 * Makes those of n labels clean whose byte (bytes[i]: what memory holds now) is not the one that was labelled.
 * Returns whether there was one. To be done with all labels that come from shadow_get() before they mean anything.
 */
static inline bool taint_labels_drop_stale(struct taint_label *labels, const uint8_t *bytes, size_t n)
{
	bool dropped = false;

	for (size_t i = 0; i < n; i++) {
		if (!labels[i].origin || taint_label_fits(&labels[i], bytes[i]))
			continue;
		labels[i] = (struct taint_label){0};
		dropped = true;
	}
	return dropped;
}

/*
 * The same for memory: n bytes at `at`, which do not leave the page. seen: their labels, read before bytes[] was. Beside
 * other vCPUs: a label that has changed since stays. Returns how many became clean.
 */
unsigned shadow_drop_stale(struct shadow *sh, struct gpa at, const struct taint_label *seen, const uint8_t *bytes,
			   size_t n);

/* n bytes of network input: origins first_origin, first_origin + 1, ... (0 is skipped), writer 0. */
void shadow_taint_input(struct shadow *sh, struct gpa at, const uint8_t *bytes, size_t n, uint32_t first_origin);

/* Id of the writer record equal to *w (by code_offset, len, bytes), made if there is none; 0 if the table is full. */
uint32_t shadow_writer_intern(struct shadow *sh, const struct taint_writer *w);
bool shadow_writer_get(const struct shadow *sh, uint32_t id, struct taint_writer *ret);

/* The supervisor only, with no engine running: */
/* Starts a new epoch; returns its number (> 0). */
uint32_t shadow_epoch_begin(struct shadow *sh);
/* Whether all labels can be brought back to what they were when shadow_epoch_begin() returned epoch; engines may run. */
bool shadow_can_roll_back(const struct shadow *sh, uint32_t epoch);
/* Does so. That epoch is current again. ERR_STATE: it cannot be gone back to; nothing is changed. */
int shadow_rollback(struct shadow *sh, uint32_t epoch, struct err *e) MUST_CHECK;
/* Forgets the copies that only a rollback to an epoch before oldest_kept needs. */
void shadow_epoch_forget(struct shadow *sh, uint32_t oldest_kept);
/* Gives back the slots of pages without tainted bytes. */
void shadow_sweep(struct shadow *sh);
/* After an engine was killed: a lock that it held is released, slots that it had taken go back, all is counted anew. */
void shadow_unlock_dead(struct shadow *sh);

/* The 4096 bytes of guest memory at a page, as they are now; NULL: no RAM. */
typedef const uint8_t *shadow_ram_fn(void *arg, struct gpa page);
/*
 * Drops stale labels (see taint_labels_drop_stale) of at most max_pages tainted pages, going on where the last call ended;
 * from the supervisor, engines may run. Returns how many bytes became clean.
 */
uint64_t shadow_sweep_stale(struct shadow *sh, shadow_ram_fn *ram, void *arg, unsigned max_pages);
/*
 * The same for one line: SHADOW_LINE bytes of memory, as they are now, at an address that is a multiple of that. Vcpus may
 * run. Returns whether a byte became clean.
 */
bool shadow_drop_stale_line(struct shadow *sh, struct gpa at, const uint8_t *bytes);

/* Tainted pages and bytes now (walks the slots). */
void shadow_count(const struct shadow *sh, uint64_t *ret_pages, uint64_t *ret_bytes);

#endif
