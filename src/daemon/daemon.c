/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The supervisor of one VM: `clouder run`. One process, one epoll loop.
 *
 * Start-up order, and the reverse at the end: options; the VM's name (lock and control socket); the incident store;
 * signals; the VM. Whatever ends the supervisor ends the VM; engines die with it even when it is killed.
 */
#include "daemon/daemon.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/log.h"
#include "base/loop.h"
#include "daemon/config.h"
#include "daemon/ctl.h"
#include "daemon/vm.h"
#include "report/report.h"
#include "store/store.h"

struct daemon {
	struct config cfg;
	bool cfg_ready;
	struct loop *loop;
	struct ctl *ctl;
	struct store *store;
	struct vm *vm;
	int signal_fd;
	struct loop_source *signal_source;
	int status;
};

static void on_signal(void *arg, uint32_t events)
{
	struct daemon *d = arg;
	struct signalfd_siginfo si;

	(void)events;
	if (read(d->signal_fd, &si, sizeof(si)) != (ssize_t)sizeof(si))
		return;
	log_info("%s: ending the VM", strsignal((int)si.ssi_signo));
	loop_stop(d->loop);
}

static void on_step(void *arg, const char *event, const struct incident *in)
{
	struct daemon *d = arg;
	json_t *j = incident_to_json(in);

	if (d->cfg.log_level >= LOG_LEVEL_INFO)
		report_event(stdout, event, in, d->cfg.colour);
	if (!j)
		return;
	j = json_pack("{s:s, s:o}", "event", event, "incident", j);
	if (d->ctl)
		ctl_broadcast(d->ctl, j);
	json_decref(j);
}

static void on_ended(void *arg, const struct err *why)
{
	struct daemon *d = arg;

	if (why->code == ERR_OK) {
		log_info("the guest shut down");
	} else {
		log_error("%s", why->text);
		d->status = 1;
	}
	loop_stop(d->loop);
}

static json_t *do_status(struct daemon *d, const json_t *request)
{
	json_t *j = d->vm ? vm_status(d->vm) : json_pack("{s:s, s:s}", "name", d->cfg.name, "state", "starting");

	(void)request;
	json_object_set_new(j, "ok", json_true());
	json_object_set_new(j, "pid", json_integer(getpid()));
	return j;
}

static json_t *do_stop(struct daemon *d, const json_t *request)
{
	(void)request;
	log_info("stopped by request");
	loop_stop(d->loop);
	return json_pack("{s:b}", "ok", 1);
}

static json_t *not_yet(void)
{
	return json_pack("{s:b, s:s}", "ok", 0, "error", "it is being started");
}

static json_t *do_taint(struct daemon *d, const json_t *request)
{
	return d->vm ? vm_taint(d->vm, request) : not_yet();
}

static json_t *do_checkpoint(struct daemon *d, const json_t *request)
{
	(void)request;
	return d->vm ? vm_checkpoint(d->vm) : not_yet();
}

static json_t *do_checkpoints(struct daemon *d, const json_t *request)
{
	(void)request;
	return d->vm ? vm_checkpoints(d->vm) : not_yet();
}

static json_t *do_rollback(struct daemon *d, const json_t *request)
{
	return d->vm ? vm_rollback(d->vm, request) : not_yet();
}

static json_t *do_vmi(struct daemon *d, const json_t *request)
{
	return d->vm ? vm_vmi(d->vm, request) : not_yet();
}

static json_t *do_verify(struct daemon *d, const json_t *request)
{
	return d->vm ? vm_verify(d->vm, request) : not_yet();
}

static json_t *handle_request(void *arg, const char *verb, const json_t *request)
{
	static const struct {
		const char *verb;
		json_t *(*fn)(struct daemon *d, const json_t *request);
	} verbs[] = {{"status", do_status},
		     {"stop", do_stop},
		     {"taint", do_taint},
		     {"checkpoint", do_checkpoint},
		     {"checkpoints", do_checkpoints},
		     {"rollback", do_rollback},
		     {"vmi", do_vmi},
		     {"verify", do_verify}};

	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (!strcmp(verbs[i].verb, verb))
			return verbs[i].fn(arg, request);
	return NULL;
}

static int watch_signals(struct daemon *d, struct err *e)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	d->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (d->signal_fd < 0)
		return err_set_errno(e, "signalfd");
	d->signal_source = loop_add(d->loop, LOOP_FD_SIGNAL, d->signal_fd, EPOLLIN, 0, on_signal, d, e);
	return d->signal_source ? 0 : -1;
}

static int start(struct daemon *d, int argc, char **argv, struct err *e)
{
	static const struct ctl_ops ctl_ops = {handle_request};
	static const struct vm_ops vm_ops = {on_step, on_ended};

	if (config_init(&d->cfg, argc, argv, e) < 0)
		return -1;
	d->cfg_ready = true;
	log_set_level((enum log_level)d->cfg.log_level);
	d->loop = loop_create(e);
	if (!d->loop || watch_signals(d, e) < 0)
		return -1;
	if (ctl_create(d->loop, d->cfg.name, &ctl_ops, d, &d->ctl, e) < 0)
		return -1;
	if (store_open(NULL, false, &d->store, e) < 0)
		return -1;
	if (vm_create(d->loop, &d->cfg, d->store, &vm_ops, d, &d->vm, e) < 0)
		return -1;
	log_info("VM %s runs, protected", d->cfg.name);
	return 0;
}

static void end(struct daemon *d)
{
	vm_destroy(d->vm);
	if (d->store)
		store_close(d->store);
	ctl_destroy(d->ctl);
	loop_remove(&d->signal_source);
	if (d->signal_fd >= 0)
		close(d->signal_fd);
	loop_destroy(d->loop);
	if (d->cfg_ready)
		config_deinit(&d->cfg);
}

int daemon_run(int argc, char **argv)
{
	struct daemon d = {.signal_fd = -1};
	struct err e = {0};

	if (start(&d, argc, argv, &e) < 0) {
		log_error("%s", e.text);
		d.status = e.code == ERR_USAGE ? 2 : 1;
	} else {
		loop_run(d.loop);
	}
	end(&d);
	return d.status;
}
