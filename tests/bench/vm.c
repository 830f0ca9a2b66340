/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Starting guests, talking to them over the console and ending them: see vm.h. */
#include "vm.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* A guest that says nothing for so long is lost; half an hour is far more than any work takes. */
#define SILENCE_MS 1800000
#define ARGS_MAX 64
#define LAB_PORT 7080
#define LAB_NAME "benchlab"

struct args {
	char *argv[ARGS_MAX + 1];
	size_t n;
};

volatile int vm_interrupted;

uint64_t vm_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void add(struct args *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void add(struct args *a, const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (a->n < ARGS_MAX && vasprintf(&text, fmt, ap) >= 0)
		a->argv[a->n++] = text;
	va_end(ap);
}

static void free_args(struct args *a)
{
	for (size_t i = 0; i < a->n; i++)
		free(a->argv[i]);
}

/* What both systems are given alike. */
static void add_guest(struct args *a, const struct vm *vm)
{
	const struct vm_config *c = vm->cfg;

	add(a, "-nodefaults");
	add(a, "-no-reboot");
	add(a, "-name");
	add(a, "bench,debug-threads=on");
	add(a, "-m");
	add(a, "%d", c->mib);
	add(a, "-smp");
	add(a, "%d", c->smp);
	if (c->cpu) {
		add(a, "-cpu");
		add(a, "%s", c->cpu);
	}
	add(a, "-chardev");
	add(a, "socket,id=lab,path=%s/%s.console,server=off", c->dir, vm->name);
	add(a, "-serial");
	add(a, "chardev:lab");
	add(a, "-kernel");
	add(a, "%s/vmlinuz", c->guest);
	add(a, "-initrd");
	add(a, "%s/initrd.img", c->guest);
	add(a, "-append");
	add(a, "console=ttyS0 quiet panic=-1 clouder.run=" LAB_NAME);
}

static void add_plain(struct args *a, const struct vm *vm)
{
	add(a, "%s", vm->cfg->qemu);
	add(a, "-machine");
	add(a, "q35,memory-backend=ram");
	add(a, "-accel");
	add(a, "tcg");
	add(a, "-object");
	add(a, "memory-backend-memfd,id=ram,size=%dM,share=on", vm->cfg->mib);
	add(a, "-display");
	add(a, "none");
	add(a, "-vga");
	add(a, "none");
	add(a, "-netdev");
	add(a, "user,id=net0,hostfwd=tcp:127.0.0.1:%d-:%d", vm->port, LAB_PORT);
	add(a, "-device");
	add(a, "virtio-net-pci,netdev=net0,romfile=");
}

static void add_clouder(struct args *a, const struct vm *vm)
{
	add(a, "%s", vm->cfg->clouder);
	add(a, "run");
	add(a, "--quiet");
	add(a, "--respond"); /* a false alarm is counted, and the guest goes on */
	add(a, "observe");
	add(a, "--name");
	add(a, "%s", vm->name);
	add(a, "--plugin");
	add(a, "%s", vm->cfg->plugin);
	add(a, "--qemu");
	add(a, "%s", vm->cfg->qemu);
	add(a, "--net");
	add(a, "user,hostfwd=tcp:127.0.0.1:%d-:%d", vm->port, LAB_PORT);
	add(a, "--");
}

static void (*const add_system[VM_SYSTEMS])(struct args *a, const struct vm *vm) = {
	[VM_PLAIN] = add_plain,
	[VM_CLOUDER] = add_clouder,
};

/* In the child: what it says goes to a log beside the sockets. It ends with us, however we end. */
_Noreturn static void child_main(const struct vm *vm, struct args *a, pid_t parent)
{
	char log[256];
	int null = open("/dev/null", O_RDONLY), out;

	snprintf(log, sizeof(log), "%s/%s.log", vm->cfg->dir, vm->name);
	out = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	setpgid(0, 0); /* Ctrl-C is for the parent to handle */
	if (getppid() != parent || null < 0 || out < 0)
		_exit(127);
	dup2(null, STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	dup2(out, STDERR_FILENO);
	execvp(a->argv[0], a->argv);
	fprintf(stderr, "%s: %s\n", a->argv[0], strerror(errno));
	_exit(127);
}

static int listen_console(struct vm *vm)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};

	snprintf(at.sun_path, sizeof(at.sun_path), "%s/%s.console", vm->cfg->dir, vm->name);
	unlink(at.sun_path);
	vm->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (vm->listener < 0 || bind(vm->listener, (struct sockaddr *)&at, sizeof(at)) < 0 ||
	    listen(vm->listener, 8) < 0) {
		perror(at.sun_path);
		return -1;
	}
	return 0;
}

/* A port of the loopback that nobody has at the moment; 0: none. */
static int free_port(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&at, len) < 0 || getsockname(fd, (struct sockaddr *)&at, &len) < 0)
		at.sin_port = 0;
	if (fd >= 0)
		close(fd);
	return ntohs(at.sin_port);
}

int vm_start(struct vm *ret, const struct vm_config *cfg, enum vm_system system)
{
	static int count;
	struct args a = {0};
	pid_t parent = getpid();

	*ret = (struct vm){.cfg = cfg, .system = system, .listener = -1, .console = -1, .port = free_port()};
	snprintf(ret->name, sizeof(ret->name), "%s%d", system == VM_PLAIN ? "plain" : "bench", count++);
	if (listen_console(ret) < 0)
		return -1;
	add_system[system](&a, ret);
	add_guest(&a, ret);
	ret->pid = fork();
	if (ret->pid == 0)
		child_main(ret, &a, parent);
	free_args(&a);
	if (ret->pid < 0) {
		perror("fork");
		return -1;
	}
	return 0;
}

/* The last words of a guest that ended too early. */
static void print_log(const struct vm *vm)
{
	char path[256], line[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s.log", vm->cfg->dir, vm->name);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		fprintf(stderr, "%s: %s", vm->name, line);
	if (f)
		fclose(f);
}

static int lost(const struct vm *vm, const char *what)
{
	fprintf(stderr, "bench: %s: %s\n", vm->name, vm_interrupted ? "interrupted" : what);
	if (!vm_interrupted)
		print_log(vm);
	return -1;
}

/* Waits until fd can be read; looks from time to time whether the guest's process has ended. */
static int wait_readable(const struct vm *vm, int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	for (int waited = 0; waited < SILENCE_MS && !vm_interrupted; waited += 500) {
		siginfo_t info = {0};

		if (poll(&p, 1, 500) > 0)
			return 0;
		if (waitid(P_PID, (id_t)vm->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid)
			return lost(vm, "ended too early");
	}
	return lost(vm, "says nothing");
}

/* The next line of the console, without its end. */
static int next_line(struct vm *vm, char *ret, size_t size)
{
	char *end;

	while (!(end = memchr(vm->line, '\n', vm->used))) {
		ssize_t n;

		if (vm->used == sizeof(vm->line))
			vm->used = 0;
		if (wait_readable(vm, vm->console) < 0)
			return -1;
		n = read(vm->console, vm->line + vm->used, sizeof(vm->line) - vm->used);
		if (n <= 0 && errno != EINTR)
			return lost(vm, "closed its console");
		vm->used += n > 0 ? (size_t)n : 0;
	}
	*end = '\0';
	snprintf(ret, size, "%.*s", (int)size - 1, vm->line);
	ret[strcspn(ret, "\r")] = '\0';
	vm->used -= (size_t)(end + 1 - vm->line);
	memmove(vm->line, end + 1, vm->used);
	return 0;
}

/* The QEMU process of a supervisor. */
static pid_t find_engine(const struct vm *vm)
{
	json_t *status = vm_status(vm);
	pid_t ret = (pid_t)json_integer_value(json_object_get(status, "engine_pid"));

	json_decref(status);
	return ret;
}

int vm_wait_ready(struct vm *vm, uint64_t *ret_ns)
{
	char line[256];

	if (wait_readable(vm, vm->listener) < 0)
		return -1;
	vm->console = accept4(vm->listener, NULL, NULL, SOCK_CLOEXEC);
	if (vm->console < 0)
		return lost(vm, "no console");
	do {
		if (next_line(vm, line, sizeof(line)) < 0)
			return -1;
	} while (strcmp(line, "guest: ready") != 0);
	*ret_ns = vm_now_ns();
	vm->engine = vm->system == VM_PLAIN ? vm->pid : find_engine(vm);
	return vm->engine > 0 ? 0 : lost(vm, "does not say which process is QEMU");
}

int vm_order(struct vm *vm, const char *order, uint64_t *ret_ns, char *ret_result, size_t size)
{
	unsigned long long ns;
	char line[256], word[32], result[128];

	if (dprintf(vm->console, "%s\n", order) < 0)
		return lost(vm, "takes no order");
	do {
		if (next_line(vm, line, sizeof(line)) < 0)
			return -1;
	} while (sscanf(line, "lab: %31s %llu %127s", word, &ns, result) != 3);
	if (strcmp(result, "failed") == 0)
		return lost(vm, order);
	*ret_ns = ns;
	snprintf(ret_result, size, "%s", result);
	return 0;
}

void vm_end(struct vm *vm)
{
	if (vm->pid > 0) {
		kill(vm->pid, SIGTERM);
		while (waitpid(vm->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	if (vm->console >= 0)
		close(vm->console);
	if (vm->listener >= 0)
		close(vm->listener);
	*vm = (struct vm){.listener = -1, .console = -1};
}
