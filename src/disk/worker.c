/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A disk's thread: see worker_internal.h. */
#include "disk/worker_internal.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct worker {
	const struct image *image;
	struct blocklog *undo;
	pthread_t thread;
	int fd;
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	struct job *job; /* under way; NULL: none */
	bool ends;
};

static int run(const struct worker *w, const struct job *j)
{
	switch (j->kind) {
	case JOB_READ:
		return image_read(w->image, j->buf, j->len, j->off);
	case JOB_WRITE:
		if (w->undo)
			blocklog_before_write(w->undo, j->off, j->len);
		return image_write(w->image, j->buf, j->len, j->off);
	case JOB_FLUSH:
		return image_flush(w->image);
	}
	errno = EINVAL;
	return -1;
}

static void *worker_main(void *arg)
{
	const uint64_t one = 1;
	struct worker *w = arg;

	pthread_mutex_lock(&w->mutex);
	while (!w->ends) {
		if (!w->job) {
			pthread_cond_wait(&w->changed, &w->mutex);
			continue;
		}
		pthread_mutex_unlock(&w->mutex);
		w->job->error = run(w, w->job) < 0 ? errno : 0;
		pthread_mutex_lock(&w->mutex);
		w->job = NULL;
		pthread_cond_broadcast(&w->changed);
		/* Fails only when the counter is full: then it is readable anyway. */
		if (write(w->fd, &one, sizeof(one)) < 0)
			continue;
	}
	pthread_mutex_unlock(&w->mutex);
	return NULL;
}

/* Signals are for the loop's thread. */
static int start_thread(struct worker *w)
{
	sigset_t all, before;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&w->thread, NULL, worker_main, w);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return rc;
}

int worker_create(const struct image *image, struct blocklog *undo, struct worker **ret_w, struct err *e)
{
	struct worker *w = calloc(1, sizeof(*w));

	if (!w)
		return err_set_errno(e, "thread of a disk");
	w->image = image;
	w->undo = undo;
	pthread_mutex_init(&w->mutex, NULL);
	pthread_cond_init(&w->changed, NULL);
	w->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->fd >= 0)
		errno = start_thread(w);
	if (w->fd < 0 || errno) {
		err_set_errno(e, "thread of a disk");
		if (w->fd >= 0)
			close(w->fd);
		free(w);
		return -1;
	}
	*ret_w = w;
	return 0;
}

void worker_destroy(struct worker *w)
{
	if (!w)
		return;
	worker_wait(w);
	pthread_mutex_lock(&w->mutex);
	w->ends = true;
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->mutex);
	pthread_join(w->thread, NULL);
	close(w->fd);
	free(w);
}

int worker_fd(const struct worker *w)
{
	return w->fd;
}

void worker_submit(struct worker *w, struct job *job)
{
	pthread_mutex_lock(&w->mutex);
	assert(!w->job);
	w->job = job;
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->mutex);
}

bool worker_idle(struct worker *w)
{
	bool idle;

	pthread_mutex_lock(&w->mutex);
	idle = !w->job;
	pthread_mutex_unlock(&w->mutex);
	return idle;
}

void worker_wait(struct worker *w)
{
	pthread_mutex_lock(&w->mutex);
	while (w->job)
		pthread_cond_wait(&w->changed, &w->mutex);
	pthread_mutex_unlock(&w->mutex);
}
