/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An error of the host or the operator, filled by the callee, handled by the caller. */
#ifndef CLOUDER_BASE_ERR_H
#define CLOUDER_BASE_ERR_H

#include <stdint.h>

enum err_code {
	ERR_OK = 0,
	ERR_SYSTEM, /* a system call failed; sys_errno says how */
	ERR_USAGE, /* wrong option or configuration */
	ERR_MISSING, /* something needed is not there */
	ERR_PROTOCOL, /* a peer does not speak what it should */
	ERR_LIMIT, /* a bound of ours was reached */
	ERR_STATE, /* not possible now */
	ERR_GUEST, /* guest memory does not hold what was looked for */
	ERR_REFUSED, /* possible, but not safe: CloudER does less */
	ERR_TIMEOUT,
	ERR_GONE, /* the peer process ended */
};

struct err {
	enum err_code code;
	int sys_errno; /* 0 if not from a system call */
	uint64_t addr; /* guest or file address it is about, 0 if none */
	char text[320]; /* one line, no newline: what, why, what to do */
};

#define MUST_CHECK __attribute__((warn_unused_result))

/* Fills *e (which may be NULL) and returns -1, so that a failing function can `return err_set(...)`. */
int err_set(struct err *e, enum err_code code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* As err_set with ERR_SYSTEM; appends ": " and strerror(errno). */
int err_set_errno(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* As err_set; also keeps the guest or file address that it is about. */
int err_set_addr(struct err *e, enum err_code code, uint64_t addr, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* Puts "prefix: " before the text of *e (cut to fit). Returns -1. */
int err_prefix(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A constant name of a code: "system", "usage", ... */
const char *err_code_name(enum err_code code);

#endif
