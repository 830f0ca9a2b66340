/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The QMP client against a peer that answers, refuses, and ends at every point of the conversation. */
#include "qemu/qmp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define GREETING "{\"QMP\": {\"version\": {}}}\n"

struct peer {
	struct loop *loop;
	struct qmp *qmp;
	int fd; /* QEMU's end */
	unsigned events;
	struct err e;
};

static void count_event(void *arg, const char *event, const json_t *data)
{
	struct peer *p = arg;

	(void)data;
	p->events += strcmp(event, "STOP") == 0;
}

static int start(void **state)
{
	static struct peer p;
	int fds[2];

	p = (struct peer){.fd = -1};
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	p.fd = fds[1];
	p.loop = loop_create(&p.e);
	assert_non_null(p.loop);
	assert_int_equal(qmp_create(p.loop, fds[0], count_event, &p, &p.qmp, &p.e), 0);
	*state = &p;
	return 0;
}

static int stop(void **state)
{
	struct peer *p = *state;

	qmp_destroy(p->qmp);
	loop_destroy(p->loop);
	if (p->fd >= 0)
		close(p->fd);
	return 0;
}

static void say(struct peer *p, const char *text)
{
	assert_int_equal(write(p->fd, text, strlen(text)), (ssize_t)strlen(text));
}

static void hang_up(struct peer *p)
{
	close(p->fd);
	p->fd = -1;
}

static void test_negotiation_and_events(void **state)
{
	struct peer *p = *state;

	say(p, GREETING "{\"event\": \"STOP\"}\n{\"id\": 1, \"return\": {}}\n");
	/* The answer is there before the question: only one that was asked for counts. */
	assert_int_equal(qmp_negotiate(p->qmp, 50, &p->e), -1);
	assert_int_equal(p->e.code, ERR_TIMEOUT);
	assert_true(qmp_greeted(p->qmp));
	assert_int_equal(p->events, 1);
}

static void test_refusal_has_the_reason(void **state)
{
	struct peer *p = *state;

	say(p, GREETING);
	while (!qmp_greeted(p->qmp))
		loop_run_until(p->loop, &(bool){false}, 10);
	assert_int_equal(qmp_call(p->qmp, "stop", NULL, 1, NULL, &p->e), -1);
	assert_int_equal(p->e.code, ERR_TIMEOUT);
	/* Late answers of a call that was given up are not taken for the next one's. */
	say(p, "{\"id\": 1, \"return\": {}}\n{\"id\": 2, \"error\": {\"desc\": \"no such thing\"}}\n");
	assert_int_equal(qmp_call(p->qmp, "stop", NULL, 1000, NULL, &p->e), -1);
	assert_int_equal(p->e.code, ERR_PROTOCOL);
	assert_non_null(strstr(p->e.text, "no such thing"));
}

static void test_end_before_the_greeting(void **state)
{
	struct peer *p = *state;

	hang_up(p);
	assert_int_equal(qmp_negotiate(p->qmp, 1000, &p->e), -1);
	assert_int_equal(p->e.code, ERR_GONE);
}

/* The greeting is read, the peer is gone, and nobody has read the end of the stream yet. */
static void test_end_before_a_command(void **state)
{
	struct peer *p = *state;

	say(p, GREETING);
	while (!qmp_greeted(p->qmp))
		loop_run_until(p->loop, &(bool){false}, 10);
	hang_up(p);
	assert_int_equal(qmp_call(p->qmp, "qmp_capabilities", NULL, 1000, NULL, &p->e), -1);
	assert_int_equal(p->e.code, ERR_GONE);
	assert_non_null(strstr(p->e.text, "qmp_capabilities"));
}

static void test_end_before_the_answer(void **state)
{
	struct peer *p = *state;

	say(p, GREETING);
	while (!qmp_greeted(p->qmp))
		loop_run_until(p->loop, &(bool){false}, 10);
	assert_int_equal(shutdown(p->fd, SHUT_WR), 0);
	assert_int_equal(qmp_call(p->qmp, "cont", NULL, 1000, NULL, &p->e), -1);
	assert_int_equal(p->e.code, ERR_GONE);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_negotiation_and_events, start, stop),
		cmocka_unit_test_setup_teardown(test_refusal_has_the_reason, start, stop),
		cmocka_unit_test_setup_teardown(test_end_before_the_greeting, start, stop),
		cmocka_unit_test_setup_teardown(test_end_before_a_command, start, stop),
		cmocka_unit_test_setup_teardown(test_end_before_the_answer, start, stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
