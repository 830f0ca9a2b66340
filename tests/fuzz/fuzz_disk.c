/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzzes what is hostile in a disk: its ring, its requests, what they point to, while it goes back and forth between
 * moments. The input is a program of small steps on one disk: a byte that chooses the step, then the bytes it takes.
 * What a copy of the image says was there at a mark must be there when the disk is back at it.
 */
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ring.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "disk/disk.h"
#include "vhost_peer.h"

#define RAM_SIZE 0x40000u
#define DESC 0x1000u
#define AVAIL 0x2000u
#define USED 0x3000u
#define RING_NUM 16u
#define HEADERS 0x4000u /* 16 bytes each */
#define N_HEADERS 16u
#define BUFFERS 0x8000u
#define DISK_SIZE 0x8600u /* the last block is not a whole one */
#define MARKS 8u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct {
	struct loop *loop;
	int ram_fd, image_fd, peer, kick;
	uint8_t *ram;
	struct gmem *gm;
	struct disks disks;
	struct vhost_session *session;
	struct {
		uint64_t mark;
		uint8_t image[DISK_SIZE];
	} then[MARKS];
	unsigned n_then;
} w;

static void wrote(void *arg, struct gpa at, size_t len)
{
	(void)arg;
	check(len && at.v < RAM_SIZE && len <= RAM_SIZE - at.v);
}

static void regions(void *arg, const struct gmem_region *r, size_t n)
{
	(void)arg;
	check(gmem_set_regions(w.gm, r, n, NULL) == 0);
}

static void session_lost(void *arg, struct vhost_session *s, const struct err *why)
{
	(void)arg, (void)why;
	vhost_session_destroy(s);
	w.session = NULL;
}

static const struct disk_ops ops = {wrote, regions, session_lost};

/* Until the disk has done all that it will do. */
static void settle(void)
{
	struct disk_stats s;

	for (int i = 0; i < 12; i++) {
		disk_get_stats(w.disks.disk[0], &s); /* waits for the thread */
		run_round(w.loop);
	}
}

/* A session as QEMU would start it; guest-physical and QEMU's addresses are the same. */
static void start_session(void)
{
	const uint64_t features = 1ull << 32 | 1 << 28 | 1 << 30 | 1 << VIRTIO_BLK_F_FLUSH;
	const uint64_t table[5] = {1, 0, RAM_SIZE, 0, 0}, addr[5] = {0, DESC, USED, AVAIL, 0}, index = 0;
	const uint32_t num[2] = {0, RING_NUM}, on[2] = {0, 1};
	int sp[2];

	memset(w.ram, 0, HEADERS);
	check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sp) == 0);
	w.peer = sp[0];
	check(vhost_session_create(disk_device(w.disks.disk[0]), sp[1], &w.session, NULL) == 0);
	check(peer_request(w.peer, 2, &features, sizeof(features), -1));
	check(peer_request(w.peer, 5, table, sizeof(table), w.ram_fd));
	check(peer_request(w.peer, 8, num, sizeof(num), -1));
	check(peer_request(w.peer, 9, addr, sizeof(addr), -1));
	check(peer_request(w.peer, 12, &index, sizeof(index), w.kick));
	check(peer_request(w.peer, 18, on, sizeof(on), -1));
	settle();
}

static void stop_session(void)
{
	vhost_session_destroy(w.session);
	w.session = NULL;
	close(w.peer);
}

/* ---- steps ---- */

static void step_memory(struct input *in)
{
	uint16_t at;
	uint8_t len;

	take(in, &at, sizeof(at));
	len = take8(in) % 64;
	take(in, w.ram + at * 4u % (RAM_SIZE - 64), len);
}

/* What is asked for, nearly right. */
static void step_header(struct input *in)
{
	struct virtio_blk_outhdr h = {.type = take8(in) % 12, .sector = take8(in) % (DISK_SIZE / IMAGE_SECTOR + 3)};
	uint8_t slot = take8(in);

	if (slot & 0x80)
		take(in, &h.sector, sizeof(h.sector));
	memcpy(w.ram + HEADERS + slot % N_HEADERS * sizeof(h), &h, sizeof(h));
}

/* A chain of the three usual parts, the middle one of any place and length, from descriptor `slot` on. */
static void step_chain(struct input *in)
{
	uint8_t slot = take8(in) % (RING_NUM - 3), header = take8(in) % N_HEADERS, flags = take8(in);
	struct vring_desc d[3] = {
		{.addr = HEADERS + header * sizeof(struct virtio_blk_outhdr), .len = sizeof(struct virtio_blk_outhdr)},
		{.addr = BUFFERS + take8(in) * 0x80ull, .len = take8(in) * (flags & 8 ? 1u : 512u)},
		{.addr = BUFFERS - 1, .len = 1, .flags = VRING_DESC_F_WRITE}};

	d[0].flags = VRING_DESC_F_NEXT;
	d[0].next = slot + 1u;
	d[1].flags = VRING_DESC_F_NEXT | (flags & 1 ? VRING_DESC_F_WRITE : 0);
	d[1].next = flags & 4 ? slot : slot + 2u;
	memcpy(w.ram + DESC + slot * sizeof(d[0]), d, sizeof(d));
}

static void step_descriptor(struct input *in)
{
	uint8_t slot = take8(in) % RING_NUM, where = take8(in);
	struct vring_desc d = {.addr = BUFFERS + where * 0x300ull, .len = take8(in) * 8u};

	d.flags = take8(in) % 8;
	d.next = take8(in) % (RING_NUM + 1);
	if (where == 255)
		d.addr = RAM_SIZE - 64;
	memcpy(w.ram + DESC + slot * sizeof(d), &d, sizeof(d));
}

static void step_offer(struct input *in)
{
	uint8_t n = take8(in) % 6;
	struct vring_avail *a = (struct vring_avail *)(void *)(w.ram + AVAIL);
	const uint64_t one = 1;

	for (int i = 0; i < n; i++)
		a->ring[a->idx++ % RING_NUM] = take8(in) % (RING_NUM + 1);
	check(write(w.kick, &one, sizeof(one)) == sizeof(one));
	settle();
}

static void step_mark(struct input *in)
{
	uint64_t mark;

	(void)in;
	settle();
	check(disks_mark(&w.disks, &mark, NULL) == 0);
	if (w.n_then == MARKS) {
		memmove(&w.then[0], &w.then[1], (MARKS - 1) * sizeof(w.then[0]));
		w.n_then--;
		disks_forget(&w.disks, w.then[0].mark);
	}
	w.then[w.n_then].mark = mark;
	check(pread(w.image_fd, w.then[w.n_then].image, DISK_SIZE, 0) == DISK_SIZE);
	w.n_then++;
}

/* With a request under way, perhaps. */
static void step_back(struct input *in)
{
	static uint8_t bytes[DISK_SIZE];
	unsigned to = take8(in) % MARKS;

	if (to >= w.n_then)
		return;
	stop_session();
	check(disks_roll_back(&w.disks, w.then[to].mark, NULL) == 0);
	check(pread(w.image_fd, bytes, DISK_SIZE, 0) == DISK_SIZE);
	check(memcmp(bytes, w.then[to].image, DISK_SIZE) == 0);
	w.n_then = to + 1;
	start_session();
}

static void step_restart(struct input *in)
{
	(void)in;
	stop_session();
	start_session();
}

static void (*const steps[])(struct input *in) = {
	step_memory, step_header, step_chain, step_descriptor, step_offer,
	step_offer,  step_mark,	  step_back,  step_restart,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char path[] = "/tmp/clouder-fuzz-XXXXXX";
	const struct image_spec spec = {.file = path, .format = IMAGE_RAW, .undo_mib = 1};
	struct input in = {data, size};

	log_set_level(LOG_LEVEL_ERROR);
	w.n_then = 0;
	w.loop = loop_create(NULL);
	w.ram_fd = memfd_create("ram", MFD_CLOEXEC);
	check(w.loop && w.ram_fd >= 0 && ftruncate(w.ram_fd, RAM_SIZE) == 0);
	check(gmem_create(w.ram_fd, RAM_SIZE, &w.gm, NULL) == 0);
	w.ram = gmem_base(w.gm);
	w.kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	w.image_fd = mkostemp(path, O_CLOEXEC);
	check(w.image_fd >= 0 && ftruncate(w.image_fd, DISK_SIZE) == 0);
	check(disk_create(w.loop, w.gm, &spec, &ops, NULL, &w.disks.disk[0], NULL) == 0);
	w.disks.n = 1;
	start_session();
	while (in.left)
		steps[take8(&in) % (sizeof(steps) / sizeof(steps[0]))](&in);
	settle();
	stop_session();
	disks_destroy(&w.disks);
	loop_destroy(w.loop);
	gmem_destroy(w.gm);
	close(w.kick);
	close(w.ram_fd);
	close(w.image_fd);
	unlink(path);
	return 0;
}
