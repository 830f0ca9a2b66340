/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A library that several services share, with an error. */
#ifndef GUESTS_WIRE_H
#define GUESTS_WIRE_H

#define WIRE_MAX 10

/* The first word of a request's text, as far as there is room for it. */
void wire_clean(const char *text, char ret[WIRE_MAX]);

#endif
