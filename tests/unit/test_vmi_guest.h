/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A small make-believe Linux guest in a memfd, to test introspection on.
 *
 * Physical memory is 8 MiB. The kernel's page tables (top at GUEST_ROOT) map all of it at GUEST_DIRECT, and its last
 * 4 MiB again at GUEST_IMAGE, as the kernel image. Structures have the layout in guest_layout.
 */
#ifndef CLOUDER_TEST_VMI_GUEST_H
#define CLOUDER_TEST_VMI_GUEST_H

#include <assert.h>
#include <elf.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmi/vmi_internal.h"

#define GUEST_RAM (8u << 20)
#define GUEST_ROOT 0x6000u
#define GUEST_PDPT 0x2000u
#define GUEST_PD 0x3000u
#define GUEST_IMAGE_PDPT 0x4000u
#define GUEST_IMAGE_PD 0x5000u
#define GUEST_DIRECT 0xffff888000000000ull
#define GUEST_IMAGE 0xffffffff81000000ull
#define GUEST_IMAGE_PHYS 0x400000u
#define GUEST_VMEMMAP 0xffffea0040000000ull
#define GUEST_INIT_TASK 0x410000u /* in the image */
#define GUEST_HEAP 0x20000u /* first physical address that guest_alloc gives out */
#define GUEST_HEAP_END 0x400000u

struct guest {
	int fd;
	struct gmem *gm;
	uint8_t *ram;
	uint64_t heap;
	struct vmi_space kernel;
	struct vmi *vmi;
};

static const struct vmi_field guest_layout[VMI_FIELDS] = {
	[TASK_TASKS] = {16, 16},
	[TASK_COMM] = {64, 16},
	[TASK_PID] = {80, 4},
	[TASK_TGID] = {84, 4},
	[TASK_MM] = {88, 8},
	[TASK_FLAGS] = {96, 4},
	[TASK_SIGNAL] = {104, 8},
	[TASK_STACK] = {112, 8},
	[TASK_START_TIME] = {120, 8},
	[TASK_GROUP_LEADER] = {128, 8},
	[TASK_THREAD_NODE] = {136, 16},
	[TASK_STATE] = {152, 4},
	[TASK_ON_CPU] = {156, 4},
	[TASK_SECCOMP] = {160, 16},
	[TASK_EXIT_STATE] = {176, 4},
	[TASK_PARENT] = {184, 8},
	[TASK_CRED] = {192, 8},
	[CRED_UID] = {8, 4},
	[SIGNAL_THREAD_HEAD] = {8, 16},
	[TASK_SIGHAND] = {152, 8},
	[SIGHAND_ACTION] = {16, 2048},
	[KSIGACTION_SIZE] = {0, 32},
	[THREAD_UNION_SIZE] = {0, 16384},
	[REGS_IP] = {128, 8},
	[REGS_CS] = {136, 8},
	[REGS_SS] = {160, 8},
	[REGS_SIZE] = {0, 168},
	[REGS_SP] = {152, 8},
	[REGS_FLAGS] = {144, 8},
	[REGS_ORIG_AX] = {120, 8},
	[REGS_R15] = {0, 8},
	[REGS_R14] = {8, 8},
	[REGS_R13] = {16, 8},
	[REGS_R12] = {24, 8},
	[REGS_BP] = {32, 8},
	[REGS_BX] = {40, 8},
	[REGS_R11] = {48, 8},
	[REGS_R10] = {56, 8},
	[REGS_R9] = {64, 8},
	[REGS_R8] = {72, 8},
	[REGS_AX] = {80, 8},
	[REGS_CX] = {88, 8},
	[REGS_DX] = {96, 8},
	[REGS_SI] = {104, 8},
	[REGS_DI] = {112, 8},
	[MM_PGD] = {8, 8},
	[MM_MT] = {16, 16},
	[MM_MMAP] = {0, 0},
	[MM_EXE_FILE] = {40, 8},
	[MM_START_BRK] = {48, 8},
	[MM_BRK] = {56, 8},
	[MM_START_STACK] = {0, 8},
	[MM_LOCK] = {64, 40},
	[RWSEM_COUNT] = {8, 8},
	[MT_ROOT] = {8, 8},
	[RANGE64_PIVOT] = {8, 120},
	[RANGE64_SLOT] = {128, 128},
	[ARANGE64_PIVOT] = {8, 72},
	[ARANGE64_SLOT] = {80, 80},
	[VMA_START] = {0, 8},
	[VMA_END] = {8, 8},
	[VMA_FLAGS] = {16, 8},
	[VMA_PGOFF] = {24, 8},
	[VMA_FILE] = {32, 8},
	[VMA_NEXT] = {0, 0},
	[VMA_PRIVATE] = {40, 8},
	[SPECIAL_NAME] = {0, 8},
	[FILE_PATH] = {8, 16},
	[FILE_INODE] = {24, 8},
	[PATH_DENTRY] = {8, 8},
	[PATH_MNT] = {0, 8},
	[DENTRY_NAME] = {8, 16},
	[DENTRY_PARENT] = {24, 8},
	[DENTRY_HASH] = {32, 16},
	[QSTR_NAME] = {8, 8},
	[QSTR_LEN] = {4, 4},
	[VFSMOUNT_ROOT] = {0, 8},
	[MOUNT_MNT] = {32, 8},
	[MOUNT_PARENT] = {16, 8},
	[MOUNT_POINT] = {24, 8},
	[INODE_MAPPING] = {8, 8},
	[MAPPING_PAGES] = {8, 16},
	[XARRAY_HEAD] = {8, 8},
	[XNODE_SHIFT] = {0, 1},
	[XNODE_SLOTS] = {40, 512},
	[FOLIO_INDEX] = {32, 8},
	[PAGE_SIZE_OF] = {0, 64},
	[MODULE_LIST] = {8, 16},
	[MODULE_NAME] = {24, 56},
	[MODULE_STATE] = {0, 4},
	[MODULE_MEM] = {128, 96},
	[MODULE_CORE] = {0, 0},
	[MODULE_INIT] = {0, 0},
	[MODMEM_BASE] = {0, 8},
	[MODMEM_SIZE] = {8, 4},
	[MODMEM_WHOLE] = {0, 32},
	[MODLAYOUT_BASE] = {0, 8},
	[MODLAYOUT_SIZE] = {8, 4},
};

static inline void guest_put(struct guest *g, uint64_t phys, const void *data, size_t len)
{
	assert(phys + len <= GUEST_RAM);
	memcpy(g->ram + phys, data, len);
}

static inline void guest_put64(struct guest *g, uint64_t phys, uint64_t value)
{
	guest_put(g, phys, &value, sizeof(value));
}

/* Kernel address of physical memory: in the image for what is part of it. */
static inline uint64_t guest_kva(uint64_t phys)
{
	return phys < GUEST_IMAGE_PHYS ? GUEST_DIRECT + phys : GUEST_IMAGE + (phys - GUEST_IMAGE_PHYS);
}

static inline uint64_t guest_phys(uint64_t kva)
{
	return kva < GUEST_IMAGE ? kva - GUEST_DIRECT : kva - GUEST_IMAGE + GUEST_IMAGE_PHYS;
}

/* Zeroed physical memory, 256-byte aligned; pages are page-aligned. */
static inline uint64_t guest_alloc(struct guest *g, uint64_t size)
{
	uint64_t align = size >= GUEST_PAGE_SIZE ? GUEST_PAGE_SIZE : 256;
	uint64_t at = (g->heap + align - 1) & ~(align - 1);

	g->heap = at + size;
	assert(g->heap <= GUEST_HEAP_END);
	memset(g->ram + at, 0, size);
	return at;
}

/* Sets a member of the structure at phys. */
static inline void guest_set(struct guest *g, uint64_t phys, enum vmi_field_id f, uint64_t value)
{
	assert(guest_layout[f].size && guest_layout[f].size <= 16);
	guest_put(g, phys + guest_layout[f].offset, &value, guest_layout[f].size < 8 ? guest_layout[f].size : 8);
}

static inline uint64_t guest_member(uint64_t phys, enum vmi_field_id f)
{
	return phys + guest_layout[f].offset;
}

static inline void guest_list_init(struct guest *g, uint64_t head)
{
	guest_put64(g, head, guest_kva(head));
	guest_put64(g, head + 8, guest_kva(head));
}

static inline void guest_list_add_tail(struct guest *g, uint64_t head, uint64_t node)
{
	uint64_t last;

	memcpy(&last, g->ram + head + 8, 8);
	guest_put64(g, node, guest_kva(head));
	guest_put64(g, node + 8, last);
	guest_put64(g, guest_phys(last), guest_kva(node));
	guest_put64(g, head + 8, guest_kva(node));
}

static inline void guest_map_kernel(struct guest *g)
{
	guest_put64(g, GUEST_ROOT + 8 * (GUEST_DIRECT >> 39 & 511), GUEST_PDPT | 3);
	guest_put64(g, GUEST_PDPT, GUEST_PD | 3);
	for (uint64_t i = 0; i < GUEST_RAM >> 21; i++)
		guest_put64(g, GUEST_PD + 8 * i, i << 21 | 0x83);
	guest_put64(g, GUEST_ROOT + 8 * 511, GUEST_IMAGE_PDPT | 3);
	guest_put64(g, GUEST_IMAGE_PDPT + 8 * 510, GUEST_IMAGE_PD | 3);
	for (uint64_t i = 0; i < 2; i++)
		guest_put64(g, GUEST_IMAGE_PD + 8 * ((GUEST_IMAGE >> 21 & 511) + i),
			    (GUEST_IMAGE_PHYS + (i << 21)) | 0x83);
}

/* A task that is a thread-group leader and its only thread. */
static inline uint64_t guest_add_task(struct guest *g, uint64_t task, uint32_t pid, const char *comm, uint64_t mm)
{
	uint64_t signal = guest_alloc(g, 64);

	guest_put(g, guest_member(task, TASK_COMM), comm, strlen(comm) + 1);
	guest_set(g, task, TASK_PID, pid);
	guest_set(g, task, TASK_TGID, pid);
	guest_set(g, task, TASK_MM, mm ? guest_kva(mm) : 0);
	guest_set(g, task, TASK_SIGNAL, guest_kva(signal));
	guest_set(g, task, TASK_STACK, guest_kva(guest_alloc(g, 16384)));
	guest_set(g, task, TASK_START_TIME, pid * 1000ull);
	guest_set(g, task, TASK_GROUP_LEADER, guest_kva(task));
	guest_list_init(g, guest_member(signal, SIGNAL_THREAD_HEAD));
	guest_list_add_tail(g, guest_member(signal, SIGNAL_THREAD_HEAD), guest_member(task, TASK_THREAD_NODE));
	if (task == GUEST_INIT_TASK)
		guest_list_init(g, guest_member(task, TASK_TASKS));
	else
		guest_list_add_tail(g, guest_member(GUEST_INIT_TASK, TASK_TASKS), guest_member(task, TASK_TASKS));
	return task;
}

/* An mm with page tables of its own (two pages, as with page-table isolation) and no maps. */
static inline uint64_t guest_add_mm(struct guest *g)
{
	uint64_t mm = guest_alloc(g, 128), pgd = (guest_alloc(g, 3 * GUEST_PAGE_SIZE) + 0x1fff) & ~0x1fffull;

	guest_set(g, mm, MM_PGD, guest_kva(pgd));
	memcpy(g->ram + pgd + 2048, g->ram + GUEST_ROOT + 2048, 2048);
	return mm;
}

static inline uint64_t guest_mm_pgd(const struct guest *g, uint64_t mm)
{
	uint64_t pgd;

	memcpy(&pgd, g->ram + guest_member(mm, MM_PGD), 8);
	return guest_phys(pgd);
}

/* Physical address of the last-level entry for va; makes the tables on the way. */
static inline uint64_t guest_user_entry(struct guest *g, uint64_t mm, uint64_t va)
{
	uint64_t table = guest_mm_pgd(g, mm);

	for (unsigned shift = 39; shift > 12; shift -= 9) {
		uint64_t slot = table + 8 * (va >> shift & 511), entry;

		memcpy(&entry, g->ram + slot, 8);
		if (!entry) {
			entry = guest_alloc(g, GUEST_PAGE_SIZE) | 7;
			guest_put64(g, slot, entry);
		}
		table = entry & ~0xfffull;
	}
	return table + 8 * (va >> 12 & 511);
}

/* Maps one user page read-only, executable. */
static inline void guest_map_user(struct guest *g, uint64_t mm, uint64_t va, uint64_t phys)
{
	guest_put64(g, guest_user_entry(g, mm, va), phys | 5);
}

static inline uint64_t guest_add_vma(struct guest *g, uint64_t start, uint64_t end, uint64_t flags, uint64_t pgoff,
				     uint64_t file)
{
	uint64_t vma = guest_alloc(g, 64);

	guest_set(g, vma, VMA_START, start);
	guest_set(g, vma, VMA_END, end);
	guest_set(g, vma, VMA_FLAGS, flags);
	guest_set(g, vma, VMA_PGOFF, pgoff);
	guest_set(g, vma, VMA_FILE, file ? guest_kva(file) : 0);
	return vma;
}

/* The maps of mm: at most 8 VMAs in one leaf. */
static inline void guest_set_maps(struct guest *g, uint64_t mm, const uint64_t *vma, unsigned n)
{
	uint64_t leaf = guest_alloc(g, 256), max = 0;
	unsigned slot = 0;

	for (unsigned i = 0; i < n; i++) {
		uint64_t start, end;

		memcpy(&start, g->ram + guest_member(vma[i], VMA_START), 8);
		memcpy(&end, g->ram + guest_member(vma[i], VMA_END), 8);
		if (start > max)
			guest_put64(g, guest_member(leaf, RANGE64_PIVOT) + 8 * slot++, start - 1);
		guest_put64(g, guest_member(leaf, RANGE64_SLOT) + 8 * slot, guest_kva(vma[i]));
		guest_put64(g, guest_member(leaf, RANGE64_PIVOT) + 8 * slot++, end - 1);
		max = end;
	}
	guest_put64(g, guest_member(mm, MM_MT) + guest_layout[MT_ROOT].offset, guest_kva(leaf) | 1 << 3 | 2);
}

static inline uint64_t guest_add_dentry(struct guest *g, const char *name, uint64_t parent)
{
	uint64_t d = guest_alloc(g, 64), text = guest_alloc(g, 512), q = guest_member(d, DENTRY_NAME);

	guest_put(g, text, name, strlen(name));
	guest_put64(g, q + guest_layout[QSTR_NAME].offset, guest_kva(text));
	guest_set(g, q, QSTR_LEN, strlen(name));
	guest_set(g, d, DENTRY_PARENT, guest_kva(parent ? parent : d));
	return d;
}

/* A mount whose root is dentry; returns its vfsmount. parent 0: the topmost mount. */
static inline uint64_t guest_add_mount(struct guest *g, uint64_t root, uint64_t parent_mnt, uint64_t point)
{
	uint64_t mount = guest_alloc(g, 64), mnt = guest_member(mount, MOUNT_MNT);

	guest_set(g, mnt, VFSMOUNT_ROOT, guest_kva(root));
	guest_set(g, mount, MOUNT_PARENT, guest_kva(parent_mnt ? parent_mnt - guest_layout[MOUNT_MNT].offset : mount));
	guest_set(g, mount, MOUNT_POINT, guest_kva(point ? point : root));
	return mnt;
}

static inline uint64_t guest_add_file(struct guest *g, uint64_t dentry, uint64_t mnt, uint64_t inode)
{
	uint64_t file = guest_alloc(g, 64), path = guest_member(file, FILE_PATH);

	guest_set(g, path, PATH_DENTRY, guest_kva(dentry));
	guest_set(g, path, PATH_MNT, guest_kva(mnt));
	guest_set(g, file, FILE_INODE, guest_kva(inode));
	return file;
}

static inline void guest_init(struct guest *g)
{
	const struct gmem_region all = {gpa(0), GUEST_RAM, 0};
	struct vmi_layout l;
	struct err e;
	int rc;

	memset(g, 0, sizeof(*g));
	g->heap = GUEST_HEAP;
	g->fd = memfd_create("guest", MFD_CLOEXEC);
	rc = ftruncate(g->fd, GUEST_RAM);
	assert(rc == 0);
	rc = gmem_create(g->fd, GUEST_RAM, &g->gm, &e);
	assert(rc == 0);
	rc = gmem_set_regions(g->gm, &all, 1, &e);
	assert(rc == 0);
	g->ram = gmem_base(g->gm);
	guest_map_kernel(g);
	vmi_space_init(&g->kernel, g->gm, 1ull << 31 | 1, GUEST_ROOT, 1 << 5, 1 << 10 | 1 << 8);
	guest_add_task(g, GUEST_INIT_TASK, 0, "swapper/0", 0);
	memcpy(l.f, guest_layout, sizeof(l.f));
	g->vmi = vmi_create_from(&g->kernel, &l, gva(guest_kva(GUEST_INIT_TASK)));
	assert(g->vmi);
}

static inline void guest_deinit(struct guest *g)
{
	vmi_destroy(g->vmi);
	gmem_destroy(g->gm);
	close(g->fd);
}

/* A live module of the kernel at the end of the list with this head. */
static inline uint64_t guest_add_module(struct guest *g, uint64_t head, const char *name, uint64_t at)
{
	uint64_t module = guest_alloc(g, 256), part = guest_member(module, MODULE_MEM);

	guest_put(g, guest_member(module, MODULE_NAME), name, strlen(name) + 1);
	for (unsigned i = 0; i < 3; i++) {
		guest_set(g, part + 32ul * i, MODMEM_BASE, at + 0x10000 * i);
		guest_set(g, part + 32ul * i, MODMEM_SIZE, 0x1000 * (i + 1));
	}
	guest_list_add_tail(g, head, guest_member(module, MODULE_LIST));
	return module;
}

#define PROG_BASE 0x555500000000ull
#define PROG_INODE 0x9000u
#define PROG_NOTE_AT 0x400u
#define PROG_TEXT 0x1000u
#define PROG_DATA 0x2e10u /* file offset; its address is a page higher */

/* Three pages of a position-independent program: headers and notes, text, data. */
struct guest_prog {
	struct guest g;
	uint64_t mm, file, page[3];
	uint64_t vma[4]; /* headers, text, data, anonymous */
	struct vmi_task t;
};

static const Elf64_Phdr guest_program_headers[] = {
	{PT_LOAD, PF_R, 0, 0, 0, 0x800, 0x800, 0x1000},
	{PT_LOAD, PF_R | PF_X, PROG_TEXT, PROG_TEXT, 0, 0x900, 0x900, 0x1000},
	{PT_LOAD, PF_R | PF_W, PROG_DATA, 0x3e10, 0, 0x100, 0x800, 0x1000},
	{PT_NOTE, PF_R, PROG_NOTE_AT, PROG_NOTE_AT, 0, 0x60, 0x60, 4},
	{PT_GNU_EH_FRAME, PF_R, 0x600, 0x600, 0, 0x44, 0x44, 4},
	{PT_DYNAMIC, PF_R | PF_W, PROG_DATA + 0x10, 0x3e20, 0, 0x60, 0x60, 8},
};

static inline void guest_put_headers(struct guest *g, uint64_t page)
{
	const Elf64_Ehdr h = {
		.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
		.e_type = ET_DYN,
		.e_machine = EM_X86_64,
		.e_entry = 0x1040,
		.e_phoff = sizeof(h),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 6,
	};
	const Elf64_Nhdr property = {4, 4, 5}, build_id = {4, 20, NT_GNU_BUILD_ID};

	guest_put(g, page, &h, sizeof(h));
	guest_put(g, page + sizeof(h), guest_program_headers, sizeof(guest_program_headers));
	guest_put(g, page + PROG_NOTE_AT, &property, sizeof(property));
	guest_put(g, page + PROG_NOTE_AT + 12, "GNU\0pppp", 8);
	guest_put(g, page + PROG_NOTE_AT + 20, &build_id, sizeof(build_id));
	guest_put(g, page + PROG_NOTE_AT + 32, "GNU\0build-id-of-20-bytes", 24);
}

/* Initialises p->g too. */
static inline void guest_prog_init(struct guest_prog *p)
{
	struct guest *g = &p->g;
	uint64_t root, mnt;
	struct err e;
	int rc;

	guest_init(g);
	p->mm = guest_add_mm(g);
	root = guest_add_dentry(g, "/", 0);
	mnt = guest_add_mount(g, root, 0, 0);
	p->file = guest_add_file(g, guest_add_dentry(g, "prog", root), mnt, PROG_INODE);
	for (unsigned i = 0; i < 3; i++) {
		p->page[i] = guest_alloc(g, 4096);
		guest_map_user(g, p->mm, PROG_BASE + (i == 2 ? 3 : i) * 4096ull, p->page[i]);
	}
	guest_put_headers(g, p->page[0]);
	p->vma[0] = guest_add_vma(g, PROG_BASE, PROG_BASE + 0x1000, 1, 0, p->file);
	p->vma[1] = guest_add_vma(g, PROG_BASE + 0x1000, PROG_BASE + 0x2000, 5, 1, p->file);
	p->vma[2] = guest_add_vma(g, PROG_BASE + 0x3000, PROG_BASE + 0x4000, 3, 2, p->file);
	p->vma[3] = guest_add_vma(g, PROG_BASE + 0x4000, PROG_BASE + 0x5000, 3, 0, 0);
	guest_set_maps(g, p->mm, p->vma, 4);
	guest_add_task(g, guest_alloc(g, 256), 42, "prog", p->mm);
	rc = vmi_task_by_cr3(g->vmi, guest_mm_pgd(g, p->mm), &p->t, &e);
	assert(rc == 0);
}

/* Puts the program's pages into the inode's tree: one node. Returns where its slots are. */
static inline uint64_t guest_prog_cache(struct guest_prog *p)
{
	struct guest *g = &p->g;
	uint64_t mapping = guest_alloc(g, 64), node = guest_alloc(g, 1024), slots = guest_member(node, XNODE_SLOTS);
	uint64_t cr3 = guest_mm_pgd(g, p->mm), memmap = guest_alloc(g, GUEST_RAM / 4096 * 64);

	guest_set(g, PROG_INODE, INODE_MAPPING, guest_kva(mapping));
	guest_put64(g, guest_member(mapping, MAPPING_PAGES) + guest_layout[XARRAY_HEAD].offset, guest_kva(node) | 2);
	/* The struct pages of all RAM, at GUEST_VMEMMAP in the kernel's tables too. */
	for (uint64_t at = 0; at < GUEST_RAM / 4096 * 64; at += 4096)
		guest_map_user(g, p->mm, GUEST_VMEMMAP + at, memmap + at);
	memcpy(g->ram + GUEST_ROOT + 8 * (GUEST_VMEMMAP >> 39 & 511), g->ram + cr3 + 8 * (GUEST_VMEMMAP >> 39 & 511),
	       8);
	for (unsigned i = 0; i < 3; i++) {
		guest_set(g, memmap + p->page[i] / 4096 * 64, FOLIO_INDEX, i);
		guest_put64(g, slots + 8 * i, GUEST_VMEMMAP + p->page[i] / 4096 * 64);
	}
	return slots;
}

#endif
