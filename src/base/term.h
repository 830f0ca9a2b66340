/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What may be sent to a terminal: colour only where it is wanted, text of others only escaped. */
#ifndef CLOUDER_BASE_TERM_H
#define CLOUDER_BASE_TERM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Whether output to fd may be coloured: a terminal other than "dumb", and NO_COLOR is unset or empty. */
bool term_wants_colour(int fd);

/*
 * Prints the first n bytes of s (up to a NUL). Printable ASCII goes through; a backslash is doubled; every other byte
 * becomes \xNN, so that nothing in s can move the cursor, change colours or reorder text.
 */
void term_print_n(FILE *out, const char *s, size_t n);
void term_print(FILE *out, const char *s);

#endif
