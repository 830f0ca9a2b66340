/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sends one request line to a service of the guest and prints the answer. */
#include "client.h"

#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
	char request[512] = "", line[512];

	if (argc < 3) {
		fprintf(stderr, "usage: %s ADDRESS:PORT WORD...\n", argv[0]);
		return 2;
	}
	for (int i = 2; i < argc; i++) {
		size_t used = strlen(request);

		snprintf(request + used, sizeof(request) - used, "%s%s", i > 2 ? " " : "", argv[i]);
	}
	if (client_ask(argv[1], request, line, sizeof(line)) < 0)
		return 1;
	puts(line);
	return 0;
}
