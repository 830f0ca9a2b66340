/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the taint plugin (inside QEMU) and the supervisor share: the layout of
 * the shadow file and the messages on the link socket.
 *
 * The shadow file is a memfd that the supervisor creates and every engine maps,
 * so that taint outlives an engine. All offsets are relative to its start:
 *
 *   struct taint_shm            header, one page
 *   struct taint_vcpu[]         TAINT_VCPU_MAX entries: register shadow
 *   struct taint_line[]         TAINT_VCPU_MAX entries
 *   uint32_t page_slot[]        one for each guest-physical page below
 *                               gpa_limit; 0: no byte of the page is tainted
 *   struct taint_slot[]         max_slots entries: who a slot belongs to; one
 *                               for each page, max_copies for copies, slot 0
 *   struct taint_label data[][] max_slots x 4096 labels (slot 0 is unused)
 *   struct taint_undo[]         max_undo entries, a ring: see shadow.h
 *   struct taint_writer[]       max_writers entries (id 0 is unused)
 *   uint32_t writer_hash[]      2 x max_writers entries, open addressing
 *
 * The file is sparse: what is not used costs nothing. The guest cannot write
 * it; QEMU, which parses hostile input, can, so the supervisor bounds every
 * index that it reads from it.
 */
#ifndef CLOUDER_TAINT_ABI_H
#define CLOUDER_TAINT_ABI_H

#include <assert.h>
#include <stdint.h>

#define TAINT_ABI_MAGIC 0x31544e5441524c43ull /* "CLRATNT1" */
#define TAINT_ABI_VERSION 4u
#define TAINT_VCPU_MAX 64u

/*
 * A byte's taint. origin: position of the input byte that it came from in the
 * input log's stream of payload bytes, plus 1, modulo 2^31 (0 is skipped);
 * 0: clean. writer: id of the instruction that wrote it last, 0: the network
 * device. Registers use origin only.
 *
 * value: what the byte held when it was labelled. Memory is also written behind the engine's back: by devices
 * (DMA), by QEMU itself (interrupt frames, state areas). A byte that holds something else than its label says was
 * overwritten so, and is clean.
 */
struct taint_label {
	uint32_t origin;
	uint16_t writer;
	uint8_t value;
	uint8_t flags; /* TAINT_LABEL_* */
};
static_assert(sizeof(struct taint_label) == 8, "shared layout");

/* In flags: value is not known, the label holds whatever the byte is. */
#define TAINT_LABEL_ANY_VALUE 0x01u

/*
 * The input chose where this was written, not what: at an index from the outside, or behind bytes from the outside, whose
 * number it chose. No data from the outside, but of interest in an address.
 */
#define TAINT_LABEL_BY_ADDRESS 0x02u

/* In an origin: the input byte reached this one as an index into a table, not as data itself. */
#define TAINT_BY_INDEX 0x80000000u
/* The rest of an origin. */
#define TAINT_POSITION 0x7fffffffu

/* Whether the input byte of origin a came before that of b. */
static inline int taint_origin_before(uint32_t a, uint32_t b)
{
	return ((a - b) & TAINT_POSITION) > TAINT_POSITION / 2;
}

/*
 * The register shadow: one origin for each byte of a flat register file.
 * Everything the semantics core does is done to ranges of this array.
 */
#define TAINT_REG_GPR 0u /* 16 x 8: rax rcx rdx rbx rsp rbp rsi rdi r8.. */
#define TAINT_REG_FLAGS 128u /* 8 bytes; all flags share byte 0 */
#define TAINT_REG_YMM 136u /* 16 x 32 */
#define TAINT_REG_MM 648u /* 8 x 16: x87 st(i) / mmx, by physical register */
#define TAINT_REG_TMP 776u /* 128 bytes of scratch: loaded data */
#define TAINT_REG_TMP2 904u /* 128 bytes of scratch: data to store */
#define TAINT_REG_BYTES 1032u

struct taint_vcpu {
	uint32_t reg[TAINT_REG_BYTES];
	uint64_t tainted; /* a bit for each register of which a byte is tainted: 16 general ones, flags, 16 ymm, 8 mm */
	uint32_t pad[6];
};
static_assert(sizeof(struct taint_vcpu) == 4160, "shared layout");

/* In taint_vcpu.tainted: general registers and flags. The others are vector and x87 registers. */
#define TAINT_GENERAL 0x1ffffull

/*
 * Every vCPU remembers pages that hold no tainted byte, under its key; a new key makes it forget them all. It gets one
 * when a page without tainted bytes becomes tainted, and when the guest changes its address translation.
 * Bits 0..11 and 57..63 count; the others are 0, so that a key combines with a page's address.
 */
struct taint_line {
	uint64_t key;
	/* Counters; written by the vCPU's own thread only. */
	uint64_t track_entries; /* watch -> track switches */
	uint64_t followed; /* memory accesses that left the fast path */
	uint64_t blocks_tracked; /* blocks entered in the track state */
	uint64_t stale_loads; /* loads that met labels of bytes which had been overwritten behind the engine's back */
	uint64_t naps; /* odd while the vCPU has nothing to do; grows each time that it falls asleep and wakes */
	uint64_t pad[2];
};
static_assert(sizeof(struct taint_line) == 64, "a cache line of its own");

struct taint_slot {
	uint32_t page; /* guest-physical page number */
	uint32_t count; /* tainted bytes in the slot */
	uint32_t epoch; /* epoch in which an undo copy was last made */
	uint32_t next_free;
	uint64_t lines; /* a bit for each 64 bytes of the page, from the first up; 0: none of them is tainted */
};
static_assert(sizeof(struct taint_slot) == 24, "shared layout");

struct taint_undo {
	uint32_t page;
	uint32_t copy_slot; /* the page's labels before; 0: page was clean */
	uint32_t epoch; /* the epoch that made the record */
	uint32_t copy_count;
};
static_assert(sizeof(struct taint_undo) == 16, "shared layout");

/*
 * An instruction that wrote tainted bytes. It is named by where its code lies
 * in guest RAM (page-cache page), which does not depend on the process or on
 * ASLR; pc is the virtual address it was translated at first: its low 12 bits
 * and its sign (kernel or user) hold, the rest is a hint.
 */
struct taint_writer {
	uint64_t code_offset; /* of the instruction's first byte in the RAM file */
	uint64_t pc;
	uint8_t len;
	uint8_t bytes[15];
};
static_assert(sizeof(struct taint_writer) == 32, "shared layout");

/* A stretch of guest-physical memory and where it lies in the RAM file. */
struct taint_region {
	uint64_t gpa, size, offset; /* bytes */
};

#define TAINT_REGIONS 32

struct taint_shm {
	uint64_t magic;
	uint32_t version;
	uint32_t header_size;
	uint64_t file_size;
	uint64_t gpa_limit; /* bytes; multiple of 4096 */
	uint64_t off_vcpu, off_line, off_page_slot, off_slot, off_data, off_undo, off_writer, off_writer_hash;
	uint32_t max_slots, max_copies, max_undo, max_writers;
	uint32_t n_vcpus; /* lines in use; set by the plugin */
	/* below: changes at run time; atomics unless the lock is held */
	uint32_t lock; /* spin lock; reset by the supervisor after it kills an engine */
	uint32_t epoch; /* current epoch, starts at 1 */
	uint32_t epoch_lost; /* nobody can go back to this epoch or one before it: copies were given up; 0: none were */
	uint32_t slots_used; /* high-water mark, slot 0 included */
	uint32_t slot_free; /* head of the free list, 0: empty */
	uint32_t copies_used; /* slots that undo records hold */
	uint32_t writers_used; /* high-water mark, id 0 included */
	/* guest memory map, from the supervisor; odd version: it is being written */
	uint32_t regions_version, n_regions;
	struct taint_region region[TAINT_REGIONS];
	uint64_t undo_first, undo_end; /* records kept are [first, end), each at its number modulo max_undo */
	/* counters, for status */
	uint64_t slots_exhausted; /* pages that could not be tainted: the file is damaged, there is a slot for each */
	uint64_t labels_lost; /* undo records given up: the checkpoints before them are void */
	uint64_t insn_precise, insn_conservative, insn_refused; /* translated instructions */
	uint64_t detections;
	uint64_t blocks_translated, flushes; /* by QEMU: each flush throws all translations away */
};
static_assert(sizeof(struct taint_shm) <= 4096, "header is one page");

/*
 * Link messages: SOCK_SEQPACKET, one struct taint_msg each. Descriptors ride
 * as SCM_RIGHTS on the message named.
 */
enum taint_msg_type {
	TAINT_MSG_HELLO = 1, /* plugin -> supervisor, once: install succeeded */
	TAINT_MSG_RAM = 2, /* plugin -> supervisor: RAM mappings; carries the userfaultfd */
	TAINT_MSG_DETECT = 3, /* plugin -> supervisor; the vCPU is held until GO or death */
	TAINT_MSG_GO = 4, /* supervisor -> plugin: let the held vCPU go on (observe) */
	TAINT_MSG_ERROR = 5, /* plugin -> supervisor: text says what cannot work */
	TAINT_MSG_MAP_RAM = 6, /* supervisor -> plugin: register the RAM now, answer with RAM */
	/* supervisor -> plugin, before the VM runs: stop where this is written; sent back when done */
	TAINT_MSG_WATCH = 7,
};

enum taint_detector {
	TAINT_DETECT_RETURN = 1, /* the return address read by ret is tainted */
	TAINT_DETECT_BRANCH = 2, /* the target of an indirect call or jump is */
	TAINT_DETECT_STACK = 3, /* the stack pointer is about to be loaded with a tainted address */
	TAINT_DETECT_CODE = 4, /* tainted bytes of a writable page are about to be executed */
	TAINT_DETECT_CANARY = 5, /* the stack protector's word is tainted, and not what it was */
	TAINT_DETECT_POINTER = 6, /* a store through a pointer that came whole from the outside */
	TAINT_DETECT_INDEX = 7, /* what is used as an address was written where the input chose */
	TAINT_DETECT_FAULT = 8, /* an access at a tainted address faults; the supervisor knows whether it is fatal */
	TAINT_DETECT_ABORT = 9, /* the program is about to end itself by a signal; the supervisor knows why */
	TAINT_DETECT_WATCH = 10, /* no detector: what TAINT_MSG_WATCH asked for is being written */
	TAINT_DETECT_STRAY = 11, /* a return does not match its call; no byte of the address is tainted */
	TAINT_DETECTORS,
};

/* In place of a page fault's error code: no access failed, but an instruction did (`access`), for which the program gets a signal. */
#define TAINT_ERROR_SIGNAL 0x80000000u /* the signal is in the low bits */

#define TAINT_RAM_MAPS 8
#define TAINT_GPRS 16

struct taint_msg_hello {
	uint32_t abi_version;
	uint32_t plugin_api_min, plugin_api_cur; /* QEMU's */
	uint32_t smp_vcpus;
};

struct taint_msg_ram {
	uint32_t count;
	uint32_t pad;
	struct {
		uint64_t hva; /* in the QEMU process */
		uint64_t size;
		uint64_t offset; /* in the RAM file */
	} map[TAINT_RAM_MAPS];
};

/*
 * A byte with this origin, value and TAINT_LABEL_BY_ADDRESS of flags is written to the user address gva, from user or kernel mode;
 * gva 0: nothing to watch. The value counts since much is computed from an input's bytes. anywhere (0 or 1): to any user
 * address with the same place in its TAINT_STACK_ALIGN bytes, since the stack has moved.
 */
#define TAINT_STACK_ALIGN 16u
struct taint_msg_watch {
	uint64_t gva;
	uint32_t origin;
	uint8_t anywhere, value, flags;
	uint8_t pad;
};

struct taint_msg_detect {
	uint32_t detector;
	uint32_t vcpu;
	uint64_t pc; /* of the instruction that would have used the object */
	uint64_t object_gva; /* error_address: the first byte of the object, 0: not known; WATCH: of the write */
	uint64_t object_gpa;
	uint32_t object_len;
	uint32_t
		access_error; /* FAULT: what the processor says of it (as in a page fault's error code), 0: not known; TAINT_ERROR_SIGNAL */
	uint64_t gpr[TAINT_GPRS]; /* x86 encoding order: rax rcx rdx rbx rsp rbp ... */
	uint64_t cr0, cr3, cr4, efer;
	uint64_t fs_base, gs_base, kernel_gs_base;
	uint64_t cs;
	uint64_t
		code_offset; /* of the instruction in the RAM file, UINT64_MAX: not in RAM; pc is a hint (see taint_writer) */
	uint64_t time_ns; /* CLOCK_MONOTONIC at the start of the callback */
	struct taint_label label[32]; /* of the object's bytes */
	uint64_t value; /* what the bytes hold, as far as 8 */
	uint64_t
		access; /* FAULT: the address of the access; STRAY: where the return leads, if nothing is mapped there, or 0 */
};

struct taint_msg {
	uint32_t type;
	uint32_t size; /* of the whole message */
	union {
		struct taint_msg_hello hello;
		struct taint_msg_ram ram;
		struct taint_msg_detect detect;
		struct taint_msg_watch watch;
		char text[256];
	};
};

#endif
