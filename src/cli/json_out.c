/* SPDX-License-Identifier: GPL-2.0-or-later */
/* JSON output: see json_out.h. */
#include "cli/json_out.h"

static int print(FILE *out, json_t *j, size_t flags, struct err *e)
{
	int rc;

	if (!j)
		return err_set(e, ERR_SYSTEM, "out of memory");
	rc = json_dumpf(j, out, JSON_ENSURE_ASCII | flags);
	json_decref(j);
	if (rc < 0 || putc('\n', out) == EOF)
		return err_set_errno(e, "cannot write the output");
	return 0;
}

int json_out(FILE *out, json_t *j, struct err *e)
{
	return print(out, j, JSON_INDENT(2), e);
}

int json_out_line(FILE *out, json_t *j, struct err *e)
{
	if (print(out, j, JSON_COMPACT, e) < 0)
		return -1;
	return fflush(out) == 0 ? 0 : err_set_errno(e, "cannot write the output");
}
