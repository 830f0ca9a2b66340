/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzzes what is hostile in the network: frames, vhost-user messages, and the
 * guest's rings. The input is a program of small steps on one back end:
 * a byte that chooses the step, then the bytes it takes.
 */
#include <linux/virtio_ring.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "net/frame_internal.h"
#include "net/net_internal.h"
#include "vhost_peer.h"

#define RAM_SIZE 0x40000u
#define RING_AT(i) (0x1000u + 0x4000u * (i))
#define RING_NUM 8u
#define BUFFERS 0x10000u
#define MOMENTS 4u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct {
	struct loop *loop;
	int ram_fd, peer, kick[NET_RINGS];
	uint8_t *ram;
	struct gmem *gm;
	struct net *net;
	struct vhost_session *session;
	struct net_moment *moment[MOMENTS]; /* NULL: none yet */
	uint64_t reported; /* bytes, to have something read them */
	uint32_t flags;
} w;

static bool may_deliver(void *arg, uint64_t seq)
{
	(void)arg;
	return seq % 4 != 3 || w.flags++ % 2;
}

static void input(void *arg, struct gpa at, const uint8_t *bytes, size_t len, uint32_t origin)
{
	struct net_origin o;
	uint64_t off;

	(void)arg, (void)bytes;
	check(gmem_to_offset(w.gm, at, &off) && len);
	if (origin)
		check(net_find_origin(w.net, origin, &o) && net_find_origin(w.net, origin + (uint32_t)len - 1, &o));
	w.reported += len;
}

static void regions(void *arg, const struct gmem_region *r, size_t n)
{
	(void)arg;
	if (gmem_set_regions(w.gm, r, n, NULL) < 0)
		return; /* not a table of this file: the old one stays */
}

static void replayed(void *arg)
{
	(void)arg;
}

static void session_lost(void *arg, struct vhost_session *s, const struct err *why)
{
	(void)arg, (void)why;
	vhost_session_destroy(s);
	w.session = NULL;
}

static const struct net_ops ops = {
	.may_deliver = may_deliver,
	.input = input,
	.regions = regions,
	.replayed = replayed,
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

/* What the guest sends comes back to it. */
static void uplink_send(void *uplink, const uint8_t *frame, size_t len)
{
	net_uplink_frame(uplink, frame, len);
}

static const struct uplink_ops echo = {
	.name = "echo",
	.create = uplink_create,
	.destroy = uplink_destroy,
	.send = uplink_send,
};

static void settle(void)
{
	for (int i = 0; i < 3; i++) {
		run_round(w.loop);
	}
}

static void start_ring(uint32_t i)
{
	const uint32_t num[2] = {i, RING_NUM}, on[2] = {i, 1};
	const uint64_t addr[5] = {i, RING_AT(i), RING_AT(i) + 0x2000, RING_AT(i) + 0x1000, 0}, index = i;

	peer_request(w.peer, 8, num, sizeof(num), -1);
	peer_request(w.peer, 9, addr, sizeof(addr), -1);
	peer_request(w.peer, 12, &index, sizeof(index), w.kick[i]);
	peer_request(w.peer, 18, on, sizeof(on), -1);
}

/* A session as QEMU would start it; guest-physical and QEMU's addresses are the same. */
static void start_session(void)
{
	const uint64_t features = 1ull << 32 | 1 << 15 | 1 << 28 | 1 << 30;
	const uint64_t table[5] = {1, 0, RAM_SIZE, 0, 0};
	int sp[2];

	check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sp) == 0);
	w.peer = sp[0];
	check(vhost_session_create(net_device(w.net), sp[1], &w.session, NULL) == 0);
	peer_request(w.peer, 2, &features, sizeof(features), -1);
	peer_request(w.peer, 5, table, sizeof(table), w.ram_fd);
	for (uint32_t i = 0; i < NET_RINGS; i++)
		start_ring(i);
	settle();
}

/* ---- steps ---- */

static void step_frame(struct input *in)
{
	uint8_t frame[512];
	struct frame_info info;
	size_t n = take(in, frame, (size_t)take8(in) * 2);

	frame_parse(frame, n, &info);
	check(info.payload_len <= n && info.payload_off <= n - info.payload_len);
	net_uplink_frame(w.net, frame, n);
}

static void step_message(struct input *in)
{
	uint8_t number = take8(in), size = take8(in), n_fds = take8(in) % 10, payload[256];
	uint32_t header[3] = {number & 31, 1 | (number & 0x80 ? 8 : 0), size};
	uint8_t buf[sizeof(header) + sizeof(payload)];
	int fds[10];

	take(in, payload, size);
	memcpy(buf, header, sizeof(header));
	memcpy(buf + sizeof(header), payload, size);
	for (int i = 0; i < n_fds; i++)
		fds[i] = i % 2 ? w.kick[1] : w.ram_fd;
	peer_send(w.peer, buf, sizeof(header) + size, fds, n_fds);
	settle();
}

static void step_raw(struct input *in)
{
	uint8_t buf[64];
	size_t n = take(in, buf, take8(in) % 64);

	if (n)
		peer_send(w.peer, buf, n, NULL, 0);
	settle();
}

static void step_memory(struct input *in)
{
	uint16_t at;
	uint8_t len;

	take(in, &at, sizeof(at));
	len = take8(in) % 64;
	take(in, w.ram + at % (RAM_SIZE - 64), len);
}

/* A descriptor that is nearly right. */
static void step_descriptor(struct input *in)
{
	uint8_t ring = take8(in) % NET_RINGS, slot = take8(in) % RING_NUM, where = take8(in);
	struct vring_desc d = {.addr = BUFFERS + where * 0x300ull, .len = take8(in) * 8u};

	d.flags = take8(in) % 8;
	d.next = take8(in) % (RING_NUM + 1);
	if (where == 255)
		d.addr = RAM_SIZE - 64;
	memcpy(w.ram + RING_AT(ring) + slot * sizeof(d), &d, sizeof(d));
}

static void step_offer(struct input *in)
{
	uint8_t ring = take8(in) % NET_RINGS, n = take8(in) % 10;
	struct vring_avail *a = (struct vring_avail *)(void *)(w.ram + RING_AT(ring) + 0x1000);
	const uint64_t one = 1;

	for (int i = 0; i < n; i++)
		a->ring[a->idx++ % RING_NUM] = take8(in) % (RING_NUM + 1);
	check(write(w.kick[ring], &one, sizeof(one)) == sizeof(one));
	settle();
}

static void step_supervisor(struct input *in)
{
	uint8_t what = take8(in), seq = take8(in);

	if (what & 1)
		net_freeze(w.net);
	if (what & 2)
		net_thaw(w.net);
	if (what & 4)
		net_resume(w.net);
	if (what & 8)
		net_trim(w.net, seq);
	if (what & 16)
		net_slow_replays(w.net, seq);
	if (what & 32)
		check(net_hold_output(w.net, NULL) == 0);
	if (what & 64)
		net_release(w.net);
	settle();
}

/* The guest's memory is not brought back with it: a guest may do anything else than it did. */
static void step_moment(struct input *in)
{
	uint8_t what = take8(in);
	struct net_moment **m = &w.moment[what % MOMENTS];
	unsigned n_reset;

	if (!*m || what & 0x80) {
		net_moment_destroy(*m);
		*m = net_moment_create(w.net, NULL);
		check(*m);
	} else if (what & 0x40) {
		check(net_drop(w.net, *m, &n_reset, NULL) == 0);
	} else if (net_replay(w.net, *m, NULL) < 0) {
		check((*m)->seq < net_cursor(w.net));
	}
	settle();
}

static void step_block(struct input *in)
{
	struct net_origin o;

	if (net_find_origin(w.net, take8(in) * 16u, &o))
		net_block_flow(w.net, &o);
	settle();
}

static void step_restart(struct input *in)
{
	(void)in;
	close(w.peer);
	vhost_session_destroy(w.session);
	start_session();
}

static void (*const steps[])(struct input *in) = {
	step_frame, step_message,    step_raw,	   step_memory, step_descriptor,
	step_offer, step_supervisor, step_restart, step_moment, step_block,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct uplink_config c = {.ops = &echo};
	struct input in = {data, size};

	log_set_level(LOG_LEVEL_ERROR);
	w.loop = loop_create(NULL);
	w.ram_fd = memfd_create("ram", MFD_CLOEXEC);
	check(w.loop && w.ram_fd >= 0 && ftruncate(w.ram_fd, RAM_SIZE) == 0);
	check(gmem_create(w.ram_fd, RAM_SIZE, &w.gm, NULL) == 0);
	w.ram = gmem_base(w.gm);
	for (int i = 0; i < NET_RINGS; i++)
		w.kick[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	check(net_create_uplink(w.loop, w.gm, &c, 4096, &ops, NULL, &w.net, NULL) == 0);
	start_session();
	while (in.left)
		steps[take8(&in) % (sizeof(steps) / sizeof(steps[0]))](&in);
	settle();
	close(w.peer);
	for (unsigned i = 0; i < MOMENTS; i++) {
		net_moment_destroy(w.moment[i]);
		w.moment[i] = NULL;
	}
	net_destroy(w.net);
	loop_destroy(w.loop);
	gmem_destroy(w.gm);
	for (int i = 0; i < NET_RINGS; i++)
		close(w.kick[i]);
	close(w.ram_fd);
	return 0;
}
