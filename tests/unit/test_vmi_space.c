/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The page walk: every paging mode and page size, rights, and tables that lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "test_vmi_guest.h"

#define NX (1ull << 63)
#define PG (1ull << 31)
#define PAE (1ull << 5)
#define LA57 (1ull << 12)
#define LMA (1ull << 10)

/* Tables of each mode start here; RAM of guest_init is there to be used freely. */
#define ROOT 0x100000ull
#define T1 0x101000ull
#define T2 0x102000ull
#define T3 0x103000ull
#define T4 0x104000ull

static int setup(void **state)
{
	static struct guest g;

	guest_init(&g);
	*state = &g;
	return 0;
}

static int teardown(void **state)
{
	guest_deinit(*state);
	return 0;
}

static void put32(struct guest *g, uint64_t phys, uint32_t v)
{
	guest_put(g, phys, &v, 4);
}

static struct vmi_space space(struct guest *g, uint64_t cr0, uint64_t cr4, uint64_t efer)
{
	struct vmi_space s;

	vmi_space_init(&s, g->gm, cr0, ROOT, cr4, efer);
	return s;
}

static void assert_maps(const struct vmi_space *s, uint64_t va, uint64_t pa, uint64_t size)
{
	struct vmi_page p;

	assert_true(vmi_translate(s, gva(va), &p));
	assert_int_equal(p.at.v, pa);
	assert_int_equal(p.page_size, size);
}

static void assert_unmapped(const struct vmi_space *s, uint64_t va)
{
	struct vmi_page p;

	assert_false(vmi_translate(s, gva(va), &p));
}

static void no_paging(void **state)
{
	struct vmi_space s = space(*state, 0, 0, 0);

	assert_maps(&s, 0x12345, 0x12345, 4096);
	assert_unmapped(&s, GUEST_RAM);
	assert_unmapped(&s, 1ull << 32);
}

static void legacy_32(void **state)
{
	struct guest *g = *state;
	struct vmi_space s = space(g, PG, 0, 0);

	put32(g, ROOT + 4 * 1, T1 | 7);
	put32(g, T1 + 4 * 2, 0x200000 | 5);
	put32(g, ROOT + 4 * 3, 0x400000 | 0x83);
	put32(g, ROOT + 4 * 4, 0x400000 | 1 << 13 | 0x83); /* bit 32 of the address: beyond RAM */
	assert_maps(&s, 0x402abc, 0x200abc, 4096);
	assert_maps(&s, 0xc12345, 0x412345, 4u << 20);
	assert_unmapped(&s, 0x1000000);
	assert_unmapped(&s, 0x403000);
	assert_unmapped(&s, 0x100402abcull);
}

static void pae(void **state)
{
	struct guest *g = *state;
	struct vmi_space s = space(g, PG, PAE, 0);
	struct vmi_page p;

	s.cr3 = ROOT + 0x20; /* the top table is 32-byte aligned */
	guest_put64(g, ROOT + 0x20 + 8 * 3, T1 | 1);
	guest_put64(g, T1 + 8 * 511, T2 | 7);
	guest_put64(g, T2 + 8 * 511, 0x300000 | 7 | NX);
	guest_put64(g, T1 + 8 * 1, 0x200000 | 0x87);
	assert_maps(&s, 0xfffff123, 0x300123, 4096);
	assert_maps(&s, 0xc0212345, 0x212345, 2u << 20);
	assert_true(vmi_translate(&s, gva(0xfffff123), &p));
	assert_true(p.writable && p.user && !p.executable);
	assert_unmapped(&s, 0);
}

static void four_level_sizes(void **state)
{
	struct guest *g = *state;
	struct vmi_space s = space(g, PG, PAE, LMA);

	guest_put64(g, ROOT, T1 | 7);
	guest_put64(g, T1, T2 | 7);
	guest_put64(g, T1 + 8, 0x87); /* 1 GiB from 0; bit 12 is not part of the address */
	guest_put64(g, T2, T3 | 7);
	guest_put64(g, T2 + 8, 0x200000 | 0x1087);
	guest_put64(g, T3 + 8 * 5, 0x123000 | 7);
	assert_maps(&s, 0x5678, 0x123678, 4096);
	assert_maps(&s, 0x234567, 0x234567, 2u << 20);
	assert_maps(&s, 0x40345678, 0x345678, 1u << 30);
	assert_unmapped(&s, 0x40000000 + GUEST_RAM);
	assert_unmapped(&s, 0x800000000000ull);
	assert_unmapped(&s, 0xffff000000005678ull);
	s.cr3 |= 0xfff; /* PCID */
	assert_maps(&s, 0x5678, 0x123678, 4096);
}

static void five_level(void **state)
{
	struct guest *g = *state;
	struct vmi_space s = space(g, PG, PAE | LA57, LMA);

	guest_put64(g, ROOT + 8 * 256, T1 | 3);
	guest_put64(g, T1 + 8 * 1, T2 | 3);
	guest_put64(g, T2, T3 | 3);
	guest_put64(g, T3, T4 | 3);
	guest_put64(g, T4 + 8 * 511, 0x7ff000 | 3);
	assert_maps(&s, 0xff000080001ffeeeull, 0x7ffeee, 4096);
	assert_unmapped(&s, 0xfe000080001ffeeeull);
}

static void rights_are_of_all_levels(void **state)
{
	struct guest *g = *state;
	struct vmi_space s = space(g, PG, PAE, LMA);
	struct vmi_page p;

	guest_put64(g, ROOT, T1 | 7 | NX); /* as page-table isolation leaves it */
	guest_put64(g, T1, T2 | 7);
	guest_put64(g, T2, T3 | 5);
	guest_put64(g, T2 + 8, 0x200000 | 0x87 | NX);
	guest_put64(g, T3, 0x100000 | 7);
	guest_put64(g, T3 + 8, 0x100000 | 3);
	assert_true(vmi_translate(&s, gva(0), &p));
	assert_true(!p.writable && p.user && p.executable);
	assert_true(vmi_translate(&s, gva(0x1000), &p));
	assert_true(!p.writable && !p.user && p.executable);
	assert_true(vmi_translate(&s, gva(0x200000), &p));
	assert_true(p.writable && p.user && !p.executable);
}

static void tables_that_lie(void **state)
{
	struct guest *g = *state;
	struct vmi_space s = space(g, PG, PAE, LMA);

	guest_put64(g, ROOT, ROOT | 7); /* itself, at every level */
	assert_maps(&s, 0, ROOT, 4096);
	guest_put64(g, ROOT + 8, 0x000ffffffffff007ull);
	assert_unmapped(&s, 1ull << 39);
	guest_put64(g, ROOT + 16, 0x87); /* no page of 512 GiB */
	assert_unmapped(&s, 2ull << 39);
	s.cr3 = 0x000ffffffffff000ull;
	assert_unmapped(&s, 0);
}

/* Two pages at 0: the first at 0x200000, the second one elsewhere in RAM. */
static struct vmi_space two_pages(struct guest *g)
{
	guest_put64(g, ROOT, T1 | 7);
	guest_put64(g, T1, T2 | 7);
	guest_put64(g, T2, T3 | 7);
	guest_put64(g, T3, 0x200000 | 7);
	guest_put64(g, T3 + 8, 0x300000 | 7);
	return space(g, PG, PAE, LMA);
}

static void reads_and_writes_cross_pages(void **state)
{
	struct guest *g = *state;
	struct vmi_space s = two_pages(g);
	char buf[8] = "";

	assert_true(vmi_write(&s, gva(4092), "abcdefg", 8));
	assert_memory_equal(g->ram + 0x200ffc, "abcd", 4);
	assert_memory_equal(g->ram + 0x300000, "efg", 4);
	assert_true(vmi_read(&s, gva(4092), buf, 8));
	assert_string_equal(buf, "abcdefg");
	assert_true(vmi_read(&s, gva(4096), buf, 0));
}

static void all_or_nothing(void **state)
{
	struct guest *g = *state;
	struct vmi_space s = two_pages(g);
	char buf[8] = "0123456";

	assert_false(vmi_write(&s, gva(8188), "abcdefg", 8));
	assert_int_equal(g->ram[0x300ffc], 0);
	assert_false(vmi_read(&s, gva(8188), buf, 8));
	assert_string_equal(buf, "0123456");
	guest_put64(g, T3 + 8, (uint64_t)GUEST_RAM | 7);
	assert_false(vmi_write(&s, gva(4092), "abcdefg", 8));
	assert_int_equal(g->ram[0x200ffc], 0);
	assert_false(vmi_read(&s, gva(UINT64_MAX - 3), buf, 8));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(no_paging, setup, teardown),
		cmocka_unit_test_setup_teardown(legacy_32, setup, teardown),
		cmocka_unit_test_setup_teardown(pae, setup, teardown),
		cmocka_unit_test_setup_teardown(four_level_sizes, setup, teardown),
		cmocka_unit_test_setup_teardown(five_level, setup, teardown),
		cmocka_unit_test_setup_teardown(rights_are_of_all_levels, setup, teardown),
		cmocka_unit_test_setup_teardown(tables_that_lie, setup, teardown),
		cmocka_unit_test_setup_teardown(reads_and_writes_cross_pages, setup, teardown),
		cmocka_unit_test_setup_teardown(all_or_nothing, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
