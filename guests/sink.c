/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A service that uses the guest's memory for data from the network again and again, and then lets go of it.
 *
 * Requests of its own (see service.h), each answered "ok ..." or "ok failed: why":
 *
 *   echo take N    says "go", then takes N bytes into one buffer and from there into a file in memory, which starts
 *                  over at FILE_BYTES: written over the first time, made anew the second
 *   echo release   removes the file and has the kernel drop what it caches
 *   echo disk N    reads the first N bytes of the disk, through the cache for files
 *   echo dirty N   writes to each page of N MiB, at most DIRTY_MIB, of the same memory each time
 *   echo later N MS   the same in another process, MS milliseconds after the answer; then "sink: written" is on the console
 *   echo wipe      takes nearly all memory that is free, has the kernel zero it, and gives it back
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "service.h"

#define FILE_PATH "/tmp/sink"
#define DISK_PATH "/dev/vda"
#define FILE_BYTES (32u << 20)
#define BUFFER_BYTES 65536u
#define DIRTY_MIB 8192u
/* Memory that is left to the kernel by a wipe, and what it keeps back from everybody else. */
#define LEFT_BYTES (1u << 20)
#define RESERVE_KIB "256"

static char buffer[BUFFER_BYTES];

/* Of the kernel's settings. */
static bool write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return done;
}

/* Takes len bytes to where they belong in the file; at its start, every other time, the file gets new memory. */
static bool take_part(int file, size_t len)
{
	static uint64_t taken;
	off_t at = (off_t)(taken % FILE_BYTES);

	if (taken % (2 * FILE_BYTES) == 0 && ftruncate(file, 0) < 0)
		return false;
	if (recv(service_client, buffer, len, MSG_WAITALL) != (ssize_t)len ||
	    pwrite(file, buffer, len, at) != (ssize_t)len)
		return false;
	taken += len;
	return true;
}

static bool take(uint64_t bytes)
{
	int file = open(FILE_PATH, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	bool good = file >= 0 && write(service_client, "go\n", 3) == 3;

	while (good && bytes) {
		size_t len = bytes < BUFFER_BYTES ? (size_t)bytes : BUFFER_BYTES;

		good = take_part(file, len);
		bytes -= len;
	}
	if (file >= 0)
		close(file);
	return good;
}

static bool release(void)
{
	if (unlink(FILE_PATH) < 0)
		return false;
	sync();
	return write_text("/proc/sys/vm/drop_caches", "3");
}

static bool read_disk(uint64_t bytes)
{
	int disk = open(DISK_PATH, O_RDONLY | O_CLOEXEC);
	bool good = disk >= 0;

	for (uint64_t at = 0; good && at < bytes; at += BUFFER_BYTES)
		good = read(disk, buffer, BUFFER_BYTES) == BUFFER_BYTES;
	if (disk >= 0)
		close(disk);
	return good;
}

static bool dirty(uint64_t mib)
{
	static volatile char *memory;
	static char value;

	if (!memory) {
		void *at = mmap(NULL, (size_t)DIRTY_MIB << 20, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

		if (at == MAP_FAILED)
			return false;
		memory = at;
	}
	value++;
	for (uint64_t at = 0; mib <= DIRTY_MIB && at < mib << 20; at += 4096)
		memory[at] = value;
	return mib <= DIRTY_MIB;
}

static bool later(const char *text)
{
	char *end;
	uint64_t mib = strtoull(text, &end, 10);
	unsigned long ms = strtoul(end, NULL, 10);
	pid_t pid = fork();

	if (pid == 0) {
		usleep((useconds_t)ms * 1000);
		if (dirty(mib))
			dprintf(STDOUT_FILENO, "sink: written\n");
		_exit(0);
	}
	return pid > 0;
}

static bool wipe(void)
{
	struct sysinfo info;
	size_t len;
	void *at;

	if (!write_text("/proc/sys/vm/min_free_kbytes", RESERVE_KIB) || sysinfo(&info) < 0)
		return false;
	len = (size_t)info.freeram * info.mem_unit;
	len = len > LEFT_BYTES ? len - LEFT_BYTES : 0;
	at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	return at != MAP_FAILED && munmap(at, len) == 0;
}

static void obey(const char *text)
{
	char answer[80] = "done";
	bool good = false;

	errno = EINVAL;
	if (strncmp(text, "take ", 5) == 0)
		good = take(strtoull(text + 5, NULL, 10));
	else if (strncmp(text, "disk ", 5) == 0)
		good = read_disk(strtoull(text + 5, NULL, 10));
	else if (strncmp(text, "dirty ", 6) == 0)
		good = dirty(strtoull(text + 6, NULL, 10));
	else if (strncmp(text, "later ", 6) == 0)
		good = later(text + 6);
	else if (strcmp(text, "release") == 0)
		good = release();
	else if (strcmp(text, "wipe") == 0)
		good = wipe();
	if (!good)
		snprintf(answer, sizeof(answer), "failed: %s", strerror(errno));
	service_reply(answer, sizeof(answer));
}

int main(int argc, char **argv)
{
	return service_run(argc, argv, obey);
}
