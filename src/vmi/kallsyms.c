/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kernel's own table of symbols, from a private copy of the memory around it.
 *
 * Names are runs of tokens: a length (one byte, or two if its top bit is set, the low seven bits first), then so many bytes, each
 * the number of one of 256 strings. The first letter of a name is its type. The parts, each aligned to 8, or in the last to 4:
 *
 *   before Linux 6.4   offsets, base, count, names, markers, (order by name), tokens, index
 *   since              count, names, markers, tokens, index, offsets, base, (order by name)
 *   without a base     count, names, markers, tokens, index, offsets, (order by name)
 *
 * Every marker is the place of a 256th name, the index has the place of each token: so both are known for what they are by
 * themselves, and the offsets by leading to addresses in order. An offset counts up from the base, or, if the table
 * holds places in the area of each CPU, from base - 1 down where it is negative, and is itself an address where it is not. Where
 * there is no base (it is so in Debian's 7.3), an offset counts from where it stands itself.
 */
#include "vmi/vmi_internal.h"

#include <stdlib.h>
#include <string.h>

#define TOKENS 256u
#define TOKEN_MAX 64u /* bytes with the NUL */
#define MARKED 256u /* names for each marker */
#define SYMBOLS_MIN 256u
#define SYMBOLS_MAX (1u << 21)
#define WORK_MAX (1u << 23) /* names looked at in all that may be a table */
#define BASE_MIN 0xffffffff80000000ull

struct vmi_symbols {
	uint32_t n;
	size_t names_len;
	uint8_t *names;
	uint64_t *address;
	char token[TOKENS][TOKEN_MAX];
};

struct parse {
	const uint8_t *bytes;
	size_t len;
	uint64_t start; /* their address in the guest */
	size_t alignment;
	size_t tokens, index; /* where they are */
	size_t count, names, names_end;
	uint32_t n;
	uint32_t work;
	struct vmi_symbols *s;
};

static size_t align(const struct parse *p, size_t at)
{
	return (at + p->alignment - 1) & ~(p->alignment - 1);
}

static uint32_t get32(const struct parse *p, size_t at)
{
	uint32_t v;

	memcpy(&v, p->bytes + at, sizeof(v));
	return v;
}

static uint16_t index_of(const struct parse *p, unsigned token)
{
	uint16_t v;

	memcpy(&v, p->bytes + p->index + (size_t)2 * token, sizeof(v));
	return v;
}

/* Length of the token at `at` with its NUL; 0: it is none. */
static size_t token_len(const struct parse *p, size_t at)
{
	size_t most = at < p->len ? p->len - at : 0;
	const uint8_t *end = most ? memchr(p->bytes + at, 0, most < TOKEN_MAX ? most : TOKEN_MAX) : NULL;

	return end ? (size_t)(end - p->bytes) - at + 1 : 0;
}

/* From the token of the digit 0, at `at`, to the index behind the last, and from there to the first. */
static bool find_tokens(struct parse *p, size_t at)
{
	size_t zero = at, n;

	for (unsigned i = '0'; i < TOKENS; i++, at += n)
		if (!(n = token_len(p, at)))
			return false;
	p->index = align(p, at);
	if (p->index > p->len || p->len - p->index < 2 * TOKENS || index_of(p, '0') > zero)
		return false;
	p->tokens = at = zero - index_of(p, '0');
	for (unsigned i = 0; i < TOKENS; i++, at += n) {
		n = token_len(p, at);
		if (!n || index_of(p, i) != at - p->tokens)
			return false;
		memcpy(p->s->token[i], p->bytes + at, n);
	}
	return true;
}

/* Length of the name at *at, which moves on to its first token; 0: it does not end before `end`. */
static size_t name_len(const uint8_t *bytes, size_t end, size_t *at)
{
	size_t n;

	if (end < 2 || *at > end - 2)
		return 0;
	n = bytes[(*at)++];
	if (n & 0x80)
		n = (n & 0x7f) | (size_t)bytes[(*at)++] << 7;
	return n <= end - *at ? n : 0;
}

/* Whether p->n names stand behind the count, and behind those the markers of them, which begin there. */
static bool check_names(struct parse *p, size_t markers)
{
	size_t at = p->names, n;

	for (uint32_t i = 0; i < p->n; i++, at += n) {
		if (i % MARKED == 0 && get32(p, markers + i / MARKED * 4) != at - p->names)
			return false;
		n = name_len(p->bytes, markers, &at);
		if (!n || p->work++ >= WORK_MAX)
			return false;
	}
	p->names_end = at;
	return align(p, at) == markers;
}

/* The markers end where the tokens begin, or the order by name does, of three bytes for each. */
static bool find_markers(struct parse *p)
{
	size_t size = align(p, (size_t)4 * ((p->n + MARKED - 1) / MARKED)), order = align(p, (size_t)3 * p->n);

	if (p->names + size > p->tokens)
		return false;
	return check_names(p, p->tokens - size) ||
	       (p->names + size + order <= p->tokens && check_names(p, p->tokens - size - order));
}

static bool find_names(struct parse *p)
{
	for (size_t at = p->tokens & ~(p->alignment - 1); at >= p->alignment && p->work < WORK_MAX;) {
		at -= p->alignment;
		p->n = get32(p, at);
		if (p->n < SYMBOLS_MIN || p->n > SYMBOLS_MAX || p->n > (p->tokens - at) / 2 ||
		    (p->alignment == 8 && get32(p, at + 4)))
			continue;
		p->count = at;
		p->names = at + p->alignment;
		if (find_markers(p))
			return true;
	}
	return false;
}

/* How an offset becomes an address. */
enum offset_kind { FROM_BASE, OR_PER_CPU, FROM_ITSELF };

/* `own` is where the offset stands. */
static uint64_t address_of(enum offset_kind kind, uint64_t base, uint64_t own, int32_t offset)
{
	switch (kind) {
	case FROM_BASE:
		return base + (uint32_t)offset;
	case OR_PER_CPU:
		return offset < 0 ? base - 1 - (uint64_t)(int64_t)offset : (uint64_t)offset;
	case FROM_ITSELF:
		break;
	}
	return own + (uint64_t)(int64_t)offset;
}

static bool read_addresses(const struct parse *p, size_t offsets, uint64_t base, enum offset_kind kind)
{
	uint64_t last = 0;

	for (uint32_t i = 0; i < p->n; i++) {
		size_t at = offsets + (size_t)4 * i;
		uint64_t a = address_of(kind, base, p->start + at, (int32_t)get32(p, at));

		if (a < last)
			return false;
		p->s->address[i] = last = a;
	}
	return last > base && (kind != FROM_ITSELF || p->s->address[0] >= base);
}

/* Whether the base stands there, and the offsets count from it. */
static bool count_from_base(const struct parse *p, size_t offsets, size_t at)
{
	uint64_t base;

	memcpy(&base, p->bytes + at, sizeof(base));
	return base >= BASE_MIN &&
	       (read_addresses(p, offsets, base, FROM_BASE) || read_addresses(p, offsets, base, OR_PER_CPU));
}

static bool find_addresses(const struct parse *p)
{
	size_t size = align(p, (size_t)4 * p->n), behind = p->index + 2 * TOKENS, room = p->len - behind;

	return (p->count >= size + 8 && count_from_base(p, p->count - 8 - size, p->count - 8)) ||
	       (room >= size + 8 && count_from_base(p, behind, behind + size)) ||
	       (room >= size && read_addresses(p, behind, BASE_MIN, FROM_ITSELF));
}

static int fill(struct parse *p, struct err *e)
{
	struct vmi_symbols *s = p->s;

	s->n = p->n;
	s->names_len = p->names_end - p->names;
	s->names = malloc(s->names_len);
	s->address = calloc(s->n, sizeof(*s->address));
	if (!s->names || !s->address)
		return err_set_errno(e, "the guest kernel's symbols");
	memcpy(s->names, p->bytes + p->names, s->names_len);
	if (!find_addresses(p))
		return err_set(e, ERR_GUEST, "the guest kernel's symbols have no addresses that make sense");
	return 0;
}

static int parse(struct parse *p, size_t digits, struct err *e)
{
	if (!find_tokens(p, digits))
		return err_set(e, ERR_GUEST, "no table of the guest kernel's symbols");
	if (!find_names(p))
		return err_set(e, ERR_GUEST, "the guest kernel's table of symbols is of a kind that is not known");
	return fill(p, e);
}

int vmi_symbols_parse(const uint8_t *bytes, size_t len, struct gva start, size_t digits, struct vmi_symbols **ret,
		      struct err *e)
{
	struct err other;
	int rc = -1;

	for (size_t alignment = 8; rc < 0 && alignment >= 4; alignment /= 2) {
		struct parse p = {.bytes = bytes, .len = len, .start = start.v, .alignment = alignment};

		p.s = calloc(1, sizeof(*p.s));
		if (!p.s)
			return err_set_errno(e, "the guest kernel's symbols");
		rc = parse(&p, digits, alignment == 8 ? e : &other);
		if (rc == 0)
			*ret = p.s;
		else
			vmi_symbols_free(p.s);
	}
	return rc;
}

void vmi_symbols_free(struct vmi_symbols *s)
{
	if (!s)
		return;
	free(s->names);
	free(s->address);
	free(s);
}

/* Type and name of the tokens of one, cut to fit. */
static void expand(const struct vmi_symbols *s, const uint8_t *tokens, size_t n, struct vmi_symbol *ret)
{
	char text[VMI_SYMBOL_MAX + 1];
	size_t len = 0;

	for (size_t i = 0; i < n && len < VMI_SYMBOL_MAX; i++)
		for (const char *c = s->token[tokens[i]]; *c && len < VMI_SYMBOL_MAX; c++)
			text[len++] = *c > ' ' && *c <= '~' ? *c : '?';
	text[len] = '\0';
	ret->type = len ? text[0] : '?';
	memcpy(ret->name, text + (len > 0), len + (len == 0));
}

void vmi_symbols_each(const struct vmi_symbols *s, vmi_symbol_fn *fn, void *arg)
{
	struct vmi_symbol symbol;
	size_t at = 0, n;

	for (uint32_t i = 0; i < s->n; i++, at += n) {
		n = name_len(s->names, s->names_len, &at);
		if (!n)
			return;
		expand(s, s->names + at, n, &symbol);
		symbol.at = gva(s->address[i]);
		if (!fn(arg, &symbol))
			return;
	}
}
