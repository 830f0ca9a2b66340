/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Accesses at constant distances (core/group.h): members have no callback, their leader's answers for them.
 *
 * Theory of operation. A leader's callback always notes where the leader was, which tells where the members will be. If
 * all that the group touches is clean, no register is tainted and no store of the block taints it, then the members
 * change nothing and nobody needs to know whether they ran. Otherwise the block is followed: members run with the
 * instructions that have no callback, in order, when the next access of the block is told or the next block begins
 * (follow.c), and then do for the detectors what the callbacks do. plugin_vcpu.pending says that the block's members may
 * meet tainted memory; while it is set and members are left, the next block's start is told.
 *
 * When the block ends, a member on the leader's page has run, and one on another page has if the guest's page tables
 * would not have had it fault.
 *
 * What a leader's callback gets is a mark: the site's address with the group's number in its low 3 bits and the span, as
 * two signed numbers of 8-byte units, in its top 16. So the fast path reads nothing of the site.
 */
#ifndef CLOUDER_PLUGIN_GROUP_H
#define CLOUDER_PLUGIN_GROUP_H

#include "plugin/memory.h"

#define GROUP_ADDRESS 0x0000ffffffffffe0ull
#define GROUP_NUMBER 7u
#define GROUP_UNIT 8u

static_assert(TAINT_GROUPS <= GROUP_NUMBER + 1, "a mark holds any group's number");

static inline void *group_mark(const struct plugin_site *s, const struct taint_group *g)
{
	uint64_t span = (uint64_t)(uint8_t)g->hi << 8 | (uint8_t)g->lo;

	return (void *)(uintptr_t)((uintptr_t)s | s->group | span << 48); /* NOLINT(performance-no-int-to-ptr) */
}

static inline struct plugin_site *group_site(const void *mark)
{
	return (struct plugin_site *)((uintptr_t)mark & GROUP_ADDRESS); /* NOLINT(performance-no-int-to-ptr) */
}

static inline unsigned group_number(const void *mark)
{
	return (uintptr_t)mark & GROUP_NUMBER;
}

/* The first byte that the group touches, its leader being at vaddr. */
static inline uint64_t group_start(const void *mark, uint64_t vaddr)
{
	return vaddr + (uint64_t)((int64_t)((uint64_t)(uintptr_t)mark << 8) >> 56) * GROUP_UNIT;
}

/* The one behind the last. */
static inline uint64_t group_end(const void *mark, uint64_t vaddr)
{
	return vaddr + (uint64_t)((int64_t)(uintptr_t)mark >> 56) * GROUP_UNIT;
}

/* Whether all that it touches is in one page, which is remembered as clean. */
static inline bool group_known_clean(const struct plugin_vcpu *c, const void *mark, uint64_t vaddr)
{
	return memory_known_clean_to(c, group_start(mark, vaddr), group_end(mark, vaddr) - 1);
}

/* The same for one page or two. */
bool group_pages_clean(const struct plugin_vcpu *c, const void *mark, uint64_t vaddr);
/*
 * After the leader's access: whether no byte that a member will touch is tainted. Drops stale labels of such bytes: once
 * the members have run there may be other data.
 */
bool group_clean(struct plugin_vcpu *c, qemu_plugin_meminfo_t info, const void *mark, uint64_t vaddr);
/* The member has run: labels of registers and memory. Its leader's address is in c->lead. */
void group_follow(struct plugin_vcpu *c, struct plugin_site *s);
/* Whether the member did not run but faulted, the block having ended without any other access being told. */
bool group_faulted(struct plugin_vcpu *c, const struct plugin_site *s);

#endif
