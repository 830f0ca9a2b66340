/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A patched copy of a program's file.
 *
 * Offsets of a patch are those of the file, so its bytes go where they say. A guard in the cave, behind the last bytes of the code in
 * their page, can stay there if nothing else of the file is there: the segment is made to have it. Where something is, and where
 * the guard was in the memory of a process, it is moved to a new segment; what leads to it and out of it is made anew.
 *
 * The patch and the file may come from enemies: see elf_image.h for the file. The bytes of a patch are checked by
 * patch_record_check(), and its guard's code is taken for granted, as it is in virtual machines.
 */
#include "patch/elf_copy.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "patch/elf_image.h"
#include "patch/guard_move.h"

#define JUMP_LEN 5u /* of jmp rel32 and call rel32 */
#define JUMP_OPCODE 0xe9

static_assert(FIELD_BYTES_MAX <= GUARD_MOVE_MAX, "all guards can be moved");

/* Code that was put in for a site: where it was, in terms of the file's addresses, and is. */
struct piece {
	uint64_t site_offset, was, is;
	struct field_bytes code; /* as the patch has it */
};

/* What the code at a site is by the patches, which their guards' new places make different in the copy. */
struct site {
	uint64_t offset;
	struct field_bytes now;
};

struct elf_copy {
	struct elf_image image;
	struct piece piece[2 * ELF_COPY_PATCHES_MAX];
	struct site site[ELF_COPY_PATCHES_MAX];
	unsigned n_pieces, n_sites;
};

int elf_copy_create(const uint8_t *file, size_t len, struct elf_copy **ret, struct err *e)
{
	struct elf_copy *c = calloc(1, sizeof(*c));

	if (!c)
		return err_set_errno(e, "no memory for a copy");
	if (elf_image_init(&c->image, file, len, e) < 0) {
		free(c);
		return -1;
	}
	*ret = c;
	return 0;
}

void elf_copy_destroy(struct elf_copy *c)
{
	if (!c)
		return;
	elf_image_deinit(&c->image);
	free(c);
}

bool elf_copy_concerns(const struct elf_copy *c, const struct patch_record *r)
{
	return c->image.build_id_len && c->image.build_id_len == r->build_id.len &&
	       memcmp(c->image.build_id, r->build_id.byte, r->build_id.len) == 0;
}

/* ---- the site ---- */

/* The last site that has one of these bytes. */
static struct site *find_site(struct elf_copy *c, uint64_t offset, size_t len)
{
	for (unsigned k = c->n_sites; k-- > 0;)
		if (c->site[k].offset < offset + len && offset < c->site[k].offset + c->site[k].now.len)
			return &c->site[k];
	return NULL;
}

static bool has(const struct elf_copy *c, uint64_t offset, const struct field_bytes *b)
{
	return offset <= c->image.len && b->len <= c->image.len - offset &&
	       memcmp(c->image.byte + offset, b->byte, b->len) == 0;
}

/* Whether the patch is in the file that the copy began with: then it was made from such a copy. */
static bool is_in_file(const struct elf_copy *c, const struct patch_record *r)
{
	return strcmp(r->home, "cave") == 0 && has(c, r->site_offset, &r->after) &&
	       has(c, r->guard_offset, &r->guard) && has(c, r->routine_offset, &r->routine);
}

static int check_site(struct elf_copy *c, const struct patch_record *r, struct err *e)
{
	const struct site *s = find_site(c, r->site_offset, r->before.len);
	bool good = s ? s->offset == r->site_offset && s->now.len == r->before.len &&
				    memcmp(s->now.byte, r->before.byte, r->before.len) == 0
		      : has(c, r->site_offset, &r->before);

	if (good)
		return 0;
	return err_set_addr(e, ERR_REFUSED, r->site_offset,
			    "the bytes at 0x%" PRIx64 " of the file are not what it is made for: %s", r->site_offset,
			    s ? "another patch replaces them"
			      : "take the file as it was built, and all patches that it was "
				"made over");
}

static void put_site(struct elf_copy *c, const struct patch_record *r)
{
	struct site *s = find_site(c, r->site_offset, r->after.len);

	if (!s)
		s = &c->site[c->n_sites++];
	*s = (struct site){r->site_offset, r->after};
}

/* The jump or call to the guard, which is at `guard` now. */
static int make_jump(const struct patch_record *r, uint64_t site, uint64_t guard, struct field_bytes *ret,
		     struct err *e)
{
	size_t at = r->after.byte[0] == JUMP_OPCODE ? 0 : r->after.len - JUMP_LEN;
	int64_t distance = (int64_t)(guard - (site + at + JUMP_LEN));
	int32_t rel32 = (int32_t)distance;

	if (distance != rel32 && r->bits != 32)
		return err_set(e, ERR_REFUSED, "no jump from the code reaches a new segment of the file");
	*ret = r->after;
	memcpy(ret->byte + at + 1, &rel32, sizeof(rel32));
	return 0;
}

/* ---- guard and routine ---- */

/* What a patch's code leads to: its own routine, or the guards that it was made over. */
struct surroundings {
	const struct elf_copy *c;
	uint64_t site_offset;
	const struct piece *routine; /* or NULL */
};

static bool is_within(const struct piece *p, uint64_t address)
{
	return address >= p->was && address - p->was < p->code.len;
}

static uint64_t place(void *arg, uint64_t address)
{
	const struct surroundings *s = arg;
	const struct piece *p = s->routine;

	if (p && is_within(p, address))
		return p->is + (address - p->was);
	for (unsigned k = s->c->n_pieces; k-- > 0;) {
		p = &s->c->piece[k];
		if (p->site_offset == s->site_offset && is_within(p, address))
			return p->is + (address - p->was);
	}
	return address;
}

/* The same code that is there for the same place: guards share routines. */
static const struct piece *find_same(const struct elf_copy *c, const struct piece *p)
{
	for (unsigned k = 0; k < c->n_pieces; k++) {
		const struct piece *q = &c->piece[k];

		if (q->was == p->was && q->code.len == p->code.len &&
		    memcmp(q->code.byte, p->code.byte, p->code.len) == 0)
			return q;
	}
	return NULL;
}

/* A guard or routine on its way into the copy. */
struct move {
	struct piece piece;
	uint8_t code[GUARD_MOVE_MAX]; /* as it will be there */
	int segment;
	uint64_t offset;
	enum { IS_THERE, NEAR, FAR } where;
};

static bool overlap(const struct move *a, const struct move *b)
{
	return a && a->where == NEAR && a->offset < b->offset + b->piece.code.len &&
	       b->offset < a->offset + a->piece.code.len;
}

/* Whether what the code leads to is where it was. */
static bool leads_as_before(const struct surroundings *s)
{
	if (s->routine && s->routine->is != s->routine->was)
		return false;
	for (unsigned k = 0; k < s->c->n_pieces; k++)
		if (s->c->piece[k].site_offset == s->site_offset && s->c->piece[k].is != s->c->piece[k].was)
			return false;
	return true;
}

/* other: what goes in together with it, or NULL. */
static int find_place(struct elf_copy *c, bool in_cave, const struct move *other, struct move *m, struct err *e)
{
	const struct piece *same = find_same(c, &m->piece);
	size_t len = m->piece.code.len, behind = 0;

	m->piece.is = m->piece.was;
	m->where = IS_THERE;
	if (same)
		m->piece.is = same->is;
	if (same ||
	    (in_cave && elf_image_code(&c->image, m->offset, len) == m->segment && has(c, m->offset, &m->piece.code)))
		return 0;
	m->where = NEAR;
	if (in_cave && elf_image_is_free(&c->image, m->segment, m->offset, len) && !overlap(other, m))
		return 0;
	m->where = FAR;
	if (other && other->where == FAR)
		behind = (other->piece.code.len + ELF_IMAGE_CODE_ALIGN - 1) & ~(size_t)(ELF_IMAGE_CODE_ALIGN - 1);
	if (elf_image_find_far(&c->image, behind + len, &m->piece.is, e) < 0)
		return -1;
	m->piece.is += behind;
	return 0;
}

/* Finds its place and makes its code for that. Nothing but the beginning of a new segment changes. */
static int prepare(struct elf_copy *c, const struct patch_record *r, const struct move *other, uint8_t part_at,
		   struct move *m, struct err *e)
{
	struct surroundings s = {c, r->site_offset, other ? &other->piece : NULL};
	struct guard_move move = {
		.is_32bit = r->bits == 32, .from = m->piece.was, .part_at = part_at, .place = place, .arg = &s};

	if (find_place(c, strcmp(r->home, "cave") == 0, other, m, e) < 0)
		return -1;
	memcpy(m->code, m->piece.code.byte, m->piece.code.len);
	if (m->where == IS_THERE || (m->where == NEAR && leads_as_before(&s)))
		return 0;
	move.to = m->piece.is;
	return guard_move(&move, m->code, m->piece.code.len, e);
}

static void put(struct elf_copy *c, const struct move *m)
{
	size_t len = m->piece.code.len;

	if (m->where == NEAR)
		elf_image_put_near(&c->image, m->segment, m->offset, m->code, len);
	else if (m->where == FAR)
		elf_image_put_far(&c->image, m->code, len);
	c->piece[c->n_pieces++] = m->piece;
}

/* ---- a patch ---- */

static int check(const struct elf_copy *c, const struct patch_record *r, struct err *e)
{
	if (patch_record_check(r, e) < 0)
		return -1;
	if (!c->image.build_id_len)
		return err_set(e, ERR_REFUSED,
			       "the file has no build-id: whether it is what the patch is for cannot be told");
	if (!elf_copy_concerns(c, r) || c->image.is_32bit != (r->bits == 32))
		return err_set(e, ERR_REFUSED,
			       "the file's build-id is another than the patch's: take the program that the virtual "
			       "machine runs");
	if (c->n_sites == ELF_COPY_PATCHES_MAX || c->n_pieces > 2 * ELF_COPY_PATCHES_MAX - 2)
		return err_set(e, ERR_LIMIT, "more than %u patches for one file", ELF_COPY_PATCHES_MAX);
	return 0;
}

static struct move move_of(const struct elf_copy *c, const struct patch_record *r, int segment, uint64_t offset,
			   const struct field_bytes *code)
{
	return (struct move){.piece = {r->site_offset, elf_image_address(&c->image, segment, offset), 0, *code},
			     .segment = segment,
			     .offset = offset};
}

int elf_copy_patch(struct elf_copy *c, const struct patch_record *r, bool *ret_new, struct err *e)
{
	struct move routine, guard;
	struct field_bytes jump;
	bool is_in, splits = r->routine.len > 0;
	int segment;

	if (check(c, r, e) < 0)
		return -1;
	segment = elf_image_code(&c->image, r->site_offset, r->before.len);
	if (segment < 0)
		return err_set_addr(e, ERR_REFUSED, r->site_offset, "0x%" PRIx64 " is not in the file's code",
				    r->site_offset);
	is_in = is_in_file(c, r);
	if (!is_in && check_site(c, r, e) < 0)
		return -1;
	routine = move_of(c, r, segment, r->routine_offset, &r->routine);
	guard = move_of(c, r, segment, r->guard_offset, &r->guard);
	if ((splits && prepare(c, r, NULL, 0, &routine, e) < 0) ||
	    prepare(c, r, splits ? &routine : NULL, (uint8_t)r->part_at, &guard, e) < 0 ||
	    make_jump(r, elf_image_address(&c->image, segment, r->site_offset), guard.piece.is, &jump, e) < 0)
		return -1;
	if (splits)
		put(c, &routine);
	put(c, &guard);
	put_site(c, r);
	memcpy(c->image.byte + r->site_offset, jump.byte, jump.len);
	*ret_new = !is_in;
	return 0;
}

void elf_copy_patches(struct elf_copy *c, const struct patch_record *r, size_t n, bool *in, struct err *why)
{
	bool more = true, is_new;

	memset(in, 0, n * sizeof(*in));
	while (more) {
		more = false;
		for (size_t k = 0; k < n; k++)
			if (!in[k] && elf_copy_patch(c, &r[k], &is_new, &why[k]) == 0)
				more = in[k] = true;
	}
}

int elf_copy_write(struct elf_copy *c, uint8_t **ret, size_t *ret_len, struct err *e)
{
	return elf_image_write(&c->image, ret, ret_len, e);
}
