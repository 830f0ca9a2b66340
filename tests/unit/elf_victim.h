/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A vulnerable program that is compiled in several ways, and patches for it that are made by hand: its two copy loops are
 * assembly, so that where they are and what they consist of is known in each build.
 */
#ifndef CLOUDER_TESTS_ELF_VICTIM_H
#define CLOUDER_TESTS_ELF_VICTIM_H

#include <elf.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "patch/emit.h"
#include "patch_record.h"

#define VICTIM_SITES 2u
#define VICTIM_BUFFER 16 /* bytes that a copy loop may write */
#define VICTIM_SITE_LEN 5u
#define VICTIM_FAR 0x20000000ull /* from the program to where a process could have had a guard */

/* What the copy loops of both modes look like; rcx counts, rdi is the destination. */
static const char victim_source[] =
	"#include <stdio.h>\n"
	"#define LOOP(name, number) __asm__(\".text\\n.globl \" name \"\\n.type \" name \", @function\\n\" name "
	"\":\\n\" BEGIN \\\n"
	"	\"xor %ecx, %ecx\\n1: mov (\" SRC \", \" CNT \"), %al\\ntest %al, %al\\nje 2f\\njmp 3f\\n.ascii "
	"\\\"site-\" number \\\n"
	"	\"-is-here:\\\"\\n3: .byte 0x88, 0x04, 0x0f\\n\" NEXT \"jmp 1b\\n2: \" END \"ret\\n.ascii \\\"note-\" "
	"number \\\n"
	"	\"-is-here:\\\"\\ncmp %ecx, %ecx\\nret\\n.ascii \\\"room-\" number \"-is-here:\\\"\\n.long 15\\n\");\n"
	"#ifdef __x86_64__\n"
	"#define BEGIN \"\"\n#define END \"\"\n#define SRC \"%rsi\"\n#define CNT \"%rcx\"\n"
	"#define NEXT \".byte 0xff, 0xc1\\n\"\n"
	"#else\n"
	"#define BEGIN \"push %esi\\npush %edi\\nmov 12(%esp), %edi\\nmov 16(%esp), %esi\\n\"\n"
	"#define END \"pop %edi\\npop %esi\\n\"\n#define SRC \"%esi\"\n#define CNT \"%ecx\"\n"
	"#define NEXT \".byte 0x41, 0x90\\n\"\n"
	"#endif\n"
	"LOOP(\"copy_one\", \"1\")\nLOOP(\"copy_two\", \"2\")\n"
	"void copy_one(char *dst, const char *src), copy_two(char *dst, const char *src);\n"
	"static char zeros[70000];\nstatic __thread int counter = 3;\n"
	"int main(int argc, char **argv) {\n"
	"	struct { char one[16]; volatile unsigned guard; char two[16]; volatile unsigned end; } s = {\"\", "
	"0x11111111, \"\", 0x22222222};\n"
	"	copy_one(s.one, argv[1]);\n"
	"	copy_two(s.two, argv[2]);\n"
	"	printf(\"%.15s %.15s %d %d %s %s\\n\", s.one, s.two, counter, zeros[argc * 1000],\n"
	"		s.guard == 0x11111111 ? \"whole\" : \"BROKEN\", s.end == 0x22222222 ? \"whole\" : "
	"\"BROKEN\");\n"
	"	return 0;\n"
	"}\n";

static char victim_dir[64];

static inline int victim_set_up(void **state)
{
	char path[96];
	FILE *f;

	(void)state;
	strcpy(victim_dir, "/tmp/clouder-test-XXXXXX");
	if (!mkdtemp(victim_dir))
		return -1;
	snprintf(path, sizeof(path), "%s/victim.c", victim_dir);
	f = fopen(path, "w");
	if (!f || fputs(victim_source, f) < 0)
		return -1;
	return fclose(f);
}

static inline int victim_tear_down(void **state)
{
	char command[96];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", victim_dir);
	return system(command);
}

/* Runs a shell command in the directory; its output, messages too, is a static string. Returns its exit status. */
static char victim_said[1 << 20];

static inline __attribute__((format(printf, 1, 2))) int victim_run(const char *fmt, ...)
{
	char command[1024];
	size_t n = (size_t)snprintf(command, sizeof(command), "cd %s && { ", victim_dir);
	va_list ap;
	FILE *p;

	va_start(ap, fmt);
	n += (size_t)vsnprintf(command + n, sizeof(command) - n, fmt, ap);
	va_end(ap);
	assert_true(n + 9 < sizeof(command));
	strcat(command, "; } 2>&1");
	p = popen(command, "r");
	assert_non_null(p);
	n = fread(victim_said, 1, sizeof(victim_said) - 1, p);
	victim_said[n] = 0;
	return pclose(p);
}

static inline void victim_build(const char *flags, const char *name)
{
	if (victim_run("gcc -Wl,--build-id %s victim.c -o %s", flags, name) != 0)
		fail_msg("gcc %s: %s", flags, victim_said);
}

/* A file of the directory, in a buffer of its own. */
static inline uint8_t *victim_read(const char *name, size_t *ret_len)
{
	char path[128];
	uint8_t *byte;
	FILE *f;
	long n;

	snprintf(path, sizeof(path), "%s/%s", victim_dir, name);
	f = fopen(path, "r");
	assert_non_null(f);
	fseek(f, 0, SEEK_END);
	n = ftell(f);
	rewind(f);
	byte = malloc((size_t)n);
	assert_non_null(byte);
	assert_int_equal(fread(byte, 1, (size_t)n, f), n);
	fclose(f);
	*ret_len = (size_t)n;
	return byte;
}

static inline void victim_write(const char *name, const uint8_t *byte, size_t len)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", victim_dir, name);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(byte, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(victim_run("chmod 755 %s", name), 0);
}

/* Where things are in a build. Offsets are in the file. */
struct victim {
	uint8_t *byte;
	size_t len;
	bool is_32bit;
	Elf64_Phdr code; /* the segment */
	uint64_t site[VICTIM_SITES], note[VICTIM_SITES], room[VICTIM_SITES];
	struct field_bytes build_id;
};

static inline Elf64_Phdr victim_header(const uint8_t *byte, unsigned k)
{
	const Elf64_Ehdr *h64 = (const void *)byte;
	const Elf32_Ehdr *h32 = (const void *)byte;
	Elf64_Phdr p = {0};

	if (byte[EI_CLASS] == ELFCLASS64 && k < h64->e_phnum)
		memcpy(&p, byte + h64->e_phoff + k * sizeof(p), sizeof(p));
	if (byte[EI_CLASS] == ELFCLASS32 && k < h32->e_phnum) {
		Elf32_Phdr n;

		memcpy(&n, byte + h32->e_phoff + k * sizeof(n), sizeof(n));
		p = (Elf64_Phdr){n.p_type,  n.p_flags,	n.p_offset, n.p_vaddr,
				 n.p_paddr, n.p_filesz, n.p_memsz,  n.p_align};
	}
	return p;
}

static inline uint64_t victim_find(const struct victim *v, const char *what, unsigned site)
{
	char mark[32];
	const uint8_t *at;

	snprintf(mark, sizeof(mark), "%s-%u-is-here:", what, site + 1);
	at = memmem(v->byte, v->len, mark, strlen(mark));
	assert_non_null(at);
	return (uint64_t)(at - v->byte) + strlen(mark);
}

static inline struct victim victim_open(const char *name)
{
	struct victim v = {.byte = NULL};
	char *id;

	v.byte = victim_read(name, &v.len);
	v.is_32bit = v.byte[EI_CLASS] == ELFCLASS32;
	for (unsigned k = 0; k < VICTIM_SITES; k++) {
		v.site[k] = victim_find(&v, "site", k);
		v.note[k] = victim_find(&v, "note", k);
		v.room[k] = victim_find(&v, "room", k);
	}
	for (unsigned k = 0; k < 64 && !v.code.p_filesz; k++) {
		Elf64_Phdr p = victim_header(v.byte, k);

		if (p.p_type == PT_LOAD && p.p_offset <= v.site[0] && v.site[0] - p.p_offset < p.p_filesz)
			v.code = p;
	}
	assert_true(v.code.p_flags & PF_X);
	assert_int_equal(victim_run("readelf -nW %s", name), 0);
	id = strstr(victim_said, "Build ID: ");
	assert_non_null(id);
	for (id += strlen("Build ID: "); *id != '\n' && sscanf(id, "%2hhx", &v.build_id.byte[v.build_id.len]) == 1;
	     id += 2)
		v.build_id.len++;
	return v;
}

static inline uint64_t victim_address(const struct victim *v, uint64_t offset)
{
	return offset - v->code.p_offset + v->code.p_vaddr;
}

/* The first place for a guard behind the code. */
static inline uint64_t victim_cave(const struct victim *v)
{
	return (v->code.p_offset + v->code.p_filesz + 15) & ~15ull;
}

/* What a guard is to do. */
struct victim_guard {
	unsigned site, limit; /* bytes that may be written */
	bool reads; /* the limit is the program's own word */
	bool has_data; /* or one behind the guard */
	bool calls; /* something in the program */
	bool is_called; /* the site is a call, which ends where the loop's jump back does (64-bit code) */
	uint64_t next; /* address of the earlier guard, which goes on; 0: none */
	uint64_t routine; /* address of code that writes; 0: the guard does */
};

static inline void victim_emit_once(struct emitter *em, const struct victim *v, const struct victim_guard *g,
				    uint64_t data)
{
	uint64_t site = v->site[g->site];
	uint32_t skip;

	if (g->is_called)
		emit_lea(em, 4, EMIT_MEM(4, 8));
	if (g->reads || g->has_data) {
		emit_r(em, ZYDIS_MNEMONIC_PUSH, 2);
		emit_address(em, 2, g->reads ? victim_address(v, v->room[g->site]) : data);
		emit_rm(em, ZYDIS_MNEMONIC_CMP, 1 | EMIT_LOW32, EMIT_MEM(2, 0));
		emit_r(em, ZYDIS_MNEMONIC_POP, 2);
	} else {
		emit_ri(em, ZYDIS_MNEMONIC_CMP, 1 | EMIT_LOW32, (int32_t)g->limit);
	}
	skip = emit_forward(em, ZYDIS_MNEMONIC_JNB);
	if (g->calls)
		emit_call(em, victim_address(v, v->note[g->site]));
	if (g->next)
		emit_jump(em, g->next);
	else if (g->routine)
		emit_jump(em, g->routine);
	else
		emit_bytes(em, v->byte + site, 3);
	emit_here(em, skip);
	emit_bytes(em, v->byte + site + 3, v->is_32bit ? 1 : 2);
	site += VICTIM_SITE_LEN;
	if (g->is_called)
		site += 2 + (uint64_t)(int8_t)v->byte[site + 1];
	emit_jump(em, victim_address(v, site));
	if (g->has_data)
		emit_data(em, &g->limit, sizeof(g->limit));
}

static inline struct field_bytes victim_bytes(const void *p, size_t len)
{
	struct field_bytes b = {.len = (uint8_t)len};

	memcpy(b.byte, p, len);
	return b;
}

static inline struct field_bytes victim_emit(const struct victim *v, const struct victim_guard *g, uint64_t at)
{
	struct emitter em;
	uint64_t data = at;
	struct err e;

	for (int round = 0; round < 2; round++) {
		emit_init(&em, at);
		em.is_32bit = v->is_32bit;
		victim_emit_once(&em, v, g, data);
		data = at + em.data;
	}
	emit_end(&em);
	if (emit_check(&em, &e) < 0)
		fail_msg("%s", e.text);
	return victim_bytes(em.buf, em.len);
}

/* A patch whose guard is at this address, in terms of the file's. */
static inline struct patch_record victim_patch(const struct victim *v, const struct victim_guard *g, const char *home,
					       uint64_t at)
{
	size_t len = g->is_called ? VICTIM_SITE_LEN + 2 : VICTIM_SITE_LEN;
	struct patch_record r = sample_record();
	struct emitter em;
	struct err e;

	r.bits = v->is_32bit ? 32 : 64;
	snprintf(r.home, sizeof(r.home), "%s", home);
	r.build_id = v->build_id;
	r.site_offset = r.culprit_offset = v->site[g->site];
	r.culprit_len = 3;
	r.culprit_at = 0;
	r.before = r.original = victim_bytes(v->byte + r.site_offset, len);
	r.guard_offset = at - v->code.p_vaddr + v->code.p_offset;
	r.guard = victim_emit(v, g, at);
	emit_init(&em, victim_address(v, r.site_offset));
	em.is_32bit = v->is_32bit;
	while (em.len < len - VICTIM_SITE_LEN)
		emit_bytes(&em, (const uint8_t[]){0x90}, 1);
	if (g->is_called)
		emit_call(&em, at);
	else
		emit_jump(&em, at);
	r.after = victim_bytes(em.buf, em.len);
	if (patch_record_check(&r, &e) < 0)
		fail_msg("%s", e.text);
	return r;
}

/* Runs it with two words; both objects must be as said. */
static inline void victim_expect(const char *name, const char *one, const char *two, const char *wanted)
{
	char line[128];

	snprintf(line, sizeof(line), "%s\n", wanted);
	if (victim_run("./%s %s %s", name, one, two) != 0 || strcmp(victim_said, line) != 0)
		fail_msg("%s %s %s: wanted \"%s\", got \"%s\"", name, one, two, wanted, victim_said);
}

#endif
