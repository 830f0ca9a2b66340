/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Making a patch: a guard in a code cave, and a jump to it in place of the bug instructions.
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

/* The jump to the guard; what is left of the displaced bytes is never reached. */
static int emit_site(const struct finding *f, struct gva guard, uint8_t *ret, struct err *e)
{
	struct emitter em;

	emit_init(&em, f->bug.v);
	em.is_32bit = f->is_32bit;
	emit_jump(&em, guard.v);
	while (em.len < f->bug_len && !em.bad)
		emit_bytes(&em, (uint8_t[]){NOP}, 1);
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

/* Behind another guard of the same culprit, if next is one: the address of its part for the culprit. */
static int generate(const struct finding *f, struct vmi *v, const struct vmi_task *t, uint64_t next, struct patch *ret,
		    struct err *e)
{
	struct guard_link link = {.next = next};
	struct process process = {v, t};
	const struct code_reader rd = {read_process, &process};
	struct vmi_module m;
	struct vmi_page page;
	struct emitter em;
	struct patch p = {.home = "cave"};
	struct gva cave;
	uint32_t room;

	if (vmi_module_at(v, t, f->bug, &m, e))
		return -1;
	if (check_module(&m, f, e) || cave_find(&rd, &m, &cave, &room, e))
		return -1;
	/* A page not touched yet is no worse: it lies in the executable segment's last page, and is read from the page cache. */
	if (vmi_translate(&t->space, cave, &page) && (!page.executable || !page.user))
		return err_set_addr(e, ERR_REFUSED, cave.v, "the bytes behind the code of %s cannot be executed",
				    m.path);
	emit_init(&em, cave.v);
	if (guard_emit_linked(&em, f, &rd, &link, &p.strategy, e))
		return -1;
	if (em.len > room)
		return err_set_addr(e, ERR_REFUSED, cave.v,
				    "a guard of %u bytes does not fit the %u unused bytes behind the code of %s",
				    em.len, room, m.path);
	name_target(&m, f, cave, &p);
	p.part_at = link.part_at;
	p.culprit_at = link.culprit_at;
	p.lower = link.lower;
	p.guard_len = (uint8_t)em.len;
	memcpy(p.guard, em.buf, em.len);
	if (emit_site(f, cave, p.site_after, e))
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

	if (patch_place(old, v, t, &site, &guard, e) || generate(f, v, t, keep ? guard.v + old->part_at : 0, &p, e))
		return -1;
	if (site.v != f->bug.v || old->site_len != f->bug_len ||
	    memcmp(old->site_original, p.site_original, p.site_len) != 0)
		return err_set_addr(e, ERR_REFUSED, f->bug.v, "the earlier patch displaces other bytes");
	memcpy(p.site_before, old->site_after, p.site_len);
	*ret = p;
	return 0;
}
