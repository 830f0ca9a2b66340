/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What `clouder taint` asks of a VM: how much of it is tainted now, and the labels of a range of a process's memory.
 *
 * The engine is frozen for the moment of the look, so that page tables, labels and bytes belong together. Request and
 * answer are those of the control socket (ctl_proto.h); man/clouder.1 has their members. The guest controls the
 * page tables and the task list (vmi.h bounds the walks), the client the range, which is bounded here.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/vm_internal.h"

#define RANGE_MAX 65536
#define RUNS_MAX 256u
#define WRITERS_KEPT 32u

/* What a request asks for; pid 0: no range. */
struct taint_query {
	json_int_t pid;
	uint64_t at;
	size_t len;
};

/* A writer that the answer has named already: to find its address again takes a walk of the process's memory map. */
struct known_writer {
	uint32_t id;
	json_t *json;
};

/* A look at a range. */
struct look {
	struct vm *vm;
	struct vmi_task task;
	json_t *runs;
	uint64_t tainted, unmapped;
	bool more; /* runs were left out */
	/* the run that is being put together; length 0: none */
	uint64_t run_at, run_len;
	struct taint_label first, last;
	struct known_writer known[WRITERS_KEPT];
	unsigned n_known;
};

bool vm_parse_address(const char *text, uint64_t *ret)
{
	size_t digits = text ? strspn(text, "0123456789abcdefx") : 0;
	char *end;

	if (!digits || digits > 18 || text[digits] || text[0] == 'x')
		return false;
	*ret = strtoull(text, &end, 0);
	return !*end;
}

static int parse_query(const json_t *request, struct taint_query *ret, struct err *e)
{
	const json_t *pid = json_object_get(request, "pid"), *length = json_object_get(request, "length");
	json_int_t len = json_integer_value(length);

	*ret = (struct taint_query){0};
	if (!pid && !length && !json_object_get(request, "at"))
		return 0;
	if (json_integer_value(pid) < 1 || json_integer_value(pid) > INT32_MAX)
		return err_set(e, ERR_USAGE, "\"pid\" is not a process id");
	if (!vm_parse_address(json_string_value(json_object_get(request, "at")), &ret->at))
		return err_set(e, ERR_USAGE, "\"at\" is not an address");
	if (len < 1 || len > RANGE_MAX || ret->at > UINT64_MAX - (uint64_t)len)
		return err_set(e, ERR_USAGE, "\"length\" is not from 1 to %d, or leads past the last address",
			       RANGE_MAX);
	ret->pid = json_integer_value(pid);
	ret->len = (size_t)len;
	return 0;
}

static int find_task(struct vm *vm, json_int_t pid, struct vmi_task *ret, struct err *e)
{
	if (vmi_task_by_pid(vm->vmi, (int32_t)pid, ret, e) < 0)
		return -1;
	if (ret->mm.v)
		return 0;
	return err_set(e, ERR_MISSING, "process %" JSON_INTEGER_FORMAT " of the guest has no memory of its own", pid);
}

static json_t *hex(uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "0x%" PRIx64, value);
	return json_string(text);
}

static json_t *writer_to_json(struct look *l, const struct taint_writer *w)
{
	unsigned len = w->len < sizeof(w->bytes) ? w->len : sizeof(w->bytes);
	char bytes[2 * sizeof(w->bytes) + 1] = "";
	struct gva at = gva(w->pc);
	struct err e;

	for (unsigned i = 0; i < len; i++)
		snprintf(bytes + (size_t)2 * i, 3, "%02x", w->bytes[i]);
	/* User code: the address that another process saw is of no use. */
	if (!gva_is_kernel(at) && vmi_find_code(l->vm->vmi, &l->task, w->code_offset, &at, &e) < 0)
		at = gva(w->pc);
	return json_pack("{s:o, s:s}", "at", hex(at.v), "bytes", bytes);
}

/* New reference; null: the network device, or an instruction that is not kept. */
static json_t *describe_writer(struct look *l, uint32_t id)
{
	struct taint_writer w;
	json_t *j;

	for (unsigned i = 0; i < l->n_known; i++)
		if (l->known[i].id == id)
			return json_incref(l->known[i].json);
	if (!id || !shadow_writer_get(l->vm->shadow, id, &w))
		return json_null();
	j = writer_to_json(l, &w);
	if (j && l->n_known < WRITERS_KEPT)
		l->known[l->n_known++] = (struct known_writer){id, json_incref(j)};
	return j;
}

/* The byte itself is clean, where it was written was told by the input: of interest to detectors only, and no taint. */
static bool by_address(const struct taint_label *label)
{
	return label->flags & TAINT_LABEL_BY_ADDRESS;
}

static void end_run(struct look *l)
{
	json_t *run;

	if (l->run_len && json_array_size(l->runs) >= RUNS_MAX) {
		l->more = true;
	} else if (l->run_len) {
		run = json_pack("{s:o, s:I, s:I, s:b, s:b, s:o}", "at", hex(l->run_at), "length",
				(json_int_t)l->run_len, "origin", (json_int_t)(l->first.origin & TAINT_POSITION),
				"by_index", (l->first.origin & TAINT_BY_INDEX) != 0, "by_address",
				by_address(&l->first), "writer", describe_writer(l, l->first.writer));
		json_array_append_new(l->runs, run);
	}
	l->run_len = 0;
}

/* Positions start at 1 again after the last. */
static bool follows(const struct taint_label *a, const struct taint_label *b)
{
	uint32_t next = (a->origin + 1) & TAINT_POSITION;

	return (b->origin & TAINT_POSITION) == (next ? next : 1) &&
	       (a->origin & TAINT_BY_INDEX) == (b->origin & TAINT_BY_INDEX) && by_address(a) == by_address(b) &&
	       a->writer == b->writer;
}

static void add_label(struct look *l, uint64_t at, const struct taint_label *label)
{
	if (!label->origin || !l->run_len || l->run_at + l->run_len != at || !follows(&l->last, label))
		end_run(l);
	if (!label->origin)
		return;
	if (!l->run_len) {
		l->run_at = at;
		l->first = *label;
	}
	l->run_len++;
	l->tainted += !by_address(label);
	l->last = *label;
}

/* A part of the range that lies in one page. */
static void look_at_page(struct look *l, uint64_t at, size_t len)
{
	static struct taint_label labels[GUEST_PAGE_SIZE];
	static uint8_t bytes[GUEST_PAGE_SIZE];
	struct vmi_page page;

	if (!vmi_translate(&l->task.space, gva(at), &page) || !gmem_read(l->vm->gmem, page.at, bytes, len)) {
		l->unmapped += len;
		return;
	}
	shadow_get(l->vm->shadow, page.at, labels, len);
	taint_labels_drop_stale(labels, bytes, len);
	for (size_t i = 0; i < len; i++)
		add_label(l, at + i, &labels[i]);
}

static void look_at(struct look *l, uint64_t at, size_t len)
{
	while (len) {
		size_t n = GUEST_PAGE_SIZE - (at & GUEST_PAGE_MASK);

		n = n < len ? n : len;
		look_at_page(l, at, n);
		at += n;
		len -= n;
	}
	end_run(l);
}

static int answer_range(struct vm *vm, const struct taint_query *q, json_t *answer, struct err *e)
{
	struct look l = {.vm = vm};

	if (!vm->vmi)
		return err_set(e, ERR_STATE,
			       "the guest's kernel has not been found yet ('introspection' of its status)");
	if (find_task(vm, q->pid, &l.task, e) < 0)
		return -1;
	l.runs = json_array();
	look_at(&l, q->at, q->len);
	for (unsigned i = 0; i < l.n_known; i++)
		json_decref(l.known[i].json);
	json_object_set_new(answer, "range",
			    json_pack("{s:I, s:s, s:o, s:I, s:I, s:I, s:b, s:o}", "pid", q->pid, "comm", l.task.comm,
				      "at", hex(q->at), "length", (json_int_t)q->len, "tainted", (json_int_t)l.tainted,
				      "unmapped", (json_int_t)l.unmapped, "more", l.more, "runs", l.runs));
	return 0;
}

static json_t *answer(struct vm *vm, const json_t *request)
{
	uint64_t pages, bytes;
	struct taint_query q;
	struct err e;
	json_t *j;

	if (parse_query(request, &q, &e) < 0)
		return json_pack("{s:b, s:s}", "ok", 0, "error", e.text);
	shadow_count(vm->shadow, &pages, &bytes);
	j = json_pack("{s:b, s:s, s:I, s:I}", "ok", 1, "name", vm->cfg->name, "tainted_pages", (json_int_t)pages,
		      "tainted_bytes", (json_int_t)bytes);
	if (!q.pid || answer_range(vm, &q, j, &e) == 0)
		return j;
	json_decref(j);
	return json_pack("{s:b, s:s}", "ok", 0, "error", e.text);
}

json_t *vm_taint(struct vm *vm, const json_t *request)
{
	/* One that answers a detection, or is held after one, is frozen already. */
	bool freeze = vm->state == VM_RUNNING && !vm->detect_pending;
	json_t *j;

	if (freeze)
		engine_freeze(vm->active.en);
	j = answer(vm, request);
	if (freeze)
		engine_thaw(vm->active.en);
	return j;
}
