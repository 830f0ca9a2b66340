/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Frames of interrupts and exceptions, recognised by what they look like. */
#include "plugin/core/trap.h"

#include <string.h>

#define FRAME_WORDS 5u
/* Bits of the flags that can be 1; bit 1 always is. */
#define FLAGS_DEFINED 0x3f7fd7ull
#define FLAGS_ONE 0x2ull
#define CLD 0xfc
#define KERNEL_CS 0x10u

enum frame_word {
	IP,
	CS,
	FLAGS,
	SS = 4,
};

/* Linux's code segments, and the stack segments that may go with each. */
static const struct {
	uint64_t cs;
	uint64_t ss[2];
} segments[] = {
	{KERNEL_CS, {0x18, 0}}, /* kernel; none after an entry from user mode */
	{0x33, {0x2b, 0x2b}}, /* user */
	{0x23, {0x2b, 0x2b}}, /* user, compatibility mode */
};

static const uint8_t clac_or_nop[][TRAP_CLAC_LEN] = {
	{0x0f, 0x01, 0xca}, /* clac */
	{0x90, 0x90, 0x90}, /* not patched yet */
	{0x0f, 0x1f, 0x00}, /* patched, on a processor without SMAP */
	{0x66, 0x66, 0x90},
};

bool trap_is_entry(const uint8_t before[TRAP_CLAC_LEN], const uint8_t *bytes, size_t len)
{
	if (len != 1 || bytes[0] != CLD)
		return false;
	for (size_t i = 0; i < sizeof(clac_or_nop) / sizeof(clac_or_nop[0]); i++)
		if (!memcmp(before, clac_or_nop[i], TRAP_CLAC_LEN))
			return true;
	return false;
}

static bool segments_fit(uint64_t cs, uint64_t ss)
{
	for (size_t i = 0; i < sizeof(segments) / sizeof(segments[0]); i++)
		if (cs == segments[i].cs && (ss == segments[i].ss[0] || ss == segments[i].ss[1]))
			return true;
	return false;
}

/* With 4 levels of page tables or 5: the upper 8 bits are alike. */
static bool canonical(uint64_t address)
{
	return address >> 56 == 0 || address >> 56 == 0xff;
}

static bool is_frame(const uint64_t *w)
{
	/* a program may jump to what is no address, the kernel does not */
	return segments_fit(w[CS], w[SS]) && (w[CS] != KERNEL_CS || canonical(w[IP])) && (w[FLAGS] & FLAGS_ONE) &&
	       !(w[FLAGS] & ~FLAGS_DEFINED);
}

/* A row: bits 0 to 15 of the address, two bytes of selector, four of which the highest bit says present, bits 16 to 31, 32 to 63. */
bool trap_gate_leads(const uint8_t gate[TRAP_GATE_LEN], uint64_t cld)
{
	enum { PRESENT = 5, MIDDLE = 6, ENDBR_LEN = 4 };
	uint16_t low, middle;
	uint32_t high;
	uint64_t entry;

	memcpy(&low, gate, sizeof(low));
	memcpy(&middle, gate + MIDDLE, sizeof(middle));
	memcpy(&high, gate + MIDDLE + sizeof(middle), sizeof(high));
	entry = (uint64_t)high << 32 | (uint64_t)middle << 16 | low;
	return gate[PRESENT] & 0x80 && (cld - entry == TRAP_CLAC_LEN || cld - entry == TRAP_CLAC_LEN + ENDBR_LEN);
}

unsigned trap_frame_words(const uint64_t *words, unsigned n)
{
	if (n >= FRAME_WORDS && is_frame(words))
		return FRAME_WORDS;
	if (n >= TRAP_WORDS && is_frame(words + 1))
		return TRAP_WORDS;
	return 0;
}
