/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest's first process: brings up the kernel's file systems, the network and the services, and tells what happens.
 *
 * Kernel command line: clouder.run=NAME[:PORT],... starts services from /etc/programs: a line "NAME PORT" is our own, /bin/NAME;
 * "NAME PORT ROOT PROGRAM ARGUMENT..." is another's, started below ROOT, with a PORT that is its own affair ("N/udp" or N).
 * clouder.shell starts a shell on the console. The network is static: eth0 10.0.2.15/24, gateway 10.0.2.2.
 *
 * On the console: "guest: NAME pid N port P" for each service, "guest: ready" when all of them listen, and
 * "guest: NAME exited STATUS" or "guest: NAME killed by signal N" when one ends. Nothing is started again, because a crash
 * must be seen, unless clouder.again is there: then it is, after it was told. With clouder.reboot the guest reboots when one ends. With clouder.data the first disk, an ext4 file
 * system, is mounted at /clouder-data until a service ends: then "guest: data is unmounted". An empty line comes before the last three: a
 * service may have left a line unfinished. The kernel's own settings, address space randomisation among them, are left as
 * they are.
 *
 * With clouder.root the first disk is a system of its own, whose /sbin/init goes on from here with the network as it is. That runs
 * this program once more, as a service: then it starts services as above, and ends when one of them does without an error.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/route.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "listen.h"

#define SERVICES_MAX 16
#define NAME_MAX_LEN 32
#define DEVICE_WAIT_MS 20000
#define COMMAND_MAX 160
#define WORDS_MAX 16
#define BOUND_WAIT_MS 60000
#define BOUND_STEP_MS 20
#define AGAIN_TRIES 100

struct service {
	char name[NAME_MAX_LEN];
	char port[12];
	char command[COMMAND_MAX]; /* "ROOT PROGRAM ARGUMENT..."; "": /bin/NAME PORT */
	pid_t pid;
};

/* A line on the console, in one piece: services write there too, and may not have ended theirs. */
__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vdprintf(STDOUT_FILENO, format, args);
	va_end(args);
}

static struct service services[SERVICES_MAX];
static int service_count;

static const struct {
	const char *type, *at;
	unsigned long flags;
} mounts[] = {
	{"proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC},
	{"sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC},
	{"devtmpfs", "/dev", MS_NOSUID},
	{"tmpfs", "/tmp", MS_NOSUID | MS_NODEV},
};

static void mount_all(void)
{
	for (size_t i = 0; i < sizeof(mounts) / sizeof(mounts[0]); i++) {
		mkdir(mounts[i].at, 0755);
		if (mount(mounts[i].type, mounts[i].at, mounts[i].type, mounts[i].flags, NULL) < 0 && errno != EBUSY)
			say("guest: mount %s: %m\n", mounts[i].at);
	}
}

static void load_module(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST))
		say("guest: module %s: %m\n", path);
	if (fd >= 0)
		close(fd);
}

/* list: one path a line, each after those it needs. */
static void load_modules(const char *list)
{
	FILE *f = fopen(list, "re");
	char path[256];

	while (f && fgets(path, sizeof(path), f)) {
		path[strcspn(path, "\n")] = '\0';
		load_module(path);
	}
	if (f)
		fclose(f);
}

static void mount_data(void)
{
	load_modules("/lib/modules/list-data");
	mkdir("/clouder-data", 0755);
	if (mount("/dev/vda", "/clouder-data", "ext4", MS_NOATIME, NULL) < 0)
		say("guest: mount /dev/vda: %m\n");
}

static void unmount_data(void)
{
	if (umount("/clouder-data") == 0)
		say("guest: data is unmounted\n");
	else
		say("guest: umount /clouder-data: %m\n");
}

static void enter_system(void)
{
	static const char *const moved[] = {"proc", "sys", "dev"};

	load_modules("/lib/modules/list-data");
	mkdir("/system", 0755);
	if (mount("/dev/vda", "/system", "ext4", MS_NOATIME, NULL) < 0 || chdir("/system") < 0) {
		say("guest: mount /dev/vda: %m\n");
		return;
	}
	for (size_t i = 0; i < sizeof(moved) / sizeof(moved[0]); i++) {
		char from[8];

		snprintf(from, sizeof(from), "/%s", moved[i]);
		if (mount(from, moved[i], NULL, MS_MOVE, NULL) < 0)
			say("guest: moving %s: %m\n", from);
	}
	if (mount(".", "/", NULL, MS_MOVE, NULL) == 0 && chroot(".") == 0)
		execl("/sbin/init", "init", (char *)NULL);
	say("guest: /sbin/init: %m\n");
}

/* Whether the interface is there, waiting for the kernel to announce it. */
static bool wait_interface(const char *name)
{
	struct sockaddr_nl links = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK};
	struct pollfd p = {.events = POLLIN};
	char message[8192];
	bool there;

	p.fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (p.fd < 0 || bind(p.fd, (struct sockaddr *)&links, sizeof(links)) < 0)
		return if_nametoindex(name) != 0;
	while (!(there = if_nametoindex(name) != 0) && poll(&p, 1, DEVICE_WAIT_MS) > 0)
		if (recv(p.fd, message, sizeof(message), 0) < 0 && errno != ENOBUFS)
			break;
	close(p.fd);
	return there;
}

static struct sockaddr ipv4(const char *text)
{
	struct sockaddr_in in = {.sin_family = AF_INET};
	struct sockaddr ret;

	inet_pton(AF_INET, text, &in.sin_addr);
	memcpy(&ret, &in, sizeof(ret));
	return ret;
}

static int set_address(int fd, const char *name, const char *address, const char *netmask)
{
	struct ifreq r = {0};

	snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
	r.ifr_addr = ipv4(address);
	if (ioctl(fd, SIOCSIFADDR, &r) < 0)
		return -1;
	r.ifr_netmask = ipv4(netmask);
	if (ioctl(fd, SIOCSIFNETMASK, &r) < 0)
		return -1;
	r.ifr_flags = IFF_UP | IFF_RUNNING;
	return ioctl(fd, SIOCSIFFLAGS, &r);
}

static void start_network(void)
{
	struct rtentry route = {.rt_flags = RTF_UP | RTF_GATEWAY};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	route.rt_dst = route.rt_genmask = ipv4("0.0.0.0");
	route.rt_gateway = ipv4("10.0.2.2");
	if (set_address(fd, "lo", "127.0.0.1", "255.0.0.0") < 0)
		say("guest: lo: %m\n");
	if (!wait_interface("eth0"))
		say("guest: no network device\n");
	else if (set_address(fd, "eth0", "10.0.2.15", "255.255.255.0") < 0 || ioctl(fd, SIOCADDRT, &route) < 0)
		say("guest: eth0: %m\n");
	close(fd);
}

/* Port and command that /etc/programs has for a service, by its name. False: it is not there. */
static bool look_up(struct service *s)
{
	FILE *f = fopen("/etc/programs", "re");
	char line[NAME_MAX_LEN + COMMAND_MAX], name[NAME_MAX_LEN];
	bool found = false;
	int at;

	while (f && !found && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = '\0';
		found = sscanf(line, "%31s %11s %n", name, s->port, &at) == 2 && strcmp(name, s->name) == 0;
	}
	if (found)
		snprintf(s->command, sizeof(s->command), "%s", line + at);
	if (f)
		fclose(f);
	return found;
}

/* In the child: another's program, which knows nothing of us. */
static void run_command(const struct service *s)
{
	char copy[COMMAND_MAX], *words[WORDS_MAX + 1] = {NULL};
	int n = 0;

	snprintf(copy, sizeof(copy), "%s", s->command);
	for (char *word = strtok(copy, " "); word && n < WORDS_MAX; word = strtok(NULL, " "))
		words[n++] = word;
	if (n >= 2 && chroot(words[0]) == 0 && chdir("/") == 0)
		execv(words[1], words + 1);
	say("guest: %s: %m\n", s->command);
	_exit(127);
}

/* In the child; tells on ready_fd when it listens. */
static void run_service(const struct service *s, int ready_fd)
{
	char path[NAME_MAX_LEN + 8], fd_text[12];

	snprintf(path, sizeof(path), "/bin/%s", s->name);
	snprintf(fd_text, sizeof(fd_text), "%d", ready_fd);
	setenv(LISTEN_READY_ENV, fd_text, 1);
	execl(path, s->name, s->port, (char *)NULL);
	say("guest: %s: %m\n", path);
	_exit(127);
}

/* Whether somebody listens on the service's port. */
static bool is_bound(const struct service *s)
{
	bool udp = strstr(s->port, "/udp") != NULL, found = false;
	unsigned port, state, wanted = udp ? 7 : 10; /* TCP_CLOSE, as all unconnected; TCP_LISTEN */
	FILE *f = fopen(udp ? "/proc/net/udp" : "/proc/net/tcp", "re");
	char line[256];

	while (f && !found && fgets(line, sizeof(line), f))
		found = sscanf(line, " %*d: %*x:%x %*x:%*x %x", &port, &state) == 2 &&
			port == (unsigned)atoi(s->port) && state == wanted;
	if (f)
		fclose(f);
	return found;
}

/* Nobody tells when another's program listens: it is looked for. pid is -1 if it has ended before. */
static bool launch_command(struct service *s)
{
	s->pid = fork();
	if (s->pid == 0)
		run_command(s);
	for (int waited = 0; s->pid > 0 && waited < BOUND_WAIT_MS; waited += BOUND_STEP_MS) {
		if (is_bound(s))
			return true;
		if (waitpid(s->pid, NULL, WNOHANG) == s->pid)
			s->pid = -1;
		poll(NULL, 0, BOUND_STEP_MS);
	}
	return false;
}

/* Runs a program of ours and waits until it says that it listens. */
static bool launch_own(struct service *s)
{
	int pipe_fd[2];
	char byte;
	bool ready;

	if (pipe(pipe_fd) < 0)
		return false;
	s->pid = fork();
	if (s->pid == 0) {
		close(pipe_fd[0]);
		run_service(s, pipe_fd[1]);
	}
	close(pipe_fd[1]);
	ready = s->pid > 0 && read(pipe_fd[0], &byte, 1) == 1;
	close(pipe_fd[0]);
	return ready;
}

/* Runs a service and waits until it listens. */
static bool launch_service(struct service *s)
{
	bool ready = s->command[0] ? launch_command(s) : launch_own(s);

	if (ready)
		say("guest: %s pid %d port %s\n", s->name, s->pid, s->port);
	return ready;
}

/* Starts "NAME[:PORT]" and waits until it listens. */
static bool start_service(char *word)
{
	struct service *s = &services[service_count];
	char *colon = strchr(word, ':');
	int port;

	if (colon)
		*colon = '\0';
	if (service_count == SERVICES_MAX)
		return false;
	snprintf(s->name, sizeof(s->name), "%s", word);
	port = look_up(s) || colon ? atoi(colon && !s->command[0] ? colon + 1 : s->port) : 0;
	if (port <= 0 || port > 65535) {
		say("guest: no service %s\n", word);
		return false;
	}
	if (!s->command[0])
		snprintf(s->port, sizeof(s->port), "%d", port);
	service_count++;
	return launch_service(s);
}

static bool start_services(char *list)
{
	bool all = true;

	for (char *word = strtok(list, ","); word; word = strtok(NULL, ","))
		all = start_service(word) && all;
	return all;
}

static void start_shell(void)
{
	if (fork() != 0)
		return;
	setsid();
	ioctl(STDIN_FILENO, TIOCSCTTY, 1);
	setenv("PATH", "/bin", 1);
	execl("/bin/sh", "sh", (char *)NULL);
	_exit(127);
}

/* Value of a word "NAME=VALUE" (or "" for "NAME") of the command line, cut out of it; NULL: not there. */
static char *find_word(char *line, const char *name)
{
	size_t len = strlen(name);
	char *at = line;

	while ((at = strstr(at, name))) {
		if ((at == line || at[-1] == ' ') && strchr("= \n", at[len])) {
			at += len + (at[len] == '=');
			at[strcspn(at, " \n")] = '\0';
			return at;
		}
		at += len;
	}
	return NULL;
}

static void read_command_line(char *ret, size_t size)
{
	int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, ret, size - 1);

	ret[n > 0 ? n : 0] = '\0';
	if (fd >= 0)
		close(fd);
}

static struct service *find_service(pid_t pid)
{
	for (int i = 0; i < service_count; i++)
		if (services[i].pid == pid)
			return &services[i];
	return NULL;
}

/* One that ends at once is tried some more times: its port may still be the last one's. */
static void start_again(struct service *s)
{
	for (int tries = 0; tries < AGAIN_TRIES && !launch_service(s) && s->pid < 0; tries++)
		poll(NULL, 0, BOUND_STEP_MS);
}

/*
 * Reports the end of services, as a service until one ends well, else for ever; again: and starts them again; data: the disk is
 * mounted; may_reboot: the end of one is the end of all.
 */
static void watch_services(bool as_service, bool again, bool data, bool may_reboot)
{
	for (;;) {
		int status;
		pid_t pid = wait(&status);
		struct service *s = pid > 0 ? find_service(pid) : NULL;

		if (pid < 0)
			pause();
		else if (s && WIFSIGNALED(status))
			say("\nguest: %s killed by signal %d\n", s->name, WTERMSIG(status));
		else if (s)
			say("\nguest: %s exited %d\n", s->name, WEXITSTATUS(status));
		if (s && as_service && status == 0)
			return;
		if (s && may_reboot)
			reboot(RB_AUTOBOOT);
		if (s && again)
			start_again(s);
		else if (s && data)
			unmount_data();
	}
}

int main(void)
{
	char line[2048], copy[2048], *run;
	bool again, data, as_service = getpid() != 1;

	if (!as_service) {
		mount_all();
		load_modules("/lib/modules/list");
		start_network();
	}
	read_command_line(line, sizeof(line));
	snprintf(copy, sizeof(copy), "%s", line);
	again = strstr(line, "clouder.again") != NULL;
	data = strstr(line, "clouder.data") != NULL;
	if (!as_service && strstr(line, "clouder.root"))
		enter_system();
	if (data)
		mount_data();
	run = find_word(line, "clouder.run");
	if (start_services(run ? run : line + strlen(line)))
		say("\nguest: ready\n");
	else
		say("guest: not all services run\n");
	if (find_word(copy, "clouder.shell"))
		start_shell();
	watch_services(as_service, again, data, strstr(copy, "clouder.reboot") != NULL);
	return 0;
}
