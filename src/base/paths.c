/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Directories and names: see paths.h. */
#include "base/paths.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl_proto.h"

/* A directory: a variable's value with something after it. */
struct place {
	const char *variable, *suffix;
};

/* The first place whose variable is set and absolute (first row: also relative); root_dir for root in between. */
static int find_place(const struct place *p, size_t n, const char *root_dir, const char *what, char *ret, size_t size,
		      struct err *e)
{
	const char *base = getenv(p[0].variable), *suffix = p[0].suffix;

	if ((!base || !*base) && geteuid() == 0) {
		base = root_dir;
		suffix = "";
	}
	for (size_t i = 1; i < n && (!base || !*base); i++) {
		base = getenv(p[i].variable);
		suffix = p[i].suffix;
		if (base && *base != '/')
			base = NULL;
	}
	if (!base || !*base)
		return err_set(e, ERR_MISSING, "no %s directory: set %s", what, p[0].variable);
	if ((size_t)snprintf(ret, size, "%s%s", base, suffix) >= size)
		return err_set(e, ERR_LIMIT, "the name of the %s directory is too long: set %s to a shorter one", what,
			       p[0].variable);
	return 0;
}

int paths_runtime_dir(char *ret, size_t size, struct err *e)
{
	static const struct place places[] = {{"CLOUDER_RUNTIME_DIR", ""}, {"XDG_RUNTIME_DIR", "/clouder"}};

	return find_place(places, 2, "/run/clouder", "runtime", ret, size, e);
}

int paths_state_dir(char *ret, size_t size, struct err *e)
{
	static const struct place places[] = {
		{"CLOUDER_STATE_DIR", ""}, {"XDG_STATE_HOME", "/clouder"}, {"HOME", "/.local/state/clouder"}};

	return find_place(places, 3, "/var/lib/clouder", "state", ret, size, e);
}

int paths_make_dir(const char *path, struct err *e)
{
	char part[PATH_MAX];
	size_t len = strlen(path);
	struct stat st;

	if (len >= sizeof(part))
		return err_set(e, ERR_LIMIT, "directory name too long: %.200s", path);
	for (size_t i = 1; i <= len; i++) {
		if (path[i] != '/' && path[i])
			continue;
		memcpy(part, path, i);
		part[i] = 0;
		if (mkdir(part, 0700) < 0 && errno != EEXIST)
			return err_set_errno(e, "cannot make the directory %s", part);
	}
	if (stat(path, &st) < 0)
		return err_set_errno(e, "%s", path);
	if (!S_ISDIR(st.st_mode))
		return err_set(e, ERR_STATE, "%s is not a directory: move it away", path);
	return 0;
}

int paths_check_private(const char *path, struct err *e)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return err_set_errno(e, "%s", path);
	if (!S_ISDIR(st.st_mode))
		return err_set(e, ERR_REFUSED, "%s is not a directory: move it away", path);
	if (st.st_uid != geteuid())
		return err_set(e, ERR_REFUSED, "%s belongs to another user: choose another CLOUDER_RUNTIME_DIR", path);
	if (st.st_mode & 022)
		return err_set(e, ERR_REFUSED, "%s can be written by others: make it private (chmod 700)", path);
	return 0;
}

bool paths_name_valid(const char *name)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	size_t len = strnlen(name, CTL_NAME_MAX + 1);

	return len >= 1 && len <= CTL_NAME_MAX && strspn(name, allowed) == len && *name != '.' && *name != '-';
}

int paths_check_name(const char *name, struct err *e)
{
	if (paths_name_valid(name))
		return 0;
	return err_set(e, ERR_USAGE,
		       "\"%.60s\" cannot name a VM: use 1 to %d letters, digits, '.', '_' or '-', not '.' or '-' first",
		       name, CTL_NAME_MAX);
}

int paths_vm_file(const char *name, const char *suffix, char ret[PATHS_SOCKET_MAX], struct err *e)
{
	char dir[PATH_MAX];

	if (paths_runtime_dir(dir, sizeof(dir), e) < 0)
		return -1;
	if (snprintf(ret, PATHS_SOCKET_MAX, "%s/%s%s", dir, name, suffix) >= PATHS_SOCKET_MAX)
		return err_set(e, ERR_LIMIT,
			       "the runtime directory %.150s is too long for a socket: set CLOUDER_RUNTIME_DIR", dir);
	return 0;
}
