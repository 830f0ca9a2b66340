/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the re-created servers share: one connection after the other, requests in lines.
 *
 * Run as "NAME PORT" a server serves TCP; as "NAME -" it serves standard input and output once (how an attacker tries out a
 * copy).
 */
#ifndef GUESTS_SERVER_H
#define GUESTS_SERVER_H

#include <stdbool.h>
#include <stddef.h>

#define SERVER_INPUT_MAX 4096

#define SERVER_NOINLINE __attribute__((noinline))

struct server_client {
	int in, out;
	size_t used;
	char buf[SERVER_INPUT_MAX];
};

/*
 * The next line, without "\r\n" or "\n" at its end and with a NUL there; it may hold NULs itself. *ret_len: bytes before the
 * last. false: the connection is over, or the line has no room.
 */
bool server_line(struct server_client *c, char *ret, size_t size, size_t *ret_len);

/* Writes all; false: the connection is broken. */
bool server_send(const struct server_client *c, const void *bytes, size_t len);

/* Serves each connection by a call of serve(). Exit code. */
int server_run(int argc, char **argv, void (*serve)(struct server_client *c));

#endif
