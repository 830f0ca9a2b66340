/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Encodings are not listed: every opcode of every map is tried with every
 * mandatory prefix and every opcode extension, the rest at random, and what the
 * decoder says decides which form it is.
 */
#include "corpus.h"

#include <string.h>

#define PASSES 16u
#define MAPS 7u /* four without VEX, three with */
#define VEX_MAPS_AT 4u
#define MAP_0F38 2u

/* What is fixed of an encoding. */
struct stratum {
	unsigned map, opcode, prefix, reg, rm;
	bool mem;
};

static unsigned put_vex(uint8_t *p, const struct stratum *s)
{
	p[0] = 0xc4;
	p[1] = (uint8_t)((next_random() & 0xe0u) | (s->map - VEX_MAPS_AT + 1));
	p[2] = (uint8_t)((below(2) << 7) | (below(2) ? below(16) << 3 : 0x78u) | (below(2) << 2) | s->prefix);
	return 3;
}

static unsigned put_legacy(uint8_t *p, const struct stratum *s)
{
	static const char *const escapes[] = {"", "\x0f", "\x0f\x38", "\x0f\x3a"};
	static const uint8_t prefixes[] = {0, 0x66, 0xf3, 0xf2};
	unsigned n = 0;

	if (s->mem && !below(6))
		p[n++] = 0xf0;
	if (s->mem && !below(12))
		p[n++] = 0x67;
	if (s->prefix > 1 && !below(6))
		p[n++] = 0x66;
	if (s->prefix)
		p[n++] = prefixes[s->prefix];
	if (below(2))
		p[n++] = (uint8_t)(0x40u | (next_random() & 0xfu));
	memcpy(p + n, escapes[s->map], strlen(escapes[s->map]));
	return n + (unsigned)strlen(escapes[s->map]);
}

static bool is_gather_opcode(const struct stratum *s)
{
	return s->map == VEX_MAPS_AT + MAP_0F38 - 1 && s->opcode >= 0x90 && s->opcode <= 0x93;
}

/* Memory operands have a base register, at times an index, and a small displacement. */
static unsigned put_modrm(uint8_t *p, const struct stratum *s)
{
	unsigned modrm = s->reg << 3 | (is_gather_opcode(s) ? 4 : s->rm), n = 0;

	if (!s->mem) {
		p[0] = (uint8_t)(modrm | 0xc0u);
		return 1;
	}
	p[n++] = (uint8_t)(modrm | 0x40u);
	if ((modrm & 7u) == 4)
		p[n++] = (uint8_t)next_random();
	p[n++] = (uint8_t)(below(3) * 16);
	return n;
}

static void put_code(uint8_t *p, const struct stratum *s)
{
	unsigned n = s->map < VEX_MAPS_AT ? put_legacy(p, s) : put_vex(p, s);

	p[n++] = (uint8_t)s->opcode;
	n += put_modrm(p + n, s);
	while (n < 16)
		p[n++] = (uint8_t)(below(3) ? next_random() : below(4));
}

static uint64_t mix(uint64_t h, uint64_t v)
{
	h = (h ^ v) * 0xbf58476d1ce4e5b9ull;
	return h ^ (h >> 31);
}

static uint64_t operand_key(const ZydisDecodedOperand *op)
{
	uint64_t key = (uint64_t)op->type << 32 | (uint64_t)op->size << 8;

	if (op->type == ZYDIS_OPERAND_TYPE_REGISTER)
		key |= (uint64_t)ZydisRegisterGetClass(op->reg.value);
	if (op->type == ZYDIS_OPERAND_TYPE_MEMORY)
		key |= op->mem.index != ZYDIS_REGISTER_NONE;
	return key;
}

static bool same_register(const ZydisDecodedOperand *a, const ZydisDecodedOperand *b)
{
	return a->type == ZYDIS_OPERAND_TYPE_REGISTER && b->type == ZYDIS_OPERAND_TYPE_REGISTER &&
	       a->reg.value == b->reg.value;
}

static uint64_t form_key(const struct trial *t)
{
	uint64_t prefixes = t->zi.attributes & (ZYDIS_ATTRIB_HAS_LOCK | ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE |
						ZYDIS_ATTRIB_HAS_REPNE);
	unsigned n = t->zi.operand_count_visible;
	uint64_t key = mix(prefixes, (uint64_t)t->zi.mnemonic << 8 | t->zi.encoding);

	for (unsigned i = 0; i < n; i++)
		key = mix(key, operand_key(&t->ops[i]));
	if (n >= 2)
		key = mix(key, same_register(&t->ops[n - 1], &t->ops[n - 2]));
	return key ? key : 1;
}

/* Keeps ENCODINGS_EACH of a form, each as likely as any other. */
static bool add_form(struct form *forms, const struct trial *t)
{
	uint64_t key = form_key(t);
	unsigned at = (unsigned)(key % FORMS_MAX), slot;
	bool fresh;

	while (forms[at].key && forms[at].key != key)
		at = (at + 1) % FORMS_MAX;
	fresh = !forms[at].key;
	forms[at].key = key;
	slot = forms[at].seen < ENCODINGS_EACH ? forms[at].seen : below(forms[at].seen + 1);
	forms[at].seen++;
	if (slot < ENCODINGS_EACH)
		memcpy(forms[at].code[slot], t->code, 16);
	return fresh;
}

unsigned corpus_make(struct form *ret)
{
	static struct trial t;
	unsigned forms = 0;
	uint8_t code[16];

	memset(ret, 0, FORMS_MAX * sizeof(*ret));
	for (unsigned i = 0; i < PASSES * MAPS * 256u * 4u * 8u * 2u && forms < FORMS_MAX / 2; i++) {
		struct stratum s = {.mem = i & 1u, .reg = i >> 1 & 7u, .prefix = i >> 4 & 3u, .opcode = i >> 6 & 0xffu};

		s.map = (i >> 14) % MAPS;
		s.rm = (i >> 14) / MAPS % 8u;
		put_code(code, &s);
		if (trial_decode(code, &t))
			forms += add_form(ret, &t);
	}
	return forms;
}
