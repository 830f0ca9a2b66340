/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A made-up program with one call of a library function, in both modes of the processor and with the object in each of
 * the places that bounds are for; its guard is made at one address and run at another.
 */
#ifndef CLOUDER_TESTS_GUARD_CALL_H
#define CLOUDER_TESTS_GUARD_CALL_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "guard_runner.h"
#include "patch/guard.h"

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 };

/* The image: code, data, stack. */
#define FUNCTION 0xc0u
#define SITE 0x100u
#define GUARD 0x400u
#define ROUTINE 0x700u
#define ORIGINAL_STUB 0x800u
#define HELPER_STUB 0x820u
#define ORIGINAL_SLOT 0x840u
#define HELPER_SLOT 0x848u
#define EXIT_SLOT 0x850u
#define SOURCE 0x1000u
#define FORMAT 0x1600u
#define WRITABLE 0x1800u
#define STATIC_END 0x1c00u
#define SP 0x6000u
#define CFA 0x7000u
#define CALLER_SLOT (CFA + 24)
#define CALLER_RETURN 0xf45u
#define END_OFFSET (-32)

#define MADE 0x20000000ull /* where the module was when the patch was made */
#define GUARD_MAX 132u /* of any guard; of those that are split 96 */
#define ELSEWHERE 0x31000000ull /* where it runs, if it can be moved */

enum form { FORM_REL, FORM_SLOT, FORM_REG, FORM_STACK, FORMS };

/* A way to reach the object and the callee. */
struct setting {
	bool is_32bit, fixed;
	enum bound_kind bound;
	uint8_t cfa_reg;
	enum form form;
};

extern const struct setting settings[];
#define SETTINGS 17

/* One call to be made. */
struct request {
	const struct setting *s;
	enum call_effect effect;
	const char *callee;
	uint8_t dst_arg, src_arg, len_arg, chk_arg;
	uint32_t size; /* of the object */
	int32_t dst; /* from its start */
	uint64_t arg[SEEN_ARGS]; /* dst_arg is filled in */
	unsigned n_args;
	int64_t helper_delta;
	bool helper_direct; /* no slot: a call of the helper itself */
	bool wrong_caller;
	bool split; /* the guard has its routine elsewhere */
	enum guard_callee original, helper;
};

extern struct guard_run run; /* what is run, then what came of it */
extern uint8_t image[IMAGE_SIZE], before[IMAGE_SIZE];
extern uint64_t base; /* where the image is when it runs */
extern unsigned guard_len;

unsigned word(const struct setting *s);
void put32(uint32_t at, uint64_t v);
void put_word(const struct setting *s, uint32_t at, uint64_t v);
/* The object's start in the image. */
uint32_t object(const struct request *rq);
struct finding make_finding(const struct request *rq);
/* A call read(7, destination, len) into an object of size bytes. */
struct request read_request(const struct setting *s, uint32_t size, uint64_t len);
/* The call as the compiler wrote it, at SITE; the bug instructions end with it. */
void put_call(const struct setting *s, struct finding *f);
void put_args(const struct request *rq);
/* ELF headers: what is from WRITABLE on can be written. */
void put_headers(const struct setting *s);
/* What reads the program where its patch was made. */
extern const struct code_reader made_reader;
/* Puts into the program how the site leads to a guard. */
void put_site(const struct finding *f, uint32_t guard);
/* The guard, and the jump to it; its strategy's name. */
const char *put_guard(const struct request *rq, const struct finding *f);
/* Registers and memory, but not the code. */
void begin_request(const struct request *rq);
/* Makes program and guard; strings and what else is to be there are put into the image afterwards. */
void run_request(struct request *rq);
/* Runs it; what came of it is in image, before and run. Registers that must be kept are checked. */
void go(const struct request *rq);
/* The same for code that calls nothing: registers are not checked. */
void go_anywhere(bool is_32bit);
/* Whether the guard has to do something about the call. */
bool inside(const struct request *rq);
/* The return value, as an int or as an offset in the image. */
int64_t result(const struct request *rq, bool pointer);
/* Memory is as it was, but for `len` bytes of the object at `at`, which are as wanted; arguments are not looked at. */
void check_memory(const struct request *rq, uint32_t at, const void *want, size_t len);
/*
 * The original ran as the program called it, with these arguments (NULL: its own), and returned to the program, except
 * from print guards.
 */
void check_called(const struct request *rq, const uint64_t *arg);

/* Starts and ends the runners. */
int guard_call_setup(void **state);
int guard_call_teardown(void **state);

#endif
