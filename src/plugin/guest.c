/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest memory that no callback is about: the plugin API of QEMU 10.0 has no way to read it by physical address, so the
 * RAM file is mapped once more. Each vCPU has a mapping of its own and brings its copy of the guest
 * memory map up to date itself: no lock.
 */
#include <sys/stat.h>

#include "plugin/memory.h"
#include "qemu/gmem.h"
#include "vmi/vmi.h"

static struct gmem *ram(struct plugin_vcpu *c)
{
	struct gmem_region map[TAINT_REGIONS];
	struct taint_region r[TAINT_REGIONS];
	struct stat st;
	int n;

	if (!c->ram &&
	    (fstat(plugin.ram_fd, &st) < 0 || gmem_create(plugin.ram_fd, (uint64_t)st.st_size, &c->ram, NULL) < 0))
		return NULL;
	n = shadow_get_regions(plugin.shadow, &c->ram_version, r);
	for (int i = 0; i < n; i++)
		map[i] = (struct gmem_region){.start = gpa(r[i].gpa), .size = r[i].size, .offset = r[i].offset};
	if (n >= 0)
		memory_flush(c);
	if (n >= 0 && gmem_set_regions(c->ram, map, (size_t)n, NULL) < 0)
		return NULL;
	return c->ram;
}

const uint8_t *guest_host(struct plugin_vcpu *c, struct gpa page)
{
	struct gmem *gm = ram(c);
	uint64_t first, last;

	if (!gm || !gmem_to_offset(gm, page, &first) || !gmem_to_offset(gm, gpa_add(page, GUEST_PAGE_MASK), &last) ||
	    last - first != GUEST_PAGE_MASK)
		return NULL;
	return gmem_base(gm) + first;
}

bool guest_read(struct plugin_vcpu *c, struct gpa at, void *ret, size_t n)
{
	const struct gmem *gm = ram(c);

	return gm && gmem_read(gm, at, ret, n);
}

bool guest_translate(struct plugin_vcpu *c, uint64_t vaddr, struct vmi_page *ret)
{
	struct gmem *gm = ram(c);
	struct vmi_space space;

	if (!gm)
		return false;
	vmi_space_init(&space, gm, regs_read(PLUGIN_REG_CR0), regs_read(PLUGIN_REG_CR3), regs_read(PLUGIN_REG_CR4),
		       regs_read(PLUGIN_REG_EFER));
	return vmi_translate(&space, gva(vaddr), ret);
}
