/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What fuzzers of files and pages share: an input changes bytes of something that is right.
 *
 * Input: records of an offset (2 bytes, modulo the size), a length (1 byte, at most 16 used) and that many bytes.
 */
#ifndef CLOUDER_TEST_FUZZ_RECORDS_H
#define CLOUDER_TEST_FUZZ_RECORDS_H

#include <stdint.h>
#include <string.h>

#define RECORD_BYTES 16u

/* byte: total bytes, more than RECORD_BYTES. */
static inline void records_change(uint8_t *byte, size_t total, const uint8_t *data, size_t size)
{
	while (size >= 3) {
		size_t at = (data[0] | (size_t)data[1] << 8) % (total - RECORD_BYTES), n = data[2] % (RECORD_BYTES + 1);

		data += 3;
		size -= 3;
		n = n < size ? n : size;
		memcpy(byte + at, data, n);
		data += n;
		size -= n;
	}
}

#endif
