/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A ledger on the guest's disk: one line for each request, "N TEXT", numbered from 1, durable before it is answered.
 *
 * The number is kept in /clouder-data/count, which is read and written around the guest's page cache, so that it is the disk's:
 * memory that goes back while the disk does not shows as a gap in the numbers. The lines are in /clouder-data/ledger.
 * Without /clouder-data nothing is written.
 */
#ifndef GUESTS_LEDGER_H
#define GUESTS_LEDGER_H

/* Writes text down, its control and non-ASCII bytes as dots. The text "quit" ends the program. */
void ledger_note(const char *text);

#endif
