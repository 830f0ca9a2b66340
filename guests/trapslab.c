/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The service of taintlab.c with paths on which an emulator's instrumentation can be led astray: accesses that cross a
 * page, instructions that fault half way, code that changes, context switches at any place, many processors at once.
 */
#include "trapslab.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define TRIES 64
#define PFN_MASK 0x7fffffffffffffull

const struct lab_table lab_tables[] = {
	{trap_cross_paths, &trap_cross_count},
	{trap_fault_paths, &trap_fault_count},
	{trap_code_paths, &trap_code_count},
	{trap_switch_paths, &trap_switch_count},
	{trap_frame_paths, &trap_frame_count},
	{trap_group_paths, &trap_group_count},
	{0},
};

volatile int trap_faults;
static char *volatile healed;

/* Number of the physical page, 0: not known. */
static uint64_t physical(const char *at)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entry = 0;

	if (fd < 0 ||
	    pread(fd, &entry, sizeof(entry), (off_t)((uintptr_t)at / TRAP_PAGE * sizeof(entry))) != sizeof(entry))
		entry = 0;
	close(fd);
	return entry & PFN_MASK;
}

/* One page is touched after the other; which one first is the caller's choice. */
static char *try_pages(bool second_first)
{
	char *pages = mmap(NULL, 2 * TRAP_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (pages == MAP_FAILED)
		return NULL;
	*(char *)lab_opaque(pages + (second_first ? TRAP_PAGE : 0)) = 0;
	*(char *)lab_opaque(pages + (second_first ? 0 : TRAP_PAGE)) = 0;
	return pages;
}

char *trap_pages(char **ret_border)
{
	char *tried[TRIES], *found = NULL;
	int n = 0;

	while (!found && n < TRIES && (tried[n] = try_pages(n % 2))) {
		uint64_t first = physical(tried[n]), second = physical(tried[n] + TRAP_PAGE);

		if (first && second && second != first + 1)
			found = tried[n];
		else
			n++;
	}
	for (int i = 0; i < n; i++)
		munmap(tried[i], 2 * TRAP_PAGE);
	if (!found)
		errno = ENOMEM;
	else
		*ret_border = found + TRAP_PAGE;
	return found;
}

void trap_free_pages(char *pages)
{
	if (pages)
		munmap(pages, 2 * TRAP_PAGE);
}

void trap_copy(char *to, const char *from, size_t len)
{
	for (size_t i = 0; i < len; i++)
		*(volatile char *)(to + i) = *(const volatile char *)(from + i);
}

static void on_fault(int signo)
{
	(void)signo;
	trap_faults++;
	if (!healed || trap_faults > 1000 || mprotect(healed, TRAP_PAGE, PROT_READ | PROT_WRITE) < 0)
		_exit(3);
}

/* The handler has a stack of its own: a fault may be one of the stack's. */
void trap_heal_page(char *page)
{
	static char stack[65536];
	stack_t other = {.ss_sp = stack, .ss_size = sizeof(stack)};
	struct sigaction on = {.sa_handler = on_fault, .sa_flags = SA_ONSTACK};

	healed = page;
	trap_faults = 0;
	sigaltstack(&other, NULL);
	sigaction(SIGSEGV, &on, NULL);
}

void trap_heal(void)
{
	signal(SIGSEGV, SIG_DFL);
	healed = NULL;
}
