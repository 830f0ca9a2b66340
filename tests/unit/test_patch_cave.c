/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Code caves of a made-up module: what is used, what belongs to another segment, what is left. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <elf.h>
#include <string.h>

#include "patch/cave.h"

#define BASE 0x400000ull
#define SIZE 0x3000u
#define TEXT 0x1000u /* file offset and distance from BASE */

struct module {
	uint8_t b[SIZE];
	struct vmi_module m;
	uint64_t absent; /* address of a page that is not in memory, 0: none */
};

static bool read_module(void *arg, struct gva at, void *ret, size_t len)
{
	const struct module *mod = arg;

	if (at.v < BASE || at.v - BASE > SIZE || len > SIZE - (at.v - BASE))
		return false;
	if (mod->absent && at.v / GUEST_PAGE_SIZE == mod->absent / GUEST_PAGE_SIZE)
		return false;
	memcpy(ret, mod->b + (at.v - BASE), len);
	return true;
}

static bool is_32bit; /* what make() makes */

/* The same module as make()'s in a 32-bit file. */
static void make_headers_32(struct module *mod, uint64_t size, uint64_t data)
{
	Elf32_Ehdr eh = {.e_phoff = sizeof(eh), .e_phentsize = sizeof(Elf32_Phdr), .e_phnum = 3};
	Elf32_Phdr ph[3] = {
		{.p_type = PT_LOAD, .p_offset = 0, .p_filesz = 0x200},
		{.p_type = PT_LOAD, .p_offset = TEXT, .p_filesz = (uint32_t)size, .p_flags = PF_R | PF_X},
		{.p_type = PT_LOAD, .p_offset = (uint32_t)data, .p_filesz = 0x100},
	};

	memcpy(mod->b, &eh, sizeof(eh));
	memcpy(mod->b + sizeof(eh), ph, sizeof(ph));
}

/* Code of `size` bytes; the data segment's bytes begin at file offset data. */
static void make(struct module *mod, uint64_t size, uint64_t data)
{
	Elf64_Ehdr eh = {.e_phoff = sizeof(eh), .e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 3};
	Elf64_Phdr ph[3] = {
		{.p_type = PT_LOAD, .p_offset = 0, .p_filesz = 0x200},
		{.p_type = PT_LOAD, .p_offset = TEXT, .p_filesz = size, .p_flags = PF_R | PF_X},
		{.p_type = PT_LOAD, .p_offset = data, .p_filesz = 0x100},
	};

	memset(mod, 0, sizeof(*mod));
	memcpy(mod->b, &eh, sizeof(eh));
	memcpy(mod->b + sizeof(eh), ph, sizeof(ph));
	if (is_32bit)
		make_headers_32(mod, size, data);
	memset(mod->b + TEXT, 0xc3, size);
	mod->m = (struct vmi_module){.is_32bit = is_32bit,
				     .low = {BASE},
				     .high = {BASE + SIZE},
				     .text = {BASE + TEXT},
				     .text_end = {BASE + TEXT + size},
				     .text_file_offset = TEXT,
				     .text_file_size = size};
}

static int find(struct module *mod, struct gva *ret_at, uint32_t *ret_room)
{
	const struct code_reader rd = {read_module, mod};
	struct err e;

	return cave_find(&rd, &mod->m, ret_at, ret_room, &e);
}

static const struct {
	const char *what;
	uint64_t size, data; /* of the code; where the data begins in the file */
	uint64_t used; /* last byte used behind the code, from TEXT; 0: none */
	uint64_t at; /* expected, from TEXT; 0: refused */
	uint32_t room;
} rows[] = {
	{"all of the slack", 0x234, 0x2000, 0, 0x240, 0xdc0},
	{"behind an earlier guard", 0x234, 0x2000, 0x27f, 0x280, 0xd80},
	{"aligned behind an earlier guard", 0x234, 0x2000, 0x280, 0x290, 0xd70},
	{"as far as the data's bytes", 0x234, 0x1400, 0, 0x240, 0x1c0},
	{"data right behind the code", 0x234, 0x1234, 0, 0, 0},
	{"data laid over the slack", 0x234, 0x1200, 0, 0, 0},
	{"a full page", 0x1000, 0x3000, 0, 0, 0},
	{"used to the end", 0x234, 0x2000, 0xfff, 0, 0},
	{"less than an alignment left", 0xff8, 0x2000, 0, 0, 0},
};

static void test_rows(void **state)
{
	(void)state;
	for (size_t n = 0; n < 2 * sizeof(rows) / sizeof(rows[0]); n++) {
		size_t k = n / 2;
		static struct module mod;
		struct gva at = {0};
		uint32_t room = 0;
		int rc;

		is_32bit = n & 1;
		make(&mod, rows[k].size, rows[k].data);
		is_32bit = false;
		if (rows[k].used)
			mod.b[TEXT + rows[k].used] = 0xff;
		rc = find(&mod, &at, &room);
		if ((rc == 0) != (rows[k].at != 0))
			fail_msg("%s: %d", rows[k].what, rc);
		if (rc == 0 && (at.v != BASE + TEXT + rows[k].at || room != rows[k].room))
			fail_msg("%s: 0x%llx, %u bytes", rows[k].what, (unsigned long long)at.v, room);
	}
}

static void test_hostile(void **state)
{
	static struct module mod;
	struct gva at;
	uint32_t room;
	Elf64_Ehdr eh;

	(void)state;
	make(&mod, 0x234, 0x2000);
	mod.absent = BASE + TEXT;
	assert_int_equal(find(&mod, &at, &room), -1);
	mod.absent = BASE;
	assert_int_equal(find(&mod, &at, &room), -1);
	make(&mod, 0x234, 0x2000);
	memcpy(&eh, mod.b, sizeof(eh));
	eh.e_phoff = UINT64_MAX - 8;
	memcpy(mod.b, &eh, sizeof(eh));
	assert_int_equal(find(&mod, &at, &room), -1);
	eh.e_phoff = sizeof(eh);
	eh.e_phnum = 65;
	memcpy(mod.b, &eh, sizeof(eh));
	assert_int_equal(find(&mod, &at, &room), -1);
	make(&mod, 0x234, 0x2000);
	mod.m.text_file_offset += 8; /* not where the file has it */
	assert_int_equal(find(&mod, &at, &room), -1);
	make(&mod, 0x234, 0x2000);
	mod.m.text_end = gva_add(mod.m.text_end, 64); /* zeroed memory behind the file's bytes */
	assert_int_equal(find(&mod, &at, &room), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows), cmocka_unit_test(test_hostile)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
