/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From a detection to its culprit: see locate.c for the algorithm (the paper's, section 3.1, with
 * bounds made relative to the frame).
 */
#ifndef CLOUDER_LOCATE_LOCATE_H
#define CLOUDER_LOCATE_LOCATE_H

#include "base/err.h"
#include "locate/finding.h"
#include "plugin/core/shadow.h"
#include "taint_abi.h"
#include "vmi/vmi.h"

/* A patch that is in the process: the program is looked at as it was without. */
struct locate_patch {
	struct gva site, culprit; /* the bytes displaced, and the instruction among them that is guarded */
	uint8_t site_len, culprit_len;
	uint8_t before[FINDING_BUG_MAX];
	struct gva guard;
	uint8_t guard_len;
	const char *callee; /* what the culprit calls, as struct finding has it; NULL: not known */
	uint8_t culprit_at; /* where in the guard the culprit itself runs; LOCATE_NOWHERE: it does not */
	uint16_t
		lower; /* bytes by which the stack is deeper where the guard does the culprit's work itself; 0: not known */
};
#define LOCATE_NOWHERE 0xffu

struct locate_input {
	struct vmi *vmi;
	const struct shadow *shadow;
	const struct taint_msg_detect *detect;
	/* for locate_live(): a write that does not hit a return address of the stack, at error_address, is not the one meant */
	bool return_hit;
	const struct locate_patch *patches;
	size_t n_patches;
};

/* Puts back what patches displaced in the bytes that were read at `at`. */
void locate_unpatch(const struct locate_input *in, struct gva at, void *bytes, size_t len);

/* The patch in whose guard pc is; NULL: none. */
const struct locate_patch *locate_guard_at(const struct locate_input *in, struct gva pc);

/*
 * If *pc is in a patch's guard: makes it the culprit's, or where a call at the culprit returns to if pc is a return address, and
 * *sp (NULL: not needed) what it is there.
 */
void locate_unguard(const struct locate_input *in, bool is_return, struct gva *pc, uint64_t *sp);

/*
 * Fills *ret as far as it gets; on failure (-1) the fields known so far are
 * still filled (all zero otherwise), so that an incident can tell what is known.
 * ERR_GUEST: guest structures do not lead to a culprit. ERR_REFUSED: a culprit was found, but no bounds that are sure.
 */
int locate_culprit(const struct locate_input *in, struct finding *ret, struct err *e) MUST_CHECK;

/*
 * From the moment at which the culprit's write happens again (in->detect: TAINT_DETECT_WATCH), with the stack alive: the innermost frame that belongs to the program or to a library other than the C library,
 * and in it the store, or the call that led to it. Two detections need no second run: TAINT_DETECT_POINTER, where the store
 * itself may be that of a hostile format, and TAINT_DETECT_ABORT, where a checking function ends the program. first: what locate_culprit() found before, if only error_address and
 * start_address; these two need nothing of it. *ret as for locate_culprit(); ERR_REFUSED: a culprit or its object is not sure.
 */
int locate_live(const struct locate_input *in, const struct finding *first, struct finding *ret,
		struct err *e) MUST_CHECK;

/*
 * When a program ends itself because its heap is corrupted: makes the first broken chunk size that came from the outside
 * the object of *d. ERR_GUEST: there is none.
 */
int locate_heap(const struct locate_input *in, struct taint_msg_detect *d, struct err *e) MUST_CHECK;

/*
 * Whether a program that is about to end does so because a function of the C library was about to write beyond the size that the
 * compiler has told it.
 */
bool locate_fails_bound(const struct locate_input *in);

/*
 * At a fault whose pointer was read from in->detect->object_gva: whether an index led there, out of a table of a frame, so that
 * what that place holds is right.
 */
bool locate_strayed(const struct locate_input *in);

/*
 * When a program is about to end: makes the innermost return address of its stack that was overwritten from the outside the object of
 * *d; if there is none, and a store has run into memory that is not there, the bytes before. ERR_GUEST: there are none.
 */
int locate_overrun(const struct locate_input *in, struct taint_msg_detect *d, struct err *e) MUST_CHECK;

/*
 * Other stores of the culprit's function into the same object: they name the same array of its frame in the same way ([frame
 * register + index + displacement]), or their address was made from the same pointer (the terminating zero behind a copy loop,
 * say). They have the same bounds. Fills at most max findings like *main, each with a window of its own; returns how many.
 */
size_t locate_siblings(const struct locate_input *in, const struct finding *main, struct finding *ret, size_t max);

#endif
