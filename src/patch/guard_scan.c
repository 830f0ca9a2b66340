/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guards of scanf's family: the format is exchanged for one that has a width where the program's has none.
 *
 * The width is the object's at the time; a heap chunk of another size is left alone.
 *
 * The format must be a constant of the program's, with one %s or %[ that has no width, or one that goes to the
 * object; others get a width too if it is known. Where the format is, the code before the call says: constant addresses in the function are looked at, the nearest first, for such a text. The guard compares at run
 * time, so that a wrong guess leaves the call as it is. The new format is kept behind the guard's code.
 */
#include "patch/call_internal.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define FORMAT_MAX 64
#define FUNCTION_MAX (64u << 10)
#define THUNK_LEN 4
#define CALLER_WINDOW 128
#define LIST_REGISTERS 48 /* bytes of general registers in a va_list's reg_save_area */
#define LIST_SAVED 16 /* where its address is in the va_list */

#define GAPS_MAX 4u

/* A width is missing. */
struct gap {
	size_t at; /* it belongs before this character */
	uint8_t arg; /* that the text goes to, counted from the first behind the format */
};

/* A format, and where a width is missing in it. */
struct format {
	uint64_t address;
	char text[FORMAT_MAX];
	struct gap gap[GAPS_MAX];
	unsigned n_gaps;
	uint8_t arg; /* of the gap that is the object's */
};

/* One conversion, behind its %: its own character; NULL: not understood. */
static const char *conversion(const char *p, bool *ret_bounded, bool *ret_stores)
{
	*ret_stores = *p != '*';
	p += !*ret_stores;
	*ret_bounded = isdigit((unsigned char)*p);
	while (isdigit((unsigned char)*p))
		p++;
	while (*p && strchr("hlLqjzt", *p))
		p++;
	return *p && strchr("diouxXaAeEfFgGscCSpn[%", *p) ? p : NULL;
}

/* Where the set of a %[ ends. */
static const char *set_end(const char *p)
{
	p += p[1] == '^' ? 2 : 1;
	return *p ? strchr(p + 1, ']') : NULL;
}

static bool add_gap(struct format *f, const char *at, uint8_t arg)
{
	if (f->n_gaps == GAPS_MAX)
		return false;
	f->gap[f->n_gaps++] = (struct gap){(size_t)(at - f->text), arg};
	return true;
}

/* Finds the conversions of text without a width; false: more than can be dealt with, or one is not understood. */
static bool find_gaps(struct format *f)
{
	uint8_t arg = 0;

	f->n_gaps = 0;
	for (const char *p = f->text; *p; p++) {
		const char *begin = p + 1;
		bool bounded, stores;

		if (*p != '%')
			continue;
		p = conversion(begin, &bounded, &stores);
		if (!p)
			return false;
		if ((*p == 's' || *p == '[') && stores && !bounded && (p != begin || !add_gap(f, begin, arg)))
			return false; /* %ls: wide characters */
		arg += stores && *p != '%';
		p = *p == '[' ? set_end(p) : p;
		if (!p)
			return false;
	}
	return true;
}

/* Chooses the object's: the one that goes to the argument `want`, if that is known, else the only one. */
static bool choose_gap(struct format *f, uint8_t want)
{
	for (unsigned k = 0; k < f->n_gaps; k++) {
		f->arg = f->gap[k].arg;
		if (f->arg == want || (want == CALL_NO_ARG && f->n_gaps == 1))
			return true;
	}
	return false;
}

static bool read_format(const struct call *c, uint64_t address, struct format *ret)
{
	const struct finding *f = c->g.f;
	uint8_t want = f->dst_arg == CALL_NO_ARG ? CALL_NO_ARG : (uint8_t)(f->dst_arg - f->src_arg - 1);
	size_t n = FORMAT_MAX;

	/* less than all of it only where memory ends */
	while (n && !code_read(c->g.rd, gva(address), ret->text, n))
		n--;
	ret->address = address;
	return n && memchr(ret->text, 0, n) && find_gaps(ret) && choose_gap(ret, want);
}

/* What of a function's constants is known while its instructions are gone through. */
struct constants {
	const struct call *c;
	struct gva low, high;
	uint8_t base; /* register with the address of a place in the module, in 32-bit code that can be moved */
	uint64_t base_value;
	struct format format;
	bool found;
};

static void consider(struct constants *k, uint64_t address)
{
	struct format f;

	if (address < k->low.v || address >= k->high.v || !read_format(k->c, address, &f))
		return;
	k->format = f;
	k->found = true;
}

/* call __x86.get_pc_thunk: mov reg, [esp]; ret. */
static void follow_thunk(struct constants *k, const struct x86_insn *in, uint64_t at)
{
	uint8_t thunk[THUNK_LEN];
	uint64_t target;

	if (!x86_relative(in, at, &target) || !code_read(k->c->g.rd, gva(target), thunk, sizeof(thunk)) ||
	    thunk[0] != 0x8b || (thunk[1] & 0xc7) != 0x04 || thunk[2] != 0x24 || thunk[3] != 0xc3)
		return;
	k->base = thunk[1] >> 3 & 7;
	k->base_value = at + in->i.length;
}

static void look_at(struct constants *k, const struct x86_insn *in, uint64_t at)
{
	const ZydisDecodedOperand *op = in->op;
	bool is_32bit = k->c->g.f->is_32bit;
	uint64_t address;

	if (in->i.meta.category == ZYDIS_CATEGORY_CALL && is_32bit) {
		follow_thunk(k, in, at);
	} else if (in->i.mnemonic == ZYDIS_MNEMONIC_LEA && x86_relative(in, at, &address)) {
		consider(k, address);
	} else if (in->i.mnemonic == ZYDIS_MNEMONIC_LEA && k->base != X86_NO_REG &&
		   x86_gpr(op[1].mem.base) == k->base && op[1].mem.index == ZYDIS_REGISTER_NONE) {
		consider(k, (uint32_t)(k->base_value + (uint64_t)op[1].mem.disp.value));
	} else if (in->i.mnemonic == ZYDIS_MNEMONIC_ADD && k->base != X86_NO_REG &&
		   op[0].type == ZYDIS_OPERAND_TYPE_REGISTER && x86_gpr(op[0].reg.value) == k->base &&
		   op[1].type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
		k->base_value = (uint32_t)(k->base_value + op[1].imm.value.u);
	}
	for (unsigned n = 0; n < in->i.operand_count_visible; n++)
		if (op[n].type == ZYDIS_OPERAND_TYPE_IMMEDIATE && !op[n].imm.is_relative)
			consider(k, is_32bit ? (uint32_t)op[n].imm.value.u : op[n].imm.value.u);
}

/* A function with a va_list was given its format by its caller: the instructions before that call. */
static void search_caller(struct constants *k, uint64_t end)
{
	bool is_32bit = k->c->g.f->is_32bit;
	uint8_t code[CALLER_WINDOW];
	struct x86_insn in;

	if (!code_read(k->c->g.rd, gva(end - sizeof(code)), code, sizeof(code)))
		return;
	for (size_t n = 0; n < sizeof(code); n++) /* where instructions begin is not known: everywhere */
		if (x86_decode_mode(is_32bit ? X86_MODE_32 : X86_MODE_64, code + n, sizeof(code) - n, &in))
			look_at(k, &in, end - sizeof(code) + n);
}

static int search_function(struct constants *k, struct err *e)
{
	const struct finding *f = k->c->g.f;

	if (f->function.v >= f->culprit.v || f->culprit.v - f->function.v > FUNCTION_MAX)
		return err_set(e, ERR_REFUSED, "the call's function is not known");
	for (uint64_t at = f->function.v; at < f->culprit.v;) {
		uint8_t bytes[X86_INSN_MAX];
		uint64_t left = f->culprit.v - at;
		size_t n = left < sizeof(bytes) ? left : sizeof(bytes);
		struct x86_insn in;

		if (!code_read(k->c->g.rd, gva(at), bytes, n) ||
		    !x86_decode_mode(f->is_32bit ? X86_MODE_32 : X86_MODE_64, bytes, n, &in))
			return err_set_addr(e, ERR_REFUSED, at, "the code before the call is not understood");
		look_at(k, &in, at);
		at += in.i.length;
	}
	return 0;
}

static int find_format(const struct call *c, struct format *ret, struct err *e)
{
	const struct finding *f = c->g.f;
	struct constants k = {.c = c, .base = X86_NO_REG};

	if (call_read_only(c, &k.low, &k.high, e))
		return -1;
	if (call_takes_list(f) && f->bound == BOUND_CALLER && !f->caller.build_id_len)
		search_caller(&k, f->caller_return.v);
	else if (search_function(&k, e))
		return -1;
	if (!k.found)
		return err_set(e, ERR_REFUSED, "no format with one text without a width is found before the call");
	*ret = k.format;
	return 0;
}

/* Register room = an address, argument = register room. */
static void emit_exchange(struct call *c, const struct format *format)
{
	uint8_t arg = c->g.f->src_arg;

	guard_address(&c->g, c->room, format->address);
	call_on_arg(c, ZYDIS_MNEMONIC_CMP, arg, c->room);
	call_other_if(c, ZYDIS_MNEMONIC_JNZ);
	if (call_arg_in_reg(c, arg)) {
		emit_address(c->g.em, call_arg_reg[arg], c->data);
		return;
	}
	guard_address(&c->g, c->room, c->data);
	call_on_arg(c, ZYDIS_MNEMONIC_MOV, arg, c->room);
}

/* spare = argument n of the va_list behind the format; to the call as it is if that is not among the registers. */
static void load_from_list(struct call *c, uint8_t n)
{
	uint8_t arg = c->g.f->src_arg + 1;
	int32_t at = n * guard_word(&c->g);
	struct emitter *em = c->g.em;

	call_with_arg(c, ZYDIS_MNEMONIC_MOV, c->spare, arg);
	if (!c->g.f->is_32bit) {
		emit_rm(em, ZYDIS_MNEMONIC_MOV, c->room | EMIT_LOW32, EMIT_MEM(c->spare, 0));
		emit_ri(em, ZYDIS_MNEMONIC_CMP, c->room | EMIT_LOW32, LIST_REGISTERS - at - 8);
		call_other_if(c, ZYDIS_MNEMONIC_JNBE);
		emit_rm(em, ZYDIS_MNEMONIC_ADD, c->room, EMIT_MEM(c->spare, LIST_SAVED));
		emit_rr(em, ZYDIS_MNEMONIC_MOV, c->spare, c->room);
	}
	emit_rm(em, ZYDIS_MNEMONIC_MOV, c->spare, EMIT_MEM(c->spare, at));
}

/* Bytes for the text of a gap, 0: not known. */
static int64_t room_of(const struct finding *f, const struct format *format, const struct gap *g)
{
	unsigned arg = f->src_arg + 1u + g->arg;

	if (g->arg == format->arg)
		return f->end_offset - f->start_offset;
	return arg < FINDING_SCANNED ? f->scan_room[arg] : 0;
}

/* The format with the widths that are known. Returns its length, 0: too long. */
static size_t with_widths(const struct finding *f, const struct format *format, char *ret, size_t size)
{
	size_t n = 0, from = 0;

	for (unsigned k = 0; k < format->n_gaps; k++) {
		const struct gap *g = &format->gap[k];
		int64_t room = room_of(f, format, g);

		if (room < 2)
			continue;
		n += (size_t)snprintf(ret + n, size - n, "%.*s%" PRId64, (int)(g->at - from), format->text + from,
				      room - 1);
		from = g->at;
		if (n >= size)
			return 0;
	}
	n += (size_t)snprintf(ret + n, size - n, "%s", format->text + from);
	return n < size ? n : 0;
}

int call_scan(struct call *c, struct err *e)
{
	const struct finding *f = c->g.f;
	int64_t size = f->end_offset - f->start_offset;
	char text[FORMAT_MAX + GAPS_MAX * 8];
	struct format format;
	size_t n;

	if (size < 2 || !c->g.rd || f->src_arg > CALL_REG_ARGS)
		return err_set(e, ERR_REFUSED, "a text of what width would fit is not known");
	if (find_format(c, &format, e))
		return -1;
	c->dst_arg = call_takes_list(f) ? CALL_NO_ARG : (uint8_t)(f->src_arg + 1 + format.arg);
	if (f->dst_arg != CALL_NO_ARG && f->dst_arg != c->dst_arg)
		return err_set(e, ERR_REFUSED, "the text without a width goes elsewhere");
	if (format.arg > 4)
		return err_set(e, ERR_REFUSED, "the text without a width is too far behind the format");
	if (call_takes_list(f))
		load_from_list(c, format.arg);
	call_room(c);
	emit_ri(c->g.em, ZYDIS_MNEMONIC_CMP, c->room, (int32_t)size);
	call_other_if(c, ZYDIS_MNEMONIC_JNZ);
	emit_exchange(c, &format);
	call_original(c);
	n = with_widths(f, &format, text, sizeof(text));
	if (!n)
		return err_set(e, ERR_REFUSED, "the format is too long");
	emit_data(c->g.em, text, n + 1);
	return 0;
}
