/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Forms of the attack lab in which the attacker's text is the format of a function of the printf family. */
#include "attacklab.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#define TEXT_MAX 512

static char out[TEXT_MAX];

/* A program's own log function, as servers have them. */
__attribute__((noinline, unused)) static void log_line(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(out, sizeof(out), format, args);
	va_end(args);
}

/* The same bug in each: the text is the format. */
#ifdef FIXED
#define SAY_printf(text) printf("%s", text)
#define SAY_fprintf(text) fprintf(stdout, "%s", text)
#define SAY_snprintf(text) snprintf(out, sizeof(out), "%s", text)
#define SAY_log(text) log_line("%s", text)
#define SAY_syslog(text) syslog(LOG_INFO, "%s", text)
#else
#define SAY_printf(text) printf(text)
#define SAY_fprintf(text) fprintf(stdout, text)
#define SAY_snprintf(text) snprintf(out, sizeof(out), text)
#define SAY_log(text) log_line(text)
#define SAY_syslog(text) syslog(LOG_INFO, text)
#endif

/* Copying is bounded. Then what an attacker may have led elsewhere is called. */
#define FORMAT(how, target)                                                                                            \
	static LAB_NOINLINE void format_##how##_##target(struct lab_input *in)                                         \
	{                                                                                                              \
		char text[TEXT_MAX] = "";                                                                              \
                                                                                                                       \
		memcpy(text, in->bytes, in->size < sizeof(text) ? in->size : sizeof(text) - 1);                        \
		SAY_##how(text);                                                                                       \
		lab_hook();                                                                                            \
		(void)getppid();                                                                                       \
		lab_answer(text);                                                                                      \
	}

#define EACH(X)                                                                                                        \
	X(printf, hook, "format", "symbol:lab_hook")                                                                   \
	X(fprintf, hook, "format", "symbol:lab_hook")                                                                  \
	X(snprintf, hook, "format", "symbol:lab_hook")                                                                 \
	X(log, hook, "format", "symbol:lab_hook")                                                                      \
	X(syslog, hook, "format", "symbol:lab_hook")                                                                   \
	X(printf, plain, "format-plain", "symbol:lab_hook")                                                            \
	X(snprintf, plain, "format-plain", "symbol:lab_hook")                                                          \
	X(printf, ret, "format", "stack:1")                                                                            \
	X(snprintf, ret, "format", "stack:1")                                                                          \
	X(log, ret, "format", "stack:1")                                                                               \
	X(printf, got, "format", "got:getppid")                                                                        \
	X(snprintf, got, "format", "got:getppid")                                                                      \
	X(printf, crash, "format-crash", "-")                                                                          \
	X(fprintf, crash, "format-crash", "-")                                                                         \
	X(snprintf, crash, "format-crash", "-")                                                                        \
	X(log, crash, "format-crash", "-")

#define HANDLER(how, target, way, at) FORMAT(how, target)
EACH(HANDLER)

#define ROW(how, target_, way_, at)                                                                                    \
	{.name = "format-" #how "-" #target_,                                                                          \
	 .serve = format_##how##_##target_,                                                                            \
	 .way = (way_),                                                                                                \
	 .target = (at),                                                                                               \
	 .bytes = "any",                                                                                               \
	 .culprits = "format_" #how "_" #target_ ",log_line"},

const struct lab_form lab_format_forms[] = {
	/* clang-format off: it takes the list for an expression */
	EACH(ROW){.name = NULL},
	/* clang-format on */
};
