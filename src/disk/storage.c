/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The life of a qemu-storage-daemon: see storage_internal.h. */
#include "disk/storage_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROGRAM "qemu-storage-daemon"
#define CANNOT_RUN 127

struct storage {
	pid_t pid;
	int err_fd; /* its standard error; neither side waits for the other */
	char line[256];
	size_t line_len;
	char last_words[256];
};

/* ---- reaching it ---- */

/* A listening socket and one that is connected to it, by a name that only we can reach, and that is removed again. */
static int make_sockets(int *ret_listen, int *ret_connected, struct err *e)
{
	char dir[] = "/tmp/clouder-nbd-XXXXXX";
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int l = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), c = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int rc = -1;

	if (l < 0 || c < 0 || !mkdtemp(dir)) {
		err_set_errno(e, "socket for " PROGRAM);
		goto out;
	}
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/socket", dir);
	if (bind(l, (struct sockaddr *)&sa, sizeof(sa)) == 0 && listen(l, 1) == 0)
		rc = connect(c, (struct sockaddr *)&sa, sizeof(sa));
	if (rc < 0)
		err_set_errno(e, "socket for " PROGRAM ": %.60s", sa.sun_path);
	unlink(sa.sun_path);
	rmdir(dir);
out:
	if (rc == 0) {
		*ret_listen = l;
		*ret_connected = c;
		return 0;
	}
	if (l >= 0)
		close(l);
	if (c >= 0)
		close(c);
	return -1;
}

/* ---- starting it ---- */

/*
 * What it opens, as JSON to be freed. By descriptor: no other file can have taken the name, and no character of it means
 * anything. Without locks of its own, which ours would keep it from. No file that the header names is followed: a
 * backing file is none, and who has another data file is refused before.
 */
static char *blockdev(int fd, bool readonly)
{
	struct stat st;
	char name[40];
	json_t *j;
	char *text;

	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	j = json_pack("{s:s, s:s, s:b, s:s, s:n, s:{s:s, s:s, s:s, s:b, s:s}}", "driver", "qcow2", "node-name", "image",
		      "read-only", readonly, "discard", "ignore", "backing", "file", "driver",
		      fstat(fd, &st) == 0 && S_ISBLK(st.st_mode) ? "host_device" : "file", "filename", name, "locking",
		      "off", "read-only", readonly, "discard", "ignore");
	text = j ? json_dumps(j, JSON_COMPACT) : NULL;
	json_decref(j);
	return text;
}

/* In the child, between fork and exec. */
_Noreturn static void child_main(char *const argv[], int fd, int listen_fd, int err_fd, pid_t parent)
{
	int null = open("/dev/null", O_RDWR);
	sigset_t none;

	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		_exit(CANNOT_RUN);
	setsid(); /* Ctrl-C on the terminal is for the supervisor to handle */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	/* What it says when nobody listens any more must not end it. */
	signal(SIGPIPE, SIG_IGN);
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	dup2(err_fd, STDERR_FILENO);
	close_range(STDERR_FILENO + 1, ~0u, CLOSE_RANGE_CLOEXEC);
	fcntl(fd, F_SETFD, 0);
	fcntl(listen_fd, F_SETFD, 0);
	execvp(argv[0], argv);
	dprintf(STDERR_FILENO, "%s\n", strerror(errno));
	_exit(CANNOT_RUN);
}

static int spawn(struct storage *s, int fd, bool readonly, int listen_fd, int err_fd, struct err *e)
{
	char *image = blockdev(fd, readonly), server[64], export[96];
	char *argv[] = {PROGRAM, "--blockdev", image, "--nbd-server", server, "--export", export, NULL};
	pid_t parent = getpid();

	if (!image)
		return err_set_errno(e, PROGRAM);
	snprintf(server, sizeof(server), "addr.type=fd,addr.str=%d,max-connections=1", listen_fd);
	snprintf(export, sizeof(export), "type=nbd,id=export,node-name=image,name=" STORAGE_EXPORT ",writable=%s",
		 readonly ? "off" : "on");
	s->pid = fork();
	if (!s->pid)
		child_main(argv, fd, listen_fd, err_fd, parent);
	free(image);
	return s->pid < 0 ? err_set_errno(e, "fork") : 0;
}

int storage_start(int fd, bool readonly, struct storage **ret_s, int *ret_socket, struct err *e)
{
	struct storage *s = calloc(1, sizeof(*s));
	int listen_fd, connected, err[2], rc;

	if (!s || pipe2(err, O_CLOEXEC | O_NONBLOCK) < 0) {
		free(s);
		return err_set_errno(e, PROGRAM);
	}
	s->err_fd = err[0];
	rc = make_sockets(&listen_fd, &connected, e);
	if (rc == 0) {
		rc = spawn(s, fd, readonly, listen_fd, err[1], e);
		/* From here on nobody has it but the child: a connection ends with it. */
		close(listen_fd);
		if (rc < 0)
			close(connected);
	}
	close(err[1]);
	if (rc < 0) {
		close(err[0]);
		free(s);
		return -1;
	}
	*ret_s = s;
	*ret_socket = connected;
	return 0;
}

/* ---- its end ---- */

const char *storage_last_words(struct storage *s)
{
	char chunk[512];
	ssize_t n;

	while ((n = read(s->err_fd, chunk, sizeof(chunk))) > 0) {
		for (ssize_t i = 0; i < n; i++) {
			if (chunk[i] != '\n') {
				/* Behind the option that it is about, which is ours and long. */
				if (chunk[i] == '}')
					s->line_len = 0;
				else if (s->line_len < sizeof(s->line) - 1)
					s->line[s->line_len++] = chunk[i];
				continue;
			}
			s->line[s->line_len] = 0;
			memcpy(s->last_words, s->line, sizeof(s->line));
			s->line_len = 0;
		}
	}
	return s->last_words + strspn(s->last_words, "}: ");
}

/* Ends it and returns how. */
static int wait_end(struct storage *s)
{
	int status = 0;

	kill(s->pid, SIGTERM);
	while (waitpid(s->pid, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}

static void destroy(struct storage *s)
{
	close(s->err_fd);
	free(s);
}

void storage_end(struct storage *s)
{
	if (!s)
		return;
	wait_end(s);
	destroy(s);
}

int storage_give_up(struct storage *s, struct err *e)
{
	int status = wait_end(s);
	const char *words = storage_last_words(s);

	if (WIFEXITED(status) && WEXITSTATUS(status) == CANNOT_RUN)
		err_set(e, ERR_MISSING,
			"a qcow2 image needs " PROGRAM
			", which cannot be run (%.80s): install Debian's package qemu-utils",
			words);
	else
		err_set(e, ERR_REFUSED, PROGRAM " cannot use it (%.140s): see what `qemu-img check` says of it",
			*words ? words : "it does not say why");
	destroy(s);
	return -1;
}
