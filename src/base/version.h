/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The program's version. */
#ifndef CLOUDER_BASE_VERSION_H
#define CLOUDER_BASE_VERSION_H

#define CLOUDER_VERSION "0.1.0"

#endif
