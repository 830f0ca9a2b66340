/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Finding what is needed in the kernel's image: BTF, the init task, the kernel's own page tables.
 *
 * Only what the page tables map in the range that x86-64 Linux reserves for
 * its image is looked at, wherever KASLR put it: a few tens of MiB, and neither
 * a process nor a stale copy of the image in free memory can pose as the kernel.
 */
#include "vmi/vmi_internal.h"

#include <stdlib.h>
#include <string.h>

#include <linux/btf.h>

#define IMAGE_START 0xffffffff80000000ull
#define IMAGE_END 0xffffffffc0000000ull
#define IMAGE_PAGES_MAX 65536u /* 256 MiB; a distribution kernel has 20 to 80 */

#define BTF_START 0x0001eb9fu /* magic, version 1, no flags */
#define BTF_HDR_MAX 64u
#define BTF_TYPE_BYTES_MIN (256u << 10) /* a kernel has millions, a module some thousands */
#define VALUES_FAST 1008u /* 32-bit words of a page searched by vector code */
#define TESTS_MAX 65536u
#define PARSES_MAX 4u

static const uint8_t *host_page(const struct gmem *gm, struct gpa at)
{
	uint64_t first, last;

	if (!gmem_to_offset(gm, at, &first) || !gmem_to_offset(gm, gpa_add(at, GUEST_PAGE_MASK), &last))
		return NULL;
	return last - first == GUEST_PAGE_MASK ? gmem_base(gm) + first : NULL;
}

void vmi_image_each(const struct vmi_space *s, vmi_image_fn *fn, void *arg)
{
	unsigned pages = 0;

	for (uint64_t at = IMAGE_START; at < IMAGE_END;) {
		uint64_t next, phys;
		struct vmi_walk w;

		vmi_walk(s, gva(at), &w);
		next = (at | (w.span - 1)) + 1;
		phys = w.page.at.v;
		for (; w.mapped && at < next && at < IMAGE_END; at += GUEST_PAGE_SIZE, phys += GUEST_PAGE_SIZE) {
			const uint8_t *page = host_page(s->gm, gpa(phys));

			if (pages++ == IMAGE_PAGES_MAX || (page && fn(arg, gva(at), page)))
				return;
		}
		at = next;
		if (!at)
			return;
	}
}

/* A search for a 32-bit value at addresses of its alignment; true from test, called wherever it stands, ends it. */
typedef bool test_fn(void *arg, struct gva at);

struct value_scan {
	uint32_t value;
	uint32_t start; /* first position in a page, below 4 */
	unsigned tests;
	test_fn *test;
	void *arg;
};

/* The trip count is constant and a multiple of the vector size, so that compilers vectorise the loop. */
static bool has_value(const struct value_scan *s, const uint8_t *page)
{
	const uint8_t *from = page + s->start, *tail = from + VALUES_FAST * 4;
	uint32_t value = s->value, hit = 0;

	for (size_t i = 0; i < VALUES_FAST; i++) {
		uint32_t w;

		memcpy(&w, from + i * 4, 4);
		hit |= w == value;
	}
	for (; tail + 4 <= page + GUEST_PAGE_SIZE; tail += 4)
		hit |= !memcmp(tail, &value, 4);
	return hit;
}

static bool scan_page(void *arg, struct gva at, const uint8_t *page)
{
	struct value_scan *s = arg;

	if (!has_value(s, page))
		return false;
	for (size_t i = s->start; i + 4 <= GUEST_PAGE_SIZE; i += 4)
		if (!memcmp(page + i, &s->value, 4) && (s->tests++ == TESTS_MAX || s->test(s->arg, gva_add(at, i))))
			return true;
	return false;
}

/* Total size of the BTF at `at`, header and all; 0: not a kernel's. */
static uint32_t btf_size(const struct vmi_space *s, struct gva at)
{
	struct btf_header h;
	uint64_t types_end, strings_end;

	if (!vmi_read(s, at, &h, sizeof(h)) || h.hdr_len < sizeof(h) || h.hdr_len > BTF_HDR_MAX ||
	    h.type_len < BTF_TYPE_BYTES_MIN)
		return 0;
	types_end = (uint64_t)h.type_off + h.type_len;
	strings_end = (uint64_t)h.str_off + h.str_len;
	if (types_end < strings_end)
		types_end = strings_end;
	return h.hdr_len + types_end <= VMI_BTF_BYTES_MAX ? (uint32_t)(h.hdr_len + types_end) : 0;
}

static int try_btf(const struct vmi_space *s, struct gva at, uint32_t size, struct vmi_layout *ret, struct err *e)
{
	void *copy = malloc(size);
	int rc;

	if (!copy)
		return err_set_errno(e, "%u bytes for the guest kernel's BTF", size);
	if (vmi_read(s, at, copy, size))
		rc = vmi_layout_from_btf(copy, size, ret, e);
	else
		rc = err_set_addr(e, ERR_GUEST, at.v, "the guest kernel's BTF is not mapped as a whole");
	free(copy);
	return rc;
}

struct btf_search {
	const struct vmi_space *space;
	struct vmi_layout *ret;
	struct err *e;
	unsigned parses;
	bool found;
};

static bool test_btf(void *arg, struct gva at)
{
	struct btf_search *b = arg;
	uint32_t size = btf_size(b->space, at);

	if (!size)
		return false;
	b->found = !try_btf(b->space, at, size, b->ret, b->e);
	return b->found || ++b->parses == PARSES_MAX;
}

int vmi_find_layout(const struct vmi_space *s, struct vmi_layout *ret, struct err *e)
{
	struct btf_search b = {.space = s, .ret = ret, .e = e};
	struct value_scan scan = {.value = BTF_START, .test = test_btf, .arg = &b};

	err_set(e, ERR_GUEST,
		"no BTF in the guest kernel: not Linux, not booted yet, or built without CONFIG_DEBUG_INFO_BTF");
	vmi_image_each(s, scan_page, &scan);
	return b.found ? 0 : -1;
}

static bool links_back(const struct vmi *v, struct gva node)
{
	uint64_t link[2], back; /* next, prev */

	if (!vmi_read(&v->kernel, node, link, sizeof(link)) || link[0] == node.v)
		return false;
	return vmi_read(&v->kernel, gva(link[0] + 8), &back, 8) && back == node.v &&
	       vmi_read(&v->kernel, gva(link[1]), &back, 8) && back == node.v;
}

static bool is_init_task(const struct vmi *v, struct gva task)
{
	char comm[8];
	uint64_t pid, tgid, mm, stack, leader;

	if (!vmi_read(&v->kernel, vmi_member(v, task, TASK_COMM), comm, sizeof(comm)))
		return false;
	if (memcmp(comm, "swapper", 7) || (comm[7] != '\0' && comm[7] != '/'))
		return false;
	if (!vmi_get(v, task, TASK_PID, &pid) || !vmi_get(v, task, TASK_TGID, &tgid) ||
	    !vmi_get(v, task, TASK_MM, &mm) || !vmi_get(v, task, TASK_STACK, &stack) ||
	    !vmi_get(v, task, TASK_GROUP_LEADER, &leader))
		return false;
	return !pid && !tgid && !mm && gva_is_kernel(gva(stack)) && leader == task.v &&
	       links_back(v, vmi_member(v, task, TASK_TASKS));
}

struct init_search {
	struct vmi v;
	struct gva ret;
};

static bool test_init_task(void *arg, struct gva at)
{
	struct init_search *i = arg;

	i->ret = gva(at.v - i->v.layout.f[TASK_COMM].offset);
	return is_init_task(&i->v, i->ret);
}

int vmi_find_init_task(const struct vmi_space *s, const struct vmi_layout *l, struct gva *ret, struct err *e)
{
	struct init_search i = {.v = {.kernel = *s, .layout = *l}};
	struct value_scan scan = {.start = l->f[TASK_COMM].offset & 3, .test = test_init_task, .arg = &i};

	memcpy(&scan.value, "swap", 4);
	vmi_image_each(s, scan_page, &scan);
	if (!is_init_task(&i.v, i.ret))
		return err_set(e, ERR_GUEST,
			       "no init task in the guest kernel: not booted yet, or not a Linux that is known");
	*ret = i.ret;
	return 0;
}

#define ROOT_ENTRIES 512u
#define ROOT_KERNEL 256u /* first entry of the kernel's half */
#define ROOT_PRIVATE_MAX 2u /* entries of the kernel's half that a process may have of its own */
#define PTE_TOUCHED 0x60ull /* accessed, dirty: set by the CPU */

struct root_scan {
	const struct vmi_space *space;
	struct gva must_map;
	uint64_t entry[ROOT_ENTRIES]; /* of the tables that are known */
	struct gpa ret;
	bool found;
};

static bool is_kernel_root(const uint64_t *known, const uint64_t *page)
{
	unsigned differ = 0;

	for (unsigned i = 0; i < ROOT_KERNEL; i++)
		if (page[i])
			return false;
	for (unsigned i = ROOT_KERNEL; i < ROOT_ENTRIES; i++)
		differ += ((known[i] ^ page[i]) & ~PTE_TOUCHED) != 0;
	return differ <= ROOT_PRIVATE_MAX;
}

static bool check_root(void *arg, struct gva at, const uint8_t *page)
{
	struct root_scan *r = arg;
	struct vmi_space candidate = *r->space;
	struct vmi_page self, a, b;
	uint64_t copy[ROOT_ENTRIES], last;

	memcpy(&last, page + (ROOT_ENTRIES - 1) * 8, 8);
	if ((last ^ r->entry[ROOT_ENTRIES - 1]) & ~PTE_TOUCHED)
		return false;
	memcpy(copy, page, sizeof(copy));
	if (!is_kernel_root(r->entry, copy) || !vmi_translate(r->space, at, &self))
		return false;
	candidate.cr3 = self.at.v;
	if (!vmi_translate(r->space, r->must_map, &a) || !vmi_translate(&candidate, r->must_map, &b) ||
	    a.at.v != b.at.v)
		return false;
	r->ret = self.at;
	return r->found = true;
}

bool vmi_find_kernel_root(const struct vmi_space *s, struct gva must_map, struct gpa *ret)
{
	struct root_scan r = {.space = s, .must_map = must_map};

	if (!gmem_read(s->gm, vmi_space_root(s), r.entry, sizeof(r.entry)) || !r.entry[ROOT_ENTRIES - 1])
		return false;
	vmi_image_each(s, check_root, &r);
	if (r.found)
		*ret = r.ret;
	return r.found;
}
