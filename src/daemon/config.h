/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What `clouder run` was asked to do: options and configuration file, from one table of rows. */
#ifndef CLOUDER_DAEMON_CONFIG_H
#define CLOUDER_DAEMON_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/log.h"
#include "ctl_proto.h"
#include "disk/disk.h"

enum config_respond {
	CONFIG_RESPOND_AUTO, /* patch, roll back, go on */
	CONFIG_RESPOND_ASK, /* the same without the patch, which waits for the operator */
	CONFIG_RESPOND_OBSERVE, /* report only; the VM goes on as it would */
};

enum config_output {
	CONFIG_OUTPUT_RELEASE, /* what the guest sends goes at once */
	CONFIG_OUTPUT_HOLD, /* it waits for the next checkpoint */
};

struct config {
	char *file; /* NULL: none */
	char *name; /* valid (paths_name_valid) */
	char *net; /* specification for net_create */
	char *plugin; /* NULL: the one installed */
	char *qemu; /* program, looked for in PATH if it has no slash */
	int respond; /* enum config_respond */
	int output; /* enum config_output */
	unsigned checkpoint_interval_ms;
	unsigned checkpoints; /* kept */
	unsigned checkpoint_memory_mib; /* that keeping them may take; 0: what the guest's memory asks for */
	char *console; /* file that the guest's serial console is appended to; NULL: none */
	unsigned boot_timeout_s; /* 0: no limit */
	uint32_t detectors; /* that are on: a bit for each enum taint_detector */
	struct image_spec disk[DISKS_MAX];
	unsigned n_disks;
	int log_level; /* enum log_level */
	bool colour; /* standard output wants it */
	char **qemu_args; /* NULL-terminated, without the program */
	size_t n_qemu_args;
};

/*
 * Fills *ret from argv (argv[0] is skipped) and the file that --config names; the command line wins. ERR_USAGE: wrong
 * option, key or value; other codes: the file cannot be read. config_deinit frees it; needed only after success.
 */
int config_init(struct config *ret, int argc, char **argv, struct err *e) MUST_CHECK;
void config_deinit(struct config *c);

const char *config_respond_name(int respond);

#endif
