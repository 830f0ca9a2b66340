/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The back end against a front end and a guest driver made by hand: protocol, rings, origins, hold, replay, hostile rings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <linux/virtio_ring.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/frame_internal.h"
#include "net/net_internal.h"

#define RAM_SIZE 0x100000u
#define HOLE 0x80000u /* guest-physical memory has a hole from here ... */
#define HIGH 0x200000u /* ... and goes on here */
#define UVA 0x7f0000000000ull /* QEMU's address of guest-physical 0 */
#define RING_AT(i) (0x1000u + 0x4000u * (i)) /* descriptors; available and used ring follow at the next pages */
#define RING_NUM 8u
#define BUFFERS 0x10000u
#define INPUT_MAX 65536u
#define NOT_REPORTED 0xffffffffu

#define F_BASE ((1ull << 32) | (1 << 15) | (1 << 28) | (1 << 30))
#define F_LOG_ALL (1ull << 26)

enum {
	GET_FEATURES = 1,
	SET_FEATURES,
	SET_OWNER,
	RESET_OWNER,
	SET_MEM_TABLE,
	SET_LOG_BASE,
	SET_LOG_FD,
	SET_VRING_NUM,
	SET_VRING_ADDR,
	SET_VRING_BASE,
	GET_VRING_BASE,
	SET_VRING_KICK,
	SET_VRING_CALL,
	SET_VRING_ERR,
	GET_PROTOCOL_FEATURES,
	SET_PROTOCOL_FEATURES,
	GET_QUEUE_NUM,
	SET_VRING_ENABLE,
	SEND_RARP,
};

struct engine {
	int fd; /* the front end's side */
	struct vhost_session *s;
	int kick[2], call[2], err[2];
	uint16_t avail[2]; /* the driver's index */
};

/* One world for each test. */
static struct {
	struct loop *loop;
	int ram_fd;
	uint8_t *ram;
	struct gmem *gm;
	struct net *net;
	struct engine eng[2];
	uint32_t origin[RAM_SIZE]; /* as reported, by offset in the RAM file */
	uint8_t sent[16][2048];
	size_t sent_len[16];
	uint64_t naps; /* what ops->naps() says */
	unsigned n_held, n_full; /* times that output was said to wait, and not to fit any more */
	unsigned n_sent, n_asked, n_regions, n_replayed, n_lost;
	uint64_t asked[16], told_when_asked;
	bool deny, is_replayed;
	struct err lost;
} w;

static uint64_t take(int fd)
{
	uint64_t v = 0;

	return read(fd, &v, sizeof(v)) == sizeof(v) ? v : 0;
}

static bool may_deliver(void *arg, uint64_t seq)
{
	(void)arg;
	w.asked[w.n_asked++ % 16] = seq;
	w.told_when_asked = take(w.eng[0].call[0]);
	return !w.deny;
}

static void input(void *arg, struct gpa at, const uint8_t *bytes, size_t len, uint32_t origin)
{
	uint8_t ram[INPUT_MAX];

	(void)arg;
	assert_true(len <= sizeof(ram) && gmem_read(w.gm, at, ram, len));
	assert_memory_equal(ram, bytes, len);
	for (size_t i = 0; i < len; i++) {
		uint64_t off;

		assert_true(gmem_to_offset(w.gm, gpa_add(at, i), &off));
		w.origin[off] = origin ? origin + (uint32_t)i : 0;
	}
}

static void regions(void *arg, const struct gmem_region *r, size_t n)
{
	struct err e;

	(void)arg;
	w.n_regions++;
	assert_int_equal(gmem_set_regions(w.gm, r, n, &e), 0);
}

static void replayed(void *arg)
{
	(void)arg;
	w.n_replayed++;
	w.is_replayed = true;
}

static void session_lost(void *arg, struct vhost_session *s, const struct err *why)
{
	(void)arg;
	w.n_lost++;
	w.lost = *why;
	for (int i = 0; i < 2; i++)
		if (w.eng[i].s == s)
			w.eng[i].s = NULL;
	vhost_session_destroy(s); /* inside its own handler: must be possible */
}

static void held(void *arg, bool full)
{
	(void)arg;
	w.n_held++;
	w.n_full += full;
}

static uint64_t naps(void *arg)
{
	(void)arg;
	return w.naps;
}

static const struct net_ops ops = {
	.may_deliver = may_deliver,
	.input = input,
	.regions = regions,
	.naps = naps,
	.replayed = replayed,
	.held = held,
	.session_lost = session_lost,
};

static int uplink_create(struct net *n, struct loop *l, const struct uplink_config *c, void **ret, struct err *e)
{
	(void)l, (void)c, (void)e;
	*ret = n;
	return 0;
}

static void uplink_destroy(void *uplink)
{
	(void)uplink;
}

static void uplink_send(void *uplink, const uint8_t *frame, size_t len)
{
	(void)uplink;
	assert_true(len <= sizeof(w.sent[0]));
	memcpy(w.sent[w.n_sent % 16], frame, len);
	w.sent_len[w.n_sent++ % 16] = len;
}

static const struct uplink_ops uplink = {
	.name = "test",
	.create = uplink_create,
	.destroy = uplink_destroy,
	.send = uplink_send,
};

static int setup_limit(size_t limit)
{
	const struct uplink_config c = {.ops = &uplink};
	struct err e;

	memset(&w, 0, sizeof(w));
	memset(w.origin, 0xff, sizeof(w.origin));
	memset(w.eng, 0xff, sizeof(w.eng));
	w.eng[0].s = w.eng[1].s = NULL;
	w.ram_fd = memfd_create("ram", MFD_CLOEXEC);
	assert_true(w.ram_fd >= 0 && ftruncate(w.ram_fd, RAM_SIZE) == 0);
	w.loop = loop_create(&e);
	assert_int_equal(gmem_create(w.ram_fd, RAM_SIZE, &w.gm, &e), 0);
	w.ram = gmem_base(w.gm);
	assert_int_equal(net_create_uplink(w.loop, w.gm, &c, limit, &ops, NULL, &w.net, &e), 0);
	return 0;
}

static int setup(void **state)
{
	(void)state;
	return setup_limit(1 << 20);
}

static int teardown(void **state)
{
	(void)state;
	net_destroy(w.net);
	loop_destroy(w.loop);
	gmem_destroy(w.gm);
	close(w.ram_fd);
	for (int i = 0; i < 2; i++) {
		if (w.eng[i].fd >= 0)
			close(w.eng[i].fd);
		for (int k = 0; k < 2; k++)
			if (w.eng[i].kick[k] >= 0)
				close(w.eng[i].kick[k]), close(w.eng[i].call[k]), close(w.eng[i].err[k]);
	}
	return 0;
}

static void set_true(void *arg, uint32_t events)
{
	(void)events;
	*(bool *)arg = true;
}

/* Serves what is ready. All that happens here is ready at once, so some rounds without waiting are enough. */
static void settle(void)
{
	for (int i = 0; i < 6; i++) {
		bool done = false;
		struct err e;
		struct loop_source *t = loop_timer_add(w.loop, 0, 0, set_true, &done, &e);

		loop_run_until(w.loop, &done, 0);
		loop_remove(&t);
	}
}

/* ---- front end ---- */

static void engine_connect(struct engine *g)
{
	int sp[2];
	struct err e;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sp), 0);
	g->fd = sp[0];
	assert_int_equal(vhost_session_create(net_device(w.net), sp[1], &g->s, &e), 0);
	for (int i = 0; i < 2; i++) {
		g->avail[i] = 0;
		g->kick[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		g->call[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		g->err[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	}
}

static void send_raw(const struct engine *g, const void *data, size_t len, const int *fds, size_t n_fds)
{
	union {
		char buf[CMSG_SPACE(16 * sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec iov = {(void *)(uintptr_t)data, len};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};

	if (n_fds) {
		struct cmsghdr *c;

		mh.msg_control = control.buf;
		mh.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
	}
	assert_int_equal(sendmsg(g->fd, &mh, MSG_NOSIGNAL), len);
}

static void message(const struct engine *g, uint32_t request, const void *payload, uint32_t size, const int *fds,
		    size_t n_fds)
{
	uint8_t buf[512];
	uint32_t header[3] = {request, 1, size};

	memcpy(buf, header, 12);
	if (size)
		memcpy(buf + 12, payload, size);
	send_raw(g, buf, 12 + size, fds, n_fds);
}

static void message_u64(const struct engine *g, uint32_t request, uint64_t v)
{
	message(g, request, &v, sizeof(v), NULL, 0);
}

static void message_state(const struct engine *g, uint32_t request, uint32_t index, uint32_t num)
{
	uint32_t st[2] = {index, num};

	message(g, request, st, sizeof(st), NULL, 0);
}

static void message_fd(const struct engine *g, uint32_t request, uint64_t index, int fd)
{
	message(g, request, &index, sizeof(index), &fd, 1);
}

static uint64_t answer(const struct engine *g, uint32_t request)
{
	struct {
		uint32_t request, flags, size;
		uint8_t payload[8];
	} a;
	uint64_t v;

	settle();
	assert_int_equal(recv(g->fd, &a, sizeof(a), MSG_DONTWAIT), sizeof(a));
	assert_int_equal(a.request, request);
	assert_int_equal(a.flags, 1 | 4);
	assert_int_equal(a.size, 8);
	memcpy(&v, a.payload, 8);
	return v;
}

static void negotiate(const struct engine *g, uint64_t features)
{
	message_u64(g, SET_PROTOCOL_FEATURES, 1 << 1 | 1 << 2);
	message(g, SET_OWNER, NULL, 0, NULL, 0);
	message_u64(g, SET_FEATURES, features);
}

static void send_mem_table(const struct engine *g, int fd0, int fd1)
{
	struct {
		uint32_t n, padding;
		struct vhost_region r[2];
	} t = {2, 0, {{HIGH, RAM_SIZE - HOLE, UVA + HIGH, HOLE}, {0, HOLE, UVA, 0}}};
	int fds[2] = {fd0, fd1};

	message(g, SET_MEM_TABLE, &t, sizeof(t), fds, 2);
}

static void send_addr(const struct engine *g, uint32_t i)
{
	struct {
		uint32_t index, flags;
		uint64_t desc, used, avail, log;
	} a = {i, 0, UVA + RING_AT(i), UVA + RING_AT(i) + 0x2000, UVA + RING_AT(i) + 0x1000, 0};

	message(g, SET_VRING_ADDR, &a, sizeof(a), NULL, 0);
}

static void start_ring(struct engine *g, uint32_t i, uint32_t base)
{
	message_state(g, SET_VRING_NUM, i, RING_NUM);
	message_state(g, SET_VRING_BASE, i, base);
	send_addr(g, i);
	message_fd(g, SET_VRING_KICK, i, g->kick[i]);
	message_fd(g, SET_VRING_CALL, i, g->call[i]);
	message_fd(g, SET_VRING_ERR, i, g->err[i]);
	message_state(g, SET_VRING_ENABLE, i, 1);
}

static void start(struct engine *g, uint64_t features)
{
	negotiate(g, features);
	send_mem_table(g, w.ram_fd, w.ram_fd);
	start_ring(g, 0, 0);
	start_ring(g, 1, 0);
	settle();
	assert_non_null(g->s);
}

static void connect_and_start(struct engine *g, uint64_t features)
{
	engine_connect(g);
	start(g, features);
}

/* ---- guest driver ---- */

static uint8_t *at(uint64_t gpa_)
{
	return w.ram + (gpa_ >= HIGH ? gpa_ - HIGH + HOLE : gpa_);
}

static struct vring_desc *descs(int ring)
{
	return (struct vring_desc *)(void *)at(RING_AT(ring));
}

static struct vring_avail *avail(int ring)
{
	return (struct vring_avail *)(void *)at(RING_AT(ring) + 0x1000);
}

static struct vring_used *used(int ring)
{
	return (struct vring_used *)(void *)at(RING_AT(ring) + 0x2000);
}

static void set_desc(struct vring_desc *d, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
	*d = (struct vring_desc){addr, len, flags, next};
}

static void offer(struct engine *g, int ring, uint16_t head)
{
	avail(ring)->ring[g->avail[ring]++ % RING_NUM] = head;
	avail(ring)->idx = g->avail[ring];
}

static void kick(const struct engine *g, int ring)
{
	const uint64_t one = 1;

	assert_int_equal(write(g->kick[ring], &one, sizeof(one)), sizeof(one));
	settle();
}

/* n receive buffers of len bytes, one descriptor each, 4096 bytes apart. */
static void offer_buffers(struct engine *g, unsigned n, uint32_t len)
{
	for (unsigned i = 0; i < n; i++) {
		set_desc(&descs(0)[i], BUFFERS + 4096u * i, len, VRING_DESC_F_WRITE, 0);
		offer(g, 0, (uint16_t)i);
	}
	kick(g, 0);
}

/* ---- frames ---- */

/* Ethernet, IPv4 and TCP headers (54 bytes), n bytes of payload, then padding. */
static size_t tcp_frame(uint8_t *f, size_t n, size_t padding)
{
	size_t ip = 40 + n;

	memset(f, 0, 54);
	memcpy(f + 12, "\x08\x00\x45", 3);
	f[16] = (uint8_t)(ip >> 8);
	f[17] = (uint8_t)ip;
	f[23] = 6;
	memcpy(f + 26, "\x0a\x00\x02\x02\x0a\x00\x02\x0f\x12\x34\x00\x07", 12);
	f[46] = 0x50;
	for (size_t i = 0; i < n; i++)
		f[54 + i] = (uint8_t)(i * 7 + n);
	memset(f + 54 + n, 0xee, padding);
	return 54 + n + padding;
}

static void frame_in(size_t n, size_t padding)
{
	uint8_t f[2048];

	net_uplink_frame(w.net, f, tcp_frame(f, n, padding));
	settle();
}

static void arp_in(void)
{
	uint8_t f[60] = {[12] = 0x08, [13] = 0x06};

	net_uplink_frame(w.net, f, sizeof(f));
	settle();
}

static struct net_stats stats(void)
{
	struct net_stats s;

	net_get_stats(w.net, &s);
	return s;
}

/* ---- tests ---- */

static void test_features(void **state)
{
	struct engine *g = &w.eng[0];
	uint64_t f;

	(void)state;
	engine_connect(g);
	message(g, GET_FEATURES, NULL, 0, NULL, 0);
	assert_int_equal(answer(g, GET_FEATURES), F_BASE | F_LOG_ALL);
	message(g, GET_PROTOCOL_FEATURES, NULL, 0, NULL, 0);
	f = answer(g, GET_PROTOCOL_FEATURES);
	assert_true(f & 1 << 1); /* LOG_SHMFD: else no migration */
	assert_false(f & 1 << 19); /* DEVICE_STATE: else a checkpoint asks this side to migrate */
	message(g, GET_QUEUE_NUM, NULL, 0, NULL, 0);
	assert_int_equal(answer(g, GET_QUEUE_NUM), 1);
	message_u64(g, SET_PROTOCOL_FEATURES, 1 << 3);
	send_raw(g, "\x03\0\0\0\x09\0\0\0\0\0\0\0", 12, NULL, 0); /* SET_OWNER, an answer is asked for */
	assert_int_equal(answer(g, SET_OWNER), 0);
	send_raw(g, "\x03\0\0\0", 4, NULL, 0); /* in pieces */
	settle();
	send_raw(g, "\x09\0\0\0\0\0\0\0", 8, NULL, 0);
	assert_int_equal(answer(g, SET_OWNER), 0);
	send_raw(g, "\x02\0\0\0\x09\0\0\0\x08\0\0\0\x01\0\0\0\0\0\0\0", 20, NULL, 0);
	assert_int_equal(answer(g, SET_FEATURES), 1); /* refused */
	assert_int_equal(w.n_lost, 1);
}

static void test_rx_merged(void **state)
{
	static const uint32_t head[3] = {0, 4, 5};
	struct engine *g = &w.eng[0];
	uint8_t f[512], got[512];
	size_t len = tcp_frame(f, 150, 5), n = 0;
	uint16_t buffers;

	(void)state;
	connect_and_start(g, F_BASE);
	/* Chain 0: 10 + 2 + 50 bytes in three pieces; chain 4: 100; chain 5: 300, in the high region. */
	set_desc(&descs(0)[0], BUFFERS, 10, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 2);
	set_desc(&descs(0)[2], BUFFERS + 0x1001, 2, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 1);
	set_desc(&descs(0)[1], BUFFERS + 0x2000, 50, VRING_DESC_F_WRITE, 0);
	set_desc(&descs(0)[4], BUFFERS + 0x3ff0, 100, VRING_DESC_F_WRITE, 0);
	set_desc(&descs(0)[5], HIGH + 0x5000, 300, VRING_DESC_F_WRITE, 0);
	for (int i = 0; i < 3; i++)
		offer(g, 0, (uint16_t)head[i]);
	take(g->call[0]);
	frame_in(150, 5);
	assert_int_equal(used(0)->idx, 3);
	assert_int_equal(take(g->call[0]), 1);
	for (int i = 0; i < 3; i++)
		assert_int_equal(used(0)->ring[i].id, head[i]);
	assert_int_equal(used(0)->ring[0].len, 62);
	assert_int_equal(used(0)->ring[1].len, 100);
	assert_int_equal(used(0)->ring[2].len, 12 + len - 162);
	assert_memory_equal(at(BUFFERS), "\0\0\0\0\0\0\0\0\0\0", 10);
	memcpy(&buffers, at(BUFFERS + 0x1001), 2);
	assert_int_equal(buffers, 3);
	memcpy(got, at(BUFFERS + 0x2000), 50);
	memcpy(got + 50, at(BUFFERS + 0x3ff0), 100);
	memcpy(got + 150, at(HIGH + 0x5000), len - 150);
	assert_memory_equal(got, f, len);
	/* Every byte of the packet was reported: payload with its origin, all else clean; no other byte was. */
	for (size_t i = 0; i < RAM_SIZE; i++)
		n += w.origin[i] != NOT_REPORTED;
	assert_int_equal(n, 12 + len);
	for (size_t i = 0; i < len; i++) {
		const uint8_t *p = i < 50    ? at(BUFFERS + 0x2000 + i)
				   : i < 150 ? at(BUFFERS + 0x3ff0 + i - 50)
					     : at(HIGH + 0x5000 + i - 150);
		uint32_t want = i >= 54 && i < 204 ? 1 + (uint32_t)(i - 54) : 0;

		assert_int_equal(w.origin[p - w.ram], want);
	}
	assert_int_equal(stats().rx_payload_bytes, 150);
}

static void test_rx_waits_for_buffers(void **state)
{
	struct engine *g = &w.eng[0];

	(void)state;
	frame_in(10, 0); /* before any session: queued */
	connect_and_start(g, F_BASE);
	assert_int_equal(used(0)->idx, 0);
	assert_int_equal(net_position(w.net), 1);
	avail(0)->flags = VRING_AVAIL_F_NO_INTERRUPT;
	take(g->call[0]);
	offer_buffers(g, 1, 40); /* too small alone */
	assert_int_equal(used(0)->idx, 0);
	set_desc(&descs(0)[1], BUFFERS + 4096, 200, VRING_DESC_F_WRITE, 0);
	offer(g, 0, 1);
	kick(g, 0);
	assert_int_equal(used(0)->idx, 2);
	assert_int_equal(net_position(w.net), 2);
	assert_int_equal(take(g->call[0]), 0); /* the driver did not want to hear of it */
}

static void test_rx_too_large(void **state)
{
	struct engine *g = &w.eng[0];

	(void)state;
	connect_and_start(g, F_BASE);
	offer_buffers(g, RING_NUM, 20);
	frame_in(200, 0); /* more than the whole ring takes: dropped, the next goes on */
	assert_int_equal(used(0)->idx, 0);
	assert_int_equal(stats().dropped, 1);
	frame_in(20, 0);
	assert_int_equal(used(0)->idx, 5);
	assert_int_equal(stats().ring_errors, 0);
	assert_int_equal(stats().rx_frames, 1);
}

static void test_tx(void **state)
{
	struct vring_desc *table = (struct vring_desc *)(void *)at(0x9000);
	struct engine *g = &w.eng[0];
	uint8_t packet[112] = {0};

	(void)state;
	connect_and_start(g, F_BASE);
	for (size_t i = 12; i < sizeof(packet); i++)
		packet[i] = (uint8_t)i;
	/* header in a piece of its own, then the frame in two */
	memcpy(at(BUFFERS), packet, 12);
	memcpy(at(BUFFERS + 0x1000), packet + 12, 60);
	memcpy(at(HIGH), packet + 72, 40);
	set_desc(&descs(1)[3], BUFFERS, 12, VRING_DESC_F_NEXT, 0);
	set_desc(&descs(1)[0], BUFFERS + 0x1000, 60, VRING_DESC_F_NEXT, 7);
	set_desc(&descs(1)[7], HIGH, 40, 0, 0);
	/* the same through an indirect table, header and data joined */
	memcpy(at(BUFFERS + 0x3000), packet, 72);
	set_desc(&table[0], BUFFERS + 0x3000, 72, VRING_DESC_F_NEXT, 2);
	set_desc(&table[2], HIGH, 40, 0, 0);
	set_desc(&descs(1)[4], 0x9000, 3 * 16, VRING_DESC_F_INDIRECT, 0);
	offer(g, 1, 3);
	offer(g, 1, 4);
	take(g->call[1]);
	kick(g, 1);
	assert_int_equal(w.n_sent, 2);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(w.sent_len[i], 100);
		assert_memory_equal(w.sent[i], packet + 12, 100);
	}
	assert_int_equal(used(1)->idx, 2);
	assert_int_equal(used(1)->ring[0].id, 3);
	assert_int_equal(used(1)->ring[1].id, 4);
	assert_int_equal(take(g->call[1]), 1);
	assert_int_equal(stats().tx_bytes, 200);
}

static struct vring_desc *table_at_buffers(void)
{
	return (struct vring_desc *)(void *)at(BUFFERS);
}

/* With nothing else wrong, the ring would take it. */
static void good_buffer(struct vring_desc *d, int ring)
{
	set_desc(d, BUFFERS + 0x1000, 400, ring ? 0 : VRING_DESC_F_WRITE, 0);
}

/* What a hostile driver writes into descriptor 0 (and more) of a ring; the head offered is 0 unless said. */
static void loop_of_two(int r)
{
	uint16_t f = r ? 0 : VRING_DESC_F_WRITE;

	set_desc(&descs(r)[0], BUFFERS, 16, f | VRING_DESC_F_NEXT, 1);
	set_desc(&descs(r)[1], BUFFERS, 16, f | VRING_DESC_F_NEXT, 0);
}
static void next_outside(int r)
{
	set_desc(&descs(r)[0], BUFFERS, 16, (r ? 0 : VRING_DESC_F_WRITE) | VRING_DESC_F_NEXT, RING_NUM);
}
static void hole(int r)
{
	set_desc(&descs(r)[0], HOLE - 16, 400, r ? 0 : VRING_DESC_F_WRITE, 0);
}
static void address_wraps(int r)
{
	set_desc(&descs(r)[0], UINT64_MAX - 8, 400, r ? 0 : VRING_DESC_F_WRITE, 0);
}
static void huge(int r)
{
	set_desc(&descs(r)[0], HIGH + 0x40000, UINT32_MAX, r ? 0 : VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, RING_NUM);
}
static void wrong_direction(int r)
{
	set_desc(&descs(r)[0], BUFFERS, 400, r ? VRING_DESC_F_WRITE : 0, 0);
}
static void no_header(int r)
{
	set_desc(&descs(r)[0], BUFFERS, 8, r ? 0 : VRING_DESC_F_WRITE, 0);
}
static void indirect_in_hole(int r)
{
	set_desc(&descs(r)[0], HOLE, 16, VRING_DESC_F_INDIRECT, 0);
}
static void indirect_odd(int r)
{
	good_buffer(table_at_buffers(), r);
	set_desc(&descs(r)[0], BUFFERS, 17, VRING_DESC_F_INDIRECT, 0);
}
static void indirect_empty(int r)
{
	good_buffer(table_at_buffers(), r);
	set_desc(&descs(r)[0], BUFFERS, 0, VRING_DESC_F_INDIRECT, 0);
}
static void indirect_huge(int r)
{
	good_buffer(table_at_buffers(), r);
	set_desc(&descs(r)[0], BUFFERS, 16 * (VIRTQ_SIZE_MAX + 1), VRING_DESC_F_INDIRECT, 0);
}
static void indirect_nested(int r)
{
	struct vring_desc *table = table_at_buffers();

	good_buffer(&table[0], r);
	table[0].flags |= VRING_DESC_F_NEXT;
	table[0].next = 1;
	set_desc(&table[1], BUFFERS + 64, 16, VRING_DESC_F_INDIRECT, 0);
	good_buffer(&table[4], r);
	set_desc(&descs(r)[0], BUFFERS, 32, VRING_DESC_F_INDIRECT, 0);
}
static void indirect_loop(int r)
{
	struct vring_desc *table = table_at_buffers();

	set_desc(table, BUFFERS + 64, 16, (r ? 0 : VRING_DESC_F_WRITE) | VRING_DESC_F_NEXT, 0);
	set_desc(&descs(r)[0], BUFFERS, 16, VRING_DESC_F_INDIRECT, 0);
}
static void indirect_and_next(int r)
{
	good_buffer(table_at_buffers(), r);
	set_desc(&descs(r)[0], BUFFERS, 16, VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT, 1);
}
static void head_outside(int r)
{
	avail(r)->ring[0] = RING_NUM;
}
static void index_jumps(int r)
{
	good_buffer(&descs(r)[0], r);
	avail(r)->idx = RING_NUM + 1;
}

static void (*const hostile[])(int ring) = {
	loop_of_two,
	next_outside,
	hole,
	address_wraps,
	huge,
	wrong_direction,
	no_header,
	indirect_odd,
	indirect_empty,
	indirect_huge,
	indirect_nested,
	indirect_loop,
	indirect_in_hole,
	head_outside,
	indirect_and_next,
	index_jumps,
};

/* Each mistake stops its ring, is counted, and after a restart the ring works again. */
static void check_hostile(int ring)
{
	struct engine *g = &w.eng[0];

	for (size_t i = 0; i < sizeof(hostile) / sizeof(hostile[0]); i++) {
		setup(NULL);
		connect_and_start(g, F_BASE);
		offer(g, ring, 0);
		hostile[i](ring);
		frame_in(100, 0);
		kick(g, ring);
		kick(g, ring);
		if (stats().ring_errors != 1 || w.n_sent || used(ring)->idx || !take(g->err[ring]))
			fail_msg("case %zu: %lu errors, %u sent, used %u", i, (unsigned long)stats().ring_errors,
				 w.n_sent, used(ring)->idx);
		message_state(g, GET_VRING_BASE, (uint32_t)ring, 0);
		assert_int_equal(answer(g, GET_VRING_BASE) >> 32, 0);
		set_desc(&descs(ring)[0], BUFFERS, 500, ring ? 0 : VRING_DESC_F_WRITE, 0);
		avail(ring)->ring[0] = 0;
		avail(ring)->idx = 1;
		start_ring(g, (uint32_t)ring, 0);
		settle();
		assert_int_equal(used(ring)->idx, 1);
		assert_int_equal(stats().ring_errors, 1);
		teardown(NULL);
	}
}

static void test_hostile_rx(void **state)
{
	(void)state;
	check_hostile(0);
}

static void test_hostile_tx(void **state)
{
	(void)state;
	check_hostile(1);
}

/* Rings whose parts lie where there is no memory. */
static void test_ring_in_hole(void **state)
{
	struct engine *g = &w.eng[0];
	struct {
		uint32_t index, flags;
		uint64_t desc, used, avail, log;
	} a = {1, 0, UVA + HOLE - 16, UVA + RING_AT(1) + 0x2000, UVA + HOLE - 6, 0};

	(void)state;
	connect_and_start(g, F_BASE);
	message(g, SET_VRING_ADDR, &a, sizeof(a), NULL, 0);
	settle();
	*(uint16_t *)(void *)at(HOLE - 4) = 2;
	*(uint16_t *)(void *)at(HOLE - 2) = 1;
	kick(g, 1);
	assert_int_equal(stats().ring_errors, 1);
	a.desc = UVA + HOLE; /* not even its beginning is in the table */
	message(g, SET_VRING_ADDR, &a, sizeof(a), NULL, 0);
	settle();
	assert_int_equal(w.n_lost, 1);
	assert_int_equal(w.lost.code, ERR_PROTOCOL);
}

static void test_hold(void **state)
{
	struct engine *g = &w.eng[0];

	(void)state;
	connect_and_start(g, F_BASE);
	offer_buffers(g, 8, 400);
	w.deny = true;
	arp_in();
	frame_in(0, 6); /* TCP without payload */
	assert_int_equal(w.n_asked, 0);
	assert_int_equal(used(0)->idx, 2);
	take(g->call[0]);
	frame_in(10, 0);
	arp_in(); /* behind the held one: waits too */
	kick(g, 0);
	assert_int_equal(w.n_asked, 1);
	assert_int_equal(w.asked[0], 3);
	assert_int_equal(used(0)->idx, 2);
	net_resume(w.net);
	settle();
	assert_int_equal(w.n_asked, 2); /* still no */
	w.deny = false;
	settle();
	assert_int_equal(w.n_asked, 2);
	net_resume(w.net);
	settle();
	assert_int_equal(w.n_asked, 3);
	assert_int_equal(used(0)->idx, 4);
	assert_int_equal(stats().held, 1);
	assert_int_equal(take(g->call[0]), 1);
}

/* Frames given before one that must wait: the guest is told of them before the supervisor is asked. */
static void test_told_before_asked(void **state)
{
	const uint8_t arp[60] = {[12] = 0x08, [13] = 0x06};
	struct engine *g = &w.eng[0];
	uint8_t f[64];

	(void)state;
	connect_and_start(g, F_BASE);
	offer_buffers(g, 2, 400);
	net_uplink_frame(w.net, arp, sizeof(arp));
	net_uplink_frame(w.net, f, tcp_frame(f, 10, 0));
	settle();
	assert_int_equal(w.told_when_asked, 1);
	assert_int_equal(take(g->call[0]), 1);
}

/* A driver of before virtio 1: a shorter header, one buffer for each frame, and no indirect tables. */
static void test_old_driver(void **state)
{
	struct engine *g = &w.eng[0];

	(void)state;
	connect_and_start(g, 1 << 30);
	offer_buffers(g, 2, 70);
	frame_in(10, 0); /* 10 + 64 bytes do not fit */
	assert_int_equal(stats().dropped, 1);
	frame_in(6, 0);
	assert_int_equal(used(0)->idx, 1);
	assert_int_equal(used(0)->ring[0].len, 70);
	assert_int_equal(*at(BUFFERS + 10 + 54), 6); /* first byte of payload */
	set_desc(&descs(1)[0], BUFFERS + 0x8000, 110, 0, 0);
	offer(g, 1, 0);
	kick(g, 1);
	assert_int_equal(w.sent_len[0], 100);
	good_buffer(table_at_buffers(), 1);
	set_desc(&descs(1)[1], BUFFERS, 16, VRING_DESC_F_INDIRECT, 0);
	offer(g, 1, 1);
	kick(g, 1);
	assert_int_equal(w.n_sent, 1);
	assert_int_equal(stats().ring_errors, 1);
}

static void test_freeze(void **state)
{
	struct engine *g = &w.eng[0];

	(void)state;
	connect_and_start(g, F_BASE);
	net_freeze(w.net);
	offer_buffers(g, 4, 400);
	set_desc(&descs(1)[0], BUFFERS + 0x8000, 100, 0, 0);
	offer(g, 1, 0);
	kick(g, 1);
	frame_in(10, 0);
	assert_int_equal(used(0)->idx, 0);
	assert_int_equal(w.n_sent, 0);
	assert_int_equal(w.n_asked, 0);
	message_state(g, GET_VRING_BASE, 1, 0);
	assert_int_equal(answer(g, GET_VRING_BASE), 1); /* index 1, base 0: the protocol is served */
	start_ring(g, 1, 0);
	settle();
	net_thaw(w.net);
	settle();
	assert_int_equal(used(0)->idx, 1);
	assert_int_equal(w.n_sent, 1);
}

static struct net_moment *now(void)
{
	struct err e;
	struct net_moment *m = net_moment_create(w.net, &e);

	assert_non_null(m);
	return m;
}

static void test_replay(void **state)
{
	struct net_moment *begin, *second, *last;
	static uint32_t first_origin[RAM_SIZE];
	static uint8_t first[3 * 4096];
	struct engine *g = &w.eng[0];
	struct net_origin o;
	struct err e;

	(void)state;
	connect_and_start(g, F_BASE);
	begin = now();
	offer_buffers(g, 3, 400);
	frame_in(100, 0);
	second = now();
	arp_in();
	frame_in(50, 2);
	assert_int_equal(used(0)->idx, 3);
	memcpy(first, at(BUFFERS), sizeof(first));
	memcpy(first_origin, w.origin, sizeof(first_origin));

	/* Roll back: memory as before, the ring at its beginning. Meanwhile a new frame comes. */
	message_state(g, GET_VRING_BASE, 0, 0);
	assert_int_equal(answer(g, GET_VRING_BASE), 3ull << 32);
	memset(at(0), 0, HOLE);
	memset(w.origin, 0xff, sizeof(w.origin));
	assert_int_equal(net_position(w.net), 4);
	frame_in(20, 0);
	assert_int_equal(net_replay(w.net, begin, &e), 0);
	g->avail[0] = 0;
	offer_buffers(g, 3, 400);
	start_ring(g, 0, 0);
	settle();
	assert_int_equal(used(0)->idx, 3);
	assert_memory_equal(at(BUFFERS), first, sizeof(first));
	assert_memory_equal(w.origin, first_origin, sizeof(first_origin));
	assert_int_equal(w.n_replayed, 1);
	assert_int_equal(w.n_asked, 3); /* the first two frames with payload, and the new one; no replayed one */
	assert_int_equal(w.asked[2], 4);
	assert_int_equal(stats().replayed_frames, 3);
	assert_int_equal(stats().rx_frames, 3);
	offer_buffers(g, 1, 400);
	assert_int_equal(stats().rx_frames, 4);

	assert_true(net_find_origin(w.net, 101, &o));
	assert_int_equal(o.seq, 3);
	assert_int_equal(o.frame_offset, 54);
	assert_int_equal(o.payload_offset, 0);
	assert_int_equal(o.ip_proto, 6);
	assert_int_equal(o.ip_version, 4);
	assert_int_equal(o.src_port, 0x1234);
	assert_int_equal(o.dst_port, 7);
	assert_memory_equal(o.dst, "\x0a\x00\x02\x0f", 4);
	assert_true(net_find_origin(w.net, 100, &o));
	assert_int_equal(o.seq, 1);
	assert_int_equal(o.payload_offset, 99);
	net_trim(w.net, 3);
	assert_false(net_find_origin(w.net, 100, &o));
	assert_int_equal(stats().log_frames, 2);
	assert_int_equal(net_replay(w.net, second, &e), -1);
	assert_int_equal(e.code, ERR_LIMIT);
	offer_buffers(g, 3, 400);
	assert_int_equal(stats().replayed_frames, 5); /* from the oldest kept */
	assert_int_equal(w.n_replayed, 2);
	last = now();
	assert_int_equal(net_replay(w.net, last, &e), 0); /* nothing to deliver: ends at once */
	settle();
	assert_int_equal(w.n_replayed, 3);
	net_moment_destroy(begin);
	net_moment_destroy(second);
	net_moment_destroy(last);
}

/* A TCP segment of the guest (ring 1, descriptor 0): sequence number and bytes of payload. */
static void guest_sends_flags(struct engine *g, uint32_t seq, size_t n, uint8_t flags)
{
	uint8_t *f = at(BUFFERS + 0x8000);
	size_t len;

	memset(f, 0, 12);
	len = tcp_frame(f + 12, n, 0);
	memcpy(f + 12 + 26, "\x0a\x00\x02\x0f\x0a\x00\x02\x02\x00\x07\x12\x34", 12);
	f[12 + 41] = (uint8_t)seq;
	f[12 + 47] = flags;
	set_desc(&descs(1)[0], BUFFERS + 0x8000, (uint32_t)(12 + len), 0, 0);
	offer(g, 1, 0);
	kick(g, 1);
}

static void guest_sends(struct engine *g, uint32_t seq, size_t n)
{
	guest_sends_flags(g, seq, n, 0);
}

static void guest_accepts(struct engine *g, uint32_t seq)
{
	guest_sends_flags(g, seq, 0, 0x12);
}

static void guest_ends(struct engine *g)
{
	at(BUFFERS + 0x8000)[12 + 47] = 0x11;
	offer(g, 1, 0);
	kick(g, 1);
}

static void acked_frame_in(uint32_t ack, size_t n)
{
	uint8_t f[512];
	size_t len = tcp_frame(f, n, 0);

	f[45] = (uint8_t)ack;
	f[47] = 0x10;
	net_uplink_frame(w.net, f, len);
	settle();
}

/* A guest with 8 buffers, and the moment before anything came. */
static struct net_moment *begin_with_buffers(struct engine *g)
{
	connect_and_start(g, F_BASE);
	offer_buffers(g, 8, 400);
	return now();
}

/* A replayed segment waits until the guest has sent what it acknowledges; segments of other kinds do not. */
static void test_replay_pace(void **state)
{
	struct engine *g = &w.eng[0];
	struct net_moment *begin;
	struct err e;

	(void)state;
	begin = begin_with_buffers(g);
	acked_frame_in(100, 10);
	guest_sends(g, 100, 20);
	acked_frame_in(120, 10);
	arp_in();
	assert_int_equal(used(0)->idx, 3);
	assert_int_equal(net_replay(w.net, begin, &e), 0);
	settle();
	assert_int_equal(used(0)->idx, 4); /* the first of the flow; the second acknowledges too much */
	guest_sends(g, 100, 19);
	assert_int_equal(used(0)->idx, 4);
	assert_int_equal(w.n_replayed, 0);
	guest_sends(g, 119, 1);
	assert_int_equal(used(0)->idx, 6);
	assert_int_equal(w.n_replayed, 1);
	/* A guest that ends the connection is not waited for; */
	offer_buffers(g, 3, 400);
	assert_int_equal(net_replay(w.net, begin, &e), 0);
	settle();
	assert_int_equal(used(0)->idx, 7);
	guest_ends(g);
	assert_int_equal(used(0)->idx, 9);
	assert_int_equal(w.n_replayed, 2);
	/* one that answers otherwise is not waited for without end. */
	offer_buffers(g, 3, 400);
	assert_int_equal(net_replay(w.net, begin, &e), 0);
	settle();
	assert_int_equal(used(0)->idx, 10);
	w.net->pace_patience_ms = 1;
	assert_int_equal(net_replay(w.net, begin, &e), 0);
	w.is_replayed = false;
	loop_run_until(w.loop, &w.is_replayed, 0);
	assert_int_equal(used(0)->idx, 13);
	assert_int_equal(w.n_replayed, 3);
	net_moment_destroy(begin);
}

/* The guest was asked before the moment and answered after it: the first segment already acknowledges the answer. */
static void test_replay_pace_first(void **state)
{
	struct engine *g = &w.eng[0];
	struct net_moment *asked;
	struct err e;

	(void)state;
	connect_and_start(g, F_BASE);
	offer_buffers(g, 8, 400);
	acked_frame_in(100, 10);
	guest_sends(g, 90, 10);
	asked = now();
	guest_sends(g, 100, 20);
	acked_frame_in(120, 10);
	assert_int_equal(used(0)->idx, 2);
	assert_int_equal(net_replay(w.net, asked, &e), 0);
	settle();
	assert_int_equal(used(0)->idx, 2);
	guest_sends(g, 100, 20);
	assert_int_equal(used(0)->idx, 3);
	assert_int_equal(w.n_replayed, 1);
	net_moment_destroy(asked);
}

static uint32_t ack_in_buffer(unsigned buffer)
{
	const uint8_t *ack = at(BUFFERS + buffer * 4096u) + 12 + 42;

	return (uint32_t)ack[0] << 24 | (uint32_t)ack[1] << 16 | (uint32_t)ack[2] << 8 | ack[3];
}

/*
 * The peer has what the guest had sent before the rollback. What comes from it is delivered at once, and tells the guest of
 * no more than it has sent since.
 */
static void test_replay_behind(void **state)
{
	struct engine *g = &w.eng[0];
	struct net_moment *begin;
	struct err e;
	uint32_t first;

	(void)state;
	begin = begin_with_buffers(g);
	acked_frame_in(100, 10);
	guest_sends(g, 100, 20);
	assert_int_equal(net_replay(w.net, begin, &e), 0);
	settle();
	assert_int_equal(used(0)->idx, 2);
	first = ack_in_buffer(1);
	acked_frame_in(120, 10);
	assert_int_equal(used(0)->idx, 3);
	assert_int_equal(ack_in_buffer(2), first);
	/* Another rollback before it has caught up. */
	assert_int_equal(net_replay(w.net, begin, &e), 0);
	settle();
	guest_sends(g, 100, 5);
	acked_frame_in(115, 10);
	assert_int_equal(used(0)->idx, 4); /* the replay still waits for what the peer had acknowledged */
	guest_sends(g, 105, 14);
	assert_int_equal(used(0)->idx, 4);
	guest_sends(g, 119, 1);
	assert_int_equal(used(0)->idx, 6);
	assert_int_equal(ack_in_buffer(4), first + 20);
	assert_int_equal(ack_in_buffer(5), first + 15);
	/* What the guest has not sent in any life is not lowered. */
	acked_frame_in(121, 10);
	assert_int_equal(ack_in_buffer(6), first + 21);
	net_moment_destroy(begin);
}

static void syn_in(void)
{
	uint8_t f[512];
	size_t len = tcp_frame(f, 0, 0);

	f[47] = 0x02;
	net_uplink_frame(w.net, f, len);
	settle();
}

/*
 * The peer has the answer to its SYN from before the rollback, and goes on. That means nothing to the guest before it has given an
 * answer again, of which the numbers are others.
 */
static void test_replay_opening(void **state)
{
	struct engine *g = &w.eng[0];
	struct net_moment *begin;
	struct err e;

	(void)state;
	begin = begin_with_buffers(g);
	syn_in();
	guest_accepts(g, 100);
	assert_int_equal(net_replay(w.net, begin, &e), 0);
	settle();
	assert_int_equal(used(0)->idx, 2);
	acked_frame_in(101, 10);
	arp_in();
	assert_int_equal(used(0)->idx, 2);
	guest_accepts(g, 200);
	assert_int_equal(used(0)->idx, 4);
	assert_int_equal(ack_in_buffer(2), 201);
	acked_frame_in(101, 10);
	assert_int_equal(used(0)->idx, 5);
	assert_int_equal(ack_in_buffer(4), 201);
	/* It does not answer in this life: that is not waited for without end. */
	offer_buffers(g, 4, 400);
	w.net->pace_patience_ms = 1;
	assert_int_equal(net_replay(w.net, begin, &e), 0);
	w.is_replayed = false;
	loop_run_until(w.loop, &w.is_replayed, 0);
	assert_int_equal(used(0)->idx, 9);
	net_moment_destroy(begin);
}

/* The same where the guest had the SYN at the checkpoint, and had not answered it. */
static void test_replay_half_open(void **state)
{
	struct engine *g = &w.eng[0];
	struct net_moment *asked;
	struct err e;

	(void)state;
	connect_and_start(g, F_BASE);
	offer_buffers(g, 8, 400);
	syn_in();
	asked = now();
	guest_accepts(g, 100);
	acked_frame_in(101, 10);
	assert_int_equal(used(0)->idx, 2);
	for (unsigned life = 0; life < 2; life++) {
		assert_int_equal(net_replay(w.net, asked, &e), 0);
		settle();
		assert_int_equal(used(0)->idx, 2);
	}
	acked_frame_in(101, 10);
	assert_int_equal(used(0)->idx, 2);
	guest_accepts(g, 200);
	assert_int_equal(used(0)->idx, 4);
	assert_int_equal(ack_in_buffer(2), 201);
	assert_int_equal(ack_in_buffer(3), 201);
	net_moment_destroy(asked);
}

/* Before a connection that is opened again as much time passes as the first time, or more. */
static void test_replay_gap(void **state)
{
	struct engine *g = &w.eng[0];
	struct net_moment *begin;
	uint64_t start;
	struct err e;

	(void)state;
	begin = begin_with_buffers(g);
	arp_in();
	syn_in();
	/* As if much later. */
	((struct inlog_record *)(uintptr_t)inlog_find_seq(&w.net->log, 2))->time_ns += 1000000000;
	assert_int_equal(used(0)->idx, 2);
	assert_int_equal(net_replay(w.net, begin, &e), 0);
	settle();
	assert_int_equal(used(0)->idx, 3);
	w.is_replayed = false;
	loop_run_until(w.loop, &w.is_replayed, 0);
	assert_int_equal(used(0)->idx, 4);
	/* More, when told to. */
	net_slow_replays(w.net, 4);
	offer_buffers(g, 2, 400);
	start = loop_now_ns();
	assert_int_equal(net_replay(w.net, begin, &e), 0);
	w.is_replayed = false;
	loop_run_until(w.loop, &w.is_replayed, 0);
	assert_int_equal(used(0)->idx, 6);
	assert_true(loop_now_ns() - start >= UINT64_C(200000000));
	net_moment_destroy(begin);
}

/* How long a replay of a frame and, 10 ms later, a SYN takes when ops->naps() says first this and then that; ns. */
static uint64_t replay_time(struct engine *g, const struct net_moment *begin, uint64_t at_first, uint64_t then)
{
	uint64_t start = loop_now_ns();
	struct err e;

	offer_buffers(g, 2, 400);
	w.naps = at_first;
	w.is_replayed = false;
	assert_int_equal(net_replay(w.net, begin, &e), 0);
	settle();
	w.naps = then;
	loop_run_until(w.loop, &w.is_replayed, 0);
	return loop_now_ns() - start;
}

/* A guest that has woken and is at rest again need not be waited for longer than the first time. */
static void test_replay_rest(void **state)
{
	struct engine *g = &w.eng[0];
	uint64_t shortest = UINT64_MAX, took;
	struct net_moment *begin;

	(void)state;
	begin = begin_with_buffers(g);
	arp_in();
	syn_in();
	((struct inlog_record *)(uintptr_t)inlog_find_seq(&w.net->log, 2))->time_ns =
		inlog_find_seq(&w.net->log, 1)->time_ns + 10000000;
	/* It has not woken yet; it does not come to rest. */
	assert_true(replay_time(g, begin, 7, 7) >= UINT64_C(50000000));
	assert_true(replay_time(g, begin, 7, 0) >= UINT64_C(50000000));
	/* One of them will not be held up by the host. */
	for (int i = 0; i < 20; i++) {
		took = replay_time(g, begin, 7, 9);
		shortest = took < shortest ? took : shortest;
	}
	assert_true(shortest >= UINT64_C(10000000));
	assert_true(shortest < UINT64_C(50000000));
	net_moment_destroy(begin);
}

/* A blocked connection's frames reach the guest no more, others do, and no buffer is used up. */
static void test_block(void **state)
{
	struct engine *g = &w.eng[0];
	struct net_moment *begin;
	struct net_origin o;
	struct err e;

	(void)state;
	begin = begin_with_buffers(g);
	frame_in(10, 0);
	assert_true(net_find_origin(w.net, 1, &o));
	o.src_port++;
	net_block_flow(w.net, &o); /* another connection */
	frame_in(10, 0);
	assert_int_equal(used(0)->idx, 2);
	o.src_port--;
	net_block_flow(w.net, &o);
	frame_in(10, 0);
	arp_in();
	assert_int_equal(used(0)->idx, 3);
	assert_int_equal(stats().blocked, 1);
	assert_int_equal(net_replay(w.net, begin, &e), 0);
	settle();
	assert_int_equal(used(0)->idx, 4); /* the ARP frame alone */
	assert_int_equal(w.n_replayed, 1);
	net_moment_destroy(begin);
}

/* Checksum of an even number of bytes, with a start. */
static uint16_t sum_of(uint32_t sum, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

static void check_reset(const uint8_t *f, const char *addresses, const char *numbers, unsigned flags)
{
	assert_memory_equal(f + 26, addresses, 12);
	assert_memory_equal(f + 38, numbers, 8);
	assert_int_equal(f[47], flags);
	assert_int_equal(sum_of(0, f + 14, 20), 0xffff);
	assert_int_equal(sum_of(26 + sum_of(0, f + 26, 8), f + 34, 20), 0xffff);
}

/* A segment with 10 bytes, sequence number 0x01020304, acknowledging 0xf1f2f3f4. */
static void segment_in(unsigned flags)
{
	uint8_t f[256];
	size_t len = tcp_frame(f, 10, 0);

	memcpy(f + 38, "\x01\x02\x03\x04\xf1\xf2\xf3\xf4", 8);
	f[47] = (uint8_t)flags;
	net_uplink_frame(w.net, f, len);
	settle();
}

/* The peer is told at once, the guest in place of the first segment that is withheld, once. */
static void test_block_resets(void **state)
{
	static const unsigned flags[] = {FRAME_TCP_SYN, FRAME_TCP_ACK, FRAME_TCP_ACK};
	struct engine *g = &w.eng[0];
	struct net_origin o;

	(void)state;
	connect_and_start(g, F_BASE);
	offer_buffers(g, 8, 400);
	segment_in(FRAME_TCP_ACK);
	assert_true(net_find_origin(w.net, 1, &o));
	net_block_flow(w.net, &o);
	assert_int_equal(w.n_sent, 1);
	for (size_t i = 0; i < 3; i++) {
		segment_in(flags[i]);
		assert_int_equal(used(0)->idx, 1 + (i > 0));
	}
	assert_int_equal(w.n_sent, 1);
	assert_int_equal(w.sent_len[0], 54);
	check_reset(w.sent[0], "\x0a\x00\x02\x0f\x0a\x00\x02\x02\x00\x07\x12\x34", "\xf1\xf2\xf3\xf4\x01\x02\x03\x0e",
		    FRAME_TCP_RST | FRAME_TCP_ACK);
	check_reset((const uint8_t *)at(BUFFERS + 4096) + 12, "\x0a\x00\x02\x02\x0a\x00\x02\x0f\x12\x34\x00\x07",
		    "\x01\x02\x03\x04\0\0\0\0", FRAME_TCP_RST);
	assert_int_equal(stats().blocked, 3);
}

/* A segment of the connection with this last digit of the peer's port. */
static void segment_of(unsigned port, unsigned flags, size_t n, const char *numbers)
{
	uint8_t f[256];
	size_t len = tcp_frame(f, n, 0);

	f[35] = (uint8_t)port;
	memcpy(f + 38, numbers, 8);
	f[47] = (uint8_t)flags;
	net_uplink_frame(w.net, f, len);
	settle();
}

static const uint8_t *frame_of(unsigned buffer)
{
	return (const uint8_t *)at(BUFFERS + buffer * 4096u) + 12;
}

/*
 * Input that is dropped is delivered no more, its connections are reset, and those that brought nothing, or only told that
 * what the guest had sent by then has come, go on.
 */
static void test_drop(void **state)
{
	struct engine *g = &w.eng[0];
	struct net_moment *begin, *later;
	unsigned reset = 99, had;
	struct err e;

	(void)state;
	connect_and_start(g, F_BASE);
	offer_buffers(g, 8, 400);
	segment_of(1, FRAME_TCP_ACK, 0, "\1\0\0\1\2\0\0\2");
	segment_of(2, FRAME_TCP_ACK, 10, "\1\0\0\1\2\0\0\2");
	begin = now();
	offer_buffers(g, 2, 400);
	segment_of(1, FRAME_TCP_ACK, 0, "\1\0\0\1\2\0\0\2"); /* nothing new */
	segment_of(2, FRAME_TCP_ACK, 20, "\1\0\0\x1f\2\0\0\3"); /* overtook the next */
	segment_of(2, FRAME_TCP_ACK, 20, "\1\0\0\x0b\2\0\0\2");
	segment_of(3, FRAME_TCP_SYN, 0, "\5\0\0\1\0\0\0\0"); /* opened since */
	segment_of(3, FRAME_TCP_ACK, 0, "\5\0\0\2\6\0\0\1");
	segment_of(4, FRAME_TCP_RST, 0, "\1\0\0\1\2\0\0\2");
	arp_in();
	had = used(0)->idx;
	assert_int_equal(had, 9);
	assert_int_equal(net_drop(w.net, begin, &reset, &e), 0);
	offer_buffers(g, 6, 400); /* behind the one that is left, number 1 */
	assert_int_equal(reset, 2);
	assert_int_equal(w.n_sent, 2); /* to the peers */
	check_reset(w.sent[0], "\x0a\x00\x02\x0f\x0a\x00\x02\x02\x00\x07\x12\x02", "\2\0\0\3\1\0\0\x33",
		    FRAME_TCP_RST | FRAME_TCP_ACK);
	check_reset(w.sent[1], "\x0a\x00\x02\x0f\x0a\x00\x02\x02\x00\x07\x12\x03", "\6\0\0\1\5\0\0\2",
		    FRAME_TCP_RST | FRAME_TCP_ACK);
	/* The guest gets the peer's own reset again, and that of the connection that it had. */
	assert_int_equal(used(0)->idx, had + 2);
	assert_int_equal(frame_of(1)[35], 4);
	check_reset(frame_of(0), "\x0a\x00\x02\x02\x0a\x00\x02\x0f\x12\x02\x00\x07", "\1\0\0\x0b\0\0\0\0",
		    FRAME_TCP_RST);
	assert_int_equal(w.n_replayed, 1);
	/* Later replays do not bring it back, but have the resets. */
	later = now();
	assert_int_equal(net_replay(w.net, begin, &e), 0);
	settle();
	assert_int_equal(used(0)->idx, had + 4);
	/* Nothing since: nothing is reset. */
	assert_int_equal(net_drop(w.net, later, &reset, &e), 0);
	assert_int_equal(reset, 0);
	net_moment_destroy(begin);
	net_moment_destroy(later);
}

/* What the guest has answered since then it does not remember: such a connection is reset too. */
static void test_drop_answered(void **state)
{
	struct engine *g = &w.eng[0];
	struct net_moment *begin;
	unsigned reset;
	struct err e;

	(void)state;
	connect_and_start(g, F_BASE);
	offer_buffers(g, 8, 400);
	guest_sends(g, 10, 5);
	begin = now();
	acked_frame_in(15, 0);
	assert_int_equal(net_drop(w.net, begin, &reset, &e), 0);
	assert_int_equal(reset, 0);
	guest_sends(g, 15, 5);
	acked_frame_in(20, 0);
	assert_int_equal(net_drop(w.net, begin, &reset, &e), 0);
	assert_int_equal(reset, 1);
	net_moment_destroy(begin);
}

/* What a peer could see waits, in order, for its release; what is rolled back never leaves. */
static void test_hold_output(void **state)
{
	struct engine *g = &w.eng[0];
	struct net_moment *m;
	struct err e;

	(void)state;
	connect_and_start(g, F_BASE);
	m = now();
	assert_int_equal(net_hold_output(w.net, &e), 0);
	guest_sends(g, 1, 0); /* an acknowledgement */
	assert_int_equal(w.n_sent, 1);
	assert_int_equal(w.n_held, 0);
	guest_sends(g, 1, 5);
	guest_sends(g, 6, 7);
	guest_sends(g, 13, 0);
	assert_int_equal(w.n_sent, 2);
	assert_true(w.n_held >= 2);
	assert_int_equal(w.n_full, 0);
	assert_int_equal(stats().tx_waiting, 2);
	assert_int_equal(stats().tx_frames, 4);
	net_release(w.net);
	assert_int_equal(w.n_sent, 4);
	assert_int_equal(w.sent_len[2], 54 + 5);
	assert_int_equal(w.sent_len[3], 54 + 7);
	assert_int_equal(stats().tx_waiting, 0);
	guest_sends(g, 13, 5);
	assert_int_equal(net_replay(w.net, m, &e), 0);
	assert_int_equal(stats().tx_discarded, 1);
	net_release(w.net);
	assert_int_equal(w.n_sent, 4);
	net_moment_destroy(m);
}

/* When all room is used the guest's ring waits, and goes on after the release. */
static void test_hold_full(void **state)
{
	struct engine *g = &w.eng[0];
	uint16_t before;
	struct err e;

	(void)state;
	connect_and_start(g, F_BASE);
	assert_int_equal(net_hold_output(w.net, &e), 0);
	for (unsigned i = 0; i < OUTBOX_BYTES / 200 && !w.n_full; i++)
		guest_sends(g, 1, 200);
	assert_int_equal(w.n_full, 1);
	assert_true(stats().tx_waiting * (200 + 54 + 4) <= OUTBOX_BYTES);
	before = used(1)->idx;
	guest_sends(g, 1, 200);
	assert_int_equal(used(1)->idx, before);
	assert_int_equal(w.n_sent, 0);
	net_release(w.net);
	settle();
	assert_int_equal(used(1)->idx, (uint16_t)(before + 1));
	assert_int_equal(stats().tx_waiting, 1);
}

static void test_vring_base(void **state)
{
	struct engine *g = &w.eng[0];

	(void)state;
	connect_and_start(g, F_BASE);
	offer_buffers(g, 5, 400);
	frame_in(10, 0);
	frame_in(10, 0);
	message_state(g, GET_VRING_BASE, 0, 0);
	assert_int_equal(answer(g, GET_VRING_BASE), 2ull << 32);
	frame_in(10, 0); /* the ring stands */
	assert_int_equal(used(0)->idx, 2);
	start_ring(g, 0, 2);
	settle();
	assert_int_equal(used(0)->idx, 3);
	assert_int_equal(used(0)->ring[2].id, 2);
	message_state(g, SET_VRING_ENABLE, 0, 0);
	frame_in(10, 0);
	assert_int_equal(used(0)->idx, 3);
	message_state(g, SET_VRING_ENABLE, 0, 1);
	settle();
	assert_int_equal(used(0)->idx, 4);
	message(g, RESET_OWNER, NULL, 0, NULL, 0);
	frame_in(10, 0);
	assert_int_equal(used(0)->idx, 4);
}

static void test_two_sessions(void **state)
{
	struct engine *a = &w.eng[0], *b = &w.eng[1];

	(void)state;
	connect_and_start(a, F_BASE);
	engine_connect(b);
	negotiate(b, F_BASE);
	send_mem_table(b, w.ram_fd, w.ram_fd);
	settle();
	assert_int_equal(w.n_regions, 1); /* the waiting one reports nothing */
	offer_buffers(a, 3, 400);
	frame_in(10, 0);
	assert_int_equal(used(0)->idx, 1);
	for (uint32_t i = 0; i < 2; i++) {
		message_state(a, GET_VRING_BASE, i, 0);
		answer(a, GET_VRING_BASE);
	}
	start_ring(b, 0, 1);
	settle();
	assert_int_equal(w.n_regions, 2);
	frame_in(10, 0);
	assert_int_equal(used(0)->idx, 2);
	assert_int_equal(take(b->call[0]), 1);
	close(a->fd);
	a->fd = -1;
	settle();
	assert_int_equal(w.n_lost, 1);
	assert_int_equal(w.lost.code, ERR_GONE);
	assert_null(a->s);
	frame_in(10, 0); /* the other goes on */
	assert_int_equal(used(0)->idx, 3);
}

static int make_log(size_t size, bool sealed)
{
	int fd = memfd_create("log", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
	if (sealed)
		assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
	return fd;
}

static void test_dirty_log(void **state)
{
	struct engine *g = &w.eng[0];
	uint64_t base[2] = {4096, 0};
	int fd = make_log(4096, true);
	uint8_t *bits = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	(void)state;
	assert_ptr_not_equal(bits, MAP_FAILED);
	connect_and_start(g, F_BASE);
	message(g, SET_LOG_BASE, base, sizeof(base), &fd, 1);
	answer(g, SET_LOG_BASE);
	close(fd);
	offer_buffers(g, 1, 4000);
	frame_in(10, 0);
	for (int i = 0; i < 4096; i++)
		assert_int_equal(bits[i], 0); /* not switched on */
	message_u64(g, SET_FEATURES, F_BASE | F_LOG_ALL);
	settle();
	set_desc(&descs(0)[1], HIGH + 0x1ff0, 4000, VRING_DESC_F_WRITE, 0);
	offer(g, 0, 1);
	frame_in(10, 0);
	for (unsigned page = 0; page < 4096 * 8; page++) {
		bool want = page == 3 || page == (HIGH >> 12) + 1 || page == (HIGH >> 12) + 2; /* used ring, buffer */

		assert_int_equal(bits[page / 8] >> page % 8 & 1, want);
	}
	munmap(bits, 4096);
}

/* A log smaller than the guest's memory: pages beyond it are not marked anywhere. */
static void test_dirty_log_small(void **state)
{
	struct engine *g = &w.eng[0];
	uint64_t base[2] = {1, 0};
	int fd = make_log(4096, true);

	(void)state;
	connect_and_start(g, F_BASE | F_LOG_ALL);
	message(g, SET_LOG_BASE, base, sizeof(base), &fd, 1);
	answer(g, SET_LOG_BASE);
	offer_buffers(g, 1, 4000);
	frame_in(10, 0);
	assert_int_equal(used(0)->idx, 1);
	for (int i = 0; i < 4096; i++) {
		uint8_t v;

		assert_int_equal(pread(fd, &v, 1, i), 1);
		assert_int_equal(v, i ? 0 : 1 << 3);
	}
	close(fd);
}

static unsigned count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* Each breach ends the session with its own words, and no descriptor that came with it stays open. */
static void test_breaches(void **state)
{
	static const uint8_t zero[300];
	static const uint8_t ring2[8] = {2};
	static const uint8_t no_fd[8] = {0, 1};
	static const uint64_t log_large[2] = {8192, 0}, log_offset[2] = {4096, 4096},
			      log_wrap[2] = {4096, UINT64_MAX - 4095};
	const struct {
		uint32_t request, flags, size;
		const void *payload;
		int n_fds;
		bool unsealed;
		const char *text;
	} breach[] = {
		{0, 1, 0, NULL, 0, false, "vhost-user: request 0 is unknown"},
		{42, 1, 0, NULL, 1, false, "vhost-user: request 42 is unknown"},
		{0x80000000, 1, 0, NULL, 1, false, "vhost-user: request 2147483648 is unknown"},
		{SET_OWNER, 2, 0, NULL, 0, false, "vhost-user: request 3 with flags 0x2"},
		{SET_OWNER, 5, 0, NULL, 0, false, "vhost-user: request 3 with flags 0x5"},
		{SET_FEATURES, 1, 4, zero, 0, false, "vhost-user: SET_FEATURES with 4 bytes"},
		{SET_FEATURES, 1, 0xffffffff, zero, 0, false, "vhost-user: SET_FEATURES with 4294967295 bytes"},
		{SET_MEM_TABLE, 1, 265, zero, 0, false, "vhost-user: SET_MEM_TABLE with 265 bytes"},
		{SET_MEM_TABLE, 1, 8, zero, 1, false, "vhost-user: memory table of 0 regions, 1 descriptors"},
		{SET_OWNER, 1, 0, NULL, 1, false, "vhost-user: SET_OWNER with 1 descriptors"},
		{SET_OWNER, 1, 0, NULL, 9, false, "vhost-user: more than 8 descriptors"},
		{SET_VRING_KICK, 1, 8, zero, 2, false, "vhost-user: SET_VRING_KICK with 2 descriptors"},
		{SET_VRING_KICK, 1, 8, zero, 0, false, "vhost-user: 0 descriptors for a ring"},
		{SET_VRING_KICK, 1, 8, no_fd, 0, false, "vhost-user: a ring without kicks"},
		{SET_VRING_CALL, 1, 8, no_fd, 1, false, "vhost-user: 1 descriptors for a ring"},
		{SET_VRING_CALL, 1, 8, ring2, 1, false, "vhost-user: ring 2 of 2"},
		{SET_VRING_NUM, 1, 8, zero, 0, false, "vhost-user: a ring of 0 descriptors"},
		{GET_VRING_BASE, 1, 8, ring2, 0, false, "vhost-user: ring 2 of 2"},
		{SET_LOG_BASE, 1, 16, log_large, 1, true, "vhost-user: the dirty log is not sealed against shrinking"},
		{SET_LOG_BASE, 1, 16, log_large, 1, false, "vhost-user: the dirty log is larger than its file"},
		{SET_LOG_BASE, 1, 16, log_offset, 1, false, "vhost-user: the dirty log is larger than its file"},
		{SET_LOG_BASE, 1, 16, log_wrap, 1, false, "vhost-user: the dirty log is larger than its file"},
		{SET_LOG_BASE, 1, 16, zero, 1, false, "vhost-user: the dirty log is larger than its file"},
		{SET_LOG_BASE, 1, 16, zero, 0, false, "vhost-user: SET_LOG_BASE with 0 descriptors"},
	};
	struct engine *g = &w.eng[0];

	(void)state;
	for (size_t i = 0; i < sizeof(breach) / sizeof(breach[0]); i++) {
		int fd = make_log(4096, !breach[i].unsealed), fds[9];
		unsigned before = count_fds();
		struct err e;
		int sp[2];

		for (int k = 0; k < 9; k++)
			fds[k] = fd;
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sp), 0);
		g->fd = sp[0];
		assert_int_equal(vhost_session_create(net_device(w.net), sp[1], &g->s, &e), 0);
		uint32_t header[3] = {breach[i].request, breach[i].flags, breach[i].size};
		uint8_t buf[12 + 300];
		size_t n = breach[i].size <= 300 ? breach[i].size : 300;

		memcpy(buf, header, 12);
		if (n)
			memcpy(buf + 12, breach[i].payload, n);
		send_raw(g, buf, 12 + n, fds, (size_t)breach[i].n_fds);
		settle();
		assert_int_equal(w.n_lost, i + 1);
		assert_int_equal(w.lost.code, ERR_PROTOCOL);
		assert_string_equal(w.lost.text, breach[i].text);
		close(g->fd);
		g->fd = -1;
		assert_int_equal(count_fds(), before);
		close(fd);
	}
}

static void test_two_ram_files(void **state)
{
	struct engine *g = &w.eng[0];
	int other = make_log(4096, false);

	(void)state;
	engine_connect(g);
	negotiate(g, F_BASE);
	send_mem_table(g, w.ram_fd, other);
	settle();
	assert_int_equal(w.n_lost, 1);
	assert_string_equal(w.lost.text, "vhost-user: guest memory in more than one file");
	close(other);
}

/* A session that has come and gone leaves no descriptor behind. */
static void test_no_leak(void **state)
{
	struct engine *g = &w.eng[0];
	unsigned before = count_fds();

	(void)state;
	connect_and_start(g, F_BASE);
	start_ring(g, 1, 0); /* once more: the descriptors of before are given up */
	settle();
	assert_int_equal(w.n_lost, 1); /* num of a running ring */
	for (int i = 0; i < 2; i++) {
		close(g->kick[i]);
		close(g->call[i]);
		close(g->err[i]);
		g->kick[i] = -1;
	}
	close(g->fd);
	g->fd = -1;
	assert_int_equal(count_fds(), before);
}

/* More descriptors than a message may have, spread over its pieces. */
static void test_fds_in_pieces(void **state)
{
	struct engine *g = &w.eng[0];
	unsigned before = count_fds();
	int fds[8], sp[2];
	struct err e;

	(void)state;
	for (int i = 0; i < 8; i++)
		fds[i] = w.ram_fd;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sp), 0);
	g->fd = sp[0];
	assert_int_equal(vhost_session_create(net_device(w.net), sp[1], &g->s, &e), 0);
	send_raw(g, "\x05\0\0\0", 4, fds, 8);
	send_raw(g, "\x01\0\0\0", 4, fds, 2);
	settle();
	assert_string_equal(w.lost.text, "vhost-user: more than 8 descriptors");
	close(g->fd);
	g->fd = -1;
	assert_int_equal(count_fds(), before);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_features),
		TEST(test_rx_merged),
		TEST(test_rx_waits_for_buffers),
		TEST(test_rx_too_large),
		TEST(test_tx),
		cmocka_unit_test(test_hostile_rx),
		cmocka_unit_test(test_hostile_tx),
		TEST(test_ring_in_hole),
		TEST(test_hold),
		TEST(test_told_before_asked),
		TEST(test_old_driver),
		TEST(test_freeze),
		TEST(test_replay),
		TEST(test_replay_pace),
		TEST(test_replay_pace_first),
		TEST(test_replay_behind),
		TEST(test_replay_opening),
		TEST(test_replay_half_open),
		TEST(test_replay_gap),
		TEST(test_replay_rest),
		TEST(test_block),
		TEST(test_block_resets),
		TEST(test_hold_output),
		TEST(test_hold_full),
		TEST(test_drop),
		TEST(test_drop_answered),
		TEST(test_vring_base),
		TEST(test_two_sessions),
		TEST(test_dirty_log),
		TEST(test_dirty_log_small),
		TEST(test_breaches),
		TEST(test_two_ram_files),
		TEST(test_no_leak),
		TEST(test_fds_in_pieces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
