/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The kernel's table of symbols: each order of its parts, and tables that lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kallsyms_image.h"
#include "test_vmi_guest.h"

#define TABLE_AT 0x480000u /* in the image */

static struct kallsyms_image im;

struct look {
	unsigned n, per_cpu;
};

static bool is_as_made(void *arg, const struct vmi_symbol *s)
{
	struct look *l = arg;
	char name[32];

	snprintf(name, sizeof(name), "sym_%u", l->n);
	assert_string_equal(s->name, name);
	assert_int_equal(s->type, l->n % 7 ? 't' : 'T');
	if (l->per_cpu && l->n < IMAGE_PER_CPU)
		assert_int_equal(s->at.v, (l->n + 1) * 16);
	else
		assert_int_equal(s->at.v, IMAGE_BASE + l->n * 16);
	l->n++;
	return true;
}

static void each_order(void **state)
{
	(void)state;
	for (unsigned kind = 0; kind < 5; kind++) {
		enum image_order order = kind / 2;
		struct look l = {.per_cpu = kind & 1};
		struct vmi_symbols *s;
		struct err e = {0};

		image_init(&im, order, kind & 1);
		assert_true(order < IMAGE_ORDERS);
		if (order == IMAGE_WITHOUT_BASE)
			assert_true(im.count % 8 && im.len % 8); /* aligned to no more than 4 */
		assert_int_equal(vmi_symbols_parse(im.bytes, im.len, gva(IMAGE_START), im.digits, &s, &e), 0);
		vmi_symbols_each(s, is_as_made, &l);
		assert_int_equal(l.n, IMAGE_SYMBOLS);
		vmi_symbols_free(s);
	}
}

static void refused(const char *why)
{
	struct vmi_symbols *s = NULL;
	struct err e = {0};

	assert_int_equal(vmi_symbols_parse(im.bytes, im.len, gva(IMAGE_START), im.digits, &s, &e), -1);
	assert_null(s);
	assert_int_equal(e.code, ERR_GUEST);
	if (!strstr(e.text, why))
		fail_msg("%s", e.text);
}

static void tables_that_lie(void **state)
{
	(void)state;
	image_init(&im, IMAGE_WITH_BASE, 1);
	im.bytes[im.index + 300]++;
	refused("no table");
	image_init(&im, IMAGE_WITH_BASE, 1);
	im.len = im.index + 511; /* ends in the index */
	refused("no table");
	image_init(&im, IMAGE_WITH_BASE, 1);
	memset(im.bytes + im.digits, 'x', 100); /* too long for a token */
	refused("no table");
	image_init(&im, IMAGE_WITH_BASE, 1);
	im.bytes[im.markers + 4]++;
	refused("not known");
	image_init(&im, IMAGE_WITH_BASE, 1);
	im.bytes[im.count + 1] = 0x40; /* more symbols than there is room for */
	refused("not known");
	image_init(&im, IMAGE_WITH_BASE, 1);
	im.bytes[im.names] = 0xff; /* a name that goes on for long */
	im.bytes[im.names + 1] = 0xff;
	refused("not known");
	image_init(&im, IMAGE_WITH_BASE, 1);
	memset(im.bytes + im.offsets + 100, 0x80, 1); /* addresses out of order */
	refused("no addresses");
	image_init(&im, IMAGE_WITH_BASE, 1);
	memset(im.bytes + im.base, 0, 8); /* no kernel is there */
	refused("no addresses");
	image_init(&im, IMAGE_WITH_BASE, 1);
	im.len = im.base + 7;
	refused("no addresses");
	image_init(&im, IMAGE_OLD, 0);
	memset(im.bytes + im.base, 0, 8);
	refused("no addresses");
	image_init(&im, IMAGE_WITHOUT_BASE, 0);
	im.bytes[im.index + 300]++;
	refused("no table");
	image_init(&im, IMAGE_WITHOUT_BASE, 0);
	im.bytes[im.offsets + 3] = 0; /* addresses out of order */
	refused("no table");
	image_init(&im, IMAGE_WITHOUT_BASE, 0);
	memcpy(im.bytes + im.offsets, &(int32_t){INT32_MIN}, 4); /* no kernel is there */
	refused("no table");
}

static void found_in_the_image(void **state)
{
	/* The digits in one page, and across the end of one after each of them. */
	struct vmi_symbol got[4];
	struct err e = {0};

	(void)state;
	for (unsigned shift = 0; shift <= 24; shift += 2) {
		struct guest g;
		uint64_t at;

		guest_init(&g);
		image_init(&im, IMAGE_WITH_BASE, 1);
		at = TABLE_AT + (4096 - im.digits % 4096) - shift / 8 * 8;
		guest_put(&g, at, im.bytes, im.len);
		assert_int_equal(vmi_symbols(g.vmi, "sym_1?", 0, got, 4, &e), 4);
		assert_string_equal(got[1].name, "sym_11");
		assert_int_equal(got[1].at.v, IMAGE_BASE + 11 * 16);
		assert_int_equal(vmi_symbols(g.vmi, "*_1?", 8, got, 4, &e), 2);
		assert_string_equal(got[1].name, "sym_19");
		assert_int_equal(vmi_symbols(g.vmi, "*5*9*", 0, got, 4, &e), 4);
		assert_string_equal(got[0].name, "sym_59");
		assert_int_equal(vmi_symbols(g.vmi, "sym_", 0, got, 4, &e), 0);
		guest_deinit(&g);
	}
}

/* Where each offset counts from where it stands, addresses move with the table. */
static void without_a_base(void **state)
{
	struct vmi_symbol got[2];
	struct err e = {0};
	struct guest g;

	(void)state;
	guest_init(&g);
	image_init(&im, IMAGE_WITHOUT_BASE, 0);
	guest_put(&g, TABLE_AT + 8, im.bytes, im.len);
	assert_int_equal(vmi_symbols(g.vmi, "sym_1?", 0, got, 2, &e), 2);
	assert_string_equal(got[1].name, "sym_11");
	assert_int_equal(got[1].at.v - IMAGE_BASE - 11 * 16, guest_kva(TABLE_AT + 8) - IMAGE_START);
	guest_deinit(&g);
}

static void not_in_the_image(void **state)
{
	struct vmi_symbol got[4];
	struct err e = {0};
	struct guest g;

	(void)state;
	guest_init(&g);
	assert_int_equal(vmi_symbols(g.vmi, "*", 0, got, 4, &e), -1);
	assert_int_equal(e.code, ERR_GUEST);
	image_init(&im, IMAGE_WITH_BASE, 1);
	guest_put(&g, 0x200000, im.bytes, im.len); /* a process's memory */
	assert_int_equal(vmi_symbols(g.vmi, "*", 0, got, 4, &e), -1);
	im.bytes[im.index + 300]++;
	for (unsigned i = 0; i < 20; i++) /* what only looks like one does not take long */
		guest_put(&g, TABLE_AT + i * im.len / 8 * 8, im.bytes, im.len);
	assert_int_equal(vmi_symbols(g.vmi, "*", 0, got, 4, &e), -1);
	guest_deinit(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_order),	      cmocka_unit_test(tables_that_lie),
		cmocka_unit_test(found_in_the_image), cmocka_unit_test(without_a_base),
		cmocka_unit_test(not_in_the_image),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
