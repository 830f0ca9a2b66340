/* SPDX-License-Identifier: GPL-2.0-or-later */
/* All disks of a VM, whose marks are set and gone back to together: see disk.h. */
#include <stdlib.h>

#include "disk/disk_internal.h"

void disks_destroy(struct disks *s)
{
	for (unsigned i = 0; i < s->n; i++)
		disk_destroy(s->disk[i]);
	*s = (struct disks){0};
}

void disks_freeze(struct disks *s)
{
	for (unsigned i = 0; i < s->n; i++)
		disk_freeze(s->disk[i]);
}

void disks_thaw(struct disks *s)
{
	for (unsigned i = 0; i < s->n; i++)
		disk_thaw(s->disk[i]);
}

/* The undo log of a disk, which its thread does not use now. NULL: it is only read. */
static struct blocklog *undo_of(const struct disks *s, unsigned i)
{
	worker_wait(s->disk[i]->worker);
	return s->disk[i]->undo;
}

int disks_mark(struct disks *s, uint64_t *ret_mark, struct err *e)
{
	s->last_mark++;
	for (unsigned i = 0; i < s->n; i++) {
		struct blocklog *undo = undo_of(s, i);

		if (undo && blocklog_begin(undo, s->last_mark, e) < 0)
			return -1;
	}
	*ret_mark = s->last_mark;
	return 0;
}

void disks_forget(struct disks *s, uint64_t mark)
{
	for (unsigned i = 0; i < s->n; i++) {
		struct blocklog *undo = undo_of(s, i);

		if (undo)
			blocklog_forget(undo, mark);
	}
}

bool disks_can_roll_back(struct disks *s, uint64_t mark)
{
	for (unsigned i = 0; i < s->n; i++) {
		const struct blocklog *undo = undo_of(s, i);

		if (undo && !blocklog_can_roll_back(undo, mark))
			return false;
	}
	return true;
}

int disks_roll_back(struct disks *s, uint64_t mark, struct err *e)
{
	if (!disks_can_roll_back(s, mark))
		return err_set(e, ERR_LIMIT, "the disks at mark %llu are not known any more", (unsigned long long)mark);
	for (unsigned i = 0; i < s->n; i++) {
		struct blocklog *undo = undo_of(s, i);
		uint64_t blocks = 0;

		if (undo && blocklog_roll_back(undo, mark, &blocks, e) < 0)
			return err_prefix(e, "disk %.120s", s->disk[i]->spec->file);
		s->blocks_undone += blocks;
	}
	return 0;
}
