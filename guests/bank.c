/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The books of a bank: see bank.h. */
#include "bank.h"

#include <assert.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "stream.h"

#define ACCOUNTS 16
#define START 1000 /* units on each */

static const char schema[] = "PRAGMA synchronous = FULL;"
			     "CREATE TABLE IF NOT EXISTS entry (customer INTEGER, n INTEGER, text TEXT, sum INTEGER, "
			     "PRIMARY KEY (customer, n));"
			     "CREATE TABLE IF NOT EXISTS account (id INTEGER PRIMARY KEY, balance INTEGER);"
			     "WITH RECURSIVE id (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM id WHERE i < 15)"
			     " INSERT OR IGNORE INTO account SELECT i, 1000 FROM id;";

static_assert(ACCOUNTS == 16 && START == 1000, "as in the schema");

static int failed(sqlite3 *db, const char *what)
{
	fprintf(stderr, "bank: %s: %s\n", what, db ? sqlite3_errmsg(db) : "no memory");
	return -1;
}

int bank_open(const char *path, struct sqlite3 **ret)
{
	if (sqlite3_open(path, ret) != SQLITE_OK || sqlite3_exec(*ret, schema, NULL, NULL, NULL) != SQLITE_OK)
		return failed(*ret, path);
	return 0;
}

/* A statement with up to four numbers, and a text as the fourth unless that is NULL. NULL: it said why. */
static sqlite3_stmt *prepare(sqlite3 *db, const char *sql, const int64_t v[4], const char *text)
{
	sqlite3_stmt *s = NULL;

	if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) != SQLITE_OK) {
		failed(db, sql);
		return NULL;
	}
	for (int i = 0; i < sqlite3_bind_parameter_count(s); i++)
		if ((i == 3 ? sqlite3_bind_text(s, 4, text, -1, SQLITE_TRANSIENT)
			    : sqlite3_bind_int64(s, i + 1, v[i])) != SQLITE_OK) {
			failed(db, sql);
			sqlite3_finalize(s);
			return NULL;
		}
	return s;
}

static int execute(sqlite3 *db, const char *sql, const int64_t v[4], const char *text)
{
	sqlite3_stmt *s = prepare(db, sql, v, text);
	int rc;

	if (!s)
		return -1;
	rc = sqlite3_step(s);
	sqlite3_finalize(s);
	return rc == SQLITE_DONE || rc == SQLITE_ROW ? 0 : failed(db, sql);
}

/* The newest entry of a customer. */
static int newest(sqlite3 *db, int customer, uint64_t *n, uint64_t *sum)
{
	sqlite3_stmt *s = prepare(db, "SELECT n, sum FROM entry WHERE customer = ? ORDER BY n DESC LIMIT 1",
				  (int64_t[4]){customer}, NULL);
	int rc;

	if (!s)
		return -1;
	*n = 0;
	*sum = STREAM_SUM;
	rc = sqlite3_step(s);
	if (rc == SQLITE_ROW) {
		*n = (uint64_t)sqlite3_column_int64(s, 0);
		*sum = (uint64_t)sqlite3_column_int64(s, 1);
	}
	sqlite3_finalize(s);
	return rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : failed(db, "the newest entry");
}

static int add(sqlite3 *db, int customer, const char *text, uint64_t *n, uint64_t *sum)
{
	int64_t from, to;

	if (newest(db, customer, n, sum) < 0)
		return -1;
	*sum = stream_sum(*sum, (const uint8_t *)text, strlen(text));
	++*n;
	from = (int64_t)(*n % ACCOUNTS);
	to = (int64_t)((*n * 7 + (uint64_t)customer + 1) % ACCOUNTS);
	if (execute(db, "UPDATE account SET balance = balance - 1 WHERE id = ?", (int64_t[4]){from}, NULL) < 0 ||
	    execute(db, "UPDATE account SET balance = balance + 1 WHERE id = ?", (int64_t[4]){to}, NULL) < 0)
		return -1;
	return execute(db, "INSERT INTO entry (customer, n, sum, text) VALUES (?, ?, ?, ?)",
		       (int64_t[4]){customer, (int64_t)*n, (int64_t)*sum}, text);
}

int bank_add(struct sqlite3 *db, int customer, const char *text, uint64_t *n, uint64_t *sum)
{
	const int64_t none[4] = {0};

	if (execute(db, "BEGIN IMMEDIATE", none, NULL) < 0)
		return -1;
	if (add(db, customer, text, n, sum) == 0)
		return execute(db, "COMMIT", none, NULL);
	if (execute(db, "ROLLBACK", none, NULL) < 0)
		return -1;
	return -1;
}

static int check_chains(sqlite3 *db, uint64_t n[BANK_CUSTOMERS], uint64_t sum[BANK_CUSTOMERS])
{
	sqlite3_stmt *s =
		prepare(db, "SELECT customer, n, sum, text FROM entry ORDER BY customer, n", (int64_t[4]){0}, NULL);
	int rc = SQLITE_ERROR, whole = 0;

	for (int c = 0; c < BANK_CUSTOMERS; c++) {
		n[c] = 0;
		sum[c] = STREAM_SUM;
	}
	while (s && whole == 0 && (rc = sqlite3_step(s)) == SQLITE_ROW) {
		int c = sqlite3_column_int(s, 0);
		const uint8_t *text = sqlite3_column_text(s, 3);

		if (c < 0 || c >= BANK_CUSTOMERS || !text || (uint64_t)sqlite3_column_int64(s, 1) != n[c] + 1) {
			fprintf(stderr, "bank: an entry of customer %d is missing\n", c);
			whole = -1;
			break;
		}
		n[c]++;
		sum[c] = stream_sum(sum[c], text, strlen((const char *)text));
		if ((uint64_t)sqlite3_column_int64(s, 2) != sum[c]) {
			fprintf(stderr, "bank: entry %" PRIu64 " of customer %d is another\n", n[c], c);
			whole = -1;
		}
	}
	sqlite3_finalize(s);
	return whole == 0 && rc != SQLITE_DONE ? failed(db, "the entries") : whole;
}

/* Whether a question has the answer. */
static int check_answer(sqlite3 *db, const char *sql, const char *right)
{
	sqlite3_stmt *s = prepare(db, sql, (int64_t[4]){0}, NULL);
	const char *got = s && sqlite3_step(s) == SQLITE_ROW ? (const char *)sqlite3_column_text(s, 0) : NULL;
	int rc = got && strcmp(got, right) == 0 ? 0 : -1;

	if (rc < 0)
		fprintf(stderr, "bank: %s: %s\n", sql, got ? got : "no answer");
	sqlite3_finalize(s);
	return rc;
}

int bank_check(struct sqlite3 *db, uint64_t n[BANK_CUSTOMERS], uint64_t sum[BANK_CUSTOMERS])
{
	if (check_answer(db, "PRAGMA integrity_check", "ok") < 0 ||
	    check_answer(db, "SELECT sum(balance) FROM account", "16000") < 0)
		return -1;
	return check_chains(db, n, sum);
}

void bank_text(int customer, uint64_t n, char ret[BANK_TEXT_MAX + 1])
{
	uint64_t state = n << 8 | (uint64_t)customer;
	uint8_t bytes[BANK_TEXT_MAX];
	size_t len;

	stream_next(&state, bytes, sizeof(bytes));
	len = 20 + bytes[0] % (BANK_TEXT_MAX - 20);
	for (size_t i = 0; i < len; i++)
		ret[i] = (char)('a' + bytes[i] % 26);
	ret[len] = '\0';
}
