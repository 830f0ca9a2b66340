/* SPDX-License-Identifier: GPL-2.0-or-later */
/* clouder: an emergency room for virtual machines. */
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "cli/cli.h"

static _Noreturn void die(const struct err *e)
{
	fprintf(stderr, "clouder: %s\n", e->text);
	exit(e->code == ERR_USAGE ? CLI_USAGE : CLI_FAILURE);
}

int main(int argc, char **argv)
{
	struct err e;
	int status;

	log_set_prefix("clouder");
	status = cli_main(argc, argv, stdout, &e);
	if ((fflush(stdout) != 0 || ferror(stdout)) && status >= 0) {
		err_set_errno(&e, "cannot write the output");
		status = -1;
	}
	if (status < 0)
		die(&e);
	return status;
}
