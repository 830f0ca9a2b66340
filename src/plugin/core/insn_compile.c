/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Compiles an instruction: decodes it, notes its memory operands, lets the
 * mnemonic's rule emit operations, and adds what holds for all of them: a
 * 32-bit destination clears the upper half of its register, a VEX-encoded one
 * the upper half of its vector register.
 */
#include "plugin/core/insn_internal.h"
#include "plugin/core/insn_ops.h"

#include <pthread.h>
#include <string.h>

/* More than this in one operand is not data that we follow byte by byte. */
#define OPERAND_MAX 64u

/* Bytes of a 32-bit register, and of what writing one clears. */
#define HALF 4u

/* Flags that set-on-condition and jumps look at; AF is left out: nothing does. */
#define STATUS_FLAGS (ZYDIS_CPUFLAG_CF | ZYDIS_CPUFLAG_PF | ZYDIS_CPUFLAG_ZF | ZYDIS_CPUFLAG_SF | ZYDIS_CPUFLAG_OF)

static ZydisDecoder decoder64, decoder32, decoder16;
static pthread_once_t decoder_once = PTHREAD_ONCE_INIT;

static void decoder_setup(void)
{
	ZydisDecoderInit(&decoder64, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	ZydisDecoderInit(&decoder32, ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32);
	ZydisDecoderInit(&decoder16, ZYDIS_MACHINE_MODE_LONG_COMPAT_16, ZYDIS_STACK_WIDTH_16);
}

static const ZydisDecoder *decoder_for(unsigned mode)
{
	pthread_once(&decoder_once, decoder_setup);
	return mode == 64 ? &decoder64 : mode == 32 ? &decoder32 : &decoder16;
}

bool insn_is_mem(const ZydisDecodedOperand *op)
{
	return op->type == ZYDIS_OPERAND_TYPE_MEMORY && op->mem.type != ZYDIS_MEMOP_TYPE_AGEN &&
	       op->mem.type != ZYDIS_MEMOP_TYPE_MIB;
}

bool insn_reads(const ZydisDecodedOperand *op)
{
	return op->actions & ZYDIS_OPERAND_ACTION_MASK_READ;
}

bool insn_writes(const ZydisDecodedOperand *op)
{
	return op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
}

bool insn_same_reg(const ZydisDecodedOperand *a, const ZydisDecodedOperand *b)
{
	return a->type == ZYDIS_OPERAND_TYPE_REGISTER && b->type == ZYDIS_OPERAND_TYPE_REGISTER &&
	       a->reg.value == b->reg.value;
}

bool insn_three(const struct build *b)
{
	return b->zi->operand_count_visible >= 3 && b->ops[2].type != ZYDIS_OPERAND_TYPE_IMMEDIATE;
}

struct span insn_gpr(unsigned i, unsigned n)
{
	return (struct span){(uint16_t)(TAINT_REG_GPR + 8 * i), (uint8_t)n};
}

struct span insn_low(struct span s, unsigned n)
{
	return (struct span){s.at, (uint8_t)(s.len < n ? s.len : n)};
}

struct span insn_part(struct span s, unsigned from, unsigned n)
{
	return (struct span){(uint16_t)(s.at + from), (uint8_t)n};
}

static struct span gpr_span(ZydisRegister reg, unsigned size)
{
	ZydisRegister whole = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);
	struct span s = insn_gpr((unsigned)ZydisRegisterGetId(whole) & 15u, size);

	if (reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH)
		s.at += 1;
	return s;
}

struct span insn_reg_span(ZydisRegister reg, unsigned size)
{
	unsigned id = (unsigned)ZydisRegisterGetId(reg);

	switch (ZydisRegisterGetClass(reg)) {
	case ZYDIS_REGCLASS_GPR8:
	case ZYDIS_REGCLASS_GPR16:
	case ZYDIS_REGCLASS_GPR32:
	case ZYDIS_REGCLASS_GPR64:
		return gpr_span(reg, size > 8 ? 8 : size);
	case ZYDIS_REGCLASS_XMM:
	case ZYDIS_REGCLASS_YMM:
	case ZYDIS_REGCLASS_ZMM:
		if (id < 16)
			return (struct span){(uint16_t)(TAINT_REG_YMM + 32 * id), (uint8_t)(size > 32 ? 32 : size)};
		break;
	case ZYDIS_REGCLASS_MMX:
		return (struct span){(uint16_t)(TAINT_REG_MM + 16 * (id & 7u)), (uint8_t)(size > 8 ? 8 : size)};
	case ZYDIS_REGCLASS_X87: /* which physical register is not known when compiling: all of them */
		return (struct span){TAINT_REG_MM, 128};
	case ZYDIS_REGCLASS_FLAGS:
		return INSN_FLAGS;
	default:
		break;
	}
	if (reg == ZYDIS_REGISTER_X87STATUS)
		return (struct span){TAINT_REG_MM, 128};
	return (struct span){0, 0};
}

static unsigned bytes_of(const ZydisDecodedOperand *op)
{
	unsigned n = (op->size + 7u) / 8u;

	return n < OPERAND_MAX ? n : OPERAND_MAX;
}

struct span insn_span(const struct build *b, const ZydisDecodedOperand *op)
{
	if (op->type == ZYDIS_OPERAND_TYPE_REGISTER)
		return insn_reg_span(op->reg.value, bytes_of(op));
	if (insn_is_mem(op))
		return (struct span){TAINT_REG_TMP, (uint8_t)(b->in->load_len ? bytes_of(op) : 1)};
	return (struct span){0, 0};
}

struct span insn_dst(struct build *b, const ZydisDecodedOperand *op)
{
	struct span s;

	if (!insn_is_mem(op))
		return insn_span(b, op);
	s = (struct span){insn_reads(op) ? TAINT_REG_TMP : TAINT_REG_TMP2, (uint8_t)bytes_of(op)};
	b->in->store_src = s.at;
	return s;
}

void insn_emit(struct build *b, enum taint_op_kind kind, struct span dst, struct span src, int arg)
{
	struct taint_insn *in = b->in;

	if (!dst.len)
		return;
	if (in->n_ops == TAINT_INSN_OPS) {
		b->overflow = true;
		return;
	}
	in->op[in->n_ops++] = (struct taint_op){
		.kind = (uint8_t)kind,
		.arg = (int8_t)arg,
		.dst = dst.at,
		.src = src.at,
		.dst_len = dst.len,
		.src_len = src.len,
	};
}

void insn_clear(struct build *b, struct span dst)
{
	insn_emit(b, TAINT_OP_CLEAR, dst, (struct span){0, 0}, 0);
}

void insn_copy(struct build *b, struct span dst, struct span src)
{
	if (!src.len)
		insn_clear(b, dst);
	else if (dst.at != src.at || dst.len > src.len)
		insn_emit(b, TAINT_OP_COPY, dst, src, 0);
}

void insn_union2(struct build *b, struct span dst, struct span x, struct span y)
{
	insn_emit(b, x.len ? TAINT_OP_UNION : TAINT_OP_CLEAR, dst, x, 0);
	if (y.len && y.at != x.at)
		insn_emit(b, TAINT_OP_UNION_ADD, dst, y, 0);
}

/* The flags operand if the instruction writes status flags. For some, the decoder says so only in the flags' masks. */
static const ZydisDecodedOperand *flags_operand(const struct build *b)
{
	const ZydisAccessedFlags *f = b->zi->cpu_flags;
	bool sets = f && ((f->modified | f->set_0 | f->set_1) & STATUS_FLAGS);

	for (unsigned i = 0; i < b->zi->operand_count; i++) {
		const ZydisDecodedOperand *op = &b->ops[i];

		if (op->type == ZYDIS_OPERAND_TYPE_REGISTER && (insn_writes(op) || sets) &&
		    ZydisRegisterGetClass(op->reg.value) == ZYDIS_REGCLASS_FLAGS)
			return op;
	}
	return NULL;
}

/* Undefined flags count as kept: that is what processors do with most of them. */
static bool flags_all(const struct build *b, const ZydisDecodedOperand *flags)
{
	const ZydisAccessedFlags *f = b->zi->cpu_flags;

	return f && (flags->actions & ZYDIS_OPERAND_ACTION_WRITE) && !(b->rule->flags & RULE_PIECES) &&
	       !(f->tested & STATUS_FLAGS) && ((f->modified | f->set_0 | f->set_1) & STATUS_FLAGS) == STATUS_FLAGS;
}

void insn_flags(struct build *b, struct span x, struct span y)
{
	const ZydisDecodedOperand *flags = flags_operand(b);

	if (!flags)
		return;
	if (flags_all(b, flags)) {
		insn_union2(b, INSN_FLAGS, x, y);
		return;
	}
	if (x.len)
		insn_emit(b, TAINT_OP_UNION_ADD, INSN_FLAGS, x, 0);
	if (y.len && y.at != x.at)
		insn_emit(b, TAINT_OP_UNION_ADD, INSN_FLAGS, y, 0);
}

static bool is_hidden_stack(const ZydisDecodedOperand *op)
{
	return op->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN &&
	       ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, op->reg.value) == ZYDIS_REGISTER_RSP;
}

/* A register operand that the general rules look at. */
static bool is_data_reg(const struct build *b, const ZydisDecodedOperand *op)
{
	if (op->type != ZYDIS_OPERAND_TYPE_REGISTER || is_hidden_stack(op))
		return false;
	if (ZydisRegisterGetClass(op->reg.value) == ZYDIS_REGCLASS_FLAGS)
		return b->rule->flags & RULE_FLAGS_IN;
	return insn_span(b, op).len != 0;
}

void rule_none(struct build *b)
{
	(void)b;
}

/* One of the registers that have one label together. */
static bool is_x87(const ZydisDecodedOperand *op)
{
	return ZydisRegisterGetClass(op->reg.value) == ZYDIS_REGCLASS_X87 || op->reg.value == ZYDIS_REGISTER_X87STATUS;
}

/* Everything that is written becomes clean, but the x87 registers: which one it is, is not known. */
void rule_clean(struct build *b)
{
	const ZydisDecodedOperand *flags = flags_operand(b);

	for (unsigned i = 0; i < b->zi->operand_count; i++) {
		const ZydisDecodedOperand *op = &b->ops[i];

		if (insn_writes(op) && is_data_reg(b, op) && op != flags && !is_x87(op))
			insn_clear(b, insn_span(b, op));
	}
	if (flags && flags_all(b, flags))
		insn_clear(b, INSN_FLAGS);
}

/* Union of all data inputs into the scratch label; returns whether there is any. */
static bool union_inputs(struct build *b)
{
	bool any = false;

	for (unsigned i = 0; i < b->zi->operand_count; i++) {
		const ZydisDecodedOperand *op = &b->ops[i];

		if (!insn_reads(op) || !(insn_is_mem(op) || is_data_reg(b, op)))
			continue;
		insn_emit(b, any ? TAINT_OP_UNION_ADD : TAINT_OP_UNION, INSN_LABEL, insn_span(b, op), 0);
		any = true;
	}
	return any;
}

/* All inputs to all outputs. */
void rule_union(struct build *b)
{
	bool adds = b->rule->flags & RULE_PIECES;

	if (!union_inputs(b)) {
		rule_clean(b);
		return;
	}
	for (unsigned i = 0; i < b->zi->operand_count; i++) {
		const ZydisDecodedOperand *op = &b->ops[i];
		bool sure = op->actions & ZYDIS_OPERAND_ACTION_WRITE;

		if (!insn_writes(op))
			continue;
		if (insn_is_mem(op)) {
			b->in->store_src = INSN_LABEL.at;
			b->in->store_len = 0;
		} else if (is_data_reg(b, op) && insn_span(b, op).at != TAINT_REG_FLAGS) {
			bool whole = sure && !adds && insn_span(b, op).at != TAINT_REG_MM;

			insn_emit(b, whole ? TAINT_OP_UNION : TAINT_OP_UNION_ADD, insn_span(b, op), INSN_LABEL, 0);
		}
	}
	insn_flags(b, INSN_LABEL, (struct span){0, 0});
}

/* Loads and stores from the operand list: how many bytes, in how many operands. */
static void scan_memory(struct build *b)
{
	struct taint_insn *in = b->in;
	unsigned load = 0, store = 0, loads = 0;

	for (unsigned i = 0; i < b->zi->operand_count; i++) {
		const ZydisDecodedOperand *op = &b->ops[i];

		if (!insn_is_mem(op))
			continue;
		if (insn_reads(op)) {
			load += bytes_of(op);
			loads++;
		}
		if (insn_writes(op))
			store += bytes_of(op);
	}
	in->has_load = load != 0;
	in->has_store = store != 0;
	in->load_len = (uint8_t)load;
	in->store_len = (uint8_t)store;
	in->needs_begin = load > 16 || store > 16 || loads > 1;
	in->store_src = TAINT_STORE_CLEAN;
	if (b->rule->flags & RULE_PIECES) {
		in->load_len = in->store_len = 0;
		in->needs_begin = false;
	}
}

static void clear_uppers(struct build *b)
{
	bool vex = b->zi->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;

	for (unsigned i = 0; i < b->zi->operand_count; i++) {
		const ZydisDecodedOperand *op = &b->ops[i];
		bool sure = (op->actions & ZYDIS_OPERAND_ACTION_WRITE) || (b->rule->flags & RULE_UPPER);
		ZydisRegisterClass c;
		struct span s;

		if (op->type != ZYDIS_OPERAND_TYPE_REGISTER || !insn_writes(op) || !sure)
			continue;
		c = ZydisRegisterGetClass(op->reg.value);
		s = insn_span(b, op);
		if (c == ZYDIS_REGCLASS_GPR32 && b->zi->machine_mode == ZYDIS_MACHINE_MODE_LONG_64 &&
		    !is_hidden_stack(op))
			insn_clear(b, insn_part(s, 4, 4));
		else if (c == ZYDIS_REGCLASS_XMM && vex && s.len)
			insn_clear(b, insn_part(s, 16, 16));
	}
}

/* Encodings that the emulated processors do not have. */
static bool is_foreign(const ZydisDecodedInstruction *zi)
{
	return zi->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX || zi->encoding == ZYDIS_INSTRUCTION_ENCODING_MVEX ||
	       zi->encoding == ZYDIS_INSTRUCTION_ENCODING_XOP;
}

static const struct insn_rule refused_rule = {rule_clean, TAINT_INSN_REFUSED, 0, 0, 0, ""};

static void refuse(struct build *b)
{
	b->rule = &refused_rule;
	b->in->n_ops = 0;
	b->in->cls = TAINT_INSN_REFUSED;
	scan_memory(b);
	rule_clean(b);
	clear_uppers(b);
}

static bool loads_translation(const struct build *b)
{
	const ZydisDecodedOperand *op = &b->ops[0];

	return (b->rule->flags & RULE_TLB) ||
	       (b->zi->mnemonic == ZYDIS_MNEMONIC_MOV && op->type == ZYDIS_OPERAND_TYPE_REGISTER &&
		ZydisRegisterGetClass(op->reg.value) == ZYDIS_REGCLASS_CONTROL);
}

static void compile(struct build *b)
{
	const uint64_t rep = ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE;

	b->in->flushes_tlb = loads_translation(b);
	if (b->in->cls == TAINT_INSN_NONE)
		return;
	scan_memory(b);
	b->in->repeats = (b->zi->attributes & rep) != 0;
	b->rule->fn(b);
	if (!(b->rule->flags & RULE_KEEP_UPPER))
		clear_uppers(b);
	if (b->overflow)
		refuse(b);
}

/* The flags have one label, in their first byte. */
static void note_flags(struct taint_insn *in, const struct taint_op *op)
{
	bool onto = op->kind == TAINT_OP_UNION_ADD || op->kind == TAINT_OP_MERGE || op->kind == TAINT_OP_CARRY ||
		    op->kind == TAINT_OP_ELEM || op->kind == TAINT_OP_SWAP;

	if (in->sets_flags)
		return;
	if (taint_reg_bits(op->src, op->src_len) & taint_reg_bits(TAINT_REG_FLAGS, 1))
		in->uses_flags = true;
	if (op->dst == TAINT_REG_FLAGS)
		in->uses_flags |= onto;
	in->sets_flags = op->dst == TAINT_REG_FLAGS && !in->uses_flags;
}

static bool overlap(unsigned at, unsigned len, unsigned other, unsigned other_len)
{
	return at < other + other_len && other < at + len;
}

/* Whether the operations between i and k have to do with what k cleans. */
static bool is_used_between(const struct taint_insn *in, unsigned i, unsigned k)
{
	const struct taint_op *clear = &in->op[k];

	for (unsigned j = i + 1; j < k; j++) {
		const struct taint_op *op = &in->op[j];
		bool swap = op->kind == TAINT_OP_SWAP, upper = op->kind == TAINT_OP_CLEAR_UPPER;

		if (upper || overlap(op->dst, op->dst_len + op->clears, clear->dst, clear->dst_len) ||
		    overlap(op->src, swap ? op->dst_len : op->src_len, clear->dst, clear->dst_len))
			return true;
	}
	return false;
}

/* The operation that writes just what is before the part that the last one cleans, and could do that too; NULL: none. */
static struct taint_op *find_before_clear(struct taint_insn *in)
{
	unsigned k = in->n_ops - 1u;

	for (unsigned i = k; i-- > 0;) {
		struct taint_op *op = &in->op[i];

		if (op->dst + op->dst_len == in->op[k].dst && op->dst_len == HALF && !op->clears &&
		    op->kind != TAINT_OP_CLEAR_UPPER && !overlap(op->src, op->src_len, in->op[k].dst, HALF) &&
		    !is_used_between(in, i, k))
			return op;
	}
	return NULL;
}

/* A 32-bit result and what it clears are one operation. */
static void join_clear(struct taint_insn *in)
{
	const struct taint_op *clear;
	struct taint_op *op;

	if (in->n_ops < 2)
		return;
	clear = &in->op[in->n_ops - 1];
	if (clear->kind != TAINT_OP_CLEAR || clear->dst_len != HALF || clear->dst >= TAINT_REG_FLAGS)
		return;
	op = find_before_clear(in);
	if (!op)
		return;
	op->clears = HALF;
	in->n_ops--;
}

/* Whether it writes all of the one register that it writes. The flags' label is one byte. */
static bool writes_whole(const struct taint_op *op)
{
	if (op->kind == TAINT_OP_SWAP || op->kind == TAINT_OP_CLEAR_UPPER)
		return false;
	return (op->dst < TAINT_REG_FLAGS && op->dst % 8 == 0 && op->dst_len + op->clears == 8) ||
	       (op->dst == TAINT_REG_FLAGS && op->dst_len == 1);
}

/* Which registers it has to do with. */
static void note_registers(struct taint_insn *in)
{
	join_clear(in);
	for (unsigned i = 0; i < in->n_ops; i++) {
		struct taint_op *op = &in->op[i];
		bool upper = op->kind == TAINT_OP_CLEAR_UPPER, swap = op->kind == TAINT_OP_SWAP;

		op->writes = taint_reg_bits(op->dst, upper ? (unsigned)op->arg * 32 : op->dst_len) |
			     taint_reg_bits(op->src, swap ? op->dst_len : 0);
		op->whole = writes_whole(op);
		op->fn = insn_fast(op);
		if (!op->fn)
			op->fn = insn_any_op;
		if (op->dst == TAINT_REG_FLAGS)
			in->flag_ops |= (uint8_t)(1u << i);
		in->touches |= op->writes | taint_reg_bits(op->src, op->src_len);
		note_flags(in, op);
	}
	for (unsigned i = 0; i < in->n_by_index; i++)
		in->touches |= taint_reg_bits(in->by_index[i].at, in->by_index[i].len);
	if (in->has_store && in->store_src != TAINT_STORE_CLEAN)
		in->touches |= taint_reg_bits(in->store_src, in->store_len ? in->store_len : 1);
	if (in->area)
		in->touches = UINT64_MAX;
}

unsigned taint_insn_compile(unsigned mode, bool user, const uint8_t *bytes, size_t len, struct taint_insn *ret)
{
	ZydisDecodedInstruction zi;
	ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
	struct build b = {.in = ret, .zi = &zi, .ops = ops};

	memset(ret, 0, sizeof(*ret));
	ret->cls = TAINT_INSN_REFUSED;
	ret->store_src = TAINT_STORE_CLEAN;
	ret->gpr_written = UINT16_MAX;
	ret->delta_reg = TAINT_GPR_NONE;
	ret->stops = true;
	if (ZYAN_FAILED(ZydisDecoderDecodeFull(decoder_for(mode), bytes, len, &zi, ops)))
		return 0;
	ret->len = zi.length;
	ret->mnemonic = (uint16_t)zi.mnemonic;
	b.rule = insn_rule_find(zi.mnemonic);
	if (!b.rule || is_foreign(&zi)) {
		refuse(&b);
	} else {
		ret->cls = b.rule->cls;
		compile(&b);
		if (user)
			insn_note_lookup(&b);
	}
	if (user)
		insn_note_detection(&b);
	insn_note_memory(&b);
	note_registers(ret);
	return zi.length;
}

enum taint_insn_class taint_insn_mnemonic_class(unsigned zydis_mnemonic)
{
	const struct insn_rule *rule = insn_rule_find(zydis_mnemonic);

	return rule ? (enum taint_insn_class)rule->cls : TAINT_INSN_REFUSED;
}
