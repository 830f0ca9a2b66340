/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The program as it was before it was patched: a patched culprit that is reached again is located like any other.
 */
#include <string.h>

#include "locate/locate.h"

void locate_unpatch(const struct locate_input *in, struct gva at, void *bytes, size_t len)
{
	for (size_t k = 0; k < in->n_patches; k++) {
		const struct locate_patch *p = &in->patches[k];

		for (unsigned i = 0; i < p->site_len; i++)
			if (p->site.v + i - at.v < len)
				((uint8_t *)bytes)[p->site.v + i - at.v] = p->before[i];
	}
}

const struct locate_patch *locate_guard_at(const struct locate_input *in, struct gva pc)
{
	for (size_t k = 0; k < in->n_patches; k++)
		if (pc.v - in->patches[k].guard.v < in->patches[k].guard_len)
			return &in->patches[k];
	return NULL;
}

void locate_unguard(const struct locate_input *in, bool is_return, struct gva *pc, uint64_t *sp)
{
	const struct locate_patch *p = locate_guard_at(in, *pc);

	if (!p || (pc->v - p->guard.v != p->culprit_at && !p->lower))
		return;
	if (sp && pc->v - p->guard.v != p->culprit_at)
		*sp += p->lower;
	*pc = is_return ? gva_add(p->culprit, p->culprit_len) : p->culprit;
}
