/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Members of structures to JSON and back: see fields.h. */
#include "store/fields.h"

#include <assert.h>
#include <glib.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_FIELD_MAX 4096

/* In these, at points to the member. */

static json_t *text_out(const struct field *f, const void *at)
{
	char copy[TEXT_FIELD_MAX];
	const char *bad;

	assert(f->size <= sizeof(copy));
	memcpy(copy, at, f->size);
	copy[f->size - 1] = 0;
	for (const char *p = copy; !g_utf8_validate(p, -1, &bad); p = bad + 1)
		copy[bad - copy] = '?';
	return json_string(copy);
}

static int text_in(const struct field *f, const json_t *j, void *at, struct err *e)
{
	size_t len = json_string_length(j);

	if (!json_is_string(j))
		return err_set(e, ERR_PROTOCOL, "not a string");
	if (len >= f->size || strlen(json_string_value(j)) != len)
		return err_set(e, ERR_PROTOCOL, "string too long, or with a NUL in it");
	memset(at, 0, f->size);
	memcpy(at, json_string_value(j), len);
	return 0;
}

static json_t *address_out(const struct field *f, const void *at)
{
	uint64_t v;

	assert(f->size == sizeof(v));
	memcpy(&v, at, sizeof(v));
	return json_sprintf("0x%llx", (unsigned long long)v);
}

static int address_in(const struct field *f, const json_t *j, void *at, struct err *e)
{
	const char *s = json_string_value(j);
	size_t digits;
	uint64_t v;

	if (!s || strncmp(s, "0x", 2) != 0)
		return err_set(e, ERR_PROTOCOL, "not an address (\"0x...\")");
	digits = strspn(s + 2, "0123456789abcdefABCDEF");
	if (digits < 1 || digits > 16 || digits + 2 != json_string_length(j))
		return err_set(e, ERR_PROTOCOL, "not a 64-bit hexadecimal number");
	v = strtoull(s + 2, NULL, 16);
	memcpy(at, &v, f->size);
	return 0;
}

static json_t *count_out(const struct field *f, const void *at)
{
	uint64_t v = 0;

	memcpy(&v, at, f->size); /* little-endian, as everything here */
	return json_integer(v > INT64_MAX ? INT64_MAX : (json_int_t)v);
}

static int count_in(const struct field *f, const json_t *j, void *at, struct err *e)
{
	json_int_t v = json_integer_value(j);

	if (!json_is_integer(j) || v < 0 || (f->size == 4 && v > UINT32_MAX))
		return err_set(e, ERR_PROTOCOL, "not a count that fits");
	memcpy(at, &v, f->size);
	return 0;
}

static json_t *number_out(const struct field *f, const void *at)
{
	int64_t v;
	int32_t half;

	if (f->size == sizeof(half)) {
		memcpy(&half, at, f->size);
		v = half;
	} else {
		memcpy(&v, at, sizeof(v));
	}
	return json_integer(v);
}

static int number_in(const struct field *f, const json_t *j, void *at, struct err *e)
{
	json_int_t v = json_integer_value(j);

	if (!json_is_integer(j) || (f->size == 4 && (v < INT32_MIN || v > INT32_MAX)))
		return err_set(e, ERR_PROTOCOL, "not a whole number that fits");
	memcpy(at, &v, f->size);
	return 0;
}

static json_t *name_out(const struct field *f, const void *at)
{
	unsigned n = 0, value;

	assert(f->size == sizeof(value));
	memcpy(&value, at, sizeof(value));
	while (n < value && f->names[n])
		n++;
	return json_string(f->names[n] ? f->names[n] : "unknown");
}

static int name_in(const struct field *f, const json_t *j, void *at, struct err *e)
{
	const char *name = json_string_value(j);

	for (unsigned n = 0; name && f->names[n]; n++) {
		if (strcmp(name, f->names[n]) == 0) {
			memcpy(at, &n, sizeof(n));
			return 0;
		}
	}
	return err_set(e, ERR_PROTOCOL, "not a %s", f->name);
}

static json_t *flag_out(const struct field *f, const void *at)
{
	(void)f;
	return json_boolean(*(const bool *)at);
}

static int flag_in(const struct field *f, const json_t *j, void *at, struct err *e)
{
	(void)f;
	if (!json_is_boolean(j))
		return err_set(e, ERR_PROTOCOL, "not true or false");
	*(bool *)at = json_is_true(j);
	return 0;
}

static json_t *bytes_out(const struct field *f, const void *at)
{
	const struct field_bytes *b = at;
	char hex[2 * FIELD_BYTES_MAX + 1] = "";

	(void)f;
	for (unsigned i = 0; i < b->len && i < FIELD_BYTES_MAX; i++)
		snprintf(hex + 2 * (size_t)i, 3, "%02x", b->byte[i]);
	return json_string(hex);
}

static int digit(char c)
{
	static const char digits[] = "0123456789abcdef";
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

static int bytes_in(const struct field *f, const json_t *j, void *at, struct err *e)
{
	const char *hex = json_string_value(j);
	size_t len = json_string_length(j);
	struct field_bytes b = {.len = (uint8_t)(len / 2)};

	(void)f;
	if (!hex || len % 2 || len > 2 * (size_t)FIELD_BYTES_MAX)
		return err_set(e, ERR_PROTOCOL, "not bytes as pairs of digits, at most %d", FIELD_BYTES_MAX);
	for (size_t i = 0; i < len; i++) {
		int d = digit(hex[i]);

		if (d < 0)
			return err_set(e, ERR_PROTOCOL, "not a hexadecimal digit (0-9a-f)");
		b.byte[i / 2] = (uint8_t)(b.byte[i / 2] << 4 | d);
	}
	memcpy(at, &b, sizeof(b));
	return 0;
}

static const struct {
	json_t *(*out)(const struct field *f, const void *at);
	int (*in)(const struct field *f, const json_t *j, void *at, struct err *e);
} types[] = {
	[FIELD_TEXT] = {text_out, text_in},    [FIELD_ADDRESS] = {address_out, address_in},
	[FIELD_COUNT] = {count_out, count_in}, [FIELD_NUMBER] = {number_out, number_in},
	[FIELD_NAME] = {name_out, name_in},    [FIELD_FLAG] = {flag_out, flag_in},
	[FIELD_BYTES] = {bytes_out, bytes_in},
};

int fields_to_json(const struct field *table, size_t n, const void *from, json_t *j)
{
	for (size_t i = 0; i < n; i++)
		if (json_object_set_new(j, table[i].name,
					types[table[i].type].out(&table[i], (const char *)from + table[i].offset)) < 0)
			return -1;
	return 0;
}

int fields_from_json(const struct field *table, size_t n, const json_t *j, bool all, void *ret, struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		const struct field *f = &table[i];
		const json_t *value = json_object_get(j, f->name);

		if (!value && all)
			return err_set(e, ERR_PROTOCOL, "%s is missing", f->name);
		if (value && types[f->type].in(f, value, (char *)ret + f->offset, e) < 0)
			return err_prefix(e, "%s", f->name);
	}
	return 0;
}
