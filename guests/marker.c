/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the symbol never_called leads to: says that the program was taken over. */
#include "marker.h"

#include <unistd.h>

/* A slide of one-byte instructions comes first, so that there is an address without bytes that a copy would stop at. */
#ifdef __x86_64__
#define ALIGN_STACK "and $-16, %rsp\n"
#else
#define ALIGN_STACK "and $-16, %esp\n"
#endif
__asm__(".text\n.globl never_called\n.type never_called, @function\nnever_called:\n.skip 1024, 0x90\n" ALIGN_STACK
	"call marker_owned\n.size never_called, . - never_called\n");

__attribute__((visibility("hidden"), noreturn, used)) void marker_owned(void);

int marker_out = STDOUT_FILENO;

void marker_owned(void)
{
	static const char marker[] = "OWNED\n";

	if (write(marker_out, marker, sizeof(marker) - 1) < 0)
		_exit(67);
	_exit(66);
}
