/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The guest memory map in the shadow file: written by the supervisor, read by the vCPUs, without a lock. */
#include <string.h>

#include "plugin/core/shadow_internal.h"

void shadow_set_regions(const struct shadow *sh, const struct taint_region *r, uint32_t n)
{
	struct taint_shm *shm = sh->shm;
	uint32_t version = shadow_load(&shm->regions_version);

	if (n > TAINT_REGIONS)
		n = TAINT_REGIONS;
	if (shadow_load(&shm->n_regions) == n && !memcmp(shm->region, r, n * sizeof(*r)))
		return;
	__atomic_store_n(&shm->regions_version, version | 1, __ATOMIC_SEQ_CST);
	memcpy(shm->region, r, n * sizeof(*r));
	shadow_store(&shm->n_regions, n);
	__atomic_store_n(&shm->regions_version, (version | 1) + 1, __ATOMIC_SEQ_CST);
}

int shadow_get_regions(const struct shadow *sh, uint32_t *version, struct taint_region ret[TAINT_REGIONS])
{
	const struct taint_shm *shm = sh->shm;
	uint32_t now = shadow_load(&shm->regions_version), n;

	if (now == *version || now % 2)
		return -1;
	n = shadow_load(&shm->n_regions);
	if (n > TAINT_REGIONS)
		return -1;
	memcpy(ret, shm->region, n * sizeof(*ret));
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (shadow_load(&shm->regions_version) != now)
		return -1;
	*version = now;
	return (int)n;
}
