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
 * other objects elsewhere: only what lies above the object, as far as the stack can
 * reach, is kept from it.
 */
#include "patch/guard.h"

#include <inttypes.h>
#include <string.h>

#define RED_ZONE 128
#define SAVED (RED_ZONE + 3 * 8) /* rsp is lower by this while the guard compares: flags, two registers */
#define UPPER_SPAN (8 << 20) /* bytes above an object that a store through a pointer must not touch */
#define RAX 0
#define RCX 1
#define RSI 6
#define RDI 7
#define MEM(b, d) ((struct emit_mem){.base = (b), .index = EMIT_NO_REG, .disp = (d)})

/* Two registers that may be used once they are saved. */
struct scratch {
	uint8_t a, b;
};

/* Picks two low registers that are not in the mask of those in use. */
static struct scratch pick_scratch(uint32_t in_use)
{
	struct scratch s = {EMIT_NO_REG, EMIT_NO_REG};

	in_use |= 1u << X86_RSP;
	for (uint8_t r = 0; r < 16 && s.b == EMIT_NO_REG; r++) {
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

static void save(struct emitter *em, struct scratch s)
{
	emit_lea(em, X86_RSP, MEM(X86_RSP, -RED_ZONE));
	emit_plain(em, ZYDIS_MNEMONIC_PUSHFQ);
	emit_r(em, ZYDIS_MNEMONIC_PUSH, s.a);
	emit_r(em, ZYDIS_MNEMONIC_PUSH, s.b);
}

static void restore(struct emitter *em, struct scratch s)
{
	emit_r(em, ZYDIS_MNEMONIC_POP, s.b);
	emit_r(em, ZYDIS_MNEMONIC_POP, s.a);
	emit_plain(em, ZYDIS_MNEMONIC_POPFQ);
	emit_lea(em, X86_RSP, MEM(X86_RSP, RED_ZONE));
}

/* CFA + offset, while the guard has its registers saved. */
static struct emit_mem frame_mem(const struct finding *f, int64_t offset)
{
	return MEM(f->cfa.reg, f->cfa.offset + offset + (f->cfa.reg == X86_RSP ? SAVED : 0));
}

/* If the bounds are the caller's: a jump that is taken when somebody else called. 0: no jump emitted. */
static uint32_t check_caller(struct emitter *em, const struct finding *f, uint8_t scratch)
{
	if (f->bound != BOUND_CALLER)
		return 0;
	emit_lea(em, scratch, MEM(EMIT_RIP, (int64_t)f->caller_return.v));
	emit_cmp_mr(em, frame_mem(f, f->caller_slot), scratch);
	return emit_forward(em, ZYDIS_MNEMONIC_JNZ);
}

static int emit_store(struct emitter *em, const struct finding *f, const struct x86_store *st, struct err *e)
{
	struct scratch s = pick_scratch(reg_bit(st->base) | reg_bit(st->index) | reg_bit(f->cfa.reg));
	struct emit_mem ea = {st->base, st->index, st->scale, st->disp + (st->base == X86_RSP ? SAVED : 0)};
	int64_t room = f->end_offset - f->start_offset - st->width;
	uint32_t other, skip, done;

	if (st->rip_relative || room < 0 || room > INT32_MAX)
		return err_set_addr(e, ERR_REFUSED, f->culprit.v,
				    "an object of %" PRId64 " bytes cannot be guarded against a store of %u",
				    f->end_offset - f->start_offset, st->width);
	save(em, s);
	other = check_caller(em, f, s.a);
	emit_lea(em, s.a, ea);
	if (f->pointer_store) {
		/* left out if end < address + width and address < end + span, as one unsigned comparison */
		emit_lea(em, s.b, frame_mem(f, f->end_offset + 1 - st->width));
		emit_rr(em, ZYDIS_MNEMONIC_SUB, s.a, s.b);
		emit_ri(em, ZYDIS_MNEMONIC_CMP, s.a, UPPER_SPAN + st->width - 1);
		skip = emit_forward(em, ZYDIS_MNEMONIC_JB);
	} else {
		emit_lea(em, s.b, frame_mem(f, f->start_offset));
		emit_rr(em, ZYDIS_MNEMONIC_SUB, s.a, s.b);
		emit_ri(em, ZYDIS_MNEMONIC_CMP, s.a, (int32_t)room);
		skip = emit_forward(em, ZYDIS_MNEMONIC_JNBE);
	}
	if (other)
		emit_here(em, other);
	restore(em, s);
	emit_moved(em, f->culprit_bytes, f->culprit_len, f->culprit.v);
	done = emit_forward(em, ZYDIS_MNEMONIC_JMP);
	emit_here(em, skip);
	restore(em, s);
	emit_here(em, done);
	return 0;
}

/* test byte [rsp + 17], 4: the direction flag among the saved flags */
static const uint8_t test_direction[] = {0xf6, 0x44, 0x24, 0x11, 0x04};

/* s.a = how many elements fit between rdi and the end; jumps to *ret_all if that is no matter. */
static void emit_room(struct emitter *em, const struct finding *f, const struct x86_store *st, struct scratch s,
		      uint32_t ret_all[2])
{
	emit_bytes(em, test_direction, sizeof(test_direction));
	ret_all[0] = emit_forward(em, ZYDIS_MNEMONIC_JNZ);
	emit_lea(em, s.a, frame_mem(f, f->end_offset));
	emit_rr(em, ZYDIS_MNEMONIC_SUB, s.a, RDI);
	emit_ri(em, ZYDIS_MNEMONIC_CMP, s.a, -UPPER_SPAN);
	ret_all[1] = emit_forward(em, ZYDIS_MNEMONIC_JLE);
	emit_ri(em, ZYDIS_MNEMONIC_MOV, s.b, 0);
	emit_rr(em, ZYDIS_MNEMONIC_TEST, s.a, s.a);
	emit_rr(em, ZYDIS_MNEMONIC_CMOVS, s.a, s.b);
	if (st->width > 1)
		emit_ri(em, ZYDIS_MNEMONIC_SAR, s.a, __builtin_ctz(st->width));
	emit_rr(em, ZYDIS_MNEMONIC_CMP, s.a, RCX);
}

static int emit_string(struct emitter *em, const struct finding *f, const struct x86_store *st, struct err *e)
{
	struct scratch s = pick_scratch(1u << RAX | 1u << RCX | 1u << RSI | 1u << RDI | reg_bit(f->cfa.reg));
	uint32_t other, all[2], cut;

	(void)e;
	save(em, s);
	other = check_caller(em, f, s.a);
	emit_room(em, f, st, s, all);
	cut = emit_forward(em, ZYDIS_MNEMONIC_JB);
	emit_here(em, all[0]);
	emit_here(em, all[1]);
	if (other)
		emit_here(em, other);
	emit_rr(em, ZYDIS_MNEMONIC_MOV, s.a, RCX);
	emit_here(em, cut);
	emit_rr(em, ZYDIS_MNEMONIC_MOV, s.b, RCX);
	emit_rr(em, ZYDIS_MNEMONIC_SUB, s.b, s.a); /* what is left over */
	emit_rr(em, ZYDIS_MNEMONIC_MOV, RCX, s.a);
	emit_moved(em, f->culprit_bytes, f->culprit_len, f->culprit.v);
	emit_lea(em, RDI, (struct emit_mem){RDI, s.b, (uint8_t)st->width, 0});
	if (st->is_copy)
		emit_lea(em, RSI, (struct emit_mem){RSI, s.b, (uint8_t)st->width, 0});
	restore(em, s);
	return 0;
}

static const struct strategy strategies[] = {
	{"store-guard", X86_STORE_PLAIN, emit_store},
	{"string-guard", X86_STORE_REP, emit_string},
};

const struct strategy *strategy_for(const struct x86_store *st)
{
	for (size_t k = 0; k < sizeof(strategies) / sizeof(strategies[0]); k++)
		if (strategies[k].handles == st->kind)
			return &strategies[k];
	return NULL;
}

static int check_finding(const struct finding *f, struct err *e)
{
	uint64_t before = f->culprit.v - f->bug.v;

	if (f->bound != BOUND_FRAME && f->bound != BOUND_CALLER)
		return err_set(e, ERR_REFUSED, "only objects with bounds relative to a frame are guarded yet");
	if (f->bug_len < 5 || f->bug_len > FINDING_BUG_MAX || before >= f->bug_len ||
	    f->culprit_len > f->bug_len - before || f->culprit_len > sizeof(f->culprit_bytes) ||
	    memcmp(f->bug_bytes + before, f->culprit_bytes, f->culprit_len) != 0)
		return err_set(e, ERR_REFUSED, "the finding's bug instructions do not hold the culprit");
	if (f->cfa.reg > 15 || f->end_offset <= f->start_offset)
		return err_set(e, ERR_REFUSED, "the finding's bounds make no sense");
	return 0;
}

int guard_emit(struct emitter *em, const struct finding *f, const char **ret_name, struct err *e)
{
	const struct strategy *s;
	struct x86_store st;
	struct x86_insn in;
	uint32_t off = 0;

	if (check_finding(f, e) || x86_store_decode(f->culprit_bytes, f->culprit_len, &st, e))
		return -1;
	s = strategy_for(&st);
	if (!s)
		return err_set(e, ERR_REFUSED, "no strategy for this kind of culprit");
	while (off < f->bug_len) {
		if (!x86_decode(f->bug_bytes + off, f->bug_len - off, &in))
			return err_set(e, ERR_REFUSED, "the bug instructions do not decode");
		if (f->bug.v + off != f->culprit.v)
			emit_moved(em, f->bug_bytes + off, in.i.length, f->bug.v + off);
		else if (s->emit(em, f, &st, e))
			return -1;
		off += in.i.length;
	}
	emit_jump(em, f->bug.v + f->bug_len);
	*ret_name = s->name;
	return emit_check(em, e);
}
