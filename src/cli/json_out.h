/* SPDX-License-Identifier: GPL-2.0-or-later */
/* JSON to standard output: safe for terminals, too. */
#ifndef CLOUDER_CLI_JSON_OUT_H
#define CLOUDER_CLI_JSON_OUT_H

#include <jansson.h>
#include <stdio.h>

#include "base/err.h"

/* Prints j in several lines, with what is not ASCII escaped. Consumes j; NULL: out of memory. */
int json_out(FILE *out, json_t *j, struct err *e) MUST_CHECK;
/* As above, in one line, and flushes. */
int json_out_line(FILE *out, json_t *j, struct err *e) MUST_CHECK;

#endif
