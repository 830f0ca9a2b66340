/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whose the overrun bytes were: an object of a frame, static data, or a heap chunk, and how far it reaches. */
#ifndef CLOUDER_LOCATE_OBJECT_H
#define CLOUDER_LOCATE_OBJECT_H

#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"
#include "locate/chain.h"
#include "locate/finding.h"
#include "locate/symtab.h"
#include "vmi/vmi.h"

enum object_kind {
	OBJECT_STACK,
	OBJECT_STATIC,
	OBJECT_CHUNK,
};

/* What is known when the object is looked for, while its frame is alive and nothing behind it is damaged yet. */
struct object_input {
	const struct chain_source *src;
	const struct chain *chain;
	const struct vmi_vma *maps; /* of the process, in address order */
	unsigned n_maps;
	/* Tables with names of the objects of a module, at most max; returns how many. */
	unsigned (*symbols)(void *arg, const struct vmi_module *m, struct symtab *ret, unsigned max);
	void *arg; /* of symbols */
	struct gva run; /* first byte that the overflow wrote */
	struct gva error; /* first byte of what it corrupted that was noticed */
};

struct object {
	enum object_kind kind;
	struct gva start, end; /* bytes that may be written; start is the run's where the object's own is not known */
	unsigned frame; /* OBJECT_STACK: whose; number in the chain */
	const struct vmi_module *module; /* OBJECT_STATIC: in the chain */
	uint64_t
		part_of; /* OBJECT_CHUNK: the object is the beginning of a chunk with this size in its header; 0: all of it */
	bool mapped; /* OBJECT_CHUNK: the chunk has a mapping of its own */
	bool exact; /* start and end are told by a symbol or a chunk's header */
	char text[FINDING_TEXT_MAX];
};

/* ERR_REFUSED: the object's end is not sure. */
int object_find(const struct object_input *in, struct object *ret, struct err *e) MUST_CHECK;

#endif
