/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guards of sprintf and its kind: vsnprintf is called in its place. It is called from the guard, since its answer is
 * changed: it says what would have been written, and programs add that to their pointer.
 */
#include "patch/call_internal.h"

static bool in_module(const struct finding *f, uint64_t at)
{
	return at >= f->module.low.v && at < f->module.high.v;
}

int call_helper(struct call *c, struct err *e)
{
	const struct finding *f = c->g.f;
	struct emit_mem slot = EMIT_MEM(EMIT_RIP, (int64_t)f->helper_slot.v);
	struct emitter *em = c->g.em;

	if (f->helper_slot.v && !in_module(f, f->helper_slot.v))
		return err_set(e, ERR_REFUSED, "the pointer to %s is in another module", f->helper);
	if (!f->helper_slot.v) {
		emit_call(em, f->module.bias + (uint64_t)f->helper_delta);
		return 0;
	}
	if (f->helper_delta != (int32_t)f->helper_delta)
		return err_set(e, ERR_REFUSED, "%s is too far from what is known", f->helper);
	if (f->is_32bit && !em->is_fixed) {
		guard_address(&c->g, RAX, f->helper_slot.v);
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

/* enter size, 0: rbp is kept, and the frame of `size` bytes below it ended by leave. */
static void emit_enter(struct call *c, uint16_t size)
{
	emit_bytes(c->g.em, (const uint8_t[]){0xc8, (uint8_t)size, (uint8_t)(size >> 8), 0}, 4);
}

/*
 * Makes the va_list of the System V ABI on the stack, rcx = its address, rdx = the format. Above it are the registers as its
 * reg_save_area: gp registers, of which those before the first variable argument are not looked at, and the vector
 * registers, put there by fxsave 160 bytes into its image, of which what is below the stack pointer may be lost.
 */
#define FX_SIZE 512
#define FX_XMM 160
#define FP_OFFSET 48
static void emit_va_list(struct call *c, uint8_t first)
{
	struct emitter *em = c->g.em;

	emit_enter(c, FX_SIZE - FX_XMM);
	emit_m(em, ZYDIS_MNEMONIC_FXSAVE, EMIT_MEM(X86_RBP, -FX_SIZE));
	for (uint8_t k = CALL_REG_ARGS; k-- > 2;)
		call_push(c, call_arg_reg[k]);
	call_push(c, RDX);
	call_push(c, RDX);
	call_copy(c, RDX, call_arg_reg[first - 1]);
	call_push(c, X86_RSP); /* reg_save_area: where the registers are */
	emit_lea(em, RSI, EMIT_MEM(X86_RBP, 2 * 8));
	call_push(c, RSI); /* overflow_arg_area: arguments on the stack */
	emit_push(em, 8 * first);
	call_copy(c, RCX, X86_RSP);
	emit_mi(em, ZYDIS_MNEMONIC_MOV, EMIT_MEM(RCX, 4), FP_OFFSET, 1);
}

/* rdx, rcx = format and list. */
static void emit_arguments_64(struct call *c)
{
	const struct finding *f = c->g.f;

	if (f->effect == CALL_PRINT) {
		emit_va_list(c, f->src_arg + 1);
	} else if (f->src_arg == 1) {
		call_copy(c, RCX, RDX);
		call_copy(c, RDX, RSI);
	} else {
		call_copy(c, RDX, RCX);
		emit_rr(c->g.em, ZYDIS_MNEMONIC_MOV, RCX, R8);
	}
}

static int emit_print_64(struct call *c, struct err *e)
{
	emit_arguments_64(c);
	call_copy(c, RSI, c->room);
	call_push(c, RSI); /* for emit_written(); now the stack is aligned, too */
	if (call_helper(c, e))
		return -1;
	emit_r(c->g.em, ZYDIS_MNEMONIC_POP, RCX);
	if (c->g.f->effect == CALL_PRINT)
		emit_plain(c->g.em, ZYDIS_MNEMONIC_LEAVE);
	return 0;
}

/* Four arguments, two words that keep the stack aligned, the room. */
static int emit_print_32(struct call *c, struct err *e)
{
	const struct finding *f = c->g.f;
	struct emitter *em = c->g.em;
	uint8_t list = f->src_arg + 1;

	call_push(c, c->room);
	call_push(c, c->room);
	call_push(c, c->room);
	if (f->effect == CALL_PRINT) {
		emit_lea(em, c->spare, call_arg_slot(c, list));
		call_push(c, c->spare);
	} else {
		call_push_arg(c, list);
	}
	call_push_arg(c, f->src_arg);
	call_push(c, c->room);
	call_push_arg(c, f->dst_arg);
	if (call_helper(c, e))
		return -1;
	emit_ri(em, ZYDIS_MNEMONIC_ADD, X86_RSP, 6 * 4);
	emit_r(em, ZYDIS_MNEMONIC_POP, RCX);
	return 0;
}

int call_print_within(struct call *c, struct err *e)
{
	if (c->g.f->is_32bit ? emit_print_32(c, e) : emit_print_64(c, e))
		return -1;
	emit_written(c);
	emit_plain(c->g.em, ZYDIS_MNEMONIC_RET);
	return 0;
}

int call_print(struct call *c, struct err *e)
{
	const struct finding *f = c->g.f;

	if (!f->helper[0] || f->dst_arg != 0 || (f->src_arg != 1 && f->src_arg != 3))
		return err_set(e, ERR_REFUSED, "no function is known that prints with a length");
	call_room(c);
	if (c->g.link->routine)
		emit_jump(c->g.em, c->g.link->routine);
	else if (call_print_within(c, e))
		return -1;
	call_original(c);
	return 0;
}
