/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Having a process map a page for a guard, and patch itself. */
#include "patch/home.h"

#include <assert.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define MAPS_MAX 1024
#define THREADS_MAX 4096
#define REACH (1ull << 30) /* of a jump, with room for the module itself */
#define LOWEST 0x10000ull /* the kernel maps nothing below */
#define SPREAD 4096u /* pages among which guards are spread, so that they do not want the same */
#define ROOMY 512u /* pages that are enough for it */
#define WAITING_MAX 64u /* patches that one thread is to put in */
#define ATOMIC 8u /* bytes of a site that change at once */

/*
 *	mmap(guard_page, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0), the guard
 *	copied there, mprotect(guard_page, 4096, PROT_READ | PROT_EXEC); the code's page writable by mprotect, the site's 16
 *	bytes written, and back. What fails ends it. A system call changes rax, rcx and r11 only, and has changed them.
 */
#define ENTRY 9
#define SKIPPED (HOME_BLOCK_BELOW - 8)
static const uint8_t code[] = {
	0x48, 0x83,	      0x2c,	    0x24, 0x02, /* sub qword [rsp], 2: the system call again */
	0xeb, 0x02, /* jmp entry */
	0xeb, 0xf7, /* 2 before the entry: jmp to the start */
	0x50, /* entry: push rax */
	0x57, /* push rdi */
	0x56, /* push rsi */
	0x52, /* push rdx */
	0x41, 0x52, /* push r10 */
	0x41, 0x50, /* push r8 */
	0x41, 0x51, /* push r9 */
	0x53, /* push rbx */
	0x48, 0x8d,	      0x5c,	    0x24, 0x40, /* lea rbx, [rsp + 64]: struct home_block */
	0x48, 0x8b,	      0x7b,	    0x08, /* mov rdi, [rbx + 8] */
	0xbe, 0x00,	      0x10,	    0x00, 0x00, /* mov esi, 4096 */
	0x6a, 0x03, /* push 3 */
	0x5a, /* pop rdx */
	0x41, 0xba,	      0x22,	    0x00, 0x10, 0x00, /* mov r10d, 0x100022 */
	0x49, 0x83,	      0xc8,	    0xff, /* or r8, -1 */
	0x45, 0x31,	      0xc9, /* xor r9d, r9d */
	0x6a, 0x09, /* push 9: mmap */
	0x58, /* pop rax */
	0x0f, 0x05, /* syscall */
	0x48, 0x39,	      0xf8, /* cmp rax, rdi */
	0x75, 0x51, /* jne out */
	0x48, 0x8d,	      0x73,	    0x40, /* lea rsi, [rbx + 64] */
	0x8b, 0x4b,	      0x38, /* mov ecx, [rbx + 56] */
	0xf3, 0xa4, /* rep movsb */
	0x48, 0x8b,	      0x7b,	    0x08, /* mov rdi, [rbx + 8] */
	0xbe, 0x00,	      0x10,	    0x00, 0x00, /* mov esi, 4096 */
	0x6a, 0x05, /* push 5 */
	0x5a, /* pop rdx */
	0x6a, 0x0a, /* push 10: mprotect */
	0x58, /* pop rax */
	0x0f, 0x05, /* syscall */
	0x85, 0xc0, /* test eax, eax */
	0x75, 0x33, /* jne out */
	0x48, 0x8b,	      0x7b,	    0x10, /* mov rdi, [rbx + 16] */
	0x48, 0x8b,	      0x73,	    0x18, /* mov rsi, [rbx + 24] */
	0x6a, 0x07, /* push 7 */
	0x5a, /* pop rdx */
	0x6a, 0x0a, /* push 10: mprotect */
	0x58, /* pop rax */
	0x0f, 0x05, /* syscall */
	0x85, 0xc0, /* test eax, eax */
	0x75, 0x1f, /* jne out */
	0x48, 0x8b,	      0x73,	    0x20, /* mov rsi, [rbx + 32] */
	0x48, 0x8b,	      0x43,	    0x30, /* mov rax, [rbx + 48] */
	0x48, 0x89,	      0x46,	    0x08, /* mov [rsi + 8], rax */
	0x48, 0x8b,	      0x43,	    0x28, /* mov rax, [rbx + 40] */
	0x48, 0x89,	      0x06, /* mov [rsi], rax */
	0x48, 0x8b,	      0x73,	    0x18, /* mov rsi, [rbx + 24] */
	0x6a, 0x05, /* push 5 */
	0x5a, /* pop rdx */
	0x6a, 0x0a, /* push 10: mprotect */
	0x58, /* pop rax */
	0x0f, 0x05, /* syscall */
	0x5b, /* out: pop rbx */
	0x41, 0x59, /* pop r9 */
	0x41, 0x58, /* pop r8 */
	0x41, 0x5a, /* pop r10 */
	0x5a, /* pop rdx */
	0x5e, /* pop rsi */
	0x5f, /* pop rdi */
	0x58, /* pop rax */
	0xc2, SKIPPED & 0xff, SKIPPED >> 8, /* ret: to ip, with the thread's own stack pointer */
};

static_assert(sizeof(code) <= HOME_CODE_MAX && offsetof(struct home_block, guard_page) == 8 &&
		      offsetof(struct home_block, code_page) == 16 && offsetof(struct home_block, code_len) == 24 &&
		      offsetof(struct home_block, site) == 32 && offsetof(struct home_block, site_bytes) == 40 &&
		      offsetof(struct home_block, guard_len) == 56 && offsetof(struct home_block, guard) == 64,
	      "the code has the block's layout");

size_t home_code(uint8_t ret[HOME_CODE_MAX], uint64_t *ret_entry)
{
	memcpy(ret, code, sizeof(code));
	*ret_entry = ENTRY;
	return sizeof(code);
}

/* --- where ------------------------------------------------------------------------------------------------- */

struct gap {
	uint64_t low, high;
};

static uint64_t distance(const struct gap *g, const struct vmi_module *m)
{
	return g->high <= m->low.v ? m->low.v - g->high : g->low - m->high.v;
}

/* A page beside a guard's is the nearest, but the only one: guards that are not mapped yet would all want it. */
static bool is_better(const struct gap *a, const struct gap *b, const struct vmi_module *m)
{
	bool roomy = a->high - a->low >= ROOMY * (uint64_t)GUEST_PAGE_SIZE;

	if (roomy != (b->high - b->low >= ROOMY * (uint64_t)GUEST_PAGE_SIZE))
		return roomy;
	return distance(a, m) < distance(b, m);
}

static struct gap clip(uint64_t low, uint64_t high, const struct vmi_module *m)
{
	uint64_t lowest = m->low.v > REACH ? m->low.v - REACH : 0, highest = m->high.v + REACH;

	return (struct gap){low > lowest ? low : lowest, high < highest ? high : highest};
}

/* The gap nearest to the module that is not where a stack grows, as far as it is in reach; one with room if there is one. */
static bool nearest(const struct vmi_vma *vma, int n, const struct vmi_module *m, struct gap *ret)
{
	uint64_t low = LOWEST;
	bool found = false;

	for (int k = 0; k < n; k++) {
		struct gap g = clip(low, vma[k].start.v & ~(uint64_t)GUEST_PAGE_MASK, m);

		low = vma[k].end.v;
		if (g.high <= g.low || (vma[k].flags & VMI_VM_GROWSDOWN) || (g.high > m->low.v && g.low < m->high.v))
			continue;
		if (!found || is_better(&g, ret, m))
			*ret = g;
		found = true;
	}
	return found && m->high.v - m->low.v < REACH;
}

int home_find(struct vmi *v, const struct vmi_task *t, const struct vmi_module *m, struct gva site, struct gva *ret,
	      struct err *e)
{
	struct vmi_vma *vma = calloc(MAPS_MAX, sizeof(*vma));
	struct gap g = {0};
	bool found;
	int n;

	if (!vma)
		return err_set_errno(e, "no memory for the process's map");
	n = vmi_maps(v, t, vma, MAPS_MAX, e);
	found = n > 0 && n < MAPS_MAX && nearest(vma, n, m, &g);
	free(vma);
	if (n < 0)
		return -1;
	if (!found)
		return err_set_addr(e, ERR_REFUSED, site.v, "no free memory is within reach of %s", m->path);
	/* from its end down: what is right above a module may be where the heap grows */
	n = (int)(g.high - g.low > SPREAD * (uint64_t)GUEST_PAGE_SIZE ? SPREAD : (g.high - g.low) / GUEST_PAGE_SIZE);
	*ret = gva(g.high - (1 + site.v % (unsigned)n) * GUEST_PAGE_SIZE);
	return 0;
}

/* --- how --------------------------------------------------------------------------------------------------- */

/* System calls that wait, and share no stack with anybody meanwhile. */
static const uint8_t waits[] = {
	0, /* read */
	7, /* poll */
	23, /* select */
	34, /* pause */
	35, /* nanosleep */
	43, /* accept */
	45, /* recvfrom */
	47, /* recvmsg */
	61, /* wait4 */
	202, /* futex */
	230, /* clock_nanosleep */
	232, /* epoll_wait */
	247, /* waitid */
};
static const uint16_t waits_more[] = {270 /* pselect6 */, 271 /* ppoll */, 281 /* epoll_pwait */, 288 /* accept4 */};

static bool in_waits(uint64_t number)
{
	for (size_t k = 0; k < sizeof(waits); k++)
		if (waits[k] == number)
			return true;
	for (size_t k = 0; k < sizeof(waits_more) / sizeof(waits_more[0]); k++)
		if (waits_more[k] == number)
			return true;
	return false;
}

/* The code in the vDSO's last page, behind what is there: its entry in the process. */
static int place_code(struct vmi *v, const struct vmi_task *t, struct gva *ret_entry, struct err *e)
{
	uint8_t tail[GUEST_PAGE_SIZE];
	struct vmi_vdso d;
	uint64_t used = sizeof(tail), at, page;

	if (vmi_vdso_find(v, t, &d, e))
		return -1;
	page = d.size - sizeof(tail);
	if (!vmi_vdso_read(v, &d, page, tail, sizeof(tail)))
		return err_set_addr(e, ERR_GUEST, d.at.v, "the vDSO cannot be read");
	while (used > 0 && !tail[used - 1])
		used--;
	at = (used + 15) & ~15ull;
	if (used >= sizeof(code) && memcmp(tail + used - sizeof(code), code, sizeof(code)) == 0)
		at = used - sizeof(code);
	else if (!used || at + sizeof(code) > sizeof(tail))
		return err_set_addr(e, ERR_REFUSED, d.at.v, "no unused bytes are left in the vDSO");
	else if (!vmi_vdso_write(v, &d, page + at, code, sizeof(code)))
		return err_set_addr(e, ERR_GUEST, d.at.v, "the vDSO could not be written");
	*ret_entry = gva_add(d.at, page + at + ENTRY);
	return 0;
}

/* Below the thread's stack, in pages that are the process's own already. */
static bool put_block(struct vmi *v, const struct vmi_task *t, const struct home_block *b, struct gva at)
{
	struct vmi_page first, last;

	return vmi_translate(&t->space, at, &first) && vmi_translate(&t->space, gva_add(at, sizeof(*b) - 1), &last) &&
	       first.writable && last.writable && vmi_task_write(v, t, at, b, sizeof(*b));
}

static int fill_block(const struct patch *p, struct vmi *v, const struct vmi_task *t, struct gva site, struct gva guard,
		      struct home_block *ret, struct err *e)
{
	uint64_t page = site.v & ~(uint64_t)GUEST_PAGE_MASK, last = (site.v + 15) & ~(uint64_t)GUEST_PAGE_MASK;

	*ret = (struct home_block){.guard_page = guard.v,
				   .code_page = page,
				   .code_len = last - page + GUEST_PAGE_SIZE,
				   .site = site.v,
				   .guard_len = p->guard_len};
	if (!vmi_task_read(v, t, site, ret->site_bytes, sizeof(ret->site_bytes)))
		return err_set_addr(e, ERR_GUEST, site.v, "the code to patch is not in memory");
	memcpy(ret->site_bytes, p->site_after, p->site_len);
	memcpy(ret->guard, p->guard, p->guard_len);
	return 0;
}

/*
 * Patches that the thread is to put in already write back what is behind their sites: that is to be this patch's from now on,
 * which the thread puts in before them.
 */
static void tell_waiting(const struct patch *p, struct vmi *v, const struct vmi_task *t, const struct vmi_thread *th,
			 struct gva entry, struct gva site)
{
	struct gva at = gva(th->gpr[4]), ip = th->ip;
	struct home_block b;

	for (unsigned n = 0; n < WAITING_MAX && ip.v == entry.v && vmi_task_read(v, t, at, &b, sizeof(b)); n++) {
		for (unsigned k = 0; k < p->site_len; k++)
			if (site.v + k - b.site < sizeof(b.site_bytes))
				b.site_bytes[site.v + k - b.site] = p->site_after[k];
		put_block(v, t, &b, at);
		ip = gva(b.ip);
		at = gva_add(at, HOME_BLOCK_BELOW);
	}
}

static int send(const struct patch *p, struct vmi *v, const struct vmi_task *t, const struct vmi_thread *th, int n,
		struct home_block *b, struct err *e)
{
	struct gva entry;
	int sent = 0;

	if (place_code(v, t, &entry, e))
		return -1;
	for (int k = 0; k < n; k++) {
		struct gva below = gva(th[k].gpr[4] - HOME_BLOCK_BELOW);

		b->ip = th[k].ip.v;
		if (th[k].is_32bit || !in_waits(th[k].number))
			continue;
		tell_waiting(p, v, t, &th[k], entry, gva(b->site));
		if (put_block(v, t, b, below))
			sent += vmi_thread_redirect(v, &th[k], entry, below);
	}
	if (!sent)
		return err_set(e, ERR_STATE, "no thread of process %d waits where it can be made to map memory",
			       t->tgid);
	return 0;
}

int home_enter(const struct patch *p, struct vmi *v, const struct vmi_task *t, struct gva site, struct gva guard,
	       struct err *e)
{
	struct vmi_thread *th = calloc(THREADS_MAX, sizeof(*th));
	struct home_block b;
	size_t others;
	int n, rc = -1;

	if (!th)
		return err_set_errno(e, "no memory for the process's threads");
	n = vmi_threads_waiting(v, t, th, THREADS_MAX, &others, e);
	if (n >= 0 && p->site_len > ATOMIC && (size_t)n + others > 1)
		err_set_addr(e, ERR_REFUSED, site.v, "%u bytes cannot be changed at once while other threads run",
			     p->site_len);
	else if (n >= 0 && !fill_block(p, v, t, site, guard, &b, e))
		rc = send(p, v, t, th, n, &b, e);
	free(th);
	return rc;
}

bool home_is_entered(struct vmi *v, const struct vmi_task *t)
{
	struct vmi_thread *th = calloc(THREADS_MAX, sizeof(*th));
	uint8_t there[sizeof(code)];
	bool found = false;
	size_t others;
	int n = th ? vmi_threads_waiting(v, t, th, THREADS_MAX, &others, NULL) : -1;

	for (int k = 0; k < n && !found; k++)
		found = vmi_task_read(v, t, gva(th[k].ip.v - ENTRY), there, sizeof(there)) &&
			memcmp(there, code, sizeof(code)) == 0;
	free(th);
	return found;
}
