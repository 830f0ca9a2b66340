/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the symbol never_called leads to: says that the program was taken over. */
#include "marker.h"

#include <unistd.h>

MARKER_NEVER_CALLED("marker_owned");

__attribute__((visibility("hidden"), noreturn, used)) void marker_owned(void);

int marker_out = STDOUT_FILENO;

void marker_owned(void)
{
	static const char marker[] = "OWNED\n";

	if (write(marker_out, marker, sizeof(marker) - 1) < 0)
		_exit(67);
	_exit(66);
}
