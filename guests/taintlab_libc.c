/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Paths through the C library: copying, formatting, scanning, buffered streams. Built with -fno-builtin, so that it is the
 * library's code that runs, in the variant that it picks for the processor.
 */
#include "taintlab_paths.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

#define DECIMAL "1928374650"

static bool by_memcpy(struct lab *l)
{
	memcpy(l->out, l->in, l->len);
	return true;
}

/* Neither end is aligned. */
static bool by_memcpy_odd(struct lab *l)
{
	memcpy(l->out + 3, l->in + 5, l->len - 5);
	l->at = l->out + 3;
	l->ret_len = l->len - 5;
	l->offset = 5;
	return true;
}

static bool by_mempcpy(struct lab *l)
{
	return mempcpy(l->out, l->in, l->len) == l->out + l->len;
}

/* To places that overlap: up by a little, then down. */
static bool by_memmove(struct lab *l)
{
	memcpy(l->out, l->in, l->len);
	memmove(l->out + 7, l->out, l->len);
	memmove(l->out + 2, l->out + 7, l->len);
	l->at = l->out + 2;
	return true;
}

static bool by_memccpy(struct lab *l)
{
	return memccpy(l->out, l->in, '\0', LAB_MAX) == l->out + l->len + 1;
}

static bool by_strcpy(struct lab *l)
{
	return strcpy(l->out, l->in) == l->out;
}

static bool by_stpcpy(struct lab *l)
{
	return stpcpy(l->out, l->in) == l->out + l->len;
}

static bool by_strncpy(struct lab *l)
{
	return strncpy(l->out, l->in, LAB_MAX) == l->out;
}

static bool by_strcat(struct lab *l)
{
	strcpy(l->out, "prefix ");
	strcat(l->out, l->in);
	l->at = l->out + strlen("prefix ");
	return true;
}

static bool by_strncat(struct lab *l)
{
	strcpy(l->out, "prefix ");
	strncat(l->out, l->in, l->len);
	l->at = l->out + strlen("prefix ");
	return true;
}

static bool by_strdup(struct lab *l)
{
	static char *last;

	free(last);
	last = strdup(l->in);
	l->at = last;
	return last != NULL;
}

static bool by_realloc(struct lab *l)
{
	static char *last;
	char *grown;

	free(last);
	last = strdup(l->in);
	grown = last ? realloc(last, (size_t)1 << 20) : NULL;
	if (!grown)
		return false;
	last = grown;
	l->at = last;
	return true;
}

static bool by_strtok(struct lab *l)
{
	char *word = strtok(l->in, " "), *to = l->out;

	for (; word; word = strtok(NULL, " "))
		to = stpcpy(to, word);
	l->ret_len = (size_t)(to - l->out);
	return true;
}

static bool by_sprintf(struct lab *l)
{
	l->at = l->out + 3;
	return snprintf(l->out, LAB_MAX, "<%d>%s", 7, l->in) == (int)l->len + 3;
}

static bool by_sprintf_width(struct lab *l)
{
	l->at = l->out + 20;
	l->ret_len = 10;
	return snprintf(l->out, LAB_MAX, "%30.10s|", l->in) == 31;
}

static bool by_sprintf_char(struct lab *l)
{
	char *to = l->out;

	for (size_t i = 0; i < l->len; i++)
		to += sprintf(to, "%c", l->in[i]);
	return to == l->out + l->len;
}

static bool by_sscanf_string(struct lab *l)
{
	l->ret_len = strcspn(l->in, " ");
	return sscanf(l->in, "%4000s", l->out) == 1;
}

static bool by_sscanf_chars(struct lab *l)
{
	l->ret_len = 40;
	return sscanf(l->in, "%40c", l->out) == 1;
}

static bool by_sscanf_set(struct lab *l)
{
	l->ret_len = strcspn(l->in, ",");
	return sscanf(l->in, "%4000[^,]", l->out) == 1;
}

/* A number and back to text: each digit depends on the payload. */
static bool by_strtol(struct lab *l)
{
	return snprintf(l->out, LAB_MAX, "%ld", strtol(l->in, NULL, 10)) == (int)l->len;
}

static bool by_strtoull_hex(struct lab *l)
{
	return snprintf(l->out, LAB_MAX, "%llx", strtoull(l->in, NULL, 16)) == (int)l->len;
}

static bool by_sscanf_number(struct lab *l)
{
	unsigned value;

	return sscanf(l->in, "%u", &value) == 1 && sprintf(l->out, "%u", value) == (int)l->len;
}

static bool by_atoi_value(struct lab *l)
{
	static int value;

	value = atoi(l->in);
	l->at = &value;
	l->ret_len = sizeof(value);
	return true;
}

/* A pipe with a stream at the end that is asked for. */
static FILE *open_pipe(const char *mode, int *ret_other)
{
	int fd[2], mine = *mode == 'w';

	if (pipe(fd) < 0)
		return NULL;
	*ret_other = fd[!mine];
	return fdopen(fd[mine], mode);
}

static bool by_printf_pipe(struct lab *l)
{
	int from = -1;
	FILE *to = open_pipe("w", &from);
	bool ok =
		to && fprintf(to, "%s", l->in) == (int)l->len && fflush(to) == 0 && lab_read_all(from, l->out, l->len);

	if (to)
		fclose(to);
	close(from);
	return ok;
}

/* The payload and a newline come through a pipe; take() reads them from the stream. */
static bool from_stream(struct lab *l, bool (*take)(struct lab *l, FILE *from))
{
	int to = -1;
	FILE *from = open_pipe("r", &to);
	bool ok = from && lab_write_all(to, l->in, l->len) && lab_write_all(to, "\n", 1);

	close(to);
	ok = ok && take(l, from);
	if (from)
		fclose(from);
	return ok;
}

static bool take_fgets(struct lab *l, FILE *from)
{
	return fgets(l->out, LAB_MAX, from) != NULL;
}

static bool take_getline(struct lab *l, FILE *from)
{
	static char *line;
	static size_t size;
	bool ok = getline(&line, &size, from) == (ssize_t)l->len + 1;

	l->at = line;
	return ok;
}

static bool take_fread(struct lab *l, FILE *from)
{
	return fread(l->out, 1, l->len, from) == l->len;
}

static bool take_getc(struct lab *l, FILE *from)
{
	for (size_t i = 0; i < l->len; i++)
		l->out[i] = (char)getc(from);
	return true;
}

static bool take_fscanf(struct lab *l, FILE *from)
{
	return fscanf(from, "%4000[^\n]", l->out) == 1;
}

static bool by_fgets(struct lab *l)
{
	return from_stream(l, take_fgets);
}

static bool by_getline(struct lab *l)
{
	return from_stream(l, take_getline);
}

static bool by_fread(struct lab *l)
{
	return from_stream(l, take_fread);
}

static bool by_getc(struct lab *l)
{
	return from_stream(l, take_getc);
}

static bool by_fscanf(struct lab *l)
{
	return from_stream(l, take_fscanf);
}

/* Moves only, with comparisons in between. */
static int compare_bytes(const void *a, const void *b)
{
	return *(const unsigned char *)a - *(const unsigned char *)b;
}

static bool by_qsort(struct lab *l)
{
	memcpy(l->out, l->in, l->len);
	qsort(l->out, l->len, 1, compare_bytes);
	return true;
}

/* Wide characters of ASCII text, narrowed again. */
static bool by_wide(struct lab *l)
{
	static wchar_t wide[LAB_MAX];

	return mbstowcs(wide, l->in, LAB_MAX) == l->len && wcstombs(l->out, wide, LAB_MAX) == l->len;
}

const struct lab_path lab_libc_paths[] = {
	{.name = "memcpy", .expect = LAB_EXACT, .run = by_memcpy},
	{.name = "memcpy-5", .expect = LAB_EXACT, .run = by_memcpy, .size = 5},
	{.name = "memcpy-20", .expect = LAB_EXACT, .run = by_memcpy, .size = 20},
	{.name = "memcpy-300", .expect = LAB_EXACT, .run = by_memcpy, .size = 300},
	{.name = "memcpy-3000", .expect = LAB_EXACT, .run = by_memcpy, .size = 3000},
	{.name = "memcpy-odd", .expect = LAB_EXACT, .run = by_memcpy_odd},
	{.name = "mempcpy", .expect = LAB_EXACT, .run = by_mempcpy},
	{.name = "memmove", .expect = LAB_EXACT, .run = by_memmove},
	{.name = "memmove-1000", .expect = LAB_EXACT, .run = by_memmove, .size = 1000},
	{.name = "memccpy", .expect = LAB_EXACT, .run = by_memccpy},
	{.name = "strcpy", .expect = LAB_EXACT, .run = by_strcpy},
	{.name = "strcpy-7", .expect = LAB_EXACT, .run = by_strcpy, .size = 7},
	{.name = "strcpy-1000", .expect = LAB_EXACT, .run = by_strcpy, .size = 1000},
	{.name = "stpcpy", .expect = LAB_EXACT, .run = by_stpcpy},
	{.name = "strncpy", .expect = LAB_EXACT, .run = by_strncpy},
	{.name = "strcat", .expect = LAB_EXACT, .run = by_strcat},
	{.name = "strncat", .expect = LAB_EXACT, .run = by_strncat},
	{.name = "strdup", .expect = LAB_EXACT, .run = by_strdup},
	{.name = "realloc", .expect = LAB_EXACT, .run = by_realloc},
	{.name = "strtok", .expect = LAB_ALL, .run = by_strtok},
	{.name = "sprintf", .expect = LAB_EXACT, .run = by_sprintf},
	{.name = "sprintf-width", .expect = LAB_EXACT, .run = by_sprintf_width},
	{.name = "sprintf-char", .expect = LAB_EXACT, .run = by_sprintf_char},
	{.name = "sscanf-string", .expect = LAB_EXACT, .run = by_sscanf_string},
	{.name = "sscanf-chars", .expect = LAB_EXACT, .run = by_sscanf_chars},
	{.name = "sscanf-set", .expect = LAB_EXACT, .run = by_sscanf_set},
	{.name = "sscanf-number", .expect = LAB_ALL, .run = by_sscanf_number, .payload = DECIMAL},
	{.name = "strtol", .expect = LAB_ALL, .run = by_strtol, .payload = DECIMAL},
	{.name = "strtoull-hex", .expect = LAB_ALL, .run = by_strtoull_hex, .payload = "9abcdef01234567"},
	{.name = "atoi-value", .expect = LAB_ALL, .run = by_atoi_value, .payload = DECIMAL},
	{.name = "printf-pipe", .expect = LAB_EXACT, .run = by_printf_pipe},
	{.name = "fgets", .expect = LAB_EXACT, .run = by_fgets},
	{.name = "getline", .expect = LAB_EXACT, .run = by_getline},
	{.name = "fread", .expect = LAB_EXACT, .run = by_fread},
	{.name = "getc", .expect = LAB_EXACT, .run = by_getc},
	{.name = "fscanf", .expect = LAB_EXACT, .run = by_fscanf},
	{.name = "qsort", .expect = LAB_ALL, .run = by_qsort},
	{.name = "wide", .expect = LAB_EXACT, .run = by_wide},
};
const size_t lab_libc_count = sizeof(lab_libc_paths) / sizeof(lab_libc_paths[0]);
