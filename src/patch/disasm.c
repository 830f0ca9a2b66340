/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disassembly for people. */
#include "patch/patch.h"

#include <inttypes.h>
#include <stdio.h>

#include "locate/x86.h"

#define BYTES_COLUMN 31 /* ten bytes */

/* As snprintf's caller would have it: how much of `want` fits. */
static size_t fitting(int want, size_t room)
{
	if (want < 0)
		return 0;
	return (size_t)want < room ? (size_t)want : room - 1;
}

size_t patch_disassemble(bool is_32bit, const uint8_t *bytes, size_t len, uint64_t at, char *ret, size_t size)
{
	unsigned mode = is_32bit ? X86_MODE_32 : X86_MODE_64;
	size_t n = 0, off = 0;

	if (!size)
		return 0;
	ret[0] = '\0';
	while (off < len && n + 1 < size) {
		struct x86_insn in;
		size_t step = x86_decode_mode(mode, bytes + off, len - off, &in) ? in.i.length : 1;
		char hex[3 * X86_INSN_MAX + 1] = "", text[128];

		for (size_t k = 0; k < step; k++)
			snprintf(hex + 3 * k, sizeof(hex) - 3 * k, "%02x ", bytes[off + k]);
		x86_text_mode(mode, bytes + off, len - off, at + off, text, sizeof(text));
		n += fitting(snprintf(ret + n, size - n, "%" PRIx64 "  %-*s %s\n", at + off, BYTES_COLUMN, hex, text),
			     size - n);
		off += step;
	}
	return n;
}
