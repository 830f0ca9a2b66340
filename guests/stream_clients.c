/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * stream-clients ADDRESS:PORT COUNT: so many connections to a stream service (stream.h), each with a block under way in both directions,
 * until standard input ends. A line "round N" says that each of them has got N blocks. At the end, "COUNT connections, BYTES
 * bytes each way": every byte that came was right, and so were the checksums of those that were sent. Exit code 1: not so, and a line
 * on standard error says what was wrong.
 */
#include "client.h"
#include "stream.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define COUNT_MAX 64
#define BLOCK 1024u
#define PAUSE_MS 100 /* between a block and the next: the guest has other work, too */

struct stream {
	struct client c;
	uint64_t ours, theirs; /* the streams, as far as they have come */
	uint64_t sum, bytes, blocks; /* sent */
	size_t missing; /* of the block under way, or of the end */
	int64_t next_ms; /* when the next block is sent */
	bool ending, ended;
	size_t end_len;
	uint8_t end[STREAM_END_LEN];
};

static struct stream streams[COUNT_MAX];
static int count;

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ll + t.tv_nsec / 1000000;
}

static bool wrong(const struct stream *s, const char *what)
{
	fprintf(stderr, "connection %d, after %" PRIu64 " bytes: %s\n", (int)(s - streams), s->bytes, what);
	return false;
}

static bool start(struct stream *s, const char *where, uint64_t number)
{
	uint8_t bytes[STREAM_NUMBER_LEN];

	for (unsigned i = 0; i < STREAM_NUMBER_LEN; i++)
		bytes[i] = (uint8_t)(number >> 8 * i);
	s->theirs = number;
	s->ours = ~number;
	s->sum = STREAM_SUM;
	return client_open(&s->c, where) == 0 && client_send(&s->c, bytes, sizeof(bytes)) == 0;
}

static bool send_block(struct stream *s)
{
	uint8_t block[BLOCK];

	stream_next(&s->ours, block, sizeof(block));
	if (client_send(&s->c, block, sizeof(block)) < 0)
		return wrong(s, strerror(errno));
	s->sum = stream_sum(s->sum, block, sizeof(block));
	s->bytes += sizeof(block);
	s->missing = sizeof(block);
	return true;
}

static uint64_t number_at(const uint8_t *at)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < 8; i++)
		v |= (uint64_t)at[i] << 8 * i;
	return v;
}

/* What the service says of all that it got. */
static bool take_end(struct stream *s, const uint8_t *bytes, size_t n)
{
	if (n > sizeof(s->end) - s->end_len)
		return wrong(s, "more came than was asked for");
	memcpy(s->end + s->end_len, bytes, n);
	s->end_len += n;
	if (s->end_len < sizeof(s->end))
		return true;
	if (number_at(s->end) != s->bytes || number_at(s->end + 8) != s->sum)
		return wrong(s, "the service got other bytes than were sent");
	return true;
}

static bool take(struct stream *s, const uint8_t *bytes, size_t n)
{
	uint8_t right[BLOCK];

	if (s->ending)
		return take_end(s, bytes, n);
	if (n > s->missing)
		return wrong(s, "more came than was asked for");
	stream_next(&s->theirs, right, n);
	if (memcmp(right, bytes, n) != 0)
		return wrong(s, "other bytes came than the service sends");
	s->missing -= n;
	if (!s->missing) {
		s->blocks++;
		s->next_ms = now_ms() + PAUSE_MS;
	}
	return true;
}

static bool receive(struct stream *s)
{
	uint8_t bytes[BLOCK];
	ssize_t n = recv(s->c.fd, bytes, sizeof(bytes), MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (n < 0)
		return wrong(s, strerror(errno));
	if (n > 0)
		return take(s, bytes, (size_t)n);
	if (s->end_len < sizeof(s->end))
		return wrong(s, "the service closed it");
	s->ended = true;
	client_close(&s->c);
	return true;
}

static bool end(struct stream *s)
{
	s->ending = true;
	return shutdown(s->c.fd, SHUT_WR) == 0 || wrong(s, strerror(errno));
}

/* What it is time for: a block, or the end. */
static bool go_on(struct stream *s, bool over, int64_t now)
{
	if (s->ended || s->ending || s->missing)
		return true;
	if (over)
		return end(s);
	return now < s->next_ms || send_block(s);
}

static void tell_rounds(void)
{
	static uint64_t told;
	uint64_t least = UINT64_MAX;

	for (int i = 0; i < count; i++)
		if (streams[i].blocks < least)
			least = streams[i].blocks;
	for (; told < least; told++)
		printf("round %" PRIu64 "\n", told + 1);
}

/* All streams at once. */
static bool run(void)
{
	struct pollfd p[COUNT_MAX + 1] = {0};
	int64_t heard = now_ms();
	bool over = false;
	int open = count;

	while (open) {
		int64_t now = now_ms();

		for (int i = 0; i < count; i++) {
			if (!go_on(&streams[i], over, now))
				return false;
			p[i] = (struct pollfd){.fd = streams[i].c.fd, .events = POLLIN};
		}
		p[count] = (struct pollfd){.fd = over ? -1 : STDIN_FILENO, .events = POLLIN};
		poll(p, (nfds_t)count + 1, PAUSE_MS / 4);
		now = now_ms();
		open = 0;
		for (int i = 0; i < count; i++) {
			if (p[i].fd >= 0 && p[i].revents) {
				heard = now;
				if (!receive(&streams[i]))
					return false;
			}
			open += !streams[i].ended;
		}
		over |= p[count].revents != 0;
		tell_rounds();
		if (now - heard > CLIENT_TIMEOUT_MS) {
			fprintf(stderr, "nothing came in time\n");
			return false;
		}
	}
	return true;
}

int main(int argc, char **argv)
{
	uint64_t bytes = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	count = argc == 3 ? atoi(argv[2]) : 0;
	if (count < 1 || count > COUNT_MAX) {
		fprintf(stderr, "usage: stream-clients ADDRESS:PORT COUNT\n");
		return 2;
	}
	for (int i = 0; i < count; i++)
		if (!start(&streams[i], argv[1], (uint64_t)i))
			return 1;
	if (!run())
		return 1;
	for (int i = 0; i < count; i++)
		bytes += streams[i].bytes;
	printf("%d connections, %" PRIu64 " bytes each way\n", count, bytes);
	return 0;
}
