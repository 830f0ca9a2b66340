/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A service without a bug: answers with the text it was sent. */
#include "service.h"

static void answer(const char *text)
{
	service_reply(text, SERVICE_LINE_MAX);
}

int main(int argc, char **argv)
{
	return service_run(argc, argv, answer);
}
