/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest RAM as mapped in this QEMU process: where the RAM file lies, and a
 * userfaultfd on it with write protection, through which the supervisor sees the first write
 * to each page after a checkpoint. The descriptor acts on the process that made it, so it is made here
 * and sent over.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "plugin/plugin_internal.h"

static struct taint_msg_ram maps;

static void add_map(uint64_t start, uint64_t end, uint64_t offset)
{
	uint32_t last = maps.count - 1;

	if (maps.count && maps.map[last].hva + maps.map[last].size == start &&
	    maps.map[last].offset + maps.map[last].size == offset) {
		maps.map[last].size += end - start;
		return;
	}
	if (maps.count == TAINT_RAM_MAPS)
		return;
	maps.map[maps.count].hva = start;
	maps.map[maps.count].size = end - start;
	maps.map[maps.count].offset = offset;
	maps.count++;
}

void ram_find(void)
{
	unsigned long long start, end, offset, ino;
	unsigned major_nr, minor_nr;
	struct stat st;
	char line[512];
	FILE *f;

	if (fstat(plugin.ram_fd, &st) < 0)
		return;
	f = fopen("/proc/self/maps", "re");
	if (!f)
		return;
	maps.count = 0;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%llx-%llx %*s %llx %x:%x %llu", &start, &end, &offset, &major_nr, &minor_nr, &ino) !=
		    6)
			continue;
		if (ino == st.st_ino && makedev(major_nr, minor_nr) == st.st_dev)
			add_map(start, end, offset);
	}
	fclose(f);
}

bool ram_offset(const void *hva, uint64_t *ret_offset)
{
	uint64_t a = (uint64_t)(uintptr_t)hva;

	for (uint32_t i = 0; i < maps.count; i++) {
		if (a - maps.map[i].hva < maps.map[i].size) {
			*ret_offset = maps.map[i].offset + (a - maps.map[i].hva);
			return true;
		}
	}
	return false;
}

static int uffd_open(void)
{
	int dev, fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd >= 0 || errno != EPERM)
		return fd;
	dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	if (dev < 0) {
		errno = EPERM;
		return -1;
	}
	fd = ioctl(dev, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
	close(dev);
	return fd;
}

static const char *uffd_register_all(int fd)
{
	struct uffdio_api api = {.api = UFFD_API,
				 .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM};

	if (ioctl(fd, UFFDIO_API, &api) < 0)
		return "the host kernel's userfaultfd cannot write-protect shared memory (Linux 5.19 or later is "
		       "needed)";
	for (uint32_t i = 0; i < maps.count; i++) {
		struct uffdio_register reg = {.range = {.start = maps.map[i].hva, .len = maps.map[i].size},
					      .mode = UFFDIO_REGISTER_MODE_WP};

		if (ioctl(fd, UFFDIO_REGISTER, &reg) < 0)
			return "registering guest memory with userfaultfd failed";
	}
	return NULL;
}

void ram_register(void)
{
	struct taint_msg m = {.type = TAINT_MSG_RAM};
	const char *why;
	int fd;

	ram_find();
	if (!maps.count) {
		link_send_error(
			"the RAM file is not mapped in QEMU: is the machine's memory backend replaced by an option?");
		return;
	}
	fd = uffd_open();
	if (fd < 0) {
		link_send_error("userfaultfd: %s; run as root, set vm.unprivileged_userfaultfd=1, or give access to "
				"/dev/userfaultfd",
				strerror(errno));
		return;
	}
	why = uffd_register_all(fd);
	m.ram = maps;
	if (why)
		link_send_error("%s: %s", why, strerror(errno));
	else
		link_send(&m, fd);
	if (why)
		close(fd);
	/* On success our copy stays open for as long as the process lives: closing the last one would unregister. */
}
