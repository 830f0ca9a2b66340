/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Forms of the attack lab whose buffer is static or on the heap and is overrun straight up to the target. */
#include "attacklab.h"
#include "attacklab_copy.h"

#include <stdlib.h>

/* What stands behind a buffer. */
struct holder {
	void (*volatile call)(void);
	struct lab_class {
		void (*act)(void);
	} const *volatile class;
	char rest[LAB_BUF - 2 * sizeof(void *)]; /* makes chunks that are neighbours the same size */
};

static const struct lab_class safe_class = {lab_safe};

static const struct holder safe_holder = {.call = lab_safe, .class = &safe_class};

/* ---- in .bss ---- */

#define STATIC_CALL(how)                                                                                               \
	static struct {                                                                                                \
		char buf[LAB_BUF];                                                                                     \
		void (*volatile call)(void);                                                                           \
	} static_call_##how##_at;                                                                                      \
	static LAB_NOINLINE void static_call_##how(struct lab_input *in)                                               \
	{                                                                                                              \
		memset(&static_call_##how##_at, 0, sizeof(static_call_##how##_at));                                    \
		static_call_##how##_at.call = lab_safe;                                                                \
		LAB_COPY_##how(static_call_##how##_at.buf, sizeof(static_call_##how##_at.buf), in);                    \
		static_call_##how##_at.call();                                                                         \
		lab_answer(static_call_##how##_at.buf);                                                                \
	}
/* cppcheck-suppress invalidscanf; the error is meant */
LAB_COPIES(STATIC_CALL)

#define STATIC_CLASS(how)                                                                                              \
	static struct {                                                                                                \
		char buf[LAB_BUF];                                                                                     \
		const struct lab_class *volatile class;                                                                \
	} static_class_##how##_at;                                                                                     \
	static LAB_NOINLINE void static_class_##how(struct lab_input *in)                                              \
	{                                                                                                              \
		memset(&static_class_##how##_at, 0, sizeof(static_class_##how##_at));                                  \
		static_class_##how##_at.class = &safe_class;                                                           \
		LAB_COPY_##how(static_class_##how##_at.buf, sizeof(static_class_##how##_at.buf), in);                  \
		static_class_##how##_at.class->act();                                                                  \
		lab_answer(static_class_##how##_at.buf);                                                               \
	}
LAB_COPIES_FEW(STATIC_CLASS)

#define STATIC_JUMP(how)                                                                                               \
	static struct {                                                                                                \
		char buf[LAB_BUF];                                                                                     \
		void *env[5];                                                                                          \
	} static_jump_##how##_at;                                                                                      \
	static LAB_NOINLINE void static_jump_##how(struct lab_input *in)                                               \
	{                                                                                                              \
		memset(&static_jump_##how##_at, 0, sizeof(static_jump_##how##_at));                                    \
		if (__builtin_setjmp(static_jump_##how##_at.env) == 0) {                                               \
			LAB_COPY_##how(static_jump_##how##_at.buf, sizeof(static_jump_##how##_at.buf), in);            \
			lab_hop(static_jump_##how##_at.env);                                                           \
		}                                                                                                      \
		lab_answer(static_jump_##how##_at.buf);                                                                \
	}
LAB_COPIES_FEW(STATIC_JUMP)

/* ---- on the heap: from one chunk into the next ---- */

/* A zeroed buffer and a holder that was allocated right after it; calloc() would not take back what was freed. */
static void allocate(char **ret_buf, struct holder **ret_holder)
{
	*ret_buf = malloc(LAB_BUF);
	*ret_holder = malloc(sizeof(**ret_holder));
	if (!*ret_buf || !*ret_holder)
		abort();
	memset(*ret_buf, 0, LAB_BUF);
	**ret_holder = safe_holder;
}

#define HEAP(what, how, use)                                                                                           \
	static LAB_NOINLINE void heap_##what##_##how(struct lab_input *in)                                             \
	{                                                                                                              \
		struct holder *h;                                                                                      \
		char *buf;                                                                                             \
                                                                                                                       \
		allocate(&buf, &h);                                                                                    \
		LAB_COPY_##how(buf, (size_t)LAB_BUF, in);                                                              \
		use;                                                                                                   \
		lab_answer(buf);                                                                                       \
		free(h);                                                                                               \
		free(buf);                                                                                             \
	}
#define HEAP_CALL(how) HEAP(call, how, h->call())
/* cppcheck-suppress invalidscanf; the error is meant */
LAB_COPIES(HEAP_CALL)
#define HEAP_CLASS(how) HEAP(class, how, h->class->act())
LAB_COPIES_FEW(HEAP_CLASS)
/* Nothing is called: the allocator's own data are destroyed. */
#define HEAP_CHUNK(how) HEAP(chunk, how, (void)0)
LAB_COPIES_FEW(HEAP_CHUNK)

#define STATIC_ROW(where, what, way_, distance_, how)                                                                  \
	{.name = #where "-" #what "-" #how,                                                                            \
	 .serve = where##_##what##_##how,                                                                              \
	 .way = (way_),                                                                                                \
	 .distance = (distance_),                                                                                      \
	 .bytes = LAB_BYTES_##how,                                                                                     \
	 .culprits = #where "_" #what "_" #how ",lab_format",                                                          \
	 .reads = LAB_READS_##how},
#define STATIC_CALL_ROW(how) STATIC_ROW(static, call, "direct", LAB_BUF - LAB_PREFIX_##how, how)
#define STATIC_CLASS_ROW(how) STATIC_ROW(static, class, "object", LAB_BUF, how)
#define STATIC_JUMP_ROW(how) STATIC_ROW(static, jump, "direct", LAB_BUF + (int)sizeof(void *), how)
#define HEAP_CALL_ROW(how) STATIC_ROW(heap, call, "direct", 0, how)
#define HEAP_CLASS_ROW(how) STATIC_ROW(heap, class, "object", 0, how)
#define HEAP_CHUNK_ROW(how) STATIC_ROW(heap, chunk, "fill", 2 * LAB_BUF, how)

const struct lab_form lab_static_forms[] = {
	/* clang-format off: it takes the list for an expression */
	LAB_COPIES(STATIC_CALL_ROW) LAB_COPIES_FEW(STATIC_CLASS_ROW) LAB_COPIES_FEW(STATIC_JUMP_ROW)
		LAB_COPIES(HEAP_CALL_ROW) LAB_COPIES_FEW(HEAP_CLASS_ROW) LAB_COPIES_FEW(HEAP_CHUNK_ROW){.name = NULL},
	/* clang-format on */
};
