/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Guest-physical and guest-virtual addresses as different types, so that mixing them does not compile. */
#ifndef CLOUDER_BASE_ADDR_H
#define CLOUDER_BASE_ADDR_H

#include <stdbool.h>
#include <stdint.h>

#define GUEST_PAGE_SHIFT 12
#define GUEST_PAGE_SIZE 4096u
#define GUEST_PAGE_MASK 4095u

struct gpa {
	uint64_t v;
};

struct gva {
	uint64_t v;
};

static inline struct gpa gpa(uint64_t v)
{
	return (struct gpa){v};
}

static inline struct gva gva(uint64_t v)
{
	return (struct gva){v};
}

static inline struct gpa gpa_add(struct gpa a, uint64_t n)
{
	return (struct gpa){a.v + n};
}

static inline struct gva gva_add(struct gva a, uint64_t n)
{
	return (struct gva){a.v + n};
}

/* Kernel half of the canonical address space. */
static inline bool gva_is_kernel(struct gva a)
{
	return a.v >> 63;
}

#endif
