/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Making a patch: a guard in a code cave or in memory of the process's own, and a jump to it in place of the bug instructions.
 *
 * Goals: a benign input never sees a difference; the patch holds with address
 * space randomisation, recursion and restart of the program, for all processes that run the module.
 * Non-goals: repairing what the program meant to do with the bytes that are left out.
 * What is patched, and with what, is decided from the guest's memory, which is
 * hostile: a guest that lies gets its own process patched wrongly, nothing else.
 */
#include "patch/patch.h"

#include <inttypes.h>
#include <string.h>

#include "patch/cave.h"
#include "patch/guard.h"
#include "patch/home.h"

#define NOP 0x90

static_assert(PATCH_GUARD_MAX == EMIT_MAX && PATCH_SITE_MAX >= FINDING_BUG_MAX, "a guard and its site fit a patch");

struct process {
	struct vmi *v;
	const struct vmi_task *t;
};

static bool read_process(void *arg, struct gva at, void *ret, size_t len)
{
	const struct process *p = arg;

	return vmi_task_read(p->v, p->t, at, ret, len);
}

static int check_module(const struct vmi_module *m, const struct finding *f, struct err *e)
{
	if (m->is_32bit != f->is_32bit)
		return err_set(e, ERR_REFUSED, "the finding is for code of another mode than %s's", m->path);
	if (!m->build_id_len || m->build_id_len > VMI_BUILD_ID_MAX)
		return err_set(e, ERR_REFUSED, "%s has no build-id: a patch could not name its target", m->path);
	if (f->bug.v < m->text.v || f->bug.v + f->bug_len > m->text.v + m->text_file_size)
		return err_set_addr(e, ERR_REFUSED, f->bug.v, "the bug instructions are not in the code of %s",
				    m->path);
	return 0;
}

static void fill(struct emitter *em, uint32_t len)
{
	while (em->len < len && !em->bad)
		emit_bytes(em, (uint8_t[]){NOP}, 1);
}

/* The jump to the guard, behind which nothing is reached; or the call, which ends where the program's own did. */
static int emit_site(const struct finding *f, struct gva guard, uint8_t *ret, struct err *e)
{
	struct emitter em;

	emit_init(&em, f->bug.v);
	em.is_32bit = f->is_32bit;
	if (guard_is_called(f)) {
		fill(&em, f->bug_len - 5u);
		emit_call(&em, guard.v);
	} else {
		emit_jump(&em, guard.v);
		fill(&em, f->bug_len);
	}
	if (emit_check(&em, e))
		return -1;
	memcpy(ret, em.buf, f->bug_len);
	return 0;
}

static void name_target(const struct vmi_module *m, const struct finding *f, struct gva guard, struct patch *p)
{
	memcpy(p->path, m->path, sizeof(p->path));
	p->path[sizeof(p->path) - 1] = '\0';
	memcpy(p->build_id, m->build_id, sizeof(p->build_id));
	p->build_id_len = m->build_id_len;
	p->is_32bit = m->is_32bit;
	p->site = f->bug;
	p->inode = m->inode;
	p->site_offset = f->bug.v - m->text.v + m->text_file_offset;
	p->site_len = f->bug_len;
	memcpy(p->site_before, f->bug_bytes, f->bug_len);
	memcpy(p->site_original, f->bug_bytes, f->bug_len);
	p->guard_at = guard;
	p->guard_offset = guard.v - m->text.v + m->text_file_offset;
}

/* A cave that can be executed. */
static int find_cave(const struct process *p, const struct code_reader *rd, const struct vmi_module *m,
		     struct gva *ret_at, uint32_t *ret_room, struct err *e)
{
	struct vmi_page page;

	if (cave_find(rd, m, ret_at, ret_room, e))
		return -1;
	/* A page not touched yet is no worse: it lies in the executable segment's last page, and is read from the page cache. */
	if (vmi_translate(&p->t->space, *ret_at, &page) && (!page.executable || !page.user))
		return err_set_addr(e, ERR_REFUSED, ret_at->v, "the bytes behind the code of %s cannot be executed",
				    m->path);
	return 0;
}

/* In the process's own memory, after what was wrong with the cave (*e). */
static int choose_process(const struct process *p, const struct vmi_module *m, const struct finding *f,
			  struct gva *ret_at, uint32_t *ret_room, struct err *e)
{
	struct err why;

	if (m->is_32bit)
		return -1;
	if (home_find(p->v, p->t, m, f->bug, ret_at, &why)) {
		*e = why;
		return -1;
	}
	*ret_room = PATCH_GUARD_MAX;
	return 0;
}

#define ALIGN 16u

/* The same routine, made for an earlier guard, among the bytes behind the code up to `end`. false: none is there. */
static bool find_routine(const struct code_reader *rd, const struct vmi_module *m, const struct finding *f,
			 uint64_t end, struct emitter *ret)
{
	uint64_t at = (m->text.v + m->text_file_size + ALIGN - 1) & ~(uint64_t)(ALIGN - 1);
	uint8_t have[EMIT_MAX];

	for (; at < end && end - at <= GUEST_PAGE_SIZE; at += ALIGN) {
		emit_init(ret, at);
		if (guard_emit_routine(ret, f, NULL))
			return false;
		if (ret->len <= end - at && code_read(rd, gva(at), have, ret->len) &&
		    memcmp(have, ret->buf, ret->len) == 0)
			return true;
	}
	return false;
}

/*
 * A guard that is larger than wanted becomes a smaller one and a routine, which the module's other guards have too. Nothing
 * changes if that cannot be.
 */
static void split(const struct code_reader *rd, const struct vmi_module *m, const struct finding *f, struct gva cave,
		  uint32_t room, struct guard_link *link, struct patch *p, struct emitter *em)
{
	struct guard_link with = *link;
	struct emitter routine, guard;
	uint64_t at = cave.v;

	if (!find_routine(rd, m, f, cave.v, &routine)) {
		emit_init(&routine, cave.v);
		if (guard_emit_routine(&routine, f, NULL))
			return;
		at = (cave.v + routine.len + ALIGN - 1) & ~(uint64_t)(ALIGN - 1);
	}
	with.routine = routine.at;
	emit_init(&guard, at);
	if (guard_emit_linked(&guard, f, rd, &with, &p->strategy, NULL) || at + guard.len > cave.v + room)
		return;
	*em = guard;
	*link = with;
	p->routine_offset = routine.at - m->text.v + m->text_file_offset;
	p->routine_len = (uint8_t)routine.len;
	memcpy(p->routine, routine.buf, routine.len);
}

/* The guard in the first home that has room for it. */
static int emit_guard(const struct process *pr, const struct vmi_module *m, const struct finding *f, struct patch *p,
		      struct guard_link *link, struct emitter *em, struct err *e)
{
	const struct code_reader rd = {read_process, (void *)(uintptr_t)pr};
	bool have_cave;
	uint32_t room;
	struct gva at;

	have_cave = !find_cave(pr, &rd, m, &at, &room, e);
	for (;;) {
		if (!have_cave && choose_process(pr, m, f, &at, &room, e))
			return -1;
		emit_init(em, at.v);
		if (guard_emit_linked(em, f, &rd, link, &p->strategy, e))
			return -1;
		p->is_private = !have_cave;
		p->home = have_cave ? "cave" : "process";
		if (have_cave && em->len > PATCH_GUARD_WANTED)
			split(&rd, m, f, at, room, link, p, em);
		if (em->len <= room)
			return 0;
		err_set_addr(e, ERR_REFUSED, at.v,
			     "a guard of %u bytes does not fit the %u unused bytes behind the code of %s", em->len,
			     room, m->path);
		have_cave = false;
	}
}

/* Behind another guard of the same culprit, if next is one: the address of its part for the culprit. */
static int generate(const struct finding *f, struct vmi *v, const struct vmi_task *t, uint64_t next, struct patch *ret,
		    struct err *e)
{
	struct guard_link link = {.next = next};
	struct process process = {v, t};
	struct vmi_module m;
	struct emitter em;
	struct patch p = {0};

	if (vmi_module_at(v, t, f->bug, &m, e))
		return -1;
	if (check_module(&m, f, e) || emit_guard(&process, &m, f, &p, &link, &em, e))
		return -1;
	name_target(&m, f, gva(em.at), &p);
	p.part_at = link.part_at;
	p.culprit_at = link.culprit_at;
	p.lower = link.lower;
	p.guard_len = (uint8_t)em.len;
	memcpy(p.guard, em.buf, em.len);
	if (emit_site(f, gva(em.at), p.site_after, e))
		return -1;
	*ret = p;
	return 0;
}

int patch_generate(const struct finding *f, struct vmi *v, const struct vmi_task *t, struct patch *ret, struct err *e)
{
	return generate(f, v, t, 0, ret, e);
}

int patch_generate_over(const struct patch *old, bool keep, const struct finding *f, struct vmi *v,
			const struct vmi_task *t, struct patch *ret, struct err *e)
{
	struct gva site, guard;
	struct patch p;

	if (old->is_private)
		return err_set(e, ERR_REFUSED, "the earlier patch is in the process's own memory");
	if (patch_place(old, v, t, &site, &guard, e) || generate(f, v, t, keep ? guard.v + old->part_at : 0, &p, e))
		return -1;
	if (site.v != f->bug.v || old->site_len != f->bug_len ||
	    memcmp(old->site_original, p.site_original, p.site_len) != 0)
		return err_set_addr(e, ERR_REFUSED, f->bug.v, "the earlier patch displaces other bytes");
	memcpy(p.site_before, old->site_after, p.site_len);
	*ret = p;
	return 0;
}
