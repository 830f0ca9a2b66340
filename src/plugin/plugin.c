/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * clouder-taint.so: follows tainted bytes through a whole guest, from inside stock QEMU (TCG).
 *
 * Theory of operation. When a block is translated, each instruction is compiled once into operations on
 * register and memory labels (core/insn.h) and gets the callbacks it needs (translate.c). While no register
 * is tainted (watch) only memory accesses call us, and leave again after one look at the shadow's page
 * table through a TLB of our own (memory.h). When a load brings taint into a register (track), a callback at
 * the start of each block, conditional on a scoreboard entry, runs too: instructions without memory operand never have
 * one of their own, they are caught up with. The shadow itself lies in a file
 * shared with the supervisor (core/shadow.h), which taints what the network delivers.
 *
 * Non-goals: writing to the guest (the plugin API cannot), and surviving a detection: the engine that
 * detects is thrown away by the rollback.
 *
 * Arguments: link=FD, shadow=FD, ram=FD: descriptors inherited from the supervisor; detectors=N: those that are on, a bit
 * for each number.
 */
#include <stdlib.h>
#include <string.h>

#include "plugin/plugin_internal.h"

PLUGIN_EXPORT int qemu_plugin_version = PLUGIN_API_VERSION;

struct plugin plugin = {.link_fd = -1, .ram_fd = -1};
struct plugin_vcpu plugin_vcpu[TAINT_VCPU_MAX];

static void vcpu_init(qemu_plugin_id_t id, unsigned int vcpu)
{
	(void)id;
	regs_init();
	follow_init_vcpu(vcpu);
}

static void vcpu_idle(qemu_plugin_id_t id, unsigned int vcpu)
{
	(void)id;
	follow_pause_vcpu(vcpu);
}

static void vcpu_resume(qemu_plugin_id_t id, unsigned int vcpu)
{
	(void)id;
	follow_resume_vcpu(vcpu);
}

/* Value of "name=NUMBER" among the arguments, -1 if it is not there. */
static int number_argument(int argc, char **argv, const char *name)
{
	size_t n = strlen(name);

	for (int i = 0; i < argc; i++)
		if (!strncmp(argv[i], name, n) && argv[i][n] == '=')
			return atoi(argv[i] + n + 1);
	return -1;
}

static int attach(int argc, char **argv)
{
	int shadow_fd = number_argument(argc, argv, "shadow");
	struct err e;

	plugin.link_fd = number_argument(argc, argv, "link");
	plugin.ram_fd = number_argument(argc, argv, "ram");
	plugin.detectors = (uint32_t)number_argument(argc, argv, "detectors");
	if (plugin.link_fd < 0 || plugin.ram_fd < 0 || shadow_fd < 0)
		return -1;
	if (shadow_attach(shadow_fd, &plugin.shadow, &e) < 0) {
		link_send_error("%s", e.text);
		return -1;
	}
	plugin.shm = shadow_header(plugin.shadow);
	return 0;
}

int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
	struct taint_msg m = {.type = TAINT_MSG_HELLO};

	plugin.id = id;
	if (attach(argc, argv) < 0)
		return -1;
	if (!info->system_emulation || strcmp(info->target_name, "x86_64") != 0) {
		link_send_error("the plugin is for qemu-system-x86_64, this is %s", info->target_name);
		return -1;
	}
	if (info->system.max_vcpus > (int)TAINT_VCPU_MAX) {
		link_send_error("%d vCPUs, at most %u are supported", info->system.max_vcpus, TAINT_VCPU_MAX);
		return -1;
	}
	__atomic_store_n(&plugin.shm->n_vcpus, (uint32_t)info->system.max_vcpus, __ATOMIC_RELEASE);
	plugin.board = qemu_plugin_scoreboard_new(sizeof(uint64_t));
	plugin.shared = info->system.max_vcpus > 1;
	plugin.track = (qemu_plugin_u64){plugin.board, 0};
	qemu_plugin_register_vcpu_init_cb(id, vcpu_init);
	qemu_plugin_register_vcpu_idle_cb(id, vcpu_idle);
	qemu_plugin_register_vcpu_resume_cb(id, vcpu_resume);
	qemu_plugin_register_vcpu_tb_trans_cb(id, translate_block);
	qemu_plugin_register_flush_cb(id, translate_flush);
	if (link_start() < 0)
		return -1;
	m.hello = (struct taint_msg_hello){.abi_version = TAINT_ABI_VERSION,
					   .plugin_api_min = (uint32_t)info->version.min,
					   .plugin_api_cur = (uint32_t)info->version.cur,
					   .smp_vcpus = (uint32_t)info->system.smp_vcpus};
	link_send(&m, -1);
	return 0;
}
