/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The list of the kernel's modules, from its head, which is a symbol of the kernel's. */
#include "vmi/vmi_internal.h"

#define HEADS_MAX 4 /* symbols with the name of the head */
#define PARTS_MAX 16u
#define PART_BYTES_MAX (1ull << 31)
#define STATE_UNFORMED 3u /* not set up yet: the kernel does not list it either */

struct module_list {
	const struct vmi *v;
	size_t skip;
	struct vmi_kmodule *ret;
	size_t n, max, seen;
	bool whole;
};

/* A part of it: its address, and how long it is. A part that there is not has size 0. */
static bool add_part(const struct vmi *v, struct gva part, enum vmi_field_id base, enum vmi_field_id size,
		     uint64_t *ret_at, uint64_t *total)
{
	uint64_t bytes;

	if (!vmi_get(v, part, base, ret_at) || !vmi_get(v, part, size, &bytes) || bytes > PART_BYTES_MAX)
		return false;
	*total += bytes;
	return true;
}

/* Since Linux 6.4 an array of parts, of which code is the first. */
static bool read_parts(const struct vmi *v, struct gva module, struct vmi_kmodule *ret)
{
	uint32_t each = v->layout.f[MODMEM_WHOLE].size;
	struct gva part = vmi_member(v, module, MODULE_MEM);
	uint64_t at;

	for (unsigned i = 0; i < PARTS_MAX && each && (i + 1) * (uint64_t)each <= v->layout.f[MODULE_MEM].size; i++) {
		if (!add_part(v, gva_add(part, i * (uint64_t)each), MODMEM_BASE, MODMEM_SIZE, &at, &ret->size))
			return false;
		if (i == 0)
			ret->at = gva(at);
	}
	return ret->at.v != 0;
}

/* Before, two: what stays, and what is dropped when it has been set up. */
static bool read_layouts(const struct vmi *v, struct gva module, struct vmi_kmodule *ret)
{
	uint64_t init;

	return add_part(v, vmi_member(v, module, MODULE_CORE), MODLAYOUT_BASE, MODLAYOUT_SIZE, &ret->at.v,
			&ret->size) &&
	       add_part(v, vmi_member(v, module, MODULE_INIT), MODLAYOUT_BASE, MODLAYOUT_SIZE, &init, &ret->size);
}

static void read_name(const struct vmi *v, struct gva module, char ret[VMI_KMODULE_NAME_MAX + 1])
{
	uint32_t size = v->layout.f[MODULE_NAME].size;

	size = size < VMI_KMODULE_NAME_MAX ? size : VMI_KMODULE_NAME_MAX;
	if (!vmi_read(&v->kernel, vmi_member(v, module, MODULE_NAME), ret, size))
		ret[0] = '\0';
	for (char *c = ret; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
}

static bool add_module(void *arg, struct gva node)
{
	struct module_list *l = arg;
	struct gva module = vmi_task_of(l->v, node, MODULE_LIST);
	uint64_t state;

	if (l->n == l->max)
		return false;
	if (!vmi_get(l->v, module, MODULE_STATE, &state)) {
		l->whole = false;
		return true;
	}
	if (state == STATE_UNFORMED || l->seen++ < l->skip)
		return true;
	l->ret[l->n] = (struct vmi_kmodule){.state = state < STATE_UNFORMED ? "LCG"[state] : '?'};
	read_name(l->v, module, l->ret[l->n].name);
	if (vmi_has(l->v, MODULE_MEM) ? read_parts(l->v, module, &l->ret[l->n])
				      : read_layouts(l->v, module, &l->ret[l->n]))
		l->n++;
	else
		l->whole = false;
	return true;
}

int vmi_kmodules_of(const struct vmi *v, struct gva head, size_t first, struct vmi_kmodule *ret, size_t max,
		    bool *ret_whole, struct err *e)
{
	struct module_list l = {v, first, ret, 0, max, 0, true};
	bool ended = vmi_list_each(v, head, VMI_KMODULES_MAX, add_module, &l);

	if (!l.n && !(l.whole && ended))
		return err_set_addr(e, ERR_GUEST, head.v, "the guest kernel's list of modules cannot be read");
	*ret_whole = l.whole && ended;
	return (int)l.n;
}

/* Others than the list may have its name: it is the one whose neighbours know it. */
static bool is_list(const struct vmi *v, struct gva head)
{
	uint64_t link[2], back; /* next, prev */

	return vmi_read(&v->kernel, head, link, sizeof(link)) && gva_is_kernel(gva(link[0])) &&
	       gva_is_kernel(gva(link[1])) && vmi_read(&v->kernel, gva(link[0] + 8), &back, 8) && back == head.v &&
	       vmi_read(&v->kernel, gva(link[1]), &back, 8) && back == head.v;
}

static bool has_layout(const struct vmi *v)
{
	return vmi_has(v, MODULE_LIST) && vmi_has(v, MODULE_NAME) && vmi_has(v, MODULE_STATE) &&
	       ((vmi_has(v, MODULE_MEM) && vmi_has(v, MODMEM_WHOLE)) ||
		(vmi_has(v, MODULE_CORE) && vmi_has(v, MODULE_INIT)));
}

int vmi_kmodules(struct vmi *v, size_t first, struct vmi_kmodule *ret, size_t max, bool *ret_whole, struct err *e)
{
	struct vmi_symbol head[HEADS_MAX];
	int n;

	if (!has_layout(v))
		return err_set(e, ERR_GUEST,
			       "the guest's kernel was built without modules, or keeps them in a way not known");
	n = vmi_symbols(v, "modules", 0, head, HEADS_MAX, e);
	if (n < 0)
		return -1;
	for (int i = 0; i < n; i++)
		if (is_list(v, head[i].at))
			return vmi_kmodules_of(v, head[i].at, first, ret, max, ret_whole, e);
	return err_set(
		e, ERR_GUEST,
		"the guest kernel's list of modules is not to be found: built without CONFIG_KALLSYMS_ALL, perhaps");
}
