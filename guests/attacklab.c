/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The attack lab: a network service that has every classic memory error, one for each request verb.
 *
 * Request: "VERB LENGTH:" and LENGTH bytes, so that a payload may hold any byte. The first part is read byte by byte and
 * the rest may be left to the handler, so that a form can read the attacker's bytes straight into its buffer. Answers are
 * lines. Beside the forms (guests/attacklab.h): "pid", "facts" as in guests/service.h; "list", a line "NAME WAY TARGET
 * DISTANCE BYTES CULPRITS" for each form, then "end"; "leak", the address of a variable on the stack: the information
 * leak without which no attack knows where the stack of a randomised program is.
 *
 * Run as "NAME PORT" it serves TCP; as "NAME -" standard input and output; as "NAME compress FILE" it is the command
 * that the form command-strcpy starts.
 */
#include "attacklab.h"

#include "listen.h"
#include "marker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLIENTS_MAX 16
#define HEAD_MAX 48

MARKER_NEVER_CALLED("lab_owned");

__attribute__((visibility("hidden"), noreturn, used)) void lab_owned(void);

int lab_out = STDOUT_FILENO;
void (*volatile lab_hook)(void) = lab_safe;

char lab_request[LAB_REQUEST_MAX + 1] __attribute__((aligned(64)));

static const struct lab_form *const tables[] = {lab_stack_forms,  lab_static_forms, lab_pointer_forms,
						lab_format_forms, lab_other_forms,  lab_shape_forms};
static char answer[256];
static unsigned long served;
static uintptr_t stack_place;

void lab_owned(void)
{
	static const char marker[] = "OWNED\n";

	if (write(lab_out, marker, sizeof(marker) - 1) < 0)
		_exit(67);
	_exit(66);
}

void lab_safe(void)
{
	served++;
}

LAB_NOINLINE void lab_hop(void **env)
{
	__builtin_longjmp(env, 1);
}

void lab_answer(const char *text)
{
	snprintf(answer, sizeof(answer), "ok %.*s\n", LAB_BUF - 1, text);
}

/* ---- verbs that are no forms ---- */

static void answer_pid(void)
{
	snprintf(answer, sizeof(answer), "pid %d\n", getpid());
}

static void answer_leak(void)
{
	snprintf(answer, sizeof(answer), "leak %#lx\n", (unsigned long)stack_place);
}

/* First word of a small file, "?" when it cannot be read. */
static void read_word(const char *path, char *ret, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, ret, size - 1);

	if (fd >= 0)
		close(fd);
	snprintf(ret + (n > 0 ? n : 0), size - (n > 0 ? (size_t)n : 0), "%s", n > 0 ? "" : "?");
	ret[strcspn(ret, " \n")] = '\0';
}

static void answer_facts(void)
{
	char boot_id[40], aslr[4];

	read_word("/proc/sys/kernel/random/boot_id", boot_id, sizeof(boot_id));
	read_word("/proc/sys/kernel/randomize_va_space", aslr, sizeof(aslr));
	snprintf(answer, sizeof(answer), "facts boot_id=%s pid=%d served=%lu aslr=%s\n", boot_id, getpid(), served,
		 aslr);
}

static void put(const char *line)
{
	if (write(lab_out, line, strlen(line)) < 0)
		answer[0] = '\0';
}

static void answer_list(void)
{
	char line[256];

	for (size_t t = 0; t < sizeof(tables) / sizeof(tables[0]); t++) {
		for (const struct lab_form *f = tables[t]; f->name; f++) {
			snprintf(line, sizeof(line), "%s %s %s %d %s %s\n", f->name, f->way,
				 f->target ? f->target : "-", f->distance, f->bytes, f->culprits);
			put(line);
		}
	}
	snprintf(answer, sizeof(answer), "end\n");
}

static const struct verb {
	const char *name;
	void (*serve)(void);
} verbs[] = {
	{"pid", answer_pid},
	{"facts", answer_facts},
	{"leak", answer_leak},
	{"list", answer_list},
};

/* ---- requests ---- */

static const struct lab_form *find_form(const char *name)
{
	for (size_t t = 0; t < sizeof(tables) / sizeof(tables[0]); t++)
		for (const struct lab_form *f = tables[t]; f->name; f++)
			if (strcmp(f->name, name) == 0)
				return f;
	return NULL;
}

static bool read_all(struct lab_input *in)
{
	size_t at = 0;

	while (in->left > 0) {
		ssize_t n = read(in->fd, lab_request + at, in->left);

		if (n <= 0)
			return false;
		at += (size_t)n;
		in->left -= (size_t)n;
	}
	lab_request[at] = '\0';
	return true;
}

/* "VERB LENGTH:"; false: the connection is over, or what came is no request. */
static bool read_head(struct lab_input *in, char ret_verb[HEAD_MAX])
{
	char head[HEAD_MAX], *space, *end;
	size_t used = 0;

	do {
		if (used == sizeof(head) || read(in->fd, &head[used], 1) != 1)
			return false;
	} while (head[used++] != ':');
	head[used - 1] = '\0';
	space = strrchr(head, ' ');
	if (!space)
		return false;
	*space = '\0';
	in->size = in->left = strtoul(space + 1, &end, 10);
	memcpy(ret_verb, head, sizeof(head));
	return *end == '\0' && in->size <= LAB_REQUEST_MAX;
}

static void serve_verb(const char *name)
{
	snprintf(answer, sizeof(answer), "what?\n");
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (strcmp(verbs[i].name, name) == 0)
			verbs[i].serve();
}

/* The answer leaves only after the handler has returned: a handler that is taken over has said nothing yet. */
static LAB_NOINLINE bool serve_request(struct lab_input *in, const char *verb)
{
	const struct lab_form *form = find_form(verb);

	if ((!form || !form->reads) && !read_all(in))
		return false;
	if (form)
		form->serve(in);
	else
		serve_verb(verb);
	served++;
	if (!read_all(in))
		return false;
	put(answer);
	return true;
}

static LAB_NOINLINE bool serve(int in_fd, int out_fd)
{
	struct lab_input in = {.fd = in_fd, .bytes = lab_request};
	char verb[HEAD_MAX];
	bool good;

	lab_out = out_fd;
	stack_place = (uintptr_t)verb;
	good = read_head(&in, verb) && serve_request(&in, verb);
	stack_place = 0;
	return good;
}

/* ---- connections ---- */

static int clients[CLIENTS_MAX];

static void accept_client(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	for (int i = 0; fd >= 0 && i < CLIENTS_MAX; i++) {
		if (clients[i] < 0) {
			clients[i] = fd;
			return;
		}
	}
	if (fd >= 0)
		close(fd);
}

static int serve_tcp(int listener)
{
	struct pollfd p[CLIENTS_MAX + 1];

	for (;;) {
		for (int i = 0; i < CLIENTS_MAX; i++)
			p[i] = (struct pollfd){.fd = clients[i], .events = POLLIN};
		p[CLIENTS_MAX] = (struct pollfd){.fd = listener, .events = POLLIN};
		if (poll(p, CLIENTS_MAX + 1, -1) < 0 && errno != EINTR)
			return 1;
		for (int i = 0; i < CLIENTS_MAX; i++) {
			if (p[i].revents && !serve(clients[i], clients[i])) {
				close(clients[i]);
				clients[i] = -1;
			}
		}
		if (p[CLIENTS_MAX].revents)
			accept_client(listener);
	}
}

/* What the forms print goes nowhere; returns where standard output went before. */
static int silence(void)
{
	int out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3), null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	if (out < 0 || null < 0 || dup2(null, STDOUT_FILENO) < 0)
		exit(2);
	close(null);
	return out;
}

/* Tells an attacker who tries out a copy where it crashed; on a stack of its own. */
static void tell_fault(int signal_number, siginfo_t *info, void *context)
{
	char line[40];

	(void)context;
	snprintf(line, sizeof(line), "fault %#lx\n", (unsigned long)(uintptr_t)info->si_addr);
	put(line);
	_exit(128 + signal_number);
}

static int serve_copy(int out)
{
	static char room[65536];
	const stack_t stack = {.ss_sp = room, .ss_size = sizeof(room)};
	struct sigaction action = {.sa_sigaction = tell_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};

	sigaltstack(&stack, NULL);
	sigaction(SIGSEGV, &action, NULL);
	while (serve(STDIN_FILENO, out))
		;
	return 0;
}

int main(int argc, char **argv)
{
	int listener, out;

	if (argc == 3 && strcmp(argv[1], "compress") == 0)
		return lab_compress(argv[2]);
	if (argc != 2) {
		fprintf(stderr, "usage: %s PORT|-\n", argv[0]);
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	out = silence();
	if (strcmp(argv[1], "-") == 0)
		return serve_copy(out);
	memset(clients, 0xff, sizeof(clients));
	listener = listen_on(argv[1], CLIENTS_MAX);
	if (listener < 0)
		return 1;
	listen_tell_ready();
	return serve_tcp(listener);
}
