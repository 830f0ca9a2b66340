/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kernel's own table of symbols, from a private copy of the memory around it.
 *
 * Names are runs of tokens: a length (one byte, or two if its top bit is set, the low seven bits first), then so many bytes, each
 * the number of one of 256 strings. The first letter of a name is its type. The parts, each aligned to 8:
 *
 *   before Linux 6.4   offsets, base, count, names, markers, (order by name), tokens, index
 *   since              count, names, markers, tokens, index, offsets, base, (order by name)
 *
 * Every marker is the place of a 256th name, the index has the place of each token: so both are known for what they are by
 * themselves, and the offsets by leading to addresses in order. An offset counts up from the base, or, if the table
 * holds places in the area of each CPU, from base - 1 down where it is negative, and is itself an address where it is not.
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
	size_t tokens, index; /* where they are */
	size_t count, names, names_end;
	uint32_t n;
	uint32_t work;
	struct vmi_symbols *s;
};

static size_t align8(size_t at)
{
	return (at + 7) & ~(size_t)7;
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
	p->index = align8(at);
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

/* Whether p->n names stand behind the count, and markers of them behind those. */
static bool check_names(struct parse *p)
{
	static uint32_t marker[SYMBOLS_MAX / MARKED];
	uint32_t n_markers = (p->n + MARKED - 1) / MARKED;
	size_t at = p->names, n;

	for (uint32_t i = 0; i < p->n; i++, at += n) {
		if (i % MARKED == 0)
			marker[i / MARKED] = (uint32_t)(at - p->names);
		n = name_len(p->bytes, p->tokens, &at);
		if (!n || p->work++ >= WORK_MAX)
			return false;
	}
	p->names_end = at;
	at = align8(at);
	return at <= p->tokens && p->tokens - at >= (size_t)4 * n_markers &&
	       !memcmp(p->bytes + at, marker, (size_t)4 * n_markers);
}

static bool find_names(struct parse *p)
{
	for (size_t at = p->tokens & ~(size_t)7; at >= 8 && p->work < WORK_MAX;) {
		at -= 8;
		p->n = get32(p, at);
		if (p->n < SYMBOLS_MIN || p->n > SYMBOLS_MAX || get32(p, at + 4) || p->n > (p->tokens - at) / 2)
			continue;
		p->count = at;
		p->names = at + 8;
		if (check_names(p))
			return true;
	}
	return false;
}

static uint64_t address_of(uint64_t base, int32_t offset, bool per_cpu)
{
	if (!per_cpu)
		return base + (uint32_t)offset;
	return offset < 0 ? base - 1 - (uint64_t)(int64_t)offset : (uint64_t)offset;
}

static bool read_addresses(const struct parse *p, size_t offsets, uint64_t base, bool per_cpu)
{
	uint64_t last = 0;

	for (uint32_t i = 0; i < p->n; i++) {
		uint64_t a = address_of(base, (int32_t)get32(p, offsets + (size_t)4 * i), per_cpu);

		if (a < last)
			return false;
		p->s->address[i] = last = a;
	}
	return last > base;
}

static bool find_addresses(const struct parse *p)
{
	size_t size = align8((size_t)4 * p->n), behind = p->index + 2 * TOKENS;
	const struct {
		bool fits;
		size_t offsets, base;
	} places[] = {{p->count >= size + 8, p->count - 8 - size, p->count - 8},
		      {behind + size + 8 <= p->len, behind, behind + size}};

	for (unsigned i = 0; i < 4; i++) {
		uint64_t base;

		if (!places[i / 2].fits)
			continue;
		memcpy(&base, p->bytes + places[i / 2].base, sizeof(base));
		if (base >= BASE_MIN && read_addresses(p, places[i / 2].offsets, base, i % 2))
			return true;
	}
	return false;
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

int vmi_symbols_parse(const uint8_t *bytes, size_t len, size_t digits, struct vmi_symbols **ret, struct err *e)
{
	struct parse p = {.bytes = bytes, .len = len, .s = calloc(1, sizeof(*p.s))};
	int rc;

	if (!p.s)
		return err_set_errno(e, "the guest kernel's symbols");
	if (!find_tokens(&p, digits))
		rc = err_set(e, ERR_GUEST, "no table of the guest kernel's symbols");
	else if (!find_names(&p))
		rc = err_set(e, ERR_GUEST, "the guest kernel's table of symbols is of a kind that is not known");
	else
		rc = fill(&p, e);
	if (rc == 0)
		*ret = p.s;
	else
		vmi_symbols_free(p.s);
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
