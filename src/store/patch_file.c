/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Patches as signed text: see patch_file.h. */
#include "store/patch_file.h"

#include <stdlib.h>
#include <string.h>

#include "store/fields.h"

#define FORMAT "clouder-patch"
#define DOMAIN "clouder-patch 1\n"

struct signature {
	struct field_bytes key, value;
};

static const struct field signature_fields[] = {
	FIELD_OF(signature, FIELD_BYTES, key),
	FIELD_OF(signature, FIELD_BYTES, value),
};

#define N_SIGNATURE_FIELDS (sizeof(signature_fields) / sizeof(signature_fields[0]))

/* What is signed; a new string. */
static char *signed_text(const json_t *patch)
{
	char *body = json_dumps(patch, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENSURE_ASCII), *text = NULL;

	if (body && asprintf(&text, "%s%s", DOMAIN, body) < 0)
		text = NULL;
	free(body);
	return text;
}

static json_t *sign(const json_t *patch, const struct patch_key *k, struct err *e)
{
	struct signature s = {.key.len = PATCH_KEY_BYTES, .value.len = PATCH_SIGNATURE_BYTES};
	char *text = signed_text(patch);
	json_t *j = json_object();

	memcpy(s.key.byte, k->public, PATCH_KEY_BYTES);
	if (!text || !j)
		err_set(e, ERR_SYSTEM, "out of memory");
	else if (patch_key_sign(k, text, strlen(text), s.value.byte, e) == 0 &&
		 fields_to_json(signature_fields, N_SIGNATURE_FIELDS, &s, j) == 0)
		goto out;
	json_decref(j);
	j = NULL;
out:
	free(text);
	return j;
}

char *patch_file_write(const struct patch_record *r, const struct patch_key *k, struct err *e)
{
	json_t *patch = patch_record_to_json(r), *signature = NULL, *j = NULL;
	char *text = NULL, *whole = NULL;

	err_set(e, ERR_SYSTEM, "out of memory");
	if (patch && (!k || (signature = sign(patch, k, e))))
		j = json_pack("{s:s, s:i, s:O}", "format", FORMAT, "version", (int)patch_record_version(r), "patch",
			      patch);
	if (j && (!signature || json_object_set(j, "signature", signature) == 0))
		text = json_dumps(j, JSON_INDENT(2) | JSON_ENSURE_ASCII);
	if (text && asprintf(&whole, "%s\n", text) < 0)
		whole = NULL;
	free(text);
	json_decref(j);
	json_decref(signature);
	json_decref(patch);
	return whole;
}

static int check_format(const json_t *j, struct err *e)
{
	const char *format = json_string_value(json_object_get(j, "format"));
	const json_t *version = json_object_get(j, "version");

	if (!format || strcmp(format, FORMAT) != 0)
		return err_set(e, ERR_PROTOCOL, "not a patch of clouder (format is not \"" FORMAT "\")");
	if (!json_is_integer(version) || json_integer_value(version) < 1)
		return err_set(e, ERR_PROTOCOL, "version: not a version");
	if (json_integer_value(version) > PATCH_FILE_VERSION)
		return err_set(e, ERR_PROTOCOL,
			       "made by a newer clouder (version %lld, this one knows %d): use that one",
			       (long long)json_integer_value(version), PATCH_FILE_VERSION);
	return 0;
}

static int check_signature(const json_t *j, const json_t *patch, struct patch_signer *ret, struct err *e)
{
	struct signature s = {0};
	char *text;
	bool good;

	if (json_object_size(j) != N_SIGNATURE_FIELDS ||
	    fields_from_json(signature_fields, N_SIGNATURE_FIELDS, j, true, &s, NULL) < 0 ||
	    s.key.len != PATCH_KEY_BYTES || s.value.len != PATCH_SIGNATURE_BYTES)
		return err_set(e, ERR_PROTOCOL, "signature: not a key and a value");
	text = signed_text(patch);
	if (!text)
		return err_set(e, ERR_SYSTEM, "out of memory");
	good = patch_key_verify(s.key.byte, text, strlen(text), s.value.byte);
	free(text);
	if (!good)
		return err_set(e, ERR_REFUSED, "the signature does not fit: it was changed after it was signed");
	ret->is_signed = true;
	memcpy(ret->key, s.key.byte, PATCH_KEY_BYTES);
	return 0;
}

static int read_object(const json_t *j, struct patch_record *ret, struct patch_signer *ret_signer, struct err *e)
{
	const json_t *patch = json_object_get(j, "patch"), *signature = json_object_get(j, "signature");
	struct patch_signer signer = {0};
	struct patch_record r;
	unsigned version;

	if (check_format(j, e) < 0)
		return -1;
	version = (unsigned)json_integer_value(json_object_get(j, "version"));
	if (json_object_size(j) != (signature ? 4 : 3))
		return err_set(e, ERR_PROTOCOL, "it has members that version %u does not know, or none that is needed",
			       version);
	if (signature && check_signature(signature, patch, &signer, e) < 0)
		return -1;
	if (patch_record_from_json(patch, version, &r, e) < 0)
		return err_prefix(e, "patch");
	if (signer.is_signed)
		patch_key_text(signer.key, r.signer);
	*ret = r;
	*ret_signer = signer;
	return 0;
}

int patch_file_read(const char *text, size_t len, struct patch_record *ret, struct patch_signer *ret_signer,
		    struct err *e)
{
	json_error_t why;
	json_t *j;
	int rc;

	if (len > PATCH_FILE_MAX)
		return err_set(e, ERR_PROTOCOL, "more than %d bytes: not a patch", PATCH_FILE_MAX);
	j = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);
	if (!j)
		return err_set(e, ERR_PROTOCOL, "line %d: %.160s", why.line, why.text);
	rc = read_object(j, ret, ret_signer, e);
	json_decref(j);
	return rc;
}
