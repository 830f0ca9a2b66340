/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A make-believe kernel's table of symbols, in each order of its parts: symbol n is called "t" or, for each 7th, "T", then "sym_"
 * and n in decimal; each 11th has a length of two bytes. Token 0x80 is "sym_", and the letters are themselves.
 */
#ifndef CLOUDER_TEST_KALLSYMS_IMAGE_H
#define CLOUDER_TEST_KALLSYMS_IMAGE_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define IMAGE_BASE 0xffffffff81000000ull
#define IMAGE_START 0xffffffff81800000ull /* where the table's memory begins in the guest */
#define IMAGE_BYTES 65536u
#define IMAGE_SYMBOLS 600u
#define IMAGE_PER_CPU 5u /* that many symbols come first, at 16, 32 and so on */

enum image_order { IMAGE_OLD, IMAGE_WITH_BASE, IMAGE_WITHOUT_BASE, IMAGE_ORDERS };

struct kallsyms_image {
	uint8_t bytes[IMAGE_BYTES];
	enum image_order order;
	size_t len, digits, count, offsets, base, markers, index, names;
};

static inline void image_put(struct kallsyms_image *im, const void *data, size_t len)
{
	memcpy(im->bytes + im->len, data, len);
	im->len += len;
}

static inline size_t image_align(struct kallsyms_image *im)
{
	size_t alignment = im->order == IMAGE_WITHOUT_BASE ? 4 : 8;

	im->len = (im->len + alignment - 1) & ~(alignment - 1);
	return im->len;
}

static inline void image_put_addresses(struct kallsyms_image *im, int per_cpu)
{
	uint64_t base = IMAGE_BASE;

	im->offsets = image_align(im);
	for (uint32_t i = 0; i < IMAGE_SYMBOLS; i++) {
		int32_t relative = (int32_t)(i * 16);

		if (per_cpu && i < IMAGE_PER_CPU)
			relative = (int32_t)(i + 1) * 16;
		else if (per_cpu)
			relative = -1 - relative;
		image_put(im, &relative, 4);
	}
	im->base = image_align(im);
	image_put(im, &base, 8);
}

/* Each counts from where it stands. */
static inline void image_put_distances(struct kallsyms_image *im)
{
	im->offsets = image_align(im);
	for (uint32_t i = 0; i < IMAGE_SYMBOLS; i++) {
		int32_t relative = (int32_t)(IMAGE_BASE + i * 16ull - (IMAGE_START + im->len));

		image_put(im, &relative, 4);
	}
}

static inline void image_put_names(struct kallsyms_image *im)
{
	uint32_t n = IMAGE_SYMBOLS, marker[IMAGE_SYMBOLS / 256 + 1], n_markers = 0;

	im->count = image_align(im);
	image_put(im, &n, 4);
	im->names = image_align(im);
	for (uint32_t i = 0; i < n; i++) {
		char digits[12];
		uint8_t head[] = {0, i % 7 ? 't' : 'T', 0x80};
		size_t len = (size_t)snprintf(digits, sizeof(digits), "%u", i);

		if (i % 256 == 0)
			marker[n_markers++] = (uint32_t)(im->len - im->names);
		head[0] = (uint8_t)(len + 2);
		if (i % 11 == 3) { /* a length of two bytes */
			image_put(im, &(uint8_t){head[0] | 0x80}, 1);
			head[0] = 0;
		}
		image_put(im, head, sizeof(head));
		image_put(im, digits, len);
	}
	im->markers = image_align(im);
	image_put(im, marker, 4ul * n_markers);
}

static inline void image_put_tokens(struct kallsyms_image *im)
{
	uint16_t index[256];
	size_t start = image_align(im);

	for (unsigned i = 0; i < 256; i++) {
		char token[8] = {(char)i, 0};

		if (i == 0x80)
			strcpy(token, "sym_");
		else if (i < ' ' || i > '~')
			strcpy(token, "xx");
		index[i] = (uint16_t)(im->len - start);
		if (i == '0')
			im->digits = im->len;
		image_put(im, token, strlen(token) + 1);
	}
	im->index = image_align(im);
	image_put(im, index, sizeof(index));
}

/* per_cpu: what has no base has none of these. */
static inline void image_init(struct kallsyms_image *im, enum image_order order, int per_cpu)
{
	memset(im, 0, sizeof(*im));
	im->order = order;
	im->len = order == IMAGE_WITHOUT_BASE ? 4100 : 4096;
	if (order == IMAGE_OLD)
		image_put_addresses(im, per_cpu);
	image_put_names(im);
	if (order == IMAGE_OLD)
		im->len += 3ul * IMAGE_SYMBOLS; /* their order by name */
	image_put_tokens(im);
	if (order == IMAGE_WITH_BASE)
		image_put_addresses(im, per_cpu);
	if (order == IMAGE_WITHOUT_BASE)
		image_put_distances(im);
}

#endif
