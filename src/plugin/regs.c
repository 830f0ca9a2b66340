/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Guest registers by name, through QEMU's register descriptors. */
#include <string.h>

#include "plugin/plugin_internal.h"

static const char *const names[PLUGIN_REGS] = {
	"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8",  "r9",   "r10",	  "r11",     "r12",
	"r13", "r14", "r15", "rip", "cs",  "cr0", "cr2", "cr3", "cr4", "efer", "fs_base", "gs_base", "k_gs_base",
};

static struct qemu_plugin_register *handle[PLUGIN_REGS];

void regs_init(void)
{
	GArray *all = qemu_plugin_get_registers();

	for (guint i = 0; i < all->len; i++) {
		qemu_plugin_reg_descriptor *d = &g_array_index(all, qemu_plugin_reg_descriptor, i);

		for (unsigned r = 0; r < PLUGIN_REGS; r++)
			if (!strcmp(d->name, names[r]))
				handle[r] = d->handle;
	}
	g_array_free(all, TRUE);
}

uint64_t regs_read(enum plugin_reg r)
{
	static __thread GByteArray *buf;
	uint64_t v = 0;
	int n;

	if (!handle[r])
		return 0;
	if (!buf)
		buf = g_byte_array_new();
	g_byte_array_set_size(buf, 0);
	n = qemu_plugin_read_register(handle[r], buf);
	if (n > 0)
		memcpy(&v, buf->data, (size_t)n < sizeof(v) ? (size_t)n : sizeof(v));
	return v;
}
