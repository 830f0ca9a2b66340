/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a detection leads to: locate, patch, roll back, go on.
 *
 * The engine that detected is frozen while we look at guest memory, then
 * killed. Rungs, from the best to the last: a patch for the culprit; dropping
 * the connection that brought the bytes (when no patch can be made, or when a patched culprit is hit again);
 * leaving the VM frozen (when there is nothing to go back to). The attack is never let through, but for
 * `respond = observe`, where the operator wants just that.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "daemon/vm_internal.h"
#include "locate/locate.h"

/* Other stores into the object that ran over: guarded too, as far as that goes. */
#define SIBLINGS_MAX 4u

/* One answer under construction. */
struct response {
	struct vm *vm;
	struct taint_msg_detect detect;
	uint32_t newest_origin; /* of the input before it */
	struct incident in;
	struct finding finding;
	struct vmi_task task;
	struct patch patch;
	struct finding sibling[SIBLINGS_MAX];
	size_t n_siblings;
	bool have_task, have_finding, have_patch;
	struct checkpoint_info checkpoint;
	bool tracing; /* the input is run again to see who writes what */
	bool traced_again; /* and once more, with the stack elsewhere */
	unsigned stops; /* of that run */
	uint64_t located_ns, recover_ns, insert_ns, end_ns;
};

static int64_t us_between(uint64_t from, uint64_t to)
{
	return to > from ? (int64_t)((to - from) / 1000) : 0;
}

static void keep(struct response *r)
{
	struct err e;

	if (store_put_incident(r->vm->store, &r->in, &e) < 0)
		log_error("the incident could not be stored: %s", e.text);
}

static void step(struct response *r, const char *event)
{
	r->vm->ops.step(r->vm->ops_arg, event, &r->in);
}

static void note_failure(struct response *r, const char *doing, const struct err *e)
{
	if (!*r->in.failure)
		snprintf(r->in.failure, sizeof(r->in.failure), "%.40s: %.270s", doing, e->text);
}

/* Introspection from the registers of the detection, if there is none yet. */
static int have_vmi(struct response *r, struct err *e)
{
	const struct taint_msg_detect *d = &r->detect;
	struct vmi_space space;

	if (r->vm->vmi)
		return 0;
	vmi_space_init(&space, r->vm->gmem, d->cr0, d->cr3, d->cr4, d->efer);
	return vmi_create(&space, &r->vm->vmi, e);
}

/* The plugin knows where the instruction lies in RAM, but at which address only of the process translated first. */
static void resolve_pc(struct response *r)
{
	struct taint_msg_detect *d = &r->detect;
	struct gva pc;
	struct err e;

	if (gva_is_kernel(gva(d->pc)) || d->code_offset == UINT64_MAX)
		return;
	if (vmi_find_code(r->vm->vmi, &r->task, d->code_offset, &pc, &e) < 0)
		return;
	d->pc = pc.v;
	r->in.detect_pc = pc.v;
}

/* Detectors that stop in the midst of it: the stack may tell the culprit at once. */
static int locate_now(struct response *r, const struct locate_input *in)
{
	const struct finding nothing = {0};
	struct err e;

	if (r->detect.detector != TAINT_DETECT_POINTER && r->detect.detector != TAINT_DETECT_ABORT &&
	    r->detect.detector != TAINT_DETECT_FAULT)
		return -1;
	return locate_live(in, &nothing, &r->finding, &e);
}

static int locate(struct response *r, struct locate_input *in, struct err *e)
{
	int rc;

	if (have_vmi(r, e) < 0 || vmi_task_by_cr3(r->vm->vmi, r->detect.cr3, &r->task, e) < 0)
		return -1;
	r->have_task = true;
	r->in.pid = r->task.tgid;
	snprintf(r->in.comm, sizeof(r->in.comm), "%s", r->task.comm);
	resolve_pc(r);
	in->vmi = r->vm->vmi;
	ladder_hide_patches(r->vm, in);
	rc = locate_now(r, in);
	if (rc < 0)
		rc = locate_culprit(in, &r->finding, e);
	r->have_finding = r->finding.culprit.v != 0;
	if (r->have_finding)
		describe_finding(&r->finding, &r->in);
	return rc;
}

static int make_patch(struct response *r, const struct locate_input *in, struct err *e)
{
	if (r->vm->n_patches == VM_PATCHES_MAX)
		return err_set(e, ERR_LIMIT, "%u patches are in place, no more are kept", VM_PATCHES_MAX);
	if (ladder_generate(r->vm, &r->task, &r->finding, &r->patch, e) < 0)
		return -1;
	r->have_patch = true;
	describe_finding(&r->finding, &r->in);
	describe_patch(&r->patch, &r->in);
	r->n_siblings = locate_siblings(in, &r->finding, r->sibling, SIBLINGS_MAX);
	return 0;
}

/* The culprit is known. */
static void patch_finding(struct response *r, const struct locate_input *in)
{
	struct err e = {0};

	r->in.state = INCIDENT_LOCATED;
	step(r, "located");
	if (make_patch(r, in, &e) < 0)
		note_failure(r, "making a patch", &e);
	else
		r->in.state = INCIDENT_PATCHED;
}

static void locate_and_patch(struct response *r)
{
	struct locate_input in = {.shadow = r->vm->shadow, .detect = &r->detect};
	struct err e = {0};

	if (locate(r, &in, &e) < 0)
		note_failure(r, "locating the culprit", &e);
	else
		patch_finding(r, &in);
	r->located_ns = loop_now_ns();
	r->in.t_locate_us = us_between(r->detect.time_ns, r->located_ns);
	step(r, r->have_patch ? "patched" : "no-patch");
}

/* Origin of the earliest input byte that the damage depends on, as far as known. */
static uint32_t earliest_origin(const struct response *r)
{
	uint32_t first = 0;

	if (r->have_finding && r->finding.run_first_origin)
		return r->finding.run_first_origin & TAINT_POSITION;
	for (unsigned i = 0; i < r->detect.object_len; i++) {
		uint32_t o = r->detect.label[i].origin & TAINT_POSITION;

		if (o && (!first || taint_origin_before(o, first)))
			first = o;
	}
	/* Nothing is tainted where a program ends itself: then it was the newest input. */
	if (!first && r->newest_origin)
		first = r->newest_origin;
	return first;
}

/* Damage that is older than the checkpoint comes back with it: after some tries an older one is taken. */
#define ROLLBACKS_IN_ROW_MAX 3u

static int avoid_repetition(struct response *r, struct err *e)
{
	struct vm *vm = r->vm;

	if (r->checkpoint.id == vm->last_rollback && vm->rollbacks_in_row >= ROLLBACKS_IN_ROW_MAX &&
	    checkpoint_older(vm->ring, vm->last_rollback, &r->checkpoint, e) < 0)
		return err_prefix(e, "going back to checkpoint %llu %u times did not help",
				  (unsigned long long)vm->last_rollback, vm->rollbacks_in_row);
	vm->rollbacks_in_row = r->checkpoint.id == vm->last_rollback ? vm->rollbacks_in_row + 1 : 1;
	vm->last_rollback = r->checkpoint.id;
	return 0;
}

static int choose_checkpoint(struct response *r, struct err *e)
{
	struct net_origin origin;
	uint64_t seq = 0;

	if (net_find_origin(r->vm->net, earliest_origin(r), &origin))
		seq = origin.seq;
	if (checkpoint_before(r->vm->ring, seq, &r->checkpoint, e) < 0 &&
	    checkpoint_oldest(r->vm->ring, &r->checkpoint, e) < 0)
		return -1;
	if (avoid_repetition(r, e) < 0)
		return -1;
	r->in.checkpoint_id = (int64_t)r->checkpoint.id;
	r->in.checkpoint_age_us = us_between(r->checkpoint.time_ns, r->detect.time_ns);
	return 0;
}

static void kill_active(struct vm *vm)
{
	undo_detach(vm->undo);
	vm_stop_engine(&vm->active);
}

/*
 * A process that has the patch's module mapped: the one attacked, or, if it did not exist yet at the checkpoint, another. If
 * none has: the file itself. A private patch: all that have.
 */
static int apply_to_some_task(struct response *r, const struct patch *p, struct err *e)
{
	static struct vmi_task tasks[1024];
	bool concerns_some = false, taken = false;
	int n, last = -1;

	if (!p->is_private && r->have_task && patch_apply(p, r->vm->vmi, &r->task, e) == 0)
		return 0;
	n = vmi_tasks(r->vm->vmi, tasks, sizeof(tasks) / sizeof(tasks[0]), e);
	for (int i = 0; i < n; i++) {
		if (!tasks[i].mm.v)
			continue;
		if (patch_apply(p, r->vm->vmi, &tasks[i], e) == 0) {
			if (!p->is_private)
				return 0;
			taken = true;
		}
		concerns_some |= patch_concerns(p, r->vm->vmi, &tasks[i]);
		last = i;
	}
	if (taken)
		return 0;
	if (last >= 0 && !concerns_some && patch_apply_to_file(p, r->vm->vmi, &tasks[last], e) == 0)
		return 0;
	return err_prefix(e, "no process at the checkpoint takes the patch");
}

static void remember_patch(struct response *r, const struct patch *p, const struct finding *f)
{
	struct vm *vm = r->vm;

	vm->patch[vm->n_patches++] = (struct vm_patch){
		.patch = *p, .finding = *f, .culprit_offset = f->culprit_file_offset, .incident = r->in.id};
}

/* Their guards can be made only now: the code cave must show what the first one takes. */
static void insert_siblings(struct response *r)
{
	struct err e = {0};
	struct patch p;

	for (size_t i = 0; i < r->n_siblings && r->vm->n_patches < VM_PATCHES_MAX; i++) {
		if (ladder_generate(r->vm, &r->task, &r->sibling[i], &p, &e) < 0 || apply_to_some_task(r, &p, &e) < 0) {
			log_debug("%s at 0x%llx is not guarded: %s", r->sibling[i].culprit_text,
				  (unsigned long long)r->sibling[i].culprit.v, e.text);
			continue;
		}
		remember_patch(r, &p, &r->sibling[i]);
		r->in.also_guarded++;
	}
}

/* RAM is at the checkpoint: put in the new patch, and those that the rollback took out. */
static void insert_patches(struct response *r)
{
	struct vm *vm = r->vm;
	struct err e = {0};

	for (unsigned i = 0; i < vm->n_patches; i++)
		if (apply_to_some_task(r, &vm->patch[i].patch, &e) < 0 && !ladder_superseded(vm, i))
			log_warn("patch of incident %lld is not in place: %s", (long long)vm->patch[i].incident,
				 e.text);
	if (!r->have_patch)
		return;
	if (apply_to_some_task(r, &r->patch, &e) < 0) {
		note_failure(r, "inserting the patch", &e);
		r->have_patch = false;
		return;
	}
	remember_patch(r, &r->patch, &r->finding);
	insert_siblings(r);
}

static void block_flow(struct response *r)
{
	struct net_origin origin;

	if (!net_find_origin(r->vm->net, earliest_origin(r), &origin))
		return;
	net_block_flow(r->vm->net, &origin);
	r->vm->flows_blocked++;
}

/* The lowest tainted byte of what was corrupted. */
static int set_watch(struct response *r, struct err *e)
{
	const struct taint_msg_detect *d = &r->detect;
	unsigned i = 0;

	while (i < d->object_len && !d->label[i].origin)
		i++;
	if (i == d->object_len)
		return err_set(e, ERR_STATE, "no tainted byte to watch");
	return engine_watch(r->vm->active.en, gva(d->object_gva + i), &d->label[i], r->traced_again, e);
}

static int roll_back(struct response *r, struct err *e)
{
	struct vm *vm = r->vm;
	uint64_t start;

	r->in.frames_replayed = net_position(vm->net) - r->checkpoint.seq;
	kill_active(vm);
	if (checkpoint_restore_memory(vm->ring, r->checkpoint.id, &r->in.pages_undone, e) < 0)
		return -1;
	start = loop_now_ns();
	insert_patches(r);
	r->insert_ns = loop_now_ns() - start;
	if (!r->have_patch && !r->tracing)
		block_flow(r);
	step(r, "rolled-back");
	if (vm_next_engine(vm, e) < 0 || (r->tracing && set_watch(r, e) < 0) ||
	    checkpoint_restore_engine(vm->ring, r->checkpoint.id, vm->active.en, vm->loop, e) < 0)
		return -1;
	if (checkpoint_replay(vm->ring, r->checkpoint.id, e) < 0)
		log_warn("input since the checkpoint: %s", e->text);
	vm->detect_pending = false;
	vm->state = VM_RUNNING;
	/* Something may be detected at once: then the network stays frozen, and it is answered next. */
	if (engine_continue(vm->active.en, e) < 0 && !vm->detect_pending)
		return -1;
	if (vm->detect_pending)
		return 0;
	net_thaw(vm->net);
	net_resume(vm->net);
	return 0;
}

static void finish_times(struct response *r)
{
	uint64_t arrival = vm_arrival_time(r->vm, earliest_origin(r)), detected = r->detect.time_ns;

	r->end_ns = loop_now_ns();
	r->in.t_detect_us = arrival ? us_between(arrival, detected) : 0;
	r->in.t_insert_us = (int64_t)(r->insert_ns / 1000);
	r->in.t_recover_us = us_between(r->located_ns + r->insert_ns, r->end_ns);
	r->in.t_total_us = r->in.t_detect_us + us_between(detected, r->end_ns);
}

/* The engine stays frozen: nothing of the attack happens, and the operator decides. */
static void hold(struct response *r, const char *doing, const struct err *e)
{
	note_failure(r, doing, e);
	r->in.state = INCIDENT_FAILED;
	snprintf(r->in.vm_state, sizeof(r->in.vm_state), "held");
	r->vm->state = VM_HELD;
	finish_times(r);
	keep(r);
	step(r, "failed");
	log_error("VM held where the attack was detected: %s; end it with `clouder stop`", r->in.failure);
}

static void recover(struct response *r)
{
	struct err e = {0};

	if (!r->checkpoint.id && choose_checkpoint(r, &e) < 0) {
		hold(r, "recovering", &e);
		return;
	}
	if (roll_back(r, &e) < 0) {
		note_failure(r, "recovering", &e);
		r->in.state = INCIDENT_FAILED;
		snprintf(r->in.vm_state, sizeof(r->in.vm_state), "ended");
		keep(r);
		step(r, "failed");
		vm_end(r->vm, &e);
		return;
	}
	finish_times(r);
	r->vm->recoveries++;
	r->in.state = INCIDENT_RECOVERED;
	snprintf(r->in.vm_state, sizeof(r->in.vm_state), "running");
	keep(r);
	step(r, r->have_patch ? "recovered" : "contained");
}

/* The VM goes on as if nothing had been detected. */
static void let_go(struct vm *vm, const struct taint_msg_detect *d)
{
	struct err e;

	vm->detect_pending = false;
	vm->state = VM_RUNNING;
	engine_thaw(vm->active.en);
	engine_let_go(vm->active.en, d->vcpu);
	/* A stop that the detection interrupted takes effect now; undo it. */
	if (engine_continue(vm->active.en, &e) < 0 && !vm->detect_pending)
		log_warn("%s", e.text);
	if (vm->detect_pending)
		return;
	net_thaw(vm->net);
	net_resume(vm->net);
}

static void observe(struct response *r)
{
	snprintf(r->in.vm_state, sizeof(r->in.vm_state), "running");
	keep(r);
	step(r, "observed");
	let_go(r->vm, &r->detect);
}

/* How long the repeated run may take to come to the same place. */
#define TRACE_MS 20000u
/* How many writes of the same bytes are looked at where the place is not known. */
#define STOPS_MAX 32u

/* Whether another run can tell more: the writer is known, its caller is not. */
static bool can_trace(const struct response *r)
{
	return !r->have_patch && r->in.state != INCIDENT_LOCATED && r->vm->cfg->respond != CONFIG_RESPOND_OBSERVE &&
	       r->detect.object_gva && r->detect.object_len && ladder_may_go_on(r->vm, &r->finding);
}

/* Goes back with no new patch, and has the engine stop where the object is overwritten. False: that failed. */
static bool start_trace(struct response *r)
{
	struct vm *vm = r->vm;
	struct err e = {0};

	if (choose_checkpoint(r, &e) < 0)
		return false;
	r->tracing = true;
	if (roll_back(r, &e) < 0) {
		note_failure(r, "running the input again", &e);
		return false;
	}
	vm->trace = r;
	loop_timer_set(vm->trace_timer, TRACE_MS);
	return true;
}

static void finish(struct response *r)
{
	r->vm->trace = NULL;
	r->tracing = false;
	loop_timer_cancel(r->vm->trace_timer);
	recover(r);
	free(r);
}

/*
 * The repeated run ended as the first one did, by the same bytes, but elsewhere in memory: another thread's stack, or that of
 * a process which is started for each request. The next run looks at all places where these bytes are written to.
 */
static bool trace_again(struct response *r)
{
	struct locate_input in = {.shadow = r->vm->shadow, .detect = &r->detect};
	const struct taint_msg_detect *now = &r->vm->detect;
	struct incident said = r->in;
	struct err e = {0};

	if (r->traced_again || now->detector != r->detect.detector || now->object_gva == r->detect.object_gva ||
	    now->object_len != r->detect.object_len || now->label[0].origin != r->detect.label[0].origin)
		return false;
	r->traced_again = true;
	r->detect = *now;
	if (locate(r, &in, &e) == 0) {
		patch_finding(r, &in);
		return false;
	}
	r->in = said;
	return start_trace(r);
}

/* What was found at the detection, as far as it is on the stack, where the stack is now. */
static struct finding found_first(const struct response *r)
{
	const struct taint_msg_detect *d = &r->vm->detect, *then = &r->detect;
	struct finding first = r->finding;
	unsigned i = 0, k = 0;
	uint64_t moved;

	if (!r->traced_again || d->detector != TAINT_DETECT_WATCH)
		return first;
	while (i < then->object_len && !then->label[i].origin)
		i++;
	while (k < d->object_len && i < then->object_len && d->label[k].origin != then->label[i].origin)
		k++;
	moved = d->object_gva + k - (then->object_gva + i);
	first.start_address = gva_add(first.start_address, moved);
	first.error_address = gva_add(first.error_address, moved);
	return first;
}

/* The same bytes may be copied to several places: on to the next. False: it was one too many. */
static bool look_on(struct response *r)
{
	if (!r->traced_again || ++r->stops > STOPS_MAX)
		return false;
	let_go(r->vm, &r->vm->detect);
	loop_timer_set(r->vm->trace_timer, TRACE_MS);
	return true;
}

/* The repeated run stopped: where the object is overwritten, if all went as before. */
static void trace_stopped(struct response *r)
{
	const uint32_t detector = r->detect.detector;
	struct locate_input in = {.vmi = r->vm->vmi,
				  .shadow = r->vm->shadow,
				  .detect = &r->vm->detect,
				  .return_hit = r->traced_again &&
						(detector == TAINT_DETECT_RETURN || detector == TAINT_DETECT_INDEX)};
	struct finding first = found_first(r), f;
	bool watched = r->vm->detect.detector == TAINT_DETECT_WATCH;
	struct err e = {0};

	r->vm->state = VM_RESPONDING;
	if (!watched && trace_again(r))
		return;
	ladder_hide_patches(r->vm, &in);
	/* What was not clear before may be now; else this is the better reason. */
	if (watched && locate_live(&in, &first, &f, &e) == 0) {
		*r->in.failure = '\0';
		r->finding = f;
		r->have_finding = true;
		describe_finding(&r->finding, &r->in);
		patch_finding(r, &in);
	} else if (watched) {
		if (look_on(r))
			return;
		*r->in.failure = '\0';
		note_failure(r, "locating the culprit in the repeated run", &e);
	}
	finish(r);
}

void respond_without_trace(struct vm *vm)
{
	if (!vm->trace || vm->state != VM_RUNNING || vm->detect_pending)
		return;
	net_freeze(vm->net);
	vm->state = VM_RESPONDING;
	finish(vm->trace);
}

void respond_forget(struct vm *vm)
{
	free(vm->trace);
	vm->trace = NULL;
}

static struct response *response_create(struct vm *vm)
{
	struct response *r = calloc(1, sizeof(*r));
	struct timespec now;

	if (!r)
		return NULL;
	clock_gettime(CLOCK_REALTIME, &now);
	r->vm = vm;
	r->detect = vm->detect;
	if (vm->n_arrivals)
		r->newest_origin = vm->arrival[(vm->n_arrivals - 1) % VM_ARRIVALS].origin;
	r->in.time_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
	r->in.state = INCIDENT_DETECTED;
	snprintf(r->in.vm, sizeof(r->in.vm), "%s", vm->cfg->name);
	snprintf(r->in.vm_state, sizeof(r->in.vm_state), "held");
	describe_detection(vm, &r->detect, &r->in);
	return r;
}

static void answer(struct vm *vm)
{
	struct response *r = response_create(vm);

	if (!r)
		return; /* frozen it stays */
	vm->detections++;
	keep(r); /* it has a number from here on */
	step(r, "detected");
	locate_and_patch(r);
	if (can_trace(r) && start_trace(r))
		return;
	r->tracing = false;
	if (vm->cfg->respond == CONFIG_RESPOND_OBSERVE)
		observe(r);
	else
		recover(r);
	free(r);
}

void respond(struct vm *vm)
{
	if (!vm->detect_pending || vm->state != VM_RUNNING)
		return;
	vm->state = VM_RESPONDING;
	if (!judge(vm, &vm->detect))
		let_go(vm, &vm->detect);
	else if (vm->trace)
		trace_stopped(vm->trace);
	else
		answer(vm);
}
