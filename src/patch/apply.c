/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Putting a patch into a process: everything is checked first, then guard, then site, then read back. */
#include "patch/patch.h"

#include "patch/home.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define THREADS_MAX 4096
#define PROCESSES_MAX 8192
#define MAPS_MAX 1024

/* Where the patch goes in one process. */
struct place {
	struct gva site, guard, routine; /* routine: only if the patch has one */
};

static bool is_target(const struct patch *p, const struct vmi_module *m)
{
	return p->build_id_len && m->build_id_len == p->build_id_len &&
	       memcmp(m->build_id, p->build_id, p->build_id_len) == 0;
}

static bool place_in(const struct patch *p, const struct vmi_module *m, struct place *ret)
{
	if (!is_target(p, m) || p->site_offset < m->text_file_offset ||
	    p->site_offset - m->text_file_offset >= m->text_file_size ||
	    (!p->is_private && p->guard_offset < m->text_file_offset))
		return false;
	ret->site = gva_add(m->text, p->site_offset - m->text_file_offset);
	ret->guard = gva_add(m->text, p->guard_offset - m->text_file_offset);
	ret->routine = gva_add(m->text, p->routine_offset - m->text_file_offset);
	return true;
}

/* A file of that name, or one that has the site's bytes there: the same build may lie elsewhere as well. */
static bool is_likely(const struct patch *p, struct vmi *v, const struct vmi_task *t, const struct vmi_vma *vma)
{
	uint64_t at = p->site_offset - vma->file_offset;
	uint8_t now[PATCH_SITE_MAX];

	if (!(vma->flags & VMI_VM_EXEC) || p->site_offset < vma->file_offset || at >= vma->end.v - vma->start.v)
		return false;
	if (strcmp(vma->path, p->path) == 0)
		return true;
	return vma->file.v && vmi_task_read(v, t, gva_add(vma->start, at), now, p->site_len) &&
	       (memcmp(now, p->site_before, p->site_len) == 0 || memcmp(now, p->site_after, p->site_len) == 0);
}

/* Elsewhere than where the patch was made: the executable mapping that holds the site's file offset. */
static bool search_maps(const struct patch *p, struct vmi *v, const struct vmi_task *t, struct place *ret)
{
	struct vmi_vma *vma = calloc(MAPS_MAX, sizeof(*vma));
	struct vmi_module m;
	bool found = false;
	int n;

	if (!vma)
		return false;
	n = vmi_maps(v, t, vma, MAPS_MAX, NULL);
	for (int k = 0; k < n && !found; k++)
		found = is_likely(p, v, t, &vma[k]) && !vmi_module_at(v, t, vma[k].start, &m, NULL) &&
			place_in(p, &m, ret);
	free(vma);
	return found;
}

static int find_place(const struct patch *p, struct vmi *v, const struct vmi_task *t, struct place *ret, struct err *e)
{
	struct vmi_module m;

	if (p->site_len < 5 || p->site_len > PATCH_SITE_MAX || !p->guard_len || p->guard_len > PATCH_GUARD_MAX)
		return err_set(e, ERR_USAGE, "the patch is malformed");
	if (!vmi_module_at(v, t, p->site, &m, NULL) && place_in(p, &m, ret))
		return 0;
	if (search_maps(p, v, t, ret))
		return 0;
	return err_set(e, ERR_REFUSED, "process %d does not run the build of %s that the patch is for", t->tgid,
		       p->path);
}

static bool all_zero(const uint8_t *p, size_t n)
{
	for (size_t k = 0; k < n; k++)
		if (p[k])
			return false;
	return true;
}

struct contents {
	uint8_t site[PATCH_SITE_MAX], guard[PATCH_GUARD_MAX], routine[PATCH_GUARD_MAX];
};

static bool read_place(const struct patch *p, struct vmi *v, const struct vmi_task *t, const struct place *at,
		       struct contents *ret)
{
	return vmi_task_read(v, t, at->site, ret->site, p->site_len) &&
	       vmi_task_read(v, t, at->guard, ret->guard, p->guard_len) &&
	       (!p->routine_len || vmi_task_read(v, t, at->routine, ret->routine, p->routine_len));
}

static bool in_place(const struct patch *p, const struct contents *c)
{
	return memcmp(c->site, p->site_after, p->site_len) == 0 && memcmp(c->guard, p->guard, p->guard_len) == 0 &&
	       memcmp(c->routine, p->routine, p->routine_len) == 0;
}

/* The guard's place and the routine's are unused, or have what is to go there. */
static bool have_room(const struct patch *p, const struct contents *c)
{
	return (all_zero(c->guard, p->guard_len) || memcmp(c->guard, p->guard, p->guard_len) == 0) &&
	       (all_zero(c->routine, p->routine_len) || memcmp(c->routine, p->routine, p->routine_len) == 0);
}

/* Whether ip is inside bytes like those to replace, at the same place of a page: wherever the file is mapped there. */
static bool is_inside(const struct patch *p, const uint8_t *bytes, struct vmi *v, const struct vmi_task *t,
		      struct gva site, struct gva ip)
{
	uint64_t k = (ip.v - site.v) & GUEST_PAGE_MASK;
	uint8_t code[PATCH_SITE_MAX];

	return k > 0 && k < p->site_len && vmi_task_read(v, t, gva(ip.v - k), code, p->site_len) &&
	       memcmp(code, bytes, p->site_len) == 0;
}

static int check_threads(const struct patch *p, const uint8_t *bytes, struct vmi *v, const struct vmi_task *t,
			 struct gva site, struct gva *ip, struct err *e)
{
	int n = vmi_thread_ips(v, t, ip, THREADS_MAX, e);

	if (n < 0)
		return err_prefix(e, "threads of process %d", t->tgid);
	if (n == THREADS_MAX)
		return err_set(e, ERR_LIMIT, "process %d has too many threads to look at", t->tgid);
	for (int k = 0; k < n; k++)
		if (is_inside(p, bytes, v, t, site, ip[k]))
			return err_set_addr(e, ERR_STATE, ip[k].v,
					    "a thread of process %d stands inside the bytes to displace", t->tgid);
	return 0;
}

/* What is written may be in the page cache: seen by all processes that run the file. */
static int check_processes(const struct patch *p, const uint8_t *bytes, struct vmi *v, struct gva site, struct err *e)
{
	struct vmi_task *t = calloc(PROCESSES_MAX, sizeof(*t));
	struct gva *ip = calloc(THREADS_MAX, sizeof(*ip));
	int n = -1, rc = 0;

	if (t && ip)
		n = vmi_tasks(v, t, PROCESSES_MAX, e);
	else
		err_set_errno(e, "no memory for the guest's threads");
	for (int k = 0; k < n && !rc; k++)
		if (t[k].mm.v)
			rc = check_threads(p, bytes, v, &t[k], site, ip, e);
	if (n == PROCESSES_MAX)
		rc = err_set(e, ERR_LIMIT, "the guest has too many processes to look at");
	free(t);
	free(ip);
	return n < 0 ? -1 : rc;
}

static int enter(const struct patch *p, struct vmi *v, const struct vmi_task *t, const struct place *at, struct err *e)
{
	struct gva *ip = calloc(THREADS_MAX, sizeof(*ip));
	int rc;

	if (!ip)
		return err_set_errno(e, "no memory for the process's threads");
	rc = check_threads(p, p->site_before, v, t, at->site, ip, e);
	free(ip);
	return rc ? rc : home_enter(p, v, t, at->site, at->guard, e);
}

int patch_apply(const struct patch *p, struct vmi *v, const struct vmi_task *t, struct err *e)
{
	struct contents now;
	struct place at;

	if (find_place(p, v, t, &at, e))
		return -1;
	if (read_place(p, v, t, &at, &now)) {
		if (in_place(p, &now))
			return 0;
	} else if (!p->is_private ||
		   !vmi_task_read(v, t, at.site, now.site, p->site_len)) /* the guard is nowhere yet */
		return err_set_addr(e, ERR_GUEST, at.site.v, "the code to patch is not in memory");
	if (memcmp(now.site, p->site_before, p->site_len) != 0)
		return err_set_addr(e, ERR_REFUSED, at.site.v, "the code at 0x%" PRIx64 " is not what the patch is for",
				    at.site.v);
	if (p->is_private)
		return enter(p, v, t, &at, e);
	if (!have_room(p, &now))
		return err_set_addr(e, ERR_REFUSED, at.guard.v, "the guard's place at 0x%" PRIx64 " is in use",
				    at.guard.v);
	if (check_processes(p, p->site_before, v, at.site, e))
		return -1;
	if ((p->routine_len && !vmi_task_write(v, t, at.routine, p->routine, p->routine_len)) ||
	    !vmi_task_write(v, t, at.guard, p->guard, p->guard_len) ||
	    !vmi_task_write(v, t, at.site, p->site_after, p->site_len))
		return err_set_addr(e, ERR_GUEST, at.site.v, "the patch could not be written");
	if (!read_place(p, v, t, &at, &now) || !in_place(p, &now))
		return err_set_addr(e, ERR_GUEST, at.site.v, "the patch did not stay as it was written");
	return 0;
}

int patch_remove(const struct patch *p, struct vmi *v, const struct vmi_task *t, struct err *e)
{
	uint8_t now[PATCH_SITE_MAX];
	struct place at;

	/* A private patch's site is in a page that is the process's own: the file's was never changed. */
	if (find_place(p, v, t, &at, e))
		return -1;
	if (!vmi_task_read(v, t, at.site, now, p->site_len))
		return err_set_addr(e, ERR_GUEST, at.site.v, "the patched code is not in memory");
	if (memcmp(now, p->site_after, p->site_len) != 0)
		return 0;
	if (check_processes(p, p->site_after, v, at.site, e))
		return -1;
	if (!vmi_task_write(v, t, at.site, p->site_before, p->site_len) ||
	    !vmi_task_read(v, t, at.site, now, p->site_len) || memcmp(now, p->site_before, p->site_len) != 0)
		return err_set_addr(e, ERR_GUEST, at.site.v, "the bytes could not be written back");
	return 0;
}

bool patch_fits(const struct patch *p, struct vmi *v, const struct vmi_task *t)
{
	struct contents now;
	struct place at;

	if (find_place(p, v, t, &at, NULL))
		return false;
	/* What a thread is to put in when it runs, or has no room for until then, is not to be begun anew. */
	if (p->is_private)
		return vmi_task_read(v, t, at.site, now.site, p->site_len) &&
		       memcmp(now.site, p->site_before, p->site_len) == 0 && !home_is_entered(v, t);
	return read_place(p, v, t, &at, &now) && memcmp(now.site, p->site_before, p->site_len) == 0 &&
	       have_room(p, &now);
}

bool patch_is_applied(const struct patch *p, struct vmi *v, const struct vmi_task *t)
{
	struct contents now;
	struct place at;

	return !find_place(p, v, t, &at, NULL) && read_place(p, v, t, &at, &now) && in_place(p, &now);
}

int patch_place(const struct patch *p, struct vmi *v, const struct vmi_task *t, struct gva *ret_site,
		struct gva *ret_guard, struct err *e)
{
	struct place at;

	if (find_place(p, v, t, &at, e))
		return -1;
	*ret_site = at.site;
	*ret_guard = at.guard;
	return 0;
}

bool patch_concerns(const struct patch *p, struct vmi *v, const struct vmi_task *t)
{
	struct place at;

	return !find_place(p, v, t, &at, NULL);
}

/* Its build-id stands in a note near its headers. */
static bool is_file_of(const struct patch *p, struct vmi *v, const struct vmi_task *t)
{
	uint8_t head[GUEST_PAGE_SIZE];

	return p->inode.v && p->build_id_len && vmi_file_read(v, t, p->inode, 0, head, sizeof(head)) &&
	       memmem(head, sizeof(head), p->build_id, p->build_id_len);
}

static bool read_file(const struct patch *p, struct vmi *v, const struct vmi_task *t, struct contents *ret)
{
	return vmi_file_read(v, t, p->inode, p->site_offset, ret->site, p->site_len) &&
	       vmi_file_read(v, t, p->inode, p->guard_offset, ret->guard, p->guard_len) &&
	       (!p->routine_len || vmi_file_read(v, t, p->inode, p->routine_offset, ret->routine, p->routine_len));
}

int patch_apply_to_file(const struct patch *p, struct vmi *v, const struct vmi_task *t, struct err *e)
{
	struct contents now;

	if (p->is_private)
		return err_set(e, ERR_REFUSED, "no process runs %s, whose memory the guard could go to", p->path);
	if (!is_file_of(p, v, t) || !read_file(p, v, t, &now))
		return err_set(e, ERR_REFUSED, "%s is not in the page cache as it was", p->path);
	if (in_place(p, &now))
		return 0;
	if (memcmp(now.site, p->site_before, p->site_len) != 0 || !have_room(p, &now))
		return err_set(e, ERR_REFUSED, "the code of %s is not what the patch is for", p->path);
	if ((p->routine_len && !vmi_file_write(v, t, p->inode, p->routine_offset, p->routine, p->routine_len)) ||
	    !vmi_file_write(v, t, p->inode, p->guard_offset, p->guard, p->guard_len) ||
	    !vmi_file_write(v, t, p->inode, p->site_offset, p->site_after, p->site_len))
		return err_set(e, ERR_GUEST, "the patch could not be written to %s", p->path);
	return 0;
}
