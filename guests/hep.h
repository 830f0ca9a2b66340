/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Packets of the Homer Encapsulation Protocol, version 3, in which SIP messages are sent to a monitor over UDP.
 *
 * Layout, numbers in network byte order: "HEP3", 2 bytes total length, then chunks: 2 bytes vendor (0), 2 bytes type, 2 bytes
 * length with these 6, and the value.
 */
#ifndef GUESTS_HEP_H
#define GUESTS_HEP_H

#include <stddef.h>

#define HEP_PACKET_MAX 8192

/*
 * Sends one SIP INVITE to "ADDRESS:PORT" with this Call-ID, and a header line ("Name: value", no line end) if extra is not
 * NULL. 0, or -1 with one line on standard error.
 */
int hep_send_invite(const char *where, const char *call_id, const char *extra);

#endif
