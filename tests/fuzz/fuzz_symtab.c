/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Symbols and slots of a hostile module: the input is its memory and its file, its first bytes say what is asked. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "locate/callee.h"
#include "locate/symtab.h"

#define BASE 0x10000u

struct input {
	const uint8_t *data;
	size_t size;
	uint64_t base; /* address of its first byte */
};

static bool read_input(void *arg, struct gva at, void *ret, size_t len)
{
	const struct input *in = arg;

	if (at.v < in->base || at.v - in->base > in->size || len > in->size - (at.v - in->base))
		return false;
	memcpy(ret, in->data + (at.v - in->base), len);
	return true;
}

static bool follow(void *arg, const struct dynamic_slot *s)
{
	const struct dynamic *d = arg;
	struct symbol sym;
	char name[SYMTAB_NAME_MAX];

	if (!symtab_get(&d->sym, s->symbol, &sym))
		return false;
	symtab_name(&d->sym, &sym, name);
	return !callee_known(name) || *name;
}

static void ask(const struct callee_source *src, struct gva at)
{
	struct callee_target to;
	char name[SYMTAB_NAME_MAX];

	callee_follow(src, at, 5, &to);
	callee_passes_on(src, at, gva_add(at, 64), &to);
	if (src->symtab)
		callee_name_at(src->symtab, at, name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input memory, file;
	struct vmi_module m = {.path = "module"};
	struct callee_source src = {.module = &m};
	const struct code_reader file_rd = {read_input, &file};
	struct dynamic d;
	struct symtab t;
	struct symbol s;

	if (size < 8)
		return 0;
	memory = (struct input){data + 8, size - 8, BASE};
	file = (struct input){data + 8, size - 8, 0};
	m.is_32bit = data[0] & 1;
	m.bias = data[0] & 2 ? BASE : 0;
	m.low = m.text = gva(BASE);
	m.high = m.text_end = gva(BASE + memory.size);
	m.text_file_size = memory.size;
	m.dynamic = gva(BASE + data[1] * 8u);
	m.dynamic_size = data[2] * 16u;
	src.rd = (struct code_reader){read_input, &memory};
	if (!dynamic_read(&src.rd, &m, &d, NULL)) {
		src.dynamic = &d;
		dynamic_each_slot(&d, follow, &d);
		symtab_find(&d.sym, "vsnprintf", &s);
	}
	if (!symtab_of_file(&file_rd, m.bias, &t, NULL))
		src.symtab = &t;
	ask(&src, gva(BASE + (data[4] | (uint64_t)data[5] << 8)));
	return 0;
}
