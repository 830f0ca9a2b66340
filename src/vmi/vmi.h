/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Virtual machine introspection: what the guest's memory says about its own
 * kernel, processes and modules. No file prepared per kernel: structure layouts
 * come from the kernel's own BTF in guest memory, the task list from the init
 * task found in the kernel image.
 *
 * The guest controls every byte read here. All walks are bounded and stop at
 * cycles; a lying guest gets a wrong answer or an ERR_GUEST, never a crash or a hang.
 */
#ifndef CLOUDER_VMI_VMI_H
#define CLOUDER_VMI_VMI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"
#include "qemu/gmem.h"

/* An address space: guest memory seen through one set of page tables. */
struct vmi_space {
	struct gmem *gm;
	uint64_t cr3; /* bits 11..0 (PCID) are ignored */
	bool paging, pae, long_mode, la57;
};

/* From control registers, as the taint plugin reports them. */
void vmi_space_init(struct vmi_space *s, struct gmem *gm, uint64_t cr0, uint64_t cr3, uint64_t cr4, uint64_t efer);

struct vmi_page {
	struct gpa at; /* of the address asked for, not of the page */
	uint64_t page_size; /* 4 KiB, 2 MiB, 4 MiB or 1 GiB */
	bool writable, user, executable;
};

/* Walks the page tables. false: not mapped, or the tables lead outside RAM. */
bool vmi_translate(const struct vmi_space *s, struct gva at, struct vmi_page *ret) MUST_CHECK;
/* All or nothing. vmi_write ignores page permissions (it is the emergency surgeon's knife). */
bool vmi_read(const struct vmi_space *s, struct gva at, void *ret, size_t len) MUST_CHECK;
bool vmi_write(const struct vmi_space *s, struct gva at, const void *buf, size_t len) MUST_CHECK;

struct vmi;

/*
 * Finds BTF and the init task. kernel: any address space of this guest (user ones work: with page-table
 * isolation the kernel's half is found beside them). Nothing of it is kept but the struct.
 */
int vmi_create(const struct vmi_space *kernel, struct vmi **ret_vmi, struct err *e) MUST_CHECK;
void vmi_destroy(struct vmi *v);

#define VMI_COMM_MAX 16
#define VMI_PATH_MAX 256
#define VMI_BUILD_ID_MAX 32

struct vmi_task {
	int32_t pid, tgid;
	char comm[VMI_COMM_MAX + 1]; /* printable, NUL-terminated */
	struct gva task; /* its task_struct */
	struct gva mm; /* 0: kernel thread */
	struct vmi_space space; /* of its mm; only if mm is not 0 */
	uint64_t start_time_ns;
};

/* The process (thread-group leader) whose page tables cr3 points to. ERR_GUEST if there is none. */
int vmi_task_by_cr3(struct vmi *v, uint64_t cr3, struct vmi_task *ret, struct err *e) MUST_CHECK;
/* The process with this id. ERR_MISSING if there is none. */
int vmi_task_by_pid(struct vmi *v, int32_t pid, struct vmi_task *ret, struct err *e) MUST_CHECK;
/* All thread-group leaders, at most max; returns how many were filled, or -1. */
int vmi_tasks(struct vmi *v, struct vmi_task *ret, size_t max, struct err *e) MUST_CHECK;

/* A process, or a thread of one, as it is listed. */
struct vmi_process {
	int32_t pid, tid, parent; /* tid: pid, or that of the thread */
	uint32_t uid; /* UINT32_MAX: not to be told */
	char state; /* R, S, D, T, t, X, Z, P, I as in ps(1); ?: not to be told */
	bool is_kernel; /* a kernel thread */
	bool deleted; /* the program's file is in no directory any more */
	char comm[VMI_COMM_MAX + 1];
	char program[VMI_PATH_MAX]; /* path of its file; "" if there is none */
	uint64_t start_time_ns; /* since the guest booted */
};

/*
 * The processes of the guest, or with threads all threads of each, without the first `first`; at most max. Returns how many, or
 * -1. *ret_whole: the list came to its end in good order, and nothing in it could not be read.
 */
int vmi_processes(struct vmi *v, bool threads, size_t first, struct vmi_process *ret, size_t max, bool *ret_whole,
		  struct err *e) MUST_CHECK;

/*
 * User-mode instruction pointers, as saved at kernel entry, of all threads of the process of t; at most max.
 * Returns how many, or -1. Threads that run in user mode right now have a stale value.
 */
int vmi_thread_ips(struct vmi *v, const struct vmi_task *t, struct gva *ret_ip, size_t max, struct err *e) MUST_CHECK;

/*
 * Whether the process has a function of its own for signal number sig (1 to 64). True also if that cannot be told: then
 * it is not known to be fatal.
 */
bool vmi_task_handles(const struct vmi *v, const struct vmi_task *t, unsigned sig);

/* A thread that entered the kernel, with its user-mode registers as they were saved then. */
struct vmi_thread {
	int32_t pid;
	struct gva task;
	struct gva stack; /* its kernel stack */
	uint64_t stack_size; /* bytes */
	bool is_32bit; /* it runs 32-bit code: the upper halves are 0 */
	uint64_t gpr[16]; /* x86 encoding order: rax rcx rdx rbx rsp rbp ...; rax is what the entry left there */
	uint64_t number; /* of the system call; not one if the kernel was entered otherwise */
	struct gva ip;
};

/*
 * The thread of the process of t on whose kernel stack rsp lies: the one that ran when rsp was read on a vCPU in the
 * kernel. ERR_GUEST: none does (an interrupt's stack, a kernel thread's), or its saved registers are not of user mode.
 */
int vmi_thread_at(struct vmi *v, const struct vmi_task *t, uint64_t rsp, struct vmi_thread *ret,
		  struct err *e) MUST_CHECK;

/*
 * The threads of the process of t that wait in a system call, with all they need to go on in RAM; at most max. Returns how many,
 * or -1. *ret_n_other: threads that do not, or of which that is not sure, or whose system calls are filtered.
 */
int vmi_threads_waiting(struct vmi *v, const struct vmi_task *t, struct vmi_thread *ret, size_t max,
			size_t *ret_n_other, struct err *e) MUST_CHECK;
/* Such a thread will go on at ip, with that stack pointer, when its system call ends. */
bool vmi_thread_redirect(struct vmi *v, const struct vmi_thread *th, struct gva ip, struct gva sp) MUST_CHECK;

/* A thread as it is listed. */
struct vmi_thread_state {
	int32_t tid;
	char comm[VMI_COMM_MAX + 1];
	char state; /* as in struct vmi_process */
	/*
	 * It was on a processor when it was looked at, in user mode or in the kernel; its registers are those of the last time it
	 * came into the kernel. Else they are what it goes on with in user mode, but for the system call's result.
	 */
	bool on_processor;
	bool has_user; /* it has been in user mode: what follows is meant */
	struct vmi_thread user;
	uint64_t flags;
};

/* The threads of the process of t, without the first `first`; at most max. Else as vmi_processes(). */
int vmi_thread_states(struct vmi *v, const struct vmi_task *t, size_t first, struct vmi_thread_state *ret, size_t max,
		      bool *ret_whole, struct err *e) MUST_CHECK;

#define VMI_SYMBOL_MAX 511

/* A symbol of the kernel, without those of its modules. */
struct vmi_symbol {
	struct gva at; /* or a place in the area of each CPU */
	char type; /* as nm(1) has it */
	char name[VMI_SYMBOL_MAX + 1]; /* printable */
};

/*
 * The symbols whose name is what the pattern says (* and ? stand for any letters), in the order of their addresses, without
 * the first `first`; at most max. Returns how many, or -1. ERR_GUEST: the kernel's table is not to be found.
 */
int vmi_symbols(struct vmi *v, const char *pattern, size_t first, struct vmi_symbol *ret, size_t max,
		struct err *e) MUST_CHECK;

#define VMI_KMODULE_NAME_MAX 63

/* A module of the kernel. */
struct vmi_kmodule {
	char name[VMI_KMODULE_NAME_MAX + 1]; /* printable */
	struct gva at; /* of its code */
	uint64_t size; /* bytes, of all its parts */
	char state; /* L: live, C: being loaded, G: being unloaded; ?: not to be told */
};

/*
 * The modules that the kernel has loaded, the newest first, without the first `first`; at most max. Else as vmi_processes().
 * ERR_GUEST: the kernel's list is not to be found, or was built without modules.
 */
int vmi_kmodules(struct vmi *v, size_t first, struct vmi_kmodule *ret, size_t max, bool *ret_whole,
		 struct err *e) MUST_CHECK;

/* Flags of a mapping, the kernel's. */
#define VMI_VM_READ 1u
#define VMI_VM_WRITE 2u
#define VMI_VM_EXEC 4u
#define VMI_VM_SHARED 8u
#define VMI_VM_GROWSDOWN 0x100u

struct vmi_vma {
	struct gva start, end;
	uint64_t flags; /* VMI_VM_READ and so on */
	uint64_t file_offset; /* bytes; of start */
	struct gva file; /* struct file, 0: anonymous */
	struct gva inode; /* the file's, in the kernel; 0: anonymous, or not to be told */
	char path[VMI_PATH_MAX]; /* "" if anonymous; cut at the front if too long */
};

/* The process's memory map in address order, at most max entries; returns how many, or -1. */
int vmi_maps(struct vmi *v, const struct vmi_task *t, struct vmi_vma *ret, size_t max, struct err *e) MUST_CHECK;

/* What is mapped at an address. */
enum vmi_mapped {
	VMI_MAPPED,
	VMI_NOT_MAPPED,
	VMI_MAPPED_UNKNOWN, /* the memory map is broken, or cannot be read */
};

/* A stack is mapped already where it may grow to. *ret_flags, if it is mapped: as in struct vmi_vma. */
enum vmi_mapped vmi_mapped_at(const struct vmi *v, const struct vmi_task *t, struct gva at,
			      uint64_t *ret_flags) MUST_CHECK;

/* Whether the kernel is just changing the process's memory map: what is read of it is neither the old nor the new one. */
bool vmi_maps_change(const struct vmi *v, const struct vmi_task *t);

/* A mapping of a process, as it is listed. */
struct vmi_mapping {
	struct gva start, end;
	uint64_t flags; /* as in struct vmi_vma */
	uint64_t file_offset; /* bytes; of start */
	char name[VMI_PATH_MAX]; /* the file's path, or what it is for, as [heap]; "": neither */
	bool deleted; /* the file is in no directory any more */
	uint8_t build_id[VMI_BUILD_ID_MAX];
	uint8_t build_id_len; /* 0: no ELF file, none in it, or its headers are not in the page cache */
};

/* The mappings of a process in address order, without the first `first`; at most max. Else as vmi_processes(). */
int vmi_mappings(struct vmi *v, const struct vmi_task *t, size_t first, struct vmi_mapping *ret, size_t max,
		 bool *ret_whole, struct err *e) MUST_CHECK;

/*
 * As vmi_read in the process's space; besides finds pages of mapped files that the process has not touched yet
 * (.eh_frame, cold headers) in the guest's page cache. What was copied before a false is undefined.
 */
bool vmi_task_read(struct vmi *v, const struct vmi_task *t, struct gva at, void *ret, size_t len) MUST_CHECK;

enum vmi_presence {
	VMI_PRESENT,
	VMI_ABSENT, /* mapped, but not in memory: never touched, or on a disk */
	VMI_UNMAPPED, /* not mapped at all, or where no memory is */
};

/* As vmi_task_read(), of a part of one page, and tells why it cannot be read. */
enum vmi_presence vmi_task_peek(struct vmi *v, const struct vmi_task *t, struct gva at, void *ret, size_t len);

/*
 * Writes where vmi_task_read() would read: into the page cache for a page of a file that the process has not touched, so
 * that it finds the bytes when it does. All or nothing. Page permissions are ignored, as in vmi_write.
 */
bool vmi_task_write(struct vmi *v, const struct vmi_task *t, struct gva at, const void *buf, size_t len) MUST_CHECK;

/* Code of the kernel's that is mapped in every process, from the same pages of its image. */
struct vmi_vdso {
	struct gva at; /* in the process */
	uint64_t size; /* bytes */
	struct gpa memory;
};

/* ERR_GUEST: the process has none, or never looked at it. */
int vmi_vdso_find(struct vmi *v, const struct vmi_task *t, struct vmi_vdso *ret, struct err *e) MUST_CHECK;
/* At an offset of it, for all processes. false: not inside. */
bool vmi_vdso_read(struct vmi *v, const struct vmi_vdso *d, uint64_t offset, void *ret, size_t len) MUST_CHECK;
bool vmi_vdso_write(struct vmi *v, const struct vmi_vdso *d, uint64_t offset, const void *buf, size_t len) MUST_CHECK;

/* An ELF file as mapped in a process. */
struct vmi_module {
	char path[VMI_PATH_MAX];
	uint8_t build_id[VMI_BUILD_ID_MAX];
	uint8_t build_id_len; /* 0: none found */
	struct gva build_id_at; /* where it is mapped */
	bool is_32bit;
	bool is_main; /* the program itself (type EXEC or with an entry in a PT_INTERP program), not a library */
	uint64_t bias; /* run-time address minus address in the file */
	struct gva low, high; /* span of its mappings */
	struct gva text, text_end; /* executable segment in memory: [p_vaddr, p_vaddr + p_memsz) plus bias */
	uint64_t text_file_offset; /* file offset of text */
	uint64_t text_file_size; /* p_filesz */
	struct gva eh_frame_hdr; /* PT_GNU_EH_FRAME; 0: none */
	uint64_t eh_frame_hdr_size;
	struct gva dynamic; /* PT_DYNAMIC; 0: none (a static program) */
	uint64_t dynamic_size;
	struct gva entry;
	struct gva inode; /* the file's, in the kernel */
};

/*
 * Bytes of the file behind a module as they are in the guest's page cache: also what is mapped nowhere (section headers,
 * .symtab). All or nothing; false: not in the cache, which is usual for the end of a file on a disk.
 */
bool vmi_file_read(struct vmi *v, const struct vmi_task *t, struct gva inode, uint64_t offset, void *ret,
		   size_t len) MUST_CHECK;
/*
 * Changes them there: every process that maps the file sees it, now or later, but for private copies of a page. All or
 * nothing. The file system is not told, so a page may be dropped and read anew where there is a disk behind it.
 */
bool vmi_file_write(struct vmi *v, const struct vmi_task *t, struct gva inode, uint64_t offset, const void *buf,
		    size_t len) MUST_CHECK;

/*
 * The module that covers `at` in the process: finds the mapping, then the ELF header at the start of that file's
 * first mapping, reads program headers and the build-id note from guest memory.
 */
int vmi_module_at(struct vmi *v, const struct vmi_task *t, struct gva at, struct vmi_module *ret,
		  struct err *e) MUST_CHECK;

/*
 * Finds where in the process's executable mappings the guest-physical page of `code` (RAM file offset) is mapped.
 * ERR_GUEST if it is not.
 */
int vmi_find_code(struct vmi *v, const struct vmi_task *t, uint64_t ram_offset, struct gva *ret,
		  struct err *e) MUST_CHECK;

#endif
