/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Looking for a code cave in a mapped module. */
#include "patch/cave.h"

#include <elf.h>
#include <inttypes.h>

#include "patch/segments.h"

#define CAVE_ALIGN 16u

/*
 * Cuts the file range [from, *to) where another segment's bytes begin in it: ld without separate code puts the data
 * right behind the code, in the same page of the file.
 */
static int cut_at_segments(const struct code_reader *rd, const struct vmi_module *m, uint64_t from, uint64_t *to,
			   struct err *e)
{
	struct segment seg[SEGMENTS_MAX];
	uint32_t n;

	if (segments_read(rd, m, seg, &n, e))
		return -1;
	for (uint32_t k = 0; k < n; k++) {
		if (seg[k].type != PT_LOAD || !seg[k].file_size || seg[k].file_offset == m->text_file_offset)
			continue;
		if (seg[k].file_offset <= from && seg[k].file_size > from - seg[k].file_offset)
			*to = from;
		else if (seg[k].file_offset > from && seg[k].file_offset < *to)
			*to = seg[k].file_offset;
	}
	return 0;
}

int cave_find(const struct code_reader *rd, const struct vmi_module *m, struct gva *ret_at, uint32_t *ret_room,
	      struct err *e)
{
	uint64_t from = m->text_file_offset + m->text_file_size;
	uint64_t to = (from + GUEST_PAGE_MASK) & ~(uint64_t)GUEST_PAGE_MASK;
	uint64_t at = m->text.v + m->text_file_size;
	uint8_t slack[GUEST_PAGE_SIZE];
	uint64_t n, used;

	if (((at ^ from) & GUEST_PAGE_MASK) || m->text_end.v != at)
		return err_set_addr(e, ERR_REFUSED, at, "the code of %s is not mapped as its file is", m->path);
	if (cut_at_segments(rd, m, from, &to, e))
		return -1;
	n = to - from;
	if (n && !code_read(rd, gva(at), slack, n))
		return err_set_addr(e, ERR_GUEST, at, "the last page of the code of %s is not in memory", m->path);
	used = n;
	while (used > 0 && !slack[used - 1])
		used--;
	used += (CAVE_ALIGN - ((at + used) & (CAVE_ALIGN - 1))) & (CAVE_ALIGN - 1);
	if (used >= n)
		return err_set_addr(e, ERR_REFUSED, at, "no unused bytes are left behind the code of %s", m->path);
	*ret_at = gva(at + used);
	*ret_room = (uint32_t)(n - used);
	return 0;
}
