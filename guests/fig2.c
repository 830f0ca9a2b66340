/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The vulnerable program of the paper's Figure 2 as a TCP service: an unbounded copy loop into buf1.
 *
 * Variants of the same source, chosen by the compiler's arguments: -DFIXED bounds the loop (the negative twin),
 * -DLEDGER has each request written down first (guests/ledger.h), -DHELPER puts the loop into a function that is given the buffer, -DSTRCPY leaves it to the C library, -DSTATIC_BUF2 takes buf2 out of the frame; the
 * optimisation level and the frame pointer are the compiler's own options.
 *
 * The frame. buf1 is the only local above which nothing but saved registers and the return address lie: it is
 * declared first, and without a stack protector gcc lays locals out downwards in that order at -O0 (buf2 and the
 * spilled argument are below it): buf1 at rbp-10, saved rbp at rbp, return address at rbp+8. So a loop that is stopped
 * at the saved registers leaves the function able to return to the serving loop. An optimising gcc sorts by size and
 * puts buf1 below buf2, where 99 bytes do not reach the return address: the optimised variant has buf2 outside the
 * frame. The answer shows at most sizeof(buf1) bytes, so that it is the same whatever lies above.
 *
 * The loop stops at a NUL byte, so a payload can only replace the low bytes of the return address; in a program that
 * is not position-independent the upper five are zero already.
 */
#ifdef LEDGER
#include "ledger.h"
#endif
#include "service.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#ifdef STATIC_BUF2
#define BUF2_STORAGE static
#else
#define BUF2_STORAGE
#endif

int a; /* global, as in the paper */

void never_called(void);

/* Code for an attacker to reuse: no request leads here. Only system calls: after a hijacked return the stack is not aligned. */
__attribute__((noinline, used)) void never_called(void)
{
	static const char marker[] = "OWNED\n";

	if (write(service_client, marker, sizeof(marker) - 1) < 0)
		_exit(67);
	_exit(66);
}

#ifdef HELPER
static __attribute__((noinline)) void copy(char *dst, const char *src)
{
	while (src[a]) {
		dst[a] = src[a];
		a++;
	}
	dst[a] = '\0';
}
#endif

static __attribute__((noinline)) void answer(const char *text)
{
	char buf1[10];
	BUF2_STORAGE char buf2[100];

#ifdef LEDGER
	ledger_note(text);
#endif
	buf2[0] = '\0';
	sscanf(text, "%99s", buf2);
	a = 0;
#if defined(HELPER)
	copy(buf1, buf2);
#elif defined(STRCPY)
	strcpy(buf1, buf2);
#elif defined(FIXED)
	while (buf2[a] && a < (int)sizeof(buf1) - 1) {
		buf1[a] = buf2[a];
		a++;
	}
	buf1[a] = '\0';
#else
	while (buf2[a]) {
		buf1[a] = buf2[a];
		a++;
	}
	buf1[a] = '\0';
#endif
	service_reply(buf1, sizeof(buf1));
}

int main(int argc, char **argv)
{
	return service_run(argc, argv, answer);
}
