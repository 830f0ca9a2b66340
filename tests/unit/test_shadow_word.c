/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Labels of words are what those of single bytes are. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "test_shadow.h"

#define GPA_LIMIT (1ull << 20)
#define AT 0x3008u

static const uint8_t bytes[SHADOW_WORD_MAX] = "0123456789abcdef";
static const uint32_t origins[SHADOW_WORD_MAX] = {7, 8, 0, 9, 3, 3, 3, 0, 1, 2, 3, 4, 5, 6, 7, 8};

static int setup(void **state)
{
	int rc = shadow_setup(state, GPA_LIMIT, 4);

	if (!rc)
		shadow_header(((struct fixture *)*state)->sh)->n_vcpus = 1;
	return rc;
}

/* What shadow_set() would have to be told. */
static void expect_labels(const struct shadow *sh, unsigned n, uint16_t writer)
{
	struct taint_label label[SHADOW_WORD_MAX];

	shadow_get(sh, gpa(AT), label, n);
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(label[i].origin, origins[i]);
		assert_int_equal(label[i].writer, origins[i] ? writer : 0);
		assert_int_equal(label[i].value, origins[i] ? bytes[i] : 0);
		assert_int_equal(label[i].flags, 0);
	}
}

static void test_words(void **state)
{
	struct shadow *sh = ((struct fixture *)*state)->sh;

	for (unsigned n = 1; n <= SHADOW_WORD_MAX; n *= 2) {
		uint32_t got[SHADOW_WORD_MAX];
		unsigned tainted = 0;

		for (unsigned i = 0; i < n; i++)
			tainted += origins[i] != 0;
		shadow_clear(sh, gpa(AT), SHADOW_WORD_MAX);
		set1(sh, AT - 1, 1, 1); /* there is a slot */
		assert_true(shadow_set_word(sh, gpa(AT), bytes, origins, 4, n));
		assert_true(shadow_set_word(sh, gpa(AT), bytes, origins, 5, n));
		expect_labels(sh, n, 5);
		expect_count(sh, 1, tainted + 1);
		assert_int_equal(shadow_lines(sh, gpa(AT)), 1);
		assert_int_equal(shadow_get_word(sh, gpa(AT), bytes, n, got), SHADOW_WORD_TAINTED);
		assert_memory_equal(got, origins, n * sizeof(*got));
		assert_int_equal(shadow_get_word(sh, gpa(AT), NULL, n, got), SHADOW_WORD_TAINTED);
	}
}

/* A page's key changes and its line is marked when a clean one becomes tainted. */
static void test_first_of_page(void **state)
{
	struct shadow *sh = ((struct fixture *)*state)->sh;
	uint64_t key;

	assert_false(shadow_set_word(sh, gpa(AT), bytes, origins, 5, 8)); /* no slot */
	set1(sh, AT, 1, 1);
	shadow_clear(sh, gpa(AT), 1);
	assert_int_equal(shadow_lines(sh, gpa(AT)), 0);
	key = shadow_line(sh, 0)->key;
	assert_true(shadow_set_word(sh, gpa(AT + 64), bytes, origins, 5, 8));
	assert_int_equal(shadow_lines(sh, gpa(AT)), 2);
	assert_int_not_equal(key, shadow_line(sh, 0)->key);
	expect_count(sh, 1, 6);
}

static void test_what_is_else(void **state)
{
	struct shadow *sh = ((struct fixture *)*state)->sh;
	struct taint_label flagged = {.origin = 4, .value = '2', .flags = TAINT_LABEL_BY_ADDRESS};
	uint8_t other[SHADOW_WORD_MAX];
	uint32_t got[SHADOW_WORD_MAX];

	memcpy(other, bytes, sizeof(other));
	assert_int_equal(shadow_get_word(sh, gpa(AT), bytes, 4, got), SHADOW_WORD_CLEAN);
	set1(sh, AT, 1, 1);
	assert_true(shadow_set_word(sh, gpa(AT), bytes, origins, 5, 8));
	assert_int_equal(shadow_get_word(sh, gpa(AT), bytes, 3, got), SHADOW_WORD_ELSE);
	other[2] ^= 1; /* clean: whatever it is */
	assert_int_equal(shadow_get_word(sh, gpa(AT), other, 4, got), SHADOW_WORD_TAINTED);
	other[1] ^= 1; /* stale */
	assert_int_equal(shadow_get_word(sh, gpa(AT), other, 4, got), SHADOW_WORD_ELSE);
	shadow_set(sh, gpa(AT + 2), &flagged, 1);
	assert_int_equal(shadow_get_word(sh, gpa(AT), bytes, 4, got), SHADOW_WORD_ELSE);
	assert_int_equal(shadow_get_word(sh, gpa(AT), NULL, 4, got), SHADOW_WORD_ELSE);
	assert_int_equal(shadow_get_word(sh, gpa(GPA_LIMIT), bytes, 4, got), SHADOW_WORD_CLEAN);
}

static void test_copied_first(void **state)
{
	struct shadow *sh = ((struct fixture *)*state)->sh;

	set1(sh, AT, 1, 1);
	shadow_epoch_begin(sh);
	assert_false(shadow_set_word(sh, gpa(AT), bytes, origins, 5, 8));
	set1(sh, AT, 2, 1);
	assert_true(shadow_set_word(sh, gpa(AT), bytes, origins, 5, 8));
	shadow_header(sh)->n_vcpus = 2;
	assert_false(shadow_set_word(sh, gpa(AT), bytes, origins, 5, 8));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_words, setup, shadow_teardown),
		cmocka_unit_test_setup_teardown(test_first_of_page, setup, shadow_teardown),
		cmocka_unit_test_setup_teardown(test_what_is_else, setup, shadow_teardown),
		cmocka_unit_test_setup_teardown(test_copied_first, setup, shadow_teardown),
	};

	return cmocka_run_group_tests_name("shadow_word", tests, NULL, NULL);
}
