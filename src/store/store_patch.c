/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Patches in the store: see store.h. The text of each row is read as strictly as a file from elsewhere. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "store/patch_file.h"
#include "store/store_internal.h"

static const char columns[] = "SELECT id, state, file, change FROM patch ";

static bool same_bytes(const struct field_bytes *a, const struct field_bytes *b)
{
	return a->len == b->len && memcmp(a->byte, b->byte, a->len) == 0;
}

static bool parse_state(const char *text, enum patch_state *ret)
{
	for (enum patch_state s = PATCH_ACTIVE; s <= PATCH_PROPOSED; s++) {
		if (text && strcmp(text, patch_state_name(s)) == 0) {
			*ret = s;
			return true;
		}
	}
	return false;
}

/* The patch of a row of the columns above. */
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
	r.change = sqlite3_column_int64(st, 3);
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

/* A patch that writes the same and was not reverted; id 0: there is none. A damaged row is none. */
static int find_same(struct store *s, const struct patch_record *r, struct patch_record *ret, struct err *e)
{
	char id[2 * FIELD_BYTES_MAX + 1];
	struct patch_record other;
	sqlite3_stmt *st = NULL;
	int step;

	ret->id = 0;
	build_id_text(r, id);
	if (prepare(s, "WHERE build_id = ?1 AND state != 'reverted'", &st, e) < 0)
		return -1;
	sqlite3_bind_text(st, 1, id, -1, SQLITE_STATIC);
	while ((step = sqlite3_step(st)) == SQLITE_ROW)
		if (read_row(st, &other, NULL) == 0 && patch_record_same(&other, r))
			*ret = other;
	sqlite3_finalize(st);
	return step == SQLITE_DONE ? 0 : store_fail(s, e, "read it");
}

static int insert(struct store *s, const struct patch_record *r, const char *file, int64_t *ret, struct err *e)
{
	static const char sql[] = "INSERT INTO patch (vm, time_ms, build_id, state, file, change) "
				  "VALUES (?1, ?2, ?3, ?4, ?5, (SELECT coalesce(max(change), 0) + 1 FROM patch))";
	char id[2 * FIELD_BYTES_MAX + 1];
	sqlite3_stmt *st = NULL;
	int rc = 0;

	build_id_text(r, id);
	if (sqlite3_prepare_v2(s->db, sql, -1, &st, NULL) != SQLITE_OK)
		return store_fail(s, e, "write to it");
	sqlite3_bind_text(st, 1, r->vm, (int)strnlen(r->vm, sizeof(r->vm)), SQLITE_STATIC);
	sqlite3_bind_int64(st, 2, r->time_ms);
	sqlite3_bind_text(st, 3, id, -1, SQLITE_STATIC);
	sqlite3_bind_text(st, 4, patch_state_name(r->state), -1, SQLITE_STATIC);
	sqlite3_bind_text(st, 5, file, -1, SQLITE_STATIC);
	if (sqlite3_step(st) == SQLITE_DONE)
		*ret = sqlite3_last_insert_rowid(s->db);
	else
		rc = store_fail(s, e, "write to it");
	sqlite3_finalize(st);
	return rc;
}

/* The patch has another state now; what: for its history. */
static int change_state(struct store *s, int64_t id, enum patch_state state, const char *what, struct err *e)
{
	static const char sql[] =
		"UPDATE patch SET state = '%s', change = (SELECT max(change) + 1 FROM patch) WHERE id = %lld;"
		"INSERT INTO patch_event (patch, time_ms, text) VALUES (%lld, %lld000, '%s');";
	char text[400];

	snprintf(text, sizeof(text), sql, patch_state_name(state), (long long)id, (long long)id, (long long)time(NULL),
		 what);
	return sqlite3_exec(s->db, text, NULL, NULL, NULL) == SQLITE_OK ? 0 : store_fail(s, e, "write to it");
}

static int begin(struct store *s, struct err *e)
{
	return sqlite3_exec(s->db, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK ? 0 : store_fail(s, e, "lock it");
}

/* rc: how what was done has gone; what did not go well, or is not taken, was not done. */
static int end(struct store *s, int rc, struct err *e)
{
	if (rc == 0 && sqlite3_exec(s->db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK)
		rc = store_fail(s, e, "write to it");
	if (rc < 0)
		sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
	return rc;
}

static int add(struct store *s, struct patch_record *r, const char *file, bool *ret_new, struct err *e)
{
	struct patch_record same;

	if (find_same(s, r, &same, e) < 0)
		return -1;
	*ret_new = !same.id;
	if (!same.id)
		return insert(s, r, file, &r->id, e);
	r->id = same.id;
	if (same.state == PATCH_PROPOSED && r->state == PATCH_ACTIVE)
		return change_state(s, same.id, PATCH_ACTIVE, "made or imported again, to be in guests", e);
	r->state = same.state;
	return 0;
}

int store_add_patch(struct store *s, struct patch_record *r, const char *file, bool *ret_new, struct err *e)
{
	struct patch_record added = *r;
	bool is_new = false;

	/* Two VMs may be attacked at once. */
	if (begin(s, e) < 0 || end(s, add(s, &added, file, &is_new, e), e) < 0)
		return -1;
	*r = added;
	*ret_new = is_new;
	return 0;
}

/* Appends what has become of the patch here. */
static int add_events(struct store *s, struct patch_record *r, struct err *e)
{
	sqlite3_stmt *st = NULL;
	int step;

	if (sqlite3_prepare_v2(s->db, "SELECT time_ms, text FROM patch_event WHERE patch = ?1 ORDER BY id", -1, &st,
			       NULL) != SQLITE_OK)
		return store_fail(s, e, "read it");
	sqlite3_bind_int64(st, 1, r->id);
	while ((step = sqlite3_step(st)) == SQLITE_ROW) {
		const char *text = (const char *)sqlite3_column_text(st, 1);
		struct patch_event *event;

		/* The newest count. */
		if (r->n_history == PATCH_RECORD_HISTORY_MAX) {
			memmove(&r->history[1], &r->history[2], sizeof(r->history[0]) * (PATCH_RECORD_HISTORY_MAX - 2));
			r->n_history--;
		}
		event = &r->history[r->n_history++];
		event->time_ms = sqlite3_column_int64(st, 0);
		snprintf(event->text, sizeof(event->text), "%s", text ? text : "");
	}
	sqlite3_finalize(st);
	return step == SQLITE_DONE ? 0 : store_fail(s, e, "read it");
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
	if (rc == 0)
		rc = add_events(s, ret, e);
	if (rc == 0 && ret_file)
		*ret_file = file;
	else
		free(file);
	return rc;
}

/* Destroys the statement. */
static int each(struct store *s, sqlite3_stmt *st, bool (*fn)(void *arg, const struct patch_record *), void *arg,
		struct err *e)
{
	struct patch_record r;
	struct err why;
	int rc = 0, step = SQLITE_DONE;
	bool more = true;

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

int store_each_patch(struct store *s, const char *vm, int64_t after, bool (*fn)(void *arg, const struct patch_record *),
		     void *arg, struct err *e)
{
	sqlite3_stmt *st = NULL;

	if (prepare(s, "WHERE (?1 IS NULL OR vm = ?1) AND id > ?2 ORDER BY id", &st, e) < 0)
		return -1;
	if (vm)
		sqlite3_bind_text(st, 1, vm, -1, SQLITE_STATIC);
	sqlite3_bind_int64(st, 2, after);
	return each(s, st, fn, arg, e);
}

int store_each_change(struct store *s, int64_t after, bool (*fn)(void *arg, const struct patch_record *), void *arg,
		      struct err *e)
{
	sqlite3_stmt *st = NULL;

	if (prepare(s, "WHERE change > ?1 ORDER BY change", &st, e) < 0)
		return -1;
	sqlite3_bind_int64(st, 1, after);
	return each(s, st, fn, arg, e);
}

/* ---- what the operator says ---- */

/* How a patch lies to the others that are in guests; 0: none does so. */
struct neighbours {
	const struct patch_record *r;
	int64_t over, below, beside; /* made over it; what it was made over; in its way */
};

static bool overlap(const struct patch_record *a, const struct patch_record *b)
{
	return a->site_offset < b->site_offset + b->before.len && b->site_offset < a->site_offset + a->before.len;
}

static bool look_at_neighbour(void *arg, const struct patch_record *other)
{
	struct neighbours *n = arg;
	const struct patch_record *r = n->r;
	bool same_site = other->site_offset == r->site_offset;

	if (other->state != PATCH_ACTIVE || other->id == r->id || !same_bytes(&other->build_id, &r->build_id) ||
	    !overlap(other, r))
		return true;
	if (same_site && same_bytes(&other->before, &r->after))
		n->over = other->id;
	else if (same_site && same_bytes(&other->after, &r->before))
		n->below = other->id;
	else if (!same_site || same_bytes(&other->before, &r->before))
		n->beside = other->id;
	return true;
}

/* A damaged row is no neighbour: it is put in nowhere. */
static int find_neighbours(struct store *s, const struct patch_record *r, struct neighbours *ret, struct err *e)
{
	*ret = (struct neighbours){.r = r};
	return store_each_patch(s, NULL, 0, look_at_neighbour, ret, e) < 0 && e->code != ERR_PROTOCOL ? -1 : 0;
}

static int read_patch(struct store *s, int64_t id, struct patch_record *r, struct neighbours *n, struct err *e)
{
	return store_get_patch(s, id, r, NULL, e) < 0 || find_neighbours(s, r, n, e) < 0 ? -1 : 0;
}

static int revert(struct store *s, int64_t id, struct err *e)
{
	struct patch_record r;
	struct neighbours n;

	if (read_patch(s, id, &r, &n, e) < 0)
		return -1;
	if (r.state == PATCH_REVERTED)
		return err_set(e, ERR_STATE, "patch %lld is reverted already", (long long)id);
	if (r.state == PATCH_ACTIVE && n.over)
		return err_set(e, ERR_STATE, "patch %lld was made over patch %lld: revert that first",
			       (long long)n.over, (long long)id);
	return change_state(s, id, PATCH_REVERTED, r.state == PATCH_PROPOSED ? "refused" : "reverted", e);
}

int store_revert_patch(struct store *s, int64_t id, struct err *e)
{
	return begin(s, e) < 0 ? -1 : end(s, revert(s, id, e), e);
}

static int apply(struct store *s, int64_t id, struct err *e)
{
	struct patch_record r;
	struct neighbours n;

	if (read_patch(s, id, &r, &n, e) < 0)
		return -1;
	if (r.state == PATCH_ACTIVE)
		return err_set(e, ERR_STATE, "patch %lld is active already", (long long)id);
	if (n.beside)
		return err_set(e, ERR_STATE, "patch %lld is where patch %lld would go: revert that first",
			       (long long)n.beside, (long long)id);
	if (!n.below && !same_bytes(&r.before, &r.original))
		return err_set(
			e, ERR_STATE,
			"patch %lld was made over another, which is not active: apply that first ('clouder patch "
			"list')",
			(long long)id);
	return change_state(s, id, PATCH_ACTIVE, r.state == PATCH_PROPOSED ? "approved" : "applied again", e);
}

int store_apply_patch(struct store *s, int64_t id, struct err *e)
{
	return begin(s, e) < 0 ? -1 : end(s, apply(s, id, e), e);
}
