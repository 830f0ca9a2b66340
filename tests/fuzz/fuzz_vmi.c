/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzzes introspection: input is what to change in a make-believe guest before it is looked at.
 *
 * Input: the register bits of the address space (1 byte), CR3 (4 bytes), then records of
 * an offset (3 bytes), a length (1 byte, at most 32 used) and that many bytes.
 */
#include <stdlib.h>

#include "../unit/test_vmi_guest.h"

#define RECORDS_MAX 64
#define RECORD_BYTES 32
#define TASKS 4
#define MAPS 16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct undo {
	uint64_t at;
	uint8_t old[RECORD_BYTES];
};

/* Overwrites memory that the guest's structures are in. Returns the number of records. */
static int apply(struct guest_prog *p, const uint8_t *data, size_t size, struct undo *undo)
{
	int n = 0;

	while (size >= 4 && n < RECORDS_MAX) {
		uint64_t at = (data[0] | data[1] << 8 | (uint64_t)data[2] << 16) % (p->g.heap + RECORD_BYTES);
		size_t len = data[3] % (RECORD_BYTES + 1);

		data += 4;
		size -= 4;
		len = len < size ? len : size;
		if (at >= p->g.heap) /* the init task is not in the heap */
			at = GUEST_INIT_TASK + (at - p->g.heap) * 8;
		undo[n].at = at;
		memcpy(undo[n++].old, p->g.ram + at, RECORD_BYTES);
		memcpy(p->g.ram + at, data, len);
		data += len;
		size -= len;
	}
	return n;
}

static void look_at_task(struct vmi *v, const struct vmi_task *t)
{
	static struct vmi_vma maps[MAPS];
	struct gva ip[4], code;
	struct vmi_module m;
	char buf[64];
	struct err e;
	int n = vmi_maps(v, t, maps, MAPS, &e);

	for (int i = 0; i < n; i++) {
		assert(strnlen(maps[i].path, VMI_PATH_MAX) < VMI_PATH_MAX);
		if (!vmi_module_at(v, t, maps[i].start, &m, &e))
			assert(m.low.v < m.high.v && m.build_id_len <= VMI_BUILD_ID_MAX);
		(void)!vmi_task_read(v, t, gva_add(maps[i].end, -32ull), buf, sizeof(buf));
	}
	(void)!vmi_thread_ips(v, t, ip, 4, &e);
	(void)!vmi_find_code(v, t, 0x30000, &code, &e);
}

static void list(struct vmi *v)
{
	static struct vmi_process p[TASKS];
	static struct vmi_mapping m[MAPS];
	struct vmi_task t;
	struct err e;
	bool whole;
	int n = vmi_processes(v, true, 1, p, TASKS, &whole, &e);

	for (int i = 0; i < n; i++) {
		assert(strnlen(p[i].program, VMI_PATH_MAX) < VMI_PATH_MAX && p[i].state);
		if (vmi_task_by_pid(v, p[i].pid, &t, &e) || vmi_mappings(v, &t, 0, m, MAPS, &whole, &e) <= 0)
			continue;
		assert(m[0].start.v < m[0].end.v && strnlen(m[0].name, VMI_PATH_MAX) < VMI_PATH_MAX);
	}
}

static void look(struct vmi *v, uint64_t cr3, unsigned registers)
{
	struct vmi_task t[TASKS];
	struct vmi_space s;
	struct vmi_page page;
	struct err e;
	int n = vmi_tasks(v, t, TASKS, &e);

	for (int i = 0; i < n; i++)
		look_at_task(v, &t[i]);
	list(v);
	(void)!vmi_task_by_cr3(v, cr3, t, &e);
	vmi_space_init(&s, v->kernel.gm, (uint64_t)(registers & 1) << 31, cr3,
		       (registers & 6u) << 4 | (registers & 8u) << 9, (registers & 16u) << 6);
	for (unsigned i = 0; i < 64; i += 8)
		(void)!vmi_translate(&s, gva(cr3 << i), &page);
	(void)!vmi_read(&s, gva(cr3 << 12), t, sizeof(t));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct undo undo[RECORDS_MAX];
	static struct guest_prog p;
	uint32_t cr3;
	int n;

	if (!p.g.vmi) {
		guest_prog_init(&p);
		guest_prog_cache(&p);
	}
	if (size < 5)
		return 0;
	memcpy(&cr3, data + 1, 4);
	n = apply(&p, data + 5, size - 5, undo);
	p.g.vmi->vmemmap = data[0] & 32 ? GUEST_VMEMMAP : 0;
	look(p.g.vmi, cr3, data[0]);
	while (n-- > 0)
		memcpy(p.g.ram + undo[n].at, undo[n].old, RECORD_BYTES);
	return 0;
}
