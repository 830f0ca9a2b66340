/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * State areas: where fxsave, xsave, fnsave and fnstenv put the registers, and
 * how labels move with them.
 *
 * Vector registers move byte by byte. The x87 registers lie in an area by their
 * place on the register stack, in the shadow by physical register, and the way
 * from one to the other (the top of the stack) is not followed: all of them and
 * the status word share one label whenever they move.
 */
#include "plugin/core/insn_internal.h"

#include <string.h>

#define COMPONENT_X87 0x1u
#define COMPONENT_XMM 0x2u
#define COMPONENT_YMM 0x4u
#define FORM(f) (1u << TAINT_AREA_##f)
#define X87_STATE TAINT_REG_MM, 0
#define X87_BYTES 128u

/* Equal ranges at equal distances. */
struct area_row {
	uint8_t forms; /* bits of enum taint_area_form */
	uint8_t component; /* 0: there whatever is asked for */
	uint8_t count; /* 0: as many as there are vector registers */
	uint8_t len;
	uint16_t at, step;
	uint16_t reg, reg_step;
};

static const struct area_row rows[] = {
	{FORM(FX) | FORM(X), COMPONENT_X87, 1, 2, 0, 0, TAINT_STORE_CLEAN, 0}, /* control word */
	{FORM(FX) | FORM(X), COMPONENT_X87, 1, 2, 2, 0, X87_STATE}, /* status word */
	{FORM(FX) | FORM(X), COMPONENT_X87, 1, 20, 4, 0, TAINT_STORE_CLEAN, 0}, /* tags, last instruction and operand */
	{FORM(FX) | FORM(X), COMPONENT_XMM, 1, 8, 24, 0, TAINT_STORE_CLEAN, 0}, /* MXCSR */
	{FORM(FX) | FORM(X), COMPONENT_X87, 8, 10, 32, 16, TAINT_REG_MM, 16},
	{FORM(FX) | FORM(X), COMPONENT_XMM, 0, 16, 160, 16, TAINT_REG_YMM, 32},
	/* the header at 512 keeps what it says of components that are not saved */
	{FORM(X), COMPONENT_YMM, 0, 16, 576, 16, TAINT_REG_YMM + 16, 32},
	{FORM(FN) | FORM(ENV), 0, 1, 4, 0, 0, TAINT_STORE_CLEAN, 0},
	{FORM(FN) | FORM(ENV), 0, 1, 2, 4, 0, X87_STATE},
	{FORM(FN) | FORM(ENV), 0, 1, 2, 6, 0, TAINT_STORE_CLEAN, 0},
	{FORM(FN) | FORM(ENV), 0, 1, 2, 8, 0, X87_STATE}, /* tags, which tell zeros and special numbers */
	{FORM(FN) | FORM(ENV), 0, 1, 18, 10, 0, TAINT_STORE_CLEAN, 0},
	{FORM(FN), 0, 8, 10, 28, 10, TAINT_REG_MM, 16},
	{FORM(FN16) | FORM(ENV16), 0, 1, 2, 0, 0, TAINT_STORE_CLEAN, 0},
	{FORM(FN16) | FORM(ENV16), 0, 1, 4, 2, 0, X87_STATE}, /* status word, tags */
	{FORM(FN16) | FORM(ENV16), 0, 1, 8, 6, 0, TAINT_STORE_CLEAN, 0},
	{FORM(FN16), 0, 8, 10, 14, 10, TAINT_REG_MM, 16},
};

/* The components that the instruction moves of those asked for. */
static uint64_t components(const struct taint_insn *in, uint64_t rfbm)
{
	static const uint64_t fixed[TAINT_AREA_FORMS] = {
		[TAINT_AREA_FX] = COMPONENT_X87 | COMPONENT_XMM,
		[TAINT_AREA_FN] = COMPONENT_X87,
		[TAINT_AREA_FN16] = COMPONENT_X87,
	};

	return in->area_form == TAINT_AREA_X ? rfbm : fixed[in->area_form];
}

static unsigned add_pieces(const struct area_row *row, unsigned vectors, struct taint_area_piece *ret)
{
	unsigned count = row->count ? row->count : vectors;

	for (unsigned i = 0; i < count; i++)
		ret[i] = (struct taint_area_piece){
			.at = (uint16_t)(row->at + i * row->step),
			.len = row->len,
			.reg = (uint16_t)(row->reg + i * row->reg_step),
		};
	return count;
}

unsigned taint_insn_area(const struct taint_insn *in, uint64_t rfbm, struct taint_area_piece ret[TAINT_AREA_PIECES])
{
	unsigned n = 0;

	if (in->area == TAINT_AREA_NONE)
		return 0;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct area_row *row = &rows[i];

		if (!(row->forms >> in->area_form & 1u))
			continue;
		if (!row->component || (row->component & components(in, rfbm)))
			n += add_pieces(row, in->area_vectors, ret + n);
	}
	assert(n <= TAINT_AREA_PIECES);
	return n;
}

static bool is_x87(const struct taint_area_piece *p)
{
	return p->reg >= TAINT_REG_MM && p->reg < TAINT_REG_MM + X87_BYTES;
}

static uint32_t first_label(const uint32_t *p, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (p[i])
			return p[i];
	return 0;
}

bool taint_insn_area_save(const struct taint_vcpu *v, const struct taint_area_piece *p, struct taint_label *ret)
{
	uint32_t x87 = is_x87(p) ? first_label(v->reg + TAINT_REG_MM, X87_BYTES) : 0, any = 0;

	for (unsigned i = 0; i < p->len; i++) {
		uint32_t origin = p->reg == TAINT_STORE_CLEAN ? 0 : is_x87(p) ? x87 : v->reg[p->reg + i];

		ret[i] = (struct taint_label){.origin = origin};
		any |= origin;
	}
	return any != 0;
}

void taint_insn_area_clear(struct taint_vcpu *v, const struct taint_insn *in, uint64_t rfbm)
{
	uint64_t parts = components(in, rfbm);

	for (unsigned i = 0; i < in->area_vectors; i++) {
		uint32_t *ymm = v->reg + TAINT_REG_YMM + 32 * i;

		if (parts & COMPONENT_XMM)
			memset(ymm, 0, 16 * sizeof(*ymm));
		if (parts & COMPONENT_YMM)
			memset(ymm + 16, 0, 16 * sizeof(*ymm));
	}
	if (parts & COMPONENT_X87)
		memset(v->reg + TAINT_REG_MM, 0, X87_BYTES * sizeof(v->reg[0]));
	taint_vcpu_any(v);
}

bool taint_insn_area_load(struct taint_vcpu *v, const struct taint_area_piece *p, const struct taint_label *labels)
{
	uint32_t any = 0;

	if (p->reg == TAINT_STORE_CLEAN)
		return v->tainted != 0;
	for (unsigned i = 0; i < p->len; i++) {
		any = any ? any : labels[i].origin;
		if (!is_x87(p))
			v->reg[p->reg + i] = labels[i].origin;
	}
	for (unsigned i = 0; any && is_x87(p) && i < X87_BYTES; i++)
		v->reg[TAINT_REG_MM + i] = any;
	if (any)
		v->tainted |= is_x87(p) ? taint_reg_bits(TAINT_REG_MM, X87_BYTES) : taint_reg_bits(p->reg, p->len);
	return v->tainted != 0;
}

/* The layout of what has a 16-bit operand size differs. */
static uint8_t form_of(const struct build *b)
{
	bool narrow = b->zi->operand_width == 16;

	if (b->rule->b == TAINT_AREA_FN && narrow)
		return TAINT_AREA_FN16;
	if (b->rule->b == TAINT_AREA_ENV && narrow)
		return TAINT_AREA_ENV16;
	return b->rule->b;
}

void rule_area(struct build *b)
{
	struct taint_insn *in = b->in;

	in->area = b->rule->a;
	in->area_form = form_of(b);
	in->area_vectors = b->zi->machine_mode == ZYDIS_MACHINE_MODE_LONG_64 ? 16 : 8;
	in->has_load = in->has_store = in->needs_begin = false;
	in->load_len = in->store_len = 0;
}
