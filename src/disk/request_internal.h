/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A request of the guest's disk driver: 16 bytes that say what is wanted, data, and one byte for the answer.
 *
 * The driver cuts these into buffers as it likes; the first part of a chain is read by the device, the rest is written.
 */
#ifndef CLOUDER_DISK_REQUEST_INTERNAL_H
#define CLOUDER_DISK_REQUEST_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "qemu/gmem.h"
#include "vhost/virtq.h"

/* What the driver is told: so many segments of so many bytes each. More in one request is refused. */
#define REQUEST_SEGS_MAX 126u
#define REQUEST_SEG_BYTES 32768u
#define REQUEST_DATA_MAX (REQUEST_SEGS_MAX * REQUEST_SEG_BYTES)
#define REQUEST_HEADER 16u

/* What a request asks for. */
enum request_kind {
	REQUEST_READ,
	REQUEST_WRITE,
	REQUEST_FLUSH,
	REQUEST_GET_ID,
	REQUEST_UNKNOWN, /* of a kind that was not offered */
	REQUEST_WRONG, /* not possible: outside the disk, no whole sectors, too large */
	REQUEST_BROKEN, /* no room for an answer, or not in RAM: the ring stands still */
};

struct request {
	enum request_kind kind;
	uint64_t off; /* bytes, in the disk */
	uint32_t len; /* of data: of a write, or of what can be answered to a read or GET_ID */
};

/*
 * Understands the one chain of the batch. The data of a write are copied to data (REQUEST_DATA_MAX bytes) behind the
 * header, which takes REQUEST_HEADER bytes before it. size: bytes of the disk.
 */
struct request request_parse(const struct virtq_batch *b, const struct gmem *gm, uint64_t size, bool readonly,
			     uint8_t *header_and_data);

/* Called for each stretch of guest memory that was written. */
typedef void request_wrote_fn(void *arg, struct gpa at, size_t len);

/*
 * Writes len bytes of data (at most what the request has room for) and the status byte to the chain. Returns the bytes
 * to be told in the used ring; *ret_ok false: not RAM.
 */
uint32_t request_answer(const struct virtq_batch *b, struct gmem *gm, struct dirty_log *log, const uint8_t *data,
			uint32_t len, uint8_t status, request_wrote_fn *wrote, void *arg, bool *ret_ok);

#endif
