/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A service without a bug that keeps the books of bank.h on the guest's disk. Requests of its own (see service.h):
 *
 *   echo add CUSTOMER TEXT   answers "ok N SUM" when the entry is durable
 *   echo check               answers "ok whole", or "ok failed" (standard error says what is wrong)
 *   echo quit                closes the database and ends
 */
#include "bank.h"

#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "service.h"

static sqlite3 *db;

static void obey(const char *text)
{
	uint64_t n[BANK_CUSTOMERS], sum[BANK_CUSTOMERS];
	char answer[80] = "failed";
	int customer, at = 0;

	if (strcmp(text, "quit") == 0) {
		sqlite3_close(db);
		exit(0);
	}
	if (strcmp(text, "check") == 0 && bank_check(db, n, sum) == 0)
		snprintf(answer, sizeof(answer), "whole");
	else if (sscanf(text, "add %d %n", &customer, &at) == 1 && at && customer >= 0 && customer < BANK_CUSTOMERS &&
		 bank_add(db, customer, text + at, n, sum) == 0)
		snprintf(answer, sizeof(answer), "%" PRIu64 " %016" PRIx64, n[0], sum[0]);
	service_reply(answer, sizeof(answer));
}

int main(int argc, char **argv)
{
	if (bank_open("/clouder-data/bank.db", &db) < 0)
		return 1;
	return service_run(argc, argv, obey);
}
