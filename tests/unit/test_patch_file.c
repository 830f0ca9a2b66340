/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Patches as files: written and read, signed, and what is wrong refused with a word for it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "store/patch_file.h"
#include "patch_record.h"

static char dir[64];

static int set_up(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/clouder-test-XXXXXX");
	return mkdtemp(dir) ? setenv("CLOUDER_STATE_DIR", dir, 1) : -1;
}

static int tear_down(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

static struct patch_key key(uint8_t n)
{
	const uint8_t seed[PATCH_KEY_BYTES] = {n};
	struct patch_key k;

	assert_int_equal(patch_key_from_seed(seed, &k, NULL), 0);
	return k;
}

static json_t *sample(bool with_signature)
{
	struct patch_record r = sample_record();
	struct patch_key k = key(1);
	char *text = patch_file_write(&r, with_signature ? &k : NULL, NULL);
	json_t *j = json_loads(text, 0, NULL);

	assert_non_null(j);
	free(text);
	return j;
}

/* Reads j, which is given up. The error's text, or "" if it was read. */
static const char *verdict(json_t *j, struct patch_record *ret, struct patch_signer *ret_signer)
{
	static struct err e;
	char *text = json_dumps(j, 0);

	e.text[0] = 0;
	if (patch_file_read(text, strlen(text), ret, ret_signer, &e) == 0)
		e.text[0] = 0;
	free(text);
	json_decref(j);
	return e.text;
}

static void test_and_back(void **state)
{
	struct patch_record r = sample_record(), back;
	struct patch_key k = key(1);
	struct patch_signer signer;
	char text[PATCH_KEY_TEXT_MAX];

	(void)state;
	assert_string_equal(verdict(sample(false), &back, &signer), "");
	assert_false(signer.is_signed);
	assert_memory_equal(&back, &r, sizeof(r));
	assert_true(patch_record_same(&back, &r));

	assert_string_equal(verdict(sample(true), &back, &signer), "");
	assert_true(signer.is_signed);
	assert_memory_equal(signer.key, k.public, sizeof(k.public));
	patch_key_text(k.public, text);
	assert_string_equal(back.signer, text);
	back.guard.byte[0]++;
	assert_false(patch_record_same(&back, &r));
}

/* Each changes one member of what is written; "": the member goes. */
static const struct {
	const char *member, *value; /* JSON */
	const char *says;
} broken[] = {
	{"vm", "", "vm is missing"},
	{"vm", "7", "vm: not a string"},
	{"more", "1", "does not know"},
	{"path", "\"bin/server\"", "from the root"},
	{"path", "\"/a\\u0000b\"", "line 1"},
	{"build_id", "\"0102\"", "8 to 32 bytes"},
	{"build_id", "\"\"", "8 to 32 bytes"},
	{"bits", "16", "neither 32 nor 64"},
	{"bits", "-64", "not a count"},
	{"strategy", "\"\"", "not a name"},
	{"strategy", "\"a b\"", "not a name"},
	{"home", "\"heap\"", "neither cave nor process"},
	{"site_offset", "\"0xffffffffffffff00\"", "out of range"},
	{"site_offset", "\"0x2000\"", "not a jump or a call"},
	{"site_offset", "4096", "not an address"},
	{"original", "\"8884\"", "not the same"},
	{"before", "\"88840500\"", "not the same"},
	{"before", "\"888405b0fffff\"", "not bytes as pairs"},
	{"before", "\"888405b0ffffFF\"", "not a hexadecimal digit"},
	{"after", "\"e8fb1f00009090\"", "not a jump or a call"},
	{"after", "\"e9fb1f000090cc\"", "not a jump or a call"},
	{"after", "\"e9fb1f00009090909090909090909090909090\"", "not the same"},
	{"guard", "\"\"", "guard: empty"},
	{"guard_offset", "\"0x1001\"", "out of range"},
	{"guard_offset", "\"0x3001\"", "not a jump or a call"},
	{"routine_offset", "\"0x80000000000\"", "out of range"},
	{"part_at", "256", "out of range"},
	{"lower", "65536", "out of range"},
	{"lower", "4294967296", "not a count"},
	{"cfa_reg", "16", "out of range"},
	{"cfa_offset", "2147483648", "not a whole number"},
	{"culprit_offset", "\"0xfff\"", "not among"},
	{"culprit_len", "8", "not among"},
	{"culprit_len", "0", "not among"},
	{"kind", "\"jump\"", "not a kind"},
	{"effect", "3", "not a effect"},
	{"bound", "\"stack\"", "not a bound"},
	{"pointer_store", "0", "not true or false"},
	{"history", "", "not a list"},
	{"history", "[1]", "not a time and a text"},
	{"history", "[{\"time_ms\":1,\"text\":2}]", "not a string"},
	{"history", "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]", "not a list"},
};

static void test_broken(void **state)
{
	struct patch_record r = {.id = 77};
	struct patch_signer signer;

	(void)state;
	for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
		json_t *j = sample(false), *patch = json_object_get(j, "patch");
		const char *got;

		json_object_del(patch, broken[i].member);
		if (*broken[i].value)
			json_object_set_new(patch, broken[i].member,
					    json_loads(broken[i].value, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL));
		got = verdict(j, &r, &signer);
		if (!strstr(got, broken[i].says))
			fail_msg("%s = %s: \"%s\"", broken[i].member, broken[i].value, got);
		assert_int_equal(r.id, 77); /* untouched */
	}
}

static void test_guard_too_long(void **state)
{
	char hex[2 * (FIELD_BYTES_MAX + 1) + 1];
	json_t *j = sample(false);
	struct patch_record r;
	struct patch_signer signer;

	(void)state;
	memset(hex, 'a', sizeof(hex) - 1);
	hex[sizeof(hex) - 1] = 0;
	json_object_set_new(json_object_get(j, "patch"), "guard", json_string(hex));
	assert_non_null(strstr(verdict(j, &r, &signer), "at most 152"));
}

static const struct {
	const char *text, *says;
} no_files[] = {
	{"", "line 1"},
	{"[]", "not a patch of clouder"},
	{"{\"format\":\"clouder-patch\",\"format\":\"clouder-patch\"}", "duplicate"},
	{"{\"format\":\"other\",\"version\":1}", "not a patch of clouder"},
	{"{\"format\":\"clouder-patch\",\"version\":\"1\"}", "not a version"},
	{"{\"format\":\"clouder-patch\",\"version\":0}", "not a version"},
	{"{\"format\":\"clouder-patch\",\"version\":3}", "newer clouder"},
	{"{\"format\":\"clouder-patch\",\"version\":1}", "members"},
	{"{\"format\":\"clouder-patch\",\"version\":1,\"patch\":[]}", "not a JSON object"},
	{"{\"format\":\"clouder-patch\",\"version\":1,\"patch\":{}}", "is missing"},
	{"{\"format\":\"clouder-patch\",\"version\":1,\"patch\":{},\"x\":1}", "members"},
	{"{\"format\":\"clouder-patch\",\"version\":1,\"patch\":{},\"signature\":1}", "not a key and a value"},
};

static void test_no_files(void **state)
{
	struct patch_record r;
	struct patch_signer signer;
	struct err e;
	char *large = calloc(1, PATCH_FILE_MAX + 1);

	(void)state;
	for (size_t i = 0; i < sizeof(no_files) / sizeof(no_files[0]); i++) {
		assert_int_equal(patch_file_read(no_files[i].text, strlen(no_files[i].text), &r, &signer, &e), -1);
		if (!strstr(e.text, no_files[i].says))
			fail_msg("%s: \"%s\"", no_files[i].text, e.text);
	}
	assert_int_equal(patch_file_read(large, PATCH_FILE_MAX + 1, &r, &signer, &e), -1);
	assert_non_null(strstr(e.text, "more than"));
	free(large);
}

/* A caller in another file is of version 2, and of no other. */
static void test_caller_build(void **state)
{
	struct patch_record r = sample_record(), back;
	struct patch_signer signer;
	json_t *j;
	char *text;

	(void)state;
	r.caller_build_id = (struct field_bytes){20, {7, 8, 9}};
	text = patch_file_write(&r, NULL, NULL);
	j = json_loads(text, 0, NULL);
	free(text);
	assert_int_equal(json_integer_value(json_object_get(j, "version")), 2);
	assert_string_equal(verdict(json_deep_copy(j), &back, &signer), "");
	assert_memory_equal(&back, &r, sizeof(r));
	json_object_set_new(j, "version", json_integer(1));
	assert_non_null(strstr(verdict(json_deep_copy(j), &back, &signer), "version 1 does not know"));
	json_object_set_new(j, "version", json_integer(2));
	json_object_set_new(json_object_get(j, "patch"), "caller_build_id", json_string("0102"));
	assert_non_null(strstr(verdict(json_deep_copy(j), &back, &signer), "caller_build_id: not 8 to 32 bytes"));
	json_object_del(json_object_get(j, "patch"), "caller_build_id");
	assert_non_null(strstr(verdict(j, &back, &signer), "caller_build_id is missing"));
}

/* What is signed is all of the patch, and nothing else. */
static void test_signature(void **state)
{
	struct patch_record r;
	struct patch_signer signer;
	struct patch_key other = key(2);
	char text[PATCH_KEY_TEXT_MAX];
	json_t *j = sample(true), *s;

	(void)state;
	json_object_set_new(json_object_get(j, "patch"), "reason", json_string("none"));
	assert_non_null(strstr(verdict(j, &r, &signer), "changed after it was signed"));

	j = sample(true);
	s = json_object_get(j, "signature");
	patch_key_text(other.public, text);
	json_object_set_new(s, "key", json_string(text));
	assert_non_null(strstr(verdict(j, &r, &signer), "changed after it was signed"));

	j = sample(true);
	s = json_object_get(j, "signature");
	json_object_set_new(s, "value", json_string("00"));
	assert_non_null(strstr(verdict(j, &r, &signer), "not a key and a value"));
	/* without one it is a file that nobody vouches for */
	j = sample(true);
	json_object_del(j, "signature");
	assert_string_equal(verdict(j, &r, &signer), "");
	assert_false(signer.is_signed);
}

static void put_file(const char *name, const char *text, mode_t mode)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	assert_int_equal(chmod(path, mode), 0);
}

static void test_own_key(void **state)
{
	struct patch_key a, b;
	struct stat st;
	char path[128];
	struct err e;
	bool trusted = false;

	(void)state;
	assert_int_equal(patch_key_load(&a, &e), 0);
	assert_int_equal(patch_key_load(&b, &e), 0);
	assert_memory_equal(&a, &b, sizeof(a));
	snprintf(path, sizeof(path), "%s/patch.key", dir);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(patch_key_is_trusted(a.public, &trusted, &e), 0);
	assert_true(trusted);

	assert_int_equal(chmod(path, 0640), 0);
	assert_int_equal(patch_key_load(&a, &e), -1);
	assert_int_equal(e.code, ERR_REFUSED);
	put_file("patch.key", "clouder-patch-secret 00\n", 0600);
	assert_int_equal(patch_key_load(&a, &e), -1);
	assert_int_equal(e.code, ERR_PROTOCOL);
}

static void test_trusted_keys(void **state)
{
	struct patch_key k = key(1);
	char text[PATCH_KEY_TEXT_MAX], line[128], path[128];
	struct err e;
	bool trusted = true;

	(void)state;
	assert_int_equal(patch_key_is_trusted(k.public, &trusted, &e), 0);
	assert_false(trusted);
	snprintf(path, sizeof(path), "%s/trusted-keys", dir);
	assert_int_equal(mkdir(path, 0700), 0);
	patch_key_text(k.public, text);
	snprintf(line, sizeof(line), "clouder-patch-key %s\n", text);
	put_file("trusted-keys/other.txt", line, 0600);
	put_file("trusted-keys/.hidden.pub", line, 0600);
	put_file("trusted-keys/bad.pub", text, 0600);
	snprintf(line, sizeof(line), "clouder-patch-key %s0\n", text);
	put_file("trusted-keys/long.pub", line, 0600);
	assert_int_equal(patch_key_is_trusted(k.public, &trusted, &e), 0);
	assert_false(trusted);
	snprintf(line, sizeof(line), "clouder-patch-key %s\n", text);
	put_file("trusted-keys/other.pub", line, 0600);
	assert_int_equal(patch_key_is_trusted(k.public, &trusted, &e), 0);
	assert_true(trusted);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_and_back),
		cmocka_unit_test(test_broken),
		cmocka_unit_test(test_guard_too_long),
		cmocka_unit_test(test_no_files),
		cmocka_unit_test(test_caller_build),
		cmocka_unit_test(test_signature),
		cmocka_unit_test_setup_teardown(test_own_key, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_trusted_keys, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
