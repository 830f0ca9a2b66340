/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The path of an open file: from its dentry up to the root, across mounts. */
#include "vmi/vmi_internal.h"

#include <string.h>

/* Filled from the end towards the front. */
struct path_text {
	char *text;
	size_t start;
};

static bool prepend(struct path_text *p, const char *name, size_t len)
{
	size_t n = len < p->start ? len : p->start;

	p->start -= n;
	memcpy(p->text + p->start, name + len - n, n);
	return n == len;
}

/* Adds "/name"; false: full, or no name to be read. */
static bool prepend_name(const struct vmi *v, struct gva dentry, struct path_text *p)
{
	struct gva qstr = vmi_member(v, dentry, DENTRY_NAME);
	char name[VMI_NAME_MAX];
	struct gva text;
	uint64_t len;

	if (!vmi_get_ptr(v, qstr, QSTR_NAME, &text) || !vmi_get(v, qstr, QSTR_LEN, &len))
		return false;
	if (!len || len > VMI_NAME_MAX || !vmi_read(&v->kernel, text, name, len))
		return false;
	for (uint64_t i = 0; i < len; i++)
		if ((unsigned char)name[i] < ' ' || name[i] == 0x7f)
			name[i] = '?';
	return prepend(p, name, len) && prepend(p, "/", 1);
}

/* If dentry is the root of the mount: the place where that is mounted. false: no further. */
static bool leave_mount(const struct vmi *v, struct gva *dentry, struct gva *mnt)
{
	struct gva root, mount, parent, point;

	if (!vmi_has(v, MOUNT_MNT) || !vmi_has(v, MOUNT_PARENT) || !vmi_has(v, MOUNT_POINT) ||
	    !vmi_has(v, VFSMOUNT_ROOT))
		return false;
	if (!vmi_get_ptr(v, *mnt, VFSMOUNT_ROOT, &root) || root.v != dentry->v)
		return false;
	mount = gva(mnt->v - v->layout.f[MOUNT_MNT].offset);
	if (!vmi_get_ptr(v, mount, MOUNT_PARENT, &parent) || parent.v == mount.v ||
	    !vmi_get_ptr(v, mount, MOUNT_POINT, &point))
		return false;
	*dentry = point;
	*mnt = vmi_member(v, parent, MOUNT_MNT);
	return true;
}

void vmi_file_path(const struct vmi *v, struct gva file, char ret[VMI_PATH_MAX])
{
	char buf[VMI_PATH_MAX];
	struct path_text p = {buf, sizeof(buf) - 1};
	struct gva path = vmi_member(v, file, FILE_PATH), dentry, parent, mnt;

	ret[0] = '\0';
	if (!vmi_get_ptr(v, path, PATH_DENTRY, &dentry) || !vmi_get_ptr(v, path, PATH_MNT, &mnt))
		return;
	for (unsigned i = 0; i < VMI_PATH_DEPTH_MAX; i++) {
		if (leave_mount(v, &dentry, &mnt))
			continue;
		if (!vmi_get_ptr(v, dentry, DENTRY_PARENT, &parent) || parent.v == dentry.v ||
		    !prepend_name(v, dentry, &p))
			break;
		dentry = parent;
	}
	buf[sizeof(buf) - 1] = '\0';
	memcpy(ret, buf + p.start, sizeof(buf) - p.start);
}

/* One that is in no hash chain is in no directory; the root of a mount is in none either. */
bool vmi_file_deleted(const struct vmi *v, struct gva file)
{
	struct gva dentry, parent;
	uint64_t link[2]; /* next; what points here */

	return v->layout.f[DENTRY_HASH].size == sizeof(link) &&
	       vmi_get_ptr(v, vmi_member(v, file, FILE_PATH), PATH_DENTRY, &dentry) &&
	       vmi_get_ptr(v, dentry, DENTRY_PARENT, &parent) && parent.v != dentry.v &&
	       vmi_read(&v->kernel, vmi_member(v, dentry, DENTRY_HASH), link, sizeof(link)) && !link[1];
}
