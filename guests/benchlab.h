/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the two processes of the guest's side of the benchmarks agree on. */
#ifndef GUESTS_BENCHLAB_H
#define GUESTS_BENCHLAB_H

/* Where the files lie that are served, and where received ones go. */
#define LAB_FILES "/tmp/www"

/* Serves files of LAB_FILES over HTTP/1.1 (GET, PUT, keep-alive) on a listening socket, for ever. Exit code. */
int lab_http_serve(int listener);

#endif
