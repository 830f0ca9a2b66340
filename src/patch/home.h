/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The second home of guards: memory that a process is made to map near the module, for files without a code cave.
 *
 * Such a patch belongs to one process and those that it forks from then on: the guard is in a page of its own, and the
 * displaced bytes are changed in the process's private copy of their page. It is the process itself that does this, by system
 * calls, when the one that each of its threads waits in ends, before anything of the program runs: registers that
 * the kernel saved are changed so that the thread comes back to a piece of code behind the vDSO's, with what it needs below its
 * stack. All threads are sent there; who comes second finds the page mapped and leaves.
 */
#ifndef CLOUDER_PATCH_HOME_H
#define CLOUDER_PATCH_HOME_H

#include "base/err.h"
#include "patch/patch.h"
#include "vmi/vmi.h"

#define HOME_CODE_MAX 192

/* What the code finds at its stack pointer. The code has its layout. */
struct home_block {
	uint64_t ip; /* where the thread goes on */
	uint64_t guard_page;
	uint64_t code_page, code_len; /* with the site: made writable for a moment */
	uint64_t site;
	uint8_t site_bytes[16]; /* and what is behind the site, as it is */
	uint64_t guard_len;
	uint8_t guard[PATCH_GUARD_MAX];
};

/*
 * The code; returns its length. It is entered at offset *ret_entry with the stack pointer HOME_BLOCK_BELOW below where the
 * thread's was, or 2 bytes before: where the kernel sends who has to make its system call again.
 */
size_t home_code(uint8_t ret[HOME_CODE_MAX], uint64_t *ret_entry);
#define HOME_BLOCK_BELOW (128 + sizeof(struct home_block)) /* beyond the red zone */

/* A free page for the guard of the code at `site`, within reach of a jump from all of module m. */
int home_find(struct vmi *v, const struct vmi_task *t, const struct vmi_module *m, struct gva site, struct gva *ret,
	      struct err *e) MUST_CHECK;

/*
 * Sends the threads of process t to put patch p where `site` and `guard` are. ERR_REFUSED: none of them can be sent, or the
 * process would notice.
 */
int home_enter(const struct patch *p, struct vmi *v, const struct vmi_task *t, struct gva site, struct gva guard,
	       struct err *e) MUST_CHECK;
/* Whether a thread of the process has been sent, and has not run since. */
bool home_is_entered(struct vmi *v, const struct vmi_task *t) MUST_CHECK;

#endif
