/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Benign traffic for the attack lab: COUNT requests made from SEED, of every length that fits, over all its forms or those
 * that are named; several on each connection.
 *
 * Prints "N FORM TEXT -> ANSWER" for each, so that two runs with the same arguments can be compared byte for byte.
 * Exit code 1: an answer is missing or is not the one a right service gives. With "ask VERB" it prints the answer to that.
 */
#include "client.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX 48
#define FORMS_MAX 512
#define NAME_MAX_LEN 40
#define REQUESTS_PER_CONNECTION 7
#define SLOW_EVERY 50 /* a form that starts a program is asked so much more seldom */

static char forms[FORMS_MAX][NAME_MAX_LEN];
static size_t form_count;

/* xorshift64*: the same everywhere. */
static uint64_t next_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(2685821657736338717) >> 16;
}

static bool request(struct client *c, const char *verb, const char *text, char *ret_line, size_t size)
{
	char bytes[NAME_MAX_LEN + TEXT_MAX + 16];

	snprintf(bytes, sizeof(bytes), "%s %zu:%s", verb, strlen(text), text);
	return client_send(c, bytes, strlen(bytes)) == 0 && client_line(c, ret_line, size) == CLIENT_LINE;
}

/* The forms that the service has. */
static bool read_forms(const char *where)
{
	char line[512];
	struct client c;
	bool good = client_open(&c, where) == 0 && request(&c, "list", "", line, sizeof(line));

	while (good && strcmp(line, "end") != 0 && form_count < FORMS_MAX) {
		snprintf(forms[form_count++], NAME_MAX_LEN, "%.*s", (int)strcspn(line, " "), line);
		good = client_line(&c, line, sizeof(line)) == CLIENT_LINE;
	}
	client_close(&c);
	return good;
}

/* Printable, no space, no '%'; a letter first, so that it is no number. */
static void make_text(uint64_t *state, char *ret_text)
{
	size_t len = 1 + next_random(state) % TEXT_MAX;

	for (size_t k = 0; k < len; k++)
		do
			ret_text[k] = (char)('!' + next_random(state) % ('~' - '!' + 1));
		while (ret_text[k] == '%');
	ret_text[0] = (char)('a' + next_random(state) % 26);
	ret_text[len] = '\0';
}

static const char *pick_form(uint64_t *state)
{
	const char *name;

	do
		name = forms[next_random(state) % form_count];
	while (form_count > 1 && strncmp(name, "command", 7) == 0 && next_random(state) % SLOW_EVERY != 0);
	return name;
}

static bool one_request(struct client *c, unsigned long i, uint64_t *state)
{
	char text[TEXT_MAX + 1], want[TEXT_MAX + 8], line[512] = "";
	const char *name = pick_form(state);
	bool marked = strstr(name, "sprintf") && strncmp(name, "format", 6) != 0;

	make_text(state, text);
	snprintf(want, sizeof(want), "ok %s%s", marked ? "<" : "", text);
	if (!request(c, name, text, line, sizeof(line))) {
		fprintf(stderr, "request %lu, %s: no answer\n", i, name);
		return false;
	}
	printf("%lu %s %s -> %s\n", i, name, text, line);
	if (strcmp(line, want) == 0)
		return true;
	fprintf(stderr, "request %lu, %s: wrong answer\n", i, name);
	return false;
}

static bool series(const char *where, uint64_t state, unsigned long count)
{
	struct client c = {.fd = -1};
	bool good = true;

	for (unsigned long i = 0; i < count && good; i++) {
		if (i % REQUESTS_PER_CONNECTION == 0) {
			client_close(&c);
			good = client_open(&c, where) == 0;
		}
		good = good && one_request(&c, i, &state);
	}
	client_close(&c);
	return good;
}

static int ask(const char *where, const char *verb)
{
	char line[512];
	struct client c;
	bool good = client_open(&c, where) == 0 && request(&c, verb, "", line, sizeof(line));

	client_close(&c);
	if (good)
		puts(line);
	return good ? 0 : 1;
}

int main(int argc, char **argv)
{
	uint64_t state;

	if (argc == 4 && strcmp(argv[2], "ask") == 0)
		return ask(argv[1], argv[3]);
	if (argc < 4) {
		fprintf(stderr, "usage: %s ADDRESS:PORT SEED COUNT [FORM...] | ADDRESS:PORT ask VERB\n", argv[0]);
		return 2;
	}
	state = (strtoull(argv[2], NULL, 10) + 1) * UINT64_C(0x9e3779b97f4a7c15);
	for (int i = 4; i < argc && form_count < FORMS_MAX; i++)
		snprintf(forms[form_count++], NAME_MAX_LEN, "%s", argv[i]);
	if (form_count == 0 && (!read_forms(argv[1]) || form_count == 0)) {
		fprintf(stderr, "%s: no list of forms\n", argv[1]);
		return 1;
	}
	return series(argv[1], state, strtoul(argv[3], NULL, 10)) ? 0 : 1;
}
