/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What `clouder vmi` asks of a VM: what the guest's memory says of the guest.
 *
 * A row of the table of views is one kind of list. An answer has at most as many rows as fit in a line of the control socket;
 * who asks for more says how many there were. The engine is frozen while guest memory is read, for some
 * milliseconds, so that the rows of one answer belong together. The guest controls all that is read (vmi.h bounds the
 * walks), the client the numbers, which are bounded here.
 */
#include <glib.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/vm_internal.h"

#define ROWS_MAX 1024
#define FROM_MAX 100000000
#define PATTERN_MAX 200

/* One request, and what comes of it. */
struct view {
	struct vm *vm;
	const json_t *request;
	size_t from;
	json_t *rows;
	bool more; /* there may be more rows */
	bool whole; /* nothing looked wrong */
	uint64_t frozen_ns;
};

/* One that answers a detection, or is held after one, is frozen already. */
static bool freeze(struct view *w)
{
	bool needed = w->vm->state == VM_RUNNING && !w->vm->detect_pending;

	if (needed)
		engine_freeze(w->vm->active.en);
	w->frozen_ns = loop_now_ns();
	return needed;
}

static void thaw(struct view *w, bool needed)
{
	w->frozen_ns = needed ? loop_now_ns() - w->frozen_ns : 0;
	if (needed)
		engine_thaw(w->vm->active.en);
}

static json_t *hex(uint64_t value)
{
	return json_sprintf("0x%" PRIx64, value);
}

/* Names are the guest's, and may be no text. */
static json_t *text(const char *s)
{
	char *valid = g_utf8_make_valid(s, -1);
	json_t *j = json_string(valid);

	g_free(valid);
	return j;
}

static json_t *process_row(const struct vmi_process *p)
{
	return json_pack("{s:i, s:i, s:i, s:I, s:o, s:s%, s:b, s:o, s:b, s:I}", "pid", p->pid, "tid", p->tid, "parent",
			 p->parent, "uid", p->uid == UINT32_MAX ? (json_int_t)-1 : (json_int_t)p->uid, "comm",
			 text(p->comm), "state", &p->state, (size_t)1, "kernel", p->is_kernel, "program",
			 text(p->program), "deleted", p->deleted, "start_time_ns", (json_int_t)p->start_time_ns);
}

static int show_processes(struct view *w, struct err *e)
{
	struct vmi_process *p = calloc(ROWS_MAX, sizeof(*p));
	bool threads = json_is_true(json_object_get(w->request, "threads")), needed;
	int n;

	if (!p)
		return err_set_errno(e, "list of processes");
	needed = freeze(w);
	n = vmi_processes(w->vm->vmi, threads, w->from, p, ROWS_MAX, &w->whole, e);
	thaw(w, needed);
	for (int i = 0; i < n; i++)
		json_array_append_new(w->rows, process_row(&p[i]));
	w->more = n == ROWS_MAX;
	free(p);
	return n < 0 ? -1 : 0;
}

static json_t *mapping_row(const struct vmi_mapping *m)
{
	char id[2 * VMI_BUILD_ID_MAX + 1] = "";
	const char flags[] = {m->flags & 1 ? 'r' : '-', m->flags & 2 ? 'w' : '-', m->flags & 4 ? 'x' : '-',
			      m->flags & 8 ? 's' : 'p', 0};

	for (unsigned i = 0; i < m->build_id_len; i++)
		snprintf(id + (size_t)2 * i, 3, "%02x", m->build_id[i]);
	return json_pack("{s:o, s:o, s:s, s:o, s:o, s:b, s:s}", "start", hex(m->start.v), "end", hex(m->end.v),
			 "permissions", flags, "file_offset", hex(m->file_offset), "name", text(m->name), "deleted",
			 m->deleted, "build_id", id);
}

/* Frozen until the rows are read. */
static int read_mappings(struct view *w, struct vmi_mapping *ret, struct err *e)
{
	json_int_t pid = json_integer_value(json_object_get(w->request, "pid"));
	struct vmi_task t;

	if (pid < 1 || pid > INT32_MAX)
		return err_set(e, ERR_USAGE, "\"pid\" is not a process id");
	if (vmi_task_by_pid(w->vm->vmi, (int32_t)pid, &t, e) < 0)
		return -1;
	return vmi_mappings(w->vm->vmi, &t, w->from, ret, ROWS_MAX, &w->whole, e);
}

static int show_mappings(struct view *w, struct err *e)
{
	struct vmi_mapping *m = calloc(ROWS_MAX, sizeof(*m));
	bool needed;
	int n;

	if (!m)
		return err_set_errno(e, "list of mappings");
	needed = freeze(w);
	n = read_mappings(w, m, e);
	thaw(w, needed);
	for (int i = 0; i < n; i++)
		json_array_append_new(w->rows, mapping_row(&m[i]));
	w->more = n == ROWS_MAX;
	free(m);
	return n < 0 ? -1 : 0;
}

static int show_symbols(struct view *w, struct err *e)
{
	const char *pattern = json_string_value(json_object_get(w->request, "pattern"));
	struct vmi_symbol *s;
	int n;

	if (pattern && strlen(pattern) > PATTERN_MAX)
		return err_set(e, ERR_USAGE, "\"pattern\" is longer than %d", PATTERN_MAX);
	s = calloc(ROWS_MAX, sizeof(*s));
	if (!s)
		return err_set_errno(e, "list of symbols");
	/* They do not change: nothing needs to be frozen. */
	n = vmi_symbols(w->vm->vmi, pattern ? pattern : "*", w->from, s, ROWS_MAX, e);
	for (int i = 0; i < n; i++)
		json_array_append_new(w->rows, json_pack("{s:o, s:s%, s:s}", "at", hex(s[i].at.v), "type", &s[i].type,
							 (size_t)1, "name", s[i].name));
	w->more = n == ROWS_MAX;
	free(s);
	return n < 0 ? -1 : 0;
}

static const struct {
	const char *show;
	int (*fn)(struct view *w, struct err *e);
} views[] = {{"ps", show_processes}, {"maps", show_mappings}, {"symbols", show_symbols}};

static int show(struct view *w, struct err *e)
{
	const char *what = json_string_value(json_object_get(w->request, "show"));
	json_int_t from = json_integer_value(json_object_get(w->request, "from"));

	if (from < 0 || from > FROM_MAX)
		return err_set(e, ERR_USAGE, "\"from\" is not from 0 to %d", FROM_MAX);
	w->from = (size_t)from;
	for (size_t i = 0; what && i < sizeof(views) / sizeof(views[0]); i++)
		if (!strcmp(views[i].show, what))
			return vm_find_kernel(w->vm, e) < 0 ? -1 : views[i].fn(w, e);
	return err_set(e, ERR_USAGE, "\"show\" is nothing that can be shown of a guest");
}

json_t *vm_vmi(struct vm *vm, const json_t *request)
{
	struct view w = {.vm = vm, .request = request, .rows = json_array(), .whole = true};
	uint64_t start = loop_now_ns();
	struct err e;

	if (show(&w, &e) < 0) {
		json_decref(w.rows);
		return json_pack("{s:b, s:s}", "ok", 0, "error", e.text);
	}
	return json_pack("{s:b, s:s, s:o, s:b, s:b, s:I, s:I}", "ok", 1, "name", vm->cfg->name, "rows", w.rows, "more",
			 w.more, "complete", w.whole, "paused_us", (json_int_t)(w.frozen_ns / 1000), "took_us",
			 (json_int_t)((loop_now_ns() - start) / 1000));
}
