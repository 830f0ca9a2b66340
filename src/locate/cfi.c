/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Frame description entries: finding the one that covers an address, and reading it. */
#include "locate/cfi.h"

#include "locate/cfi_internal.h"

#define RECORD_MAX (CFI_PROGRAM_MAX + 256u)
#define SCAN_MAX (1u << 18) /* records in a scan of .eh_frame */

uint64_t cfi_cur_uint(struct cfi_cur *c, unsigned n)
{
	uint64_t v = 0;

	if (cfi_cur_left(c) < n) {
		c->bad = true;
		return 0;
	}
	for (unsigned i = 0; i < n; i++)
		v |= (uint64_t)c->p[i] << (8 * i);
	c->p += n;
	c->at += n;
	return v;
}

int64_t cfi_cur_sint(struct cfi_cur *c, unsigned n)
{
	unsigned shift = 64 - 8 * n;

	return (int64_t)(cfi_cur_uint(c, n) << shift) >> shift;
}

/* Reads 7 bits at a time; returns the number of bits read, the last byte in *ret_last. */
static unsigned read_leb(struct cfi_cur *c, uint64_t *ret_v, uint8_t *ret_last)
{
	uint64_t v = 0;
	unsigned shift = 0;
	uint8_t b;

	do {
		b = (uint8_t)cfi_cur_uint(c, 1);
		if (shift < 64)
			v |= (uint64_t)(b & 0x7f) << shift;
		shift += 7;
	} while ((b & 0x80) && shift < 70 && !c->bad);
	if (b & 0x80)
		c->bad = true;
	*ret_v = v;
	*ret_last = b;
	return shift;
}

uint64_t cfi_cur_uleb(struct cfi_cur *c)
{
	uint64_t v;
	uint8_t last;

	read_leb(c, &v, &last);
	return v;
}

int64_t cfi_cur_sleb(struct cfi_cur *c)
{
	uint64_t v;
	uint8_t last;
	unsigned shift = read_leb(c, &v, &last);

	if (shift < 64 && (last & 0x40))
		v |= ~0ull << shift;
	return (int64_t)v;
}

void cfi_cur_skip(struct cfi_cur *c, uint64_t n)
{
	if (n > cfi_cur_left(c)) {
		c->bad = true;
		return;
	}
	c->p += n;
	c->at += n;
}

/* Sizes of the fixed-size pointer forms; 0x80: signed, 0xff: LEB128. */
static const uint8_t form_size[16] = {
	[0x1] = 0xff, [0x2] = 2, [0x3] = 4, [0x4] = 8, [0x9] = 0xff, [0xa] = 0x82, [0xb] = 0x84, [0xc] = 0x88,
};

static uint64_t read_form(struct cfi_cur *c, uint8_t form, const struct cfi *m)
{
	uint8_t size = form ? form_size[form] : (m->is_32bit ? 4 : 8);

	if (!size)
		c->bad = true;
	if (size == 0xff)
		return form == 0x1 ? cfi_cur_uleb(c) : (uint64_t)cfi_cur_sleb(c);
	if (size & 0x80)
		return (uint64_t)cfi_cur_sint(c, size & 0x7f);
	return size ? cfi_cur_uint(c, size) : 0;
}

uint64_t cfi_cur_ptr(struct cfi_cur *c, uint8_t enc, const struct cfi *m)
{
	uint64_t field = c->at, v;

	if (enc == DW_EH_PE_OMIT)
		return 0;
	v = read_form(c, enc & DW_EH_PE_FORM, m);
	if (!v || c->bad)
		return 0;
	switch (enc & DW_EH_PE_BASE) {
	case 0:
		break;
	case DW_EH_PE_PCREL:
		v += field;
		break;
	case DW_EH_PE_DATAREL:
		v += m->hdr.v;
		break;
	default:
		c->bad = true;
	}
	return m->is_32bit ? (uint32_t)v : v;
}

bool cfi_inside(const struct cfi *m, uint64_t at, uint64_t len)
{
	return at >= m->low.v && at <= m->high.v && len <= m->high.v - at;
}

/* A common or frame entry, copied whole. */
struct record {
	uint64_t at, next; /* of its length field; of the following record */
	uint64_t cie; /* address of its common entry; 0: it is one */
	struct cfi_cur cur; /* after the identifying field */
	uint8_t buf[RECORD_MAX];
};

/* Returns 1, 0 at the terminating entry, -1. */
static int read_record(const struct cfi *m, uint64_t at, struct record *ret, struct err *e)
{
	uint32_t len, id;

	if (!cfi_inside(m, at, 4) || !code_read(&m->rd, gva(at), &len, 4))
		return err_set_addr(e, ERR_GUEST, at, "frame information at 0x%llx cannot be read",
				    (unsigned long long)at);
	if (!len)
		return 0;
	if (len < 4 || len > RECORD_MAX || !cfi_inside(m, at + 4, len))
		return err_set_addr(e, ERR_GUEST, at, "frame entry at 0x%llx has a bad length of %u bytes",
				    (unsigned long long)at, len);
	if (!code_read(&m->rd, gva(at + 4), ret->buf, len))
		return err_set_addr(e, ERR_GUEST, at, "frame entry at 0x%llx cannot be read", (unsigned long long)at);
	ret->at = at;
	ret->next = at + 4 + len;
	ret->cur = cfi_cur(ret->buf, len, at + 4);
	id = (uint32_t)cfi_cur_uint(&ret->cur, 4);
	ret->cie = id ? at + 4 - id : 0;
	return 1;
}

/* What a frame entry needs of its common entry beside what struct cfi_fde keeps. */
struct cie {
	uint64_t at;
	uint8_t lsda_enc;
	bool has_augmentation; /* 'z': entries carry a length of augmentation data */
};

static void read_augmentation(const struct cfi *m, struct cfi_cur *c, const char *aug, struct cie *cie,
			      struct cfi_fde *ret)
{
	uint64_t len = cfi_cur_uleb(c);
	struct cfi_cur data = *c;

	cfi_cur_skip(c, len);
	if (c->bad)
		return;
	data.end = data.p + len;
	for (aug++; *aug && !data.bad; aug++) {
		if (*aug == 'R')
			ret->ptr_enc = (uint8_t)cfi_cur_uint(&data, 1);
		else if (*aug == 'L')
			cie->lsda_enc = (uint8_t)cfi_cur_uint(&data, 1);
		else if (*aug == 'P')
			cfi_cur_ptr(&data, (uint8_t)cfi_cur_uint(&data, 1) & ~DW_EH_PE_INDIRECT, m);
		else if (*aug == 'S')
			ret->signal_frame = true;
		else if (*aug != 'B' && *aug != 'G')
			break; /* unknown letters: the rest of the data cannot be told */
	}
	c->bad = data.bad;
}

static int parse_cie(const struct cfi *m, uint64_t at, struct cie *cie, struct cfi_fde *ret, struct err *e)
{
	struct record r;
	uint8_t version;
	const char *aug;
	size_t aug_len;

	if (read_record(m, at, &r, e) <= 0 || r.cie)
		return err_set_addr(e, ERR_GUEST, at, "no common frame entry at 0x%llx", (unsigned long long)at);
	version = (uint8_t)cfi_cur_uint(&r.cur, 1);
	aug = (const char *)r.cur.p;
	aug_len = strnlen(aug, cfi_cur_left(&r.cur));
	cfi_cur_skip(&r.cur, aug_len + 1);
	if (r.cur.bad || (version != 1 && version != 3) || (*aug && *aug != 'z'))
		return err_set_addr(e, ERR_GUEST, at, "common frame entry at 0x%llx is of an unknown kind",
				    (unsigned long long)at);
	*cie = (struct cie){.at = at, .lsda_enc = DW_EH_PE_OMIT, .has_augmentation = *aug == 'z'};
	ret->ptr_enc = 0;
	ret->signal_frame = false;
	ret->code_align = cfi_cur_uleb(&r.cur);
	ret->data_align = cfi_cur_sleb(&r.cur);
	ret->ra_column = (uint32_t)(version == 1 ? cfi_cur_uint(&r.cur, 1) : cfi_cur_uleb(&r.cur));
	if (*aug == 'z')
		read_augmentation(m, &r.cur, aug, cie, ret);
	if (r.cur.bad || cfi_cur_left(&r.cur) > sizeof(ret->initial))
		return err_set_addr(e, ERR_GUEST, at, "common frame entry at 0x%llx is malformed",
				    (unsigned long long)at);
	ret->initial_len = (uint32_t)cfi_cur_left(&r.cur);
	memcpy(ret->initial, r.cur.p, ret->initial_len);
	return 0;
}

/* r is a frame entry whose common entry is parsed into cie and ret. */
static int parse_fde(const struct cfi *m, struct record *r, const struct cie *cie, struct cfi_fde *ret, struct err *e)
{
	struct cfi_cur *c = &r->cur;
	uint64_t size;

	ret->start = gva(cfi_cur_ptr(c, ret->ptr_enc, m));
	size = cfi_cur_ptr(c, ret->ptr_enc & DW_EH_PE_FORM, m);
	ret->lsda = gva(0);
	if (cie->has_augmentation) {
		uint64_t len = cfi_cur_uleb(c);
		struct cfi_cur data = *c;

		cfi_cur_skip(c, len);
		if (!c->bad && cie->lsda_enc != DW_EH_PE_OMIT) {
			data.end = data.p + len;
			ret->lsda = gva(cfi_cur_ptr(&data, cie->lsda_enc, m));
			c->bad = data.bad;
		}
	}
	if (c->bad || cfi_cur_left(c) > sizeof(ret->program) || !cfi_inside(m, ret->start.v, size))
		return err_set_addr(e, ERR_GUEST, r->at, "frame entry at 0x%llx is malformed",
				    (unsigned long long)r->at);
	ret->end = gva_add(ret->start, size);
	ret->program_len = (uint32_t)cfi_cur_left(c);
	memcpy(ret->program, c->p, ret->program_len);
	return 0;
}

static int no_entry(struct gva pc, struct err *e)
{
	return err_set_addr(e, ERR_GUEST, pc.v, "no frame information covers 0x%llx", (unsigned long long)pc.v);
}

static int scan(const struct cfi *m, uint64_t eh_frame, struct gva pc, struct cfi_fde *ret, struct err *e)
{
	struct cie cie = {0};
	struct record r;
	uint64_t at = eh_frame;
	int rc;

	for (unsigned i = 0; i < SCAN_MAX; i++, at = r.next) {
		rc = read_record(m, at, &r, e);
		if (rc < 0)
			return -1;
		if (!rc)
			break;
		if (!r.cie)
			continue;
		if (r.cie != cie.at && parse_cie(m, r.cie, &cie, ret, e))
			return -1;
		if (parse_fde(m, &r, &cie, ret, e))
			return -1;
		if (pc.v >= ret->start.v && pc.v < ret->end.v)
			return 0;
	}
	return no_entry(pc, e);
}

/* The last of n table entries {start, entry} (both relative to the header) that starts at or below pc. */
static int search(const struct cfi *m, uint64_t table, uint64_t n, struct gva pc, struct cfi_fde *ret, struct err *e)
{
	uint64_t lo = 0, hi = n, fde = 0;
	struct cie cie;
	struct record r;
	int32_t pair[2];

	while (lo < hi) {
		uint64_t mid = lo + (hi - lo) / 2;

		if (!code_read(&m->rd, gva(table + 8 * mid), pair, sizeof(pair)))
			return err_set_addr(e, ERR_GUEST, table + 8 * mid, "the table of frame entries cannot be read");
		if (m->hdr.v + (uint64_t)(int64_t)pair[0] <= pc.v) {
			fde = m->hdr.v + (uint64_t)(int64_t)pair[1];
			lo = mid + 1;
		} else {
			hi = mid;
		}
	}
	if (!fde)
		return no_entry(pc, e);
	if (read_record(m, fde, &r, e) <= 0 || !r.cie)
		return err_set_addr(e, ERR_GUEST, fde, "no frame entry at 0x%llx", (unsigned long long)fde);
	if (parse_cie(m, r.cie, &cie, ret, e) || parse_fde(m, &r, &cie, ret, e))
		return -1;
	return pc.v >= ret->start.v && pc.v < ret->end.v ? 0 : no_entry(pc, e);
}

int cfi_find(const struct cfi *m, struct gva pc, struct cfi_fde *ret, struct err *e)
{
	uint8_t head[24];
	size_t len = m->hdr_size < sizeof(head) ? m->hdr_size : sizeof(head);
	struct cfi_cur c = cfi_cur(head, len, m->hdr.v);
	uint8_t enc[4];
	uint64_t eh_frame, count;

	if (!m->hdr.v) {
		eh_frame = cfi_search_eh_frame(m);
		return eh_frame ? scan(m, eh_frame, pc, ret, e)
				: err_set(e, ERR_GUEST, "the module has no frame information (.eh_frame)");
	}
	if (len < 8 || !cfi_inside(m, m->hdr.v, m->hdr_size) || !code_read(&m->rd, m->hdr, head, len))
		return err_set_addr(e, ERR_GUEST, m->hdr.v, "the module's frame information cannot be read");
	for (unsigned i = 0; i < 4; i++)
		enc[i] = (uint8_t)cfi_cur_uint(&c, 1);
	eh_frame = cfi_cur_ptr(&c, enc[1], m);
	if (enc[0] != 1 || c.bad || !eh_frame)
		return err_set_addr(e, ERR_GUEST, m->hdr.v, "the module's frame information has an unknown header");
	count = cfi_cur_ptr(&c, enc[2], m);
	if (c.bad || !count || enc[3] != DW_EH_PE_DATAREL_SDATA4 || (enc[2] & DW_EH_PE_BASE))
		return scan(m, eh_frame, pc, ret, e);
	if (count > (m->hdr_size - (c.at - m->hdr.v)) / 8)
		return err_set_addr(e, ERR_GUEST, m->hdr.v, "the table of frame entries is longer than its segment");
	return search(m, c.at, count, pc, ret, e);
}
