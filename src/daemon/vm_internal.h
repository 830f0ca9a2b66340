/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The state of one VM, shared by the files that run it (vm.c), answer a detection (respond.c) and tell of it. */
#ifndef CLOUDER_DAEMON_VM_INTERNAL_H
#define CLOUDER_DAEMON_VM_INTERNAL_H

#include "daemon/vm.h"
#include "disk/disk.h"
#include "locate/finding.h"
#include "locate/locate.h"
#include "net/net.h"
#include "patch/ladder.h"
#include "patch/patch.h"
#include "plugin/core/shadow.h"
#include "qemu/engine.h"
#include "qemu/gmem.h"
#include "recover/checkpoint.h"
#include "recover/undo.h"
#include "vmi/vmi.h"

enum vm_state { VM_STARTING, VM_RUNNING, VM_RESPONDING, VM_HELD, VM_ENDED };

/* An engine with the sessions of its devices. */
struct vm_engine {
	struct engine *en;
	struct vhost_session *session; /* with the network */
	struct vhost_session *disk[DISKS_MAX];
	bool ready, dead;
	bool is_protected; /* all of its RAM, ahead */
	uint64_t protected_bytes; /* of its RAM, see undo_protect_ahead() */
	uint64_t start_ns;
};

/* When a stretch of the payload stream was put into guest memory. */
struct vm_arrival {
	uint32_t origin, len;
	uint64_t time_ns;
};

#define VM_ARRIVALS 1024u
#define VM_PATCHES_MAX 1024u /* more than one module's caves have room for */
#define VM_KEEP_MS 1000u /* between looks for patches to put in, while no checkpoints are taken */
#define VM_STANDBYS 2u /* engines that wait */

/* A patch that is in the guest, and must be put in again after a rollback. */
struct vm_patch {
	struct patch patch;
	struct finding finding; /* that it was made for */
	uint64_t culprit_offset;
	int64_t incident;
	int64_t stored; /* its number in the store; 0: it is not there */
	bool dormant; /* no process of this guest has been seen to run what it is for: it is not in the guest */
	bool in_copies; /* processes of this guest run it from more than one file */
	bool unwanted; /* reverted, or not approved yet: it is to be taken out where it is */
	unsigned tries; /* times that it was to be put in, and was not in place the next time */
	uint64_t next_try_ns; /* not before */
};

struct vm {
	struct loop *loop;
	const struct config *cfg;
	struct store *store;
	struct vm_ops ops;
	void *ops_arg;
	enum vm_state state;
	uint64_t start_ns;

	struct engine_args args;
	char plugin[4096];
	int ram_fd, shadow_fd, console_fd;
	struct gmem *gmem;
	uint64_t stale_bytes; /* tainted bytes found to be overwritten behind the engine's back */
	struct shadow *shadow;
	struct net *net;
	struct disks disks;
	struct undo *undo;
	struct checkpoint_ring *ring;
	struct vm_engine active, standby[VM_STANDBYS];
	struct loop_source *standby_timer, *checkpoint_timer, *respond_timer, *trace_timer, *boot_timer, *vmi_timer,
		*revive_timer, *keep_timer;

	bool guest_seen; /* the guest's network driver has started */
	uint64_t last_checkpoint_ns; /* or of the last attempt */
	bool input_waits; /* for a checkpoint; else output does */
	uint64_t checkpoint_pause_us; /* of the newest */
	uint64_t checkpoints_taken, checkpoints_failed;
	struct vm_arrival arrival[VM_ARRIVALS];
	unsigned n_arrivals; /* ever; the ring's index is modulo */

	struct vmi *vmi;
	bool vmi_stale; /* the guest has begun anew since it was made */
	uint64_t reset_ns; /* when it has last; 0: never */
	struct vm_patch patch[VM_PATCHES_MAX];
	unsigned n_patches;
	int64_t newest_change; /* changes of the store's patches up to this one are known */
	uint64_t next_look_ns;
	struct locate_patch placed[VM_PATCHES_MAX]; /* where they are in the process that is looked at */

	/* the detection being answered */
	bool detect_pending;
	unsigned map_waits; /* how often it waited for a vCPU that was changing a memory map */
	struct taint_msg_detect detect;
	struct taint_msg_detect
		waiting[TAINT_VCPU_MAX]; /* those of other vCPUs that came meanwhile: they are held too */
	unsigned n_waiting;
	struct response *trace; /* an answer that waits for what the repeated run shows */
	uint64_t recoveries, detections, flows_blocked;
	uint64_t last_rollback; /* checkpoint gone back to last */
	unsigned rollbacks_in_row; /* to that one */

	struct err died; /* how the active engine ended */
	unsigned boots; /* times that it was switched on */
	uint64_t revivals; /* engines that took over from one that died */
	uint64_t revived_from, revived_ns; /* checkpoint and time of the last one */
	unsigned revivals_in_row; /* from that checkpoint, each soon after the one before */
};

/* vm.c */
void vm_end(struct vm *vm, const struct err *why);
/* The guest memory map is this one now. */
void vm_set_regions(struct vm *vm, const struct gmem_region *r, size_t n);
/* Takes a checkpoint of the running VM. */
int vm_take_checkpoint(struct vm *vm, enum checkpoint_why why, struct checkpoint_info *ret, struct err *e) MUST_CHECK;
/* Looks at no more than max_pages tainted pages for bytes that were overwritten behind the engine's back. */
void vm_drop_stale_taint(struct vm *vm, unsigned max_pages);
/* Time at which the payload byte with this origin was delivered, 0 if not known any more. */
uint64_t vm_arrival_time(const struct vm *vm, uint32_t origin);

/* vm_kernel.c */
#define VM_KERNEL_MS 100u /* from the start of the guest's network device until its kernel is looked for */
/* The guest has begun anew: its kernel will be elsewhere in memory, and no process of before is there. */
void vm_guest_resets(struct vm *vm);
/* Memory is as it was at this time; forgets the kernel if it is that of a later boot. */
void vm_kernel_at(struct vm *vm, uint64_t time_ns);
/* Finds the guest's kernel unless it is known. ERR_STATE: not possible now; else it cannot be found. */
int vm_find_kernel(struct vm *vm, struct err *e) MUST_CHECK;
/* Timer: looks for it. */
void vm_prepare_kernel(void *vm, uint32_t events);

/* vm_disks.c */
int vm_create_disks(struct vm *vm, struct err *e) MUST_CHECK;
/* Network and disks touch no rings until thawed. */
void vm_freeze_devices(struct vm *vm);
void vm_thaw_devices(struct vm *vm);

/* vm_engines.c */
/* Starts one, or waits for one that is being started, until it can take over or begin (incoming false). */
int vm_start_engine(struct vm *vm, bool incoming, struct vm_engine *ret, struct err *e) MUST_CHECK;
/* Starts an engine that begins where a computer does when it is switched on, and lets it run. */
int vm_switch_on(struct vm *vm, struct err *e) MUST_CHECK;
void vm_stop_engine(struct vm_engine *x);
void vm_stop_engines(struct vm *vm);
/* Timer: starts the waiting engines and looks in on them; the VM must not stand still while QEMU starts. */
void vm_keep_standby(void *vm, uint32_t events);
/* One that waits becomes the active one, which must have been stopped; if none does, one is started now. */
int vm_next_engine(struct vm *vm, struct err *e) MUST_CHECK;

/* An engine that cannot take over is no reason to end the VM: so many are tried. */
#define VM_ENGINES_MAX 3u

/* rollback.c. The active engine is killed, if it lives, and RAM is nobody's. */
void vm_kill_active(struct vm *vm);
/* The active engine, which has taken a checkpoint over, and the network go on. */
int vm_go_on(struct vm *vm, struct err *e) MUST_CHECK;
/*
 * Puts in what look_for_patches() wants: another engine goes on from the checkpoint that was just taken (NULL: from one that is taken
 * now).
 */
void vm_renew(struct vm *vm, const struct checkpoint_info *from);
/* Timer: looks for patches to put in. */
void vm_keep(void *vm, uint32_t events);
/* Timer: the active engine died. An engine that waits goes on from the newest checkpoint. */
void vm_revive(void *vm, uint32_t events);

/* respond.c: answers vm->detect; called from the outer loop only. */
void respond(struct vm *vm);
/* Logged input has been delivered again. */
void respond_replayed(struct vm *vm);
/* The repeated run has shown nothing in time. */
void respond_without_trace(struct vm *vm);
/* The VM ends. */
void respond_forget(struct vm *vm);

/* ladder.c. The patches of the finding's culprit, the newest first; returns how many. */
unsigned ladder_known(const struct vm *vm, const struct finding *f, const struct vm_patch *ret[LADDER_MAX]);
/* Whether the culprit may get another patch. */
bool ladder_may_go_on(const struct vm *vm, const struct finding *f);
/* Whether a later patch displaces the same bytes as number i: then those of i may not be found where they were put. */
bool ladder_superseded(const struct vm *vm, unsigned i);
/* The patch for a finding, which may be the next one of its culprit; then the finding's bounds may shrink. */
int ladder_generate(struct vm *vm, const struct vmi_task *t, struct finding *f, struct patch *ret,
		    struct err *e) MUST_CHECK;
/* Has the program in in->detect's process looked at as it was before it was patched; in->patches are vm's. */
void ladder_hide_patches(struct vm *vm, struct locate_input *in);

/* keep.c. The newest patch of vm, which went in after this incident, goes to the store; which says whether it is to stay in. */
void keep_patch(struct vm *vm, struct incident *in);
/* Takes over what has changed in the store. */
void keep_follow(struct vm *vm);
/* A patch as it is stored, and back: then it is dormant. */
void keep_record(const struct patch *p, const struct finding *f, const struct incident *in, struct patch_record *ret);
void keep_load(const struct patch_record *r, struct vm_patch *ret);

/* look.c. Whether another engine should go on with patches that the guest does not have yet; no more often than it costs little. */
bool look_for_patches(struct vm *vm);

/* vm_taint.c. A client's text for an address, hexadecimal with 0x or decimal; NULL is none. */
bool vm_parse_address(const char *text, uint64_t *ret) MUST_CHECK;

/* judge.c: whether a detection is an attack; may find the object that was corrupted. The engine is frozen. */
bool judge(struct vm *vm, struct taint_msg_detect *d);
/* Whether another vCPU is just changing the memory map that this detection is judged by. */
bool judge_again(const struct vm *vm, const struct taint_msg_detect *d);

/* describe.c: fills parts of an incident. */
void describe_detection(const struct vm *vm, const struct taint_msg_detect *d, struct incident *in);
void describe_finding(const struct finding *f, struct incident *in);
void describe_patch(const struct patch *p, struct incident *in);

#endif
