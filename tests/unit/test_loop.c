/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The event loop: order, nesting, removal inside handlers, timers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/loop.h"

struct fixture {
	struct loop *l;
	int fd;
	struct loop_source *source, *other;
	int calls, outer_calls;
	bool done;
};

static void take(void *arg, uint32_t events)
{
	struct fixture *f = arg;
	uint64_t n;

	(void)events;
	assert_int_equal(read(f->fd, &n, sizeof(n)), sizeof(n));
	f->calls++;
	f->done = true;
	loop_stop(f->l);
}

static void give(int fd)
{
	uint64_t one = 1;

	assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct err e;

	f->l = loop_create(&e);
	f->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	*state = f;
	return f->l && f->fd >= 0 ? 0 : -1;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	loop_destroy(f->l);
	close(f->fd);
	free(f);
	return 0;
}

static void test_descriptor(void **state)
{
	struct fixture *f = *state;
	struct err e;

	f->source = loop_add(f->l, LOOP_FD_KICK, f->fd, EPOLLIN, 0, take, f, &e);
	assert_non_null(f->source);
	give(f->fd);
	loop_run(f->l);
	assert_int_equal(f->calls, 1);
	loop_modify(f->source, 0);
	give(f->fd);
	f->done = false;
	assert_false(loop_run_until(f->l, &f->done, 10));
	assert_int_equal(f->calls, 1);
	loop_modify(f->source, EPOLLIN);
	assert_true(loop_run_until(f->l, &f->done, 1000));
	loop_remove(&f->source);
	assert_null(f->source);
}

static void remove_both(void *arg, uint32_t events)
{
	struct fixture *f = arg;

	(void)events;
	f->calls++;
	loop_remove(&f->source);
	loop_remove(&f->other);
	loop_stop(f->l);
}

static void test_removal_inside_a_handler(void **state)
{
	struct fixture *f = *state;
	int second = eventfd(1, EFD_CLOEXEC);
	struct err e;

	f->source = loop_add(f->l, LOOP_FD_KICK, f->fd, EPOLLIN, 0, remove_both, f, &e);
	f->other = loop_add(f->l, LOOP_FD_KICK, second, EPOLLIN, 0, remove_both, f, &e);
	give(f->fd);
	loop_run(f->l);
	assert_int_equal(f->calls, 1); /* both were ready, the first handler removed the second source */
	close(second);
}

static void count_outer(void *arg, uint32_t events)
{
	struct fixture *f = arg;

	(void)events;
	f->outer_calls++;
	loop_stop(f->l);
}

static void nest(void *arg, uint32_t events)
{
	struct fixture *f = arg;
	bool never = false;

	(void)events;
	assert_false(loop_run_until(f->l, &never, 20));
	assert_int_equal(f->outer_calls, 0);
	f->calls++;
}

static void test_outer_sources_wait(void **state)
{
	struct fixture *f = *state;
	struct loop_source *timer, *outer_timer;
	struct err e;

	/* The timer's handler nests; meanwhile neither outer source may be served. */
	timer = loop_timer_add(f->l, 0, 0, nest, f, &e);
	f->source = loop_add(f->l, LOOP_FD_CONTROL, f->fd, EPOLLIN, LOOP_OUTER, count_outer, f, &e);
	outer_timer = loop_timer_add(f->l, 1, LOOP_OUTER, count_outer, f, &e);
	assert_true(timer && f->source && outer_timer);
	loop_run(f->l);
	assert_int_equal(f->calls, 1);
	assert_true(f->outer_calls >= 1);
	loop_remove(&timer);
	loop_remove(&outer_timer);
	loop_remove(&f->source);
}

/* As a signal that comes while a VM is being started. */
static void test_stop_before_run(void **state)
{
	struct fixture *f = *state;
	struct loop_source *timer;
	struct err e;

	timer = loop_timer_add(f->l, 20, 0, count_outer, f, &e);
	assert_non_null(timer);
	loop_stop(f->l);
	loop_run(f->l);
	assert_int_equal(f->outer_calls, 0);
	loop_run(f->l);
	assert_int_equal(f->outer_calls, 1);
	loop_remove(&timer);
}

static void mark_done(void *arg, uint32_t events)
{
	struct fixture *f = arg;

	(void)events;
	f->calls++;
	f->done = true;
}

static void test_timers(void **state)
{
	struct fixture *f = *state;
	struct loop_source *t;
	struct err e;

	t = loop_timer_add(f->l, 5, 0, mark_done, f, &e);
	assert_true(loop_run_until(f->l, &f->done, 5000));
	f->done = false;
	assert_false(loop_run_until(f->l, &f->done, 20)); /* one shot */
	loop_timer_set(t, 1);
	assert_true(loop_run_until(f->l, &f->done, 5000));
	f->done = false;
	loop_timer_set(t, 1);
	loop_timer_cancel(t);
	assert_false(loop_run_until(f->l, &f->done, 20));
	assert_int_equal(f->calls, 2);
	loop_remove(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_descriptor, setup, teardown),
		cmocka_unit_test_setup_teardown(test_removal_inside_a_handler, setup, teardown),
		cmocka_unit_test_setup_teardown(test_outer_sources_wait, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stop_before_run, setup, teardown),
		cmocka_unit_test_setup_teardown(test_timers, setup, teardown),
	};

	return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
