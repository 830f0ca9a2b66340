/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An engine's state, shared by the files that handle its process, its link and its QMP. */
#ifndef CLOUDER_QEMU_ENGINE_INTERNAL_H
#define CLOUDER_QEMU_ENGINE_INTERNAL_H

#include "qemu/engine.h"

#define ENGINE_PORTS (1u + ENGINE_DISKS_MAX)

/* Where QEMU connects one of its vhost-user devices. */
struct engine_port {
	struct engine *en;
	char name[64]; /* of the abstract socket */
	int listen_fd; /* until it has connected; -1: not listened on */
	struct loop_source *source;
};

struct engine {
	struct loop *loop;
	struct engine_ops ops;
	void *ops_arg;
	pid_t pid;
	int pid_fd, link_fd, err_fd;
	struct loop_source *child_source, *link_source, *err_source;
	struct engine_port port[ENGINE_PORTS]; /* of the network, then of the disks */
	unsigned n_ports;
	struct qmp *qmp;
	bool ended;
	int status;

	/* the plugin */
	bool hello, ram_known, watching, plugin_failed;
	char plugin_error[256];
	struct taint_msg_ram ram;
	int uffd;

	/* QMP events waited for */
	bool stopped, running, migration_done, migration_failed;

	char line[256], last_words[256];
	size_t line_len;
};

/*
 * SIGKILL; when it returns nothing of the process does anything any more but to end, and the loop reaps it. pid_fd is the
 * loop's from then on.
 */
void engine_kill(struct engine *en);
void engine_link_readable(void *arg, uint32_t events);
void engine_note_event(struct engine *en, const char *event, const json_t *data);

#endif
