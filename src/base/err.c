/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Errors that are returned, not thrown: see err.h. */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void fill(struct err *e, enum err_code code, int sys_errno, const char *fmt, va_list ap)
{
	if (!e)
		return;
	e->code = code;
	e->sys_errno = sys_errno;
	e->addr = 0;
	vsnprintf(e->text, sizeof(e->text), fmt, ap);
	if (sys_errno) {
		size_t n = strlen(e->text);

		snprintf(e->text + n, sizeof(e->text) - n, ": %s", strerror(sys_errno));
	}
}

int err_set(struct err *e, enum err_code code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fill(e, code, 0, fmt, ap);
	va_end(ap);
	return -1;
}

int err_set_errno(struct err *e, const char *fmt, ...)
{
	int sys_errno = errno;
	va_list ap;

	va_start(ap, fmt);
	fill(e, ERR_SYSTEM, sys_errno, fmt, ap);
	va_end(ap);
	return -1;
}

int err_set_addr(struct err *e, enum err_code code, uint64_t addr, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fill(e, code, 0, fmt, ap);
	va_end(ap);
	if (e)
		e->addr = addr;
	return -1;
}

int err_prefix(struct err *e, const char *fmt, ...)
{
	char old[sizeof(e->text)];
	va_list ap;
	size_t n;

	if (!e)
		return -1;
	memcpy(old, e->text, sizeof(old));
	va_start(ap, fmt);
	vsnprintf(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
	n = strlen(e->text);
	snprintf(e->text + n, sizeof(e->text) - n, ": %s", old);
	return -1;
}

const char *err_code_name(enum err_code code)
{
	static const char *const names[] = {
		[ERR_OK] = "ok",	   [ERR_SYSTEM] = "system",	[ERR_USAGE] = "usage",
		[ERR_MISSING] = "missing", [ERR_PROTOCOL] = "protocol", [ERR_LIMIT] = "limit",
		[ERR_STATE] = "state",	   [ERR_GUEST] = "guest",	[ERR_REFUSED] = "refused",
		[ERR_TIMEOUT] = "timeout", [ERR_GONE] = "gone",
	};

	return (unsigned)code < sizeof(names) / sizeof(names[0]) ? names[code] : "unknown";
}
