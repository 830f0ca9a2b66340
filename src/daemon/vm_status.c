/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What `clouder status` says of a VM. */
#include <stdio.h>

#include "daemon/vm_internal.h"
#include "plugin/core/detector.h"

static const char *state_name(enum vm_state s)
{
	static const char *const names[] = {[VM_STARTING] = "starting",
					    [VM_RUNNING] = "running",
					    [VM_RESPONDING] = "responding",
					    [VM_HELD] = "held",
					    [VM_ENDED] = "ended"};

	return names[s];
}

/* So that the numbers are right for some MiB of tainted memory; a few milliseconds. */
#define STALE_PAGES_STATUS 2048u

static json_t *taint_status(struct vm *vm)
{
	const struct taint_shm *shm = shadow_header(vm->shadow);
	struct taint_line sum = {0};
	uint64_t pages, bytes;

	vm_drop_stale_taint(vm, STALE_PAGES_STATUS);
	shadow_count(vm->shadow, &pages, &bytes);
	for (unsigned i = 0; i < shm->n_vcpus && i < TAINT_VCPU_MAX; i++) {
		const struct taint_line *line = shadow_line(vm->shadow, i);

		sum.track_entries += line->track_entries;
		sum.followed += line->followed;
		sum.blocks_tracked += line->blocks_tracked;
		sum.stale_loads += line->stale_loads;
	}
	const struct {
		const char *name;
		uint64_t value;
	} numbers[] = {
		{"tainted_pages", pages},
		{"tainted_bytes", bytes},
		{"shadow_exhausted", shm->slots_exhausted},
		{"insns_precise", shm->insn_precise},
		{"insns_conservative", shm->insn_conservative},
		{"insns_refused", shm->insn_refused},
		{"blocks_translated", shm->blocks_translated},
		{"flushes", shm->flushes},
		{"track_entries", sum.track_entries},
		{"blocks_tracked", sum.blocks_tracked},
		{"accesses_followed", sum.followed},
		{"stale_loads", sum.stale_loads},
		{"stale_bytes", vm->stale_bytes},
	};
	json_t *j = json_object();

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		json_object_set_new(j, numbers[i].name, json_integer((json_int_t)numbers[i].value));
	return j;
}

static json_t *net_status(struct vm *vm)
{
	struct net_stats s;

	net_get_stats(vm->net, &s);
	return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "uplink",
			 vm->cfg->net, "output", vm->cfg->output == CONFIG_OUTPUT_HOLD ? "hold" : "release",
			 "tx_waiting", (json_int_t)s.tx_waiting, "tx_discarded", (json_int_t)s.tx_discarded,
			 "rx_frames", (json_int_t)s.rx_frames, "rx_payload_bytes", (json_int_t)s.rx_payload_bytes,
			 "tx_frames", (json_int_t)s.tx_frames, "tx_bytes", (json_int_t)s.tx_bytes, "replayed_frames",
			 (json_int_t)s.replayed_frames, "dropped", (json_int_t)s.dropped, "ring_errors",
			 (json_int_t)s.ring_errors, "held", (json_int_t)s.held, "log_frames", (json_int_t)s.log_frames,
			 "log_bytes", (json_int_t)s.log_bytes);
}

static json_t *checkpoint_status(struct vm *vm)
{
	struct undo_stats u;

	undo_get_stats(vm->undo, &u);
	return json_pack("{s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "kept", (int)checkpoint_count(vm->ring),
			 "taken", (json_int_t)vm->checkpoints_taken, "failed", (json_int_t)vm->checkpoints_failed,
			 "last_pause_us", (json_int_t)vm->checkpoint_pause_us, "undo_bytes", (json_int_t)u.bytes,
			 "write_traps", (json_int_t)u.faults, "pages_lost", (json_int_t)u.lost, "labels_lost",
			 (json_int_t)shadow_header(vm->shadow)->labels_lost, "revivals", (json_int_t)vm->revivals,
			 "blocks_undone", (json_int_t)vm->disks.blocks_undone);
}

static json_t *disk_status(struct disk *d)
{
	struct disk_stats s;

	disk_get_stats(d, &s);
	return json_pack("{s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "file",
			 disk_spec(d)->file, "readonly", disk_spec(d)->readonly, "size_bytes", (json_int_t)s.size,
			 "reads", (json_int_t)s.reads, "read_bytes", (json_int_t)s.read_bytes, "writes",
			 (json_int_t)s.writes, "written_bytes", (json_int_t)s.written_bytes, "flushes",
			 (json_int_t)s.flushes, "io_errors", (json_int_t)s.io_errors, "requests_refused",
			 (json_int_t)s.refused, "ring_errors", (json_int_t)s.ring_errors, "undo_bytes",
			 (json_int_t)s.undo_bytes, "checkpoints_given_up", (json_int_t)s.given_up);
}

static json_t *disks_status(struct vm *vm)
{
	json_t *j = json_object();
	char name[16];

	for (unsigned i = 0; i < vm->disks.n; i++) {
		snprintf(name, sizeof(name), "disk%u", i);
		json_object_set_new(j, name, disk_status(vm->disks.disk[i]));
	}
	return j;
}

static json_t *standby_pids(const struct vm *vm)
{
	json_t *pids = json_array();

	for (size_t i = 0; i < VM_STANDBYS; i++)
		if (vm->standby[i].ready)
			json_array_append_new(pids, json_integer(engine_pid(vm->standby[i].en)));
	return pids;
}

/* Names of the detectors that are on. */
static json_t *detector_status(const struct vm *vm)
{
	json_t *j = json_array();

	for (uint32_t i = 0; i < TAINT_DETECTORS; i++)
		if (TAINT_DETECTORS_ALL & vm->cfg->detectors & 1u << i)
			json_array_append_new(j, json_string(taint_detector_name(i)));
	return j;
}

static int patches_in_guest(const struct vm *vm)
{
	int n = 0;

	for (unsigned i = 0; i < vm->n_patches; i++)
		n += !vm->patch[i].dormant && !vm->patch[i].unwanted;
	return n;
}

json_t *vm_status(struct vm *vm)
{
	return json_pack(
		"{s:s, s:s, s:I, s:i, s:i, s:o, s:b, s:s, s:o, s:I, s:I, s:i, s:I, s:o, s:o, s:o, s:o}", "name",
		vm->cfg->name, "state", state_name(vm->state), "uptime_s",
		(json_int_t)((loop_now_ns() - vm->start_ns) / 1000000000u), "boots", (int)vm->boots, "engine_pid",
		vm->active.en ? (int)engine_pid(vm->active.en) : 0, "standby_pids", standby_pids(vm), "introspection",
		vm->vmi != NULL, "respond", config_respond_name(vm->cfg->respond), "detectors", detector_status(vm),
		"detections", (json_int_t)vm->detections, "recoveries", (json_int_t)vm->recoveries, "patches",
		patches_in_guest(vm), "flows_blocked", (json_int_t)vm->flows_blocked, "taint", taint_status(vm),
		"network", net_status(vm), "disks", disks_status(vm), "checkpoints", checkpoint_status(vm));
}
