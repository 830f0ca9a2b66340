/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Keys that patches are signed with (Ed25519).
 *
 * STATE_DIR/patch.key is this host's secret, made when it is first needed, mode 0600: one line, "clouder-patch-secret" and
 * 64 hexadecimal digits. Each file STATE_DIR/trusted-keys/NAME.pub has the line that `clouder patch key` prints on another
 * host: "clouder-patch-key" and 64 digits.
 */
#ifndef CLOUDER_STORE_PATCH_KEY_H
#define CLOUDER_STORE_PATCH_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define PATCH_KEY_BYTES 32
#define PATCH_KEY_TEXT_MAX 65 /* digits and NUL */
#define PATCH_SIGNATURE_BYTES 64

struct patch_key {
	uint8_t public[PATCH_KEY_BYTES];
	uint8_t secret[64]; /* libsodium's form */
};

/* This host's key; makes it if there is none. ERR_REFUSED: others can read its file. */
int patch_key_load(struct patch_key *ret, struct err *e) MUST_CHECK;
/* From 32 random bytes that nobody else knows. */
int patch_key_from_seed(const uint8_t seed[PATCH_KEY_BYTES], struct patch_key *ret, struct err *e) MUST_CHECK;
void patch_key_text(const uint8_t public[PATCH_KEY_BYTES], char ret[PATCH_KEY_TEXT_MAX]);
/* Whether it is this host's or among the trusted ones. -1: they cannot be read. */
int patch_key_is_trusted(const uint8_t public[PATCH_KEY_BYTES], bool *ret, struct err *e) MUST_CHECK;

/* -1: the library cannot be used. */
int patch_key_sign(const struct patch_key *k, const void *text, size_t len, uint8_t ret[PATCH_SIGNATURE_BYTES],
		   struct err *e) MUST_CHECK;
bool patch_key_verify(const uint8_t public[PATCH_KEY_BYTES], const void *text, size_t len,
		      const uint8_t signature[PATCH_SIGNATURE_BYTES]);

#endif
