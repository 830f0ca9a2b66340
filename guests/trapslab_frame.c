/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Frames of exceptions on kernel stacks that are full of the payload. The kernel gives a sight of them: with an event that
 * counts page faults it writes the instruction pointer of each frame into memory that it shares with the program.
 */
#include "trapslab.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sem.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RING_PAGES 8
/* Semaphore operations of one call, which the kernel takes to its stack: 384 bytes. */
#define OPERATIONS 64
/* The kernel chooses another place on its stack at each system call. */
#define ROUNDS 40
#define SAMPLES_MAX (LAB_MAX / sizeof(uint64_t))

/* System calls that write to user memory before they have done much else. */
static const struct {
	long number;
	int to; /* which argument says where */
} writers[] = {
	{SYS_time, 0},	 {SYS_times, 0},	 {SYS_getitimer, 1}, {SYS_getresuid, 0},
	{SYS_getcpu, 0}, {SYS_rt_sigpending, 0}, {SYS_getrlimit, 1}, {SYS_sigaltstack, 1},
};

#define WRITERS (sizeof(writers) / sizeof(writers[0]))

/* A sample as the event below asks for. */
struct sample {
	struct perf_event_header header;
	uint64_t ip;
};

static int open_event(void)
{
	struct perf_event_attr a = {.type = PERF_TYPE_SOFTWARE,
				    .size = sizeof(a),
				    .config = PERF_COUNT_SW_PAGE_FAULTS,
				    .sample_period = 1,
				    .sample_type = PERF_SAMPLE_IP,
				    .exclude_user = 1};

	return (int)syscall(SYS_perf_event_open, &a, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

/* Fills n bytes with 0xff, each made of a byte of the payload. */
static void fill(const struct lab *l, uint8_t *to, size_t n)
{
	volatile uint8_t ones = 0xff;

	for (size_t i = 0; i < n; i++) {
		uint8_t byte = (uint8_t)l->in[i % l->len];

		__asm__ volatile("or %1, %0" : "+r"(byte) : "r"(ones));
		to[i] = byte;
	}
}

/* The kernel's stack gets the operations; then, as deep, the frame of a fault on the page. */
static bool fault(const struct sembuf *operations, size_t writer)
{
	void *page = mmap(NULL, TRAP_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uintptr_t argument[2] = {0};

	if (page == MAP_FAILED)
		return false;
	argument[writers[writer].to] = (uintptr_t)page;
	syscall(SYS_semop, 0, operations, OPERATIONS);
	syscall(writers[writer].number, argument[0], argument[1], sizeof(uint64_t), NULL);
	return munmap(page, TRAP_PAGE) == 0;
}

/* Copies the instruction pointers of the ring's samples to l->out. */
static void take_samples(struct lab *l, const char *ring)
{
	const struct perf_event_mmap_page *head = (const void *)ring;
	uint64_t end = __atomic_load_n(&head->data_head, __ATOMIC_ACQUIRE), at = 0;
	size_t n = 0;
	struct sample s;

	while (at + sizeof(s) <= end && n < SAMPLES_MAX) {
		memcpy(&s, ring + TRAP_PAGE + at, sizeof(s));
		if (s.header.size < sizeof(s.header))
			break;
		if (s.header.type == PERF_RECORD_SAMPLE)
			memcpy(l->out + sizeof(s.ip) * n++, &s.ip, sizeof(s.ip));
		at += s.header.size;
	}
	l->ret_len = n * sizeof(s.ip);
}

static bool by_fault_frames(struct lab *l)
{
	size_t size = (1 + RING_PAGES) * TRAP_PAGE;
	struct sembuf operations[OPERATIONS];
	int fd = open_event();
	char *ring = fd < 0 ? MAP_FAILED : mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	bool good = ring != MAP_FAILED;

	fill(l, (uint8_t *)operations, sizeof(operations));
	for (size_t i = 0; good && i < ROUNDS * WRITERS; i++)
		good = fault(operations, i % WRITERS);
	if (good) {
		ioctl(fd, PERF_EVENT_IOC_DISABLE, 0);
		take_samples(l, ring);
	}
	if (good && l->ret_len < ROUNDS * WRITERS * sizeof(uint64_t)) {
		errno = ENODATA;
		good = false;
	}
	if (ring != MAP_FAILED)
		munmap(ring, size);
	if (fd >= 0)
		close(fd);
	return good;
}

const struct lab_path trap_frame_paths[] = {
	{.name = "frame-fault", .expect = LAB_CLEAN, .run = by_fault_frames},
};
const size_t trap_frame_count = sizeof(trap_frame_paths) / sizeof(trap_frame_paths[0]);
