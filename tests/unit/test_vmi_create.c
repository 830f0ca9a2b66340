/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Finding the kernel: BTF, init task and page tables in a make-believe kernel image. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <bpf/btf.h>

#include "test_vmi_guest.h"

#define BTF_AT 0x500000u /* in the image */
#define BTF_OUTSIDE 0x200000u
#define KERNEL_ROOT_AT 0x420000u
#define PADDING_TYPES 20000

static int setup(void **state)
{
	static struct guest g;

	guest_init(&g);
	guest_add_task(&g, guest_alloc(&g, 256), 1, "init", 0);
	*state = &g;
	return 0;
}

static int teardown(void **state)
{
	guest_deinit(*state);
	return 0;
}

static int add_type_of_size(struct btf *btf, int byte, uint32_t size)
{
	char name[32];

	snprintf(name, sizeof(name), "int%u", size);
	if (size == 1 || size == 2 || size == 4 || size == 8)
		return btf__add_int(btf, name, size, 0);
	return btf__add_array(btf, byte, byte, size);
}

static uint32_t size_of_type(const char *type)
{
	for (int f = 0; f < VMI_FIELDS; f++) {
		const char *t, *m;

		(void)vmi_field_required(f, &t, &m);
		if (!strcmp(t, type) && !*m)
			return guest_layout[f].size;
	}
	return 1024;
}

/* The structure with all its members; vm_start is in an anonymous union of an anonymous structure. */
static void add_struct(struct btf *btf, const char *type, enum vmi_field_id leave_out, const int *type_id,
		       int anonymous)
{
	assert_true(btf__add_struct(btf, type, size_of_type(type)) > 0);
	for (enum vmi_field_id f = 0; f < VMI_FIELDS; f++) {
		const char *t, *m;

		(void)vmi_field_required(f, &t, &m);
		if (strcmp(t, type) || !*m || f == leave_out || !guest_layout[f].size)
			continue;
		if (f == VMA_START)
			assert_int_equal(btf__add_field(btf, "", anonymous, guest_layout[f].offset * 8, 0), 0);
		else
			assert_int_equal(btf__add_field(btf, m, type_id[f], guest_layout[f].offset * 8, 0), 0);
	}
}

static struct btf *make_btf(enum vmi_field_id leave_out, int padding)
{
	struct btf *btf = btf__new_empty();
	int byte = btf__add_int(btf, "char", 1, 0), type_id[VMI_FIELDS] = {0}, inner, anonymous;

	for (int i = 0; i < padding; i++)
		btf__add_int(btf, "padding", 4, 0);
	for (int f = 0; f < VMI_FIELDS; f++)
		if (guest_layout[f].size)
			type_id[f] = add_type_of_size(btf, byte, guest_layout[f].size);
	inner = btf__add_struct(btf, NULL, 8);
	assert_int_equal(btf__add_field(btf, "vm_start", type_id[VMA_START], 0, 0), 0);
	anonymous = btf__add_union(btf, NULL, 8);
	assert_int_equal(btf__add_field(btf, NULL, inner, 0, 0), 0);
	for (int f = 0; f < VMI_FIELDS; f++) {
		const char *t, *m, *before = "";

		if (f)
			(void)vmi_field_required(f - 1, &before, &m);
		(void)vmi_field_required(f, &t, &m);
		if (strcmp(t, before))
			add_struct(btf, t, leave_out, type_id, anonymous);
	}
	return btf;
}

static uint32_t put_btf(struct guest *g, uint64_t phys, enum vmi_field_id leave_out, int padding)
{
	struct btf *btf = make_btf(leave_out, padding);
	uint32_t size;
	const void *data = btf__raw_data(btf, &size);

	guest_put(g, phys, data, size);
	btf__free(btf);
	return size;
}

static void assert_fails(struct guest *g, const char *text)
{
	struct vmi *v = NULL;
	struct err e = {0};

	assert_int_equal(vmi_create(&g->kernel, &v, &e), -1);
	assert_null(v);
	assert_int_equal(e.code, ERR_GUEST);
	assert_non_null(strstr(e.text, text));
}

static void finds_layout_and_init_task(void **state)
{
	struct guest *g = *state;
	struct err e = {0};
	struct vmi *v;

	put_btf(g, BTF_AT + 4, VMI_FIELDS, PADDING_TYPES);
	guest_put(g, 0x402040, "swapper", 8); /* a string, no task */
	assert_int_equal(vmi_create(&g->kernel, &v, &e), 0);
	assert_memory_equal(v->layout.f, guest_layout, sizeof(guest_layout));
	assert_int_equal(v->init_task.v, guest_kva(GUEST_INIT_TASK));
	assert_int_equal(v->kernel.cr3, GUEST_ROOT);
	vmi_destroy(v);
}

/* So that nothing is kept of the process whose tables were given. */
static void finds_the_kernels_own_tables(void **state)
{
	struct guest *g = *state;
	struct vmi *v;
	struct err e = {0};

	put_btf(g, BTF_AT, VMI_FIELDS, PADDING_TYPES);
	memcpy(g->ram + KERNEL_ROOT_AT, g->ram + GUEST_ROOT, 4096);
	guest_put64(g, GUEST_ROOT, 0x7777007); /* the process has user pages */
	assert_int_equal(vmi_create(&g->kernel, &v, &e), 0);
	assert_int_equal(v->kernel.cr3, KERNEL_ROOT_AT);
	vmi_destroy(v);
}

static void starts_from_the_user_half(void **state)
{
	struct guest *g = *state;
	struct vmi *v;
	struct err e = {0};

	put_btf(g, BTF_AT, VMI_FIELDS, PADDING_TYPES);
	g->kernel.cr3 = GUEST_ROOT | 0x1000 | 0x801;
	assert_int_equal(vmi_create(&g->kernel, &v, &e), 0);
	vmi_destroy(v);
}

static void refuses_what_is_not_the_kernels_btf(void **state)
{
	struct guest *g = *state;
	uint32_t size;

	assert_fails(g, "no BTF");
	put_btf(g, BTF_OUTSIDE, VMI_FIELDS, PADDING_TYPES);
	assert_fails(g, "no BTF");
	size = put_btf(g, BTF_AT, VMI_FIELDS, 0); /* as small as a module's */
	assert_fails(g, "no BTF");
	memset(g->ram + BTF_AT, 0, size);
	size = put_btf(g, BTF_AT, MM_PGD, PADDING_TYPES);
	assert_fails(g, "struct mm_struct member 'pgd'");
	memset(g->ram + BTF_AT, 0, size);
	put_btf(g, BTF_AT, MM_MT, PADDING_TYPES);
	assert_fails(g, "neither in a maple tree");
}

static void survives_broken_btf(void **state)
{
	struct guest *g = *state;
	uint32_t size = put_btf(g, BTF_AT, VMI_FIELDS, PADDING_TYPES);

	memset(g->ram + BTF_AT + 24 + 64, 0xff, 64);
	assert_fails(g, "malformed BTF");
	memset(g->ram + BTF_AT, 0, size);
	put_btf(g, GUEST_RAM - 65536, VMI_FIELDS, 0);
	guest_put(g, GUEST_RAM - 65536 + 12, &(uint32_t){1u << 20}, 4); /* longer than the image */
	assert_fails(g, "not mapped as a whole");
	guest_put(g, GUEST_RAM - 65536 + 12, &(uint32_t){UINT32_MAX}, 4);
	assert_fails(g, "no BTF");
}

static void refuses_without_init_task(void **state)
{
	struct guest *g = *state;
	uint64_t new_task;

	put_btf(g, BTF_AT, VMI_FIELDS, PADDING_TYPES);
	guest_set(g, GUEST_INIT_TASK, TASK_PID, 7);
	assert_fails(g, "no init task");
	guest_set(g, GUEST_INIT_TASK, TASK_PID, 0);
	guest_put64(g, guest_member(GUEST_INIT_TASK, TASK_TASKS), 0xffffdeadbeef0000ull);
	assert_fails(g, "no init task");
	guest_list_init(g, guest_member(GUEST_INIT_TASK, TASK_TASKS)); /* alone: no process yet */
	assert_fails(g, "no init task");
	new_task = guest_add_task(g, guest_alloc(g, 256), 1, "init", 0);
	guest_put64(g, guest_member(new_task, TASK_TASKS) + 8, guest_kva(0x8000));
	assert_fails(g, "no init task");
	guest_put64(g, guest_member(new_task, TASK_TASKS) + 8, guest_kva(guest_member(GUEST_INIT_TASK, TASK_TASKS)));
	guest_put64(g, guest_member(GUEST_INIT_TASK, TASK_TASKS) + 8, guest_kva(0x8000));
	assert_fails(g, "no init task");
	g->kernel.long_mode = false;
	assert_fails(g, "64-bit");
}

/* A structure that is nested in itself without a name would be searched for ever. */
static void survives_nested_anonymous_types(void **state)
{
	struct btf *btf = btf__new_empty();
	struct vmi_layout l;
	struct err e = {0};
	uint32_t size;
	const void *data;

	(void)state;
	assert_int_equal(btf__add_struct(btf, "task_struct", 8), 1);
	for (int i = 0; i < 64; i++)
		assert_int_equal(btf__add_field(btf, NULL, 1, 0, 0), 0);
	data = btf__raw_data(btf, &size);
	assert_int_equal(vmi_layout_from_btf(data, size, &l, &e), -1);
	assert_int_equal(e.code, ERR_GUEST);
	btf__free(btf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(finds_layout_and_init_task, setup, teardown),
		cmocka_unit_test_setup_teardown(finds_the_kernels_own_tables, setup, teardown),
		cmocka_unit_test_setup_teardown(starts_from_the_user_half, setup, teardown),
		cmocka_unit_test_setup_teardown(refuses_what_is_not_the_kernels_btf, setup, teardown),
		cmocka_unit_test_setup_teardown(survives_broken_btf, setup, teardown),
		cmocka_unit_test_setup_teardown(refuses_without_init_task, setup, teardown),
		cmocka_unit_test(survives_nested_anonymous_types),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
