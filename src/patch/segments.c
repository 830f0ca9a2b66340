/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading program headers, which the guest may have made up. */
#include "patch/segments.h"

#include <elf.h>

/* The part of an ELF header that says where its program headers are, in 64 bits. */
struct table {
	uint64_t offset;
	uint32_t n;
};

static bool read_table(const struct code_reader *rd, const struct vmi_module *m, struct table *ret)
{
	union {
		Elf64_Ehdr h64;
		Elf32_Ehdr h32;
	} h;

	if (m->is_32bit) {
		if (!code_read(rd, m->low, &h.h32, sizeof(h.h32)) || h.h32.e_phentsize != sizeof(Elf32_Phdr))
			return false;
		*ret = (struct table){h.h32.e_phoff, h.h32.e_phnum};
	} else {
		if (!code_read(rd, m->low, &h.h64, sizeof(h.h64)) || h.h64.e_phentsize != sizeof(Elf64_Phdr))
			return false;
		*ret = (struct table){h.h64.e_phoff, h.h64.e_phnum};
	}
	return ret->n && ret->n <= SEGMENTS_MAX && ret->offset <= m->high.v - m->low.v;
}

static bool read_one(const struct code_reader *rd, const struct vmi_module *m, uint64_t offset, uint32_t k,
		     struct segment *ret)
{
	Elf64_Phdr p64;
	Elf32_Phdr p32;

	if (m->is_32bit) {
		if (!code_read(rd, gva_add(m->low, offset + k * sizeof(p32)), &p32, sizeof(p32)))
			return false;
		*ret = (struct segment){p32.p_type, p32.p_flags, p32.p_offset, p32.p_filesz, p32.p_vaddr};
	} else {
		if (!code_read(rd, gva_add(m->low, offset + k * sizeof(p64)), &p64, sizeof(p64)))
			return false;
		*ret = (struct segment){p64.p_type, p64.p_flags, p64.p_offset, p64.p_filesz, p64.p_vaddr};
	}
	return true;
}

int segments_read(const struct code_reader *rd, const struct vmi_module *m, struct segment ret[SEGMENTS_MAX],
		  uint32_t *ret_n, struct err *e)
{
	struct table t;

	if (!read_table(rd, m, &t))
		return err_set_addr(e, ERR_GUEST, m->low.v, "the ELF header of %s cannot be followed", m->path);
	for (uint32_t k = 0; k < t.n; k++)
		if (!read_one(rd, m, t.offset, k, &ret[k]))
			return err_set_addr(e, ERR_GUEST, m->low.v, "the program headers of %s cannot be read",
					    m->path);
	*ret_n = t.n;
	return 0;
}
