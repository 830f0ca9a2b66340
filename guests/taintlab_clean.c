/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Paths at whose end nothing of the payload is left: memory that was tainted and is overwritten, or is given out anew. */
#include "taintlab_paths.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define AREA (64 * 1024)
#define PAGE 4096

/* Fills size bytes with the payload, again and again. */
static void soak(const struct lab *l, char *to, size_t size)
{
	for (size_t i = 0; i < size; i += l->len)
		memcpy(to + i, l->in, size - i < l->len ? size - i : l->len);
	lab_opaque(to);
}

static bool soaked_out(struct lab *l)
{
	soak(l, l->out, LAB_MAX);
	l->ret_len = LAB_MAX;
	return true;
}

static bool by_memset(struct lab *l)
{
	soaked_out(l);
	memset(l->out, 'x', LAB_MAX);
	return true;
}

static bool by_memset_odd(struct lab *l)
{
	soaked_out(l);
	memset(l->out + 3, 'x', 77);
	l->at = l->out + 3;
	l->ret_len = 77;
	return true;
}

static bool by_constants(struct lab *l)
{
	volatile char *to = l->out;

	soaked_out(l);
	for (int i = 0; i < LAB_MAX; i++)
		to[i] = (char)i;
	return true;
}

static bool by_strcpy_constant(struct lab *l)
{
	const char *text = lab_opaque("a constant string that is long enough for a vector register or two of them");

	soaked_out(l);
	strcpy(l->out, text);
	l->ret_len = strlen(text) + 1;
	return true;
}

static bool by_file(struct lab *l, const char *path, size_t len)
{
	int fd = open(path, O_RDONLY);
	bool ok = fd >= 0;

	soaked_out(l);
	ok = ok && lab_read_all(fd, l->out, len);
	close(fd);
	l->ret_len = len;
	return ok;
}

static bool by_read_zero(struct lab *l)
{
	return by_file(l, "/dev/zero", LAB_MAX);
}

static bool by_read_program(struct lab *l)
{
	return by_file(l, "/bin/busybox", LAB_MAX);
}

static bool by_read_proc(struct lab *l)
{
	return by_file(l, "/proc/version", 40);
}

static bool by_pipe_constant(struct lab *l)
{
	const char *text = "constants through a pipe";
	int fd[2];
	bool ok;

	soaked_out(l);
	ok = pipe(fd) == 0 && lab_write_all(fd[1], text, strlen(text)) && lab_read_all(fd[0], l->out, strlen(text));
	close(fd[0]);
	close(fd[1]);
	l->ret_len = strlen(text);
	return ok;
}

static char *map_area(void)
{
	char *map = mmap(NULL, AREA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return map == MAP_FAILED ? NULL : map;
}

/* One byte of each page, so that it is there. */
static void touch(char *area)
{
	for (size_t i = 0; i < AREA; i += PAGE)
		*(char *)lab_opaque(area + i) = 'x';
}

/* The last area is kept for the look at it. */
static bool fresh_area(struct lab *l)
{
	static char *last;

	if (last)
		munmap(last, AREA);
	last = map_area();
	if (last)
		touch(last);
	l->at = last;
	l->ret_len = AREA;
	return last != NULL;
}

/* Pages that were full of it go back to the kernel and come out again. */
static bool by_new_mapping(struct lab *l)
{
	char *area = map_area();

	if (!area)
		return false;
	soak(l, area, AREA);
	munmap(area, AREA);
	return fresh_area(l);
}

static bool by_dont_need(struct lab *l)
{
	if (!fresh_area(l))
		return false;
	soak(l, (char *)lab_opaque(l->at), AREA);
	if (madvise((char *)lab_opaque(l->at), AREA, MADV_DONTNEED) < 0)
		return false;
	touch((char *)lab_opaque(l->at));
	return true;
}

/* The pages were another process's, full of the payload, until it ended. */
static bool by_dead_process(struct lab *l)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		char *area = map_area();

		if (area)
			soak(l, area, AREA);
		_exit(!area);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0 && fresh_area(l);
}

/* Pages of a file that was full of it and is gone. */
static bool by_dead_file(struct lab *l)
{
	static char area[AREA];
	int fd = memfd_create("dead", MFD_CLOEXEC);
	bool ok;

	soak(l, area, AREA);
	ok = fd >= 0 && lab_write_all(fd, area, AREA);
	close(fd);
	memset(area, 0, AREA);
	return ok && fresh_area(l);
}

static __attribute__((noinline)) void stack_payload(struct lab *l)
{
	char local[1024];

	soak(l, local, sizeof(local));
	memcpy(l->out, local, sizeof(local));
}

static __attribute__((noinline)) void stack_constants(struct lab *l)
{
	volatile char local[1024];

	for (size_t i = 0; i < sizeof(local); i++)
		local[i] = 'x';
	memcpy(l->out, (const char *)local, sizeof(local));
	l->ret_len = sizeof(local);
}

static bool by_stack(struct lab *l)
{
	stack_payload(l);
	stack_constants(l);
	return true;
}

static bool by_heap(struct lab *l)
{
	char *used = malloc(2000), *again;

	if (!used)
		return false;
	soak(l, used, 2000);
	free(used);
	again = calloc(1, 2000);
	if (!again)
		return false;
	memcpy(l->out, again, 2000);
	free(again);
	l->ret_len = 2000;
	return true;
}

/* Arithmetic whose result does not depend on the payload. */
static bool by_xor_self(struct lab *l)
{
	soaked_out(l);
	for (int i = 0; i < LAB_MAX; i += 8) {
		unsigned long word;

		memcpy(&word, l->out + i, sizeof(word));
		__asm__ volatile("xor %0, %0" : "+r"(word));
		memcpy(l->out + i, &word, sizeof(word));
		memcpy(l->out + i + (8 - sizeof(word)), &word, sizeof(word));
	}
	return true;
}

/* Bytes beside those that are written stay what they are. */
static bool by_neighbours(struct lab *l)
{
	memcpy(l->out + 100, l->in, l->len);
	l->at = l->out;
	l->ret_len = 100;
	return true;
}

/* The disk's own copy goes right into a page that is full of it; then the program looks at the page, word by word. */
static bool by_disk(struct lab *l)
{
	static char area[LAB_MAX] __attribute__((aligned(PAGE)));
	int disk = open("/dev/vda", O_RDONLY | O_DIRECT);
	bool ok = disk >= 0;

	soak(l, area, sizeof(area));
	ok = ok && lab_read_all(disk, area, sizeof(area));
	close(disk);
	for (size_t i = 0; i < LAB_MAX; i += sizeof(long))
		*(volatile long *)(void *)(l->out + i) = *(volatile long *)(void *)(area + i);
	l->ret_len = LAB_MAX;
	return ok;
}

static bool by_random(struct lab *l)
{
	return by_file(l, "/dev/urandom", 256);
}

/* Of a new process; its stack protector and its addresses come from the same source. */
static bool by_at_random(struct lab *l)
{
	char *const argv[] = {"taintlab-random", "--exec", "random", "", NULL}, *const envp[] = {NULL};

	return lab_exec(l, argv, envp, STDIN_FILENO);
}

const struct lab_path lab_clean_paths[] = {
	{.name = "clean-memset", .expect = LAB_CLEAN, .run = by_memset},
	{.name = "clean-memset-odd", .expect = LAB_CLEAN, .run = by_memset_odd},
	{.name = "clean-constants", .expect = LAB_CLEAN, .run = by_constants},
	{.name = "clean-strcpy", .expect = LAB_CLEAN, .run = by_strcpy_constant},
	{.name = "clean-read-zero", .expect = LAB_CLEAN, .run = by_read_zero},
	{.name = "clean-read-program", .expect = LAB_CLEAN, .run = by_read_program},
	{.name = "clean-read-proc", .expect = LAB_CLEAN, .run = by_read_proc},
	{.name = "clean-pipe", .expect = LAB_CLEAN, .run = by_pipe_constant},
	{.name = "clean-new-mapping", .expect = LAB_CLEAN, .run = by_new_mapping},
	{.name = "clean-dont-need", .expect = LAB_CLEAN, .run = by_dont_need},
	{.name = "clean-dead-process", .expect = LAB_CLEAN, .run = by_dead_process},
	{.name = "clean-dead-file", .expect = LAB_CLEAN, .run = by_dead_file},
	{.name = "clean-stack", .expect = LAB_CLEAN, .run = by_stack},
	{.name = "clean-heap", .expect = LAB_CLEAN, .run = by_heap},
	{.name = "clean-xor", .expect = LAB_CLEAN, .run = by_xor_self},
	{.name = "clean-neighbours", .expect = LAB_CLEAN, .run = by_neighbours},
	{.name = "clean-disk", .expect = LAB_CLEAN, .run = by_disk},
	{.name = "clean-random", .expect = LAB_CLEAN, .run = by_random},
	{.name = "clean-at-random", .expect = LAB_CLEAN, .run = by_at_random},
};
const size_t lab_clean_count = sizeof(lab_clean_paths) / sizeof(lab_clean_paths[0]);
