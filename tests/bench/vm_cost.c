/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a guest costs its host: CPU time by thread, CloudER's counters, memory of the shadow. See vm.h. */
#include "vm.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool read_line(const char *path, char *ret, size_t size)
{
	FILE *f = fopen(path, "re");
	bool good = f && fgets(ret, (int)size, f);

	if (f)
		fclose(f);
	return good;
}

/* The scheduler's own count is in nanoseconds; a kernel without it has utime and stime in ticks. */
static uint64_t thread_ns(const char *dir)
{
	char path[400], text[512], *at;
	unsigned long long ns, utime, stime;

	snprintf(path, sizeof(path), "%s/schedstat", dir);
	if (read_line(path, text, sizeof(text)) && sscanf(text, "%llu", &ns) == 1 && ns > 0)
		return ns;
	snprintf(path, sizeof(path), "%s/stat", dir);
	if (!read_line(path, text, sizeof(text)) || !(at = strrchr(text, ')')) ||
	    sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &utime, &stime) != 2)
		return 0;
	return (utime + stime) * (1000000000u / (unsigned long long)sysconf(_SC_CLK_TCK));
}

/* QEMU calls the threads that run vCPUs "CPU 0/TCG" and so on. */
static bool is_vcpu(const char *dir)
{
	char path[400], name[32];

	snprintf(path, sizeof(path), "%s/comm", dir);
	return read_line(path, name, sizeof(name)) && strncmp(name, "CPU ", 4) == 0;
}

static void add_process(pid_t pid, bool engine, struct vm_cpu *sum)
{
	char path[64], thread[320];
	struct dirent *d;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	while (dir && (d = readdir(dir))) {
		uint64_t ns;

		if (d->d_name[0] == '.')
			continue;
		snprintf(thread, sizeof(thread), "%s/%s", path, d->d_name);
		ns = thread_ns(thread);
		sum->all += ns;
		if (engine && is_vcpu(thread))
			sum->vcpu += ns;
	}
	if (dir)
		closedir(dir);
}

struct vm_cpu vm_cpu_time(const struct vm *vm)
{
	struct vm_cpu sum = {0};

	add_process(vm->engine, true, &sum);
	if (vm->pid != vm->engine)
		add_process(vm->pid, false, &sum);
	return sum;
}

json_t *vm_status(const struct vm *vm)
{
	char command[512];
	json_t *ret;
	FILE *f;

	if (vm->system != VM_CLOUDER)
		return NULL;
	snprintf(command, sizeof(command), "exec '%s' status '%s' --json", vm->cfg->clouder, vm->name);
	f = popen(command, "re");
	if (!f)
		return NULL;
	ret = json_loadf(f, 0, NULL);
	pclose(f);
	return ret;
}

uint64_t vm_shadow_allocated(const struct vm *vm)
{
	static const char name[] = "/memfd:clouder-shadow";
	char path[64], fd[320], target[64];
	uint64_t ret = 0;
	struct dirent *d;
	DIR *dir;

	if (vm->system != VM_CLOUDER)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/fd", vm->pid);
	dir = opendir(path);
	while (dir && (d = readdir(dir))) {
		struct stat st;

		snprintf(fd, sizeof(fd), "%s/%s", path, d->d_name);
		if (readlink(fd, target, sizeof(target)) >= (ssize_t)sizeof(name) - 1 &&
		    strncmp(target, name, sizeof(name) - 1) == 0 && stat(fd, &st) == 0)
			ret = (uint64_t)st.st_blocks * 512u;
	}
	if (dir)
		closedir(dir);
	return ret;
}
