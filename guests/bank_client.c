/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Customers of the bank (bankserv.c, bank.h), each with a connection of its own, who know what every answer must be.
 *
 *   bank-client run ADDRESS:PORT    one entry of each customer after the other until standard input ends, a line "round N" for
 *                                   each; then the service checks its books. At last a line for each customer: "N SUM"
 *   bank-client check FILE          the same lines from the database itself, if it is whole
 *
 * Exit code 1: something is not as it must be; a line on standard error says what.
 */
#include "bank.h"

#include <inttypes.h>
#include <poll.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "stream.h"

struct customer {
	struct client c;
	uint64_t n, sum;
};

static bool ask(struct client *c, const char *request, const char *right)
{
	char line[256];
	enum client_result r = CLIENT_CLOSED;

	if (client_send(c, request, strlen(request)) == 0)
		r = client_line(c, line, sizeof(line));
	if (r == CLIENT_LINE && strcmp(line, right) == 0)
		return true;
	fprintf(stderr, "%.60s: wanted \"%s\", got %s\n", request, right,
		r == CLIENT_LINE     ? line
		: r == CLIENT_CLOSED ? "the end of the connection"
				     : "nothing in time");
	return false;
}

static bool add(struct customer *k, int number)
{
	char text[BANK_TEXT_MAX + 1], request[BANK_TEXT_MAX + 40], right[80];

	bank_text(number, ++k->n, text);
	k->sum = stream_sum(k->sum, (const uint8_t *)text, strlen(text));
	snprintf(request, sizeof(request), "echo add %d %s\n", number, text);
	snprintf(right, sizeof(right), "ok %" PRIu64 " %016" PRIx64, k->n, k->sum);
	return ask(&k->c, request, right);
}

static bool is_over(void)
{
	struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};

	return poll(&p, 1, 0) != 0;
}

static int run(const char *where)
{
	static struct customer customers[BANK_CUSTOMERS];

	for (int i = 0; i < BANK_CUSTOMERS; i++) {
		customers[i].sum = STREAM_SUM;
		if (client_open(&customers[i].c, where) < 0)
			return 1;
	}
	for (uint64_t round = 1; !is_over(); round++) {
		for (int i = 0; i < BANK_CUSTOMERS; i++)
			if (!add(&customers[i], i))
				return 1;
		printf("round %" PRIu64 "\n", round);
	}
	if (!ask(&customers[0].c, "echo check\n", "ok whole"))
		return 1;
	for (int i = 0; i < BANK_CUSTOMERS; i++) {
		client_close(&customers[i].c);
		printf("%" PRIu64 " %016" PRIx64 "\n", customers[i].n, customers[i].sum);
	}
	return 0;
}

static int check(const char *path)
{
	uint64_t n[BANK_CUSTOMERS], sum[BANK_CUSTOMERS];
	sqlite3 *db = NULL;

	if (bank_open(path, &db) < 0 || bank_check(db, n, sum) < 0)
		return 1;
	sqlite3_close(db);
	for (int i = 0; i < BANK_CUSTOMERS; i++)
		printf("%" PRIu64 " %016" PRIx64 "\n", n[i], sum[i]);
	return 0;
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc == 3 && strcmp(argv[1], "run") == 0)
		return run(argv[2]);
	if (argc == 3 && strcmp(argv[1], "check") == 0)
		return check(argv[2]);
	fprintf(stderr, "usage: bank-client run ADDRESS:PORT | check FILE\n");
	return 2;
}
