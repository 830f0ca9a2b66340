/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The tables of paths of the service taintlab, one in each file. */
#ifndef GUESTS_TAINTLAB_PATHS_H
#define GUESTS_TAINTLAB_PATHS_H

#include "taintlab.h"

extern const struct lab_path lab_receive_paths[], lab_kernel_paths[], lab_process_paths[], lab_libc_paths[],
	lab_table_paths[], lab_clean_paths[];
extern const size_t lab_receive_count, lab_kernel_count, lab_process_count, lab_libc_count, lab_table_count,
	lab_clean_count;

#endif
