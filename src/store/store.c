/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The incident store: see store.h.
 *
 * A table of incidents and one of patches; each is kept whole as JSON text, a patch as its signed file, beside the columns
 * that are searched by. A patch's `change` grows with each change of any patch, so that a supervisor that follows them reads only
 * what is new to it; what has become of a patch on this host is in a table of its own. Write-ahead log, because
 * with it a reader (a pager left open on `clouder incidents`) never makes a supervisor wait, and a commit is one
 * sync; synchronous FULL, so that what was put is there after a power cut. Writers wait for each other for up to
 * BUSY_MS. user_version is the number of migrations applied; application_id tells our files from others.
 */
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/paths.h"
#include "store/store_internal.h"

#define APPLICATION_ID 0x434c4452 /* "CLDR" */
#define BUSY_MS 5000
#define JSON_TEXT_MAX (1 << 20)

/* Row i takes the schema from version i to i + 1. Never edited, only added to. */
static const char *const migrations[] = {
	"CREATE TABLE incident ("
	" id INTEGER PRIMARY KEY AUTOINCREMENT,"
	" vm TEXT NOT NULL,"
	" time_ms INTEGER NOT NULL,"
	" state TEXT NOT NULL,"
	" json TEXT NOT NULL);"
	"CREATE INDEX incident_time ON incident (time_ms, id);",
	"CREATE TABLE patch ("
	" id INTEGER PRIMARY KEY AUTOINCREMENT,"
	" vm TEXT NOT NULL,"
	" time_ms INTEGER NOT NULL,"
	" build_id TEXT NOT NULL,"
	" state TEXT NOT NULL,"
	" file TEXT NOT NULL);"
	"CREATE INDEX patch_build_id ON patch (build_id);",
	"ALTER TABLE patch ADD COLUMN change INTEGER NOT NULL DEFAULT 0;"
	"UPDATE patch SET change = id;"
	"CREATE INDEX patch_change ON patch (change);"
	"CREATE TABLE patch_event ("
	" id INTEGER PRIMARY KEY,"
	" patch INTEGER NOT NULL,"
	" time_ms INTEGER NOT NULL,"
	" text TEXT NOT NULL);"
	"CREATE INDEX patch_event_patch ON patch_event (patch);",
};

#define SCHEMA_VERSION ((int)(sizeof(migrations) / sizeof(migrations[0])))

/* What a failure of SQLite means to the operator. */
static const struct {
	int code;
	enum err_code err;
	const char *advice;
} failures[] = {
	{SQLITE_NOTADB, ERR_PROTOCOL, ": move it away, a new one will be made"},
	{SQLITE_CORRUPT, ERR_PROTOCOL, ": it is damaged; move it away, a new one will be made"},
	{SQLITE_FULL, ERR_LIMIT, ": free some space"},
	{SQLITE_BUSY, ERR_TIMEOUT, ": another process keeps it locked"},
	{SQLITE_READONLY, ERR_SYSTEM, ": check who may write there"},
	{SQLITE_CANTOPEN, ERR_SYSTEM, ": check who may read and write there"},
};

int store_fail(const struct store *s, struct err *e, const char *doing)
{
	int code = s->db ? sqlite3_errcode(s->db) : SQLITE_NOMEM;
	const char *why = s->db ? sqlite3_errmsg(s->db) : "out of memory";

	for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++)
		if (failures[i].code == (code & 0xff))
			return err_set(e, failures[i].err, "incident store %.120s: cannot %s: %s%s", s->path, doing,
				       why, failures[i].advice);
	return err_set(e, ERR_SYSTEM, "incident store %.120s: cannot %s: %s", s->path, doing, why);
}

static int run_sql(struct store *s, const char *sql, const char *doing, struct err *e)
{
	return sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : store_fail(s, e, doing);
}

/* The first column of the first row, or 0 without a row. */
static int query_number(struct store *s, const char *sql, int *ret, struct err *e)
{
	sqlite3_stmt *st = NULL;
	int rc, n = 0;

	rc = sqlite3_prepare_v2(s->db, sql, -1, &st, NULL);
	if (rc == SQLITE_OK) {
		rc = sqlite3_step(st);
		if (rc == SQLITE_ROW)
			n = sqlite3_column_int(st, 0);
	}
	if (rc != SQLITE_ROW && rc != SQLITE_DONE) {
		store_fail(s, e, "read it");
		sqlite3_finalize(st);
		return -1;
	}
	sqlite3_finalize(st);
	*ret = n;
	return 0;
}

/* *ret_version: the schema in the file, 0: the file is empty. */
static int check_version(struct store *s, int *ret_version, struct err *e)
{
	int app, version, tables, rc;

	/* One look: another process may be setting the file up. Works inside a transaction and outside. */
	if (run_sql(s, "SAVEPOINT look", "read it", e) < 0)
		return -1;
	rc = query_number(s, "PRAGMA application_id", &app, e);
	rc = rc < 0 ? rc : query_number(s, "PRAGMA user_version", &version, e);
	rc = rc < 0 ? rc : query_number(s, "SELECT count(*) FROM sqlite_master", &tables, e);
	sqlite3_exec(s->db, "RELEASE look", NULL, NULL, NULL);
	if (rc < 0)
		return -1;
	if (app != APPLICATION_ID && (app || version || tables))
		return err_set(e, ERR_PROTOCOL,
			       "%.200s is a database of another program, not an incident store: choose another "
			       "CLOUDER_STATE_DIR",
			       s->path);
	if (version > SCHEMA_VERSION)
		return err_set(
			e, ERR_PROTOCOL,
			"incident store %.150s was made by a newer clouder (schema %d, this one knows %d): use that "
			"one, or another CLOUDER_STATE_DIR",
			s->path, version, SCHEMA_VERSION);
	*ret_version = version < 0 ? 0 : version;
	return 0;
}

static int migrate(struct store *s, struct err *e)
{
	char pragmas[96];
	int version;

	/* Inside the transaction: another process may have just done it. */
	if (run_sql(s, "BEGIN IMMEDIATE", "lock it", e) < 0)
		return -1;
	if (check_version(s, &version, e) < 0)
		goto undo;
	if (version < SCHEMA_VERSION) {
		for (int i = version; i < SCHEMA_VERSION; i++)
			if (run_sql(s, migrations[i], "set it up", e) < 0)
				goto undo;
		snprintf(pragmas, sizeof(pragmas), "PRAGMA application_id = %d; PRAGMA user_version = %d",
			 APPLICATION_ID, SCHEMA_VERSION);
		if (run_sql(s, pragmas, "set it up", e) < 0)
			goto undo;
	}
	if (run_sql(s, "COMMIT", "set it up", e) < 0)
		goto undo;
	return 0;
undo:
	sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
	return -1;
}

/* Makes the file (0600; SQLite would make it readable by all) and brings the schema up to date. */
static int prepare_writer(struct store *s, struct err *e)
{
	int fd = open(s->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600), version;

	if (fd >= 0)
		close(fd);
	else if (errno != EEXIST)
		return err_set_errno(e, "cannot make the incident store %.200s", s->path);
	if (sqlite3_open_v2(s->path, &s->db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK)
		return store_fail(s, e, "open it");
	sqlite3_busy_timeout(s->db, BUSY_MS);
	if (check_version(s, &version, e) < 0) /* before anything is written to a file that may not be ours */
		return -1;
	if (run_sql(s, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL", "set it up", e) < 0)
		return -1;
	return version < SCHEMA_VERSION ? migrate(s, e) : 0;
}

static int open_writer(struct store *s, struct err *e)
{
	char dir[PATH_MAX], *slash;
	int fd, rc;

	snprintf(dir, sizeof(dir), "%s", s->path);
	slash = strrchr(dir, '/');
	if (slash)
		slash[slash == dir] = 0;
	else
		strcpy(dir, ".");
	if (paths_make_dir(dir, e) < 0)
		return -1;
	/* Only one process sets up at a time: SQLite does not wait when two change to the write-ahead log at once. */
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || flock(fd, LOCK_EX) < 0) {
		err_set_errno(e, "%.250s", dir);
		if (fd >= 0)
			close(fd);
		return -1;
	}
	rc = prepare_writer(s, e);
	close(fd);
	return rc;
}

static int open_reader(struct store *s, struct err *e)
{
	int version;

	if (access(s->path, F_OK) < 0 && errno == ENOENT)
		return err_set(e, ERR_MISSING, "no incident store yet (%.250s)", s->path);
	/* Not SQLITE_OPEN_READONLY: a reader may have to finish what a dead writer left in the log. */
	if (sqlite3_open_v2(s->path, &s->db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK)
		return store_fail(s, e, "open it");
	sqlite3_busy_timeout(s->db, BUSY_MS);
	if (run_sql(s, "PRAGMA query_only = 1", "open it", e) < 0 || check_version(s, &version, e) < 0)
		return -1;
	if (version < SCHEMA_VERSION)
		return version ? err_set(e, ERR_STATE,
					 "incident store %.150s has schema %d: 'clouder run' brings it to %d", s->path,
					 version, SCHEMA_VERSION)
			       : err_set(e, ERR_MISSING, "no incidents yet in %.250s", s->path);
	return 0;
}

static int default_path(char *ret, size_t size, struct err *e)
{
	char dir[PATH_MAX];

	if (paths_state_dir(dir, sizeof(dir), e) < 0)
		return -1;
	if ((size_t)snprintf(ret, size, "%s/clouder.db", dir) >= size)
		return err_set(e, ERR_LIMIT, "the name of the state directory is too long: set CLOUDER_STATE_DIR");
	return 0;
}

int store_open(const char *path, bool read_only, struct store **ret, struct err *e)
{
	struct store *s = calloc(1, sizeof(*s));

	if (!s)
		return err_set_errno(e, "incident store");
	if (!path) {
		if (default_path(s->path, sizeof(s->path), e) < 0)
			goto fail;
	} else if ((size_t)snprintf(s->path, sizeof(s->path), "%s", path) >= sizeof(s->path)) {
		err_set(e, ERR_LIMIT, "the incident store's path is too long: %.100s...", path);
		goto fail;
	}
	if ((read_only ? open_reader(s, e) : open_writer(s, e)) < 0)
		goto fail;
	*ret = s;
	return 0;
fail:
	store_close(s);
	return -1;
}

void store_close(struct store *s)
{
	if (!s)
		return;
	sqlite3_close(s->db);
	free(s);
}

/* The text kept: all but the id, which is the row's. */
static char *stored_text(const struct incident *in)
{
	json_t *j = incident_to_json(in);
	char *text = NULL;

	if (j) {
		json_object_del(j, "id");
		text = json_dumps(j, JSON_COMPACT);
	}
	json_decref(j);
	return text;
}

int store_put_incident(struct store *s, struct incident *in, struct err *e)
{
	static const char insert[] = "INSERT INTO incident (vm, time_ms, state, json) VALUES (?1, ?2, ?3, ?4)";
	static const char update[] = "UPDATE incident SET vm = ?1, time_ms = ?2, state = ?3, json = ?4 WHERE id = ?5";
	char *text = stored_text(in);
	sqlite3_stmt *st = NULL;
	int rc = -1;

	if (!text)
		return err_set(e, ERR_SYSTEM, "incident store: out of memory");
	if (sqlite3_prepare_v2(s->db, in->id ? update : insert, -1, &st, NULL) != SQLITE_OK) {
		store_fail(s, e, "write to it");
		goto out;
	}
	sqlite3_bind_text(st, 1, in->vm, (int)strnlen(in->vm, sizeof(in->vm)), SQLITE_STATIC);
	sqlite3_bind_int64(st, 2, in->time_ms);
	sqlite3_bind_text(st, 3, incident_state_name(in->state), -1, SQLITE_STATIC);
	sqlite3_bind_text(st, 4, text, -1, SQLITE_STATIC);
	if (in->id)
		sqlite3_bind_int64(st, 5, in->id);
	if (sqlite3_step(st) != SQLITE_DONE) {
		store_fail(s, e, "write to it");
	} else if (!sqlite3_changes(s->db)) {
		err_set(e, ERR_MISSING, "incident store %.200s: no incident %lld to update", s->path,
			(long long)in->id);
	} else {
		if (!in->id)
			in->id = sqlite3_last_insert_rowid(s->db);
		rc = 0;
	}
out:
	sqlite3_finalize(st);
	free(text);
	return rc;
}

/* The incident of a row of (id, json). */
static int read_row(sqlite3_stmt *st, struct incident *ret, struct err *e)
{
	sqlite3_int64 id = sqlite3_column_int64(st, 0);
	const char *text = (const char *)sqlite3_column_text(st, 1);
	int len = sqlite3_column_bytes(st, 1), rc = -1;
	json_error_t why;
	json_t *j;

	if (!text || len > JSON_TEXT_MAX)
		return err_set(e, ERR_PROTOCOL, "incident %lld is damaged: no text, or too much", (long long)id);
	j = json_loadb(text, (size_t)len, 0, &why);
	if (!j) {
		err_set(e, ERR_PROTOCOL, "incident %lld is damaged: %s", (long long)id, why.text);
	} else if (incident_from_json(j, ret, e) < 0) {
		err_prefix(e, "incident %lld is damaged", (long long)id);
	} else {
		ret->id = id;
		rc = 0;
	}
	json_decref(j);
	return rc;
}

int store_get_incident(struct store *s, int64_t id, struct incident *ret, struct err *e)
{
	sqlite3_stmt *st = NULL;
	int rc = -1, step;

	if (sqlite3_prepare_v2(s->db, "SELECT id, json FROM incident WHERE id = ?1", -1, &st, NULL) != SQLITE_OK)
		return store_fail(s, e, "read it");
	sqlite3_bind_int64(st, 1, id);
	step = sqlite3_step(st);
	if (step == SQLITE_ROW)
		rc = read_row(st, ret, e);
	else if (step == SQLITE_DONE)
		err_set(e, ERR_MISSING, "there is no incident %lld: 'clouder incidents' lists them", (long long)id);
	else
		store_fail(s, e, "read it");
	sqlite3_finalize(st);
	return rc;
}

/*
 * A damaged row does not hide the others: the rest is delivered, then the first damage is the error.
 */
int store_each_incident(struct store *s, const char *vm, int64_t since_ms,
			bool (*fn)(void *arg, const struct incident *), void *arg, struct err *e)
{
	static const char sql[] = "SELECT id, json FROM incident WHERE (?1 IS NULL OR vm = ?1) AND time_ms >= ?2"
				  " ORDER BY time_ms, id";
	sqlite3_stmt *st = NULL;
	struct incident in;
	struct err why;
	int rc = 0, step;
	bool more = true;

	if (sqlite3_prepare_v2(s->db, sql, -1, &st, NULL) != SQLITE_OK)
		return store_fail(s, e, "read it");
	if (vm)
		sqlite3_bind_text(st, 1, vm, -1, SQLITE_STATIC);
	sqlite3_bind_int64(st, 2, since_ms ? since_ms : INT64_MIN);
	while (more && (step = sqlite3_step(st)) == SQLITE_ROW) {
		if (read_row(st, &in, rc ? &why : e) < 0)
			rc = -1;
		else
			more = fn(arg, &in);
	}
	if (more && step != SQLITE_DONE)
		rc = store_fail(s, e, "read it");
	sqlite3_finalize(st);
	return rc;
}
