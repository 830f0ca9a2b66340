/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Instructions on general registers. */
#include <string.h>

#include "locate/machine_internal.h"

#define M(name) ZYDIS_MNEMONIC_##name

static unsigned bits_of(const struct x86_insn *in, unsigned k)
{
	return in->op[k].size;
}

static bool sign(uint64_t v, unsigned bits)
{
	return v >> (bits - 1) & 1;
}

static int64_t extend(uint64_t v, unsigned bits)
{
	return bits < 64 ? (int64_t)(v << (64 - bits)) >> (64 - bits) : (int64_t)v;
}

static void set_result_flags(struct machine *m, uint64_t v, unsigned bits)
{
	m->zf = !v;
	m->sf = sign(v, bits);
	m->pf = !__builtin_parity((unsigned)(v & 0xff));
}

enum alu { ADD, ADC, SUB, SBB, CMP, AND, TEST, OR, XOR };

static uint64_t add(struct machine *m, uint64_t a, uint64_t b, bool carry, unsigned bits)
{
	uint64_t r = machine_mask(a + b + carry, bits);

	m->cf = r < a || (carry && r == a);
	m->of = sign((a ^ r) & (b ^ r), bits);
	return r;
}

static uint64_t subtract(struct machine *m, uint64_t a, uint64_t b, bool borrow, unsigned bits)
{
	uint64_t r = machine_mask(a - b - borrow, bits);

	m->cf = a < b || (borrow && a == b);
	m->of = sign((a ^ b) & (a ^ r), bits);
	return r;
}

static uint64_t combine(struct machine *m, enum alu what, uint64_t a, uint64_t b, unsigned bits)
{
	switch (what) {
	case ADD:
		return add(m, a, b, false, bits);
	case ADC:
		return add(m, a, b, m->cf, bits);
	case SUB:
	case CMP:
		return subtract(m, a, b, false, bits);
	case SBB:
		return subtract(m, a, b, m->cf, bits);
	default:
		break;
	}
	m->cf = m->of = false;
	if (what == OR)
		return a | b;
	return what == XOR ? a ^ b : a & b;
}

static bool same_register(const struct x86_insn *in)
{
	return in->op[0].type == ZYDIS_OPERAND_TYPE_REGISTER && in->op[1].type == ZYDIS_OPERAND_TYPE_REGISTER &&
	       in->op[0].reg.value == in->op[1].reg.value;
}

static void do_alu(struct machine *m, const struct x86_insn *in, unsigned arg)
{
	unsigned bits = bits_of(in, 0);
	bool used = m->used_others;
	uint64_t a = machine_get(m, in, 0), b = machine_mask(machine_get(m, in, 1), bits), r;

	if (same_register(in) && (arg == XOR || arg == SUB))
		m->used_others = used; /* what was in it is of no account */
	r = combine(m, (enum alu)arg, a, b, bits);
	set_result_flags(m, r, bits);
	if (arg != CMP && arg != TEST)
		machine_set(m, in, 0, r);
}

enum unary { INC, DEC, NEG, NOT, BSWAP };

static void do_unary(struct machine *m, const struct x86_insn *in, unsigned arg)
{
	unsigned bits = bits_of(in, 0);
	uint64_t a = machine_get(m, in, 0), r;
	bool carry = m->cf;

	if (arg == NOT || arg == BSWAP) {
		machine_set(m, in, 0, arg == NOT ? ~a : __builtin_bswap64(a) >> (64 - bits));
		return;
	}
	if (arg == NEG)
		r = subtract(m, 0, a, false, bits);
	else
		r = arg == INC ? add(m, a, 1, false, bits) : subtract(m, a, 1, false, bits);
	if (arg != NEG)
		m->cf = carry;
	set_result_flags(m, r, bits);
	machine_set(m, in, 0, r);
}

enum shift { SHL, SHR, SAR, ROL, ROR };

/* The result and the last bit that left. */
static uint64_t shift_bits(enum shift what, uint64_t a, unsigned n, unsigned bits, bool *ret_carry)
{
	switch (what) {
	case SHL:
		*ret_carry = n <= bits && (a >> (bits - n) & 1);
		return n < bits ? machine_mask(a << n, bits) : 0;
	case SHR:
		*ret_carry = n <= bits && (a >> (n - 1) & 1);
		return n < bits ? a >> n : 0;
	case SAR:
		n = n < bits ? n : bits - 1;
		*ret_carry = extend(a, bits) >> (n - 1) & 1;
		return machine_mask((uint64_t)(extend(a, bits) >> n), bits);
	case ROR:
		n = bits - n % bits;
		break;
	case ROL:
		break;
	}
	n %= bits;
	a = n ? machine_mask(a << n, bits) | a >> (bits - n) : a;
	*ret_carry = what == ROL ? a & 1 : sign(a, bits);
	return a;
}

static void do_shift(struct machine *m, const struct x86_insn *in, unsigned arg)
{
	unsigned bits = bits_of(in, 0), n;
	uint64_t a = machine_get(m, in, 0), r;

	n = (unsigned)machine_get(m, in, 1) & (bits == 64 ? 63 : 31);
	if (!n)
		return;
	r = shift_bits((enum shift)arg, a, n, bits, &m->cf);
	m->of = arg == SHL ? sign(r, bits) != m->cf : sign(a, bits) != sign(r, bits);
	if (arg == SHL || arg == SHR || arg == SAR)
		set_result_flags(m, r, bits);
	machine_set(m, in, 0, r);
}

/* shlx and its kind: three operands, no flags. */
static void do_shift_plain(struct machine *m, const struct x86_insn *in, unsigned arg)
{
	unsigned bits = bits_of(in, 0), n = (unsigned)machine_get(m, in, 2) & (bits - 1);
	uint64_t a = machine_get(m, in, 1);
	bool carry;

	machine_set(m, in, 0, n ? shift_bits((enum shift)arg, a, n, bits, &carry) : a);
}

/* shld, shrd */
static void do_shift_double(struct machine *m, const struct x86_insn *in, unsigned arg)
{
	unsigned bits = bits_of(in, 0), n = (unsigned)machine_get(m, in, 2) & (bits == 64 ? 63 : 31);
	uint64_t a = machine_get(m, in, 0), b = machine_get(m, in, 1), r;

	if (!n || n >= bits)
		return;
	r = arg == SHL ? a << n | b >> (bits - n) : a >> n | b << (bits - n);
	r = machine_mask(r, bits);
	m->cf = arg == SHL ? a >> (bits - n) & 1 : a >> (n - 1) & 1;
	set_result_flags(m, r, bits);
	machine_set(m, in, 0, r);
}

enum bits { BSF, BSR, TZCNT, LZCNT, POPCNT };

static void do_find(struct machine *m, const struct x86_insn *in, unsigned arg)
{
	unsigned bits = bits_of(in, 0);
	uint64_t a = machine_get(m, in, 1), r;

	m->zf = !a;
	m->cf = !a;
	if (!a && (arg == BSF || arg == BSR))
		return;
	if (arg == POPCNT)
		r = (unsigned)__builtin_popcountll(a);
	else if (!a)
		r = bits;
	else if (arg == BSF || arg == TZCNT)
		r = (unsigned)__builtin_ctzll(a);
	else
		r = arg == BSR ? 63u - (unsigned)__builtin_clzll(a) : (unsigned)__builtin_clzll(a) - (64 - bits);
	if (arg == TZCNT || arg == LZCNT)
		m->zf = !r;
	machine_set(m, in, 0, r);
}

enum bmi { ANDN, BLSR, BLSMSK, BLSI, BZHI };

static void do_bmi(struct machine *m, const struct x86_insn *in, unsigned arg)
{
	unsigned bits = bits_of(in, 0);
	uint64_t a = machine_get(m, in, 1), b = arg == ANDN || arg == BZHI ? machine_get(m, in, 2) : 0, r = 0;

	m->cf = arg == BLSI ? a != 0 : !a;
	m->of = false;
	switch ((enum bmi)arg) {
	case ANDN:
		r = ~a & b;
		m->cf = false;
		break;
	case BLSR:
		r = a & (a - 1);
		break;
	case BLSMSK:
		r = a ^ (a - 1);
		break;
	case BLSI:
		r = a & -a;
		break;
	case BZHI:
		m->cf = (b & 0xff) >= bits;
		r = m->cf ? a : machine_mask(a, b & 0xff);
		break;
	}
	r = machine_mask(r, bits);
	set_result_flags(m, r, bits);
	machine_set(m, in, 0, r);
}

enum bit_test { BT, BTS, BTR, BTC };

static void do_bit(struct machine *m, const struct x86_insn *in, unsigned arg)
{
	unsigned bits = bits_of(in, 0), n;
	uint64_t a;

	if (in->op[0].type == ZYDIS_OPERAND_TYPE_MEMORY && in->op[1].type == ZYDIS_OPERAND_TYPE_REGISTER) {
		m->bad = true; /* reaches further than its operand */
		return;
	}
	a = machine_get(m, in, 0);
	n = (unsigned)machine_get(m, in, 1) & (bits - 1);
	m->cf = a >> n & 1;
	if (arg == BT)
		return;
	if (arg == BTC)
		a ^= 1ull << n;
	else
		a = arg == BTS ? a | 1ull << n : a & ~(1ull << n);
	machine_set(m, in, 0, a);
}

/* --- moves ----------------------------------------------------------------------------------------------- */

static void do_mov(struct machine *m, const struct x86_insn *in, unsigned arg)
{
	(void)arg;
	machine_set(m, in, 0, machine_get(m, in, 1));
}

static void do_movsx(struct machine *m, const struct x86_insn *in, unsigned arg)
{
	(void)arg;
	machine_set(m, in, 0, (uint64_t)extend(machine_get(m, in, 1), bits_of(in, 1)));
}

static void do_lea(struct machine *m, const struct x86_insn *in, unsigned arg)
{
	(void)arg;
	machine_set(m, in, 0, machine_address(m, in, &in->op[1]));
}

static void do_xchg(struct machine *m, const struct x86_insn *in, unsigned arg)
{
	uint64_t a = machine_get(m, in, 0), b = machine_get(m, in, 1);

	if (arg) { /* xadd */
		set_result_flags(m, add(m, a, b, false, bits_of(in, 0)), bits_of(in, 0));
		b = a + b;
	}
	machine_set(m, in, 1, a);
	machine_set(m, in, 0, b);
}

static void do_cmpxchg(struct machine *m, const struct x86_insn *in, unsigned arg)
{
	unsigned bits = bits_of(in, 0);
	uint64_t a = machine_get(m, in, 0), acc = machine_mask(m->gpr[0], bits);

	(void)arg;
	set_result_flags(m, subtract(m, acc, a, false, bits), bits);
	if (m->zf)
		machine_set(m, in, 0, machine_get(m, in, 1));
	else
		m->gpr[0] = bits < 32 ? (m->gpr[0] & ~machine_mask(UINT64_MAX, bits)) | a : a;
}

/* cbw, cwde, cdqe: half of the accumulator to all of it; cwd, cdq, cqo: its sign to rdx. arg: bits of the result. */
static void do_widen(struct machine *m, const struct x86_insn *in, unsigned arg)
{
	uint64_t v = (uint64_t)extend(m->gpr[0], arg / 2);

	(void)in;
	m->gpr[0] =
		arg < 32 ? (m->gpr[0] & ~machine_mask(UINT64_MAX, arg)) | machine_mask(v, arg) : machine_mask(v, arg);
}

static void do_spread(struct machine *m, const struct x86_insn *in, unsigned arg)
{
	uint64_t v = extend(m->gpr[0], arg) < 0 ? UINT64_MAX : 0;

	(void)in;
	m->gpr[2] =
		arg < 32 ? (m->gpr[2] & ~machine_mask(UINT64_MAX, arg)) | machine_mask(v, arg) : machine_mask(v, arg);
	m->others &= (uint16_t)~4u;
}

static void do_imul(struct machine *m, const struct x86_insn *in, unsigned arg)
{
	unsigned bits = bits_of(in, 0), n = in->i.operand_count_visible;
	int64_t a = extend(n < 2 ? m->gpr[0] : machine_get(m, in, n - 2), bits);
	__int128 r = (__int128)a * extend(machine_get(m, in, n - 1), bits);

	(void)arg;
	m->cf = m->of = r != extend((uint64_t)r, bits);
	if (n >= 2) {
		machine_set(m, in, 0, (uint64_t)r);
	} else if (bits >= 32) {
		m->gpr[0] = machine_mask((uint64_t)r, bits);
		m->gpr[2] = machine_mask((uint64_t)(r >> bits), bits);
		m->others &= (uint16_t)~4u;
	} else {
		m->bad = true;
	}
}

/* rdx:rax = rax * operand, or both parts of the quotient. arg: it divides. */
static void do_mul(struct machine *m, const struct x86_insn *in, unsigned arg)
{
	unsigned bits = bits_of(in, 0);
	uint64_t v = machine_get(m, in, 0), low = machine_mask(m->gpr[0], bits), high = machine_mask(m->gpr[2], bits);
	unsigned __int128 both;

	if (bits < 32 || (arg && (!v || high >= v))) {
		m->bad = true;
		return;
	}
	if (arg) {
		both = (unsigned __int128)high << bits | low;
		m->gpr[0] = (uint64_t)(both / v);
		m->gpr[2] = (uint64_t)(both % v);
	} else {
		both = (unsigned __int128)low * v;
		m->gpr[0] = machine_mask((uint64_t)both, bits);
		m->gpr[2] = machine_mask((uint64_t)(both >> bits), bits);
		m->cf = m->of = m->gpr[2] != 0;
	}
	m->others &= (uint16_t)~4u;
}

static void do_idiv(struct machine *m, const struct x86_insn *in, unsigned arg)
{
	unsigned bits = bits_of(in, 0);
	int64_t v = extend(machine_get(m, in, 0), bits), a = extend(m->gpr[0], bits);

	(void)arg;
	/* numbers that fit their register, and no quotient that does not */
	if (bits < 32 || !v || v == -1 || machine_mask(m->gpr[2], bits) != machine_mask(a < 0 ? UINT64_MAX : 0, bits)) {
		m->bad = true;
		return;
	}
	m->gpr[0] = machine_mask((uint64_t)(a / v), bits);
	m->gpr[2] = machine_mask((uint64_t)(a % v), bits);
}

/* --- the stack, jumps ------------------------------------------------------------------------------------ */

static void push(struct machine *m, uint64_t v)
{
	unsigned word = machine_word(m);

	m->gpr[X86_RSP] = machine_mask(m->gpr[X86_RSP] - word, 8 * word);
	machine_store(m, m->gpr[X86_RSP], v, word);
}

static uint64_t pop(struct machine *m)
{
	unsigned word = machine_word(m);
	uint64_t v = machine_load(m, m->gpr[X86_RSP], word);

	m->gpr[X86_RSP] += word;
	return v;
}

static void do_push(struct machine *m, const struct x86_insn *in, unsigned arg)
{
	(void)arg;
	push(m, machine_get(m, in, 0));
}

static void do_pop(struct machine *m, const struct x86_insn *in, unsigned arg)
{
	uint64_t v = pop(m);

	(void)arg;
	machine_set(m, in, 0, v);
}

static void do_leave(struct machine *m, const struct x86_insn *in, unsigned arg)
{
	(void)in;
	(void)arg;
	m->gpr[X86_RSP] = m->gpr[X86_RBP];
	m->gpr[X86_RBP] = pop(m);
}

/* arg: a call */
static void do_jump(struct machine *m, const struct x86_insn *in, unsigned arg)
{
	uint64_t to;

	if (in->op[0].type != ZYDIS_OPERAND_TYPE_IMMEDIATE)
		to = machine_get(m, in, 0);
	else if (!x86_relative(in, m->last, &to))
		m->bad = true;
	if (m->bad)
		return;
	if (arg)
		push(m, m->ip);
	m->ip = to;
}

static void do_ret(struct machine *m, const struct x86_insn *in, unsigned arg)
{
	(void)arg;
	m->ip = pop(m);
	if (in->i.operand_count_visible)
		m->gpr[X86_RSP] += machine_get(m, in, 0);
}

/* jrcxz, loop; arg: loop */
static void do_count_jump(struct machine *m, const struct x86_insn *in, unsigned arg)
{
	if (arg)
		m->gpr[1] = machine_mask(m->gpr[1] - 1, 8 * machine_word(m));
	if (!m->gpr[1] == !arg && !x86_relative(in, m->last, &m->ip))
		m->bad = true;
}

static void do_kernel(struct machine *m, const struct x86_insn *in, unsigned arg)
{
	(void)arg;
	if (in->i.mnemonic == M(INT) && in->op[0].imm.value.u != 0x80)
		m->bad = true;
	/* this entry of 32-bit code has its second argument elsewhere */
	if (in->i.mnemonic == M(SYSCALL) && m->src.is_32bit)
		m->gpr[1] = m->gpr[X86_RBP];
	m->in_kernel = true;
}

static void do_nothing(struct machine *m, const struct x86_insn *in, unsigned arg)
{
	(void)m;
	(void)in;
	(void)arg;
}

static void do_direction(struct machine *m, const struct x86_insn *in, unsigned arg)
{
	(void)in;
	m->df = arg;
}

/* --- strings --------------------------------------------------------------------------------------------- */

enum string { MOVS, STOS, LODS, SCAS, CMPS };
#define STRING(what, size) ((unsigned)(what) << 8 | (size))

/* One element. */
static void string_once(struct machine *m, enum string what, unsigned size)
{
	uint64_t step = m->df ? -(uint64_t)size : size, a = 0;
	bool reads_source = what == MOVS || what == LODS || what == CMPS;

	if (reads_source)
		a = machine_load(m, m->gpr[6], size);
	else
		a = machine_mask(m->gpr[0], 8 * size);
	if (what == MOVS || what == STOS) {
		machine_store(m, m->gpr[7], a, size);
	} else if (what == LODS) {
		m->gpr[0] = size < 4 ? (m->gpr[0] & ~machine_mask(UINT64_MAX, 8 * size)) | a : a;
	} else {
		uint64_t b = machine_load(m, m->gpr[7], size);

		set_result_flags(m, subtract(m, a, b, false, 8 * size), 8 * size);
	}
	if (reads_source)
		m->gpr[6] = machine_mask(m->gpr[6] + step, 8 * machine_word(m));
	if (what != LODS)
		m->gpr[7] = machine_mask(m->gpr[7] + step, 8 * machine_word(m));
}

static void do_string(struct machine *m, const struct x86_insn *in, unsigned arg)
{
	bool repeats = in->i.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE);
	bool until_equal = in->i.attributes & ZYDIS_ATTRIB_HAS_REPNE;
	enum string what = (enum string)(arg >> 8);

	if (!repeats) {
		string_once(m, what, arg & 0xff);
		return;
	}
	while (m->gpr[1] && !m->bad) {
		string_once(m, what, arg & 0xff);
		m->gpr[1]--;
		m->bad |= ++m->steps > MACHINE_STEPS_MAX;
		if ((what == SCAS || what == CMPS) && m->zf == until_equal)
			break;
	}
}

/* Two instructions have the name of a string's and are none. */
static void do_string_32(struct machine *m, const struct x86_insn *in, unsigned arg)
{
	if (in->i.meta.category == ZYDIS_CATEGORY_STRINGOP)
		do_string(m, in, arg);
	else if (in->i.mnemonic == M(MOVSD))
		machine_move_scalar(m, in, 8);
	else
		m->bad = true;
}

const struct machine_op machine_int_ops[] = {
	{M(ADD), do_alu, ADD},
	{M(ADC), do_alu, ADC},
	{M(SUB), do_alu, SUB},
	{M(SBB), do_alu, SBB},
	{M(CMP), do_alu, CMP},
	{M(AND), do_alu, AND},
	{M(TEST), do_alu, TEST},
	{M(OR), do_alu, OR},
	{M(XOR), do_alu, XOR},
	{M(INC), do_unary, INC},
	{M(DEC), do_unary, DEC},
	{M(NEG), do_unary, NEG},
	{M(NOT), do_unary, NOT},
	{M(BSWAP), do_unary, BSWAP},
	{M(SHL), do_shift, SHL},
	{M(SHR), do_shift, SHR},
	{M(SAR), do_shift, SAR},
	{M(ROL), do_shift, ROL},
	{M(ROR), do_shift, ROR},
	{M(SHLX), do_shift_plain, SHL},
	{M(SHRX), do_shift_plain, SHR},
	{M(SARX), do_shift_plain, SAR},
	{M(RORX), do_shift_plain, ROR},
	{M(SHLD), do_shift_double, SHL},
	{M(SHRD), do_shift_double, SHR},
	{M(BSF), do_find, BSF},
	{M(BSR), do_find, BSR},
	{M(TZCNT), do_find, TZCNT},
	{M(LZCNT), do_find, LZCNT},
	{M(POPCNT), do_find, POPCNT},
	{M(ANDN), do_bmi, ANDN},
	{M(BLSR), do_bmi, BLSR},
	{M(BLSMSK), do_bmi, BLSMSK},
	{M(BLSI), do_bmi, BLSI},
	{M(BZHI), do_bmi, BZHI},
	{M(BT), do_bit, BT},
	{M(BTS), do_bit, BTS},
	{M(BTR), do_bit, BTR},
	{M(BTC), do_bit, BTC},
	{M(MOV), do_mov, 0},
	{M(MOVZX), do_mov, 0},
	{M(MOVSX), do_movsx, 0},
	{M(MOVSXD), do_movsx, 0},
	{M(MOVNTI), do_mov, 0},
	{M(LEA), do_lea, 0},
	{M(XCHG), do_xchg, 0},
	{M(XADD), do_xchg, 1},
	{M(CMPXCHG), do_cmpxchg, 0},
	{M(CBW), do_widen, 16},
	{M(CWDE), do_widen, 32},
	{M(CDQE), do_widen, 64},
	{M(CWD), do_spread, 16},
	{M(CDQ), do_spread, 32},
	{M(CQO), do_spread, 64},
	{M(IMUL), do_imul, 0},
	{M(MUL), do_mul, 0},
	{M(DIV), do_mul, 1},
	{M(IDIV), do_idiv, 0},
	{M(PUSH), do_push, 0},
	{M(POP), do_pop, 0},
	{M(LEAVE), do_leave, 0},
	{M(CALL), do_jump, 1},
	{M(JMP), do_jump, 0},
	{M(RET), do_ret, 0},
	{M(JRCXZ), do_count_jump, 0},
	{M(JECXZ), do_count_jump, 0},
	{M(LOOP), do_count_jump, 1},
	{M(SYSCALL), do_kernel, 0},
	{M(SYSENTER), do_kernel, 0},
	{M(INT), do_kernel, 0},
	{M(ENDBR64), do_nothing, 0},
	{M(ENDBR32), do_nothing, 0},
	{M(PAUSE), do_nothing, 0},
	{M(SFENCE), do_nothing, 0},
	{M(CLD), do_direction, 0},
	{M(STD), do_direction, 1},
	{M(MOVSB), do_string, STRING(MOVS, 1)},
	{M(MOVSW), do_string, STRING(MOVS, 2)},
	{M(MOVSD), do_string_32, STRING(MOVS, 4)},
	{M(MOVSQ), do_string, STRING(MOVS, 8)},
	{M(STOSB), do_string, STRING(STOS, 1)},
	{M(STOSW), do_string, STRING(STOS, 2)},
	{M(STOSD), do_string, STRING(STOS, 4)},
	{M(STOSQ), do_string, STRING(STOS, 8)},
	{M(LODSB), do_string, STRING(LODS, 1)},
	{M(LODSD), do_string, STRING(LODS, 4)},
	{M(SCASB), do_string, STRING(SCAS, 1)},
	{M(CMPSB), do_string, STRING(CMPS, 1)},
};
const unsigned machine_n_int_ops = sizeof(machine_int_ops) / sizeof(machine_int_ops[0]);
