/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Log lines: see log.h. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

static enum log_level max_level = LOG_LEVEL_INFO;
static char prefix[64];

void log_set_level(enum log_level level)
{
	max_level = level;
}

void log_set_prefix(const char *name)
{
	snprintf(prefix, sizeof(prefix), "%s", name ? name : "");
}

void log_msg(enum log_level level, const char *fmt, ...)
{
	static const char *const names[] = {"error: ", "warning: ", "", "debug: "};
	char line[1024];
	va_list ap;
	size_t n;

	if (level > max_level)
		return;
	n = (size_t)snprintf(line, sizeof(line) - 1, "%s%s%s", prefix, *prefix ? ": " : "", names[level]);
	va_start(ap, fmt);
	vsnprintf(line + n, sizeof(line) - 1 - n, fmt, ap);
	va_end(ap);
	for (n = 0; line[n]; n++)
		if ((unsigned char)line[n] < 0x20 || line[n] == 0x7f)
			line[n] = '?';
	line[n++] = '\n';
	/* One write, so that lines of several processes do not mix; a closed stderr is nobody's problem. */
	if (write(STDERR_FILENO, line, n) < 0)
		return;
}
