/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Specifications of the uplink: each mistake has its own line; and a port in use is named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/net.h"
#include "net/uplink_internal.h"

static const struct {
	const char *spec, *error;
} bad[] = {
	{"", "network uplink '' is unknown: user or tap"},
	{"bridge", "network uplink 'bridge' is unknown: user or tap"},
	{"user,", "network: option '' has no value"},
	{"user,hostfwd", "network: option 'hostfwd' has no value"},
	{"user,ifname=tap0", "network: uplink 'user' has no option 'ifname'"},
	{"tap,restrict=on", "network: uplink 'tap' has no option 'restrict'"},
	{"tap", "network: uplink 'tap' needs ifname=NAME"},
	{"tap,ifname=", "network: ifname=: an interface name has 1 to 15 bytes"},
	{"tap,ifname=sixteen-bytes-xx", "network: ifname=sixteen-bytes-xx: an interface name has 1 to 15 bytes"},
	{"user,restrict=yes", "network: restrict=yes: neither on nor off"},
	{"user,hostfwd=", "network: hostfwd=: not PROTO:HOSTADDR:HOSTPORT-GUESTADDR:GUESTPORT"},
	{"user,hostfwd=tcp::80", "network: hostfwd=tcp::80: not PROTO:HOSTADDR:HOSTPORT-GUESTADDR:GUESTPORT"},
	{"user,hostfwd=-tcp::80", "network: hostfwd=-tcp::80: not PROTO:HOSTADDR:HOSTPORT-GUESTADDR:GUESTPORT"},
	{"user,hostfwd=sctp::80-:80", "network: hostfwd=sctp::80-:80: protocol 'sctp' is neither tcp nor udp"},
	{"user,hostfwd=tcp:80-:80", "network: hostfwd=tcp:80-:80: '80' is not ADDR:PORT"},
	{"user,hostfwd=tcp::80-80", "network: hostfwd=tcp::80-80: '80' is not ADDR:PORT"},
	{"user,hostfwd=tcp:host:80-:80", "network: hostfwd=tcp:host:80-:80: 'host' is not an IPv4 address"},
	{"user,hostfwd=tcp::0-:80", "network: hostfwd=tcp::0-:80: '0' is not a port (1 to 65535)"},
	{"user,hostfwd=tcp::80-:65536", "network: hostfwd=tcp::80-:65536: '65536' is not a port (1 to 65535)"},
	{"user,hostfwd=tcp::80-:4294967376",
	 "network: hostfwd=tcp::80-:4294967376: '4294967376' is not a port (1 to 65535)"},
	{"user,hostfwd=tcp::8 0-:80", "network: hostfwd=tcp::8 0-:80: '8 0' is not a port (1 to 65535)"},
	{"user,hostfwd=tcp::80-:", "network: hostfwd=tcp::80-:: '' is not a port (1 to 65535)"},
};

static void test_errors(void **state)
{
	struct uplink_config c;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct err e = {0};

		assert_int_equal(uplink_parse(bad[i].spec, &c, &e), -1);
		assert_int_equal(e.code, ERR_USAGE);
		assert_string_equal(e.text, bad[i].error);
	}
}

static void test_good(void **state)
{
	struct uplink_config c;
	struct err e;

	(void)state;
	assert_int_equal(uplink_parse("user", &c, &e), 0);
	assert_ptr_equal(c.ops, &uplink_user_ops);
	assert_int_equal(uplink_parse("tap,ifname=tap0", &c, &e), 0);
	assert_string_equal(c.ifname, "tap0");
	assert_int_equal(
		uplink_parse("user,hostfwd=tcp::8080-:80,restrict=on,hostfwd=udp:0.0.0.0:53-10.0.2.16:5353", &c, &e),
		0);
	assert_true(c.restricted);
	assert_int_equal(c.n_hostfwd, 2);
	assert_false(c.hostfwd[0].udp);
	assert_int_equal(ntohl(c.hostfwd[0].host.s_addr), 0x7f000001);
	assert_int_equal(ntohl(c.hostfwd[0].guest.s_addr), 0x0a00020f);
	assert_int_equal(c.hostfwd[0].host_port, 8080);
	assert_int_equal(c.hostfwd[0].guest_port, 80);
	assert_true(c.hostfwd[1].udp);
	assert_int_equal(c.hostfwd[1].host.s_addr, 0);
	assert_int_equal(ntohl(c.hostfwd[1].guest.s_addr), 0x0a000210);
}

static bool may_deliver(void *arg, uint64_t seq)
{
	(void)arg, (void)seq;
	return true;
}

static const struct net_ops ops = {.may_deliver = may_deliver};

static int create(const char *spec, struct err *e)
{
	int ram = memfd_create("ram", MFD_CLOEXEC);
	struct loop *l = loop_create(e);
	struct net *n = NULL;
	struct gmem *gm;
	int result;

	assert_true(ram >= 0 && ftruncate(ram, 4096) == 0);
	assert_int_equal(gmem_create(ram, 4096, &gm, e), 0);
	result = net_create(l, gm, spec, 1 << 20, &ops, NULL, &n, e);
	net_destroy(n);
	loop_destroy(l);
	gmem_destroy(gm);
	close(ram);
	return result;
}

static void test_port_in_use(void **state)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char spec[64], text[96];
	struct err e;

	(void)state;
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	snprintf(spec, sizeof(spec), "user,hostfwd=tcp::%u-:7", ntohs(a.sin_port));
	snprintf(text, sizeof(text), "network: hostfwd: tcp port %u of 127.0.0.1 is in use", ntohs(a.sin_port));
	assert_int_equal(create(spec, &e), -1);
	assert_string_equal(e.text, text);
	close(fd);
	assert_int_equal(create(spec, &e), 0); /* and when it is free, the same works */
}

static void test_tap_missing(void **state)
{
	struct err e;

	(void)state;
	assert_int_equal(create("tap,ifname=no-such-tap", &e), -1);
	assert_string_equal(e.text, "network: there is no interface 'no-such-tap'");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_port_in_use),
		cmocka_unit_test(test_tap_missing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
