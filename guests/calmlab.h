/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the parts of the calm lab share: a service without errors that does, with the bytes that it is sent, all that
 * looks like an attack and is none. "echo TRICK TEXT" answers with what the trick made of the text, the same on any machine;
 * "echo list" with the tricks' names.
 */
#ifndef GUESTS_CALMLAB_H
#define GUESTS_CALMLAB_H

#include <stddef.h>

#define CALM_TEXT_MAX 64

#define CALM_NOINLINE __attribute__((noinline))

struct calm_trick {
	const char *name;
	/* text: at most CALM_TEXT_MAX - 1 letters; what it returns is static, or text. */
	const char *(*play)(const char *text);
};

/* The rows of one file, ended by one without name. */
extern const struct calm_trick calm_flow_tricks[], calm_data_tricks[];

/* A static text: a word and a number. */
const char *calm_say(const char *word, long number);
/* Sum of the text's bytes, by a loop. */
long calm_sum(const char *text);

#endif
