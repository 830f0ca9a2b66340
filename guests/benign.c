/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Benign traffic: COUNT requests made from SEED, of every length the service is meant for, several on each connection.
 *
 * Prints "N REQUEST -> ANSWER" for each, so that two runs with the same arguments can be compared byte for byte.
 * Exit code 1: an answer is missing or is not the one a right service gives.
 */
#include "client.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX 9 /* what buf1 holds with its NUL */
#define LINES_PER_CONNECTION 7

/* xorshift64*: the same everywhere. */
static uint64_t next_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(2685821657736338717);
}

/* Request number i: lengths go round from 1 to the longest, bytes are printable and not a space. */
static void make_text(uint64_t *state, unsigned long i, char *ret_text)
{
	size_t len = 1 + i % TEXT_MAX;

	for (size_t k = 0; k < len; k++)
		ret_text[k] = (char)('!' + next_random(state) % ('~' - '!' + 1));
	ret_text[len] = '\0';
}

static bool one_request(struct client *c, unsigned long i, const char *text)
{
	char request[TEXT_MAX + 8], want[TEXT_MAX + 8], line[512];

	snprintf(request, sizeof(request), "echo %s\n", text);
	snprintf(want, sizeof(want), "ok %s", text);
	if (client_send(c, request, strlen(request)) < 0 || client_line(c, line, sizeof(line)) != CLIENT_LINE) {
		fprintf(stderr, "request %lu: no answer\n", i);
		return false;
	}
	printf("%lu %s -> %s\n", i, text, line);
	if (strcmp(line, want) == 0)
		return true;
	fprintf(stderr, "request %lu: wrong answer\n", i);
	return false;
}

int main(int argc, char **argv)
{
	struct client c = {.fd = -1};
	unsigned long count;
	uint64_t state;
	bool good = true;

	if (argc != 4) {
		fprintf(stderr, "usage: %s ADDRESS:PORT SEED COUNT\n", argv[0]);
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	state = (strtoull(argv[2], NULL, 10) + 1) * UINT64_C(0x9e3779b97f4a7c15);
	count = strtoul(argv[3], NULL, 10);
	for (unsigned long i = 0; i < count && good; i++) {
		char text[TEXT_MAX + 1];

		if (i % LINES_PER_CONNECTION == 0) {
			client_close(&c);
			good = client_open(&c, argv[1]) == 0;
		}
		make_text(&state, i, text);
		good = good && one_request(&c, i, text);
	}
	client_close(&c);
	return good ? 0 : 1;
}
