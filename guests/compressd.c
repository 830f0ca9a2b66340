/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A service that compresses by starting a command for each request: the line is the command's argument.
 *
 * Run as ncompressd-X it starts /bin/ncompress-X. A plain name is made a file first, the same each time. It answers
 * "exit STATUS SIZE", SIZE that of the compressed file (-1: there is none), or "died SIGNAL"; "pid" is answered "pid N".
 */
#include "server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define LINE_ROOM 3072
#define COPIES 200 /* of the name, in its file */

static char command[64];

/* ncompressd-32 to /bin/ncompress-32 */
static void name_command(const char *self)
{
	const char *base = strrchr(self, '/'), *d;

	base = base ? base + 1 : self;
	d = strchr(base, 'd');
	snprintf(command, sizeof(command), "/bin/%.*s%s", d ? (int)(d - base) : 32, base, d ? d + 1 : "");
}

static void make_file(const char *name)
{
	FILE *f = strchr(name, '/') ? NULL : fopen(name, "we");

	for (int i = 0; f && i < COPIES; i++)
		fprintf(f, "%s %d\n", name, i);
	if (f)
		fclose(f);
}

/* Size of NAME.Z, which is removed. */
static long take_result(const char *name)
{
	char result[LINE_ROOM + sizeof(".Z")];
	struct stat st;
	long size = -1;

	snprintf(result, sizeof(result), "%s.Z", name);
	if (!strchr(name, '/') && stat(result, &st) == 0)
		size = (long)st.st_size;
	if (size >= 0)
		unlink(result);
	return size;
}

static int run_command(const struct server_client *c, char *name)
{
	char *argv[] = {command, name, NULL};
	pid_t pid = fork();
	int status = -1;

	if (pid == 0) {
		dup2(c->out, STDOUT_FILENO);
		execv(command, argv);
		_exit(127);
	}
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}

static void serve(struct server_client *c)
{
	char line[LINE_ROOM], answer[64];
	size_t len;

	while (server_line(c, line, sizeof(line), &len)) {
		if (strcmp(line, "pid") == 0) {
			snprintf(answer, sizeof(answer), "pid %d\n", getpid());
		} else {
			int status;

			make_file(line);
			status = run_command(c, line);
			if (WIFEXITED(status))
				snprintf(answer, sizeof(answer), "exit %d %ld\n", WEXITSTATUS(status),
					 take_result(line));
			else
				snprintf(answer, sizeof(answer), "died %d\n", WTERMSIG(status));
		}
		if (!server_send(c, answer, strlen(answer)))
			return;
	}
}

int main(int argc, char **argv)
{
	name_command(argv[0]);
	if (chdir("/tmp") < 0)
		return 1;
	return server_run(argc, argv, serve);
}
