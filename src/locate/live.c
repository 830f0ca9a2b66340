/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Locating while the culprit's write happens again, with all frames that led to it still on the stack.
 *
 * The program's registers are the vCPU's, or, if the kernel writes for a system call, those it saved on entry. The
 * chain of calls is unwound from them (chain.c); the culprit is chosen on it (live_culprit.c), the object is
 * found (object.c) and expressed in terms of the culprit's frame (live_bounds.c).
 */
#include "locate/live.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "locate/live_format.h"
#include "locate/x86.h"

#define LIVE_WORD_MAX 8u
#define ERROR_WRITE 0x02u /* of a page fault's error code */

static bool read_process(void *arg, struct gva at, void *ret, size_t len)
{
	const struct live *l = arg;

	if (!vmi_task_read(l->in->vmi, &l->task, at, ret, len))
		return false;
	locate_unpatch(l->in, at, ret, len);
	return true;
}

static bool module_at(void *arg, struct gva at, struct vmi_module *ret)
{
	const struct live *l = arg;

	return !vmi_module_at(l->in->vmi, &l->task, at, ret, NULL);
}

static bool read_file(void *arg, struct gva at, void *ret, size_t len)
{
	const struct live_names *n = arg;
	const struct live *l = n->live;

	return vmi_file_read(l->in->vmi, &l->task, n->module->inode, at.v, ret, len);
}

static struct live_names *names_of(struct live *l, const struct vmi_module *m)
{
	struct live_names *n = &l->names[m - l->chain->module];
	const struct code_reader file = {read_file, n};

	if (n->tried)
		return n;
	n->tried = true;
	n->live = l;
	n->module = m;
	n->has_dynamic = !dynamic_read(&l->src.rd, m, &n->dynamic, NULL);
	n->has_symtab = !symtab_of_file(&file, m->bias, &n->symtab, NULL);
	return n;
}

void live_source(struct live *l, const struct vmi_module *m, struct callee_source *ret)
{
	struct live_names *n = names_of(l, m);

	*ret = (struct callee_source){.rd = l->src.rd,
				      .module = m,
				      .dynamic = n->has_dynamic ? &n->dynamic : NULL,
				      .symtab = n->has_symtab ? &n->symtab : NULL};
}

unsigned live_symbols(void *arg, const struct vmi_module *m, struct symtab *ret, unsigned max)
{
	struct live_names *names = names_of(arg, m);
	unsigned n = 0;

	if (names->has_symtab && n < max)
		ret[n++] = names->symtab;
	if (names->has_dynamic && n < max)
		ret[n++] = names->dynamic.sym;
	return n;
}

bool live_function_name(struct live *l, unsigned k, char ret[SYMTAB_NAME_MAX])
{
	const struct chain_frame *f = &l->chain->frame[k];
	struct symtab t[2];
	unsigned n = f->module ? live_symbols(l, f->module, t, 2) : 0;

	for (unsigned i = 0; i < n; i++)
		if (callee_name_at(&t[i], f->function.v ? f->function : chain_lookup(f), ret))
			return true;
	return false;
}

/* What is known from before, of the process, and room for the rest. */
static int begin(struct live *l, const struct finding *first, struct err *e)
{
	struct finding *f = l->f;
	int n;

	f->start_address = first->start_address;
	f->error_address = first->error_address;
	f->error_length = first->error_length;
	f->run_length = first->run_length;
	f->first_origin = first->first_origin;
	f->last_origin = first->last_origin;
	f->run_first_origin = first->run_first_origin;
	if (vmi_task_by_cr3(l->in->vmi, l->in->detect->cr3, &l->task, e))
		return err_prefix(e, "process of the write");
	f->pid = l->task.tgid;
	memcpy(f->comm, l->task.comm, sizeof(f->comm));
	f->comm[VMI_COMM_MAX] = '\0';
	l->chain = calloc(1, sizeof(*l->chain));
	l->maps = calloc(LIVE_MAPS_MAX, sizeof(*l->maps));
	if (!l->chain || !l->maps)
		return err_set_errno(e, "no memory for the chain of calls");
	n = vmi_maps(l->in->vmi, &l->task, l->maps, LIVE_MAPS_MAX, e);
	if (n < 0)
		return -1;
	l->n_maps = (unsigned)n;
	return 0;
}

#define USER32_CS 0x23u

/* What the processor pushes on the kernel's stack when an access faults: perhaps an error code, then these words. */
enum pushed { PUSHED_IP, PUSHED_CS, PUSHED_FLAGS, PUSHED_SP, PUSHED_SS, PUSHED_WORDS };
#define USER_CS 0x33u
#define USER_DS 0x2bu

/* The access has faulted: the kernel was entered, and the program's stack pointer and code segment are in its frame. */
static int faulted_registers(const struct live *l, uint64_t *ret_sp, uint64_t *ret_cs, struct err *e)
{
	uint64_t sp = l->in->detect->gpr[X86_RSP], word[PUSHED_WORDS + 1];

	if (!vmi_read(&l->task.space, gva(sp), word, sizeof(word)))
		return err_set_addr(e, ERR_GUEST, sp, "the frame of the fault cannot be read");
	for (unsigned k = 0; k < 2; k++) {
		uint64_t cs = word[k + PUSHED_CS];

		if ((cs != USER_CS && cs != USER32_CS) || word[k + PUSHED_SS] != USER_DS)
			continue;
		*ret_sp = word[k + PUSHED_SP];
		*ret_cs = cs;
		return 0;
	}
	return err_set_addr(e, ERR_GUEST, sp, "there is no frame of a fault at 0x%" PRIx64, sp);
}

static int user_registers(struct live *l, struct chain_regs *ret, struct err *e)
{
	const struct taint_msg_detect *d = l->in->detect;
	struct vmi_thread thread;
	uint64_t cs = d->cs;

	l->in_kernel = gva_is_kernel(gva(d->pc));
	if (l->in_kernel) {
		if (vmi_thread_at(l->in->vmi, &l->task, d->gpr[X86_RSP], &thread, e))
			return err_prefix(e, "the kernel wrote, but it is not known for whom");
		ret->pc = thread.ip;
		memcpy(ret->gpr, thread.gpr, sizeof(ret->gpr));
		l->src.is_32bit = thread.is_32bit;
		l->number = thread.number;
		return 0;
	}
	ret->pc = gva(d->pc);
	/* the plugin knows where the instruction lies in RAM, but at which address only of the process translated first */
	if (d->code_offset != UINT64_MAX && vmi_find_code(l->in->vmi, &l->task, d->code_offset, &ret->pc, e))
		return err_prefix(e, "the writer");
	memcpy(ret->gpr, d->gpr, sizeof(ret->gpr));
	if (d->detector == TAINT_DETECT_FAULT && faulted_registers(l, &ret->gpr[X86_RSP], &cs, e))
		return -1;
	l->src.is_32bit = (cs & 0xffff) == USER32_CS;
	locate_unguard(l->in, false, &ret->pc, &ret->gpr[X86_RSP]);
	return 0;
}

/* Decodes the store at the program's instruction. false: there is none. */
static bool decode_store(const struct live *l, const struct chain_regs *regs, struct x86_store *ret)
{
	unsigned mode = l->src.is_32bit ? X86_MODE_32 : X86_MODE_64;
	uint8_t bytes[X86_INSN_MAX];
	struct x86_insn in;

	return !l->in_kernel && code_read(&l->src.rd, regs->pc, bytes, sizeof(bytes)) &&
	       x86_decode_mode(mode, bytes, sizeof(bytes), &in) &&
	       !x86_store_decode_mode(mode, bytes, in.i.length, ret, NULL) && !ret->rip_relative;
}

/* A store through a hostile pointer is known when it has been made: it may be a return address that is gone. */
static void note_written(struct live *l, const struct chain_regs *regs)
{
	struct x86_store st;
	uint64_t at;

	if (l->in->detect->detector != TAINT_DETECT_POINTER || !decode_store(l, regs, &st))
		return;
	at = (uint64_t)st.disp + (st.base == X86_NO_REG ? 0 : regs->gpr[st.base]) +
	     (st.index == X86_NO_REG ? 0 : regs->gpr[st.index] * st.scale);
	l->src.written = gva(l->src.is_32bit ? at & UINT32_MAX : at);
	l->src.written_end = gva_add(l->src.written, st.width);
}

#define TABLE_MAX (64u << 10) /* bytes from the stack pointer to a table of the frame */

/*
 * A store that failed, into no place that anybody has overwritten: if it is by an index from a place of the stack, the index has led
 * out of the table that is there, wherever it came from.
 */
static bool fails_by_index(const struct live *l, const struct chain_regs *regs)
{
	const struct taint_msg_detect *d = l->in->detect;
	struct x86_store st;
	uint64_t table;

	if (d->detector != TAINT_DETECT_FAULT || d->object_gva || l->f->start_address.v ||
	    !decode_store(l, regs, &st) || st.kind != X86_STORE_PLAIN || st.index == X86_NO_REG ||
	    st.base == X86_NO_REG)
		return false;
	table = regs->gpr[st.base] + (uint64_t)st.disp;
	return table - regs->gpr[X86_RSP] < TABLE_MAX && d->access - regs->gpr[X86_RSP] >= TABLE_MAX;
}

/* An index that the input chose: the object is the table that it indexes, [base + disp], not what was hit. */
static void start_at_table(struct live *l, const struct chain_regs *regs)
{
	const struct taint_msg_detect *d = l->in->detect;
	struct x86_store st;

	for (unsigned i = 0; i < d->object_len; i++)
		l->indexed |= d->label[i].origin && d->label[i].flags & TAINT_LABEL_BY_ADDRESS;
	/* behind a run that is known, the run tells; a fault at what memory holds is not the index's */
	l->indexed &= !l->f->start_address.v || l->f->start_address.v >= l->f->error_address.v;
	l->indexed &= d->detector != TAINT_DETECT_FAULT || !d->object_gva;
	l->indexed |= fails_by_index(l, regs);
	if (!l->indexed || !decode_store(l, regs, &st) || st.index == X86_NO_REG)
		return;
	l->f->start_address = gva((st.base == X86_NO_REG ? 0 : regs->gpr[st.base]) + (uint64_t)st.disp);
	if (l->src.is_32bit)
		l->f->start_address.v &= UINT32_MAX;
}

/* Labels of the bytes at `at` that still hold what came from the outside. false: none does. */
static bool read_tainted(const struct live *l, struct gva at, unsigned n, struct taint_label *labels)
{
	uint8_t bytes[LIVE_WORD_MAX];
	struct vmi_page page;

	if (((at.v ^ (at.v + n - 1)) & ~(uint64_t)GUEST_PAGE_MASK) || !vmi_translate(&l->task.space, at, &page) ||
	    !vmi_read(&l->task.space, at, bytes, n) || !shadow_get(l->in->shadow, page.at, labels, n))
		return false;
	taint_labels_drop_stale(labels, bytes, n);
	for (unsigned i = 0; i < n; i++)
		if (labels[i].origin)
			return true;
	return false;
}

static bool overwritten(void *arg, struct gva slot)
{
	const struct live *l = arg;
	struct taint_label labels[LIVE_WORD_MAX];

	return read_tainted(l, slot, l->src.is_32bit ? 4 : 8, labels);
}

/* A run without a gap has left labels on all that it has run over; what is below them may be what another activation left. */
static bool spared(void *arg, struct gva slot)
{
	const struct live *l = arg;

	return slot.v >= l->f->start_address.v && slot.v < l->f->error_address.v && !overwritten(arg, slot);
}

#define RUN_MAX (64u << 10) /* bytes of a run that goes down */

/* A run that goes down has been over what lies above. */
static bool overwritten_above(void *arg, struct gva slot)
{
	const struct live *l = arg;

	return slot.v > l->f->error_address.v && slot.v - l->f->error_address.v < RUN_MAX && overwritten(arg, slot);
}

/*
 * From the object's first byte on nothing is what it was: if the input chose where to write, other writes may have come before this
 * one. But where a return address is looked for on the stack, those below it count.
 */
static void note_overrun(struct live *l)
{
	const struct taint_msg_detect *d = l->in->detect;

	l->src.overrun = l->f->error_address;
	if (l->f->start_address.v < l->src.overrun.v && !(l->indexed && l->in->return_hit))
		l->src.overrun = l->f->start_address;
	l->src.overrun_end = gva(d->object_gva + d->object_len);
	l->src.overwritten = overwritten_above;
	if (!l->indexed)
		l->src.spared = spared;
}

static void leave_guard(void *arg, struct gva *pc, uint64_t *sp)
{
	const struct live *l = arg;

	locate_unguard(l->in, true, pc, sp);
}

static void add_pad(void *arg, struct gva at)
{
	code_fn_add_target(arg, at);
}

/* The bytes around the culprit that a patch may displace. */
static int find_window(struct live *l, struct err *e)
{
	const struct chain_frame *c = &l->chain->frame[l->frame];
	struct cfi m = chain_cfi(&l->src, c->module);
	struct finding *f = l->f;
	uint32_t len;

	if (cfi_landing_pads(&m, &l->fde, add_pad, l->fn, e) ||
	    code_fn_window(l->fn, f->culprit, FINDING_BUG_MAX, &f->bug, &len, e))
		return -1;
	f->bug_len = (uint8_t)len;
	memcpy(f->bug_bytes, l->fn->bytes + (f->bug.v - l->fn->start.v), len);
	return 0;
}

/* Whether the return address that was corrupted in the end is one of those on the stack. */
static bool hits_return(const struct live *l)
{
	for (unsigned k = 0; k < l->chain->n; k++)
		if (l->chain->frame[k].slot.v == l->f->error_address.v)
			return true;
	return false;
}

static void set_sources(struct live *l)
{
	l->src.rd = (struct code_reader){read_process, l};
	l->src.module_at = module_at;
	l->src.leave_guard = leave_guard;
	l->src.arg = l;
}

/*
 * A return address between the run's beginning and what was hit is not what it was, or the bytes below it are no part of the
 * run: another activation left them there.
 */
static void begin_above_returns(struct live *l)
{
	unsigned word = l->src.is_32bit ? 4 : 8;
	struct finding *f = l->f;
	struct taint_label first;
	uint64_t cut;

	for (unsigned k = 0; k < l->chain->n && !l->indexed; k++) {
		struct gva slot = l->chain->frame[k].slot;

		if (slot.v < f->start_address.v || slot.v >= f->error_address.v || overwritten(l, slot))
			continue;
		cut = slot.v + word - f->start_address.v;
		f->start_address = gva_add(f->start_address, cut);
		f->run_length -= cut < f->run_length ? cut : f->run_length;
		if (read_tainted(l, f->start_address, 1, &first))
			f->run_first_origin = first.origin;
	}
}

static int locate(struct live *l, const struct finding *first, struct err *e)
{
	struct chain_regs regs;

	if (begin(l, first, e) || user_registers(l, &regs, e))
		return -1;
	set_sources(l);
	start_at_table(l, &regs);
	note_written(l, &regs);
	if (l->in->detect->detector == TAINT_DETECT_WATCH && first->start_address.v)
		note_overrun(l);
	chain_unwind(&l->src, &regs, l->chain);
	if (l->in->return_hit && !hits_return(l))
		return err_set_addr(e, ERR_REFUSED, regs.pc.v, "the bytes were written, but over no return address");
	if (l->f->start_address.v)
		begin_above_returns(l);
	if (live_find_culprit(l, e) || live_find_bounds(l, e))
		return -1;
	live_find_helper(l);
	return find_window(l, e);
}

int locate_live(const struct locate_input *in, const struct finding *first, struct finding *ret, struct err *e)
{
	struct finding f;
	struct live l = {.in = in, .f = &f};
	int rc;

	memset(&f, 0, sizeof(f));
	f.dst_arg = f.src_arg = f.len_arg = f.chk_arg = CALL_NO_ARG;
	rc = locate(&l, first, e);
	*ret = f;
	code_fn_destroy(l.fn);
	machine_destroy(l.machine);
	free(l.chain);
	free(l.maps);
	return rc;
}

/* Where the overrun ended by which the program does. */
static bool find_overrun(struct live *l, struct gva *ret, struct taint_label *labels)
{
	const struct taint_msg_detect *d = l->in->detect;
	const struct chain_frame *last = &l->chain->frame[l->chain->n - 1];
	unsigned word = l->src.is_32bit ? 4 : 8;

	*ret = last->slot;
	if (last->slot.v && read_tainted(l, *ret, word, labels))
		return true;
	*ret = gva(d->access - word);
	return d->detector == TAINT_DETECT_FAULT && !d->object_gva && (d->access_error & ERROR_WRITE) &&
	       d->access > word && !(d->access & GUEST_PAGE_MASK) && read_tainted(l, *ret, word, labels);
}

static int unwind(struct live *l, struct err *e)
{
	const struct finding nothing = {0};
	struct chain_regs regs;

	if (begin(l, &nothing, e) || user_registers(l, &regs, e))
		return -1;
	set_sources(l);
	chain_unwind(&l->src, &regs, l->chain);
	return 0;
}

static int overrun(struct live *l, struct taint_msg_detect *d, struct err *e)
{
	struct taint_label labels[LIVE_WORD_MAX];
	struct gva at;

	l->src.overwritten = overwritten;
	if (unwind(l, e))
		return -1;
	if (!find_overrun(l, &at, labels))
		return err_set(e, ERR_GUEST, "no return address of the stack was overwritten from the outside");
	d->object_gva = at.v;
	d->object_len = l->src.is_32bit ? 4 : 8;
	memcpy(d->label, labels, d->object_len * sizeof(*labels));
	return 0;
}

/* Asks something of the stack as it is. */
static bool ask(const struct locate_input *in, bool (*question)(struct live *l))
{
	struct finding f = {0};
	struct live l = {.in = in, .f = &f};
	struct err e;
	bool yes = !unwind(&l, &e) && question(&l);

	machine_destroy(l.machine);
	free(l.chain);
	free(l.maps);
	return yes;
}

bool locate_fails_bound(const struct locate_input *in)
{
	return ask(in, live_fails_bound);
}

bool locate_strayed(const struct locate_input *in)
{
	return ask(in, live_strayed);
}

int locate_overrun(const struct locate_input *in, struct taint_msg_detect *d, struct err *e)
{
	struct finding f = {0};
	struct live l = {.in = in, .f = &f};
	int rc = overrun(&l, d, e);

	free(l.chain);
	free(l.maps);
	return rc;
}
