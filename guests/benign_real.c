/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Benign traffic for the programs of Debian and the re-created servers: COUNT rounds of requests made from SEED.
 *
 * Prints "REQUEST -> ANSWER" for each answer, so that two runs with the same arguments can be compared byte for byte. Exit
 * code 1: an answer is missing or is not the one that a right service gives. sngrep does not answer: it counts on its own
 * output.
 */
#include "client.h"
#include "hep.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define WORD_MAX 40

/* Where answers are printed. */
static FILE *out;
/* The last answer that was missing was so because the connection was closed. */
static bool lost_by_close;

/* xorshift64*: the same everywhere. */
static uint64_t next_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(2685821657736338717) >> 16;
}

/* Small letters. */
static void make_word(uint64_t *state, char ret[WORD_MAX + 1])
{
	size_t len = 1 + next_random(state) % WORD_MAX;

	for (size_t k = 0; k < len; k++)
		ret[k] = (char)('a' + next_random(state) % 26);
	ret[len] = '\0';
}

/* The next line must be this, or with wanted NULL anything. */
static bool expect(struct client *c, const char *request, const char *wanted)
{
	char line[1024];
	enum client_result r = client_line(c, line, sizeof(line));
	size_t len;

	if (r != CLIENT_LINE) {
		lost_by_close = r == CLIENT_CLOSED;
		fprintf(stderr, "%s: no answer\n", request);
		return false;
	}
	len = strlen(line);
	if (len > 0 && line[len - 1] == '\r')
		line[len - 1] = '\0';
	fprintf(out, "%s -> %s\n", request, line);
	if (!wanted || strcmp(line, wanted) == 0)
		return true;
	fprintf(stderr, "%s: wrong answer: %s\n", request, line);
	return false;
}

static bool ask(struct client *c, const char *request, const char *end, const char *wanted)
{
	if (client_send(c, request, strlen(request)) < 0 || client_send(c, end, strlen(end)) < 0) {
		lost_by_close = true;
		return false;
	}
	return expect(c, request, wanted);
}

/*
 * A thread of rigctld closes its connection's descriptor three times when it ends: a connection that comes between gets the
 * same number and is closed with it, whoever looks after the guest. So all rounds go over one connection, before which
 * another is opened for the accident to happen to; and who is closed all the same comes back, as its clients do.
 */
static struct {
	struct client lightning_rod, c;
	bool open;
} rigctld;

/* How often a connection that was closed is opened anew. */
#define RIGCTLD_TRIES 20

/* Both connections end, and rigctld has closed its end when this returns. */
static void rigctld_end(void)
{
	struct client *both[] = {&rigctld.c, &rigctld.lightning_rod};
	char rest[64];

	for (int i = 0; i < 2 && rigctld.open; i++) {
		shutdown(both[i]->fd, SHUT_WR);
		while (client_line(both[i], rest, sizeof(rest)) == CLIENT_LINE)
			;
		client_close(both[i]);
	}
	rigctld.open = false;
}

static bool rigctld_begin(const char *where)
{
	if (!rigctld.open && client_open(&rigctld.lightning_rod, where) == 0) {
		rigctld.open = client_open(&rigctld.c, where) == 0;
		if (!rigctld.open)
			client_close(&rigctld.lightning_rod);
	}
	return rigctld.open;
}

/* It ends as it began: at 145 MHz. */
static bool rigctld_talk(const char *wanted)
{
	struct client *c = &rigctld.c;
	char set[32];

	snprintf(set, sizeof(set), "F %s", wanted);
	return ask(c, "F 145000000", "\n", "RPRT 0") && ask(c, "\\get_freq", "\n", "145000000") &&
	       ask(c, set, "\n", "RPRT 0") && ask(c, "\\get_freq", "\n", wanted) && ask(c, "m", "\n", "FM") &&
	       expect(c, "m", "15000") && ask(c, "F 145000000", "\n", "RPRT 0");
}

/* Only a dialogue that was not cut short is printed. */
static bool round_rigctld(const char *where, uint64_t *state)
{
	char wanted[16], *text = NULL;
	bool good = false;
	size_t len;

	snprintf(wanted, sizeof(wanted), "%lu", (unsigned long)(14000000 + next_random(state) % 350000));
	lost_by_close = true;
	for (int i = 0; i < RIGCTLD_TRIES && !good && lost_by_close; i++) {
		free(text);
		text = NULL;
		lost_by_close = false;
		out = open_memstream(&text, &len);
		good = out && rigctld_begin(where) && rigctld_talk(wanted);
		if (out)
			fclose(out);
		if (!good)
			rigctld_end();
	}
	out = stdout;
	if (text)
		fputs(text, stdout);
	free(text);
	return good;
}

/* What comes until the connection ends is this, or begins with it and a line end. */
static bool expect_body(struct client *c, const char *request, const char *wanted)
{
	char line[512] = "";
	enum client_result r = client_line(c, line, sizeof(line));

	if (r == CLIENT_CLOSED && c->used < sizeof(line))
		snprintf(line, sizeof(line), "%.*s", (int)c->used, c->buf);
	printf("%s -> %s\n", request, r == CLIENT_TIMEOUT ? "?" : line);
	if (r != CLIENT_TIMEOUT && strcmp(line, wanted) == 0)
		return true;
	fprintf(stderr, "%s: wrong page\n", request);
	return false;
}

static bool get_page(const char *where, const char *path, const char *status, const char *body)
{
	char request[WORD_MAX + 32], line[256];
	struct client c;
	bool good;

	snprintf(request, sizeof(request), "GET %s", path);
	good = client_open(&c, where) == 0 && ask(&c, request, " HTTP/1.0\r\n\r\n", status);
	while (good && client_line(&c, line, sizeof(line)) == CLIENT_LINE && strcmp(line, "\r") != 0)
		printf("%s -> %s\n", request, line);
	good = good && expect_body(&c, request, body);
	client_close(&c);
	return good;
}

static bool round_web(const char *where, uint64_t *state)
{
	char name[WORD_MAX + 1], path[WORD_MAX + 2], page[128];

	make_word(state, name);
	snprintf(path, sizeof(path), "/%s", name);
	snprintf(page, sizeof(page), "<html><h1>404 Not Found</h1>This cannot be served: %s", path);
	return get_page(where, "/", "HTTP/1.0 200 OK", "<html><h1>It works</h1>") &&
	       get_page(where, path, "HTTP/1.0 404 Not Found", page) &&
	       get_page(where, "/about.txt", "HTTP/1.0 200 OK", "A page about nothing.");
}

static bool round_ftp(const char *where, uint64_t *state)
{
	char name[WORD_MAX + 1], user[WORD_MAX + 8], exec[WORD_MAX + 16], wanted[WORD_MAX + 32], line[WORD_MAX + 8];
	struct client c;
	bool good;

	make_word(state, name);
	snprintf(user, sizeof(user), "USER %s", name);
	snprintf(wanted, sizeof(wanted), "331 Password required for %s.", name);
	good = client_open(&c, where) == 0 && expect(&c, "connect", "220 FTP server ready.") &&
	       ask(&c, user, "\r\n", wanted);
	snprintf(wanted, sizeof(wanted), "230 User %s logged in.", name);
	snprintf(exec, sizeof(exec), "SITE EXEC LS %s", name);
	snprintf(line, sizeof(line), "200-ls %s", name);
	good = good && ask(&c, "PASS guest", "\r\n", wanted) && ask(&c, "SYST", "\r\n", "215 UNIX Type: L8") &&
	       ask(&c, exec, "\r\n", line) && expect(&c, exec, "200 End of SITE EXEC.") &&
	       ask(&c, "QUIT", "\r\n", "221 Goodbye.");
	client_close(&c);
	return good;
}

static bool round_ncompress(const char *where, uint64_t *state)
{
	char name[WORD_MAX + 1];
	struct client c;
	bool good;

	make_word(state, name);
	good = client_open(&c, where) == 0 && ask(&c, name, "\n", NULL) && ask(&c, "/nothing/there", "\n", "exit 1 -1");
	client_close(&c);
	return good;
}

static bool round_sngrep(const char *where, uint64_t *state)
{
	char id[WORD_MAX + 1];

	make_word(state, id);
	return hep_send_invite(where, id, "Warning: 399 example.org \"benign\"") == 0;
}

static const struct {
	const char *name;
	bool (*round)(const char *where, uint64_t *state);
	void (*end)(void); /* NULL: nothing to do when all rounds were made */
} services[] = {
	{"rigctld", round_rigctld, rigctld_end}, {"web", round_web, NULL},	 {"ftp", round_ftp, NULL},
	{"ncompress", round_ncompress, NULL},	 {"sngrep", round_sngrep, NULL},
};

int main(int argc, char **argv)
{
	unsigned long count;
	uint64_t state;
	bool good = true;

	out = stdout;
	for (size_t i = 0; argc == 5 && i < sizeof(services) / sizeof(services[0]); i++) {
		if (strcmp(services[i].name, argv[2]) != 0)
			continue;
		state = (strtoull(argv[3], NULL, 10) + 1) * UINT64_C(0x9e3779b97f4a7c15);
		count = strtoul(argv[4], NULL, 10);
		for (unsigned long k = 0; k < count && good; k++)
			good = services[i].round(argv[1], &state);
		if (services[i].end)
			services[i].end();
		return good ? 0 : 1;
	}
	fprintf(stderr, "usage: %s ADDRESS:PORT rigctld|web|ftp|ncompress|sngrep SEED COUNT\n", argv[0]);
	return 2;
}
