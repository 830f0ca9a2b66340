/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The list of the kernel's modules, in both ways that kernels keep it, and when it lies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "test_vmi_guest.h"

#define CODE 0xffffffffc0100000ull

static struct guest g;
static uint64_t head, first, second;

static int setup(void **state)
{
	(void)state;
	guest_init(&g);
	head = guest_alloc(&g, 64);
	guest_list_init(&g, head);
	first = guest_add_module(&g, head, "virtio_net", CODE);
	second = guest_add_module(&g, head, "ext4", CODE + 0x100000);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	guest_deinit(&g);
	return 0;
}

/* How many are listed, without so many; -1: an error. */
static int list(size_t skip, struct vmi_kmodule *ret, size_t max, bool *whole, struct err *e)
{
	return vmi_kmodules_of(g.vmi, gva(guest_kva(head)), skip, ret, max, whole, e);
}

static void parts(void **state)
{
	struct vmi_kmodule m[4];
	struct err e = {0};
	bool whole;

	(void)state;
	assert_int_equal(list(0, m, 4, &whole, &e), 2);
	assert_true(whole);
	assert_string_equal(m[0].name, "virtio_net");
	assert_int_equal(m[0].at.v, CODE);
	assert_int_equal(m[0].size, 0x6000);
	assert_int_equal(m[0].state, 'L');
	assert_string_equal(m[1].name, "ext4");
	assert_int_equal(list(1, m, 4, &whole, &e), 1);
	assert_string_equal(m[0].name, "ext4");
	assert_int_equal(list(0, m, 1, &whole, &e), 1);
	assert_int_equal(list(2, m, 4, &whole, &e), 0);
}

static void states(void **state)
{
	static const struct {
		uint32_t state;
		char letter; /* 0: not listed */
	} rows[] = {{0, 'L'}, {1, 'C'}, {2, 'G'}, {3, 0}, {4, '?'}, {UINT32_MAX, '?'}};
	struct vmi_kmodule m[4];
	struct err e = {0};
	bool whole;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		guest_set(&g, first, MODULE_STATE, rows[i].state);
		assert_int_equal(list(0, m, 4, &whole, &e), rows[i].letter ? 2 : 1);
		assert_int_equal(m[0].state, rows[i].letter ? rows[i].letter : 'L');
	}
}

static void layouts(void **state)
{
	struct vmi_layout *l = &g.vmi->layout;
	struct vmi_kmodule m[4];
	struct err e = {0};
	bool whole;

	(void)state;
	l->f[MODULE_MEM].size = 0;
	l->f[MODULE_CORE] = (struct vmi_field){128, 32};
	l->f[MODULE_INIT] = (struct vmi_field){160, 32};
	assert_int_equal(list(0, m, 4, &whole, &e), 2);
	assert_int_equal(m[0].at.v, CODE);
	assert_int_equal(m[0].size, 0x3000);
}

static void hostile(void **state)
{
	uint64_t part = guest_member(first, MODULE_MEM);
	struct vmi_kmodule m[4];
	struct err e = {0};
	bool whole;

	(void)state;
	guest_put(&g, guest_member(first, MODULE_NAME), "a\033[2J\xff", 6);
	guest_put(&g, guest_member(second, MODULE_NAME),
		  "01234567890123456789012345678901234567890123456789012345678901234567", 56);
	assert_int_equal(list(0, m, 4, &whole, &e), 2);
	assert_memory_equal(m[0].name, "a?[2J?", 6);
	assert_int_equal(strlen(m[1].name), 56);
	guest_set(&g, part, MODMEM_SIZE, UINT32_MAX); /* more than all modules may have */
	assert_int_equal(list(0, m, 4, &whole, &e), 1);
	assert_false(whole);
	assert_string_equal(m[0].name + 50, "012345");
	guest_put64(&g, guest_member(second, MODULE_LIST), guest_kva(guest_member(second, MODULE_LIST)));
	assert_in_range(list(0, m, 4, &whole, &e), 1, 3); /* a cycle that misses the head */
	assert_false(whole);
	guest_put64(&g, head, 0x1000); /* no kernel address */
	assert_int_equal(list(0, m, 4, &whole, &e), -1);
	assert_int_equal(e.code, ERR_GUEST);
}

static void not_to_be_found(void **state)
{
	struct vmi_kmodule m;
	struct err e = {0};
	bool whole;

	(void)state;
	assert_int_equal(vmi_kmodules(g.vmi, 0, &m, 1, &whole, &e), -1);
	assert_non_null(strstr(e.text, "CONFIG_KALLSYMS"));
	g.vmi->layout.f[MODULE_MEM].size = 0;
	assert_int_equal(vmi_kmodules(g.vmi, 0, &m, 1, &whole, &e), -1);
	assert_non_null(strstr(e.text, "without modules"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(parts, setup, teardown),
		cmocka_unit_test_setup_teardown(states, setup, teardown),
		cmocka_unit_test_setup_teardown(layouts, setup, teardown),
		cmocka_unit_test_setup_teardown(hostile, setup, teardown),
		cmocka_unit_test_setup_teardown(not_to_be_found, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
