/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Decoding a function and finding where control arrives in it. */
#include "locate/code.h"

#include <stdlib.h>
#include <string.h>

#include "locate/code_internal.h"

#define TEXT_MAX (256ull << 20) /* bytes of a module's code that are looked through */

void code_fn_destroy(struct code_fn *fn)
{
	if (!fn)
		return;
	free(fn->bytes);
	free(fn->mark);
	free(fn->insn);
	free(fn);
}

void code_fn_add_target(struct code_fn *fn, struct gva at)
{
	uint64_t off = at.v - fn->start.v;

	if (off < fn->size)
		fn->mark[off] |= CODE_MARK_TARGET;
}

const struct code_insn *code_fn_insn(const struct code_fn *fn, struct gva at)
{
	uint32_t lo = 0, hi = fn->n_insn;
	uint64_t off = at.v - fn->start.v;

	if (off >= fn->size || !(fn->mark[off] & CODE_MARK_INSN))
		return NULL;
	while (hi - lo > 1) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (fn->insn[mid].off <= off)
			lo = mid;
		else
			hi = mid;
	}
	return &fn->insn[lo];
}

bool code_fn_decode(const struct code_fn *fn, uint32_t k, struct x86_insn *ret)
{
	return x86_decode_mode(fn->mode, fn->bytes + fn->insn[k].off, fn->insn[k].len, ret);
}

/* Mnemonics and categories that are not plain CODE_NEXT, CODE_MOVE_ANY. The first row that fits counts. */
static const struct {
	uint16_t mnemonic; /* ZYDIS_MNEMONIC_INVALID: any of the category */
	uint16_t category;
	uint8_t flow, move;
} rules[] = {
	{ZYDIS_MNEMONIC_LOOP, 0, CODE_BRANCH, CODE_MOVE_NEVER},
	{ZYDIS_MNEMONIC_LOOPE, 0, CODE_BRANCH, CODE_MOVE_NEVER},
	{ZYDIS_MNEMONIC_LOOPNE, 0, CODE_BRANCH, CODE_MOVE_NEVER},
	{ZYDIS_MNEMONIC_JCXZ, 0, CODE_BRANCH, CODE_MOVE_NEVER},
	{ZYDIS_MNEMONIC_JECXZ, 0, CODE_BRANCH, CODE_MOVE_NEVER},
	{ZYDIS_MNEMONIC_JRCXZ, 0, CODE_BRANCH, CODE_MOVE_NEVER},
	{ZYDIS_MNEMONIC_XBEGIN, 0, CODE_BRANCH, CODE_MOVE_NEVER},
	{ZYDIS_MNEMONIC_ENDBR64, 0, CODE_NEXT, CODE_MOVE_NEVER}, /* must stay where indirect calls arrive */
	{ZYDIS_MNEMONIC_ENDBR32, 0, CODE_NEXT, CODE_MOVE_NEVER},
	{ZYDIS_MNEMONIC_HLT, 0, CODE_STOP, CODE_MOVE_ANY},
	{ZYDIS_MNEMONIC_UD2, 0, CODE_STOP, CODE_MOVE_ANY},
	{ZYDIS_MNEMONIC_INT3, 0, CODE_STOP, CODE_MOVE_NEVER},
	{ZYDIS_MNEMONIC_INVALID, ZYDIS_CATEGORY_COND_BR, CODE_BRANCH, CODE_MOVE_ANY},
	{ZYDIS_MNEMONIC_INVALID, ZYDIS_CATEGORY_UNCOND_BR, CODE_JUMP, CODE_MOVE_ANY},
	{ZYDIS_MNEMONIC_INVALID, ZYDIS_CATEGORY_CALL, CODE_CALL, CODE_MOVE_LAST},
	{ZYDIS_MNEMONIC_INVALID, ZYDIS_CATEGORY_RET, CODE_STOP, CODE_MOVE_ANY},
	{ZYDIS_MNEMONIC_INVALID, ZYDIS_CATEGORY_SYSCALL, CODE_NEXT, CODE_MOVE_LAST},
	{ZYDIS_MNEMONIC_INVALID, ZYDIS_CATEGORY_INTERRUPT, CODE_NEXT, CODE_MOVE_LAST},
};

static void classify(const struct x86_insn *in, struct code_insn *ret)
{
	ret->flow = CODE_NEXT;
	ret->move = CODE_MOVE_ANY;
	for (size_t k = 0; k < sizeof(rules) / sizeof(rules[0]); k++) {
		bool fits = rules[k].mnemonic == ZYDIS_MNEMONIC_INVALID ? in->i.meta.category == rules[k].category
									: in->i.mnemonic == rules[k].mnemonic;

		if (fits) {
			ret->flow = rules[k].flow;
			ret->move = rules[k].move;
			return;
		}
	}
}

static int decode_all(struct code_fn *fn, struct err *e)
{
	struct x86_insn in;
	uint32_t off = 0;

	while (off < fn->size) {
		struct code_insn *ci = &fn->insn[fn->n_insn];
		uint64_t at = fn->start.v + off, target;

		if (!x86_decode_mode(fn->mode, fn->bytes + off, fn->size - off, &in))
			return err_set_addr(e, ERR_REFUSED, at, "the code at 0x%llx does not decode",
					    (unsigned long long)at);
		ci->off = off;
		ci->len = in.i.length;
		classify(&in, ci);
		if (ci->flow != CODE_NEXT && x86_relative(&in, at, &target) &&
		    in.op[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
			ci->target = target;
		fn->mark[off] |= CODE_MARK_INSN;
		if (ci->target && ci->flow != CODE_CALL)
			code_fn_add_target(fn, gva(ci->target));
		off += ci->len;
		fn->n_insn++;
	}
	return 0;
}

/* Follows indirect jumps and checks that direct ones which leave the function lead to code that can be read. */
static int follow_jumps(struct code_fn *fn, const struct code_text *text, struct err *e)
{
	for (uint32_t k = 0; k < fn->n_insn; k++) {
		struct code_insn *ci = &fn->insn[k];
		uint8_t byte;

		if (ci->flow == CODE_JUMP && !ci->target && code_table_follow(fn, text, k, e))
			return -1;
		if (ci->flow == CODE_CALL || !ci->target || ci->target - fn->start.v < fn->size)
			continue;
		if (!code_read(text->rd, gva(ci->target), &byte, 1))
			return err_set_addr(e, ERR_REFUSED, ci->target,
					    "the function's part at 0x%llx is not in memory: what it does is not known",
					    (unsigned long long)ci->target);
	}
	return 0;
}

/* If the bytes at p, address at, could be a direct branch into the function, its target is an arrival. */
static void look_at(struct code_fn *fn, const uint8_t *p, uint64_t at)
{
	uint8_t mark = CODE_MARK_TARGET;
	uint64_t off;
	int32_t rel32;

	if (p[0] == 0xeb || (p[0] & 0xf0) == 0x70) {
		mark = CODE_MARK_NEAR;
		off = at + 2 + (uint64_t)(int64_t)(int8_t)p[1] - fn->start.v;
	} else if (p[0] == 0xe8 || p[0] == 0xe9) {
		memcpy(&rel32, p + 1, 4);
		off = at + 5 + (uint64_t)(int64_t)rel32 - fn->start.v;
	} else if (p[0] == 0x0f && (p[1] & 0xf0) == 0x80) {
		memcpy(&rel32, p + 2, 4);
		off = at + 6 + (uint64_t)(int64_t)rel32 - fn->start.v;
	} else {
		return;
	}
	if (off < fn->size && (fn->mark[off] & CODE_MARK_INSN))
		fn->mark[off] |= mark;
}

/*
 * Looks at every byte of [low, high) as if an instruction began there: finds too many branches, never too few.
 * Pages that cannot be read are passed over.
 */
static void scan_range(struct code_fn *fn, const struct code_text *text, uint64_t low, uint64_t high)
{
	enum { BRANCH = 6 };
	uint8_t buf[BRANCH + GUEST_PAGE_SIZE + BRANCH];
	size_t carry = 0; /* bytes of the page before, kept in front */

	memset(buf, 0, sizeof(buf));
	for (uint64_t at = low, n; at < high; at += n) {
		n = GUEST_PAGE_SIZE - (at & GUEST_PAGE_MASK);
		if (n > high - at)
			n = high - at;
		if (!code_read(text->rd, gva(at), buf + BRANCH, n)) {
			carry = 0;
			continue;
		}
		memset(buf + BRANCH + n, 0, BRANCH);
		for (size_t k = BRANCH - carry; k < BRANCH + n; k++)
			look_at(fn, buf + k, at + k - BRANCH);
		carry = n < BRANCH ? n : BRANCH;
		memmove(buf, buf + n, BRANCH);
	}
}

bool code_fn_calls(const struct code_fn *fn)
{
	for (uint32_t k = 0; k < fn->n_insn; k++)
		if (fn->insn[k].flow == CODE_CALL)
			return true;
	return false;
}

static int analyse(struct code_fn *fn, const struct code_text *text, struct err *e)
{
	if (!code_read(text->rd, fn->start, fn->bytes, fn->size))
		return err_set_addr(e, ERR_GUEST, fn->start.v, "the function at 0x%llx is not all in memory",
				    (unsigned long long)fn->start.v);
	if (decode_all(fn, e) || follow_jumps(fn, text, e))
		return -1;
	scan_range(fn, text, text->low.v, fn->start.v);
	scan_range(fn, text, fn->start.v + fn->size, text->high.v);
	/* guards of earlier patches, which jump back: in what is left of the last page */
	scan_range(fn, text, text->high.v, (text->high.v + GUEST_PAGE_MASK) & ~(uint64_t)GUEST_PAGE_MASK);
	return 0;
}

int code_fn_create_mode(unsigned mode, const struct code_reader *rd, struct gva start, struct gva end,
			struct gva text_low, struct gva text_end, struct code_fn **ret, struct err *e)
{
	const struct code_text text = {rd, text_low, text_end};
	struct code_fn *fn;

	if (end.v <= start.v || end.v - start.v > CODE_FN_MAX || start.v < text_low.v || end.v > text_end.v ||
	    text_end.v - text_low.v > TEXT_MAX)
		return err_set_addr(e, ERR_REFUSED, start.v, "the function at 0x%llx has an unlikely extent",
				    (unsigned long long)start.v);
	fn = calloc(1, sizeof(*fn));
	if (!fn)
		return err_set_errno(e, "no memory for code analysis");
	fn->mode = mode;
	fn->start = start;
	fn->size = (uint32_t)(end.v - start.v);
	fn->bytes = calloc(1, fn->size);
	fn->mark = calloc(1, fn->size);
	fn->insn = calloc(fn->size, sizeof(*fn->insn));
	if (!fn->bytes || !fn->mark || !fn->insn) {
		code_fn_destroy(fn);
		return err_set_errno(e, "no memory for code analysis");
	}
	if (analyse(fn, &text, e)) {
		code_fn_destroy(fn);
		return -1;
	}
	*ret = fn;
	return 0;
}

int code_fn_create(const struct code_reader *rd, struct gva start, struct gva end, struct gva text_low,
		   struct gva text_end, struct code_fn **ret, struct err *e)
{
	return code_fn_create_mode(X86_MODE_64, rd, start, end, text_low, text_end, ret, e);
}
