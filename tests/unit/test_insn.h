/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Instructions as text, for the tests of their semantics. */
#ifndef TESTS_UNIT_TEST_INSN_H
#define TESTS_UNIT_TEST_INSN_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "plugin/core/insn.h"

static inline unsigned from_hex(const char *s, uint8_t *ret)
{
	unsigned n = 0;

	for (; s[0] && s[1]; s += 2) {
		unsigned byte;

		assert_int_equal(sscanf(s, "%2x", &byte), 1);
		ret[n++] = (uint8_t)byte;
	}
	return n;
}

/* code is hex; in front of it "32:" for 32-bit code, "user:" for user mode. */
static inline unsigned compile_text(const char *code, struct taint_insn *ret)
{
	uint8_t bytes[16];
	const char *hex = strrchr(code, ':') ? strrchr(code, ':') + 1 : code;
	unsigned n = from_hex(hex, bytes);
	unsigned len = taint_insn_compile(strstr(code, "32:") ? 32 : 64, strstr(code, "user:"), bytes, n, ret);

	if (len != n)
		fail_msg("%s: length %u", code, len);
	return len;
}

#endif
