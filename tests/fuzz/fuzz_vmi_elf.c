/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzzes the reading of ELF headers and notes in a process's memory.
 *
 * Input: records (records.h) that change the first page of a program.
 */
#include "../unit/test_vmi_guest.h"
#include "records.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct guest_prog p;
	static uint8_t before[GUEST_PAGE_SIZE];
	struct vmi_mapping mapped[4];
	struct vmi_module m;
	struct err e;
	bool whole;
	int n;

	if (!p.g.vmi) {
		guest_prog_init(&p);
		guest_prog_cache(&p);
		p.g.vmi->vmemmap = GUEST_VMEMMAP;
		memcpy(before, p.g.ram + p.page[0], sizeof(before));
	}
	records_change(p.g.ram + p.page[0], GUEST_PAGE_SIZE, data, size);
	if (!vmi_module_at(p.g.vmi, &p.t, gva(PROG_BASE + 0x1000), &m, &e))
		assert(m.low.v < m.high.v && m.build_id_len <= VMI_BUILD_ID_MAX);
	n = vmi_mappings(p.g.vmi, &p.t, 0, mapped, 4, &whole, &e);
	for (int i = 0; i < n; i++)
		assert(mapped[i].build_id_len <= VMI_BUILD_ID_MAX);
	memcpy(p.g.ram + p.page[0], before, sizeof(before));
	return 0;
}
