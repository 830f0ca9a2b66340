/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Frame information of a hostile process: the input is the module, its first bytes say what is asked of it. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "locate/cfi.h"

#define BASE 0x10000u

struct input {
	const uint8_t *data;
	size_t size;
};

static bool read_input(void *arg, struct gva at, void *ret, size_t len)
{
	const struct input *in = arg;

	if (at.v < BASE || at.v - BASE > in->size || len > in->size - (at.v - BASE))
		return false;
	memcpy(ret, in->data + (at.v - BASE), len);
	return true;
}

static void ignore(void *arg, struct gva at)
{
	(void)arg;
	(void)at;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in;
	struct cfi m = {.rd = {read_input, &in}, .low = {BASE}, .hdr = {BASE}};
	struct cfi_fde fde;
	struct cfi_row row;
	struct gva pc;
	struct err e;

	if (size < 12)
		return 0;
	in = (struct input){data + 4, size - 4};
	m.high = gva(BASE + in.size);
	m.hdr_size = data[0] < in.size ? data[0] : in.size;
	m.is_32bit = data[1] & 1;
	if (data[1] & 2)
		m.hdr = gva(0);
	pc = gva(BASE + (data[2] | (uint64_t)data[3] << 8));
	if (cfi_find(&m, pc, &fde, &e))
		return 0;
	if (cfi_row_at(&m, &fde, pc, &row, &e))
		return 0;
	if (cfi_landing_pads(&m, &fde, ignore, NULL, &e))
		return 0;
	return 0;
}
