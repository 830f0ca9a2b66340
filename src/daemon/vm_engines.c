/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The engines of a VM: the one that runs it, and those that wait to take over.
 *
 * Two wait, because an incident whose culprit only a repeated run shows takes two: one for the repeated run, one for the
 * patched VM. They are started one after the other: starting takes a processor for half a second.
 */
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "daemon/vm_internal.h"

#define READY_MS 60000u
#define STANDBY_LOOK_MS 10u
#define STANDBY_RETRY_MS 5000u
/* The VM comes first when it has just been recovered. */
#define STANDBY_AFTER_MS 20u
/* At once; some milliseconds for memory that is in use. */
#define STANDBY_PROTECT_BYTES (64ull << 20)

static void engine_event(void *arg, struct engine *en, const char *event, const json_t *data)
{
	struct vm *vm = arg;

	(void)data;
	log_debug("engine %d: %s", (int)engine_pid(en), event);
	if (en == vm->active.en && !strcmp(event, "RESET")) {
		log_info("the guest reboots");
		vm_guest_resets(vm);
	}
}

static bool engine_detected(void *arg, struct engine *en, const struct taint_msg_detect *d)
{
	struct vm *vm = arg;
	struct taint_msg_detect seen = *d;

	if (en != vm->active.en)
		return true; /* the engine is about to be thrown away */
	/* Most faults are ordinary: not worth stopping the other vCPUs for. */
	if (d->detector == TAINT_DETECT_FAULT && !judge(vm, &seen)) {
		engine_let_go(en, d->vcpu);
		return false;
	}
	if (vm->detect_pending) {
		if (vm->n_waiting < TAINT_VCPU_MAX)
			vm->waiting[vm->n_waiting++] = *d;
		return true;
	}
	/* Other vCPUs must not go on while we look. */
	engine_freeze(en);
	vm_freeze_devices(vm);
	vm->detect = *d;
	vm->detect_pending = true;
	loop_timer_set(vm->respond_timer, 0);
	return true;
}

static struct vm_engine *standby_of(struct vm *vm, const struct engine *en)
{
	for (size_t i = 0; i < VM_STANDBYS; i++)
		if (vm->standby[i].en == en)
			return &vm->standby[i];
	return NULL;
}

static void engine_connected(void *arg, struct engine *en, unsigned device, int fd)
{
	struct vm *vm = arg;
	struct vm_engine *x = en == vm->active.en ? &vm->active : standby_of(vm, en);
	struct err e;

	if (!x)
		close(fd);
	else if (device == 0 && vhost_session_create(net_device(vm->net), fd, &x->session, &e) < 0)
		log_error("network device: %s", e.text);
	else if (device > 0 &&
		 vhost_session_create(disk_device(vm->disks.disk[device - 1]), fd, &x->disk[device - 1], &e) < 0)
		log_error("disk %u: %s", device - 1, e.text);
}

static void engine_ended(void *arg, struct engine *en, int status)
{
	struct vm *vm = arg;
	const char *words = engine_last_words(en);
	struct vm_engine *waiting = standby_of(vm, en);

	if (waiting) {
		log_warn("the waiting QEMU ended%s%s; starting another", *words ? ": " : "", words);
		waiting->ready = false;
		waiting->dead = true;
		loop_timer_set(vm->standby_timer, STANDBY_RETRY_MS);
		return;
	}
	if (en == vm->active.en)
		vm->active.dead = true;
	if (en != vm->active.en || vm->state == VM_STARTING)
		return;
	vm->died = (struct err){0};
	if (WIFSIGNALED(status))
		err_set(&vm->died, ERR_GONE, "QEMU was killed by signal %d%s%s", WTERMSIG(status), *words ? ": " : "",
			words);
	else if (WEXITSTATUS(status) != 0)
		err_set(&vm->died, ERR_GONE, "QEMU ended with status %d%s%s", WEXITSTATUS(status), *words ? ": " : "",
			words);
	/* Who answers a detection finds out, and has another engine to go on with. */
	if (vm->state == VM_RESPONDING)
		return;
	if (vm->died.code != ERR_OK) {
		loop_timer_set(vm->revive_timer, 0);
		return;
	}
	/* The guest powered off: what it sent last is as good as all before. */
	net_release(vm->net);
	vm_end(vm, &vm->died);
}

static int spawn_engine(struct vm *vm, bool incoming, struct vm_engine *x, struct err *e)
{
	static const struct engine_ops ops = {engine_event, engine_detected, engine_connected, engine_ended};
	struct engine_config c = {.qemu = vm->cfg->qemu,
				  .plugin = vm->plugin,
				  .args = &vm->args,
				  .n_disks = vm->disks.n,
				  .ram_fd = vm->ram_fd,
				  .shadow_fd = vm->shadow_fd,
				  .console_fd = vm->console_fd,
				  .detectors = vm->cfg->detectors,
				  .incoming = incoming};

	x->start_ns = loop_now_ns();
	return engine_start(vm->loop, &c, &ops, vm, &x->en, e);
}

int vm_start_engine(struct vm *vm, bool incoming, struct vm_engine *x, struct err *e)
{
	if (!x->en && spawn_engine(vm, incoming, x, e) < 0)
		return -1;
	if (engine_wait_ready(x->en, READY_MS, e) < 0) {
		vm_stop_engine(x);
		return -1;
	}
	x->ready = true;
	return 0;
}

int vm_switch_on(struct vm *vm, struct err *e)
{
	if (vm_start_engine(vm, false, &vm->active, e) < 0 ||
	    undo_attach(vm->undo, vm->loop, engine_uffd(vm->active.en), engine_ram(vm->active.en), e) < 0)
		return -1;
	vm->boots++;
	return engine_continue(vm->active.en, e);
}

void vm_stop_engine(struct vm_engine *x)
{
	engine_destroy(x->en);
	vhost_session_destroy(x->session);
	for (unsigned i = 0; i < DISKS_MAX; i++)
		vhost_session_destroy(x->disk[i]);
	*x = (struct vm_engine){0};
}

void vm_stop_engines(struct vm *vm)
{
	for (size_t i = 0; i < VM_STANDBYS; i++)
		vm_stop_engine(&vm->standby[i]);
	vm_stop_engine(&vm->active);
	engine_bury();
}

int vm_next_engine(struct vm *vm, struct err *e)
{
	struct vm_engine *first = &vm->standby[0];

	/* One that is ready, else one that is on its way. */
	for (size_t i = VM_STANDBYS; i--;)
		if (vm->standby[i].ready || (vm->standby[i].en && !vm->standby[i].dead && !first->ready))
			first = &vm->standby[i];
	if (first->dead)
		vm_stop_engine(first);
	if (!first->ready && vm_start_engine(vm, true, first, e) < 0)
		return -1;
	vm->active = *first;
	*first = (struct vm_engine){0};
	loop_timer_set(vm->standby_timer, STANDBY_AFTER_MS);
	return 0;
}

static void standby_fails(struct vm *vm, struct vm_engine *x, const struct err *e)
{
	log_warn("no waiting QEMU (recovery will take longer): %s", e->text);
	vm_stop_engine(x);
	loop_timer_set(vm->standby_timer, STANDBY_RETRY_MS);
}

/* It stands still, so its memory can be write-protected long before it takes over; the more RAM, the longer that takes. */
static int protect_ahead(struct vm_engine *x, struct err *e)
{
	int rc = undo_protect_ahead(engine_uffd(x->en), engine_ram(x->en), &x->protected_bytes, STANDBY_PROTECT_BYTES,
				    e);

	x->is_protected = rc > 0;
	return rc;
}

void vm_keep_standby(void *arg, uint32_t events)
{
	struct vm *vm = arg;
	struct vm_engine *x = vm->standby;
	struct err e;

	(void)events;
	while (x < vm->standby + VM_STANDBYS && x->ready && x->is_protected)
		x++;
	if (vm->state != VM_RUNNING || x == vm->standby + VM_STANDBYS)
		return;
	if (x->dead)
		vm_stop_engine(x);
	if (!x->en && spawn_engine(vm, true, x, &e) < 0) {
		standby_fails(vm, x, &e);
		return;
	}
	if ((x->ready && protect_ahead(x, &e) < 0) ||
	    (!x->ready && (engine_is_up(x->en) || loop_now_ns() - x->start_ns >= READY_MS * 1000000ull) &&
	     vm_start_engine(vm, true, x, &e) < 0)) {
		standby_fails(vm, x, &e);
		return;
	}
	loop_timer_set(vm->standby_timer, STANDBY_LOOK_MS);
}
