/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Overflows of many forms, for the tests of the locator: locate_victim FORM. Before the call that overflows it traps
 * with the buffer, its size, what will be corrupted, and the function with the culprit in registers.
 */
#include <malloc.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SIZE 32
#define NOINLINE __attribute__((noinline))
#ifdef __clang__
#define NOCLONE NOINLINE
#else
#define NOCLONE __attribute__((noinline, noclone))
#endif

#define MARK(buf, size, error, culprit)                                                                                \
	__asm__ volatile(".byte 0xf1" ::"a"(buf), "d"((size_t)(size)), "c"(error), "S"(culprit) : "memory")
#define RETURN_ADDRESS ((char *)__builtin_dwarf_cfa() - sizeof(void *))

typedef int form_fn(const char *in, size_t len);

NOCLONE static int keep(char *b)
{
	__asm__ volatile("" ::"r"(b) : "memory");
	return b[3];
}

NOCLONE static int form_strcpy(const char *in, size_t len)
{
	char b[SIZE];

	(void)len;
	MARK(b, SIZE, RETURN_ADDRESS, form_strcpy);
	strcpy(b, in);
	return keep(b);
}

NOCLONE static int form_strcat(const char *in, size_t len)
{
	char b[SIZE] = "ab";

	(void)len;
	MARK(b, SIZE, RETURN_ADDRESS, form_strcat);
	strcat(b, in);
	return keep(b);
}

NOCLONE static int form_strncpy(const char *in, size_t len)
{
	char b[SIZE];

	MARK(b, SIZE, RETURN_ADDRESS, form_strncpy);
	strncpy(b, in, len);
	return keep(b);
}

NOCLONE static int form_memcpy(const char *in, size_t len)
{
	char b[SIZE];

	MARK(b, SIZE, RETURN_ADDRESS, form_memcpy);
	memcpy(b, in, len);
	return keep(b);
}

NOCLONE static int form_sprintf(const char *in, size_t len)
{
	char b[SIZE];

	MARK(b, SIZE, RETURN_ADDRESS, form_sprintf);
	sprintf(b, "%zu <%s>", len, in);
	return keep(b);
}

NOCLONE static int say(char *dst, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsprintf(dst, format, args);
	va_end(args);
	return n + keep(dst);
}

NOCLONE static int form_vsprintf(const char *in, size_t len)
{
	char b[SIZE];

	MARK(b, SIZE, RETURN_ADDRESS, say);
	say(b, "%s %zu", in, len);
	return keep(b);
}

NOCLONE static int form_snprintf(const char *in, size_t len)
{
	char b[SIZE];

	MARK(b, SIZE, RETURN_ADDRESS, form_snprintf);
	snprintf(b, len, "%s", in);
	return keep(b);
}

NOCLONE static int form_sscanf(const char *in, size_t len)
{
	char b[SIZE];

	(void)len;
	MARK(b, SIZE, RETURN_ADDRESS, form_sscanf);
	sscanf(in, "%s", b);
	return keep(b);
}

static int feed(const char *in, size_t len)
{
	int fd[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd) || write(fd[1], in, len) != (ssize_t)len)
		abort();
	return fd[0];
}

NOCLONE static int form_read(const char *in, size_t len)
{
	char b[SIZE];
	int fd = feed(in, len);
	ssize_t n;

	MARK(b, SIZE, RETURN_ADDRESS, form_read);
	n = read(fd, b, len);
	return keep(b) + (int)n;
}

NOCLONE static int form_recv(const char *in, size_t len)
{
	char b[SIZE];
	int fd = feed(in, len);
	ssize_t n;

	MARK(b, SIZE, RETURN_ADDRESS, form_recv);
	n = recv(fd, b, len, 0);
	return keep(b) + (int)n;
}

NOCLONE static int form_fgets(const char *in, size_t len)
{
	char b[SIZE];
	FILE *f = fdopen(feed(in, len), "r");

	ungetc(getc(f), f);
	MARK(b, SIZE, RETURN_ADDRESS, form_fgets);
	fgets(b, (int)len, f);
	return keep(b);
}

/* Becomes a jump where the compiler can. */
NOCLONE static void put(char *dst, const char *src)
{
	strcpy(dst, src);
}

void (*put_elsewhere)(char *dst, const char *src) = put; /* keeps it to the usual calling convention */

NOCLONE static int form_tail(const char *in, size_t len)
{
	char b[SIZE];

	(void)len;
#if defined(__OPTIMIZE__) && (defined(__x86_64__) || !defined(__PIC__))
	MARK(b, SIZE, RETURN_ADDRESS, form_tail);
#else
	MARK(b, SIZE, RETURN_ADDRESS, put);
#endif
	put(b, in);
	return keep(b);
}

NOCLONE static int low(volatile char *dst, const char *src)
{
	int n = 0;

	for (; *src; n++)
		*dst++ = *src++;
	return n;
}

NOCLONE static int middle(char *dst, const char *src)
{
	char mine[40] = "x";

	return keep(mine) + low(dst, src) + keep(mine);
}

NOCLONE static int form_deep(const char *in, size_t len)
{
	char b[SIZE];

	(void)len;
	MARK(b, SIZE, RETURN_ADDRESS, low);
	return middle(b, in) + keep(b);
}

/* A jump table in the function: nothing in it may be displaced unless the table is understood. */
NOCLONE static int form_switch(const char *in, size_t len)
{
	char b[SIZE];
	int r = 0;

	MARK(b, SIZE, RETURN_ADDRESS, form_switch);
	strcpy(b, in);
	switch (len) {
	case 20:
		r = keep(b) * 3;
		break;
	case 21:
		r = keep(b + 1) - 1;
		break;
	case 22:
		r = keep(b + 2) / 5;
		break;
	case 23:
		r = keep(b + 3) ^ 7;
		break;
	case 24:
		r = keep(b) + keep(b + 4);
		break;
	case 25:
		r = keep(b + 5) | 64;
		break;
	}
	return r + keep(b);
}

static volatile size_t loop_index; /* where the overflow does not reach it */
static const char *volatile loop_in;

NOCLONE static int form_loop(const char *in, size_t len)
{
	volatile char b[SIZE];

	(void)len;
	loop_in = in;
	MARK(b, SIZE, RETURN_ADDRESS, form_loop);
	for (loop_index = 0; loop_in[loop_index]; loop_index++)
		b[loop_index] = loop_in[loop_index];
	return b[3];
}

NOCLONE static int form_pointer(const char *in, size_t len)
{
	struct {
		char b[SIZE];
		int (*fn)(char *b);
	} s = {"", keep};

	(void)len;
	MARK(s.b, SIZE, &s.fn, form_pointer);
	strcpy(s.b, in);
	return s.fn(s.b);
}

char static_buffer[SIZE];
char static_after[16 * SIZE] = "";

NOCLONE static int form_static(const char *in, size_t len)
{
	(void)len;
	MARK(static_buffer, SIZE, static_buffer + SIZE, form_static);
	strcpy(static_buffer, in);
	return keep(static_buffer);
}

/* Left by a jump to what overruns, with other arguments than its own. */
NOCLONE static char *leave_static(const char *in)
{
	return strcpy(static_buffer, in);
}

NOCLONE static int form_leaves(const char *in, size_t len)
{
	(void)len;
	MARK(static_buffer, SIZE, static_buffer + SIZE, leave_static);
	return *leave_static(in) + keep(static_buffer);
}

NOCLONE static char *leave_there(const char *in, char *b)
{
	return strcpy(b, in);
}

NOCLONE static int form_hands(const char *in, size_t len)
{
	char b[SIZE];

	(void)len;
	MARK(b, SIZE, RETURN_ADDRESS, leave_there);
	return *leave_there(in, b) + keep(b);
}

NOCLONE static int form_heap(const char *in, size_t len)
{
	char *b = malloc(SIZE), *after = malloc(SIZE);

	(void)len;
	MARK(b, malloc_usable_size(b), after, form_heap);
	strcpy(b, in);
	return keep(b) + keep(after);
}

struct record {
	long number;
	char b[SIZE];
	int (*fn)(char *b);
};

/* A member of what is allocated, and the next. */
NOCLONE static int form_member(const char *in, size_t len)
{
	struct record *r = calloc(1, sizeof(*r));

	(void)len;
	r->fn = keep;
	MARK(r->b, SIZE, &r->fn, form_member);
	strcpy(r->b, in);
	return r->fn(r->b) + 1; /* no jump to it */
}

/* As an array, and as a pointer that walks. */
NOCLONE static int form_array(const char *in, size_t len)
{
	char *b = malloc(SIZE), *after = malloc(SIZE);

	(void)len;
	MARK(b, malloc_usable_size(b), after, form_array);
	for (size_t k = 0; in[k]; k++) {
		b[k] = in[k];
		__asm__ volatile("" ::: "memory");
	}
	return keep(b) + keep(after);
}

NOCLONE static int form_walk(const char *in, size_t len)
{
	char *b = malloc(SIZE), *after = malloc(SIZE), *p = b;

	(void)len;
	MARK(b, malloc_usable_size(b), after, form_walk);
	while (*in) {
		*p++ = *in++;
		__asm__ volatile("" ::: "memory");
	}
	return keep(b) + keep(after);
}

NOCLONE static int form_record(const char *in, size_t len)
{
	struct record *r = calloc(1, sizeof(*r));
	char *p = r->b;

	(void)len;
	r->fn = keep;
	MARK(r->b, SIZE, &r->fn, form_record);
	while (*in) {
		*p++ = *in++;
		__asm__ volatile("" ::: "memory");
	}
	return r->fn(r->b) + 1; /* no jump to it */
}

/* The format comes from outside and writes through a pointer. What is marked is the format. */
static int written[2];
static char out[4 * SIZE];
static const char hostile[] = "1234%n";
char global_text[SIZE];

NOCLONE static int form_format(const char *in, size_t len)
{
	char text[SIZE];

	(void)in;
	memcpy(text, hostile, sizeof(hostile));
	MARK(text, SIZE, written, form_format);
	snprintf(out, len < SIZE ? len : SIZE, text, written);
	return keep(text);
}

NOCLONE static int log_line(const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(out, sizeof(out), format, args);
	va_end(args);
	return n + keep(out);
}

int (*log_elsewhere)(const char *format, ...) = log_line;

NOCLONE static int form_logged(const char *in, size_t len)
{
	char text[SIZE];

	(void)in;
	(void)len;
	memcpy(text, hostile, sizeof(hostile));
	MARK(text, SIZE, written, log_line);
	return log_line(text, written) + keep(text);
}

/* A jump to another function, where the compiler can. */
NOCLONE static void put_line(int level, const char *text)
{
	dprintf(level + 2, text, written);
}

void (*put_line_elsewhere)(int level, const char *text) = put_line;

NOCLONE static int form_left(const char *in, size_t len)
{
	char text[SIZE];

	(void)in;
	(void)len;
	memcpy(text, hostile, sizeof(hostile));
	MARK(text, SIZE, written, put_line);
	put_line(0, text);
	return keep(text);
}

NOCLONE static int form_copied(const char *in, size_t len)
{
	char *text;

	(void)in;
	(void)len;
	text = strdup(hostile);
	MARK(text, SIZE, written, form_copied);
	return dprintf(2, text, written) + keep(text);
}

NOCLONE static int form_kept(const char *in, size_t len)
{
	char *text = malloc(SIZE);

	(void)in;
	(void)len;
	memcpy(text, hostile, sizeof(hostile));
	MARK(text, SIZE, written, form_kept);
	return fprintf(stderr, text, written) + keep(text);
}

/* The pointer is the format's own. */
NOCLONE static int form_own(const char *in, size_t len)
{
	char text[SIZE];

	(void)in;
	memcpy(text, hostile, sizeof(hostile));
	MARK(text, SIZE, text, form_own);
	snprintf(out, len < SIZE ? len : SIZE, text, text);
	return keep(text);
}

NOCLONE static int form_global(const char *in, size_t len)
{
	(void)in;
	(void)len;
	memcpy(global_text, hostile, sizeof(hostile));
	MARK(global_text, SIZE, written, form_global);
	return snprintf(out, sizeof(out), global_text, written) + keep(out);
}

static const struct {
	const char *name;
	form_fn *fn;
} forms[] = {
	{"format", form_format},     {"logged", form_logged},	  {"left", form_left},	   {"kept", form_kept},
	{"copied", form_copied},     {"global", form_global},	  {"switch", form_switch}, {"strcpy", form_strcpy},
	{"strcat", form_strcat},     {"strncpy", form_strncpy},	  {"memcpy", form_memcpy}, {"sprintf", form_sprintf},
	{"vsprintf", form_vsprintf}, {"snprintf", form_snprintf}, {"sscanf", form_sscanf}, {"read", form_read},
	{"recv", form_recv},	     {"fgets", form_fgets},	  {"tail", form_tail},	   {"deep", form_deep},
	{"loop", form_loop},	     {"pointer", form_pointer},	  {"static", form_static}, {"heap", form_heap},
	{"leaves", form_leaves},     {"hands", form_hands},	  {"member", form_member}, {"array", form_array},
	{"walk", form_walk},	     {"record", form_record},	  {"own", form_own},
};

int main(int argc, char **argv)
{
	char in[161];

	memset(in, 'A', sizeof(in) - 1);
	in[sizeof(in) - 1] = '\0';
	for (size_t k = 0; k < sizeof(forms) / sizeof(forms[0]); k++)
		if (argc == 2 && !strcmp(argv[1], forms[k].name))
			return forms[k].fn(in, sizeof(in) - 1) & 1;
	return 2;
}
