/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Going back to a checkpoint without a detection: because the operator says so, or because the engine died.
 *
 * Patches that are in place stay: they are put in again, as after a detection. An engine that dies, dies perhaps of what
 * it was given; so when it does so soon and again, the input since the checkpoint is not delivered once more.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "base/log.h"
#include "daemon/respond_internal.h"

/* One that lived so long did not die of how it began. */
#define REVIVED_WELL_NS 2000000000ull
/* In a row: with the input since the checkpoint, then without, then the VM is over. */
#define REVIVALS_WITH_INPUT 2u
#define REVIVALS_MAX 4u
/* Times that it is switched on, where there is nothing to go back to yet. */
#define BOOTS_MAX 3u

void vm_kill_active(struct vm *vm)
{
	undo_detach(vm->undo);
	vm_stop_engine(&vm->active);
}

int vm_go_on(struct vm *vm, struct err *e)
{
	vm->detect_pending = false;
	vm->n_waiting = 0;
	if (engine_continue(vm->active.en, e) < 0 && !vm->detect_pending)
		return -1;
	vm->state = VM_RUNNING;
	if (vm->active.dead)
		loop_timer_set(vm->revive_timer, 0);
	/* Something may have been detected at once: then the network stays frozen, and it is answered next. */
	if (vm->detect_pending)
		return 0;
	vm_thaw_devices(vm);
	net_resume(vm->net);
	return 0;
}

/* Memory is at the checkpoint again, with the patches that are in place. */
static int restore(struct response *r, struct err *e)
{
	uint64_t pages;
	struct err why;

	if (checkpoint_restore_memory(r->vm->ring, r->checkpoint.id, &pages, e) < 0)
		return -1;
	r->in.pages_undone += pages;
	/* What an older checkpoint might take better is not asked: this one is wanted. */
	if (!insert_patches(r, &why) || r->missing)
		log_warn("%u patches are not in place: checkpoint %llu is no moment for them", r->missing,
			 (unsigned long long)r->checkpoint.id);
	return 0;
}

static int take_over(struct response *r, bool drop, unsigned *ret_reset, struct err *e)
{
	struct vm *vm = r->vm;
	uint64_t id = r->checkpoint.id;

	if (restore(r, e) < 0 || vm_next_engine(vm, e) < 0 ||
	    checkpoint_restore_engine(vm->ring, id, vm->active.en, vm->active.protected_bytes, vm->loop, e) < 0)
		return -1;
	if (drop && checkpoint_drop(vm->ring, id, ret_reset, e) < 0)
		return -1;
	if (!drop && checkpoint_replay(vm->ring, id, e) < 0)
		log_warn("input since the checkpoint: %s", e->text);
	return vm_go_on(vm, e);
}

/* The VM goes back to r->checkpoint and on from there. -1: the VM is over. */
static int go_back(struct response *r, bool drop, unsigned *ret_reset, struct err *e)
{
	struct vm *vm = r->vm;

	vm_freeze_devices(vm);
	vm->state = VM_RESPONDING;
	vm->last_rollback = vm->rollbacks_in_row = 0;
	*ret_reset = 0;
	for (unsigned tries = 1;; tries++) {
		vm_kill_active(vm);
		if (take_over(r, drop, ret_reset, e) == 0)
			return 0;
		log_warn("going on from checkpoint %llu: %s", (unsigned long long)r->checkpoint.id, e->text);
		if (tries == VM_ENGINES_MAX)
			break;
	}
	vm_kill_active(vm);
	vm_end(vm, e);
	return -1;
}

/* ---- the operator ---- */

static json_t *refuse(const struct err *e)
{
	return json_pack("{s:b, s:s}", "ok", 0, "error", e->text);
}

/* held_too: also a VM that was stopped at a detection. */
static int check_calm(const struct vm *vm, bool held_too, struct err *e)
{
	if (vm->state == VM_HELD)
		return held_too
			       ? 0
			       : err_set(e, ERR_STATE,
					 "the VM is held at an attack: go back with 'clouder rollback', or end it with "
					 "'clouder stop'");
	if (vm->state != VM_RUNNING || vm->detect_pending || vm->trace || vm->active.dead)
		return err_set(e, ERR_STATE, "the VM is being recovered: try again when it is done");
	return 0;
}

json_t *vm_checkpoint(struct vm *vm)
{
	struct checkpoint_info info;
	struct err e;

	if (check_calm(vm, false, &e) < 0 || vm_take_checkpoint(vm, CHECKPOINT_OPERATOR, &info, &e) < 0)
		return refuse(&e);
	return json_pack("{s:b, s:I, s:I, s:I}", "ok", 1, "number", (json_int_t)info.id, "pause_us",
			 (json_int_t)info.pause_us, "state_bytes", (json_int_t)info.state_bytes);
}

static const char *why_name(enum checkpoint_why why)
{
	static const char *const names[] = {
		[CHECKPOINT_INPUT] = "input", [CHECKPOINT_OUTPUT] = "output", [CHECKPOINT_OPERATOR] = "operator"};

	return names[why];
}

json_t *vm_checkpoints(struct vm *vm)
{
	json_t *list = json_array();
	uint64_t now = loop_now_ns();

	for (unsigned i = 0; i < checkpoint_count(vm->ring); i++) {
		struct checkpoint_entry c = checkpoint_entry(vm->ring, i);

		json_array_append_new(list, json_pack("{s:I, s:I, s:s, s:I, s:I, s:I, s:I, s:b}", "number",
						      (json_int_t)c.info.id, "age_ms",
						      (json_int_t)((now - c.info.time_ns) / 1000000), "why",
						      why_name(c.info.why), "pages", (json_int_t)c.pages, "undo_bytes",
						      (json_int_t)c.pages * GUEST_PAGE_SIZE, "state_bytes",
						      (json_int_t)c.info.state_bytes, "pause_us",
						      (json_int_t)c.info.pause_us, "usable", c.usable));
	}
	return json_pack("{s:b, s:s, s:o}", "ok", 1, "name", vm->cfg->name, "checkpoints", list);
}

static int choose(const struct vm *vm, const json_t *request, struct checkpoint_info *ret, struct err *e)
{
	const json_t *number = json_object_get(request, "number");
	struct err why;

	if (!number)
		return checkpoint_newest(vm->ring, ret, e);
	if (!json_is_integer(number) || json_integer_value(number) < 1)
		return err_set(e, ERR_USAGE, "a checkpoint's number is a whole number from 1");
	if (checkpoint_find(vm->ring, (uint64_t)json_integer_value(number), ret, &why) < 0)
		return err_set(e, why.code, "%.100s ('clouder checkpoints' lists those that are kept)", why.text);
	return 0;
}

static json_t *rolled_back(const struct response *r, uint64_t start, uint64_t frames, bool drop, unsigned reset)
{
	return json_pack("{s:b, s:I, s:I, s:I, s:I, s:s, s:i, s:i, s:I}", "ok", 1, "number",
			 (json_int_t)r->checkpoint.id, "age_ms",
			 (json_int_t)((start - r->checkpoint.time_ns) / 1000000), "pages_undone",
			 (json_int_t)r->in.pages_undone, "frames", (json_int_t)frames, "input",
			 drop ? "dropped" : "replayed", "connections_reset", (int)reset, "patches_missing",
			 (int)r->missing, "took_us", (json_int_t)((loop_now_ns() - start) / 1000));
}

json_t *vm_rollback(struct vm *vm, const json_t *request)
{
	bool drop = json_is_true(json_object_get(request, "drop"));
	struct response *r = calloc(1, sizeof(*r));
	uint64_t start = loop_now_ns(), frames;
	unsigned reset;
	json_t *answer;
	struct err e;

	if (!r)
		return NULL;
	r->vm = vm;
	if (check_calm(vm, true, &e) < 0 || choose(vm, request, &r->checkpoint, &e) < 0) {
		free(r);
		return refuse(&e);
	}
	log_info("going back to checkpoint %llu by request, input since then is %s",
		 (unsigned long long)r->checkpoint.id, drop ? "dropped" : "delivered again");
	frames = net_position(vm->net) - r->checkpoint.seq;
	answer = go_back(r, drop, &reset, &e) < 0 ? refuse(&e) : rolled_back(r, start, frames, drop, reset);
	free(r);
	return answer;
}

/* ---- patches of the store ---- */

void vm_renew(struct vm *vm, const struct checkpoint_info *from)
{
	struct response *r = calloc(1, sizeof(*r));
	uint64_t start = loop_now_ns();
	unsigned reset;
	struct err e;

	if (!r)
		return;
	r->vm = vm;
	if (from) {
		r->checkpoint = *from;
	} else if (vm_take_checkpoint(vm, CHECKPOINT_OPERATOR, &r->checkpoint, &e) < 0 ||
		   check_calm(vm, false, &e) < 0) {
		log_debug("patches of the store are not put in now: %s", e.text);
		free(r);
		return;
	}
	if (go_back(r, false, &reset, &e) == 0)
		log_info("patches of the store were put in or taken out: another engine goes on, %llu ms",
			 (unsigned long long)(loop_now_ns() - start) / 1000000);
	free(r);
}

void vm_keep(void *arg, uint32_t events)
{
	struct vm *vm = arg;
	struct err e;

	(void)events;
	if (check_calm(vm, false, &e) == 0 && vm->guest_seen && look_for_patches(vm))
		vm_renew(vm, NULL);
	if (vm->state != VM_ENDED)
		loop_timer_set(vm->keep_timer, VM_KEEP_MS);
}

/* ---- an engine that died ---- */

/* How it ended, and that the VM is over. */
static void over(struct vm *vm, const char *because)
{
	const char *words = *vm->died.text ? vm->died.text : "QEMU ended";
	struct err e;

	err_set(&e, ERR_GONE, "%.160s%s; the VM is over", words, because);
	vm_end(vm, &e);
}

/*
 * Before the first checkpoint nothing has come from outside, and nothing that the guest has sent matters much: as after a
 * power failure it begins anew, with the disks as they are.
 */
static int switch_on_again(struct vm *vm, struct err *e)
{
	vm_kill_active(vm);
	vm_guest_resets(vm);
	vm->guest_seen = false;
	if (fallocate(vm->ram_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)vm->args.ram_size) < 0)
		return err_set_errno(e, "emptying guest memory");
	loop_timer_set(vm->boot_timer, vm->cfg->boot_timeout_s * 1000);
	return vm_switch_on(vm, e);
}

/* There is no checkpoint to go back to. */
static void begin_anew(struct vm *vm)
{
	struct err e;

	if (vm->last_checkpoint_ns) {
		over(vm, ", and there is no checkpoint to go back to");
	} else if (vm->boots >= BOOTS_MAX) {
		over(vm, ", again and again before there was a checkpoint to go back to");
	} else {
		log_warn("%s; there is no checkpoint to go back to yet: the VM is switched on again", vm->died.text);
		if (switch_on_again(vm, &e) < 0)
			vm_end(vm, &e);
	}
}

static unsigned count_deaths(struct vm *vm, uint64_t checkpoint)
{
	uint64_t now = loop_now_ns();

	if (vm->revived_from != checkpoint || now - vm->revived_ns > REVIVED_WELL_NS)
		vm->revivals_in_row = 0;
	vm->revived_from = checkpoint;
	return ++vm->revivals_in_row;
}

void vm_revive(void *arg, uint32_t events)
{
	struct vm *vm = arg;
	struct response *r;
	unsigned deaths, reset;
	struct err e;

	(void)events;
	/* Who answers a detection goes back anyway. */
	if (vm->state != VM_RUNNING || !vm->active.dead || vm->detect_pending)
		return;
	if (vm->trace) {
		respond_without_trace(vm);
		return;
	}
	r = calloc(1, sizeof(*r));
	if (!r || checkpoint_newest(vm->ring, &r->checkpoint, &e) < 0) {
		begin_anew(vm);
		free(r);
		return;
	}
	r->vm = vm;
	deaths = count_deaths(vm, r->checkpoint.id);
	if (deaths > REVIVALS_MAX) {
		over(vm, ", again and again");
	} else {
		log_warn("%s; going on from checkpoint %llu%s", vm->died.text, (unsigned long long)r->checkpoint.id,
			 deaths > REVIVALS_WITH_INPUT ? ", without the input since then" : "");
		if (go_back(r, deaths > REVIVALS_WITH_INPUT, &reset, &e) == 0)
			vm->revivals++;
		vm->revived_ns = loop_now_ns();
	}
	free(r);
}
