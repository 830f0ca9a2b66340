/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Call frame programs: a small table-driven machine that gives the rules at an address (DWARF 5, section 6.4). */
#include "locate/cfi.h"

#include "locate/cfi_internal.h"

#define REMEMBER_MAX 16

struct machine {
	const struct cfi *m;
	const struct cfi_fde *fde;
	uint64_t loc, pc;
	struct cfi_row row, initial;
	struct cfi_row saved[REMEMBER_MAX];
	unsigned n_saved;
	bool done; /* the next row begins after pc */
	bool bad;
};

enum operand {
	OP_NONE,
	OP_LOW6, /* low six bits of the operation itself */
	OP_U8,
	OP_U16,
	OP_U32,
	OP_ULEB,
	OP_SLEB,
	OP_BLOCK, /* value: length; the bytes are in operands.block */
};

struct operands {
	uint64_t v[2];
	const uint8_t *block;
};

struct cfa_op {
	uint8_t operand[2]; /* enum operand */
	void (*run)(struct machine *s, const struct operands *o);
};

/* DWARF register number to a column of struct cfi_row; -1: one we do not follow. */
static int column(const struct machine *s, uint64_t dwarf)
{
	static const int8_t from64[8] = {0, 2, 1, 3, 6, 7, 5, 4};

	if (dwarf == s->fde->ra_column)
		return CFI_RA;
	if (dwarf < 8)
		return s->m->is_32bit ? (int)dwarf : from64[dwarf];
	return dwarf < 16 && !s->m->is_32bit ? (int)dwarf : -1;
}

static void set_rule(struct machine *s, uint64_t dwarf, enum cfi_rule rule, int64_t offset)
{
	int c = column(s, dwarf);

	if (c >= 0) {
		s->row.reg[c].rule = rule;
		s->row.reg[c].offset = offset;
	}
}

static int64_t factored(const struct machine *s, uint64_t v)
{
	return (int64_t)(v * (uint64_t)s->fde->data_align);
}

static void run_nop(struct machine *s, const struct operands *o)
{
	(void)s;
	(void)o;
}

static void run_advance(struct machine *s, const struct operands *o)
{
	uint64_t by;

	if (__builtin_mul_overflow(o->v[0], s->fde->code_align, &by) || by > UINT64_MAX - s->loc)
		s->bad = true;
	else if (s->loc + by > s->pc)
		s->done = true;
	else
		s->loc += by;
}

static void run_offset(struct machine *s, const struct operands *o)
{
	set_rule(s, o->v[0], CFI_SAVED, factored(s, o->v[1]));
}

static void run_negative_offset(struct machine *s, const struct operands *o)
{
	set_rule(s, o->v[0], CFI_SAVED, (int64_t)(0 - (uint64_t)factored(s, o->v[1])));
}

static void run_restore(struct machine *s, const struct operands *o)
{
	int c = column(s, o->v[0]);

	if (c >= 0)
		s->row.reg[c] = s->initial.reg[c];
}

static void run_undefined(struct machine *s, const struct operands *o)
{
	set_rule(s, o->v[0], CFI_UNDEFINED, 0);
}

static void run_same(struct machine *s, const struct operands *o)
{
	set_rule(s, o->v[0], CFI_SAME, 0);
}

static void run_other(struct machine *s, const struct operands *o)
{
	set_rule(s, o->v[0], CFI_OTHER, 0);
}

static void run_remember(struct machine *s, const struct operands *o)
{
	(void)o;
	if (s->n_saved == REMEMBER_MAX)
		s->bad = true;
	else
		s->saved[s->n_saved++] = s->row;
}

static void run_recall(struct machine *s, const struct operands *o)
{
	(void)o;
	if (!s->n_saved)
		s->bad = true;
	else
		s->row = s->saved[--s->n_saved];
}

static void run_cfa_register(struct machine *s, const struct operands *o)
{
	int c = column(s, o->v[0]);

	s->row.cfa_known = c >= 0 && c < CFI_RA;
	s->row.cfa_deref = false;
	s->row.cfa_reg = s->row.cfa_known ? (uint8_t)c : 0;
}

static void run_cfa_offset(struct machine *s, const struct operands *o)
{
	s->row.cfa_offset = (int64_t)o->v[0];
}

static void run_cfa_offset_sf(struct machine *s, const struct operands *o)
{
	s->row.cfa_offset = factored(s, o->v[0]);
}

static void run_cfa(struct machine *s, const struct operands *o)
{
	run_cfa_register(s, o);
	s->row.cfa_offset = (int64_t)o->v[1];
}

static void run_cfa_sf(struct machine *s, const struct operands *o)
{
	run_cfa_register(s, o);
	s->row.cfa_offset = factored(s, o->v[1]);
}

/* DW_OP_breg<r> offset at the cursor. */
static bool read_breg(const struct machine *s, struct cfi_cur *c, uint8_t *ret_reg, int64_t *ret_offset)
{
	unsigned dwarf = (unsigned)cfi_cur_uint(c, 1) - 0x70u;
	int col = dwarf < 32 ? column(s, dwarf) : -1;

	*ret_offset = cfi_cur_sleb(c);
	*ret_reg = (uint8_t)col;
	return !c->bad && col >= 0 && col != CFI_RA;
}

/* An expression for where a register is saved: register + offset is understood. */
static void run_expression(struct machine *s, const struct operands *o)
{
	struct cfi_cur c = cfi_cur(o->block, o->v[1], 0);
	int col = column(s, o->v[0]);
	uint8_t base;
	int64_t offset;

	if (col < 0)
		return;
	set_rule(s, o->v[0], CFI_OTHER, 0);
	if (!read_breg(s, &c, &base, &offset) || cfi_cur_left(&c))
		return;
	set_rule(s, o->v[0], CFI_SAVED_AT, offset);
	s->row.reg[col].base = base;
}

#define PLT_EXPRESSION 11 /* bytes */

/*
 * Procedure linkage tables, where one entry covers many stubs of 16 bytes and the stack holds one word more
 * from a fixed offset in each: rsp + word + ((pc & 15) >= n) * word.
 */
static bool plt_expression(struct machine *s, const uint8_t *block, uint64_t len)
{
	static const uint8_t plt[2][PLT_EXPRESSION] = {
		{0x77, 0x08, 0x80, 0x00, 0x3f, 0x1a, 0, 0x2a, 0x33, 0x24, 0x22},
		{0x74, 0x04, 0x78, 0x00, 0x3f, 0x1a, 0, 0x2a, 0x32, 0x24, 0x22},
	};
	unsigned word = s->m->is_32bit ? 4 : 8, n;
	uint8_t copy[PLT_EXPRESSION];

	if (len != sizeof(copy))
		return false;
	memcpy(copy, block, sizeof(copy));
	n = copy[6] - 0x30u; /* DW_OP_lit<n> */
	copy[6] = 0;
	if (n > 15 || memcmp(copy, plt[s->m->is_32bit], sizeof(copy)) != 0)
		return false;
	s->row.cfa_known = true;
	s->row.cfa_reg = 4;
	s->row.cfa_offset = word + ((s->pc & 15) >= n ? word : 0);
	return true;
}

/* A function that realigns its stack keeps the CFA in memory: DW_OP_breg<r> offset, DW_OP_deref. */
static void deref_expression(struct machine *s, const uint8_t *block, uint64_t len)
{
	struct cfi_cur c = cfi_cur(block, len, 0);
	int64_t offset;
	uint8_t reg;

	if (!read_breg(s, &c, &reg, &offset) || cfi_cur_uint(&c, 1) != 0x06 || c.bad || cfi_cur_left(&c))
		return;
	s->row.cfa_deref = true;
	s->row.cfa_reg = reg;
	s->row.cfa_offset = offset;
}

static void run_cfa_expression(struct machine *s, const struct operands *o)
{
	s->row.cfa_known = s->row.cfa_deref = false;
	if (!plt_expression(s, o->block, o->v[0]))
		deref_expression(s, o->block, o->v[0]);
}

/* Operations with an operand in their low six bits, by their high two. */
static const struct cfa_op high_ops[4] = {
	[1] = {{OP_LOW6}, run_advance},
	[2] = {{OP_LOW6, OP_ULEB}, run_offset},
	[3] = {{OP_LOW6}, run_restore},
};

/* DW_CFA_set_loc (0x01) is not followed: no compiler for x86 writes it. */
static const struct cfa_op low_ops[0x40] = {
	[0x00] = {{OP_NONE}, run_nop},
	[0x02] = {{OP_U8}, run_advance},
	[0x03] = {{OP_U16}, run_advance},
	[0x04] = {{OP_U32}, run_advance},
	[0x05] = {{OP_ULEB, OP_ULEB}, run_offset},
	[0x06] = {{OP_ULEB}, run_restore},
	[0x07] = {{OP_ULEB}, run_undefined},
	[0x08] = {{OP_ULEB}, run_same},
	[0x09] = {{OP_ULEB, OP_ULEB}, run_other}, /* in another register */
	[0x0a] = {{OP_NONE}, run_remember},
	[0x0b] = {{OP_NONE}, run_recall},
	[0x0c] = {{OP_ULEB, OP_ULEB}, run_cfa},
	[0x0d] = {{OP_ULEB}, run_cfa_register},
	[0x0e] = {{OP_ULEB}, run_cfa_offset},
	[0x0f] = {{OP_BLOCK}, run_cfa_expression},
	[0x10] = {{OP_ULEB, OP_BLOCK}, run_expression},
	[0x11] = {{OP_ULEB, OP_SLEB}, run_offset},
	[0x12] = {{OP_ULEB, OP_SLEB}, run_cfa_sf},
	[0x13] = {{OP_SLEB}, run_cfa_offset_sf},
	[0x14] = {{OP_ULEB, OP_ULEB}, run_other}, /* val_offset */
	[0x15] = {{OP_ULEB, OP_SLEB}, run_other},
	[0x16] = {{OP_ULEB, OP_BLOCK}, run_other}, /* val_expression */
	[0x2e] = {{OP_ULEB}, run_nop}, /* GNU_args_size */
	[0x2f] = {{OP_ULEB, OP_ULEB}, run_negative_offset}, /* GNU_negative_offset_extended */
};

static uint64_t read_operand(struct cfi_cur *c, enum operand kind, uint8_t op, struct operands *o)
{
	uint64_t v;

	switch (kind) {
	case OP_NONE:
		return 0;
	case OP_LOW6:
		return op & 0x3f;
	case OP_U8:
		return cfi_cur_uint(c, 1);
	case OP_U16:
		return cfi_cur_uint(c, 2);
	case OP_U32:
		return cfi_cur_uint(c, 4);
	case OP_ULEB:
		return cfi_cur_uleb(c);
	case OP_SLEB:
		return (uint64_t)cfi_cur_sleb(c);
	case OP_BLOCK:
		v = cfi_cur_uleb(c);
		o->block = c->p;
		cfi_cur_skip(c, v);
		return v;
	}
	return 0;
}

static void run_program(struct machine *s, const uint8_t *program, uint32_t len)
{
	struct cfi_cur c = cfi_cur(program, len, 0);

	while (cfi_cur_left(&c) && !s->done && !s->bad) {
		uint8_t op = (uint8_t)cfi_cur_uint(&c, 1);
		const struct cfa_op *row = op >> 6 ? &high_ops[op >> 6] : &low_ops[op];
		struct operands o = {0};

		if (!row->run) {
			s->bad = true;
			return;
		}
		for (unsigned i = 0; i < 2; i++)
			o.v[i] = read_operand(&c, row->operand[i], op, &o);
		s->bad = c.bad;
		if (!s->bad)
			row->run(s, &o);
	}
}

int cfi_row_at(const struct cfi *m, const struct cfi_fde *fde, struct gva pc, struct cfi_row *ret, struct err *e)
{
	struct machine s = {.m = m, .fde = fde, .loc = fde->start.v, .pc = pc.v};

	if (pc.v < fde->start.v || pc.v >= fde->end.v)
		return err_set_addr(e, ERR_GUEST, pc.v, "0x%llx is outside its frame entry", (unsigned long long)pc.v);
	run_program(&s, fde->initial, fde->initial_len);
	s.initial = s.row;
	if (!s.done)
		run_program(&s, fde->program, fde->program_len);
	if (s.bad)
		return err_set_addr(e, ERR_GUEST, fde->start.v,
				    "the frame program of the function at 0x%llx is malformed",
				    (unsigned long long)fde->start.v);
	*ret = s.row;
	return 0;
}
