/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzzes the reading of the kernel's table of symbols: input is what to change in a make-believe one.
 *
 * Input: which order it has (1 byte), then records (records.h).
 */
#include <assert.h>

#include "../unit/kallsyms_image.h"
#include "records.h"
#include "vmi/vmi_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool look(void *arg, const struct vmi_symbol *s)
{
	(void)arg;
	assert(strnlen(s->name, sizeof(s->name)) < sizeof(s->name));
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct kallsyms_image im;
	struct vmi_symbols *s;
	struct err e;

	if (!size)
		return 0;
	image_init(&im, data[0] & 1 ? IMAGE_OLD : data[0] & 4 ? IMAGE_WITHOUT_BASE : IMAGE_WITH_BASE, data[0] & 2);
	records_change(im.bytes, IMAGE_BYTES, data + 1, size - 1);
	if (vmi_symbols_parse(im.bytes, im.len, gva(IMAGE_START), im.digits, &s, &e))
		return 0;
	vmi_symbols_each(s, look, NULL);
	vmi_symbols_free(s);
	return 0;
}
