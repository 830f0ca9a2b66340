/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A table of groups: by name of the instruction, by category, by extension. */
#include "groups.h"

#include <string.h>

#define LOCKED 1u
#define AREA 2u

struct group {
	const char *name;
	const char *mnemonics, *categories, *extensions; /* words; NULL: any */
	unsigned special;
	unsigned leaf, subleaf, reg, bit; /* CPUID; leaf 0: every processor has it */
};

#define ECX 2u
#define EDX 3u
#define EBX 1u
#define EAX 0u

static const struct group groups[] = {
	{"cmpxchg16b", "cmpxchg16b cmpxchg8b", NULL, NULL, 0, 1, 0, ECX, 13},
	{"lock forms", NULL, NULL, "BASE LONGMODE", LOCKED, 0, 0, 0, 0},
	{"xchg, cmpxchg, xadd", "xchg cmpxchg xadd", NULL, NULL, 0, 0, 0, 0, 0},
	{"string", NULL, "STRINGOP", NULL, 0, 0, 0, 0, 0},
	{"cmov", NULL, "CMOV", "BASE", 0, 1, 0, EDX, 15},
	{"setcc", NULL, "SETCC", NULL, 0, 0, 0, 0, 0},
	{"crc32", "crc32", NULL, NULL, 0, 1, 0, ECX, 20},
	{"fxsave", "fxsave fxsave64 fxrstor fxrstor64", NULL, NULL, AREA, 1, 0, EDX, 24},
	{"xsave", "xsave xsave64 xrstor xrstor64", NULL, NULL, AREA, 1, 0, ECX, 27},
	{"xsaveopt", "xsaveopt xsaveopt64", NULL, NULL, AREA, 0xd, 1, EAX, 0},
	{"xsavec", "xsavec xsavec64", NULL, NULL, AREA, 0xd, 1, EAX, 1},
	{"x87 environment", "fnsave frstor fnstenv fldenv", NULL, NULL, AREA, 1, 0, EDX, 0},
	{"x87 load, store", "fld fst fstp fild fist fistp fisttp fbld fbstp fxch fnstsw fnstcw", NULL, "X87", 0, 1, 0,
	 EDX, 0},
	{"x87", NULL, NULL, "X87", 0, 1, 0, EDX, 0},
	{"mmx", NULL, NULL, "MMX", 0, 1, 0, EDX, 23},
	{"sse4.2", "pcmpestri pcmpestrm pcmpistri pcmpistrm pcmpgtq", NULL, NULL, 0, 1, 0, ECX, 20},
	{"popcnt", "popcnt", NULL, NULL, 0, 1, 0, ECX, 23},
	{"sse", NULL, NULL, "SSE", 0, 1, 0, EDX, 25},
	{"sse2", NULL, NULL, "SSE2", 0, 1, 0, EDX, 26},
	{"sse3", NULL, NULL, "SSE3", 0, 1, 0, ECX, 0},
	{"ssse3", NULL, NULL, "SSSE3", 0, 1, 0, ECX, 9},
	{"sse4.1", NULL, NULL, "SSE4", 0, 1, 0, ECX, 19},
	{"aes", NULL, NULL, "AES AVXAES", 0, 1, 0, ECX, 25},
	{"vaes", NULL, NULL, "VAES", 0, 7, 0, ECX, 9},
	{"pclmulqdq", "pclmulqdq vpclmulqdq", NULL, "PCLMULQDQ AVX", 0, 1, 0, ECX, 1},
	{"vpclmulqdq", NULL, NULL, "VPCLMULQDQ", 0, 7, 0, ECX, 10},
	{"sha", NULL, NULL, "SHA", 0, 7, 0, EBX, 29},
	{"avx", NULL, NULL, "AVX", 0, 1, 0, ECX, 28},
	{"gather", NULL, NULL, "AVX2GATHER", 0, 7, 0, EBX, 5},
	{"avx2", NULL, NULL, "AVX2", 0, 7, 0, EBX, 5},
	{"avx-vnni", NULL, NULL, "AVX_VNNI", 0, 7, 1, EAX, 4},
	{"fma", NULL, NULL, "FMA", 0, 1, 0, ECX, 12},
	{"f16c", NULL, NULL, "F16C", 0, 1, 0, ECX, 29},
	{"bmi1", NULL, NULL, "BMI1", 0, 7, 0, EBX, 3},
	{"bmi2", NULL, NULL, "BMI2", 0, 7, 0, EBX, 8},
	{"lzcnt", NULL, NULL, "LZCNT", 0, 0x80000001, 0, ECX, 5},
	{"adx", NULL, NULL, "ADOX_ADCX", 0, 7, 0, EBX, 19},
	{"movbe", NULL, NULL, "MOVBE", 0, 1, 0, ECX, 22},
	{"movdiri", NULL, NULL, "MOVDIR", 0, 7, 0, ECX, 27},
	{"gfni", NULL, NULL, "GFNI AVX_GFNI", 0, 7, 0, ECX, 8},
	{"sse4a", NULL, NULL, "SSE4A", 0, 0x80000001, 0, ECX, 6},
	{"3dnow", NULL, NULL, "AMD3DNOW", 0, 0x80000001, 0, EDX, 31},
	{"general", NULL, NULL, "BASE LONGMODE", 0, 0, 0, 0, 0},
};

static_assert(sizeof(groups) / sizeof(groups[0]) <= GROUPS_MAX, "counters have room");

/* Control flow, and what reaches outside of the image. */
static const char categories_not[] = "CALL RET COND_BR UNCOND_BR INTERRUPT SYSCALL SYSRET SYSTEM IO IOSTRINGOP SEGOP"
				     " RDWRFSGS PREFETCH PREFETCHWT1 CLDEMOTE";
/* They change how the processor works, look at what is outside the image, or are random. */
static const char names_not[] =
	"popf popfd popfq std sti cli rdtsc rdtscp rdpmc rdrand rdseed cpuid xgetbv rdpid ldmxcsr"
	" vldmxcsr stmxcsr vstmxcsr fldcw ud0 ud1 ud2 lar lsl verr verw sgdt sidt sldt smsw str"
	" clzero hlt monitor mwait xsaves xsaves64 xrstors xrstors64";

static bool wanted(const char *words, const char *s)
{
	return !words || in_words(words, s);
}

static bool fits(const struct group *g, const struct trial *t)
{
	bool locked = t->zi.attributes & ZYDIS_ATTRIB_HAS_LOCK;

	return wanted(g->mnemonics, t->name) && wanted(g->categories, ZydisCategoryGetString(t->zi.meta.category)) &&
	       wanted(g->extensions, ZydisISAExtGetString(t->zi.meta.isa_ext)) && (g->special != LOCKED || locked) &&
	       (g->special == AREA) == (t->insn.area != TAINT_AREA_NONE);
}

unsigned group_of(const struct trial *t)
{
	if (in_words(categories_not, ZydisCategoryGetString(t->zi.meta.category)) || in_words(names_not, t->name))
		return GROUP_NONE;
	for (unsigned i = 0; i < group_count(); i++)
		if (fits(&groups[i], t))
			return i;
	return GROUP_NONE;
}

unsigned group_count(void)
{
	return sizeof(groups) / sizeof(groups[0]);
}

const char *group_name(unsigned group)
{
	return groups[group].name;
}

bool group_here(unsigned group)
{
	static uint8_t known[GROUPS_MAX]; /* 0: not asked yet, 1: no, 2: yes; CPUID is slow in a virtual machine */
	const struct group *g = &groups[group];

	if (!known[group])
		known[group] = !g->leaf || cpu_has(g->leaf, g->subleaf, g->reg, g->bit) ? 2 : 1;
	return known[group] == 2;
}

/* Exact in all forms. */
static const char exact_names[] =
	"mov movzx movsx movsxd movbe bswap xchg push pop cbw cwde cdqe cwd cdq cqo rorx movsb movsw movsq stosb stosw"
	" stosd stosq lodsb lodsw lodsd lodsq not movd movq movaps movapd movups movupd movdqa movdqu lddqu movntdq"
	" movntdqa movntpd movntps movntq movnti movq2dq movdq2q movdiri movss movsd movlps movlpd movhps movhpd "
	"movhlps"
	" movlhps movddup movsldup movshdup pshufd pshuflw pshufhw pshufw shufps shufpd punpcklbw punpckhbw punpcklwd"
	" punpckhwd punpckldq punpckhdq punpcklqdq punpckhqdq unpcklps unpckhps unpcklpd unpckhpd palignr pslldq psrldq"
	" pblendw blendps blendpd insertps pinsrb pinsrw pinsrd pinsrq pextrb pextrw pextrd pextrq extractps pmovzxbw"
	" pmovsxbw pmovzxbd pmovsxbd pmovzxbq pmovsxbq pmovzxwd pmovsxwd pmovzxwq pmovsxwq pmovzxdq pmovsxdq pblendd"
	" broadcastss broadcastsd broadcastf128 broadcasti128 pbroadcastb pbroadcastw pbroadcastd pbroadcastq "
	"insertf128"
	" inserti128 extractf128 extracti128 perm2f128 perm2i128 zeroupper zeroall";
/* Exact where the last operand is an immediate. */
static const char exact_by_constant[] = "and or shl shr sar rol ror shld shrd psllw pslld psllq psrlw psrld psrlq psraw"
					" psrad permq permpd permilps permilpd";
/* Exact where both sources are the same register: the result is a constant. */
static const char exact_same[] = "xor sub pxor xorps xorpd psubb psubw psubd psubq pcmpeqb pcmpeqw pcmpeqd pcmpeqq"
				 " pcmpgtb pcmpgtw pcmpgtd pcmpgtq pandn andnps andnpd";

/* Where the processor may do what it likes, so that nothing can be said. */
static bool is_undefined(const struct trial *t)
{
	if (t->zi.mnemonic == ZYDIS_MNEMONIC_BSWAP && t->ops[0].size == 16)
		return true;
	return starts(t->name, "sh") && t->name[3] == 'd' && t->ops[0].size == 16 && (t->ops[2].imm.value.u & 31u) > 16;
}

bool group_exact(const struct trial *t)
{
	unsigned n = t->zi.operand_count_visible;
	const char *name = t->name;

	if (t->zi.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX && name[0] == 'v' && !starts(name, "verr"))
		name++;
	if (is_undefined(t))
		return false;
	if (in_words(exact_names, name))
		return true;
	if (n < 2)
		return false;
	if (in_words(exact_by_constant, name))
		return t->ops[n - 1].type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
	return in_words(exact_same, name) && t->ops[n - 1].type == ZYDIS_OPERAND_TYPE_REGISTER &&
	       t->ops[n - 2].type == ZYDIS_OPERAND_TYPE_REGISTER && t->ops[n - 1].reg.value == t->ops[n - 2].reg.value;
}
