/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Forms of the attack lab in the shape of servers with known errors; re-creations, with nothing of their code.
 *
 * web: ATPhttpd 0.4b's: the page that says that there is no such file is put together in an array that is too small for the
 * name. ftp: wu-ftpd 2.6.0's SITE EXEC: the command, in small letters, becomes the format of a reply. What comes is the rest of
 * the request, behind "GET /" or "SITE EXEC ", or all of it.
 */
#include "attacklab.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define PAGE_ROOM 600
#define COMMAND_ROOM 512

static char reply_text[COMMAND_ROOM];

static const char *skip(const char *text, const char *head)
{
	return strncmp(text, head, strlen(head)) == 0 ? text + strlen(head) : text;
}

/* ---- web ---- */

static LAB_NOINLINE void web_send_error(int status, const char *name)
{
	char page[PAGE_ROOM] = "";

#ifdef FIXED
	snprintf(page, sizeof(page), "HTTP/1.0 %d Not Found\r\n\r\nno such file: %s", status, name);
#else
	sprintf(page, "HTTP/1.0 %d Not Found\r\n\r\nno such file: %s", status, name);
#endif
	lab_answer(strstr(page, "file: ") + 6);
}

static LAB_NOINLINE void web_error(struct lab_input *in)
{
	volatile int status = 404;

	web_send_error(status, skip(in->bytes, "GET /"));
	status = 0;
}

/* ---- ftp ---- */

/* The format is whatever the caller says. */
static LAB_NOINLINE void ftp_reply(int code, const char *format, ...)
{
	va_list args;
	int len = snprintf(reply_text, sizeof(reply_text), "%d-", code);

	va_start(args, format);
	vsnprintf(reply_text + len, sizeof(reply_text) - (size_t)len, format, args);
	va_end(args);
}

static LAB_NOINLINE void ftp_site_exec(const char *from, size_t size)
{
	char command[COMMAND_ROOM] = "";

	memcpy(command, from, size < sizeof(command) ? size : sizeof(command) - 1);
	for (char *c = command; *c && *c != ' '; c++)
		*c = (char)tolower((unsigned char)*c);
#ifdef FIXED
	ftp_reply(200, "%s", command);
#else
	ftp_reply(200, command);
#endif
	lab_hook();
}

static LAB_NOINLINE void ftp(struct lab_input *in)
{
	const char *command = skip(in->bytes, "SITE EXEC ");

	ftp_site_exec(command, in->size - (size_t)(command - in->bytes));
	lab_answer(in->bytes);
}

const struct lab_form lab_shape_forms[] = {
	{.name = "web-error-page",
	 .serve = web_error,
	 .way = "direct",
	 .target = "from:512",
	 .bytes = "text",
	 .culprits = "web_send_error"},
	{.name = "ftp-site-exec-hook",
	 .serve = ftp,
	 .way = "format",
	 .target = "symbol:lab_hook",
	 .bytes = "any",
	 .culprits = "ftp_site_exec,ftp_reply"},
	{.name = NULL},
};
