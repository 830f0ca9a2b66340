/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Patches for running binaries: displaced bytes become a jmp rel32 to a guard, which runs the culprit only
 * where its write stays inside the object.
 */
#ifndef CLOUDER_PATCH_PATCH_H
#define CLOUDER_PATCH_PATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "locate/finding.h"
#include "vmi/vmi.h"

#define PATCH_SITE_MAX 16
#define PATCH_GUARD_MAX 152
#define PATCH_GUARD_WANTED 96 /* what is larger is split, if it can be */

/* Names its target by build-id and file offset; carries the original bytes; refuses anything else. */
struct patch {
	char path[VMI_PATH_MAX];
	uint8_t build_id[VMI_BUILD_ID_MAX];
	uint8_t build_id_len;
	bool is_32bit; /* the code that is patched */
	const char *strategy; /* "store-guard", ... (static string) */
	const char *home; /* "cave" or "process" (static strings) */
	bool is_private; /* in "process": site and guard are the process's own, and those that it forks have them */
	uint64_t site_offset; /* file offset of the displaced bytes */
	uint8_t site_len;
	uint8_t site_before[PATCH_SITE_MAX], site_after[PATCH_SITE_MAX];
	uint8_t site_original[PATCH_SITE_MAX]; /* the program's; not site_before if there was an earlier patch */
	uint64_t guard_offset; /* file offset of the guard; of what is private, as if the file were mapped as far */
	uint8_t guard_len, routine_len;
	uint8_t guard[PATCH_GUARD_MAX]; /* its bytes before were all zero */
	uint64_t
		routine_offset; /* file offset of code that this guard and others of the module jump to; routine_len 0: none */
	uint8_t routine[PATCH_GUARD_MAX];
	uint8_t part_at, culprit_at; /* in the guard, see struct guard_link */
	uint16_t lower;
	struct gva inode; /* the file's, in the kernel */
	/* as applied in the process it was made for */
	struct gva site, guard_at;
};

/*
 * Makes a patch for f in the process t: picks a strategy and a home, encodes the guard, decodes it again to check it.
 * Changes nothing. ERR_REFUSED: no safe way was found (says why).
 */
int patch_generate(const struct finding *f, struct vmi *v, const struct vmi_task *t, struct patch *ret,
		   struct err *e) MUST_CHECK;

/*
 * The same for a culprit that has the patch `old` already: the new one takes its place, old's guard stays where it is for who is
 * in it. With `keep` what is none of the new guard's business goes on to old's. It is applied after old.
 */
int patch_generate_over(const struct patch *old, bool keep, const struct finding *f, struct vmi *v,
			const struct vmi_task *t, struct patch *ret, struct err *e) MUST_CHECK;

/*
 * A private patch is put in by the process itself before it goes on, see home.h.
 * Else writes the patch through the page tables of process t (guard first, then the site). The VM must not be running.
 * Checks build-id and original bytes, and that no thread of any process that runs the code stands inside the displaced bytes.
 */
int patch_apply(const struct patch *p, struct vmi *v, const struct vmi_task *t, struct err *e) MUST_CHECK;
/* Where site and guard are in process t. ERR_REFUSED: it does not run the build that the patch is for. */
int patch_place(const struct patch *p, struct vmi *v, const struct vmi_task *t, struct gva *ret_site,
		struct gva *ret_guard, struct err *e) MUST_CHECK;
/* Whether process t runs the build of the file that the patch is for: where not, patch_apply() refuses. */
bool patch_concerns(const struct patch *p, struct vmi *v, const struct vmi_task *t);
/*
 * Writes the patch into the file in the guest's page cache, for processes to come: a command that is started for each
 * request. Only where no process runs it. Checks build-id and original bytes. t: any process.
 */
int patch_apply_to_file(const struct patch *p, struct vmi *v, const struct vmi_task *t, struct err *e) MUST_CHECK;
/*
 * Writes back what was at the site of a patch that is not private; the guard stays, for who is in it. Refuses what
 * patch_apply() refuses. Nothing is done where the patch is not in place.
 */
int patch_remove(const struct patch *p, struct vmi *v, const struct vmi_task *t, struct err *e) MUST_CHECK;
/*
 * Whether the patch would go in by its bytes: the site is as it was, and the guard's place is free; of a private one, whether the process
 * has none to put in already.
 */
bool patch_fits(const struct patch *p, struct vmi *v, const struct vmi_task *t);
/* Whether site and guard are in place in process t. */
bool patch_is_applied(const struct patch *p, struct vmi *v, const struct vmi_task *t);

/*
 * Text disassembly (Intel syntax), one line "address  bytes  text" per instruction, of len bytes of 64-bit or 32-bit code at
 * address at; writes at most size bytes with a final NUL; returns the length.
 */
size_t patch_disassemble(bool is_32bit, const uint8_t *bytes, size_t len, uint64_t at, char *ret, size_t size);

#endif
