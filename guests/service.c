/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The serving loop of the guest's network services. */
#include "service.h"

#include "listen.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLIENTS_MAX 16

struct client {
	int in, out;
	size_t used;
	char line[SERVICE_LINE_MAX];
};

int service_client = -1;

static struct client clients[CLIENTS_MAX];
static void (*service_echo)(const char *text);
static char answer[SERVICE_LINE_MAX];
static unsigned long served;

void service_reply(const char *text, size_t size)
{
	snprintf(answer, sizeof(answer), "ok %.*s\n", (int)strnlen(text, size), text);
}

/* First word of a small file, "?" when it cannot be read. */
static void read_word(const char *path, char *ret, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, ret, size - 1);

	if (fd >= 0)
		close(fd);
	if (n <= 0) {
		snprintf(ret, size, "?");
		return;
	}
	ret[n] = '\0';
	ret[strcspn(ret, " \n")] = '\0';
}

static void answer_pid(const char *text)
{
	(void)text;
	snprintf(answer, sizeof(answer), "pid %d\n", getpid());
}

static void answer_facts(const char *text)
{
	char boot_id[40], uptime[24], aslr[4];

	(void)text;
	read_word("/proc/sys/kernel/random/boot_id", boot_id, sizeof(boot_id));
	read_word("/proc/uptime", uptime, sizeof(uptime));
	read_word("/proc/sys/kernel/randomize_va_space", aslr, sizeof(aslr));
	snprintf(answer, sizeof(answer), "facts boot_id=%s uptime=%s pid=%d served=%lu aslr=%s\n", boot_id, uptime,
		 getpid(), served, aslr);
}

static void answer_echo(const char *text)
{
	service_echo(text);
}

static const struct verb {
	const char *name;
	void (*answer)(const char *text);
} verbs[] = {
	{"echo", answer_echo},
	{"pid", answer_pid},
	{"facts", answer_facts},
};

static const struct verb *find_verb(const char *line, size_t len)
{
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (strlen(verbs[i].name) == len && memcmp(line, verbs[i].name, len) == 0)
			return &verbs[i];
	return NULL;
}

/* The answer leaves only after the handler has returned: a handler that is taken over has said nothing yet. */
static void serve_line(struct client *c, const char *line)
{
	size_t len = strcspn(line, " ");
	const struct verb *v = find_verb(line, len);

	service_client = c->out;
	snprintf(answer, sizeof(answer), "what?\n");
	if (v)
		v->answer(line[len] ? line + len + 1 : "");
	served++;
	if (write(c->out, answer, strlen(answer)) < 0)
		perror("write");
}

static void client_close(struct client *c)
{
	close(c->in);
	c->in = c->out = -1;
	c->used = 0;
}

/* Takes what has come and serves the complete lines. False: the connection is over. */
static bool client_read(struct client *c)
{
	ssize_t n = read(c->in, c->line + c->used, sizeof(c->line) - c->used);
	char *start = c->line, *end;

	if (n <= 0)
		return n < 0 && errno == EINTR;
	c->used += (size_t)n;
	while ((end = memchr(start, '\n', c->used - (size_t)(start - c->line)))) {
		*end = '\0';
		serve_line(c, start);
		start = end + 1;
	}
	c->used -= (size_t)(start - c->line);
	memmove(c->line, start, c->used);
	return c->used < sizeof(c->line);
}

static void client_accept(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	for (int i = 0; i < CLIENTS_MAX; i++) {
		if (clients[i].in < 0) {
			clients[i].in = clients[i].out = fd;
			return;
		}
	}
	close(fd);
}

static int serve_tcp(int listener)
{
	struct pollfd p[CLIENTS_MAX + 1];

	for (;;) {
		for (int i = 0; i < CLIENTS_MAX; i++)
			p[i] = (struct pollfd){.fd = clients[i].in, .events = POLLIN};
		p[CLIENTS_MAX] = (struct pollfd){.fd = listener, .events = POLLIN};
		if (poll(p, CLIENTS_MAX + 1, -1) < 0 && errno != EINTR)
			return 1;
		for (int i = 0; i < CLIENTS_MAX; i++)
			if (p[i].revents && !client_read(&clients[i]))
				client_close(&clients[i]);
		if (p[CLIENTS_MAX].revents)
			client_accept(listener);
	}
}

int service_run(int argc, char **argv, void (*echo)(const char *text))
{
	int listener;

	if (argc != 2) {
		fprintf(stderr, "usage: %s PORT|-\n", argv[0]);
		return 2;
	}
	service_echo = echo;
	signal(SIGPIPE, SIG_IGN);
	for (int i = 0; i < CLIENTS_MAX; i++)
		clients[i].in = clients[i].out = -1;
	if (strcmp(argv[1], "-") == 0) {
		clients[0].in = STDIN_FILENO;
		clients[0].out = STDOUT_FILENO;
		while (client_read(&clients[0]))
			;
		return 0;
	}
	listener = listen_on(argv[1], CLIENTS_MAX);
	if (listener < 0)
		return 1;
	listen_tell_ready();
	return serve_tcp(listener);
}
