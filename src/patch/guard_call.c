/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guards of calls: a function is kept from writing beyond the object that it is given.
 *
 * What is left is what a correct program would have done with too long an input: as much as fits, with a zero at its
 * end where a string is meant. A destination that does not point into the object (its end included: a loop that
 * fills it gets there) is none of the guard's business: the call runs as it is. The guard itself is called, from where the
 * program's own call ended: what it jumps to returns to the program, and unwinders see no guard.
 *
 * Arguments: rdi, rsi, rdx, rcx, r8, r9, then the stack in 64-bit code; the stack in 32-bit code. At a call the
 * caller expects its scratch registers and flags to be lost, nothing below rsp is alive, and the stack is aligned.
 */
#include "patch/call_internal.h"

#include <string.h>

#include "locate/callee.h"

#define R10 10
#define R11 11
#define STACK_ARG_MAX 32
#define DATA_TRIES 4
#define WIDE 4 /* bytes of a wide character */

const uint8_t call_arg_reg[CALL_REG_ARGS] = {RDI, RSI, RDX, RCX, R8, R9};

static int32_t word(const struct call *c)
{
	return guard_word(&c->g);
}

bool call_arg_in_reg(const struct call *c, uint8_t arg)
{
	return !c->g.f->is_32bit && arg < CALL_REG_ARGS;
}

/* Where an argument that is not in a register is. */
struct emit_mem call_arg_slot(const struct call *c, uint8_t arg)
{
	int32_t k = c->g.f->is_32bit ? arg : arg - CALL_REG_ARGS;

	return EMIT_MEM(X86_RSP, k * word(c) + c->g.lower);
}

/* m reg, argument */
void call_with_arg(struct call *c, ZydisMnemonic m, uint8_t reg, uint8_t arg)
{
	if (call_arg_in_reg(c, arg))
		emit_rr(c->g.em, m, reg, call_arg_reg[arg] | (reg & EMIT_LOW32));
	else
		emit_rm(c->g.em, m, reg, call_arg_slot(c, arg));
}

/* m argument, reg */
void call_on_arg(struct call *c, ZydisMnemonic m, uint8_t arg, uint8_t reg)
{
	if (call_arg_in_reg(c, arg))
		emit_rr(c->g.em, m, call_arg_reg[arg] | (reg & EMIT_LOW32), reg);
	else
		emit_mr(c->g.em, m, call_arg_slot(c, arg), reg);
}

void call_push(struct call *c, uint8_t reg)
{
	emit_r(c->g.em, ZYDIS_MNEMONIC_PUSH, reg);
	c->g.lower += word(c);
}

void call_push_arg(struct call *c, uint8_t arg)
{
	if (call_arg_in_reg(c, arg))
		emit_r(c->g.em, ZYDIS_MNEMONIC_PUSH, call_arg_reg[arg]);
	else
		emit_m(c->g.em, ZYDIS_MNEMONIC_PUSH, call_arg_slot(c, arg));
	c->g.lower += word(c);
}

void call_push_address(struct call *c, uint64_t address)
{
	if (c->g.f->is_32bit && !c->g.em->is_fixed) {
		guard_address(&c->g, c->spare, address);
		call_push(c, c->spare);
	} else {
		emit_push_address(c->g.em, address);
		c->g.lower += word(c);
	}
}

/* Shorter than mov where neither is one of r8 to r15. */
void call_copy(struct call *c, uint8_t dst, uint8_t src)
{
	emit_r(c->g.em, ZYDIS_MNEMONIC_PUSH, src);
	emit_r(c->g.em, ZYDIS_MNEMONIC_POP, dst);
}

void call_lower_stack(struct call *c, int32_t by)
{
	emit_ri(c->g.em, ZYDIS_MNEMONIC_SUB, X86_RSP, by);
	c->g.lower += by;
}

/* Taken to the call as it is. */
void call_other_if(struct call *c, ZydisMnemonic m)
{
	c->others[c->n_others++] = emit_forward(c->g.em, m);
}

static void others_here(struct call *c)
{
	for (uint32_t k = 0; k < c->n_others; k++)
		if (c->others[k])
			emit_here(c->g.em, c->others[k]);
}

static uint64_t way_back(const struct call *c)
{
	return c->g.f->culprit.v + c->g.f->culprit_len;
}

static bool uses_stack(const struct x86_insn *in)
{
	for (unsigned k = 0; k < in->i.operand_count; k++) {
		const ZydisDecodedOperand *op = &in->op[k];

		if ((op->type == ZYDIS_OPERAND_TYPE_REGISTER && x86_gpr(op->reg.value) == X86_RSP) ||
		    (op->type == ZYDIS_OPERAND_TYPE_MEMORY && x86_gpr(op->mem.base) == X86_RSP))
			return true;
	}
	return false;
}

bool guard_is_called(const struct finding *f)
{
	uint64_t before = f->culprit.v - f->bug.v;
	struct x86_insn in;

	if (f->kind != FINDING_CALL ||
	    !x86_decode_mode(f->is_32bit ? X86_MODE_32 : X86_MODE_64, f->culprit_bytes, f->culprit_len, &in) ||
	    in.i.meta.category != ZYDIS_CATEGORY_CALL)
		return false;
	for (uint64_t off = 0; off < before; off += in.i.length)
		if (!x86_decode_mode(f->is_32bit ? X86_MODE_32 : X86_MODE_64, f->bug_bytes + off, f->bug_len - off,
				     &in) ||
		    uses_stack(&in) || in.i.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE)
			return false;
	return true;
}

/* The return address, as the program's own call would have put it. */
static void push_return(struct call *c)
{
	if (guard_is_called(c->g.f) || c->jumps) {
		c->g.lower += word(c);
	} else if (c->g.f->is_32bit) {
		emit_push_address(c->g.em, way_back(c));
		c->g.lower += word(c);
	} else {
		emit_address(c->g.em, c->room, way_back(c));
		call_push(c, c->room);
	}
	c->g.returns = c->jumps ? 0 : way_back(c);
}

void call_transfer(struct call *c, ZydisMnemonic m)
{
	emit_transfer(c->g.em, m, &c->in, c->g.f->culprit.v, c->g.lower);
}

void call_original(struct call *c)
{
	others_here(c);
	if (!c->g.link->next) {
		emit_transfer(c->g.em, ZYDIS_MNEMONIC_JMP, &c->in, c->g.f->culprit.v, word(c));
		return;
	}
	if (!guard_is_called(c->g.f) && !c->jumps) /* the next one puts it there itself */
		emit_lea(c->g.em, X86_RSP, EMIT_MEM(X86_RSP, word(c)));
	emit_jump(c->g.em, c->g.link->next);
}

void call_return(struct call *c)
{
	emit_plain(c->g.em, ZYDIS_MNEMONIC_RET);
	call_original(c);
}

static uint32_t call_uses(const struct call *c)
{
	const ZydisDecodedOperand *op = &c->in.op[0];
	uint32_t mask = 0;

	if (op->type == ZYDIS_OPERAND_TYPE_REGISTER && x86_gpr(op->reg.value) < 16)
		mask |= 1u << x86_gpr(op->reg.value);
	if (op->type == ZYDIS_OPERAND_TYPE_MEMORY && x86_gpr(op->mem.base) < 16)
		mask |= 1u << x86_gpr(op->mem.base);
	if (op->type == ZYDIS_OPERAND_TYPE_MEMORY && x86_gpr(op->mem.index) < 16)
		mask |= 1u << x86_gpr(op->mem.index);
	return mask;
}

bool call_takes_list(const struct finding *f)
{
	return f->callee[0] == 'v' || strncmp(f->callee, "__v", 3) == 0;
}

/* Two scratch registers that hold no argument and are not what is called. Copies of strings count in rcx. */
static int pick_registers(struct call *c, struct err *e)
{
	static const uint8_t of64[] = {RCX, R11, R10}, of32[] = {RCX, RAX, RDX};
	const struct finding *f = c->g.f;
	const uint8_t *from = f->is_32bit ? of32 : of64;
	size_t n = f->is_32bit ? sizeof(of32) : sizeof(of64);
	uint32_t uses = call_uses(c);
	bool is_string = f->effect >= CALL_STRING_COPY && f->effect <= CALL_STRING_APPEND_N;

	if (!f->is_32bit && (!is_string || f->chk_arg == 3))
		uses |= 1u << RCX;

	c->room = c->spare = EMIT_NO_REG;
	for (size_t k = 0; k < n; k++) {
		if (uses & (1u << from[k]))
			continue;
		if (c->room == EMIT_NO_REG)
			c->room = from[k];
		else if (c->spare == EMIT_NO_REG)
			c->spare = from[k];
	}
	if (c->spare == EMIT_NO_REG)
		return err_set(e, ERR_REFUSED, "what is called is in a register that the guard needs");
	return 0;
}

static void emit_chunk_room(struct call *c)
{
	uint8_t dst = c->spare;

	if (call_arg_in_reg(c, c->dst_arg))
		dst = call_arg_reg[c->dst_arg];
	else if (c->dst_arg != CALL_NO_ARG)
		call_with_arg(c, ZYDIS_MNEMONIC_MOV, dst, c->dst_arg);
	guard_chunk_room(&c->g, c->room, dst, c->others + c->n_others);
	c->n_others += GUARD_CHUNK_JUMPS;
}

/* The compiler's own size; where it knew none that is the largest number. */
static void room_by_argument(struct call *c)
{
	call_with_arg(c, ZYDIS_MNEMONIC_MOV, c->room, c->g.f->chk_arg);
	emit_ri(c->g.em, ZYDIS_MNEMONIC_CMP, c->room, INT32_MAX);
	call_other_if(c, ZYDIS_MNEMONIC_JNBE);
}

/* The destination is always in the array, or behind it where nothing may be written: no room is left there. */
static void emit_none_beyond(struct call *c)
{
	uint32_t inside = emit_forward(c->g.em, ZYDIS_MNEMONIC_JBE);

	emit_rr(c->g.em, ZYDIS_MNEMONIC_XOR, c->room | EMIT_LOW32, c->room | EMIT_LOW32);
	emit_here(c->g.em, inside);
}

/* room = bytes that may be written at the destination; to the original call if it is not in the object. */
void call_room(struct call *c)
{
	const struct finding *f = c->g.f;
	uint32_t other;

	if (f->bound == BOUND_ARGUMENT) {
		room_by_argument(c);
		return;
	}
	other = guard_check_caller(&c->g, c->room);
	if (other)
		c->others[c->n_others++] = other;
	if (f->bound == BOUND_CHUNK) {
		emit_chunk_room(c);
	} else {
		guard_bound(&c->g, c->room, f->end_offset);
		if (c->dst_arg == CALL_NO_ARG)
			emit_rr(c->g.em, ZYDIS_MNEMONIC_SUB, c->room, c->spare);
		else
			call_with_arg(c, ZYDIS_MNEMONIC_SUB, c->room, c->dst_arg);
		emit_ri(c->g.em, ZYDIS_MNEMONIC_CMP, c->room, (int32_t)(f->end_offset - f->start_offset));
		if (f->own_array)
			emit_none_beyond(c);
		else
			call_other_if(c, ZYDIS_MNEMONIC_JNBE);
	}
	if (callee_is_wide(f->callee))
		emit_ri(c->g.em, ZYDIS_MNEMONIC_SHR, c->room, 2);
	if (f->chk_arg != CALL_NO_ARG) {
		call_with_arg(c, ZYDIS_MNEMONIC_CMP, c->room, f->chk_arg);
		call_with_arg(c, ZYDIS_MNEMONIC_CMOVNBE, c->room, f->chk_arg);
	}
}

/* What a CALL_LENGTH function does beyond its kind. */
static const struct length_quirk {
	const char *callee;
	bool is_int; /* its length is an int */
	bool is_string; /* it leaves a string that is too long without a zero */
	bool is_items; /* its length counts items of the size that is the argument before */
} length_quirks[] = {
	{"fgets", true, false, false},
	{"__fgets_chk", true, false, false},
	{"fgets_unlocked", true, false, false},
	{"strncpy", false, true, false},
	{"stpncpy", false, true, false},
	{"__strncpy_chk", false, true, false},
	{"__stpncpy_chk", false, true, false},
	{"fread", false, false, true},
	{"__fread_chk", false, false, true},
	{"fread_unlocked", false, false, true},
	{"__fread_unlocked_chk", false, false, true},
	{"fgetws", true, false, false},
	{"__fgetws_chk", true, false, false},
	{"wcsncpy", false, true, false},
	{"wcpncpy", false, true, false},
	{"__wcsncpy_chk", false, true, false},
	{"__wcpncpy_chk", false, true, false},
};

static const struct length_quirk *quirk_of(const struct finding *f)
{
	static const struct length_quirk none;

	for (size_t k = 0; k < sizeof(length_quirks) / sizeof(length_quirks[0]); k++)
		if (strncmp(length_quirks[k].callee, f->callee, FINDING_NAME_MAX) == 0)
			return &length_quirks[k];
	return &none;
}

/* room becomes a number of items. */
static int emit_items(struct call *c, struct err *e)
{
	struct emitter *em = c->g.em;

	if (call_uses(c) & (1u << RAX | 1u << RCX | 1u << RDX))
		return err_set(e, ERR_REFUSED, "what is called is in a register that the guard needs");
	if (c->room == RAX) {
		c->room = RCX;
		emit_rr(em, ZYDIS_MNEMONIC_MOV, RCX, RAX);
	}
	call_push(c, RDX);
	call_with_arg(c, ZYDIS_MNEMONIC_MOV, RAX, c->g.f->len_arg - 1);
	emit_rr(em, ZYDIS_MNEMONIC_XCHG, RAX, c->room);
	emit_rr(em, ZYDIS_MNEMONIC_XOR, RDX | EMIT_LOW32, RDX | EMIT_LOW32);
	emit_ri(em, ZYDIS_MNEMONIC_CMP, c->room, 1);
	emit_ri(em, ZYDIS_MNEMONIC_ADC, c->room, 0); /* no division by 0 */
	emit_r(em, ZYDIS_MNEMONIC_DIV, c->room);
	emit_rr(em, ZYDIS_MNEMONIC_MOV, c->room, RAX);
	emit_r(em, ZYDIS_MNEMONIC_POP, RDX);
	c->g.lower -= word(c);
	return 0;
}

/* The object's last byte is made the zero, and the function kept from it. */
static void emit_last_zero(struct call *c)
{
	uint32_t none;

	emit_rr(c->g.em, ZYDIS_MNEMONIC_TEST, c->room, c->room);
	none = emit_forward(c->g.em, ZYDIS_MNEMONIC_JZ);
	call_with_arg(c, ZYDIS_MNEMONIC_MOV, c->spare, c->g.f->dst_arg);
	emit_r(c->g.em, ZYDIS_MNEMONIC_DEC, c->room);
	if (callee_is_wide(c->g.f->callee))
		emit_mi(c->g.em, ZYDIS_MNEMONIC_MOV, (struct emit_mem){c->spare, c->room, WIDE, 0}, 0, WIDE);
	else
		emit_mi(c->g.em, ZYDIS_MNEMONIC_MOV, (struct emit_mem){c->spare, c->room, 1, 0}, 0, 1);
	emit_here(c->g.em, none);
}

static int emit_length(struct call *c, struct err *e)
{
	const struct length_quirk *quirk = quirk_of(c->g.f);
	uint8_t len = c->g.f->len_arg, room;

	if (len > STACK_ARG_MAX || (quirk->is_items && !len))
		return err_set(e, ERR_REFUSED, "which argument is the length is not known");
	call_room(c);
	if (quirk->is_items && emit_items(c, e))
		return -1;
	room = c->room | (quirk->is_int ? EMIT_LOW32 : 0);
	call_on_arg(c, ZYDIS_MNEMONIC_CMP, len, room);
	call_other_if(c, ZYDIS_MNEMONIC_JBE);
	if (quirk->is_string)
		emit_last_zero(c);
	call_on_arg(c, ZYDIS_MNEMONIC_MOV, len, room);
	call_original(c);
	return 0;
}

/* Loads rcx with the room, rdi with the destination, rsi with the source; keeps what must be kept. */
static void begin_string(struct call *c)
{
	call_room(c);
	if (c->room != RCX)
		emit_rr(c->g.em, ZYDIS_MNEMONIC_MOV, RCX | EMIT_LOW32, c->room | EMIT_LOW32);
	if (!c->g.f->is_32bit)
		return;
	call_push(c, RSI);
	call_push(c, RDI);
	call_with_arg(c, ZYDIS_MNEMONIC_MOV, RDI, c->g.f->dst_arg);
	call_with_arg(c, ZYDIS_MNEMONIC_MOV, RSI, c->g.f->src_arg);
}

static void end_string(struct call *c)
{
	if (c->g.f->is_32bit) {
		emit_r(c->g.em, ZYDIS_MNEMONIC_POP, RDI);
		emit_r(c->g.em, ZYDIS_MNEMONIC_POP, RSI);
	}
	call_return(c);
}

/* Copies up to rcx bytes from rsi to rdi, up to and without the zero, and adds one: rdi ends one behind that. */
static void emit_copy(struct call *c)
{
	/* lods; stos; test al, al or eax, eax */
	static const uint8_t narrow[] = {0xac, 0xaa, 0x84, 0xc0}, wide[] = {0xad, 0xab, 0x85, 0xc0};
	const uint8_t *code = callee_is_wide(c->g.f->callee) ? wide : narrow;
	struct emitter *em = c->g.em;
	uint32_t none = emit_forward(em, ZYDIS_MNEMONIC_JRCXZ), loop = em->len, ended;

	c->g.link->lower = (uint16_t)c->g.lower;

	emit_bytes(em, &code[0], 1);
	emit_bytes(em, &code[1], 1);
	emit_bytes(em, &code[2], 2);
	emit_back(em, ZYDIS_MNEMONIC_LOOPNE, loop);
	ended = emit_forward(em, ZYDIS_MNEMONIC_JZ);
	emit_here(em, none);
	emit_rr(em, ZYDIS_MNEMONIC_XOR, RAX | EMIT_LOW32, RAX | EMIT_LOW32);
	emit_bytes(em, &code[1], 1);
	emit_here(em, ended);
}

static bool is_stpcpy(const struct finding *f)
{
	return strncmp(f->callee, "stpcpy", FINDING_NAME_MAX) == 0 ||
	       strncmp(f->callee, "__stpcpy_chk", FINDING_NAME_MAX) == 0 ||
	       strncmp(f->callee, "wcpcpy", FINDING_NAME_MAX) == 0 ||
	       strncmp(f->callee, "__wcpcpy_chk", FINDING_NAME_MAX) == 0;
}

static bool plain_string_args(const struct finding *f)
{
	return f->dst_arg == 0 && f->src_arg == 1;
}

static int emit_string_copy(struct call *c, struct err *e)
{
	struct emitter *em = c->g.em;
	uint32_t full;

	if (!plain_string_args(c->g.f))
		return err_set(e, ERR_REFUSED, "a string copy with unusual arguments");
	begin_string(c);
	if (is_stpcpy(c->g.f))
		call_copy(c, RAX, RDI);
	else
		call_push(c, RDI);
	full = emit_forward(em, ZYDIS_MNEMONIC_JRCXZ);
	emit_r(em, ZYDIS_MNEMONIC_DEC, RCX | EMIT_LOW32);
	emit_copy(c);
	if (is_stpcpy(c->g.f))
		emit_lea(em, RAX, EMIT_MEM(RDI, callee_is_wide(c->g.f->callee) ? -WIDE : -1));
	emit_here(em, full);
	if (!is_stpcpy(c->g.f))
		emit_r(em, ZYDIS_MNEMONIC_POP, RAX);
	end_string(c);
	return 0;
}

static int emit_string_append(struct call *c, struct err *e)
{
	static const uint8_t narrow[] = {0xf2, 0xae}, wide[] = {0xf2, 0xaf}; /* repne scasb, scasd */
	const struct finding *f = c->g.f;
	struct emitter *em = c->g.em;
	uint32_t none[2];

	if (!plain_string_args(f) || (f->effect == CALL_STRING_APPEND_N && f->len_arg != 2))
		return err_set(e, ERR_REFUSED, "a string append with unusual arguments");
	begin_string(c);
	call_push(c, RDI);
	emit_rr(em, ZYDIS_MNEMONIC_XOR, RAX | EMIT_LOW32, RAX | EMIT_LOW32);
	none[0] = emit_forward(em, ZYDIS_MNEMONIC_JRCXZ);
	emit_bytes(em, callee_is_wide(f->callee) ? wide : narrow, sizeof(narrow));
	none[1] = emit_forward(em, ZYDIS_MNEMONIC_JNZ);
	if (callee_is_wide(f->callee))
		emit_lea(em, RDI, EMIT_MEM(RDI, -WIDE));
	else
		emit_r(em, ZYDIS_MNEMONIC_DEC, RDI);
	if (f->effect == CALL_STRING_APPEND_N) {
		call_with_arg(c, ZYDIS_MNEMONIC_CMP, RCX, f->len_arg);
		call_with_arg(c, ZYDIS_MNEMONIC_CMOVNBE, RCX, f->len_arg);
	}
	emit_copy(c);
	emit_here(em, none[0]);
	emit_here(em, none[1]);
	emit_r(em, ZYDIS_MNEMONIC_POP, RAX);
	end_string(c);
	return 0;
}

static const struct {
	enum call_effect effect;
	const char *name;
	/* Emits all of the call. ERR_REFUSED: the finding does not suit it. */
	int (*emit)(struct call *c, struct err *e);
} strategies[] = {
	{CALL_LENGTH, "length-guard", emit_length},
	{CALL_STRING_COPY, "copy-guard", emit_string_copy},
	{CALL_STRING_APPEND, "append-guard", emit_string_append},
	{CALL_STRING_APPEND_N, "append-guard", emit_string_append},
	{CALL_PRINT, "print-guard", call_print},
	{CALL_PRINT_V, "print-guard", call_print},
	{CALL_VECTOR, "length-guard", call_vector},
	{CALL_GETS, "line-guard", call_gets},
	{CALL_SCAN, "scan-guard", call_scan},
	{CALL_FORMAT, "format-guard", call_format},
};

static int check_call(struct call *c, struct err *e)
{
	const struct finding *f = c->g.f;
	unsigned mode = f->is_32bit ? X86_MODE_32 : X86_MODE_64;

	if (!x86_decode_mode(mode, f->culprit_bytes, f->culprit_len, &c->in) || c->in.i.length != f->culprit_len)
		return err_set(e, ERR_REFUSED, "the culprit is not a call");
	c->jumps = c->in.i.meta.category == ZYDIS_CATEGORY_UNCOND_BR;
	if (c->in.i.meta.category != ZYDIS_CATEGORY_CALL && !c->jumps)
		return err_set(e, ERR_REFUSED, "the culprit is not a call");
	if (f->culprit.v + f->culprit_len != f->bug.v + f->bug_len)
		return err_set(e, ERR_REFUSED, "the call is not the last of the bug instructions");
	if ((f->dst_arg > STACK_ARG_MAX && f->effect != CALL_FORMAT && f->effect != CALL_SCAN &&
	     f->effect != CALL_VECTOR) ||
	    (f->chk_arg != CALL_NO_ARG && f->chk_arg > STACK_ARG_MAX))
		return err_set(e, ERR_REFUSED, "the call's arguments are not known");
	if (f->bound == BOUND_ARGUMENT && f->chk_arg == CALL_NO_ARG)
		return err_set(e, ERR_REFUSED, "the call has no argument that is the object's size");
	if (f->bound != BOUND_CHUNK && f->end_offset - f->start_offset > INT32_MAX)
		return err_set(e, ERR_REFUSED, "the finding's bounds make no sense");
	return pick_registers(c, e);
}

/* Emits anew until the data is where the code before it has been told: that depends on the code's length. */
static int emit_with_data(const struct call *c, int (*emit)(struct call *c, struct err *e), struct err *e)
{
	struct emitter *em = c->g.em;
	const struct emitter start = *em;
	uint64_t data = em->at;

	for (unsigned tries = 0; tries < DATA_TRIES; tries++) {
		struct call again = *c;

		*em = start;
		again.data = data;
		push_return(&again);
		if (emit(&again, e))
			return -1;
		if (!em->data || em->at + em->data == data) {
			emit_end(em);
			return emit_check(em, e);
		}
		data = em->at + em->data;
	}
	return err_set(e, ERR_REFUSED, "no place for the guard's data was found");
}

/* A jump is taken with the return address on the stack: as a call right behind it, where the stack is one word less deep. */
static void leave_frame(const struct finding *f, struct finding *ret)
{
	*ret = *f;
	if (f->cfa.reg == X86_RSP)
		ret->cfa.offset -= f->is_32bit ? 4 : 8;
}

int guard_emit_call(struct guard *g, const char **ret_name, struct err *e)
{
	struct call c = {.g = *g, .dst_arg = g->f->dst_arg};
	struct finding left;

	if (check_call(&c, e))
		return -1;
	if (c.jumps) {
		leave_frame(g->f, &left);
		c.g.f = &left;
	}
	for (size_t k = 0; k < sizeof(strategies) / sizeof(strategies[0]); k++) {
		if (strategies[k].effect != g->f->effect)
			continue;
		*ret_name = strategies[k].name;
		return emit_with_data(&c, strategies[k].emit, e);
	}
	return err_set(e, ERR_REFUSED, "what %s does to its arguments is not known",
		       g->f->callee[0] ? g->f->callee : "the called function");
}

int guard_emit_call_routine(struct guard *g, struct err *e)
{
	struct call c = {.g = *g, .dst_arg = g->f->dst_arg};

	if (g->f->is_32bit || g->f->effect != CALL_PRINT)
		return err_set(e, ERR_REFUSED, "the guard has no part that others have");
	if (check_call(&c, e))
		return -1;
	c.g.lower = word(&c);
	if (call_print_within(&c, e))
		return -1;
	return emit_check(g->em, e);
}
