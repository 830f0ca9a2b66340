/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Forms of the attack lab of other shapes: an index from outside, and a command that is started for a request.
 *
 * The command is a re-creation of ncompress 4.2.4's bug: its argument is copied into an array of 1024 bytes.
 */
#include "attacklab.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define ENTRIES 8
#define PATH_ROOM 1024

/* The value is the program's, the place is the attacker's. */
static LAB_NOINLINE void index_ret(struct lab_input *in)
{
	volatile long table[ENTRIES] = {0};
	int n = atoi(in->bytes);

#ifdef FIXED
	if (n < 0 || n >= ENTRIES)
		n = 0;
#endif
	table[n] = 1;
	lab_answer(table[n] ? in->bytes : "");
}

static LAB_NOINLINE int compress_file(const char *name)
{
	char path[PATH_ROOM] = "";
	struct stat st;

#ifdef FIXED
	snprintf(path, sizeof(path), "%s", name);
#else
	strcpy(path, name);
#endif
	return stat(path, &st) == 0 && st.st_size == 0;
}

int lab_compress(const char *name)
{
	return compress_file(name) ? 1 : 0; /* not a tail call: its return address is to be this program's */
}

static void command(struct lab_input *in)
{
	static char self[] = "/proc/self/exe", verb[] = "compress";
	char *argv[] = {self, verb, lab_request, NULL};
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		dup2(lab_out, STDOUT_FILENO);
		execv(self, argv);
		_exit(127);
	}
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	lab_answer(pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0 ? in->bytes : "died");
}

const struct lab_form lab_other_forms[] = {
	{.name = "index-ret", .serve = index_ret, .way = "index", .bytes = "text", .culprits = "index_ret"},
	{.name = "command-strcpy",
	 .serve = command,
	 .way = "direct",
	 .target = "from:1024",
	 .bytes = "text",
	 .culprits = "compress_file"},
	{.name = NULL},
};
