/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The life of a protected VM: start, checkpoints while it runs, end. What a detection leads to is in respond.c. */
#include "daemon/vm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "daemon/vm_internal.h"

#define NET_LOG_LIMIT (64u << 20)
/* Bytes of the labels of one page. */
#define LABEL_COPY (GUEST_PAGE_SIZE * 8u)

void vm_end(struct vm *vm, const struct err *why)
{
	if (vm->state == VM_ENDED)
		return;
	vm->state = VM_ENDED;
	vm->ops.ended(vm->ops_arg, why);
}

/* ---- checkpoints ---- */

/* Tainted pages looked at for stale labels after each checkpoint: some hundred microseconds. */
#define STALE_PAGES 128u

static const uint8_t *ram_page(void *arg, struct gpa page)
{
	const struct vm *vm = arg;
	uint64_t off;

	if (!gmem_to_offset(vm->gmem, page, &off) || off > gmem_size(vm->gmem) - GUEST_PAGE_SIZE)
		return NULL;
	return gmem_base(vm->gmem) + off;
}

void vm_drop_stale_taint(struct vm *vm, unsigned max_pages)
{
	vm->stale_bytes += shadow_sweep_stale(vm->shadow, ram_page, vm, max_pages);
}

int vm_take_checkpoint(struct vm *vm, enum checkpoint_why why, struct checkpoint_info *ret, struct err *e)
{
	int rc = checkpoint_take(vm->ring, vm->active.en, why, ret, e);

	if (rc < 0) {
		vm->checkpoints_failed++;
	} else {
		net_release(vm->net);
		vm->checkpoints_taken++;
		vm->checkpoint_pause_us = ret->pause_us;
		log_debug("checkpoint %llu: %llu us, %llu bytes", (unsigned long long)ret->id,
			  (unsigned long long)ret->pause_us, (unsigned long long)ret->state_bytes);
	}
	vm->last_checkpoint_ns = loop_now_ns();
	vm->input_waits = false;
	/* What was detected meanwhile had stopped the network, and taking a checkpoint lets it go on. */
	if (vm->detect_pending)
		net_freeze(vm->net);
	net_resume(vm->net);
	vm_drop_stale_taint(vm, STALE_PAGES);
	return rc;
}

static bool is_calm(const struct vm *vm)
{
	return vm->state == VM_RUNNING && !vm->detect_pending && !vm->trace && !vm->active.dead;
}

static void take_checkpoint(void *arg, uint32_t events)
{
	struct vm *vm = arg;
	struct checkpoint_info info;
	struct err e;

	(void)events;
	if (!is_calm(vm))
		return;
	if (vm_take_checkpoint(vm, vm->input_waits ? CHECKPOINT_INPUT : CHECKPOINT_OUTPUT, &info, &e) < 0 &&
	    !vm->detect_pending && !vm->active.dead)
		log_warn("checkpoint: %s", e.text);
	else if (is_calm(vm) && look_for_patches(vm))
		vm_renew(vm, &info);
}

static bool may_deliver(void *arg, uint64_t seq)
{
	struct vm *vm = arg;
	uint64_t age = loop_now_ns() - vm->last_checkpoint_ns;

	(void)seq;
	/* A repeated run sees what the first one saw, and its checkpoint stays: nothing new before it has ended. */
	if (vm->trace)
		return false;
	if (vm->state == VM_RUNNING && !vm->detect_pending && vm->last_checkpoint_ns &&
	    age < (uint64_t)vm->cfg->checkpoint_interval_ms * 1000000u)
		return true;
	vm->input_waits = true;
	loop_timer_set(vm->checkpoint_timer, 0);
	return false;
}

static void held(void *arg, bool full)
{
	struct vm *vm = arg;
	uint64_t age_ms = (loop_now_ns() - vm->last_checkpoint_ns) / 1000000u;
	unsigned interval_ms = vm->cfg->checkpoint_interval_ms;
	bool now = full || !vm->last_checkpoint_ns || age_ms >= interval_ms;

	loop_timer_set(vm->checkpoint_timer, now ? 0 : interval_ms - (unsigned)age_ms);
}

/* ---- network ---- */

static void input(void *arg, struct gpa at, const uint8_t *bytes, size_t len, uint32_t origin)
{
	struct vm *vm = arg;

	if (!origin) {
		shadow_clear(vm->shadow, at, len);
		return;
	}
	shadow_taint_input(vm->shadow, at, bytes, len, origin);
	vm->arrival[vm->n_arrivals++ % VM_ARRIVALS] =
		(struct vm_arrival){.origin = origin, .len = (uint32_t)len, .time_ns = loop_now_ns()};
}

uint64_t vm_arrival_time(const struct vm *vm, uint32_t origin)
{
	for (unsigned i = 0; i < VM_ARRIVALS && i < vm->n_arrivals; i++) {
		const struct vm_arrival *a = &vm->arrival[(vm->n_arrivals - 1 - i) % VM_ARRIVALS];

		if (origin - a->origin < a->len)
			return a->time_ns;
	}
	return 0;
}

static uint64_t naps(void *arg)
{
	const struct vm *vm = arg;
	const struct taint_shm *shm = shadow_header(vm->shadow);
	uint64_t sum = 0;

	for (unsigned i = 0; i < shm->n_vcpus && i < TAINT_VCPU_MAX; i++) {
		uint64_t of_one = __atomic_load_n(&shadow_line(vm->shadow, i)->naps, __ATOMIC_ACQUIRE);

		if (!(of_one & 1))
			return 0;
		sum += of_one;
	}
	return sum;
}

/* The plugin reads guest memory too. */
static void tell_regions(const struct vm *vm)
{
	struct taint_region copy[TAINT_REGIONS];
	const struct gmem_region *r;
	size_t n = gmem_regions(vm->gmem, &r);

	for (size_t i = 0; i < n; i++)
		copy[i] = (struct taint_region){.gpa = r[i].start.v, .size = r[i].size, .offset = r[i].offset};
	shadow_set_regions(vm->shadow, copy, (uint32_t)n);
}

static_assert(TAINT_REGIONS >= GMEM_REGION_MAX, "the whole map fits");
static_assert(TAINT_POSITION == NET_ORIGIN_MAX, "origins begin again at the same place");

void vm_set_regions(struct vm *vm, const struct gmem_region *r, size_t n)
{
	struct err e;

	if (gmem_set_regions(vm->gmem, r, n, &e) < 0)
		log_error("guest memory map: %s", e.text);
	else
		tell_regions(vm);
}

static void regions(void *arg, const struct gmem_region *r, size_t n)
{
	struct vm *vm = arg;

	vm_set_regions(vm, r, n);
	vm->guest_seen = true;
	/* Whoever has looked for patches in vain had no kernel yet. */
	if (!vm->vmi) {
		vm->next_look_ns = 0;
		loop_timer_set(vm->vmi_timer, VM_KERNEL_MS);
	}
}

static void replayed(void *arg)
{
	log_debug("logged input delivered again");
	respond_replayed(arg);
}

static void session_lost(void *arg, struct vhost_session *s, const struct err *why)
{
	struct vm *vm = arg;

	/* When QEMU is gone that is said where it is found to have ended. */
	if (s == vm->active.session && vm->state == VM_RUNNING && why->code != ERR_GONE)
		log_error("the guest's network device failed: %s", why->text);
}

/* ---- start and end ---- */

static void boot_timeout(void *arg, uint32_t events)
{
	struct vm *vm = arg;
	struct err e;

	(void)events;
	if (vm->guest_seen || vm->state == VM_HELD)
		return;
	err_set(&e, ERR_TIMEOUT,
		"the guest did not start its network device within %u s: does it boot? (look at its console with "
		"--console, "
		"or allow more with --boot-timeout)",
		vm->cfg->boot_timeout_s);
	vm_end(vm, &e);
}

static void run_respond(void *arg, uint32_t events)
{
	(void)events;
	respond(arg);
}

static void end_trace(void *arg, uint32_t events)
{
	(void)events;
	respond_without_trace(arg);
}

static int find_plugin(struct vm *vm, struct err *e)
{
	char exe[2048], *slash;
	ssize_t n;

	if (vm->cfg->plugin) {
		snprintf(vm->plugin, sizeof(vm->plugin), "%s", vm->cfg->plugin);
	} else {
		n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
		exe[n > 0 ? n : 0] = 0;
		slash = strrchr(exe, '/');
		snprintf(vm->plugin, sizeof(vm->plugin), "%.*s/clouder-taint.so", (int)(slash ? slash - exe : 0), exe);
		if (access(vm->plugin, R_OK) < 0)
			snprintf(vm->plugin, sizeof(vm->plugin), "%.*s/../lib/clouder/clouder-taint.so",
				 (int)(slash ? slash - exe : 0), exe);
	}
	if (access(vm->plugin, R_OK) < 0)
		return err_set_errno(e, "the taint plugin %s cannot be read (name it with --plugin)", vm->plugin);
	if (strchr(vm->plugin, ','))
		return err_set(e, ERR_USAGE, "the taint plugin's path %s has a comma, which QEMU does not take",
			       vm->plugin);
	return 0;
}

static uint64_t mem_available(void)
{
	unsigned long long kib = 0;
	char line[128];
	FILE *f = fopen("/proc/meminfo", "re");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "MemAvailable: %llu", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib << 10;
}

static int create_ram(struct vm *vm, struct err *e)
{
	uint64_t size = vm->args.ram_size, available = mem_available();

	if (available && size > available)
		return err_set(
			e, ERR_MISSING,
			"the guest is to have %llu MiB of memory, but only %llu MiB are free on this host: lower -m",
			(unsigned long long)(size >> 20), (unsigned long long)(available >> 20));
	vm->ram_fd = memfd_create("clouder-ram", MFD_CLOEXEC);
	if (vm->ram_fd < 0 || ftruncate(vm->ram_fd, (off_t)size) < 0)
		return err_set_errno(e, "guest memory of %llu MiB", (unsigned long long)(size >> 20));
	return gmem_create(vm->ram_fd, size, &vm->gmem, e);
}

/* Bytes for copies of pages, and for copies of labels; 0: no limit is set. */
static uint64_t half_of_memory(const struct vm *vm)
{
	return ((uint64_t)vm->cfg->checkpoint_memory_mib << 20) / 2;
}

static int create_shadow(struct vm *vm, struct err *e)
{
	/* Above 2 GiB a PC's memory has a hole below 4 GiB; how large depends on the machine type. */
	uint64_t size = vm->args.ram_size, limit = size > (2ull << 30) ? size + (4ull << 30) : size;
	uint32_t copies = (uint32_t)(size >> GUEST_PAGE_SHIFT);

	/* As many copies as the undo log keeps pages: the newest checkpoint can always be gone back to. */
	if (half_of_memory(vm) && half_of_memory(vm) / LABEL_COPY < copies)
		copies = (uint32_t)(half_of_memory(vm) / LABEL_COPY);
	return shadow_create(limit, copies, &vm->shadow_fd, &vm->shadow, e);
}

static int create_parts(struct vm *vm, struct err *e)
{
	static const struct net_ops net_ops = {may_deliver, input, regions, naps, replayed, held, session_lost};
	struct checkpoint_parts parts;
	uint64_t undo_limit;

	if (find_plugin(vm, e) < 0 || engine_check_qemu(vm->cfg->qemu, e) < 0 ||
	    engine_args_parse(vm->cfg->qemu_args, &vm->args, e) < 0)
		return -1;
	if (create_ram(vm, e) < 0 || create_shadow(vm, e) < 0)
		return -1;
	undo_limit = half_of_memory(vm);
	if (!undo_limit || undo_limit > vm->args.ram_size)
		undo_limit = vm->args.ram_size;
	if (undo_create(vm->gmem, (size_t)undo_limit, &vm->undo, e) < 0)
		return -1;
	if (net_create(vm->loop, vm->gmem, vm->cfg->net, NET_LOG_LIMIT, &net_ops, vm, &vm->net, e) < 0)
		return -1;
	if (vm->cfg->output == CONFIG_OUTPUT_HOLD && net_hold_output(vm->net, e) < 0)
		return -1;
	if (vm_create_disks(vm, e) < 0)
		return -1;
	parts = (struct checkpoint_parts){vm->net, &vm->disks, vm->shadow, vm->undo, TAINT_VCPU_MAX};
	return checkpoint_ring_create(&parts, vm->cfg->checkpoints, &vm->ring, e);
}

static int create_timers(struct vm *vm, struct err *e)
{
	const struct {
		struct loop_source **source;
		loop_fn *fn;
		unsigned ms;
	} timers[] = {
		{&vm->standby_timer, vm_keep_standby, 1},
		{&vm->checkpoint_timer, take_checkpoint, 0},
		{&vm->respond_timer, run_respond, 0},
		{&vm->trace_timer, end_trace, 0},
		{&vm->vmi_timer, vm_prepare_kernel, 0},
		{&vm->revive_timer, vm_revive, 0},
		{&vm->keep_timer, vm_keep, VM_KEEP_MS},
		{&vm->boot_timer, boot_timeout, vm->cfg->boot_timeout_s * 1000},
	};

	for (size_t i = 0; i < sizeof(timers) / sizeof(timers[0]); i++) {
		*timers[i].source = loop_timer_add(vm->loop, timers[i].ms, LOOP_OUTER, timers[i].fn, vm, e);
		if (!*timers[i].source)
			return -1;
		if (!timers[i].ms)
			loop_timer_cancel(*timers[i].source);
	}
	return 0;
}

static int open_console(struct vm *vm, struct err *e)
{
	if (!vm->cfg->console)
		return 0;
	vm->console_fd = open(vm->cfg->console, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (vm->console_fd < 0)
		return err_set_errno(e, "console file %s", vm->cfg->console);
	return 0;
}

int vm_create(struct loop *l, const struct config *c, struct store *st, const struct vm_ops *ops, void *arg,
	      struct vm **ret_vm, struct err *e)
{
	struct vm *vm = calloc(1, sizeof(*vm));

	if (!vm)
		return err_set_errno(e, "VM");
	*vm = (struct vm){.loop = l,
			  .cfg = c,
			  .store = st,
			  .ops = *ops,
			  .ops_arg = arg,
			  .ram_fd = -1,
			  .shadow_fd = -1,
			  .console_fd = -1,
			  .start_ns = loop_now_ns()};
	if (open_console(vm, e) < 0 || create_parts(vm, e) < 0 || vm_switch_on(vm, e) < 0 || create_timers(vm, e) < 0) {
		vm_destroy(vm);
		return -1;
	}
	vm->state = VM_RUNNING;
	*ret_vm = vm;
	return 0;
}

void vm_destroy(struct vm *vm)
{
	if (!vm)
		return;
	vm->state = VM_ENDED;
	loop_remove(&vm->standby_timer);
	loop_remove(&vm->checkpoint_timer);
	loop_remove(&vm->respond_timer);
	loop_remove(&vm->trace_timer);
	loop_remove(&vm->vmi_timer);
	loop_remove(&vm->revive_timer);
	loop_remove(&vm->keep_timer);
	respond_forget(vm);
	loop_remove(&vm->boot_timer);
	if (vm->undo)
		undo_detach(vm->undo);
	vm_stop_engines(vm);
	checkpoint_ring_destroy(vm->ring);
	if (vm->net)
		net_destroy(vm->net);
	disks_destroy(&vm->disks);
	vmi_destroy(vm->vmi);
	undo_destroy(vm->undo);
	shadow_destroy(vm->shadow);
	gmem_destroy(vm->gmem);
	engine_args_free(&vm->args);
	if (vm->ram_fd >= 0)
		close(vm->ram_fd);
	if (vm->shadow_fd >= 0)
		close(vm->shadow_fd);
	if (vm->console_fd >= 0)
		close(vm->console_fd);
	free(vm);
}
