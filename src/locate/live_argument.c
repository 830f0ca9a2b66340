/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Arguments of the calls on a live stack. Registers that held them are lost, and where they are in memory a callee may have
 * put something else. The caller's code says what is left of where they came from: a place in its frame, a register that
 * calls keep, memory, or an argument of its own, which is looked for one frame further out.
 */
#include "locate/live_argument.h"

#include <stdlib.h>
#include <string.h>

#include "locate/arguments.h"
#include "locate/x86.h"

#define FRAMES_OUT 4u
#define FORMAT_MAX 4096u
#define PIECE 256u /* bytes of it that are read at once; a page is a whole number of them */

static bool read_word(const struct live *l, uint64_t at, uint64_t *ret)
{
	uint64_t v = 0;

	if (!code_read(&l->src.rd, gva(l->src.is_32bit ? (uint32_t)at : at), &v, l->src.is_32bit ? 4 : 8))
		return false;
	*ret = v;
	return true;
}

/* Where the code of frame k's function says that argument n comes from. */
static struct argument argument_in_code(const struct live *l, unsigned k, unsigned n)
{
	const struct chain_frame *c = &l->chain->frame[k];
	struct argument a = {ARGUMENT_UNKNOWN, 0, 0};
	const struct code_insn *ci;
	struct code_depth *depth;
	struct code_fn *fn;

	if (chain_frame_code(&l->src, c, &fn, NULL))
		return a;
	ci = c->exact ? NULL : chain_frame_insn(c, fn);
	depth = code_fn_depths_of_call(fn);
	if (ci && depth && ci->flow == CODE_CALL)
		a = argument_of_call(fn, depth, (uint32_t)(ci - fn->insn), n);
	free(depth);
	code_fn_destroy(fn);
	return a;
}

/* What an argument that is none of the function's own is in frame c. */
static bool value_of(const struct live *l, const struct chain_frame *c, const struct argument *a, uint64_t *ret)
{
	uint64_t v = (uint64_t)a->value;

	switch (a->kind) {
	case ARGUMENT_CONSTANT:
		*ret = v;
		return true;
	case ARGUMENT_WORD:
		return read_word(l, v, ret);
	case ARGUMENT_FRAME:
		*ret = c->cfa.v + v;
		return c->cfa.v != 0;
	case ARGUMENT_FRAME_WORD:
		return c->cfa.v && read_word(l, c->cfa.v + v, ret);
	case ARGUMENT_REGISTER:
		*ret = c->gpr[a->gpr] + v;
		return c->known >> a->gpr & 1;
	case ARGUMENT_REGISTER_WORD:
		return (c->known >> a->gpr & 1) && read_word(l, c->gpr[a->gpr] + v, ret);
	case ARGUMENT_PARAMETER:
	case ARGUMENT_UNKNOWN:
		break;
	}
	return false;
}

/* Where the caller put it, if that is memory: a callee may have used the place for something else. */
static bool in_memory(const struct live *l, const struct chain_frame *c, unsigned n, uint64_t *ret)
{
	if (l->src.is_32bit)
		return read_word(l, c->sp.v + 4 * (uint64_t)n, ret);
	return n >= ARGUMENTS_IN_REGISTERS && read_word(l, c->sp.v + 8 * (uint64_t)(n - ARGUMENTS_IN_REGISTERS), ret);
}

bool live_argument(const struct live *l, unsigned k, unsigned n, uint64_t *ret)
{
	for (unsigned out = 0; out < FRAMES_OUT && k > 0 && k < l->chain->n; out++, k++) {
		const struct chain_frame *c = &l->chain->frame[k];
		struct argument a;

		if (!c->module)
			return false;
		a = argument_in_code(l, k, n);
		if (a.kind != ARGUMENT_PARAMETER)
			return value_of(l, c, &a, ret) || in_memory(l, c, n, ret);
		n = (unsigned)a.value;
	}
	return false;
}

/* The bytes of [at, at + n), in one piece, with their labels; false: they cannot be read. */
static bool read_labels(const struct live *l, struct gva at, uint8_t *bytes, struct taint_label *labels, size_t n)
{
	struct vmi_page page;

	if (!vmi_translate(&l->task.space, at, &page) || !vmi_read(&l->task.space, at, bytes, n))
		return false;
	memset(labels, 0, n * sizeof(*labels));
	if (shadow_get(l->in->shadow, page.at, labels, n))
		taint_labels_drop_stale(labels, bytes, n);
	return true;
}

/* A number that was computed from the input has one origin in all of its bytes; each byte of a text has one of its own. */
static bool in_number(const struct taint_label *labels, size_t i, size_t n, uint32_t before)
{
	uint32_t origin = labels[i].origin;

	return origin && (origin == before || (i + 1 < n && origin == labels[i + 1].origin));
}

/* The zeros of a number do not end the text: a %n may have written it over its own format. */
bool live_hostile_format(const struct live *l, struct gva at, uint32_t *ret_first)
{
	struct taint_label labels[PIECE];
	uint8_t bytes[PIECE];
	bool hostile = false, ended = false;
	uint32_t first = 0, before = 0;
	size_t n;

	for (size_t done = 0; done < FORMAT_MAX && !ended; done += n) {
		struct gva from = gva_add(at, done);

		n = PIECE - from.v % PIECE;
		if (!read_labels(l, from, bytes, labels, n))
			return false;
		for (size_t i = 0; i < n && !ended; i++) {
			bool data = bytes[i] && !(labels[i].flags & TAINT_LABEL_BY_ADDRESS);
			uint32_t origin = data ? labels[i].origin & TAINT_POSITION : 0;

			ended = !bytes[i] && !in_number(labels, i, n, before);
			before = labels[i].origin;
			hostile |= bytes[i] == '%' && origin;
			if (origin && (!first || taint_origin_before(origin, first)))
				first = origin;
		}
	}
	*ret_first = first;
	return hostile;
}
