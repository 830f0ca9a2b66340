/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Finding the kernel's table of symbols in its image, once, and looking into it. */
#include "vmi/vmi_internal.h"

#include <stdlib.h>
#include <string.h>

/* How much may lie before and behind the tokens: a distribution's kernel has up to 5 MiB in all. */
#define BEFORE (12u << 20)
#define BEHIND (8u << 20)
#define TRIES_MAX 16u

/* Digits are tokens by themselves, as names have them all. A page may end between two: if it does in the first half, the second
 * is at the beginning of the next. */
static const char digits[] = "0\0001\0002\0003\0004\0005\0006\0007\0008\0009";
#define HALF 10u

struct digit_scan {
	struct vmi *v;
	struct err *e;
	unsigned tries;
};

/* All that is mapped there; the rest is 0. */
static uint8_t *copy_around(const struct vmi_space *s, uint64_t start)
{
	uint8_t *copy = calloc(1, BEFORE + BEHIND);

	for (uint64_t at = 0; copy && at < BEFORE + BEHIND; at += GUEST_PAGE_SIZE)
		(void)!vmi_read(s, gva(start + at), copy + at, GUEST_PAGE_SIZE);
	return copy;
}

static bool try_tokens(struct digit_scan *d, struct gva at)
{
	uint64_t start = (at.v & ~(uint64_t)GUEST_PAGE_MASK) - BEFORE;
	char seen[sizeof(digits)];
	uint8_t *copy;

	if (!vmi_read(&d->v->kernel, at, seen, sizeof(seen)) || memcmp(seen, digits, sizeof(digits)) != 0)
		return false;
	copy = copy_around(&d->v->kernel, start);
	if (copy)
		(void)!vmi_symbols_parse(copy, BEFORE + BEHIND, gva(start), at.v - start, &d->v->symbols, d->e);
	free(copy);
	return d->v->symbols || ++d->tries == TRIES_MAX;
}

static bool scan_page(void *arg, struct gva at, const uint8_t *page)
{
	struct digit_scan *d = arg;

	for (unsigned half = 0; half < 2; half++) {
		const uint8_t *from = page, *end = page + (half ? 2 * HALF : GUEST_PAGE_SIZE), *hit;

		while ((hit = memmem(from, (size_t)(end - from), digits + half * HALF, HALF))) {
			if (try_tokens(d, gva(at.v + (uint64_t)(hit - page) - (uint64_t)half * HALF)))
				return true;
			from = hit + 1;
		}
	}
	return false;
}

static int know_symbols(struct vmi *v, struct err *e)
{
	struct digit_scan d = {.v = v, .e = e};

	if (v->symbols)
		return 0;
	err_set(e, ERR_GUEST, "no table of symbols in the guest's kernel: built without CONFIG_KALLSYMS, or not known");
	vmi_image_each(&v->kernel, scan_page, &d);
	return v->symbols ? 0 : -1;
}

/* Whether a text is what a pattern of letters, ? and * says. */
static bool matches(const char *pattern, const char *text)
{
	const char *star = NULL, *again = NULL;

	while (*text) {
		if (*pattern == '*') {
			star = pattern++;
			again = text;
		} else if (*pattern == '?' || *pattern == *text) {
			pattern++;
			text++;
		} else if (star) {
			pattern = star + 1;
			text = ++again;
		} else {
			return false;
		}
	}
	while (*pattern == '*')
		pattern++;
	return !*pattern;
}

struct symbol_list {
	const char *pattern;
	size_t skip, n, max;
	struct vmi_symbol *ret;
};

static bool add_symbol(void *arg, const struct vmi_symbol *s)
{
	struct symbol_list *l = arg;

	if (l->n == l->max)
		return false;
	if (!matches(l->pattern, s->name))
		return true;
	if (l->skip)
		l->skip--;
	else
		l->ret[l->n++] = *s;
	return true;
}

int vmi_symbols(struct vmi *v, const char *pattern, size_t first, struct vmi_symbol *ret, size_t max, struct err *e)
{
	struct symbol_list l = {pattern, first, 0, max, ret};

	if (know_symbols(v, e) < 0)
		return -1;
	vmi_symbols_each(v->symbols, add_symbol, &l);
	return (int)l.n;
}
