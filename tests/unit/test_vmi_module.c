/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ELF files in a process's memory, well-formed and not, and file pages that only the page cache has. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "test_vmi_guest.h"

static int setup(void **state)
{
	static struct guest_prog p;

	guest_prog_init(&p);
	*state = &p;
	return 0;
}

static int teardown(void **state)
{
	struct guest_prog *p = *state;

	guest_deinit(&p->g);
	return 0;
}

static void assert_fails(struct guest_prog *p, uint64_t at, const char *text)
{
	struct vmi_module m = {.bias = 77};
	struct err e = {0};

	assert_int_equal(vmi_module_at(p->g.vmi, &p->t, gva(at), &m, &e), -1);
	assert_int_equal(m.bias, 77);
	assert_int_equal(e.code, ERR_GUEST);
	assert_non_null(strstr(e.text, text));
}

static void describes_a_program(void **state)
{
	struct guest_prog *p = *state;
	struct vmi_module m;
	struct err e = {0};

	assert_int_equal(vmi_module_at(p->g.vmi, &p->t, gva(PROG_BASE + 0x1234), &m, &e), 0);
	assert_string_equal(m.path, "/prog");
	assert_int_equal(m.bias, PROG_BASE);
	assert_int_equal(m.low.v, PROG_BASE);
	assert_int_equal(m.high.v, PROG_BASE + 0x5000);
	assert_int_equal(m.text.v, PROG_BASE + 0x1000);
	assert_int_equal(m.text_end.v, PROG_BASE + 0x1900);
	assert_int_equal(m.text_file_offset, PROG_TEXT);
	assert_int_equal(m.text_file_size, 0x900);
	assert_int_equal(m.eh_frame_hdr.v, PROG_BASE + 0x600);
	assert_int_equal(m.eh_frame_hdr_size, 0x44);
	assert_int_equal(m.dynamic.v, PROG_BASE + 0x3e20);
	assert_int_equal(m.dynamic_size, 0x60);
	assert_int_equal(m.entry.v, PROG_BASE + 0x1040);
	assert_int_equal(m.build_id_len, 20);
	assert_memory_equal(m.build_id, "build-id-of-20-bytes", 20);
	assert_false(m.is_32bit);
	assert_false(m.is_main); /* no interpreter, and the kernel names no program */
}

/* Mappings of one file may have a struct file each; the program is told by inode. */
static void main_program_is_the_kernels_word(void **state)
{
	struct guest_prog *p = *state;
	struct guest *g = &p->g;
	uint64_t other = guest_add_file(g, guest_add_dentry(g, "prog", 0), guest_alloc(g, 64), PROG_INODE);
	struct vmi_module m;
	struct err e = {0};

	guest_set(g, p->vma[0], VMA_FILE, guest_kva(other));
	guest_set(g, p->mm, MM_EXE_FILE, guest_kva(other));
	assert_int_equal(vmi_module_at(g->vmi, &p->t, gva(PROG_BASE + 0x3000), &m, &e), 0);
	assert_true(m.is_main);
	assert_int_equal(m.bias, PROG_BASE);
	guest_set(g, p->mm, MM_EXE_FILE, guest_kva(guest_add_file(g, 0x8000, 0x8000, 0xa000)));
	assert_int_equal(vmi_module_at(g->vmi, &p->t, gva(PROG_BASE + 0x3000), &m, &e), 0);
	assert_false(m.is_main);
	guest_set(g, other, FILE_INODE, guest_kva(0xa000));
	assert_fails(p, PROG_BASE + 0x3000, "beginning of the file is not mapped");
}

static void old_style_32bit_program(void **state)
{
	struct guest_prog *p = *state;
	struct guest *g = &p->g;
	const Elf32_Ehdr h = {
		.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB, EV_CURRENT},
		.e_type = ET_EXEC,
		.e_entry = 0x8048100,
		.e_phoff = sizeof(h),
		.e_phentsize = sizeof(Elf32_Phdr),
		.e_phnum = 2,
	};
	const Elf32_Phdr ph[] = {{PT_LOAD, 0, 0x8048000, 0, 0xe20, 0xe20, PF_R | PF_X, 0x1000},
				 {PT_LOAD, 0xe20, 0x8049e20, 0, 0x100, 0x100, PF_R | PF_W, 0x1000}};
	uint64_t vma[] = {guest_add_vma(g, 0x8048000, 0x8049000, 5, 0, p->file),
			  guest_add_vma(g, 0x8049000, 0x804a000, 3, 0, p->file)};
	struct vmi_module m;
	struct err e = {0};

	guest_put(g, p->page[0], &h, sizeof(h));
	guest_put(g, p->page[0] + sizeof(h), ph, sizeof(ph));
	guest_map_user(g, p->mm, 0x8048000, p->page[0]);
	guest_map_user(g, p->mm, 0x8049000, p->page[0]); /* the header is here too */
	guest_set_maps(g, p->mm, vma, 2);
	assert_int_equal(vmi_module_at(g->vmi, &p->t, gva(0x8049e24), &m, &e), 0);
	assert_int_equal(m.bias, 0);
	assert_int_equal(m.low.v, 0x8048000);
	assert_int_equal(m.high.v, 0x804a000);
	assert_true(m.is_32bit && m.is_main);
	assert_int_equal(m.build_id_len, 0);
	assert_int_equal(m.eh_frame_hdr.v, 0);
}

static void refuses_what_is_no_module(void **state)
{
	struct guest_prog *p = *state;

	assert_fails(p, 0x1000, "maps nothing");
	assert_fails(p, PROG_BASE + 0x4000, "no file is behind");
	p->g.ram[p->page[0]] = 'X';
	assert_fails(p, PROG_BASE + 0x1000, "/prog: the file mapped there does not begin with an ELF header");
	guest_map_user(&p->g, p->mm, PROG_BASE, GUEST_RAM);
	assert_fails(p, PROG_BASE + 0x1000, "not in guest memory");
	p->t.mm = gva(0);
	assert_fails(p, PROG_BASE, "maps nothing");
}

static void put_phdr(struct guest_prog *p, unsigned i, Elf64_Phdr ph)
{
	guest_put(&p->g, p->page[0] + sizeof(Elf64_Ehdr) + i * sizeof(ph), &ph, sizeof(ph));
}

static void refuses_hostile_headers(void **state)
{
	struct guest_prog *p = *state;
	uint64_t h = p->page[0];
	static const struct {
		size_t at, size;
		uint64_t value;
	} rows[] = {
		{offsetof(Elf64_Ehdr, e_phnum), 2, 0xffff},	  {offsetof(Elf64_Ehdr, e_phnum), 2, 0},
		{offsetof(Elf64_Ehdr, e_phentsize), 2, 0x20},	  {offsetof(Elf64_Ehdr, e_phoff), 8, UINT64_MAX},
		{offsetof(Elf64_Ehdr, e_ident) + EI_CLASS, 1, 3}, {offsetof(Elf64_Ehdr, e_ident) + EI_DATA, 1, 2},
	};
	static const Elf64_Phdr text[] = {
		{PT_LOAD, PF_X, PROG_TEXT, PROG_TEXT, 0, 0x900, UINT64_MAX, 0x1000},
		{PT_LOAD, PF_X, PROG_TEXT, PROG_TEXT, 0, 0x900, 1ull << 63, 0x1000},
		{PT_LOAD, PF_X, PROG_TEXT, PROG_TEXT, 0, 0x900, 0x800, 0x1000},
		{PT_LOAD, PF_X, PROG_TEXT, 0x1ull << 62, 0, 0x900, 0x900, 0x1000},
		{PT_LOAD, PF_X, 0x2000, PROG_TEXT, 0, 0x900, 0x900, 0x1000},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		guest_put(&p->g, h + rows[i].at, &rows[i].value, rows[i].size);
		assert_fails(p, PROG_BASE + 0x1000, "ELF");
		guest_put_headers(&p->g, h);
	}
	for (size_t i = 0; i < sizeof(text) / sizeof(text[0]); i++) {
		put_phdr(p, 1, text[i]);
		assert_fails(p, PROG_BASE + 0x1000, "not mapped as its ELF headers say");
	}
}

static void ignores_hostile_notes_and_unwind_tables(void **state)
{
	struct guest_prog *p = *state;
	struct vmi_module m;
	struct err e = {0};
	Elf64_Phdr eh = guest_program_headers[4], note = guest_program_headers[3];

	guest_put(&p->g, p->page[0] + PROG_NOTE_AT + 24, &(uint32_t){33}, 4); /* longer than any build-id */
	eh.p_memsz = UINT64_MAX;
	put_phdr(p, 4, eh);
	assert_int_equal(vmi_module_at(p->g.vmi, &p->t, gva(PROG_BASE + 0x1000), &m, &e), 0);
	assert_int_equal(m.build_id_len, 0);
	assert_int_equal(m.eh_frame_hdr.v, 0);
	guest_put_headers(&p->g, p->page[0]);
	note.p_filesz = 0x30; /* ends in the middle of the build-id */
	put_phdr(p, 3, note);
	assert_int_equal(vmi_module_at(p->g.vmi, &p->t, gva(PROG_BASE + 0x1000), &m, &e), 0);
	assert_int_equal(m.build_id_len, 0);
	guest_put(&p->g, p->page[0] + PROG_NOTE_AT, &(uint32_t){UINT32_MAX}, 4);
	eh.p_memsz = 8;
	eh.p_vaddr = 0x5000;
	put_phdr(p, 4, eh);
	assert_int_equal(vmi_module_at(p->g.vmi, &p->t, gva(PROG_BASE + 0x1000), &m, &e), 0);
	assert_int_equal(m.build_id_len, 0);
	assert_int_equal(m.eh_frame_hdr.v, 0);
}

static void set_entry(struct guest_prog *p, uint64_t va, uint64_t entry)
{
	guest_put64(&p->g, guest_user_entry(&p->g, p->mm, va), entry);
}

static void reads_untouched_pages_from_the_cache(void **state)
{
	struct guest_prog *p = *state;
	uint64_t slots = guest_prog_cache(p);
	struct vmi_module m;
	struct err e = {0};
	char c[16];

	memcpy(p->g.ram + p->page[1] + 0xff8, "end of text page", 8);
	set_entry(p, PROG_BASE, 0);
	assert_false(
		vmi_task_read(p->g.vmi, &p->t, gva(PROG_BASE), c, 4)); /* one page is no proof of where vmemmap is */
	guest_map_user(&p->g, p->mm, PROG_BASE, p->page[0]);
	assert_true(vmi_task_read(p->g.vmi, &p->t, gva(PROG_BASE), c, 4));
	assert_int_equal(p->g.vmi->vmemmap, 0);
	guest_set(&p->g, p->vma[2], VMA_FLAGS, 1);
	set_entry(p, PROG_BASE, 0);
	assert_int_equal(vmi_module_at(p->g.vmi, &p->t, gva(PROG_BASE + 0x1000), &m, &e), 0);
	assert_int_equal(p->g.vmi->vmemmap, GUEST_VMEMMAP);
	assert_int_equal(m.build_id_len, 20);
	set_entry(p, PROG_BASE + 0x1000, 0);
	assert_true(vmi_task_read(p->g.vmi, &p->t, gva(PROG_BASE + 0x1ff8), c, 8));
	assert_memory_equal(c, "end of t", 8);
	assert_true(vmi_file_read(p->g.vmi, &p->t, m.inode, 0x1ff8, c, 16));
	assert_memory_equal(c, "end of t", 8);
	assert_memory_equal(c + 8, p->g.ram + p->page[2], 8);
	assert_false(vmi_file_read(p->g.vmi, &p->t, m.inode, 0x2ff8, c, 16)); /* behind what the cache has */
	assert_true(vmi_file_write(p->g.vmi, &p->t, m.inode, 0x1ffc, "two pages", 9));
	assert_true(vmi_file_read(p->g.vmi, &p->t, m.inode, 0x1ffc, c, 9));
	assert_memory_equal(c, "two pages", 9);
	assert_memory_equal(p->g.ram + p->page[2], "pages", 5);
	assert_false(vmi_file_write(p->g.vmi, &p->t, m.inode, 0x2ffc, "no pages", 8));
	assert_memory_not_equal(p->g.ram + p->page[2] + 0xffc, "no p", 4); /* all or nothing */
	assert_true(vmi_task_write(p->g.vmi, &p->t, gva(PROG_BASE + 0x1ff8), "written!", 8));
	assert_true(vmi_task_read(p->g.vmi, &p->t, gva(PROG_BASE + 0x1ff8), c, 8));
	assert_memory_equal(c, "written!", 8);
	assert_false(vmi_task_write(p->g.vmi, &p->t, gva(0x10), "x", 1));
	assert_false(vmi_task_write(p->g.vmi, &p->t, gva(UINT64_MAX), "xx", 2));
	set_entry(p, PROG_BASE + 0x1000, 0x1234567890ull << 8); /* a page in swap is not the file's */
	assert_false(vmi_task_read(p->g.vmi, &p->t, gva(PROG_BASE + 0x1ff8), c, 8));
	set_entry(p, PROG_BASE, 0);
	guest_put64(&p->g, slots, GUEST_VMEMMAP + (1ull << 40)); /* no such frame */
	assert_false(vmi_task_read(p->g.vmi, &p->t, gva(PROG_BASE), c, 4));
	guest_put64(&p->g, slots, 1); /* a shadow entry: evicted */
	assert_false(vmi_task_read(p->g.vmi, &p->t, gva(PROG_BASE), c, 4));
}

static void looks_at_what_is_there(void **state)
{
	struct guest_prog *p = *state;
	char c[16];

	memcpy(p->g.ram + p->page[1] + 0x100, "what is there", 13);
	assert_int_equal(vmi_task_peek(p->g.vmi, &p->t, gva(PROG_BASE + 0x1100), c, 13), VMI_PRESENT);
	assert_memory_equal(c, "what is there", 13);
	assert_int_equal(vmi_task_peek(p->g.vmi, &p->t, gva(PROG_BASE + 0x4000), c, 13), VMI_ABSENT);
	assert_int_equal(vmi_task_peek(p->g.vmi, &p->t, gva(PROG_BASE + 0x2000), c, 13), VMI_UNMAPPED);
	assert_int_equal(vmi_task_peek(p->g.vmi, &p->t, gva(1ull << 60), c, 13), VMI_UNMAPPED);
	assert_int_equal(vmi_task_peek(p->g.vmi, &p->t, gva(UINT64_MAX - 3), c, 13), VMI_UNMAPPED);
}

static void pages_of_one_folio(void **state)
{
	struct guest_prog *p = *state;
	uint64_t slots = guest_prog_cache(p);
	char c[4];

	guest_set(&p->g, p->vma[2], VMA_FLAGS, 1);
	p->g.vmi->vmemmap = GUEST_VMEMMAP;
	memcpy(p->g.ram + p->page[0] + 4096, "next", 4); /* page 1 of a folio that begins with page 0 */
	guest_put64(&p->g, slots + 8, 0 << 2 | 2); /* sibling of slot 0 */
	set_entry(p, PROG_BASE + 0x1000, 0);
	assert_true(vmi_task_read(p->g.vmi, &p->t, gva(PROG_BASE + 0x1000), c, 4));
	assert_memory_equal(c, "next", 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(describes_a_program, setup, teardown),
		cmocka_unit_test_setup_teardown(main_program_is_the_kernels_word, setup, teardown),
		cmocka_unit_test_setup_teardown(old_style_32bit_program, setup, teardown),
		cmocka_unit_test_setup_teardown(refuses_what_is_no_module, setup, teardown),
		cmocka_unit_test_setup_teardown(refuses_hostile_headers, setup, teardown),
		cmocka_unit_test_setup_teardown(ignores_hostile_notes_and_unwind_tables, setup, teardown),
		cmocka_unit_test_setup_teardown(reads_untouched_pages_from_the_cache, setup, teardown),
		cmocka_unit_test_setup_teardown(looks_at_what_is_there, setup, teardown),
		cmocka_unit_test_setup_teardown(pages_of_one_folio, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
