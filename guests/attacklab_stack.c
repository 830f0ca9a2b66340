/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Forms of the attack lab whose buffer is on the stack and is overrun straight up to the target.
 *
 * Where the target is a local variable it stands behind the buffer in one structure, so that no compiler can put it
 * elsewhere. A parameter is a structure given by value, which lies above the return address.
 */
#include "attacklab.h"
#include "attacklab_copy.h"

#include <setjmp.h>

/* A parameter that is passed in memory on every machine. */
struct param {
	void (*volatile call)(void);
	void *env[5];
};

struct lab_class {
	void (*act)(void);
};

static const struct lab_class safe_class = {lab_safe};

/* ---- return address ---- */

#define RET(how)                                                                                                       \
	static LAB_NOINLINE void stack_ret_##how(struct lab_input *in)                                                 \
	{                                                                                                              \
		char buf[LAB_BUF] = "";                                                                                \
                                                                                                                       \
		LAB_COPY_##how(buf, sizeof(buf), in);                                                                  \
		lab_answer(buf);                                                                                       \
	}
/* cppcheck-suppress invalidscanf; the error is meant */
LAB_COPIES(RET)

/* ---- saved frame pointer of a caller that has a frame ---- */

#define FRAME(how)                                                                                                     \
	static LAB_NOINLINE void stack_frame_inner_##how(struct lab_input *in)                                         \
	{                                                                                                              \
		char buf[LAB_BUF] = "";                                                                                \
                                                                                                                       \
		LAB_COPY_##how(buf, sizeof(buf), in);                                                                  \
		lab_answer(buf);                                                                                       \
	}                                                                                                              \
	static LAB_NOINLINE void stack_frame_##how(struct lab_input *in)                                               \
	{                                                                                                              \
		volatile char space[LAB_BUF];                                                                          \
                                                                                                                       \
		space[0] = 0;                                                                                          \
		stack_frame_inner_##how(in);                                                                           \
		space[1] = space[0];                                                                                   \
	}
FRAME(count)
FRAME(memcpy)

/* ---- function pointer ---- */

#define CALL(how)                                                                                                      \
	static LAB_NOINLINE void stack_call_##how(struct lab_input *in)                                                \
	{                                                                                                              \
		struct {                                                                                               \
			char buf[LAB_BUF];                                                                             \
			void (*volatile call)(void);                                                                   \
		} s = {"", lab_safe};                                                                                  \
                                                                                                                       \
		LAB_COPY_##how(s.buf, sizeof(s.buf), in);                                                              \
		s.call();                                                                                              \
		lab_answer(s.buf);                                                                                     \
	}
/* cppcheck-suppress invalidscanf; the error is meant */
LAB_COPIES(CALL)

#define PARAM(how)                                                                                                     \
	LAB_NOINLINE void stack_param_inner_##how(struct param p, struct lab_input *in);                               \
	LAB_NOINLINE void stack_param_inner_##how(struct param p, struct lab_input *in)                                \
	{                                                                                                              \
		char buf[LAB_BUF] = "";                                                                                \
                                                                                                                       \
		LAB_COPY_##how(buf, sizeof(buf), in);                                                                  \
		p.call();                                                                                              \
		lab_answer(buf);                                                                                       \
	}                                                                                                              \
	static LAB_NOINLINE void stack_param_##how(struct lab_input *in)                                               \
	{                                                                                                              \
		stack_param_inner_##how((struct param){lab_safe, {0}}, in);                                            \
	}
LAB_COPIES_FEW(PARAM)

/* ---- pointer to a table of functions ---- */

#define CLASS(how)                                                                                                     \
	static LAB_NOINLINE void stack_class_##how(struct lab_input *in)                                               \
	{                                                                                                              \
		struct {                                                                                               \
			char buf[LAB_BUF];                                                                             \
			const struct lab_class *volatile class;                                                        \
		} s = {"", &safe_class};                                                                               \
                                                                                                                       \
		LAB_COPY_##how(s.buf, sizeof(s.buf), in);                                                              \
		s.class->act();                                                                                        \
		lab_answer(s.buf);                                                                                     \
	}
LAB_COPIES_FEW(CLASS)

/* ---- where a jump leads ---- */

#define JUMP(how)                                                                                                      \
	static LAB_NOINLINE void stack_jump_##how(struct lab_input *in)                                                \
	{                                                                                                              \
		struct {                                                                                               \
			char buf[LAB_BUF];                                                                             \
			void *env[5];                                                                                  \
		} s = {.buf = ""};                                                                                     \
                                                                                                                       \
		if (__builtin_setjmp(s.env) == 0) {                                                                    \
			LAB_COPY_##how(s.buf, sizeof(s.buf), in);                                                      \
			lab_hop(s.env);                                                                                \
		}                                                                                                      \
		lab_answer(s.buf);                                                                                     \
	}
LAB_COPIES_FEW(JUMP)

#define JUMP_PARAM(how)                                                                                                \
	LAB_NOINLINE void stack_jump_param_inner_##how(struct param p, struct lab_input *in);                          \
	LAB_NOINLINE void stack_jump_param_inner_##how(struct param p, struct lab_input *in)                           \
	{                                                                                                              \
		char buf[LAB_BUF] = "";                                                                                \
                                                                                                                       \
		if (__builtin_setjmp(p.env) == 0) {                                                                    \
			LAB_COPY_##how(buf, sizeof(buf), in);                                                          \
			lab_hop(p.env);                                                                                \
		}                                                                                                      \
		lab_answer(buf);                                                                                       \
	}                                                                                                              \
	static LAB_NOINLINE void stack_jump_param_##how(struct lab_input *in)                                          \
	{                                                                                                              \
		stack_jump_param_inner_##how((struct param){lab_safe, {0}}, in);                                       \
	}
LAB_COPIES_FEW(JUMP_PARAM)

/* The library's own: glibc keeps the addresses in it scrambled, so an attacker can only crash it. */
static LAB_NOINLINE void stack_longjmp(struct lab_input *in)
{
	struct {
		char buf[LAB_BUF];
		jmp_buf env;
	} s = {.buf = ""};

	if (setjmp(s.env) == 0) {
		LAB_COPY_strcpy(s.buf, sizeof(s.buf), in);
		longjmp(s.env, 1);
	}
	lab_answer(s.buf);
}

#define RET_ROW(how)                                                                                                   \
	{.name = "stack-ret-" #how,                                                                                    \
	 .serve = stack_ret_##how,                                                                                     \
	 .way = "direct",                                                                                              \
	 .bytes = LAB_BYTES_##how,                                                                                     \
	 .culprits = "stack_ret_" #how ",lab_format",                                                                  \
	 .reads = LAB_READS_##how},
#define FRAME_ROW(how)                                                                                                 \
	{.name = "stack-frame-" #how,                                                                                  \
	 .serve = stack_frame_##how,                                                                                   \
	 .way = "frame",                                                                                               \
	 .bytes = LAB_BYTES_##how,                                                                                     \
	 .culprits = "stack_frame_inner_" #how},
#define CALL_ROW(how)                                                                                                  \
	{.name = "stack-call-" #how,                                                                                   \
	 .serve = stack_call_##how,                                                                                    \
	 .way = "direct",                                                                                              \
	 .distance = LAB_BUF - LAB_PREFIX_##how,                                                                       \
	 .bytes = LAB_BYTES_##how,                                                                                     \
	 .culprits = "stack_call_" #how ",lab_format",                                                                 \
	 .reads = LAB_READS_##how},
#define PARAM_ROW(how)                                                                                                 \
	{.name = "stack-param-" #how,                                                                                  \
	 .serve = stack_param_##how,                                                                                   \
	 .way = "direct",                                                                                              \
	 .target = "hit:2",                                                                                            \
	 .bytes = LAB_BYTES_##how,                                                                                     \
	 .culprits = "stack_param_inner_" #how},
#define CLASS_ROW(how)                                                                                                 \
	{.name = "stack-class-" #how,                                                                                  \
	 .serve = stack_class_##how,                                                                                   \
	 .way = "object",                                                                                              \
	 .distance = LAB_BUF,                                                                                          \
	 .bytes = LAB_BYTES_##how,                                                                                     \
	 .culprits = "stack_class_" #how},
#define JUMP_ROW(how)                                                                                                  \
	{.name = "stack-jump-" #how,                                                                                   \
	 .serve = stack_jump_##how,                                                                                    \
	 .way = "direct",                                                                                              \
	 .distance = LAB_BUF + (int)sizeof(void *),                                                                    \
	 .bytes = LAB_BYTES_##how,                                                                                     \
	 .culprits = "stack_jump_" #how},
#define JUMP_PARAM_ROW(how)                                                                                            \
	{.name = "stack-jump-param-" #how,                                                                             \
	 .serve = stack_jump_param_##how,                                                                              \
	 .way = "direct",                                                                                              \
	 .target = "hit:2",                                                                                            \
	 .bytes = LAB_BYTES_##how,                                                                                     \
	 .culprits = "stack_jump_param_inner_" #how},

/* The distance of the last row is how many bytes the crash needs. */
const struct lab_form lab_stack_forms[] = {
	/* clang-format off: it takes the list for an expression */
	LAB_COPIES(RET_ROW) FRAME_ROW(count) FRAME_ROW(memcpy) LAB_COPIES(CALL_ROW) LAB_COPIES_FEW(PARAM_ROW)
		LAB_COPIES_FEW(CLASS_ROW) LAB_COPIES_FEW(JUMP_ROW)
			LAB_COPIES_FEW(JUMP_PARAM_ROW){.name = "stack-longjmp-strcpy",
						       .serve = stack_longjmp,
						       .way = "fill",
						       .distance = LAB_BUF + (int)sizeof(jmp_buf),
						       .bytes = "text",
						       .culprits = "stack_longjmp"},
	{.name = NULL},
	/* clang-format on */
};
