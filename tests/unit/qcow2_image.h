/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2 images for tests, by QEMU's qemu-img. */
#ifndef CLOUDER_TEST_QCOW2_IMAGE_H
#define CLOUDER_TEST_QCOW2_IMAGE_H

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* Runs qemu-img with these words, NULL at the end; says nothing. Returns its exit code. */
static inline int qemu_img(const char *const words[])
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		int null = open("/dev/null", O_RDWR);

		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
		execvp("qemu-img", (char *const *)(uintptr_t)words);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

/* One of size bytes, in clusters of 4 KiB: more metadata than usual. options: further ones of qemu-img's -o, "" for none. */
static inline int qcow2_create(const char *path, uint64_t size, const char *options)
{
	char bytes[24], all[256];

	snprintf(bytes, sizeof(bytes), "%llu", (unsigned long long)size);
	snprintf(all, sizeof(all), "cluster_size=4096%s", options);
	return qemu_img((const char *[]){"qemu-img", "create", "-f", "qcow2", "-o", all, path, bytes, NULL});
}

/* 0: nothing is wrong with it, and no cluster is lost. */
static inline int qcow2_check_whole(const char *path)
{
	return qemu_img((const char *[]){"qemu-img", "check", "-f", "qcow2", path, NULL});
}

/* The process that this one has started, if it is one; -1: none. */
static inline pid_t only_child(void)
{
	char name[64], text[64] = "";
	int fd;

	snprintf(name, sizeof(name), "/proc/self/task/%d/children", (int)getpid());
	fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		return -1;
	close(fd);
	return (pid_t)strtol(text, NULL, 10);
}

#endif
