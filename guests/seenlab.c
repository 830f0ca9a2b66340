/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A service with errors for detectors that the attack lab has no form for. "echo ERROR TEXT":
 *
 *   code      what follows is copied to a page and executed, unless it begins with a space
 *   canary    a child copies the text into an array of 32 bytes; the answer says how the child ended
 *   unescape  each 'a' becomes a byte 7, by comparing, in an array of 32 bytes: nothing of the input is in it
 *   illegal   what is no instruction is executed, unless the text begins with a space
 *   beyond    "COUNT LETTER": an array of 32 bytes is filled with so many; a million leave the stack
 *   upper     the text is copied in capitals into an array of 16 bytes with a pointer to a function behind it
 *   backward  the text is copied from its end on into an array of 32 bytes below the stack protector's word
 *   last      the last word's length: eight words are kept, but all are counted, and what is beside the eight is the text itself
 *   end       up to 16 bytes are copied into an array of 16 bytes, and the end is put behind them, onto a pointer to a function
 */
#include "service.h"

#include <ctype.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROOM 32
#define NAME_ROOM 16
#define PAGE 4096
#define NOINLINE __attribute__((noinline))

static void say(const char *word, long number)
{
	char line[64];

	snprintf(line, sizeof(line), "%s %ld", word, number);
	service_reply(line, sizeof(line));
}

static void see_code(const char *text)
{
	char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		return;
	snprintf(page, PAGE, "%s", text);
	say("code", *page == ' ' ? 0 : ((int (*)(void))(uintptr_t)page)());
	munmap(page, PAGE);
}

__attribute__((noinline, stack_protect)) static int copy_out(const char *text)
{
	char copy[ROOM];

	strcpy(copy, text);
	return copy[0];
}

static void see_canary(const char *text)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		signal(SIGABRT, SIG_DFL);
		_exit(copy_out(text) & 0x7f);
	}
	waitpid(pid, &status, 0);
	say("child", status);
}

/* One byte at a time, none of which is of the input: the comparison tells what it is. */
static NOINLINE long unescape(const char *text)
{
	volatile char plain[ROOM];
	long n = 0;

	plain[0] = 0;
	for (; text[n]; n++)
		if (text[n] == 'a')
			plain[n] = 7;
	return n + plain[0];
}

static void see_unescape(const char *text)
{
	say("plain", unescape(text));
}

static void see_illegal(const char *text)
{
	if (*text != ' ')
		__builtin_trap();
	say("legal", (long)strlen(text));
}

static NOINLINE long fill(long count, char letter)
{
	volatile char letters[ROOM];

	for (long i = 0; i < count; i++)
		letters[i] = letter;
	return count ? letters[0] : 0;
}

static void see_beyond(const char *text)
{
	char *end;
	long count = strtol(text, &end, 10);

	say("filled", fill(count, *end ? end[1] : '-'));
}

static long name_length(const char *name)
{
	return (long)strlen(name);
}

static NOINLINE long name_it(const char *text)
{
	struct {
		char name[NAME_ROOM];
		long (*volatile call)(const char *name);
	} s = {"", name_length};
	volatile char *to = s.name;
	size_t n = 0;

	for (; n < NAME_ROOM && text[n]; n++)
		to[n] = text[n];
	to[n] = '\0';
	return s.call(s.name);
}

static NOINLINE long shout(const char *text)
{
	struct {
		char name[NAME_ROOM];
		long (*volatile call)(const char *name);
	} s = {"", name_length};
	volatile char *to = s.name;

	while (*text)
		*to++ = (char)toupper((unsigned char)*text++);
	return s.call(s.name);
}

static void see_upper(const char *text)
{
	say("shouted", shout(text));
}

__attribute__((noinline, stack_protect)) static int copy_backward(const char *text)
{
	volatile char copy[ROOM];

	for (size_t n = strlen(text); n; n--)
		copy[n - 1] = text[n - 1];
	return copy[0];
}

static void see_backward(const char *text)
{
	say("copied", copy_backward(text));
}

static void see_end(const char *text)
{
	say("named", name_it(text));
}

#define WORDS 8

static NOINLINE long last_word(const char *text)
{
	const char *volatile word[WORDS];
	volatile int n = 0;

	for (; *text; text += strcspn(text, ","), text += *text == ',', n++)
		if (n < WORDS)
			word[n] = text;
	return n ? (long)strcspn(word[n - 1], ",") : 0;
}

static void see_last(const char *text)
{
	volatile char line[256];
	size_t n = strlen(text);

	for (size_t i = 0; i <= n && i < sizeof(line); i++)
		line[i] = text[i];
	line[sizeof(line) - 1] = '\0';
	say("last", last_word((const char *)line));
}

static const struct {
	const char *name;
	void (*see)(const char *text);
} errors[] = {
	{"code", see_code},	  {"canary", see_canary},     {"unescape", see_unescape},
	{"illegal", see_illegal}, {"beyond", see_beyond},     {"end", see_end},
	{"upper", see_upper},	  {"backward", see_backward}, {"last", see_last},
};

static void answer(const char *request)
{
	size_t len = strcspn(request, " ");

	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		if (strlen(errors[i].name) == len && memcmp(errors[i].name, request, len) == 0)
			errors[i].see(request + len + (request[len] == ' '));
}

int main(int argc, char **argv)
{
	return service_run(argc, argv, answer);
}
