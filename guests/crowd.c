/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A service whose clients are served side by side: each in a thread, or with -DFORKS each in a process of its own. What it answers
 * comes from a library (guests/wire.h), which has an error. With -DSTATIC the library's result goes to static data, with a pointer to a
 * function behind it.
 *
 * Protocol and arguments are those of guests/service.h, but for what "facts" tells.
 */
#include "listen.h"
#include "wire.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LINE_BYTES 256
#define WAITING_MAX 64

static _Thread_local int client_out;

void say_owned(void);

/*
 * Code for an attacker to reuse: no request leads to never_called, whose address has no byte that ends a word. Only system calls:
 * after a hijacked return the stack is not aligned.
 */
__asm__(".text\n.p2align 8\n.skip 0x41, 0x90\n.globl never_called\n.type never_called, @function\nnever_called:\n\t"
	"jmp say_owned\n.size never_called, . - never_called\n");

__attribute__((noinline, used)) void say_owned(void)
{
	static const char marker[] = "OWNED\n";

	if (write(client_out, marker, sizeof(marker) - 1) < 0)
		_exit(67);
	_exit(66);
}

#ifdef STATIC
static void nothing(void)
{
}

static struct {
	char word[WIRE_MAX];
	void (*after)(void);
} all = {.after = nothing};

/* In a register, where an attacker who tries it out finds it. */
static void call_after(void)
{
	void (*f)(void) = all.after;

	__asm__ volatile("" : "+r"(f));
	f();
}
#endif

/* Not inlined: the library returns into this program's code. */
static __attribute__((noinline)) void make_answer(const char *line, char *ret, size_t size)
{
#ifdef STATIC
	char *word = all.word;
#else
	char word[WIRE_MAX];
#endif

	if (strncmp(line, "echo ", 5) == 0) {
		wire_clean(line + 5, word);
#ifdef STATIC
		call_after();
#endif
		snprintf(ret, size, "ok %.*s\n", WIRE_MAX, word);
	} else if (strcmp(line, "facts") == 0) {
		snprintf(ret, size, "facts pid=%d parent=%d\n", getpid(), getppid());
	} else {
		snprintf(ret, size, "what?\n");
	}
}

static bool serve_line(const char *line)
{
	char answer[LINE_BYTES];

	make_answer(line, answer, sizeof(answer));
	return write(client_out, answer, strlen(answer)) > 0;
}

static void serve(int in, int out)
{
	char buf[LINE_BYTES], *end;
	size_t used = 0;
	ssize_t n;

	client_out = out;
	while (used < sizeof(buf) && (n = read(in, buf + used, sizeof(buf) - used)) > 0) {
		used += (size_t)n;
		while ((end = memchr(buf, '\n', used))) {
			*end = '\0';
			if (!serve_line(buf))
				return;
			used -= (size_t)(end + 1 - buf);
			memmove(buf, end + 1, used);
		}
	}
}

#ifdef FORKS
static void take_client(int fd)
{
	if (fork() == 0) {
		serve(fd, fd);
		_exit(0);
	}
	close(fd);
}
#else
static void *serve_in_thread(void *arg)
{
	int fd = (int)(intptr_t)arg;

	serve(fd, fd);
	close(fd);
	return NULL;
}

static void take_client(int fd)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, serve_in_thread, (void *)(intptr_t)fd))
		close(fd);
	else
		pthread_detach(thread);
}
#endif

int main(int argc, char **argv)
{
	int listener;

	if (argc != 2) {
		fprintf(stderr, "usage: %s PORT|-\n", argv[0]);
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_IGN);
	if (strcmp(argv[1], "-") == 0) {
		serve(STDIN_FILENO, STDOUT_FILENO);
		return 0;
	}
	listener = listen_on(argv[1], WAITING_MAX);
	if (listener < 0)
		return 1;
	listen_tell_ready();
	for (;;) {
		int fd = accept(listener, NULL, NULL);

		if (fd >= 0)
			take_client(fd);
	}
}
