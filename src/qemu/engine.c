/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The life of one QEMU process: see engine.h. What is asked of it over QMP is in engine_ops.c. */
#include "qemu/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "qemu/engine_internal.h"

#define OWN_ARGS_MAX 80

/* Argument list under construction; text lives until exec. */
struct arg_list {
	char *argv[OWN_ARGS_MAX + 1];
	size_t n;
};

static void arg_add(struct arg_list *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void arg_add(struct arg_list *l, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (l->n < OWN_ARGS_MAX)
		l->argv[l->n++] = strdup(text);
}

static void arg_pair(struct arg_list *l, const char *option, const char *value)
{
	arg_add(l, "%s", option);
	arg_add(l, "%s", value);
}

/* Descriptors that the child inherits; -1: none. */
struct child_fds {
	int qmp, link, ram, shadow, console, err;
	const struct engine_port *port; /* of the engine */
};

static void add_disks(struct arg_list *l, const struct engine_config *c, const struct child_fds *f)
{
	for (unsigned i = 0; i < c->n_disks; i++) {
		arg_add(l, "-chardev");
		arg_add(l, "socket,id=clouder-disk%u,path=%s,abstract=on", i, f->port[1 + i].name);
		arg_add(l, "-device");
		arg_add(l, "vhost-user-blk-pci,chardev=clouder-disk%u,id=clouder-vd%u,num-queues=1", i, i);
	}
}

static void add_devices(struct arg_list *l, const struct engine_config *c, const struct child_fds *f)
{
	arg_add(l, "-chardev");
	arg_add(l, "socket,id=clouder-qmp,fd=%d", f->qmp);
	arg_pair(l, "-mon", "chardev=clouder-qmp,mode=control");
	arg_add(l, "-chardev");
	arg_add(l, "socket,id=clouder-net,path=%s,abstract=on", f->port[0].name);
	arg_pair(l, "-netdev", "vhost-user,id=clouder-net,chardev=clouder-net");
	arg_add(l, "-device");
	arg_add(l, "virtio-net-pci,netdev=clouder-net,id=clouder-nic,romfile=%s%s", c->mac ? ",mac=" : "",
		c->mac ? c->mac : "");
	add_disks(l, c, f);
	arg_add(l, "-plugin");
	arg_add(l, "%s,link=%d,shadow=%d,ram=%d,detectors=%u", c->plugin, f->link, f->shadow, f->ram, c->detectors);
	if (f->console >= 0) {
		arg_add(l, "-add-fd");
		arg_add(l, "fd=%d,set=1,opaque=clouder-console", f->console);
		arg_pair(l, "-chardev", "file,id=clouder-console,path=/dev/fdset/1,append=on");
		arg_pair(l, "-serial", "chardev:clouder-console");
	}
}

/* The whole command line: ours, then the operator's. NULL-terminated, to be freed with its strings by exit only. */
static char **command_line(const struct engine_config *c, const struct child_fds *f)
{
	struct arg_list l = {0};
	size_t n = 0;
	char **argv;

	arg_add(&l, "%s", c->qemu);
	if (!c->args->has_machine)
		arg_pair(&l, "-machine", "q35");
	arg_pair(&l, "-machine", "memory-backend=clouder-ram");
	if (!c->args->has_accel)
		arg_pair(&l, "-accel", "tcg");
	if (!c->args->has_display)
		arg_pair(&l, "-display", "none");
	if (!c->args->has_vga)
		arg_pair(&l, "-vga", "none");
	arg_add(&l, "-object");
	arg_add(&l, "memory-backend-file,id=clouder-ram,mem-path=/proc/self/fd/%d,size=%llu,share=on", f->ram,
		(unsigned long long)c->args->ram_size);
	add_devices(&l, c, f);
	arg_add(&l, "-S");
	if (c->incoming)
		arg_pair(&l, "-incoming", "defer");
	while (c->args->argv[n])
		n++;
	argv = calloc(l.n + n + 1, sizeof(*argv));
	if (!argv)
		return NULL;
	memcpy(argv, l.argv, l.n * sizeof(*argv));
	memcpy(argv + l.n, c->args->argv, n * sizeof(*argv));
	return argv;
}

static void inherit(int fd)
{
	if (fd >= 0)
		fcntl(fd, F_SETFD, 0);
}

/* In the child, between fork and exec. */
_Noreturn static void child_main(const struct engine_config *c, const struct child_fds *f, pid_t parent)
{
	int null = open("/dev/null", O_RDONLY);
	sigset_t none;
	char **argv;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(127);
	setsid(); /* Ctrl-C on the terminal is for the supervisor to handle */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	dup2(null, STDIN_FILENO);
	dup2(f->err, STDERR_FILENO);
	/* Not all are ours: a connection that libslirp accepted would stay open for as long as this engine lives. */
	close_range(STDERR_FILENO + 1, ~0u, CLOSE_RANGE_CLOEXEC);
	const int fds[] = {f->qmp, f->link, f->ram, f->shadow, f->console};

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		inherit(fds[i]);
	argv = command_line(c, f);
	if (argv)
		execvp(argv[0], argv);
	dprintf(STDERR_FILENO, "cannot run %s: %s\n", c->qemu, strerror(errno));
	_exit(127);
}

static void stderr_readable(void *arg, uint32_t events)
{
	struct engine *en = arg;
	char chunk[512];
	ssize_t n = read(en->err_fd, chunk, sizeof(chunk));

	(void)events;
	if (n <= 0) {
		if (n == 0 || (errno != EAGAIN && errno != EINTR))
			loop_remove(&en->err_source);
		return;
	}
	for (ssize_t i = 0; i < n; i++) {
		if (chunk[i] != '\n') {
			if (en->line_len < sizeof(en->line) - 1)
				en->line[en->line_len++] = chunk[i];
			continue;
		}
		en->line[en->line_len] = 0;
		log_debug("qemu: %s", en->line);
		if (en->line_len && !strstr(en->line, "warning:"))
			memcpy(en->last_words, en->line, sizeof(en->line));
		en->line_len = 0;
	}
}

static void child_ended(void *arg, uint32_t events)
{
	struct engine *en = arg;
	int status = 0;

	(void)events;
	loop_remove(&en->child_source);
	while (en->err_source) {
		uint32_t before = (uint32_t)en->line_len;

		stderr_readable(en, 0);
		if (en->line_len == before)
			break;
	}
	if (waitpid(en->pid, &status, 0) == en->pid)
		en->ended = true;
	en->status = status;
	if (en->ops.ended)
		en->ops.ended(en->ops_arg, en, status);
}

static void qmp_event(void *arg, const char *event, const json_t *data)
{
	struct engine *en = arg;

	engine_note_event(en, event, data);
	if (en->ops.event)
		en->ops.event(en->ops_arg, en, event, data);
}

/*
 * QEMU passes descriptors to a vhost-user back end only over a socket that it was given by name, not over an inherited
 * one. An abstract name leaves no file; who connects is checked by pid.
 */
static int listen_port(struct engine_port *p, struct err *e)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	uint64_t random[2];
	int n;

	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		return err_set_errno(e, "getrandom");
	n = snprintf(p->name, sizeof(p->name), "clouder-%016llx%016llx", (unsigned long long)random[0],
		     (unsigned long long)random[1]);
	memcpy(sa.sun_path + 1, p->name, (size_t)n);
	p->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (p->listen_fd < 0 ||
	    bind(p->listen_fd, (struct sockaddr *)&sa, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + n)) <
		    0 ||
	    listen(p->listen_fd, 1) < 0)
		return err_set_errno(e, "socket for a device");
	return 0;
}

static int listen_ports(struct engine *en, unsigned n, struct err *e)
{
	for (; en->n_ports < n; en->n_ports++) {
		en->port[en->n_ports] = (struct engine_port){.en = en, .listen_fd = -1};
		if (listen_port(&en->port[en->n_ports], e) < 0) {
			en->n_ports++;
			return -1;
		}
	}
	return 0;
}

static void port_close(struct engine_port *p)
{
	loop_remove(&p->source);
	if (p->listen_fd >= 0)
		close(p->listen_fd);
	p->listen_fd = -1;
}

static void device_connects(void *arg, uint32_t events)
{
	struct engine_port *p = arg;
	struct engine *en = p->en;
	struct ucred peer = {0};
	socklen_t len = sizeof(peer);
	int fd = accept4(p->listen_fd, NULL, NULL, SOCK_CLOEXEC);

	(void)events;
	if (fd < 0)
		return;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 || peer.pid != en->pid) {
		close(fd);
		return;
	}
	port_close(p);
	en->ops.connected(en->ops_arg, en, (unsigned)(p - en->port), fd);
}

/* Socket pairs and the stderr pipe; theirs goes to *f. */
static int open_channels(struct engine *en, struct child_fds *f, int *qmp_fd, struct err *e)
{
	int qmp[2], link[2], err[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, qmp) < 0)
		return err_set_errno(e, "socketpair");
	*qmp_fd = qmp[0];
	f->qmp = qmp[1];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, link) < 0)
		return err_set_errno(e, "socketpair");
	en->link_fd = link[0];
	f->link = link[1];
	if (pipe2(err, O_CLOEXEC | O_NONBLOCK) < 0)
		return err_set_errno(e, "pipe");
	en->err_fd = err[0];
	f->err = err[1];
	return 0;
}

static int spawn(struct engine *en, const struct engine_config *c, const struct child_fds *f, struct err *e)
{
	pid_t parent = getpid();

	en->pid = fork();
	if (en->pid < 0)
		return err_set_errno(e, "fork");
	if (!en->pid)
		child_main(c, f, parent);
	en->pid_fd = (int)syscall(SYS_pidfd_open, en->pid, 0);
	if (en->pid_fd < 0)
		return err_set_errno(e, "pidfd_open");
	return 0;
}

static int watch(struct engine *en, struct loop *l, int *qmp_fd, struct err *e)
{
	int fd = *qmp_fd;

	*qmp_fd = -1;
	if (qmp_create(l, fd, qmp_event, en, &en->qmp, e) < 0)
		return -1;
	en->err_source = loop_add(l, LOOP_FD_CHILD, en->err_fd, EPOLLIN, 0, stderr_readable, en, e);
	en->child_source = loop_add(l, LOOP_FD_CHILD, en->pid_fd, EPOLLIN, 0, child_ended, en, e);
	en->link_source = loop_add(l, LOOP_FD_LINK, en->link_fd, EPOLLIN, 0, engine_link_readable, en, e);
	for (unsigned i = 0; i < en->n_ports; i++) {
		struct engine_port *p = &en->port[i];

		p->source = loop_add(l, LOOP_FD_VHOST, p->listen_fd, EPOLLIN, 0, device_connects, p, e);
		if (!p->source)
			return -1;
	}
	return en->err_source && en->child_source && en->link_source ? 0 : -1;
}

static void close_if(int fd)
{
	if (fd >= 0)
		close(fd);
}

int engine_start(struct loop *l, const struct engine_config *c, const struct engine_ops *ops, void *arg,
		 struct engine **ret_en, struct err *e)
{
	struct child_fds f = {-1, -1, c->ram_fd, c->shadow_fd, c->console_fd, -1, NULL};
	struct engine *en = calloc(1, sizeof(*en));
	int qmp_fd = -1, rc = -1;

	if (!en)
		return err_set_errno(e, "engine");
	*en = (struct engine){.loop = l,
			      .ops = *ops,
			      .ops_arg = arg,
			      .link_fd = -1,
			      .err_fd = -1,
			      .pid_fd = -1,
			      .uffd = -1,
			      .pid = -1};
	f.port = en->port;
	if (listen_ports(en, 1 + c->n_disks, e) == 0 && open_channels(en, &f, &qmp_fd, e) == 0 &&
	    spawn(en, c, &f, e) == 0 && watch(en, l, &qmp_fd, e) == 0)
		rc = 0;
	close_if(f.qmp);
	close_if(f.link);
	close_if(f.err);
	if (rc < 0) {
		close_if(qmp_fd);
		engine_destroy(en);
		return -1;
	}
	*ret_en = en;
	return 0;
}

void engine_destroy(struct engine *en)
{
	if (!en)
		return;
	loop_remove(&en->child_source);
	loop_remove(&en->err_source);
	loop_remove(&en->link_source);
	for (unsigned i = 0; i < en->n_ports; i++)
		port_close(&en->port[i]);
	if (en->pid > 0 && !en->ended)
		engine_kill(en);
	qmp_destroy(en->qmp);
	close_if(en->link_fd);
	close_if(en->err_fd);
	close_if(en->pid_fd);
	close_if(en->uffd);
	free(en);
}

pid_t engine_pid(const struct engine *en)
{
	return en->pid;
}

struct qmp *engine_qmp(const struct engine *en)
{
	return en->qmp;
}

int engine_uffd(const struct engine *en)
{
	return en->uffd;
}

const struct taint_msg_ram *engine_ram(const struct engine *en)
{
	return &en->ram;
}

const char *engine_last_words(const struct engine *en)
{
	return en->last_words;
}

void engine_freeze(struct engine *en)
{
	if (!en->ended)
		kill(en->pid, SIGSTOP);
}

void engine_thaw(struct engine *en)
{
	if (!en->ended)
		kill(en->pid, SIGCONT);
}
