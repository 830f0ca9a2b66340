/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Paths between processes: shared memory, pipes, fork, exec. */
#include "taintlab_paths.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define SHM_NAME "/taintlab"

/* Ends with 0 if the child's part went well. */
static bool ended_well(pid_t pid)
{
	int status;

	return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

static char *map_shm(int flags)
{
	int fd = shm_open(SHM_NAME, flags, 0600);
	char *map = MAP_FAILED;

	if (fd >= 0 && ftruncate(fd, LAB_MAX) == 0)
		map = mmap(NULL, LAB_MAX, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	return map;
}

static bool by_shared_memory(struct lab *l)
{
	char *map = map_shm(O_RDWR | O_CREAT);
	pid_t pid = map == MAP_FAILED ? -1 : fork();
	bool ok;

	if (pid == 0) {
		char *mine = map_shm(O_RDWR);

		if (mine != MAP_FAILED)
			memcpy(mine, l->in, l->len);
		_exit(mine == MAP_FAILED);
	}
	ok = ended_well(pid);
	if (ok)
		memcpy(l->out, map, l->len);
	if (map != MAP_FAILED)
		munmap(map, LAB_MAX);
	shm_unlink(SHM_NAME);
	return ok;
}

static bool by_shared_anonymous(struct lab *l)
{
	char *map = mmap(NULL, LAB_MAX, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid = map == MAP_FAILED ? -1 : fork();
	bool ok;

	if (pid == 0) {
		memcpy(map, l->in, l->len);
		_exit(0);
	}
	ok = ended_well(pid);
	if (ok)
		memcpy(l->out, map, l->len);
	if (map != MAP_FAILED)
		munmap(map, LAB_MAX);
	return ok;
}

static bool by_pipe_of_child(struct lab *l)
{
	int fd[2];
	pid_t pid;
	bool ok;

	if (pipe(fd) < 0)
		return false;
	pid = fork();
	if (pid == 0)
		_exit(!lab_write_all(fd[1], l->in, l->len));
	close(fd[1]);
	ok = pid > 0 && lab_read_all(fd[0], l->out, l->len);
	close(fd[0]);
	return ended_well(pid) && ok;
}

/* The child's page becomes a copy when it writes beside the payload. */
static bool copy_on_write(struct lab *l)
{
	*(char *)lab_opaque(l->in + l->len) = 'x';
	l->at = l->in;
	return true;
}

static bool by_fork(struct lab *l)
{
	return lab_child(l, copy_on_write);
}

static bool leave_alone(struct lab *l)
{
	l->at = l->in;
	return true;
}

static bool by_fork_shared(struct lab *l)
{
	return lab_child(l, leave_alone);
}

/* The child overwrites its copy; the parent's stays as it is. */
static bool by_fork_parent(struct lab *l)
{
	pid_t pid = fork();

	if (pid == 0) {
		memset(lab_opaque(l->in), 'x', l->len);
		_exit(0);
	}
	l->at = l->in;
	return ended_well(pid);
}

static bool overwrite(struct lab *l)
{
	memset(lab_opaque(l->in), 'x', l->len);
	l->at = l->in;
	return true;
}

static bool by_fork_overwritten(struct lab *l)
{
	return lab_child(l, overwrite);
}

static bool by_argument(struct lab *l)
{
	char *const argv[] = {"taintlab-argument", "--exec", "argument", l->in, NULL}, *const envp[] = {NULL};

	return lab_exec(l, argv, envp, STDIN_FILENO);
}

static bool by_environment(struct lab *l)
{
	char *const argv[] = {"taintlab-environment", "--exec", "environment", "PAYLOAD", NULL};
	static char variable[LAB_MAX + 16];
	char *const envp[] = {"FIRST=1", variable, NULL};

	strcpy(variable, "PAYLOAD=");
	strcat(variable, l->in);
	return lab_exec(l, argv, envp, STDIN_FILENO);
}

const struct lab_path lab_process_paths[] = {
	{.name = "shared-memory", .expect = LAB_EXACT, .run = by_shared_memory},
	{.name = "shared-anonymous", .expect = LAB_EXACT, .run = by_shared_anonymous},
	{.name = "pipe-of-child", .expect = LAB_EXACT, .run = by_pipe_of_child},
	{.name = "fork-copy", .expect = LAB_EXACT, .run = by_fork},
	{.name = "fork-shared", .expect = LAB_EXACT, .run = by_fork_shared},
	{.name = "fork-parent", .expect = LAB_EXACT, .run = by_fork_parent},
	{.name = "fork-overwritten", .expect = LAB_CLEAN, .run = by_fork_overwritten},
	{.name = "exec-argument", .expect = LAB_EXACT, .run = by_argument},
	{.name = "exec-argument-2500", .expect = LAB_EXACT, .run = by_argument, .size = 2500},
	{.name = "exec-environment", .expect = LAB_EXACT, .run = by_environment},
};
const size_t lab_process_count = sizeof(lab_process_paths) / sizeof(lab_process_paths[0]);
