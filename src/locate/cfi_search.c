/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * .eh_frame of a module without .eh_frame_hdr (statically linked programs have
 * none): looked for in the module's memory by the look of its first record.
 */
#include "locate/cfi_internal.h"

/* A common entry begins so: length, id 0, version, augmentation of letters that start with 'z' and end with 'R'. */
#define PROBE_LEN 16u
#define SPAN_MAX (256ull << 20)

static bool looks_like_cie(const uint8_t *p)
{
	uint32_t len, id;
	const char *aug = (const char *)p + 9;
	size_t n = strnlen(aug, PROBE_LEN - 9);

	memcpy(&len, p, 4);
	memcpy(&id, p + 4, 4);
	return len >= 12 && len <= 64 && !(len & 3) && !id && (p[8] == 1 || p[8] == 3) && n >= 2 && n < 5 &&
	       aug[0] == 'z' && (aug[n - 1] == 'R' || aug[n - 1] == 'S');
}

/* The record after the candidate is an entry that refers back to it. */
static bool followed_by_entry(const struct cfi *m, uint64_t at)
{
	uint32_t len, next[2];

	if (!code_read(&m->rd, gva(at), &len, 4) || !cfi_inside(m, at, len + 12ull) ||
	    !code_read(&m->rd, gva(at + 4 + len), next, sizeof(next)))
		return false;
	return next[0] >= 8 && next[1] == len + 8;
}

static uint64_t search_page(const struct cfi *m, const uint8_t *page, size_t len, uint64_t at)
{
	for (size_t i = 0; i + PROBE_LEN <= len; i += 4)
		if (looks_like_cie(page + i) && followed_by_entry(m, at + i))
			return at + i;
	return 0;
}

uint64_t cfi_search_eh_frame(const struct cfi *m)
{
	uint8_t buf[GUEST_PAGE_SIZE + PROBE_LEN];
	uint64_t at = m->low.v & ~(uint64_t)GUEST_PAGE_MASK, found = 0;

	if (m->high.v < m->low.v || m->high.v - m->low.v > SPAN_MAX)
		return 0;
	for (; !found && at < m->high.v; at += GUEST_PAGE_SIZE) {
		if (code_read(&m->rd, gva(at), buf, sizeof(buf)))
			found = search_page(m, buf, sizeof(buf), at);
		else if (code_read(&m->rd, gva(at), buf, GUEST_PAGE_SIZE))
			found = search_page(m, buf, GUEST_PAGE_SIZE, at);
	}
	return found;
}
