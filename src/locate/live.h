/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the steps of locating on a live stack share. */
#ifndef CLOUDER_LOCATE_LIVE_H
#define CLOUDER_LOCATE_LIVE_H

#include "locate/callee.h"
#include "locate/chain.h"
#include "locate/code.h"
#include "locate/locate.h"
#include "locate/machine.h"
#include "locate/object.h"
#include "locate/symtab.h"

#define LIVE_MAPS_MAX 1024u

/* Names of one module, read when they are first asked for. */
struct live_names {
	const struct live *live;
	const struct vmi_module *module;
	bool tried, has_dynamic, has_symtab;
	struct dynamic dynamic;
	struct symtab symtab;
};

struct live {
	const struct locate_input *in;
	struct finding *f;
	struct vmi_task task;
	struct chain_source src;
	struct vmi_vma *maps; /* LIVE_MAPS_MAX */
	unsigned n_maps;
	struct chain *chain;
	struct live_names names[CHAIN_MODULES_MAX]; /* of the chain's modules, in their order */
	struct machine *machine; /* NULL: not needed so far */
	struct {
		const char *name; /* NULL: none */
		bool tried;
		bool by_tail; /* of one that it was left for, with arguments of its own */
	} behaviour[CHAIN_MAX]; /* of the function that a frame called */
	struct gva library; /* where the C library begins in a static program; 0: not known */
	bool in_kernel; /* the writer is kernel code */
	bool indexed; /* the input chose where, not what, was written */
	uint64_t number; /* of the system call that it serves */
	/* the culprit */
	unsigned frame; /* in the chain */
	const struct callee_known *callee; /* NULL: not known */
	struct gva call_slot; /* the pointer that the call goes through; 0: none */
	struct cfi_fde fde;
	struct code_fn *fn;
};

/* Names of a module of the chain; what it has not stays NULL in *ret. */
void live_source(struct live *l, const struct vmi_module *m, struct callee_source *ret);
/* Tables with names of a module's objects, for object_find(); arg is the struct live. */
unsigned live_symbols(void *arg, const struct vmi_module *m, struct symtab *ret, unsigned max);
/* The name of the function that frame k is in. false: not known. */
bool live_function_name(struct live *l, unsigned k, char ret[SYMTAB_NAME_MAX]);

/* Which frame is the culprit's, and what it calls if it is not the innermost: fills the culprit's fields of *l and l->f. */
int live_find_culprit(struct live *l, struct err *e) MUST_CHECK;
/*
 * Makes the call that frame k is in the midst of the culprit: fills the culprit's fields of *l and l->f. *l is as
 * live_forget_culprit() leaves it.
 */
int live_set_call(struct live *l, unsigned k, struct err *e) MUST_CHECK;
/*
 * After that: the culprit is rather the jump at ci, to the named function, with which the called function was left. Takes
 * over its code, fn.
 */
void live_set_tail(struct live *l, const struct cfi_fde *fde, struct code_fn *fn, const struct code_insn *ci,
		   const char *name);
/* Takes that back. before: what *l->f was. */
void live_forget_culprit(struct live *l, const struct finding *before);
/* Whether a module is the C library, that of C++, or the loader. */
bool live_is_c_library(const struct vmi_module *m);
/* The function that does the same with a length, as a pointer of the culprit's module and a distance. */
void live_find_helper(struct live *l);
/*
 * What in the culprit's frame points to the beginning of the object, a heap chunk, whenever the culprit runs: fills has_base,
 * base and start_offset of l->f if there is such a register or word. For a call start_offset is its destination's, if that can be told.
 */
void live_find_base(struct live *l, const struct object *o);
/* Whether the culprit, a call, always writes to an array of its own frame, or behind it: fills own_array of l->f, and where the
 * array is the object begins there at the latest. */
void live_find_array(struct live *l);

/*
 * What the function that frame k called, k at least 1, does: the name of one that does the same. Only for functions of the C
 * library in a static program without names; NULL for others, and if it is not known. Which kinds are looked for depends on the
 * detector.
 */
const char *live_behaviour(struct live *l, unsigned k);
/* Whether that is what the called function was left for by a jump, with other arguments than it got. */
bool live_behaviour_by_tail(struct live *l, unsigned k);
/* The same for where a jump leads that was taken in frame k's call: gives it a name if it has none. */
void live_name_target(struct live *l, unsigned k, struct callee_target *to);
/* Whether frame k is in the library of such a program. */
bool live_in_nameless_library(struct live *l, unsigned k);
/* The outermost frame from `first` on that has such a call; else `first`. */
unsigned live_frame_by_behaviour(struct live *l, unsigned first);
/* The function in that program's library that does what vsnprintf does. false: not found. */
bool live_vsnprintf(struct live *l, struct gva *ret);

/* Whether the pointer that failed was read by an index from outside of its table, in a frame: nothing is wrong where it was read. */
bool live_strayed(struct live *l);

/* Where the object is, in terms of the culprit's frame: fills the object's fields of l->f. */
int live_find_bounds(struct live *l, struct err *e) MUST_CHECK;

#endif
