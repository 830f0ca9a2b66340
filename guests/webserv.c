/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A small web server: serves files, writes a log, and says in a page what went wrong. A re-creation of the shape of
 * ATPhttpd 0.4b's error, with nothing of its code: the page about a file that is not there is put together in an array that is
 * too small for the longest name. -DFIXED builds the twin that cuts the page.
 *
 * "GET /status" tells the process and the number of requests served. Files are below /srv/www; one that has ".." in its name
 * is refused.
 */
#include "server.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROOT "/srv/www"
#define LOG "/tmp/web.log"
#define LINE_ROOM 2048
#define PAGE_ROOM 512
#define FILE_ROOM 16384

static unsigned long served;

static void log_request(int status, const char *path)
{
	FILE *f = fopen(LOG, "ae");

	if (!f)
		return;
	fprintf(f, "%lu GET %s %d\n", served, path, status);
	fclose(f);
}

static void send_page(const struct server_client *c, int status, const char *reason, const char *page, size_t len)
{
	char head[160];
	int n = snprintf(head, sizeof(head), "HTTP/1.0 %d %s\r\nServer: webserv\r\nContent-Length: %zu\r\n\r\n", status,
			 reason, len);

	if (server_send(c, head, (size_t)n))
		server_send(c, page, len);
}

static SERVER_NOINLINE void send_error(const struct server_client *c, int status, const char *reason, const char *path)
{
	char page[PAGE_ROOM];

#ifdef FIXED
	snprintf(page, sizeof(page), "<html><h1>%d %s</h1>This cannot be served: %s", status, reason, path);
#else
	sprintf(page, "<html><h1>%d %s</h1>This cannot be served: %s", status, reason, path);
#endif
	send_page(c, status, reason, page, strlen(page));
}

/* The file's length, at most what fits; -1: it cannot be read. */
static ssize_t read_file(const char *path, char *ret, size_t size)
{
	char name[LINE_ROOM + sizeof(ROOT) + sizeof("/index.html")];
	struct stat st;
	ssize_t n = -1;
	int fd;

	snprintf(name, sizeof(name), "%s%s%s", ROOT, path, path[strlen(path) - 1] == '/' ? "index.html" : "");
	fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		n = read(fd, ret, size);
	if (fd >= 0)
		close(fd);
	return n;
}

static void send_status(const struct server_client *c)
{
	char page[80];
	int n = snprintf(page, sizeof(page), "pid %d served %lu\n", getpid(), served);

	send_page(c, 200, "OK", page, (size_t)n);
}

static SERVER_NOINLINE int answer(const struct server_client *c, const char *path)
{
	static char file[FILE_ROOM];
	ssize_t n;

	if (path[0] != '/' || strstr(path, "..")) {
		send_error(c, 403, "Forbidden", path);
		return 403;
	}
	if (strcmp(path, "/status") == 0) {
		send_status(c);
		return 200;
	}
	n = read_file(path, file, sizeof(file));
	if (n < 0) {
		send_error(c, 404, "Not Found", path);
		return 404;
	}
	send_page(c, 200, "OK", file, (size_t)n);
	return 200;
}

/* "GET PATH HTTP/1.x", then header lines, which say nothing here, and an empty one. */
static void serve(struct server_client *c)
{
	char request[LINE_ROOM], header[LINE_ROOM], *path, *end;
	size_t len;

	if (!server_line(c, request, sizeof(request), &len))
		return;
	do {
		if (!server_line(c, header, sizeof(header), &len))
			return;
	} while (len > 0);
	path = strncmp(request, "GET ", 4) == 0 ? request + 4 : NULL;
	end = path ? strstr(path, " HTTP/1.") : NULL;
	if (!end) {
		send_error(c, 400, "Bad Request", "");
		return;
	}
	*end = '\0';
	served++;
	log_request(answer(c, path), path);
}

int main(int argc, char **argv)
{
	return server_run(argc, argv, serve);
}
