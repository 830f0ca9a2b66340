/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Another library for guests/crowd.c: it puts the word where its caller wants it, and does not know how much room there is. What
 * runs over is the program's, what writes is the library's: itself, with -DDEEP a function further in, with -DCALLS the C library.
 */
#include "wire.h"

#include <stdio.h>
#include <string.h>

#if defined(CALLS)
#define put strcpy
#else
#ifdef DEEP
__attribute__((noinline))
#else
__attribute__((always_inline)) inline
#endif
static void
put(char *to, const char *from)
{
	while (*from)
		*to++ = *from++;
	*to = '\0';
}
#endif

void wire_clean(const char *text, char ret[WIRE_MAX])
{
	char all[100];

	all[0] = '\0';
	sscanf(text, "%99s", all);
	put(ret, all);
}
