/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Patch files: what is read must make sense, and be the same when it is written and read again. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "store/patch_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct patch_record r, again;
	struct patch_signer signer;
	char *text;

	if (patch_file_read((const char *)data, size, &r, &signer, NULL) < 0)
		return 0;
	assert(patch_record_check(&r, NULL) == 0);
	text = patch_file_write(&r, NULL, NULL);
	assert(text && patch_file_read(text, strlen(text), &again, &signer, NULL) == 0);
	assert(patch_record_same(&r, &again));
	free(text);
	return 0;
}
