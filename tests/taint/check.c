/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For each input byte of a state: every output byte that one of its bits
 * changes must be tainted when it is all that is tainted. Over all states of an
 * encoding: which output bytes are tainted that never changed.
 *
 * Not demanded, because the engine does not follow it (insn.h says so): the
 * address registers outside of look-ups, the way from the flags through
 * conditional moves and carries, and which of its two results a
 * compare-and-exchange gives. But tainted flags must not make the taint of the
 * operands disappear.
 */
#include "check.h"

#include <stdio.h>
#include <string.h>

#include "engine.h"

#define WORDS (IMAGE_MAX / 8u)
#define BLOCK 16u /* bytes compared at a time */
#define SHOWN_EACH 3u /* messages for one mnemonic */
#define TRIES_EACH 6u /* a state that faults is replaced so often */

struct tally tallies[GROUPS_MAX];
uint32_t states_of[ZYDIS_MNEMONIC_MAX_VALUE + 1], wrong_of[ZYDIS_MNEMONIC_MAX_VALUE + 1];
const char *const wrong_names[WRONGS] = {
	[WRONG_LOST] = "lost",	 [WRONG_UPPER] = "upper half not cleared", [WRONG_INEXACT] = "inexact",
	[WRONG_PLACE] = "place", [WRONG_LOOKUP] = "look-up lost",	   [WRONG_SAID] = "tainted but not said",
};

/* What was seen of an encoding: bits that changed and bytes that were tainted, by input byte. */
static struct {
	bool used;
	uint64_t changed[WORDS];
	bool tainted[IMAGE_MAX];
} seen[IMAGE_MAX];

static bool is_flags(unsigned at)
{
	return at >= TAINT_REG_FLAGS && at < TAINT_REG_YMM;
}

/* The x87 status word, and what pads the x87 registers. */
static bool is_environment(unsigned at)
{
	return at >= TAINT_REG_MM && at < REGS && (at >= IMAGE_FSW || (at - TAINT_REG_MM) % 16 >= X87_REG_BYTES);
}

static void wrong(const struct trial *t, enum wrong what, unsigned from, unsigned to)
{
	ZydisFormatter f;
	char text[128];

	tallies[t->group].wrong[what]++;
	if (wrong_of[t->zi.mnemonic]++ >= SHOWN_EACH)
		return;
	ZydisFormatterInit(&f, ZYDIS_FORMATTER_STYLE_INTEL);
	ZydisFormatterFormatInstruction(&f, &t->zi, t->ops, t->zi.operand_count_visible, text, sizeof(text), 0, NULL);
	printf("%s: %-44s byte %u to %u:", wrong_names[what], text, from, to);
	for (unsigned i = 0; i < t->len; i++)
		printf(" %02x", t->code[i]);
	printf("\n");
}

static uint64_t word_at(const uint8_t *image, unsigned i)
{
	uint64_t v;

	memcpy(&v, image + 8 * i, 8);
	return v;
}

static unsigned changed_byte(const uint64_t *changed, unsigned to)
{
	return changed[to / 8] >> (to % 8 * 8) & 0xffu;
}

/* Which of two values it gives is control, not data. */
static bool other_way(const struct trial *t, const uint8_t *out)
{
	return starts(t->name, "cmpxchg") && ((out[TAINT_REG_FLAGS] ^ t->result[TAINT_REG_FLAGS]) & 0x40u);
}

static unsigned flippable(unsigned from)
{
	if (is_flags(from))
		return STATUS_FLAGS >> (8 * (from - TAINT_REG_FLAGS)) & 0xffu;
	return from == IMAGE_FSW + 1 ? X87_CONDITIONS : 0xffu;
}

static_assert((REGS + WINDOW_USUAL) % BLOCK == 0 && IMAGE_MAX % BLOCK == 0, "images are whole blocks");

/* ret |= a ^ b, n a multiple of BLOCK: this is what most of the time goes to. */
static void add_changes(const uint8_t *a, const uint8_t *b, unsigned n, uint64_t *ret)
{
	typedef uint64_t pair __attribute__((vector_size(BLOCK)));
	pair x, y, sum;

	for (unsigned i = 0; i < n; i += BLOCK) {
		memcpy(&x, a + i, sizeof(x));
		memcpy(&y, b + i, sizeof(y));
		memcpy(&sum, ret + i / 8, sizeof(sum));
		sum |= x ^ y;
		memcpy(ret + i / 8, &sum, sizeof(sum));
	}
}

/* Bits of the output that any bit of the input byte changes. */
static void flip_byte(struct trial *t, unsigned from, uint64_t *ret)
{
	uint8_t out[IMAGE_MAX];

	memset(ret, 0, WORDS * sizeof(*ret));
	for (unsigned bit = 0; bit < 8; bit++) {
		uint8_t mask = (uint8_t)(1u << bit);

		if (!(mask & flippable(from)))
			continue;
		t->image[from] ^= mask;
		if (cpu_run(t->image, t->window, out) && !other_way(t, out))
			add_changes(out, t->result, REGS + t->window, ret);
		t->image[from] ^= mask;
	}
}

static bool flags_are_data(const struct trial *t)
{
	return starts(t->name, "set") || in_words("lahf pushf pushfd pushfq rcl rcr salc", t->name);
}

/* Whether the engine must know that a changed byte depends on the input byte. */
static bool demanded(const struct trial *t, unsigned from, unsigned to)
{
	return !is_flags(from) || is_flags(to) || flags_are_data(t);
}

static bool tests_flags(const struct trial *t)
{
	return t->zi.cpu_flags && (t->zi.cpu_flags->tested & STATUS_FLAGS);
}

static bool any_of_eight(const uint32_t *label)
{
	return label[0] | label[1] | label[2] | label[3] | label[4] | label[5] | label[6] | label[7];
}

/* Returns false if one of the eight bytes lost its taint. */
static bool compare_eight(struct trial *t, unsigned from, unsigned at, const uint64_t *changed, const uint32_t *label)
{
	for (unsigned to = at; to < at + 8; to++) {
		if (changed_byte(changed, to) && !label[to] && demanded(t, from, to)) {
			wrong(t, WRONG_LOST, from, to);
			return false;
		}
		seen[from].tainted[to] |= label[to] != 0;
	}
	seen[from].changed[at / 8] |= changed[at / 8];
	return true;
}

static void compare(struct trial *t, unsigned from, const uint64_t *changed, const uint32_t *label)
{
	seen[from].used = true;
	for (unsigned at = 0; at < REGS + t->window; at += 8)
		if ((changed[at / 8] || any_of_eight(label + at)) && !compare_eight(t, from, at, changed, label))
			return;
}

/* 32-bit destinations clear the upper half, VEX-encoded ones the upper lane. */
static void check_uppers(struct trial *t, unsigned from, const uint32_t *label)
{
	bool vex = t->zi.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;

	if (t->insn.has_load && !t->events) /* a masked load of nothing is not told */
		return;
	for (unsigned i = 0; i < t->zi.operand_count; i++) {
		const ZydisDecodedOperand *op = &t->ops[i];
		unsigned len, at = register_place(op->reg.value, &len), n = 0;

		if (op->type != ZYDIS_OPERAND_TYPE_REGISTER || !(op->actions & ZYDIS_OPERAND_ACTION_WRITE))
			continue;
		if (len == 8 && op->size == 32 && !in_words("bsf bsr", t->name))
			n = 4;
		else if (len == 32 && op->size == 128 && vex)
			n = 16;
		for (unsigned k = len - n; k < len; k++)
			if (label[at + k]) {
				wrong(t, WRONG_UPPER, from, at + k);
				return;
			}
	}
}

static void one_input(struct trial *t, unsigned from)
{
	uint64_t changed[WORDS];
	uint32_t label[IMAGE_MAX];

	flip_byte(t, from, changed);
	if (!engine_run(t, &t->insn, from, false, label))
		wrong(t, WRONG_SAID, from, 0);
	compare(t, from, changed, label);
	check_uppers(t, from, label);
	if (!tests_flags(t) || is_flags(from))
		return;
	engine_run(t, &t->insn, from, true, label);
	for (unsigned to = 0; to < REGS + t->window; to++)
		if (changed_byte(changed, to) && !label[to]) {
			wrong(t, WRONG_LOST, from, to);
			return;
		}
}

/* Look-ups: what the policy in insn.h covers, said once more. */

static const ZydisDecodedOperand *lookup_operand(const struct trial *t)
{
	for (unsigned i = 0; i < t->zi.operand_count; i++) {
		const ZydisDecodedOperand *op = &t->ops[i];
		bool xlat = t->zi.mnemonic == ZYDIS_MNEMONIC_XLAT;
		bool gather = is_mem(op) && op->mem.type == ZYDIS_MEMOP_TYPE_VSIB && op->element_size <= 32;
		bool load = is_mem(op) && op->visibility != ZYDIS_OPERAND_VISIBILITY_HIDDEN && i > 0 &&
			    op->size <= 32 && !(op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) &&
			    t->ops[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
			    (t->ops[0].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) &&
			    register_place(t->ops[0].reg.value, &(unsigned){0}) < TAINT_REG_FLAGS &&
			    !(t->zi.mnemonic == ZYDIS_MNEMONIC_MOVSXD && t->ops[0].size == 64);

		if (is_mem(op) && (op->actions & ZYDIS_OPERAND_ACTION_MASK_READ) && (xlat || gather || load))
			return op;
	}
	return NULL;
}

static void lookup_byte(struct trial *t, unsigned from, unsigned dst, unsigned len)
{
	uint64_t changed[WORDS];
	uint32_t label[IMAGE_MAX];

	flip_byte(t, from, changed);
	engine_run(t, &t->user, from, false, label);
	for (unsigned to = dst; to < dst + len; to++)
		if (changed_byte(changed, to) && !label[to]) {
			wrong(t, WRONG_LOOKUP, from, to);
			return;
		}
}

static void check_lookup(struct trial *t)
{
	const ZydisDecodedOperand *op = lookup_operand(t);
	bool xlat = t->zi.mnemonic == ZYDIS_MNEMONIC_XLAT;
	unsigned dst_len, dst = register_place(xlat ? ZYDIS_REGISTER_RAX : t->ops[0].reg.value, &dst_len);
	ZydisRegister part[2];

	if (!op) {
		if (t->user.n_by_index)
			wrong(t, WRONG_LOOKUP, 0, 0);
		return;
	}
	part[0] = op->mem.base;
	part[1] = xlat ? ZYDIS_REGISTER_AL : op->mem.index;
	for (unsigned i = 0; i < 2; i++) {
		unsigned len, at = register_place(part[i], &len);

		if (part[i] == ZYDIS_REGISTER_RSP || part[i] == ZYDIS_REGISTER_ESP)
			continue;
		for (unsigned k = 0; k < (part[i] == ZYDIS_REGISTER_AL ? 1 : len); k++)
			lookup_byte(t, at + k, dst, dst_len);
	}
	tallies[t->group].lookups++;
}

/* Where memory is touched and which registers are written */

static uint64_t image_gpr(const uint8_t *image, unsigned r)
{
	return r < 16 ? word_at(image, r) : 0;
}

static uint64_t place_of(const struct trial *t, const struct taint_mem *m)
{
	uint64_t mask = t->insn.addr32 ? UINT32_MAX : UINT64_MAX;

	return (image_gpr(t->image, m->base) + image_gpr(t->image, m->index) * m->scale + (uint64_t)m->disp) & mask;
}

static bool is_in_place(const struct trial *t, const struct event *e)
{
	for (unsigned i = 0; i < t->insn.n_mem; i++) {
		const struct taint_mem *m = &t->insn.mem[i];
		uint64_t at = place_of(t, m) - WINDOW_AT;

		if (!(e->store ? m->written : m->read))
			continue;
		if (!m->known || (e->at >= at && e->at + e->len <= at + m->size))
			return true;
	}
	return false;
}

static void check_places(struct trial *t)
{
	for (unsigned i = 0; i < t->events; i++)
		if (!is_in_place(t, &t->event[i])) {
			wrong(t, WRONG_PLACE, REGS + t->event[i].at, 0);
			return;
		}
	for (unsigned r = 0; r < 16; r++) {
		uint64_t change = word_at(t->result, r) - word_at(t->image, r);
		bool constant = r == t->insn.delta_reg;

		if (change && !(t->insn.gpr_written >> r & 1u))
			wrong(t, WRONG_PLACE, 8 * r, 8 * r);
		if (constant && change != (uint64_t)(int64_t)t->insn.delta)
			wrong(t, WRONG_PLACE, 8 * r, 0);
	}
}

/* One state; false if the instruction faults in it or gives one thing or another. */
static bool one_state(struct trial *t)
{
	uint8_t again[IMAGE_MAX];

	if (!trial_state(t))
		return false;
	if (!cpu_run(t->image, t->window, t->result) || !cpu_run(t->image, t->window, again) ||
	    memcmp(t->result, again, REGS + t->window)) {
		tallies[t->group].faulted++;
		return false;
	}
	tallies[t->group].states++;
	states_of[t->zi.mnemonic]++;
	check_places(t);
	for (unsigned from = 0; from < REGS + t->window; from++)
		if (t->input[from])
			one_input(t, from);
	check_lookup(t);
	return true;
}

/* What the input byte tainted and never changed, in any state. */
static void precision_of(struct trial *t, unsigned from)
{
	bool inexact = false;

	for (unsigned to = 0; to < REGS + t->window; to++) {
		bool never = seen[from].tainted[to] && !changed_byte(seen[from].changed, to);

		if (!seen[from].tainted[to] || is_flags(to) || is_environment(to))
			continue;
		tallies[t->group].pairs++;
		tallies[t->group].never += never;
		if (never && t->exact && !inexact)
			wrong(t, WRONG_INEXACT, from, to);
		inexact |= never;
	}
}

static void check_precision(struct trial *t)
{
	for (unsigned from = 0; from < REGS + t->window; from++) {
		if (!seen[from].used)
			continue;
		if (!is_environment(from))
			precision_of(t, from);
		memset(&seen[from], 0, sizeof(seen[from]));
	}
}

unsigned check_encoding(struct trial *t, unsigned states)
{
	unsigned done = 0;

	cpu_assemble(t->code, t->len, t->x87);
	for (unsigned i = 0; i < states * TRIES_EACH && done < states; i++)
		done += one_state(t);
	if (done) {
		tallies[t->group].encodings++;
		check_precision(t);
	}
	return done;
}
