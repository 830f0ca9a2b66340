/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The answer to a detection under construction, shared by the files that find it (respond.c) and put it in (insert.c). */
#ifndef CLOUDER_DAEMON_RESPOND_INTERNAL_H
#define CLOUDER_DAEMON_RESPOND_INTERNAL_H

#include "daemon/vm_internal.h"
#include "locate/locate.h"

/* Other stores into the object that ran over: guarded too, as far as that goes. */
#define SIBLINGS_MAX 4u

/* One answer under construction. */
struct response {
	struct vm *vm;
	struct taint_msg_detect detect;
	uint32_t newest_origin; /* of the input before it */
	struct incident in;
	struct finding finding;
	struct vmi_task task;
	struct patch patch;
	struct finding sibling[SIBLINGS_MAX];
	size_t n_siblings;
	bool have_task, have_finding, have_patch;
	bool is_proposed; /* there is a patch, which waits for the operator's approval */
	unsigned missing; /* patches of other incidents that did not go in */
	struct checkpoint_info checkpoint;
	bool tracing; /* the input is run again to see who writes what */
	bool traced_again; /* and once more, with the stack elsewhere */
	unsigned stops; /* of that run */
	unsigned repeats; /* runs that have shown nothing */
	uint64_t located_ns, recover_ns, insert_ns, end_ns;
};

/*
 * RAM is at a checkpoint: puts in the patches that it does not have, and the new one. false: at an older checkpoint more of
 * them may go in, or take effect sooner. *ret_e says why the new one did not go in; ERR_OK if it did, or there is none.
 */
bool insert_patches(struct response *r, struct err *ret_e) MUST_CHECK;
/* It stays as insert_patches() left it: the new patch, if it went in, is remembered, and those beside it are put in. */
void insert_keep(struct response *r);

#endif
