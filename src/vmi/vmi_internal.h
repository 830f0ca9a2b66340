/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of this folder share: the page walk, structure layouts, bounded list and map walks. */
#ifndef CLOUDER_VMI_VMI_INTERNAL_H
#define CLOUDER_VMI_VMI_INTERNAL_H

#include "vmi/vmi.h"

/* Bounds of all walks of guest structures: well above what a working Linux guest has. */
#define VMI_TASKS_MAX 65536u
#define VMI_THREADS_MAX 16384u
#define VMI_KMODULES_MAX 4096u
#define VMI_MAPS_MAX 65536u
#define VMI_NAME_MAX 255u
#define VMI_PATH_DEPTH_MAX 64u
#define VMI_BTF_BYTES_MAX (64u << 20)

/*
 * Members of kernel structures that are read. In the order of the table in
 * layout.c. *_SIZE stands for the whole structure.
 */
enum vmi_field_id {
	TASK_TASKS,
	TASK_COMM,
	TASK_PID,
	TASK_TGID,
	TASK_MM,
	TASK_FLAGS,
	TASK_SIGNAL,
	TASK_STACK,
	TASK_START_TIME,
	TASK_GROUP_LEADER,
	TASK_THREAD_NODE,
	TASK_STATE,
	TASK_ON_CPU,
	TASK_SECCOMP,
	TASK_EXIT_STATE,
	TASK_PARENT,
	TASK_CRED,
	CRED_UID,
	SIGNAL_THREAD_HEAD,
	TASK_SIGHAND,
	SIGHAND_ACTION,
	KSIGACTION_SIZE,
	THREAD_UNION_SIZE,
	REGS_IP,
	REGS_CS,
	REGS_SS,
	REGS_SIZE,
	REGS_SP,
	REGS_FLAGS,
	REGS_ORIG_AX,
	REGS_R15,
	REGS_R14,
	REGS_R13,
	REGS_R12,
	REGS_BP,
	REGS_BX,
	REGS_R11,
	REGS_R10,
	REGS_R9,
	REGS_R8,
	REGS_AX,
	REGS_CX,
	REGS_DX,
	REGS_SI,
	REGS_DI,
	MM_PGD,
	MM_MT,
	MM_MMAP,
	MM_EXE_FILE,
	MM_START_BRK,
	MM_BRK,
	MM_START_STACK,
	MM_LOCK,
	RWSEM_COUNT,
	MT_ROOT,
	RANGE64_PIVOT,
	RANGE64_SLOT,
	ARANGE64_PIVOT,
	ARANGE64_SLOT,
	VMA_START,
	VMA_END,
	VMA_FLAGS,
	VMA_PGOFF,
	VMA_FILE,
	VMA_NEXT,
	VMA_PRIVATE,
	SPECIAL_NAME,
	FILE_PATH,
	FILE_INODE,
	PATH_DENTRY,
	PATH_MNT,
	DENTRY_NAME,
	DENTRY_PARENT,
	DENTRY_HASH,
	QSTR_NAME,
	QSTR_LEN,
	VFSMOUNT_ROOT,
	MOUNT_MNT,
	MOUNT_PARENT,
	MOUNT_POINT,
	INODE_MAPPING,
	MAPPING_PAGES,
	XARRAY_HEAD,
	XNODE_SHIFT,
	XNODE_SLOTS,
	FOLIO_INDEX,
	PAGE_SIZE_OF,
	MODULE_LIST,
	MODULE_NAME,
	MODULE_STATE,
	MODULE_MEM,
	MODULE_CORE,
	MODULE_INIT,
	MODMEM_BASE,
	MODMEM_SIZE,
	MODMEM_WHOLE,
	MODLAYOUT_BASE,
	MODLAYOUT_SIZE,
	VMI_FIELDS,
};

struct vmi_field {
	uint32_t offset, size; /* bytes; size 0: this kernel has no such member */
};

struct vmi_layout {
	struct vmi_field f[VMI_FIELDS];
};

struct vmi {
	struct vmi_space kernel; /* the kernel's own page tables: outlive every process */
	struct vmi_layout layout;
	struct gva init_task;
	struct vmi_symbols *symbols; /* NULL: not looked for yet, or not found */
	uint64_t vmemmap; /* address of the struct page of frame 0; 0: not known yet */
};

/* Ready-made parts, for tests: copies all three. NULL: no memory. */
struct vmi *vmi_create_from(const struct vmi_space *kernel, const struct vmi_layout *l, struct gva init_task);

/* space.c */
struct vmi_walk {
	bool mapped;
	bool none; /* not mapped, and the entry that says so is all zero */
	uint64_t span; /* bytes covered by the last entry read: nothing else is mapped in its range if not mapped */
	struct vmi_page page; /* only if mapped */
};
void vmi_walk(const struct vmi_space *s, struct gva at, struct vmi_walk *ret);
/* Physical address of the top table that s->cr3 names. */
struct gpa vmi_space_root(const struct vmi_space *s);

/* layout.c */
/* From a private copy of a kernel's BTF. ERR_GUEST: not the kernel's, or a member is missing. */
int vmi_layout_from_btf(const void *data, uint32_t size, struct vmi_layout *ret, struct err *e) MUST_CHECK;
/* Whether the row is one that vmi_create cannot do without, and its name for messages. */
bool vmi_field_required(enum vmi_field_id id, const char **ret_type, const char **ret_member);

/* image.c */
/* One page of the image; true from fn ends the scan. The guest may be changing the page. */
typedef bool vmi_image_fn(void *arg, struct gva at, const uint8_t *page);
/* All pages that are mapped in the range of the kernel's image, within bounds. */
void vmi_image_each(const struct vmi_space *s, vmi_image_fn *fn, void *arg);
int vmi_find_layout(const struct vmi_space *s, struct vmi_layout *ret, struct err *e) MUST_CHECK;
int vmi_find_init_task(const struct vmi_space *s, const struct vmi_layout *l, struct gva *ret,
		       struct err *e) MUST_CHECK;
/* The kernel's own top table, which lives as long as it does. false: not found. */
bool vmi_find_kernel_root(const struct vmi_space *s, struct gva must_map, struct gpa *ret) MUST_CHECK;

/* task.c */
/* The task with this member at node. */
struct gva vmi_task_of(const struct vmi *v, struct gva node, enum vmi_field_id member);
/* Its name, printable. */
void vmi_task_comm(const struct vmi *v, struct gva task, char ret[VMI_COMM_MAX + 1]);
/* The mm of a thread-group leader's process; 0: a kernel thread, or it has ended. */
struct gva vmi_task_mm(const struct vmi *v, struct gva leader);

/* The registers that a thread had in user mode, where it was saved on its kernel stack. false: there are none. */
bool vmi_thread_saved(const struct vmi *v, struct gva task, struct vmi_thread *ret, struct gva *ret_regs) MUST_CHECK;

/* process.c */
/* As in struct vmi_process. */
char vmi_task_state(const struct vmi *v, struct gva task);

/* kallsyms.c */
struct vmi_symbols;

/*
 * From a private copy of the memory from start on, a multiple of 8; the token of the digit 0 is at offset digits. ERR_GUEST: it
 * is no table of symbols. Nothing of the copy is kept.
 */
int vmi_symbols_parse(const uint8_t *bytes, size_t len, struct gva start, size_t digits, struct vmi_symbols **ret,
		      struct err *e) MUST_CHECK;
void vmi_symbols_free(struct vmi_symbols *s); /* NULL is fine */

typedef bool vmi_symbol_fn(void *arg, const struct vmi_symbol *s);
/* In the order of their addresses; false from fn ends it. */
void vmi_symbols_each(const struct vmi_symbols *s, vmi_symbol_fn *fn, void *arg);

/* kmodule.c */
/* Those of the list that begins at head; else as vmi_kmodules(). */
int vmi_kmodules_of(const struct vmi *v, struct gva head, size_t first, struct vmi_kmodule *ret, size_t max,
		    bool *ret_whole, struct err *e) MUST_CHECK;

/* fields.c */
static inline bool vmi_has(const struct vmi *v, enum vmi_field_id f)
{
	return v->layout.f[f].size != 0;
}

static inline struct gva vmi_member(const struct vmi *v, struct gva base, enum vmi_field_id f)
{
	return gva_add(base, v->layout.f[f].offset);
}

/* Reads an integer or pointer member (1, 2, 4 or 8 bytes, zero-extended) of the kernel structure at base. */
bool vmi_get(const struct vmi *v, struct gva base, enum vmi_field_id f, uint64_t *ret) MUST_CHECK;
/* As vmi_get; also false if the pointer is not a kernel address. */
bool vmi_get_ptr(const struct vmi *v, struct gva base, enum vmi_field_id f, struct gva *ret) MUST_CHECK;

/* Called for each node; false ends the walk. */
typedef bool vmi_node_fn(void *arg, struct gva node);
/*
 * Walks a circular list from head (not itself a node): at most max nodes, stops at a cycle that misses head. false: it ended
 * neither at its head nor because fn did not want more.
 */
bool vmi_list_each(const struct vmi *v, struct gva head, size_t max, vmi_node_fn *fn, void *arg);

/* maps.c */
struct vmi_raw_vma {
	struct gva at; /* its vm_area_struct */
	struct gva start, end;
	uint64_t flags, file_offset;
	struct gva file;
};

typedef bool vmi_vma_fn(void *arg, const struct vmi_raw_vma *vma);
/* In ascending order, never overlapping; false from fn ends the walk. false: some could not be read, or made no sense. */
bool vmi_vma_each(const struct vmi *v, struct gva mm, vmi_vma_fn *fn, void *arg);
bool vmi_vma_at(const struct vmi *v, struct gva mm, struct gva at, struct vmi_raw_vma *ret) MUST_CHECK;

/* path.c */
/* Path of a struct file, cut at the front to fit; "" if it cannot be told. */
void vmi_file_path(const struct vmi *v, struct gva file, char ret[VMI_PATH_MAX]);
/* Whether the file's name is gone from its directory. */
bool vmi_file_deleted(const struct vmi *v, struct gva file);

/* module.c */
/* The build-id of the ELF file with this inode, from the page cache; returns its length, 0: none found. */
uint8_t vmi_file_build_id(struct vmi *v, const struct vmi_task *t, struct gva inode, uint8_t ret[VMI_BUILD_ID_MAX]);

/* pagecache.c */
/* Whether pages can be found there; the first time that takes a look at the process's mappings. */
bool vmi_knows_cache(struct vmi *v, const struct vmi_task *t);
/* The page with file offset (a page's) of inode in the guest's page cache. false: not there or not to be told. */
bool vmi_cached_page(struct vmi *v, const struct vmi_task *t, struct gva inode, uint64_t file_offset,
		     struct gpa *ret) MUST_CHECK;

#endif
