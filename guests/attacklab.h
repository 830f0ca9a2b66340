/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the parts of the attack lab share: a service with one request verb for each form of attack.
 *
 * A form is a handler with one known bug, and a row that says how the bug is used (guests/exploit_lab.c reads the rows
 * from a copy of the program). -DFIXED builds the twin in which every handler is right. Benign requests (up to
 * LAB_BENIGN printable letters, no space, no '%') are answered the same by both.
 */
#ifndef GUESTS_ATTACKLAB_H
#define GUESTS_ATTACKLAB_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define LAB_BUF 64 /* size of every buffer that is overrun */
#define LAB_BENIGN 48
#define LAB_REQUEST_MAX 4096

#define LAB_NOINLINE __attribute__((noinline))

/* A request. */
struct lab_input {
	int fd; /* where what is left of it can be read */
	size_t size; /* as the request's head says */
	size_t left; /* not read yet */
	const char *bytes; /* all of it and a NUL; empty when the handler reads it itself */
};

/* One row: a bug, and how an attacker gets from it to the marker or to a crash. */
struct lab_form {
	const char *name;
	void (*serve)(struct lab_input *in);
	const char *way; /* see guests/exploit_lab.h */
	const char *target; /* of what is written through a pointer; "-": none */
	int distance; /* from the first byte of the request to what is overwritten; 0: found by trying */
	const char
		*bytes; /* what the copy lets through: any, text (no NUL), word (no space either), line (no newline) */
	const char *culprits; /* functions, one of which has the culprit */
	bool reads; /* takes the request from the connection itself */
};

/* The rows of one file, ended by one without name. */
extern const struct lab_form lab_stack_forms[], lab_static_forms[], lab_pointer_forms[], lab_format_forms[],
	lab_other_forms[], lab_shape_forms[];

/* The whole of the newest request and a NUL; at an address that an attacker knows. */
extern char lab_request[LAB_REQUEST_MAX + 1];

/* The connection whose request is handled. */
extern int lab_out;

/* A function pointer of the program, called by some handlers; the attacker's symbol lab_hook. */
extern void (*volatile lab_hook)(void);
/* Benign code for a function pointer to lead to. */
void lab_safe(void);

/* Sets the answer to "ok TEXT": text up to its NUL, at most LAB_BUF - 1 bytes. */
void lab_answer(const char *text);

/* The second half of a stack overflow by parameter and of a jump: not to be inlined, see the callers. */
void lab_hop(void **env);

/* Runs "compress NAME": a command with a bug, in a process of its own. Exit code. */
int lab_compress(const char *name);

#endif
