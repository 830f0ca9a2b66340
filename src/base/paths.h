/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where CloudER keeps things, and how the files of a VM are named. */
#ifndef CLOUDER_BASE_PATHS_H
#define CLOUDER_BASE_PATHS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/*
 * For sockets and locks: $CLOUDER_RUNTIME_DIR, else /run/clouder for root, else $XDG_RUNTIME_DIR/clouder.
 * Creates nothing. -1 (ERR_MISSING, ERR_LIMIT) if there is no such place or its name does not fit.
 */
int paths_runtime_dir(char *ret, size_t size, struct err *e) MUST_CHECK;

/*
 * For what outlives a VM: $CLOUDER_STATE_DIR, else /var/lib/clouder for root, else $XDG_STATE_HOME/clouder, else
 * $HOME/.local/state/clouder. Creates nothing.
 */
int paths_state_dir(char *ret, size_t size, struct err *e) MUST_CHECK;

/* Makes the directory and its missing parents, mode 0700 each. One that is there already is left as it is. */
int paths_make_dir(const char *path, struct err *e) MUST_CHECK;
/* -1 (ERR_REFUSED) unless path is a directory of ours that nobody else can write. */
int paths_check_private(const char *path, struct err *e) MUST_CHECK;

/* A VM's name: 1 to CTL_NAME_MAX of [A-Za-z0-9._-], not starting with a dot or a dash. */
bool paths_name_valid(const char *name);
/* As above; -1 (ERR_USAGE) with a line that says the rule. */
int paths_check_name(const char *name, struct err *e) MUST_CHECK;

/* The control socket's path has to fit in a struct sockaddr_un. */
#define PATHS_SOCKET_MAX 108
/* RUNTIME_DIR/NAMEsuffix, e.g. ".sock". name must be valid. */
int paths_vm_file(const char *name, const char *suffix, char ret[PATHS_SOCKET_MAX], struct err *e) MUST_CHECK;

#endif
