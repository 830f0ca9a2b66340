/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The frame parser on hand-written frames, whole and cut at every length. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "net/frame_internal.h"

#define MACS "\x52\x54\x00\x12\x34\x56\x52\x55\x0a\x00\x02\x02"
#define IP4 MACS "\x08\x00"
#define IP6 MACS "\x86\xdd"
/* version and header words, total length, flags and fragment offset, protocol; addresses 10.0.2.2 -> 10.0.2.15 */
#define V4(ihl, total, frag, proto)                                                                                    \
	ihl "\x00" total "\x00\x01" frag "\x40" proto "\x00\x00"                                                       \
	    "\x0a\x00\x02\x02\x0a\x00\x02\x0f"
#define V6(len, next)                                                                                                  \
	"\x60\x00\x00\x00" len next "\x40"                                                                             \
	"\xfe\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\x01"                                                                       \
	"\xfe\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\x02"
/* ports 4660 -> 7 */
#define TCP(off) "\x12\x34\x00\x07\x00\x00\x00\x01\x00\x00\x00\x02" off "\x18\x01\x00\x00\x00\x00\x00"
#define UDP(len) "\x12\x34\x00\x07" len "\x00\x00"
#define FRAME(s) (const uint8_t *)(s), sizeof(s) - 1

static const struct {
	const char *name;
	const uint8_t *frame;
	size_t len;
	uint32_t off, payload;
	uint8_t proto, version;
	uint16_t dst_port;
} cases[] = {
	{"empty", FRAME(""), 0, 0, 0, 0, 0},
	{"tcp", FRAME(IP4 V4("\x45", "\x00\x2c", "\x00\x00", "\x06") TCP("\x50") "ABCD"), 54, 4, 6, 4, 7},
	{"tcp without payload", FRAME(IP4 V4("\x45", "\x00\x28", "\x40\x00", "\x06") TCP("\x50")), 54, 0, 6, 4, 7},
	{"tcp, ethernet padding", FRAME(IP4 V4("\x45", "\x00\x2a", "\x40\x00", "\x06") TCP("\x50") "ABxxxx"), 54, 2, 6,
	 4, 7},
	{"tcp options",
	 FRAME(IP4 V4("\x45", "\x00\x30", "\x00\x00", "\x06") TCP("\x60") "\x01\x01\x01\x01"
									  "ABCD"),
	 58, 4, 6, 4, 7},
	{"tcp header beyond the end", FRAME(IP4 V4("\x45", "\x00\x2c", "\x00\x00", "\x06") TCP("\xf0") "ABCD"), 0, 0, 6,
	 4, 0},
	{"tcp header too small", FRAME(IP4 V4("\x45", "\x00\x2c", "\x00\x00", "\x06") TCP("\x40") "ABCD"), 0, 0, 6, 4,
	 0},
	{"ip options", FRAME(IP4 V4("\x46", "\x00\x30", "\x00\x00", "\x06") "\x01\x01\x01\x01" TCP("\x50") "ABCD"), 58,
	 4, 6, 4, 7},
	{"ip total length beyond the end", FRAME(IP4 V4("\x45", "\xff\xff", "\x00\x00", "\x06") TCP("\x50") "ABCD"), 54,
	 4, 6, 4, 7},
	{"ip total length below the header", FRAME(IP4 V4("\x45", "\x00\x10", "\x00\x00", "\x06") TCP("\x50") "ABCD"),
	 0, 0, 0, 0, 0},
	{"ip header length below 5", FRAME(IP4 V4("\x44", "\x00\x2c", "\x00\x00", "\x06") TCP("\x50") "ABCD"), 0, 0, 0,
	 0, 0},
	{"wrong version", FRAME(IP4 V4("\x65", "\x00\x2c", "\x00\x00", "\x06") TCP("\x50") "ABCD"), 0, 0, 0, 0, 0},
	{"udp", FRAME(IP4 V4("\x45", "\x00\x20", "\x00\x00", "\x11") UDP("\x00\x0c") "ABCD"), 42, 4, 17, 4, 7},
	{"udp shorter than ip", FRAME(IP4 V4("\x45", "\x00\x20", "\x00\x00", "\x11") UDP("\x00\x0a") "ABCD"), 42, 2, 17,
	 4, 7},
	{"udp length below 8", FRAME(IP4 V4("\x45", "\x00\x20", "\x00\x00", "\x11") UDP("\x00\x07") "ABCD"), 0, 0, 17,
	 4, 7},
	{"udp first fragment", FRAME(IP4 V4("\x45", "\x00\x20", "\x20\x00", "\x11") UDP("\x10\x00") "ABCD"), 42, 4, 17,
	 4, 7},
	{"udp later fragment", FRAME(IP4 V4("\x45", "\x00\x1a", "\x00\x01", "\x11") "ABCDEF"), 34, 6, 17, 4, 0},
	{"tcp later fragment", FRAME(IP4 V4("\x45", "\x00\x1a", "\x20\x01", "\x06") "ABCDEF"), 34, 6, 6, 4, 0},
	{"icmp", FRAME(IP4 V4("\x45", "\x00\x1c", "\x00\x00", "\x01") "\x08\x00\x00\x00\x00\x00\x00\x00"), 0, 0, 0, 4,
	 0},
	{"icmp later fragment",
	 FRAME(IP4 V4("\x45", "\x00\x1c", "\x00\x01", "\x01") "\x08\x00\x00\x00\x00\x00\x00\x00"), 0, 0, 0, 4, 0},
	{"arp",
	 FRAME(MACS "\x08\x06"
		    "\x00\x01\x08\x00\x06\x04\x00\x01 and more than enough bytes for a header"),
	 0, 0, 0, 0, 0},
	{"vlan", FRAME(MACS "\x81\x00\x00\x05\x08\x00" V4("\x45", "\x00\x2c", "\x00\x00", "\x06") TCP("\x50") "ABCD"),
	 58, 4, 6, 4, 7},
	{"two vlan tags",
	 FRAME(MACS "\x88\xa8\x00\x05\x81\x00\x00\x05\x08\x00" V4("\x45", "\x00\x2c", "\x00\x00", "\x06")
		       TCP("\x50") "ABCD"),
	 0, 0, 0, 0, 0},
	{"v6 tcp", FRAME(IP6 V6("\x00\x18", "\x06") TCP("\x50") "ABCD"), 74, 4, 6, 6, 7},
	{"v6 udp, padding", FRAME(IP6 V6("\x00\x0c", "\x11") UDP("\x00\x0c") "ABCDxx"), 62, 4, 17, 6, 7},
	{"v6 hop-by-hop, destination",
	 FRAME(IP6 V6("\x00\x28", "\x00") "\x3c\x00\x01\x04\0\0\0\0"
					  "\x06\x00\x01\x04\0\0\0\0" TCP("\x50") "ABCD"),
	 90, 4, 6, 6, 7},
	{"v6 authentication", FRAME(IP6 V6("\x00\x24", "\x33") "\x06\x01\0\0\0\0\0\0\0\0\0\0" TCP("\x50") "ABCD"), 86,
	 4, 6, 6, 7},
	{"v6 first fragment", FRAME(IP6 V6("\x00\x14", "\x2c") "\x11\x00\x00\x01\0\0\0\1" UDP("\x10\x00") "ABCD"), 70,
	 4, 17, 6, 7},
	{"v6 later fragment",
	 FRAME(IP6 V6("\x00\x0c", "\x2c") "\x11\x00\x00\x08\0\0\0\1"
					  "ABCD"),
	 62, 4, 17, 6, 0},
	{"v6 later fragment, hidden",
	 FRAME(IP6 V6("\x00\x0c", "\x2c") "\x3c\x00\x00\x08\0\0\0\1"
					  "ABCD"),
	 62, 4, 0, 6, 0},
	{"v6 later fragment, icmp",
	 FRAME(IP6 V6("\x00\x0c", "\x2c") "\x3a\x00\x00\x08\0\0\0\1"
					  "ABCD"),
	 0, 0, 0, 6, 0},
	{"v6 extension beyond the end",
	 FRAME(IP6 V6("\x00\x10", "\x00") "\x06\xff\x01\x04\0\0\0\0"
					  "ABCDEFGH"),
	 0, 0, 0, 6, 0},
	{"v6 too many extensions",
	 FRAME(IP6 V6("\x00\x68", "\x00") "\x00\x00\0\0\0\0\0\0"
					  "\x00\x00\0\0\0\0\0\0"
					  "\x00\x00\0\0\0\0\0\0"
					  "\x00\x00\0\0\0\0\0\0"
					  "\x00\x00\0\0\0\0\0\0"
					  "\x00\x00\0\0\0\0\0\0"
					  "\x00\x00\0\0\0\0\0\0"
					  "\x00\x00\0\0\0\0\0\0"
					  "\x00\x00\0\0\0\0\0\0"
					  "\x06\x00\0\0\0\0\0\0" TCP("\x50") "ABCD"),
	 0, 0, 0, 6, 0},
	{"v6 icmp", FRAME(IP6 V6("\x00\x08", "\x3a") "\x87\x00\x00\x00\x00\x00\x00\x00"), 0, 0, 0, 6, 0},
};

static void test_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct frame_info info;

		frame_parse(cases[i].frame, cases[i].len, &info);
		if (info.payload_len != cases[i].payload || (info.payload_len && info.payload_off != cases[i].off) ||
		    info.ip_proto != cases[i].proto || info.ip_version != cases[i].version ||
		    info.dst_port != cases[i].dst_port)
			fail_msg("%s: %u bytes at %u, protocol %u, version %u, port %u", cases[i].name,
				 info.payload_len, info.payload_off, info.ip_proto, info.ip_version, info.dst_port);
	}
}

/* Of a frame that ends early, no byte outside of it is looked at or called payload. */
static void test_cut(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		for (size_t len = 0; len <= cases[i].len; len++) {
			uint8_t *copy = malloc(len ? len : 1); /* its own block: the sanitizer sees reads past it */
			struct frame_info info;

			assert_non_null(copy);
			memcpy(copy, cases[i].frame, len);
			frame_parse(copy, len, &info);
			assert_true(info.payload_len <= len && info.payload_off <= len - info.payload_len);
			free(copy);
		}
	}
}

static void test_addresses(void **state)
{
	static const uint8_t src[4] = {10, 0, 2, 2}, dst[4] = {10, 0, 2, 15};
	struct frame_info info;

	(void)state;
	frame_parse(cases[1].frame, cases[1].len, &info);
	assert_memory_equal(info.src, src, 4);
	assert_memory_equal(info.dst, dst, 4);
	assert_int_equal(info.src_port, 0x1234);
	assert_int_equal(info.dst_port, 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
