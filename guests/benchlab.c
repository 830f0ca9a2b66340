/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest's side of the benchmarks: does the work that it is told to on the serial console, and serves files.
 *
 * Orders come over the console and not over the network, so that they taint nothing. Each is a line and has one line
 * for an answer:
 *
 *   files      makes the files that the work needs             "lab: files 0 ok"
 *   run NAME   does one piece of work, see the table below     "lab: NAME NANOSECONDS RESULT"
 *
 * NANOSECONDS are the guest's own CLOCK_MONOTONIC, RESULT is what came out (a digest, a size), the same for the same
 * work on any machine, and "failed" if nothing came out. A second process serves HTTP.
 */
#include "benchlab.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "listen.h"

#define CONSOLE "/dev/ttyS0"
#define BACKLOG 64
#define RESULT_MAX 80
#define TEXT_BYTES (2u << 20)
#define COPY_TEXTS 16
#define FORKS 120

struct work {
	const char *name;
	/* A shell's script whose first word of output is the result; NULL: function. */
	const char *script;
	void (*function)(char *ret_result, size_t size);
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Starts a program that does nothing and waits for it, again and again. */
static void fork_exec(char *ret_result, size_t size)
{
	int good = 0;

	for (int i = 0; i < FORKS; i++) {
		int status;
		pid_t pid = fork();

		if (pid == 0) {
			execl("/bin/true", "true", (char *)NULL);
			_exit(127);
		}
		if (pid > 0 && waitpid(pid, &status, 0) == pid && status == 0)
			good++;
	}
	snprintf(ret_result, size, "%d", good);
}

static const struct work works[] = {
	{"md5", "dd if=/dev/zero bs=64k count=512 2>/dev/null | md5sum", NULL},
	{"gzip", "gzip -c /tmp/text | wc -c", NULL},
	{"forkexec", NULL, fork_exec},
	{"shell", "i=0; s=0; while [ $i -lt 30000 ]; do i=$((i + 1)); s=$((s + i % 7)); done; echo $s", NULL},
	{"copy", "for i in 1 2 3 4 5 6 7 8; do cp /tmp/big /tmp/copy; done; stat -c %s /tmp/copy; rm /tmp/copy", NULL},
	{"gunzip", "gunzip -c " LAB_FILES "/text.gz >/tmp/out && stat -c %s /tmp/out; rm /tmp/out", NULL},
	{"sha256", "sha256sum " LAB_FILES "/raw", NULL},
};

static const struct work *find_work(const char *name)
{
	for (size_t i = 0; i < sizeof(works) / sizeof(works[0]); i++)
		if (strcmp(works[i].name, name) == 0)
			return &works[i];
	return NULL;
}

/* The first word of what a script prints; "failed" stays if there is none. */
static void run_script(const char *script, char *ret_result, size_t size)
{
	char line[RESULT_MAX] = "";
	FILE *f = popen(script, "re");

	if (!f)
		return;
	if (fgets(line, sizeof(line), f)) {
		line[strcspn(line, " \n")] = '\0';
		snprintf(ret_result, size, "%s", line);
	}
	while (fgets(line, sizeof(line), f))
		;
	pclose(f);
}

static void do_work(FILE *console, const char *name)
{
	const struct work *w = find_work(name);
	char result[RESULT_MAX] = "failed";
	uint64_t start = now_ns();

	if (w && w->script)
		run_script(w->script, result, sizeof(result));
	else if (w)
		w->function(result, sizeof(result));
	dprintf(fileno(console), "lab: %s %llu %s\n", name, (unsigned long long)(now_ns() - start), result);
}

/* Words of several lengths, some of them often: shrinks to about a third. The same on every machine. */
static void write_text(FILE *f, size_t bytes)
{
	uint32_t seed = 1;

	for (size_t i = 0; i < bytes; i++) {
		seed = seed * 1664525u + 1013904223u;
		putc((seed >> 24) % 6 == 0 ? ' ' : 'a' + (int)((seed >> 16) % 12), f);
	}
}

static void write_file(const char *path, size_t bytes)
{
	FILE *f = fopen(path, "we");

	if (!f)
		return;
	write_text(f, bytes);
	fclose(f);
}

static void make_files(FILE *console)
{
	char result[RESULT_MAX] = "failed", script[128];

	write_file("/tmp/text", TEXT_BYTES);
	write_file(LAB_FILES "/1k", 1024);
	write_file(LAB_FILES "/16k", 16384);
	snprintf(script, sizeof(script),
		 "i=0; while [ $i -lt %d ]; do cat /tmp/text; i=$((i + 1)); done >/tmp/big && echo ok", COPY_TEXTS);
	run_script(script, result, sizeof(result));
	dprintf(fileno(console), "lab: files 0 %s\n", result);
}

/* Lines as they come, nothing echoed, nothing changed. */
static FILE *open_console(void)
{
	int fd = open(CONSOLE, O_RDWR | O_NOCTTY | O_CLOEXEC);
	struct termios t;

	if (fd < 0 || tcgetattr(fd, &t) < 0)
		return NULL;
	t.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ISIG);
	t.c_iflag &= ~(tcflag_t)ICRNL;
	tcsetattr(fd, TCSANOW, &t);
	return fdopen(fd, "r");
}

static int obey(FILE *console)
{
	char line[128];

	while (fgets(line, sizeof(line), console)) {
		line[strcspn(line, "\r\n")] = '\0';
		if (strcmp(line, "files") == 0)
			make_files(console);
		else if (strncmp(line, "run ", 4) == 0)
			do_work(console, line + 4);
	}
	return 1;
}

int main(int argc, char **argv)
{
	FILE *console = open_console();
	int listener = argc == 2 ? listen_on(argv[1], BACKLOG) : -1;
	pid_t server;

	if (!console || listener < 0) {
		fprintf(stderr, "usage: %s PORT, in a guest with a serial console\n", argv[0]);
		return 2;
	}
	setenv("PATH", "/bin", 1);
	mkdir(LAB_FILES, 0755);
	server = fork();
	if (server == 0)
		return lab_http_serve(listener);
	close(listener);
	listen_tell_ready();
	return server < 0 ? 1 : obey(console);
}
