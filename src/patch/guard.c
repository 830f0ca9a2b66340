/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guards. Below the red zone, flags and two registers are kept on the stack
 * while the address is compared; both ways out give them back before anything
 * of the program runs, so that the program cannot tell.
 *
 *   store-guard   the store runs if it stays inside the object, else it is left out
 *   string-guard  rep movs, rep stos: the count is cut to what fits; rdi, rsi, rcx end as if all was done
 *
 * A store whose address is formed from the frame (array and index) belongs to this
 * object alone: both bounds are checked. A store through a pointer may serve
 * other objects elsewhere: only what lies above the object, as far as guard_span()
 * says, is kept from it.
 *
 * Static data is found relative to the guard, which moves with the module. Of a heap
 * object the size is read from the allocator's header, for which its start must be known: a string store from
 * there has it in rdi, for a plain store the finding names what holds it.
 *
 * The red zone is stepped over only in functions that have one: those that call nothing, in 64-bit code.
 */
#include "patch/guard_internal.h"

#include <inttypes.h>
#include <string.h>

#define RED_ZONE 128
#define RAX 0
#define RCX 1
#define RSI 6
#define RDI 7

/* Two registers that may be used once they are saved. */
struct scratch {
	uint8_t a, b;
};

struct store_guard {
	struct guard g;
	const struct x86_store *st;
	int32_t span;
};

static int32_t red_zone(const struct guard *g)
{
	return g->f->is_32bit || g->f->has_calls ? 0 : RED_ZONE;
}

/* What is lower while the guard compares: the red zone, flags, two registers. */
static int32_t saved_size(const struct guard *g)
{
	return red_zone(g) + 3 * guard_word(g);
}

/* Picks two low registers that are not in the mask of those in use. */
static struct scratch pick_scratch(const struct guard *g, uint32_t in_use)
{
	uint8_t n = g->f->is_32bit ? 8 : 16;
	struct scratch s = {EMIT_NO_REG, EMIT_NO_REG};

	in_use |= 1u << X86_RSP;
	for (uint8_t r = 0; r < n && s.b == EMIT_NO_REG; r++) {
		if (in_use & (1u << r))
			continue;
		if (s.a == EMIT_NO_REG)
			s.a = r;
		else
			s.b = r;
	}
	return s;
}

static uint32_t reg_bit(uint8_t reg)
{
	return reg < 16 ? 1u << reg : 0;
}

static void save(struct guard *g, struct scratch s)
{
	struct emitter *em = g->em;

	if (red_zone(g))
		emit_lea(em, X86_RSP, EMIT_MEM(X86_RSP, -RED_ZONE));
	emit_plain(em, g->f->is_32bit ? ZYDIS_MNEMONIC_PUSHFD : ZYDIS_MNEMONIC_PUSHFQ);
	emit_r(em, ZYDIS_MNEMONIC_PUSH, s.a);
	emit_r(em, ZYDIS_MNEMONIC_PUSH, s.b);
	g->lower = saved_size(g);
}

static void restore(struct guard *g, struct scratch s)
{
	struct emitter *em = g->em;

	emit_r(em, ZYDIS_MNEMONIC_POP, s.b);
	emit_r(em, ZYDIS_MNEMONIC_POP, s.a);
	emit_plain(em, g->f->is_32bit ? ZYDIS_MNEMONIC_POPFD : ZYDIS_MNEMONIC_POPFQ);
	if (red_zone(g))
		emit_lea(em, X86_RSP, EMIT_MEM(X86_RSP, RED_ZONE));
}

/* Jumps where the store at `ea` must be left out; s is used up. */
static uint32_t emit_compare(struct store_guard *sg, struct emit_mem ea, struct scratch s)
{
	const struct finding *f = sg->g.f;
	uint16_t width = sg->st->width;
	struct emitter *em = sg->g.em;

	emit_lea(em, s.a, ea);
	if (f->pointer_store) {
		/* left out if end < address + width and address < end + span, as one unsigned comparison */
		guard_bound(&sg->g, s.b, f->end_offset + 1 - width);
		emit_rr(em, ZYDIS_MNEMONIC_SUB, s.a, s.b);
		emit_ri(em, ZYDIS_MNEMONIC_CMP, s.a, sg->span + width - 1);
		return emit_forward(em, ZYDIS_MNEMONIC_JB);
	}
	guard_bound(&sg->g, s.b, f->start_offset);
	emit_rr(em, ZYDIS_MNEMONIC_SUB, s.a, s.b);
	emit_ri(em, ZYDIS_MNEMONIC_CMP, s.a, (int32_t)(f->end_offset - f->start_offset - width));
	return emit_forward(em, ZYDIS_MNEMONIC_JNBE);
}

/* What a string instruction does beside its store, without a word to the flags. */
static void emit_moves(struct emitter *em, const struct x86_store *st)
{
	emit_lea(em, RDI, EMIT_MEM(RDI, st->width));
	if (st->is_copy)
		emit_lea(em, RSI, EMIT_MEM(RSI, st->width));
}

/* The store, and the same place without it for who jumps to `skip`; `other` is taken where the store runs as it is. */
static void emit_both_ways(struct store_guard *sg, struct scratch s, uint32_t skip, const uint32_t *other, size_t n)
{
	const struct finding *f = sg->g.f;
	struct emitter *em = sg->g.em;
	uint32_t done = 0;

	for (size_t k = 0; k < n; k++)
		if (other[k])
			emit_here(em, other[k]);
	restore(&sg->g, s);
	if (sg->g.link->next) {
		emit_jump(em, sg->g.link->next);
	} else {
		sg->g.link->culprit_at = (uint8_t)em->len;
		emit_moved(em, f->culprit_bytes, f->culprit_len, f->culprit.v);
		done = emit_forward(em, ZYDIS_MNEMONIC_JMP);
	}
	emit_here(em, skip);
	restore(&sg->g, s);
	if (sg->st->moves_on)
		emit_moves(em, sg->st);
	if (done)
		emit_here(em, done);
}

/* What a store may use beside its own registers and those that lead to the bounds. */
static struct scratch store_scratch(const struct store_guard *sg)
{
	const struct finding *f = sg->g.f;
	uint32_t in_use = reg_bit(sg->st->base) | reg_bit(sg->st->index) | reg_bit(f->cfa.reg);

	return pick_scratch(&sg->g, in_use | (f->has_base ? reg_bit(f->base.reg) : 0));
}

/* Where the store writes, while the guard compares. */
static struct emit_mem store_address(const struct store_guard *sg)
{
	const struct x86_store *st = sg->st;

	return (struct emit_mem){st->base, st->index, st->scale,
				 st->disp + (st->base == X86_RSP ? saved_size(&sg->g) : 0)};
}

/* Left out from the chunk's end on, as far as it can reach. */
static int emit_chunk_store(struct store_guard *sg, struct err *e)
{
	struct scratch s = store_scratch(sg);
	uint32_t other[GUARD_CHUNK_JUMPS], skip;
	struct emit_mem last;

	if (!sg->g.f->has_base)
		return err_set_addr(
			e, ERR_REFUSED, sg->g.f->culprit.v,
			"nothing in the culprit's frame tells where the heap chunk begins that it writes to");
	save(&sg->g, s);
	last = store_address(sg);
	last.disp += sg->st->width - 1;
	guard_chunk_distance(&sg->g, s.a, s.b, last, other);
	emit_ri(sg->g.em, ZYDIS_MNEMONIC_CMP, s.a, GUARD_SPAN);
	skip = emit_forward(sg->g.em, ZYDIS_MNEMONIC_JB);
	emit_both_ways(sg, s, skip, other, GUARD_CHUNK_JUMPS);
	return 0;
}

static int emit_store(struct store_guard *sg, struct err *e)
{
	const struct finding *f = sg->g.f;
	int64_t room = f->end_offset - f->start_offset - sg->st->width;
	struct scratch s = store_scratch(sg);
	uint32_t other, skip;

	if (!sg->st->rip_relative && f->bound == BOUND_CHUNK)
		return emit_chunk_store(sg, e);
	if (sg->st->rip_relative || room < 0 || room > INT32_MAX)
		return err_set_addr(e, ERR_REFUSED, f->culprit.v,
				    "an object of %" PRId64 " bytes cannot be guarded against a store of %u",
				    f->end_offset - f->start_offset, sg->st->width);
	save(&sg->g, s);
	other = guard_check_caller(&sg->g, s.a);
	skip = emit_compare(sg, store_address(sg), s);
	emit_both_ways(sg, s, skip, &other, 1);
	return 0;
}

#define STRING_JUMPS (2 + GUARD_CHUNK_JUMPS)

/* s.a = how many bytes fit between rdi and the end, which may be negative; *all are taken if that is no matter. */
static void emit_string_room(struct store_guard *sg, struct scratch s, uint32_t all[STRING_JUMPS])
{
	struct emitter *em = sg->g.em;

	/* the direction flag among the saved flags */
	emit_mi(em, ZYDIS_MNEMONIC_TEST, EMIT_MEM(X86_RSP, 2 * guard_word(&sg->g) + 1), 4, 1);
	all[0] = emit_forward(em, ZYDIS_MNEMONIC_JNZ);
	if (sg->g.f->bound == BOUND_CHUNK) {
		guard_chunk_room(&sg->g, s.a, RDI, all + 2);
		return;
	}
	guard_bound(&sg->g, s.a, sg->g.f->end_offset);
	emit_rr(em, ZYDIS_MNEMONIC_SUB, s.a, RDI);
	emit_ri(em, ZYDIS_MNEMONIC_CMP, s.a, -sg->span);
	all[1] = emit_forward(em, ZYDIS_MNEMONIC_JLE);
}

/* s.a = how many elements of the string store may be written, s.b = what is left over of rcx. */
static void emit_string_count(struct store_guard *sg, struct scratch s)
{
	uint32_t all[STRING_JUMPS] = {0}, other, cut;
	struct emitter *em = sg->g.em;

	other = guard_check_caller(&sg->g, s.a);
	emit_string_room(sg, s, all);
	emit_ri(em, ZYDIS_MNEMONIC_MOV, s.b, 0);
	emit_rr(em, ZYDIS_MNEMONIC_TEST, s.a, s.a);
	emit_rr(em, ZYDIS_MNEMONIC_CMOVS, s.a, s.b);
	if (sg->st->width > 1)
		emit_ri(em, ZYDIS_MNEMONIC_SAR, s.a, __builtin_ctz(sg->st->width));
	emit_rr(em, ZYDIS_MNEMONIC_CMP, s.a, RCX);
	cut = emit_forward(em, ZYDIS_MNEMONIC_JB);
	for (unsigned k = 0; k < STRING_JUMPS; k++)
		if (all[k])
			emit_here(em, all[k]);
	if (other)
		emit_here(em, other);
	emit_rr(em, ZYDIS_MNEMONIC_MOV, s.a, RCX);
	emit_here(em, cut);
	emit_rr(em, ZYDIS_MNEMONIC_MOV, s.b, RCX);
	emit_rr(em, ZYDIS_MNEMONIC_SUB, s.b, s.a);
}

static int emit_string(struct store_guard *sg, struct err *e)
{
	const struct finding *f = sg->g.f;
	struct emitter *em = sg->g.em;
	struct scratch s = pick_scratch(&sg->g, 1u << RAX | 1u << RCX | 1u << RSI | 1u << RDI | reg_bit(f->cfa.reg));
	uint8_t width = (uint8_t)sg->st->width;

	if (sg->g.link->next)
		return err_set(e, ERR_REFUSED, "a string store has one guard only");
	save(&sg->g, s);
	sg->g.link->lower = (uint16_t)saved_size(&sg->g);
	emit_string_count(sg, s);
	emit_rr(em, ZYDIS_MNEMONIC_MOV, RCX, s.a);
	emit_moved(em, f->culprit_bytes, f->culprit_len, f->culprit.v);
	emit_lea(em, RDI, (struct emit_mem){RDI, s.b, width, 0});
	if (sg->st->is_copy)
		emit_lea(em, RSI, (struct emit_mem){RSI, s.b, width, 0});
	restore(&sg->g, s);
	return 0;
}

static const struct {
	const char *name;
	enum x86_store_kind handles;
	/* Emits what stands for the culprit itself. ERR_REFUSED: the finding does not suit it. */
	int (*emit)(struct store_guard *sg, struct err *e);
} strategies[] = {
	{"store-guard", X86_STORE_PLAIN, emit_store},
	{"string-guard", X86_STORE_REP, emit_string},
};

static int emit_store_culprit(const struct guard *g, const char **ret_name, struct err *e)
{
	const struct finding *f = g->f;
	struct x86_store st;
	struct store_guard sg = {.g = *g, .st = &st};

	if (x86_store_decode_mode(f->is_32bit ? X86_MODE_32 : X86_MODE_64, f->culprit_bytes, f->culprit_len, &st, e) ||
	    guard_span(f, &sg.span, e))
		return -1;
	for (size_t k = 0; k < sizeof(strategies) / sizeof(strategies[0]); k++) {
		if (strategies[k].handles != st.kind)
			continue;
		*ret_name = strategies[k].name;
		return strategies[k].emit(&sg, e);
	}
	return err_set(e, ERR_REFUSED, "no strategy for this kind of culprit");
}

static int check_finding(const struct finding *f, struct err *e)
{
	uint64_t before = f->culprit.v - f->bug.v;

	if (f->bound > BOUND_CHUNK && !(f->bound == BOUND_ARGUMENT && f->kind == FINDING_CALL))
		return err_set(e, ERR_REFUSED, "objects at an absolute address are not guarded");
	if (f->bug_len < 5 || f->bug_len > FINDING_BUG_MAX || before >= f->bug_len ||
	    f->culprit_len > f->bug_len - before || f->culprit_len > sizeof(f->culprit_bytes) ||
	    memcmp(f->bug_bytes + before, f->culprit_bytes, f->culprit_len) != 0)
		return err_set(e, ERR_REFUSED, "the finding's bug instructions do not hold the culprit");
	/* a format is no object */
	if (f->bound != BOUND_CHUNK && f->end_offset <= f->start_offset &&
	    !(f->kind == FINDING_CALL && f->effect == CALL_FORMAT))
		return err_set(e, ERR_REFUSED, "the finding's bounds make no sense");
	if (guard_check_chunk(f, e))
		return -1;
	if (f->caller.n_via > FINDING_VIA || (f->caller.build_id_len && f->caller.build_id_len < sizeof(uint32_t)))
		return err_set(e, ERR_REFUSED, "the finding's caller makes no sense");
	if ((f->bound <= BOUND_CALLER || f->caller.build_id_len) && f->cfa.reg > (f->is_32bit ? 7 : 15))
		return err_set(e, ERR_REFUSED, "the finding's frame makes no sense");
	return 0;
}

int guard_emit(struct emitter *em, const struct finding *f, const struct code_reader *rd, const char **ret_name,
	       struct err *e)
{
	struct guard_link link = {0};

	return guard_emit_linked(em, f, rd, &link, ret_name, e);
}

int guard_emit_linked(struct emitter *em, const struct finding *f, const struct code_reader *rd,
		      struct guard_link *link, const char **ret_name, struct err *e)
{
	struct guard g = {.em = em, .f = f, .rd = rd, .link = link};
	struct x86_insn in;
	uint32_t off = 0;

	if (check_finding(f, e))
		return -1;
	link->culprit_at = GUARD_NOWHERE;
	link->lower = 0;
	em->is_32bit = f->is_32bit;
	em->is_fixed = f->is_32bit && !f->module.bias;
	while (off < f->bug_len) {
		if (!x86_decode_mode(f->is_32bit ? X86_MODE_32 : X86_MODE_64, f->bug_bytes + off, f->bug_len - off,
				     &in))
			return err_set(e, ERR_REFUSED, "the bug instructions do not decode");
		if (f->bug.v + off == f->culprit.v)
			link->part_at = (uint8_t)em->len;
		if (f->bug.v + off != f->culprit.v)
			emit_moved(em, f->bug_bytes + off, in.i.length, f->bug.v + off);
		else if (f->kind == FINDING_CALL)
			return guard_emit_call(&g, ret_name, e);
		else if (emit_store_culprit(&g, ret_name, e))
			return -1;
		off += in.i.length;
	}
	emit_jump(em, f->bug.v + f->bug_len);
	emit_end(em);
	return emit_check(em, e);
}

int guard_emit_routine(struct emitter *em, const struct finding *f, struct err *e)
{
	struct guard_link link = {0};
	struct guard g = {.em = em, .f = f, .link = &link};

	if (f->kind != FINDING_CALL)
		return err_set(e, ERR_REFUSED, "the guard has no part that others have");
	if (check_finding(f, e))
		return -1;
	em->is_32bit = f->is_32bit;
	return guard_emit_call_routine(&g, e);
}
