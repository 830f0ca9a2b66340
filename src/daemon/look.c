/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Looking for what the patches of the store are for.
 *
 * Each is dormant until a process of the guest runs the build that it is for. That is looked for after
 * checkpoints, the first of which is taken before any input is delivered, and by a timer. The code of a running engine cannot
 * be changed (it has translated it already), so another engine goes on from that checkpoint with the patches in place: input
 * is delivered again, and nothing is lost. What was dropped with the page cache or a restart of the guest is found in the same
 * way.
 *
 * A look costs some reads for each mapping of each process; looks take at most a hundredth of the time, but are not more than 10 s
 * apart.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "daemon/vm_internal.h"

#define TASKS_MAX 1024u
#define MAPS_MAX 1024u
#define FILES_MAX 1024u
/*
 * Times between looks; how often another engine takes over for a patch that does not go in, and how long the second time is waited for:
 * twice as long each time, since the moment may be wrong, as when a process has just been started.
 */
#define LOOK_MS 1000u
#define LOOK_SHARE 100u
#define LOOK_MOST_NS 10000000000ull
#define TRIES_MAX 6u
#define RETRY_NS 250000000ull

/* A file that some process runs code of. */
struct file {
	struct gva inode;
	uint8_t build_id[VMI_BUILD_ID_MAX];
	uint8_t build_id_len; /* 0: not known yet */
	bool in_place[VM_PATCHES_MAX]; /* or, if it is unwanted, out of it */
	bool wanted[VM_PATCHES_MAX];
};

/* What one look at the guest's processes has found. */
struct look {
	struct vm *vm;
	bool lacking[VM_PATCHES_MAX]; /* a private one is not so in some process */
	unsigned n_files;
	struct file file[FILES_MAX];
	struct vmi_vma vma[MAPS_MAX];
	struct vmi_task task[TASKS_MAX];
};

/* The file that is mapped there, by its inode: one build may lie in many. NULL: it has no build-id, or too many files are in use. */
static struct file *file_of(struct look *l, const struct vmi_task *t, const struct vmi_vma *vma)
{
	struct vmi_module m;
	struct file *f;
	unsigned i;

	if (!(vma->flags & VMI_VM_EXEC) || !vma->inode.v)
		return NULL;
	for (i = 0; i < l->n_files && l->file[i].inode.v != vma->inode.v; i++)
		;
	if (i == FILES_MAX)
		return NULL;
	f = &l->file[i];
	f->inode = vma->inode;
	l->n_files += i == l->n_files;
	/* what another process cannot tell, the next may */
	if (!f->build_id_len && !vmi_module_at(l->vm->vmi, t, vma->start, &m, NULL)) {
		memcpy(f->build_id, m.build_id, sizeof(f->build_id));
		f->build_id_len = m.build_id_len;
	}
	return f->build_id_len ? f : NULL;
}

static bool may_hold(const struct file *f, const struct vmi_vma *vma, const struct patch *p)
{
	return f->build_id_len == p->build_id_len && memcmp(f->build_id, p->build_id, p->build_id_len) == 0 &&
	       p->site_offset >= vma->file_offset && p->site_offset - vma->file_offset < vma->end.v - vma->start.v;
}

/*
 * Patch i in a process that maps a file of its build. What is in the page cache is so in all of them; what is in a process's own
 * memory must be looked for in each.
 */
static void look_at_patch(struct look *l, unsigned i, const struct vmi_task *t, const struct vmi_vma *vma,
			  struct file *f)
{
	struct vm_patch *vp = &l->vm->patch[i];
	struct patch *p = &vp->patch;
	struct gva guard;

	p->inode = f->inode;
	p->site = gva_add(vma->start, p->site_offset - vma->file_offset);
	if (patch_place(p, l->vm->vmi, t, &p->site, &guard, NULL) < 0)
		return;
	if (patch_is_applied(p, l->vm->vmi, t) != vp->unwanted) {
		f->in_place[i] = true;
	} else {
		l->lacking[i] = true;
		if (vp->tries == TRIES_MAX || loop_now_ns() < vp->next_try_ns ||
		    (!vp->unwanted && !patch_fits(p, l->vm->vmi, t)))
			return;
		f->wanted[i] = true;
	}
	vp->dormant = false;
}

static void look_at_task(struct look *l, const struct vmi_task *t)
{
	int n = vmi_maps(l->vm->vmi, t, l->vma, MAPS_MAX, NULL);

	for (int k = 0; k < n; k++) {
		struct file *f = file_of(l, t, &l->vma[k]);

		for (unsigned i = 0; f && i < l->vm->n_patches; i++) {
			const struct patch *p = &l->vm->patch[i].patch;

			if ((p->is_private || !f->in_place[i]) && may_hold(f, &l->vma[k], p))
				look_at_patch(l, i, t, &l->vma[k], f);
		}
	}
}

/* Whether patch i is to be put in somewhere. Keeps what the look has told of it. */
static bool conclude(struct look *l, unsigned i)
{
	struct vm_patch *vp = &l->vm->patch[i];
	unsigned n_in_place = 0, n_files = 0;
	bool wanted = false;

	for (unsigned k = 0; k < l->n_files; k++) {
		const struct file *f = &l->file[k];

		n_in_place += f->in_place[i];
		n_files += f->in_place[i] || f->wanted[i];
		wanted |= f->wanted[i] && (vp->patch.is_private || !f->in_place[i]);
	}
	vp->in_copies = n_files > 1;
	if (wanted)
		vp->next_try_ns = loop_now_ns() + (RETRY_NS << vp->tries++);
	else if (n_in_place && !(vp->patch.is_private && l->lacking[i]))
		vp->tries = 0;
	return wanted;
}

/* Introspection of a guest that has started anew finds nothing where its kernel was. */
static int list_tasks(struct look *l, struct err *e)
{
	struct vm *vm = l->vm;
	int n;

	if (vm_find_kernel(vm, e) < 0)
		return -1;
	n = vmi_tasks(vm->vmi, l->task, TASKS_MAX, e);
	if (n > 0)
		return n;
	vmi_destroy(vm->vmi);
	vm->vmi = NULL;
	return -1;
}

/* How many patches are to be put in. */
static unsigned look(struct vm *vm)
{
	struct look *l = calloc(1, sizeof(*l));
	unsigned wanted = 0;
	struct err e;
	int n;

	if (!l)
		return 0;
	l->vm = vm;
	n = list_tasks(l, &e);
	for (int k = 0; k < n; k++)
		if (l->task[k].mm.v)
			look_at_task(l, &l->task[k]);
	for (unsigned i = 0; i < vm->n_patches; i++)
		wanted += conclude(l, i);
	free(l);
	return wanted;
}

/* What this thread has had of a processor: a host that is busy should not make looks rarer still. */
static uint64_t thread_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

bool look_for_patches(struct vm *vm)
{
	uint64_t now = loop_now_ns(), start, took, wait;
	unsigned wanted;
	struct err e;

	if (now < vm->next_look_ns || vm->cfg->respond == CONFIG_RESPOND_OBSERVE)
		return false;
	keep_follow(vm);
	if (!vm->n_patches) {
		vm->next_look_ns = now + LOOK_MS * 1000000ull;
		return false;
	}
	/* Once for each kernel: it does not count. */
	if (vm_find_kernel(vm, &e) < 0)
		log_debug("stored patches: %s", e.text);
	start = thread_ns();
	wanted = look(vm);
	took = thread_ns() - start;
	wait = took * LOOK_SHARE;
	vm->next_look_ns = now + (wait < LOOK_MOST_NS ? wait : LOOK_MOST_NS);
	log_debug("looked for %u patches in %llu us: %u are to be put in or taken out", vm->n_patches,
		  (unsigned long long)(took / 1000), wanted);
	return wanted;
}
