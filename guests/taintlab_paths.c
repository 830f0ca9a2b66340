/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which tables of paths the service taintlab has. */
#include "taintlab_paths.h"

const struct lab_table lab_tables[] = {
	{lab_receive_paths, &lab_receive_count},
	{lab_kernel_paths, &lab_kernel_count},
	{lab_process_paths, &lab_process_count},
	{lab_libc_paths, &lab_libc_count},
	{lab_table_paths, &lab_table_count},
	{lab_clean_paths, &lab_clean_count},
	{0},
};
