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

/* "strcpy", "memcpy", "read", "sprintf", "sscanf", ...: a name that callee_known() knows. NULL: none of them. */
const char *behaviour_of_writer(struct machine *m, struct gva function);

/* The same for string and memory functions alone. */
const char *behaviour_of_copy(struct machine *m, struct gva function);

/*
 * Which of printf's family it is like, from where its format is: "printf", "vsnprintf", ... NULL: it stores nothing for a %n.
 * streams: what may be the FILE that it prints to.
 */
const char *behaviour_of_format(struct machine *m, struct gva function, const uint64_t *streams, unsigned n_streams);

/* Whether it does what vsnprintf does, and with four arguments and no more. */
bool behaviour_is_vsnprintf(struct machine *m, struct gva function);

#endif
