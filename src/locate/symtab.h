/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Symbols of a module: those it exports and imports (.dynsym, in memory), those of a program that is not stripped
 * (.symtab, in the file), and the slots that the dynamic linker fills for it.
 *
 * All of it is the guest's: sizes and counts are bounded, names are cut and made printable.
 */
#ifndef CLOUDER_LOCATE_SYMTAB_H
#define CLOUDER_LOCATE_SYMTAB_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"
#include "locate/reader.h"
#include "vmi/vmi.h"

#define SYMTAB_NAME_MAX 80 /* bytes with the zero; longer names are cut */
#define SYMTAB_MAX (1u << 17) /* symbols looked at in a table */

struct symtab {
	struct code_reader rd; /* of the process, or of the file: then addresses are offsets */
	uint64_t symbols, strings; /* addresses for rd */
	uint64_t n, strings_size; /* symbols, bytes */
	uint64_t bias; /* added to values */
	bool is_32bit;
};

struct symbol {
	struct gva at;
	uint64_t size; /* bytes; 0: not told */
	uint8_t type; /* STT_* of elf.h */
	bool defined; /* in this module */
	uint32_t name; /* offset in the strings */
};

/* Calls fn for every symbol until it returns false. Ends where the table cannot be read. */
void symtab_each(const struct symtab *t, bool (*fn)(void *arg, const struct symbol *s), void *arg);

/* false: no such symbol, or it cannot be read. */
bool symtab_get(const struct symtab *t, uint64_t index, struct symbol *ret);

void symtab_name(const struct symtab *t, const struct symbol *s, char ret[SYMTAB_NAME_MAX]);

/* The defined symbol of this name. */
bool symtab_find(const struct symtab *t, const char *name, struct symbol *ret);

/* .symtab of an ELF file. ERR_GUEST: it has none, or that part of it cannot be read. */
int symtab_of_file(const struct code_reader *file, uint64_t bias, struct symtab *ret, struct err *e) MUST_CHECK;

#define DYNAMIC_RELOCS 3

struct dynamic {
	struct symtab sym;
	struct gva got; /* DT_PLTGOT: what 32-bit code keeps in a register; 0: none */
	struct {
		uint64_t at, size; /* bytes */
		bool addend; /* Rela, not Rel */
	} reloc[DYNAMIC_RELOCS];
	bool now; /* every slot is filled before the program starts */
};

/* The dynamic section of a module in memory. ERR_GUEST: it has none, or it makes no sense. */
int dynamic_read(const struct code_reader *rd, const struct vmi_module *m, struct dynamic *ret,
		 struct err *e) MUST_CHECK;

/* A pointer that the dynamic linker sets to the address of a symbol. */
struct dynamic_slot {
	struct gva at;
	uint32_t symbol;
	bool lazy; /* may be filled at the first call only */
};

/* Calls fn for every slot until it returns false. */
void dynamic_each_slot(const struct dynamic *d, bool (*fn)(void *arg, const struct dynamic_slot *s), void *arg);

/* The name of the symbol whose address the slot holds. false: it is no slot. */
bool dynamic_slot_name(const struct dynamic *d, struct gva slot, char ret[SYMTAB_NAME_MAX]);

#endif
