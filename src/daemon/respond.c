/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a detection leads to: locate, patch, roll back, go on.
 *
 * The engine that detected is frozen while we look at guest memory, then
 * killed. Rungs, from the best to the last: a patch for the culprit; dropping
 * the connection that brought the bytes (when no patch can be made, when a patched culprit is hit again, or until
 * the operator has approved the patch);
 * leaving the VM frozen (when there is nothing to go back to). The attack is never let through, but for
 * `respond = observe`, where the operator wants just that.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "daemon/respond_internal.h"
#include "locate/locate.h"

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

	vm_kernel_at(r->vm, r->detect.time_ns);
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

/* What the failed pointer was read from is as it should be: to look for who wrote it would lead to the wrong one. */
static int refuse_strayed(struct response *r, const struct locate_input *in, struct err *e)
{
	uint64_t word = r->detect.object_gva;

	if (r->detect.detector != TAINT_DETECT_FAULT || !word || !locate_strayed(in))
		return 0;
	r->detect.object_gva = 0;
	return err_set_addr(e, ERR_REFUSED, word,
			    "the pointer was read from 0x%" PRIx64
			    ", where an index has led out of its table: there is no guard for loads",
			    word);
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
		rc = refuse_strayed(r, in, e) < 0 ? -1 : locate_culprit(in, &r->finding, e);
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
	return 0;
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

/* How many older checkpoints are tried where patches do not go in. */
#define OLDER_MAX 8u

/*
 * The new patch went in, and so did those beside it. Those that the operator has not approved go out again: memory is once more
 * as it was.
 */
static int leave_to_operator(struct response *r, struct err *e)
{
	struct vm *vm = r->vm;
	uint64_t pages;
	struct err why;
	bool wanted = true;

	for (unsigned i = 0; i < vm->n_patches; i++)
		wanted &= vm->patch[i].incident != r->in.id || !vm->patch[i].unwanted;
	if (wanted)
		return 0;
	r->have_patch = false;
	r->is_proposed = true;
	if (checkpoint_restore_memory(vm->ring, r->checkpoint.id, &pages, e) < 0)
		return -1;
	if (!insert_patches(r, &why))
		log_warn("checkpoint %llu takes fewer patches than before", (unsigned long long)r->checkpoint.id);
	return 0;
}

/* Memory goes back to the checkpoint, or to one before it at which the patches go in. */
static int restore_and_patch(struct response *r, struct err *e)
{
	struct vm *vm = r->vm;
	struct err why, none;

	r->in.pages_undone = 0;
	for (unsigned older = 0;; older++) {
		uint64_t start, pages;
		bool good;

		if (checkpoint_restore_memory(vm->ring, r->checkpoint.id, &pages, e) < 0)
			return -1;
		r->in.pages_undone += pages;
		start = loop_now_ns();
		good = insert_patches(r, &why);
		r->insert_ns = loop_now_ns() - start;
		if (good || older == OLDER_MAX ||
		    checkpoint_older(vm->ring, r->checkpoint.id, &r->checkpoint, &none) < 0)
			break;
		log_debug("checkpoint %llu, an older one, may be better to patch",
			  (unsigned long long)r->checkpoint.id);
	}
	if (r->missing)
		log_warn("%u patches of other incidents are not in place", r->missing);
	if (why.code != ERR_OK)
		note_failure(r, "inserting the patch", &why);
	r->have_patch &= why.code == ERR_OK;
	if (!r->have_patch)
		return 0;
	insert_keep(r);
	return leave_to_operator(r, e);
}

static void describe_rollback(struct response *r)
{
	r->in.checkpoint_id = (int64_t)r->checkpoint.id;
	r->in.checkpoint_age_us = us_between(r->checkpoint.time_ns, r->detect.time_ns);
	r->in.frames_replayed = net_position(r->vm->net) - r->checkpoint.seq;
	r->vm->last_rollback = r->checkpoint.id;
}

/* Memory is at the checkpoint: an engine that waits goes on from there. */
static int run_again(struct response *r, struct err *e)
{
	struct vm *vm = r->vm;

	if (vm_next_engine(vm, e) < 0 || (r->tracing && set_watch(r, e) < 0) ||
	    checkpoint_restore_engine(vm->ring, r->checkpoint.id, vm->active.en, vm->active.protected_bytes, vm->loop,
				      e) < 0)
		return -1;
	if (checkpoint_replay(vm->ring, r->checkpoint.id, e) < 0)
		log_warn("input since the checkpoint: %s", e->text);
	return vm_go_on(vm, e);
}

static int roll_back(struct response *r, struct err *e)
{
	struct vm *vm = r->vm;
	uint64_t pages;

	vm_kill_active(vm);
	if (restore_and_patch(r, e) < 0)
		return -1;
	if (!r->have_patch && !r->tracing)
		block_flow(r);
	describe_rollback(r);
	step(r, "rolled-back");
	for (unsigned tries = 1; run_again(r, e) < 0; tries++) {
		log_warn("going on from checkpoint %llu: %s", (unsigned long long)r->checkpoint.id, e->text);
		vm_kill_active(vm);
		if (tries == VM_ENGINES_MAX)
			return -1;
		/* It may have run for a moment. */
		if (checkpoint_restore_memory(vm->ring, r->checkpoint.id, &pages, e) < 0)
			return -1;
		if (!insert_patches(r, e))
			log_warn("checkpoint %llu takes fewer patches than before",
				 (unsigned long long)r->checkpoint.id);
	}
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
	step(r, r->have_patch ? "recovered" : r->is_proposed ? "proposed" : "contained");
}

/* The VM goes on as if nothing had been detected. */
static void let_go(struct vm *vm, const struct taint_msg_detect *d)
{
	struct err e;

	vm->detect_pending = false;
	vm->state = VM_RUNNING;
	if (vm->active.dead) {
		loop_timer_set(vm->revive_timer, 0);
		return;
	}
	engine_let_go(vm->active.en, d->vcpu);
	/* Another vCPU is held too: its turn, and the engine stays frozen. */
	if (vm->n_waiting) {
		vm->detect = vm->waiting[--vm->n_waiting];
		vm->detect_pending = true;
		loop_timer_set(vm->respond_timer, 0);
		return;
	}
	engine_thaw(vm->active.en);
	/* A stop that the detection interrupted takes effect now; undo it. */
	if (engine_continue(vm->active.en, &e) < 0 && !vm->detect_pending)
		log_warn("%s", e.text);
	if (vm->detect_pending)
		return;
	vm_thaw_devices(vm);
	net_resume(vm->net);
}

static void observe(struct response *r)
{
	snprintf(r->in.vm_state, sizeof(r->in.vm_state), "running");
	keep(r);
	step(r, "observed");
	let_go(r->vm, &r->detect);
}

/*
 * How long the repeated run may take to come to the same place, from when all input has been delivered again; the first run
 * took r->detect.time_ns - r->checkpoint.time_ns, and this one has its code to translate anew.
 */
#define TRACE_LEAST_MS 3000u
#define TRACE_MOST_MS 20000u
#define TRACE_SLOWER 20u
/* And in all. */
#define TRACE_REPLAY_MS 60000u
/* A run may go another way than the one before, and show nothing. */
#define REPEATS_MAX 2u
/* How many writes of the same bytes are looked at where the place is not known. */
#define STOPS_MAX 32u

/* Whether another run can tell more: the writer is known, its caller is not. */
static bool can_trace(const struct response *r)
{
	return !r->have_patch && r->in.state != INCIDENT_LOCATED && r->vm->cfg->respond != CONFIG_RESPOND_OBSERVE &&
	       r->detect.object_gva && r->detect.object_len && ladder_may_go_on(r->vm, &r->finding);
}

/*
 * Where a run showed nothing, the next one begins a checkpoint earlier and leaves more time between connections: what the guest
 * was in the midst of at the checkpoint, with code yet to be translated, has then come to its end when the attack comes.
 */
#define REPEAT_SLOWER 8u

static void begin_earlier(struct response *r)
{
	unsigned times = 1;
	struct err none;

	for (unsigned i = 0; i < r->repeats; i++) {
		times *= REPEAT_SLOWER;
		if (checkpoint_older(r->vm->ring, r->checkpoint.id, &r->checkpoint, &none) < 0)
			log_debug("%s", none.text);
	}
	net_slow_replays(r->vm->net, times);
}

/* Goes back with no new patch, and has the engine stop where the object is overwritten. False: that failed. */
static bool start_trace(struct response *r)
{
	struct vm *vm = r->vm;
	struct err e = {0};

	if (choose_checkpoint(r, &e) < 0)
		return false;
	begin_earlier(r);
	r->tracing = true;
	if (roll_back(r, &e) < 0) {
		note_failure(r, "running the input again", &e);
		return false;
	}
	vm->trace = r;
	loop_timer_set(vm->trace_timer, TRACE_REPLAY_MS);
	return true;
}

static unsigned trace_ms(const struct response *r)
{
	int64_t ms = us_between(r->checkpoint.time_ns, r->detect.time_ns) / 1000 * TRACE_SLOWER + TRACE_LEAST_MS;

	return ms < TRACE_MOST_MS ? (unsigned)ms : TRACE_MOST_MS;
}

void respond_replayed(struct vm *vm)
{
	if (vm->trace)
		loop_timer_set(vm->trace_timer, trace_ms(vm->trace));
}

static void finish(struct response *r)
{
	r->vm->trace = NULL;
	r->tracing = false;
	loop_timer_cancel(r->vm->trace_timer);
	net_slow_replays(r->vm->net, 1);
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
	loop_timer_set(r->vm->trace_timer, trace_ms(r));
	return true;
}

/* The run showed nothing: perhaps the next one does. False: there have been enough. */
static bool repeat(struct response *r)
{
	return r->repeats++ < REPEATS_MAX && start_trace(r);
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
	/*
	 * What was not clear before may be now; else this is the better reason. A process that is started for each client is not the one
	 * of before, even where it has its number.
	 */
	if (watched && locate_live(&in, &first, &f, &e) == 0 &&
	    vmi_task_by_cr3(in.vmi, in.detect->cr3, &r->task, &e) == 0) {
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
	} else if (r->in.state != INCIDENT_LOCATED && !r->have_patch && repeat(r)) {
		return;
	}
	finish(r);
}

void respond_without_trace(struct vm *vm)
{
	if (!vm->trace || vm->state != VM_RUNNING || vm->detect_pending)
		return;
	vm_freeze_devices(vm);
	vm->state = VM_RESPONDING;
	if (!repeat(vm->trace))
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

/*
 * How long a vCPU that is just changing a memory map may go on with that before the map is taken as it is: it may be that the change
 * is made, and it waits for the vCPU that is held to forget the old one.
 */
#define MAP_WAIT_MS 1u
#define MAP_WAITS_MAX 50u

static bool wait_for_map(struct vm *vm)
{
	if (vm->map_waits >= MAP_WAITS_MAX || vm->active.dead || !judge_again(vm, &vm->detect))
		return false;
	if (!vm->map_waits++)
		log_debug("a memory map is just being changed: it is looked at again");
	vm->state = VM_RUNNING;
	engine_thaw(vm->active.en);
	loop_timer_set(vm->respond_timer, MAP_WAIT_MS);
	return true;
}

void respond(struct vm *vm)
{
	struct taint_msg_detect seen = vm->detect;
	bool attack;

	if (!vm->detect_pending || vm->state != VM_RUNNING)
		return;
	vm->state = VM_RESPONDING;
	if (vm->map_waits)
		engine_freeze(vm->active.en);
	attack = judge(vm, &seen);
	if (attack && wait_for_map(vm))
		return;
	vm->detect = seen;
	vm->map_waits = 0;
	if (!attack)
		let_go(vm, &vm->detect);
	else if (vm->trace)
		trace_stopped(vm->trace);
	else
		answer(vm);
}
