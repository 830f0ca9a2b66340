/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The HTTP client of the benchmarks: keep-alive load, and sending files. Failures are told on standard error. */
#ifndef BENCH_HTTP_H
#define BENCH_HTTP_H

#include <stddef.h>
#include <stdint.h>

#define HTTP_CLIENTS 16

/*
 * GETs target from 127.0.0.1:port over HTTP_CLIENTS connections that are kept, each with one request under way, until
 * requests have been answered in all. Each answer must be 200 with length bytes. 0, or -1; *ret_sum is a checksum of
 * the bodies. steady(arg) is called once, when every connection has had its first answer (these count neither as
 * requests nor in the sum): a lost SYN, which costs seconds, is not what is to be measured.
 */
int http_load(int port, const char *target, size_t length, unsigned requests, void (*steady)(void *arg), void *arg,
	      uint64_t *ret_sum);

/* PUTs n bytes to target, waits for 201. */
int http_put(int port, const char *target, const void *bytes, size_t n);

#endif
