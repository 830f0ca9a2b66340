/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the drivers outside the VM share: a TCP connection that is spoken to in lines, every wait bounded. */
#ifndef GUESTS_CLIENT_H
#define GUESTS_CLIENT_H

#include <netinet/in.h>
#include <stddef.h>

/* How long to wait for one event before it counts as lost; a guest under full emulation is slow. */
#define CLIENT_TIMEOUT_MS 60000

struct client {
	int fd;
	size_t used;
	char buf[1024];
};

enum client_result {
	CLIENT_LINE, /* a line came */
	CLIENT_CLOSED, /* the peer ended or reset the connection */
	CLIENT_TIMEOUT, /* nothing came in time */
};

/* "ADDRESS:PORT" (IPv4) to a socket address. 0, or -1: it is not one; nothing is said. */
int client_parse_where(const char *where, struct sockaddr_in *ret);
/* Connects to "ADDRESS:PORT" (IPv4). 0, or -1 with one line on standard error. */
int client_open(struct client *c, const char *where);
void client_close(struct client *c);
/* Sends all len bytes. 0, or -1 when the connection is broken. */
int client_send(struct client *c, const void *bytes, size_t len);
/* Next line, without its newline, as a string; *ret_line as it was where the result is not CLIENT_LINE. */
enum client_result client_line(struct client *c, char *ret_line, size_t size);
/* Opens, sends request and a newline, reads one answer line, closes. 0, or -1 with one line on standard error. */
int client_ask(const char *where, const char *request, char *ret_line, size_t size);

#endif
