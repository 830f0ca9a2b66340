/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzzes the reading of ELF headers and notes in a process's memory: input is what to change in the first page of a program.
 *
 * Input: records of an offset (2 bytes, modulo the page's size), a length (1 byte, at most 16 used) and that many bytes.
 */
#include "../unit/test_vmi_guest.h"

#define RECORD_BYTES 16u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void change(uint8_t *page, const uint8_t *data, size_t size)
{
	while (size >= 3) {
		size_t at = (data[0] | (size_t)data[1] << 8) % (GUEST_PAGE_SIZE - RECORD_BYTES),
		       n = data[2] % (RECORD_BYTES + 1);

		data += 3;
		size -= 3;
		n = n < size ? n : size;
		memcpy(page + at, data, n);
		data += n;
		size -= n;
	}
}

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
	change(p.g.ram + p.page[0], data, size);
	if (!vmi_module_at(p.g.vmi, &p.t, gva(PROG_BASE + 0x1000), &m, &e))
		assert(m.low.v < m.high.v && m.build_id_len <= VMI_BUILD_ID_MAX);
	n = vmi_mappings(p.g.vmi, &p.t, 0, mapped, 4, &whole, &e);
	for (int i = 0; i < n; i++)
		assert(mapped[i].build_id_len <= VMI_BUILD_ID_MAX);
	memcpy(p.g.ram + p.page[0], before, sizeof(before));
	return 0;
}
