/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the guest's network services share: one process, one poll loop, lines in, lines out.
 *
 * Run as "NAME PORT" it serves TCP on that port; as "NAME -" it serves standard input and output (how an attacker
 * tries out a copy of the binary). Requests, each a line: "echo TEXT" goes to the program's own handler, "pid" answers
 * "pid N", "facts" answers "facts boot_id=... uptime=... pid=N served=N aslr=N". Anything else is answered "what?".
 */
#ifndef GUESTS_SERVICE_H
#define GUESTS_SERVICE_H

#include <stddef.h>

#define SERVICE_LINE_MAX 256

/* The connection whose request is being handled. */
extern int service_client;

/* Sets the answer to the current request to "ok TEXT": text up to its NUL, at most size bytes. */
void service_reply(const char *text, size_t size);

/* Serves until standard input ends, or for ever on TCP; echo handles "echo TEXT" and calls service_reply(). Exit code. */
int service_run(int argc, char **argv, void (*echo)(const char *text));

#endif
