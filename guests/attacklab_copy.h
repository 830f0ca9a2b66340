/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ways a request gets into a buffer: LAB_COPY_x(dst, room, in), each without a bound, or with it under -DFIXED.
 *
 * They are macros because the copy has to be in the handler itself: that is where the culprit is looked for.
 * LAB_BYTES_x is what x lets through, LAB_PREFIX_x how many bytes of its own it puts first, LAB_READS_x whether it takes
 * the bytes from the connection.
 */
#ifndef GUESTS_ATTACKLAB_COPY_H
#define GUESTS_ATTACKLAB_COPY_H

#include "attacklab.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifdef FIXED
#define LAB_ROOM(n, room) ((n) < (room) ? (n) : (room)-1)
#define LAB_MORE(i, room) ((i) < (room)-1)
#else
#define LAB_ROOM(n, room) (n)
#define LAB_MORE(i, room) true
#endif

/*
 * As in the paper: until the NUL. What the loops need while they run is declared register, or by compilers that do not heed
 * that put below the buffer, so that the overflow does not overwrite it.
 */
#define LAB_COPY_loop(dst, room, in)                                                                                   \
	do {                                                                                                           \
		register const char *from_ = (in)->bytes;                                                              \
		register size_t i_ = 0;                                                                                \
                                                                                                                       \
		for (; from_[i_] && LAB_MORE(i_, room); i_++)                                                          \
			(dst)[i_] = from_[i_];                                                                         \
		(dst)[i_] = '\0';                                                                                      \
	} while (0)
/* A loop by count; the barrier keeps compilers from making a memcpy of it. */
#define LAB_COPY_count(dst, room, in)                                                                                  \
	do {                                                                                                           \
		register const char *from_ = (in)->bytes;                                                              \
		register size_t n_ = LAB_ROOM((in)->size, room);                                                       \
                                                                                                                       \
		for (register size_t i_ = 0; i_ < n_; i_++) {                                                          \
			(dst)[i_] = from_[i_];                                                                         \
			__asm__ volatile("" ::: "memory");                                                             \
		}                                                                                                      \
	} while (0)
/* As gets() did. */
#define LAB_COPY_gets(dst, room, in)                                                                                   \
	do {                                                                                                           \
		register struct lab_input *in_ = (in);                                                                 \
		register size_t i_ = 0;                                                                                \
		char c_;                                                                                               \
                                                                                                                       \
		while (in_->left > 0 && read(in_->fd, &c_, 1) == 1 && (in_->left--, c_ != '\n'))                       \
			if (LAB_MORE(i_, room))                                                                        \
				(dst)[i_++] = c_;                                                                      \
		(dst)[i_] = '\0';                                                                                      \
	} while (0)
#define LAB_COPY_memcpy(dst, room, in) memcpy(dst, (in)->bytes, LAB_ROOM((in)->size, room))
#define LAB_COPY_read(dst, room, in) lab_got(in, read((in)->fd, dst, LAB_ROOM((in)->size, room)))
#define LAB_COPY_recv(dst, room, in) lab_got(in, recv((in)->fd, dst, LAB_ROOM((in)->size, room), 0))

#ifdef FIXED
#define LAB_COPY_strcpy(dst, room, in) snprintf(dst, room, "%.*s", (int)(room)-1, (in)->bytes)
#define LAB_COPY_strcat(dst, room, in) strncat(dst, (in)->bytes, (room)-1)
#define LAB_COPY_strncpy(dst, room, in) strncpy(dst, (in)->bytes, (room)-1)
#define LAB_COPY_sprintf(dst, room, in) snprintf(dst, room, "<%.*s", (int)(room)-2, (in)->bytes)
#define LAB_COPY_vsprintf(dst, room, in) lab_format(dst, "<%.*s", (int)(room)-2, (in)->bytes)
#define LAB_COPY_sscanf(dst, room, in) (void)sscanf((in)->bytes, "%63s", dst)
#else
#define LAB_COPY_strcpy(dst, room, in) strcpy(dst, (in)->bytes)
#define LAB_COPY_strcat(dst, room, in) strcat(dst, (in)->bytes)
/* The bound is that of the source. */
#define LAB_COPY_strncpy(dst, room, in) strncpy(dst, (in)->bytes, (in)->size + 1)
#define LAB_COPY_sprintf(dst, room, in) sprintf(dst, "<%s", (in)->bytes)
#define LAB_COPY_vsprintf(dst, room, in) lab_format(dst, "<%s", (in)->bytes)
#define LAB_COPY_sscanf(dst, room, in) (void)sscanf((in)->bytes, "%s", dst)
#endif

/* All of them, to make a handler or a row for each. */
#define LAB_COPIES(X)                                                                                                  \
	X(loop)                                                                                                        \
	X(count) X(gets) X(memcpy) X(read) X(recv) X(strcpy) X(strcat) X(strncpy) X(sprintf) X(vsprintf) X(sscanf)
/* Those that stand for the others: a loop, a string, a counted copy. */
#define LAB_COPIES_FEW(X) X(loop) X(strcpy) X(memcpy)

#define LAB_BYTES_loop "text"
#define LAB_BYTES_count "any"
#define LAB_BYTES_gets "line"
#define LAB_BYTES_memcpy "any"
#define LAB_BYTES_read "any"
#define LAB_BYTES_recv "any"
#define LAB_BYTES_strcpy "text"
#define LAB_BYTES_strcat "text"
#define LAB_BYTES_strncpy "text"
#define LAB_BYTES_sprintf "text"
#define LAB_BYTES_vsprintf "text"
#define LAB_BYTES_sscanf "word"

#define LAB_PREFIX_loop 0
#define LAB_PREFIX_count 0
#define LAB_PREFIX_gets 0
#define LAB_PREFIX_memcpy 0
#define LAB_PREFIX_read 0
#define LAB_PREFIX_recv 0
#define LAB_PREFIX_strcpy 0
#define LAB_PREFIX_strcat 0
#define LAB_PREFIX_strncpy 0
#define LAB_PREFIX_sprintf 1
#define LAB_PREFIX_vsprintf 1
#define LAB_PREFIX_sscanf 0

#define LAB_READS_loop false
#define LAB_READS_count false
#define LAB_READS_gets true
#define LAB_READS_memcpy false
#define LAB_READS_read true
#define LAB_READS_recv true
#define LAB_READS_strcpy false
#define LAB_READS_strcat false
#define LAB_READS_strncpy false
#define LAB_READS_sprintf false
#define LAB_READS_vsprintf false
#define LAB_READS_sscanf false

static inline void lab_got(struct lab_input *in, ssize_t n)
{
	if (n > 0)
		in->left -= (size_t)n;
}

/* vsprintf without a bound; under FIXED the format has it. */
__attribute__((noinline, unused, format(printf, 2, 3))) static void lab_format(char *dst, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsprintf(dst, format, args);
	va_end(args);
}

#endif
