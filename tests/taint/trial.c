/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Makes states of an instruction: random data, addresses in the window, and the accesses that follow from them. */
#include "trial.h"

#include <string.h>

#include "groups.h"

#define RAX 0u
#define RCX 1u
#define RDX 2u
#define RSP 4u
#define STACK_AT 160u /* in the window */
#define XSAVE_SSE 2u
#define XSAVE_AVX 4u
#define XCOMP_COMPACT (1ull << 63)
#define AREA_SAMPLE 40u /* a state area has too many bytes to flip them all */
#define FCW_MASKED 0x037fu

static uint64_t random_state;

void set_seed(uint64_t seed)
{
	random_state = seed;
}

uint64_t next_random(void)
{
	uint64_t z = random_state += 0x9e3779b97f4a7c15ull;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

unsigned below(unsigned n)
{
	return (unsigned)(next_random() % n);
}

bool starts(const char *s, const char *with)
{
	return !strncmp(s, with, strlen(with));
}

bool in_words(const char *list, const char *s)
{
	size_t n = strlen(s);

	for (const char *p = strstr(list, s); p; p = strstr(p + 1, s))
		if ((p == list || p[-1] == ' ') && (!p[n] || p[n] == ' '))
			return true;
	return false;
}

bool is_mem(const ZydisDecodedOperand *op)
{
	return op->type == ZYDIS_OPERAND_TYPE_MEMORY && op->mem.type != ZYDIS_MEMOP_TYPE_AGEN;
}

bool repeats(const struct trial *t)
{
	return t->zi.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE);
}

unsigned gpr_of(ZydisRegister reg)
{
	return (unsigned)ZydisRegisterGetId(ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg)) & 15u;
}

static bool is_gpr(ZydisRegister reg)
{
	ZydisRegisterClass c = ZydisRegisterGetClass(reg);

	return c >= ZYDIS_REGCLASS_GPR8 && c <= ZYDIS_REGCLASS_GPR64;
}

unsigned register_place(ZydisRegister reg, unsigned *ret_len)
{
	unsigned id = (unsigned)ZydisRegisterGetId(reg);

	switch (ZydisRegisterGetClass(reg)) {
	case ZYDIS_REGCLASS_XMM:
	case ZYDIS_REGCLASS_YMM:
		*ret_len = 32;
		return TAINT_REG_YMM + 32 * (id & 15u);
	case ZYDIS_REGCLASS_MMX:
		*ret_len = 8;
		return TAINT_REG_MM + 16 * (id & 7u);
	case ZYDIS_REGCLASS_X87:
		*ret_len = X87_REG_BYTES;
		return TAINT_REG_MM + 16 * (id & 7u);
	case ZYDIS_REGCLASS_FLAGS:
		*ret_len = 2;
		return TAINT_REG_FLAGS;
	default:
		*ret_len = is_gpr(reg) ? 8 : 0;
		return is_gpr(reg) ? 8 * gpr_of(reg) : 0;
	}
}

/* The instruction */

static bool is_bit_string(const struct trial *t)
{
	return t->zi.meta.category == ZYDIS_CATEGORY_BITBYTE && in_words("bt btc btr bts", t->name) &&
	       is_mem(&t->ops[0]) && t->ops[1].type == ZYDIS_OPERAND_TYPE_REGISTER;
}

static bool is_gather(const ZydisDecodedOperand *op)
{
	return op->type == ZYDIS_OPERAND_TYPE_MEMORY && op->mem.type == ZYDIS_MEMOP_TYPE_VSIB;
}

/* Registers that make the address must be free for that. */
static bool address_ok(const struct trial *t, const ZydisDecodedOperand *op)
{
	bool area = t->insn.area != TAINT_AREA_NONE;

	if (op->mem.type == ZYDIS_MEMOP_TYPE_AGEN)
		return true;
	if (op->mem.type != ZYDIS_MEMOP_TYPE_MEM && !is_gather(op))
		return false;
	if (!is_gpr(op->mem.base) || op->mem.segment == ZYDIS_REGISTER_FS || op->mem.segment == ZYDIS_REGISTER_GS)
		return false;
	if (area)
		return op->mem.index == ZYDIS_REGISTER_NONE && gpr_of(op->mem.base) != RSP &&
		       gpr_of(op->mem.base) != RAX && gpr_of(op->mem.base) != RDX;
	return is_gather(op) || op->mem.index == ZYDIS_REGISTER_NONE || gpr_of(op->mem.index) != gpr_of(op->mem.base);
}

static bool operand_ok(const struct trial *t, const ZydisDecodedOperand *op)
{
	ZydisRegisterClass c = ZydisRegisterGetClass(op->reg.value);
	unsigned len;

	if (op->type == ZYDIS_OPERAND_TYPE_MEMORY)
		return address_ok(t, op);
	if (op->type != ZYDIS_OPERAND_TYPE_REGISTER)
		return true;
	if (c == ZYDIS_REGCLASS_SEGMENT)
		return !(op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE);
	register_place(op->reg.value, &len);
	return len || op->reg.value == ZYDIS_REGISTER_X87STATUS || op->reg.value == ZYDIS_REGISTER_X87CONTROL ||
	       op->reg.value == ZYDIS_REGISTER_X87TAG || op->reg.value == ZYDIS_REGISTER_XCR0 ||
	       (c == ZYDIS_REGCLASS_IP && !(op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE));
}

static bool uses_x87(const struct trial *t)
{
	if (t->insn.area || in_words("X87 MMX", ZydisISAExtGetString(t->zi.meta.isa_ext)))
		return true;
	for (unsigned i = 0; i < t->zi.operand_count; i++) {
		ZydisRegisterClass c = ZydisRegisterGetClass(t->ops[i].reg.value);

		if (t->ops[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    (c == ZYDIS_REGCLASS_MMX || c == ZYDIS_REGCLASS_X87))
			return true;
	}
	return false;
}

static bool decode(const uint8_t *code, struct trial *t)
{
	static ZydisDecoder decoder;
	static bool ready;

	if (!ready)
		ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	ready = true;
	if (ZYAN_FAILED(ZydisDecoderDecodeFull(&decoder, code, 15, &t->zi, t->ops)))
		return false;
	t->len = t->zi.length;
	t->name = ZydisMnemonicGetString(t->zi.mnemonic);
	memcpy(t->code, code, t->len);
	return !(t->zi.attributes & ZYDIS_ATTRIB_IS_PRIVILEGED);
}

bool trial_decode(const uint8_t *code, struct trial *t)
{
	if (!decode(code, t) || taint_insn_compile(64, false, t->code, t->len, &t->insn) != t->len ||
	    taint_insn_compile(64, true, t->code, t->len, &t->user) != t->len || t->insn.cls == TAINT_INSN_REFUSED)
		return false;
	t->group = group_of(t);
	if (t->group == GROUP_NONE || !group_here(t->group))
		return false;
	for (unsigned i = 0; i < t->zi.operand_count; i++)
		if (!operand_ok(t, &t->ops[i]))
			return false;
	t->x87 = uses_x87(t);
	t->exact = group_exact(t);
	t->window = t->insn.area ? WINDOW_MAX : WINDOW_USUAL;
	return true;
}

/* The data */

static uint64_t gpr_value(const struct trial *t, ZydisRegister reg)
{
	uint64_t v = 0;

	if (reg == ZYDIS_REGISTER_NONE)
		return 0;
	memcpy(&v, t->image + 8 * gpr_of(reg), ZydisRegisterGetWidth(ZYDIS_MACHINE_MODE_LONG_64, reg) / 8u);
	return v;
}

static void set_gpr(struct trial *t, unsigned r, uint64_t v)
{
	memcpy(t->image + 8 * r, &v, 8);
}

static void random_float(uint8_t *p)
{
	float f = (float)(int)below(2000) / 16.0f - 60.0f;
	double d = f;

	if (below(2))
		memcpy(p, &d, 8);
	else
		memcpy(p, (float[2]){f, f * 3}, 8);
}

static void random_eight(uint8_t *p)
{
	static const uint64_t special[] = {0, 1, UINT64_MAX, 0x8000000080000000ull, 0x7f80ff0100ff7f80ull};
	uint64_t v = next_random();

	switch (below(6)) {
	case 0:
		v = special[below(5)];
		break;
	case 1:
		v &= 0xff;
		break;
	case 2:
		random_float(p);
		return;
	default:
		break;
	}
	memcpy(p, &v, 8);
}

/* An 80-bit number, not too large or small; now and then whatever. */
static void random_extended(uint8_t *p)
{
	uint16_t exponent = (uint16_t)(0x3fff + below(40) - 16 + (below(2) << 15));

	random_eight(p);
	if (!below(8)) {
		exponent = (uint16_t)next_random();
	} else {
		p[7] |= 0x80;
	}
	memcpy(p + 8, &exponent, 2);
}

static void random_x87(struct trial *t)
{
	uint16_t fcw = (uint16_t)(FCW_MASKED | below(4) << 10);

	memset(t->image + TAINT_REG_MM, 0, REGS - TAINT_REG_MM);
	for (unsigned i = 0; i < 8; i++)
		random_extended(t->image + TAINT_REG_MM + 16 * i);
	t->image[IMAGE_FSW + 1] = (uint8_t)(next_random() & X87_CONDITIONS);
	t->image[IMAGE_TAGS] = below(8) ? 0x7f : (uint8_t)next_random(); /* room for a push */
	memcpy(t->image + IMAGE_FCW, &fcw, 2);
}

/* The elements of an index register are small. */
static void place_gather(struct trial *t, const ZydisDecodedOperand *op)
{
	unsigned len, at = register_place(op->mem.index, &len), size = strstr(t->name, "gatherq") ? 8 : 4;

	memset(t->image + at, 0, len);
	for (unsigned i = 0; i < len; i += size)
		t->image[at + i] = (uint8_t)below(8);
}

static void place_operand(struct trial *t, const ZydisDecodedOperand *op, unsigned i)
{
	unsigned aligned = below(4) ? 0 : below(16);

	if (t->insn.area) {
		set_gpr(t, gpr_of(op->mem.base), WINDOW_AT - (uint64_t)op->mem.disp.value);
		return;
	}
	if (is_gather(op))
		place_gather(t, op);
	else if (op->mem.index != ZYDIS_REGISTER_NONE)
		set_gpr(t, gpr_of(op->mem.index), below(4));
	if (gpr_of(op->mem.base) != RSP)
		set_gpr(t, gpr_of(op->mem.base),
			WINDOW_AT + (t->zi.mnemonic == ZYDIS_MNEMONIC_XLAT ? 0 : 64 + 64 * (i % 2)) + aligned);
}

/* Registers that point into the window, or say how often to repeat, get such values. */
static void place_addresses(struct trial *t)
{
	set_gpr(t, RSP, WINDOW_AT + STACK_AT);
	for (unsigned i = 0; i < t->zi.operand_count; i++)
		if (is_mem(&t->ops[i]))
			place_operand(t, &t->ops[i], i);
	if (is_bit_string(t))
		set_gpr(t, gpr_of(t->ops[1].reg.value), below(t->ops[0].size));
	if (t->zi.mnemonic == ZYDIS_MNEMONIC_XLAT)
		t->image[8 * RAX] &= 0x7f;
	if (repeats(t)) /* where the data may end it, at most once: how often is not known here */
		set_gpr(t, RCX, below((t->zi.attributes & ZYDIS_ATTRIB_HAS_REP) ? 4 : 2));
}

/* What is restored must be fit for it, and the components are chosen. */
static void place_area(struct trial *t)
{
	uint8_t *area = t->image + REGS;
	bool compact = t->insn.area_form == TAINT_AREA_X && below(2);
	uint64_t xcomp = compact ? XCOMP_COMPACT | 7 : 0;
	uint16_t fcw = FCW_MASKED;
	uint32_t mxcsr = 0x1f80;

	t->rfbm = below(8);
	t->held = below(8);
	set_gpr(t, RAX, t->rfbm);
	set_gpr(t, RDX, 0);
	if (t->insn.area != TAINT_AREA_RESTORE)
		return;
	memcpy(area, &fcw, 2);
	if (t->insn.area_form == TAINT_AREA_FX || t->insn.area_form == TAINT_AREA_X) {
		memcpy(area + 24, &mxcsr, 4);
		for (unsigned i = 0; i < 8; i++)
			random_extended(area + 32 + 16 * i);
	}
	if (t->insn.area_form == TAINT_AREA_X) {
		memset(area + 512, 0, 64);
		memcpy(area + 512, &t->held, 8);
		memcpy(area + 520, &xcomp, 8);
	}
}

/* The image, so that compare-and-exchange also finds what it looks for. */
static void random_image(struct trial *t)
{
	uint64_t flags = next_random() & STATUS_FLAGS;

	for (unsigned i = 0; i < REGS + t->window; i += 8)
		random_eight(t->image + i);
	if (t->zi.mnemonic == ZYDIS_MNEMONIC_CMPXCHG && below(2))
		for (unsigned i = 0; i < TAINT_REG_MM; i += 8)
			memcpy(t->image + i, t->image, 8);
	random_x87(t);
	if (t->zi.mnemonic == ZYDIS_MNEMONIC_CMPXCHG && below(2))
		for (unsigned i = 0; i < t->window; i += 8)
			memcpy(t->image + REGS + i, t->image, 8);
	place_addresses(t);
	if (t->insn.area)
		place_area(t);
	flags |= 0x202;
	memcpy(t->image + TAINT_REG_FLAGS, &flags, 8);
}

/* The accesses */

static bool add_events(struct trial *t, bool store, uint64_t addr, unsigned len)
{
	uint64_t at = addr - WINDOW_AT;

	if (at > t->window || at + len > t->window || t->events + len / PIECE + 1 > EVENTS_MAX)
		return false;
	for (unsigned done = 0; done < len; done += PIECE)
		t->event[t->events++] =
			(struct event){store, (unsigned)at + done, len - done < PIECE ? len - done : PIECE};
	memset(t->input + REGS + at, 1, len);
	return true;
}

static uint64_t operand_addr(const struct trial *t, const ZydisDecodedOperand *op)
{
	uint64_t index = t->zi.mnemonic == ZYDIS_MNEMONIC_XLAT ? t->image[8 * RAX] : gpr_value(t, op->mem.index);
	uint64_t addr = gpr_value(t, op->mem.base) + index * (op->mem.scale ? op->mem.scale : 1u) +
			(uint64_t)op->mem.disp.value;

	return t->zi.address_width == 32 ? (uint32_t)addr : addr;
}

/* The register whose sign bits say which elements are stored; NONE: all are. */
static ZydisRegister store_mask(const struct trial *t)
{
	bool vex = starts(t->name, "vmaskmovp") || starts(t->name, "vpmaskmov");

	if (vex && is_mem(&t->ops[0]))
		return t->ops[1].reg.value;
	return in_words("maskmovdqu vmaskmovdqu maskmovq", t->name) ? t->ops[1].reg.value : ZYDIS_REGISTER_NONE;
}

/* A masked store is told element by element, only those that are stored. */
static bool masked_events(struct trial *t, const ZydisDecodedOperand *op, ZydisRegister mask)
{
	unsigned len, at = register_place(mask, &len);
	const uint8_t *bytes = t->image + at;
	unsigned size = op != &t->ops[0] ? 1 : op->element_size / 8u;

	for (unsigned i = 0; i < op->size / 8u; i += size)
		if (bytes[i + size - 1] & 0x80u)
			if (!add_events(t, true, operand_addr(t, op) + i, size))
				return false;
	return true;
}

/* A gather is told element by element too: those whose sign bit is set in the mask. */
static bool gather_events(struct trial *t, const ZydisDecodedOperand *op)
{
	unsigned width = ZydisRegisterGetWidth(ZYDIS_MACHINE_MODE_LONG_64, op->mem.index) / 8u, len;
	unsigned index = register_place(op->mem.index, &len), mask = register_place(t->ops[2].reg.value, &len);
	unsigned step = strstr(t->name, "gatherq") ? 8 : 4, size = op->element_size / 8u;

	for (unsigned i = 0; i < width / step && i < t->ops[0].size / 8u / size; i++)
		if (t->image[mask + i * size + size - 1] & 0x80u)
			if (!add_events(t, false,
					gpr_value(t, op->mem.base) +
						t->image[index + i * step] * (uint64_t)op->mem.scale +
						(uint64_t)op->mem.disp.value,
					size))
				return false;
	return true;
}

static bool is_stack(const ZydisDecodedOperand *op)
{
	return op->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN && op->mem.base == ZYDIS_REGISTER_RSP;
}

static bool operand_events(struct trial *t, const ZydisDecodedOperand *op, bool store, unsigned round)
{
	unsigned len = op->size / 8u, want = store ? ZYDIS_OPERAND_ACTION_MASK_WRITE : ZYDIS_OPERAND_ACTION_MASK_READ;
	const char *category = ZydisCategoryGetString(t->zi.meta.category);
	bool after_pop = t->zi.mnemonic == ZYDIS_MNEMONIC_POP && !is_stack(op) && is_gpr(op->mem.base) &&
			 gpr_of(op->mem.base) == RSP;

	if (!is_mem(op) || !(op->actions & want) || t->insn.area || strstr(category, "NOP"))
		return true;
	if (is_gather(op))
		return gather_events(t, op);
	if (store && store_mask(t) != ZYDIS_REGISTER_NONE)
		return masked_events(t, op, store_mask(t));
	if (store && is_stack(op))
		return add_events(t, store, gpr_value(t, ZYDIS_REGISTER_RSP) - len, len);
	return add_events(t, store, operand_addr(t, op) + round * len + (after_pop ? len : 0), len);
}

/* The memory accesses, in the order in which the emulator would tell them. */
static bool list_events(struct trial *t)
{
	unsigned rounds = repeats(t) ? t->image[8 * RCX] : 1;

	t->events = 0;
	for (unsigned round = 0; round < rounds; round++)
		for (unsigned store = 0; store < 2; store++)
			for (unsigned i = 0; i < t->zi.operand_count; i++)
				if (!operand_events(t, &t->ops[i], store, round))
					return false;
	return true;
}

/* What is worth flipping */

static void mark_register(struct trial *t, ZydisRegister reg, bool input)
{
	unsigned len, at = register_place(reg, &len);

	memset(t->input + at, input, len);
}

/* Registers that make addresses or say how much is done are not flipped. */
static void unmark_addresses(struct trial *t)
{
	for (unsigned i = 0; i < t->zi.operand_count; i++)
		if (is_mem(&t->ops[i])) {
			mark_register(t, t->ops[i].mem.base, false);
			mark_register(t, t->ops[i].mem.index, false);
			if (is_gather(&t->ops[i]))
				mark_register(t, t->ops[2].reg.value, false);
		}
	if (repeats(t))
		mark_register(t, ZYDIS_REGISTER_RCX, false);
	if (is_bit_string(t))
		mark_register(t, t->ops[1].reg.value, false);
	if (t->zi.mnemonic == ZYDIS_MNEMONIC_XLAT)
		t->input[8 * RAX] = false;
	mark_register(t, store_mask(t), false);
}

static void mark_inputs(struct trial *t)
{
	for (unsigned i = 0; i < t->zi.operand_count; i++) {
		if (t->ops[i].type == ZYDIS_OPERAND_TYPE_REGISTER)
			mark_register(t, t->ops[i].reg.value, true);
		if (t->ops[i].type == ZYDIS_OPERAND_TYPE_MEMORY && !is_mem(&t->ops[i])) {
			mark_register(t, t->ops[i].mem.base, true);
			mark_register(t, t->ops[i].mem.index, true);
		}
	}
	if (in_words("X87", ZydisISAExtGetString(t->zi.meta.isa_ext)))
		memset(t->input + TAINT_REG_MM, 1, X87_REG_BYTES);
	t->input[IMAGE_FSW + 1] = t->x87;
	unmark_addresses(t);
}

/* Some bytes of the area and of the registers in it. */
static void sample_area(struct trial *t)
{
	struct taint_area_piece piece[TAINT_AREA_PIECES];
	unsigned n = taint_insn_area(&t->insn, 7, piece);

	for (unsigned i = 0; i < AREA_SAMPLE; i++) {
		const struct taint_area_piece *p = &piece[below(n)];
		unsigned at = below(p->len);

		if (p->reg == TAINT_STORE_CLEAN && t->insn.area == TAINT_AREA_RESTORE)
			continue;
		t->input[REGS + p->at + at] = true;
		if (p->reg != TAINT_STORE_CLEAN)
			t->input[p->reg + at] = true;
	}
	t->input[IMAGE_FSW + 1] = true;
}

bool trial_state(struct trial *t)
{
	memset(t->input, 0, sizeof(t->input));
	random_image(t);
	if (!list_events(t))
		return false;
	if (t->insn.area)
		sample_area(t);
	else
		mark_inputs(t);
	t->lazy = below(2);
	return true;
}
