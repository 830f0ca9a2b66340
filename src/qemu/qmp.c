/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QMP client: see qmp.h. The peer is QEMU, which a guest may have taken over: lengths are bounded, types checked. */
#include "qemu/qmp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define QMP_LINE_MAX (4u << 20)

struct qmp {
	struct loop *loop;
	struct loop_source *source;
	int fd;
	qmp_event_fn *event;
	void *event_arg;
	char *buf;
	size_t len, cap;
	bool greeted, gone, interrupted;
	bool answered;
	uint64_t next_id, waiting_id;
	json_t *answer; /* of waiting_id */
};

static void hang_up(struct qmp *q)
{
	q->gone = true;
	loop_remove(&q->source);
}

static void handle_object(struct qmp *q, json_t *j)
{
	const char *event = json_string_value(json_object_get(j, "event"));
	json_t *id = json_object_get(j, "id");

	if (json_object_get(j, "QMP")) {
		q->greeted = true;
	} else if (event) {
		q->event(q->event_arg, event, json_object_get(j, "data"));
	} else if (json_is_integer(id) && (uint64_t)json_integer_value(id) == q->waiting_id && !q->answer) {
		q->answer = json_incref(j);
		q->answered = true;
	}
}

static void handle_lines(struct qmp *q)
{
	char *start = q->buf, *end = q->buf + q->len, *nl;

	while (!q->gone && (nl = memchr(start, '\n', (size_t)(end - start)))) {
		json_t *j = json_loadb(start, (size_t)(nl - start), JSON_REJECT_DUPLICATES, NULL);

		if (json_is_object(j))
			handle_object(q, j);
		json_decref(j);
		start = nl + 1;
	}
	q->len = (size_t)(end - start);
	memmove(q->buf, start, q->len);
}

static void readable(void *arg, uint32_t events)
{
	struct qmp *q = arg;
	ssize_t n;

	(void)events;
	if (q->len == q->cap) {
		size_t cap = q->cap ? q->cap * 2 : 16384;
		char *p = cap <= QMP_LINE_MAX ? realloc(q->buf, cap) : NULL;

		if (!p) {
			hang_up(q);
			return;
		}
		q->buf = p;
		q->cap = cap;
	}
	n = recv(q->fd, q->buf + q->len, q->cap - q->len, MSG_DONTWAIT);
	if (n <= 0) {
		if (n == 0 || (errno != EAGAIN && errno != EINTR))
			hang_up(q);
		return;
	}
	q->len += (size_t)n;
	handle_lines(q);
}

int qmp_create(struct loop *l, int fd, qmp_event_fn *event, void *arg, struct qmp **ret_q, struct err *e)
{
	struct qmp *q = calloc(1, sizeof(*q));

	if (!q) {
		close(fd);
		return err_set_errno(e, "QMP client");
	}
	*q = (struct qmp){.loop = l, .fd = fd, .event = event, .event_arg = arg};
	q->source = loop_add(l, LOOP_FD_QMP, fd, EPOLLIN, 0, readable, q, e);
	if (!q->source) {
		qmp_destroy(q);
		return -1;
	}
	*ret_q = q;
	return 0;
}

void qmp_destroy(struct qmp *q)
{
	if (!q)
		return;
	loop_remove(&q->source);
	close(q->fd);
	json_decref(q->answer);
	free(q->buf);
	free(q);
}

int qmp_wait(struct qmp *q, const bool *done, unsigned ms, const char *what, struct err *e)
{
	uint64_t end = loop_now_ns() + (uint64_t)ms * 1000000u;

	/* In slices, so that the end of the stream is noticed too. */
	while (!*done && !q->gone && !q->interrupted && loop_now_ns() < end)
		loop_run_until(q->loop, done, 20);
	if (*done)
		return 0;
	if (q->interrupted)
		return err_set(e, ERR_STATE, "QEMU was asked to %s, but a detection came first", what);
	return q->gone ? err_set(e, ERR_GONE, "QEMU ended while it was asked to %s", what)
		       : err_set(e, ERR_TIMEOUT, "QEMU did not %s within %u ms", what, ms);
}

bool qmp_greeted(const struct qmp *q)
{
	return q->greeted;
}

int qmp_negotiate(struct qmp *q, unsigned ms, struct err *e)
{
	if (qmp_wait(q, &q->greeted, ms, "greet on QMP", e) < 0)
		return -1;
	return qmp_call(q, "qmp_capabilities", NULL, ms, NULL, e);
}

static int send_all(struct qmp *q, const char *text, size_t len, const char *what, struct err *e)
{
	while (len) {
		ssize_t n = send(q->fd, text, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
			return err_set(e, ERR_GONE, "QEMU ended before it could be asked to %s", what);
		if (n < 0)
			return err_set_errno(e, "asking QEMU to %s", what);
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

static int send_command(struct qmp *q, const char *command, json_t *args, struct err *e)
{
	json_t *j = json_object();
	char *text = NULL;
	int rc = -1;

	q->waiting_id = ++q->next_id;
	json_object_set_new(j, "execute", json_string(command));
	json_object_set_new(j, "id", json_integer((json_int_t)q->waiting_id));
	if (args)
		json_object_set_new(j, "arguments", args);
	text = json_dumps(j, JSON_COMPACT);
	json_decref(j);
	if (text)
		rc = send_all(q, text, strlen(text), command, e) < 0 || send_all(q, "\n", 1, command, e) < 0 ? -1 : 0;
	else
		err_set(e, ERR_SYSTEM, "no memory for a QMP command");
	free(text);
	return rc;
}

int qmp_call(struct qmp *q, const char *command, json_t *args, unsigned ms, json_t **ret_value, struct err *e)
{
	json_t *answer, *error;
	int rc = 0;

	json_decref(q->answer);
	q->answer = NULL;
	q->answered = false;
	q->interrupted = false;
	if (send_command(q, command, args, e) < 0 || qmp_wait(q, &q->answered, ms, command, e) < 0)
		return -1;
	answer = q->answer;
	q->answer = NULL;
	error = json_object_get(answer, "error");
	if (error) {
		const char *desc = json_string_value(json_object_get(error, "desc"));

		rc = err_set(e, ERR_PROTOCOL, "QEMU refused %s: %s", command, desc ? desc : "no reason given");
	} else if (ret_value) {
		*ret_value = json_incref(json_object_get(answer, "return"));
	}
	json_decref(answer);
	return rc;
}

void qmp_interrupt(struct qmp *q)
{
	q->interrupted = true;
}
