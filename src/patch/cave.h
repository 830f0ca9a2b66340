/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Code caves: the unused bytes between the end of a module's code and the end of its last page.
 *
 * They are mapped executable with the code, and belong to the file's page in the page cache: what is written there is
 * seen by every process that runs the module.
 */
#ifndef CLOUDER_PATCH_CAVE_H
#define CLOUDER_PATCH_CAVE_H

#include "base/err.h"
#include "locate/reader.h"
#include "vmi/vmi.h"

/*
 * Finds where the next guard can go: 16-byte aligned, after the last byte that is used (by an earlier guard,
 * too), all zero from there to the end. *ret_room: bytes from *ret_at. ERR_REFUSED: nothing free.
 */
int cave_find(const struct code_reader *rd, const struct vmi_module *m, struct gva *ret_at, uint32_t *ret_room,
	      struct err *e) MUST_CHECK;

#endif
