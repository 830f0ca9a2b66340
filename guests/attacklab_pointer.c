/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Forms of the attack lab in two steps: the overflow replaces a pointer, and the program writes the attacker's word through it.
 *
 * A request of more than LAB_BUF bytes ends with that word. The pointer stands behind the buffer in one structure; what it
 * is made to point at may be anywhere: a return address, a saved frame pointer, a local variable or a parameter.
 */
#include "attacklab.h"
#include "attacklab_copy.h"

#include <stdlib.h>

/* What is overrun, wherever it is. */
struct over {
	char buf[LAB_BUF];
	long *volatile p;
};

/* Targets that are local variables, or a parameter when it is given by value. */
struct targets {
	void (*volatile call)(void);
	void *env[5];
};

static long spare;

/* Splits a request into what is copied and the word that is stored then. */
static long split(struct lab_input *in, struct lab_input *ret_copied)
{
	long word = 0;

	*ret_copied = *in;
	if (in->size > LAB_BUF) {
		ret_copied->size -= sizeof(word);
		memcpy(&word, in->bytes + ret_copied->size, sizeof(word));
	}
	return word;
}

#define OVER_stack struct over over = {.buf = ""}, *o = &over
#define OVER_static                                                                                                    \
	static struct over over;                                                                                       \
	struct over *o = memset(&over, 0, sizeof(over))
#define OVER_heap struct over *o = calloc(1, sizeof(*o))
#define DONE_stack (void)0
#define DONE_static (void)0
#define DONE_heap free(o)

/* What is done before and after the store. */
#define FIRST_ret true
#define THEN_ret (void)0
#define FIRST_frame true
#define THEN_frame (void)0
#define FIRST_call true
#define THEN_call local.call()
#define FIRST_param true
#define THEN_param param.call()
#define FIRST_jump __builtin_setjmp(local.env) == 0
#define THEN_jump lab_hop(local.env)
#define FIRST_jumpparam __builtin_setjmp(param.env) == 0
#define THEN_jumpparam lab_hop(param.env)
#define FIRST_hook true
#define THEN_hook lab_hook()
#define FIRST_got true
#define THEN_got (void)getppid()

#define POINTER(where, target, how)                                                                                    \
	LAB_NOINLINE void where##_pointer_##target##_##how##_in(struct targets param, struct lab_input *in);           \
	LAB_NOINLINE void where##_pointer_##target##_##how##_in(struct targets param, struct lab_input *in)            \
	{                                                                                                              \
		struct targets local = param;                                                                          \
		struct lab_input copied;                                                                               \
		long word = split(in, &copied);                                                                        \
		OVER_##where;                                                                                          \
                                                                                                                       \
		if (!o)                                                                                                \
			return;                                                                                        \
		o->p = &spare;                                                                                         \
		if (FIRST_##target) {                                                                                  \
			LAB_COPY_##how(o->buf, sizeof(o->buf), &copied);                                               \
			*o->p = word;                                                                                  \
			THEN_##target;                                                                                 \
		}                                                                                                      \
		lab_answer(o->buf);                                                                                    \
		DONE_##where;                                                                                          \
		(void)local;                                                                                           \
	}                                                                                                              \
	static LAB_NOINLINE void where##_pointer_##target##_##how(struct lab_input *in)                                \
	{                                                                                                              \
		where##_pointer_##target##_##how##_in((struct targets){lab_safe, {0}}, in);                            \
	}

/* Each target with each way to copy that lets a whole address through. */
#define TARGETS(X, where)                                                                                              \
	X(where, ret, count)                                                                                           \
	X(where, ret, memcpy)                                                                                          \
	X(where, frame, count)                                                                                         \
	X(where, frame, memcpy)                                                                                        \
	X(where, call, count)                                                                                          \
	X(where, call, memcpy)                                                                                         \
	X(where, param, count)                                                                                         \
	X(where, param, memcpy)                                                                                        \
	X(where, jump, count)                                                                                          \
	X(where, jump, memcpy)                                                                                         \
	X(where, jumpparam, count)                                                                                     \
	X(where, jumpparam, memcpy)                                                                                    \
	X(where, hook, count)                                                                                          \
	X(where, hook, memcpy)                                                                                         \
	X(where, got, count)                                                                                           \
	X(where, got, memcpy)

TARGETS(POINTER, stack)
TARGETS(POINTER, static)
TARGETS(POINTER, heap)

/* Of what is reached on the stack, from its far end: the own frame comes first, then the parameters. */
#define AT_ret "stack:1"
#define AT_frame "stack:1"
#define AT_call "stack:1"
#define AT_param "stack:2"
#define AT_jump "stack:1"
#define AT_jumpparam "stack:2"
#define AT_hook "symbol:lab_hook"
#define AT_got "got:getppid"
#define VALUE_ret "pointer"
#define VALUE_frame "pointer-frame"
#define VALUE_call "pointer"
#define VALUE_param "pointer"
#define VALUE_jump "pointer"
#define VALUE_jumpparam "pointer"
#define VALUE_hook "pointer"
#define VALUE_got "pointer"

#define POINTER_ROW(where, target_, how)                                                                               \
	{.name = #where "-pointer-" #target_ "-" #how,                                                                 \
	 .serve = where##_pointer_##target_##_##how,                                                                   \
	 .way = VALUE_##target_,                                                                                       \
	 .target = AT_##target_,                                                                                       \
	 .distance = LAB_BUF,                                                                                          \
	 .bytes = "any",                                                                                               \
	 .culprits = #where "_pointer_" #target_ "_" #how "_in"},

const struct lab_form lab_pointer_forms[] = {
	/* clang-format off: it takes the list for an expression */
	TARGETS(POINTER_ROW, stack) TARGETS(POINTER_ROW, static) TARGETS(POINTER_ROW, heap){.name = NULL},
	/* clang-format on */
};
