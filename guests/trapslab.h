/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the tables of trapslab share: two pages beside each other of which the second can be taken away. */
#ifndef GUESTS_TRAPSLAB_H
#define GUESTS_TRAPSLAB_H

#include "taintlab.h"

#define TRAP_PAGE ((size_t)4096)

extern const struct lab_path trap_cross_paths[], trap_fault_paths[], trap_code_paths[], trap_switch_paths[],
	trap_frame_paths[], trap_group_paths[];
extern const size_t trap_cross_count, trap_fault_count, trap_code_count, trap_switch_count, trap_frame_count,
	trap_group_count;

/*
 * Two pages, readable and writable and zero, whose physical pages are not neighbours in that order; *ret_border is the
 * address of the second. To be given back with trap_free_pages(). NULL: errno says why not.
 */
char *trap_pages(char **ret_border);
void trap_free_pages(char *pages);

/* Copies byte by byte: no access of it crosses a page. */
void trap_copy(char *to, const char *from, size_t len);

/*
 * Until trap_heal() each SIGSEGV makes the page at *page accessible and goes on; their number is in trap_faults.
 */
void trap_heal_page(char *page);
void trap_heal(void);
extern volatile int trap_faults;

#endif
