/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory, operands and the loop of the miniature processor. */
#include "locate/machine.h"

#include <stdlib.h>
#include <string.h>

#include "locate/machine_internal.h"

#define STACK_TOP 0x13f000u
#define RETURN_AT 0x17fff0u /* nothing is there */
#define BEYOND 64u /* bytes behind the arguments */

static bool is_own(uint64_t at)
{
	return at >= MACHINE_OWN && at < MACHINE_OWN_END;
}

struct machine *machine_create(const struct machine_source *src)
{
	struct machine *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->src = *src;
	m->decoded = calloc(MACHINE_DECODED, sizeof(*m->decoded));
	if (!m->decoded) {
		free(m);
		return NULL;
	}
	for (unsigned k = 0; k < machine_n_int_ops; k++)
		m->row[machine_int_ops[k].mnemonic] = (uint16_t)(k + 1);
	for (unsigned k = 0; k < machine_n_vec_ops; k++)
		m->row[machine_vec_ops[k].mnemonic] = (uint16_t)(machine_n_int_ops + k + 1);
	return m;
}

void machine_destroy(struct machine *m)
{
	if (!m)
		return;
	for (unsigned k = 0; k < MACHINE_PAGES; k++)
		free(m->page[k].bytes);
	free(m->decoded);
	free(m);
}

bool machine_is_32bit(const struct machine *m)
{
	return m->src.is_32bit;
}

void machine_reset(struct machine *m)
{
	unsigned used = 0;

	for (unsigned k = 0; k < MACHINE_PAGES; k++)
		used += m->page[k].bytes != NULL;
	for (unsigned k = 0; k < MACHINE_PAGES; k++) {
		struct machine_page *p = &m->page[k];

		if (p->dirty)
			p->filled = p->dirty = false;
		if (used < MACHINE_PAGES / 2)
			continue;
		free(p->bytes); /* all of them: a run went far */
		*p = (struct machine_page){0};
	}
}

/* --- memory ---------------------------------------------------------------------------------------------- */

static bool fill(struct machine *m, struct machine_page *p)
{
	if (is_own(p->at))
		memset(p->bytes, 0, GUEST_PAGE_SIZE);
	else if (!code_read(&m->src.rd, gva(p->at), p->bytes, GUEST_PAGE_SIZE))
		return false;
	p->filled = true;
	return true;
}

static struct machine_page *page_of(struct machine *m, uint64_t at)
{
	uint64_t base = at & ~(uint64_t)GUEST_PAGE_MASK, first = base / GUEST_PAGE_SIZE * 0x9e3779b1u;

	for (unsigned k = 0; k < MACHINE_PAGES; k++) {
		struct machine_page *p = &m->page[(first + k) % MACHINE_PAGES];

		if (p->bytes && p->at != base)
			continue;
		if (!p->bytes) {
			p->bytes = malloc(GUEST_PAGE_SIZE);
			p->at = base;
		}
		return p->bytes && (p->filled || fill(m, p)) ? p : NULL;
	}
	return NULL;
}

bool machine_read(struct machine *m, uint64_t at, void *ret, size_t len)
{
	for (size_t done = 0, n; done < len; done += n) {
		struct machine_page *p = page_of(m, at + done);
		size_t off = (at + done) & GUEST_PAGE_MASK;

		n = len - done < GUEST_PAGE_SIZE - off ? len - done : GUEST_PAGE_SIZE - off;
		if (!p)
			return false;
		memcpy((uint8_t *)ret + done, p->bytes + off, n);
	}
	return true;
}

bool machine_write(struct machine *m, uint64_t at, const void *bytes, size_t len)
{
	for (size_t done = 0, n; done < len; done += n) {
		struct machine_page *p = page_of(m, at + done);
		size_t off = (at + done) & GUEST_PAGE_MASK;

		n = len - done < GUEST_PAGE_SIZE - off ? len - done : GUEST_PAGE_SIZE - off;
		if (!p)
			return false;
		memcpy(p->bytes + off, (const uint8_t *)bytes + done, n);
		p->dirty = true;
	}
	return true;
}

void machine_load_bytes(struct machine *m, uint64_t at, uint8_t *ret, unsigned size)
{
	if (at < m->beyond_end && at + size > m->beyond)
		m->used_others = true;
	if (!machine_read(m, at, ret, size))
		m->bad = true;
}

void machine_store_bytes(struct machine *m, uint64_t at, const uint8_t *bytes, unsigned size)
{
	if (!machine_write(m, at, bytes, size))
		m->bad = true;
}

uint64_t machine_load(struct machine *m, uint64_t at, unsigned size)
{
	uint8_t bytes[8] = {0};
	uint64_t v;

	machine_load_bytes(m, at, bytes, size);
	memcpy(&v, bytes, sizeof(v));
	return v;
}

void machine_store(struct machine *m, uint64_t at, uint64_t v, unsigned size)
{
	uint8_t bytes[8];

	memcpy(bytes, &v, sizeof(bytes));
	machine_store_bytes(m, at, bytes, size);
}

/* --- operands -------------------------------------------------------------------------------------------- */

static bool is_high_byte(ZydisRegister reg)
{
	return reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH;
}

static uint64_t get_register(struct machine *m, ZydisRegister reg, unsigned bits)
{
	uint8_t gpr = x86_gpr(reg);

	if (gpr == X86_NO_REG) {
		m->bad = true;
		return 0;
	}
	if (m->others >> gpr & 1)
		m->used_others = true;
	return machine_mask(m->gpr[gpr] >> (is_high_byte(reg) ? 8 : 0), bits);
}

static void set_register(struct machine *m, ZydisRegister reg, unsigned bits, uint64_t v)
{
	unsigned shift = is_high_byte(reg) ? 8 : 0;
	uint64_t keep = bits < 32 ? ~(machine_mask(UINT64_MAX, bits) << shift) : 0;
	uint8_t gpr = x86_gpr(reg);

	if (gpr == X86_NO_REG) {
		m->bad = true;
		return;
	}
	m->gpr[gpr] = (m->gpr[gpr] & keep) | machine_mask(v, bits) << shift;
	m->others &= (uint16_t) ~(1u << gpr);
}

static uint64_t segment_base(const struct machine *m, ZydisRegister segment)
{
	if (segment == ZYDIS_REGISTER_FS)
		return m->src.fs;
	return segment == ZYDIS_REGISTER_GS ? m->src.gs : 0;
}

uint64_t machine_address(struct machine *m, const struct x86_insn *in, const ZydisDecodedOperand *op)
{
	unsigned bits = in->i.address_width;
	uint64_t at = (uint64_t)op->mem.disp.value;

	if (op->mem.base == ZYDIS_REGISTER_RIP)
		at += m->ip;
	else if (op->mem.base != ZYDIS_REGISTER_NONE)
		at += get_register(m, op->mem.base, bits);
	if (op->mem.index != ZYDIS_REGISTER_NONE)
		at += get_register(m, op->mem.index, bits) * op->mem.scale;
	at = machine_mask(at, bits);
	if (op->mem.type == ZYDIS_MEMOP_TYPE_AGEN)
		return at;
	return machine_mask(at + segment_base(m, op->mem.segment), 8 * machine_word(m));
}

uint64_t machine_get(struct machine *m, const struct x86_insn *in, unsigned k)
{
	const ZydisDecodedOperand *op = &in->op[k];

	switch (op->type) {
	case ZYDIS_OPERAND_TYPE_REGISTER:
		return get_register(m, op->reg.value, op->size);
	case ZYDIS_OPERAND_TYPE_IMMEDIATE:
		return op->imm.value.u;
	case ZYDIS_OPERAND_TYPE_MEMORY:
		if (op->size <= 64)
			return machine_load(m, machine_address(m, in, op), op->size / 8);
		break;
	default:
		break;
	}
	m->bad = true;
	return 0;
}

void machine_set(struct machine *m, const struct x86_insn *in, unsigned k, uint64_t v)
{
	const ZydisDecodedOperand *op = &in->op[k];

	if (op->type == ZYDIS_OPERAND_TYPE_REGISTER)
		set_register(m, op->reg.value, op->size, v);
	else if (op->type == ZYDIS_OPERAND_TYPE_MEMORY && op->size <= 64)
		machine_store(m, machine_address(m, in, op), v, op->size / 8);
	else
		m->bad = true;
}

bool machine_condition(const struct machine *m, unsigned code)
{
	const bool holds[8] = {m->of, m->cf, m->zf,	     m->cf || m->zf,
			       m->sf, m->pf, m->sf != m->of, m->zf || m->sf != m->of};

	return holds[code >> 1 & 7] != (code & 1);
}

/* --- running --------------------------------------------------------------------------------------------- */

/* A run may have written over code that was decoded before. */
static const struct x86_insn *decode(struct machine *m, uint64_t at)
{
	struct machine_decoded *d = &m->decoded[(at * 0x9e3779b1u >> 8) % MACHINE_DECODED];
	uint8_t bytes[X86_INSN_MAX] = {0};
	size_t len = sizeof(bytes);

	while (len && !machine_read(m, at, bytes, len))
		len--;
	if (len && d->at == at && !memcmp(d->bytes, bytes, sizeof(bytes)))
		return &d->in;
	d->at = 0;
	if (!x86_decode_mode(m->src.is_32bit ? X86_MODE_32 : X86_MODE_64, bytes, len, &d->in))
		return NULL;
	d->at = at;
	memcpy(d->bytes, bytes, sizeof(bytes));
	return &d->in;
}

/* Instructions that there are sixteen of, and those that do nothing here. */
static bool run_category(struct machine *m, const struct x86_insn *in)
{
	unsigned code = in->i.opcode & 15;

	switch (in->i.meta.category) {
	case ZYDIS_CATEGORY_COND_BR:
		if (machine_condition(m, code) && !x86_relative(in, m->last, &m->ip))
			m->bad = true;
		return true;
	case ZYDIS_CATEGORY_CMOV:
		machine_set(m, in, 0, machine_get(m, in, machine_condition(m, code)));
		return true;
	case ZYDIS_CATEGORY_SETCC:
		machine_set(m, in, 0, machine_condition(m, code));
		return true;
	case ZYDIS_CATEGORY_NOP:
	case ZYDIS_CATEGORY_WIDENOP:
	case ZYDIS_CATEGORY_PREFETCH:
		return true;
	default:
		return false;
	}
}

static void step(struct machine *m)
{
	const struct x86_insn *in = decode(m, m->ip);
	const struct machine_op *op;
	unsigned row;

	m->last = m->ip;
	if (!in || in->i.encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX) {
		m->bad = true;
		return;
	}
	m->ip += in->i.length;
	row = m->row[in->i.mnemonic];
	if (!row) {
		m->bad |= !run_category(m, in);
		return;
	}
	op = row <= machine_n_int_ops ? &machine_int_ops[row - 1] : &machine_vec_ops[row - 1 - machine_n_int_ops];
	op->run(m, in, op->arg);
}

void machine_call(struct machine *m, struct gva function, const uint64_t *args, unsigned n)
{
	static const uint8_t reg[] = {7, 6, 2, 1, 8, 9};
	unsigned in_regs = m->src.is_32bit ? 0 : sizeof(reg), word = machine_word(m);
	unsigned on_stack = n > in_regs ? n - in_regs : 0;
	uint64_t at = (STACK_TOP - on_stack * word) & ~15u;

	memset(m->gpr, 0, sizeof(m->gpr));
	memset(m->vec, 0, sizeof(m->vec));
	m->cf = m->pf = m->zf = m->sf = m->of = m->df = false;
	m->bad = m->in_kernel = m->used_others = false;
	m->others = 0;
	m->steps = 0;
	for (unsigned k = 0; k < in_regs; k++) {
		m->gpr[reg[k]] = k < n ? args[k] : 0x5a5a5a5a5a5aull;
		m->others |= (uint16_t)((k >= n) << reg[k]);
	}
	m->beyond = m->beyond_end = 0;
	for (unsigned k = 0; k < on_stack; k++)
		machine_store(m, at + (uint64_t)k * word, args[in_regs + k], word);
	machine_store(m, at - word, RETURN_AT, word);
	m->beyond = at + (uint64_t)on_stack * word;
	m->beyond_end = m->beyond + BEYOND;
	m->gpr[X86_RSP] = at - word;
	m->ip = function.v;
}

enum machine_end machine_run(struct machine *m)
{
	while (m->ip != RETURN_AT && !m->bad && m->steps++ < MACHINE_STEPS_MAX) {
		step(m);
		if (m->in_kernel && !m->bad) {
			m->in_kernel = false;
			return MACHINE_KERNEL;
		}
	}
	return m->ip == RETURN_AT && !m->bad ? MACHINE_RETURNED : MACHINE_STOPPED;
}

bool machine_run_to_jump(struct machine *m, struct gva *ret, uint64_t *ret_arg)
{
	bool jumped = false;

	while (!jumped && !m->bad && !m->in_kernel && m->steps++ < MACHINE_STEPS_MAX) {
		const struct x86_insn *in = decode(m, m->ip);

		jumped = in && (in->i.mnemonic == ZYDIS_MNEMONIC_CALL || in->i.mnemonic == ZYDIS_MNEMONIC_JMP);
		step(m);
	}
	if (!jumped || m->bad)
		return false;
	*ret = gva(m->ip);
	*ret_arg = m->src.is_32bit ? machine_load(m, m->gpr[X86_RSP] + 4, 4) : m->gpr[7];
	return true;
}

uint64_t machine_result(const struct machine *m)
{
	return machine_mask(m->gpr[0], 8 * machine_word(m));
}

bool machine_used_others(const struct machine *m)
{
	return m->used_others;
}

uint64_t machine_call_number(const struct machine *m)
{
	return m->gpr[0];
}

uint64_t machine_call_arg(const struct machine *m, unsigned k)
{
	static const uint8_t of64[4] = {7, 6, 2, 10}, of32[4] = {3, 1, 2, 6};

	return m->gpr[m->src.is_32bit ? of32[k & 3] : of64[k & 3]];
}

void machine_call_answer(struct machine *m, int64_t value)
{
	m->gpr[0] = machine_mask((uint64_t)value, 8 * machine_word(m));
}

struct gva machine_at(const struct machine *m)
{
	return gva(m->last);
}
