/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guards of calls: a function is kept from writing beyond the object that it is given.
 *
 * What is left is what a correct program would have done with too long an input: as much as fits, with a zero at its
 * end where a string is meant. A destination that does not point into the object (its end included: a loop that
 * fills it gets there) is none of the guard's business: the call runs as it is. It is entered by a jump with the return
 * address of the program's own call on the stack, so that what is called returns there and unwinders see no guard.
 *
 * Arguments: rdi, rsi, rdx, rcx, r8, r9, then the stack in 64-bit code; the stack in 32-bit code. At a call the
 * caller expects its scratch registers and flags to be lost, nothing below rsp is alive, and the stack is aligned.
 */
#include "patch/guard_internal.h"

#include <inttypes.h>
#include <string.h>

#define RAX 0
#define RCX 1
#define RDX 2
#define RSI 6
#define RDI 7
#define R8 8
#define R9 9
#define R10 10
#define R11 11
#define REG_ARGS 6
#define STACK_ARG_MAX 32
#define OTHERS_MAX 10

static const uint8_t reg_args[REG_ARGS] = {RDI, RSI, RDX, RCX, R8, R9};

/* A guard of a call in the making. */
struct call {
	struct guard g;
	struct x86_insn in; /* the call */
	uint8_t room; /* register: bytes from the destination to the object's end */
	uint8_t spare; /* another one to use */
	uint32_t others[OTHERS_MAX]; /* jumps to the call as it is; 0: unused */
	uint32_t n_others;
};

static int32_t word(const struct call *c)
{
	return guard_word(&c->g);
}

static bool arg_in_reg(const struct call *c, uint8_t arg)
{
	return !c->g.f->is_32bit && arg < REG_ARGS;
}

/* Where an argument that is not in a register is. */
static struct emit_mem arg_slot(const struct call *c, uint8_t arg)
{
	int32_t k = c->g.f->is_32bit ? arg : arg - REG_ARGS;

	return EMIT_MEM(X86_RSP, k * word(c) + c->g.lower);
}

/* m reg, argument */
static void emit_with_arg(struct call *c, ZydisMnemonic m, uint8_t reg, uint8_t arg)
{
	if (arg_in_reg(c, arg))
		emit_rr(c->g.em, m, reg, reg_args[arg] | (reg & EMIT_LOW32));
	else
		emit_rm(c->g.em, m, reg, arg_slot(c, arg));
}

/* m argument, reg */
static void emit_on_arg(struct call *c, ZydisMnemonic m, uint8_t arg, uint8_t reg)
{
	if (arg_in_reg(c, arg))
		emit_rr(c->g.em, m, reg_args[arg] | (reg & EMIT_LOW32), reg);
	else
		emit_mr(c->g.em, m, arg_slot(c, arg), reg);
}

static void push(struct call *c, uint8_t reg)
{
	emit_r(c->g.em, ZYDIS_MNEMONIC_PUSH, reg);
	c->g.lower += word(c);
}

/* Shorter than mov where neither is one of r8 to r15. */
static void copy_reg(struct call *c, uint8_t dst, uint8_t src)
{
	emit_r(c->g.em, ZYDIS_MNEMONIC_PUSH, src);
	emit_r(c->g.em, ZYDIS_MNEMONIC_POP, dst);
}

static void lower_stack(struct call *c, int32_t by)
{
	emit_ri(c->g.em, ZYDIS_MNEMONIC_SUB, X86_RSP, by);
	c->g.lower += by;
}

/* Taken to the call as it is. */
static void other_if(struct call *c, ZydisMnemonic m)
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

/* First of all: the return address, as the program's own call would have put it. */
static void push_return(struct call *c)
{
	if (c->g.f->is_32bit) {
		emit_push_address(c->g.em, way_back(c));
		c->g.lower += word(c);
	} else {
		emit_address(c->g.em, c->room, way_back(c));
		push(c, c->room);
	}
}

/* Behind push_return(), with nothing else on the stack: the call as it is. */
static void emit_original(struct call *c)
{
	others_here(c);
	emit_transfer(c->g.em, ZYDIS_MNEMONIC_JMP, &c->in, c->g.f->culprit.v, word(c));
}

/* Without push_return(): the original call from here, and the way back for all. */
static void emit_original_inside(struct call *c)
{
	uint32_t done = emit_forward(c->g.em, ZYDIS_MNEMONIC_JMP);

	others_here(c);
	emit_transfer(c->g.em, ZYDIS_MNEMONIC_CALL, &c->in, c->g.f->culprit.v, 0);
	emit_here(c->g.em, done);
	emit_jump(c->g.em, way_back(c));
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

/* Two scratch registers that hold no argument and are not what is called. */
static int pick_registers(struct call *c, struct err *e)
{
	static const uint8_t of64[] = {R11, R10}, of32[] = {RAX, RCX, RDX};
	const uint8_t *from = c->g.f->is_32bit ? of32 : of64;
	size_t n = c->g.f->is_32bit ? sizeof(of32) : sizeof(of64);
	uint32_t uses = call_uses(c);

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
	uint8_t dst_arg = c->g.f->dst_arg, dst = c->spare;

	if (arg_in_reg(c, dst_arg))
		dst = reg_args[dst_arg];
	else
		emit_with_arg(c, ZYDIS_MNEMONIC_MOV, dst, dst_arg);
	guard_chunk_size(&c->g, c->room, dst, c->others + c->n_others);
	c->n_others += GUARD_CHUNK_JUMPS;
}

/* room = bytes that may be written at the destination; to the original call if it is not in the object. */
static void emit_room(struct call *c)
{
	const struct finding *f = c->g.f;
	uint32_t other = guard_check_caller(&c->g, c->room);

	if (other)
		c->others[c->n_others++] = other;
	if (f->bound == BOUND_CHUNK) {
		emit_chunk_room(c);
	} else {
		guard_bound(&c->g, c->room, f->end_offset);
		emit_with_arg(c, ZYDIS_MNEMONIC_SUB, c->room, f->dst_arg);
		emit_ri(c->g.em, ZYDIS_MNEMONIC_CMP, c->room, (int32_t)(f->end_offset - f->start_offset));
		other_if(c, ZYDIS_MNEMONIC_JNBE);
	}
	if (f->chk_arg != CALL_NO_ARG) {
		emit_with_arg(c, ZYDIS_MNEMONIC_CMP, c->room, f->chk_arg);
		emit_with_arg(c, ZYDIS_MNEMONIC_CMOVNBE, c->room, f->chk_arg);
	}
}

/* What a CALL_LENGTH function does beyond its kind. */
static const struct length_quirk {
	const char *callee;
	bool is_int; /* its length is an int */
	bool is_string; /* it leaves a string that is too long without a zero */
} length_quirks[] = {
	{"fgets", true, false},		{"__fgets_chk", true, false}, {"fgets_unlocked", true, false},
	{"strncpy", false, true},	{"stpncpy", false, true},     {"__strncpy_chk", false, true},
	{"__stpncpy_chk", false, true},
};

static const struct length_quirk *quirk_of(const struct finding *f)
{
	static const struct length_quirk none;

	for (size_t k = 0; k < sizeof(length_quirks) / sizeof(length_quirks[0]); k++)
		if (strncmp(length_quirks[k].callee, f->callee, FINDING_NAME_MAX) == 0)
			return &length_quirks[k];
	return &none;
}

/* The object's last byte is made the zero, and the function kept from it. */
static void emit_last_zero(struct call *c)
{
	uint32_t none;

	emit_rr(c->g.em, ZYDIS_MNEMONIC_TEST, c->room, c->room);
	none = emit_forward(c->g.em, ZYDIS_MNEMONIC_JZ);
	emit_with_arg(c, ZYDIS_MNEMONIC_MOV, c->spare, c->g.f->dst_arg);
	emit_r(c->g.em, ZYDIS_MNEMONIC_DEC, c->room);
	emit_mi(c->g.em, ZYDIS_MNEMONIC_MOV, (struct emit_mem){c->spare, c->room, 1, 0}, 0, 1);
	emit_here(c->g.em, none);
}

static int emit_length(struct call *c, struct err *e)
{
	const struct length_quirk *quirk = quirk_of(c->g.f);
	uint8_t len = c->g.f->len_arg, room;

	if (len > STACK_ARG_MAX)
		return err_set(e, ERR_REFUSED, "which argument is the length is not known");
	push_return(c);
	emit_room(c);
	room = c->room | (quirk->is_int ? EMIT_LOW32 : 0);
	emit_on_arg(c, ZYDIS_MNEMONIC_CMP, len, room);
	other_if(c, ZYDIS_MNEMONIC_JBE);
	if (quirk->is_string)
		emit_last_zero(c);
	emit_on_arg(c, ZYDIS_MNEMONIC_MOV, len, room);
	emit_original(c);
	return 0;
}

/* Loads rcx with the room, rdi with the destination, rsi with the source; keeps what must be kept. */
static void begin_string(struct call *c)
{
	push_return(c);
	emit_room(c);
	if (c->room != RCX)
		emit_rr(c->g.em, ZYDIS_MNEMONIC_MOV, RCX | EMIT_LOW32, c->room | EMIT_LOW32);
	if (!c->g.f->is_32bit)
		return;
	push(c, RSI);
	push(c, RDI);
	emit_with_arg(c, ZYDIS_MNEMONIC_MOV, RDI, c->g.f->dst_arg);
	emit_with_arg(c, ZYDIS_MNEMONIC_MOV, RSI, c->g.f->src_arg);
}

static void end_string(struct call *c)
{
	if (c->g.f->is_32bit) {
		emit_r(c->g.em, ZYDIS_MNEMONIC_POP, RDI);
		emit_r(c->g.em, ZYDIS_MNEMONIC_POP, RSI);
	}
	emit_plain(c->g.em, ZYDIS_MNEMONIC_RET);
	emit_original(c);
}

/* Copies up to rcx bytes from rsi to rdi, up to and without the zero, and adds one: rdi ends one behind that. */
static void emit_copy(struct call *c)
{
	static const uint8_t test_al[] = {0x84, 0xc0};
	struct emitter *em = c->g.em;
	uint32_t none = emit_forward(em, ZYDIS_MNEMONIC_JRCXZ), loop = em->len, ended;

	emit_plain(em, ZYDIS_MNEMONIC_LODSB);
	emit_plain(em, ZYDIS_MNEMONIC_STOSB);
	emit_bytes(em, test_al, sizeof(test_al));
	emit_back(em, ZYDIS_MNEMONIC_LOOPNE, loop);
	ended = emit_forward(em, ZYDIS_MNEMONIC_JZ);
	emit_here(em, none);
	emit_rr(em, ZYDIS_MNEMONIC_XOR, RAX | EMIT_LOW32, RAX | EMIT_LOW32);
	emit_plain(em, ZYDIS_MNEMONIC_STOSB);
	emit_here(em, ended);
}

static bool is_stpcpy(const struct finding *f)
{
	return strncmp(f->callee, "stpcpy", FINDING_NAME_MAX) == 0 ||
	       strncmp(f->callee, "__stpcpy_chk", FINDING_NAME_MAX) == 0;
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
		copy_reg(c, RAX, RDI);
	else
		push(c, RDI);
	full = emit_forward(em, ZYDIS_MNEMONIC_JRCXZ);
	emit_r(em, ZYDIS_MNEMONIC_DEC, RCX | EMIT_LOW32);
	emit_copy(c);
	if (is_stpcpy(c->g.f))
		emit_lea(em, RAX, EMIT_MEM(RDI, -1));
	emit_here(em, full);
	if (!is_stpcpy(c->g.f))
		emit_r(em, ZYDIS_MNEMONIC_POP, RAX);
	end_string(c);
	return 0;
}

static int emit_string_append(struct call *c, struct err *e)
{
	static const uint8_t repne_scasb[] = {0xf2, 0xae};
	const struct finding *f = c->g.f;
	struct emitter *em = c->g.em;
	uint32_t none[2];

	if (!plain_string_args(f) || (f->effect == CALL_STRING_APPEND_N && f->len_arg != 2))
		return err_set(e, ERR_REFUSED, "a string append with unusual arguments");
	begin_string(c);
	push(c, RDI);
	emit_rr(em, ZYDIS_MNEMONIC_XOR, RAX | EMIT_LOW32, RAX | EMIT_LOW32);
	none[0] = emit_forward(em, ZYDIS_MNEMONIC_JRCXZ);
	emit_bytes(em, repne_scasb, sizeof(repne_scasb));
	none[1] = emit_forward(em, ZYDIS_MNEMONIC_JNZ);
	emit_r(em, ZYDIS_MNEMONIC_DEC, RDI);
	if (f->effect == CALL_STRING_APPEND_N) {
		emit_with_arg(c, ZYDIS_MNEMONIC_CMP, RCX, f->len_arg);
		emit_with_arg(c, ZYDIS_MNEMONIC_CMOVNBE, RCX, f->len_arg);
	}
	emit_copy(c);
	emit_here(em, none[0]);
	emit_here(em, none[1]);
	emit_r(em, ZYDIS_MNEMONIC_POP, RAX);
	end_string(c);
	return 0;
}

static bool in_module(const struct finding *f, uint64_t at)
{
	return at >= f->module.low.v && at < f->module.high.v;
}

/* Calls the helper; rax is used up. */
static int emit_helper(struct call *c, struct err *e)
{
	const struct finding *f = c->g.f;
	struct emit_mem slot = EMIT_MEM(EMIT_RIP, (int64_t)f->helper_slot.v);
	struct emitter *em = c->g.em;

	if (!f->helper_slot.v) {
		emit_call(em, f->module.bias + (uint64_t)f->helper_delta);
		return 0;
	}
	if (f->helper_delta != (int32_t)f->helper_delta)
		return err_set(e, ERR_REFUSED, "%s is too far from what is known", f->helper);
	if (f->is_32bit && !em->is_fixed) {
		emit_address(em, RAX, f->helper_slot.v);
		slot = EMIT_MEM(RAX, 0);
	} else if (!f->helper_delta) {
		emit_m(em, ZYDIS_MNEMONIC_CALL, slot);
		return 0;
	}
	emit_rm(em, ZYDIS_MNEMONIC_MOV, RAX, slot);
	if (f->helper_delta)
		emit_ri(em, ZYDIS_MNEMONIC_ADD, RAX, (int32_t)f->helper_delta);
	emit_r(em, ZYDIS_MNEMONIC_CALL, RAX);
	return 0;
}

/*
 * rax = what was written, without the zero, where the helper says what would have been; ecx is the room. Programs add
 * that to their pointer. No room at all is an error, -1.
 */
static void emit_written(struct call *c)
{
	emit_r(c->g.em, ZYDIS_MNEMONIC_DEC, RCX | EMIT_LOW32);
	emit_rr(c->g.em, ZYDIS_MNEMONIC_CMP, RAX | EMIT_LOW32, RCX | EMIT_LOW32);
	emit_rr(c->g.em, ZYDIS_MNEMONIC_CMOVNLE, RAX | EMIT_LOW32, RCX | EMIT_LOW32);
}

/*
 * Makes the va_list of the System V ABI on the stack, rcx = its address. Above it are the registers as its
 * reg_save_area: gp registers, of which those before the first variable argument are not looked at (two of them hold
 * the stack pointer of before and the room), and the vector registers, put there by fxsave 160 bytes into its image.
 */
#define FX_SIZE 512
#define FX_XMM 160
#define FP_OFFSET 48
static void emit_va_list(struct call *c, uint8_t first)
{
	struct emitter *em = c->g.em;

	copy_reg(c, RAX, X86_RSP);
	lower_stack(c, FX_SIZE - FX_XMM);
	emit_m(em, ZYDIS_MNEMONIC_FXSAVE, EMIT_MEM(RAX, -FX_SIZE));
	for (uint8_t k = REG_ARGS; k-- > 2;)
		push(c, reg_args[k]);
	push(c, c->room);
	push(c, RAX);
	push(c, X86_RSP); /* reg_save_area: where the registers are */
	push(c, RAX); /* overflow_arg_area: arguments on the stack */
	emit_push(em, 8 * first);
	emit_mi(em, ZYDIS_MNEMONIC_MOV, EMIT_MEM(X86_RSP, 4), FP_OFFSET, 1);
	copy_reg(c, RCX, X86_RSP);
	push(c, RAX); /* for the end; this aligns the stack, too */
}
#define ROOM_FROM_VA_LIST 40 /* from the lowest word above */

static int emit_print_64(struct call *c, struct err *e)
{
	const struct finding *f = c->g.f;
	struct emitter *em = c->g.em;
	uint8_t format = reg_args[f->src_arg];
	bool list = f->effect == CALL_PRINT_V;

	if (list) {
		push(c, c->room);
		push(c, c->room);
		if (f->src_arg == 1)
			copy_reg(c, RCX, RDX);
		copy_reg(c, RDX, format);
		if (f->src_arg == 3)
			emit_rr(em, ZYDIS_MNEMONIC_MOV, RCX, R8);
	} else {
		if (format == RCX)
			copy_reg(c, RSI, RCX); /* before it is used up */
		emit_va_list(c, f->src_arg + 1);
		copy_reg(c, RDX, RSI);
	}
	copy_reg(c, RSI, c->room);
	if (emit_helper(c, e))
		return -1;
	if (list) {
		emit_r(em, ZYDIS_MNEMONIC_POP, RCX);
		emit_r(em, ZYDIS_MNEMONIC_POP, RDX);
	} else {
		emit_rm(em, ZYDIS_MNEMONIC_MOV, RCX | EMIT_LOW32, EMIT_MEM(X86_RSP, ROOM_FROM_VA_LIST));
		emit_r(em, ZYDIS_MNEMONIC_POP, X86_RSP);
	}
	return 0;
}

#define FRAME_32 32 /* four arguments, the room, and what keeps the stack aligned */
static int emit_print_32(struct call *c, struct err *e)
{
	const struct finding *f = c->g.f;
	struct emitter *em = c->g.em;
	uint8_t list = f->src_arg + 1;

	if (f->effect == CALL_PRINT)
		emit_lea(em, c->spare, arg_slot(c, list));
	else
		emit_rm(em, ZYDIS_MNEMONIC_MOV, c->spare, arg_slot(c, list));
	lower_stack(c, FRAME_32 - 5 * 4);
	push(c, c->room);
	push(c, c->spare);
	emit_m(em, ZYDIS_MNEMONIC_PUSH, arg_slot(c, f->src_arg));
	c->g.lower += 4;
	push(c, c->room);
	emit_m(em, ZYDIS_MNEMONIC_PUSH, arg_slot(c, f->dst_arg));
	if (emit_helper(c, e))
		return -1;
	emit_rm(em, ZYDIS_MNEMONIC_MOV, RCX, EMIT_MEM(X86_RSP, 4 * 4));
	emit_ri(em, ZYDIS_MNEMONIC_ADD, X86_RSP, FRAME_32);
	return 0;
}

static int emit_print(struct call *c, struct err *e)
{
	const struct finding *f = c->g.f;

	if (!f->helper[0] || f->dst_arg != 0 || (f->src_arg != 1 && f->src_arg != 3))
		return err_set(e, ERR_REFUSED, "no function is known that prints with a length");
	if (f->helper_slot.v && !in_module(f, f->helper_slot.v))
		return err_set(e, ERR_REFUSED, "the pointer to %s is in another module", f->helper);
	emit_room(c);
	if (f->is_32bit ? emit_print_32(c, e) : emit_print_64(c, e))
		return -1;
	emit_written(c);
	emit_original_inside(c);
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
	{CALL_PRINT, "print-guard", emit_print},
	{CALL_PRINT_V, "print-guard", emit_print},
};

static int check_call(struct call *c, struct err *e)
{
	const struct finding *f = c->g.f;
	unsigned mode = f->is_32bit ? X86_MODE_32 : X86_MODE_64;

	if (!x86_decode_mode(mode, f->culprit_bytes, f->culprit_len, &c->in) || c->in.i.length != f->culprit_len ||
	    c->in.i.meta.category != ZYDIS_CATEGORY_CALL)
		return err_set(e, ERR_REFUSED, "the culprit is not a call");
	if (f->culprit.v + f->culprit_len != f->bug.v + f->bug_len)
		return err_set(e, ERR_REFUSED, "the call is not the last of the bug instructions");
	if (f->dst_arg > STACK_ARG_MAX || (f->chk_arg != CALL_NO_ARG && f->chk_arg > STACK_ARG_MAX))
		return err_set(e, ERR_REFUSED, "the call's arguments are not known");
	if (f->bound != BOUND_CHUNK && f->end_offset - f->start_offset > INT32_MAX)
		return err_set(e, ERR_REFUSED, "the finding's bounds make no sense");
	return pick_registers(c, e);
}

int guard_emit_call(struct guard *g, const char **ret_name, struct err *e)
{
	struct call c = {.g = *g};

	if (check_call(&c, e))
		return -1;
	for (size_t k = 0; k < sizeof(strategies) / sizeof(strategies[0]); k++) {
		if (strategies[k].effect != g->f->effect)
			continue;
		if (strategies[k].emit(&c, e))
			return -1;
		*ret_name = strategies[k].name;
		return emit_check(g->em, e);
	}
	return err_set(e, ERR_REFUSED, "what %s does to its arguments is not known",
		       g->f->callee[0] ? g->f->callee : "the called function");
}
