/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A small FTP server without files: who logs in may ask for a few things and run SITE EXEC. A re-creation of the shape of
 * wu-ftpd 2.6.0's error, with nothing of its code: the command becomes the format of a reply. -DFIXED builds the twin that
 * prints it as text.
 */
#include "server.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define LINE_ROOM 512
#define REPLY_ROOM 512
#define NAME_ROOM 64

struct session {
	struct server_client *client;
	char user[NAME_ROOM];
	bool logged_in, over;
};

/* Called when a session ends; the attacker's aim. */
static void note_end(void);
void (*volatile ftp_at_end)(void) = note_end;

static unsigned long sessions;

static void note_end(void)
{
	sessions++;
}

static void vreply(const struct session *s, int code, char separator, const char *format, va_list args)
{
	char text[REPLY_ROOM], line[REPLY_ROOM + 16];
	int n;

	vsnprintf(text, sizeof(text), format, args);
	n = snprintf(line, sizeof(line), "%d%c%s\r\n", code, separator, text);
	server_send(s->client, line, (size_t)n);
}

/* The last line of a reply. */
static void reply(const struct session *s, int code, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vreply(s, code, ' ', format, args);
	va_end(args);
}

/* A line of a reply that goes on. */
static SERVER_NOINLINE void line_reply(const struct session *s, int code, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vreply(s, code, '-', format, args);
	va_end(args);
}

static void do_user(struct session *s, char *rest)
{
	snprintf(s->user, sizeof(s->user), "%s", rest);
	s->logged_in = false;
	reply(s, 331, "Password required for %s.", s->user);
}

static void do_pass(struct session *s, char *rest)
{
	s->logged_in = s->user[0] && rest[0];
	if (s->logged_in)
		reply(s, 230, "User %s logged in.", s->user);
	else
		reply(s, 530, "Login incorrect.");
}

static void do_stat(struct session *s, char *rest)
{
	(void)rest;
	reply(s, 211, "pid %d sessions %lu", getpid(), sessions);
}

static void do_syst(struct session *s, char *rest)
{
	(void)rest;
	reply(s, 215, "UNIX Type: L8");
}

static void do_pwd(struct session *s, char *rest)
{
	(void)rest;
	reply(s, 257, "\"/\" is the current directory.");
}

static void do_noop(struct session *s, char *rest)
{
	(void)rest;
	reply(s, 200, "NOOP command successful.");
}

static void do_quit(struct session *s, char *rest)
{
	(void)rest;
	reply(s, 221, "Goodbye.");
	s->over = true;
}

/* The command's name in small letters is what would be run, if there were anything to run. */
static SERVER_NOINLINE void site_exec(struct session *s, char *command)
{
	for (char *c = command; *c && *c != ' '; c++)
		*c = (char)tolower((unsigned char)*c);
#ifdef FIXED
	line_reply(s, 200, "%s", command);
#else
	line_reply(s, 200, command);
#endif
	reply(s, 200, "End of SITE EXEC.");
}

static void do_site(struct session *s, char *rest)
{
	if (!s->logged_in)
		reply(s, 530, "Please login with USER and PASS.");
	else if (strncasecmp(rest, "EXEC ", 5) == 0)
		site_exec(s, rest + 5 + strspn(rest + 5, " "));
	else
		reply(s, 500, "SITE command not understood.");
}

static const struct command {
	const char *name;
	void (*run)(struct session *s, char *rest);
} commands[] = {
	{"USER", do_user}, {"PASS", do_pass}, {"STAT", do_stat}, {"SYST", do_syst},
	{"PWD", do_pwd},   {"NOOP", do_noop}, {"SITE", do_site}, {"QUIT", do_quit},
};

static void run_command(struct session *s, char *line)
{
	size_t len = strcspn(line, " ");

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strlen(commands[i].name) == len && strncasecmp(commands[i].name, line, len) == 0) {
			commands[i].run(s, line + len + (line[len] == ' '));
			return;
		}
	}
	reply(s, 500, "'%.40s': command not understood.", line);
}

static void serve(struct server_client *c)
{
	struct session s = {.client = c};
	char line[LINE_ROOM];
	size_t len;

	reply(&s, 220, "FTP server ready.");
	while (!s.over && server_line(c, line, sizeof(line), &len))
		run_command(&s, line);
	ftp_at_end();
}

int main(int argc, char **argv)
{
	return server_run(argc, argv, serve);
}
