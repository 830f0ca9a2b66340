/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzzes the reading of structure layouts: input is BTF. */
#include <stddef.h>
#include <stdint.h>

#include "vmi/vmi_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vmi_layout l;
	struct err e;

	(void)!vmi_layout_from_btf(data, (uint32_t)size, &l, &e);
	return 0;
}
