/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Paths through the kernel within one process: pipes, sockets, files. */
#include "taintlab_paths.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define SCRATCH "/tmp/taintlab"

/* Into one descriptor, out of the other; closes both. */
static bool through(struct lab *l, int to, int from)
{
	bool ok = lab_write_all(to, l->in, l->len) && lab_read_all(from, l->out, l->len);

	close(to);
	close(from);
	return ok;
}

static bool by_pipe(struct lab *l)
{
	int fd[2];

	return pipe(fd) == 0 && through(l, fd[1], fd[0]);
}

static bool by_vmsplice(struct lab *l)
{
	struct iovec all = {l->in, l->len};
	int fd[2];
	bool ok;

	if (pipe(fd) < 0)
		return false;
	ok = vmsplice(fd[1], &all, 1, 0) == (ssize_t)l->len && lab_read_all(fd[0], l->out, l->len);
	close(fd[0]);
	close(fd[1]);
	return ok;
}

static bool by_tee(struct lab *l)
{
	int a[2], b[2];
	bool ok;

	if (pipe(a) < 0 || pipe(b) < 0)
		return false;
	ok = lab_write_all(a[1], l->in, l->len) && tee(a[0], b[1], l->len, 0) == (ssize_t)l->len;
	ok = ok && lab_read_all(b[0], l->out, l->len);
	for (int i = 0; i < 2; i++) {
		close(a[i]);
		close(b[i]);
	}
	return ok;
}

static bool by_pair(struct lab *l, int type)
{
	int fd[2];

	return socketpair(AF_UNIX, type, 0, fd) == 0 && through(l, fd[0], fd[1]);
}

static bool by_unix_stream(struct lab *l)
{
	return by_pair(l, SOCK_STREAM);
}

static bool by_unix_dgram(struct lab *l)
{
	return by_pair(l, SOCK_DGRAM);
}

static bool by_unix_seqpacket(struct lab *l)
{
	return by_pair(l, SOCK_SEQPACKET);
}

/* A new file in memory that holds the payload, at its start; -1: errno says why not. */
static int payload_file(struct lab *l)
{
	int fd = memfd_create("payload", MFD_CLOEXEC);

	if (fd >= 0 && (!lab_write_all(fd, l->in, l->len) || lseek(fd, 0, SEEK_SET) < 0)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

union control {
	struct cmsghdr align;
	char space[CMSG_SPACE(sizeof(int))];
};

static bool send_fd(int socket_fd, int fd)
{
	char byte = 'x';
	union control control = {0};
	struct iovec one = {&byte, 1};
	struct msghdr m = {
		.msg_iov = &one, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control.space)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(int));
	return sendmsg(socket_fd, &m, 0) == 1;
}

static int receive_fd(int socket_fd)
{
	char byte;
	union control control = {0};
	struct iovec one = {&byte, 1};
	struct msghdr m = {
		.msg_iov = &one, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control.space)};
	int fd = -1;

	if (recvmsg(socket_fd, &m, 0) == 1 && CMSG_FIRSTHDR(&m))
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(int));
	return fd;
}

static bool by_unix_scm(struct lab *l)
{
	int fd[2], file = payload_file(l), again;
	bool ok;

	if (file < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, fd) < 0)
		return false;
	ok = send_fd(fd[0], file);
	close(file);
	again = ok ? receive_fd(fd[1]) : -1;
	ok = again >= 0 && lab_read_all(again, l->out, l->len);
	close(again);
	close(fd[0]);
	close(fd[1]);
	return ok;
}

/* A pair of connected sockets over the loopback; a stream's listener is closed again. */
static bool loopback_pair(int type, int ret[2])
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int listener = socket(AF_INET, type, 0);
	socklen_t size = sizeof(at);

	ret[0] = socket(AF_INET, type, 0);
	if (bind(listener, (struct sockaddr *)&at, size) < 0 ||
	    getsockname(listener, (struct sockaddr *)&at, &size) < 0)
		return false;
	if (type == SOCK_STREAM && listen(listener, 1) < 0)
		return false;
	if (connect(ret[0], (struct sockaddr *)&at, size) < 0)
		return false;
	ret[1] = type == SOCK_STREAM ? accept(listener, NULL, NULL) : listener;
	if (type == SOCK_STREAM)
		close(listener);
	return ret[1] >= 0;
}

static bool by_loopback_tcp(struct lab *l)
{
	int fd[2];

	return loopback_pair(SOCK_STREAM, fd) && through(l, fd[0], fd[1]);
}

static bool by_loopback_udp(struct lab *l)
{
	int fd[2];
	bool ok;

	if (!loopback_pair(SOCK_DGRAM, fd))
		return false;
	ok = send(fd[0], l->in, l->len, 0) == (ssize_t)l->len &&
	     recvfrom(fd[1], l->out, LAB_MAX, 0, NULL, NULL) == (ssize_t)l->len;
	close(fd[0]);
	close(fd[1]);
	return ok;
}

/* From the page cache into a pipe. */
static bool by_sendfile(struct lab *l)
{
	int file = payload_file(l), fd[2];
	bool ok;

	if (file < 0 || pipe(fd) < 0)
		return false;
	ok = sendfile(fd[1], file, NULL, l->len) == (ssize_t)l->len && lab_read_all(fd[0], l->out, l->len);
	close(file);
	close(fd[0]);
	close(fd[1]);
	return ok;
}

/* Pipe to file, file to memory. */
static bool by_splice_file(struct lab *l)
{
	int file = memfd_create("spliced", MFD_CLOEXEC), fd[2];
	bool ok;

	if (file < 0 || pipe(fd) < 0)
		return false;
	ok = lab_write_all(fd[1], l->in, l->len) &&
	     splice(fd[0], NULL, file, NULL, l->len, SPLICE_F_MOVE) == (ssize_t)l->len &&
	     pread(file, l->out, l->len, 0) == (ssize_t)l->len;
	close(file);
	close(fd[0]);
	close(fd[1]);
	return ok;
}

static int scratch_file(void)
{
	return open(SCRATCH, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
}

static bool by_tmpfs_file(struct lab *l)
{
	int fd = scratch_file();
	bool ok = fd >= 0 && lab_write_all(fd, l->in, l->len) && pread(fd, l->out, l->len, 0) == (ssize_t)l->len;

	close(fd);
	unlink(SCRATCH);
	return ok;
}

static bool by_copy_file_range(struct lab *l)
{
	int from = payload_file(l), to = memfd_create("copy", MFD_CLOEXEC);
	bool ok = from >= 0 && to >= 0 && copy_file_range(from, NULL, to, NULL, l->len, 0) == (ssize_t)l->len &&
		  pread(to, l->out, l->len, 0) == (ssize_t)l->len;

	close(from);
	close(to);
	return ok;
}

/* Written through the mapping, read through the file. */
static bool by_map_shared(struct lab *l)
{
	int fd = scratch_file();
	char *map = MAP_FAILED;
	bool ok = false;

	if (fd >= 0 && ftruncate(fd, LAB_MAX) == 0)
		map = mmap(NULL, LAB_MAX, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map != MAP_FAILED) {
		memcpy(map, l->in, l->len);
		ok = pread(fd, l->out, l->len, 0) == (ssize_t)l->len;
		munmap(map, LAB_MAX);
	}
	close(fd);
	unlink(SCRATCH);
	return ok;
}

/* Written through the file, read through a private mapping whose page is copied then. */
static bool by_map_private(struct lab *l)
{
	int fd = payload_file(l);
	char *map = mmap(NULL, LAB_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);

	if (fd < 0 || map == MAP_FAILED)
		return false;
	*(char *)lab_opaque(map + LAB_MAX - 1) = 'x';
	memcpy(l->out, map, l->len);
	munmap(map, LAB_MAX);
	close(fd);
	return true;
}

/* The name of a file comes back from the kernel's memory. */
static bool by_symlink(struct lab *l)
{
	bool ok;

	unlink(SCRATCH);
	ok = symlink(l->in, SCRATCH) == 0 && readlink(SCRATCH, l->out, LAB_MAX) == (ssize_t)l->len;
	unlink(SCRATCH);
	return ok;
}

static bool by_mremap(struct lab *l)
{
	char *map = mmap(NULL, LAB_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *moved;

	if (map == MAP_FAILED)
		return false;
	memcpy(map, l->in, l->len);
	moved = mremap(map, LAB_MAX, 2 * LAB_MAX, MREMAP_MAYMOVE);
	if (moved == MAP_FAILED)
		return false;
	memcpy(l->out, moved, l->len);
	return munmap(moved, 2 * LAB_MAX) == 0;
}

static bool by_process_vm(struct lab *l)
{
	struct iovec from = {l->in, l->len}, to = {l->out, l->len};

	return process_vm_readv(getpid(), &to, 1, &from, 1, 0) == (ssize_t)l->len;
}

const struct lab_path lab_kernel_paths[] = {
	{.name = "pipe", .expect = LAB_EXACT, .run = by_pipe},
	{.name = "vmsplice", .expect = LAB_EXACT, .run = by_vmsplice},
	{.name = "tee", .expect = LAB_EXACT, .run = by_tee},
	{.name = "unix-stream", .expect = LAB_EXACT, .run = by_unix_stream},
	{.name = "unix-dgram", .expect = LAB_EXACT, .run = by_unix_dgram},
	{.name = "unix-seqpacket", .expect = LAB_EXACT, .run = by_unix_seqpacket},
	{.name = "unix-scm", .expect = LAB_EXACT, .run = by_unix_scm},
	{.name = "loopback-tcp", .expect = LAB_EXACT, .run = by_loopback_tcp},
	{.name = "loopback-udp", .expect = LAB_EXACT, .run = by_loopback_udp},
	{.name = "sendfile", .expect = LAB_EXACT, .run = by_sendfile},
	{.name = "splice-file", .expect = LAB_EXACT, .run = by_splice_file},
	{.name = "tmpfs-file", .expect = LAB_EXACT, .run = by_tmpfs_file},
	{.name = "copy-file-range", .expect = LAB_EXACT, .run = by_copy_file_range},
	{.name = "map-shared", .expect = LAB_EXACT, .run = by_map_shared},
	{.name = "map-private", .expect = LAB_EXACT, .run = by_map_private},
	{.name = "symlink", .expect = LAB_EXACT, .run = by_symlink},
	{.name = "mremap", .expect = LAB_EXACT, .run = by_mremap},
	{.name = "process-vm-readv", .expect = LAB_EXACT, .run = by_process_vm},
};
const size_t lab_kernel_count = sizeof(lab_kernel_paths) / sizeof(lab_kernel_paths[0]);
