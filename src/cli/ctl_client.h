/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The other end of a supervisor's control socket (ctl_proto.h). */
#ifndef CLOUDER_CLI_CTL_CLIENT_H
#define CLOUDER_CLI_CTL_CLIENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct ctl_client;

/* ERR_MISSING: no VM of that name; ERR_GONE: its supervisor died and left its socket behind. */
int ctl_client_open(const char *name, struct ctl_client **ret, struct err *e) MUST_CHECK;
void ctl_client_close(struct ctl_client *c); /* NULL is fine */

/* Sends {"verb": verb} and waits for the answer (new reference), whose "ok" is true; else ERR_STATE with its "error". */
int ctl_client_call(struct ctl_client *c, const char *verb, json_t **ret, struct err *e) MUST_CHECK;
/* The same with a request that has more members than its verb; it stays the caller's. NULL: out of memory. */
int ctl_client_request(struct ctl_client *c, const json_t *request, json_t **ret, struct err *e) MUST_CHECK;
/* The next object; timeout_ms -1: no limit. ERR_GONE: the supervisor hung up; ERR_TIMEOUT. */
int ctl_client_read(struct ctl_client *c, int timeout_ms, json_t **ret, struct err *e) MUST_CHECK;

/* Waits until the supervisor's process has ended. ERR_TIMEOUT. */
int ctl_client_wait_end(struct ctl_client *c, int timeout_ms, struct err *e) MUST_CHECK;

/* Names with a socket in the runtime directory, sorted, stale ones too; no directory: none. Free with ctl_client_free_names. */
int ctl_client_names(char ***ret, size_t *ret_n, struct err *e) MUST_CHECK;
void ctl_client_free_names(char **names, size_t n);
/* The one that there is, a new string. ERR_MISSING: there is none; ERR_USAGE: there are several. */
int ctl_client_only_name(char **ret, struct err *e) MUST_CHECK;
/* Opens a VM (NULL: the only one), has it answer the request, of which "ok" is left out, and closes it. */
int ctl_client_ask(const char *name, const json_t *request, json_t **ret, struct err *e) MUST_CHECK;

#endif
