/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The incident store: kept, updated, listed, shared by processes; refuses what is not its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "store/store.h"

static char dir[64], path[128];

static int set_up(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/clouder-test-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/a/b/clouder.db", dir);
	return 0;
}

static int tear_down(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

static struct store *open_store(bool read_only)
{
	struct store *s = NULL;
	struct err e;

	if (store_open(path, read_only, &s, &e) < 0)
		fail_msg("%s", e.text);
	return s;
}

static int64_t put(struct store *s, const char *vm, int64_t time_ms)
{
	struct incident in = {.time_ms = time_ms, .comm = "httpd"};
	struct err e;

	snprintf(in.vm, sizeof(in.vm), "%s", vm);
	if (store_put_incident(s, &in, &e) < 0)
		fail_msg("%s", e.text);
	return in.id;
}

/* Collects ids as text "1 2 3 ". */
struct ids {
	char text[256];
	unsigned stop_after, n;
};

static bool collect(void *arg, const struct incident *in)
{
	struct ids *ids = arg;
	size_t n = strlen(ids->text);

	snprintf(ids->text + n, sizeof(ids->text) - n, "%lld ", (long long)in->id);
	return ++ids->n != ids->stop_after;
}

static void sql(const char *text)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	if (sqlite3_exec(db, text, NULL, NULL, NULL) != SQLITE_OK)
		fail_msg("%s: %s", text, sqlite3_errmsg(db));
	sqlite3_close(db);
}

static void test_put_get_update(void **state)
{
	struct store *s = open_store(false);
	struct incident in = {.vm = "web", .time_ms = 5, .culprit = 0x401234}, back;
	struct err e;
	struct stat st;

	(void)state;
	assert_int_equal(store_put_incident(s, &in, &e), 0);
	assert_int_equal(in.id, 1);
	in.state = INCIDENT_RECOVERED;
	strcpy(in.module, "/bin/echo");
	assert_int_equal(store_put_incident(s, &in, &e), 0);
	assert_int_equal(in.id, 1);
	store_close(s);

	s = open_store(true);
	assert_int_equal(store_get_incident(s, 1, &back, &e), 0);
	assert_memory_equal(&back, &in, sizeof(in));
	assert_int_equal(store_get_incident(s, 2, &back, &e), -1);
	assert_int_equal(e.code, ERR_MISSING);
	assert_int_equal(store_put_incident(s, &in, &e), -1); /* read only */
	store_close(s);

	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	*strrchr(path, '/') = 0;
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
}

static void test_update_of_nothing(void **state)
{
	struct store *s = open_store(false);
	struct incident in = {.id = 9, .vm = "web"};
	struct err e;

	(void)state;
	assert_int_equal(store_put_incident(s, &in, &e), -1);
	assert_int_equal(e.code, ERR_MISSING);
	store_close(s);
}

static void test_each(void **state)
{
	struct store *s = open_store(false);
	struct ids all = {0}, web = {0}, since = {0}, first = {.stop_after = 1}, none = {0};
	struct err e;

	(void)state;
	put(s, "web", 300);
	put(s, "db", 100);
	put(s, "web", 200);
	assert_int_equal(store_each_incident(s, NULL, 0, collect, &all, &e), 0);
	assert_string_equal(all.text, "2 3 1 ");
	assert_int_equal(store_each_incident(s, "web", 0, collect, &web, &e), 0);
	assert_string_equal(web.text, "3 1 ");
	assert_int_equal(store_each_incident(s, NULL, 200, collect, &since, &e), 0);
	assert_string_equal(since.text, "3 1 ");
	assert_int_equal(store_each_incident(s, NULL, 0, collect, &first, &e), 0);
	assert_string_equal(first.text, "2 ");
	assert_int_equal(store_each_incident(s, "x' OR '1'='1", 0, collect, &none, &e), 0);
	assert_string_equal(none.text, "");
	store_close(s);
}

static void test_reader_without_store(void **state)
{
	struct store *s;
	struct err e;

	(void)state;
	assert_int_equal(store_open(path, true, &s, &e), -1);
	assert_int_equal(e.code, ERR_MISSING);
	assert_int_equal(access(path, F_OK), -1);
}

/* A reader that stops in the middle keeps no writer waiting, and sees what was when it began. */
static bool put_meanwhile(void *arg, const struct incident *in)
{
	(void)in;
	put(arg, "late", 999);
	return true;
}

static void test_write_while_reading(void **state)
{
	struct store *writer = open_store(false), *reader;
	struct ids all = {0};
	struct err e;

	(void)state;
	put(writer, "web", 1);
	put(writer, "web", 2);
	reader = open_store(true);
	assert_int_equal(store_each_incident(reader, NULL, 0, put_meanwhile, writer, &e), 0);
	assert_int_equal(store_each_incident(reader, NULL, 0, collect, &all, &e), 0);
	assert_string_equal(all.text, "1 2 3 4 ");
	store_close(reader);
	store_close(writer);
}

#define PROCESSES 6
#define PUTS 20

/* Until another process has made the store, there is none; nothing else may be said of it. */
static void read_until_there(void)
{
	struct store *s = NULL;
	struct err e;

	while (!s) {
		if (store_open(path, true, &s, &e) < 0 && e.code != ERR_MISSING) {
			fprintf(stderr, "%s\n", e.text);
			_exit(1);
		}
	}
	store_close(s);
}

/* All open a store that is not there yet, at the same time, and write; every other one looks first. */
static void test_many_processes(void **state)
{
	struct ids count = {0};
	pid_t pid[PROCESSES];
	struct store *s;
	struct err e;
	int status;

	(void)state;
	for (int i = 0; i < PROCESSES; i++) {
		pid[i] = fork();
		assert_true(pid[i] >= 0);
		if (pid[i])
			continue;
		if (i % 2)
			read_until_there();
		if (store_open(path, false, &s, &e) < 0) {
			fprintf(stderr, "%s\n", e.text);
			_exit(1);
		}
		for (int k = 0; k < PUTS; k++) {
			struct incident in = {.vm = "web", .time_ms = k};

			if (store_put_incident(s, &in, &e) < 0) {
				fprintf(stderr, "%s\n", e.text);
				_exit(1);
			}
		}
		store_close(s);
		_exit(0);
	}
	for (int i = 0; i < PROCESSES; i++) {
		assert_int_equal(waitpid(pid[i], &status, 0), pid[i]);
		assert_int_equal(status, 0);
	}
	s = open_store(true);
	assert_int_equal(store_each_incident(s, NULL, 0, collect, &count, &e), 0);
	assert_int_equal(count.n, PROCESSES * PUTS);
	store_close(s);
}

static void refused(bool read_only, enum err_code code, const char *says)
{
	struct store *s;
	struct err e = {0};

	assert_int_equal(store_open(path, read_only, &s, &e), -1);
	if (e.code != code || !strstr(e.text, says))
		fail_msg("%s: %s", err_code_name(e.code), e.text);
	assert_null(strchr(e.text, '\n'));
}

static void test_newer_schema(void **state)
{
	(void)state;
	store_close(open_store(false));
	sql("PRAGMA user_version = 1000");
	refused(false, ERR_PROTOCOL, "newer clouder (schema 1000");
	refused(true, ERR_PROTOCOL, "newer clouder (schema 1000");
}

static void test_foreign_database(void **state)
{
	(void)state;
	snprintf(path, sizeof(path), "%s/foreign.db", dir);
	sql("CREATE TABLE bookmarks (url TEXT)");
	refused(false, ERR_PROTOCOL, "another program");
	refused(true, ERR_PROTOCOL, "another program");
}

static void test_garbage_file(void **state)
{
	static const char garbage[] =
		"this is no database, though it is longer than the header of one, which is 100 bytes;"
		" so it is looked at and refused";
	char back[sizeof(garbage)] = "";
	FILE *f;

	(void)state;
	snprintf(path, sizeof(path), "%s/clouder.db", dir);
	f = fopen(path, "w");
	fwrite(garbage, sizeof(garbage), 1, f);
	fclose(f);
	refused(false, ERR_PROTOCOL, "not a database: move it away");
	refused(true, ERR_PROTOCOL, "not a database: move it away");
	f = fopen(path, "r");
	assert_int_equal(fread(back, sizeof(back), 1, f), 1);
	fclose(f);
	assert_memory_equal(back, garbage, sizeof(garbage));
}

static void test_directory_in_the_way(void **state)
{
	(void)state;
	snprintf(path, sizeof(path), "%s", dir);
	refused(false, ERR_SYSTEM, "cannot open it");
	snprintf(path, sizeof(path), "%s/file", dir);
	fclose(fopen(path, "w"));
	strcat(path, "/clouder.db");
	refused(false, ERR_STATE, "is not a directory: move it away");
}

/* A damaged row is reported, and does not hide the others. */
static void test_damaged_rows(void **state)
{
	struct store *s = open_store(false);
	struct ids all = {0};
	struct incident in;
	struct err e = {0};

	(void)state;
	put(s, "web", 1);
	put(s, "web", 2);
	put(s, "web", 3);
	put(s, "web", 4);
	sql("UPDATE incident SET json = '{\"vm\":' WHERE id = 2; UPDATE incident SET json = '{\"pid\":\"x\"}' WHERE id "
	    "= 3;");
	assert_int_equal(store_each_incident(s, NULL, 0, collect, &all, &e), -1);
	assert_string_equal(all.text, "1 4 ");
	assert_int_equal(e.code, ERR_PROTOCOL);
	assert_non_null(strstr(e.text, "incident 2 is damaged"));
	assert_int_equal(store_get_incident(s, 3, &in, &e), -1);
	assert_non_null(strstr(e.text, "incident 3 is damaged"));
	store_close(s);
}

static void test_failed_write(void **state)
{
	struct incident in = {.vm = "web"};
	struct store *s = open_store(false);
	struct err e = {0};

	(void)state;
	/* Stand-in for a disk that refuses: nothing is counted as kept. */
	sql("CREATE TRIGGER full BEFORE INSERT ON incident BEGIN SELECT RAISE(ABORT, 'no room'); END");
	assert_int_equal(store_put_incident(s, &in, &e), -1);
	assert_int_equal(in.id, 0);
	assert_non_null(strstr(e.text, "no room"));
	store_close(s);
}

static void test_default_path(void **state)
{
	struct store *s;
	struct err e;

	(void)state;
	setenv("CLOUDER_STATE_DIR", dir, 1);
	assert_int_equal(store_open(NULL, false, &s, &e), 0);
	store_close(s);
	snprintf(path, sizeof(path), "%s/clouder.db", dir);
	assert_int_equal(access(path, F_OK), 0);
	unsetenv("CLOUDER_STATE_DIR");
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		T(test_put_get_update),	      T(test_update_of_nothing),   T(test_each),
		T(test_reader_without_store), T(test_write_while_reading), T(test_many_processes),
		T(test_newer_schema),	      T(test_foreign_database),	   T(test_garbage_file),
		T(test_directory_in_the_way), T(test_damaged_rows),	   T(test_failed_write),
		T(test_default_path),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
