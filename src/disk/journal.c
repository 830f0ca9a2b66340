/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Going back that can be finished later: see journal.h. */
#include "disk/journal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAMES_MAX (JOURNAL_IMAGES_MAX * PATH_MAX)

static const char magic[8] = "CldRBack";

/* A block as it is in the file. */
struct record {
	uint64_t block;
	uint8_t bytes[BLOCKLOG_BLOCK];
};

/* FNV-1a, going on from sum. */
static uint64_t checksum(uint64_t sum, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;

	for (size_t i = 0; i < len; i++)
		sum = (sum ^ p[i]) * 0x100000001b3ull;
	return sum;
}

static uint64_t head_sum(const struct journal_head *h, const char *names)
{
	return checksum(checksum(0xcbf29ce484222325ull, h, offsetof(struct journal_head, sum)), names, h->names_len);
}

static int name_of(const char *image, const char *more, char ret[PATH_MAX], struct err *e)
{
	if ((size_t)snprintf(ret, PATH_MAX, "%s" JOURNAL_SUFFIX "%s", image, more) < PATH_MAX)
		return 0;
	return err_set(e, ERR_LIMIT, "disk %.200s: the name is too long", image);
}

/* What was made or removed in the directory of a file is durable. */
static int sync_directory_of(const char *file, struct err *e)
{
	char dir[PATH_MAX];
	int fd, rc;

	snprintf(dir, sizeof(dir), "%s", file);
	strrchr(dir, '/')[1] = 0; /* the name is absolute */
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_set_errno(e, "%.200s", dir);
	rc = fsync(fd);
	if (rc < 0 && errno == EINVAL)
		rc = 0; /* a file system that has nothing to do for it */
	if (rc < 0)
		err_set_errno(e, "%.200s", dir);
	close(fd);
	return rc;
}

/* ---- making them ---- */

/* The journal that is being written. */
struct writer {
	struct image file;
	uint64_t at, n_blocks;
	struct record record;
};

static int write_record(void *arg, uint64_t block, const uint8_t *bytes, size_t len)
{
	struct writer *w = arg;

	w->record.block = block;
	memcpy(w->record.bytes, bytes, len);
	memset(w->record.bytes + len, 0, sizeof(w->record.bytes) - len);
	if (image_write(&w->file, &w->record, sizeof(w->record), w->at) < 0)
		return -1;
	w->at += sizeof(w->record);
	w->n_blocks++;
	return 0;
}

/* Fills the file, durably. -1 with errno set. */
static int write_all(struct writer *w, const struct journal_part *p, uint64_t mark, struct journal_head h,
		     const char *names)
{
	w->at = sizeof(h) + h.names_len;
	if (blocklog_visit(p->undo, mark, write_record, w) < 0)
		return -1;
	h.image_size = p->image->size;
	h.n_blocks = w->n_blocks;
	h.sum = head_sum(&h, names);
	if (image_write(&w->file, names, h.names_len, sizeof(h)) < 0 || image_write(&w->file, &h, sizeof(h), 0) < 0)
		return -1;
	return image_flush(&w->file);
}

/* The journal of a part, complete, but under another name. */
static int prepare(const struct journal_part *p, uint64_t mark, const struct journal_head *h, const char *names,
		   struct err *e)
{
	struct writer w = {.at = 0};
	char path[PATH_MAX];
	int rc;

	if (name_of(p->image->path, ".new", path, e) < 0)
		return -1;
	unlink(path);
	w.file.fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (w.file.fd < 0)
		return err_set_errno(e, "%.200s", path);
	rc = write_all(&w, p, mark, *h, names);
	if (rc < 0)
		err_set_errno(e, "%.200s", path);
	close(w.file.fd);
	return rc;
}

static int give_name(const struct journal_part *p, struct err *e)
{
	char from[PATH_MAX], to[PATH_MAX];

	if (name_of(p->image->path, ".new", from, e) < 0 || name_of(p->image->path, "", to, e) < 0)
		return -1;
	if (rename(from, to) < 0)
		return err_set_errno(e, "%.200s", to);
	return sync_directory_of(to, e);
}

/* One that was being written; if it cannot be removed, it does no harm. */
static void discard_unfinished(const char *image)
{
	char path[PATH_MAX];

	if (name_of(image, ".new", path, NULL) == 0)
		unlink(path);
}

/* Whatever there is of a journal. */
static int discard(const char *image, struct err *e)
{
	char path[PATH_MAX];

	discard_unfinished(image);
	if (name_of(image, "", path, e) < 0)
		return -1;
	if (unlink(path) < 0)
		return errno == ENOENT ? 0 : err_set_errno(e, "%.200s cannot be removed", path);
	return sync_directory_of(path, e);
}

int journal_begin(const struct journal_part *parts, unsigned n, uint64_t mark, struct err *e)
{
	struct journal_head h = {.n_images = (uint16_t)n};
	char *names = malloc(NAMES_MAX);
	int rc = 0;

	if (!names)
		return err_set_errno(e, "going back");
	assert(n <= JOURNAL_IMAGES_MAX);
	memcpy(h.magic, magic, sizeof(magic));
	for (unsigned i = 0; i < n; i++) {
		size_t len = strlen(parts[i].image->path) + 1;

		memcpy(names + h.names_len, parts[i].image->path, len);
		h.names_len += (uint32_t)len;
		h.qcow2 |= (uint16_t)(parts[i].image->nbd ? 1u << i : 0);
	}
	if (getrandom(&h.id, sizeof(h.id), 0) != sizeof(h.id))
		rc = err_set_errno(e, "random number");
	for (unsigned i = 0; i < n && rc == 0; i++)
		rc = prepare(&parts[i], mark, &h, names, e);
	for (unsigned i = 0; i < n && rc == 0; i++)
		rc = give_name(&parts[i], e);
	for (unsigned i = 0; i < n && rc < 0; i++)
		if (discard(parts[i].image->path, NULL) < 0)
			continue; /* there is none, most likely */
	free(names);
	return rc;
}

int journal_end(const struct journal_part *parts, unsigned n, struct err *e)
{
	for (unsigned i = 0; i < n; i++)
		if (discard(parts[i].image->path, e) < 0)
			return -1;
	return 0;
}

/* ---- finishing ---- */

/* A journal that was found, and the image that it is for. */
struct found {
	struct image image;
	bool ours; /* the image was opened for this */
	struct image file;
	struct journal_head head;
	char *names; /* of all images, ours */
};

static int damaged(const char *path, struct err *e)
{
	return err_set(
		e, ERR_STATE,
		"%.200s is damaged, or no journal of this disk: if the disk is whole (its file system's check says "
		"so), remove that file",
		path);
}

/* Head and names, checked. */
static int read_head(struct found *f, const char *path, uint64_t file_size, struct err *e)
{
	struct journal_head *h = &f->head;
	uint32_t n = 0;

	if (file_size < sizeof(*h) || image_read(&f->file, h, sizeof(*h), 0) < 0 ||
	    memcmp(h->magic, magic, sizeof(magic)) != 0 || !h->n_images || h->n_images > JOURNAL_IMAGES_MAX ||
	    !h->names_len || h->names_len > NAMES_MAX || h->n_blocks > file_size / sizeof(struct record) ||
	    file_size != sizeof(*h) + h->names_len + h->n_blocks * sizeof(struct record))
		return damaged(path, e);
	f->names = malloc(h->names_len);
	if (!f->names)
		return err_set_errno(e, "%.200s", path);
	if (image_read(&f->file, f->names, h->names_len, sizeof(*h)) < 0 || f->names[h->names_len - 1])
		return damaged(path, e);
	for (uint32_t i = 0; i < h->names_len; i++)
		n += !f->names[i];
	return n == h->n_images && h->sum == head_sum(h, f->names) ? 0 : damaged(path, e);
}

/* Which of the images it is; n_images: none of these names. */
static unsigned number_of(const struct found *f)
{
	const char *name = f->names;
	unsigned i;

	for (i = 0; i < f->head.n_images && strcmp(name, f->image.path) != 0; i++)
		name += strlen(name) + 1;
	/* A single one may have any name. */
	return f->head.n_images == 1 ? 0 : i;
}

/* Whether the journal is of the image as it was opened: written to the file of a qcow2 image its blocks would ruin it. */
static int check_image(const struct found *f, const char *path, struct err *e)
{
	bool qcow2 = f->head.qcow2 >> number_of(f) & 1;

	if (number_of(f) < f->head.n_images && qcow2 != !!f->image.nbd)
		return err_set(
			e, ERR_STATE,
			"disk %.120s was being brought back to a checkpoint as a %s image when its VM was killed: say "
			"format=%s",
			f->image.path, qcow2 ? "qcow2" : "raw", qcow2 ? "qcow2" : "raw");
	return f->head.image_size == f->image.size ? 0 : damaged(path, e);
}

/* Opens the journal of f->image. 0: there is none, 1: it is there. What was opened is closed by let_go(). */
static int look(struct found *f, struct err *e)
{
	struct stat st, image;
	char path[PATH_MAX];

	if (name_of(f->image.path, "", path, e) < 0)
		return -1;
	f->file.fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	if (f->file.fd < 0)
		return errno == ENOENT ? 0 : err_set_errno(e, "%.200s", path);
	if (fstat(f->file.fd, &st) < 0 || fstat(f->image.fd, &image) < 0)
		return err_set_errno(e, "%.200s", path);
	/* Who may write to the image anyway, or we ourselves. */
	if (!S_ISREG(st.st_mode) || (st.st_uid != geteuid() && st.st_uid != image.st_uid))
		return damaged(path, e);
	return read_head(f, path, (uint64_t)st.st_size, e) < 0 || check_image(f, path, e) < 0 ? -1 : 1;
}

static void let_go(struct found *f)
{
	free(f->names);
	if (f->file.fd >= 0)
		close(f->file.fd);
	if (f->ours)
		image_close(&f->image);
}

static int apply(const struct found *f, struct err *e)
{
	uint64_t at = sizeof(f->head) + f->head.names_len;
	struct record r;

	for (uint64_t i = 0; i < f->head.n_blocks; i++, at += sizeof(r)) {
		uint64_t off, left;

		if (image_read(&f->file, &r, sizeof(r), at) < 0)
			return err_set_errno(e, "disk %.120s: its journal", f->image.path);
		off = r.block * BLOCKLOG_BLOCK;
		if (r.block > f->image.size / BLOCKLOG_BLOCK || off >= f->image.size)
			return err_set(e, ERR_STATE, "disk %.120s: its journal is damaged", f->image.path);
		left = f->image.size - off;
		if (image_write(&f->image, r.bytes, left < sizeof(r.bytes) ? left : sizeof(r.bytes), off) < 0)
			return err_set_errno(e, "disk %.120s", f->image.path);
	}
	if (image_flush(&f->image) < 0)
		return err_set_errno(e, "disk %.120s", f->image.path);
	return 0;
}

/* Opens another image that went back with f[0], and its journal. 0: it has none of the same time, 1: it has. */
static int look_at_other(const struct found *first, const char *image, bool qcow2, struct found *f, struct err *e)
{
	const struct image_spec spec = {.file = (char *)image, .format = qcow2 ? IMAGE_QCOW2 : IMAGE_RAW};
	char path[PATH_MAX];
	int rc;

	image_init(&f->image);
	f->file.fd = -1;
	if (name_of(image, "", path, e) < 0)
		return -1;
	if (access(path, F_OK) < 0 && errno == ENOENT)
		return 0;
	if (image_open(&spec, &f->image, e) < 0)
		return -1;
	f->ours = true;
	rc = look(f, e);
	return rc == 1 ? f->head.id == first->head.id : rc;
}

/* Finds all journals beside the first, f[0]. 0: one is missing, 1: all are there; *ret_n of f are to be let go. */
static int look_at_others(struct found *f, unsigned *ret_n, struct err *e)
{
	const char *name = f[0].names;

	if (f[0].head.n_images == 1)
		return 1; /* under whatever name */
	if (number_of(&f[0]) == f[0].head.n_images)
		return err_set(e, ERR_STATE,
			       "disk %.100s was being brought back together with other disks, under another name: move "
			       "all of them back to where they were, the first to %.100s",
			       f[0].image.path, f[0].names);
	for (unsigned i = 0; i < f[0].head.n_images; i++, name += strlen(name) + 1) {
		int rc;

		if (!strcmp(name, f[0].image.path) || *ret_n == JOURNAL_IMAGES_MAX)
			continue;
		rc = look_at_other(&f[0], name, f[0].head.qcow2 >> i & 1, &f[(*ret_n)++], e);
		if (rc != 1)
			return rc;
	}
	return 1;
}

static int finish(struct found *f, unsigned *ret_n, uint64_t *ret_blocks, struct err *e)
{
	int all = look_at_others(f, ret_n, e);
	uint64_t blocks = 0;

	if (all < 0)
		return -1;
	if (!all)
		return discard(f[0].image.path, e);
	for (unsigned i = 0; i < *ret_n; i++) {
		if (apply(&f[i], e) < 0)
			return -1;
		blocks += f[i].head.n_blocks;
	}
	for (unsigned i = 0; i < *ret_n; i++)
		if (discard(f[i].image.path, e) < 0)
			return -1;
	*ret_blocks = blocks;
	return 0;
}

int journal_finish(const struct image *i, uint64_t *ret_blocks, struct err *e)
{
	struct found f[JOURNAL_IMAGES_MAX] = {{.image = *i, .file.fd = -1}};
	unsigned n = 1;
	int rc = look(&f[0], e);

	*ret_blocks = 0;
	if (rc == 1 && i->readonly)
		rc = err_set(
			e, ERR_STATE,
			"disk %.120s was being brought back to a checkpoint when its VM was killed: run a VM that may "
			"write to it, which finishes that",
			i->path);
	else if (rc == 1)
		rc = finish(f, &n, ret_blocks, e);
	else if (rc == 0 && !i->readonly)
		discard_unfinished(i->path);
	for (unsigned k = 0; k < n; k++)
		let_go(&f[k]);
	return rc;
}
