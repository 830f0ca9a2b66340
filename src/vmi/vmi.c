/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Introspection of a Linux guest: the start.
 *
 * Goal: with nothing prepared, from control registers and RAM alone, tell which process an address
 * space belongs to, what it maps, and where in which file an address lies. Steps, each in its file:
 *
 *   page walk        tables of any x86 paging mode                              space.c
 *   image            BTF, init task and the kernel's page tables                image.c
 *   layouts          member offsets from BTF                                    layout.c
 *   fields           reading members and lists, bounded                         fields.c
 *   tasks, threads   from the init task                                         task.c
 *   maps             maple tree or list of VMAs                                 maps.c
 *   paths            dentries and mounts                                        path.c
 *   page cache       file pages that no page table maps yet                     pagecache.c
 *   modules          ELF headers in memory                                      module.c
 *   symbols          the kernel's own table of them                             kallsyms.c, symbols.c
 *   the kernel's modules                                                        kmodule.c
 *   lists            processes, threads and mappings, for people                process.c, thread.c, mapping.c
 *
 * Non-goals: 32-bit guest kernels (their address spaces can be walked, not introspected), kernels without
 * BTF. The guest writes all of this memory while it is read; every member is
 * copied once and checked before use, and a structure caught in mid-change
 * gives at worst a missing entry.
 */
#include "vmi/vmi_internal.h"

#include <stdlib.h>

struct vmi *vmi_create_from(const struct vmi_space *kernel, const struct vmi_layout *l, struct gva init_task)
{
	struct vmi *v = calloc(1, sizeof(*v));

	if (!v)
		return NULL;
	v->kernel = *kernel;
	v->layout = *l;
	v->init_task = init_task;
	return v;
}

/* Page-table isolation: the kernel's half of a process's two top tables is the even page. */
#define PTI_USER_HALF 0x1000ull

static int find_kernel(struct vmi_space *s, struct vmi_layout *l, struct err *e)
{
	if (!vmi_find_layout(s, l, e))
		return 0;
	if (!(s->cr3 & PTI_USER_HALF))
		return -1;
	s->cr3 &= ~PTI_USER_HALF;
	return vmi_find_layout(s, l, e);
}

int vmi_create(const struct vmi_space *kernel, struct vmi **ret_vmi, struct err *e)
{
	struct vmi_space s = *kernel;
	struct vmi_layout l;
	struct gva init_task;
	struct gpa root;
	struct vmi *v;

	if (!s.long_mode)
		return err_set(e, ERR_GUEST, "the guest is not in 64-bit mode: only 64-bit Linux kernels are known");
	if (find_kernel(&s, &l, e) || vmi_find_init_task(&s, &l, &init_task, e))
		return -1;
	if (vmi_find_kernel_root(&s, init_task, &root))
		s.cr3 = root.v;
	v = vmi_create_from(&s, &l, init_task);
	if (!v)
		return err_set_errno(e, "introspection");
	*ret_vmi = v;
	return 0;
}

void vmi_destroy(struct vmi *v)
{
	if (v)
		vmi_symbols_free(v->symbols);
	free(v);
}
