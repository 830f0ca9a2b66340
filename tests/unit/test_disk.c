/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A disk against a front end and a guest driver made by hand: requests, hostile rings, stopping, going back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ring.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "disk/disk_internal.h"
#include "disk/journal.h"
#include "qcow2_image.h"

#define RAM_SIZE 0x1000000u
#define UVA 0x7f0000000000ull /* QEMU's address of guest-physical 0 */
#define DESC 0x1000u
#define AVAIL 0x2000u
#define USED 0x3000u
#define INDIRECT 0x4000u
#define HEADER 0x5000u
#define STATUS 0x5800u
#define DATA 0x100000u
#define RING_NUM 128u
#define DISK_SECTORS 4096u
#define NO_STATUS 0x55

enum {
	GET_FEATURES = 1,
	SET_FEATURES = 2,
	SET_MEM_TABLE = 5,
	SET_VRING_NUM = 8,
	SET_VRING_ADDR,
	SET_VRING_BASE,
	GET_VRING_BASE,
	SET_VRING_KICK,
	SET_VRING_CALL,
	SET_VRING_ERR,
	SET_PROTOCOL_FEATURES = 16,
	SET_VRING_ENABLE = 18,
	GET_CONFIG = 24,
	SET_CONFIG = 25,
};

static char path[64];

static struct {
	struct loop *loop;
	int ram_fd, fd, image_fd;
	uint8_t *ram;
	struct gmem *gm;
	struct image_spec spec;
	struct disks disks;
	struct disk *disk;
	struct vhost_session *s;
	int kick, call, err;
	struct loop_source *call_source;
	bool called;
	uint16_t avail, n_desc;
	uint8_t clean[RAM_SIZE]; /* told to be no input */
	unsigned n_lost;
} w;

/* ---- the world ---- */

static void wrote(void *arg, struct gpa at, size_t len)
{
	(void)arg;
	assert_true(at.v + len <= RAM_SIZE);
	memset(w.clean + at.v, 1, len);
}

static void regions(void *arg, const struct gmem_region *r, size_t n)
{
	struct err e;

	(void)arg;
	assert_int_equal(gmem_set_regions(w.gm, r, n, &e), 0);
}

static void session_lost(void *arg, struct vhost_session *s, const struct err *why)
{
	(void)arg, (void)why;
	w.n_lost++;
	w.s = NULL;
	vhost_session_destroy(s);
}

static const struct disk_ops ops = {wrote, regions, session_lost};

static void called(void *arg, uint32_t events)
{
	uint64_t v;

	(void)arg, (void)events;
	if (read(w.call, &v, sizeof(v)) == sizeof(v))
		w.called = true;
}

static int setup_disk(bool readonly, enum image_format format)
{
	uint32_t *p;
	struct err e;

	memset(&w, 0, sizeof(w));
	snprintf(path, sizeof(path), "/tmp/clouder-test-disk-XXXXXX");
	w.image_fd = mkostemp(path, O_CLOEXEC);
	assert_true(w.image_fd >= 0 && ftruncate(w.image_fd, DISK_SECTORS * 512) == 0);
	p = mmap(NULL, DISK_SECTORS * 512, PROT_READ | PROT_WRITE, MAP_SHARED, w.image_fd, 0);
	assert_true(p != MAP_FAILED);
	for (uint32_t i = 0; i < DISK_SECTORS * 128; i++)
		p[i] = i * 2654435761u;
	munmap(p, DISK_SECTORS * 512);
	if (format == IMAGE_QCOW2)
		assert_int_equal(qcow2_create(path, DISK_SECTORS * 512, ""), 0);
	w.fd = -1;
	w.kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	w.call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	w.err = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	w.ram_fd = memfd_create("ram", MFD_CLOEXEC);
	assert_true(w.ram_fd >= 0 && ftruncate(w.ram_fd, RAM_SIZE) == 0);
	w.loop = loop_create(&e);
	w.call_source = loop_add(w.loop, LOOP_FD_CONTROL, w.call, EPOLLIN, 0, called, NULL, &e);
	assert_non_null(w.call_source);
	assert_int_equal(gmem_create(w.ram_fd, RAM_SIZE, &w.gm, &e), 0);
	w.ram = gmem_base(w.gm);
	w.spec = (struct image_spec){
		.file = path, .format = format, .readonly = readonly, .undo_mib = 64, .id = "a-disk"};
	assert_int_equal(disk_create(w.loop, w.gm, &w.spec, &ops, NULL, &w.disk, &e), 0);
	w.disks = (struct disks){.disk = {w.disk}, .n = 1};
	return 0;
}

static int setup(void **state)
{
	(void)state;
	return setup_disk(false, IMAGE_UNSAID);
}

static int setup_readonly(void **state)
{
	(void)state;
	return setup_disk(true, IMAGE_UNSAID);
}

static int setup_qcow2(void **state)
{
	(void)state;
	return setup_disk(false, IMAGE_QCOW2);
}

static int teardown(void **state)
{
	(void)state;
	disks_destroy(&w.disks);
	loop_remove(&w.call_source);
	loop_destroy(w.loop);
	gmem_destroy(w.gm);
	for (size_t i = 0; i < 6; i++) {
		int fd = (const int[]){w.ram_fd, w.image_fd, w.fd, w.kick, w.call, w.err}[i];

		if (fd >= 0)
			close(fd);
	}
	return unlink(path);
}

static void set_true(void *arg, uint32_t events)
{
	(void)events;
	*(bool *)arg = true;
}

/* Serves what is ready. */
static void one_round(void)
{
	bool done = false;
	struct err e;
	struct loop_source *t = loop_timer_add(w.loop, 0, 0, set_true, &done, &e);

	loop_run_until(w.loop, &done, 0);
	loop_remove(&t);
}

static void settle(void)
{
	for (int i = 0; i < 6; i++)
		one_round();
}

/* ---- front end ---- */

static void message(uint32_t request, const void *payload, uint32_t size, int fd)
{
	uint8_t buf[512];
	uint32_t header[3] = {request, 1, size};
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec iov = {buf, 12 + size};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};

	memcpy(buf, header, 12);
	if (size)
		memcpy(buf + 12, payload, size);
	if (fd >= 0) {
		struct cmsghdr *c;

		mh.msg_control = control.buf;
		mh.msg_controllen = sizeof(control.buf);
		c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(int));
	}
	assert_int_equal(sendmsg(w.fd, &mh, MSG_NOSIGNAL), 12 + size);
}

static void message_u64(uint32_t request, uint64_t v, int fd)
{
	message(request, &v, sizeof(v), fd);
}

static void message_state(uint32_t request, uint32_t num)
{
	uint32_t st[2] = {0, num};

	message(request, st, sizeof(st), -1);
}

/* Receives an answer's payload of this size. */
static void answer(uint32_t request, void *ret, uint32_t size)
{
	uint8_t buf[512];
	uint32_t header[3];

	settle();
	assert_int_equal(recv(w.fd, buf, sizeof(buf), MSG_DONTWAIT), 12 + size);
	memcpy(header, buf, 12);
	assert_int_equal(header[0], request);
	assert_int_equal(header[1], 1 | 4);
	assert_int_equal(header[2], size);
	memcpy(ret, buf + 12, size);
}

static void start_ring(uint32_t base)
{
	struct {
		uint32_t index, flags;
		uint64_t desc, used, avail, log;
	} a = {0, 0, UVA + DESC, UVA + USED, UVA + AVAIL, 0};

	message_state(SET_VRING_NUM, RING_NUM);
	message_state(SET_VRING_BASE, base);
	message(SET_VRING_ADDR, &a, sizeof(a), -1);
	message_u64(SET_VRING_KICK, 0, w.kick);
	message_u64(SET_VRING_CALL, 0, w.call);
	message_u64(SET_VRING_ERR, 0, w.err);
	message_state(SET_VRING_ENABLE, 1);
}

static void start_session(uint16_t base)
{
	struct {
		uint32_t n, padding;
		struct vhost_region r[1];
	} t = {1, 0, {{0, RAM_SIZE, UVA, 0}}};
	struct err e;
	int sp[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sp), 0);
	w.fd = sp[0];
	assert_int_equal(vhost_session_create(disk_device(w.disk), sp[1], &w.s, &e), 0);
	message_u64(SET_PROTOCOL_FEATURES, 1 << 1 | 1 << 3 | 1 << 9, -1);
	message_u64(SET_FEATURES, 1ull << 32 | 1 << 28 | 1 << 30 | 1 << VIRTIO_BLK_F_FLUSH, -1);
	message(SET_MEM_TABLE, &t, sizeof(t), w.ram_fd);
	start_ring(base);
	settle();
	assert_non_null(w.s);
}

/* As the driver has it before it uses the device. */
static void empty_ring(void)
{
	memset(w.ram, 0, 0x6000);
	w.avail = 0;
}

static void stop_session(void)
{
	vhost_session_destroy(w.s);
	w.s = NULL;
	close(w.fd);
	w.fd = -1;
}

/* ---- guest driver ---- */

static struct vring_avail *avail(void)
{
	return (struct vring_avail *)(void *)(w.ram + AVAIL);
}

static const struct vring_used *used(void)
{
	return (const struct vring_used *)(const void *)(w.ram + USED);
}

/* Adds a descriptor to the chain that is being made, from descriptor 0 on. */
static void desc(uint64_t at, uint32_t len, uint16_t flags)
{
	struct vring_desc *d = (struct vring_desc *)(void *)(w.ram + DESC);

	if (w.n_desc)
		d[w.n_desc - 1].flags |= VRING_DESC_F_NEXT, d[w.n_desc - 1].next = w.n_desc;
	d[w.n_desc++] = (struct vring_desc){at, len, flags, 0};
}

static void header(uint32_t type, uint64_t sector)
{
	const struct virtio_blk_outhdr h = {.type = type, .sector = sector};

	memcpy(w.ram + HEADER, &h, sizeof(h));
	w.ram[STATUS] = NO_STATUS;
	w.n_desc = 0;
}

static void offer(uint16_t head)
{
	avail()->ring[w.avail++ % RING_NUM] = head;
	avail()->idx = w.avail;
}

static void kick(void)
{
	const uint64_t one = 1;

	w.called = false;
	assert_int_equal(write(w.kick, &one, sizeof(one)), sizeof(one));
}

/* Sends the chain and waits for the answer; the used length goes to *ret_len. */
static uint8_t send_chain(uint32_t *ret_len)
{
	uint16_t before = used()->idx;

	offer(0);
	kick();
	assert_true(loop_run_until(w.loop, &w.called, 10000));
	assert_int_equal(used()->idx, (uint16_t)(before + 1));
	assert_int_equal(used()->ring[before % RING_NUM].id, 0);
	*ret_len = used()->ring[before % RING_NUM].len;
	assert_int_equal(w.clean[STATUS], 1);
	return w.ram[STATUS];
}

/* A plain request: header, one stretch of data, status. */
static uint8_t request(uint32_t type, uint64_t sector, uint32_t len, bool to_guest)
{
	uint32_t used_len;

	header(type, sector);
	desc(HEADER, 16, 0);
	if (len)
		desc(DATA, len, to_guest ? VRING_DESC_F_WRITE : 0);
	desc(STATUS, 1, VRING_DESC_F_WRITE);
	return send_chain(&used_len);
}

static void fill(uint8_t v, uint32_t len)
{
	memset(w.ram + DATA, v, len);
}

static void check_image(uint64_t sector, uint8_t v, uint32_t len)
{
	static uint8_t bytes[1 << 20];

	assert_int_equal(pread(w.image_fd, bytes, len, (off_t)sector * 512), len);
	for (uint32_t i = 0; i < len; i++)
		assert_int_equal(bytes[i], v);
}

/* ---- tests ---- */

static void test_config(void **state)
{
	struct {
		uint32_t off, size, flags;
		uint8_t bytes[60];
	} c = {0, 60, 0, {0}};
	struct virtio_blk_config b;
	uint64_t features;

	(void)state;
	start_session(0);
	message(GET_CONFIG, &c, sizeof(c), -1);
	answer(GET_CONFIG, &c, sizeof(c));
	assert_int_equal(c.size, 60);
	memcpy(&b, c.bytes, sizeof(c.bytes));
	assert_int_equal(b.capacity, DISK_SECTORS);
	assert_int_equal(b.seg_max, REQUEST_SEGS_MAX);
	assert_int_equal(b.blk_size, 512);
	assert_int_equal(b.num_queues, 1);
	message(SET_CONFIG, &c, sizeof(c), -1); /* changes nothing, and is no error */
	message(GET_FEATURES, NULL, 0, -1);
	answer(GET_FEATURES, &features, sizeof(features));
	assert_true(features & 1 << VIRTIO_BLK_F_FLUSH);
	assert_false(features & 1 << VIRTIO_BLK_F_DISCARD);
	assert_int_equal(!!(features & 1 << VIRTIO_BLK_F_RO), w.spec.readonly);
	c.off = 250;
	message(GET_CONFIG, &c, sizeof(c), -1); /* more than there is */
	settle();
	assert_int_equal(w.n_lost, 1);
}

static void test_requests(void **state)
{
	struct disk_stats s;

	(void)state;
	start_session(0);
	fill(0xab, 8192);
	assert_int_equal(request(VIRTIO_BLK_T_OUT, 7, 8192, false), VIRTIO_BLK_S_OK);
	check_image(7, 0xab, 8192);
	assert_int_equal(request(VIRTIO_BLK_T_FLUSH, 0, 0, false), VIRTIO_BLK_S_OK);
	fill(0, 8192);
	assert_int_equal(request(VIRTIO_BLK_T_IN, 7, 8192, true), VIRTIO_BLK_S_OK);
	for (uint32_t i = 0; i < 8192; i++)
		assert_true(w.ram[DATA + i] == 0xab && w.clean[DATA + i]);
	assert_int_equal(w.clean[DATA + 8192], 0);
	assert_int_equal(request(VIRTIO_BLK_T_IN, DISK_SECTORS - 1, 512, true), VIRTIO_BLK_S_OK);
	assert_int_equal(request(VIRTIO_BLK_T_GET_ID, 0, 20, true), VIRTIO_BLK_S_OK);
	assert_memory_equal(w.ram + DATA, "a-disk\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
	disk_get_stats(w.disk, &s);
	assert_int_equal(s.reads, 2);
	assert_int_equal(s.writes, 1);
	assert_int_equal(s.flushes, 1);
	assert_int_equal(s.read_bytes, 8192 + 512);
	assert_int_equal(s.refused + s.ring_errors + s.io_errors, 0);
}

/* Header, data and status in pieces, as a driver may. */
static void test_pieces(void **state)
{
	uint32_t len;

	(void)state;
	start_session(0);
	for (uint32_t i = 0; i < 1024; i++)
		w.ram[DATA + i * 16] = (uint8_t)i;
	header(VIRTIO_BLK_T_OUT, 100);
	desc(HEADER, 3, 0);
	desc(HEADER + 3, 0, 0);
	desc(HEADER + 3, 13, 0);
	for (uint32_t i = 0; i < 100; i++)
		desc(DATA + i * 16, i < 99 ? 1 : 1024 - 99, 0);
	desc(STATUS, 1, VRING_DESC_F_WRITE);
	assert_int_equal(send_chain(&len), VIRTIO_BLK_S_OK);
	assert_int_equal(len, 1);
	header(VIRTIO_BLK_T_IN, 100);
	desc(HEADER, 16, 0);
	desc(DATA + 0x10000, 1000, VRING_DESC_F_WRITE);
	desc(DATA + 0x20000, 24, VRING_DESC_F_WRITE);
	desc(STATUS, 1, VRING_DESC_F_WRITE);
	assert_int_equal(send_chain(&len), VIRTIO_BLK_S_OK);
	assert_int_equal(len, 1025);
	for (uint32_t i = 0; i < 99; i++)
		assert_int_equal(w.ram[DATA + 0x10000 + i], (uint8_t)i);
	assert_memory_equal(w.ram + DATA + 0x10000 + 99, w.ram + DATA + 99 * 16, 1000 - 99);
	/* The status shares a buffer with data, in an indirect table. */
	header(VIRTIO_BLK_T_IN, 100);
	memcpy(w.ram + INDIRECT,
	       (const struct vring_desc[]){{HEADER, 16, VRING_DESC_F_NEXT, 1},
					   {STATUS - 512, 513, VRING_DESC_F_WRITE, 0}},
	       2 * sizeof(struct vring_desc));
	desc(INDIRECT, 2 * sizeof(struct vring_desc), VRING_DESC_F_INDIRECT);
	assert_int_equal(send_chain(&len), VIRTIO_BLK_S_OK);
	assert_int_equal(len, 513);
	assert_memory_equal(w.ram + STATUS - 512, w.ram + DATA + 0x10000, 512);
}

/* What makes no sense gets an error, changes nothing, and the next request is served. */
static void test_refused(void **state)
{
	static const struct {
		uint32_t type, len;
		uint64_t sector;
		bool to_guest;
		uint8_t status;
	} rows[] = {
		{VIRTIO_BLK_T_OUT, 512, DISK_SECTORS, false, VIRTIO_BLK_S_IOERR},
		{VIRTIO_BLK_T_OUT, 1024, DISK_SECTORS - 1, false, VIRTIO_BLK_S_IOERR},
		{VIRTIO_BLK_T_OUT, 512, UINT64_MAX, false, VIRTIO_BLK_S_IOERR},
		{VIRTIO_BLK_T_OUT, DISK_SECTORS * 512 + 512, 0, false, VIRTIO_BLK_S_IOERR},
		{VIRTIO_BLK_T_OUT, 512, UINT64_MAX / 512, false, VIRTIO_BLK_S_IOERR},
		{VIRTIO_BLK_T_OUT, 511, 0, false, VIRTIO_BLK_S_IOERR},
		{VIRTIO_BLK_T_OUT, 0, 0, false, VIRTIO_BLK_S_IOERR},
		{VIRTIO_BLK_T_OUT, 512, 0, true, VIRTIO_BLK_S_IOERR},
		{VIRTIO_BLK_T_OUT, REQUEST_DATA_MAX + 512, 0, false, VIRTIO_BLK_S_IOERR},
		{VIRTIO_BLK_T_OUT, 0xfffffe00, 0, false, VIRTIO_BLK_S_IOERR},
		{VIRTIO_BLK_T_IN, 512, DISK_SECTORS, true, VIRTIO_BLK_S_IOERR},
		{VIRTIO_BLK_T_IN, 513, 0, true, VIRTIO_BLK_S_IOERR},
		{VIRTIO_BLK_T_IN, 512, 0, false, VIRTIO_BLK_S_IOERR},
		{VIRTIO_BLK_T_IN, REQUEST_DATA_MAX + 512, 0, true, VIRTIO_BLK_S_IOERR},
		{VIRTIO_BLK_T_DISCARD, 16, 0, false, VIRTIO_BLK_S_UNSUPP},
		{VIRTIO_BLK_T_WRITE_ZEROES, 16, 0, false, VIRTIO_BLK_S_UNSUPP},
		{0xffffffff, 512, 0, false, VIRTIO_BLK_S_UNSUPP},
	};
	const size_t n = sizeof(rows) / sizeof(rows[0]);
	static uint8_t before[DISK_SECTORS * 512], after[DISK_SECTORS * 512];
	struct disk_stats s;

	(void)state;
	start_session(0);
	assert_int_equal(pread(w.image_fd, before, sizeof(before), 0), sizeof(before));
	fill(0xee, 1024);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(request(rows[i].type, rows[i].sector, rows[i].len, rows[i].to_guest), rows[i].status);
	assert_int_equal(pread(w.image_fd, after, sizeof(after), 0), sizeof(after));
	assert_memory_equal(before, after, sizeof(before));
	disk_get_stats(w.disk, &s);
	assert_int_equal(s.refused, n);
	assert_int_equal(request(VIRTIO_BLK_T_IN, 0, 512, true), VIRTIO_BLK_S_OK);
}

static void test_readonly(void **state)
{
	(void)state;
	start_session(0);
	fill(0xee, 512);
	assert_int_equal(request(VIRTIO_BLK_T_OUT, 0, 512, false), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(VIRTIO_BLK_T_IN, 0, 512, true), VIRTIO_BLK_S_OK);
	assert_int_equal(request(VIRTIO_BLK_T_FLUSH, 0, 0, false), VIRTIO_BLK_S_OK);
}

/* Rings that break the rules stand still, and nothing else happens. */
static void hostile(int which)
{
	header(VIRTIO_BLK_T_IN, 0);
	switch (which) {
	case 0: /* no room for an answer */
		desc(HEADER, 16, 0);
		break;
	case 1: /* half a header */
		desc(HEADER, 15, 0);
		desc(STATUS, 1, VRING_DESC_F_WRITE);
		break;
	case 2: /* no header */
		desc(STATUS, 1, VRING_DESC_F_WRITE);
		break;
	case 3: /* a header that is not in RAM */
		desc(RAM_SIZE - 8, 16, 0);
		desc(STATUS, 1, VRING_DESC_F_WRITE);
		break;
	case 4: /* data that is not in RAM */
		desc(HEADER, 16, 0);
		desc(RAM_SIZE - 256, 512, VRING_DESC_F_WRITE);
		desc(STATUS, 1, VRING_DESC_F_WRITE);
		break;
	case 5: /* a status that is not in RAM */
		desc(HEADER, 16, 0);
		desc(DATA, 512, VRING_DESC_F_WRITE);
		desc(RAM_SIZE, 1, VRING_DESC_F_WRITE);
		break;
	case 6: /* to be read behind to be written */
		desc(STATUS, 1, VRING_DESC_F_WRITE);
		desc(HEADER, 16, 0);
		break;
	case 7: /* a ring of descriptors */
		desc(HEADER, 16, 0);
		desc(STATUS, 1, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT);
		break;
	case 8: /* a table in a table */
		memcpy(w.ram + INDIRECT, &(const struct vring_desc){INDIRECT, 16, VRING_DESC_F_INDIRECT, 0}, 16);
		desc(INDIRECT, 16, VRING_DESC_F_INDIRECT);
		break;
	case 9: /* data of a write that are not in RAM */
		header(VIRTIO_BLK_T_OUT, 0);
		desc(HEADER, 16, 0);
		desc(UINT64_MAX - 100, 512, 0);
		desc(STATUS, 1, VRING_DESC_F_WRITE);
		break;
	default: /* more offered than the ring has */
		w.avail = (uint16_t)(w.avail + RING_NUM + 1);
	}
}

static void test_hostile(void **state)
{
	static uint8_t before[DISK_SECTORS * 512], after[DISK_SECTORS * 512];

	(void)state;
	assert_int_equal(pread(w.image_fd, before, sizeof(before), 0), sizeof(before));
	for (int which = 0; which <= 10; which++) {
		struct disk_stats s;
		uint64_t v;

		empty_ring();
		start_session(0);
		hostile(which);
		offer(which == 10 ? 0xffff : 0);
		kick();
		one_round();
		while (!(read(w.err, &v, sizeof(v)) == sizeof(v))) /* the disk's thread may have to answer first */
			loop_run_until(w.loop, &w.called, 10);
		assert_int_equal(used()->idx, 0);
		disk_get_stats(w.disk, &s);
		assert_int_equal(s.ring_errors, which + 1);
		kick();
		settle(); /* stands still */
		assert_int_equal(used()->idx, 0);
		stop_session();
	}
	assert_int_equal(pread(w.image_fd, after, sizeof(after), 0), sizeof(after));
	assert_memory_equal(before, after, sizeof(before));
	empty_ring();
	start_session(0); /* a driver that starts anew is served */
	assert_int_equal(request(VIRTIO_BLK_T_IN, 0, 512, true), VIRTIO_BLK_S_OK);
}

/* A large write under way: not told the guest yet. */
static void begin_write(void)
{
	header(VIRTIO_BLK_T_OUT, 0);
	fill(0x77, 1 << 20);
	desc(HEADER, 16, 0);
	desc(DATA, 1 << 20, 0);
	desc(STATUS, 1, VRING_DESC_F_WRITE);
	offer(0);
	kick();
	while (!w.disk->busy && used()->idx == 0)
		one_round();
	disk_freeze(w.disk);
	assert_true(w.disk->busy);
	settle();
	assert_int_equal(w.ram[STATUS], NO_STATUS);
}

static void test_drained(void **state)
{
	uint32_t st[2] = {0, 0};

	(void)state;
	start_session(0);
	begin_write();
	message(GET_VRING_BASE, st, sizeof(st), -1);
	answer(GET_VRING_BASE, st, sizeof(st));
	assert_int_equal(st[1], 1);
	assert_int_equal(used()->idx, 1);
	assert_int_equal(w.ram[STATUS], VIRTIO_BLK_S_OK);
	check_image(0, 0x77, 1 << 20);
}

static void test_frozen(void **state)
{
	(void)state;
	start_session(0);
	begin_write();
	disk_thaw(w.disk);
	assert_true(loop_run_until(w.loop, &w.called, 10000));
	assert_int_equal(w.ram[STATUS], VIRTIO_BLK_S_OK);
}

/* The engine dies with a request under way; the disk goes back, and the next engine is served. */
static void test_rolled_back(void **state)
{
	uint64_t first, second;
	struct err e;

	(void)state;
	start_session(0);
	fill(0x11, 4096);
	assert_int_equal(request(VIRTIO_BLK_T_OUT, 0, 4096, false), VIRTIO_BLK_S_OK);
	assert_int_equal(disks_mark(&w.disks, &first, &e), 0);
	fill(0x22, 4096);
	assert_int_equal(request(VIRTIO_BLK_T_OUT, 0, 4096, false), VIRTIO_BLK_S_OK);
	assert_int_equal(disks_mark(&w.disks, &second, &e), 0);
	stop_session();
	empty_ring();
	start_session(0);
	begin_write();
	stop_session();
	assert_true(disks_can_roll_back(&w.disks, second));
	assert_int_equal(disks_roll_back(&w.disks, second, &e), 0);
	check_image(0, 0x22, 4096);
	assert_int_equal(w.disks.blocks_undone, 256);
	assert_int_equal(disks_roll_back(&w.disks, first, &e), 0);
	check_image(0, 0x11, 4096);
	assert_int_equal(disks_roll_back(&w.disks, second, &e), -1);
	assert_int_equal(e.code, ERR_LIMIT);
	disks_forget(&w.disks, first + 1);
	assert_false(disks_can_roll_back(&w.disks, first));
	disk_thaw(w.disk);
	empty_ring();
	start_session(0);
	assert_int_equal(request(VIRTIO_BLK_T_IN, 0, 512, true), VIRTIO_BLK_S_OK);
	assert_int_equal(w.ram[DATA], 0x11);
}

/* The host cannot: the guest is told so. */
static void test_io_error(void **state)
{
	struct disk_stats s;

	(void)state;
	start_session(0);
	assert_int_equal(ftruncate(w.image_fd, 4096), 0);
	fill(0x5a, 512);
	assert_int_equal(request(VIRTIO_BLK_T_IN, 100, 512, true), VIRTIO_BLK_S_IOERR);
	assert_int_equal(w.ram[DATA], 0x5a);
	assert_int_equal(request(VIRTIO_BLK_T_IN, 0, 512, true), VIRTIO_BLK_S_OK);
	disk_get_stats(w.disk, &s);
	assert_int_equal(s.io_errors, 1);
}

/* The process that has a qcow2 image is gone: the guest is told so, and nothing waits for it. */
static void test_daemon_killed(void **state)
{
	char journal[96];
	uint64_t mark;
	struct err e;

	(void)state;
	start_session(0);
	fill(1, 8192);
	assert_int_equal(request(VIRTIO_BLK_T_OUT, 0, 8192, false), VIRTIO_BLK_S_OK);
	assert_int_equal(disks_mark(&w.disks, &mark, &e), 0);
	fill(2, 8192);
	assert_int_equal(request(VIRTIO_BLK_T_OUT, 0, 8192, false), VIRTIO_BLK_S_OK);
	fill(0, 8192);
	assert_int_equal(request(VIRTIO_BLK_T_IN, 0, 8192, true), VIRTIO_BLK_S_OK);
	assert_int_equal(w.ram[DATA + 8191], 2);
	kill(only_child(), SIGKILL);
	assert_int_equal(request(VIRTIO_BLK_T_IN, 0, 512, true), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(VIRTIO_BLK_T_OUT, 0, 512, false), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(VIRTIO_BLK_T_FLUSH, 0, 0, false), VIRTIO_BLK_S_IOERR);
	stop_session();
	assert_int_equal(disks_roll_back(&w.disks, mark, &e), -1);
	snprintf(journal, sizeof(journal), "%s" JOURNAL_SUFFIX, path);
	assert_int_equal(unlink(journal), 0); /* for who opens it next */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_config, setup, teardown),
		cmocka_unit_test_setup_teardown(test_config, setup_readonly, teardown),
		cmocka_unit_test_setup_teardown(test_requests, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pieces, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_readonly, setup_readonly, teardown),
		cmocka_unit_test_setup_teardown(test_hostile, setup, teardown),
		cmocka_unit_test_setup_teardown(test_drained, setup, teardown),
		cmocka_unit_test_setup_teardown(test_frozen, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rolled_back, setup, teardown),
		cmocka_unit_test_setup_teardown(test_io_error, setup, teardown),
		cmocka_unit_test_setup_teardown(test_daemon_killed, setup_qcow2, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
