/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A TCP service whose one error can be used in several ways, one after the other: two function pointers lie behind a buffer
 * that a copy without a bound is made to, in each of two functions.
 *
 * The request's first letter says which pointer is called: "f" the farther one, "n" the nearer one, "F" and "N" those of
 * the second function; the rest is copied. An attack that uses the farther pointer runs over the nearer one unseen. -DSTRCPY:
 * the copy is the C library's, called by one function of the program. -DFIXED: it has its bound.
 */
#include "service.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

struct record {
	char text[16];
	void (*volatile near)(void);
	void (*volatile far)(void);
};

static void nothing(void)
{
}

static __attribute__((noinline)) void copy(char *dst, const char *src)
{
#if defined(FIXED)
	snprintf(dst, sizeof(((struct record *)dst)->text), "%s", src);
#elif defined(STRCPY)
	strcpy(dst, src);
	__asm__ volatile("" ::: "memory"); /* no jump to it */
#else
	while (*src) {
		*dst++ = *src++;
		__asm__ volatile("" ::: "memory"); /* no call of it */
	}
	*dst = '\0';
#endif
}

static __attribute__((noinline)) void first(const char *text, bool far)
{
	struct record r = {"", nothing, nothing};

	copy(r.text, text);
	if (far)
		r.far();
	else
		r.near();
	service_reply(r.text, sizeof(r.text) - 1);
}

static __attribute__((noinline)) void second(const char *text, bool far)
{
	char before[64];
	struct record r = {"", nothing, nothing};

	copy(r.text, text);
	if (far)
		r.far();
	else
		r.near();
	snprintf(before, sizeof(before), "%.15s", r.text);
	service_reply(before, sizeof(before));
}

static void answer(const char *text)
{
	bool far = *text == 'f' || *text == 'F';

	if (*text == 'f' || *text == 'n')
		first(text + 1, far);
	else if (*text == 'F' || *text == 'N')
		second(text + 1, far);
}

int main(int argc, char **argv)
{
	return service_run(argc, argv, answer);
}
