/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The vDSO: code of the kernel's that is mapped in every process, from the same pages. */
#include "vmi/vmi_internal.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>

#define MAPS_MAX 1024
#define VDSO_PAGES_MAX 8u

static bool is_vdso(const struct vmi_task *t, const struct vmi_vma *m)
{
	char magic[SELFMAG];

	return (m->flags & VMI_VM_EXEC) && !m->file.v &&
	       m->end.v - m->start.v <= VDSO_PAGES_MAX * (uint64_t)GUEST_PAGE_SIZE &&
	       vmi_read(&t->space, m->start, magic, sizeof(magic)) && memcmp(magic, ELFMAG, SELFMAG) == 0;
}

int vmi_vdso_find(struct vmi *v, const struct vmi_task *t, struct vmi_vdso *ret, struct err *e)
{
	struct vmi_vma *m = calloc(MAPS_MAX, sizeof(*m));
	struct vmi_page page;
	int n, rc;

	if (!m)
		return err_set_errno(e, "no memory for the process's map");
	n = vmi_maps(v, t, m, MAPS_MAX, e);
	rc = n < 0 ? -1 : err_set(e, ERR_GUEST, "process %d has no vDSO in memory", t->tgid);
	for (int k = 0; k < n && rc; k++) {
		if (!is_vdso(t, &m[k]) || !vmi_translate(&t->space, m[k].start, &page))
			continue;
		*ret = (struct vmi_vdso){m[k].start, m[k].end.v - m[k].start.v, page.at};
		rc = 0;
	}
	free(m);
	return rc;
}

static bool covers(const struct vmi_vdso *d, uint64_t offset, size_t len)
{
	return offset <= d->size && len <= d->size - offset;
}

bool vmi_vdso_read(struct vmi *v, const struct vmi_vdso *d, uint64_t offset, void *ret, size_t len)
{
	return covers(d, offset, len) && gmem_read(v->kernel.gm, gpa(d->memory.v + offset), ret, len);
}

bool vmi_vdso_write(struct vmi *v, const struct vmi_vdso *d, uint64_t offset, const void *buf, size_t len)
{
	return covers(d, offset, len) && gmem_write(v->kernel.gm, gpa(d->memory.v + offset), buf, len);
}
