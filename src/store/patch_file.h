/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A patch as a file, to be handed to other hosts.
 *
 * JSON: {"format": "clouder-patch", "version": N, "patch": {...}, "signature": {"key": HEX, "value": HEX}}. What is signed
 * (Ed25519) is the line "clouder-patch 1" and the object "patch" without blanks, its members sorted by name and what is not
 * ASCII escaped; so a file may be laid out anew and stays good. A file without "signature" is not signed. Version 2 names the
 * build of a caller in another file, for guards that ask for one; others are of version 1.
 *
 * The file is code that will run in virtual machines, and may come from an enemy: whether its key is one to trust is asked by
 * patch_key_is_trusted().
 */
#ifndef CLOUDER_STORE_PATCH_FILE_H
#define CLOUDER_STORE_PATCH_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "store/patch_key.h"
#include "store/patch_record.h"

#define PATCH_FILE_VERSION 2
#define PATCH_FILE_MAX 65536 /* bytes */

/* Who vouches for it. */
struct patch_signer {
	bool is_signed;
	uint8_t key[PATCH_KEY_BYTES];
};

/* The file's text, signed with k (NULL: not signed), a new string that ends with a line's end; NULL with *e on failure. */
char *patch_file_write(const struct patch_record *r, const struct patch_key *k, struct err *e) MUST_CHECK;
/*
 * Reads len bytes. A signature that is there must be right, by whatever key. ERR_PROTOCOL: not such a file; ERR_REFUSED: it was
 * changed after it was signed.
 */
int patch_file_read(const char *text, size_t len, struct patch_record *ret, struct patch_signer *ret_signer,
		    struct err *e) MUST_CHECK;

#endif
