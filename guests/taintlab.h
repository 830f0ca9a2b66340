/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ways that bytes take through a guest, as rows: each takes a payload that came over the network and leaves a result
 * in memory, whose taint is looked at from outside of the VM.
 */
#ifndef GUESTS_TAINTLAB_H
#define GUESTS_TAINTLAB_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define LAB_MAX 4096 /* bytes of a payload, and of a result */

/* A request on its way. */
struct lab {
	int client; /* the connection */
	char *in; /* the payload, a string */
	size_t len; /* of the payload */
	char *out; /* LAB_MAX bytes, all zero */
	/* the result; as set beforehand: len bytes of out in this process, from the payload's first byte on */
	pid_t pid;
	const void *at;
	size_t ret_len;
	size_t offset; /* which byte of the payload became the result's first */
};

/* What has to be found in the result. */
enum lab_expect {
	LAB_EXACT, /* each byte is tainted by the payload's byte at the same place, beginning at the offset */
	LAB_ALL, /* each byte is tainted by some byte of the payload */
	LAB_ADDRESS, /* no byte is tainted, but each was written to an address that is of the payload */
	LAB_CLEAN, /* no byte is tainted */
};

struct lab_path {
	const char *name;
	enum lab_expect expect;
	/* Moves the payload; false: errno says why not. NULL: the payload as received is the result. */
	bool (*run)(struct lab *l);
	/* Takes the payload from the connection to in; NULL: read(). */
	bool (*receive)(struct lab *l);
	const char *payload; /* what to send; NULL: LAB_PAYLOAD */
	size_t size; /* bytes to send, the payload again and again; 0: the payload once */
};

#define LAB_PAYLOAD "The quick brown Fox jumps over the lazy dog, 0123456789 times."

/* Rows by subject; the last table of a program has no paths. */
struct lab_table {
	const struct lab_path *paths;
	const size_t *count;
};

extern const struct lab_table lab_tables[];

/* The loops that read(2) and write(2) leave to the caller. */
bool lab_read_all(int fd, void *ret, size_t len);
bool lab_write_all(int fd, const void *bytes, size_t len);

/*
 * Starts a child that runs child(l) and tells where its result is (pid, at, ret_len of l); it stays until the next request.
 * False if it failed.
 */
bool lab_child(struct lab *l, bool (*child)(struct lab *l));
/*
 * The same by exec, with this environment and standard input: this program again with argv (NULL-terminated), which is
 * NAME --exec WHAT VALUE. Result, for WHAT: argument: VALUE itself; environment: that of the variable VALUE; input: a line of
 * at most VALUE bytes from standard input; random: the random bytes that the kernel gives every program.
 */
bool lab_exec(struct lab *l, char *const *argv, char *const *envp, int input);

/* Hides from the compiler what p points to. */
static inline void *lab_opaque(const void *p)
{
	void *q = (void *)p;

	__asm__ volatile("" : "+r"(q) : : "memory");
	return q;
}

#endif
