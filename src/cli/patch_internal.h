/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of `clouder patch` have in common. */
#ifndef CLOUDER_CLI_PATCH_INTERNAL_H
#define CLOUDER_CLI_PATCH_INTERNAL_H

#include "cli/cli.h"

/* The number of a patch that an operand names. */
int patch_read_id(const char *text, int64_t *ret, struct err *e) MUST_CHECK;

int patch_export_run(struct cli_call *c, struct err *e) MUST_CHECK;

#endif
