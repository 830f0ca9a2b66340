/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Patches that outlive the guest they were made in.
 *
 * What went in after an incident is stored, signed; with `respond = ask` it is taken out again, and stored as proposed, until the operator
 * approves it. A VM knows the active patches of the store from its start, and those that come to it later (look.c puts them in).
 */
#include <assert.h>
#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "daemon/vm_internal.h"
#include "store/patch_file.h"

#define TASKS_MAX 1024u

static_assert(CALL_FORMAT == 10 && BOUND_ARGUMENT == 4 && FINDING_CALL == 1, "the names in a record are in this order");
static_assert(FIELD_BYTES_MAX >= PATCH_GUARD_MAX && FIELD_BYTES_MAX >= VMI_BUILD_ID_MAX, "a patch fits a record");

/* ---- to the store ---- */

static struct field_bytes bytes(const uint8_t *p, size_t n)
{
	struct field_bytes b = {.len = (uint8_t)n};

	memcpy(b.byte, p, n);
	return b;
}

static void record_bounds(const struct finding *f, struct patch_record *r)
{
	r->culprit_offset = f->culprit_file_offset;
	r->culprit_len = f->culprit_len;
	r->kind = f->kind;
	r->effect = f->effect;
	r->bound = f->bound;
	r->cfa_reg = f->cfa.reg;
	r->cfa_offset = f->cfa.offset;
	r->start_offset = f->start_offset;
	r->end_offset = f->end_offset;
	r->caller_build_id = bytes(f->caller.build_id, f->caller.build_id_len);
	if (f->caller_return.v)
		r->caller_return = f->caller_return.v - finding_bias(f);
	r->caller_slot = f->caller_slot;
	r->part_of = f->part_of;
	r->error_offset = f->bound == BOUND_MODULE ? f->error_address.v - finding_bias(f) : 0;
	r->error_length = f->error_length;
	r->pointer_store = f->pointer_store;
}

void keep_record(const struct patch *p, const struct finding *f, const struct incident *in, struct patch_record *ret)
{
	struct patch_record r = {.incident = in->id, .time_ms = (int64_t)time(NULL) * 1000};

	snprintf(r.vm, sizeof(r.vm), "%s", in->vm);
	snprintf(r.reason, sizeof(r.reason), "%s: %s", in->detector, in->object_text);
	snprintf(r.path, sizeof(r.path), "%s", p->path);
	snprintf(r.strategy, sizeof(r.strategy), "%s", p->strategy);
	snprintf(r.home, sizeof(r.home), "%s", p->home);
	r.build_id = bytes(p->build_id, p->build_id_len);
	r.bits = p->is_32bit ? 32 : 64;
	r.site_offset = p->site_offset;
	r.original = bytes(p->site_original, p->site_len);
	r.before = bytes(p->site_before, p->site_len);
	r.after = bytes(p->site_after, p->site_len);
	r.guard_offset = p->guard_offset;
	r.guard = bytes(p->guard, p->guard_len);
	r.routine_offset = p->routine_offset;
	r.routine = bytes(p->routine, p->routine_len);
	r.part_at = p->part_at;
	r.culprit_at = p->culprit_at;
	r.lower = p->lower;
	record_bounds(f, &r);
	r.history[0] = (struct patch_event){.time_ms = r.time_ms};
	snprintf(r.history[0].text, sizeof(r.history[0].text), "made in VM %s, incident %lld", in->vm,
		 (long long)in->id);
	r.n_history = 1;
	*ret = r;
}

/* The patch is that number of the store. It may be one that was not in the guest yet: then it is no other any more. */
static void settle(struct vm *vm, unsigned i, int64_t id)
{
	for (unsigned k = 0; k < vm->n_patches; k++) {
		if (k == i || vm->patch[k].stored != id)
			continue;
		vm->n_patches--;
		memmove(&vm->patch[k], &vm->patch[k + 1], (vm->n_patches - k) * sizeof(vm->patch[0]));
		i -= k < i;
		break;
	}
	vm->patch[i].stored = id;
}

void keep_patch(struct vm *vm, struct incident *in)
{
	unsigned newest = vm->n_patches - 1;
	struct patch_key k;
	struct patch_record r;
	struct err e;
	char *file;
	bool is_new, have_key = patch_key_load(&k, &e) == 0;

	if (!have_key)
		log_warn("the patch is not signed: %s", e.text);
	keep_record(&vm->patch[newest].patch, &vm->patch[newest].finding, in, &r);
	r.state = vm->cfg->respond == CONFIG_RESPOND_ASK ? PATCH_PROPOSED : PATCH_ACTIVE;
	file = patch_file_write(&r, have_key ? &k : NULL, &e);
	if (!file || store_add_patch(vm->store, &r, file, &is_new, &e) < 0) {
		log_error("the patch could not be stored, and will be lost with the guest's memory: %s", e.text);
	} else {
		settle(vm, newest, r.id);
		if (!in->patch_id) {
			in->patch_id = r.id;
			snprintf(in->patch_state, sizeof(in->patch_state), "%s", patch_state_name(r.state));
		}
	}
	vm->patch[vm->n_patches - 1].unwanted = r.state != PATCH_ACTIVE;
	free(file);
}

/* ---- from the store ---- */

static void put_bytes(uint8_t *to, size_t size, const struct field_bytes *b)
{
	memcpy(to, b->byte, b->len < size ? b->len : size);
}

static void load_finding(const struct patch_record *r, struct finding *f)
{
	snprintf(f->module.path, sizeof(f->module.path), "%s", r->path);
	put_bytes(f->module.build_id, sizeof(f->module.build_id), &r->build_id);
	f->module.build_id_len = r->build_id.len;
	f->kind = (enum finding_kind)r->kind;
	f->is_32bit = r->bits == 32;
	f->bug = gva(r->site_offset);
	f->bug_len = r->before.len;
	f->culprit = gva(r->culprit_offset);
	f->culprit_file_offset = r->culprit_offset;
	f->culprit_len = (uint8_t)r->culprit_len;
	f->effect = (enum call_effect)r->effect;
	f->bound = (enum bound_kind)r->bound;
	f->cfa = (struct finding_cfa){(uint8_t)r->cfa_reg, r->cfa_offset};
	f->start_offset = r->start_offset;
	f->end_offset = r->end_offset;
	f->caller_return = gva(r->caller_return);
	put_bytes(f->caller.build_id, sizeof(f->caller.build_id), &r->caller_build_id);
	f->caller.build_id_len = r->caller_build_id.len;
	f->caller_slot = r->caller_slot;
	f->part_of = r->part_of;
	f->error_address = gva(r->error_offset);
	f->error_length = r->error_length;
	f->pointer_store = r->pointer_store;
}

void keep_load(const struct patch_record *r, struct vm_patch *ret)
{
	struct vm_patch vp = {.culprit_offset = r->culprit_offset, .incident = r->incident, .stored = r->id};
	struct patch *p = &vp.patch;

	snprintf(p->path, sizeof(p->path), "%s", r->path);
	put_bytes(p->build_id, sizeof(p->build_id), &r->build_id);
	p->build_id_len = r->build_id.len;
	p->is_32bit = r->bits == 32;
	p->strategy = g_intern_string(r->strategy);
	p->home = g_intern_string(r->home);
	p->is_private = strcmp(r->home, "process") == 0;
	p->site_offset = r->site_offset;
	p->site_len = r->before.len;
	put_bytes(p->site_original, sizeof(p->site_original), &r->original);
	put_bytes(p->site_before, sizeof(p->site_before), &r->before);
	put_bytes(p->site_after, sizeof(p->site_after), &r->after);
	p->guard_offset = r->guard_offset;
	p->guard_len = r->guard.len;
	put_bytes(p->guard, sizeof(p->guard), &r->guard);
	p->routine_offset = r->routine_offset;
	p->routine_len = r->routine.len;
	put_bytes(p->routine, sizeof(p->routine), &r->routine);
	p->part_at = (uint8_t)r->part_at;
	p->culprit_at = (uint8_t)r->culprit_at;
	p->lower = (uint16_t)r->lower;
	load_finding(r, &vp.finding);
	vp.dormant = true;
	*ret = vp;
}

static struct vm_patch *find_stored(struct vm *vm, int64_t id)
{
	for (unsigned i = 0; i < vm->n_patches; i++)
		if (vm->patch[i].stored == id)
			return &vm->patch[i];
	return NULL;
}

static bool follow_one(void *arg, const struct patch_record *r)
{
	struct vm *vm = arg;
	struct vm_patch *vp = find_stored(vm, r->id);

	if (!vp && r->state == PATCH_ACTIVE) {
		if (vm->n_patches == VM_PATCHES_MAX) {
			log_warn("more than %u patches are stored: those from number %lld on are not put in",
				 VM_PATCHES_MAX, (long long)r->id);
			return false;
		}
		keep_load(r, &vm->patch[vm->n_patches++]);
	} else if (vp && vp->unwanted != (r->state != PATCH_ACTIVE)) {
		vp->unwanted = !vp->unwanted;
		vp->tries = 0;
		vp->next_try_ns = 0;
	}
	vm->newest_change = r->change;
	return true;
}

void keep_follow(struct vm *vm)
{
	struct err e;

	if (store_each_change(vm->store, vm->newest_change, follow_one, vm, &e) < 0)
		log_debug("stored patches: %s", e.text);
}

/* ---- what the operator asks ---- */

static json_t *verify_rows(struct vm *vm, const struct vm_patch *vp)
{
	struct vmi_task *task = calloc(TASKS_MAX, sizeof(*task));
	json_t *rows = json_array();
	int n = task ? vmi_tasks(vm->vmi, task, TASKS_MAX, NULL) : -1;

	for (int k = 0; k < n; k++)
		if (task[k].mm.v && patch_concerns(&vp->patch, vm->vmi, &task[k]))
			json_array_append_new(rows, json_pack("{s:i, s:s, s:b}", "pid", (int)task[k].tgid, "comm",
							      task[k].comm, "patched",
							      patch_is_applied(&vp->patch, vm->vmi, &task[k])));
	free(task);
	return rows;
}

json_t *vm_verify(struct vm *vm, const json_t *request)
{
	json_int_t id = json_integer_value(json_object_get(request, "id"));
	struct err e;

	keep_follow(vm);
	for (unsigned i = 0; i < vm->n_patches; i++) {
		if (vm->patch[i].stored != id)
			continue;
		if (vm_find_kernel(vm, &e) < 0)
			return json_pack("{s:b, s:s}", "ok", 0, "error", e.text);
		return json_pack("{s:b, s:s, s:I, s:o}", "ok", 1, "name", vm->cfg->name, "id", id, "processes",
				 verify_rows(vm, &vm->patch[i]));
	}
	return json_pack("{s:b, s:s}", "ok", 0, "error",
			 "the VM does not know that patch: 'clouder patch list' lists those that are kept");
}
