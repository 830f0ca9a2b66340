/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which function of the C library one without a name is: by what it does to arguments that are made for that, in the
 * miniature processor. (Desclaux and Mougey's Sibyl names the functions of a stripped program so.)
 *
 * A function counts as one of the library's if it does the same to all of several examples; what none of them tells apart is
 * bounded in the same way (memcpy and memmove).
 */
#ifndef CLOUDER_LOCATE_BEHAVIOUR_H
#define CLOUDER_LOCATE_BEHAVIOUR_H

#include <stdbool.h>
#include <stdint.h>

#include "locate/machine.h"

/* What may be a FILE that the function prints to or reads from. */
struct behaviour_streams {
	const uint64_t *at;
	unsigned n;
};

/* "strcpy", "memcpy", "read", "sprintf", "sscanf", "fgets", ...: a name that callee_known() knows. NULL: none of them. */
const char *behaviour_of_writer(struct machine *m, struct gva function, const struct behaviour_streams *streams);

/* The same for string and memory functions alone. */
const char *behaviour_of_copy(struct machine *m, struct gva function);

/* Which of printf's family it is like, from where its format is: "printf", "vsnprintf", ... NULL: it stores nothing for a %n. */
const char *behaviour_of_format(struct machine *m, struct gva function, const struct behaviour_streams *streams);

/* Whether it does what vsnprintf does, and with four arguments and no more. */
bool behaviour_is_vsnprintf(struct machine *m, struct gva function);

#endif
