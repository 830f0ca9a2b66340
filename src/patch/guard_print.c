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

	call_copy(c, RAX, X86_RSP);
	call_lower_stack(c, FX_SIZE - FX_XMM);
	emit_m(em, ZYDIS_MNEMONIC_FXSAVE, EMIT_MEM(RAX, -FX_SIZE));
	for (uint8_t k = CALL_REG_ARGS; k-- > 2;)
		call_push(c, call_arg_reg[k]);
	call_push(c, c->room);
	call_push(c, RAX);
	call_push(c, X86_RSP); /* reg_save_area: where the registers are */
	call_push(c, RAX); /* overflow_arg_area: arguments on the stack */
	emit_push(em, 8 * first);
	emit_mi(em, ZYDIS_MNEMONIC_MOV, EMIT_MEM(X86_RSP, 4), FP_OFFSET, 1);
	call_copy(c, RCX, X86_RSP);
	call_push(c, RAX); /* for the end; this aligns the stack, too */
}
#define ROOM_FROM_VA_LIST 40 /* from the lowest word above */

static int emit_print_64(struct call *c, struct err *e)
{
	const struct finding *f = c->g.f;
	struct emitter *em = c->g.em;
	uint8_t format = call_arg_reg[f->src_arg];
	bool list = f->effect == CALL_PRINT_V;

	if (list) {
		call_push(c, c->room);
		call_push(c, c->room);
		if (f->src_arg == 1)
			call_copy(c, RCX, RDX);
		call_copy(c, RDX, format);
		if (f->src_arg == 3)
			emit_rr(em, ZYDIS_MNEMONIC_MOV, RCX, R8);
	} else {
		if (format == RCX)
			call_copy(c, RSI, RCX); /* before it is used up */
		emit_va_list(c, f->src_arg + 1);
		call_copy(c, RDX, RSI);
	}
	call_copy(c, RSI, c->room);
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
		emit_lea(em, c->spare, call_arg_slot(c, list));
	else
		emit_rm(em, ZYDIS_MNEMONIC_MOV, c->spare, call_arg_slot(c, list));
	call_lower_stack(c, FRAME_32 - 5 * 4);
	call_push(c, c->room);
	call_push(c, c->spare);
	emit_m(em, ZYDIS_MNEMONIC_PUSH, call_arg_slot(c, f->src_arg));
	c->g.lower += 4;
	call_push(c, c->room);
	emit_m(em, ZYDIS_MNEMONIC_PUSH, call_arg_slot(c, f->dst_arg));
	if (emit_helper(c, e))
		return -1;
	emit_rm(em, ZYDIS_MNEMONIC_MOV, RCX, EMIT_MEM(X86_RSP, 4 * 4));
	emit_ri(em, ZYDIS_MNEMONIC_ADD, X86_RSP, FRAME_32);
	return 0;
}

int call_print(struct call *c, struct err *e)
{
	const struct finding *f = c->g.f;

	if (!f->helper[0] || f->dst_arg != 0 || (f->src_arg != 1 && f->src_arg != 3))
		return err_set(e, ERR_REFUSED, "no function is known that prints with a length");
	if (f->helper_slot.v && !in_module(f, f->helper_slot.v))
		return err_set(e, ERR_REFUSED, "the pointer to %s is in another module", f->helper);
	call_room(c);
	if (f->is_32bit ? emit_print_32(c, e) : emit_print_64(c, e))
		return -1;
	emit_written(c);
	call_original_inside(c);
	return 0;
}
