/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Patches in the store: kept, found, not kept twice; an older store is brought up to date; damage hides nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "patch_record.h"
#include "store/patch_file.h"
#include "store/store.h"

static char dir[64], path[128];

static int set_up(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/clouder-test-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/clouder.db", dir);
	return 0;
}

static int tear_down(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

static struct store *open_store(void)
{
	struct store *s = NULL;
	struct err e;

	if (store_open(path, false, &s, &e) < 0)
		fail_msg("%s", e.text);
	return s;
}

static void sql(const char *text)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	if (sqlite3_exec(db, text, NULL, NULL, NULL) != SQLITE_OK)
		fail_msg("%s: %s", text, sqlite3_errmsg(db));
	sqlite3_close(db);
}

/* A patch whose site is at that offset, 0x1000 or more. */
static int64_t add(struct store *s, const char *vm, uint64_t moved, bool *ret_new)
{
	struct patch_record r = sample_record();
	char *file;
	struct err e;

	snprintf(r.vm, sizeof(r.vm), "%s", vm);
	r.site_offset += moved;
	r.culprit_offset += moved;
	r.guard_offset += moved;
	file = patch_file_write(&r, NULL, &e);
	assert_non_null(file);
	if (store_add_patch(s, &r, file, ret_new, &e) < 0)
		fail_msg("%s", e.text);
	free(file);
	return r.id;
}

static bool collect(void *arg, const struct patch_record *r)
{
	char *text = arg;

	sprintf(text + strlen(text), "%lld%s ", (long long)r->id,
		r->state == PATCH_ACTIVE     ? ""
		: r->state == PATCH_PROPOSED ? "p"
					     : "r");
	return true;
}

static void test_add_and_get(void **state)
{
	struct store *s = open_store();
	struct patch_record r;
	char all[64] = "", web[64] = "", later[64] = "", *file = NULL;
	bool is_new = false;
	struct err e;

	(void)state;
	assert_int_equal(add(s, "web", 0, &is_new), 1);
	assert_true(is_new);
	assert_int_equal(add(s, "db", 16, &is_new), 2);
	assert_int_equal(add(s, "db", 0, &is_new), 1); /* the same from another VM */
	assert_false(is_new);
	store_close(s);

	s = open_store();
	assert_int_equal(store_get_patch(s, 2, &r, &file, &e), 0);
	assert_int_equal(r.id, 2);
	assert_int_equal(r.state, PATCH_ACTIVE);
	assert_int_equal(r.site_offset, 0x1010);
	assert_non_null(strstr(file, "clouder-patch"));
	free(file);
	assert_int_equal(store_get_patch(s, 3, &r, NULL, &e), -1);
	assert_int_equal(e.code, ERR_MISSING);
	assert_int_equal(store_each_patch(s, NULL, 0, collect, all, &e), 0);
	assert_string_equal(all, "1 2 ");
	assert_int_equal(store_each_patch(s, "web", 0, collect, web, &e), 0);
	assert_string_equal(web, "1 ");
	assert_int_equal(store_each_patch(s, NULL, 1, collect, later, &e), 0);
	assert_string_equal(later, "2 ");
	store_close(s);
}

static int64_t add_record(struct store *s, struct patch_record *r)
{
	char *file = patch_file_write(r, NULL, NULL);
	struct err e;
	bool is_new;

	assert_non_null(file);
	if (store_add_patch(s, r, file, &is_new, &e) < 0)
		fail_msg("%s", e.text);
	free(file);
	return r->id;
}

static void refused(int rc, const struct err *e, const char *why)
{
	assert_int_equal(rc, -1);
	if (!strstr(e->text, why))
		fail_msg("\"%s\" does not say \"%s\"", e->text, why);
}

/* One patch, one made over it, one in the memory of processes. */
static void add_three(struct store *s)
{
	struct patch_record below = sample_record(), over = below, other = below;

	over.before = below.after;
	over.guard_offset -= 32;
	over.after.byte[1] -= 32;
	strcpy(other.home, "process");
	other.bits = 32;
	other.site_offset += 64, other.culprit_offset += 64, other.guard_offset += 64;
	assert_int_equal(add_record(s, &below), 1);
	assert_int_equal(add_record(s, &over), 2);
	assert_int_equal(add_record(s, &other), 3);
}

static void test_revert(void **state)
{
	struct patch_record below = sample_record();
	struct store *s = open_store();
	char all[64] = "";
	struct err e;

	(void)state;
	add_three(s);
	refused(store_revert_patch(s, 1, &e), &e, "patch 2 was made over");
	assert_int_equal(store_revert_patch(s, 3, &e), 0);
	refused(store_revert_patch(s, 4, &e), &e, "there is no patch 4");
	assert_int_equal(store_revert_patch(s, 2, &e), 0);
	refused(store_revert_patch(s, 2, &e), &e, "reverted already");
	assert_int_equal(store_revert_patch(s, 1, &e), 0);
	assert_int_equal(store_each_patch(s, NULL, 0, collect, all, &e), 0);
	assert_string_equal(all, "1r 2r 3r ");
	/* what was reverted can come anew */
	assert_int_equal(add_record(s, &below), 4);
	store_close(s);
}

static void test_apply_again(void **state)
{
	struct patch_record beside = sample_record();
	struct store *s = open_store();
	char all[64] = "";
	struct err e;

	(void)state;
	add_three(s);
	refused(store_apply_patch(s, 1, &e), &e, "active already");
	refused(store_apply_patch(s, 9, &e), &e, "there is no patch 9");
	for (int64_t id = 3; id > 0; id--)
		assert_int_equal(store_revert_patch(s, id, &e), 0);
	refused(store_apply_patch(s, 2, &e), &e, "was made over another, which is not active");
	assert_int_equal(store_apply_patch(s, 1, &e), 0);
	assert_int_equal(store_apply_patch(s, 2, &e), 0);
	assert_int_equal(store_each_patch(s, NULL, 0, collect, all, &e), 0);
	assert_string_equal(all, "1 2 3r ");
	/* Others where it would go: the same bytes displaced in another way, or some of them. */
	assert_int_equal(store_revert_patch(s, 2, &e), 0);
	assert_int_equal(store_revert_patch(s, 1, &e), 0);
	for (unsigned moved = 0; moved < 2; moved++) {
		beside.guard_offset -= 64;
		beside.after.byte[1] -= 64 + (uint8_t)moved;
		beside.site_offset += moved;
		beside.culprit_offset += moved;
		assert_int_equal(add_record(s, &beside), 4 + moved);
		refused(store_apply_patch(s, 1, &e), &e, moved ? "patch 5 is where" : "patch 4 is where");
		assert_int_equal(store_revert_patch(s, 4 + moved, &e), 0);
	}
	assert_int_equal(store_apply_patch(s, 1, &e), 0);
	store_close(s);
}

/* What was proposed is in no guest until somebody says so; made again, it is the same proposal. */
static void test_proposed(void **state)
{
	struct patch_record r = sample_record();
	struct store *s = open_store();
	char all[64] = "";
	struct err e;

	(void)state;
	r.state = PATCH_PROPOSED;
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(add_record(s, &r), 1);
		assert_int_equal(r.state, PATCH_PROPOSED);
	}
	assert_int_equal(store_apply_patch(s, 1, &e), 0);
	assert_int_equal(add_record(s, &r), 1);
	assert_int_equal(r.state, PATCH_ACTIVE);
	/* Refused, it is proposed anew by the next attack; a VM that need not ask makes it active. */
	r.state = PATCH_PROPOSED;
	assert_int_equal(store_revert_patch(s, 1, &e), 0);
	assert_int_equal(add_record(s, &r), 2);
	r.state = PATCH_ACTIVE;
	assert_int_equal(add_record(s, &r), 2);
	assert_int_equal(r.state, PATCH_ACTIVE);
	assert_int_equal(store_each_patch(s, NULL, 0, collect, all, &e), 0);
	assert_string_equal(all, "1r 2 ");
	store_close(s);
}

/* Who follows the changes sees each patch once for each of them, as it is now. */
static void test_changes(void **state)
{
	struct store *s = open_store();
	struct patch_record r;
	char seen[64] = "";
	int64_t newest;
	struct err e;

	(void)state;
	add_three(s);
	assert_int_equal(store_each_change(s, 0, collect, seen, &e), 0);
	assert_string_equal(seen, "1 2 3 ");
	assert_int_equal(store_get_patch(s, 3, &r, NULL, &e), 0);
	newest = r.change;
	assert_int_equal(store_revert_patch(s, 2, &e), 0);
	assert_int_equal(store_revert_patch(s, 1, &e), 0);
	assert_int_equal(store_apply_patch(s, 1, &e), 0);
	seen[0] = 0;
	assert_int_equal(store_each_change(s, newest, collect, seen, &e), 0);
	assert_string_equal(seen, "2r 1 ");
	store_close(s);
}

/* The history: of the file first, then what has become of it here; when there is no room for all, the newest. */
static void test_history(void **state)
{
	struct store *s = open_store();
	struct patch_record r;
	char made[sizeof(r.history[0].text)];
	struct err e;

	(void)state;
	add_three(s);
	assert_int_equal(store_get_patch(s, 3, &r, NULL, &e), 0);
	assert_int_equal(r.n_history, sample_record().n_history);
	strcpy(made, r.history[0].text);
	for (unsigned i = 0; i < PATCH_RECORD_HISTORY_MAX; i++)
		assert_int_equal(i % 2 ? store_apply_patch(s, 3, &e) : store_revert_patch(s, 3, &e), 0);
	assert_int_equal(store_get_patch(s, 3, &r, NULL, &e), 0);
	assert_int_equal(r.n_history, PATCH_RECORD_HISTORY_MAX);
	assert_string_equal(r.history[0].text, made);
	assert_string_equal(r.history[PATCH_RECORD_HISTORY_MAX - 2].text, "reverted");
	assert_string_equal(r.history[PATCH_RECORD_HISTORY_MAX - 1].text, "applied again");
	assert_true(r.history[PATCH_RECORD_HISTORY_MAX - 1].time_ms >= r.history[1].time_ms);
	store_close(s);
}

static void test_damage(void **state)
{
	struct store *s = open_store();
	struct patch_record r;
	char all[64] = "";
	bool is_new;
	struct err e;

	(void)state;
	for (uint64_t n = 0; n < 4; n++)
		add(s, "web", 16 * n, &is_new);
	sql("UPDATE patch SET file = replace(file, '\"bits\": 64', '\"bits\": 65') WHERE id = 1;"
	    "UPDATE patch SET state = 'lost' WHERE id = 3;");
	assert_int_equal(store_each_patch(s, NULL, 0, collect, all, &e), -1);
	assert_string_equal(all, "2 4 ");
	assert_non_null(strstr(e.text, "patch 1 is damaged"));
	assert_int_equal(store_get_patch(s, 3, &r, NULL, &e), -1);
	assert_int_equal(e.code, ERR_PROTOCOL);
	assert_int_equal(add(s, "web", 0, &is_new), 5); /* what cannot be read is not the same */
	store_close(s);
}

/* A store of before there were patches in it. */
static void test_older_store(void **state)
{
	struct incident in = {.vm = "web"};
	struct store *s = open_store();
	bool is_new;
	struct err e;

	(void)state;
	assert_int_equal(store_put_incident(s, &in, &e), 0);
	store_close(s);
	sql("DROP TABLE patch; DROP TABLE patch_event; PRAGMA user_version = 1");
	assert_int_equal(store_open(path, true, &s, &e), -1);
	assert_int_equal(e.code, ERR_STATE);
	s = open_store();
	assert_int_equal(store_get_incident(s, 1, &in, &e), 0);
	assert_int_equal(add(s, "web", 0, &is_new), 1);
	store_close(s);
}

/* One of before patches had changes: what is there is seen once. */
static void test_store_without_changes(void **state)
{
	struct store *s = open_store();
	char seen[64] = "";
	struct err e;

	(void)state;
	add_three(s);
	store_close(s);
	sql("DROP INDEX patch_change; ALTER TABLE patch DROP COLUMN change; DROP TABLE patch_event; PRAGMA "
	    "user_version = 2");
	s = open_store();
	assert_int_equal(store_each_change(s, 0, collect, seen, &e), 0);
	assert_string_equal(seen, "1 2 3 ");
	assert_int_equal(store_revert_patch(s, 2, &e), 0);
	seen[0] = 0;
	assert_int_equal(store_each_change(s, 3, collect, seen, &e), 0);
	assert_string_equal(seen, "2r ");
	store_close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_add_and_get, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_revert, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_apply_again, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_proposed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_changes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_history, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_damage, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_store_without_changes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_older_store, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
