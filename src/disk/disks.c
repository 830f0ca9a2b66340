/* SPDX-License-Identifier: GPL-2.0-or-later */
/* All disks of a VM, whose marks are set and gone back to together: see disk.h. */
#include <stdlib.h>

#include "base/log.h"
#include "disk/disk_internal.h"
#include "disk/journal.h"

_Static_assert(DISKS_MAX <= JOURNAL_IMAGES_MAX, "all go back together");

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
	struct journal_part parts[DISKS_MAX];
	unsigned n = 0;
	struct err why;

	if (!disks_can_roll_back(s, mark))
		return err_set(e, ERR_LIMIT, "the disks at mark %llu are not known any more", (unsigned long long)mark);
	for (unsigned i = 0; i < s->n; i++) {
		struct blocklog *undo = undo_of(s, i);

		/* One whose last try failed half way has its journal still. */
		if (undo && (blocklog_blocks_since(undo, mark) || s->half_way))
			parts[n++] = (struct journal_part){&s->disk[i]->image, undo};
	}
	/* Going back without a journal is better than not going back. */
	s->half_way = n && journal_begin(parts, n, mark, &why) == 0;
	if (n && !s->half_way)
		log_warn("%s: no journal: if this process were killed just now, disks would stay between two moments",
			 why.text);
	for (unsigned i = 0; i < s->n; i++) {
		struct blocklog *undo = undo_of(s, i);
		uint64_t blocks = 0;

		if (undo && blocklog_roll_back(undo, mark, &blocks, e) < 0)
			return err_prefix(e, "disk %.120s", s->disk[i]->spec->file);
		s->blocks_undone += blocks;
	}
	if (s->half_way && journal_end(parts, n, e) < 0)
		return -1;
	s->half_way = false;
	return 0;
}
