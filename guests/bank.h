/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The books of a bank in an SQLite database: for each customer a chain of entries, each with the checksum of all before it, and
 * accounts between which each entry moves a unit, so that their sum stays. An entry and its transfer are one transaction.
 */
#ifndef GUESTS_BANK_H
#define GUESTS_BANK_H

#include <stdint.h>

#define BANK_CUSTOMERS 8
#define BANK_TEXT_MAX 200

struct sqlite3;

/* Opens the database, and makes it if there is none. 0, or -1: it said why. */
int bank_open(const char *path, struct sqlite3 **ret);

/*
 * One more entry of a customer, durable when it returns; *n: how many there are now, *sum: their checksum. 0, or -1 with one
 * line on standard error.
 */
int bank_add(struct sqlite3 *db, int customer, const char *text, uint64_t *n, uint64_t *sum);

/*
 * Whether all is whole: the database by its own check, the sum of the accounts, each customer's chain. n, sum: of each
 * customer, filled. 0, or -1: it said what is not.
 */
int bank_check(struct sqlite3 *db, uint64_t n[BANK_CUSTOMERS], uint64_t sum[BANK_CUSTOMERS]);

/* The text of a customer's entry, as its clients make it; NUL-terminated. */
void bank_text(int customer, uint64_t n, char ret[BANK_TEXT_MAX + 1]);

#endif
