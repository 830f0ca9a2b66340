/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tricks of the calm lab with data: pointers beside bytes of the input, and on their way with them through pipes, sockets and
 * shared memory; buffers that are full to the last byte; tables and places that the input chooses.
 */
#include "calmlab.h"

#include <alloca.h>
#include <arpa/inet.h>
#include <ctype.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define NAME_ROOM 16

/* A callback beside bytes of the input. */
struct closure {
	char name[NAME_ROOM];
	long (*call)(const char *text);
	const char *argument;
};

static long length(const char *text)
{
	return (long)strlen(text);
}

/* At an address that ends in a zero byte: one that the end of a string might have made. */
__attribute__((aligned(256))) static long weigh(const char *text)
{
	return calm_sum(text);
}

/* ---- full to the last byte ---- */

static const char *play_cut(const char *text)
{
	struct closure c = {"", weigh, text};

	snprintf(c.name, sizeof(c.name), "%s", text);
	c.name[sizeof(c.name) - 1] = '\0';
	return calm_say(c.name, c.call(c.argument));
}

static const char *play_end(const char *text)
{
	struct closure c = {"", weigh, text};
	size_t n = strlen(text);

	n = n < sizeof(c.name) ? n : sizeof(c.name) - 1;
	memcpy(c.name, text, n);
	c.name[n] = '\0';
	return calm_say(c.name, c.call(c.argument));
}

/* A name without an end, and all of the structure copied byte by byte: the callback's first byte follows the input's last. */
static const char *play_bytes(const char *text)
{
	struct closure c = {"", weigh, text}, copy;
	volatile char *to = (volatile char *)&copy;
	const char *from = (const char *)&c;

	memset(c.name, 'x', sizeof(c.name));
	memcpy(c.name, text, strnlen(text, sizeof(c.name)));
	for (size_t i = 0; i < sizeof(c); i++)
		to[i] = from[i];
	return calm_say("copied", copy.call(copy.argument) + copy.name[NAME_ROOM - 1]);
}

static const char *play_struct(const char *text)
{
	struct closure c = {"", weigh, text}, copy[2], *kept = malloc(sizeof(*kept));
	long n;

	if (!kept)
		return "no memory";
	memset(c.name, 'x', sizeof(c.name));
	memcpy(c.name, text, strnlen(text, sizeof(c.name)));
	copy[0] = copy[1] = c;
	memmove(kept, &copy[1], sizeof(*kept));
	n = kept->call(copy[0].argument);
	free(kept);
	return calm_say("kept", n);
}

/* ---- there and back again ---- */

static const char *through(int to, int from, const char *text)
{
	struct closure c = {"", weigh, text};
	const char *answer = "lost";

	memset(c.name, 'x', sizeof(c.name));
	memcpy(c.name, text, strnlen(text, sizeof(c.name)));
	if (write(to, &c, sizeof(c)) == sizeof(c)) {
		memset(&c, 0, sizeof(c));
		if (recv(from, &c, sizeof(c), MSG_WAITALL) == sizeof(c) || read(from, &c, sizeof(c)) == sizeof(c))
			answer = calm_say("back", c.call(c.argument));
	}
	close(to);
	close(from);
	return answer;
}

static const char *play_pipe(const char *text)
{
	int fd[2];

	return pipe(fd) < 0 ? "no pipe" : through(fd[1], fd[0], text);
}

static const char *play_pair(const char *text)
{
	int fd[2];

	return socketpair(AF_UNIX, SOCK_STREAM, 0, fd) < 0 ? "no sockets" : through(fd[1], fd[0], text);
}

/* Pointers of its own, sent to itself over the loopback device: they did not come from the outside. */
static const char *play_loopback(const char *text)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int listener = socket(AF_INET, SOCK_STREAM, 0), to = socket(AF_INET, SOCK_STREAM, 0), from;
	socklen_t size = sizeof(at);
	const char *answer = "no connection";

	if (bind(listener, (struct sockaddr *)&at, sizeof(at)) == 0 && listen(listener, 1) == 0 &&
	    getsockname(listener, (struct sockaddr *)&at, &size) == 0 &&
	    connect(to, (struct sockaddr *)&at, sizeof(at)) == 0) {
		from = accept(listener, NULL, NULL);
		answer = through(to, from, text);
	} else {
		close(to);
	}
	close(listener);
	return answer;
}

static const char *play_shared(const char *text)
{
	struct closure *c = mmap(NULL, sizeof(*c), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	const char *answer;

	if (c == MAP_FAILED)
		return "no memory";
	*c = (struct closure){"", length, text};
	memcpy(c->name, text, strnlen(text, sizeof(c->name)));
	answer = calm_say("shared", c->call(c->argument));
	munmap(c, sizeof(*c));
	return answer;
}

/* ---- places that the input chooses ---- */

static const char *play_count(const char *text)
{
	static long seen[65536];
	long counts[256] = {0};
	long most = 0;

	for (const char *p = text; *p; p++) {
		counts[(unsigned char)*p]++;
		seen[(unsigned char)*p << 8 | (unsigned char)p[1]] = p - text;
	}
	for (int i = 0; i < 256; i++)
		most = counts[i] > counts[(unsigned char)most] ? i : most;
	return calm_say("most", most + seen[(unsigned char)text[0] << 8 | (unsigned char)text[1]]);
}

/* A place on the stack as large as the input says, and calls from there. */
static CALM_NOINLINE long room(const char *text, size_t n)
{
	char *place = alloca(n + 1); /* cppcheck-suppress allocaCalled; this is the trick */

	memcpy(place, text, n);
	place[n] = '\0';
	return n > 1 ? room(place, n - 1) + calm_sum(place) : 1;
}

static const char *play_alloca(const char *text)
{
	return calm_say("room", room(text, strlen(text) % 20));
}

static const char *play_ctype(const char *text)
{
	static char upper[CALM_TEXT_MAX];
	char copy[CALM_TEXT_MAX];
	size_t n = 0;

	for (; text[n]; n++)
		copy[n] = (char)(isalpha((unsigned char)text[n]) ? toupper((unsigned char)text[n]) : text[n]);
	copy[n] = '\0';
	memcpy(upper, copy, n + 1);
	return upper;
}

/* What the stack protector watches is right below what the input fills. */
static CALM_NOINLINE long filled(const char *text)
{
	char copy[CALM_TEXT_MAX];

	memset(copy, 'y', sizeof(copy) - 1);
	copy[sizeof(copy) - 1] = '\0';
	memcpy(copy + sizeof(copy) - 1 - strlen(text), text, strlen(text));
	return calm_sum(copy);
}

static const char *play_fill(const char *text)
{
	return calm_say("filled", filled(text));
}

__attribute__((format(printf, 1, 2))) static const char *print(const char *format, ...)
{
	static char line[256];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	return line;
}

static const char *play_print(const char *text)
{
	return print("%s %d %.8s %c %5.2f %lx <%-20s>", text, text[0], text, text[0], text[0] / 7.0,
		     (long)calm_sum(text), text);
}

/* Escapes become bytes by comparing, into an array that they nearly fill. */
static const char *play_unescape(const char *text)
{
	char plain[CALM_TEXT_MAX];
	size_t n = 0;

	for (; *text; text++) {
		if (*text == 'a')
			plain[n++] = '\a';
		else if (*text == 'n')
			plain[n++] = ' ';
		else
			plain[n++] = *text;
	}
	plain[n] = '\0';
	return calm_say("plain", calm_sum(plain));
}

const struct calm_trick calm_data_tricks[] = {
	{"cut", play_cut},	     {"end", play_end},		  {"bytes", play_bytes},
	{"struct", play_struct},     {"pipe", play_pipe},	  {"pair", play_pair},
	{"loopback", play_loopback}, {"shared", play_shared},	  {"count", play_count},
	{"alloca", play_alloca},     {"ctype", play_ctype},	  {"fill", play_fill},
	{"print", play_print},	     {"unescape", play_unescape}, {NULL, NULL},
};
