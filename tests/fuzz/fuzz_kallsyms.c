/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzzes the reading of the kernel's table of symbols: input is what to change in a make-believe one.
 *
 * Input: which order it has (1 byte), then records of an offset (2 bytes), a length (1 byte, at most 16 used) and that many
 * bytes. Build with -fsanitize=fuzzer,address.
 */
#include <assert.h>

#include "../unit/kallsyms_image.h"
#include "vmi/vmi_internal.h"

#define RECORD_BYTES 16u

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
	image_init(&im, data[0] & 1, data[0] & 2);
	for (data++, size--; size >= 3;) {
		size_t at = (data[0] | (size_t)data[1] << 8) % (IMAGE_BYTES - RECORD_BYTES),
		       n = data[2] % (RECORD_BYTES + 1);

		data += 3;
		size -= 3;
		n = n < size ? n : size;
		memcpy(im.bytes + at, data, n);
		data += n;
		size -= n;
	}
	if (vmi_symbols_parse(im.bytes, im.len, im.digits, &s, &e))
		return 0;
	vmi_symbols_each(s, look, NULL);
	vmi_symbols_free(s);
	return 0;
}
