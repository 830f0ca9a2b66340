/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the plugin share: the per-vCPU state and the entry points of each. */
#ifndef CLOUDER_PLUGIN_PLUGIN_INTERNAL_H
#define CLOUDER_PLUGIN_PLUGIN_INTERNAL_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#include "plugin/core/group.h"
#include "plugin/core/insn.h"
#include "plugin/core/returns.h"
#include "plugin/core/shadow.h"
#include "plugin/qemu_plugin_api.h"
#include "taint_abi.h"

#define PLUGIN_TLB_SIZE 1024u

/* The low 12 bits of a tag are the generation: a flush is one increment. */
struct plugin_tlb_entry {
	uint64_t tag;
	uint64_t page; /* guest-physical address of the page, UINT64_MAX: not RAM */
	const uint8_t *host; /* its bytes as this process maps them; NULL: not known */
};

/* Reads that one wide load (of more bytes than QEMU reads at once) is made of, at most. */
#define PLUGIN_WIDE_MAX 8u

/* Everything a vCPU's callbacks need; only its own thread touches it. What every access looks at comes first. */
struct plugin_vcpu {
	struct taint_line *line; /* in the shadow file; NULL: no such vCPU yet */
	struct taint_vcpu *regs; /* in the shadow file */
	/*
	 * While tracking, the block that runs and the first of its instructions not followed yet. Instructions without
	 * callback of their own are caught up with at the next one that has one, or at the next block.
	 */
	struct plugin_block *block;
	uint32_t at;
	uint32_t hot; /* PLUGIN_HOT_* */
	uint8_t track; /* what the scoreboard says: enum plugin_track */
	bool awake; /* it runs, or is about to */
	bool pending; /* members of the block may meet tainted memory (group.c) */
	uint8_t n_skipped; /* reads of the current wide load that were left alone, and not told to the core yet */
	unsigned index;
	uint64_t generation; /* of tlb, 1..4095 */
	uint64_t lead[TAINT_GROUPS]; /* where the leaders of the block's groups were last */
	struct taint_run run;
	struct gmem *ram; /* NULL until first needed */
	uint32_t ram_version; /* of the guest memory map that it has */
	struct {
		uint64_t vaddr;
		uint8_t n;
	} skipped[PLUGIN_WIDE_MAX];
	/*
	 * Where what a register of the program holds was loaded from last, as far as it was tainted; 0: nowhere. Of another
	 * program after a switch, so what lies there must be compared.
	 */
	uint64_t where[TAINT_GPRS];
	uint32_t
		unmixed; /* bit mask of registers that were loaded mixed with a word of the thread's, and unmixed since */
	/*
	 * For a register loaded through a pointer that came whole from the outside: where that pointer was loaded from, where it
	 * pointed to, and where the load was. through[].pointer 0: no such load.
	 */
	struct {
		uint64_t pointer, value, loaded;
	} through[TAINT_GPRS];
	uint64_t
		branched_by; /* where the target of the newest such branch lay whose bytes came from outside; 0: none */
	unsigned calm; /* interrupts and exceptions of programs since tainted data was followed */
	uint64_t followed_before; /* accesses followed when the kernel was last entered by an interrupt or exception */
	uint64_t stack; /* user's stack pointer at the last store that a detector looked at and that is no member */
	uint64_t clean[PLUGIN_TLB_SIZE]; /* pages without tainted bytes: address ^ key; see memory.c */
	struct plugin_tlb_entry tlb[PLUGIN_TLB_SIZE];
} __attribute__((aligned(64)));

/* A general register is tainted, or a load-store instruction is half done; a vector register is tainted. */
#define PLUGIN_HOT_GENERAL 1u
#define PLUGIN_HOT_VECTOR 2u

/*
 * Copying leaves data in vector registers for long after. Blocks that have to do with general registers only need not
 * be followed for that.
 */
enum plugin_track {
	PLUGIN_TRACK_NONE, /* watch: no register is tainted */
	PLUGIN_TRACK_VECTOR, /* vector registers only: blocks that touch one are followed */
	PLUGIN_TRACK_ALL,
};

struct plugin_block;

/* How an instruction is caught up with. */
enum plugin_kind {
	PLUGIN_PLAIN, /* by its operations */
	PLUGIN_COPY, /* likewise; it copies a general register, which detectors keep track of */
	PLUGIN_MEMBER, /* of a group */
	PLUGIN_TOLD, /* not at all: its access is told, and followed then */
};

/*
 * An instruction at its place: what its memory callbacks get. In the order of use: most accesses that are told look at
 * no more than the first 32 bytes, in one cache line.
 */
struct plugin_site {
	struct plugin_block *block;
	uint64_t touched_since; /* registers: as touches, with those of the instructions since site `since` */
	uint16_t since; /* the one behind the last before it that has a memory callback */
	uint16_t index; /* in its block */
	bool updates; /* loads and stores */
	bool has_memory; /* loads or stores */
	bool follows; /* is a member: has no callback, its group's leader answers for it */
	uint8_t group; /* of leader and member, TAINT_GROUP_NONE: neither */
	int16_t distance; /* of a member's address from its leader's */
	uint16_t next_tell; /* the first site from this one on that tells, or is a member; the block's end: none */
	bool tells; /* has a memory callback, which is made whenever it runs */
	/* Bytes of each of its loads, or stores, if that is 1, 2, 4, 8 or 16 and nothing is special about it; or 0. */
	uint8_t word_load, word_store;
	uint8_t kind; /* enum plugin_kind */
	uint64_t touches; /* as in->touches, with a program's addresses that detectors look at */
	const struct taint_insn *in;
	uint16_t address; /* general registers whose labels detectors look at when it stores, bit mask */
	uint8_t ops; /* of the instruction's operations, a bit for each: those whose effect anybody can see */
	uint8_t copy_to, copy_from; /* general registers, if it copies one to another; TAINT_GPR_NONE */
	bool ends; /* stores one byte: perhaps the end of what came from the outside */
	uint16_t number; /* among all instructions of the translation */
	const uint8_t *bytes; /* 15, those beyond the instruction zero */
	uint64_t code_offset; /* in the RAM file; UINT64_MAX: not in RAM */
	uint64_t pc;
	uint16_t writer; /* id, 0 until first needed */
	bool user, mode32; /* runs in user mode; 32-bit code */
	bool calls; /* stores a return address */
	uint8_t sees; /* enum taint_sees */
	uint8_t sees_reg,
		sees_other; /* as in struct taint_insn; of a comparison, the stack protector's word is in sees_other */
} __attribute__((aligned(32)));
static_assert(sizeof(struct plugin_site) == 96, "as little as that");

/* Bytes of a return address, or a pointer. */
#define PLUGIN_WORD_MAX 8u

static inline unsigned plugin_word(const struct plugin_site *s)
{
	return s->mode32 ? 4 : PLUGIN_WORD_MAX;
}

/* A translation block: its instructions that can carry taint, in order. */
struct plugin_block {
	struct plugin_block *next;
	uint32_t n;
	bool vectors; /* an instruction touches a vector register */
	/*
	 * Behind the last instruction that must have been followed when the next block starts: members, whose leaders'
	 * addresses are lost then, and what moves data from vector registers to general ones.
	 */
	uint32_t tell_end;
	struct plugin_site site[];
};

struct plugin {
	qemu_plugin_id_t id;
	int link_fd, ram_fd;
	bool shared; /* there are several vCPUs */
	uint32_t detectors; /* that are on: a bit for each enum taint_detector */
	struct shadow *shadow;
	struct taint_shm *shm;
	struct qemu_plugin_scoreboard *board;
	struct taint_msg_watch watch; /* set before the VM runs */
	struct returns returns; /* of calls onto pages with tainted bytes */
	qemu_plugin_u64 track; /* per vCPU: non-zero while registers may be tainted */
};

extern struct plugin plugin;
extern struct plugin_vcpu plugin_vcpu[TAINT_VCPU_MAX];

static inline bool plugin_detects(enum taint_detector detector)
{
	return plugin.detectors >> detector & 1;
}

/* follow.c: the callbacks that follow taint. */
void follow_init_vcpu(unsigned index);
/* That of the calling thread; NULL: none yet. */
struct plugin_vcpu *follow_current(void);
void follow_resume_vcpu(unsigned index);
void follow_pause_vcpu(unsigned index);
bool follow_needs_block(const struct plugin_block *b);
void follow_block(unsigned vcpu, void *block);
void follow_begin(unsigned vcpu, void *site);
void follow_area(unsigned vcpu, void *site);
void follow_flush_tlb(unsigned vcpu, void *insn);
void follow_wide_load(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *site);
/* In blocks that touch no vector register. */
void follow_plain_load(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *site);
void follow_plain_store(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *site);
void follow_load(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *site);
void follow_store(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *site);
/* Of one that ends what is before it. */
void follow_end_store(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *site);
void follow_wide_update(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *site);
void follow_return(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *site);
/* Of leaders; the mark is group_mark()'s. */
void follow_lead(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *mark);
void follow_plain_lead(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *mark);
/* A load that a detector looks at; before an instruction is run that one looks at. */
void follow_seen_load(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *site);
void follow_seen(unsigned vcpu, void *site);

/* translate.c: which callbacks an instruction gets. */
void translate_block(qemu_plugin_id_t id, struct qemu_plugin_tb *tb);
void translate_flush(qemu_plugin_id_t id);

/* regs.c: registers by name, in the calling vCPU's thread. */
void regs_init(void);
enum plugin_reg {
	PLUGIN_REG_RAX, /* the 16 general purpose registers in encoding order */
	PLUGIN_REG_RCX,
	PLUGIN_REG_RDX,
	PLUGIN_REG_RSP = TAINT_GPR_RSP,
	PLUGIN_REG_RSI = 6,
	PLUGIN_REG_RIP = TAINT_GPRS,
	PLUGIN_REG_CS,
	PLUGIN_REG_CR0,
	PLUGIN_REG_CR2,
	PLUGIN_REG_CR3,
	PLUGIN_REG_CR4,
	PLUGIN_REG_EFER,
	PLUGIN_REG_FS_BASE,
	PLUGIN_REG_GS_BASE,
	PLUGIN_REG_KERNEL_GS_BASE,
	PLUGIN_REGS,
};
uint64_t regs_read(enum plugin_reg r);

/* guest.c: guest memory by physical and by virtual address, in the calling vCPU's thread. */
struct vmi_page;
/* Walks the guest's page tables. false: not mapped. */
bool guest_translate(struct plugin_vcpu *c, uint64_t vaddr, struct vmi_page *ret);
/* A page's bytes, for as long as the memory map stays as it is (plugin_vcpu.ram_version); NULL: not RAM. */
const uint8_t *guest_host(struct plugin_vcpu *c, struct gpa page);
/* Copies n bytes, also over pages; false: not RAM. */
bool guest_read(struct plugin_vcpu *c, struct gpa at, void *ret, size_t n);

/* area.c: an instruction that moves the processor's state is about to run. */
void area_follow(struct plugin_vcpu *c, struct plugin_site *s);

/* frame.c: an instruction at which an interrupt or exception has just been taken, when it is translated. */
bool frame_is_entry(const struct qemu_plugin_insn *insn, const uint8_t *bytes, size_t len);
/* It is about to run. */
void frame_pushed(unsigned vcpu, void *insn);

/* ram.c: where the RAM file is mapped in this process, and its userfaultfd. */
void ram_find(void);
bool ram_offset(const void *hva, uint64_t *ret_offset);
void ram_register(void); /* answers TAINT_MSG_RAM or TAINT_MSG_ERROR on the link */

/* link.c: messages to and from the supervisor. */
int link_start(void);
void link_send(struct taint_msg *m, int fd); /* fills m->size; fd -1: none */
void link_send_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void link_wait_go(unsigned vcpu);

/* sentry.c: the detectors, called with all followed that ran before. */
/* What is known of a block's sites only when all are there: comparisons with the stack protector's word. */
void sentry_complete(struct plugin_block *b);
/* What of the kind a detector that is on wants to know of an instruction; TAINT_SEES_NONE: nothing. */
enum taint_sees sentry_wanted(enum taint_sees sees);
/* Whether a detector that is on looks at return addresses. */
bool sentry_wants_returns(void);
/* Whether a detector looks at what the instruction loads. */
bool sentry_sees_load(const struct plugin_site *s);
/* Adds the callbacks of their own that they need. */
void sentry_instrument(struct qemu_plugin_insn *insn, struct plugin_site *s);
/* Adds one to a block whose code came from the outside. */
void sentry_block(struct qemu_plugin_tb *tb, struct plugin_block *b);
/* An instruction that a detector looks at is about to run. */
void sentry_register(struct plugin_vcpu *c, struct plugin_site *s);
/* It has loaded n bytes; labels NULL: none of them is tainted. */
void sentry_load(struct plugin_vcpu *c, struct plugin_site *s, qemu_plugin_meminfo_t info, uint64_t vaddr,
		 const struct taint_label *labels, unsigned n);
/* It loads; notes whether through a pointer that came from the outside. */
void sentry_through(struct plugin_vcpu *c, const struct plugin_site *s, uint64_t vaddr);
/* It has loaded n bytes with these labels from there; it has copied a register. */
void sentry_note_load(struct plugin_vcpu *c, const struct plugin_site *s, uint64_t vaddr,
		      const struct taint_label *labels, unsigned n);
/* As sentry_through() and sentry_note_load() for a word without labels that have flags, before its labels are loaded. */
void sentry_note_word(struct plugin_vcpu *c, const struct plugin_site *s, uint64_t vaddr, unsigned n);
static inline void sentry_note_copy(struct plugin_vcpu *c, const struct plugin_site *s)
{
	if (s->user) {
		c->where[s->copy_to] = c->where[s->copy_from];
		c->unmixed &= ~(1u << s->copy_to);
		c->unmixed |= (c->unmixed >> s->copy_from & 1) << s->copy_to;
	}
	c->regs->tainted |= (c->regs->tainted >> s->copy_from & 1) << s->copy_to;
}
/*
 * It stores; of a group's member after its leader, whose address has the same labels. Returns an origin of the address that
 * it stores at, if that is on the stack; 0: it has none.
 */
uint32_t sentry_store(struct plugin_vcpu *c, struct plugin_site *s, uint64_t vaddr);
/* It has popped a register that functions preserve: n bytes with these labels. */
void sentry_restored(struct plugin_vcpu *c, const struct plugin_site *s, uint64_t vaddr,
		     const struct taint_label *labels, unsigned n);
/* An access of it was not reported: it faulted. */
void sentry_fault(struct plugin_vcpu *c, struct plugin_site *s);
/*
 * Whether the newest jump or call through what was computed from the input, which is no attack by itself, went to ip: then it
 * was by the n bytes at c->branched_by.
 */
bool sentry_branched(struct plugin_vcpu *c, uint64_t ip, unsigned n, struct gpa *ret_at, struct taint_label *ret);

/* stray.c: returns that do not match their call. */
/* An instruction has stored n bytes on a page with tainted bytes; noted for return addresses. */
void stray_stored(struct plugin_vcpu *c, const struct plugin_site *s, qemu_plugin_meminfo_t info, uint64_t vaddr,
		  unsigned n);
/* It is about to return by an address that is clean, on a page with tainted bytes. */
void stray_return(struct plugin_vcpu *c, const struct plugin_site *s, qemu_plugin_meminfo_t info, uint64_t vaddr);

/* detect.c: a detector fired: report, and hold the vCPU until the supervisor says otherwise. */
void detect_report(const struct plugin_vcpu *c, enum taint_detector detector, const struct plugin_site *site,
		   uint64_t vaddr, struct gpa at, const struct taint_label *labels, unsigned n);
/* An access, or a return, of which the supervisor is to judge whether it is fatal. */
struct detect_access {
	uint64_t address;
	uint32_t error; /* PAGE_FAULT_*, 0: not known */
};
#define PAGE_FAULT_PRESENT 0x01u
#define PAGE_FAULT_WRITE 0x02u
#define PAGE_FAULT_USER 0x04u
#define PAGE_FAULT_FETCH 0x10u
void detect_report_access(const struct plugin_vcpu *c, enum taint_detector detector, const struct plugin_site *site,
			  struct detect_access access, uint64_t vaddr, struct gpa at, const struct taint_label *labels,
			  unsigned n);

#endif
