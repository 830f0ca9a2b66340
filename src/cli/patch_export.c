/* SPDX-License-Identifier: GPL-2.0-or-later */
/* clouder patch export: a patch as a file of its own, or a copy of the program that has it. */
#include "cli/patch_internal.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/term.h"
#include "patch/elf_copy.h"
#include "store/store.h"

static int write_all(int fd, const char *path, const void *bytes, size_t len, struct err *e)
{
	const char *at = bytes;

	while (len) {
		ssize_t n = write(fd, at, len);

		if (n < 0)
			return err_set_errno(e, "cannot write %.200s", path);
		at += n;
		len -= (size_t)n;
	}
	return fsync(fd) == 0 ? 0 : err_set_errno(e, "cannot write %.200s", path);
}

/* ---- as a file of its own ---- */

static int write_text(const char *path, const char *text, struct err *e)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	int rc;

	if (fd < 0)
		return err_set_errno(e, "cannot make %.200s", path);
	rc = write_all(fd, path, text, strlen(text), e);
	close(fd);
	if (rc < 0)
		unlink(path);
	return rc;
}

static int export_patch(struct cli_call *c, struct store *s, int64_t id, struct err *e)
{
	struct patch_record r;
	char *file = NULL;
	int rc = 0;

	if (store_get_patch(s, id, &r, &file, e) < 0)
		return -1;
	if (c->output)
		rc = write_text(c->output, file, e);
	else
		fputs(file, c->out);
	free(file);
	return rc;
}

/* ---- in a copy of the program ---- */

struct program {
	struct stat st;
	uint8_t *byte;
	size_t len;
};

static int read_fd(int fd, const char *path, struct program *p, struct err *e)
{
	if (fstat(fd, &p->st) < 0)
		return err_set_errno(e, "cannot read %.200s", path);
	if (!S_ISREG(p->st.st_mode))
		return err_set(e, ERR_USAGE, "%.200s is not a file: --elf takes the program's", path);
	if (p->st.st_size > (off_t)ELF_COPY_FILE_MAX)
		return err_set(e, ERR_LIMIT, "%.200s has more than %u MiB", path, ELF_COPY_FILE_MAX >> 20);
	p->byte = malloc((size_t)p->st.st_size + 1);
	if (!p->byte)
		return err_set_errno(e, "no memory for %.200s", path);
	while (p->len < (size_t)p->st.st_size) {
		ssize_t n = read(fd, p->byte + p->len, (size_t)p->st.st_size - p->len);

		if (n < 0)
			return err_set_errno(e, "cannot read %.200s", path);
		if (n == 0)
			break;
		p->len += (size_t)n;
	}
	return 0;
}

static int read_program(const char *path, struct program *p, struct err *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	int rc;

	if (fd < 0)
		return err_set_errno(e, "cannot read %.200s", path);
	rc = read_fd(fd, path, p, e);
	close(fd);
	return rc;
}

/* Its owner and mode as the program's; without the owner it must not run as one. */
static int set_mode(int fd, const char *path, const struct stat *st, struct err *e)
{
	bool is_owned = fchown(fd, st->st_uid, st->st_gid) == 0;

	if (fchmod(fd, st->st_mode & (is_owned ? 07777 : 0777)) < 0)
		return err_set_errno(e, "cannot set the mode of %.200s", path);
	return 0;
}

/* Under another name first: what has the right one is whole. Nothing is overwritten. */
static int write_program(const char *path, const struct stat *st, const uint8_t *bytes, size_t len, struct err *e)
{
	char *other = NULL;
	int fd, rc;

	if (asprintf(&other, "%s.XXXXXX", path) < 0)
		return err_set_errno(e, "no memory for a name");
	fd = mkostemp(other, O_CLOEXEC);
	if (fd < 0) {
		rc = err_set_errno(e, "cannot make %.200s", path);
		free(other);
		return rc;
	}
	rc = set_mode(fd, path, st, e);
	if (rc == 0)
		rc = write_all(fd, path, bytes, len, e);
	close(fd);
	if (rc == 0 && link(other, path) < 0)
		rc = err_set_errno(e, "cannot make %.200s", path);
	unlink(other);
	free(other);
	return rc;
}

/* The active patches of the program's build. */
struct wanted {
	const struct elf_copy *copy;
	struct patch_record *r;
	size_t n, room;
	bool is_full;
};

static bool want(void *arg, const struct patch_record *r)
{
	struct wanted *w = arg;
	struct patch_record *grown;

	if (r->state != PATCH_ACTIVE || !elf_copy_concerns(w->copy, r))
		return true;
	if (w->n == w->room) {
		w->room = w->room ? 2 * w->room : 8;
		grown = w->n < ELF_COPY_PATCHES_MAX ? reallocarray(w->r, w->room, sizeof(*w->r)) : NULL;
		w->is_full = !grown;
		if (!grown)
			return false;
		w->r = grown;
	}
	w->r[w->n++] = *r;
	return true;
}

static void tell(FILE *out, const char *path, const struct wanted *w, const bool *in, const struct err *why)
{
	for (size_t k = 0; k < w->n; k++) {
		if (in[k]) {
			fprintf(out, "patch %" PRId64 " is in ", w->r[k].id);
			term_print(out, path);
			putc('\n', out);
		} else {
			fprintf(out, "patch %" PRId64 " is left out: ", w->r[k].id);
			term_print(out, why[k].text);
			putc('\n', out);
		}
	}
}

/* All that can be put in is, and patch `id` must be. */
static int write_copy(struct cli_call *c, struct elf_copy *copy, const struct wanted *w, int64_t id,
		      const struct stat *st, struct err *e)
{
	struct err *why = calloc(w->n + 1, sizeof(*why));
	bool *in = calloc(w->n + 1, sizeof(*in));
	uint8_t *bytes = NULL;
	size_t len = 0;
	int rc = -1;

	if (!why || !in) {
		err_set_errno(e, "no memory for %zu patches", w->n);
		goto out;
	}
	elf_copy_patches(copy, w->r, w->n, in, why);
	for (size_t k = 0; k < w->n; k++) {
		if (w->r[k].id == id && !in[k]) {
			*e = why[k];
			err_prefix(e, "patch %" PRId64 " cannot be put into %.100s", id, c->elf);
			goto out;
		}
	}
	if (elf_copy_write(copy, &bytes, &len, e) == 0)
		rc = write_program(c->output, st, bytes, len, e);
	if (rc == 0)
		tell(c->out, c->output, w, in, why);
out:
	free(bytes);
	free(why);
	free(in);
	return rc;
}

static int check_patch(struct cli_call *c, struct store *s, const struct elf_copy *copy, int64_t id, struct err *e)
{
	struct patch_record r;

	if (store_get_patch(s, id, &r, NULL, e) < 0)
		return -1;
	if (r.state != PATCH_ACTIVE)
		return err_set(e, ERR_STATE,
			       "patch %" PRId64
			       " is %s, and is not to be in any program: name one that 'clouder patch list' calls "
			       "active",
			       id, patch_state_name(r.state));
	if (!elf_copy_concerns(copy, &r))
		return err_set(
			e, ERR_REFUSED,
			"%.100s does not have the build-id that patch %" PRId64
			" is for: take the program that the virtual machine runs, which 'clouder patch show' names",
			c->elf, id);
	return 0;
}

static int export_program(struct cli_call *c, struct store *s, int64_t id, struct err *e)
{
	struct program p = {.len = 0};
	struct elf_copy *copy = NULL;
	struct wanted w = {.n = 0};
	int rc = read_program(c->elf, &p, e);

	if (rc == 0 && (rc = elf_copy_create(p.byte, p.len, &copy, e)) < 0)
		err_prefix(e, "%.100s cannot be patched", c->elf);
	w.copy = copy;
	if (rc == 0)
		rc = check_patch(c, s, copy, id, e);
	if (rc == 0)
		rc = store_each_patch(s, NULL, 0, want, &w, e);
	if (rc == 0 && w.is_full)
		rc = err_set(e, ERR_LIMIT, "there are more than %u patches for %.100s, or there is no memory for them",
			     ELF_COPY_PATCHES_MAX, c->elf);
	if (rc == 0)
		rc = write_copy(c, copy, &w, id, &p.st, e);
	elf_copy_destroy(copy);
	free(w.r);
	free(p.byte);
	return rc;
}

int patch_export_run(struct cli_call *c, struct err *e)
{
	struct store *s = NULL;
	int64_t id = 0;
	int rc;

	if (c->elf && !c->output)
		return err_set(e, ERR_USAGE, "--elf needs --output FILE, where the copy of the program goes");
	if (patch_read_id(c->operands[1], &id, e) < 0 || store_open(NULL, true, &s, e) < 0)
		return -1;
	rc = c->elf ? export_program(c, s, id, e) : export_patch(c, s, id, e);
	store_close(s);
	return rc;
}
