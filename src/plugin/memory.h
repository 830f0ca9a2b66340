/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Guest memory as the callbacks meet it: which pages are clean, and the labels of an access. */
#ifndef CLOUDER_PLUGIN_MEMORY_H
#define CLOUDER_PLUGIN_MEMORY_H

#include "plugin/plugin_internal.h"

#define likely(x) __builtin_expect(!!(x), 1)

/* The widest single access that QEMU reports. */
#define ACCESS_MAX 16u

static inline uint64_t memory_key(const struct plugin_vcpu *c)
{
	return __atomic_load_n(&c->line->key, __ATOMIC_RELAXED);
}

/* In place of an access: the bytes were or will be accessed by an instruction that has no callback. */
#define MEMORY_NOT_TOLD UINT32_MAX

/* Whether bytes first..last, less than a page apart, lie in one page that is remembered as clean. */
static inline bool memory_known_clean_to(const struct plugin_vcpu *c, uint64_t first, uint64_t last)
{
	uint64_t page = last & ~(uint64_t)GUEST_PAGE_MASK;

	return likely(c->clean[(first >> GUEST_PAGE_SHIFT) % PLUGIN_TLB_SIZE] == (page ^ memory_key(c)));
}

/*
 * Whether the page of an access of up to 16 bytes is remembered as clean. One that reaches into the next page meets
 * another page's tag and is not; memory_clean() knows.
 */
static inline bool memory_known_clean(const struct plugin_vcpu *c, uint64_t vaddr)
{
	return memory_known_clean_to(c, vaddr, vaddr + ACCESS_MAX - 1);
}

/* Whether n bytes hold no taint, by looking at the shadow; remembers a page without any. May say no where it is yes. */
bool memory_clean(struct plugin_vcpu *c, qemu_plugin_meminfo_t info, uint64_t vaddr, unsigned n);
/* The same for n bytes at start, in two pages at most, around the access at vaddr. */
bool memory_span_clean(struct plugin_vcpu *c, qemu_plugin_meminfo_t info, uint64_t vaddr, uint64_t start, unsigned n);
void memory_flush(struct plugin_vcpu *c);
/* Guest-physical address of a byte of the access; false: not RAM. */
bool memory_gpa(struct plugin_vcpu *c, qemu_plugin_meminfo_t info, uint64_t vaddr, struct gpa *ret);
/* Bytes accessed, at most ACCESS_MAX. */
unsigned memory_size(qemu_plugin_meminfo_t info);
/* What was read or written, as it lies in memory. */
void memory_bytes(qemu_plugin_meminfo_t info, uint8_t ret[ACCESS_MAX], unsigned n);
/*
 * Labels of the bytes that an instruction read; returns whether any is tainted. What is no data has none, but the flag
 * TAINT_LABEL_BY_ADDRESS, which counts for an instruction that loads a pointer; one that returns gets it as it is.
 */
bool memory_get(struct plugin_vcpu *c, const struct taint_insn *in, qemu_plugin_meminfo_t info, uint64_t vaddr,
		struct taint_label *ret, unsigned n);
/* Clean labels of a word: n is 1, 2, 4, 8 or 16. There is room for 4. */
static inline void memory_word_clean(uint32_t *ret, unsigned n)
{
	struct {
		uint32_t four[4];
	} clean = {{0}};

	for (unsigned i = 0; i < n; i += 4)
		__builtin_memcpy(ret + i, &clean, sizeof(clean));
}

/*
 * The commonest case of both: n bytes, of which a translation is remembered, with labels as shadow_get_word() and
 * shadow_set_word() have them. The first fills ret[0..n) unless ELSE; the second returns whether it was done.
 */
enum shadow_word memory_get_word(const struct plugin_vcpu *c, qemu_plugin_meminfo_t info, uint64_t vaddr, unsigned n,
				 uint32_t *ret);
bool memory_set_word(struct plugin_vcpu *c, struct plugin_site *s, qemu_plugin_meminfo_t info, uint64_t vaddr,
		     const uint32_t *origins, unsigned n);
/* Drops stale labels of n bytes, n <= ACCESS_MAX. Returns whether any is tainted. */
bool memory_get_fresh(struct plugin_vcpu *c, uint64_t vaddr, unsigned n);
/* Id of the instruction as one that writes tainted bytes. */
uint16_t memory_writer(struct plugin_site *s);
/* Labels the bytes that it wrote; labels have origins (0: clean) and get writer and values here. */
void memory_set(struct plugin_vcpu *c, struct plugin_site *s, qemu_plugin_meminfo_t info, uint64_t vaddr,
		struct taint_label *labels, unsigned n);
/* It wrote clean bytes to an address that the input byte of this origin chose. */
void memory_mark(struct plugin_vcpu *c, struct plugin_site *s, qemu_plugin_meminfo_t info, uint64_t vaddr, unsigned n,
		 uint32_t origin);
/*
 * It wrote a clean byte at an address that is clean. If it ends what is before it: an origin of the byte before, which came
 * from the outside or was itself written behind one that did, in the same word; else 0.
 */
uint32_t memory_end(struct plugin_vcpu *c, const struct plugin_site *s, qemu_plugin_meminfo_t info, uint64_t vaddr);
/* It wrote clean bytes. */
void memory_clear(struct plugin_vcpu *c, qemu_plugin_meminfo_t info, uint64_t vaddr, unsigned n);

#endif
