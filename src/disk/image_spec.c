/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What --disk says of an image: see image.h. */
#include "disk/image.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define UNDO_MIB_DEFAULT 1024u
#define UNDO_MIB_MAX (1u << 20)

static int parse_switch(const char *key, const char *value, bool *ret, struct err *e)
{
	if (strcmp(value, "on") != 0 && strcmp(value, "off") != 0)
		return err_set(e, ERR_USAGE, "disk: %s=%.40s: it is on or off", key, value);
	*ret = !strcmp(value, "on");
	return 0;
}

static int parse_format(struct image_spec *s, const char *value, struct err *e)
{
	if (strcmp(value, "raw") != 0 && strcmp(value, "qcow2") != 0)
		return err_set(
			e, ERR_USAGE,
			"disk: format=%.40s: only raw and qcow2 images can be rolled back; make one with `qemu-img "
			"convert -O qcow2`",
			value);
	s->format = !strcmp(value, "raw") ? IMAGE_RAW : IMAGE_QCOW2;
	return 0;
}

static int parse_readonly(struct image_spec *s, const char *value, struct err *e)
{
	return parse_switch("readonly", value, &s->readonly, e);
}

static int parse_id(struct image_spec *s, const char *value, struct err *e)
{
	size_t n = strlen(value);

	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)value[i]) && !strchr("-_.", value[i]))
			n = 0;
	if (!n || n > IMAGE_ID_MAX)
		return err_set(e, ERR_USAGE,
			       "disk: id=%.40s: 1 to %u letters, digits, hyphens, underscores and full stops", value,
			       IMAGE_ID_MAX);
	memcpy(s->id, value, n + 1);
	return 0;
}

static int parse_undo(struct image_spec *s, const char *value, struct err *e)
{
	unsigned long n;
	char *end;

	errno = 0;
	n = strtoul(value, &end, 10);
	if (errno || *end || !isdigit((unsigned char)*value) || !n || n > UNDO_MIB_MAX)
		return err_set(e, ERR_USAGE, "disk: undo=%.40s: a number of MiB, 1 to %u", value, UNDO_MIB_MAX);
	s->undo_mib = (unsigned)n;
	return 0;
}

static const struct {
	const char *key;
	int (*parse)(struct image_spec *s, const char *value, struct err *e);
} keys[] = {{"format", parse_format}, {"readonly", parse_readonly}, {"id", parse_id}, {"undo", parse_undo}};

static int parse_item(struct image_spec *s, char *item, struct err *e)
{
	char *value = strchr(item, '=');

	if (value) {
		*value++ = 0;
		for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
			if (!strcmp(keys[i].key, item))
				return keys[i].parse(s, value, e);
	}
	return err_set(e, ERR_USAGE,
		       "disk: \"%.60s\" is unknown: FILE[,format=raw|qcow2][,readonly=on|off][,id=NAME][,undo=MIB]",
		       item);
}

int image_spec_parse(const char *text, struct image_spec *ret, struct err *e)
{
	struct image_spec s = {.undo_mib = UNDO_MIB_DEFAULT};
	char *copy = strdup(text), *rest = copy, *item;

	if (!copy)
		return err_set_errno(e, "disk");
	strsep(&rest, ",");
	if (!*copy) {
		free(copy);
		return err_set(e, ERR_USAGE, "disk: the name of the image is missing");
	}
	while ((item = strsep(&rest, ","))) {
		if (parse_item(&s, item, e) < 0) {
			free(copy);
			return -1;
		}
	}
	s.file = copy; /* ends at the first comma */
	*ret = s;
	return 0;
}

void image_spec_deinit(struct image_spec *s)
{
	free(s->file);
	*s = (struct image_spec){0};
}
