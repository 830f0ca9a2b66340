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
#define READ_MAX (1 << 20) /* bytes in all */
#define READ_ROWS 32u /* in an answer; each is of a page */

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
	const char flags[] = {m->flags & VMI_VM_READ ? 'r' : '-', m->flags & VMI_VM_WRITE ? 'w' : '-',
			      m->flags & VMI_VM_EXEC ? 'x' : '-', m->flags & VMI_VM_SHARED ? 's' : 'p', 0};

	for (unsigned i = 0; i < m->build_id_len; i++)
		snprintf(id + (size_t)2 * i, 3, "%02x", m->build_id[i]);
	return json_pack("{s:o, s:o, s:s, s:o, s:o, s:b, s:s}", "start", hex(m->start.v), "end", hex(m->end.v),
			 "permissions", flags, "file_offset", hex(m->file_offset), "name", text(m->name), "deleted",
			 m->deleted, "build_id", id);
}

/* The process that the request names. The guest is frozen. */
static int find_process(const struct view *w, struct vmi_task *ret, struct err *e)
{
	json_int_t pid = json_integer_value(json_object_get(w->request, "pid"));

	if (pid < 1 || pid > INT32_MAX)
		return err_set(e, ERR_USAGE, "\"pid\" is not a process id");
	return vmi_task_by_pid(w->vm->vmi, (int32_t)pid, ret, e);
}

static json_t *registers(const struct vmi_thread_state *t)
{
	static const char *const names[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
					      "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
	json_t *j = json_pack("{s:o, s:o}", "rip", hex(t->user.ip.v), "rflags", hex(t->flags));

	for (unsigned i = 0; i < 16; i++)
		json_object_set_new(j, names[i], hex(t->user.gpr[i]));
	return j;
}

static json_t *thread_row(const struct vmi_thread_state *t)
{
	json_t *j = json_pack("{s:i, s:s, s:s%, s:b}", "tid", t->tid, "comm", t->comm, "state", &t->state, (size_t)1,
			      "on_processor", t->on_processor);

	if (t->has_user) {
		json_object_set_new(j, "is_32bit", json_boolean(t->user.is_32bit));
		json_object_set_new(j, "system_call", json_integer((json_int_t)t->user.number));
	}
	json_object_set_new(j, "registers", t->has_user ? registers(t) : json_null());
	return j;
}

/* Frozen until the rows are read. */
static int read_threads(struct view *w, struct vmi_thread_state *ret, struct err *e)
{
	struct vmi_task t;

	if (find_process(w, &t, e) < 0)
		return -1;
	return vmi_thread_states(w->vm->vmi, &t, w->from, ret, ROWS_MAX, &w->whole, e);
}

static int show_threads(struct view *w, struct err *e)
{
	struct vmi_thread_state *t = calloc(ROWS_MAX, sizeof(*t));
	bool needed;
	int n;

	if (!t)
		return err_set_errno(e, "list of threads");
	needed = freeze(w);
	n = read_threads(w, t, e);
	thaw(w, needed);
	for (int i = 0; i < n; i++)
		json_array_append_new(w->rows, thread_row(&t[i]));
	w->more = n == ROWS_MAX;
	free(t);
	return n < 0 ? -1 : 0;
}

/* Frozen until the rows are read. */
static int read_mappings(struct view *w, struct vmi_mapping *ret, struct err *e)
{
	struct vmi_task t;

	if (find_process(w, &t, e) < 0)
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

static int show_modules(struct view *w, struct err *e)
{
	struct vmi_kmodule *m = calloc(ROWS_MAX, sizeof(*m));
	bool needed;
	int n;

	if (!m)
		return err_set_errno(e, "list of modules");
	needed = freeze(w);
	n = vmi_kmodules(w->vm->vmi, w->from, m, ROWS_MAX, &w->whole, e);
	thaw(w, needed);
	for (int i = 0; i < n; i++)
		json_array_append_new(w->rows, json_pack("{s:s, s:I, s:o, s:s%}", "name", m[i].name, "size",
							 (json_int_t)m[i].size, "at", hex(m[i].at.v), "state",
							 &m[i].state, (size_t)1));
	w->more = n == ROWS_MAX;
	free(m);
	return n < 0 ? -1 : 0;
}

/* Memory of a process: rows are of a page each, the first and the last perhaps of less. */
struct range {
	struct gva at;
	uint64_t len;
	uint8_t bytes[READ_ROWS][GUEST_PAGE_SIZE];
	enum vmi_presence presence[READ_ROWS];
};

static json_t *range_row(struct gva at, size_t len, enum vmi_presence p, const uint8_t *bytes)
{
	static const char *const states[] = {
		[VMI_PRESENT] = "present", [VMI_ABSENT] = "absent", [VMI_UNMAPPED] = "unmapped"};
	static const char digits[] = "0123456789abcdef";
	char text[2 * GUEST_PAGE_SIZE + 1];

	for (size_t i = 0; i < len; i++) {
		text[2 * i] = digits[bytes[i] >> 4];
		text[2 * i + 1] = digits[bytes[i] & 15];
	}
	return json_pack("{s:o, s:I, s:s, s:s#}", "at", hex(at.v), "length", (json_int_t)len, "state", states[p],
			 "bytes", text, p == VMI_PRESENT ? 2 * len : (size_t)0);
}

/* Where row i of the range begins and how long it is; false: the range has no such row. */
static bool row_of(const struct range *r, size_t i, struct gva *ret_at, size_t *ret_len)
{
	uint64_t head = GUEST_PAGE_SIZE - (r->at.v & GUEST_PAGE_MASK),
		 from = i ? head + (i - 1) * (uint64_t)GUEST_PAGE_SIZE : 0;

	if (from >= r->len)
		return false;
	*ret_at = gva_add(r->at, from);
	*ret_len = i ? GUEST_PAGE_SIZE : head;
	if (*ret_len > r->len - from)
		*ret_len = r->len - from;
	return true;
}

/* Frozen until the rows are read. */
static int read_range(struct view *w, struct range *r, struct err *e)
{
	struct vmi_task t;
	struct gva at;
	size_t len;

	if (find_process(w, &t, e) < 0)
		return -1;
	if (!t.mm.v)
		return err_set(e, ERR_MISSING, "process %d (%s) of the guest has no memory of its own", t.pid, t.comm);
	for (size_t i = 0; i < READ_ROWS && row_of(r, w->from + i, &at, &len); i++)
		r->presence[i] = vmi_task_peek(w->vm->vmi, &t, at, r->bytes[i], len);
	return 0;
}

static int show_memory(struct view *w, struct err *e)
{
	json_int_t len = json_integer_value(json_object_get(w->request, "length"));
	struct range *r;
	struct gva at;
	size_t n, part;
	bool needed;
	int rc;

	if (!vm_parse_address(json_string_value(json_object_get(w->request, "at")), &at.v))
		return err_set(e, ERR_USAGE, "\"at\" is not an address");
	if (len < 1 || len > READ_MAX || at.v > UINT64_MAX - (uint64_t)len)
		return err_set(e, ERR_USAGE, "\"length\" is not from 1 to %d, or leads past the last address",
			       READ_MAX);
	r = calloc(1, sizeof(*r));
	if (!r)
		return err_set_errno(e, "memory of the guest");
	r->at = at;
	r->len = (uint64_t)len;
	needed = freeze(w);
	rc = read_range(w, r, e);
	thaw(w, needed);
	for (n = 0; rc == 0 && n < READ_ROWS && row_of(r, w->from + n, &at, &part); n++)
		json_array_append_new(w->rows, range_row(at, part, r->presence[n], r->bytes[n]));
	w->more = rc == 0 && row_of(r, w->from + n, &at, &part);
	free(r);
	return rc;
}

static const struct {
	const char *show;
	int (*fn)(struct view *w, struct err *e);
} views[] = {{"ps", show_processes},	{"threads", show_threads}, {"maps", show_mappings},
	     {"symbols", show_symbols}, {"modules", show_modules}, {"read", show_memory}};

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
