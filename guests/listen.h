/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How a service of the guest begins to listen, and says so to init. In a header: each service is one program of few files. */
#ifndef GUESTS_LISTEN_H
#define GUESTS_LISTEN_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* Environment: number of the descriptor on which a service tells that it is listening (one byte, then closed). */
#define LISTEN_READY_ENV "SERVICE_READY_FD"

/* A TCP socket on all addresses; port: its number in decimal; waiting: connections that may wait. -1: it said why. */
static inline int listen_on(const char *port, int waiting)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(fd, waiting) < 0) {
		perror(port);
		return -1;
	}
	return fd;
}

/* Tells the parent, if it wants to know, that connections are accepted from now on. */
static inline void listen_tell_ready(void)
{
	const char *fd = getenv(LISTEN_READY_ENV);

	if (!fd)
		return;
	if (write(atoi(fd), "r", 1) < 0)
		perror("ready");
	close(atoi(fd));
	unsetenv(LISTEN_READY_ENV);
}

#endif
