/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A process of QEMU's qemu-storage-daemon, which knows the qcow2 format, over one image; requests go to it over NBD.
 *
 * The image's header may be hostile: only this process reads what it leads to. It inherits the image and with it the image's
 * lock, which so is held until the process has ended, whatever becomes of us. When we die it gets SIGTERM, at which it
 * finishes what is under way and writes the metadata that it has in memory. It leaves no file: the socket that it
 * is reached by has no name any more when it starts, so nobody else can.
 */
#ifndef CLOUDER_DISK_STORAGE_INTERNAL_H
#define CLOUDER_DISK_STORAGE_INTERNAL_H

#include <stdbool.h>

#include "base/err.h"

#define STORAGE_EXPORT "disk" /* the NBD export's name */

struct storage;

/*
 * Starts it over the image behind fd, a qcow2 file or block device; nothing is waited for. It dies with the calling thread.
 * *ret_socket: connected to it, the caller's.
 */
int storage_start(int fd, bool readonly, struct storage **ret_s, int *ret_socket, struct err *e) MUST_CHECK;
/* Ends it in order and waits for that: all that it had in memory is in the image. NULL is fine. */
void storage_end(struct storage *s);

/* As storage_end(); why it could not be reached. Returns -1. */
int storage_give_up(struct storage *s, struct err *e);
/* The last line that it wrote to standard error, "" if there is none; good until the next call. */
const char *storage_last_words(struct storage *s);

#endif
