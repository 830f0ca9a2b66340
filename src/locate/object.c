/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The object that a run of bytes began in.
 *
 * On the stack it ends at the lowest saved register, stack protector's word or return address of its frame above the run, or where the
 * corrupted object begins, if that is lower (a function pointer between buffer and return address). Static data ends
 * with its symbol, or with the corrupted object. A heap chunk ends where its header says; if what was corrupted lies in
 * the same chunk, the object is what comes before it.
 */
#include "locate/object.h"

#include <elf.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "locate/chunk.h"
#include "locate/x86.h"

#define TABLES_MAX 2
#define CANARY_WITHIN 256u /* bytes of a function in which its stack protector is set up */

static void lower(struct gva *bound, struct gva by, struct gva above)
{
	if (by.v > above.v && by.v < bound->v)
		*bound = by;
}

static const struct chain_frame *owner_of(const struct chain *c, struct gva at, unsigned *ret)
{
	for (unsigned k = 0; k < c->n && c->frame[k].cfa.v; k++) {
		if (at.v >= c->frame[k].cfa.v)
			continue;
		*ret = k;
		return k == 0 || at.v >= c->frame[k].sp.v ? &c->frame[k] : NULL;
	}
	return NULL;
}

/* Lowers *end to the lowest place above the run where the frame keeps a register of its caller. */
static int saved_registers(const struct object_input *in, const struct chain_frame *f, struct gva *end, struct err *e)
{
	struct cfi m = chain_cfi(in->src, f->module);
	struct cfi_fde fde;
	struct cfi_row row;

	if (cfi_find(&m, chain_lookup(f), &fde, e) || cfi_row_at(&m, &fde, chain_lookup(f), &row, e))
		return err_prefix(e, "the object's frame");
	for (unsigned k = 0; k < CFI_REGS; k++) {
		if (row.reg[k].rule == CFI_SAVED)
			lower(end, gva_add(f->cfa, (uint64_t)row.reg[k].offset), in->run);
		else if (row.reg[k].rule == CFI_SAVED_AT && (f->known >> row.reg[k].base & 1))
			lower(end, gva(f->gpr[row.reg[k].base] + (uint64_t)row.reg[k].offset), in->run);
	}
	return 0;
}

/* The stack protector's word: fs:0x28, in 32-bit code gs:0x14. */
static bool loads_canary(const struct x86_insn *in)
{
	const ZydisDecodedOperand *op = &in->op[1];

	return in->i.mnemonic == ZYDIS_MNEMONIC_MOV && in->op[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
	       op->type == ZYDIS_OPERAND_TYPE_MEMORY && op->mem.base == ZYDIS_REGISTER_NONE &&
	       op->mem.index == ZYDIS_REGISTER_NONE &&
	       ((op->mem.segment == ZYDIS_REGISTER_FS && op->mem.disp.value == 0x28) ||
		(op->mem.segment == ZYDIS_REGISTER_GS && op->mem.disp.value == 0x14));
}

/* Whether *in keeps register reg in the frame: then where from the CFA. */
static bool keeps_in_frame(const struct x86_insn *in, ZydisRegister reg, const struct cfi_row *row, int64_t *ret)
{
	const ZydisDecodedOperand *op = &in->op[0];

	if (in->i.mnemonic != ZYDIS_MNEMONIC_MOV || op->type != ZYDIS_OPERAND_TYPE_MEMORY ||
	    in->op[1].type != ZYDIS_OPERAND_TYPE_REGISTER || in->op[1].reg.value != reg || !row->cfa_known ||
	    op->mem.index != ZYDIS_REGISTER_NONE || x86_gpr(op->mem.base) != row->cfa_reg)
		return false;
	*ret = op->mem.disp.value - row->cfa_offset;
	return true;
}

/* Lowers *end to the frame's canary: what overwrites it ends the program. A few instructions load and keep it. */
static void canary(const struct object_input *in, const struct chain_frame *f, struct gva *end)
{
	struct cfi m = chain_cfi(in->src, f->module);
	unsigned mode = in->src->is_32bit ? X86_MODE_32 : X86_MODE_64;
	uint64_t size = f->function_end.v - f->function.v, n = size < CANARY_WITHIN ? size : CANARY_WITHIN;
	ZydisRegister reg = ZYDIS_REGISTER_NONE;
	uint8_t code[CANARY_WITHIN];
	struct x86_insn insn;
	struct cfi_fde fde;
	struct cfi_row row;
	int64_t at;

	if (cfi_find(&m, f->function, &fde, NULL) || !code_read(&in->src->rd, f->function, code, n))
		return;
	for (uint64_t off = 0; off < n; off += insn.i.length) {
		if (!x86_decode_mode(mode, code + off, n - off, &insn))
			return;
		if (loads_canary(&insn)) {
			reg = insn.op[0].reg.value;
		} else if (reg != ZYDIS_REGISTER_NONE && !cfi_row_at(&m, &fde, gva_add(f->function, off), &row, NULL) &&
			   keeps_in_frame(&insn, reg, &row, &at)) {
			lower(end, gva_add(f->cfa, (uint64_t)at), in->run);
			return;
		}
	}
}

static int stack_object(const struct object_input *in, const struct chain_frame *f, struct object *ret, struct err *e)
{
	if (!f->function.v || f->guessed)
		return err_set_addr(e, ERR_REFUSED, f->pc.v,
				    "the overrun object is in the frame of 0x%" PRIx64
				    ", whose layout is not known (no frame information)",
				    f->pc.v);
	ret->kind = OBJECT_STACK;
	ret->start = in->run;
	ret->end = f->slot;
	if (in->run.v >= f->slot.v)
		return err_set_addr(e, ERR_REFUSED, in->run.v,
				    "the run began at the return address of 0x%" PRIx64 ": no object to bound",
				    f->function.v);
	if (saved_registers(in, f, &ret->end, e))
		return -1;
	canary(in, f, &ret->end);
	lower(&ret->end, in->error, in->run);
	snprintf(ret->text, sizeof(ret->text), "stack object of 0x%" PRIx64 ", %" PRIu64 " bytes", f->function.v,
		 ret->end.v - ret->start.v);
	return 0;
}

static const struct vmi_module *module_of(const struct chain *c, struct gva at)
{
	for (unsigned k = 0; k < c->n_modules; k++)
		if (at.v >= c->module[k].low.v && at.v < c->module[k].high.v)
			return &c->module[k];
	return NULL;
}

struct cover {
	struct gva at;
	struct symbol best;
	bool found;
};

/* The smallest object that covers the run's start. */
static bool match_cover(void *arg, const struct symbol *s)
{
	struct cover *c = arg;

	if (!s->defined || s->type != STT_OBJECT || c->at.v - s->at.v >= s->size)
		return true;
	if (!c->found || s->size < c->best.size)
		c->best = *s;
	c->found = true;
	return true;
}

static bool named_object(const struct object_input *in, const struct vmi_module *m, struct object *ret)
{
	struct symtab t[TABLES_MAX];
	unsigned n = in->symbols(in->arg, m, t, TABLES_MAX);

	for (unsigned k = 0; k < n; k++) {
		struct cover c = {.at = in->run};
		char name[SYMTAB_NAME_MAX];

		symtab_each(&t[k], match_cover, &c);
		if (!c.found || c.best.at.v + c.best.size < c.best.at.v)
			continue;
		symtab_name(&t[k], &c.best, name);
		ret->start = c.best.at;
		ret->end = gva_add(c.best.at, c.best.size);
		ret->exact = true;
		snprintf(ret->text, sizeof(ret->text), "static object %.40s, %" PRIu64 " bytes", name, c.best.size);
		return true;
	}
	return false;
}

static int static_object(const struct object_input *in, const struct vmi_module *m, struct object *ret, struct err *e)
{
	ret->kind = OBJECT_STATIC;
	ret->module = m;
	if (named_object(in, m, ret)) {
		lower(&ret->end, in->error, in->run);
		return 0;
	}
	if (in->error.v <= in->run.v || in->error.v >= m->high.v)
		return err_set_addr(e, ERR_REFUSED, in->run.v,
				    "static data at 0x%" PRIx64
				    " was overrun, but neither a symbol nor what was corrupted tells its end",
				    in->run.v);
	ret->start = in->run;
	ret->end = in->error;
	snprintf(ret->text, sizeof(ret->text), "static data at 0x%" PRIx64 ", %" PRIu64 " bytes", in->run.v - m->bias,
		 ret->end.v - ret->start.v);
	return 0;
}

static const struct vmi_vma *map_of(const struct object_input *in, struct gva at)
{
	for (unsigned k = 0; k < in->n_maps; k++)
		if (at.v >= in->maps[k].start.v && at.v < in->maps[k].end.v)
			return &in->maps[k];
	return NULL;
}

/* Walks from the heap's first chunk, whose memory begins at `first`, to the one that holds the run. */
static bool walk_heap(const struct object_input *in, const struct vmi_vma *map, uint64_t first, struct object *ret)
{
	unsigned word = in->src->is_32bit ? 4 : 8;
	uint64_t mem = first, size;

	for (unsigned k = 0; k < CHUNKS_MAX && mem <= in->run.v; k++) {
		if (!chunk_size(&in->src->rd, word, map, mem, &size))
			return false;
		if (in->run.v < mem + size - word) {
			ret->mapped = chunk_mapped(&in->src->rd, word, mem);
			ret->start = gva(mem);
			ret->end = gva(mem + size - (ret->mapped ? 2 : 1) * word);
			return in->run.v < ret->end.v;
		}
		mem += size;
	}
	return false;
}

static int chunk_object(const struct object_input *in, const struct vmi_vma *map, struct object *ret, struct err *e)
{
	uint64_t first, size;

	ret->kind = OBJECT_CHUNK;
	ret->exact = true;
	if (*map->path || !(map->flags & VMI_VM_WRITE))
		return err_set_addr(e, ERR_REFUSED, in->run.v,
				    "the overrun bytes at 0x%" PRIx64 " are neither stack, static data nor heap",
				    in->run.v);
	first = chunk_first(&in->src->rd, in->src->is_32bit ? 4 : 8, map);
	if (!(first && walk_heap(in, map, first, ret)) && !(in->run.v % 8 == 0 && walk_heap(in, map, in->run.v, ret)))
		return err_set_addr(e, ERR_REFUSED, in->run.v,
				    "0x%" PRIx64 " is in memory that looks like no heap of the C library", in->run.v);
	size = ret->end.v - ret->start.v;
	if (in->error.v > in->run.v && in->error.v < ret->end.v) {
		/* a member of a structure was run out of, into the next */
		ret->part_of = size + (ret->mapped ? 2 : 1) * (in->src->is_32bit ? 4 : 8);
		ret->end = in->error;
		ret->exact = false;
		snprintf(ret->text, sizeof(ret->text), "%" PRIu64 " of the %" PRIu64 " bytes of a heap chunk",
			 ret->end.v - in->run.v, size);
		return 0;
	}
	snprintf(ret->text, sizeof(ret->text), "heap chunk at 0x%" PRIx64 ", %" PRIu64 " bytes", ret->start.v, size);
	return 0;
}

int object_find(const struct object_input *in, struct object *ret, struct err *e)
{
	const struct vmi_module *m = module_of(in->chain, in->run);
	const struct vmi_vma *map = map_of(in, in->run);
	const struct chain_frame *f;

	memset(ret, 0, sizeof(*ret));
	f = owner_of(in->chain, in->run, &ret->frame);
	if (f && map && map == map_of(in, f->slot))
		return stack_object(in, f, ret, e);
	if (m)
		return static_object(in, m, ret, e);
	if (!map)
		return err_set_addr(e, ERR_REFUSED, in->run.v, "nothing is mapped at 0x%" PRIx64 " where the run began",
				    in->run.v);
	return chunk_object(in, map, ret, e);
}
