/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A shadow of return addresses: what calls put on the stack, and whether it was written over before the return.
 *
 * Not all calls, stores and returns are told to it (memory without taint is left alone), so an entry may be of a call that is long
 * over: what a slot holds may always be another call's. It never follows from this table alone that a return is wrong.
 *
 * Slots are named by guest-physical address, so neither processes nor threads nor processors matter. Entries are single words,
 * read and written at once by any number of threads; one that is lost is not missed. Pure but for the table.
 */
#ifndef CLOUDER_PLUGIN_CORE_RETURNS_H
#define CLOUDER_PLUGIN_CORE_RETURNS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"

/* What has become of a return address. */
enum returns_state {
	RETURNS_UNKNOWN, /* nothing is known of the slot */
	RETURNS_SAME, /* it is the call's, or nothing was seen to change it */
	RETURNS_REPLACED, /* another one, which was written as a whole */
	RETURNS_CHANGED, /* another one; parts of it were written */
};

#define RETURNS_SLOTS 4096u

struct returns {
	uint64_t slot[RETURNS_SLOTS]; /* all zero: empty */
};

/* A call puts a return address of size bytes (4 or 8) there. */
void returns_call(struct returns *r, struct gpa at, unsigned size, uint64_t address);
/* Something else writes n bytes, which do not leave the page. */
void returns_store(struct returns *r, struct gpa at, unsigned n);
/* A return takes an address of size bytes from there; the slot is forgotten. */
enum returns_state returns_take(struct returns *r, struct gpa at, unsigned size, uint64_t address);

/* The longest call instruction, without prefixes. */
#define RETURNS_CALL_MAX 7u

/* Whether the bytes that end where a return leads may be a call: an address that a call has put on the stack. */
bool returns_follow_call(const uint8_t before[RETURNS_CALL_MAX]);

#endif
