/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Paths on which a byte of the payload is an index into a table: decoders, where what comes out is still the sender's, and
 * look-ups that only select something, where it is not.
 */
#include "taintlab_paths.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BASE64_DIGITS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
#define HEX_PAYLOAD "48656c6c6f2c207461626c6573206f662041534349492121"
#define LOOKUPS 200

/* ---- case ---- */

static bool by_toupper(struct lab *l)
{
	for (size_t i = 0; i < l->len; i++)
		l->out[i] = (char)(toupper)((unsigned char)l->in[i]);
	return true;
}

static bool by_tolower(struct lab *l)
{
	for (size_t i = 0; i < l->len; i++)
		l->out[i] = (char)(tolower)((unsigned char)l->in[i]);
	return true;
}

/* A table of ours, as parsers of protocols have one. */
static bool by_case_table(struct lab *l)
{
	static unsigned char table[256];
	const unsigned char *t = lab_opaque(table);

	for (int c = 0; c < 256; c++)
		table[c] = (unsigned char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
	for (size_t i = 0; i < l->len; i++)
		l->out[i] = (char)t[(unsigned char)l->in[i]];
	return true;
}

/* Classification steers, the bytes are copied. */
static bool by_isalnum_copy(struct lab *l)
{
	char *to = l->out;

	for (size_t i = 0; i < l->len; i++)
		if ((isalnum)((unsigned char)l->in[i]))
			*to++ = l->in[i];
	l->ret_len = (size_t)(to - l->out);
	return true;
}

/* ---- decoders ---- */

static signed char hex_values[256], base64_values[256];

static void fill_values(signed char *values, const char *digits)
{
	memset(values, -1, 256);
	for (int i = 0; digits[i]; i++)
		values[(unsigned char)digits[i]] = (signed char)i;
}

static const signed char *hex_table(void)
{
	fill_values(hex_values, "0123456789abcdef");
	return lab_opaque(hex_values);
}

static bool by_hex_table(struct lab *l)
{
	const signed char *values = hex_table();

	for (size_t i = 0; i + 1 < l->len; i += 2)
		l->out[i / 2] = (char)(values[(unsigned char)l->in[i]] << 4 | values[(unsigned char)l->in[i + 1]]);
	l->ret_len = l->len / 2;
	return true;
}

static int hex_digit(char c)
{
	return c <= '9' ? c - '0' : c - 'a' + 10;
}

static bool by_hex_arithmetic(struct lab *l)
{
	for (size_t i = 0; i + 1 < l->len; i += 2)
		l->out[i / 2] = (char)(hex_digit(l->in[i]) << 4 | hex_digit(l->in[i + 1]));
	l->ret_len = l->len / 2;
	return true;
}

static bool by_hex_encode(struct lab *l)
{
	const char *digits = lab_opaque("0123456789abcdef");

	for (size_t i = 0; i < l->len; i++) {
		l->out[2 * i] = digits[(unsigned char)l->in[i] >> 4];
		l->out[2 * i + 1] = digits[(unsigned char)l->in[i] & 15];
	}
	l->ret_len = 2 * l->len;
	return true;
}

static bool by_base64(struct lab *l)
{
	const signed char *values = lab_opaque(base64_values);
	char *to = l->out;

	fill_values(base64_values, BASE64_DIGITS);
	for (size_t i = 0; i + 3 < l->len; i += 4) {
		uint32_t word = 0;

		for (int k = 0; k < 4; k++)
			word = word << 6 | (uint32_t)values[(unsigned char)l->in[i + (size_t)k]];
		*to++ = (char)(word >> 16);
		*to++ = (char)(word >> 8);
		*to++ = (char)word;
	}
	l->ret_len = (size_t)(to - l->out);
	return true;
}

static bool by_url(struct lab *l)
{
	const signed char *values = hex_table();
	char *to = l->out;

	for (const char *from = l->in; *from; from++) {
		if (*from == '%' && from[1] && from[2]) {
			*to++ = (char)(values[(unsigned char)from[1]] << 4 | values[(unsigned char)from[2]]);
			from += 2;
		} else {
			*to++ = *from;
		}
	}
	l->ret_len = (size_t)(to - l->out);
	return true;
}

/* The length of a character comes from a table, its bits from the bytes. */
static bool by_utf8(struct lab *l)
{
	static unsigned char lengths[256];
	static uint32_t points[LAB_MAX];
	const unsigned char *t = lab_opaque(lengths);
	size_t n = 0;

	for (int c = 0; c < 256; c++)
		lengths[c] = (unsigned char)(c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4);
	for (size_t i = 0; i < l->len; n++) {
		unsigned len = t[(unsigned char)l->in[i]];
		uint32_t point = (unsigned char)l->in[i++] & (len == 1 ? 0x7fu : 0xffu >> (len + 1));

		for (; len > 1 && i < l->len; len--)
			point = point << 6 | ((unsigned char)l->in[i++] & 0x3fu);
		points[n] = point;
	}
	for (size_t i = 0; i < n; i++)
		l->out[i] = (char)points[i];
	l->ret_len = n;
	return true;
}

/* A code page to Unicode: entries of two bytes. */
static bool by_code_page(struct lab *l)
{
	static uint16_t table[256];
	const uint16_t *t = lab_opaque(table);
	uint16_t *to = (uint16_t *)(void *)l->out;

	for (int c = 0; c < 256; c++)
		table[c] = (uint16_t)(c ^ 0x2500);
	for (size_t i = 0; i < l->len; i++)
		to[i] = t[(unsigned char)l->in[i]];
	l->ret_len = 2 * l->len;
	return true;
}

/* ---- look-ups ---- */

#define BUCKETS 256
#define ENTRY_DATA "the entry's own data, which came from nowhere near a network"

struct entry {
	struct entry *next;
	char key[LAB_MAX];
	char data[64];
};

static unsigned hash(const char *key)
{
	uint32_t h = 5381;

	while (*key)
		h = h * 33 ^ (unsigned char)*key++;
	return h % BUCKETS;
}

/* The key is the payload, the data is not. */
static bool by_hash_table(struct lab *l)
{
	static struct entry *buckets[BUCKETS], entry;
	struct entry **table = lab_opaque(buckets), *e;

	for (size_t i = 0; LAB_PAYLOAD[i]; i++)
		entry.key[i] = LAB_PAYLOAD[i];
	strcpy(entry.data, ENTRY_DATA);
	table[hash(LAB_PAYLOAD)] = &entry;
	e = table[hash(l->in)];
	while (e && strcmp(e->key, l->in) != 0)
		e = e->next;
	if (!e)
		return false;
	memcpy(l->out, e->data, sizeof(e->data));
	e->data[0] = 'T';
	l->ret_len = sizeof(e->data);
	return true;
}

/* A handler's address is selected by a byte; what it does is its own. */
static char say(unsigned i)
{
	return "handlers"[i % 8];
}

static char say_again(unsigned i)
{
	return "HANDLERS"[i % 8];
}

static bool by_dispatch(struct lab *l)
{
	static char (*const handlers[])(unsigned i) = {say, say_again};
	char (*const *table)(unsigned i) = lab_opaque(handlers);

	for (unsigned i = 0; i < 64; i++)
		l->out[i] = table[l->in[i % l->len] & 1](i);
	l->ret_len = 64;
	return true;
}

/* Branches on the payload do not taint what they choose. */
static bool by_branch(struct lab *l)
{
	for (size_t i = 0; i < l->len; i++) {
		if (l->in[i] == 'o')
			*(char *)lab_opaque(l->out + i) = '0';
		else
			*(char *)lab_opaque(l->out + i) = '.';
	}
	return true;
}

/* ---- names of files: what the kernel finds by them is not theirs ---- */

static void file_name(const struct lab *l, char *ret, size_t size)
{
	snprintf(ret, size, "/tmp/%s", l->in);
}

static bool by_file_name(struct lab *l)
{
	static const char contents[] = "what is in the file has nothing to do with its name";
	char path[LAB_MAX + 8];
	int fd;
	bool ok;

	file_name(l, path, sizeof(path));
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	ok = fd >= 0 && lab_write_all(fd, contents, sizeof(contents));
	close(fd);
	fd = open(path, O_RDONLY);
	ok = ok && fd >= 0 && lab_read_all(fd, l->out, sizeof(contents));
	close(fd);
	unlink(path);
	l->ret_len = sizeof(contents);
	return ok;
}

static bool by_file_stat(struct lab *l)
{
	char path[LAB_MAX + 8];
	static struct stat st;
	int fd;
	bool ok;

	file_name(l, path, sizeof(path));
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	close(fd);
	ok = stat(path, &st) == 0;
	unlink(path);
	l->at = &st;
	l->ret_len = sizeof(st);
	return ok;
}

/* The number of tainted bytes must not grow from one request to the next. */
static bool by_many_names(struct lab *l)
{
	char path[LAB_MAX + 8];
	struct stat st;
	int fd;

	file_name(l, path, sizeof(path));
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	for (int i = 0; i < LOOKUPS; i++)
		if (stat(path, &st) < 0)
			return false;
	close(fd);
	return unlink(path) == 0;
}

const struct lab_path lab_table_paths[] = {
	{.name = "toupper", .expect = LAB_ALL, .run = by_toupper},
	{.name = "tolower", .expect = LAB_ALL, .run = by_tolower},
	{.name = "case-table", .expect = LAB_ALL, .run = by_case_table},
	{.name = "isalnum-copy", .expect = LAB_ALL, .run = by_isalnum_copy},
	{.name = "hex-table", .expect = LAB_ALL, .run = by_hex_table, .payload = HEX_PAYLOAD},
	{.name = "hex-arithmetic", .expect = LAB_ALL, .run = by_hex_arithmetic, .payload = HEX_PAYLOAD},
	{.name = "hex-encode", .expect = LAB_ALL, .run = by_hex_encode},
	{.name = "base64", .expect = LAB_ALL, .run = by_base64, .payload = "SGVsbG8sIHRhYmxlIG9mIHNpeHR5LWZvdXIhIQ=="},
	{.name = "url", .expect = LAB_ALL, .run = by_url, .payload = "/search%3Fq=%41%42%43&x=%7e%7e%2fetc"},
	{.name = "utf8",
	 .expect = LAB_ALL,
	 .run = by_utf8,
	 .payload = "na\xc3\xafve r\xc3\xa9sum\xc3\xa9 \xe2\x82\xac 5"},
	{.name = "code-page", .expect = LAB_ALL, .run = by_code_page},
	{.name = "hash-table", .expect = LAB_CLEAN, .run = by_hash_table},
	{.name = "dispatch", .expect = LAB_CLEAN, .run = by_dispatch},
	{.name = "branch", .expect = LAB_CLEAN, .run = by_branch},
	{.name = "file-name", .expect = LAB_CLEAN, .run = by_file_name},
	{.name = "file-stat", .expect = LAB_CLEAN, .run = by_file_stat},
	{.name = "many-names", .expect = LAB_CLEAN, .run = by_many_names},
};
const size_t lab_table_count = sizeof(lab_table_paths) / sizeof(lab_table_paths[0]);
