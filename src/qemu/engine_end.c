/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The end of a QEMU process: see engine_internal.h. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/wait.h>
#include <unistd.h>

#include "qemu/engine_internal.h"

/* Before an engine that does not stop is waited for until it has ended. */
#define STOP_MS 50u

/* An engine that was killed, and gives back its memory: that takes the longer the more of it there is, and nobody waits for it. */
struct corpse {
	LIST_ENTRY(corpse) link;
	pid_t pid;
	int pid_fd;
	struct loop_source *source;
};

static LIST_HEAD(, corpse) corpses = LIST_HEAD_INITIALIZER(corpses);

static void reap(pid_t pid)
{
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

static void bury(struct corpse *c)
{
	loop_remove(&c->source);
	reap(c->pid);
	close(c->pid_fd);
	LIST_REMOVE(c, link);
	free(c);
}

static void corpse_ended(void *arg, uint32_t events)
{
	(void)events;
	bury(arg);
}

void engine_bury(void)
{
	while (!LIST_EMPTY(&corpses))
		bury(LIST_FIRST(&corpses));
}

/* Whether all of its threads stand still, or have ended. One that waits in the kernel for a page does not stop. */
static bool stop_threads(const struct engine *en)
{
	struct pollfd p = {.fd = en->pid_fd, .events = POLLIN};
	siginfo_t now = {0};

	kill(en->pid, SIGSTOP);
	for (unsigned ms = 0; ms < STOP_MS; ms++) {
		if (waitid(P_PID, (id_t)en->pid, &now, WSTOPPED | WEXITED | WNOWAIT | WNOHANG) == 0 && now.si_pid)
			return true;
		poll(&p, 1, 1);
	}
	return false;
}

/* What stands still does nothing any more when it is killed but to end. */
void engine_kill(struct engine *en)
{
	struct corpse *c = stop_threads(en) ? malloc(sizeof(*c)) : NULL;
	struct err e;

	kill(en->pid, SIGKILL);
	if (!c) {
		reap(en->pid);
		return;
	}
	*c = (struct corpse){.pid = en->pid, .pid_fd = en->pid_fd};
	en->pid_fd = -1;
	LIST_INSERT_HEAD(&corpses, c, link);
	c->source = loop_add(en->loop, LOOP_FD_CHILD, c->pid_fd, EPOLLIN, 0, corpse_ended, c, &e);
	if (!c->source)
		bury(c);
}
