/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Looking for a code cave in a mapped module. */
#include "patch/cave.h"

#include <elf.h>
#include <inttypes.h>

#define SEGMENTS_MAX 64
#define CAVE_ALIGN 16u

/*
 * Cuts the file range [from, *to) where another segment's bytes begin in it: ld without separate code puts the data
 * right behind the code, in the same page of the file.
 */
static int cut_at_segments(const struct code_reader *rd, const struct vmi_module *m, uint64_t from, uint64_t *to,
			   struct err *e)
{
	Elf64_Ehdr eh;

	if (!code_read(rd, m->low, &eh, sizeof(eh)) || eh.e_phentsize != sizeof(Elf64_Phdr) || !eh.e_phnum ||
	    eh.e_phnum > SEGMENTS_MAX || eh.e_phoff > m->high.v - m->low.v)
		return err_set_addr(e, ERR_GUEST, m->low.v, "the ELF header of %s cannot be followed", m->path);
	for (unsigned k = 0; k < eh.e_phnum; k++) {
		Elf64_Phdr ph;

		if (!code_read(rd, gva_add(m->low, eh.e_phoff + k * sizeof(ph)), &ph, sizeof(ph)))
			return err_set_addr(e, ERR_GUEST, m->low.v, "the program headers of %s cannot be read",
					    m->path);
		if (ph.p_type != PT_LOAD || !ph.p_filesz || ph.p_offset == m->text_file_offset)
			continue;
		if (ph.p_offset <= from && ph.p_filesz > from - ph.p_offset)
			*to = from;
		else if (ph.p_offset > from && ph.p_offset < *to)
			*to = ph.p_offset;
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
