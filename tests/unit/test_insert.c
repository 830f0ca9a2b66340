/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Putting patches in after a rollback: which reasons are worth an older checkpoint. The guest is made up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/respond_internal.h"

#define CULPRIT 0x401000u
#define CULPRIT_LEN 5u
#define STACK 0x7fff0000u

/* What the guest says: of each patch, by the incident's number in its path. */
static struct {
	enum err_code refuses[3];
	unsigned applied, removed;
	int made_for; /* the process that a guard beside the first was made for */
	bool superseded, waits;
	uint64_t stack[4]; /* above the waiting thread's stack pointer */
} guest;

static struct vm vm;
static struct response r;

int patch_apply(const struct patch *p, struct vmi *v, const struct vmi_task *t, struct err *e)
{
	enum err_code code = guest.refuses[p->path[0] - '0'];

	(void)v;
	(void)t;
	if (code != ERR_OK)
		return err_set(e, code, "patch %s does not go in", p->path);
	guest.applied++;
	return 0;
}

void vm_kernel_at(struct vm *v, uint64_t time_ns)
{
	if (time_ns < v->reset_ns)
		v->vmi = NULL;
}

void keep_patch(struct vm *v, struct incident *in)
{
	(void)v;
	(void)in;
}

int patch_remove(const struct patch *p, struct vmi *v, const struct vmi_task *t, struct err *e)
{
	(void)p;
	(void)v;
	(void)t;
	(void)e;
	guest.removed++;
	return 0;
}

bool patch_concerns(const struct patch *p, struct vmi *v, const struct vmi_task *t)
{
	(void)p;
	(void)v;
	(void)t;
	return true;
}

/* Where a process has its code: each elsewhere. Number 9 has ended. */
int patch_place(const struct patch *p, struct vmi *v, const struct vmi_task *t, struct gva *ret_site,
		struct gva *ret_guard, struct err *e)
{
	(void)p;
	(void)v;
	*ret_site = *ret_guard = gva(0x1000ull * (unsigned)t->tgid);
	return t->tgid == 9 ? err_set(e, ERR_REFUSED, "it is gone") : 0;
}

int patch_apply_to_file(const struct patch *p, struct vmi *v, const struct vmi_task *t, struct err *e)
{
	(void)v;
	(void)t;
	return err_set(e, ERR_REFUSED, "%s is no file", p->path);
}

int vmi_tasks(struct vmi *v, struct vmi_task *ret, size_t max, struct err *e)
{
	(void)v;
	(void)max;
	(void)e;
	ret[0] = (struct vmi_task){.tgid = 1, .mm = gva(1)};
	ret[1] = (struct vmi_task){.tgid = 2, .mm = gva(0)}; /* a kernel thread */
	ret[2] = (struct vmi_task){.tgid = 3, .mm = gva(3)};
	return 3;
}

int vmi_threads_waiting(struct vmi *v, const struct vmi_task *t, struct vmi_thread *ret, size_t max,
			size_t *ret_n_other, struct err *e)
{
	(void)v;
	(void)t;
	(void)max;
	(void)e;
	*ret_n_other = 0;
	ret[0] = (struct vmi_thread){.gpr[4] = STACK};
	return guest.waits;
}

bool vmi_task_read(struct vmi *v, const struct vmi_task *t, struct gva at, void *ret, size_t len)
{
	(void)v;
	(void)t;
	if (at.v < STACK || at.v + len > STACK + sizeof(guest.stack))
		return false;
	memcpy(ret, (const uint8_t *)guest.stack + (at.v - STACK), len);
	return true;
}

bool ladder_superseded(const struct vm *m, unsigned i)
{
	(void)m;
	(void)i;
	return guest.superseded;
}

int ladder_generate(struct vm *m, const struct vmi_task *t, struct finding *f, struct patch *ret, struct err *e)
{
	(void)m;
	(void)f;
	guest.made_for = t->tgid;
	*ret = (struct patch){.path = "2"};
	return guest.refuses[2] == ERR_OK ? 0 : err_set(e, ERR_REFUSED, "no room");
}

/* Patch 0 is another incident's, 1 the new one, 2 the one beside it. */
static int setup(void **state)
{
	(void)state;
	memset(&guest, 0, sizeof(guest));
	memset(&vm, 0, sizeof(vm));
	vm.vmi = (struct vmi *)(void *)&guest;
	vm.n_patches = 1;
	vm.patch[0].patch = (struct patch){.path = "0"};
	r = (struct response){.vm = &vm,
			      .have_task = true,
			      .task = {.tgid = 1, .mm = gva(1)},
			      .have_patch = true,
			      .patch = {.path = "1", .site = gva(0x1000)},
			      .n_siblings = 1,
			      .finding = {.kind = FINDING_CALL, .culprit = gva(CULPRIT), .culprit_len = CULPRIT_LEN}};
	return 0;
}

static void test_all_go_in(void **state)
{
	struct err e;

	(void)state;
	assert_true(insert_patches(&r, &e));
	assert_int_equal(e.code, ERR_OK);
	assert_int_equal(guest.applied, 2);
	assert_int_equal(r.missing, 0);
	insert_keep(&r);
	assert_int_equal(vm.n_patches, 3);
	assert_int_equal(r.in.also_guarded, 1);
	assert_int_equal(guest.made_for, 1);
}

/* What is made beside the new patch is made for a process that has the code where the attacked one had it, which may be gone. */
static void test_beside(void **state)
{
	struct err e;

	(void)state;
	r.task.tgid = 9;
	r.patch.site = gva(0x3000);
	assert_true(insert_patches(&r, &e));
	insert_keep(&r);
	assert_int_equal(guest.made_for, 3);
}

/* A build that lies in the guest more than once: in the pages of each file, which each process may have another of. */
static void test_copies(void **state)
{
	struct err e;

	(void)state;
	vm.patch[0].in_copies = true;
	assert_true(insert_patches(&r, &e));
	assert_int_equal(guest.applied, 3);
}

/* A checkpoint of an earlier boot: nothing is known of that kernel, and nothing is touched. */
static void test_earlier_boot(void **state)
{
	struct err e;

	(void)state;
	vm.reset_ns = 5;
	r.checkpoint.time_ns = 5;
	assert_true(insert_patches(&r, &e));
	assert_int_equal(guest.applied, 2);
	r.checkpoint.time_ns = 4;
	assert_false(insert_patches(&r, &e));
	assert_int_equal(e.code, ERR_STATE);
	assert_int_equal(guest.applied, 2);
	assert_int_equal(r.missing, 1);
	r.have_patch = false;
	assert_true(insert_patches(&r, &e));
	assert_int_equal(e.code, ERR_OK);
	assert_int_equal(r.missing, 1);
}

/* What passes is worth an older checkpoint, what stays is not. */
static void test_reasons(void **state)
{
	struct err e;

	(void)state;
	guest.refuses[1] = ERR_STATE;
	assert_false(insert_patches(&r, &e));
	assert_int_equal(e.code, ERR_STATE);
	guest.refuses[1] = ERR_REFUSED;
	assert_true(insert_patches(&r, &e));
	assert_int_equal(e.code, ERR_REFUSED);
	guest.refuses[1] = ERR_OK;
	guest.refuses[0] = ERR_STATE;
	assert_false(insert_patches(&r, &e));
	assert_int_equal(e.code, ERR_OK);
	assert_int_equal(r.missing, 1);
	guest.superseded = true;
	assert_true(insert_patches(&r, &e));
	assert_int_equal(r.missing, 0);
}

/* A patch that is not in this guest is let be, one that was reverted is taken out. */
static void test_others(void **state)
{
	struct err e;

	(void)state;
	vm.patch[0].dormant = true;
	guest.refuses[0] = ERR_STATE;
	assert_true(insert_patches(&r, &e));
	assert_int_equal(guest.applied, 1);
	assert_int_equal(r.missing, 0);
	assert_int_equal(guest.removed, 0);
	vm.patch[0].dormant = false;
	vm.patch[0].unwanted = true;
	assert_true(insert_patches(&r, &e));
	assert_int_equal(guest.applied, 2);
	assert_int_equal(guest.removed, 2); /* from two processes: the other is the kernel's */
}

/* A call that was made without the guard, and has not returned. */
static void test_under_way(void **state)
{
	struct err e;

	(void)state;
	guest.waits = true;
	guest.stack[1] = CULPRIT;
	assert_true(insert_patches(&r, &e));
	guest.stack[3] = CULPRIT + CULPRIT_LEN;
	assert_false(insert_patches(&r, &e));
	assert_int_equal(e.code, ERR_OK);
	r.finding.kind = FINDING_STORE;
	assert_true(insert_patches(&r, &e));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_all_go_in, setup), cmocka_unit_test_setup(test_earlier_boot, setup),
		cmocka_unit_test_setup(test_reasons, setup),   cmocka_unit_test_setup(test_others, setup),
		cmocka_unit_test_setup(test_under_way, setup), cmocka_unit_test_setup(test_beside, setup),
		cmocka_unit_test_setup(test_copies, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
