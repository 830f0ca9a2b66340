/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Call frame information: this program's own, against values known from its assembly; and hand-made and hostile bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <link.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "locate/cfi.h"

/* Two functions whose frame information is written by hand: one on rbp, one on rsp with a cold tail. */
__asm__(".text\n"
	"	.globl fix_rbp, fix_rbp_body, fix_rbp_ret, fix_rsp, fix_rsp_body, fix_rsp_out, fix_rsp_rest\n"
	"fix_rbp:\n"
	"	.cfi_startproc\n"
	"	push %rbp\n"
	"	.cfi_def_cfa_offset 16\n"
	"	.cfi_offset %rbp, -16\n"
	"	mov %rsp, %rbp\n"
	"	.cfi_def_cfa_register %rbp\n"
	"	push %rbx\n"
	"	.cfi_offset %rbx, -24\n"
	"fix_rbp_body:\n"
	"	sub $0x78, %rsp\n"
	"	mov -8(%rbp), %rbx\n"
	"	leave\n"
	"	.cfi_restore %rbx\n"
	"	.cfi_restore %rbp\n"
	"	.cfi_def_cfa %rsp, 8\n"
	"fix_rbp_ret:\n"
	"	ret\n"
	"	.cfi_endproc\n"
	"fix_rsp:\n"
	"	.cfi_startproc\n"
	"	push %r15\n"
	"	.cfi_def_cfa_offset 16\n"
	"	.cfi_offset %r15, -16\n"
	"	push %r12\n"
	"	.cfi_def_cfa_offset 24\n"
	"	.cfi_offset %r12, -24\n"
	"	sub $0x400, %rsp\n"
	"	.cfi_def_cfa_offset 1048\n"
	"fix_rsp_body:\n"
	"	test %edi, %edi\n"
	"	je fix_rsp_rest\n"
	"	.cfi_remember_state\n"
	"	add $0x400, %rsp\n"
	"	.cfi_def_cfa_offset 24\n"
	"	pop %r12\n"
	"	.cfi_def_cfa_offset 16\n"
	"	.cfi_restore %r12\n"
	"	pop %r15\n"
	"	.cfi_def_cfa_offset 8\n"
	"	.cfi_restore %r15\n"
	"fix_rsp_out:\n"
	"	ret\n"
	"fix_rsp_rest:\n"
	"	.cfi_restore_state\n"
	"	ud2\n"
	"	.cfi_endproc\n");

extern const char fix_rbp[], fix_rbp_body[], fix_rbp_ret[];
extern const char fix_rsp[], fix_rsp_body[], fix_rsp_out[], fix_rsp_rest[];

static bool read_self(void *arg, struct gva at, void *ret, size_t len)
{
	struct iovec local = {ret, len}, remote = {(void *)(uintptr_t)at.v, len};

	(void)arg;
	return process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == (ssize_t)len;
}

static int fill_self(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct cfi *m = arg;

	(void)size;
	m->low = gva(UINT64_MAX);
	for (int k = 0; k < info->dlpi_phnum; k++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[k];
		uint64_t at = info->dlpi_addr + ph->p_vaddr;

		if (ph->p_type == PT_GNU_EH_FRAME) {
			m->hdr = gva(at);
			m->hdr_size = ph->p_memsz;
		}
		if (ph->p_type == PT_LOAD && at < m->low.v)
			m->low = gva(at);
		if (ph->p_type == PT_LOAD && at + ph->p_memsz > m->high.v)
			m->high = gva(at + ph->p_memsz);
	}
	return 1; /* the program comes first */
}

static struct cfi self(void)
{
	struct cfi m = {.rd = {read_self, NULL}};

	dl_iterate_phdr(fill_self, &m);
	return m;
}

#define NONE INT64_MAX

static const struct {
	const char *pc, *start;
	uint8_t cfa_reg;
	int64_t cfa_offset, rbx, rbp, r12, r15;
} golden[] = {
	{fix_rbp, fix_rbp, 4, 8, NONE, NONE, NONE, NONE},	{fix_rbp_body, fix_rbp, 5, 16, -24, -16, NONE, NONE},
	{fix_rbp_ret, fix_rbp, 4, 8, NONE, NONE, NONE, NONE},	{fix_rsp, fix_rsp, 4, 8, NONE, NONE, NONE, NONE},
	{fix_rsp_body, fix_rsp, 4, 1048, NONE, NONE, -24, -16}, {fix_rsp_out, fix_rsp, 4, 8, NONE, NONE, NONE, NONE},
	{fix_rsp_rest, fix_rsp, 4, 1048, NONE, NONE, -24, -16},
};

static void check_saved(const struct cfi_row *row, unsigned reg, int64_t offset)
{
	if (offset == NONE) {
		assert_int_equal(row->reg[reg].rule, CFI_SAME);
		return;
	}
	assert_int_equal(row->reg[reg].rule, CFI_SAVED);
	assert_int_equal(row->reg[reg].offset, offset);
}

static void check_golden(const struct cfi *m)
{
	for (size_t k = 0; k < sizeof(golden) / sizeof(golden[0]); k++) {
		struct gva pc = gva((uintptr_t)golden[k].pc);
		struct cfi_fde fde;
		struct cfi_row row;
		struct err e;

		assert_int_equal(cfi_find(m, pc, &fde, &e), 0);
		assert_int_equal(fde.start.v, (uintptr_t)golden[k].start);
		assert_int_equal(cfi_row_at(m, &fde, pc, &row, &e), 0);
		assert_true(row.cfa_known);
		assert_int_equal(row.cfa_reg, golden[k].cfa_reg);
		assert_int_equal(row.cfa_offset, golden[k].cfa_offset);
		check_saved(&row, CFI_RA, -8);
		check_saved(&row, 3, golden[k].rbx);
		check_saved(&row, 5, golden[k].rbp);
		check_saved(&row, 12, golden[k].r12);
		check_saved(&row, 15, golden[k].r15);
	}
}

static void test_golden(void **state)
{
	struct cfi m = self();

	(void)state;
	check_golden(&m);
}

/* As read_self, but the header says that its table has an unknown encoding. */
static bool read_without_table(void *arg, struct gva at, void *ret, size_t len)
{
	const struct cfi *m = arg;

	if (!read_self(NULL, at, ret, len))
		return false;
	if (at.v == m->hdr.v && len > 3)
		((uint8_t *)ret)[3] = 0xff;
	return true;
}

static void test_scan_without_table(void **state)
{
	struct cfi m = self();

	(void)state;
	m.rd = (struct code_reader){read_without_table, &m};
	check_golden(&m);
}

static void test_outside(void **state)
{
	struct cfi m = self();
	struct cfi_fde fde;
	struct err e;

	(void)state;
	assert_int_equal(cfi_find(&m, m.low, &fde, &e), -1);
	assert_int_equal(e.code, ERR_GUEST);
	assert_int_equal(cfi_find(&m, gva(UINT64_MAX), &fde, &e), -1);
	m.hdr_size = 7;
	assert_int_equal(cfi_find(&m, gva((uintptr_t)fix_rbp), &fde, &e), -1);
}

/* Without a header .eh_frame is looked for; where there is none, none is found. */
static void test_search_without_header(void **state)
{
	struct cfi m = self();
	struct cfi_fde fde;
	struct err e;

	(void)state;
	m.hdr = gva(0);
	check_golden(&m);
	m.low = gva((uintptr_t)fix_rbp);
	m.high = gva_add(m.low, 64);
	assert_int_equal(cfi_find(&m, m.low, &fde, &e), -1);
	assert_int_equal(e.code, ERR_GUEST);
}

/* A hand-made module at address BASE: header, .eh_frame from 0x20, code (not there) from 0x1000. */
#define BASE 0x400000u
#define FRAMES 0x20u

struct image {
	uint8_t b[0x400];
	size_t n;
};

static bool read_image(void *arg, struct gva at, void *ret, size_t len)
{
	const struct image *im = arg;

	if (at.v < BASE || at.v - BASE > sizeof(im->b) || len > sizeof(im->b) - (at.v - BASE))
		return false;
	memcpy(ret, im->b + (at.v - BASE), len);
	return true;
}

static void put(struct image *im, const void *p, size_t n)
{
	if (n)
		memcpy(im->b + im->n, p, n);
	im->n += n;
}

static void put32(struct image *im, uint32_t v)
{
	put(im, &v, 4);
}

/* Ends the record that began at `at` (its length field). */
static void end_record(struct image *im, size_t at)
{
	uint32_t len;

	while ((im->n - at) % 4)
		im->b[im->n++] = 0;
	len = (uint32_t)(im->n - at - 4);
	memcpy(im->b + at, &len, 4);
}

/* A module with one function [BASE + 0x1000, + 0x100), absolute pointers of 4 bytes, the given program. */
static void make_image(struct image *im, bool is_32bit, const uint8_t *program, size_t len)
{
	static const uint8_t head[] = {1, 0x03, 0xff, 0xff}; /* udata4 pointer to .eh_frame, no table */
	const uint8_t cie64[] = {1, 'z', 'R', 0, 1, 0x78, 16, 1, 0x03, 0x0c, 7, 8, 0x90, 1};
	const uint8_t cie32[] = {1, 'z', 'R', 0, 1, 0x7c, 8, 1, 0x03, 0x0c, 4, 4, 0x88, 1};
	size_t cie, fde;

	memset(im, 0, sizeof(*im));
	put(im, head, sizeof(head));
	put32(im, BASE + FRAMES);
	im->n = cie = FRAMES;
	put32(im, 0);
	put32(im, 0);
	put(im, is_32bit ? cie32 : cie64, sizeof(cie64));
	end_record(im, cie);
	fde = im->n;
	put32(im, 0);
	put32(im, (uint32_t)(fde + 4 - cie));
	put32(im, BASE + 0x1000);
	put32(im, 0x100);
	put(im, "", 1);
	put(im, program, len);
	end_record(im, fde);
}

static int row_of(struct image *im, bool is_32bit, uint64_t pc, struct cfi_row *ret)
{
	struct cfi m = {.rd = {read_image, im},
			.low = {BASE},
			.high = {BASE + 0x2000},
			.hdr = {BASE},
			.hdr_size = FRAMES,
			.is_32bit = is_32bit};
	struct cfi_fde fde;
	struct err e;

	if (cfi_find(&m, gva(pc), &fde, &e)) {
		assert_int_equal(e.code, ERR_GUEST);
		return -1;
	}
	if (cfi_row_at(&m, &fde, gva(pc), ret, &e)) {
		assert_int_equal(e.code, ERR_GUEST);
		return -2;
	}
	return 0;
}

static void test_plt_expression(void **state)
{
	uint8_t program[] = {0x0f, 11, 0x77, 0x08, 0x80, 0, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22};
	struct image im;
	struct cfi_row row;

	(void)state;
	make_image(&im, false, program, sizeof(program));
	assert_int_equal(row_of(&im, false, BASE + 0x100a, &row), 0);
	assert_true(row.cfa_known);
	assert_int_equal(row.cfa_offset, 8);
	assert_int_equal(row_of(&im, false, BASE + 0x100b, &row), 0);
	assert_int_equal(row.cfa_offset, 16);
	program[12] = 0x1c; /* minus: any other expression */
	make_image(&im, false, program, sizeof(program));
	assert_int_equal(row_of(&im, false, BASE + 0x100b, &row), 0);
	assert_false(row.cfa_known);
}

static void test_plt_expression_32bit(void **state)
{
	static const uint8_t program[] = {0x0f, 11, 0x74, 0x04, 0x78, 0, 0x3f, 0x1a, 0x3b, 0x2a, 0x32, 0x24, 0x22};
	struct image im;
	struct cfi_row row;

	(void)state;
	make_image(&im, true, program, sizeof(program));
	assert_int_equal(row_of(&im, true, BASE + 0x100a, &row), 0);
	assert_true(row.cfa_known);
	assert_int_equal(row.cfa_offset, 4);
	assert_int_equal(row_of(&im, true, BASE + 0x100b, &row), 0);
	assert_int_equal(row.cfa_offset, 8);
}

/* The stack was realigned: the CFA lies at rbp - 8, rbp itself at rbp, rbx at rbp - 32. */
static void test_realigned_stack(void **state)
{
	uint8_t program[] = {0x0f, 3, 0x76, 0x78, 0x06, 0x10, 6, 2, 0x76, 0, 0x10, 3, 2, 0x76, 0x60, 0x41, 0x0c, 7, 8};
	struct image im;
	struct cfi_row row;

	(void)state;
	make_image(&im, false, program, sizeof(program));
	assert_int_equal(row_of(&im, false, BASE + 0x1000, &row), 0);
	assert_false(row.cfa_known);
	assert_true(row.cfa_deref);
	assert_int_equal(row.cfa_reg, 5);
	assert_int_equal(row.cfa_offset, -8);
	assert_int_equal(row.reg[5].rule, CFI_SAVED_AT);
	assert_int_equal(row.reg[5].base, 5);
	assert_int_equal(row.reg[5].offset, 0);
	assert_int_equal(row.reg[3].offset, -32);
	assert_int_equal(row_of(&im, false, BASE + 0x1001, &row), 0);
	assert_true(row.cfa_known);
	assert_false(row.cfa_deref);
	program[4] = 0x1c; /* any other expression */
	make_image(&im, false, program, sizeof(program));
	assert_int_equal(row_of(&im, false, BASE + 0x1000, &row), 0);
	assert_false(row.cfa_deref);
}

static void test_32bit(void **state)
{
	/* push ebp; mov ebp, esp: columns of i386, esp is 4, ebp is 5 */
	static const uint8_t program[] = {0x41, 0x0e, 8, 0x85, 2, 0x42, 0x0d, 5};
	struct image im;
	struct cfi_row row;

	(void)state;
	make_image(&im, true, program, sizeof(program));
	assert_int_equal(row_of(&im, true, BASE + 0x1000, &row), 0);
	assert_int_equal(row.cfa_reg, 4);
	assert_int_equal(row.cfa_offset, 4);
	check_saved(&row, CFI_RA, -4);
	assert_int_equal(row_of(&im, true, BASE + 0x1003, &row), 0);
	assert_int_equal(row.cfa_reg, 5);
	assert_int_equal(row.cfa_offset, 8);
	check_saved(&row, 5, -8);
}

/* Programs that must be refused, and what must not be. */
static const struct {
	const char *what;
	uint8_t program[24];
	uint8_t len;
	bool good;
} hostile[] = {
	{"nothing", {0}, 0, true},
	{"recall without remember", {0x0b}, 1, false},
	{"remember and recall", {0x0a, 0x0b}, 2, true},
	{"seventeen remembers", {10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10}, 17, false},
	{"unknown operation", {0x3d}, 1, false},
	{"set_loc", {0x01, 0, 0, 0, 0}, 5, false},
	{"block longer than the program", {0x0f, 0x7f}, 2, false},
	{"number without end",
	 {0x0e, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01},
	 13,
	 false},
	{"register of another kind", {0x0d, 0x7f}, 2, true},
	{"far register", {0x05, 0xff, 0x7f, 1}, 4, true},
};

static void test_hostile_programs(void **state)
{
	(void)state;
	for (size_t k = 0; k < sizeof(hostile) / sizeof(hostile[0]); k++) {
		struct image im;
		struct cfi_row row;
		int rc;

		make_image(&im, false, hostile[k].program, hostile[k].len);
		rc = row_of(&im, false, BASE + 0x1010, &row);
		if (rc != (hostile[k].good ? 0 : -2))
			fail_msg("%s: %d", hostile[k].what, rc);
	}
}

static void test_hostile_records(void **state)
{
	static const uint32_t lengths[] = {1, 3, 0xffffffff, 0xfffffffe, 0x7fffffff, 0x3000, 9000};
	struct image im;
	struct cfi_row row;

	(void)state;
	for (size_t k = 0; k < sizeof(lengths) / sizeof(lengths[0]); k++) {
		make_image(&im, false, NULL, 0);
		memcpy(im.b + FRAMES, &lengths[k], 4);
		assert_int_equal(row_of(&im, false, BASE + 0x1010, &row), -1);
	}
	make_image(&im, false, NULL, 0);
	im.b[FRAMES + 8] = 9; /* version */
	assert_int_equal(row_of(&im, false, BASE + 0x1010, &row), -1);
	make_image(&im, false, NULL, 0);
	assert_int_equal(row_of(&im, false, BASE + 0x1100, &row), -1); /* the first byte after */
	assert_int_equal(row_of(&im, false, BASE + 0x10ff, &row), 0);
}

struct pads {
	unsigned n;
	uint64_t at[4];
};

static void add_pad(void *arg, struct gva at)
{
	struct pads *p = arg;

	if (p->n < 4)
		p->at[p->n++] = at.v;
}

static void test_landing_pads(void **state)
{
	/* no base, no types, uleb128 call sites: two, the second with a pad at 0x25 */
	static const uint8_t lsda[] = {0xff, 0xff, 0x01, 8, 0, 5, 0, 0, 5, 9, 0x25, 1};
	struct image im = {.n = 0};
	struct cfi m = {.rd = {read_image, &im}, .low = {BASE}, .high = {BASE + sizeof(im.b)}};
	struct cfi_fde fde = {.start = {BASE + 0x1000}, .end = {BASE + 0x1100}, .lsda = {BASE + 0x40}};
	struct pads pads = {0};
	struct err e;

	(void)state;
	memcpy(im.b + 0x40, lsda, sizeof(lsda));
	assert_int_equal(cfi_landing_pads(&m, &fde, add_pad, &pads, &e), 0);
	assert_int_equal(pads.n, 1);
	assert_int_equal(pads.at[0], BASE + 0x1025);
	im.b[0x43] = 7; /* the table ends inside an entry */
	assert_int_equal(cfi_landing_pads(&m, &fde, add_pad, &pads, &e), -1);
	im.b[0x42] = 0x50; /* unknown encoding */
	assert_int_equal(cfi_landing_pads(&m, &fde, add_pad, &pads, &e), -1);
	fde.lsda = gva(BASE + 0x3000);
	assert_int_equal(cfi_landing_pads(&m, &fde, add_pad, &pads, &e), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden),		 cmocka_unit_test(test_scan_without_table),
		cmocka_unit_test(test_outside),		 cmocka_unit_test(test_search_without_header),
		cmocka_unit_test(test_plt_expression),	 cmocka_unit_test(test_plt_expression_32bit),
		cmocka_unit_test(test_realigned_stack),	 cmocka_unit_test(test_32bit),
		cmocka_unit_test(test_hostile_programs), cmocka_unit_test(test_hostile_records),
		cmocka_unit_test(test_landing_pads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
