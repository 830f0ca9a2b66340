/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From a call instruction to a name: through linkage-table stubs, pointers that the linker sets, and symbols. */
#include "locate/callee.h"

#include <elf.h>
#include <string.h>

#include "locate/x86.h"

#define STUB_MAX 24 /* bytes of a linkage-table entry */
#define UNSIZED_MAX 4096u /* bytes of a function whose symbol has no size */
#define PASS_MAX 256u /* bytes of a function that hands its arguments on */

static unsigned mode_of(const struct callee_source *src)
{
	return src->module->is_32bit ? X86_MODE_32 : X86_MODE_64;
}

static bool inside(const struct vmi_module *m, struct gva at)
{
	return at.v - m->text.v < m->text_file_size;
}

/* The address of a memory operand that is known without running: [rip + x], [x], and [got register + x]. */
static bool operand_address(const struct callee_source *src, const struct x86_insn *in, struct gva at, uint64_t *ret)
{
	const ZydisDecodedOperand *op = &in->op[0];

	if (op->type != ZYDIS_OPERAND_TYPE_MEMORY || op->mem.index != ZYDIS_REGISTER_NONE ||
	    op->mem.segment == ZYDIS_REGISTER_FS || op->mem.segment == ZYDIS_REGISTER_GS)
		return false;
	if (op->mem.base == ZYDIS_REGISTER_RIP)
		return x86_relative(in, at.v, ret);
	*ret = (uint64_t)op->mem.disp.value;
	if (src->module->is_32bit)
		*ret = (uint32_t)*ret;
	if (op->mem.base == ZYDIS_REGISTER_NONE)
		return true;
	if (!src->module->is_32bit || !src->dynamic || !src->dynamic->got.v || op->mem.base == ZYDIS_REGISTER_ESP ||
	    op->mem.base == ZYDIS_REGISTER_EBP)
		return false;
	*ret = (uint32_t)(*ret + src->dynamic->got.v);
	return true;
}

/* The slot that the stub at `at` jumps through: at most an endbr before the jump. */
static bool stub_slot(const struct callee_source *src, struct gva at, uint64_t *ret)
{
	uint8_t bytes[STUB_MAX];
	struct x86_insn in;
	size_t off = 0;

	if (!code_read(&src->rd, at, bytes, sizeof(bytes)) || !x86_decode_mode(mode_of(src), bytes, STUB_MAX, &in))
		return false;
	if (in.i.mnemonic == ZYDIS_MNEMONIC_ENDBR64 || in.i.mnemonic == ZYDIS_MNEMONIC_ENDBR32) {
		off = in.i.length;
		if (!x86_decode_mode(mode_of(src), bytes + off, STUB_MAX - off, &in))
			return false;
	}
	return in.i.mnemonic == ZYDIS_MNEMONIC_JMP && operand_address(src, &in, gva_add(at, off), ret);
}

struct at_search {
	const struct symtab *t;
	struct gva at;
	struct gva start; /* of the function found */
	char *name;
	bool found;
};

/* The nearest below, which may have no size (hand-written code); of several names one that is known. */
static bool match_at(void *arg, const struct symbol *s)
{
	struct at_search *q = arg;
	uint64_t size = s->size ? s->size : UNSIZED_MAX;
	char name[SYMTAB_NAME_MAX];

	if (!s->defined || q->at.v - s->at.v >= size || (s->type != STT_FUNC && s->type != STT_GNU_IFUNC) ||
	    (q->found && s->at.v < q->start.v))
		return true;
	symtab_name(q->t, s, name);
	if (!q->found || s->at.v > q->start.v || callee_known(name))
		memcpy(q->name, name, sizeof(name));
	q->start = s->at;
	q->found = true;
	return true;
}

bool callee_name_at(const struct symtab *t, struct gva at, char ret[SYMTAB_NAME_MAX])
{
	struct at_search q = {.t = t, .at = at, .name = ret};

	symtab_each(t, match_at, &q);
	return q.found;
}

/* By symbol, for a function of the module itself. */
static void name_own(const struct callee_source *src, struct callee_target *ret)
{
	if (src->symtab && callee_name_at(src->symtab, ret->at, ret->name))
		return;
	if (src->dynamic && callee_name_at(&src->dynamic->sym, ret->at, ret->name))
		return;
	*ret->name = '\0';
}

static void name_slot(const struct callee_source *src, struct callee_target *ret)
{
	if (!src->dynamic || !dynamic_slot_name(src->dynamic, ret->slot, ret->name))
		*ret->name = '\0';
}

bool callee_follow(const struct callee_source *src, struct gva at, uint8_t len, struct callee_target *ret)
{
	uint8_t bytes[X86_INSN_MAX];
	struct x86_insn in;
	uint64_t to;

	memset(ret, 0, sizeof(*ret));
	if (len > sizeof(bytes) || !code_read(&src->rd, at, bytes, len) ||
	    !x86_decode_mode(mode_of(src), bytes, len, &in) ||
	    (in.i.mnemonic != ZYDIS_MNEMONIC_CALL && in.i.mnemonic != ZYDIS_MNEMONIC_JMP))
		return false;
	if (in.op[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE && x86_relative(&in, at.v, &to)) {
		ret->at = gva(to);
		if (!stub_slot(src, ret->at, &to)) {
			name_own(src, ret);
			return true;
		}
		ret->slot = gva(to);
		name_slot(src, ret);
	} else if (operand_address(src, &in, at, &to)) {
		ret->slot = gva(to);
		name_slot(src, ret);
	}
	return true;
}

/* Whether an instruction may change an argument: in a register, or on the stack. */
static bool touches_arguments(const struct callee_source *src, const struct x86_insn *in)
{
	static const uint8_t holds64[16] = {[1] = 1, [2] = 1, [6] = 1, [7] = 1, [8] = 1, [9] = 1};

	for (unsigned k = 0; k < in->i.operand_count; k++) {
		const ZydisDecodedOperand *op = &in->op[k];
		uint8_t gpr;

		if (!(op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE))
			continue;
		if (op->type == ZYDIS_OPERAND_TYPE_MEMORY)
			return true;
		gpr = op->type == ZYDIS_OPERAND_TYPE_REGISTER ? x86_gpr(op->reg.value) : X86_NO_REG;
		if (gpr == X86_RSP || (!src->module->is_32bit && gpr < 16 && holds64[gpr]))
			return true;
	}
	return false;
}

/* Copies a short function's code; returns its size, 0: it is too long, or not to be read. */
static size_t read_function(const struct callee_source *src, struct gva function, struct gva end, uint8_t ret[PASS_MAX])
{
	size_t size = end.v - function.v;

	return end.v > function.v && size <= PASS_MAX && inside(src->module, function) &&
			       code_read(&src->rd, function, ret, size)
		       ? size
		       : 0;
}

bool callee_passes_on(const struct callee_source *src, struct gva function, struct gva end, struct callee_target *ret)
{
	uint8_t bytes[PASS_MAX];
	struct callee_target to = {0};
	struct x86_insn in;
	unsigned jumps = 0;
	size_t size = read_function(src, function, end, bytes);

	if (!size)
		return false;
	for (size_t off = 0; off < size; off += in.i.length) {
		struct gva at = gva_add(function, off);

		if (!x86_decode_mode(mode_of(src), bytes + off, size - off, &in) ||
		    in.i.mnemonic == ZYDIS_MNEMONIC_CALL)
			return false;
		if (in.i.mnemonic == ZYDIS_MNEMONIC_RET)
			continue;
		if (in.i.mnemonic == ZYDIS_MNEMONIC_JMP && callee_follow(src, at, in.i.length, &to)) {
			if (to.at.v - function.v < size)
				continue;
			jumps++;
			*ret = to;
		} else if (touches_arguments(src, &in)) {
			return false;
		}
	}
	return jumps == 1;
}
