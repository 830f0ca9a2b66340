/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The stack and the modules of a hostile process: the input is its memory, its first bytes are its registers. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "locate/chain.h"
#include "locate/object.h"

#define BASE 0x10000u
#define HEAD 24u /* bytes that are not memory */

struct input {
	const uint8_t *data;
	size_t size;
	struct vmi_module module; /* the first half is its code, all of it may be frame information */
};

static bool read_input(void *arg, struct gva at, void *ret, size_t len)
{
	const struct input *in = arg;

	if (at.v < BASE || at.v - BASE > in->size || len > in->size - (at.v - BASE))
		return false;
	memcpy(ret, in->data + (at.v - BASE), len);
	return true;
}

static bool module_at(void *arg, struct gva at, struct vmi_module *ret)
{
	const struct input *in = arg;

	*ret = in->module;
	return at.v >= in->module.low.v && at.v < in->module.high.v;
}

static unsigned no_symbols(void *arg, const struct vmi_module *m, struct symtab *ret, unsigned max)
{
	(void)arg;
	(void)m;
	(void)ret;
	(void)max;
	return 0;
}

static uint64_t address(const uint8_t *p)
{
	return BASE + (p[0] | (uint64_t)p[1] << 8);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct chain chain;
	struct input in;
	struct chain_source src = {.rd = {read_input, &in}, .module_at = module_at, .arg = &in};
	struct chain_regs regs = {.pc = {0}};
	struct vmi_vma map = {.flags = 3};
	struct object_input oi = {.src = &src, .chain = &chain, .maps = &map, .n_maps = 1, .symbols = no_symbols};
	struct object o;

	if (size < HEAD + 64)
		return 0;
	in = (struct input){.data = data + HEAD, .size = size - HEAD};
	src.is_32bit = in.module.is_32bit = data[0] & 1;
	in.module.low = in.module.text = gva(BASE);
	in.module.high = gva(BASE + in.size);
	in.module.text_end = gva(BASE + in.size / 2);
	in.module.text_file_size = in.size / 2;
	in.module.eh_frame_hdr = gva(data[0] & 2 ? BASE : 0);
	in.module.eh_frame_hdr_size = data[1] < in.size ? data[1] : in.size;
	regs.pc = gva(address(data + 2));
	for (unsigned k = 0; k < 16; k++)
		regs.gpr[k] = address(data + 4 + k % 8);
	chain_unwind(&src, &regs, &chain);
	map.start = gva(BASE + in.size / 2);
	map.end = gva(BASE + in.size);
	oi.run = gva(address(data + 14));
	oi.error = gva(address(data + 16));
	if (object_find(&oi, &o, NULL))
		return 0;
	return 0;
}
