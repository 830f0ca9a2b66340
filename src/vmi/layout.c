/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Structure layouts from the kernel's BTF: offsets and sizes of the members in the table below, also of
 * those in anonymous structures and unions. Probes for members, never compares kernel versions.
 */
#include "vmi/vmi_internal.h"

#include <string.h>

#include <bpf/btf.h>
#include <bpf/libbpf.h>

#define DEPTH_MAX 8
#define MEMBER_BYTES_MAX (1u << 20)
#define VISITS_MAX 1000000u

struct row {
	const char *type, *member; /* member "": the whole structure */
	bool required;
};

static const struct row rows[VMI_FIELDS] = {
	[TASK_TASKS] = {"task_struct", "tasks", true},
	[TASK_COMM] = {"task_struct", "comm", true},
	[TASK_PID] = {"task_struct", "pid", true},
	[TASK_TGID] = {"task_struct", "tgid", true},
	[TASK_MM] = {"task_struct", "mm", true},
	[TASK_FLAGS] = {"task_struct", "flags", true},
	[TASK_SIGNAL] = {"task_struct", "signal", true},
	[TASK_STACK] = {"task_struct", "stack", true},
	[TASK_START_TIME] = {"task_struct", "start_time", true},
	[TASK_GROUP_LEADER] = {"task_struct", "group_leader", true},
	[TASK_THREAD_NODE] = {"task_struct", "thread_node", true},
	[TASK_STATE] = {"task_struct", "__state", false},
	[TASK_ON_CPU] = {"task_struct", "on_cpu", false},
	[TASK_SECCOMP] = {"task_struct", "seccomp", false},
	[TASK_EXIT_STATE] = {"task_struct", "exit_state", false},
	[TASK_PARENT] = {"task_struct", "real_parent", false},
	[TASK_CRED] = {"task_struct", "cred", false},
	[CRED_UID] = {"cred", "uid", false},
	[SIGNAL_THREAD_HEAD] = {"signal_struct", "thread_head", true},
	[TASK_SIGHAND] = {"task_struct", "sighand", false},
	[SIGHAND_ACTION] = {"sighand_struct", "action", false},
	[KSIGACTION_SIZE] = {"k_sigaction", "", false},
	[THREAD_UNION_SIZE] = {"thread_union", "", false},
	[REGS_IP] = {"pt_regs", "ip", true},
	[REGS_CS] = {"pt_regs", "cs", true},
	[REGS_SS] = {"pt_regs", "ss", true},
	[REGS_SIZE] = {"pt_regs", "", true},
	[REGS_SP] = {"pt_regs", "sp", true},
	[REGS_FLAGS] = {"pt_regs", "flags", true},
	[REGS_ORIG_AX] = {"pt_regs", "orig_ax", true},
	[REGS_R15] = {"pt_regs", "r15", true},
	[REGS_R14] = {"pt_regs", "r14", true},
	[REGS_R13] = {"pt_regs", "r13", true},
	[REGS_R12] = {"pt_regs", "r12", true},
	[REGS_BP] = {"pt_regs", "bp", true},
	[REGS_BX] = {"pt_regs", "bx", true},
	[REGS_R11] = {"pt_regs", "r11", true},
	[REGS_R10] = {"pt_regs", "r10", true},
	[REGS_R9] = {"pt_regs", "r9", true},
	[REGS_R8] = {"pt_regs", "r8", true},
	[REGS_AX] = {"pt_regs", "ax", true},
	[REGS_CX] = {"pt_regs", "cx", true},
	[REGS_DX] = {"pt_regs", "dx", true},
	[REGS_SI] = {"pt_regs", "si", true},
	[REGS_DI] = {"pt_regs", "di", true},
	[MM_PGD] = {"mm_struct", "pgd", true},
	[MM_MT] = {"mm_struct", "mm_mt", false},
	[MM_MMAP] = {"mm_struct", "mmap", false},
	[MM_EXE_FILE] = {"mm_struct", "exe_file", false},
	[MM_START_BRK] = {"mm_struct", "start_brk", false},
	[MM_BRK] = {"mm_struct", "brk", false},
	[MM_START_STACK] = {"mm_struct", "start_stack", false},
	[MM_LOCK] = {"mm_struct", "mmap_lock", false},
	[RWSEM_COUNT] = {"rw_semaphore", "count", false},
	[MT_ROOT] = {"maple_tree", "ma_root", false},
	[RANGE64_PIVOT] = {"maple_range_64", "pivot", false},
	[RANGE64_SLOT] = {"maple_range_64", "slot", false},
	[ARANGE64_PIVOT] = {"maple_arange_64", "pivot", false},
	[ARANGE64_SLOT] = {"maple_arange_64", "slot", false},
	[VMA_START] = {"vm_area_struct", "vm_start", true},
	[VMA_END] = {"vm_area_struct", "vm_end", true},
	[VMA_FLAGS] = {"vm_area_struct", "vm_flags", true},
	[VMA_PGOFF] = {"vm_area_struct", "vm_pgoff", true},
	[VMA_FILE] = {"vm_area_struct", "vm_file", true},
	[VMA_NEXT] = {"vm_area_struct", "vm_next", false},
	[VMA_PRIVATE] = {"vm_area_struct", "vm_private_data", false},
	[SPECIAL_NAME] = {"vm_special_mapping", "name", false},
	[FILE_PATH] = {"file", "f_path", true},
	[FILE_INODE] = {"file", "f_inode", true},
	[PATH_DENTRY] = {"path", "dentry", true},
	[PATH_MNT] = {"path", "mnt", true},
	[DENTRY_NAME] = {"dentry", "d_name", true},
	[DENTRY_PARENT] = {"dentry", "d_parent", true},
	[DENTRY_HASH] = {"dentry", "d_hash", false},
	[QSTR_NAME] = {"qstr", "name", true},
	[QSTR_LEN] = {"qstr", "len", true},
	[VFSMOUNT_ROOT] = {"vfsmount", "mnt_root", false},
	[MOUNT_MNT] = {"mount", "mnt", false},
	[MOUNT_PARENT] = {"mount", "mnt_parent", false},
	[MOUNT_POINT] = {"mount", "mnt_mountpoint", false},
	[INODE_MAPPING] = {"inode", "i_mapping", false},
	[MAPPING_PAGES] = {"address_space", "i_pages", false},
	[XARRAY_HEAD] = {"xarray", "xa_head", false},
	[XNODE_SHIFT] = {"xa_node", "shift", false},
	[XNODE_SLOTS] = {"xa_node", "slots", false},
	[FOLIO_INDEX] = {"folio", "index", false},
	[PAGE_SIZE_OF] = {"page", "", false},
	[MODULE_LIST] = {"module", "list", false},
	[MODULE_NAME] = {"module", "name", false},
	[MODULE_STATE] = {"module", "state", false},
	[MODULE_MEM] = {"module", "mem", false},
	[MODULE_CORE] = {"module", "core_layout", false},
	[MODULE_INIT] = {"module", "init_layout", false},
	[MODMEM_BASE] = {"module_memory", "base", false},
	[MODMEM_SIZE] = {"module_memory", "size", false},
	[MODMEM_WHOLE] = {"module_memory", "", false},
	[MODLAYOUT_BASE] = {"module_layout", "base", false},
	[MODLAYOUT_SIZE] = {"module_layout", "size", false},
};

bool vmi_field_required(enum vmi_field_id id, const char **ret_type, const char **ret_member)
{
	*ret_type = rows[id].type;
	*ret_member = rows[id].member;
	return rows[id].required;
}

/* A search for one member; visits bounds the work that a crafted nest of anonymous types can cause. */
struct search {
	const struct btf *btf;
	const char *member;
	unsigned visits;
};

static const char *name_at(const struct btf *btf, uint32_t offset)
{
	const char *name = btf__name_by_offset(btf, offset);

	return name ? name : "";
}

static bool set_field(const struct search *s, uint64_t offset, uint32_t type_id, struct vmi_field *ret)
{
	int64_t size = btf__resolve_size(s->btf, type_id);

	if (size <= 0 || size > MEMBER_BYTES_MAX || offset > MEMBER_BYTES_MAX)
		return false;
	*ret = (struct vmi_field){(uint32_t)offset, (uint32_t)size};
	return true;
}

static bool find_member(struct search *s, uint32_t type_id, uint64_t base, unsigned depth, struct vmi_field *ret)
{
	const struct btf_type *t = btf__type_by_id(s->btf, type_id);

	if (!t || depth > DEPTH_MAX || !btf_is_composite(t))
		return false;
	for (uint32_t i = 0; i < btf_vlen(t); i++) {
		const struct btf_member *m = &btf_members(t)[i];
		const char *name = name_at(s->btf, m->name_off);
		uint64_t offset = base + btf_member_bit_offset(t, i) / 8;

		if (!s->visits)
			return false;
		s->visits--;
		if (!strcmp(name, s->member))
			return !btf_member_bitfield_size(t, i) && set_field(s, offset, m->type, ret);
		if (!*name && find_member(s, m->type, offset, depth + 1, ret))
			return true;
	}
	return false;
}

/* All rows about the type with this id. A name may occur twice: a row keeps the first that has the member. */
static void resolve_type(struct search *s, uint32_t id, const char *name, struct vmi_layout *l)
{
	for (unsigned r = 0; r < VMI_FIELDS; r++) {
		if (l->f[r].size || strcmp(rows[r].type, name))
			continue;
		s->member = rows[r].member;
		if (*rows[r].member)
			find_member(s, id, 0, 0, &l->f[r]);
		else
			set_field(s, 0, id, &l->f[r]);
	}
}

static int check_layout(const struct vmi_layout *l, struct err *e)
{
	bool tree = l->f[MM_MT].size && l->f[MT_ROOT].size && l->f[RANGE64_PIVOT].size && l->f[RANGE64_SLOT].size &&
		    l->f[ARANGE64_PIVOT].size && l->f[ARANGE64_SLOT].size;

	for (unsigned r = 0; r < VMI_FIELDS; r++)
		if (rows[r].required && !l->f[r].size)
			return err_set(e, ERR_GUEST, "the guest kernel's BTF lacks struct %s member '%s'", rows[r].type,
				       rows[r].member);
	if (!tree && !(l->f[MM_MMAP].size && l->f[VMA_NEXT].size))
		return err_set(e, ERR_GUEST,
			       "the guest kernel keeps memory maps neither in a maple tree nor in a list");
	return 0;
}

static struct btf *parse(const void *data, uint32_t size)
{
	libbpf_print_fn_t old = libbpf_set_print(NULL); /* what libbpf would print is about guest data */
	struct btf *btf = btf__new(data, size);

	libbpf_set_print(old);
	return libbpf_get_error(btf) ? NULL : btf;
}

int vmi_layout_from_btf(const void *data, uint32_t size, struct vmi_layout *ret, struct err *e)
{
	struct search s = {.visits = VISITS_MAX};
	struct vmi_layout l = {0};
	struct btf *btf = parse(data, size);

	if (!btf)
		return err_set(e, ERR_GUEST, "malformed BTF in the guest kernel");
	s.btf = btf;
	for (uint32_t id = 1; id < btf__type_cnt(btf); id++) {
		const struct btf_type *t = btf__type_by_id(btf, id);

		if (t && btf_is_composite(t))
			resolve_type(&s, id, name_at(btf, t->name_off), &l);
	}
	btf__free(btf);
	if (check_layout(&l, e))
		return -1;
	*ret = l;
	return 0;
}
