/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Patches in the store: see store.h. The text of each row is read as strictly as a file from elsewhere. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/patch_file.h"
#include "store/store_internal.h"

static const char columns[] = "SELECT id, state, file FROM patch ";

static bool same_bytes(const struct field_bytes *a, const struct field_bytes *b)
{
	return a->len == b->len && memcmp(a->byte, b->byte, a->len) == 0;
}

static bool parse_state(const char *text, enum patch_state *ret)
{
	for (enum patch_state s = PATCH_ACTIVE; s <= PATCH_REVERTED; s++) {
		if (text && strcmp(text, patch_state_name(s)) == 0) {
			*ret = s;
			return true;
		}
	}
	return false;
}

/* The patch of a row of (id, state, file). */
static int read_row(sqlite3_stmt *st, struct patch_record *ret, struct err *e)
{
	long long id = sqlite3_column_int64(st, 0);
	const char *text = (const char *)sqlite3_column_text(st, 2);
	struct patch_signer signer;
	enum patch_state state;
	struct patch_record r;

	if (!text || !parse_state((const char *)sqlite3_column_text(st, 1), &state))
		return err_set(e, ERR_PROTOCOL, "patch %lld is damaged: no text or no state", id);
	if (patch_file_read(text, (size_t)sqlite3_column_bytes(st, 2), &r, &signer, e) < 0)
		return err_prefix(e, "patch %lld is damaged", id);
	r.id = id;
	r.state = state;
	*ret = r;
	return 0;
}

static int prepare(struct store *s, const char *where, sqlite3_stmt **ret, struct err *e)
{
	char sql[256];

	snprintf(sql, sizeof(sql), "%s%s", columns, where);
	return sqlite3_prepare_v2(s->db, sql, -1, ret, NULL) == SQLITE_OK ? 0 : store_fail(s, e, "read it");
}

static void build_id_text(const struct patch_record *r, char ret[2 * FIELD_BYTES_MAX + 1])
{
	*ret = 0;
	for (unsigned i = 0; i < r->build_id.len; i++)
		snprintf(ret + 2 * (size_t)i, 3, "%02x", r->build_id.byte[i]);
}

/* An active patch that writes the same; 0: there is none. A damaged row is none. */
static int find_same(struct store *s, const struct patch_record *r, int64_t *ret, struct err *e)
{
	char id[2 * FIELD_BYTES_MAX + 1];
	struct patch_record other;
	sqlite3_stmt *st = NULL;
	int step;

	*ret = 0;
	build_id_text(r, id);
	if (prepare(s, "WHERE build_id = ?1 AND state = 'active'", &st, e) < 0)
		return -1;
	sqlite3_bind_text(st, 1, id, -1, SQLITE_STATIC);
	while ((step = sqlite3_step(st)) == SQLITE_ROW)
		if (read_row(st, &other, NULL) == 0 && patch_record_same(&other, r))
			*ret = other.id;
	sqlite3_finalize(st);
	return step == SQLITE_DONE ? 0 : store_fail(s, e, "read it");
}

static int insert(struct store *s, const struct patch_record *r, const char *file, int64_t *ret, struct err *e)
{
	static const char sql[] = "INSERT INTO patch (vm, time_ms, build_id, state, file) VALUES (?1, ?2, ?3, ?4, ?5)";
	char id[2 * FIELD_BYTES_MAX + 1];
	sqlite3_stmt *st = NULL;
	int rc = 0;

	build_id_text(r, id);
	if (sqlite3_prepare_v2(s->db, sql, -1, &st, NULL) != SQLITE_OK)
		return store_fail(s, e, "write to it");
	sqlite3_bind_text(st, 1, r->vm, (int)strnlen(r->vm, sizeof(r->vm)), SQLITE_STATIC);
	sqlite3_bind_int64(st, 2, r->time_ms);
	sqlite3_bind_text(st, 3, id, -1, SQLITE_STATIC);
	sqlite3_bind_text(st, 4, patch_state_name(PATCH_ACTIVE), -1, SQLITE_STATIC);
	sqlite3_bind_text(st, 5, file, -1, SQLITE_STATIC);
	if (sqlite3_step(st) == SQLITE_DONE)
		*ret = sqlite3_last_insert_rowid(s->db);
	else
		rc = store_fail(s, e, "write to it");
	sqlite3_finalize(st);
	return rc;
}

int store_add_patch(struct store *s, struct patch_record *r, const char *file, bool *ret_new, struct err *e)
{
	int64_t id = 0;
	bool is_new;

	/* Two VMs may be attacked at once. */
	if (sqlite3_exec(s->db, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK)
		return store_fail(s, e, "lock it");
	if (find_same(s, r, &id, e) < 0)
		goto undo;
	is_new = !id;
	if (is_new && insert(s, r, file, &id, e) < 0)
		goto undo;
	if (sqlite3_exec(s->db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK) {
		store_fail(s, e, "write to it");
		goto undo;
	}
	r->id = id;
	r->state = PATCH_ACTIVE;
	*ret_new = is_new;
	return 0;
undo:
	sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
	return -1;
}

int store_get_patch(struct store *s, int64_t id, struct patch_record *ret, char **ret_file, struct err *e)
{
	sqlite3_stmt *st = NULL;
	char *file = NULL;
	int rc = -1, step;

	if (prepare(s, "WHERE id = ?1", &st, e) < 0)
		return -1;
	sqlite3_bind_int64(st, 1, id);
	step = sqlite3_step(st);
	if (step == SQLITE_DONE)
		err_set(e, ERR_MISSING, "there is no patch %lld: 'clouder patch list' lists them", (long long)id);
	else if (step != SQLITE_ROW)
		store_fail(s, e, "read it");
	else if (ret_file && sqlite3_column_text(st, 2) && !(file = strdup((const char *)sqlite3_column_text(st, 2))))
		err_set_errno(e, "patch %lld", (long long)id);
	else
		rc = read_row(st, ret, e);
	sqlite3_finalize(st);
	if (rc == 0 && ret_file)
		*ret_file = file;
	else
		free(file);
	return rc;
}

int store_each_patch(struct store *s, const char *vm, int64_t after, bool (*fn)(void *arg, const struct patch_record *),
		     void *arg, struct err *e)
{
	sqlite3_stmt *st = NULL;
	struct patch_record r;
	struct err why;
	int rc = 0, step = SQLITE_DONE;
	bool more = true;

	if (prepare(s, "WHERE (?1 IS NULL OR vm = ?1) AND id > ?2 ORDER BY id", &st, e) < 0)
		return -1;
	if (vm)
		sqlite3_bind_text(st, 1, vm, -1, SQLITE_STATIC);
	sqlite3_bind_int64(st, 2, after);
	while (more && (step = sqlite3_step(st)) == SQLITE_ROW) {
		if (read_row(st, &r, rc ? &why : e) < 0)
			rc = -1;
		else
			more = fn(arg, &r);
	}
	if (more && step != SQLITE_DONE)
		rc = store_fail(s, e, "read it");
	sqlite3_finalize(st);
	return rc;
}

struct over {
	const struct patch_record *r;
	int64_t found; /* 0: none */
};

static bool is_over(void *arg, const struct patch_record *other)
{
	struct over *o = arg;
	const struct patch_record *r = o->r;

	if (other->state == PATCH_ACTIVE && other->site_offset == r->site_offset &&
	    same_bytes(&other->build_id, &r->build_id) && same_bytes(&other->before, &r->after))
		o->found = other->id;
	return !o->found;
}

static int check_revert(struct store *s, int64_t id, struct err *e)
{
	struct patch_record r;
	struct over o = {&r, 0};

	if (store_get_patch(s, id, &r, NULL, e) < 0)
		return -1;
	if (r.state == PATCH_REVERTED)
		return err_set(e, ERR_STATE, "patch %lld is reverted already", (long long)id);
	if (strcmp(r.home, "cave") != 0)
		return err_set(
			e, ERR_REFUSED,
			"patch %lld is in the memory of processes only: it goes with them, and does not come back",
			(long long)id);
	if (store_each_patch(s, NULL, id, is_over, &o, NULL) < 0 && !o.found)
		return 0; /* a damaged row is put in nowhere */
	if (o.found)
		return err_set(e, ERR_STATE, "patch %lld was made over patch %lld: revert that first",
			       (long long)o.found, (long long)id);
	return 0;
}

int store_revert_patch(struct store *s, int64_t id, struct err *e)
{
	char sql[96];

	if (check_revert(s, id, e) < 0)
		return -1;
	snprintf(sql, sizeof(sql), "UPDATE patch SET state = 'reverted' WHERE id = %lld", (long long)id);
	return sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : store_fail(s, e, "write to it");
}

int store_each_reverted(struct store *s, void (*fn)(void *arg, int64_t id), void *arg, struct err *e)
{
	static const char sql[] = "SELECT id FROM patch WHERE state = 'reverted'";
	sqlite3_stmt *st = NULL;
	int step;

	if (sqlite3_prepare_v2(s->db, sql, -1, &st, NULL) != SQLITE_OK)
		return store_fail(s, e, "read it");
	while ((step = sqlite3_step(st)) == SQLITE_ROW)
		fn(arg, sqlite3_column_int64(st, 0));
	sqlite3_finalize(st);
	return step == SQLITE_DONE ? 0 : store_fail(s, e, "read it");
}
