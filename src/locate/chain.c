/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Unwinding a stack whose contents are the guest's: every step must go up, every return address must lie behind a
 * call instruction in a module's code, and the number of steps and of words looked at is bounded. A wrong chain
 * is possible where the guest wants one; it is about its own process only.
 */
#include "locate/chain_internal.h"

#include <string.h>

#include "locate/x86.h"

#define SCAN_WORDS 1024u /* of the stack, for a return address */
#define FRAME_SIZE_MAX (1u << 20) /* bytes */
#define NEAR_CALLEE (64u << 10) /* bytes from a function's start to an instruction of it */

struct walk {
	const struct chain_source *src;
	struct chain *c;
	unsigned word; /* bytes */
};

static uint64_t word_mask(const struct chain_source *src)
{
	return src->is_32bit ? UINT32_MAX : UINT64_MAX;
}

static bool read_word(const struct chain_source *src, uint64_t at, uint64_t *ret)
{
	uint64_t v = 0;

	if (!code_read(&src->rd, gva(at & word_mask(src)), &v, src->is_32bit ? 4 : 8))
		return false;
	*ret = v;
	return true;
}

static bool in_text(const struct vmi_module *m, struct gva at)
{
	return at.v - m->text.v < m->text_file_size;
}

/* The module whose code covers `at`. */
static const struct vmi_module *text_module(const struct chain_source *src, struct chain *c, struct gva at)
{
	struct vmi_module *m = &c->module[c->n_modules];

	for (unsigned k = 0; k < c->n_modules; k++)
		if (in_text(&c->module[k], at))
			return &c->module[k];
	if (at.v < GUEST_PAGE_SIZE || gva_is_kernel(at) || c->n_modules == CHAIN_MODULES_MAX ||
	    !src->module_at(src->arg, at, m) || !in_text(m, at) || m->is_32bit != src->is_32bit)
		return NULL;
	c->n_modules++;
	return m;
}

struct gva chain_lookup(const struct chain_frame *f)
{
	return gva(f->pc.v - !f->exact);
}

struct cfi chain_cfi(const struct chain_source *src, const struct vmi_module *m)
{
	return (struct cfi){.rd = src->rd,
			    .low = m->low,
			    .high = m->high,
			    .hdr = m->eh_frame_hdr,
			    .hdr_size = m->eh_frame_hdr_size,
			    .is_32bit = m->is_32bit};
}

bool chain_behind_call(const struct chain_source *src, struct chain *c, struct gva at, struct gva *ret_call)
{
	static const uint8_t lengths[] = {5, 6, 2, 3, 7, 4, 8};
	unsigned mode = src->is_32bit ? X86_MODE_32 : X86_MODE_64;
	const struct vmi_module *m = text_module(src, c, gva(at.v - 1));

	for (unsigned k = 0; m && k < sizeof(lengths); k++) {
		uint8_t len = lengths[k], bytes[8];
		struct x86_insn in;

		if (!in_text(m, gva(at.v - len)) || !code_read(&src->rd, gva(at.v - len), bytes, len) ||
		    !x86_decode_mode(mode, bytes, len, &in) || in.i.length != len ||
		    in.i.mnemonic != ZYDIS_MNEMONIC_CALL)
			continue;
		*ret_call = gva(at.v - len);
		return true;
	}
	return false;
}

/* The target of the direct call at `at`; 0: it is another. */
static uint64_t call_target(const struct walk *w, struct gva at)
{
	struct x86_insn in;
	uint8_t bytes[5];
	uint64_t target;

	if (!code_read(&w->src->rd, at, bytes, sizeof(bytes)) ||
	    !x86_decode_mode(w->src->is_32bit ? X86_MODE_32 : X86_MODE_64, bytes, sizeof(bytes), &in) ||
	    in.op[0].type != ZYDIS_OPERAND_TYPE_IMMEDIATE || !x86_relative(&in, at.v, &target))
		return 0;
	return target;
}

/* Registers that a function gives back as they were. */
static uint16_t callee_saved(const struct walk *w)
{
	return w->src->is_32bit ? 1u << 3 | 1u << 5 | 1u << 6 | 1u << 7 : 1u << 3 | 1u << 5 | 0xf000u;
}

static bool find_entry(const struct walk *w, struct chain_frame *f, struct cfi_fde *fde, struct cfi_row *row)
{
	struct cfi m;

	if (!f->module)
		return false;
	m = chain_cfi(w->src, f->module);
	if (cfi_find(&m, chain_lookup(f), fde, NULL) || cfi_row_at(&m, fde, chain_lookup(f), row, NULL))
		return false;
	f->function = fde->start;
	f->function_end = fde->end;
	return true;
}

static bool compute_cfa(const struct walk *w, const struct chain_frame *f, const struct cfi_row *row, uint64_t *ret)
{
	uint64_t v;

	if (!(row->cfa_known || row->cfa_deref) || !(f->known >> row->cfa_reg & 1))
		return false;
	v = f->gpr[row->cfa_reg] + (uint64_t)row->cfa_offset;
	if (row->cfa_deref && !read_word(w->src, v, &v))
		return false;
	*ret = v & word_mask(w->src);
	return true;
}

/* What register k holds in the caller. */
static void restore_register(const struct walk *w, const struct chain_frame *f, const struct cfi_row *row, unsigned k,
			     struct chain_frame *next)
{
	uint64_t at = f->cfa.v + (uint64_t)row->reg[k].offset;
	uint8_t base = row->reg[k].base;

	switch (row->reg[k].rule) {
	case CFI_SAME:
		next->gpr[k] = f->gpr[k];
		next->known |= f->known & callee_saved(w) & (1u << k);
		return;
	case CFI_SAVED_AT:
		if (!(f->known >> base & 1))
			return;
		at = f->gpr[base] + (uint64_t)row->reg[k].offset;
		break;
	case CFI_SAVED:
		break;
	default:
		return;
	}
	if (read_word(w->src, at, &next->gpr[k]))
		next->known |= (uint16_t)(1u << k);
}

static void restore_registers(const struct walk *w, const struct chain_frame *f, const struct cfi_row *row,
			      struct chain_frame *next)
{
	for (unsigned k = 0; k < (w->src->is_32bit ? 8 : 16); k++)
		if (k != X86_RSP)
			restore_register(w, f, row, k, next);
}

/* The caller's frame as it is right behind the call that f->slot belongs to. */
static void enter_caller(const struct walk *w, const struct chain_frame *f, uint64_t pc, struct chain_frame *next)
{
	*next = (struct chain_frame){.pc = gva(pc)};
	next->gpr[X86_RSP] = f->cfa.v;
	if (w->src->leave_guard)
		w->src->leave_guard(w->src->arg, &next->pc, &next->gpr[X86_RSP]);
	next->sp = gva(next->gpr[X86_RSP]);
	next->module = text_module(w->src, w->c, gva(next->pc.v - 1));
	next->known = 1u << X86_RSP;
}

enum outcome { FAILED, STEPPED, ENDED };

static enum outcome by_cfi(const struct walk *w, struct chain_frame *f, struct chain_frame *next);

/* Whether a frame that returns to pc may have been entered by the call before that: it called its function, or is indirect. */
static bool called_itself(const struct walk *w, const struct chain_frame *f, struct gva pc)
{
	struct gva call;
	uint64_t target;

	if (!chain_behind_call(w->src, w->c, pc, &call))
		return true;
	target = call_target(w, call);
	return !target || target == f->function.v;
}

/* Whether f, left by its return address `pc`, has a caller that makes sense: one that called its function itself. */
static bool caller_unwinds(const struct walk *w, const struct chain_frame *f, const struct cfi_row *row, uint64_t pc)
{
	struct chain_frame next, beyond;

	enter_caller(w, f, pc, &next);
	restore_registers(w, f, row, &next);
	switch (by_cfi(w, &next, &beyond)) {
	case STEPPED:
		return called_itself(w, &next, beyond.pc);
	case ENDED:
		return true;
	case FAILED:
		break;
	}
	return false;
}

/* The calls of f's function in one page whose return address is *pc but for the bits of `lost`: counts those that unwind. */
static unsigned search_page(const struct walk *w, const struct chain_frame *f, const struct cfi_row *row, uint64_t at,
			    uint64_t old, uint64_t lost, uint64_t *ret)
{
	enum { CALL = 5 };
	uint8_t code[GUEST_PAGE_SIZE + CALL];
	unsigned n = 0;

	if (!code_read(&w->src->rd, gva(at), code, sizeof(code)) &&
	    !code_read(&w->src->rd, gva(at), code, GUEST_PAGE_SIZE))
		return 0;
	for (unsigned k = 0; k < GUEST_PAGE_SIZE; k++) {
		uint64_t pc = at + k + CALL;
		int32_t distance;

		memcpy(&distance, code + k + 1, sizeof(distance));
		if (code[k] != 0xe8 || ((pc ^ old) & ~lost) || pc + (uint64_t)(int64_t)distance != f->function.v ||
		    !caller_unwinds(w, f, row, pc))
			continue;
		*ret = pc;
		n++;
	}
	return n;
}

/*
 * If some bytes of f's return address were just overwritten: it is the one call of f's function that fits the others. false: there
 * is none, or several.
 */
static bool mend_return(const struct walk *w, const struct chain_frame *f, const struct cfi_row *row, uint64_t *pc)
{
	uint64_t lost = 0, old = *pc, low, high;
	unsigned n = 0;

	for (unsigned k = 0; k < w->word; k++)
		if (f->slot.v + k >= w->src->written.v && f->slot.v + k < w->src->written_end.v)
			lost |= 0xffull << 8 * k;
	if (!lost)
		return true;
	if (lost > UINT32_MAX || !f->module)
		return false;
	low = old & ~lost;
	high = old | lost;
	low = low < f->module->text.v ? f->module->text.v : low;
	if (high > f->module->text.v + f->module->text_file_size)
		high = f->module->text.v + f->module->text_file_size;
	low = low > GUEST_PAGE_SIZE ? (low & ~(uint64_t)GUEST_PAGE_MASK) - GUEST_PAGE_SIZE : 0;
	for (uint64_t at = low; at < high; at += GUEST_PAGE_SIZE)
		n += search_page(w, f, row, at, old, lost, pc);
	return n == 1;
}

static bool is_overrun(const struct walk *w, struct gva slot)
{
	if (slot.v < w->src->overrun_end.v && slot.v + w->word > w->src->overrun.v)
		return !w->src->spared || !w->src->spared(w->src->arg, slot);
	return w->src->overwritten && w->src->overwritten(w->src->arg, slot);
}

/* Whether the word at `at` is an address that f's function may return to. */
static bool may_return(const struct walk *w, const struct chain_frame *f, uint64_t at)
{
	uint64_t pc, target;
	struct gva call;

	if (!read_word(w->src, at, &pc) || !chain_behind_call(w->src, w->c, gva(pc), &call))
		return false;
	target = call_target(w, call);
	return !target || target == f->function.v || f->module != text_module(w->src, w->c, gva(target));
}

/* Takes the code for true where the frame information leads to no return address and the code does. */
static void check_depth(const struct walk *w, const struct chain_frame *f, struct cfi_row *row, uint64_t *cfa)
{
	uint16_t written;
	int64_t depth;
	uint64_t by_code;

	if (!f->exact || row->cfa_reg != X86_RSP || row->cfa_deref || may_return(w, f, *cfa - w->word) ||
	    !chain_code_depth(w->src, f, &depth, &written))
		return;
	by_code = (f->sp.v + (uint64_t)depth) & word_mask(w->src);
	if (by_code == *cfa || !may_return(w, f, by_code - w->word))
		return;
	*cfa = by_code;
	for (unsigned k = 0; k < CFI_RA; k++)
		if (row->reg[k].rule == CFI_SAME && (written >> k & 1))
			row->reg[k].rule = CFI_UNDEFINED;
}

static enum outcome by_cfi(const struct walk *w, struct chain_frame *f, struct chain_frame *next)
{
	struct gva call;
	struct cfi_fde fde;
	struct cfi_row row;
	uint64_t cfa, pc;

	if (!find_entry(w, f, &fde, &row))
		return FAILED;
	if (row.reg[CFI_RA].rule == CFI_UNDEFINED)
		return ENDED; /* the outermost function says so */
	if (row.reg[CFI_RA].rule != CFI_SAVED || !compute_cfa(w, f, &row, &cfa) || cfa <= f->sp.v)
		return FAILED;
	check_depth(w, f, &row, &cfa);
	f->slot = gva(cfa + (uint64_t)row.reg[CFI_RA].offset);
	f->cfa = gva(cfa);
	if (is_overrun(w, f->slot))
		return ENDED;
	if (!read_word(w->src, f->slot.v, &pc))
		return FAILED;
	if (!mend_return(w, f, &row, &pc))
		return ENDED;
	if ((!fde.signal_frame && !chain_behind_call(w->src, w->c, gva(pc), &call)))
		return FAILED;
	enter_caller(w, f, pc, next);
	next->exact = fde.signal_frame;
	restore_registers(w, f, &row, next);
	return STEPPED;
}

/*
 * Whether the frame that pc returns to makes sense, with frame information: so does its own return address. Any frame pointer
 * into what is overrun seems to, and those of frames further out do; sure: only one that has its return address where the overrun
 * ends, or that returns behind a call of its function.
 */
static bool next_unwinds(const struct walk *w, struct chain_frame *next, bool sure)
{
	struct chain_frame beyond;
	enum outcome o = by_cfi(w, next, &beyond);

	if (!sure)
		return o != FAILED;
	return o == STEPPED ? called_itself(w, next, beyond.pc)
			    : o == ENDED && next->slot.v + w->word >= w->src->overrun_end.v;
}

/*
 * The frame pointer is as it was, or among what was pushed between the stack pointer and the return address, by functions further
 * in if it can be made sure.
 */
static bool try_frame_pointers(const struct walk *w, const struct chain_frame *f, struct chain_frame *next, bool sure)
{
	uint64_t low = sure ? w->c->frame[0].sp.v : f->sp.v;

	if (next_unwinds(w, next, sure))
		return true;
	if (f->slot.v - low > SCAN_WORDS * w->word)
		low = f->slot.v - SCAN_WORDS * w->word;
	for (uint64_t at = f->slot.v - w->word; at >= low && at < f->slot.v; at -= w->word) {
		struct chain_frame other = *next;

		if (!read_word(w->src, at, &other.gpr[X86_RBP]) || other.gpr[X86_RBP] - f->cfa.v > FRAME_SIZE_MAX)
			continue;
		other.known |= 1u << X86_RBP;
		if (!next_unwinds(w, &other, sure))
			continue;
		*next = other;
		return true;
	}
	return false;
}

/* Whether the word at `at` is where f returns to. */
static bool try_slot(const struct walk *w, struct chain_frame *f, uint64_t at, struct chain_frame *next)
{
	uint64_t pc, target;
	struct gva call;

	if (!read_word(w->src, at, &pc) || !chain_behind_call(w->src, w->c, gva(pc), &call))
		return false;
	target = call_target(w, call);
	if (f->function.v && target && f->module == text_module(w->src, w->c, gva(target)) && target != f->function.v)
		return false;
	f->slot = gva(at);
	f->cfa = gva(at + w->word);
	enter_caller(w, f, pc, next);
	for (unsigned k = 0; k < 16; k++)
		if (callee_saved(w) >> k & 1 & f->known >> k && (at == f->sp.v || k == X86_RBP)) {
			next->gpr[k] = f->gpr[k];
			next->known |= (uint16_t)(1u << k);
		}
	if (try_frame_pointers(w, f, next, true) || try_frame_pointers(w, f, next, false))
		return true;
	if (next->function.v || next->module != f->module)
		return false;
	/* the caller has no frame information either: then it must have called something at or before the pc */
	return !target || chain_lookup(f).v - target < NEAR_CALLEE;
}

static enum outcome by_scan(const struct walk *w, struct chain_frame *f, struct chain_frame *next)
{
	for (unsigned k = 0; k < SCAN_WORDS; k++) {
		if (!try_slot(w, f, f->sp.v + (uint64_t)k * w->word, next))
			continue;
		f->guessed = true;
		return STEPPED;
	}
	f->slot = f->cfa = gva(0);
	return FAILED;
}

void chain_unwind(const struct chain_source *src, const struct chain_regs *regs, struct chain *ret)
{
	struct walk w = {src, ret, src->is_32bit ? 4 : 8};
	struct chain_frame *f = &ret->frame[0];

	memset(ret, 0, sizeof(*ret));
	ret->n = 1;
	f->exact = true;
	f->pc = regs->pc;
	f->sp = gva(regs->gpr[X86_RSP] & word_mask(src));
	f->known = src->is_32bit ? 0xff : 0xffff;
	memcpy(f->gpr, regs->gpr, sizeof(f->gpr));
	f->module = text_module(src, ret, f->pc);
	for (; ret->n < CHAIN_MAX; ret->n++) {
		enum outcome o;

		f = &ret->frame[ret->n - 1];
		o = by_cfi(&w, f, f + 1);
		if (o == FAILED)
			o = by_scan(&w, f, f + 1);
		if (o != STEPPED)
			break;
	}
}
