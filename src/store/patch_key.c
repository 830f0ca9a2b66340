/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Signing keys in the state directory: see patch_key.h. */
#include "store/patch_key.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/paths.h"

#define SECRET_WORD "clouder-patch-secret "
#define PUBLIC_WORD "clouder-patch-key "
#define LINE_MAX_BYTES 256
#define TRUSTED_MAX 1024 /* files looked at */

static_assert(PATCH_KEY_BYTES == crypto_sign_PUBLICKEYBYTES, "libsodium's sizes");
static_assert(PATCH_KEY_BYTES == crypto_sign_SEEDBYTES &&
		      sizeof(((struct patch_key *)0)->secret) == crypto_sign_SECRETKEYBYTES &&
		      PATCH_SIGNATURE_BYTES == crypto_sign_BYTES,
	      "Ed25519");

static int ready(struct err *e)
{
	return sodium_init() < 0 ? err_set(e, ERR_SYSTEM, "libsodium cannot be used on this host") : 0;
}

void patch_key_text(const uint8_t public[PATCH_KEY_BYTES], char ret[PATCH_KEY_TEXT_MAX])
{
	sodium_bin2hex(ret, PATCH_KEY_TEXT_MAX, public, PATCH_KEY_BYTES);
}

int patch_key_from_seed(const uint8_t seed[PATCH_KEY_BYTES], struct patch_key *ret, struct err *e)
{
	if (ready(e) < 0)
		return -1;
	crypto_sign_seed_keypair(ret->public, ret->secret, seed);
	return 0;
}

int patch_key_sign(const struct patch_key *k, const void *text, size_t len, uint8_t ret[PATCH_SIGNATURE_BYTES],
		   struct err *e)
{
	if (ready(e) < 0)
		return -1;
	crypto_sign_detached(ret, NULL, text, len, k->secret);
	return 0;
}

bool patch_key_verify(const uint8_t public[PATCH_KEY_BYTES], const void *text, size_t len,
		      const uint8_t signature[PATCH_SIGNATURE_BYTES])
{
	return ready(NULL) == 0 && crypto_sign_verify_detached(signature, text, len, public) == 0;
}

/* ---- files ---- */

static int state_path(const char *name, char ret[PATH_MAX], struct err *e)
{
	char dir[PATH_MAX];

	if (paths_state_dir(dir, sizeof(dir), e) < 0)
		return -1;
	if (snprintf(ret, PATH_MAX, "%s/%s", dir, name) >= PATH_MAX)
		return err_set(e, ERR_LIMIT, "the name of the state directory is too long: set CLOUDER_STATE_DIR");
	return 0;
}

/* The word and then the digits of a key, and no more than a line's end. */
static bool parse_line(const char *line, const char *word, uint8_t ret[PATCH_KEY_BYTES])
{
	const char *end;
	size_t n;

	if (strncmp(line, word, strlen(word)) != 0)
		return false;
	line += strlen(word);
	return sodium_hex2bin(ret, PATCH_KEY_BYTES, line, 2 * (size_t)PATCH_KEY_BYTES, NULL, &n, &end) == 0 &&
	       n == PATCH_KEY_BYTES && end == line + 2 * (size_t)PATCH_KEY_BYTES &&
	       (strcmp(end, "\n") == 0 || *end == 0);
}

static int read_line(int fd, char ret[LINE_MAX_BYTES])
{
	ssize_t n = read(fd, ret, LINE_MAX_BYTES - 1);

	ret[n > 0 ? n : 0] = 0;
	return n < 0 ? -1 : 0;
}

static int read_secret(int fd, const char *path, struct patch_key *ret, struct err *e)
{
	char line[LINE_MAX_BYTES];
	uint8_t seed[PATCH_KEY_BYTES];
	struct stat st;
	int rc = -1;

	if (fstat(fd, &st) < 0 || read_line(fd, line) < 0)
		err_set_errno(e, "cannot read the key %.200s", path);
	else if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077))
		err_set(e, ERR_REFUSED,
			"the key %.160s can be read by others, who could sign patches: chmod it to 0600, or move "
			"it away and a new one will be made",
			path);
	else if (!parse_line(line, SECRET_WORD, seed))
		err_set(e, ERR_PROTOCOL, "%.200s is not a key: move it away, a new one will be made", path);
	else
		rc = patch_key_from_seed(seed, ret, e);
	sodium_memzero(line, sizeof(line));
	sodium_memzero(seed, sizeof(seed));
	return rc;
}

static bool write_secret(int fd)
{
	char line[LINE_MAX_BYTES] = SECRET_WORD;
	uint8_t seed[PATCH_KEY_BYTES];
	size_t len;
	bool good;

	randombytes_buf(seed, sizeof(seed));
	sodium_bin2hex(line + strlen(line), sizeof(line) - strlen(line), seed, sizeof(seed));
	len = strlen(line);
	line[len++] = '\n';
	good = write(fd, line, len) == (ssize_t)len && fsync(fd) == 0;
	sodium_memzero(line, sizeof(line));
	sodium_memzero(seed, sizeof(seed));
	return good;
}

/* Under another name first: whoever finds the file finds it whole. Another process may be first, whose key then counts. */
static int make_secret(const char *path, struct err *e)
{
	char dir[PATH_MAX], part[PATH_MAX + 16];
	bool good;
	int fd;

	if (paths_state_dir(dir, sizeof(dir), e) < 0 || paths_make_dir(dir, e) < 0)
		return -1;
	snprintf(part, sizeof(part), "%s.XXXXXX", path);
	fd = mkostemp(part, O_CLOEXEC);
	if (fd < 0)
		return err_set_errno(e, "cannot make a key beside %.200s", path);
	good = write_secret(fd) && (link(part, path) == 0 || errno == EEXIST);
	if (!good)
		err_set_errno(e, "cannot make the key %.200s", path);
	close(fd);
	unlink(part);
	return good ? 0 : -1;
}

int patch_key_load(struct patch_key *ret, struct err *e)
{
	char path[PATH_MAX];
	int fd, rc;

	if (ready(e) < 0 || state_path("patch.key", path, e) < 0)
		return -1;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 && errno == ENOENT) {
		if (make_secret(path, e) < 0)
			return -1;
		fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	}
	if (fd < 0)
		return err_set_errno(e, "cannot read the key %.200s", path);
	rc = read_secret(fd, path, ret, e);
	close(fd);
	return rc;
}

static bool is_key_file(int dir, const char *name, const uint8_t public[PATCH_KEY_BYTES])
{
	size_t len = strlen(name);
	char line[LINE_MAX_BYTES];
	uint8_t key[PATCH_KEY_BYTES];
	bool same;
	int fd;

	if (name[0] == '.' || len < 5 || strcmp(name + len - 4, ".pub") != 0)
		return false;
	fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return false;
	same = read_line(fd, line) == 0 && parse_line(line, PUBLIC_WORD, key) && memcmp(key, public, sizeof(key)) == 0;
	close(fd);
	return same;
}

int patch_key_is_trusted(const uint8_t public[PATCH_KEY_BYTES], bool *ret, struct err *e)
{
	struct patch_key own;
	char path[PATH_MAX];
	bool found;
	struct dirent *d;
	DIR *dir;

	if (patch_key_load(&own, e) < 0 || state_path("trusted-keys", path, e) < 0)
		return -1;
	found = memcmp(own.public, public, PATCH_KEY_BYTES) == 0;
	sodium_memzero(&own, sizeof(own));
	dir = found ? NULL : opendir(path);
	if (!found && !dir && errno != ENOENT)
		return err_set_errno(e, "cannot read %.200s", path);
	for (unsigned n = 0; dir && !found && n < TRUSTED_MAX && (d = readdir(dir)); n++)
		found = is_key_file(dirfd(dir), d->d_name, public);
	if (dir)
		closedir(dir);
	*ret = found;
	return 0;
}
