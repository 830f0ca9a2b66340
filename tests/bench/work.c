/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of measured work, how it is started and timed: see work.h. */
#include "work.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "http.h"

#define TEXT_BYTES (8u << 20)
#define RAW_BYTES (16u << 20)

/* Where the clocks stood when a piece of work began. */
struct begin {
	struct vm *vm;
	uint64_t wall;
	struct vm_cpu cpu;
};

static void begin(void *arg)
{
	struct begin *b = arg;

	b->cpu = vm_cpu_time(b->vm);
	b->wall = vm_now_ns();
}

static int run_order(struct begin *b, const struct work *w, struct sample *ret)
{
	uint64_t ns;

	if (vm_order(b->vm, w->order, &ns, ret->result, sizeof(ret->result)) < 0)
		return -1;
	ret->s[CLOCK_GUEST] = (double)ns / 1e9;
	return 0;
}

static int run_http(struct begin *b, const struct work *w, struct sample *ret)
{
	uint64_t sum;

	if (http_load(b->vm->port, w->target, w->length, w->requests, begin, b, &sum) < 0)
		return -1;
	snprintf(ret->result, sizeof(ret->result), "%llu", (unsigned long long)sum);
	return 0;
}

/* In the order in which they are done: what taints the guest comes last. */
const struct work works[] = {
	{"md5", WORK_CLEAN, run_order, "run md5", NULL, 0, 0},
	{"gzip", WORK_CLEAN, run_order, "run gzip", NULL, 0, 0},
	{"forkexec", WORK_CLEAN, run_order, "run forkexec", NULL, 0, 0},
	{"shell", WORK_CLEAN, run_order, "run shell", NULL, 0, 0},
	{"copy", WORK_CLEAN, run_order, "run copy", NULL, 0, 0},
	{"http1k", WORK_TRAFFIC, run_http, NULL, "/1k", 1024, 2000},
	{"http16k", WORK_TRAFFIC, run_http, NULL, "/16k", 16384, 1000},
	{"gunzip", WORK_TAINTED, run_order, "run gunzip", NULL, 0, 0},
	{"sha256", WORK_TAINTED, run_order, "run sha256", NULL, 0, 0},
};
const size_t work_count = sizeof(works) / sizeof(works[0]);

const char *const work_group_names[WORK_GROUPS] = {
	[WORK_CLEAN] = "clean",
	[WORK_TRAFFIC] = "traffic",
	[WORK_TAINTED] = "tainted",
};

const char *const work_clock_names[CLOCKS] = {
	[CLOCK_WALL] = "wall",
	[CLOCK_CPU] = "cpu",
	[CLOCK_ALL] = "all",
	[CLOCK_GUEST] = "guest",
};

static void end_times(struct sample *s, uint64_t wall, struct vm_cpu before, struct vm_cpu after)
{
	s->s[CLOCK_WALL] = (double)(vm_now_ns() - wall) / 1e9;
	s->s[CLOCK_CPU] = (double)(after.vcpu - before.vcpu) / 1e9;
	s->s[CLOCK_ALL] = (double)(after.all - before.all) / 1e9;
}

int work_run(struct vm *vm, const struct work *w, struct sample *ret)
{
	struct begin b = {.vm = vm};

	*ret = (struct sample){0};
	begin(&b);
	if (w->run(&b, w, ret) < 0)
		return -1;
	end_times(ret, b.wall, b.cpu, vm_cpu_time(vm));
	return 0;
}

int work_boot(struct vm *vm, const struct vm_config *cfg, enum vm_system system, struct sample *ret)
{
	uint64_t start = vm_now_ns(), ready;

	*ret = (struct sample){.result = "ready"};
	if (vm_start(vm, cfg, system) < 0 || vm_wait_ready(vm, &ready) < 0)
		return -1;
	end_times(ret, start, (struct vm_cpu){0}, vm_cpu_time(vm));
	ret->s[CLOCK_WALL] = (double)(ready - start) / 1e9;
	return 0;
}

/* Words of several lengths, some of them often; compresses to about a third. */
static void fill_text(char *text, size_t n)
{
	uint32_t seed = 7;

	for (size_t i = 0; i < n; i++) {
		seed = seed * 1664525u + 1013904223u;
		text[i] = (seed >> 24) % 6 == 0 ? ' ' : (char)('a' + (seed >> 16) % 12);
	}
}

/* Runs gzip from one file to another. */
static int compress_file(int from, int to)
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		dup2(from, STDIN_FILENO);
		dup2(to, STDOUT_FILENO);
		execlp("gzip", "gzip", "-c", (char *)NULL);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
		fprintf(stderr, "bench: gzip failed\n");
		return -1;
	}
	return 0;
}

/* Sends what a file holds. */
static int send_file(struct vm *vm, const char *target, int fd)
{
	struct stat st;
	void *bytes;
	int ret;

	if (fstat(fd, &st) < 0)
		return -1;
	bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (bytes == MAP_FAILED) {
		perror("mmap");
		return -1;
	}
	ret = http_put(vm->port, target, bytes, (size_t)st.st_size);
	munmap(bytes, (size_t)st.st_size);
	return ret;
}

static int send_compressed(struct vm *vm, const char *target, const char *text, size_t n)
{
	int plain = memfd_create("bench-text", MFD_CLOEXEC), packed = memfd_create("bench-gz", MFD_CLOEXEC), ret = -1;

	if (plain >= 0 && packed >= 0 && write(plain, text, n) == (ssize_t)n && lseek(plain, 0, SEEK_SET) == 0 &&
	    compress_file(plain, packed) == 0)
		ret = send_file(vm, target, packed);
	if (plain >= 0)
		close(plain);
	if (packed >= 0)
		close(packed);
	return ret;
}

int work_upload(struct vm *vm)
{
	char *text = malloc(TEXT_BYTES);
	int ret;

	if (!text)
		return -1;
	fill_text(text, TEXT_BYTES);
	ret = send_compressed(vm, "/text.gz", text, TEXT_BYTES);
	free(text);
	return ret == 0 ? work_send_random(vm, "/raw", RAW_BYTES) : -1;
}

int work_send_random(struct vm *vm, const char *target, size_t n)
{
	unsigned char *bytes = malloc(n);
	uint64_t seed = 88172645463325252u;
	int ret;

	if (!bytes)
		return -1;
	for (size_t i = 0; i < n; i++) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		bytes[i] = (unsigned char)(seed >> 32);
	}
	ret = http_put(vm->port, target, bytes, n);
	free(bytes);
	return ret;
}
