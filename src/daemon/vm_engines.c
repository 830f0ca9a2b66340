/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The engines of a VM: the one that runs it, and the one that waits to take over. */
#include <string.h>
#include <sys/wait.h>

#include "base/log.h"
#include "daemon/vm_internal.h"

#define READY_MS 60000u
#define STANDBY_LOOK_MS 10u
#define STANDBY_RETRY_MS 5000u

static void engine_event(void *arg, struct engine *en, const char *event, const json_t *data)
{
	(void)arg;
	(void)data;
	log_debug("engine %d: %s", (int)engine_pid(en), event);
}

static void engine_detected(void *arg, struct engine *en, const struct taint_msg_detect *d)
{
	struct vm *vm = arg;

	if (en != vm->active.en || vm->detect_pending)
		return; /* the vCPU stays held; the engine is about to be thrown away */
	/* Other vCPUs must not go on while we look. */
	engine_freeze(en);
	net_freeze(vm->net);
	vm->detect = *d;
	vm->detect_pending = true;
	loop_timer_set(vm->respond_timer, 0);
}

static void engine_connected(void *arg, struct engine *en, int fd)
{
	struct vm *vm = arg;
	struct vm_engine *x = en == vm->active.en ? &vm->active : &vm->standby;
	struct err e;

	if (net_session_create(vm->net, fd, &x->session, &e) < 0)
		log_error("network device: %s", e.text);
}

static void engine_ended(void *arg, struct engine *en, int status)
{
	struct vm *vm = arg;
	struct err e = {0};
	const char *words = engine_last_words(en);

	if (en == vm->standby.en) {
		log_warn("the waiting QEMU ended%s%s; starting another", *words ? ": " : "", words);
		vm->standby.ready = false;
		vm->standby.dead = true;
		loop_timer_set(vm->standby_timer, STANDBY_RETRY_MS);
		return;
	}
	if (en != vm->active.en || vm->state == VM_STARTING)
		return;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		e.code = ERR_OK; /* the guest powered off */
	else if (WIFSIGNALED(status))
		err_set(&e, ERR_GONE, "QEMU was killed by signal %d%s%s; the VM is over", WTERMSIG(status),
			*words ? ": " : "", words);
	else
		err_set(&e, ERR_GONE, "QEMU ended with status %d%s%s; the VM is over", WEXITSTATUS(status),
			*words ? ": " : "", words);
	vm_end(vm, &e);
}

static int spawn_engine(struct vm *vm, bool incoming, struct vm_engine *x, struct err *e)
{
	static const struct engine_ops ops = {engine_event, engine_detected, engine_connected, engine_ended};
	struct engine_config c = {.qemu = vm->cfg->qemu,
				  .plugin = vm->plugin,
				  .args = &vm->args,
				  .ram_fd = vm->ram_fd,
				  .shadow_fd = vm->shadow_fd,
				  .console_fd = vm->console_fd,
				  .incoming = incoming};

	x->start_ns = loop_now_ns();
	return engine_start(vm->loop, &c, &ops, vm, &x->en, e);
}

int vm_start_engine(struct vm *vm, bool incoming, struct vm_engine *x, struct err *e)
{
	if (!x->en && spawn_engine(vm, incoming, x, e) < 0)
		return -1;
	if (engine_wait_ready(x->en, READY_MS, e) < 0) {
		vm_stop_engine(vm, x);
		return -1;
	}
	x->ready = true;
	return 0;
}

void vm_stop_engine(struct vm *vm, struct vm_engine *x)
{
	(void)vm;
	engine_destroy(x->en);
	if (x->session)
		net_session_destroy(x->session);
	*x = (struct vm_engine){0};
}

static void standby_fails(struct vm *vm, const struct err *e)
{
	log_warn("no waiting QEMU (recovery will take longer): %s", e->text);
	vm_stop_engine(vm, &vm->standby);
	loop_timer_set(vm->standby_timer, STANDBY_RETRY_MS);
}

void vm_keep_standby(void *arg, uint32_t events)
{
	struct vm *vm = arg;
	struct err e;

	(void)events;
	if (vm->state != VM_RUNNING || vm->standby.ready)
		return;
	if (vm->standby.dead)
		vm_stop_engine(vm, &vm->standby);
	if (!vm->standby.en && spawn_engine(vm, true, &vm->standby, &e) < 0) {
		standby_fails(vm, &e);
		return;
	}
	if (!engine_is_up(vm->standby.en) && loop_now_ns() - vm->standby.start_ns < READY_MS * 1000000ull) {
		loop_timer_set(vm->standby_timer, STANDBY_LOOK_MS);
		return;
	}
	if (vm_start_engine(vm, true, &vm->standby, &e) < 0)
		standby_fails(vm, &e);
}
