/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A ledger on the guest's disk: see ledger.h. */
#include "ledger.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK 4096

static _Alignas(BLOCK) char block[BLOCK];

/* The next number, which is on the disk when this returns. 0: there is no disk. */
static unsigned long next_number(void)
{
	int fd = open("/clouder-data/count", O_RDWR | O_CREAT | O_DIRECT | O_SYNC | O_CLOEXEC, 0644);
	unsigned long n;

	if (fd < 0)
		return 0;
	memset(block, 0, sizeof(block));
	n = pread(fd, block, sizeof(block), 0) < 0 ? 0 : strtoul(block, NULL, 10) + 1;
	snprintf(block, sizeof(block), "%lu\n", n);
	if (pwrite(fd, block, sizeof(block), 0) != sizeof(block))
		n = 0;
	close(fd);
	return n;
}

void ledger_note(const char *text)
{
	unsigned long n;
	char line[512];
	int fd, len;

	if (strcmp(text, "quit") == 0)
		exit(0);
	n = next_number();
	if (!n)
		return;
	len = snprintf(line, sizeof(line), "%lu %.300s\n", n, text);
	for (int i = 0; i < len - 1; i++)
		if (line[i] < ' ' || line[i] > '~')
			line[i] = '.';
	fd = open("/clouder-data/ledger", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, line, (size_t)len) != len || fsync(fd) < 0)
		perror("ledger");
	if (fd >= 0)
		close(fd);
}
