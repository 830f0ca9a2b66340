/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The dynamic section: the table of exported and imported symbols, and which slot is set to which. */
#include "locate/symtab.h"

#include <elf.h>
#include <string.h>

#define ENTRIES_MAX 256u /* of the section */
#define RELOCS_MAX (1u << 18)
#define BLOCK 64u /* buckets read at once */
#define HASH_MAX (1u << 20) /* buckets */

/* What is kept of the section, by tag. */
enum want {
	SYMTAB,
	STRTAB,
	STRSZ,
	HASH,
	GNU_HASH,
	PLTGOT,
	JMPREL,
	PLTRELSZ,
	PLTREL,
	RELA,
	RELASZ,
	REL,
	RELSZ,
	FLAGS,
	FLAGS_1,
	BIND_NOW,
	WANTS
};

static const struct {
	uint64_t tag;
	bool is_address;
} wanted[WANTS] = {
	[SYMTAB] = {DT_SYMTAB, true},	   [STRTAB] = {DT_STRTAB, true},      [STRSZ] = {DT_STRSZ, false},
	[HASH] = {DT_HASH, true},	   [GNU_HASH] = {DT_GNU_HASH, true},  [PLTGOT] = {DT_PLTGOT, true},
	[JMPREL] = {DT_JMPREL, true},	   [PLTRELSZ] = {DT_PLTRELSZ, false}, [PLTREL] = {DT_PLTREL, false},
	[RELA] = {DT_RELA, true},	   [RELASZ] = {DT_RELASZ, false},     [REL] = {DT_REL, true},
	[RELSZ] = {DT_RELSZ, false},	   [FLAGS] = {DT_FLAGS, false},	      [FLAGS_1] = {DT_FLAGS_1, false},
	[BIND_NOW] = {DT_BIND_NOW, false},
};

struct values {
	uint64_t v[WANTS];
	bool has[WANTS];
};

/* glibc's linker adds the bias to addresses in the section, others leave them; 0: it points outside the module. */
static uint64_t to_address(const struct vmi_module *m, uint64_t v)
{
	if (v < m->low.v || v >= m->high.v)
		v += m->bias;
	return v >= m->low.v && v < m->high.v ? v : 0;
}

static void keep(const struct vmi_module *m, uint64_t tag, uint64_t v, struct values *ret)
{
	for (unsigned k = 0; k < WANTS; k++) {
		if (wanted[k].tag != tag)
			continue;
		ret->v[k] = wanted[k].is_address ? to_address(m, v) : v;
		ret->has[k] = true;
	}
}

static bool read_values(const struct code_reader *rd, const struct vmi_module *m, struct values *ret)
{
	size_t size = m->is_32bit ? sizeof(Elf32_Dyn) : sizeof(Elf64_Dyn);

	memset(ret, 0, sizeof(*ret));
	for (uint64_t k = 0; k < ENTRIES_MAX && (k + 1) * size <= m->dynamic_size; k++) {
		uint64_t pair[2] = {0};
		uint32_t half[2];

		if (!code_read(rd, gva_add(m->dynamic, k * size), m->is_32bit ? (void *)half : (void *)pair, size))
			return false;
		if (m->is_32bit) {
			pair[0] = half[0];
			pair[1] = half[1];
		}
		if (pair[0] == DT_NULL)
			return true;
		keep(m, pair[0], pair[1], ret);
	}
	return true;
}

/* Number of symbols by the GNU hash table: the last of the longest chain. */
static uint64_t count_by_gnu_hash(const struct code_reader *rd, uint64_t at, bool is_32bit)
{
	uint32_t head[4], bucket[BLOCK], last = 0, entry; /* buckets, first symbol, words of filter, shift */
	uint64_t buckets, chains;

	if (!code_read(rd, gva(at), head, sizeof(head)) || head[0] > HASH_MAX || head[2] > HASH_MAX)
		return 0;
	buckets = at + sizeof(head) + (uint64_t)head[2] * (is_32bit ? 4 : 8);
	chains = buckets + 4ull * head[0];
	for (uint32_t k = 0; k < head[0]; k += BLOCK) {
		uint32_t n = head[0] - k < BLOCK ? head[0] - k : BLOCK;

		if (!code_read(rd, gva(buckets + 4ull * k), bucket, 4ull * n))
			return 0;
		for (uint32_t i = 0; i < n; i++)
			last = bucket[i] > last ? bucket[i] : last;
	}
	if (last < head[1])
		return head[1];
	for (uint32_t k = 0; k < HASH_MAX; k++, last++) {
		if (!code_read(rd, gva(chains + 4ull * (last - head[1])), &entry, 4))
			return 0;
		if (entry & 1)
			return (uint64_t)last + 1;
	}
	return 0;
}

static uint64_t count_symbols(const struct code_reader *rd, const struct values *v, bool is_32bit)
{
	uint32_t head[2];

	if (v->v[HASH] && code_read(rd, gva(v->v[HASH]), head, sizeof(head)))
		return head[1];
	return v->v[GNU_HASH] ? count_by_gnu_hash(rd, v->v[GNU_HASH], is_32bit) : 0;
}

int dynamic_read(const struct code_reader *rd, const struct vmi_module *m, struct dynamic *ret, struct err *e)
{
	struct values v;

	if (!m->dynamic.v)
		return err_set(e, ERR_GUEST, "%s has no dynamic section", m->path);
	if (!read_values(rd, m, &v) || !v.v[SYMTAB] || !v.v[STRTAB])
		return err_set_addr(e, ERR_GUEST, m->dynamic.v, "the dynamic section of %s makes no sense", m->path);
	*ret = (struct dynamic){.got = {v.v[PLTGOT]}};
	ret->sym = (struct symtab){.rd = *rd,
				   .symbols = v.v[SYMTAB],
				   .strings = v.v[STRTAB],
				   .strings_size = v.v[STRSZ],
				   .n = count_symbols(rd, &v, m->is_32bit),
				   .bias = m->bias,
				   .is_32bit = m->is_32bit};
	ret->now = v.has[BIND_NOW] || (v.v[FLAGS] & DF_BIND_NOW) || (v.v[FLAGS_1] & DF_1_NOW);
	/* the first is the one that may be lazy */
	ret->reloc[0].at = v.v[JMPREL];
	ret->reloc[0].size = v.v[PLTRELSZ];
	ret->reloc[0].addend = v.v[PLTREL] == DT_RELA;
	ret->reloc[1].at = v.v[RELA];
	ret->reloc[1].size = v.v[RELASZ];
	ret->reloc[1].addend = true;
	ret->reloc[2].at = v.v[REL];
	ret->reloc[2].size = v.v[RELSZ];
	return 0;
}

/* Where relocations of a kind put the plain address of a symbol. */
static bool sets_pointer(bool is_32bit, uint32_t type)
{
	static const uint32_t types[2][3] = {
		{R_X86_64_JUMP_SLOT, R_X86_64_GLOB_DAT, R_X86_64_64},
		{R_386_JMP_SLOT, R_386_GLOB_DAT, R_386_32},
	};

	return type == types[is_32bit][0] || type == types[is_32bit][1] || type == types[is_32bit][2];
}

/* Relocation k of table r; false: it cannot be read. *ret_type: 0 if it has no symbol. */
static bool read_reloc(const struct dynamic *d, unsigned r, uint64_t k, struct dynamic_slot *ret, uint32_t *ret_type)
{
	bool is_32bit = d->sym.is_32bit, addend = d->reloc[r].addend;
	size_t word = is_32bit ? 4 : 8, size = word * (addend ? 3 : 2);
	uint64_t w[2] = {0};

	for (unsigned i = 0; i < 2; i++)
		if (!code_read(&d->sym.rd, gva(d->reloc[r].at + k * size + i * word), &w[i], word))
			return false;
	ret->at = gva(w[0] + d->sym.bias);
	if (is_32bit)
		ret->at = gva((uint32_t)ret->at.v);
	ret->symbol = (uint32_t)(is_32bit ? ELF32_R_SYM((uint32_t)w[1]) : ELF64_R_SYM(w[1]));
	ret->lazy = r == 0 && !d->now;
	*ret_type = ret->symbol ? (uint32_t)(is_32bit ? ELF32_R_TYPE((uint32_t)w[1]) : ELF64_R_TYPE(w[1])) : 0;
	return true;
}

void dynamic_each_slot(const struct dynamic *d, bool (*fn)(void *arg, const struct dynamic_slot *s), void *arg)
{
	for (unsigned r = 0; r < DYNAMIC_RELOCS; r++) {
		size_t size = (d->sym.is_32bit ? 4 : 8) * (d->reloc[r].addend ? 3 : 2);

		if (!d->reloc[r].at)
			continue;
		for (uint64_t k = 0; k < d->reloc[r].size / size && k < RELOCS_MAX; k++) {
			struct dynamic_slot s;
			uint32_t type;

			if (!read_reloc(d, r, k, &s, &type))
				break;
			if (sets_pointer(d->sym.is_32bit, type) && !fn(arg, &s))
				return;
		}
	}
}

struct slot_search {
	struct gva at;
	uint32_t symbol; /* 0: not found */
};

static bool match_slot(void *arg, const struct dynamic_slot *s)
{
	struct slot_search *q = arg;

	if (s->at.v == q->at.v)
		q->symbol = s->symbol;
	return !q->symbol;
}

bool dynamic_slot_name(const struct dynamic *d, struct gva slot, char ret[SYMTAB_NAME_MAX])
{
	struct slot_search q = {slot, 0};
	struct symbol s;

	dynamic_each_slot(d, match_slot, &q);
	if (!q.symbol || !symtab_get(&d->sym, q.symbol, &s))
		return false;
	symtab_name(&d->sym, &s, ret);
	return *ret != '\0';
}
