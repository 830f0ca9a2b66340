/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Patched copies of programs: they run, are not hurt by what hurts the program, and other tools find nothing wrong with them. */
#include "elf_victim.h"

#include "patch/elf_copy.h"
#include "patch/guard_move.h"

#define LONG "AAAAAAAAAAAAAAAAAAAA" /* 20 bytes for an object of 16 */
#define SHORT "AAAAAAAAAAAAAAA" /* what is shown of it */
#define PATCHES 3

static const char *const builds[] = {
	"-O0 -no-pie -fno-pie",
	"-O2 -pie -fpie",
	"-O2 -pie -fpie -fcf-protection -Wl,-z,relro,-z,now",
	"-O0 -static",
	"-O2 -static-pie -fpie",
	"-O2 -Wl,-z,noseparate-code",
	"-O2 -static -Wl,-z,noseparate-code",
	"-O2 -s",
	"-O2 -static -s",
	"-O0 -m32 -no-pie -fno-pie",
	"-O2 -m32 -pie -fpie",
	"-O2 -m32 -static",
	"-O2 -m32 -s -Wl,-z,noseparate-code",
};

#define N_BUILDS (sizeof(builds) / sizeof(builds[0]))

/* Makes "copy" with n patches in it; fails where one does not go in. */
static void make_copy(const struct victim *v, const struct patch_record *r, size_t n)
{
	struct err why[PATCHES], e;
	struct elf_copy *c;
	bool in[PATCHES];
	uint8_t *byte;
	size_t len;

	assert_true(n <= PATCHES);
	if (elf_copy_create(v->byte, v->len, &c, &e) < 0)
		fail_msg("%s", e.text);
	elf_copy_patches(c, r, n, in, why);
	for (size_t k = 0; k < n; k++)
		if (!in[k])
			fail_msg("patch %zu: %s", k, why[k].text);
	if (elf_copy_write(c, &byte, &len, &e) < 0)
		fail_msg("%s", e.text);
	elf_copy_destroy(c);
	victim_write("copy", byte, len);
	free(byte);
}

/* Other tools have no word to say about it, and strip leaves it as good as it is. */
static void check_tools(const char *section)
{
	assert_int_equal(victim_run("readelf -aW copy"), 0);
	assert_null(strstr(victim_said, "Error"));
	assert_null(strstr(victim_said, "Warning"));
	assert_int_equal(victim_run("objdump -d copy >disassembly"), 0);
	assert_string_equal(victim_said, "");
	if (section) {
		assert_int_equal(victim_run("objdump -d -j %s copy", section), 0);
		assert_null(strstr(victim_said, "(bad)"));
		assert_non_null(strstr(victim_said, "jmp"));
	}
	assert_int_equal(victim_run("ldd copy || ldd victim 2>&1 | grep -q 'not a dynamic'"), 0);
	assert_int_equal(victim_run("strip copy -o stripped"), 0);
	assert_string_equal(victim_said, "");
	assert_int_equal(victim_run("readelf -aW stripped"), 0);
	assert_null(strstr(victim_said, "Error"));
	assert_null(strstr(victim_said, "Warning"));
}

/* Both objects hold: the second has no patch where `only_one`. */
static void check_runs(bool only_one)
{
	static const char *const names[] = {"copy", "stripped"};

	victim_expect("victim", "one", "two", "one two 3 0 whole whole");
	victim_expect("victim", LONG, "two", SHORT " two 3 0 BROKEN whole");
	for (int k = 0; k < 2; k++) {
		victim_expect(names[k], "one", "two", "one two 3 0 whole whole");
		victim_expect(names[k], "123456789012345", "x", "123456789012345 x 3 0 whole whole");
		victim_expect(names[k], LONG, "two", SHORT " two 3 0 whole whole");
		victim_expect(names[k], "one", LONG,
			      only_one ? "one " SHORT " 3 0 whole BROKEN" : "one " SHORT " 3 0 whole whole");
	}
}

/* In the cave nothing of the program is anywhere else, and there is no segment more. */
static void test_cave(void **state)
{
	(void)state;
	for (size_t k = 0; k < N_BUILDS; k++) {
		const struct victim_guard g = {.limit = VICTIM_BUFFER, .calls = true};
		struct patch_record r;
		struct victim v;
		uint8_t *copy;
		size_t len;

		print_message("%s\n", builds[k]);
		victim_build(builds[k], "victim");
		v = victim_open("victim");
		r = victim_patch(&v, &g, "cave", victim_address(&v, victim_cave(&v)));
		make_copy(&v, &r, 1);
		copy = victim_read("copy", &len);
		assert_int_equal(copy[v.is_32bit ? 0x2c : 0x38], v.byte[v.is_32bit ? 0x2c : 0x38]);
		assert_memory_equal(copy + r.guard_offset, r.guard.byte, r.guard.len);
		assert_memory_equal(copy + r.site_offset, r.after.byte, r.after.len);
		check_tools(".clouder");
		check_runs(true);
		free(copy);
		free(v.byte);
	}
}

/* From the memory of a process to a segment of its own. */
static void test_process(void **state)
{
	(void)state;
	for (size_t k = 0; k < N_BUILDS; k++) {
		struct victim_guard g = {.limit = VICTIM_BUFFER, .calls = true};
		struct patch_record r;
		struct victim v;

		print_message("%s\n", builds[k]);
		victim_build(builds[k], "victim");
		v = victim_open("victim");
		/* In 32-bit code such addresses cannot be moved. */
		g.reads = !v.is_32bit;
		r = victim_patch(&v, &g, "process", v.code.p_vaddr + VICTIM_FAR);
		make_copy(&v, &r, 1);
		check_tools(".clouder.far");
		check_runs(true);
		free(v.byte);
	}
}

/* A guard with data behind it, below the program. */
static void test_data(void **state)
{
	const struct victim_guard g = {.limit = VICTIM_BUFFER, .has_data = true};
	struct patch_record r;
	struct victim v;

	(void)state;
	victim_build("-O2 -no-pie", "victim");
	v = victim_open("victim");
	r = victim_patch(&v, &g, "process", v.code.p_vaddr - 0x100000);
	make_copy(&v, &r, 1);
	check_tools(NULL);
	check_runs(true);
	free(v.byte);
}

/* Where something else is in the cave, as it is in files that were stripped of nothing, the guard goes elsewhere. */
static void test_cave_in_use(void **state)
{
	(void)state;
	for (size_t k = 0; k < N_BUILDS; k++) {
		const struct victim_guard g = {.limit = VICTIM_BUFFER};
		struct patch_record r;
		struct victim v;

		victim_build(builds[k], "victim");
		v = victim_open("victim");
		r = victim_patch(&v, &g, "cave", victim_address(&v, victim_cave(&v)));
		v.byte[r.guard_offset + r.guard.len - 1] = 1;
		make_copy(&v, &r, 1);
		check_tools(".clouder.far");
		check_runs(true);
		free(v.byte);
	}
}

/* A section that says nothing but zeros: it is somebody's all the same. So is a segment's, and memory up to the next segment. */
static void test_cave_of_others(void **state)
{
	(void)state;
	for (int who = 0; who < 3; who++) {
		const struct victim_guard g = {.limit = VICTIM_BUFFER};
		struct patch_record r;
		struct victim v;
		Elf64_Ehdr *h;
		Elf64_Phdr *p;
		Elf64_Shdr *s;
		size_t len;
		uint8_t *copy;

		victim_build("-O2", "victim");
		v = victim_open("victim");
		h = (void *)v.byte;
		p = (void *)(v.byte + h->e_phoff);
		s = (void *)(v.byte + h->e_shoff);
		r = victim_patch(&v, &g, "cave", victim_address(&v, victim_cave(&v)));
		for (unsigned k = 0; who == 0 && k < h->e_shnum; k++) {
			if (s[k].sh_flags == (SHF_MERGE | SHF_STRINGS)) {
				s[k].sh_offset = r.guard_offset + 8;
				s[k].sh_size = 8;
			}
		}
		for (unsigned k = 0; who == 1 && k < h->e_phnum; k++) {
			if (p[k].p_type == PT_GNU_STACK) {
				p[k].p_offset = r.guard_offset + 8;
				p[k].p_filesz = 8;
			}
		}
		/* The next begins in the page that the code ends in. */
		for (unsigned k = 0; who == 2 && k < h->e_phnum; k++) {
			if (p[k].p_type == PT_LOAD && p[k].p_vaddr > v.code.p_vaddr) {
				p[k].p_vaddr = (v.code.p_vaddr + v.code.p_filesz + 15) & ~15ull;
				p[k].p_offset = (p[k].p_offset & ~4095ull) | (p[k].p_vaddr & 4095);
				p[k].p_filesz = p[k].p_memsz = 16;
				break;
			}
		}
		make_copy(&v, &r, 1);
		copy = victim_read("copy", &len);
		assert_memory_not_equal(copy + r.guard_offset, r.guard.byte, r.guard.len);
		assert_int_equal(victim_run("readelf -SW copy | grep -q clouder.far"), 0);
		free(copy);
		free(v.byte);
	}
}

/* What makes room for the header is where its section, its segment and its symbol say. */
static void test_moved_notes(void **state)
{
	static const char *const some[] = {"-O2", "-O2 -static", "-O2 -m32", "-O2 -m32 -static"};

	(void)state;
	for (size_t k = 0; k < 4; k++) {
		const struct victim_guard g = {.limit = VICTIM_BUFFER};
		struct patch_record r;
		struct victim v;

		victim_build(some[k], "victim");
		v = victim_open("victim");
		r = victim_patch(&v, &g, "process", v.code.p_vaddr + VICTIM_FAR);
		make_copy(&v, &r, 1);
		assert_int_equal(
			victim_run("for f in victim copy; do readelf -nW $f | grep -v '^Displaying' >$f.notes; done; "
				   "grep -q 'Build ID' copy.notes && cmp victim.notes copy.notes"),
			0);
		assert_int_equal(
			victim_run("s=$(readelf -sW copy | awk '$8 == \"__abi_tag\" { print $2 }') && "
				   "readelf -SW copy | grep -E \"[.]note[.]ABI-tag +NOTE +0*$s \" && [ -n \"$s\" ]"),
			0);
		/* The table of headers has grown. */
		assert_int_equal(
			victim_run("size() { printf '%%d' $(readelf -lW $1 | awk '$1 == \"PHDR\" { print $5 }'); }; "
				   "echo $(($(size copy) - $(size victim)))"),
			0);
		if (!strstr(some[k], "static"))
			assert_int_equal(atoi(victim_said), v.is_32bit ? sizeof(Elf32_Phdr) : sizeof(Elf64_Phdr));
		free(v.byte);
	}
}

/* Two patches from two machines have their guards at the same place. */
static void test_two_in_one_place(void **state)
{
	static const char *const some[] = {"-O2", "-O2 -m32 -static"};

	(void)state;
	for (size_t k = 0; k < 2; k++) {
		const struct victim_guard one = {.limit = VICTIM_BUFFER}, two = {.site = 1, .limit = VICTIM_BUFFER};
		struct patch_record r[2];
		struct victim v;

		victim_build(some[k], "victim");
		v = victim_open("victim");
		r[0] = victim_patch(&v, &one, "cave", victim_address(&v, victim_cave(&v)));
		r[1] = victim_patch(&v, &two, "cave", victim_address(&v, victim_cave(&v)));
		make_copy(&v, r, 2);
		check_tools(".clouder.far");
		check_tools(".clouder");
		check_runs(false);
		free(v.byte);
	}
}

/* A closer guard was made over the first, behind which that goes on. They are given in the wrong order. */
static void over(const char *flags, const char *home, uint64_t first, uint64_t second)
{
	struct victim_guard old = {.limit = VICTIM_BUFFER, .calls = true}, closer = {.limit = 8};
	struct victim v;
	struct patch_record r[2];

	victim_build(flags, "victim");
	v = victim_open("victim");
	first += v.code.p_vaddr;
	second += v.code.p_vaddr;
	if (strcmp(home, "cave") == 0) {
		first = victim_address(&v, victim_cave(&v));
		second = first + 0x60;
	}
	closer.next = first;
	r[1] = victim_patch(&v, &old, home, first);
	r[0] = victim_patch(&v, &closer, home, second);
	r[0].before = r[1].after;
	make_copy(&v, r, 2);
	check_tools(NULL);
	victim_expect("copy", "1234567", "two", "1234567 two 3 0 whole whole");
	victim_expect("copy", "123456789", "two", "12345678 two 3 0 whole whole");
	victim_expect("stripped", LONG, "two", "AAAAAAAA two 3 0 whole whole");
	/* The guard that was made over it is nothing without the first. */
	assert_memory_equal(v.byte + r[1].site_offset, r[1].original.byte, r[1].original.len);
	free(v.byte);
}

static void test_over_another(void **state)
{
	(void)state;
	over("-O2", "cave", 0, 0);
	over("-O2 -m32", "cave", 0, 0);
	over("-O2", "process", VICTIM_FAR, VICTIM_FAR + 0x5000);
	over("-O2 -static -m32", "process", VICTIM_FAR, VICTIM_FAR + 0x5000);
}

/* The guard has its store in a routine, which goes on in the first loop: both are alike, and return to who called them. */
static struct patch_record with_routine(const struct victim *v, unsigned site, uint64_t guard, uint64_t routine)
{
	const struct victim_guard g = {.site = site, .limit = VICTIM_BUFFER, .routine = routine};
	struct patch_record r = victim_patch(v, &g, "cave", guard);
	struct emitter em;

	emit_init(&em, routine);
	em.is_32bit = v->is_32bit;
	emit_bytes(&em, v->byte + v->site[0], 3);
	emit_bytes(&em, v->byte + v->site[0] + 3, v->is_32bit ? 1 : 2);
	emit_jump(&em, victim_address(v, v->site[0] + VICTIM_SITE_LEN));
	r.routine_offset = routine - v->code.p_vaddr + v->code.p_offset;
	r.routine = victim_bytes(em.buf, em.len);
	return r;
}

static void test_routine(void **state)
{
	static const char *const some[] = {"-O2", "-O2 -static", "-O2 -m32"};

	(void)state;
	for (size_t k = 0; k < 3; k++) {
		for (int in_use = 0; in_use < 4; in_use++) {
			struct patch_record r;
			struct victim v;
			uint64_t at;

			victim_build(some[k], "victim");
			v = victim_open("victim");
			at = victim_address(&v, victim_cave(&v));
			r = with_routine(&v, 0, at + 0x40, at);
			/* Neither, the routine's place, the guard's, or both are not free. */
			if (in_use & 1)
				v.byte[r.routine_offset] = 0xcc;
			if (in_use & 2)
				v.byte[r.guard_offset] = 0xcc;
			make_copy(&v, &r, 1);
			check_tools(in_use ? ".clouder.far" : NULL);
			check_runs(true);
			free(v.byte);
		}
	}
}

/* Two guards share a routine, wherever it is. */
static void test_shared_routine(void **state)
{
	(void)state;
	for (int in_use = 0; in_use < 2; in_use++) {
		struct patch_record r[2];
		struct victim v;
		uint64_t at;

		victim_build("-O2", "victim");
		v = victim_open("victim");
		at = victim_address(&v, victim_cave(&v));
		r[0] = with_routine(&v, 0, at + 0x40, at);
		r[1] = with_routine(&v, 1, at + 0x80, at);
		v.byte[r[0].routine_offset] = in_use ? 0xcc : 0;
		make_copy(&v, r, 2);
		check_tools(".clouder");
		check_runs(false);
		free(v.byte);
	}
}

/* A patch that wants one place for both. */
static void test_routine_in_the_way(void **state)
{
	struct patch_record r;
	struct victim v;
	uint64_t at;

	(void)state;
	victim_build("-O2", "victim");
	v = victim_open("victim");
	at = victim_address(&v, victim_cave(&v));
	r = with_routine(&v, 0, at + 8, at);
	assert_true(r.routine.len > 8);
	make_copy(&v, &r, 1);
	check_tools(".clouder.far");
	check_runs(true);
	free(v.byte);
}

/* A site that is a call behind padding. */
static void test_called(void **state)
{
	const struct victim_guard g = {.limit = VICTIM_BUFFER, .is_called = true};

	(void)state;
	for (int far = 0; far < 2; far++) {
		struct patch_record r;
		struct victim v;

		victim_build("-O2", "victim");
		v = victim_open("victim");
		r = victim_patch(&v, &g, far ? "process" : "cave",
				 far ? v.code.p_vaddr + VICTIM_FAR : victim_address(&v, victim_cave(&v)));
		make_copy(&v, &r, 1);
		check_tools(far ? ".clouder.far" : ".clouder");
		check_runs(true);
		free(v.byte);
	}
}

/* A shared library has no interpreter: there is room for a header only if it has notes enough. */
static void test_library(void **state)
{
	const struct victim_guard g = {.limit = VICTIM_BUFFER};

	(void)state;
	assert_int_equal(
		victim_run(
			"echo 'int work(int n, char **v); int main(int n, char **v) { return work(n, v); }' >main.c"),
		0);
	for (int far = 0; far < 2; far++) {
		struct patch_record r;
		struct victim v;

		victim_build("-O2 -Wl,-z,ibt -Dmain=work -shared -fPIC", "victim");
		assert_int_equal(victim_run("cp victim libwork.so && gcc main.c -L. -lwork -o victim"), 0);
		v = victim_open("libwork.so");
		r = victim_patch(&v, &g, far ? "process" : "cave",
				 far ? v.code.p_vaddr + VICTIM_FAR : victim_address(&v, victim_cave(&v)));
		make_copy(&v, &r, 1);
		check_tools(far ? ".clouder.far" : ".clouder");
		assert_int_equal(victim_run("mkdir -p a b c && cp libwork.so a/ && cp copy b/libwork.so && cp stripped "
					    "c/libwork.so"),
				 0);
		assert_int_equal(victim_run("for d in a b c; do LD_LIBRARY_PATH=$d ./victim " LONG " two; done"), 0);
		assert_string_equal(victim_said, SHORT " two 3 0 BROKEN whole\n" SHORT " two 3 0 whole whole\n" SHORT
						       " two 3 0 whole whole\n");
		free(v.byte);
	}
}

/* What is patched already takes another patch, and the same one again. */
static void test_again(void **state)
{
	const struct victim_guard one = {.limit = VICTIM_BUFFER}, two = {.site = 1, .limit = VICTIM_BUFFER};
	struct patch_record r[2];
	struct elf_copy *c;
	struct victim v;
	uint64_t at;
	bool is_new = true;

	(void)state;
	victim_build("-O2", "victim");
	v = victim_open("victim");
	at = victim_address(&v, victim_cave(&v));
	r[0] = victim_patch(&v, &one, "cave", at);
	r[1] = victim_patch(&v, &two, "cave", at + 0x40);
	make_copy(&v, r, 1);
	free(v.byte);
	v.byte = victim_read("copy", &v.len);
	assert_int_equal(elf_copy_create(v.byte, v.len, &c, NULL), 0);
	assert_int_equal(elf_copy_patch(c, &r[0], &is_new, NULL), 0);
	assert_false(is_new);
	elf_copy_destroy(c);
	make_copy(&v, r, 2);
	check_tools(".clouder");
	check_runs(false);
	free(v.byte);
}

/* ---- refusals ---- */

static void refused(const struct victim *v, size_t len, const struct patch_record *r, const char *why)
{
	struct elf_copy *c = NULL;
	struct err e = {.text = ""};
	bool is_new;

	if (elf_copy_create(v->byte, len, &c, &e) == 0)
		assert_int_equal(elf_copy_patch(c, r, &is_new, &e), -1);
	elf_copy_destroy(c);
	if (!strstr(e.text, why))
		fail_msg("wanted \"%s\", got \"%s\"", why, e.text);
}

static void test_refused_files(void **state)
{
	const struct victim_guard g = {.limit = VICTIM_BUFFER};
	struct victim v, text = {.byte = (uint8_t[]){"#!/bin/sh\necho this is a script and nothing else at all\n"}};
	struct patch_record r, other;
	Elf64_Phdr *header;

	(void)state;
	victim_build("-O2", "victim");
	v = victim_open("victim");
	other = r = victim_patch(&v, &g, "cave", victim_address(&v, victim_cave(&v)));
	refused(&text, 56, &r, "does not begin with an ELF header");
	for (size_t len = 0; len < v.len; len += len < 1024 ? 7 : 501)
		refused(&v, len, &r, "is it the whole file of a program for x86?");
	other.build_id.byte[3] ^= 1;
	refused(&v, v.len, &other, "build-id is another");
	other = r;
	other.build_id.len--;
	refused(&v, v.len, &other, "build-id is another");
	v.byte[r.site_offset + 4] ^= 1;
	refused(&v, v.len, &r, "are not what it is made for");
	v.byte[r.site_offset + 4] ^= 1;
	header = (void *)(v.byte + ((Elf64_Ehdr *)v.byte)->e_phoff);
	while (header->p_type != PT_NOTE)
		header++;
	header->p_offset += 1ull << 40;
	refused(&v, v.len, &r, "a segment is not wholly in it");
	header->p_offset -= 1ull << 40;
	header->p_filesz = UINT64_MAX - 16;
	refused(&v, v.len, &r, "a segment is not wholly in it");
	free(v.byte);
	v = victim_open("victim");
	v.byte[18] = EM_AARCH64;
	refused(&v, v.len, &r, "another processor");
	v.byte[18] = EM_X86_64;
	v.byte[16] = ET_REL;
	refused(&v, v.len, &r, "neither a program nor a shared library");
	free(v.byte);
	assert_int_equal(victim_run("objcopy --only-keep-debug victim debug"), 0);
	v.byte = victim_read("debug", &v.len);
	refused(&v, v.len, &r, "is not in the file's code");
	free(v.byte);
	victim_build("-O2 -Wl,--build-id=none", "nameless");
	v.byte = victim_read("nameless", &v.len);
	refused(&v, v.len, &r, "has no build-id");
	free(v.byte);
}

static void test_refused_patches(void **state)
{
	const struct victim_guard g = {.limit = VICTIM_BUFFER}, other = {.limit = 8};
	struct patch_record r[2], moved;
	struct err why[2];
	struct elf_copy *c;
	struct victim v;
	uint64_t at;
	bool in[2];

	(void)state;
	victim_build("-O2", "victim");
	v = victim_open("victim");
	at = victim_address(&v, victim_cave(&v));
	r[0] = victim_patch(&v, &g, "cave", at);
	r[1] = victim_patch(&v, &other, "cave", at + 0x40);
	/* Both are for the program's own bytes. */
	assert_int_equal(elf_copy_create(v.byte, v.len, &c, NULL), 0);
	elf_copy_patches(c, r, 2, in, why);
	elf_copy_destroy(c);
	assert_true(in[0]);
	assert_false(in[1]);
	assert_non_null(strstr(why[1].text, "another patch replaces them"));
	r[0].before.byte[0] = 0x90;
	refused(&v, v.len, &r[0], "are not what it is made for");
	/* Not code. */
	moved = r[1];
	moved.site_offset = moved.culprit_offset = 16;
	moved.guard_offset = r[1].guard_offset - r[1].site_offset + 16;
	refused(&v, v.len, &moved, "is not in the file's code");
	moved = r[1];
	moved.bits = 32;
	refused(&v, v.len, &moved, "build-id is another");
	moved.after.byte[0] = 0x90;
	refused(&v, v.len, &moved, "not a jump or a call to the guard");
	free(v.byte);
}

/* Where what is behind the program headers has to stay, no header fits. */
static void test_no_room(void **state)
{
	const struct victim_guard g = {.limit = VICTIM_BUFFER};
	struct patch_record r;
	struct victim v;
	Elf64_Shdr *s;

	(void)state;
	victim_build("-O2", "victim");
	v = victim_open("victim");
	r = victim_patch(&v, &g, "process", v.code.p_vaddr + VICTIM_FAR);
	s = (void *)(v.byte + ((Elf64_Ehdr *)v.byte)->e_shoff);
	for (unsigned k = 0; k < ((Elf64_Ehdr *)v.byte)->e_shnum; k++)
		if (s[k].sh_type == SHT_NOTE)
			s[k].sh_type = SHT_PROGBITS;
	refused(&v, v.len, &r, "a new segment has none among its program headers");
	free(v.byte);
}

/* ---- moving ---- */

static uint64_t stays(void *arg, uint64_t address)
{
	(void)arg;
	return address;
}

static void moves(bool is_32bit, const char *code, size_t len, uint8_t part_at, uint64_t by, const char *wanted,
		  const char *why)
{
	const struct guard_move m = {is_32bit, 0x401000, 0x401000 + by, part_at, stays, NULL};
	struct err e = {.text = ""};
	uint8_t byte[GUARD_MOVE_MAX];

	memcpy(byte, code, len);
	if (guard_move(&m, byte, len, &e) == 0) {
		assert_null(why);
		assert_memory_equal(byte, wanted, len);
	} else {
		assert_non_null(why);
		if (!strstr(e.text, why))
			fail_msg("wanted \"%s\", got \"%s\"", why, e.text);
	}
}

#define MOVES(is_32bit, code, by, wanted, why) moves(is_32bit, code, sizeof(code) - 1, 0, by, wanted, why)

static void test_move(void **state)
{
	(void)state;
	/* A jump, a condition, a call, an operand: all nearer by 0x100. */
	MOVES(false, "\xe9\x00\x02\x00\x00", 0x100, "\xe9\x00\x01\x00\x00", NULL);
	MOVES(true, "\x0f\x84\x00\x02\x00\x00\xc3", 0x100, "\x0f\x84\x00\x01\x00\x00\xc3", NULL);
	MOVES(false, "\xe8\x00\x02\x00\x00\xc3", 0x100, "\xe8\x00\x01\x00\x00\xc3", NULL);
	MOVES(false, "\x48\x8d\x05\x00\x02\x00\x00\xc3", 0x100, "\x48\x8d\x05\x00\x01\x00\x00\xc3", NULL);
	/* An immediate behind the distance. */
	MOVES(false, "\x83\x3d\x00\x02\x00\x00\x07\xc3", 0x100, "\x83\x3d\x00\x01\x00\x00\x07\xc3", NULL);
	/* What stays inside stays as it is. */
	MOVES(false, "\x74\x01\x90\xc3", 0x100, "\x74\x01\x90\xc3", NULL);
	MOVES(false, "\x48\x8d\x05\x01\x00\x00\x00\xc3%s", 0x100, "\x48\x8d\x05\x01\x00\x00\x00\xc3%s", NULL);
	/* The end's mark. */
	MOVES(false, "\xc3\xcc", 0x100, "\xc3\xcc", NULL);
	/* Another way in. */
	moves(false, "\xc3\xe9\x00\x02\x00\x00", 6, 1, 0x100, "\xc3\xe9\x00\x01\x00\x00", NULL);
	MOVES(false, "\xc3\xe9\x00\x02\x00\x00", 0x100, NULL, "is not reached");
	MOVES(false, "\x74\x40\xc3", 0x100, NULL, "by a short distance");
	MOVES(false, "\xc3%s", 0x100, NULL, "is not reached");
	MOVES(false, "\xeb\x01\x90\xc3", 0x100, NULL, "neither code nor data");
	MOVES(false, "\x74\xff\xc3", 0x100, NULL, "in the middle of another");
	MOVES(false, "\x90\x90", 0x100, NULL, "runs out of it");
	MOVES(false, "\x06\xc3", 0x100, NULL, "is no instruction");
	MOVES(false, "\xe9\x00\x02\x00\x00", 0x90000000, NULL, "out of reach");
	MOVES(true, "\xe8\x00\x00\x00\x00\x58\xc3", 0x100, NULL, "takes the address of another");
	MOVES(true, "\x68\x05\x10\x40\x00\xc3", 0x100, NULL, "has the address of another");
	MOVES(true, "\x68\x06\x10\x40\x00\xc3", 0x100, "\x68\x06\x10\x40\x00\xc3", NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cave),
		cmocka_unit_test(test_process),
		cmocka_unit_test(test_data),
		cmocka_unit_test(test_cave_in_use),
		cmocka_unit_test(test_cave_of_others),
		cmocka_unit_test(test_moved_notes),
		cmocka_unit_test(test_two_in_one_place),
		cmocka_unit_test(test_over_another),
		cmocka_unit_test(test_routine),
		cmocka_unit_test(test_shared_routine),
		cmocka_unit_test(test_routine_in_the_way),
		cmocka_unit_test(test_called),
		cmocka_unit_test(test_library),
		cmocka_unit_test(test_again),
		cmocka_unit_test(test_refused_files),
		cmocka_unit_test(test_refused_patches),
		cmocka_unit_test(test_no_room),
		cmocka_unit_test(test_move),
	};

	return cmocka_run_group_tests(tests, victim_set_up, victim_tear_down);
}
