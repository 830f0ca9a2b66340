/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The calm lab: finds the trick that a request names. See calmlab.h. */
#include "calmlab.h"

#include "service.h"

#include <stdio.h>
#include <string.h>

static const struct calm_trick *const tables[] = {calm_flow_tricks, calm_data_tricks};

static char said[128];

const char *calm_say(const char *word, long number)
{
	snprintf(said, sizeof(said), "%s %ld", word, number);
	return said;
}

long calm_sum(const char *text)
{
	long sum = 0;

	for (; *text; text++)
		sum += (unsigned char)*text;
	return sum;
}

static void answer_list(void)
{
	char names[SERVICE_LINE_MAX] = "";

	for (size_t t = 0; t < sizeof(tables) / sizeof(tables[0]); t++)
		for (const struct calm_trick *k = tables[t]; k->name; k++)
			snprintf(names + strlen(names), sizeof(names) - strlen(names), "%s ", k->name);
	service_reply(names, sizeof(names));
}

static void answer(const char *request)
{
	size_t len = strcspn(request, " ");
	char text[CALM_TEXT_MAX];

	if (strcmp(request, "list") == 0) {
		answer_list();
		return;
	}
	snprintf(text, sizeof(text), "%s", request + len + (request[len] == ' '));
	for (size_t t = 0; t < sizeof(tables) / sizeof(tables[0]); t++)
		for (const struct calm_trick *k = tables[t]; k->name; k++)
			if (strlen(k->name) == len && memcmp(k->name, request, len) == 0)
				service_reply(k->play(text), SERVICE_LINE_MAX);
}

int main(int argc, char **argv)
{
	return service_run(argc, argv, answer);
}
