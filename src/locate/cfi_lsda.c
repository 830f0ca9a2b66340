/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Exception tables: where control can land in a function without a branch to it. */
#include "locate/cfi.h"

#include "locate/cfi_internal.h"

#define LSDA_MAX 8192

static int bad_table(struct gva lsda, struct err *e)
{
	return err_set_addr(e, ERR_GUEST, lsda.v, "the exception table at 0x%llx cannot be followed",
			    (unsigned long long)lsda.v);
}

/* Copies as much of the table as is there, at most LSDA_MAX bytes; its own length comes later in it. */
static size_t read_table(const struct cfi *m, struct gva at, uint8_t *ret)
{
	size_t n = 0;

	while (n < LSDA_MAX) {
		size_t chunk = GUEST_PAGE_SIZE - ((at.v + n) & GUEST_PAGE_MASK);

		if (chunk > LSDA_MAX - n)
			chunk = LSDA_MAX - n;
		if (chunk > m->high.v - at.v - n)
			chunk = m->high.v - at.v - n;
		if (!chunk || !code_read(&m->rd, gva_add(at, n), ret + n, chunk))
			break;
		n += chunk;
	}
	return n;
}

int cfi_landing_pads(const struct cfi *m, const struct cfi_fde *fde, void (*fn)(void *arg, struct gva at), void *arg,
		     struct err *e)
{
	uint8_t buf[LSDA_MAX];
	struct cfi_cur c;
	uint64_t base, len;
	uint8_t enc;

	if (!fde->lsda.v)
		return 0;
	if (!cfi_inside(m, fde->lsda.v, 4))
		return bad_table(fde->lsda, e);
	c = cfi_cur(buf, read_table(m, fde->lsda, buf), fde->lsda.v);
	enc = (uint8_t)cfi_cur_uint(&c, 1);
	base = enc == DW_EH_PE_OMIT ? fde->start.v : cfi_cur_ptr(&c, enc, m);
	if ((uint8_t)cfi_cur_uint(&c, 1) != DW_EH_PE_OMIT)
		cfi_cur_uleb(&c); /* where the types are */
	enc = (uint8_t)cfi_cur_uint(&c, 1);
	len = cfi_cur_uleb(&c);
	if (len > cfi_cur_left(&c) || (enc & DW_EH_PE_BASE))
		return bad_table(fde->lsda, e);
	c.end = c.p + len;
	while (cfi_cur_left(&c) && !c.bad) {
		uint64_t pad;

		cfi_cur_ptr(&c, enc, m); /* start of the calls it is for */
		cfi_cur_ptr(&c, enc, m); /* their length */
		pad = cfi_cur_ptr(&c, enc, m);
		cfi_cur_uleb(&c); /* action */
		if (pad && !c.bad)
			fn(arg, gva(base + pad));
	}
	return c.bad ? bad_table(fde->lsda, e) : 0;
}
