/* SPDX-License-Identifier: GPL-2.0-or-later */
/* clouder run: a VM under CloudER, until it ends. */
#include "cli/cli.h"
#include "daemon/daemon.h"

const struct cli_verb cli_run_verb = {
	.name = "run",
	.args = "[OPTIONS] -- QEMU-ARGUMENTS",
	.help = "run a VM under CloudER",
	.run_raw = daemon_run,
	.usage = daemon_run_usage,
};
