/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What introspection is tested on: a shell for the test, and processes and threads to be found.
 *
 *   vmilab PORT                 each connection gets a shell
 *   vmilab spawn N              N processes that wait until they are killed, and this one too; says "spawned"
 *   vmilab threads N            one process with N more threads, named thread-1 and so on; says "running"
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "listen.h"

#define STACK_BYTES 4096

static int wait_for_ever(void *arg)
{
	(void)arg;
	while (pause() < 0)
		;
	return 0;
}

/* They share this one's memory, which is quick to set up. */
static int spawn(int n)
{
	char *stacks = aligned_alloc(STACK_BYTES, (size_t)n * STACK_BYTES);

	for (size_t i = 1; stacks && i <= (size_t)n; i++)
		if (clone(wait_for_ever, stacks + i * STACK_BYTES, CLONE_VM | SIGCHLD, NULL) < 0)
			return 1;
	puts("spawned");
	fflush(stdout);
	return wait_for_ever(stacks);
}

static pthread_barrier_t all_named;

static void *be_a_thread(void *arg)
{
	char name[16];

	snprintf(name, sizeof(name), "thread-%d", *(const int *)arg);
	pthread_setname_np(pthread_self(), name);
	pthread_barrier_wait(&all_named);
	pause();
	return NULL;
}

static int run_threads(int n)
{
	int *number = calloc((size_t)n, sizeof(*number));
	pthread_t thread;

	pthread_barrier_init(&all_named, NULL, (unsigned)n + 1);
	for (int i = 0; i < n; i++) {
		number[i] = i + 1;
		if (pthread_create(&thread, NULL, be_a_thread, &number[i]))
			return 1;
	}
	pthread_barrier_wait(&all_named);
	puts("running");
	fflush(stdout);
	pause();
	return 0;
}

static int give_shells(const char *port)
{
	int listener = listen_on(port, 4);

	signal(SIGCHLD, SIG_IGN);
	if (listener >= 0)
		listen_tell_ready();
	while (listener >= 0) {
		int fd = accept(listener, NULL, NULL);

		if (fd >= 0 && fork() == 0) {
			signal(SIGCHLD, SIG_DFL);
			dup2(fd, 0);
			dup2(fd, 1);
			dup2(fd, 2);
			close(fd);
			setenv("PATH", "/bin", 1);
			execl("/bin/sh", "sh", (char *)NULL);
			_exit(127);
		}
		if (fd >= 0)
			close(fd);
	}
	return 1;
}

int main(int argc, char **argv)
{
	int n = argc > 2 ? atoi(argv[2]) : 0;

	if (n > 0 && !strcmp(argv[1], "spawn"))
		return spawn(n);
	if (n > 0 && !strcmp(argv[1], "threads"))
		return run_threads(n);
	return give_shells(argc > 1 ? argv[1] : "0");
}
