/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The network's middle: moves frames between the uplink, the input log and the
 * rings of the one session that has them running.
 *
 * Goals: every byte from outside is reported with its origin before the guest can see it; frames are delivered in one
 * order, which a replay repeats; nothing the guest writes into its rings can do more than stop them.
 * Non-goals: offloads, more than one queue pair, speed beyond what one copy of each frame costs.
 *
 * Handlers only note that there is something to do; all work on rings and on the uplink is done by net_work(), a timer
 * that fires at the end of the loop's round and never inside a nested loop. So no ring is in the middle of something when
 * the supervisor, called back from here, runs the loop itself to take a checkpoint.
 *
 * Rings, descriptors and frames are controlled by the guest and by the network: both hostile. QEMU is
 * a peer that may be wrong: its messages are checked and an error ends its session.
 */
#include "net/net.h"

#include <assert.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "net/frame_internal.h"
#include "net/net_internal.h"

#define TX_AT_ONCE 256 /* frames of the guest before others get their turn */
#define HEADER_NUM_BUFFERS 10 /* offset in the virtio-net header */

void net_schedule(struct net *n)
{
	loop_timer_set(n->work, 0);
}

void net_uplink_frame(struct net *n, const uint8_t *frame, size_t len)
{
	if (!inlog_append(&n->log, frame, len))
		n->stats.dropped++;
	net_schedule(n);
}

static void ring_break(struct net *n, struct virtq *q)
{
	n->stats.ring_errors++;
	vhost_break_ring(q);
}

static struct virtq *usable_ring(struct net *n, unsigned index)
{
	struct virtq *q;
	bool broke;

	if (n->frozen)
		return NULL;
	q = vhost_usable_ring(&n->dev, n->gm, index, &broke);
	n->stats.ring_errors += broke;
	return q;
}

/* Bytes of the virtio-net header that the guest's driver agreed to. */
static size_t header_size(const struct vhost_session *s)
{
	return vhost_session_has(s, VIRTIO_F_VERSION_1) || vhost_session_has(s, VIRTIO_NET_F_MRG_RXBUF) ? 12 : 10;
}

/* ---- from the guest ---- */

/* Copies the one chain of the batch to n->packet; false: not RAM, or no frame of a possible size. */
static bool tx_gather(struct net *n, size_t header)
{
	const struct virtq_batch *b = &n->batch;
	size_t at = 0;

	if (b->bytes <= header || b->bytes > sizeof(n->packet))
		return false;
	for (uint32_t i = 0; i < b->n_segs; i++) {
		if (!gmem_read(n->gm, b->seg[i].at, n->packet + at, b->seg[i].len))
			return false;
		at += b->seg[i].len;
	}
	return true;
}

static_assert(OUTBOX_FRAME_MAX >= sizeof(((struct net *)0)->packet), "whatever the guest sends fits");

/* A frame of the guest on its way out. */
static void tx_frame(struct net *n, uint8_t *frame, size_t len)
{
	seqmap_guest_sends(&n->seqmap, frame, len);
	pace_guest_sends(&n->pace, frame, len);
	n->stats.tx_frames++;
	n->stats.tx_bytes += len;
	if (n->outbox.base && outbox_must_hold(frame, len))
		outbox_put(&n->outbox, frame, len);
	else
		n->uplink_ops->send(n->uplink, frame, len);
}

static bool tx_may_go_on(const struct net *n)
{
	return !n->outbox.base || outbox_has_room(&n->outbox);
}

/* Sends the next frame of the guest. false: there is none, or the ring is broken. */
static bool tx_one(struct net *n, struct virtq *q)
{
	struct vhost_session *s = n->dev.active;
	size_t header = header_size(s);
	const uint32_t written = 0;
	enum virtq_got got;

	virtq_batch_reset(&n->batch);
	got = virtq_peek(q, n->gm, VIRTQ_READABLE, vhost_session_has(s, VIRTIO_RING_F_INDIRECT_DESC), &n->batch);
	if (got == VIRTQ_EMPTY)
		return false;
	if (got != VIRTQ_CHAIN || !tx_gather(n, header) || !virtq_publish(q, n->gm, &s->log, &n->batch, &written)) {
		ring_break(n, q);
		return false;
	}
	tx_frame(n, n->packet + header, n->batch.bytes - header);
	return true;
}

static void tx_all(struct net *n)
{
	struct virtq *q = usable_ring(n, NET_RING_TX);
	int frames = 0;

	if (!q)
		return;
	while (frames < TX_AT_ONCE && tx_may_go_on(n) && tx_one(n, q))
		frames++;
	if (frames)
		virtq_notify(q, n->gm);
	if (n->outbox.frames)
		n->ops->held(n->arg, !tx_may_go_on(n));
	if (frames == TX_AT_ONCE)
		net_schedule(n);
}

/* ---- to the guest ---- */

enum rx_result {
	RX_DONE,
	RX_WAIT, /* for buffers */
	RX_TOO_LARGE,
	RX_BLOCKED, /* of a connection that is not let through */
	RX_BROKEN,
};

/* Tells the supervisor what len bytes of the packet from offset off, now at `at` in guest memory, are. */
static void report_input(const struct net *n, const struct inlog_record *r, size_t header, struct gpa at, size_t off,
			 size_t len)
{
	size_t begin = header + r->payload_off, end = begin + r->payload_len;

	while (len) {
		bool payload = off >= begin && off < end;
		size_t limit = off < begin ? begin : payload ? end : SIZE_MAX;
		size_t part = len < limit - off ? len : limit - off;

		n->ops->input(n->arg, at, n->packet + off, part, payload ? r->origin + (uint32_t)(off - begin) : 0);
		at = gpa_add(at, part);
		off += part;
		len -= part;
	}
}

/* Collects chains of the guest until `need` bytes fit. */
static enum rx_result rx_gather(struct net *n, const struct virtq *q, size_t header, size_t need)
{
	struct virtq_batch *b = &n->batch;
	bool merge = vhost_session_has(n->dev.active, VIRTIO_NET_F_MRG_RXBUF);
	bool indirect = vhost_session_has(n->dev.active, VIRTIO_RING_F_INDIRECT_DESC);

	virtq_batch_reset(b);
	while (b->bytes < need) {
		enum virtq_got got;

		if (b->n_chains && (!merge || b->n_chains == q->num))
			return RX_TOO_LARGE;
		got = virtq_peek(q, n->gm, VIRTQ_WRITABLE, indirect, b);
		if (got == VIRTQ_EMPTY)
			return RX_WAIT;
		if (got == VIRTQ_FULL && b->n_chains)
			return RX_TOO_LARGE;
		if (got != VIRTQ_CHAIN || b->chain[0].bytes < header)
			return RX_BROKEN;
	}
	return RX_DONE;
}

/* Spreads n->packet over the chains of the batch and gives them back. */
static bool rx_scatter(struct net *n, struct virtq *q, const struct inlog_record *r, size_t header)
{
	const struct virtq_batch *b = &n->batch;
	size_t off = 0, total = header + r->len;
	uint32_t seg = 0;

	for (uint32_t i = 0; i < b->n_chains; i++) {
		n->written[i] = 0;
		for (uint32_t k = 0; k < b->chain[i].n_segs; k++, seg++) {
			size_t part = b->seg[seg].len < total - off ? b->seg[seg].len : total - off;

			if (!part)
				continue;
			if (!virtq_write(n->gm, &n->dev.active->log, b->seg[seg].at, n->packet + off, part))
				return false;
			report_input(n, r, header, b->seg[seg].at, off, part);
			off += part;
			n->written[i] += (uint32_t)part;
		}
	}
	return virtq_publish(q, n->gm, &n->dev.active->log, b, n->written);
}

/* Interrupts the guest for the frames given to it; before the supervisor is called back, who may stop the ring. */
static void rx_notify(struct net *n, const struct virtq *q)
{
	if (n->interrupt_due)
		virtq_notify(q, n->gm);
	n->interrupt_due = false;
}

/* Puts one frame into the guest's buffers. */
static enum rx_result rx_unblocked(struct net *n, struct virtq *q, const struct inlog_record *r, bool replayed)
{
	size_t header = header_size(n->dev.active);
	enum rx_result result;
	uint16_t buffers = 0;

	result = rx_gather(n, q, header, header + r->len);
	buffers = (uint16_t)n->batch.n_chains;
	if (result == RX_DONE) {
		memset(n->packet, 0, header);
		if (header > HEADER_NUM_BUFFERS)
			memcpy(n->packet + HEADER_NUM_BUFFERS, &buffers, sizeof(buffers));
		memcpy(n->packet + header, r->data, r->len);
		pace_lower_ack(&n->pace, n->packet + header, r->len);
		seqmap_guest_gets(&n->seqmap, n->packet + header, r->len, replayed);
		if (rx_scatter(n, q, r, header))
			n->interrupt_due = true;
		else
			result = RX_BROKEN;
	}
	if (result == RX_BROKEN)
		ring_break(n, q);
	return result;
}

/* A frame of a blocked connection: nothing of it is delivered, but the connection is reset. */
static enum rx_result rx_blocked(struct net *n, struct virtq *q, const struct inlog_record *r)
{
	struct inlog_record *in_its_place = (struct inlog_record *)(void *)n->reset_record;
	uint8_t reset[NET_RESET_MAX];
	size_t len = net_reset_for_guest(n, r->data, r->len, reset);

	n->stats.blocked++;
	if (!len)
		return RX_BLOCKED;
	*in_its_place = (struct inlog_record){.seq = r->seq, .len = (uint32_t)len};
	memcpy(in_its_place->data, reset, len);
	/* Without a buffer for it the guest learns nothing; it finds out when it sends. */
	return rx_unblocked(n, q, in_its_place, true) == RX_BROKEN ? RX_BROKEN : RX_BLOCKED;
}

/* Puts one frame into the guest's buffers, unless its connection is blocked. */
static enum rx_result rx_frame(struct net *n, struct virtq *q, const struct inlog_record *r, bool replayed)
{
	if (net_is_blocked(n, r->data, r->len))
		return rx_blocked(n, q, r);
	return rx_unblocked(n, q, r, replayed);
}

static void gap_ended(void *arg, uint32_t events)
{
	(void)events;
	net_schedule(arg);
}

static uint64_t naps(const struct net *n)
{
	return n->ops->naps ? n->ops->naps(n->arg) : 0;
}

/* Whether the guest has woken since the last replayed frame, and been at rest again for a while. */
static bool rests(struct net *n, uint64_t now)
{
	uint64_t seen = naps(n);

	if (seen == n->replay_naps)
		seen = 0;
	if (seen != n->rest_naps)
		n->rest_ns = now;
	n->rest_naps = seen;
	return seen && now - n->rest_ns >= PACE_REST_NS;
}

/* Whether it is too early for a frame that opens a connection. */
static bool rx_early(struct net *n, const struct inlog_record *r)
{
	uint64_t first, gap, now = loop_now_ns(), passed = now - n->replay_given_ns;

	if (!n->replay_time_ns || r->time_ns <= n->replay_time_ns || !pace_opens(r->data, r->len))
		return false;
	first = r->time_ns - n->replay_time_ns;
	gap = first * PACE_SLOWER;
	if (gap > PACE_GAP_MOST_NS)
		gap = PACE_GAP_MOST_NS;
	gap *= n->gap_times;
	if (passed >= gap || (n->gap_times == 1 && rests(n, now) && passed >= first))
		return false;
	/* Nobody tells when the guest comes to rest. */
	loop_timer_set(n->gap_timer, n->ops->naps && n->gap_times == 1 ? 1 : (unsigned)((gap - passed) / 1000000) + 1);
	return true;
}

static void pace_timed_out(void *arg, uint32_t events)
{
	struct net *n = arg;

	(void)events;
	n->pace_overdue = true;
	net_schedule(n);
}

/* Whether a frame must wait for what the guest has yet to send. */
static bool rx_paced(struct net *n, const struct inlog_record *r, bool replayed)
{
	if (replayed ? pace_may_deliver(&n->pace, r->data, r->len) : pace_may_deliver_new(&n->pace, r->data, r->len))
		return false;
	if (n->pace_seq != r->seq) {
		n->pace_seq = r->seq;
		n->pace_overdue = false;
		loop_timer_set(n->pace_timer, n->pace_patience_ms);
	}
	if (n->pace_overdue)
		pace_give_up(&n->pace, r->data, r->len);
	return !n->pace_overdue;
}

/* Delivers the next frame of a replay. */
static bool rx_replay(struct net *n, struct virtq *q)
{
	struct inlog_record *r = inlog_replay(&n->log);
	bool skip = r->dropped || net_is_blocked(n, r->data, r->len);
	enum rx_result result;
	uint32_t isn;

	if (!skip && (rx_paced(n, r, true) || rx_early(n, r)))
		return false;
	result = r->dropped ? RX_BLOCKED : rx_frame(n, q, r, true);
	if (result == RX_WAIT || result == RX_BROKEN)
		return false;
	if (result == RX_DONE) {
		n->stats.replayed_frames++;
		n->replay_time_ns = r->time_ns;
		n->replay_given_ns = loop_now_ns();
		n->replay_naps = naps(n);
		n->rest_naps = 0;
		if (seqmap_peer_knows(&n->seqmap, r->data, r->len, &isn))
			pace_expect(&n->pace, r->data, r->len, isn);
	}
	inlog_replay_done(&n->log);
	return true;
}

/* Asks whether a frame with payload may go on; afterwards nothing is as before, so the caller begins anew. */
static void ask_delivery(struct net *n, const struct inlog_record *r)
{
	uint64_t seq = r->seq;
	struct inlog_record *now;
	bool yes;

	n->holding = true; /* before the call: net_resume() may come inside it */
	yes = n->ops->may_deliver(n->arg, seq);
	if (yes)
		n->holding = false;
	now = inlog_next(&n->log);
	if (!now || now->seq != seq)
		return;
	now->passed = yes;
	n->stats.held += !yes && !now->held;
	now->held |= !yes;
}

/* Delivers the next new frame, or asks for leave. */
static bool rx_next(struct net *n, struct virtq *q)
{
	struct inlog_record *r = inlog_next(&n->log);
	enum rx_result result;

	if (!r || n->holding)
		return false;
	if (r->payload_len && !r->passed) {
		rx_notify(n, q);
		ask_delivery(n, r);
		return true;
	}
	if (rx_paced(n, r, false))
		return false;
	result = rx_frame(n, q, r, false);
	if (result == RX_WAIT || result == RX_BROKEN)
		return false;
	if (result == RX_DONE) {
		r->time_ns = loop_now_ns();
		n->stats.rx_frames++;
		n->stats.rx_payload_bytes += r->payload_len;
	} else if (result == RX_TOO_LARGE) {
		r->dropped = true;
		n->stats.dropped++;
	}
	inlog_next_done(&n->log);
	return true;
}

static void rx_all(struct net *n)
{
	struct virtq *q;
	bool more = true;

	/* The supervisor, called back, may stop the ring or start another session: look again each time. */
	while (more && (q = usable_ring(n, NET_RING_RX))) {
		if (inlog_replay(&n->log)) {
			more = rx_replay(n, q);
		} else if (n->replay_ends) {
			n->replay_ends = false;
			rx_notify(n, q);
			n->ops->replayed(n->arg);
		} else {
			more = rx_next(n, q);
		}
	}
	if (q)
		rx_notify(n, q);
}

static void net_work(void *arg, uint32_t events)
{
	struct net *n = arg;

	(void)events;
	if (n->uplink_ops->service)
		n->uplink_ops->service(n->uplink);
	tx_all(n);
	rx_all(n);
	if (n->uplink_ops->prepare)
		n->uplink_ops->prepare(n->uplink);
}

/* ---- the device ---- */

static void schedule(void *arg)
{
	net_schedule(arg);
}

static void regions(void *arg, const struct gmem_region *r, size_t n_regions)
{
	const struct net *n = arg;

	n->ops->regions(n->arg, r, n_regions);
}

static void lost(void *arg, struct vhost_session *s, const struct err *why)
{
	const struct net *n = arg;

	n->ops->session_lost(n->arg, s, why);
}

static const struct vhost_kind kind = {
	.name = "network",
	.features = 1ull << VIRTIO_NET_F_MRG_RXBUF,
	.protocol_features = VHOST_PROTOCOL_RARP,
	.n_rings = NET_RINGS,
	.schedule = schedule,
	.regions = regions,
	.lost = lost,
};

struct vhost_device *net_device(struct net *n)
{
	return &n->dev;
}

/* ---- the public face ---- */

int net_create_uplink(struct loop *l, struct gmem *gm, const struct uplink_config *c, size_t log_limit,
		      const struct net_ops *ops, void *arg, struct net **ret_net, struct err *e)
{
	struct net *n = calloc(1, sizeof(*n));

	if (!n)
		return err_set_errno(e, "network");
	n->loop = l;
	n->gm = gm;
	n->ops = ops;
	n->arg = arg;
	n->uplink_ops = c->ops;
	n->pace_patience_ms = PACE_PATIENCE_MS;
	n->gap_times = 1;
	vhost_device_init(&n->dev, l, &kind, n);
	if (inlog_init(&n->log, log_limit, e) < 0)
		goto fail;
	n->work = loop_timer_add(l, 0, LOOP_OUTER, net_work, n, e);
	n->pace_timer = loop_timer_add(l, 0, LOOP_OUTER, pace_timed_out, n, e);
	n->gap_timer = loop_timer_add(l, 0, LOOP_OUTER, gap_ended, n, e);
	if (!n->work || !n->pace_timer || !n->gap_timer || c->ops->create(n, l, c, &n->uplink, e) < 0)
		goto fail;
	*ret_net = n;
	return 0;
fail:
	net_destroy(n);
	return -1;
}

int net_create(struct loop *l, struct gmem *gm, const char *spec, size_t log_limit, const struct net_ops *ops,
	       void *arg, struct net **ret_net, struct err *e)
{
	struct uplink_config c;

	if (uplink_parse(spec, &c, e) < 0)
		return -1;
	return net_create_uplink(l, gm, &c, log_limit, ops, arg, ret_net, e);
}

void net_destroy(struct net *n)
{
	if (!n)
		return;
	vhost_device_deinit(&n->dev);
	if (n->uplink)
		n->uplink_ops->destroy(n->uplink);
	loop_remove(&n->work);
	loop_remove(&n->pace_timer);
	loop_remove(&n->gap_timer);
	inlog_deinit(&n->log);
	outbox_deinit(&n->outbox);
	free(n);
}

void net_freeze(struct net *n)
{
	n->frozen = true;
}

void net_thaw(struct net *n)
{
	n->frozen = false;
	net_schedule(n);
}

void net_resume(struct net *n)
{
	n->holding = false;
	net_schedule(n);
}

int net_hold_output(struct net *n, struct err *e)
{
	return outbox_init(&n->outbox, e);
}

static void send_held(void *arg, const uint8_t *frame, size_t len)
{
	struct net *n = arg;

	n->uplink_ops->send(n->uplink, frame, len);
}

void net_release(struct net *n)
{
	outbox_empty(&n->outbox, send_held, n);
	net_schedule(n);
}

uint64_t net_position(const struct net *n)
{
	return inlog_position(&n->log);
}

uint64_t net_cursor(const struct net *n)
{
	return inlog_cursor(&n->log);
}

struct net_moment *net_moment_create(const struct net *n, struct err *e)
{
	struct net_moment *m = malloc(sizeof(*m));

	if (!m) {
		err_set_errno(e, "a moment of the network");
		return NULL;
	}
	*m = (struct net_moment){.seq = net_cursor(n), .pace = n->pace};
	return m;
}

void net_moment_destroy(struct net_moment *m)
{
	free(m);
}

void net_trim(struct net *n, uint64_t seq)
{
	inlog_trim(&n->log, seq);
}

int net_replay(struct net *n, const struct net_moment *m, struct err *e)
{
	bool kept = inlog_replay_from(&n->log, m->seq);

	n->stats.tx_discarded += outbox_clear(&n->outbox);
	n->replay_ends = true;
	n->pace_seq = 0;
	n->replay_time_ns = 0;
	pace_roll_back(&n->pace, &m->pace);
	seqmap_rolled_back(&n->seqmap);
	net_schedule(n);
	if (!kept)
		return err_set(e, ERR_LIMIT, "the input log begins at frame %llu, frame %llu is gone",
			       (unsigned long long)inlog_oldest(&n->log), (unsigned long long)m->seq);
	return 0;
}

void net_slow_replays(struct net *n, unsigned times)
{
	n->gap_times = times < 1 ? 1 : times > PACE_TIMES_MOST ? PACE_TIMES_MOST : times;
}

bool net_find_origin(const struct net *n, uint32_t origin, struct net_origin *ret)
{
	const struct inlog_record *r = inlog_find_origin(&n->log, origin);
	struct frame_info info;

	if (!r)
		return false;
	frame_parse(r->data, r->len, &info);
	*ret = (struct net_origin){
		.seq = r->seq,
		.frame_offset = r->payload_off + (origin - r->origin),
		.payload_offset = origin - r->origin,
		.ip_proto = info.ip_proto,
		.ip_version = info.ip_version,
		.src_port = info.src_port,
		.dst_port = info.dst_port,
	};
	memcpy(ret->src, info.src, sizeof(ret->src));
	memcpy(ret->dst, info.dst, sizeof(ret->dst));
	return true;
}

void net_get_stats(const struct net *n, struct net_stats *ret)
{
	*ret = n->stats;
	ret->log_frames = n->log.frames;
	ret->log_bytes = n->log.bytes;
	ret->tx_waiting = n->outbox.frames;
}
