/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Structures to JSON and back, by a table of their members.
 *
 * Addresses are strings ("0x7ffd0010"), because a JSON number cannot carry 64 bits everywhere; bytes are hexadecimal
 * text; counts and times are numbers. Text that is not UTF-8 (the guest chooses names) has '?' for each bad byte.
 */
#ifndef CLOUDER_STORE_FIELDS_H
#define CLOUDER_STORE_FIELDS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define FIELD_BYTES_MAX 152

/* A member of type FIELD_BYTES. */
struct field_bytes {
	uint8_t len;
	uint8_t byte[FIELD_BYTES_MAX];
};

enum field_type {
	FIELD_TEXT, /* char array */
	FIELD_ADDRESS, /* uint64_t */
	FIELD_COUNT, /* unsigned, 4 or 8 bytes */
	FIELD_NUMBER, /* signed, 4 or 8 bytes */
	FIELD_NAME, /* an enum, of the size of an int: one of names */
	FIELD_FLAG, /* bool */
	FIELD_BYTES, /* struct field_bytes */
};

struct field {
	const char *name;
	enum field_type type;
	size_t offset, size;
	const char *const *names; /* of FIELD_NAME: ends with NULL */
};

#define FIELD_OF(struct_name, kind, member)                                                                            \
	{                                                                                                              \
		.name = #member, .type = (kind), .offset = offsetof(struct struct_name, member),                       \
		.size = sizeof(((struct struct_name *)0)->member)                                                      \
	}

/* Adds each of the table's n members of the structure at `from` to the object j. -1: no memory. */
int fields_to_json(const struct field *table, size_t n, const void *from, json_t *j) MUST_CHECK;
/*
 * Fills the members that the object j has; those that it has not are left as they are, or with `all` are an error
 * (ERR_PROTOCOL, as is a value of another type or size than the table says).
 */
int fields_from_json(const struct field *table, size_t n, const json_t *j, bool all, void *ret,
		     struct err *e) MUST_CHECK;

#endif
