/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A table with one place for each slot of 8 bytes, by the low bits of its number. An entry, from the top:
 *
 *   tag    26 bits: the rest of the slot's number, and whether it begins in the middle of 8 bytes
 *   wide    1 bit: it has 8 bytes, not 4
 *   state   2 bits: enum returns_state
 *   hash   35 bits of the address
 */
#include "plugin/core/returns.h"

#define UNIT 8u
#define HASH_BITS 35u
#define STATE_SHIFT HASH_BITS
#define WIDE_SHIFT (STATE_SHIFT + 2u)
#define TAG_SHIFT (WIDE_SHIFT + 1u)
#define HASH_MASK ((1ull << HASH_BITS) - 1)
/* What is beyond is not noted: 1 TiB. */
#define GPA_LIMIT (1ull << 40)

#define CALL_NEAR 0xe8
#define CALL_NEAR_LEN 5u
#define CALL_INDIRECT 0xff
#define CALL_INDIRECT_REG 2u

static uint64_t *place(struct returns *r, struct gpa at)
{
	return &r->slot[at.v / UNIT % RETURNS_SLOTS];
}

static uint64_t tag_of(struct gpa at)
{
	return at.v / UNIT / RETURNS_SLOTS << 1 | (at.v / 4 & 1);
}

static uint64_t hash_of(uint64_t address)
{
	return (address ^ address >> HASH_BITS) & HASH_MASK;
}

static uint64_t load(const uint64_t *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

static void store(uint64_t *p, uint64_t v)
{
	__atomic_store_n(p, v, __ATOMIC_RELAXED);
}

static bool can_be_noted(struct gpa at, unsigned size)
{
	return at.v < GPA_LIMIT && at.v % size == 0;
}

void returns_call(struct returns *r, struct gpa at, unsigned size, uint64_t address)
{
	if (can_be_noted(at, size))
		store(place(r, at), tag_of(at) << TAG_SHIFT | (uint64_t)(size == 8) << WIDE_SHIFT |
					    (uint64_t)RETURNS_SAME << STATE_SHIFT | hash_of(address));
}

static enum returns_state state_of(uint64_t entry)
{
	return (enum returns_state)(entry >> STATE_SHIFT & 3);
}

/* The 8 bytes at unit are written from first to end, counted from their start. */
static void change(struct returns *r, struct gpa unit, unsigned first, unsigned end)
{
	uint64_t *p = place(r, unit), entry = load(p);
	unsigned start, size = entry >> WIDE_SHIFT & 1 ? 8 : 4;
	enum returns_state now;

	if (!entry || entry >> (TAG_SHIFT + 1) != unit.v / UNIT / RETURNS_SLOTS)
		return;
	start = entry >> TAG_SHIFT & 1 ? 4 : 0;
	if (end <= start || first >= start + size)
		return;
	now = first <= start && end >= start + size ? RETURNS_REPLACED
	      : state_of(entry) == RETURNS_REPLACED ? RETURNS_REPLACED
						    : RETURNS_CHANGED;
	store(p, (entry & ~(3ull << STATE_SHIFT)) | (uint64_t)now << STATE_SHIFT);
}

void returns_store(struct returns *r, struct gpa at, unsigned n)
{
	struct gpa unit = gpa(at.v - at.v % UNIT);
	uint64_t end = at.v + n;

	for (unsigned first = at.v % UNIT; unit.v < end; unit.v += UNIT, first = 0)
		change(r, unit, first, end - unit.v < UNIT ? (unsigned)(end - unit.v) : UNIT);
}

enum returns_state returns_take(struct returns *r, struct gpa at, unsigned size, uint64_t address)
{
	uint64_t *p = place(r, at), entry = load(p);

	if (!entry || !can_be_noted(at, size) || entry >> TAG_SHIFT != tag_of(at) ||
	    (entry >> WIDE_SHIFT & 1) != (size == 8))
		return RETURNS_UNKNOWN;
	store(p, 0);
	return (entry & HASH_MASK) == hash_of(address) ? RETURNS_SAME : state_of(entry);
}

/* Length of an indirect call with this ModRM byte, and the byte behind it. */
static unsigned indirect_len(uint8_t modrm, uint8_t sib)
{
	unsigned mod = modrm >> 6, rm = modrm & 7, len = 2;

	if (mod == 3)
		return len;
	len += rm == 4;
	if (mod == 1)
		return len + 1;
	if (mod == 2 || rm == 5 || (rm == 4 && (sib & 7) == 5))
		return len + 4;
	return len;
}

bool returns_follow_call(const uint8_t before[RETURNS_CALL_MAX])
{
	if (before[RETURNS_CALL_MAX - CALL_NEAR_LEN] == CALL_NEAR)
		return true;
	for (unsigned len = 2; len <= RETURNS_CALL_MAX; len++) {
		const uint8_t *b = before + RETURNS_CALL_MAX - len;

		if (b[0] == CALL_INDIRECT && (b[1] >> 3 & 7) == CALL_INDIRECT_REG &&
		    indirect_len(b[1], len > 2 ? b[2] : 0) == len)
			return true;
	}
	return false;
}
