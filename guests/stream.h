/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two streams over one connection, and their checksums. A client sends its number (8 bytes, little endian) and then any bytes; for each
 * of them the service sends the next byte of the stream of that number. When the client has ended its side, the service sends
 * how many bytes came and their checksum (two numbers of 8 bytes), and closes.
 */
#ifndef GUESTS_STREAM_H
#define GUESTS_STREAM_H

#include <stddef.h>
#include <stdint.h>

#define STREAM_NUMBER_LEN 8u
#define STREAM_END_LEN 16u /* bytes, checksum */
#define STREAM_SUM 0xcbf29ce484222325ull /* of no bytes */

/* A stream (splitmix64), from its number or from where it was. */
static inline void stream_next(uint64_t *state, uint8_t *ret, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t z = *state += 0x9e3779b97f4a7c15ull;

		z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
		ret[i] = (uint8_t)(z >> 56);
	}
}

/* FNV-1a, from the sum of what came before. */
static inline uint64_t stream_sum(uint64_t sum, const uint8_t *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		sum = (sum ^ bytes[i]) * 0x100000001b3ull;
	return sum;
}

#endif
