/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading members of kernel structures and walking kernel lists, bounded. */
#include "vmi/vmi_internal.h"

bool vmi_get(const struct vmi *v, struct gva base, enum vmi_field_id f, uint64_t *ret)
{
	uint32_t size = v->layout.f[f].size;
	uint64_t value = 0; /* little-endian: a short member fills the low bytes */

	if (!size || size > sizeof(value) || !gva_is_kernel(base))
		return false;
	if (!vmi_read(&v->kernel, vmi_member(v, base, f), &value, size))
		return false;
	*ret = value;
	return true;
}

bool vmi_get_ptr(const struct vmi *v, struct gva base, enum vmi_field_id f, struct gva *ret)
{
	uint64_t value;

	if (!vmi_get(v, base, f, &value) || !gva_is_kernel(gva(value)))
		return false;
	*ret = gva(value);
	return true;
}

/* The mark moves up to the walker after 1, 2, 4, ... steps (Brent's cycle detection). */
bool vmi_list_each(const struct vmi *v, struct gva head, size_t max, vmi_node_fn *fn, void *arg)
{
	struct gva node = head, mark = head;
	size_t steps = 0, limit = 1;

	for (size_t i = 0; i < max; i++) {
		uint64_t next;

		if (!gva_is_kernel(node) || !vmi_read(&v->kernel, node, &next, sizeof(next)))
			return false;
		node = gva(next);
		if (node.v == head.v)
			return true;
		if (node.v == mark.v)
			return false;
		if (!fn(arg, node))
			return true;
		if (++steps == limit) {
			mark = node;
			steps = 0;
			limit *= 2;
		}
	}
	return false;
}
