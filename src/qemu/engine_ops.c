/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What an engine is asked to do: over QMP, and over the link to the plugin in it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "qemu/engine_internal.h"

#define QEMU_MAJOR_MIN 10
#define PLUGIN_API_MIN 4
#define STEP_MS 30000u

/* Receives one link message; *ret_fd: a descriptor that came with it, or -1. */
static bool link_receive(int sock, struct taint_msg *m, int *ret_fd)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = m, .iov_len = sizeof(*m)};
	struct msghdr h = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control.space)};
	struct cmsghdr *c;
	ssize_t n = recvmsg(sock, &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	*ret_fd = -1;
	if (n < 0)
		return false;
	c = CMSG_FIRSTHDR(&h);
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(ret_fd, CMSG_DATA(c), sizeof(int));
	return n == (ssize_t)sizeof(*m) && m->size == sizeof(*m);
}

static void plugin_fails(struct engine *en, const char *text)
{
	snprintf(en->plugin_error, sizeof(en->plugin_error), "%.*s", (int)sizeof(en->plugin_error) - 1, text);
	en->plugin_failed = true;
}

static void got_hello(struct engine *en, const struct taint_msg *m)
{
	if (m->hello.abi_version != TAINT_ABI_VERSION)
		plugin_fails(en, "the taint plugin is of another version than clouder: install both together");
	else if (m->hello.plugin_api_cur < PLUGIN_API_MIN)
		plugin_fails(en, "QEMU's plugin API is older than version 4: use QEMU 10.0 or later");
	en->hello = true;
}

static void got_ram(struct engine *en, const struct taint_msg *m, int *fd)
{
	if (*fd < 0 || en->uffd >= 0 || m->ram.count > TAINT_RAM_MAPS) {
		plugin_fails(en, "the taint plugin sent no memory map");
		return;
	}
	en->ram = m->ram;
	en->uffd = *fd;
	*fd = -1;
	en->ram_known = true;
}

void engine_link_readable(void *arg, uint32_t events)
{
	struct engine *en = arg;
	struct taint_msg m;
	int fd;

	(void)events;
	memset(&m, 0, sizeof(m));
	if (!link_receive(en->link_fd, &m, &fd)) {
		if (fd >= 0)
			close(fd);
		if (errno != EAGAIN && errno != EINTR)
			loop_remove(&en->link_source);
		return;
	}
	switch ((enum taint_msg_type)m.type) {
	case TAINT_MSG_HELLO:
		got_hello(en, &m);
		break;
	case TAINT_MSG_RAM:
		got_ram(en, &m, &fd);
		break;
	case TAINT_MSG_ERROR:
		m.text[sizeof(m.text) - 1] = 0;
		plugin_fails(en, m.text);
		break;
	case TAINT_MSG_WATCH:
		en->watching = true;
		break;
	case TAINT_MSG_DETECT:
		if (m.detect.object_len > 32 || m.detect.vcpu >= TAINT_VCPU_MAX)
			break;
		/* A vCPU that is held does not let a stop finish that is under way. */
		if (en->ops.detected(en->ops_arg, en, &m.detect))
			qmp_interrupt(en->qmp);
		break;
	default:
		break;
	}
	if (fd >= 0)
		close(fd);
}

static int link_send(struct engine *en, struct taint_msg *m, struct err *e)
{
	m->size = sizeof(*m);
	if (send(en->link_fd, m, sizeof(*m), MSG_NOSIGNAL) != (ssize_t)sizeof(*m))
		return err_set_errno(e, "talking to the taint plugin");
	return 0;
}

void engine_let_go(struct engine *en, unsigned vcpu)
{
	struct taint_msg m = {.type = TAINT_MSG_GO, .detect.vcpu = vcpu};
	struct err e;

	if (link_send(en, &m, &e) < 0)
		log_warn("%s", e.text);
}

void engine_note_event(struct engine *en, const char *event, const json_t *data)
{
	if (!strcmp(event, "STOP")) {
		en->stopped = true;
		en->running = false;
	} else if (!strcmp(event, "RESUME")) {
		en->running = true;
		en->stopped = false;
	} else if (!strcmp(event, "MIGRATION")) {
		const char *status = json_string_value(json_object_get(data, "status"));

		en->migration_done |= status && !strcmp(status, "completed");
		en->migration_failed |= status && (!strcmp(status, "failed") || !strcmp(status, "cancelled"));
	}
}

/* Serves the loop until *done, or one of the ways in which it never will be. */
static int until(struct engine *en, const bool *done, unsigned ms, const char *what, struct err *e)
{
	uint64_t end = loop_now_ns() + (uint64_t)ms * 1000000u;

	while (!*done && !en->ended && !en->plugin_failed && !en->migration_failed && loop_now_ns() < end)
		loop_run_until(en->loop, done, 20);
	if (en->plugin_failed)
		return err_set(e, ERR_MISSING, "%s", en->plugin_error);
	if (*done)
		return 0;
	if (en->ended)
		return err_set(e, ERR_GONE, "QEMU ended while it was to %s%s%s", what, *en->last_words ? ": " : "",
			       en->last_words);
	if (en->migration_failed)
		return err_set(e, ERR_PROTOCOL, "QEMU could not %s%s%s", what, *en->last_words ? ": " : "",
			       en->last_words);
	return err_set(e, ERR_TIMEOUT, "QEMU did not %s within %u s", what, ms / 1000);
}

/* A QMP failure because the process is gone is told with the process's last words. */
static int explain(struct engine *en, struct err *e)
{
	static const bool never;

	if (e->code == ERR_GONE || en->plugin_failed || en->ended) {
		loop_run_until(en->loop, &en->ended, 2000);
		return until(en, &never, 0, "start", e);
	}
	return -1;
}

static int set_capabilities(struct engine *en, struct err *e)
{
	static const char *const names[] = {"x-ignore-shared", "events"};
	json_t *list = json_array();

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		json_array_append_new(list, json_pack("{s:s, s:b}", "capability", names[i], "state", 1));
	return qmp_call(en->qmp, "migrate-set-capabilities", json_pack("{s:o}", "capabilities", list), STEP_MS, NULL,
			e);
}

bool engine_is_up(const struct engine *en)
{
	return qmp_greeted(en->qmp) && en->hello;
}

int engine_watch(struct engine *en, struct gva at, const struct taint_label *label, bool anywhere, struct err *e)
{
	struct taint_msg m = {.type = TAINT_MSG_WATCH,
			      .watch = {.gva = at.v,
					.origin = label->origin,
					.anywhere = anywhere,
					.value = label->value,
					.flags = label->flags}};

	en->watching = false;
	if (link_send(en, &m, e) < 0)
		return -1;
	return until(en, &en->watching, STEP_MS, "set the watch", e);
}

int engine_wait_ready(struct engine *en, unsigned ms, struct err *e)
{
	struct taint_msg m = {.type = TAINT_MSG_MAP_RAM};

	if (qmp_negotiate(en->qmp, ms, e) < 0 || set_capabilities(en, e) < 0)
		return explain(en, e);
	if (until(en, &en->hello, ms, "load the taint plugin", e) < 0)
		return -1;
	if (link_send(en, &m, e) < 0)
		return -1;
	return until(en, &en->ram_known, ms, "register guest memory", e);
}

int engine_stop(struct engine *en, struct err *e)
{
	en->stopped = false;
	if (qmp_call(en->qmp, "stop", NULL, STEP_MS, NULL, e) < 0)
		return explain(en, e);
	return 0;
}

int engine_continue(struct engine *en, struct err *e)
{
	if (qmp_call(en->qmp, "cont", NULL, STEP_MS, NULL, e) < 0)
		return explain(en, e);
	return 0;
}

static int migrate(struct engine *en, const char *command, int state_fd, const char *what, struct err *e)
{
	char uri[64];

	snprintf(uri, sizeof(uri), "file:/proc/%d/fd/%d", (int)getpid(), state_fd);
	en->migration_done = false;
	en->migration_failed = false;
	if (qmp_call(en->qmp, command, json_pack("{s:s}", "uri", uri), STEP_MS, NULL, e) < 0)
		return explain(en, e);
	return until(en, &en->migration_done, STEP_MS, what, e);
}

/* QEMU announces "completed" a moment before it lets the VM go on. */
static int wait_until_finalized(struct engine *en, struct err *e)
{
	for (unsigned tries = 0; tries < 10000; tries++) {
		json_t *value = NULL;
		const char *status;
		bool busy;

		if (qmp_call(en->qmp, "query-status", NULL, STEP_MS, &value, e) < 0)
			return explain(en, e);
		status = json_string_value(json_object_get(value, "status"));
		busy = status && !strcmp(status, "finish-migrate");
		json_decref(value);
		if (!busy)
			return 0;
	}
	return err_set(e, ERR_TIMEOUT, "QEMU did not finish saving the device state");
}

int engine_save(struct engine *en, int state_fd, struct err *e)
{
	if (migrate(en, "migrate", state_fd, "save the device state", e) < 0)
		return -1;
	return wait_until_finalized(en, e);
}

int engine_load(struct engine *en, int state_fd, struct err *e)
{
	return migrate(en, "migrate-incoming", state_fd, "load the device state", e);
}

int engine_quit(struct engine *en, unsigned ms, struct err *e)
{
	if (qmp_call(en->qmp, "quit", NULL, ms, NULL, e) < 0 && e->code != ERR_GONE)
		return -1;
	loop_run_until(en->loop, &en->ended, ms);
	return en->ended ? 0 : err_set(e, ERR_TIMEOUT, "QEMU did not quit within %u ms", ms);
}

/* First line of the program's --version. */
static int read_version(const char *program, char *line, size_t size, struct err *e)
{
	char command[600];
	FILE *f;

	if (strchr(program, '\''))
		return err_set(e, ERR_USAGE, "a quote in the name of the QEMU program is not supported");
	snprintf(command, sizeof(command), "exec '%s' --version 2>/dev/null </dev/null", program);
	f = popen(command, "re");
	if (!f)
		return err_set_errno(e, "running %s", program);
	if (!fgets(line, (int)size, f))
		*line = 0;
	if (pclose(f) != 0 || !*line)
		return err_set(
			e, ERR_MISSING,
			"cannot run %s: install QEMU 10.0 or later (package qemu-system-x86), or name it with --qemu",
			program);
	return 0;
}

int engine_check_qemu(const char *program, struct err *e)
{
	int major_version = 0, minor_version = 0;
	char line[256];
	const char *v;

	if (read_version(program, line, sizeof(line), e) < 0)
		return -1;
	v = strstr(line, "version ");
	if (!v || sscanf(v, "version %d.%d", &major_version, &minor_version) != 2)
		return err_set(e, ERR_MISSING, "%s does not look like QEMU: its --version says \"%.60s\"", program,
			       line);
	if (major_version < QEMU_MAJOR_MIN)
		return err_set(
			e, ERR_MISSING,
			"QEMU %d.%d is too old: 10.0 or later is needed (Debian 12 has it in bookworm-backports)",
			major_version, minor_version);
	return 0;
}
