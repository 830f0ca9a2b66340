/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sessions of the vhost-user protocol: QEMU is the front end, this the back end. A message is a header of three
 * 32-bit words (request, flags, size of the payload), the payload, and descriptors with it.
 *
 * Any error of the peer ends its session. What it sends
 * is collected without blocking; every descriptor received is closed unless a handler took it.
 */
#include "vhost/vhost.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/vhost_types.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

#define BIT(n) (1ull << (n))

#define VHOST_USER_F_PROTOCOL_FEATURES 30
#define PROTOCOL_F_LOG_SHMFD 1 /* without it QEMU refuses to migrate */
#define PROTOCOL_F_REPLY_ACK 3

/* EVENT_IDX is left out: the flags of the rings do. */
#define FEATURES                                                                                                       \
	(BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_RING_F_INDIRECT_DESC) | BIT(VHOST_F_LOG_ALL) |                           \
	 BIT(VHOST_USER_F_PROTOCOL_FEATURES))
/* The feature to transfer device state must stay out: with it a checkpoint would ask this process to migrate too. */
#define PROTOCOL_FEATURES (BIT(PROTOCOL_F_LOG_SHMFD) | BIT(PROTOCOL_F_REPLY_ACK))

#define HEADER_SIZE 12u
#define FLAG_VERSION_MASK 3u
#define FLAG_VERSION 1u
#define FLAG_REPLY 4u
#define FLAG_NEED_REPLY 8u

#define VRING_INDEX_MASK 0xffu
#define VRING_NO_FD 0x100u

#define MESSAGES_AT_ONCE 32

struct vring_state {
	uint32_t index, num;
};

struct vring_addr {
	uint32_t index, flags;
	uint64_t desc, used, avail, log;
};

struct mem_table {
	uint32_t n, padding;
	struct vhost_region region[VHOST_MEM_MAX];
};

struct log_base {
	uint64_t size, offset;
};

struct config_space {
	uint32_t offset, size, flags;
	uint8_t bytes[VHOST_CONFIG_MAX];
};

#define CONFIG_HEADER 12u

/* What a handler answers. */
struct answer {
	uint8_t payload[sizeof(struct config_space)];
	uint32_t size; /* 0: none */
};

static void answer_u64(struct answer *a, uint64_t v)
{
	memcpy(a->payload, &v, sizeof(v));
	a->size = sizeof(v);
}

static uint64_t get_u64(const struct vhost_message *m)
{
	uint64_t v;

	memcpy(&v, m->payload, sizeof(v));
	return v;
}

/* Takes the message's first descriptor over; -1: it has none. */
static int take_fd(struct vhost_message *m)
{
	int fd = m->n_fd ? m->fd[0] : -1;

	m->fd[0] = -1;
	return fd;
}

static void message_reset(struct vhost_message *m)
{
	for (size_t i = 0; i < m->n_fd; i++)
		if (m->fd[i] >= 0)
			close(m->fd[i]);
	m->n_fd = 0;
	m->got = 0;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

bool vhost_session_has(const struct vhost_session *s, unsigned feature_bit)
{
	return s->features & BIT(feature_bit);
}

static uint64_t features_of(const struct vhost_session *s)
{
	return FEATURES | s->dev->kind->features;
}

static uint64_t protocol_features_of(const struct vhost_session *s)
{
	return PROTOCOL_FEATURES | s->dev->kind->protocol_features;
}

static unsigned n_rings(const struct vhost_session *s)
{
	return s->dev->kind->n_rings;
}

/* ---- starting and stopping rings ---- */

static bool any_runs(const struct vhost_session *s)
{
	for (unsigned i = 0; i < n_rings(s); i++)
		if (s->ring[i].running)
			return true;
	return false;
}

static void ring_pause(struct vhost_session *s, struct virtq *q)
{
	if (q->running && s->dev->active == s && s->dev->kind->drain)
		s->dev->kind->drain(s->dev->arg);
	loop_remove(&q->kick_source);
	q->running = false;
	if (s->dev->active == s && !any_runs(s))
		s->dev->active = NULL;
}

static void ring_stop(struct vhost_session *s, struct virtq *q)
{
	ring_pause(s, q);
	close_fd(&q->kick);
	q->broken = false;
	q->used_known = false;
}

static void rings_stop(struct vhost_session *s)
{
	for (unsigned i = 0; i < n_rings(s); i++)
		ring_stop(s, &s->ring[i]);
}

static bool uva_to_gpa(const struct vhost_session *s, uint64_t uva, struct gpa *ret)
{
	for (size_t i = 0; i < s->n_mem; i++) {
		if (uva - s->mem[i].uva < s->mem[i].size) {
			*ret = gpa(s->mem[i].gpa + (uva - s->mem[i].uva));
			return true;
		}
	}
	return false;
}

static int ring_translate(const struct vhost_session *s, struct virtq *q, struct err *e)
{
	struct gpa used;

	if (!uva_to_gpa(s, q->desc_uva, &q->desc) || !uva_to_gpa(s, q->avail_uva, &q->avail) ||
	    !uva_to_gpa(s, q->used_uva, &used))
		return err_set_addr(e, ERR_PROTOCOL, q->desc_uva, "vhost-user: a ring outside the memory table");
	if (used.v != q->used.v)
		q->used_known = false;
	q->used = used;
	return 0;
}

static void report_regions(const struct vhost_session *s)
{
	struct gmem_region r[VHOST_MEM_MAX];

	for (size_t i = 0; i < s->n_mem; i++)
		r[i] = (struct gmem_region){gpa(s->mem[i].gpa), s->mem[i].size, s->mem[i].offset};
	s->dev->kind->regions(s->dev->arg, r, s->n_mem);
}

/* Rings of this session are about to run: it is the one from now on. */
static void session_activate(struct vhost_session *s)
{
	if (s->dev->active == s)
		return;
	if (s->dev->active) {
		log_warn("%s: another engine starts its rings: those of the one before stop", s->dev->kind->name);
		rings_stop(s->dev->active);
	}
	s->dev->active = s;
	report_regions(s);
}

static void ring_drain_kick(const struct vhost_session *s, struct virtq *q)
{
	uint64_t count;

	errno = 0;
	if (!q->kick_source || read(q->kick, &count, sizeof(count)) == sizeof(count) || errno == EAGAIN)
		return;
	log_warn("%s: a kick descriptor is no eventfd: not waited on any more", s->dev->kind->name);
	loop_remove(&q->kick_source);
}

static void ring_kicked(void *arg, uint32_t events)
{
	struct vhost_session *s = arg;

	(void)events;
	for (unsigned i = 0; i < n_rings(s); i++)
		ring_drain_kick(s, &s->ring[i]);
	s->dev->kind->schedule(s->dev->arg);
}

/* Starts a ring that has all it needs. */
static int ring_update(struct vhost_session *s, struct virtq *q, struct err *e)
{
	if (q->running && !q->enabled)
		ring_pause(s, q);
	if (q->running || !q->enabled || q->kick < 0 || !q->addressed || !q->num || !s->n_mem)
		return 0;
	if (ring_translate(s, q, e) < 0)
		return -1;
	q->kick_source = loop_add(s->dev->loop, LOOP_FD_KICK, q->kick, EPOLLIN, LOOP_OUTER, ring_kicked, s, e);
	if (!q->kick_source)
		return -1;
	session_activate(s);
	q->running = true;
	s->dev->kind->schedule(s->dev->arg);
	return 0;
}

static struct virtq *ring_of(struct vhost_session *s, uint64_t index, struct err *e)
{
	if (index < n_rings(s))
		return &s->ring[index];
	err_set(e, ERR_PROTOCOL, "vhost-user: ring %llu of %u", (unsigned long long)index, n_rings(s));
	return NULL;
}

/* ---- messages ---- */

static int do_get_features(struct vhost_session *s, struct vhost_message *m, struct answer *a, struct err *e)
{
	(void)m, (void)e;
	answer_u64(a, features_of(s));
	return 0;
}

static int do_set_features(struct vhost_session *s, struct vhost_message *m, struct answer *a, struct err *e)
{
	uint64_t v = get_u64(m);

	(void)a;
	if (v & ~features_of(s))
		return err_set_addr(e, ERR_PROTOCOL, v & ~features_of(s), "vhost-user: features that were not offered");
	s->features = v;
	s->log.on = v & BIT(VHOST_F_LOG_ALL);
	if (v & BIT(VHOST_USER_F_PROTOCOL_FEATURES))
		return 0;
	/* Without this feature there is no message to enable a ring. */
	for (unsigned i = 0; i < n_rings(s); i++) {
		s->ring[i].enabled = true;
		if (ring_update(s, &s->ring[i], e) < 0)
			return -1;
	}
	return 0;
}

static int do_get_protocol_features(struct vhost_session *s, struct vhost_message *m, struct answer *a, struct err *e)
{
	(void)m, (void)e;
	answer_u64(a, protocol_features_of(s));
	return 0;
}

static int do_set_protocol_features(struct vhost_session *s, struct vhost_message *m, struct answer *a, struct err *e)
{
	uint64_t v = get_u64(m);

	(void)a;
	if (v & ~protocol_features_of(s))
		return err_set_addr(e, ERR_PROTOCOL, v & ~protocol_features_of(s),
				    "vhost-user: protocol features that were not offered");
	s->protocol_features = v;
	return 0;
}

/*
 * For what needs nothing done: the one owner is the socket's other end; connections do not move, so no address is announced;
 * nothing in a configuration space of ours can be written.
 */
static int do_nothing(struct vhost_session *s, struct vhost_message *m, struct answer *a, struct err *e)
{
	(void)s, (void)m, (void)a, (void)e;
	return 0;
}

static int do_reset_owner(struct vhost_session *s, struct vhost_message *m, struct answer *a, struct err *e)
{
	(void)m, (void)a, (void)e;
	rings_stop(s);
	return 0;
}

/* All regions must be parts of one file, the guest's RAM, which is mapped already. */
static int check_one_file(const struct vhost_message *m, struct err *e)
{
	struct stat first, st;

	for (size_t i = 0; i < m->n_fd; i++) {
		if (fstat(m->fd[i], i ? &st : &first) < 0)
			return err_set_errno(e, "vhost-user: memory region %zu", i);
		if (i && (st.st_dev != first.st_dev || st.st_ino != first.st_ino))
			return err_set(e, ERR_PROTOCOL, "vhost-user: guest memory in more than one file");
	}
	return 0;
}

static int check_region(const struct vhost_region *r, struct err *e)
{
	if (!r->size || r->gpa + r->size < r->gpa || r->uva + r->size < r->uva || r->offset + r->size < r->offset)
		return err_set_addr(e, ERR_PROTOCOL, r->gpa, "vhost-user: impossible memory region");
	return 0;
}

static int do_set_mem_table(struct vhost_session *s, struct vhost_message *m, struct answer *a, struct err *e)
{
	struct mem_table t;

	(void)a;
	memset(&t, 0, sizeof(t));
	memcpy(&t, m->payload, m->header.size);
	if (t.n > VHOST_MEM_MAX || t.n != m->n_fd || m->header.size != 8 + t.n * sizeof(t.region[0]))
		return err_set(e, ERR_PROTOCOL, "vhost-user: memory table of %u regions, %zu descriptors", t.n,
			       m->n_fd);
	for (uint32_t i = 0; i < t.n; i++)
		if (check_region(&t.region[i], e) < 0)
			return -1;
	if (check_one_file(m, e) < 0)
		return -1;
	memcpy(s->mem, t.region, sizeof(s->mem));
	s->n_mem = t.n;
	if (s->dev->active != s)
		return 0;
	report_regions(s);
	for (unsigned i = 0; i < n_rings(s); i++)
		if (s->ring[i].running && ring_translate(s, &s->ring[i], e) < 0)
			return -1;
	return 0;
}

static void log_unmap(struct dirty_log *log)
{
	if (log->bits)
		munmap(log->bits, log->size);
	log->bits = NULL;
	log->size = 0;
}

static int do_set_log_base(struct vhost_session *s, struct vhost_message *m, struct answer *a, struct err *e)
{
	struct log_base b;
	struct stat st;
	void *bits;
	int seals;

	memcpy(&b, m->payload, sizeof(b));
	/* A file that could shrink under the mapping would kill this process. */
	seals = fcntl(m->fd[0], F_GET_SEALS);
	if (seals < 0 || !(seals & F_SEAL_SHRINK))
		return err_set(e, ERR_PROTOCOL, "vhost-user: the dirty log is not sealed against shrinking");
	if (fstat(m->fd[0], &st) < 0)
		return err_set_errno(e, "vhost-user: dirty log");
	if (!b.size || b.offset > (uint64_t)st.st_size || b.size > (uint64_t)st.st_size - b.offset)
		return err_set(e, ERR_PROTOCOL, "vhost-user: the dirty log is larger than its file");
	bits = mmap(NULL, b.size, PROT_READ | PROT_WRITE, MAP_SHARED, m->fd[0], (off_t)b.offset);
	if (bits == MAP_FAILED)
		return err_set_errno(e, "vhost-user: dirty log of %llu bytes", (unsigned long long)b.size);
	log_unmap(&s->log);
	s->log.bits = bits;
	s->log.size = b.size;
	answer_u64(a, 0);
	return 0;
}

/* The message's number for a ring, and the ring. */
static struct virtq *ring_in(struct vhost_session *s, const struct vhost_message *m, struct vring_state *ret,
			     struct err *e)
{
	memcpy(ret, m->payload, sizeof(*ret));
	return ring_of(s, ret->index, e);
}

static int do_set_vring_num(struct vhost_session *s, struct vhost_message *m, struct answer *a, struct err *e)
{
	struct vring_state st;
	struct virtq *q = ring_in(s, m, &st, e);

	(void)a;
	if (!q)
		return -1;
	if (q->running || !st.num || st.num > VIRTQ_SIZE_MAX || (st.num & (st.num - 1)))
		return err_set(e, ERR_PROTOCOL, "vhost-user: a ring of %u descriptors%s", st.num,
			       q->running ? " while it runs" : "");
	q->num = st.num;
	return ring_update(s, q, e);
}

static int do_set_vring_addr(struct vhost_session *s, struct vhost_message *m, struct answer *a, struct err *e)
{
	struct vring_addr v;
	struct virtq *q;

	(void)a;
	memcpy(&v, m->payload, sizeof(v));
	q = ring_of(s, v.index, e);
	if (!q)
		return -1;
	q->desc_uva = v.desc;
	q->avail_uva = v.avail;
	q->used_uva = v.used;
	q->addressed = true;
	/* QEMU sends it for a running ring too, to switch the dirty log on and off. */
	return q->running ? ring_translate(s, q, e) : ring_update(s, q, e);
}

static int do_set_vring_base(struct vhost_session *s, struct vhost_message *m, struct answer *a, struct err *e)
{
	struct vring_state st;
	struct virtq *q = ring_in(s, m, &st, e);

	(void)a;
	if (!q)
		return -1;
	if (q->running || st.num > UINT16_MAX)
		return err_set(e, ERR_PROTOCOL, "vhost-user: base %u%s", st.num,
			       q->running ? " of a running ring" : "");
	q->last_avail = (uint16_t)st.num;
	return 0;
}

static int do_get_vring_base(struct vhost_session *s, struct vhost_message *m, struct answer *a, struct err *e)
{
	struct vring_state st;
	struct virtq *q = ring_in(s, m, &st, e);

	if (!q)
		return -1;
	ring_stop(s, q);
	st.num = q->last_avail;
	memcpy(a->payload, &st, sizeof(st));
	a->size = sizeof(st);
	return 0;
}

/* The ring and the descriptor of SET_VRING_KICK, _CALL and _ERR; *ret_fd is -1 if the message says that there is none. */
static struct virtq *ring_and_fd(struct vhost_session *s, struct vhost_message *m, int *ret_fd, struct err *e)
{
	uint64_t v = get_u64(m);
	struct virtq *q = ring_of(s, v & VRING_INDEX_MASK, e);

	if (!q)
		return NULL;
	if (m->n_fd != !(v & VRING_NO_FD)) {
		err_set(e, ERR_PROTOCOL, "vhost-user: %zu descriptors for a ring", m->n_fd);
		return NULL;
	}
	/* A full counter or one that somebody else has read must not make us wait. */
	if (m->n_fd && fcntl(m->fd[0], F_SETFL, O_NONBLOCK) < 0) {
		err_set_errno(e, "vhost-user: a ring's descriptor");
		return NULL;
	}
	*ret_fd = take_fd(m);
	return q;
}

static int do_set_vring_kick(struct vhost_session *s, struct vhost_message *m, struct answer *a, struct err *e)
{
	int fd;
	struct virtq *q = ring_and_fd(s, m, &fd, e);

	(void)a;
	if (!q)
		return -1;
	if (fd < 0)
		return err_set(e, ERR_PROTOCOL, "vhost-user: a ring without kicks");
	ring_pause(s, q);
	close_fd(&q->kick);
	q->kick = fd;
	return ring_update(s, q, e);
}

static int do_set_vring_call(struct vhost_session *s, struct vhost_message *m, struct answer *a, struct err *e)
{
	int fd;
	struct virtq *q = ring_and_fd(s, m, &fd, e);

	(void)a;
	if (!q)
		return -1;
	close_fd(&q->call);
	q->call = fd;
	return 0;
}

static int do_set_vring_err(struct vhost_session *s, struct vhost_message *m, struct answer *a, struct err *e)
{
	int fd;
	struct virtq *q = ring_and_fd(s, m, &fd, e);

	(void)a;
	if (!q)
		return -1;
	close_fd(&q->err);
	q->err = fd;
	return 0;
}

static int do_get_queue_num(struct vhost_session *s, struct vhost_message *m, struct answer *a, struct err *e)
{
	(void)s, (void)m, (void)e;
	answer_u64(a, 1);
	return 0;
}

static int do_set_vring_enable(struct vhost_session *s, struct vhost_message *m, struct answer *a, struct err *e)
{
	struct vring_state st;
	struct virtq *q = ring_in(s, m, &st, e);

	(void)a;
	if (!q)
		return -1;
	q->enabled = st.num;
	return ring_update(s, q, e);
}

static int do_get_config(struct vhost_session *s, struct vhost_message *m, struct answer *a, struct err *e)
{
	uint8_t all[VHOST_CONFIG_MAX] = {0};
	struct config_space c = {0};

	memcpy(&c, m->payload, CONFIG_HEADER);
	if (!s->dev->kind->config || c.offset > VHOST_CONFIG_MAX || c.size > VHOST_CONFIG_MAX - c.offset)
		return err_set(e, ERR_PROTOCOL, "vhost-user: configuration from %u, %u bytes", c.offset, c.size);
	s->dev->kind->config(s->dev->arg, all);
	c.flags = 0;
	memcpy(c.bytes, all + c.offset, c.size);
	a->size = CONFIG_HEADER + c.size;
	memcpy(a->payload, &c, a->size);
	return 0;
}

struct request {
	const char *name;
	int (*handle)(struct vhost_session *s, struct vhost_message *m, struct answer *a, struct err *e);
	uint32_t size_min, size_max; /* bytes of payload */
	size_t fds_min, fds_max;
};

static const struct request requests[] = {
	[1] = {"GET_FEATURES", do_get_features, 0, 0, 0, 0},
	[2] = {"SET_FEATURES", do_set_features, 8, 8, 0, 0},
	[3] = {"SET_OWNER", do_nothing, 0, 0, 0, 0},
	[4] = {"RESET_OWNER", do_reset_owner, 0, 0, 0, 0},
	[5] = {"SET_MEM_TABLE", do_set_mem_table, 8, sizeof(struct mem_table), 0, VHOST_MEM_MAX},
	[6] = {"SET_LOG_BASE", do_set_log_base, sizeof(struct log_base), sizeof(struct log_base), 1, 1},
	[7] = {"SET_LOG_FD", do_nothing, 0, 8, 0, 1},
	[8] = {"SET_VRING_NUM", do_set_vring_num, 8, 8, 0, 0},
	[9] = {"SET_VRING_ADDR", do_set_vring_addr, sizeof(struct vring_addr), sizeof(struct vring_addr), 0, 0},
	[10] = {"SET_VRING_BASE", do_set_vring_base, 8, 8, 0, 0},
	[11] = {"GET_VRING_BASE", do_get_vring_base, 8, 8, 0, 0},
	[12] = {"SET_VRING_KICK", do_set_vring_kick, 8, 8, 0, 1},
	[13] = {"SET_VRING_CALL", do_set_vring_call, 8, 8, 0, 1},
	[14] = {"SET_VRING_ERR", do_set_vring_err, 8, 8, 0, 1},
	[15] = {"GET_PROTOCOL_FEATURES", do_get_protocol_features, 0, 0, 0, 0},
	[16] = {"SET_PROTOCOL_FEATURES", do_set_protocol_features, 8, 8, 0, 0},
	[17] = {"GET_QUEUE_NUM", do_get_queue_num, 0, 0, 0, 0},
	[18] = {"SET_VRING_ENABLE", do_set_vring_enable, 8, 8, 0, 0},
	[19] = {"SEND_RARP", do_nothing, 8, 8, 0, 0},
	[24] = {"GET_CONFIG", do_get_config, CONFIG_HEADER, sizeof(struct config_space), 0, 0},
	[25] = {"SET_CONFIG", do_nothing, CONFIG_HEADER, sizeof(struct config_space), 0, 0},
};

/* ---- the socket ---- */

static int send_answer(const struct vhost_session *s, uint32_t request, const struct answer *a, struct err *e)
{
	uint32_t header[3] = {request, FLAG_VERSION | FLAG_REPLY, a->size};
	uint8_t out[HEADER_SIZE + sizeof(a->payload)];

	memcpy(out, header, HEADER_SIZE);
	memcpy(out + HEADER_SIZE, a->payload, a->size);
	if (send(s->fd, out, HEADER_SIZE + a->size, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)(HEADER_SIZE + a->size))
		return err_set(e, ERR_GONE, "vhost-user: the peer does not take answers");
	return 0;
}

static const struct request *find_request(const struct vhost_message *m, struct err *e)
{
	uint32_t i = m->header.request;

	if ((m->header.flags & FLAG_VERSION_MASK) != FLAG_VERSION || (m->header.flags & FLAG_REPLY)) {
		err_set(e, ERR_PROTOCOL, "vhost-user: request %u with flags %#x", i, m->header.flags);
		return NULL;
	}
	if (i >= sizeof(requests) / sizeof(requests[0]) || !requests[i].handle) {
		err_set(e, ERR_PROTOCOL, "vhost-user: request %u is unknown", i);
		return NULL;
	}
	if (m->header.size < requests[i].size_min || m->header.size > requests[i].size_max) {
		err_set(e, ERR_PROTOCOL, "vhost-user: %s with %u bytes", requests[i].name, m->header.size);
		return NULL;
	}
	return &requests[i];
}

/* Handles a whole message. */
static int dispatch(struct vhost_session *s, struct err *e)
{
	struct vhost_message *m = &s->in;
	const struct request *r = find_request(m, e);
	bool need_reply = (m->header.flags & FLAG_NEED_REPLY) && (s->protocol_features & BIT(PROTOCOL_F_REPLY_ACK));
	struct answer a = {.size = 0};
	int result = -1;

	if (!r)
		return -1;
	if (m->n_fd < r->fds_min || m->n_fd > r->fds_max)
		err_set(e, ERR_PROTOCOL, "vhost-user: %s with %zu descriptors", r->name, m->n_fd);
	else
		result = r->handle(s, m, &a, e);
	message_reset(m);
	if (need_reply && (result < 0 || !a.size))
		answer_u64(&a, result < 0);
	else if (result < 0)
		return -1;
	if (a.size && send_answer(s, m->header.request, &a, result < 0 ? NULL : e) < 0)
		return -1;
	return result;
}

static int collect_fds(struct vhost_message *m, struct msghdr *mh, struct err *e)
{
	bool too_many = mh->msg_flags & MSG_CTRUNC;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (m->n_fd < VHOST_FDS_MAX) {
				m->fd[m->n_fd++] = fd;
				continue;
			}
			close(fd);
			too_many = true;
		}
	}
	if (too_many)
		return err_set(e, ERR_PROTOCOL, "vhost-user: more than %u descriptors", VHOST_FDS_MAX);
	return 0;
}

/* Reads a piece of the message: of the header first, then of the payload. 1: got some, 0: nothing there, -1: error. */
static int receive_piece(struct vhost_session *s, struct err *e)
{
	struct vhost_message *m = &s->in;
	bool in_header = m->got < HEADER_SIZE;
	struct iovec iov = {
		.iov_base = in_header ? (uint8_t *)&m->header + m->got : m->payload + (m->got - HEADER_SIZE),
		.iov_len = in_header ? HEADER_SIZE - m->got : HEADER_SIZE + m->header.size - m->got,
	};
	union {
		char buf[CMSG_SPACE(VHOST_FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct msghdr mh = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.buf,
		.msg_controllen = sizeof(control.buf),
	};
	ssize_t n = recvmsg(s->fd, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n < 0 && errno != ECONNRESET)
		return err_set_errno(e, "vhost-user: receiving");
	if (n <= 0)
		return err_set(e, ERR_GONE, "vhost-user: the engine has closed the connection");
	m->got += (size_t)n;
	return collect_fds(m, &mh, e) < 0 ? -1 : 1;
}

/* 1: the message is complete. */
static int receive_message(struct vhost_session *s, struct err *e)
{
	struct vhost_message *m = &s->in;

	while (m->got < HEADER_SIZE || m->got < HEADER_SIZE + m->header.size) {
		int r = receive_piece(s, e);

		if (r <= 0)
			return r;
		/* The size is checked before the first byte of payload is stored. */
		if (m->got == HEADER_SIZE && !find_request(m, e))
			return -1;
	}
	return 1;
}

static void session_close(struct vhost_session *s)
{
	rings_stop(s);
	message_reset(&s->in);
	loop_remove(&s->source);
	close_fd(&s->fd);
}

static void session_readable(void *arg, uint32_t events)
{
	struct vhost_session *s = arg;
	struct err e;

	(void)events;
	for (int i = 0; i < MESSAGES_AT_ONCE; i++) {
		int r = receive_message(s, &e);

		if (r == 0)
			return;
		if (r > 0 && dispatch(s, &e) == 0)
			continue;
		session_close(s);
		s->dev->kind->lost(s->dev->arg, s, &e); /* may destroy the session */
		return;
	}
}

/* ---- the public face ---- */

void vhost_device_init(struct vhost_device *d, struct loop *l, const struct vhost_kind *kind, void *arg)
{
	assert(kind->n_rings <= VHOST_RINGS_MAX);
	*d = (struct vhost_device){.loop = l, .kind = kind, .arg = arg};
	LIST_INIT(&d->sessions);
}

void vhost_device_deinit(struct vhost_device *d)
{
	while (!LIST_EMPTY(&d->sessions))
		vhost_session_destroy(LIST_FIRST(&d->sessions));
}

void vhost_break_ring(struct virtq *q)
{
	const uint64_t one = 1;

	q->broken = true;
	if (q->err >= 0 && write(q->err, &one, sizeof(one)) < 0)
		log_debug("a ring's error was not taken notice of");
}

struct virtq *vhost_usable_ring(struct vhost_device *d, const struct gmem *gm, unsigned index, bool *ret_broke)
{
	struct virtq *q = d->active ? &d->active->ring[index] : NULL;

	*ret_broke = false;
	if (!q || !q->running || q->broken)
		return NULL;
	if (!virtq_begin(q, gm)) {
		vhost_break_ring(q);
		*ret_broke = true;
		return NULL;
	}
	return q;
}

int vhost_session_create(struct vhost_device *d, int fd, struct vhost_session **ret_s, struct err *e)
{
	struct vhost_session *s = calloc(1, sizeof(*s));

	if (!s) {
		err_set_errno(e, "vhost-user session");
		close(fd);
		return -1;
	}
	s->dev = d;
	s->fd = fd;
	for (unsigned i = 0; i < n_rings(s); i++)
		virtq_init(&s->ring[i]);
	LIST_INSERT_HEAD(&d->sessions, s, link);
	s->source = loop_add(d->loop, LOOP_FD_VHOST, fd, EPOLLIN, 0, session_readable, s, e);
	if (!s->source) {
		vhost_session_destroy(s);
		return -1;
	}
	*ret_s = s;
	return 0;
}

void vhost_session_destroy(struct vhost_session *s)
{
	if (!s)
		return;
	session_close(s);
	for (unsigned i = 0; i < n_rings(s); i++) {
		close_fd(&s->ring[i].call);
		close_fd(&s->ring[i].err);
	}
	log_unmap(&s->log);
	LIST_REMOVE(s, link);
	free(s);
}
