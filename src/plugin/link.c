/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The link to the supervisor: one thread reads, any thread sends. */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "plugin/plugin_internal.h"

static sem_t go[TAINT_VCPU_MAX];

void link_send(struct taint_msg *m, int fd)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec iov = {.iov_base = m, .iov_len = sizeof(*m)};
	struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1};

	m->size = sizeof(*m);
	if (fd >= 0) {
		h.msg_control = &control;
		h.msg_controllen = sizeof(control.space);
		control.header = (struct cmsghdr){
			.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
		memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
	}
	/* A dead supervisor cannot be told anything; the parent-death signal ends this process. */
	while (sendmsg(plugin.link_fd, &h, MSG_NOSIGNAL) < 0 && errno == EINTR)
		;
}

void link_send_error(const char *fmt, ...)
{
	struct taint_msg m = {.type = TAINT_MSG_ERROR};
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(m.text, sizeof(m.text), fmt, ap);
	va_end(ap);
	link_send(&m, -1);
}

/* The answer says that nothing will run unwatched from here on. */
static void set_watch(struct taint_msg *m)
{
	plugin.watch = m->watch;
	link_send(m, -1);
}

static void *link_thread(void *arg)
{
	struct taint_msg m;
	ssize_t n;

	(void)arg;
	for (;;) {
		n = recv(plugin.link_fd, &m, sizeof(m), 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n != (ssize_t)sizeof(m))
			return NULL; /* the supervisor is gone: held vCPUs stay held */
		if (m.type == TAINT_MSG_MAP_RAM)
			ram_register();
		else if (m.type == TAINT_MSG_WATCH)
			set_watch(&m);
		else if (m.type == TAINT_MSG_GO && m.detect.vcpu < TAINT_VCPU_MAX)
			sem_post(&go[m.detect.vcpu]);
	}
}

int link_start(void)
{
	sigset_t all, old;
	pthread_t t;
	int rc;

	for (unsigned i = 0; i < TAINT_VCPU_MAX; i++)
		sem_init(&go[i], 0, 0);
	/* QEMU handles signals in threads of its own choice; ours is none of them. */
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	rc = pthread_create(&t, NULL, link_thread, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc) {
		link_send_error("cannot start the link thread: %s", strerror(rc));
		return -1;
	}
	pthread_detach(t);
	return 0;
}

void link_wait_go(unsigned vcpu)
{
	while (sem_wait(&go[vcpu]) < 0 && errno == EINTR)
		;
}
